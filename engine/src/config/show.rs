//! The configuration for people and editors: what holds and where it came from, and the JSON Schema of the file.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key, Kind, PROJECTION_KEYS, TOKENS};
use super::{Loaded, parse};

/// One value as it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Full path of the key.
    pub path: String,
    /// The value; none where it is a secret.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: String,
}

/// The effective configuration as TOML that could be read back (but for secrets), each value with its origin behind it.
pub fn show(loaded: &Loaded) -> String {
    let mut text = String::new();
    let mut section = String::new();
    for shown in &loaded.shown {
        let (parent, key) = split(&shown.path);
        if parent != section {
            text.push_str(&format!("\n[{parent}]\n"));
            section = parent;
        }
        let value = match &shown.value {
            None => "\"(secret)\"".to_owned(),
            Some(value) if is_bare(&shown.path) => value.clone(),
            Some(value) => json!(value).to_string(),
        };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{:<43} # {}", format!("{key} = {value}"), shown.origin);
    }
    text
}

/// The section and the key as TOML writes them.
fn split(path: &str) -> (String, String) {
    if let Some(property) = path.strip_prefix("kafka.properties.") {
        return ("kafka.properties".into(), json!(property).to_string());
    }
    let depth = match path.split('.').next() {
        Some("projections") => 2,
        Some("defaults") => 1,
        _ => path.matches('.').count(),
    };
    let at = path.match_indices('.').nth(depth.saturating_sub(1)).filter(|_| depth > 0);
    at.map_or_else(|| (String::new(), path.to_owned()), |(at, _)| (path[..at].to_owned(), path[at + 1..].to_owned()))
}

fn is_bare(path: &str) -> bool {
    if path == TOKENS {
        return true;
    }
    let projection_path = match path.split_once('.') {
        Some(("defaults", rest)) => rest,
        Some(("projections", rest)) => rest.split_once('.').map_or(rest, |(_, rest)| rest),
        _ => "",
    };
    KEYS.iter().any(|key| key.path == path && matches!(key.kind, Kind::Integer { .. } | Kind::Boolean(_)))
        || PROJECTION_KEYS
            .iter()
            .any(|key| key.path == projection_path && matches!(key.kind, Kind::Integer { .. } | Kind::Boolean(_)))
}

/// JSON Schema (2020-12) of `laterna.toml`, for editors.
pub fn schema() -> Value {
    let mut root = section(
        "Configuration of Laterna. Every key has a default; relative paths are relative to the working directory.",
    );
    for key in KEYS {
        insert(&mut root, key.path, leaf(key));
    }
    let scalar = json!({ "anyOf": [{ "type": ["string", "integer", "number", "boolean"] }, reference()] });
    let properties = json!({
        "type": "object",
        "description": "Passed to librdkafka as they are; keys that the engine owns are refused.",
        "additionalProperties": scalar,
    });
    insert(&mut root, "kafka.properties", properties);
    let token = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "Whose it is, for the audit.", "pattern": "^[A-Za-z0-9_.@-]{1,64}$" },
            "role": { "enum": ["viewer", "operator"], "description": "What it allows: looking, or changing as well." },
            "token": reference(),
        },
        "required": ["name", "role", "token"],
        "additionalProperties": false,
    });
    let tokens = json!({ "type": "array", "items": token, "description": "Who may use the API; without any, everything is allowed on loopback." });
    insert(&mut root, TOKENS, tokens);
    let mut projection = section("Options of a projection.");
    for key in PROJECTION_KEYS {
        insert(&mut projection, key.path, leaf(key));
    }
    let mut defaults = projection.clone();
    defaults["description"] = json!("What holds for every projection unless [projections.NAME] says otherwise.");
    insert(&mut root, "defaults", defaults);
    let projections = json!({
        "type": "object",
        "description": "By the name of the projection.",
        "propertyNames": { "pattern": "^[a-z][a-z0-9_]{0,47}$" },
        "additionalProperties": projection,
    });
    insert(&mut root, "projections", projections);
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("laterna.toml");
    root
}

fn section(meaning: &str) -> Value {
    json!({ "type": "object", "description": meaning, "properties": {}, "additionalProperties": false })
}

fn insert(parent: &mut Value, path: &str, leaf: Value) {
    match path.split_once('.') {
        None => parent["properties"][path] = leaf,
        Some((name, rest)) => {
            let properties = parent["properties"].as_object_mut();
            let child =
                properties.map(|properties| properties.entry(name).or_insert_with(|| section(&format!("[{name}]"))));
            if let Some(child) = child {
                insert(child, rest, leaf);
            }
        }
    }
}

fn reference() -> Value {
    let one = |name: &str| json!({ "type": "object", "properties": { name: { "type": "string" } }, "required": [name], "additionalProperties": false });
    json!({ "description": "Where the value stands: an environment variable or a file.", "oneOf": [one("env"), one("file")] })
}

fn leaf<T>(key: &Key<T>) -> Value {
    let bounds = |min: String, max: String| format!("{} From {min} to {max}.", key.meaning);
    let (mut leaf, meaning) = match &key.kind {
        Kind::Text(_) | Kind::Secret(_) => {
            (json!({ "anyOf": [{ "type": "string" }, reference()] }), key.meaning.to_owned())
        }
        Kind::List(_) => (
            json!({ "anyOf": [{ "type": "array", "items": { "type": "string" } }, { "type": "string" }] }),
            key.meaning.to_owned(),
        ),
        Kind::Boolean(_) => (json!({ "type": "boolean" }), key.meaning.to_owned()),
        Kind::Integer { min, max, .. } => {
            (json!({ "type": "integer", "minimum": min, "maximum": max }), key.meaning.to_owned())
        }
        Kind::Size { min, max, .. } => (
            json!({ "type": "string", "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)$" }),
            bounds(parse::show_size(*min), parse::show_size(*max)),
        ),
        Kind::Time { min, max, .. } => (
            json!({ "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h)$" }),
            bounds(parse::show_duration(*min), parse::show_duration(*max)),
        ),
        Kind::Choice { values, .. } => (json!({ "enum": values }), key.meaning.to_owned()),
        Kind::Topics { formats, .. } => {
            let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
            let one = json!({ "enum": names });
            let table =
                json!({ "type": "object", "additionalProperties": one, "description": "By the name of the topic." });
            (json!({ "anyOf": [one, table] }), key.meaning.to_owned())
        }
    };
    let mut extra = Map::new();
    let environment = key.env.iter().map(|name| format!(" {name}")).collect::<String>();
    let environment =
        if environment.is_empty() { environment } else { format!(" Default from the environment:{environment}.") };
    extra.insert("description".into(), json!(format!("{meaning}{environment}")));
    let default = match &key.kind {
        Kind::Boolean(_) | Kind::Integer { .. } => serde_json::from_str(key.default).unwrap_or(Value::Null),
        _ => json!(key.default),
    };
    extra.insert("default".into(), default);
    if let Some(object) = leaf.as_object_mut() {
        object.append(&mut extra);
    }
    leaf
}

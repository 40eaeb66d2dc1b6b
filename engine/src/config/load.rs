//! From files, variables and arguments to one [`Config`]: collects what was given, layer by layer, then applies it through the
//! table of keys. Hides TOML. A problem never stops the search for the next one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeArray, DeTable, DeValue};

use super::keys::{self, KEYS, Key, Kind, PROJECTION_KEYS, PROPERTIES, PROPERTY_VARIABLES, TOKENS};
use super::show::Shown;
use super::tokens::{self, TokenConfig, TokenRole};
use super::{Config, ProjectionConfig, Secret, parse};
use crate::format::Format;

/// The file that is read where none is named, if it exists.
const FILE_DEFAULT: &str = "laterna.toml";
/// No configuration is longer; bounds what a wrong path can make us read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where options come from.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The configuration file.
    pub file: ConfigFile,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// `KEY=VALUE` arguments.
    pub overrides: Vec<String>,
}

/// Which file is read.
#[derive(Clone, Debug, Default)]
pub enum ConfigFile {
    /// `laterna.toml` in the working directory, if there is one.
    #[default]
    IfPresent,
    /// This one; it must exist.
    Named(PathBuf),
    /// None at all.
    Absent,
}

/// A configuration, and where each value came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The validated options.
    pub config: Config,
    /// Every key with its value (secrets masked) and its origin.
    pub shown: Vec<Shown>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where it was given: `laterna.toml:12`, `environment variable X`, `--set`.
    pub place: String,
    /// The key, where there is one.
    pub key: String,
    /// What is wrong and what is right instead.
    pub message: String,
}

/// Everything that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Never empty.
    pub problems: Vec<ConfigProblem>,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "the configuration has {count} problem{}:", if count == 1 { "" } else { "s" })?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads all layers, lays them over each other and validates the result.
    ///
    /// # Errors
    /// All problems at once.
    pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigError> {
        let mut reader = Reader {
            environment: &inputs.environment,
            given: BTreeMap::new(),
            names: Vec::new(),
            tokens: None,
            problems: Vec::new(),
        };
        reader.well_known_variables();
        let file = match &inputs.file {
            ConfigFile::IfPresent => reader.file(Path::new(FILE_DEFAULT), true),
            ConfigFile::Named(path) => reader.file(path, false),
            ConfigFile::Absent => None,
        };
        reader.variables();
        reader.token_variables();
        inputs.overrides.iter().for_each(|text| reader.argument(text));
        let (config, shown) = reader.build();
        if reader.problems.is_empty() {
            return Ok(Loaded { config, shown, file });
        }
        Err(ConfigError { problems: reader.problems })
    }
}

/// A value as it was given, before it is known what it should be.
struct Given {
    text: String,
    kind: GivenKind,
    /// It came through a reference, so nothing may repeat it.
    referenced: bool,
    origin: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum GivenKind {
    /// From a variable or an argument: no type of its own.
    Untyped,
    Text,
    Integer,
    Float,
    Boolean,
}

struct Reader<'a> {
    environment: &'a BTreeMap<String, String>,
    /// By full path; a later layer replaces an earlier one.
    given: BTreeMap<String, Given>,
    /// Projections that have a section, even an empty one.
    names: Vec<String>,
    /// Those that are well, and where they stand; none where the key is not given.
    tokens: Option<(Vec<TokenConfig>, String)>,
    problems: Vec<ConfigProblem>,
}

/// What a path leads to.
enum Place {
    Engine(&'static Key<Config>),
    Defaults,
    Projection(&'static Key<ProjectionConfig>),
    Property,
}

fn resolve(path: &str) -> Option<Place> {
    if let Some(key) = KEYS.iter().find(|key| key.path == path) {
        return Some(Place::Engine(key));
    }
    let projection_key = |rest: &str| PROJECTION_KEYS.iter().find(|key| key.path == rest);
    match path.split_once('.')? {
        ("defaults", rest) => projection_key(rest).map(|_| Place::Defaults),
        ("projections", rest) => projection_key(rest.split_once('.')?.1).map(Place::Projection),
        _ => path.strip_prefix(PROPERTIES)?.strip_prefix('.').filter(|name| !name.is_empty()).map(|_| Place::Property),
    }
}

fn is_list(path: &str) -> bool {
    KEYS.iter().any(|key| key.path == path && matches!(key.kind, Kind::List(_)))
}

fn is_topics(path: &str) -> bool {
    let rest = match path.split_once('.') {
        Some(("defaults", rest)) => Some(rest),
        Some(("projections", rest)) => rest.split_once('.').map(|(_, rest)| rest),
        _ => None,
    };
    rest.is_some_and(|rest| {
        PROJECTION_KEYS.iter().any(|key| key.path == rest && matches!(key.kind, Kind::Topics { .. }))
    })
}

fn is_section(path: &str) -> bool {
    let is_below = |parent: &str, key: &str| {
        parent.is_empty() || key.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'))
    };
    let below_projection = |parent: &str| PROJECTION_KEYS.iter().any(|key| is_below(parent, key.path));
    if matches!(path, "projections" | "defaults" | PROPERTIES) || KEYS.iter().any(|key| is_below(path, key.path)) {
        return true;
    }
    match path.split_once('.') {
        Some(("defaults", rest)) => below_projection(rest),
        Some(("projections", rest)) => below_projection(rest.split_once('.').map_or("", |(_, rest)| rest)),
        _ => false,
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 48
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The known path that somebody who wrote `path` most likely meant.
fn suggestion(path: &str) -> Option<String> {
    let (prefix, rest) = match path.split_once('.') {
        Some(("defaults", _)) => ("defaults.".to_owned(), true),
        Some(("projections", rest)) => {
            (format!("projections.{}.", rest.split_once('.').map_or(rest, |(name, _)| name)), true)
        }
        _ => (String::new(), false),
    };
    let candidates: Vec<String> = if rest {
        PROJECTION_KEYS.iter().map(|key| format!("{prefix}{}", key.path)).collect()
    } else {
        let sections = [
            "http",
            TOKENS,
            "metrics",
            "database",
            "kafka",
            PROPERTIES,
            "file",
            "schema_registry",
            "defaults",
            "projections",
        ];
        KEYS.iter().map(|key| key.path).chain(sections).map(str::to_owned).collect()
    };
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |candidate: &String| {
        let whole = strsim::normalized_damerau_levenshtein(path, candidate);
        let end = 0.95 * strsim::normalized_damerau_levenshtein(&last(path), &last(candidate));
        whole.max(end)
    };
    let best =
        candidates.into_iter().map(|candidate| (likeness(&candidate), candidate)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.6).then_some(best.1)
}

impl Reader<'_> {
    fn problem(&mut self, place: &str, key: &str, message: impl Into<String>) {
        self.problems.push(ConfigProblem { place: place.into(), key: key.into(), message: message.into() });
    }

    fn give(&mut self, path: &str, given: Given) {
        if resolve(path).is_none() {
            return self.unknown(&given.origin, path);
        }
        if let Some(name) = path.strip_prefix("projections.").and_then(|rest| rest.split('.').next())
            && !is_name(name)
        {
            return self.problem(
                &given.origin,
                path,
                format!("{name:?} is no name of a projection; names match [a-z][a-z0-9_]*"),
            );
        }
        if let Some(variable) = parse::spliced_variable(&given.text).filter(|_| !given.referenced) {
            let message = format!(
                "`${{{variable}}}` is not replaced in here; write {{ env = \"{variable}\" }} for the whole value"
            );
            return self.problem(&given.origin, path, message);
        }
        self.given.insert(path.to_owned(), given);
    }

    fn unknown(&mut self, origin: &str, path: &str) {
        let message = if path == TOKENS || path.strip_prefix(TOKENS).is_some_and(|rest| rest.starts_with('.')) {
            format!("is a list that stands in the file only; {}", tokens::HOW_TO)
        } else if is_section(path) {
            "is a section, not a value".to_owned()
        } else {
            match suggestion(path) {
                Some(known) => format!("unknown key; did you mean `{known}`?"),
                None => "unknown key; `laterna config show` lists all keys".to_owned(),
            }
        };
        self.problem(origin, path, message);
    }

    /// The value of a variable or of the file that `NAME_FILE` names, and how it is called.
    fn variable(&mut self, name: &str, path: &str) -> Option<Given> {
        if let Some(text) = self.environment.get(name) {
            return Some(Given {
                text: text.clone(),
                kind: GivenKind::Untyped,
                referenced: false,
                origin: format!("environment variable {name}"),
            });
        }
        let name = format!("{name}_FILE");
        let file = self.environment.get(&name)?.clone();
        let origin = format!("environment variable {name}");
        let text = self.secret_file(&origin, path, &file)?;
        Some(Given { text, kind: GivenKind::Untyped, referenced: true, origin })
    }

    fn well_known_variables(&mut self) {
        for key in KEYS {
            let found = key.env.iter().find_map(|name| self.variable(name, key.path));
            if let Some(given) = found {
                self.give(key.path, given);
            }
        }
        for (name, property) in PROPERTY_VARIABLES {
            let path = format!("{PROPERTIES}.{property}");
            if let Some(given) = self.variable(name, &path) {
                self.give(&path, given);
            }
        }
    }

    /// `LATERNA__SECTION__KEY`.
    fn variables(&mut self) {
        for (name, text) in self.environment {
            let Some(rest) = name.strip_prefix("LATERNA__") else { continue };
            let path = variable_path(&rest.to_ascii_lowercase());
            let origin = format!("environment variable {name}");
            self.give(&path, Given { text: text.clone(), kind: GivenKind::Untyped, referenced: false, origin });
        }
    }

    /// `--set KEY=VALUE`.
    fn argument(&mut self, argument: &str) {
        match argument.split_once('=') {
            Some((path, text)) => {
                let given = Given {
                    text: text.to_owned(),
                    kind: GivenKind::Untyped,
                    referenced: false,
                    origin: "--set".into(),
                };
                self.give(path.trim(), given);
            }
            None => self.problem("--set", "", "write it as KEY=VALUE, for example --set http.listen=127.0.0.1:9000"),
        }
    }

    fn file(&mut self, path: &Path, may_be_absent: bool) -> Option<PathBuf> {
        let place = path.display().to_string();
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(error) if may_be_absent && error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.problem(&place, "", format!("cannot be read: {error}; name an existing file with -c"));
                return None;
            }
        };
        match DeTable::parse(&text) {
            Ok(table) => self.table(&File { place: &place, text: &text }, "", table.get_ref()),
            // The error's own display repeats the line, which may hold a secret.
            Err(error) => {
                let line = line_of(&text, error.span().map_or(0, |span| span.start));
                self.problem(&format!("{place}:{line}"), "", format!("not TOML: {}", error.message()));
            }
        }
        Some(path.to_owned())
    }

    fn table(&mut self, file: &File<'_>, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            let origin = file.origin(key.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => self.inner_table(file, &path, &origin, inner),
                DeValue::String(text) => self.scalar(&path, GivenKind::Text, text, origin),
                DeValue::Integer(number) if number.radix() == 10 => {
                    self.scalar(&path, GivenKind::Integer, number.as_str(), origin)
                }
                DeValue::Float(number) => self.scalar(&path, GivenKind::Float, number.as_str(), origin),
                DeValue::Boolean(value) => self.scalar(&path, GivenKind::Boolean, &value.to_string(), origin),
                DeValue::Array(tokens) if path == TOKENS => self.tokens(tokens, &origin),
                DeValue::Array(items) if is_list(&path) => self.list(&path, items, origin),
                other if resolve(&path).is_some() => {
                    self.problem(&origin, &path, format!("takes no {}", other.type_str()))
                }
                _ => self.unknown(&origin, &path),
            }
        }
    }

    fn scalar(&mut self, path: &str, kind: GivenKind, text: &str, origin: String) {
        self.give(path, Given { text: text.to_owned(), kind, referenced: false, origin });
    }

    /// A section, a reference to a secret, or a property whose name was written with bare dots.
    fn inner_table(&mut self, file: &File<'_>, path: &str, origin: &str, table: &DeTable<'_>) {
        let place = resolve(path);
        let referable = match &place {
            Some(Place::Engine(key)) => matches!(key.kind, Kind::Text(_) | Kind::Secret(_)),
            Some(Place::Property) => is_reference(table),
            _ => false,
        };
        match place {
            _ if referable => self.reference(path, origin, table),
            _ if is_topics(path) => self.topics(path, origin, table),
            Some(Place::Property) => self.table(file, path, table),
            Some(_) => self.problem(origin, path, "takes one value, not a table"),
            None if is_section(path) => {
                if let Some(name) = path.strip_prefix("projections.").filter(|name| is_name(name)) {
                    self.names.push(name.to_owned());
                }
                self.table(file, path, table);
            }
            None => self.unknown(origin, path),
        }
    }

    /// A table of topics, as one text with commas.
    fn topics(&mut self, path: &str, origin: &str, table: &DeTable<'_>) {
        let mut pairs = Vec::new();
        for (topic, word) in table {
            let topic = topic.get_ref();
            match word.get_ref().as_str() {
                Some(word) if !topic.contains([',', '=']) => pairs.push(format!("{topic}={word}")),
                _ => {
                    let hint = "takes a word, or a table of topics with a word each; a topic with a dot in its name stands in quotes: { \"shop.orders\" = \"avro\" }";
                    return self.problem(origin, path, hint);
                }
            }
        }
        if !pairs.is_empty() {
            self.scalar(path, GivenKind::Text, &pairs.join(","), origin.to_owned());
        }
    }

    /// A list of texts, as one text with commas.
    fn list(&mut self, path: &str, items: &DeArray<'_>, origin: String) {
        let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
        match texts {
            Some(texts) if texts.iter().all(|text| !text.contains(',')) => {
                self.scalar(path, GivenKind::Text, &texts.join(","), origin);
            }
            _ => self.problem(&origin, path, "takes a list of texts in quotes"),
        }
    }

    /// `[{ name = "ci", role = "operator", token = { file = "PATH" } }]`.
    fn tokens(&mut self, list: &DeArray<'_>, origin: &str) {
        self.tokens = Some((Vec::new(), origin.to_owned()));
        for item in list {
            let entry = item.get_ref().as_table().ok_or_else(|| "takes tables".to_owned()).and_then(tokens::entry);
            match entry {
                Ok(entry) => {
                    if let Some(text) = self.referenced(TOKENS, origin, entry.kind, entry.target) {
                        self.token(entry.name, entry.role, &text, origin);
                    }
                }
                Err(message) => self.problem(origin, TOKENS, message),
            }
        }
    }

    /// `LATERNA_OPERATOR_TOKEN` and `LATERNA_VIEWER_TOKEN`, for containers without a file.
    fn token_variables(&mut self) {
        for (variable, role) in tokens::VARIABLES {
            // Set to nothing is how a compose file says that it is not set.
            if let Some(given) = self.variable(variable, TOKENS).filter(|given| !given.text.is_empty()) {
                self.token(role.name(), role, &given.text, &given.origin);
            }
        }
    }

    fn token(&mut self, name: &str, role: TokenRole, text: &str, origin: &str) {
        let digest = match tokens::digest(name, text.trim()) {
            Ok(digest) => digest,
            Err(message) => return self.problem(origin, TOKENS, message),
        };
        let (found, _) = self.tokens.get_or_insert_with(|| (Vec::new(), origin.to_owned()));
        if found.iter().any(|other| other.name == name) {
            return self.problem(origin, TOKENS, format!("there are two tokens named {name:?}"));
        }
        if found.iter().any(|other| other.digest == digest) {
            return self.problem(origin, TOKENS, format!("the token {name:?} is the same as another one"));
        }
        found.push(TokenConfig { name: name.to_owned(), role, digest });
    }

    /// What a variable or a file holds.
    fn referenced(&mut self, path: &str, origin: &str, kind: &str, target: &str) -> Option<String> {
        if kind != "env" {
            return self.secret_file(origin, path, target);
        }
        let value = self.environment.get(target).cloned();
        if value.is_none() {
            self.problem(origin, path, format!("the environment variable {target} is not set"));
        }
        value
    }

    /// `{ env = "NAME" }` or `{ file = "PATH" }`.
    fn reference(&mut self, path: &str, origin: &str, table: &DeTable<'_>) {
        if !is_reference(table) {
            return self.problem(
                origin,
                path,
                "a reference is { env = \"NAME\" } or { file = \"PATH\" }, with nothing else in it",
            );
        }
        for (kind, target) in table {
            let Some(target) = target.get_ref().as_str() else { continue };
            if let Some(text) = self.referenced(path, origin, kind.get_ref(), target) {
                let origin = format!("{origin}, {} {target}", kind.get_ref());
                self.give(path, Given { text, kind: GivenKind::Text, referenced: true, origin });
            }
        }
    }

    fn secret_file(&mut self, origin: &str, path: &str, file: &str) -> Option<String> {
        match read_bounded(Path::new(file)) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                self.problem(origin, path, format!("the file {file} cannot be read: {error}"));
                None
            }
        }
    }

    fn build(&mut self) -> (Config, Vec<Shown>) {
        let mut config = keys::blank();
        let mut shown = Vec::new();
        let given = std::mem::take(&mut self.given);
        for key in KEYS {
            self.apply(key, &mut config, key.path.to_owned(), given.get(key.path), &mut shown);
        }
        for (path, value) in &given {
            if let Some(name) = path.strip_prefix(PROPERTIES).and_then(|rest| rest.strip_prefix('.')) {
                config.kafka.properties.insert(name.to_owned(), Secret::new(value.text.clone()));
                let text = (!value.referenced && !is_sensitive(name)).then(|| value.text.clone());
                shown.push(Shown { path: path.clone(), value: text, origin: value.origin.clone() });
            }
        }
        for key in PROJECTION_KEYS {
            let path = format!("defaults.{}", key.path);
            let value = given.get(&path);
            self.apply(key, &mut config.defaults, path, value, &mut shown);
        }
        for name in std::mem::take(&mut self.names) {
            config.projections.insert(name, config.defaults.clone());
        }
        for (path, value) in &given {
            let Some(Place::Projection(key)) = resolve(path) else { continue };
            let name = path.split('.').nth(1).unwrap_or_default();
            let target = config.projections.entry(name.to_owned()).or_insert_with(|| config.defaults.clone());
            self.apply(key, target, path.clone(), Some(value), &mut shown);
        }
        let are_tokens_given = self.tokens.is_some();
        if let Some((tokens, origin)) = self.tokens.take() {
            let place = shown.iter().rposition(|shown| shown.path.starts_with("http.")).map_or(0, |last| last + 1);
            shown.insert(place, Shown { path: TOKENS.to_owned(), value: Some(tokens::shown(&tokens)), origin });
            config.http.tokens = tokens;
        }
        self.check_whole(&config, given.get("http.listen"), are_tokens_given);
        self.check_formats(&config, &given);
        (config, shown)
    }

    fn apply<T>(&mut self, key: &Key<T>, target: &mut T, path: String, given: Option<&Given>, shown: &mut Vec<Shown>) {
        let (text, origin) =
            given.map_or((key.default, "default"), |given| (given.text.as_str(), given.origin.as_str()));
        if let Some(message) = given.and_then(|given| wrong_type(&key.kind, given.kind)) {
            return self.problem(origin, &path, message);
        }
        match key.apply(target, text) {
            Ok(value) => {
                let value = match value {
                    None if path == "database.url" => Some(parse::masked_url(text)),
                    value => value,
                };
                shown.push(Shown { path, value, origin: origin.to_owned() });
            }
            Err(_) if given.is_some_and(|given| given.referenced) && !matches!(key.kind, Kind::Secret(_)) => {
                self.problem(origin, &path, "what its reference holds is no valid value of this key");
            }
            Err(message) => self.problem(origin, &path, message),
        }
    }

    /// What cannot be read without a schema registry.
    fn check_formats(&mut self, config: &Config, given: &BTreeMap<String, Given>) {
        let registry = &config.schema_registry;
        if registry.url.is_some() || self.problems.iter().any(|problem| problem.key.starts_with("schema_registry.")) {
            return;
        }
        for (path, value) in given.iter().filter(|(path, _)| is_topics(path)) {
            let formats = Format::ALL.into_iter().filter(|format| format.needs_registry());
            let is_named = |format: &Format| value.text.split([',', '=']).any(|word| word.trim() == format.name());
            if let Some(format) = formats.into_iter().find(is_named) {
                let message = format!(
                    "{:?} is read with the schemas of a registry, and none is named: set schema_registry.url, or SCHEMA_REGISTRY_URL",
                    format.name()
                );
                self.problem(&value.origin, path, message);
            }
        }
    }

    /// What depends on more than one key.
    fn check_whole(&mut self, config: &Config, listen: Option<&Given>, are_tokens_given: bool) {
        let address = config.http.listen;
        let is_guarded = if are_tokens_given { !config.http.tokens.is_empty() } else { config.http.allow_remote };
        // Tokens that are wrong have been told of already.
        if !address.ip().is_loopback() && !is_guarded && self.problems.iter().all(|problem| problem.key != TOKENS) {
            let origin = listen.map_or("default", |given| given.origin.as_str());
            let message = format!(
                "{address} can be reached from other machines and no token guards it; {}; or listen on 127.0.0.1, or set http.allow_remote = true \
                 (in a container): then everybody who reaches it may look, and nobody may change anything",
                tokens::HOW_TO
            );
            self.problem(origin, "http.listen", message);
        }
    }
}

fn wrong_type<T>(kind: &Kind<T>, given: GivenKind) -> Option<&'static str> {
    use GivenKind::{Boolean, Float, Integer, Text, Untyped};
    match (kind, given) {
        (_, Untyped) => None,
        // A bare number as a size or duration gets the message about its unit.
        (Kind::Text(_) | Kind::Secret(_) | Kind::Choice { .. } | Kind::Topics { .. } | Kind::List(_), Text)
        | (Kind::Size { .. } | Kind::Time { .. }, Text | Integer) => None,
        (Kind::Integer { .. }, Integer) | (Kind::Boolean(_), Boolean) => None,
        (Kind::Integer { .. }, Text | Float | Boolean) => Some("takes a whole number, without quotes"),
        (Kind::Boolean(_), _) => Some("takes true or false, without quotes"),
        (Kind::Size { .. }, _) => Some("takes a size in quotes: \"64MiB\""),
        (Kind::Time { .. }, _) => Some("takes a duration in quotes: \"5s\""),
        _ => Some("takes a text in quotes"),
    }
}

fn is_reference(table: &DeTable<'_>) -> bool {
    table.len() == 1
        && table.iter().all(|(key, value)| matches!(key.get_ref().as_ref(), "env" | "file") && value.get_ref().is_str())
}

/// Whether a property's value may be a secret, so that it is not shown.
fn is_sensitive(property: &str) -> bool {
    const SHOWN: [&str; 7] = [
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "ssl.ca.location",
        "ssl.key.location",
        "ssl.certificate.location",
        "client.id",
    ];
    const HIDDEN: [&str; 8] = ["password", "secret", "key", "pem", "token", "config", "jaas", "credential"];
    !SHOWN.contains(&property) && HIDDEN.iter().any(|word| property.contains(word))
}

/// From `kafka__properties__sasl_password` to `kafka.properties.sasl.password`: names of properties have dots and no underscores,
/// names of projections have underscores and no dots.
fn variable_path(variable: &str) -> String {
    if let Some(property) = variable.strip_prefix("kafka__properties__") {
        return format!("{PROPERTIES}.{}", property.replace("__", ".").replace('_', "."));
    }
    let in_projection = variable.strip_prefix("projections__").and_then(|rest| {
        PROJECTION_KEYS.iter().find_map(|key| {
            let name = rest.strip_suffix(&key.path.replace('.', "__"))?.strip_suffix("__")?;
            Some(format!("projections.{name}.{}", key.path))
        })
    });
    in_projection.unwrap_or_else(|| variable.replace("__", "."))
}

struct File<'a> {
    place: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn origin(&self, position: usize) -> String {
        format!("{}:{}", self.place, line_of(self.text, position))
    }
}

fn line_of(text: &str, position: usize) -> usize {
    1 + text.bytes().take(position).filter(|byte| *byte == b'\n').count()
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;

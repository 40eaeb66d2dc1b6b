//! CloudEvents and Debezium: what stands around an event's data. Pure.
//!
//! A CloudEvent leaves as the one JSON text of its structured form, however it came; a Debezium change leaves as its envelope, without Kafka
//! Connect's wrapper around it. Invariants: what has been read once is read again as the same; what lacks what every reader needs is an
//! error that names it; a null value stays a tombstone.

use std::borrow::Cow;

use base64::Engine as _;
use serde_json::value::RawValue;

use crate::event::Header;

/// The content type of a CloudEvent that is one JSON text.
pub(super) const STRUCTURED: &str = "application/cloudevents+json";

const CONTENT_TYPE: &str = "content-type";

/// The attributes that every CloudEvent has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// An object's members in their order.
type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// The structured form of a CloudEvent, where it came in another one. None: it is there already.
///
/// # Errors
/// What it lacks, for people.
pub(super) fn cloudevent(headers: &[Header], value: &[u8]) -> Result<Option<String>, String> {
    let content_type = last(headers, CONTENT_TYPE)?;
    let essence = content_type.map(essence);
    match essence.as_deref() {
        Some(STRUCTURED) => structured(value).map(|()| None),
        Some("application/cloudevents-batch+json") => {
            Err("it is a batch of CloudEvents, and Kafka's binding has none: one event a record".to_owned())
        }
        Some(other) if other.starts_with("application/cloudevents") => {
            Err(format!("its content-type is {other:?}; of the structured forms only {STRUCTURED} is read"))
        }
        _ if headers.iter().any(|header| header.name == "ce_specversion") => {
            binary(headers, content_type, value).map(Some)
        }
        // As files have it, where nobody writes headers.
        None if members(value).is_ok_and(|members| members.iter().any(|(name, _)| name == "specversion")) => {
            structured(value).map(|()| None)
        }
        _ => Err(format!("it has neither the header ce_specversion nor the content-type {STRUCTURED}")),
    }
}

/// Sets the header that says what the value is now.
pub(super) fn set_content_type(headers: &mut Vec<Header>) {
    headers.retain(|header| header.name != CONTENT_TYPE);
    headers.push(Header { name: CONTENT_TYPE.to_owned(), value: Some(STRUCTURED.as_bytes().to_vec()) });
}

fn last<'a>(headers: &'a [Header], name: &str) -> Result<Option<&'a str>, String> {
    let header = headers.iter().rev().find(|header| header.name == name);
    let value = header.and_then(|header| header.value.as_deref());
    value.map(|bytes| std::str::from_utf8(bytes).map_err(|_| format!("the header {name} is not UTF-8"))).transpose()
}

/// A content type without its parameters.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn structured(value: &[u8]) -> Result<(), String> {
    let members = members(value)?;
    let missing: Vec<&str> = REQUIRED
        .into_iter()
        .filter(|name| {
            let found = members.iter().find(|(member, _)| member == name);
            let text = found.and_then(|(_, value)| serde_json::from_str::<Cow<'_, str>>(value.get()).ok());
            text.is_none_or(|text| text.is_empty())
        })
        .collect();
    lacks(&missing)?;
    let version = members.iter().find(|(name, _)| name == "specversion").map_or("", |(_, value)| value.get());
    speaks(version.trim_matches('"'))
}

fn lacks(missing: &[&str]) -> Result<(), String> {
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("it lacks {} (a text that is not empty)", missing.join(", ")))
}

fn speaks(version: &str) -> Result<(), String> {
    if version == "1.0" { Ok(()) } else { Err(format!("its specversion is {version:?}; 1.0 is read")) }
}

/// Attributes in headers, data in the value.
fn binary(headers: &[Header], content_type: Option<&str>, value: &[u8]) -> Result<String, String> {
    let mut attributes: Vec<(&str, &str)> = Vec::new();
    for name in REQUIRED {
        let value = last(headers, &format!("ce_{name}"))?.unwrap_or_default();
        attributes.push((name, value));
    }
    let missing: Vec<&str> = attributes.iter().filter(|(_, value)| value.is_empty()).map(|(name, _)| *name).collect();
    lacks(&missing)?;
    speaks(attributes.first().map_or("", |(_, version)| version))?;
    for header in headers {
        let Some(name) = header.name.strip_prefix("ce_") else { continue };
        let is_member = ["data", "data_base64", "datacontenttype"].contains(&name);
        if !is_member
            && !attributes.iter().any(|(known, _)| *known == name)
            && let Some(value) = last(headers, &header.name)?
        {
            attributes.push((name, value));
        }
    }
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = attributes.iter().map(|(name, value)| format!("{}:{}", text(name), text(value))).collect::<Vec<_>>();
    if let Some(content_type) = content_type {
        out.push(format!("\"datacontenttype\":{}", text(content_type)));
    }
    out.extend(data(content_type, value)?);
    Ok(format!("{{{}}}", out.join(",")))
}

/// The data's member, or none where there is no data.
fn data(content_type: Option<&str>, value: &[u8]) -> Result<Option<String>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    let essence = content_type.map(essence);
    let base64 = || format!("\"data_base64\":\"{}\"", base64::engine::general_purpose::STANDARD.encode(value));
    let utf8 = std::str::from_utf8(value);
    let json = || utf8.ok().and_then(|utf8| serde_json::from_str::<&RawValue>(utf8).ok());
    match essence.as_deref() {
        None => Ok(Some(json().map_or_else(base64, |json| format!("\"data\":{}", json.get())))),
        Some(kind) if kind.ends_with("/json") || kind.ends_with("+json") => {
            let json = json().ok_or_else(|| format!("its content-type is {kind:?}, and its data is no JSON"))?;
            Ok(Some(format!("\"data\":{}", json.get())))
        }
        Some(kind) if kind.starts_with("text/") || kind.ends_with("/xml") || kind.ends_with("+xml") => {
            Ok(Some(utf8.map_or_else(|_| base64(), |utf8| format!("\"data\":{}", serde_json::Value::from(utf8)))))
        }
        Some(_) => Ok(Some(base64())),
    }
}

/// What becomes of a payload behind Kafka Connect's wrapper.
pub(super) enum Unwrapped<'a> {
    /// There was none around it.
    Same,
    /// This was in it.
    Inner(&'a str),
    /// Nothing was in it.
    Null,
}

/// Takes off `{"schema": .., "payload": ..}`.
pub(super) fn connect(value: &[u8]) -> Result<Unwrapped<'_>, String> {
    let Ok(found) = members(value) else { return Ok(Unwrapped::Same) };
    let is_wrapper = found.len() == 2 && found.iter().any(|(name, _)| name == "schema");
    match found.into_iter().find(|(name, _)| name == "payload") {
        Some((_, payload)) if is_wrapper && payload.get() == "null" => Ok(Unwrapped::Null),
        Some((_, payload)) if is_wrapper => Ok(Unwrapped::Inner(payload.get())),
        _ => Ok(Unwrapped::Same),
    }
}

/// Looks at a change of Debezium's: that it is one, and has what its operation needs.
///
/// # Errors
/// What it lacks, for people.
pub(super) fn debezium(value: &[u8]) -> Result<(), String> {
    let members = members(value)?;
    let member = |wanted: &str| members.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.get());
    let has = |name: &str| member(name).is_some_and(|value| value.starts_with('{'));
    let op = member("op").ok_or(
        "it has no \"op\": it is no change of Debezium's (where a transform like ExtractNewRecordState has unwrapped it, it is plain JSON: format = \"json\")",
    )?;
    match op.trim_matches('"') {
        "c" | "r" | "u" if !has("after") => Err(format!("its op is {op}, and it has no row in \"after\"")),
        "d" if has("after") => Err(format!("its op is {op}, and it has a row in \"after\"")),
        "c" | "r" | "u" | "d" | "t" | "m" => Ok(()),
        _ => Err(format!("its op is {op}; \"c\", \"r\", \"u\", \"d\", \"t\" and \"m\" are known")),
    }
}

fn members(value: &[u8]) -> Result<Members<'_>, String> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Members<'de>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    let text = std::str::from_utf8(value).map_err(|_| "it is not UTF-8, so it is no JSON".to_owned())?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = serde::Deserializer::deserialize_map(&mut reader, Visitor);
    members.and_then(|members| reader.end().map(|()| members)).map_err(|error| format!("it is no JSON object: {error}"))
}

/// Whether it is one JSON document in UTF-8.
///
/// # Errors
/// Where it is not, for people.
pub(super) fn json(value: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(value).map_err(|error| format!("it is not UTF-8 (byte {})", error.valid_up_to()))?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(drop).map_err(|error| format!("it is no JSON: {error}"))
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;

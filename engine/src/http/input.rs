//! What requests bring: path segments, queries, JSON bodies, and who asks. Whatever is wrong is told as a problem, never as plain text.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Api;
use super::access::Caller;
use super::problem::Problem;
use crate::control::{Actor, Asked};

/// The one variable segment of a path.
pub(super) struct Segment(pub(super) String);

impl FromRequestParts<Arc<Api>> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, api).await;
        path.map(|Path(text)| Self(text)).map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "path_invalid", "the address holds what is not UTF-8 text")
        })
    }
}

/// The query; an unknown name in it is an error.
pub(super) struct Asks<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Api>> for Asks<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(query)| Self(query))
            .map_err(|error| Problem::bad_query(error.body_text()))
    }
}

/// Who asks for a change, and under which key.
pub(super) struct By(pub(super) Asked);

impl FromRequestParts<Arc<Api>> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Problem> {
        // Set by the guard; without it nobody is known.
        let caller = parts.extensions.get::<Caller>();
        let Some((caller, role)) = caller.and_then(|caller| Some((caller, caller.role?))) else {
            return Err(Problem::new(StatusCode::FORBIDDEN, "route_without_rule", "it is not known who asks"));
        };
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let key = match (keys.next(), keys.next()) {
            (None, _) => None,
            (Some(key), None) => Some(idempotency_key(key.as_bytes())?),
            (Some(_), Some(_)) => return Err(bad_key()),
        };
        let actor = Actor { name: caller.name.clone(), role: role.name().to_owned(), source: caller.address.clone() };
        Ok(Self(Asked { actor, idempotency_key: key, request: None }))
    }
}

fn idempotency_key(key: &[u8]) -> Result<String, Problem> {
    let is_well = (1..=128).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(key).ok().filter(|_| is_well).map(str::to_owned).ok_or_else(bad_key)
}

fn bad_key() -> Problem {
    let detail = "the header Idempotency-Key holds one key of 1 to 128 visible ASCII characters";
    Problem::new(StatusCode::BAD_REQUEST, "idempotency_key_invalid", detail)
}

/// A JSON object with known members.
pub(super) trait Members: DeserializeOwned {
    /// The names of all members.
    const NAMES: &'static [&'static str];
}

/// Reads a body; an empty one is an empty object.
pub(super) fn json<T: Members>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "json_invalid", format!("the body is not JSON: {error}"))
    })?;
    let Value::Object(members) = value else {
        return Err(Problem::invalid("the body must be a JSON object"));
    };
    known_members(&members, T::NAMES)?;
    serde_json::from_value(Value::Object(members)).map_err(|error| Problem::invalid(format!("the body: {error}")))
}

fn known_members(members: &Map<String, Value>, names: &[&str]) -> Result<(), Problem> {
    let Some(unknown) = members.keys().find(|member| !names.contains(&member.as_str())) else { return Ok(()) };
    let shown: String = unknown.chars().take(60).collect();
    let alike = names.iter().map(|name| (strsim::normalized_damerau_levenshtein(&shown, name), *name));
    let best = alike.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness >= 0.6);
    let hint = match (best, names) {
        (Some((_, name)), _) => format!("did you mean {name:?}?"),
        (None, []) => "none is taken here".to_owned(),
        (None, _) => format!("known are {}", names.join(", ")),
    };
    Err(Problem::invalid(format!("unknown member {shown:?}; {hint}")))
}

/// A body that may only be an empty object.
#[derive(serde::Deserialize)]
pub(super) struct Nothing {}

impl Members for Nothing {
    const NAMES: &'static [&'static str] = &[];
}

/// `30s`, `500ms`, `5m`, `1h`, or a number of seconds.
pub(super) fn duration(name: &str, text: &str) -> Result<Duration, Problem> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "ms" => Some(1),
        "s" | "" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor)).map(Duration::from_millis).ok_or_else(
        || {
            let shown: String = text.chars().take(40).collect();
            Problem::bad_query(format!("{name}={shown:?} is not a duration; write it as 30s (ms, s, m or h)"))
        },
    )
}

/// A flag without a value, or with one.
pub(super) fn flag(name: &str, text: Option<&str>) -> Result<bool, Problem> {
    match text {
        None | Some("false" | "0") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(_) => Err(Problem::bad_query(format!("{name} is a flag: write {name} or {name}=true"))),
    }
}

/// A number within its bounds.
pub(super) fn within(name: &str, value: u32, min: u32, max: u32) -> Result<u32, Problem> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(Problem::bad_query(format!("{name}={value} is out of bounds: {min} to {max}")))
}

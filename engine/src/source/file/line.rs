//! One line of a file of events. Pure.
//!
//! `{"key": .., "value": .., "headers": .., "timestamp": ..}`, all optional. `topic`, `partition` and `offset` may stand there too, and say where
//! the event was taken from; where it is now, the file and the line's number say. A key is text or `{"base64": ".."}`; a value
//! may also be any other JSON, which is taken as its text without the space between; null or missing is none. Headers are an
//! object, or a list of `[name, value]` where a name repeats. A timestamp is milliseconds, or text as of RFC 3339.

use base64::Engine as _;
use serde_json::value::RawValue;

use crate::event::{Event, Header, TopicPartition};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    headers: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(default, rename = "topic")]
    _topic: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "partition")]
    _partition: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "offset")]
    _offset: Option<serde::de::IgnoredAny>,
}

/// Reads the event at `offset` from its line, without the line's end.
///
/// # Errors
/// What is wrong with the line, for people.
pub fn parse_line(line: &[u8], offset: i64) -> Result<Event, String> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Err("the line is blank; each line is an event, and blank ones would move the offsets".into());
    }
    let text = std::str::from_utf8(line).map_err(|error| {
        format!("byte {} is not UTF-8; give bytes as {{\"base64\": \"..\"}}", error.valid_up_to() + 1)
    })?;
    if !text.trim_start().starts_with('{') {
        return Err("expected an object with key, value, headers, timestamp".into());
    }
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| in_line(&error))?;
    Ok(Event {
        offset,
        timestamp_ms: line.timestamp.map_or(Ok(-1), timestamp)?,
        key: match line.key {
            None => None,
            Some(key) => Some(literal(key).ok_or("key must be text, {\"base64\": \"..\"} or null")??),
        },
        value: match line.value {
            None => None,
            Some(value) => Some(literal(value).unwrap_or_else(|| Ok(compact(value.get())))?),
        },
        headers: line.headers.map_or(Ok(Vec::new()), headers)?,
    })
}

/// Writes an event and its place as a line, without the line's end: what [`parse_line`] reads as the same event. A value that is compact JSON of an
/// object or a list stands as such, other text as a string, and what is not UTF-8 as `{"base64": ".."}`.
pub fn write_line(at: &TopicPartition, event: &Event) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let payload = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(utf8) => text(utf8),
        Err(_) => format!("{{\"base64\":{}}}", text(&base64::engine::general_purpose::STANDARD.encode(bytes))),
    };
    let value = |bytes: &[u8]| {
        let document = std::str::from_utf8(bytes).ok().and_then(|utf8| serde_json::from_str::<&RawValue>(utf8).ok());
        // What would be read as base64, or lose the space between its parts, or is not in one line, stands as text.
        let is_itself = |document: &&RawValue| {
            let is_open = document.get().starts_with(['{', '[']);
            is_open && compact(document.get()) == bytes && literal(document).is_none()
        };
        document.filter(is_itself).map_or_else(|| payload(bytes), |document| document.get().to_owned())
    };
    let mut members = vec![
        format!("\"topic\":{}", text(&at.topic)),
        format!("\"partition\":{}", at.partition),
        format!("\"offset\":{}", event.offset),
    ];
    if event.timestamp_ms >= 0 {
        members.push(format!("\"timestamp\":{}", event.timestamp_ms));
    }
    if let Some(key) = &event.key {
        members.push(format!("\"key\":{}", payload(key)));
    }
    members.push(format!("\"value\":{}", event.value.as_deref().map_or_else(|| "null".to_owned(), value)));
    if !event.headers.is_empty() {
        let value = |header: &Header| header.value.as_deref().map_or_else(|| "null".to_owned(), payload);
        let pairs = event.headers.iter().map(|header| format!("[{},{}]", text(&header.name), value(header)));
        members.push(format!("\"headers\":[{}]", pairs.collect::<Vec<_>>().join(",")));
    }
    format!("{{{}}}", members.join(","))
}

/// serde's message without the line number, which is always 1 here.
fn in_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    format!("column {}: {what}", error.column())
}

/// Text or base64, or none where it's neither.
fn literal(json: &RawValue) -> Option<Result<Vec<u8>, String>> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Base64 {
        base64: String,
    }
    match json.get().as_bytes().first() {
        Some(b'"') => Some(serde_json::from_str::<String>(json.get()).map(String::into_bytes).map_err(|e| in_line(&e))),
        Some(b'{') => {
            let bytes: Base64 = serde_json::from_str(json.get()).ok()?;
            let decoded = base64::engine::general_purpose::STANDARD.decode(bytes.base64);
            Some(decoded.map_err(|error| format!("base64: {error}")))
        }
        _ => None,
    }
}

/// The JSON as written, without the space between its parts.
fn compact(json: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        if !in_text && byte.is_ascii_whitespace() {
            continue;
        }
        out.push(byte);
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ => {}
        }
    }
    out
}

fn headers(json: &RawValue) -> Result<Vec<Header>, String> {
    const SHAPE: &str = "headers must be an object of text, {\"base64\": \"..\"} or null, or a list of [name, value]";
    let value = |json: Option<&RawValue>| match json {
        None => Ok(None),
        Some(json) => literal(json).ok_or(SHAPE)?.map(Some),
    };
    if json.get().starts_with('[') {
        let pairs: Vec<(String, Option<&RawValue>)> = serde_json::from_str(json.get()).map_err(|_| SHAPE)?;
        return pairs.into_iter().map(|(name, json)| Ok(Header { name, value: value(json)? })).collect();
    }
    let object: Members<'_> = serde_json::from_str(json.get()).map_err(|_| SHAPE)?;
    object.0.into_iter().map(|(name, json)| Ok(Header { name, value: value(json)? })).collect()
}

/// An object's members in their order.
struct Members<'a>(Vec<(String, Option<&'a RawValue>)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn timestamp(json: &RawValue) -> Result<i64, String> {
    const SHAPE: &str = "timestamp must be milliseconds since 1970 or text like 2026-01-31T12:00:00.000Z";
    if json.get().starts_with('"') {
        let text: String = serde_json::from_str(json.get()).map_err(|_| SHAPE)?;
        return rfc3339_ms(&text).ok_or_else(|| format!("{SHAPE}, not {text:?}"));
    }
    let ms: i64 = json.get().parse().map_err(|_| SHAPE)?;
    if ms < -1 { Err(format!("{SHAPE}, not {ms}")) } else { Ok(ms) }
}

/// Milliseconds of a moment as RFC 3339 writes it; parts below a millisecond are cut off.
fn rfc3339_ms(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = bytes.get(from..to)?;
        part.iter().all(u8::is_ascii_digit).then(|| part.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|byte| any.contains(byte));
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let shaped = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !shaped || day < 1 || day > days_in_month || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = 19;
    let mut ms = 0;
    if is(rest, b".") {
        let count = bytes[rest + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let kept = count.min(3);
        ms = digits(rest + 1, rest + 1 + kept).filter(|_| count > 0)? * [1, 100, 10, 1][kept];
        rest += 1 + count;
    }
    let offset_minutes = if is(rest, b"Zz") && bytes.len() == rest + 1 {
        0
    } else {
        let (hours, minutes) = (digits(rest + 1, rest + 3)?, digits(rest + 4, rest + 6)?);
        let valid = is(rest, b"+-") && is(rest + 3, b":") && bytes.len() == rest + 6 && hours < 24 && minutes < 60;
        let sign = if is(rest, b"-") { -1 } else { 1 };
        valid.then_some(sign * (hours * 60 + minutes))?
    };
    // Days since 1970-01-01 in the Gregorian calendar, years counted from March.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days =
        365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute - offset_minutes) * 60 + second;
    let all = seconds * 1000 + ms;
    (all >= 0).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: Option<&[u8]>) -> Header {
        Header { name: name.into(), value: value.map(<[u8]>::to_vec) }
    }

    #[test]
    fn a_line_becomes_the_event_it_says() {
        let line =
            br#"{"key":"k\u00e4","value":{"b": 1e5, "a" : "x \" y"},"headers":{"h":"1","n":null},"timestamp":5}"#;
        let event = parse_line(line, 7).unwrap();
        assert_eq!(event.offset, 7);
        assert_eq!(event.timestamp_ms, 5);
        assert_eq!(event.key.as_deref(), Some("kä".as_bytes()));
        assert_eq!(event.value.as_deref(), Some(br#"{"b":1e5,"a":"x \" y"}"#.as_slice()));
        assert_eq!(event.headers, [header("h", Some(b"1")), header("n", None)]);
    }

    #[test]
    fn missing_null_empty_and_bytes_are_told_apart() {
        for line in ["{}", r#"{"key":null,"value":null,"headers":null,"timestamp":null}"#] {
            let event = parse_line(line.as_bytes(), 0).unwrap();
            assert_eq!((event.key, event.value, event.timestamp_ms), (None, None, -1));
        }
        let event = parse_line(br#"{"key":"","value":{"base64":"AP8="}}"#, 0).unwrap();
        assert_eq!((event.key, event.value), (Some(vec![]), Some(vec![0, 255])));
        // An object that only looks like bytes is a value like any other.
        let event = parse_line(br#"{"value":{"base64":"AP8=","more":1}}"#, 0).unwrap();
        assert_eq!(event.value.as_deref(), Some(br#"{"base64":"AP8=","more":1}"#.as_slice()));
        for (json, bytes) in [
            ("[1, 2]", "[1,2]"),
            ("1.50", "1.50"),
            ("true", "true"),
            ("123456789012345678901", "123456789012345678901"),
        ] {
            let event = parse_line(format!(r#"{{"value":{json}}}"#).as_bytes(), 0).unwrap();
            assert_eq!(event.value.as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn headers_may_repeat_in_a_list_and_keep_their_order_in_an_object() {
        let event = parse_line(br#"{"headers":[["b","1"],["a",null],["b",{"base64":"AA=="}]]}"#, 0).unwrap();
        assert_eq!(event.headers, [header("b", Some(b"1")), header("a", None), header("b", Some(&[0]))]);
        let event = parse_line(br#"{"headers":{"z":"1","a":"2"}}"#, 0).unwrap();
        assert_eq!(event.headers, [header("z", Some(b"1")), header("a", Some(b"2"))]);
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        for (line, word) in [
            ("", "blank"),
            ("  \t", "blank"),
            ("{", "column"),
            ("[]", "key, value, headers, timestamp"),
            (r#"{"keys":"x"}"#, "keys"),
            (r#"{"key":"x","key":"y"}"#, "duplicate"),
            (r#"{"key":5}"#, "key must be text"),
            (r#"{"value":{"base64":"?"}}"#, "base64"),
            (r#"{"headers":{"a":1}}"#, "headers must be"),
            (r#"{"headers":"a"}"#, "headers must be"),
            (r#"{"timestamp":1.5}"#, "timestamp must be"),
            (r#"{"timestamp":-2}"#, "timestamp must be"),
            (r#"{"timestamp":"yesterday"}"#, "yesterday"),
            (r#"{} {}"#, "column"),
        ] {
            let error = parse_line(line.as_bytes(), 0).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
        assert!(parse_line(b"{\"key\":\"\xff\"}", 0).unwrap_err().contains("byte 9"));
    }

    #[test]
    fn moments_are_read_as_rfc_3339_writes_them() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:34:56.789Z", Some(951_827_696_789)),
            ("2026-11-21T14:00:00+01:30", Some(1_795_264_200_000)),
            ("2026-11-21t14:00:00.1-00:00", Some(1_795_269_600_100)),
            ("2026-11-21T14:00:00.123456789z", Some(1_795_269_600_123)),
            ("2100-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-21T24:00:00Z", None),
            ("2026-11-21T14:00:00", None),
            ("2026-11-21T14:00:00.Z", None),
            ("2026-11-21T14:00:00Zx", None),
            ("2026-11-21", None),
            ("1969-12-31T23:59:59Z", None),
            ("", None),
        ] {
            assert_eq!(rfc3339_ms(text), ms, "{text}");
        }
    }

    use proptest::strategy::Strategy as _;

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(line: Vec<u8>, offset: u32) {
            parse_line(&line, i64::from(offset)).ok();
        }

        #[test]
        fn what_is_written_is_read_as_the_same(
            key: Option<Vec<u8>>,
            value in proptest::option::of(proptest::prop_oneof![
                proptest::collection::vec(proptest::prelude::any::<u8>(), 0..20),
                "[\\[\\]{}:\", a0\\\\n]{0,12}".prop_map(String::into_bytes),
                proptest::sample::select(vec![
                    r#"{"a":[1,"x"]}"#, r#"{"a": 1}"#, r#"{"base64":"AP8="}"#, r#"{"base64":"?"}"#, "[1.50]", "null", "7", "\"x\"", "{}\n",
                ]).prop_map(|text| text.as_bytes().to_vec()),
            ]),
            headers: Vec<(String, Option<Vec<u8>>)>,
            offset in 0..i64::MAX,
            timestamp_ms in -1..i64::MAX,
        ) {
            let headers = headers.into_iter().map(|(name, value)| Header { name, value }).collect();
            let event = Event { offset, timestamp_ms, key, value, headers };
            let line = write_line(&TopicPartition::new("t", 3), &event);
            proptest::prop_assert!(!line.contains('\n'));
            proptest::prop_assert_eq!(parse_line(line.as_bytes(), offset).unwrap(), event, "{}", line);
        }

        #[test]
        fn any_text_is_a_key_and_a_value(key: String, value: String) {
            let line = serde_json::json!({ "key": key, "value": value }).to_string();
            let event = parse_line(line.as_bytes(), 0).unwrap();
            proptest::prop_assert_eq!(event.key, Some(key.into_bytes()));
            proptest::prop_assert_eq!(event.value, Some(value.into_bytes()));
        }
    }
}

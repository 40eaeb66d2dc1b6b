//! CloudEvents as their specification writes them, Debezium's changes as Kafka Connect writes them.

use serde_json::{Value as Json, json};

use super::*;

fn headers(pairs: &[(&str, &str)]) -> Vec<Header> {
    let header = |(name, value): &(&str, &str)| Header { name: (*name).into(), value: Some(value.as_bytes().to_vec()) };
    pairs.iter().map(header).collect()
}

const CE: [(&str, &str); 4] = [("ce_specversion", "1.0"), ("ce_id", "7"), ("ce_source", "/shop"), ("ce_type", "paid")];

fn with(more: &[(&str, &str)]) -> Vec<Header> {
    headers(&[&CE[..], more].concat())
}

#[test]
fn binary_mode_becomes_the_structured_text() {
    let text = cloudevent(
        &with(&[
            ("content-type", "application/json; charset=utf-8"),
            ("ce_time", "2026-01-31T12:00:00Z"),
            ("x", "y"),
            ("ce_subject", "a \"b\""),
        ]),
        br#"{"cents": 12345678901234567890}"#,
    );
    assert_eq!(
        text.unwrap().unwrap(),
        concat!(
            r#"{"specversion":"1.0","id":"7","source":"/shop","type":"paid","time":"2026-01-31T12:00:00Z","subject":"a \"b\"","#,
            r#""datacontenttype":"application/json; charset=utf-8","data":{"cents": 12345678901234567890}}"#
        )
    );
    let data = |content_type: &[(&str, &str)], value: &[u8]| -> Json {
        let text = cloudevent(&with(content_type), value).unwrap().unwrap();
        let all: Json = serde_json::from_str(&text).unwrap();
        json!([all.get("data"), all.get("data_base64")])
    };
    assert_eq!(data(&[], b"{}"), json!([{}, null]));
    assert_eq!(data(&[], b"\xff"), json!([null, "/w=="]));
    assert_eq!(data(&[], b""), json!([null, null]));
    assert_eq!(data(&[("content-type", "application/vnd.shop+json")], b"[1]"), json!([[1], null]));
    assert_eq!(data(&[("content-type", "text/plain")], "ä".as_bytes()), json!(["ä", null]));
    assert_eq!(data(&[("content-type", "application/xml")], b"<a/>"), json!(["<a/>", null]));
    assert_eq!(data(&[("content-type", "application/octet-stream")], b"abc"), json!([null, "YWJj"]));
    let error = cloudevent(&with(&[("content-type", "application/json")]), b"{").unwrap_err();
    assert!(error.contains("its data is no JSON"), "{error}");
}

#[test]
fn what_a_cloudevent_lacks_is_named() {
    for (drop, words) in [("ce_id", "lacks id"), ("ce_source", "lacks source"), ("ce_type", "lacks type")] {
        let left: Vec<_> = CE.into_iter().filter(|(name, _)| *name != drop).collect();
        let error = cloudevent(&headers(&left), b"{}").unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let structured = headers(&[("content-type", "application/cloudevents+json; charset=UTF-8")]);
    for (value, words) in [
        (r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#, ""),
        (r#"{"specversion":"1.0","id":"","source":7}"#, "lacks id, source, type"),
        (r#"{"id":"1","source":"s","type":"t"}"#, "lacks specversion"),
        (r#"{"specversion":"0.3","id":"1","source":"s","type":"t"}"#, "\"0.3\"; 1.0 is read"),
        ("[]", "no JSON object"),
        (r#"{} {}"#, "no JSON object"),
    ] {
        match cloudevent(&structured, value.as_bytes()) {
            Ok(same) => assert!(words.is_empty() && same.is_none(), "{value}"),
            Err(error) => assert!(!words.is_empty() && error.contains(words), "{value}: {error}"),
        }
    }
    for (content_type, words) in [
        ("application/cloudevents-batch+json", "batch"),
        ("application/cloudevents+avro", "only application/cloudevents+json"),
        ("application/json", "neither the header ce_specversion"),
    ] {
        let error = cloudevent(&headers(&[("content-type", content_type)]), b"{}").unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    assert!(cloudevent(&[], b"{}").unwrap_err().contains("neither"));
    let bad = [&with(&[])[..], &[Header { name: "ce_subject".into(), value: Some(vec![255]) }]].concat();
    assert!(cloudevent(&bad, b"").unwrap_err().contains("ce_subject is not UTF-8"));
}

#[test]
fn what_was_read_once_is_read_again_as_the_same() {
    let mut headers = with(&[("content-type", "application/json")]);
    let text = cloudevent(&headers, b"{\"a\":1}").unwrap().unwrap();
    set_content_type(&mut headers);
    assert_eq!(cloudevent(&headers, text.as_bytes()), Ok(None));
    // A file without headers says it by its members.
    assert_eq!(cloudevent(&[], text.as_bytes()), Ok(None));
}

#[test]
fn connects_wrapper_is_taken_off_once() {
    let inner = |value: &str| match connect(value.as_bytes()).unwrap() {
        Unwrapped::Same => "same".to_owned(),
        Unwrapped::Inner(inner) => inner.to_owned(),
        Unwrapped::Null => "null".to_owned(),
    };
    assert_eq!(inner(r#"{"schema":{"type":"struct"},"payload":{"id": 1}}"#), r#"{"id": 1}"#);
    assert_eq!(inner(r#"{"payload":"a","schema":null}"#), r#""a""#);
    assert_eq!(inner(r#"{"schema":null,"payload":null}"#), "null");
    for same in [r#"{"payload":1}"#, r#"{"schema":1,"payload":2,"x":3}"#, "[]", "{", "7"] {
        assert_eq!(inner(same), "same", "{same}");
    }
}

#[test]
fn a_change_has_what_its_operation_needs() {
    for value in [
        r#"{"op":"c","before":null,"after":{"id":1},"source":{}}"#,
        r#"{"op":"r","after":{}}"#,
        r#"{"op":"u","before":{},"after":{}}"#,
        r#"{"op":"d","before":{"id":1},"after":null}"#,
        r#"{"op":"d","before":null}"#,
        r#"{"op":"t"}"#,
        r#"{"op":"m","message":{}}"#,
    ] {
        assert_eq!(debezium(value.as_bytes()), Ok(()), "{value}");
    }
    for (value, words) in [
        ("[]", "no JSON object"),
        ("\u{0}", "no JSON object"),
        (r#"{"after":{}}"#, "ExtractNewRecordState"),
        (r#"{"op":"x"}"#, "\"x\""),
        (r#"{"op":"c","after":null}"#, "no row in \"after\""),
        (r#"{"op":"d","after":{}}"#, "a row in \"after\""),
    ] {
        let error = debezium(value.as_bytes()).unwrap_err();
        assert!(error.contains(words), "{value}: {error}");
    }
    assert!(json(b"\xff").is_err() && json(b"{} x").is_err() && json(b" [1] ").is_ok());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_panic(value: Vec<u8>, pairs: Vec<(String, Option<Vec<u8>>)>) {
        let headers: Vec<Header> = pairs.into_iter().map(|(name, value)| Header { name, value }).collect();
        cloudevent(&headers, &value).ok();
        debezium(&value).ok();
        connect(&value).ok();
        json(&value).ok();
    }

    #[test]
    fn a_binary_event_keeps_every_attribute_and_its_data(id in ".+", subject: String, data: Vec<u8>) {
        let headers = headers(&[("ce_specversion", "1.0"), ("ce_id", &id), ("ce_source", "s"), ("ce_type", "t"), ("ce_subject", &subject),
            ("content-type", "application/octet-stream")]);
        let text = cloudevent(&headers, &data).unwrap().unwrap();
        let read: Json = serde_json::from_str(&text).unwrap();
        proptest::prop_assert_eq!(read["id"].as_str(), Some(id.as_str()));
        proptest::prop_assert_eq!(read["subject"].as_str(), Some(subject.as_str()));
        let base64 = read["data_base64"].as_str().unwrap_or_default();
        proptest::prop_assert_eq!(base64::engine::general_purpose::STANDARD.decode(base64).unwrap(), data);
        proptest::prop_assert_eq!(structured(text.as_bytes()), Ok(()));
    }
}

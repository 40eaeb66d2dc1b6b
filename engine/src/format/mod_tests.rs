//! Whole events through a decoder: what is touched, what is not, what ends the batch.

use std::sync::atomic::Ordering;

use super::*;
use crate::event::TopicPartition;
use registry::tests::Stub;

fn formats(value: Format, key: Format) -> (TopicFormats, TopicFormats) {
    let all = |all| TopicFormats { all, topics: BTreeMap::new() };
    (all(value), all(key))
}

fn decoder(value: Format, registry: Option<&Stub>) -> Decoder {
    let (values, keys) = formats(value, Format::Auto);
    Decoder::new(values, keys, registry.map(|stub| Arc::new(stub.registry())), false)
}

fn event(offset: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, &[u8])]) -> Event {
    let header = |(name, value): &(&str, &[u8])| Header { name: (*name).into(), value: Some(value.to_vec()) };
    Event {
        offset,
        timestamp_ms: 5,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: headers.iter().map(header).collect(),
    }
}

fn batch(events: Vec<Event>) -> Arc<EventBatch> {
    let next_offset = events.last().map_or(0, |event| event.offset + 3);
    Arc::new(EventBatch { partition: TopicPartition::new("orders", 0), events, next_offset })
}

fn text(bytes: &Option<Vec<u8>>) -> Option<&str> {
    bytes.as_deref().map(|bytes| std::str::from_utf8(bytes).unwrap())
}

const LONG: &[u8] = &[0, 0, 0, 0, 7, 4];

#[tokio::test]
async fn what_needs_nothing_is_the_same_batch() {
    let stub = Stub::start().await;
    let odd = batch(vec![
        event(0, Some(b"\xff"), Some(b"\0\0"), &[]),
        event(1, None, None, &[("__value_schema_id", b"?")]),
        // A number of 8 bytes as a key: no registry counts from 0.
        event(2, Some(&[0, 0, 0, 0, 0, 0, 0, 42]), Some(b"{"), &[]),
    ]);
    for decoder in [decoder(Format::Auto, None), decoder(Format::Auto, Some(&stub)), Decoder::default()] {
        let decoded = decoder.decode(&odd).await.unwrap();
        assert!(Arc::ptr_eq(&decoded.batch, &odd) && decoded.fault.is_none());
    }
    let framed = batch(vec![event(0, None, Some(LONG), &[])]);
    let (values, keys) = formats(Format::Bytes, Format::Bytes);
    let bytes = Decoder::new(values, keys, Some(Arc::new(stub.registry())), false);
    assert!(Arc::ptr_eq(&bytes.decode(&framed).await.unwrap().batch, &framed));
    assert_eq!(stub.asked.load(Ordering::SeqCst), 0);
    // An id that the registry does not know is not its framing.
    assert!(Arc::ptr_eq(&decoder(Format::Auto, Some(&stub)).decode(&framed).await.unwrap().batch, &framed));
    assert_eq!(stub.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn auto_decodes_what_is_framed_beside_what_is_not() {
    let stub = Stub::start().await;
    stub.avro(7, "\"long\"");
    stub.avro(8, "\"string\"");
    stub.say("/schemas/ids/9", 200, r#"{"schemaType":"JSON","schema":"{}"}"#);
    let guid = [&[1][..], &[0xab; 16]].concat();
    stub.say("/schemas/guids/abababab-abab-abab-abab-abababababab", 200, r#"{"schema":"\"int\""}"#);
    let events = batch(vec![
        event(3, Some(&[0, 0, 0, 0, 8, 2, b'k']), Some(LONG), &[("h", b"1")]),
        event(4, Some(b"plain"), Some(b"{\"a\":1}"), &[]),
        event(6, None, Some(&[0, 0, 0, 0, 9, b'[', b']']), &[]),
        event(7, None, Some(&[6]), &[("__value_schema_id", &guid), ("x", b"y")]),
        event(8, Some(LONG), None, &[]),
    ]);
    let decoded = decoder(Format::Auto, Some(&stub)).decode(&events).await.unwrap();
    assert!(decoded.fault.is_none());
    assert_eq!(decoded.batch.next_offset, 11);
    let found: Vec<_> =
        decoded.batch.events.iter().map(|event| (event.offset, text(&event.key), text(&event.value))).collect();
    assert_eq!(
        found,
        [
            (3, Some("k"), Some("2")),
            (4, Some("plain"), Some("{\"a\":1}")),
            (6, None, Some("[]")),
            (7, None, Some("3")),
            (8, Some("2"), None)
        ]
    );
    assert_eq!(decoded.batch.events[0].headers, events.events[0].headers);
    assert_eq!(decoded.batch.events[3].headers, [Header { name: "x".into(), value: Some(b"y".to_vec()) }]);
    // Saved as it is now, it is read as the same again, and at every time.
    let again = decoder(Format::Auto, Some(&stub)).decode(&decoded.batch).await.unwrap();
    assert_eq!(again.batch.events, decoded.batch.events);
    assert_eq!(decoder(Format::Auto, Some(&stub)).decode(&events).await.unwrap().batch, decoded.batch);
}

#[tokio::test]
async fn an_event_at_fault_ends_the_batch_and_is_named() {
    let stub = Stub::start().await;
    stub.avro(7, r#"{"type":"record","name":"R","fields":[{"name":"total","type":"long"}]}"#);
    stub.say("/schemas/ids/9", 200, r#"{"schemaType":"JSON","schema":"{}"}"#);
    stub.say("/schemas/ids/10", 200, r#"{"schema":"{}"}"#);
    for (format, value, words) in [
        (
            Format::Avro,
            &[0, 0, 0, 0, 7][..],
            "its value cannot be read as avro, schema id 7: field total: it ends early",
        ),
        (Format::Avro, b"{}", "does not begin with Confluent's framing"),
        (Format::Avro, b"", "does not begin with Confluent's framing"),
        (Format::Avro, &[0, 0, 0, 0, 8], "schema id 8: the registry does not know it"),
        (Format::Avro, &[0, 0, 0, 0, 9], "schema id 9: it is JSON Schema, not Avro"),
        (Format::Protobuf, &[0, 0, 0, 0, 7], "schema id 7: it is Avro, not Protobuf"),
        (Format::Avro, &[0, 0, 0, 0, 10], "schema id 10: its schema has a type without"),
        (Format::Auto, &[0, 0, 0, 0, 7], "read as auto, schema id 7"),
        (Format::Json, b"{", "its value cannot be read as json: it is no JSON"),
        (Format::CloudEvents, b"{}", "neither the header ce_specversion"),
        (Format::Debezium, b"{}", "it has no \"op\""),
    ] {
        let good: &[u8] = match format {
            Format::Json => b"1",
            Format::CloudEvents => br#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#,
            Format::Debezium => br#"{"op":"t"}"#,
            Format::Protobuf => &[],
            _ => &[0, 0, 0, 0, 7, 2],
        };
        // A tombstone is never at fault.
        let good = (format != Format::Protobuf).then_some(good);
        let events =
            batch(vec![event(3, None, good, &[]), event(5, None, Some(value), &[]), event(6, None, good, &[])]);
        let decoded = decoder(format, Some(&stub)).decode(&events).await.unwrap();
        let fault = decoded.fault.unwrap_or_else(|| panic!("{format:?} {value:?} was read"));
        assert!(fault.reason.contains(words), "{format:?} {value:?}: {}", fault.reason);
        assert!(fault.remedy.contains("format = { \"orders\" = \"bytes\" }"), "{}", fault.remedy);
        assert_eq!((decoded.batch.events.len(), decoded.batch.next_offset), (1, 5));
    }
}

#[tokio::test]
async fn a_registry_that_is_away_is_waited_for() {
    let stub = Stub::start().await;
    stub.say("/schemas/ids/7", 503, r#"{"error_code":50003,"message":"soon"}"#);
    let decoder = decoder(Format::Auto, Some(&stub));
    let events = batch(vec![event(0, None, Some(LONG), &[])]);
    let error = decoder.decode(&events).await.unwrap_err();
    assert_eq!((error.kind, error.halt.code), (ErrorKind::Transient, "schema_registry_away"));
    stub.avro(7, "\"long\"");
    assert_eq!(text(&decoder.decode(&events).await.unwrap().batch.events[0].value), Some("2"));
}

#[tokio::test]
async fn debezium_arrives_as_its_envelope_from_json_and_from_avro() {
    let stub = Stub::start().await;
    let row = r#"{"type":"record","name":"Row","fields":[{"name":"id","type":"long"}]}"#;
    let envelope = format!(
        r#"{{"type":"record","name":"Envelope","fields":[{{"name":"before","type":["null",{row}]}},{{"name":"after","type":["null","Row"]}},{{"name":"op","type":"string"}}]}}"#
    );
    stub.avro(7, &envelope);
    let events = batch(vec![
        event(
            0,
            Some(br#"{"schema":{},"payload":{"id":1}}"#),
            Some(br#"{"schema":{},"payload":{"op":"c","after":{"id":1}}}"#),
            &[],
        ),
        event(1, Some(b"plain"), Some(&[0, 0, 0, 0, 7, 0, 2, 4, 2, b'u']), &[]),
        event(2, None, Some(&[0, 0, 0, 0, 7, 2, 4, 0, 2, b'd']), &[]),
        event(3, Some(b"1"), None, &[]),
        event(4, None, Some(br#"{"schema":null,"payload":null}"#), &[]),
    ]);
    let decoded = decoder(Format::Debezium, Some(&stub)).decode(&events).await.unwrap();
    assert_eq!(decoded.fault, None);
    let found: Vec<_> = decoded.batch.events.iter().map(|event| (text(&event.key), text(&event.value))).collect();
    assert_eq!(
        found,
        [
            (Some(r#"{"id":1}"#), Some(r#"{"op":"c","after":{"id":1}}"#)),
            (Some("plain"), Some(r#"{"before":null,"after":{"id":2},"op":"u"}"#)),
            (None, Some(r#"{"before":{"id":2},"after":null,"op":"d"}"#)),
            (Some("1"), None),
            (None, None)
        ]
    );
}

#[tokio::test]
async fn a_cloudevent_whose_data_is_avro_has_it_as_json() {
    let stub = Stub::start().await;
    stub.avro(7, "\"long\"");
    let ce: [(&str, &[u8]); 5] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"1"),
        ("ce_source", b"s"),
        ("ce_type", b"t"),
        ("content-type", b"application/json"),
    ];
    let events = batch(vec![event(0, None, Some(LONG), &ce)]);
    let decoded = decoder(Format::CloudEvents, Some(&stub)).decode(&events).await.unwrap();
    let event = &decoded.batch.events[0];
    assert_eq!(
        text(&event.value),
        Some(r#"{"specversion":"1.0","id":"1","source":"s","type":"t","datacontenttype":"application/json","data":2}"#)
    );
    let content_type = event.headers.iter().find(|header| header.name == "content-type").unwrap();
    assert_eq!(content_type.value.as_deref(), Some(envelope::STRUCTURED.as_bytes()));
    let again = decoder(Format::CloudEvents, Some(&stub)).decode(&decoded.batch).await.unwrap();
    assert_eq!(again.batch.events, decoded.batch.events);
}

#[tokio::test]
async fn files_may_hold_what_is_decoded_already_and_topics_differ() {
    let stub = Stub::start().await;
    let values = TopicFormats { all: Format::Json, topics: [("orders".to_owned(), Format::Avro)].into() };
    let decoder = Decoder::new(values, TopicFormats::default(), Some(Arc::new(stub.registry())), true);
    let plain = batch(vec![event(0, None, Some(b"{\"total\":1}"), &[])]);
    assert_eq!(decoder.decode(&plain).await.unwrap().batch.events, plain.events);
    let other = EventBatch {
        partition: TopicPartition::new("refunds", 0),
        ..(*batch(vec![event(0, None, Some(b"{"), &[])])).clone()
    };
    assert!(decoder.decode(&Arc::new(other)).await.unwrap().fault.is_some());
}

#[test]
fn words_and_formats_are_the_same() {
    for format in Format::ALL {
        assert_eq!(Format::named(format.name()), Some(format));
    }
    assert_eq!(Format::named("Avro"), None);
}

//! What the engine hands over of topics in several formats: every event as the text that it is, and what the SDK's helpers make of it.

use laterna_sdk::prelude::*;
use laterna_sdk::{CloudEvent, Op, RowChange};
use serde::Deserialize;

projection! {
    name: "formats",
    revision: 1,
    topics: ["avro", "protobuf", Topic::new("cloud").headers(["ce_type", "content-type"]), "debezium"],
    tables: [texts, paid, customers],
    apply: apply,
}

table! {
    /// Key and value as they came, and the headers that were asked for.
    texts(topic: String, part: i64, at: i64) {
        key: Option<String>,
        value: Option<String>,
        headers: String,
    }
    changes { insert Text { key, value, headers }; }
}

table! {
    /// CloudEvents by their source and id.
    paid(source: String, id: String) { kind: String, subject: Option<String>, cents: Option<i64>, time: Option<Timestamp> }
    changes { upsert Paid { kind, subject, cents, time }; }
}

table! {
    /// The table that Debezium tells of.
    customers(id: i64) { name: String, ts_ms: Option<i64> }
    changes {
        upsert Customer { name, ts_ms };
        delete CustomerGone;
    }
}

#[derive(Deserialize)]
struct Payment {
    cents: i64,
}

#[derive(Deserialize)]
struct Row {
    id: i64,
    name: String,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let (topic, part, at) = (event.topic().to_owned(), event.partition().into(), event.offset());
    let key = event.key().map(|_| event.key_text().map(str::to_owned)).transpose()?;
    let headers = ["ce_type", "ce_id", "content-type"].map(|name| event.header_text(name).unwrap_or("-")).join(" ");
    changes.push(Text { topic, part, at, key, value: event.text()?.map(str::to_owned), headers });
    if event.topic() == "cloud"
        && let Some(event) = event.cloud_event::<Payment>()?
    {
        let time = event.timestamp()?;
        let CloudEvent { source, id, kind, subject, data, .. } = event;
        changes.push(Paid { source, id, kind, subject, cents: data.map(|data| data.cents), time });
    }
    if event.topic() == "debezium"
        && let Some(RowChange { op, before, after, source }) = event.change::<Row>()?
    {
        match (op, before, after) {
            (Op::Create | Op::Read | Op::Update, _, Some(Row { id, name })) => {
                changes.push(Customer { id, name, ts_ms: source.ts_ms });
            }
            (Op::Delete, Some(Row { id, .. }), _) => changes.push(CustomerGone { id }),
            _ => return Err(reject!("a change without the row that it is about")),
        }
    }
    Ok(())
}

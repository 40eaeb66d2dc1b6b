//! What the topic `orders` says: one row an event, the last value of each field, and how many events there were.
//!
//! Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
//! raise the revision when the meaning of rows that are already there changes.

use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! {
    name: "keyless",
    revision: 1,
    topics: ["orders"],
    tables: [keyless],
    apply: apply,
}

table! {
    keyless(partition_number: i64, event_offset: i64) {
        level: String,
        text: String,
        events: i64,
    }
    changes {
        upsert SeenRow { level, text, events: add };
    }
}

#[derive(Deserialize)]
struct Seen {
    level: String,
    text: String,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    match event.json::<Seen>()? {
        Some(it) => changes.push(SeenRow {
            partition_number: event.partition().into(),
            event_offset: event.offset(),
            level: it.level,
            text: it.text,
            events: 1,
        }),
        // A tombstone names no row here.
        None => {}
    }
    Ok(())
}

//! One row for each key, shared by all partitions, that the last event wins: `serial`. `events` counts them, so the one
//! lane has seen each once; `part` and `at` say which event was the last.

use laterna_sdk::prelude::*;

projection! { name: "serial_last", revision: 1, topics: ["events"], tables: [last], apply: apply }

table! {
    last(key: String) serial { value: Option<String>, part: i64, at: i64, events: i64 }
    changes { upsert Last { value, part, at, events: add }; }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    changes.push(Last {
        key: event.key_text().unwrap_or_default().to_owned(),
        value: event.text()?.map(String::from),
        part: event.partition().into(),
        at: event.offset(),
        events: 1,
    });
    Ok(())
}

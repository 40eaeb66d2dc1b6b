//! For each key of each partition: the last value, the highest and lowest offset, and how many events there were, of
//! which how many tombstones. A reordered, lost or repeated event changes a row.

use laterna_sdk::prelude::*;

projection! { name: "chain", revision: 1, topics: ["events"], tables: [chain], apply: apply }

table! {
    chain(part: i64, key: String) {
        last_value: Option<String>,
        first_value: Option<String>,
        last_at: i64,
        first_at: i64,
        events: i64,
        tombstones: i64,
    }
    changes {
        upsert Link { last_value, first_value: set_if_null, last_at: max, first_at: min, events: add, tombstones: add };
    }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let value = event.text()?.map(String::from);
    changes.push(Link {
        part: event.partition().into(),
        key: event.key_text().unwrap_or_default().to_owned(),
        last_value: value.clone(),
        first_value: value,
        last_at: event.offset(),
        first_at: event.offset(),
        events: 1,
        tombstones: event.is_tombstone().into(),
    });
    Ok(())
}

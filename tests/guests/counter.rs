//! Adds 1 to `events` and the value's whole number (0 where it is none) to `total`, in the row of the event's key (""
//! for a null key), over all partitions: both equal the sums over the topic.

use laterna_sdk::prelude::*;

projection! { name: "counter", revision: 1, topics: ["events"], tables: [counts], apply: apply }

table! {
    counts(key: String) commutative { events: i64, total: i64 }
    changes { upsert Count { events: add, total: add }; }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let key = event.key_text().unwrap_or_default().to_owned();
    let total = event.text()?.and_then(|value| value.trim().parse().ok()).unwrap_or(0);
    changes.push(Count { key, events: 1, total });
    Ok(())
}

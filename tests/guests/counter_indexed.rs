//! The counter with two secondary indexes, as tables that people read have: each upsert of a live batch keeps them up, a rebuild makes them last.

use laterna_sdk::prelude::*;

projection! { name: "counter", revision: 1, topics: ["events"], tables: [counts], apply: apply }

table! {
    counts(key: String) commutative { events: i64, total: i64 }
    indexes { ordered(total), ordered(events, total) }
    changes { upsert Count { events: add, total: add }; }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let key = event.key_text().unwrap_or_default().to_owned();
    let total = event.text()?.and_then(|value| value.trim().parse().ok()).unwrap_or(0);
    changes.push(Count { key, events: 1, total });
    Ok(())
}

//! The counter with another meaning under a raised revision: it counts each event twice, so every row of a rebuild differs.

use laterna_sdk::prelude::*;

projection! { name: "counter", revision: 3, topics: ["events"], tables: [counts], apply: apply }

table! {
    counts(key: String) commutative { events: i64, total: i64 }
    changes { upsert Count { events: add, total: add }; }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let key = event.key_text().unwrap_or_default().to_owned();
    let total = event.text()?.and_then(|value| value.trim().parse().ok()).unwrap_or(0);
    changes.push(Count { key, events: 2, total });
    Ok(())
}

//! The counter over a second topic too, `more`: the counter itself, which reads one topic less, is a rebuild of it.

use laterna_sdk::prelude::*;

projection! { name: "counter", revision: 1, topics: ["events", "more"], tables: [counts], apply: apply }

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

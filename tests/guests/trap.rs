//! Panics on an event whose value contains "trap"; the log then names this file and the line. Every other event gives
//! one row in `seen`, keyed by partition and offset.

use guests::asks_for;
use laterna_sdk::prelude::*;

projection! { name: "trap", revision: 1, topics: ["events"], tables: [seen], apply: apply }

table! {
    seen(part: i64, at: i64) { key: Option<String> }
    changes { insert Seen { key }; }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    #[allow(clippy::panic, reason = "it is what this guest is for")]
    if asks_for(event, "trap") {
        panic!("asked to trap at offset {}", event.offset());
    }
    let key = event.key_text().ok().map(String::from);
    changes.push(Seen { part: event.partition().into(), at: event.offset(), key });
    Ok(())
}

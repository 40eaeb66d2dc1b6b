//! Rejects an event whose value contains "reject", and halts on one that contains "halt"; the reason names the offset.
//! Every other event gives one row in `seen`, keyed by partition and offset.

use guests::asks_for;
use laterna_sdk::prelude::*;

projection! { name: "reject", revision: 1, topics: ["events"], tables: [seen], apply: apply }

table! {
    seen(part: i64, at: i64) { key: Option<String> }
    changes { insert Seen { key }; }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    // What a rejected event has asked for so far must not be written.
    let key = event.key_text().ok().map(String::from);
    changes.push(Seen { part: event.partition().into(), at: event.offset(), key });
    if asks_for(event, "reject") {
        return Err(reject!("asked to reject at offset {}", event.offset()));
    }
    if asks_for(event, "halt") {
        return Err(halt!("asked to halt at offset {}", event.offset()));
    }
    Ok(())
}

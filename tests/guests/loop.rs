//! Never returns from an event whose value contains "loop". Every other event gives one row in `seen`, keyed by
//! partition and offset.

use guests::asks_for;
use laterna_sdk::prelude::*;

projection! { name: "loop_guest", revision: 1, topics: ["events"], tables: [seen], apply: apply }

table! {
    seen(part: i64, at: i64) { key: Option<String> }
    changes { insert Seen { key }; }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    if asks_for(event, "loop") {
        let mut turns = 0u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
    let key = event.key_text().ok().map(String::from);
    changes.push(Seen { part: event.partition().into(), at: event.offset(), key });
    Ok(())
}

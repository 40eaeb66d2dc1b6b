//! Allocates a mebibyte at a time, without end, on an event whose value contains "alloc": the memory limit ends it with a
//! trap in `handle_alloc_error`, without a line in the log. Every other event gives one row in `seen`, keyed by partition
//! and offset.

use guests::asks_for;
use laterna_sdk::prelude::*;

projection! { name: "alloc", revision: 1, topics: ["events"], tables: [seen], apply: apply }

table! {
    seen(part: i64, at: i64) { key: Option<String> }
    changes { insert Seen { key }; }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    if asks_for(event, "alloc") {
        let mut held: Vec<Vec<u8>> = Vec::new();
        loop {
            held.push(std::hint::black_box(vec![1; 1 << 20]));
        }
    }
    let key = event.key_text().ok().map(String::from);
    changes.push(Seen { part: event.partition().into(), at: event.offset(), key });
    Ok(())
}

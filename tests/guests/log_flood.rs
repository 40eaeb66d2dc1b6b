//! Writes 100,000 lines to the log on an event whose value contains "flood", and one line of 1 MiB with control
//! characters. Every event, floods too, gives one row in `seen`, keyed by partition and offset.

use guests::asks_for;
use laterna_sdk::prelude::*;

projection! { name: "log_flood", revision: 1, topics: ["events"], tables: [seen], apply: apply }

table! {
    seen(part: i64, at: i64) { key: Option<String> }
    changes { insert Seen { key }; }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    if asks_for(event, "flood") {
        info!("{}", "\u{1b}[31mred\n".repeat(1 << 17));
        for line in 0..100_000 {
            info!("line {line} of offset {}", event.offset());
        }
    }
    let key = event.key_text().ok().map(String::from);
    changes.push(Seen { part: event.partition().into(), at: event.offset(), key });
    Ok(())
}

//! Adds the value's whole number to the row of the event's key. A sum outside of 64 bits is the fault of the event that
//! brings it, and the row keeps the sum before; what is no number is rejected.

use laterna_sdk::prelude::*;

projection! { name: "overflow", revision: 1, topics: ["events"], tables: [sums], apply: apply }

table! {
    sums(key: String) { total: i64 }
    changes { upsert Sum { total: add }; }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let Some(value) = event.text()? else { return Ok(()) };
    changes.push(Sum { key: event.key_text()?.into(), total: value.trim().parse()? });
    Ok(())
}

//! What the topic `orders` says: one row for each customer_id, the last value of each field, and how many events there were.
//!
//! Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
//! raise the revision when the meaning of rows that are already there changes.

use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! {
    name: "plain",
    revision: 1,
    topics: ["orders"],
    tables: [plain],
    apply: apply,
}

table! {
    plain(customer_id: i64) serial {
        at: Option<Timestamp>,
        total: Decimal,
        events: i64,
    }
    changes {
        upsert SeenRow { at, total, events: add };
    }
}

#[derive(Deserialize)]
struct Seen {
    customer_id: i64,
    #[serde(rename = "at_ms")]
    at: Option<i64>,
    total: Decimal,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    match event.json::<Seen>()? {
        Some(it) => changes.push(SeenRow {
            customer_id: it.customer_id,
            at: it.at.map(Timestamp::from_millis).transpose()?,
            total: it.total,
            events: 1,
        }),
        // A tombstone names no row here.
        None => {}
    }
    Ok(())
}

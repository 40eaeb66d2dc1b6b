//! What the topic `orders` says: one row for each order_id, the last value of each field, and how many events there were.
//!
//! Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
//! raise the revision when the meaning of rows that are already there changes.

use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! {
    name: "kinds",
    revision: 1,
    topics: ["orders"],
    tables: [kinds],
    apply: apply,
}

table! {
    kinds(order_id: String) {
        at: Option<Timestamp>,
        big: Option<i64>,
        class_value: Option<String>,
        day: Option<Date>,
        id: Option<Uuid>,
        items: Option<Json>,
        n: i64,
        note: Option<String>,
        paid: Option<bool>,
        placed_at: Option<Timestamp>,
        ratio: Option<f64>,
        total: Option<Decimal>,
        x: Option<String>,
        events: i64,
    }
    changes {
        upsert OrderPlacedRow { at, big, class_value, day, id, items, n, note, paid, placed_at, ratio, total, x, events: add };
        upsert OrderCancelledRow { n, note, events: add };
        delete Gone;
    }
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Incoming {
    #[serde(rename = "order.placed")]
    OrderPlaced(OrderPlaced),
    #[serde(rename = "order.cancelled")]
    OrderCancelled(OrderCancelled),
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct OrderPlaced {
    at: Timestamp,
    big: i64,
    #[serde(rename = "class")]
    class_value: String,
    day: Date,
    id: Uuid,
    items: Json,
    n: i64,
    note: Option<String>,
    paid: bool,
    #[serde(rename = "placed_at_ms")]
    placed_at: i64,
    ratio: f64,
    total: Decimal,
    #[serde(rename = "é \"x\"")]
    x: String,
}

#[derive(Deserialize)]
struct OrderCancelled {
    n: i64,
    note: String,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let order_id = event.key_text()?.to_owned();
    match event.json()? {
        Some(Incoming::OrderPlaced(it)) => changes.push(OrderPlacedRow {
            order_id,
            at: Some(it.at),
            big: Some(it.big),
            class_value: Some(it.class_value),
            day: Some(it.day),
            id: Some(it.id),
            items: Some(it.items),
            n: it.n,
            note: it.note,
            paid: Some(it.paid),
            placed_at: Some(Timestamp::from_millis(it.placed_at)?),
            ratio: Some(it.ratio),
            total: Some(it.total),
            x: Some(it.x),
            events: 1,
        }),
        Some(Incoming::OrderCancelled(it)) => changes.push(OrderCancelledRow {
            order_id,
            n: it.n,
            note: Some(it.note),
            events: 1,
        }),
        Some(Incoming::Other) => {}
        None => changes.push(Gone { order_id }),
    }
    Ok(())
}

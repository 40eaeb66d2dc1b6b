//! What was sold each day, by product: quantity and revenue of all orders placed, over all partitions.
//!
//! Orders of one day lie in every partition, so all of them add to the same rows: the table is `commutative`, and an
//! event says what it adds, never what the sum is. An order counts on the day on which it was placed, as it was placed.

use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! {
    name: "daily_sales",
    revision: 1,
    topics: ["orders"],
    tables: [daily_sales],
    apply: apply,
}

table! {
    /// Sales of one product on one day (UTC).
    daily_sales(day: Date, sku: String) commutative {
        quantity: i64,
        revenue: Decimal,
        order_lines: i64,
    }
    changes {
        upsert Sold { quantity: add, revenue: add, order_lines: add };
    }
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum OrderEvent {
    #[serde(rename = "order.placed")]
    Placed { placed_at_ms: i64, items: Vec<Line> },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Line {
    sku: String,
    quantity: i64,
    unit_price: Decimal,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let Some(OrderEvent::Placed { placed_at_ms, items }) = event.json()? else { return Ok(()) };
    let day = Timestamp::from_millis(placed_at_ms)?.date();
    for Line { sku, quantity, unit_price } in items {
        changes.push(Sold { day, sku, quantity, revenue: unit_price.times(quantity)?, order_lines: 1 });
    }
    Ok(())
}

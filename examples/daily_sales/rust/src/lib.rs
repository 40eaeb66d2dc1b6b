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

#[cfg(test)]
mod tests {
    use super::*;
    use laterna_sdk::Change;

    #[test]
    fn each_line_of_a_placed_order_adds_to_its_day() {
        let value = r#"{"type":"order.placed","placed_at_ms":-1,"items":[
            {"sku":"a","quantity":2,"unit_price":"0.05"},{"sku":"a","quantity":-1,"unit_price":"3"}]}"#;
        let mut changes = Changes::default();
        apply(&Event::new("orders").with_value(value), &mut changes).unwrap();
        let sold =
            |quantity, revenue| Sold { day: Date::from_days(-1), sku: "a".into(), quantity, revenue, order_lines: 1 };
        let expected: [Change; 2] = [sold(2, Decimal::cents(10)).into(), sold(-1, Decimal::from(-3)).into()];
        assert_eq!(changes.into_vec(), expected);
    }

    #[test]
    fn updates_cancellations_and_tombstones_change_no_sum() {
        for event in [
            Event::new("orders").with_value(r#"{"type":"order.updated","order_id":"o-1","placed_at_ms":0,"items":[]}"#),
            Event::new("orders").with_value(r#"{"type":"order.cancelled","order_id":"o-1"}"#),
            Event::new("orders").with_key("o-1"),
        ] {
            let mut changes = Changes::default();
            apply(&event, &mut changes).unwrap();
            assert!(changes.is_empty());
        }
    }
}

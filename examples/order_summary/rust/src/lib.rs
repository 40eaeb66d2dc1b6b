//! Orders and their items, as they stand: what a shop's order page reads.
//!
//! An order's items are replaced whole by each event that carries them, so no item of an earlier state is left over.

use laterna_sdk::prelude::*;
use serde::Deserialize;
use std::borrow::Cow;

projection! {
    name: "order_summary",
    revision: 1,
    topics: ["orders"],
    tables: [orders, order_items],
    apply: apply,
}

table! {
    /// An order as it stands.
    orders(order_id: String) {
        customer_id: Option<String>,
        status: String,
        item_count: i64,
        total: Decimal,
        placed_at: Timestamp,
        last_offset: i64,
    }
    indexes { ordered(customer_id, placed_at) }
    changes {
        upsert Order { customer_id, status, item_count, total, placed_at, last_offset: max };
        update Cancelled { status, last_offset: max };
        delete OrderErased;
    }
}

table! {
    /// A line of an order, from 0.
    order_items(order_id: String, line: i64) {
        sku: String,
        quantity: i64,
        unit_price: Decimal,
    }
    changes {
        upsert Item { sku, quantity, unit_price };
        delete_prefix ItemsErased(order_id);
    }
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum OrderEvent<'a> {
    #[serde(rename = "order.placed", borrow)]
    Placed(Details<'a>),
    #[serde(rename = "order.updated", borrow)]
    Updated(Details<'a>),
    #[serde(rename = "order.cancelled")]
    Cancelled { order_id: String },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Details<'a> {
    order_id: Cow<'a, str>,
    customer_id: Option<String>,
    placed_at_ms: i64,
    items: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    sku: String,
    quantity: i64,
    unit_price: Decimal,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let (order, status) = match event.json()? {
        Some(OrderEvent::Placed(order)) => (order, "placed"),
        Some(OrderEvent::Updated(order)) => (order, "updated"),
        Some(OrderEvent::Cancelled { order_id }) => {
            changes.push(Cancelled { order_id, status: "cancelled".into(), last_offset: event.offset() });
            return Ok(());
        }
        Some(OrderEvent::Other) => return Ok(()),
        None => {
            changes.push(OrderErased { order_id: event.key_text()?.into() });
            changes.push(ItemsErased { order_id: event.key_text()?.into() });
            return Ok(());
        }
    };

    let (mut item_count, mut total) = (0i64, Decimal::ZERO);
    for item in &order.items {
        item_count = item_count.checked_add(item.quantity).ok_or_else(|| reject!("too many items"))?;
        total = total.plus(item.unit_price.times(item.quantity)?)?;
    }
    changes.push(Order {
        order_id: order.order_id.clone().into(),
        customer_id: order.customer_id,
        status: status.into(),
        item_count,
        total,
        placed_at: Timestamp::from_millis(order.placed_at_ms)?,
        last_offset: event.offset(),
    });
    changes.push(ItemsErased { order_id: order.order_id.clone().into() });
    for (line, Line { sku, quantity, unit_price }) in (0..).zip(order.items) {
        changes.push(Item { order_id: order.order_id.clone().into(), line, sku, quantity, unit_price });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use laterna_sdk::Change;

    fn changes_of(event: &Event) -> Result<Vec<Change>, Fault> {
        let mut changes = Changes::default();
        apply(event, &mut changes).map(|()| changes.into_vec())
    }

    fn order(kind: &str, items: &str) -> Event<'static> {
        let value =
            format!(r#"{{"type":"{kind}","order_id":"o-1","customer_id":null,"placed_at_ms":1,"items":[{items}]}}"#);
        Event::new("orders").with_key("o-1").with_place(0, 7).with_value(value)
    }

    const ITEM: &str = r#"{"sku":"a","quantity":3,"unit_price":"12.50"}"#;

    #[test]
    fn an_order_replaces_its_items() {
        let expected: [Change; 3] = [
            Order {
                order_id: "o-1".into(),
                customer_id: None,
                status: "updated".into(),
                item_count: 3,
                total: Decimal::cents(3750),
                placed_at: Timestamp::from_micros(1000),
                last_offset: 7,
            }
            .into(),
            ItemsErased { order_id: "o-1".into() }.into(),
            Item { order_id: "o-1".into(), line: 0, sku: "a".into(), quantity: 3, unit_price: Decimal::cents(1250) }
                .into(),
        ];
        assert_eq!(changes_of(&order("order.updated", ITEM)).unwrap(), expected);
    }

    #[test]
    fn a_tombstone_erases_the_order_and_its_items() {
        let expected: [Change; 2] =
            [OrderErased { order_id: "o-1".into() }.into(), ItemsErased { order_id: "o-1".into() }.into()];
        assert_eq!(changes_of(&Event::new("orders").with_key("o-1")).unwrap(), expected);
    }

    #[test]
    fn what_is_no_order_is_rejected_and_what_is_none_of_ours_ignored() {
        assert_eq!(changes_of(&order("order.viewed", "")).unwrap(), []);
        for wrong in
            [order("order.placed", "7"), order("order.placed", &ITEM.replace("12.50", "12,50")), Event::new("orders")]
        {
            assert!(matches!(changes_of(&wrong), Err(Fault::Reject(_))), "{wrong:?}");
        }
        let many = ITEM.replace('3', "9223372036854775807");
        assert_eq!(changes_of(&order("order.placed", &format!("{many},{many}"))), Err(reject!("too many items")));
    }
}

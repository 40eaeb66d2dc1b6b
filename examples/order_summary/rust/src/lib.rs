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

//! The benchmarks' W1: one upserted row an order. The logic is `bench_logic`'s.

use bench_logic::{OrderRow, Output, SaleRow};
use laterna_sdk::prelude::*;

projection! { name: "bench_w1", revision: 1, topics: ["orders"], tables: [orders], apply: apply }

table! {
    orders(order_id: String) {
        customer_id: Option<String>,
        status: String,
        item_count: i64,
        total: Decimal,
        placed_at: Timestamp,
        last_offset: i64,
    }
    changes { upsert Order { customer_id, status, item_count, total, placed_at, last_offset: max }; }
}

struct Rows<'a>(&'a mut Changes);

impl Output for Rows<'_> {
    fn order(&mut self, order: OrderRow<'_>) {
        self.0.push(Order {
            order_id: order.order_id.into(),
            customer_id: order.customer_id.map(Into::into),
            status: order.status.into(),
            item_count: order.item_count,
            total: Decimal::cents(order.total_cents),
            placed_at: Timestamp::from_micros(order.placed_at_micros),
            last_offset: order.last_offset,
        });
    }

    fn sale(&mut self, _: SaleRow<'_>) {}
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let Some(value) = event.text()? else { return Ok(()) };
    bench_logic::w1(value, event.offset(), &mut Rows(changes)).map_err(Fault::Reject)
}

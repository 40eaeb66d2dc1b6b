//! The benchmarks' W2: W1, and each item added to its product's day. The logic is `bench_logic`'s.

use bench_logic::{OrderRow, Output, SaleRow};
use laterna_sdk::prelude::*;

projection! { name: "bench_w2", revision: 1, topics: ["orders"], tables: [orders, daily_sales], apply: apply }

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

table! {
    daily_sales(day: Date, sku: String) commutative { quantity: i64, revenue: Decimal }
    changes { upsert Sold { quantity: add, revenue: add }; }
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

    fn sale(&mut self, sale: SaleRow<'_>) {
        self.0.push(Sold {
            day: Date::from_days(sale.day),
            sku: sale.sku.into(),
            quantity: sale.quantity,
            revenue: Decimal::cents(sale.revenue_cents),
        });
    }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let Some(value) = event.text()? else { return Ok(()) };
    bench_logic::w2(value, event.offset(), &mut Rows(changes)).map_err(Fault::Reject)
}

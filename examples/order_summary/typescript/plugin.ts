// Orders and their items, as they stand: what a shop's order page reads.
//
// An order's items are replaced whole by each event that carries them, so no item of an earlier state is left over.

import { Decimal, bigint, decimal, integer, list, nullable, object, projection, table, tagged, text, timestamp } from 'laterna';

const orders = table('orders', {
  key: { order_id: text },
  columns: { customer_id: nullable(text), status: text, item_count: integer, total: decimal, placed_at: timestamp, last_offset: integer },
  indexes: [['customer_id', 'placed_at']],
});
const orderItems = table('order_items', {
  key: { order_id: text, line: integer }, // a line of an order, from 0
  columns: { sku: text, quantity: integer, unit_price: decimal },
});

const order = orders.upsert('customer_id', 'status', 'item_count', 'total', 'placed_at', { last_offset: 'max' });
const cancelled = orders.update('status', { last_offset: 'max' });
const orderErased = orders.delete();
const item = orderItems.upsert('sku', 'quantity', 'unit_price');
const itemsErased = orderItems.deletePrefix('order_id');

const Item = object({ sku: text, quantity: bigint, unit_price: decimal });
const Order = object({ order_id: text, customer_id: nullable(text), placed_at_ms: integer, items: list(Item) });
const OrderEvent = tagged('type', { 'order.placed': Order, 'order.updated': Order, 'order.cancelled': object({ order_id: text }) });

export const { describe, apply } = projection({ name: 'order_summary', topics: ['orders'] }, (event) => {
  if (event.isTombstone) {
    orderErased({ order_id: event.keyText });
    itemsErased({ order_id: event.keyText });
    return;
  }
  const o = event.json(OrderEvent); // null: an event of another type
  if (o?.type === 'order.cancelled') cancelled({ order_id: o.order_id, status: 'cancelled', last_offset: event.offset });
  else if (o) {
    const { order_id, customer_id, placed_at_ms, items } = o;
    let item_count = 0n;
    let total = Decimal.ZERO;
    for (const { quantity, unit_price } of items) {
      item_count += quantity;
      total = total.plus(unit_price.times(quantity));
    }
    const status = o.type === 'order.placed' ? 'placed' : 'updated';
    order({ order_id, customer_id, status, item_count, total, placed_at: placed_at_ms, last_offset: event.offset });
    itemsErased({ order_id });
    items.forEach(({ sku, quantity, unit_price }, line) => item({ order_id, line, sku, quantity, unit_price }));
  }
});

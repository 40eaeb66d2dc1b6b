import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outcomeOf } from 'laterna/testing';
import * as plugin from './plugin.js';

const event = (type, ...items) => ({ key: 'o-1', offset: 7, value: { type, order_id: 'o-1', placed_at_ms: 1, items } });
const change = (table, action, row) => ({ table, action, row });

test('an order replaces its items', () => {
  assert.deepEqual(outcomeOf(plugin, event('order.updated', { sku: 'a', quantity: 3, unit_price: '12.50' })).changes, [
    change('orders', 'upsert', { order_id: 'o-1', customer_id: null, status: 'updated', item_count: 3, total: '37.50', placed_at: 1000, last_offset: 7 }),
    change('order_items', 'delete-prefix', { order_id: 'o-1' }),
    change('order_items', 'upsert', { order_id: 'o-1', line: 0, sku: 'a', quantity: 3, unit_price: '12.50' }),
  ]);
});

test('a tombstone erases the order and its items', () => {
  assert.deepEqual(outcomeOf(plugin, { key: 'o-1' }).changes, [change('orders', 'delete', { order_id: 'o-1' }), change('order_items', 'delete-prefix', { order_id: 'o-1' })]);
});

test('what is no order is rejected, and what is none of ours ignored', () => {
  assert.deepEqual(outcomeOf(plugin, event('order.viewed')).changes, []);
  const wrong = outcomeOf(plugin, event('order.placed', { sku: 'a', quantity: 3, unit_price: '12,50' }));
  assert.equal(wrong.reject, 'the value is not the JSON that is read here: items[0].unit_price: a decimal number wanted, like "12.50", not "12,50"');
  assert.equal(outcomeOf(plugin, {}).reject, 'the event has no key');
});

// The README's projection is run.

import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { outcomeOf } from 'laterna/testing';

test('the projection of the README counts an order', async () => {
  const code = /```ts\n([^]*?)```/.exec(readFileSync(new URL('../README.md', import.meta.url), 'utf8'))[1];
  // In this folder, because there `laterna` is this package.
  const file = new URL(`./.readme-${process.pid}.mjs`, import.meta.url);
  writeFileSync(file, code);
  try {
    const plugin = await import(file);
    const value = { type: 'order.placed', customer_id: 'c', placed_at_ms: 1, total: '2.50' };
    assert.deepEqual(outcomeOf(plugin, { value }).changes, [{ table: 'customers', action: 'upsert', row: { customer_id: 'c', orders: 1, spent: '2.50', last_order_at: 1000 } }]);
    assert.deepEqual(outcomeOf(plugin, { value: { type: 'other' } }).changes, []);
  } finally {
    rmSync(file);
  }
});

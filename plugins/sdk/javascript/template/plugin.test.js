import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outcomeOf } from 'laterna/testing';
import * as plugin from './plugin.js';

test('an event is counted, and its value kept', () => {
  assert.deepEqual(outcomeOf(plugin, { key: 'a', offset: 7, value: { id: 1 } }).changes, [
    { table: 'counts', action: 'upsert', row: { key: 'a', events: 1 } },
    { table: 'records', action: 'upsert', row: { key: 'a', value: '{"id":1}', last_offset: 7 } },
  ]);
});

test('a value that is no JSON object is rejected', () => {
  assert.match(outcomeOf(plugin, { key: 'a', value: '[1]' }).reject, /an object wanted, not a list/);
});

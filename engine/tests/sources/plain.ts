// What the topic `orders` says: one row for each customer_id, the last value of each field, and how many events there were.
//
// Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
// raise the revision when the meaning of rows that are already there changes.

import { decimal, integer, json, nullable, object, projection, table, timestamp } from 'laterna';

const rows = table('plain', {
  key: { customer_id: integer },
  columns: {
    at: nullable(timestamp),
    total: decimal,
    events: integer,
  },
  partitioning: 'serial',
});
const setSeen = rows.upsert('at', 'total', { events: 'add' });

const Incoming = object({
  customer_id: integer,
  at_ms: nullable(integer),
  total: decimal,
});

export const { describe, apply } = projection({ name: 'plain', revision: 1, topics: ["orders"] }, (event) => {
  if (event.isTombstone) return; // it names no row here
  const it = event.json(Incoming);
  if (it) {
    setSeen({
      customer_id: it.customer_id,
      at: it.at_ms,
      total: it.total,
      events: 1,
    });
  }
});

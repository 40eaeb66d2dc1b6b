// What the topic `orders` says: one row for each order_id, the last value of each field, and how many events there were.
//
// Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
// raise the revision when the meaning of rows that are already there changes.

import { bigint, boolean, date, decimal, float, integer, json, nullable, object, projection, table, tagged, text, timestamp, uuid } from 'laterna';

const rows = table('kinds', {
  key: { order_id: text },
  columns: {
    at: nullable(timestamp),
    big: nullable(bigint),
    class_value: nullable(text),
    day: nullable(date),
    id: nullable(uuid),
    items: nullable(json),
    n: integer,
    note: nullable(text),
    paid: nullable(boolean),
    placed_at: nullable(timestamp),
    ratio: nullable(float),
    total: nullable(decimal),
    x: nullable(text),
    events: integer,
  },
});
const setOrderPlaced = rows.upsert('at', 'big', 'class_value', 'day', 'id', 'items', 'n', 'note', 'paid', 'placed_at', 'ratio', 'total', 'x', { events: 'add' });
const setOrderCancelled = rows.upsert('n', 'note', { events: 'add' });
const setGone = rows.delete();

const Incoming = tagged("type", {
  "order.placed": object({
    at: timestamp,
    big: bigint,
    class: text,
    day: date,
    id: uuid,
    items: json,
    n: integer,
    note: nullable(text),
    paid: boolean,
    placed_at_ms: integer,
    ratio: float,
    total: decimal,
    "é \"x\"": text,
  }),
  "order.cancelled": object({
    n: integer,
    note: text,
  }),
});

export const { describe, apply } = projection({ name: 'kinds', revision: 1, topics: ["orders"] }, (event) => {
  const order_id = event.keyText;
  if (event.isTombstone) {
    setGone({ order_id });
    return;
  }
  const it = event.json(Incoming);
  if (it?.type === "order.placed") {
    setOrderPlaced({
      order_id,
      at: it.at,
      big: it.big,
      class_value: it.class,
      day: it.day,
      id: it.id,
      items: it.items,
      n: it.n,
      note: it.note,
      paid: it.paid,
      placed_at: it.placed_at_ms,
      ratio: it.ratio,
      total: it.total,
      x: it["é \"x\""],
      events: 1,
    });
  } else if (it?.type === "order.cancelled") {
    setOrderCancelled({
      order_id,
      n: it.n,
      note: it.note,
      events: 1,
    });
  }
});

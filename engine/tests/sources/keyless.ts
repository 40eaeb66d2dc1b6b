// What the topic `orders` says: one row an event, the last value of each field, and how many events there were.
//
// Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,
// raise the revision when the meaning of rows that are already there changes.

import { integer, json, object, projection, table, text } from 'laterna';

const rows = table('keyless', {
  key: { partition_number: integer, event_offset: integer },
  columns: {
    level: text,
    text: text,
    events: integer,
  },
});
const setSeen = rows.upsert('level', 'text', { events: 'add' });

const Incoming = object({
  level: text,
  text: text,
});

export const { describe, apply } = projection({ name: 'keyless', revision: 1, topics: ["orders"] }, (event) => {
  if (event.isTombstone) return; // it names no row here
  const it = event.json(Incoming);
  if (it) {
    setSeen({
      partition_number: event.partition,
      event_offset: event.offset,
      level: it.level,
      text: it.text,
      events: 1,
    });
  }
});

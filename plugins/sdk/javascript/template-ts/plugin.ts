// The last value of each key of {{topic}}, and how many events each key has had.

import { integer, json, object, projection, rawJson, table, text } from 'laterna';

const records = table('records', { key: { key: text }, columns: { value: json, last_offset: integer } });
const counts = table('counts', { key: { key: text }, columns: { events: integer } });

const record = records.upsert('value', { last_offset: 'max' });
const recordErased = records.delete();
const counted = counts.upsert({ events: 'add' });

const Value = object({}); // name the fields that you want: { id: text, amount: decimal }

export const { describe, apply } = projection({ name: '{{name}}', revision: 1, topics: ['{{topic}}'] }, (event) => {
  const key = event.keyText;
  counted({ key, events: 1 });
  const value = event.text;
  if (value === undefined) {
    recordErased({ key });
    return;
  }
  event.json(Value); // what is no JSON object is rejected
  record({ key, value: rawJson(value), last_offset: event.offset });
});

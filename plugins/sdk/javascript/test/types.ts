// What must compile and what must not, under --strict: `tsc -p test` checks it (each @ts-expect-error must be one).
import { bigint, bytes, date, decimal, Decimal, integer, list, nullable, object, projection, table, tagged, text, timestamp, type Read } from 'laterna';

const orders = table('orders', {
  key: { order_id: text, line: integer },
  columns: { customer_id: nullable(text), total: decimal, placed_at: timestamp, day: date },
  indexes: [['customer_id', 'placed_at'], { fullText: ['customer_id'] }],
});
const order = orders.upsert('customer_id', { total: 'add', placed_at: 'max' }, 'day');
order({ order_id: 'a', line: 1, customer_id: null, total: '1.50', placed_at: new Date(), day: 5 });
order({ order_id: 'a', line: 1n, total: Decimal.ZERO, placed_at: 1, day: '2026-01-31' });
// @ts-expect-error a column is missing
order({ order_id: 'a', line: 1, total: '1', placed_at: 1 });
// @ts-expect-error a wrong type
order({ order_id: 'a', line: '1', total: '1', placed_at: 1, day: 5 });
// @ts-expect-error a wrong name
order({ order_id: 'a', line: 1, total: '1', placed_at: 1, day: 5, sku: 'x' });
// @ts-expect-error null in a column that takes none
order({ order_id: 'a', line: 1, total: null, placed_at: 1, day: 5 });
// @ts-expect-error there is no such column
orders.update('sku');
// @ts-expect-error there is no such operation
orders.update({ total: 'plus' });
// @ts-expect-error a key is not assigned
orders.update('order_id');
// @ts-expect-error not a column of the key
orders.deletePrefix('total');
orders.deletePrefix('order_id')({ order_id: 'a' });
// @ts-expect-error an index of a column that is not there
table('x', { key: { a: text }, columns: { b: integer }, indexes: [['c']] });
// @ts-expect-error a nullable key
table('x', { key: { a: nullable(text) } });

const Line = object({ sku: text, quantity: integer, exact: bigint, price: decimal, note: nullable(text) });
const kinds = tagged('type', { placed: object({ lines: list(Line) }), gone: object({ id: text }) });
const line: Read<typeof Line> = { sku: 'a', quantity: 1, exact: 1n, price: Decimal.ZERO, note: null };
void line;

export const { describe, apply } = projection({ name: 'p', topics: ['t', { name: 'u', value: 'bytes' }] }, (event) => {
  const value = event.json(kinds);
  // @ts-expect-error it may be a tombstone or of another kind
  value.type;
  if (value?.type === 'placed') {
    const sum: number = value.lines[0].quantity;
    const total: Decimal = value.lines[0].price.times(sum).times(value.lines[0].exact);
    void total;
    // @ts-expect-error a placed one has no id
    value.id;
  }
});
// @ts-expect-error bytes are not in JSON
const never: string = null as unknown as Read<typeof bytes>; const number: number = '';
// @ts-expect-error an operation name
projection({ name: 'p', topics: [{ name: 't', value: 'json' }] }, () => {});

// Envelopes are models: what is read has the type of its data.
{
  const event = {} as import('laterna').Event;
  const { cloudEvent, object, rowChange, bigint } = await import('laterna');
  const paid = event.json(cloudEvent(object({ cents: bigint })));
  const cents: bigint | undefined = paid?.data?.cents;
  const change = event.json(rowChange(object({ cents: bigint })));
  const before: { cents: bigint } | null | undefined = change?.before;
  const at: number | null | undefined = change?.source?.ts_ms;
  // @ts-expect-error
  const wrong: string = change!.op.cents;
  void [cents, before, at, wrong];
}

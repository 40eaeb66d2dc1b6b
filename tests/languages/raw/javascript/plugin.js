// order_summary on the objects that componentize-qjs hands over, without the SDK: what the SDK is measured against (tests/languages/run).
// TypeScript has the same bindings, so it stands for that, too.
//
// A quantity beyond 2^53 is rejected: JSON.parse rounds it.

const [ORDER, CANCELLED, ORDER_ERASED, ITEM, ITEMS_ERASED] = [0, 1, 2, 3, 4];
const NULL = { tag: 'null' };

class Wrong extends Error {}

const text = (val) => ({ tag: 'text', val });
const integer = (val) => (Number.isSafeInteger(val) ? { tag: 'integer', val } : { tag: 'decimal', val: String(val) });

/** Milliseconds as the contract's microseconds: as decimal text where a number is not exact. */
function timestamp(ms) {
  const val = ms * 1000;
  return Number.isSafeInteger(val) ? { tag: 'timestamp', val } : { tag: 'decimal', val: String(BigInt(ms) * 1000n) };
}

// An amount is { units, scale }: units / 10^scale, where units is a number while that is exact, and else a bigint.
const PLAIN = /^-?\d{1,13}\.\d\d$/;
const ANY = /^([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d{1,9}))?$/;

function amount(price) {
  if (Number.isSafeInteger(price)) return { units: price, scale: 0 };
  if (typeof price !== 'string') return null;
  if (PLAIN.test(price)) return { units: Number(price.slice(0, -3) + price.slice(-2)), scale: 2 };
  const parts = ANY.exec(price);
  if (!parts || parts[2] + parts[3] === '') return null;
  const [, sign, whole, fraction, exponent = '0'] = parts;
  let units = BigInt(whole + fraction);
  let scale = fraction.length - Number(exponent);
  if (scale > 38 || scale < -38) return null;
  for (; scale < 0; scale++) units *= 10n;
  return { units: sign === '-' ? -units : units, scale };
}

function times({ units, scale }, factor) {
  const product = Number(units) * factor;
  return { units: typeof units === 'number' && Number.isSafeInteger(product) ? product : BigInt(units) * BigInt(factor), scale };
}

function plus(left, right) {
  if (left.units === 0 && left.scale <= right.scale) return right;
  if (left.scale === right.scale && typeof left.units === 'number' && typeof right.units === 'number') {
    const sum = left.units + right.units;
    if (Number.isSafeInteger(sum)) return { units: sum, scale: left.scale };
  }
  const scale = Math.max(left.scale, right.scale);
  const at = (amount) => BigInt(amount.units) * 10n ** BigInt(scale - amount.scale);
  return { units: at(left) + at(right), scale };
}

function money({ units, scale }) {
  const sign = units < 0 ? '-' : '';
  const digits = String(sign ? -units : units).padStart(scale + 1, '0');
  const point = digits.length - scale;
  return { tag: 'decimal', val: scale === 0 ? sign + digits : `${sign}${digits.slice(0, point)}.${digits.slice(point)}` };
}

function stands(event, o, status) {
  const { order_id, customer_id = null, placed_at_ms, items } = o;
  if (typeof order_id !== 'string') throw new Wrong('order_id: text wanted');
  if (customer_id !== null && typeof customer_id !== 'string') throw new Wrong('customer_id: text or null wanted');
  if (!Number.isSafeInteger(placed_at_ms)) throw new Wrong('placed_at_ms: a whole number wanted');
  if (!Array.isArray(items)) throw new Wrong('items: a list wanted');
  let item_count = 0;
  let total = { units: 0, scale: 0 };
  const prices = [];
  for (let i = 0; i < items.length; i++) {
    const { sku, quantity, unit_price } = items[i] ?? {};
    const price = amount(unit_price);
    if (typeof sku !== 'string' || !Number.isSafeInteger(quantity) || price === null) throw new Wrong(`items[${i}]: sku, quantity and unit_price wanted`);
    prices.push(price);
    const sum = item_count + quantity;
    item_count = Number.isSafeInteger(sum) ? sum : BigInt(item_count) + BigInt(quantity);
    total = plus(total, times(price, quantity));
  }
  const id = text(order_id);
  const customer = customer_id === null ? NULL : text(customer_id);
  const changes = [
    { shape: ORDER, values: [id, customer, text(status), integer(item_count), money(total), timestamp(placed_at_ms), integer(event.offset)] },
    { shape: ITEMS_ERASED, values: [id] },
  ];
  for (let line = 0; line < items.length; line++) {
    const { sku, quantity } = items[line];
    changes.push({ shape: ITEM, values: [id, integer(line), text(sku), integer(quantity), money(prices[line])] });
  }
  return changes;
}

function changesOf(event) {
  const { key, value } = event;
  if (value == null) {
    if (key?.tag !== 'text') throw new Wrong('a tombstone wants a key of text');
    const id = text(key.val);
    return [{ shape: ORDER_ERASED, values: [id] }, { shape: ITEMS_ERASED, values: [id] }];
  }
  if (value.tag !== 'text') throw new Wrong('the value is not UTF-8 text');
  const o = JSON.parse(value.val);
  switch (o?.type) {
    case 'order.placed':
      return stands(event, o, 'placed');
    case 'order.updated':
      return stands(event, o, 'updated');
    case 'order.cancelled':
      if (typeof o.order_id !== 'string') throw new Wrong('order_id: text wanted');
      return [{ shape: CANCELLED, values: [text(o.order_id), text('cancelled'), integer(event.offset)] }];
  }
  if (typeof o?.type !== 'string' || Array.isArray(o)) throw new Wrong('type: text wanted');
  return [];
}

function outcome(event) {
  try {
    return { tag: 'changes', val: changesOf(event) };
  } catch (error) {
    if (error instanceof Wrong || error instanceof SyntaxError) return { tag: 'reject', val: `not an order event: ${error.message}` };
    throw error;
  }
}

export function apply(batch) {
  return batch.events.map(outcome);
}

export function describe() {
  const column = (name, columnType, nullable = false) => ({ name, columnType, nullable });
  const set = (column) => ({ column, operation: 'set' });
  const lastOffset = { column: 'last_offset', operation: 'max' };
  return {
    name: 'order_summary',
    revision: 1,
    topics: [{ name: 'orders', key: 'text', value: 'text', headers: [] }],
    tables: [
      {
        name: 'orders',
        columns: [
          column('order_id', 'text'),
          column('customer_id', 'text', true),
          column('status', 'text'),
          column('item_count', 'integer'),
          column('total', 'decimal'),
          column('placed_at', 'timestamp'),
          column('last_offset', 'integer'),
        ],
        primaryKey: ['order_id'],
        indexes: [{ columns: ['customer_id', 'placed_at'], kind: 'ordered' }],
        partitioning: 'by-partition',
      },
      {
        name: 'order_items',
        columns: [column('order_id', 'text'), column('line', 'integer'), column('sku', 'text'), column('quantity', 'integer'), column('unit_price', 'decimal')],
        primaryKey: ['order_id', 'line'],
        indexes: [],
        partitioning: 'by-partition',
      },
    ],
    shapes: [
      { table: 'orders', action: { tag: 'upsert', val: [...['customer_id', 'status', 'item_count', 'total', 'placed_at'].map(set), lastOffset] } },
      { table: 'orders', action: { tag: 'update', val: [set('status'), lastOffset] } },
      { table: 'orders', action: { tag: 'delete' } },
      { table: 'order_items', action: { tag: 'upsert', val: ['sku', 'quantity', 'unit_price'].map(set) } },
      { table: 'order_items', action: { tag: 'delete-prefix', val: 1 } },
    ],
  };
}

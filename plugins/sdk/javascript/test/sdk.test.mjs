// The SDK on Node: what its author declares and throws, against what the contract is given.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as laterna from 'laterna';
import { outcomeOf } from 'laterna/testing';

const { Decimal, Halt, Reject, bigint, boolean, bytes, date, decimal, float, integer, json, list, nullable, object, projection, rawJson, table, tagged, text, timestamp, uuid } = laterna;

/** A projection of one table with one column, and what it makes of a value. */
function put(type, value) {
  const values = table('t', { key: { id: text }, columns: { v: type } });
  const set = values.upsert('v');
  const { apply } = projection({ name: 'p', topics: ['t'] }, () => set({ id: 'a', v: value }));
  const [outcome] = apply({ topic: 't', partition: 0, events: [{ offset: 0, timestampMs: -1, key: null, value: null, headers: [] }] });
  return outcome.tag === 'changes' ? outcome.val[0].values[1] : outcome;
}

/** What a model reads of a field. */
function take(type, source) {
  let read;
  const plugin = projection({ name: 'p', topics: ['t'] }, (event) => void (read = event.json(object({ v: type })).v));
  const { reject } = outcomeOf(plugin, { value: `{"v":${source}}` });
  return reject === undefined ? read : { reject: reject.replace('the value is not the JSON that is read here: ', '') };
}

test('a value goes as its column is, exactly or not at all', () => {
  const cases = [
    [text, 'é☃𝄞', 'text', 'é☃𝄞'],
    [integer, 7, 'integer', 7],
    [integer, -1, 'integer', -1],
    [integer, 2 ** 53 - 1, 'integer', 2 ** 53 - 1],
    [integer, 2n ** 53n, 'decimal', '9007199254740992'],
    [bigint, -(2n ** 63n), 'decimal', '-9223372036854775808'],
    [float, 0.1, 'float', 0.1],
    [boolean, false, 'boolean', false],
    [decimal, '12.50', 'decimal', '12.50'],
    [decimal, 3, 'decimal', '3'],
    [decimal, Decimal.of('-0.05'), 'decimal', '-0.05'],
    [timestamp, 1767225600977, 'timestamp', 1767225600977000],
    [timestamp, -1, 'timestamp', -1000],
    [timestamp, new Date(5), 'timestamp', 5000],
    [timestamp, laterna.micros(7), 'timestamp', 7],
    [timestamp, '2026-01-31T12:00:00.25+01:00', 'timestamp', 1769857200250000],
    [timestamp, 253402300799999, 'decimal', '253402300799999000'],
    [date, -1, 'date', -1],
    [date, '1969-12-31', 'date', -1],
    [date, '0001-01-01', 'date', -719162],
    [date, new Date(-1), 'date', -1],
    [json, { a: [1, 'b', null] }, 'json', '{"a":[1,"b",null]}'],
    [json, rawJson('{"n":9007199254740993}'), 'json', '{"n":9007199254740993}'],
    [uuid, '6f1ed002-ab5d-4b2f-8f4a-2f1b7f1c9a55', 'uuid', '6f1ed002-ab5d-4b2f-8f4a-2f1b7f1c9a55'],
  ];
  for (const [type, value, tag, val] of cases) assert.deepEqual({ ...put(type, value) }, { tag, val });
  assert.deepEqual(put(bytes, Uint8Array.of(0, 255)), { tag: 'bytes', val: Uint8Array.of(0, 255) });
  for (const none of [null, undefined]) assert.deepEqual({ ...put(nullable(integer), none) }, { tag: 'null' });
});

test('what a column cannot hold rejects the event, with column and value', () => {
  const cases = [
    [text, 7, 't.v: text of whole characters wanted, not 7'],
    [text, '\ud800', 't.v: text of whole characters wanted, not "\\ud800"'],
    [text, undefined, 't.v: text of whole characters wanted, not nothing'],
    [integer, 2 ** 53, 't.v: a whole number wanted, not 9007199254740992, which is not exact beyond 2^53: a bigint is'],
    [integer, 1.5, 't.v: a whole number wanted, not 1.5'],
    [integer, '5', 't.v: a whole number wanted, not "5"'],
    [float, NaN, 't.v: a finite number wanted, not NaN'],
    [decimal, 12.5, 't.v: 12.5 is not exact as a number: a decimal number wanted as text, like "12.50"'],
    [decimal, '1,00', 't.v: a decimal number wanted, like "12.50", not "1,00"'],
    [date, 1767225600977, 't.v: a day wanted (days since 1970, a Date, or text like 2026-01-31), not 1767225600977'],
    [json, { id: 2 ** 60 }, 't.v: 1152921504606847000 is not exact beyond 2^53: read its field as bigint, by a model'],
    [json, undefined, 't.v: a JSON value wanted, not nothing'],
    [bytes, 'a', 't.v: a Uint8Array wanted, not "a"'],
  ];
  for (const [type, value, val] of cases) assert.deepEqual(put(type, value), { tag: 'reject', val });
  for (const wrong of ['2026-02-29T00:00:00Z', '2026-01-01', '2026-01-01T24:00:00Z', '2026-01-01T00:00:00', 0.5, new Date(NaN)]) {
    assert.match(put(timestamp, wrong).val, /^t\.v: an instant wanted/);
  }
});

test('integers in events are exact, or the event is rejected', () => {
  assert.equal(take(integer, '9007199254740991'), 2 ** 53 - 1);
  assert.deepEqual(take(integer, '9007199254740993'), { reject: 'v: a whole number up to 2^53 wanted, not 9007199254740992' });
  assert.equal(take(bigint, '9223372036854775807'), 2n ** 63n - 1n);
  assert.equal(take(bigint, '-9223372036854775808'), -(2n ** 63n));
  assert.equal(take(bigint, '5'), 5n);
  assert.deepEqual(take(bigint, '1e300'), { reject: 'a whole number wanted without a fraction or exponent' });
  // Long digits in strings stay as they are, also where the event is read a second time.
  const both = object({ a: bigint, b: text });
  assert.deepEqual(take(both, '{"a":9007199254740993,"b":"9007199254740993 \\\\\\" 1234567890123456789"}'), { a: 9007199254740993n, b: '9007199254740993 \\" 1234567890123456789' });
  const untyped = projection({ name: 'p', topics: ['t'] }, (event) => void event.json());
  assert.match(outcomeOf(untyped, { value: '{"id":9007199254740993}' }).reject, /9007199254740992 is not exact/);
  assert.deepEqual(outcomeOf(untyped, { value: '{"id":"9007199254740993"}' }), { changes: [] });
});

test('a model says what is wrong and where', () => {
  const line = object({ sku: text, price: decimal });
  const model = object({ id: text, note: nullable(text), lines: list(line) });
  assert.deepEqual(take(model, '{"id":"a","lines":[{"sku":"x","price":"12.50"}],"other":1}'), { id: 'a', note: null, lines: [{ sku: 'x', price: Decimal.of('12.50') }], other: 1 });
  for (const [source, reject] of [
    ['[]', 'v: an object wanted, not a list'],
    ['{"id":7,"lines":[]}', 'v.id: text wanted, not 7'],
    ['{"id":"a","lines":{}}', 'v.lines: a list wanted, not an object'],
    ['{"id":"a","lines":[{"sku":"x","price":"1"},{"sku":"y","price":12.5}]}', 'v.lines[1].price: 12.5 is not exact as a number: a decimal number wanted as text, like "12.50"'],
    ['{"id":"a","note":1,"lines":[]}', 'v.note: text wanted, not 1'],
  ]) assert.deepEqual(take(model, source), { reject });
});

test('a tag chooses the model, and another kind is null', () => {
  let read;
  const kinds = tagged('type', { a: object({ x: integer }), constructor: object({ y: text }) });
  const plugin = projection({ name: 'p', topics: ['t'] }, (event) => void (read = event.json(kinds)));
  const of = (value) => (outcomeOf(plugin, { value }).reject ?? read);
  assert.deepEqual(of('{"type":"a","x":1}'), { type: 'a', x: 1 });
  assert.equal(of('{"type":"toString"}'), null);
  assert.equal(of(null), undefined);
  assert.match(of('{"x":1}'), /type: text wanted, not nothing/);
  assert.match(of('null'), /an object wanted, not null/);
  assert.match(of('{"type":'), /^the value is not JSON: /);
  assert.match(of(Uint8Array.of(0x80)), /^the value is not UTF-8 text \(1 bytes\)/);
});

test('decimals are exact whatever their length', () => {
  const sum = Decimal.of('0.333').times(5).plus('199.00').plus(Decimal.of('12.50').times(2n));
  assert.equal(String(sum), '225.665');
  assert.equal(String(Decimal.of('99999999999.99').times(9007199254740993n)), '900719925474009228007452590.07');
});

test('decimals are read as they are written elsewhere', () => {
  for (const [source, shown] of [['0.00', '0.00'], ['-0.0', '0.0'], ['+1.5', '1.5'], ['007.10', '7.10'], ['.5', '0.5'], ['5.', '5'], ['-1.2e3', '-1200'], ['1.25E-2', '0.0125'], ['0e99', '0'],
    ['-0', '0'], ['170141183460469231731687303715884105727', '170141183460469231731687303715884105727'], ['0.00000000000000000000000000000000000001', '0.00000000000000000000000000000000000001']]) {
    assert.equal(String(Decimal.of(source)), shown);
  }
  for (const wrong of ['', '-', '.', '1,00', '1.2.3', '--1', '1e', 'e5', '1e1.5', 'NaN', 'Infinity', '0x10', ' 1', '1 ', '1e39', '1e-39', '1e999999999', '٣', '170141183460469231731687303715884105728', null, true, {}]) {
    assert.throws(() => Decimal.of(wrong), Reject);
  }
  assert.throws(() => Decimal.of('99999999999999999999999999999999999999').times(10), /more than 38 digits/);
  assert.throws(() => Decimal.of(1).times(1.5), Reject);
  assert.equal(String(Decimal.units(-5, 2)), '-0.05');
  assert.equal(Decimal.of('1.0').compare('1.00'), 0);
  assert.equal(Decimal.of('-1.51').compare('-1.5'), -1);
  assert.equal(String(Decimal.of('2').minus('0.5')), '1.5');
});

test('decimals of any length are added and multiplied as bigint would', () => {
  let seed = 7;
  const next = () => (seed = (seed * 48271) % 2147483647);
  for (let i = 0; i < 3000; i++) {
    const [a, b] = [0, 0].map(() => [BigInt(next()) ** BigInt(1 + (next() % 3)) * (next() % 2 ? 1n : -1n), next() % 7]);
    const [x, y] = [a, b].map(([units, scale]) => Decimal.units(units, scale));
    const scale = Math.max(a[1], b[1]);
    const sum = a[0] * 10n ** BigInt(scale - a[1]) + b[0] * 10n ** BigInt(scale - b[1]);
    assert.equal(String(x.plus(y)), String(Decimal.units(sum, scale)));
    assert.equal(String(Decimal.of(String(x))), String(x));
    const factor = next() % 1000;
    assert.equal(String(x.times(factor)), String(Decimal.units(a[0] * BigInt(factor), a[1])));
  }
});

test('keys, values and headers, as text and as bytes', () => {
  let seen;
  const look = (event) => void (seen = [event.key, event.bytes, event.header('h'), event.headerText('h'), event.timestamp, event.offset, event.isTombstone]);
  const plugin = projection({ name: 'p', topics: [{ name: 't', headers: ['h'] }, { name: 'b', key: 'bytes', value: 'bytes' }] }, look);
  outcomeOf(plugin, { key: 'é', value: Uint8Array.of(255), headers: { h: 'x', other: 'y' }, offset: 9 });
  assert.deepEqual(seen, [Uint8Array.of(0xc3, 0xa9), Uint8Array.of(255), Uint8Array.of(120), 'x', null, 9, false]);
  outcomeOf(plugin, { topic: 'b', timestamp: 5 });
  assert.deepEqual(seen, [null, null, null, null, 5, 0, true]);
  const texts = projection({ name: 'p', topics: [{ name: 'b', key: 'bytes', value: 'bytes' }] }, (event) => void (seen = [event.keyText, event.text]));
  outcomeOf(texts, { key: 'a%é☃𝄞', value: '100% ☃' });
  assert.deepEqual(seen, ['a%é☃𝄞', '100% ☃']);
  assert.equal(outcomeOf(texts, {}).reject, 'the event has no key');
  assert.equal(outcomeOf(texts, { key: Uint8Array.of(0xed, 0xa0, 0x80) }).reject, 'the key is not UTF-8 text (3 bytes)');
});

test('faults: a reject and a halt have their reason, a bug ends the call', () => {
  const thrown = (error) => projection({ name: 'p', topics: ['t'] }, () => { throw error; });
  assert.deepEqual(outcomeOf(thrown(new Reject('no'))), { reject: 'no' });
  assert.deepEqual(outcomeOf(thrown(new Halt('stop'))), { halt: 'stop' });
  assert.throws(() => outcomeOf(thrown(new Error('bug'))), /bug/);
  // Of a rejected event nothing is left.
  const rows = table('t', { key: { id: text } });
  const add = rows.upsert();
  const plugin = projection({ name: 'p', topics: ['t'] }, (event) => { add({ id: event.keyText }); if (event.offset === 1) throw new Reject('no'); });
  assert.deepEqual(outcomeOf(plugin, { key: 'a', offset: 1 }), { reject: 'no' });
  assert.deepEqual(outcomeOf(plugin, { key: 'a' }), { changes: [{ table: 't', action: 'upsert', row: { id: 'a' } }] });
});

test('the descriptor says what was declared, in order', () => {
  const rows = table('rows', { key: { a: text, b: integer }, columns: { c: nullable(decimal), d: timestamp }, indexes: [['c'], { fullText: ['a'] }], partitioning: 'serial' });
  rows.upsert('c', { d: 'max' }); rows.update({ c: 'add' }); rows.insert('d'); rows.delete(); rows.deletePrefix('a');
  const { describe } = projection({ name: 'p', revision: 3, topics: ['t', { name: 'u', value: 'bytes', headers: ['h'] }] }, () => {});
  assert.deepEqual(describe(), {
    name: 'p', revision: 3,
    topics: [{ name: 't', key: 'text', value: 'text', headers: [] }, { name: 'u', key: 'text', value: 'bytes', headers: ['h'] }],
    tables: [{ name: 'rows', primaryKey: ['a', 'b'], partitioning: 'serial', indexes: [{ columns: ['c'], kind: 'ordered' }, { columns: ['a'], kind: 'full-text' }],
      columns: [['a', 'text', false], ['b', 'integer', false], ['c', 'decimal', true], ['d', 'timestamp', false]].map(([name, columnType, nullable]) => ({ name, columnType, nullable })) }],
    shapes: [
      { table: 'rows', action: { tag: 'upsert', val: [{ column: 'c', operation: 'set' }, { column: 'd', operation: 'max' }] } },
      { table: 'rows', action: { tag: 'update', val: [{ column: 'c', operation: 'add' }] } },
      { table: 'rows', action: { tag: 'insert', val: ['d'] } },
      { table: 'rows', action: { tag: 'delete' } },
      { table: 'rows', action: { tag: 'delete-prefix', val: 1 } },
    ],
  });
});

test('a declaration that cannot be meant is refused at once', () => {
  const rows = table('rows', { key: { a: text, b: text }, columns: { c: integer, d: nullable(integer) } });
  for (const [wrong, message] of [
    [() => rows.upsert('c', 'x'), 'table rows: there is no column x; there are a, b, c, d'],
    [() => rows.upsert('d'), 'table rows: upsert makes rows, and names no value for c, which take no null'],
    [() => rows.upsert('c', { d: 'plus' }), 'table rows: d: no operation plus; there are set, add, max, min, set-if-null, newer'],
    [() => rows.update('a'), 'table rows: a is in the key, and a change sets columns outside it'],
    [() => rows.deletePrefix('b'), 'table rows: deletePrefix names the first columns of the key: a, b'],
    [() => table('x', { key: { a: nullable(text) } }), 'table x: a is in the key and cannot be nullable'],
    [() => table('x', { key: { a: String } }), 'table x: a has no type of a column'],
    [() => table('x', { key: { a: text }, indexes: [['b']] }), 'table x: there is no column b; there are a'],
    [() => object({ a: bytes }), '.a: a type for fields of events is wanted here'],
  ]) assert.throws(wrong, { name: 'TypeError', message });
  const set = rows.upsert('c');
  const plugin = projection({ name: 'p', topics: ['t'] }, () => set({ a: '1', b: '2', c: 3, e: 4 }));
  assert.throws(() => outcomeOf(plugin), /rows\.e is not among the columns of this change: a, b, c/);
});

test('a CloudEvent and a change of Debezium\'s are models like others', () => {
  const { cloudEvent, rowChange } = laterna;
  const read = (model, value) => {
    let found;
    const plugin = projection({ name: 'p', topics: ['t'] }, (event) => void (found = event.json(model)));
    const { reject } = outcomeOf(plugin, { value });
    return reject ?? found;
  };
  const paid = cloudEvent(object({ cents: bigint }));
  const text = '{"specversion":"1.0","id":"7","source":"/shop","type":"paid","time":"2026-01-31T12:00:00Z","data":{"cents":9007199254740993}}';
  const event = read(paid, text);
  assert.deepEqual([event.type, event.source, event.id, event.subject, event.data.cents], ['paid', '/shop', '7', null, 9007199254740993n]);
  assert.deepEqual(put(timestamp, event.time).val, 1769860800000000);
  assert.match(read(paid, '{"id":"7","source":"s"}'), /type: text wanted/);
  assert.equal(read(cloudEvent(), '{"id":"7","source":"s","type":"t","data_base64":"AA=="}').data_base64, 'AA==');
  const row = rowChange(object({ id: integer }));
  const change = read(row, '{"op":"d","before":{"id":1},"after":null,"source":{"ts_ms":5,"lsn":7}}');
  assert.deepEqual([change.op, change.before.id, change.after, change.source.ts_ms], ['d', 1, null, 5]);
  assert.match(read(row, '{"before":null}'), /op: text wanted/);
  assert.match(read(row, '{"op":"u","after":{"id":"x"}}'), /after\.id: a whole number/);
});

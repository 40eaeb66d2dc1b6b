// A projection: tables and changes that are declared once, and a function from an event to changes.
//
// Invariants: `projection()` takes what was declared since the last one, so a file has one projection, and a test may have several.
// A change has effect in the event that is being applied only. A fault leaves nothing of its event's changes.

import { write } from '#log';
import { Event } from './event.js';
import { Halt, Reject } from './fault.js';
import { where } from './trace.js';
import { writer } from './types.js';

export { Decimal } from './decimal.js';
export { cloudEvent, rowChange } from './envelope.js';
export { Event } from './event.js';
export { Halt, Reject } from './fault.js';
export { day, micros } from './time.js';
export { bigint, boolean, bytes, date, decimal, float, integer, json, list, nullable, object, rawJson, tagged, text, timestamp, uuid } from './types.js';

// What the sandbox lacks says so, instead of not being defined.
globalThis.fetch ??= () => {
  throw new Error('there is no network in the sandbox: put what the projection needs into the event');
};

/** Lines in the projection's log. */
export const log = {};
for (const level of ['trace', 'debug', 'info', 'warn', 'error']) log[level] = (message) => write(level, String(message));

const OPERATIONS = ['set', 'add', 'max', 'min', 'set-if-null', 'newer'];
let declared = { tables: [], shapes: [] };
/** The changes of the event that is being applied. */
const applying = { out: [] };

export function table(name, { key, columns = {}, indexes = [], partitioning = 'by-partition' }) {
  const all = { ...key, ...columns };
  const wrong = (what) => new TypeError(`table ${name}: ${what}`);
  for (const [column, type] of Object.entries(all)) {
    if (!type?.put) throw wrong(`${column} has no type of a column`);
    if (column in key && type.nullable) throw wrong(`${column} is in the key and cannot be nullable`);
    if (column in key && column in columns) throw wrong(`${column} is in the key and in the columns`);
  }
  const known = (column) => {
    if (!(column in all)) throw wrong(`there is no column ${column}; there are ${Object.keys(all).join(', ')}`);
    return column;
  };
  declared.tables.push({
    name,
    columns: Object.entries(all).map(([column, type]) => ({ name: column, columnType: type.name, nullable: type.nullable === true })),
    primaryKey: Object.keys(key),
    indexes: indexes.map((index) => (Array.isArray(index) ? { columns: index, kind: 'ordered' } : { columns: index.fullText, kind: 'full-text' })),
    partitioning,
  });
  declared.tables.at(-1).indexes.forEach((index) => index.columns.forEach(known));

  const { shapes } = declared;
  const shape = (tag, val, names) => {
    const n = shapes.push({ table: name, action: val === undefined ? { tag } : { tag, val } }) - 1;
    return writer(name, names.map((column) => [column, all[known(column)]]), (values) => `applying.out.push({ shape: ${n}, values: ${values} });`, { applying });
  };
  const keys = Object.keys(key);
  const assigned = (assignments) => {
    const operations = {};
    for (const one of assignments) Object.assign(operations, typeof one === 'string' ? { [one]: 'set' } : one);
    for (const [column, operation] of Object.entries(operations)) {
      if (column in key) throw wrong(`${column} is in the key, and a change sets columns outside it`);
      if (!OPERATIONS.includes(operation)) throw wrong(`${known(column)}: no operation ${operation}; there are ${OPERATIONS.join(', ')}`);
    }
    return operations;
  };
  const whole = (what, operations) => {
    const missing = Object.keys(columns).filter((column) => !columns[column].nullable && !(column in operations));
    if (missing.length > 0) throw wrong(`${what} makes rows, and names no value for ${missing.join(', ')}, which take no null`);
    return operations;
  };
  const combine = (tag, operations) =>
    shape(tag, Object.entries(operations).map(([column, operation]) => ({ column, operation })), [...keys, ...Object.keys(operations)]);
  return {
    upsert: (...assignments) => combine('upsert', whole('upsert', assigned(assignments))),
    update: (...assignments) => combine('update', assigned(assignments)),
    insert: (...names) => shape('insert', names, [...keys, ...Object.keys(whole('insert', assigned(names)))]),
    delete: () => shape('delete', undefined, keys),
    deletePrefix: (...names) => {
      if (names.length === 0 || names.some((column, i) => column !== keys[i])) throw wrong(`deletePrefix names the first columns of the key: ${keys.join(', ')}`);
      return shape('delete-prefix', names.length, names);
    },
  };
}

export function projection({ name, revision = 1, topics }, apply) {
  const { tables, shapes } = declared;
  declared = { tables: [], shapes: [] };
  const descriptor = {
    name,
    revision,
    topics: topics.map((topic) => {
      const { name, key = 'text', value = 'text', headers = [] } = typeof topic === 'string' ? { name: topic } : topic;
      return { name, key, value, headers };
    }),
    tables,
    shapes,
  };
  return {
    describe: () => descriptor,
    apply(batch) {
      const { events } = batch;
      const outcomes = [];
      for (let i = 0; i < events.length; i++) outcomes.push(outcome(apply, batch, events[i]));
      return outcomes;
    },
  };
}

function outcome(apply, batch, record) {
  const out = (applying.out = []);
  try {
    apply(new Event(batch, record));
    return { tag: 'changes', val: out };
  } catch (error) {
    if (error instanceof Reject) return { tag: 'reject', val: error.path ? `${error.path}: ${error.message}` : error.message };
    if (error instanceof Halt) return { tag: 'halt', val: error.message };
    // A bug, not the event's fault: it ends the call, and the engine shows these words with the event.
    write('error', where(error));
    throw error;
  }
}

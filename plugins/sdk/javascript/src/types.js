// The types of columns and of fields in events, one vocabulary for both, and the functions that are made of them.
//
// A type carries the JavaScript text of its two conversions: `put` makes the contract's value of `v`; `test` or `take` checks a
// field of an event, or says what replaces it. A table's change and an event's model each become one function that runs straight
// through: QuickJS has no compiler, so a call for each value would cost as much as the value itself. Where a conversion throws, the
// values are gone through once more to find whose it was, so that a path costs nothing until it is needed.
//
// Invariant: no value is rounded. The toolchain hands over 64-bit integers as numbers, so one beyond 2^53 goes as decimal text,
// which the contract takes in columns of integers and instants.

import { Decimal } from './decimal.js';
import { Reject, shown } from './fault.js';
import { dayOf, instantOf } from './time.js';

class JsonText {
  constructor(text) {
    this.text = text;
  }
}

/** A JSON document that is text already, for a `json` column: it goes as it is. */
export const rawJson = (text) => new JsonText(text);

/** An integer was rounded when the event was read, and its model wants it whole. */
export class Inexact extends Error {}

/** What the texts below, and the functions made of them, can call. */
const rt = {
  NULL: Object.freeze({ tag: 'null' }),
  isSafe: Number.isSafeInteger,
  isFinite: Number.isFinite,
  isArray: Array.isArray,
  decimal: Decimal.of,
  instant: instantOf,
  day: dayOf,

  unfit(wanted, value, advice = '') {
    throw new Reject(`${wanted} wanted, not ${shown(value)}${advice}`);
  },

  long(tag, value) {
    if (typeof value === 'bigint') {
      const small = Number(value);
      return Number.isSafeInteger(small) ? { tag, val: small } : { tag: 'decimal', val: String(value) };
    }
    if (Number.isSafeInteger(value)) return { tag, val: value };
    return rt.unfit('a whole number', value, Number.isInteger(value) ? ', which is not exact beyond 2^53: a bigint is' : '');
  },

  json(value) {
    if (value instanceof JsonText) return { tag: 'json', val: value.text };
    const text = JSON.stringify(value);
    if (text === undefined) rt.unfit('a JSON value', value);
    refuseRounded(text, value);
    return { tag: 'json', val: text };
  },

  bigint(value) {
    if (typeof value === 'bigint') return value;
    if (Number.isSafeInteger(value)) return BigInt(value);
    if (Number.isInteger(value)) throw new Inexact();
    return rt.unfit('a whole number', value);
  },
};

/** The commonest integers: an object costs more than all else about a value. */
const SMALL = Array.from({ length: 256 }, (_, val) => Object.freeze({ tag: 'integer', val }));

/** Throws where an integer among the values that `text` shows was rounded when it was read. */
export function refuseRounded(text, value) {
  // Only where so many digits stand together can one have been.
  if (/\d{16}|e\+/.test(text)) eachRounded(value);
}

function eachRounded(value) {
  if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw new Reject(`${value} is not exact beyond 2^53: read its field as bigint, by a model`);
  }
  if (typeof value === 'object' && value !== null) for (const name in value) eachRounded(value[name]);
}

const as = (name, wanted, test) => ({ name, wanted, test, put: `${test} ? { tag: '${name}', val: v } : rt.unfit('${wanted}', v)` });
const whole = `typeof v === 'number' && SMALL[v] || rt.long('integer', v)`;

// Half of a character, from an escape in JSON or a cut of the author's, is no UTF-8 and would end the call.
export const text = {
  ...as('text', 'text', `typeof v === 'string'`),
  put: `typeof v === 'string' && v.isWellFormed() ? { tag: 'text', val: v } : rt.unfit('text of whole characters', v)`,
};
export const uuid = as('uuid', 'a UUID as text', `typeof v === 'string'`);
export const boolean = as('boolean', 'true or false', `typeof v === 'boolean'`);
export const float = as('float', 'a finite number', 'rt.isFinite(v)');
export const integer = { name: 'integer', wanted: 'a whole number up to 2^53', test: 'rt.isSafe(v)', put: whole };
export const bigint = { name: 'integer', take: 'rt.bigint(v)', put: whole };
export const decimal = { name: 'decimal', take: 'rt.decimal(v)', put: `typeof (u = v?.text) === 'string' ? { tag: 'decimal', val: u } : { tag: 'decimal', val: rt.decimal(v).toString() }` };
export const timestamp = { name: 'timestamp', take: '(rt.instant(v), v)', put: `typeof v === 'number' && isSafe(u = v * 1000) && isSafe(v) ? { tag: 'timestamp', val: u } : rt.long('timestamp', rt.instant(v))` };
export const date = { name: 'date', take: '(rt.day(v), v)', put: `{ tag: 'date', val: rt.day(v) }` };
export const json = { name: 'json', wanted: 'a JSON value', test: 'v !== undefined', put: 'rt.json(v)' };
export const bytes = { name: 'bytes', put: `v instanceof Uint8Array ? { tag: 'bytes', val: v } : rt.unfit('a Uint8Array', v)` };

export const nullable = (type) => ({ ...type, nullable: true });

/** A JSON object with these fields; others are left as they are. */
export function object(fields) {
  const members = Object.entries(fields).map(([name, type]) => member(type, `o${property(name)}`, `.${name}`));
  return { wanted: 'an object', read: reader(`typeof o !== 'object' || o === null || rt.isArray(o)`, 'an object', members, (all) => all, false) };
}

/** A JSON list of such values. */
export function list(type) {
  const each = (one) => `for (let i = 0; i < o.length; i++) { ${one} }`;
  return { wanted: 'a list', read: reader('!rt.isArray(o)', 'a list', [member(type, 'o[i]')], each, true) };
}

/** A JSON object whose field `tag` says which of the models it is; null where it is none of them. */
export function tagged(tag, models) {
  const known = new Map(Object.entries(models));
  const any = object({ [tag]: text });
  return {
    tagged: true,
    read(value) {
      const model = typeof value === 'object' && value !== null ? known.get(value[tag]) : undefined;
      return model === undefined ? (any.read(value), null) : model.read(value);
    },
  };
}

function member(type, slot, path) {
  if (!type?.read && !type?.test && !type?.take) throw new TypeError(`${path ?? 'a list'}: a type for fields of events is wanted here`);
  if (type.tagged) throw new TypeError(`${path ?? 'a list'}: tagged() is for whole events`);
  return { type, slot, path };
}

/** A function that checks a value and puts what it took in its place. */
function reader(isWrong, wanted, members, around, isList) {
  const inner = [];
  const steps = members.map(({ type, slot }) => {
    const step = type.read
      ? `${slot} = inner[${inner.push(type.read) - 1}](v);`
      : type.take
        ? `${slot} = ${type.take};`
        : `if (!(${type.test})) rt.unfit('${type.wanted}', v);`;
    return `v = ${slot}; ${type.nullable ? `if (v === undefined) ${slot} = null; else if (v !== null) { ${step} }` : step}`;
  });
  const single = steps.map((step) => compile(`(o, i) => { let v; ${step} }`, { inner }));
  const locate = (error, o) => {
    if (error instanceof Reject) {
      if (isList) o.forEach((_, i) => inPath(`[${i}]`, () => single[0](o, i)));
      else single.forEach((step, i) => inPath(members[i].path, () => step(o)));
    }
    throw error;
  };
  return compile(
    `(o) => { let v; if (${isWrong}) rt.unfit('${wanted}', o); try { ${around(steps.join('\n'))} } catch (e) { locate(e, o); } return o; }`,
    { inner, locate },
  );
}

/**
 * A function that takes a row's columns from an object and gives the contract's values.
 * `push`: the text of what becomes of the list of values; it sees `out` as a name.
 */
export function writer(table, columns, push, scope) {
  const cells = columns.map(([name, type]) => {
    return `(v = r${property(name)}, ${type.nullable ? `v == null ? NULL : ${type.put}` : type.put})`;
  });
  const names = columns.map(([name]) => name);
  const single = cells.map((cell) => compile(`(r) => { let v, u; ${cell}; }`, { NULL: rt.NULL, isSafe: rt.isSafe }));
  // The first row shows whether the author's names are right; later ones have the same.
  const first = (row) => refuseUnknown(table, names, row);
  const locate = (error, row) => {
    if (error instanceof Reject) single.forEach((put, i) => inPath(`${table}.${names[i]}`, () => put(row)));
    throw error;
  };
  const body = `let isNew = true; return (r) => {
    if (isNew) { first(r); isNew = false; }
    let v, u;
    try { ${push(`[${cells.join(', ')}]`)} } catch (e) { locate(e, r); }
  };`;
  return compile(`(() => { ${body} })()`, { ...scope, NULL: rt.NULL, isSafe: rt.isSafe, first, locate });
}

/** A misspelt column would be a null, event after event. */
function refuseUnknown(table, names, row) {
  for (const name in row) {
    if (!names.includes(name)) throw new TypeError(`${table}.${name} is not among the columns of this change: ${names.join(', ')}`);
  }
}

function inPath(path, step) {
  try {
    step();
  } catch (error) {
    if (error instanceof Reject) error.path = path + (error.path ?? '');
    throw error;
  }
}

const property = (name) => (/^[A-Za-z_]\w*$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`);

function compile(source, scope) {
  return new Function('rt', 'SMALL', ...Object.keys(scope), `'use strict'; return ${source}`)(rt, SMALL, ...Object.values(scope));
}

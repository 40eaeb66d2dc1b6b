// The event that a projection is asked about.

import { Reject } from './fault.js';
import { Inexact, refuseRounded } from './types.js';

export class Event {
  constructor(batch, record) {
    this.batch = batch;
    this.record = record;
  }

  get topic() {
    return this.batch.topic;
  }

  get partition() {
    return this.batch.partition;
  }

  get offset() {
    return this.record.offset;
  }

  get timestamp() {
    const ms = this.record.timestampMs;
    return ms < 0 ? null : ms;
  }

  get isTombstone() {
    return this.record.value == null;
  }

  get key() {
    return bytesOf(this.record.key);
  }

  get keyText() {
    const key = this.record.key;
    if (key == null) throw new Reject('the event has no key');
    return key.tag === 'text' ? key.val : textOf(key.val, 'key');
  }

  get bytes() {
    return bytesOf(this.record.value);
  }

  get text() {
    const value = this.record.value;
    if (value == null) return undefined;
    return value.tag === 'text' ? value.val : textOf(value.val, 'value');
  }

  json(model) {
    const text = this.text;
    if (text === undefined) return undefined;
    try {
      const value = JSON.parse(text);
      if (model) return model.read(value);
      refuseRounded(text, value);
      return value;
    } catch (error) {
      if (error instanceof Inexact) return again(text, model);
      throw notRead(error);
    }
  }

  header(name) {
    const headers = this.record.headers;
    for (let i = headers.length - 1; i >= 0; i--) if (headers[i].name === name) return bytesOf(headers[i].value);
    return null;
  }

  headerText(name) {
    const bytes = this.header(name);
    return bytes && decoded(bytes);
  }

  headers(name) {
    return this.record.headers.filter((header) => header.name === name).map((header) => bytesOf(header.value));
  }
}

function notRead(error) {
  if (error instanceof SyntaxError) return new Reject(`the value is not JSON: ${error.message}`);
  if (!(error instanceof Reject)) return error;
  const path = error.path ? `${error.path.replace(/^\./, '')}: ` : '';
  return new Reject(`the value is not the JSON that is read here: ${path}${error.message}`);
}

/** Reads with integers of 16 digits and more as bigint. Strings are matched too, so that what stands in them is left alone. */
function again(text, model) {
  const mark = '\u0001integer ';
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g, (token) => (token[0] === '"' ? token : JSON.stringify(mark + token)));
  try {
    return model.read(
      JSON.parse(marked, (_, value) => {
        if (typeof value !== 'string' || !value.startsWith(mark)) return value;
        const whole = BigInt(value.slice(mark.length));
        const small = Number(whole);
        return Number.isSafeInteger(small) ? small : whole;
      }),
    );
  } catch (error) {
    throw notRead(error instanceof Inexact ? new Reject('a whole number wanted without a fraction or exponent') : error);
  }
}

function bytesOf(payload) {
  if (payload == null) return null;
  return payload.tag === 'bytes' ? payload.val : encoded(payload.val);
}

function textOf(bytes, what) {
  const text = decoded(bytes);
  if (text === null) throw new Reject(`the ${what} is not UTF-8 text (${bytes.length} bytes)`);
  return text;
}

/** UTF-8 to text; null where it is none. QuickJS has no TextDecoder, but knows UTF-8 in addresses. */
function decoded(bytes) {
  let escaped = '';
  for (const byte of bytes) escaped += byte < 0x80 && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16).padStart(2, '0')}`;
  try {
    return decodeURIComponent(escaped);
  } catch {
    return null;
  }
}

function encoded(text) {
  const bytes = [];
  const escaped = encodeURIComponent(text);
  for (let i = 0; i < escaped.length; i++) {
    bytes.push(escaped[i] === '%' ? parseInt(escaped.slice(++i, ++i + 1), 16) : escaped.charCodeAt(i));
  }
  return Uint8Array.from(bytes);
}

// Instants and days, in UTC, in the proleptic Gregorian calendar, as the databases have them.
//
// Invariants: an instant is whole microseconds since 1970-01-01T00:00:00Z, as a number where that is exact and as a bigint where it
// is not; a day is whole days since then. What is neither is a reject; nothing is rounded.

import { Reject, shown } from './fault.js';

const INSTANT = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;
const DAY = /^(\d{4})-(\d\d)-(\d\d)$/;
const MILLIS_PER_DAY = 86_400_000;

/** An instant in microseconds, for those that no `Date` can hold. */
export class Micros {
  constructor(micros) {
    if (typeof micros !== 'bigint' && !Number.isSafeInteger(micros)) throw new Reject(`whole microseconds wanted, not ${shown(micros)}`);
    this.micros = micros;
  }
}

export const micros = (since1970) => new Micros(since1970);

/** The day on which an instant falls, as days since 1970. */
export function day(instant) {
  const us = instantOf(instant);
  if (typeof us === 'number') return Math.floor(us / (MILLIS_PER_DAY * 1000));
  const perDay = BigInt(MILLIS_PER_DAY) * 1000n;
  return Number(us / perDay - (us % perDay < 0n ? 1n : 0n));
}

/** Microseconds of milliseconds, a `Date`, RFC 3339 text or `Micros`. */
export function instantOf(value) {
  if (typeof value === 'number' && Number.isSafeInteger(value)) {
    const us = value * 1000;
    return Number.isSafeInteger(us) ? us : BigInt(value) * 1000n;
  }
  if (value instanceof Micros) return value.micros;
  if (value instanceof Date && !Number.isNaN(value.getTime())) return instantOf(value.getTime());
  if (typeof value === 'string') {
    const us = instantOfText(value);
    if (us !== undefined) return us;
  }
  throw new Reject(
    `an instant wanted (whole milliseconds since 1970, a Date, or text like 2026-01-31T12:00:00Z), not ${value instanceof Date ? 'an invalid Date' : shown(value)}`,
  );
}

/** Days since 1970 of such a number, a `Date` or text. */
export function dayOf(value) {
  // Milliseconds, given by mistake, are beyond 32 bits.
  if (typeof value === 'number' && (value | 0) === value) return value;
  if (value instanceof Date && !Number.isNaN(value.getTime())) return Math.floor(value.getTime() / MILLIS_PER_DAY);
  if (typeof value === 'string') {
    const days = dayOfText(value);
    if (days !== undefined) return days;
  }
  throw new Reject(`a day wanted (days since 1970, a Date, or text like 2026-01-31), not ${value instanceof Date ? 'an invalid Date' : shown(value)}`);
}

function instantOfText(text) {
  const parts = INSTANT.exec(text);
  const days = parts && dayOfText(parts[1]);
  if (days === null || days === undefined) return undefined;
  const [, , hour, minute, second, fraction = '', sign, zoneHour = '0', zoneMinute = '0'] = parts;
  if (hour > 23 || minute > 59 || second > 59 || zoneHour > 23 || zoneMinute > 59) return undefined;
  const zone = (sign === '-' ? -1 : 1) * (Number(zoneHour) * 60 + Number(zoneMinute));
  const seconds = ((days * 24 + Number(hour)) * 60 + Number(minute) - zone) * 60 + Number(second);
  // Digits beyond microseconds are cut off, as the databases' own readers of RFC 3339 do. Four-digit years fit into 2^53 with room.
  return seconds * 1_000_000 + Number(fraction.slice(0, 6).padEnd(6, '0'));
}

function dayOfText(text) {
  const parts = DAY.exec(text);
  if (!parts) return undefined;
  const [year, month, day] = [Number(parts[1]), Number(parts[2]), Number(parts[3])];
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  // There is no thirtieth of February: it would have become the second of March.
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  return date.getTime() / MILLIS_PER_DAY;
}

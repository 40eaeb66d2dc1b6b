// Exact decimal numbers.
//
// Invariants: the number is `units / 10^scale`, scale 0 to 38. `units` is a number where that is exact and a bigint where it is not,
// so nothing is rounded; what has more than 38 digits is a reject, as in the other SDKs. `text` is the number as it was read, where
// that is how it would be written: most numbers are passed on as they came.

import { Reject, shown } from './fault.js';

const SCALE_MAX = 38;
const UNITS_MAX = 2n ** 127n;
const ANY = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,9}))?$/;
const POWERS = Array.from({ length: 16 }, (_, exponent) => 10 ** exponent);

const tooLong = (what) => new Reject(`${what}: more than 38 digits`);

export class Decimal {
  constructor(units, scale, text) {
    this.units = units;
    this.scale = scale;
    if (text !== undefined) this.text = text;
  }

  static ZERO = new Decimal(0, 0, '0');

  static of(value) {
    if (value instanceof Decimal) return value;
    if (typeof value === 'string') {
      // At most 15 digits: exact as a number, in which the same text stands again. A regular expression takes twice as long.
      if (value.length < 17) {
        const point = value.indexOf('.');
        const number = +value;
        if (point < 0) {
          if (Number.isSafeInteger(number) && String(number) === value) return new Decimal(number, 0, value);
        } else {
          const scale = value.length - point - 1;
          // Exact: below 10^15 the two roundings before the last one are less than a half together.
          if (number.toFixed(scale) === value) return new Decimal(Math.round(number * POWERS[scale]), scale, value);
        }
      }
      return read(value);
    }
    if (typeof value === 'number' && Number.isSafeInteger(value)) return new Decimal(value, 0);
    if (typeof value === 'bigint') return exact(value, 0, value);
    throw new Reject(
      typeof value === 'number' && Number.isFinite(value)
        ? `${value} is not exact as a number: a decimal number wanted as text, like "12.50"`
        : `a decimal number wanted, like "12.50", not ${shown(value)}`,
    );
  }

  static units(units, scale) {
    if (!Number.isInteger(scale) || scale < 0 || scale > SCALE_MAX) throw new Reject(`a scale from 0 to 38 wanted, not ${shown(scale)}`);
    if (typeof units !== 'bigint' && !Number.isSafeInteger(units)) throw new Reject(`whole units wanted, not ${shown(units)}`);
    return exact(BigInt(units), scale, units);
  }

  plus(other) {
    if (!(other instanceof Decimal)) other = Decimal.of(other);
    if (this.scale === other.scale) {
      if (typeof this.units === 'number' && typeof other.units === 'number') {
        const sum = this.units + other.units;
        if (Number.isSafeInteger(sum)) return new Decimal(sum, this.scale);
      }
    } else if (typeof this.units === 'number' && typeof other.units === 'number') {
      const scale = this.scale > other.scale ? this.scale : other.scale;
      const left = this.units * POWERS[scale - this.scale];
      const right = other.units * POWERS[scale - other.scale];
      // A power beyond the list makes NaN, which is not safe either; a product is exact where it is safe.
      if (Number.isSafeInteger(left) && Number.isSafeInteger(right) && Number.isSafeInteger(left + right)) return new Decimal(left + right, scale);
    }
    const scale = Math.max(this.scale, other.scale);
    return exact(at(this, scale) + at(other, scale), scale, `${this} plus ${other}`);
  }

  minus(other) {
    return this.plus(Decimal.of(other).times(-1));
  }

  times(factor) {
    const small = Number(factor);
    if (typeof factor !== 'bigint' && (typeof factor !== 'number' || !Number.isSafeInteger(small))) {
      throw new Reject(`${this} times ${shown(factor)}: a whole number wanted that is exact`);
    }
    if (typeof this.units === 'number') {
      // Safe only where the factor was: a rounded one is beyond 2^53, and its product too, or 0.
      const product = this.units * small;
      if (Number.isSafeInteger(product)) return new Decimal(product, this.scale);
    }
    return exact(BigInt(this.units) * BigInt(factor), this.scale, `${this} times ${factor}`);
  }

  compare(other) {
    const right = Decimal.of(other);
    const scale = Math.max(this.scale, right.scale);
    const difference = at(this, scale) - at(right, scale);
    return difference < 0n ? -1 : difference > 0n ? 1 : 0;
  }

  toString() {
    return this.text ?? written(this.units, this.scale);
  }

  toJSON() {
    return this.toString();
  }
}

function exact(units, scale, what) {
  if (units >= UNITS_MAX || units < -UNITS_MAX) throw tooLong(what);
  const small = Number(units);
  return new Decimal(Number.isSafeInteger(small) ? small : units, scale);
}

const at = (decimal, scale) => BigInt(decimal.units) * 10n ** BigInt(scale - decimal.scale);

function written(units, scale) {
  if (scale === 0) return String(units);
  const negative = units < 0;
  let digits = String(negative ? -units : units);
  if (digits.length <= scale) digits = digits.padStart(scale + 1, '0');
  const point = digits.length - scale;
  return `${negative ? '-' : ''}${digits.slice(0, point)}.${digits.slice(point)}`;
}

/** Plain and scientific notation of any length, keeping the decimal places that are written. */
function read(text) {
  const parts = ANY.exec(text);
  if (!parts || (!parts[2] && !parts[3])) throw new Reject(`a decimal number wanted, like "12.50", not ${shown(text)}`);
  const [, sign, whole, fraction = '', exponent = '0'] = parts;
  const wrong = () => new Reject(`a decimal number of at most 38 digits wanted, not ${shown(text)}`);
  if (whole.length + fraction.length > 1000) throw wrong();
  const digits = BigInt(whole + fraction);
  const scale = fraction.length - Number(exponent);
  if (scale > SCALE_MAX || (digits !== 0n && scale < -SCALE_MAX)) throw wrong();
  const units = scale < 0 ? digits && digits * 10n ** BigInt(-scale) : digits;
  if (units >= UNITS_MAX) throw wrong();
  return exact(sign === '-' ? -units : units, Math.max(scale, 0), text);
}

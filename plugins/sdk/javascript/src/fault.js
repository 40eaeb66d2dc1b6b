// What can be wrong with an event, and how it is said.

/** The event is at fault: it is parked, and later events of its key wait behind it. */
export class Reject extends Error {
  get name() {
    return 'Reject';
  }
}

/** The projection must not go on; the checkpoint stays at this event. */
export class Halt extends Error {
  get name() {
    return 'Halt';
  }
}

/** A value for people: short, on one line. */
export function shown(value) {
  if (value === undefined) return 'nothing';
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'number' || value === null) return String(value);
  if (typeof value !== 'string') return Array.isArray(value) ? 'a list' : typeof value === 'object' ? 'an object' : `a ${typeof value}`;
  return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}..` : value);
}

// Hides how figures, times and states look in words. Pure: no page, no network, so it is tested without a browser.
/** @typedef {import("./types.js").ProjectionView} ProjectionView */

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const DAY = 86_400;

/** Stands where a figure is not known or makes no sense. */
export const NONE = "–";

/** @param {number | null | undefined} value */
export const number = (value) => (value === null || value === undefined ? NONE : GROUPED.format(value));

/** @param {number | null | undefined} perSecond */
export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return NONE;
  return perSecond > 0 && perSecond < 9.95 ? perSecond.toFixed(1) : GROUPED.format(perSecond);
}

const two = (/** @type {number} */ value) => String(value).padStart(2, "0");

/** A span in its two largest units. @param {number | null | undefined} value Seconds. */
export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value <= 0) return "0 s";
  if (value < 0.05) return "< 0.1 s";
  if (value < 9.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
  if (whole < 2 * DAY) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} m`;
  return `${GROUPED.format(Math.floor(whole / DAY))} d ${Math.floor((whole % DAY) / 3600)} h`;
}

/**
 * When it has caught up: the rebuild, where one fills, else what runs. Below a second's lag the figure would only be noise.
 * @param {ProjectionView} view @returns {number | null}
 */
export function untilLevel({ rebuild, lag_events: behind, lag_seconds: age, eta_seconds: left }) {
  if (isActive(rebuild)) return rebuild?.eta_seconds ?? null;
  return behind === 0 || (age !== null && age < 1) ? null : left;
}

/** What is left, which nobody knows to a tenth. @param {number | null | undefined} value Seconds. */
export function remaining(value) {
  if (value === null || value === undefined) return NONE;
  return value < 59 ? `${Math.max(1, Math.ceil(value))} s` : seconds(value);
}

/** @param {number | null | undefined} atUs @param {number} [nowMs] */
export function ago(atUs, nowMs = Date.now()) {
  if (atUs === null || atUs === undefined) return "";
  const span = Math.max(0, (nowMs - atUs / 1000) / 1000);
  if (span < 5) return "just now";
  if (span < 60) return `${Math.round(span)} s ago`;
  if (span < 3600) return `${Math.floor(span / 60)} m ago`;
  if (span < 2 * DAY) return `${Math.floor(span / 3600)} h ago`;
  return `${GROUPED.format(Math.floor(span / DAY))} d ago`;
}

/** Time of day, with the date where it is not today's. @param {number | null | undefined} atUs @param {Date} [now] */
export function clock(atUs, now = new Date()) {
  if (atUs === null || atUs === undefined) return NONE;
  const at = new Date(atUs / 1000);
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (at.toDateString() === now.toDateString()) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

/** @param {number | null | undefined} count */
export function bytes(count) {
  if (count === null || count === undefined) return NONE;
  if (count < 1024) return `${count} B`;
  return count < 1 << 20 ? `${GROUPED.format(count / 1024)} KiB` : `${(count / (1 << 20)).toFixed(1)} MiB`;
}

/** Never 100 % before it is done. @param {number} ratio 0 to 1. */
export function percent(ratio) {
  if (ratio >= 1) return "100 %";
  return `${Math.min(99, Math.floor(ratio * 100))} %`;
}

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** Hashes in a text, each by its first digits. @param {string} text */
export const shortened = (text) => text.replace(/\b([0-9a-f]{6})[0-9a-f]{58}\b/g, "$1…");

/** The first digits of a build's hash. @param {string | null | undefined} digest */
export const short = (digest) => (digest ? digest.slice(0, 6) : NONE);

/** @param {number | null | undefined} revision @param {string | null | undefined} digest */
export const build = (revision, digest) => `r${revision ?? "?"} · ${short(digest)}`;

/** A value of a row. Strings as they are; what is nested as JSON. @param {unknown} value */
export function cell(value) {
  if (value === null || value === undefined) return "null";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** What each state looks like: an icon, a tone, and how bad it is (worst first). */
export const STATES = /** @type {Record<string, { icon: string, tone: string, rank: number }>} */ ({
  halted: { icon: "✕", tone: "bad", rank: 0 },
  stalled: { icon: "▲", tone: "warn", rank: 1 },
  waiting: { icon: "▲", tone: "warn", rank: 2 },
  lagging: { icon: "▲", tone: "warn", rank: 3 },
  "ready to switch": { icon: "◆", tone: "work", rank: 4 },
  paused: { icon: "‖", tone: "warn", rank: 5 },
  rebuilding: { icon: "⟳", tone: "work", rank: 6 },
  "catching-up": { icon: "◐", tone: "work", rank: 7 },
  starting: { icon: "◌", tone: "work", rank: 8 },
  running: { icon: "●", tone: "ok", rank: 9 },
  idle: { icon: "○", tone: "idle", rank: 10 },
  stopped: { icon: "■", tone: "idle", rank: 11 },
});
const ENDED = new Set(["switched", "cancelled", "failed"]);

/** @param {{ state: string } | null | undefined} rebuild */
export const isActive = (rebuild) => !!rebuild && !ENDED.has(rebuild.state);

/**
 * The one word for a projection: its state, or its rebuild's where nothing worse is to be said.
 * @param {ProjectionView} projection
 */
export function stateOf(projection) {
  const quiet = projection.state === "running" || projection.state === "idle" || projection.state === "catching-up";
  if (!quiet || !isActive(projection.rebuild)) return projection.state;
  return projection.rebuild?.state === "ready" ? "ready to switch" : "rebuilding";
}

/** @param {string} state */
export const look = (state) => STATES[state] ?? { icon: "?", tone: "idle", rank: 8 };

/**
 * Which way it goes, over about the last five minutes.
 * @param {(number | null)[]} trend One value a minute. @param {number | null} now
 * @returns {"rising" | "falling" | "steady" | "unknown"}
 */
export function direction(trend, now) {
  const before = trend.slice(-6, -3).filter((value) => value !== null);
  if (now === null || before.length === 0) return "unknown";
  const mean = before.reduce((sum, value) => sum + /** @type {number} */ (value), 0) / before.length;
  const margin = 1 + mean * 0.1;
  if (now > mean + margin) return "rising";
  return now < mean - margin ? "falling" : "steady";
}

/** How far behind, in steps that double: the order on the page is calm while figures dance. @param {number | null} behind */
const magnitude = (behind) => (behind === null || behind < 1 ? 0 : Math.floor(Math.log2(behind)) + 1);

/** @param {ProjectionView} a @param {ProjectionView} b */
export function worstFirst(a, b) {
  const [first, second] = [look(stateOf(a)).rank, look(stateOf(b)).rank];
  return first - second || magnitude(b.lag_seconds) - magnitude(a.lag_seconds) || byName(a, b);
}

/** @param {{ name: string }} a @param {{ name: string }} b */
export const byName = (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

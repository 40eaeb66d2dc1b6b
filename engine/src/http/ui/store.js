// Hides how what is known reaches what is drawn: one value that is replaced, never changed; drawn at most four times a second.
import { useEffect, useRef, useState } from "./html.js";

/** @typedef {import("./types.js").ProjectionView} ProjectionView */
/** @typedef {import("./types.js").PluginView} PluginView */
/** @typedef {import("./types.js").Status} Status */
/** @typedef {"connecting" | "live" | "reconnecting" | "polling"} Sign */
/**
 * @typedef {object} Known
 * @property {ProjectionView[] | null} projections None until the first answer.
 * @property {PluginView[]} plugins
 * @property {Status | null} status
 * @property {string | null} role What this tab's token may do; none while it is not known.
 * @property {Sign} sign How the page is kept up to date.
 * @property {number} heardAtMs When the engine was heard last.
 * @property {number} begunAtMs When the engine, or our hearing of it, began anew: what was read before must be read again.
 */

const DRAW_EVERY_MS = 250;

/** @type {Known} */
let known = { projections: null, plugins: [], status: null, role: null, sign: "connecting", heardAtMs: 0, begunAtMs: 0 };
/** @type {Set<(known: Known) => void>} */
const listeners = new Set();
let drawnAtMs = 0;
let timer = 0;

export const current = () => known;

/** @param {Partial<Known>} changes */
export function put(changes) {
  known = { ...known, ...changes };
  if (timer) return;
  timer = setTimeout(() => {
    timer = 0;
    drawnAtMs = Date.now();
    for (const listener of [...listeners]) listener(known);
  }, Math.max(0, DRAW_EVERY_MS - (Date.now() - drawnAtMs)));
}

/** @param {ProjectionView[]} views Replaces those of the same names, adds the others. */
export function merge(views) {
  const byName = new Map((known.projections ?? []).map((view) => [view.name, view]));
  for (const view of views) byName.set(view.name, view);
  put({ projections: [...byName.values()] });
}

/** @param {(known: Known) => void} listener @returns {() => void} */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * A part of what is known; draws again only where that part is another one.
 * @template T @param {(known: Known) => T} pick @returns {T}
 */
export function useKnown(pick) {
  const picker = useRef(pick);
  picker.current = pick;
  const [, again] = useState(0);
  const shown = pick(known);
  const last = useRef(shown);
  last.current = shown;
  useEffect(() => {
    const changed = (/** @type {Known} */ next) => {
      if (!Object.is(picker.current(next), last.current)) again((count) => count + 1);
    };
    changed(known);
    return listen(changed);
  }, []);
  return shown;
}

/** Whether this tab may change anything; the engine has the last word. @param {Known} known */
export const mayAct = ({ projections, role }) => projections !== null && role !== "viewer";

// Hides the small pieces that every page is made of: states, sparklines, sortable heads, dialogs, and buttons that ask the engine for a change.
import { html, memo, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { Problem } from "./api.js";
import { NONE, cell, direction, look, seconds } from "./format.js";
import { refresh } from "./live.js";
import { mayAct, useKnown } from "./store.js";

/** @typedef {import("./types.js").ProjectionView} ProjectionView */
/** @typedef {{ title: string, text: string, yes: string, typed?: string }} Question Asked before something is destroyed. */

const SPARK = { width: 132, height: 28, minutes: 60 };

/** A state as icon, word and colour. @param {{ state: string }} props */
export const State = ({ state }) => {
  const { icon, tone } = look(state);
  return html`<span class=${`state ${tone}`}><i aria-hidden="true">${icon}</i>${state.replace("-", " ")}</span>`;
};

/** @param {{ view: ProjectionView }} props */
export function Behind({ view }) {
  const way = direction(view.trend, view.lag_seconds);
  const arrow = { rising: "▲", falling: "▼", steady: "→", unknown: "" }[way];
  if (view.lag_seconds === null) return html`<span class="muted">unknown</span>`;
  return html`<span class="strong">${seconds(view.lag_seconds)}</span><span class=${`way ${way}`} title=${way}>${arrow}<span class="unseen">${arrow && way}</span></span>`;
}

/** Seconds behind over the last hour; a gap where they were not known. */
export const Spark = memo((/** @type {{ trend: (number | null)[], tone: string }} */ { trend, tone }) => {
  const { width, height, minutes } = SPARK;
  const values = trend.slice(-minutes);
  const seen = /** @type {number[]} */ (values.filter((value) => value !== null));
  if (seen.length === 0) return html`<span class="muted">no history yet</span>`;
  // Less than a second is flat: noise is not news.
  const most = Math.max(1, ...seen);
  const x = (/** @type {number} */ index) => width - 2 - ((values.length - 1 - index) * (width - 2)) / (minutes - 1);
  const y = (/** @type {number} */ value) => height - 2 - (value / most) * (height - 6);
  /** @type {string[][]} */
  const runs = [[]];
  values.forEach((value, index) => {
    if (value === null) runs.push([]);
    else runs[runs.length - 1].push(`${x(index).toFixed(1)},${y(value).toFixed(1)}`);
  });
  const drawn = runs.filter((run) => run.length > 0);
  const last = values[values.length - 1];
  const label = `seconds behind, last hour: now ${seconds(last)}, at most ${seconds(Math.max(...seen))}`;
  return html`<svg class=${`spark ${tone}`} viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${label}>
    ${drawn.map((run) => html`<polygon points=${`${run[0].split(",")[0]},${height} ${run.join(" ")} ${run[run.length - 1].split(",")[0]},${height}`} />
      <polyline points=${run.join(" ")} />`)}
    ${last !== null && html`<circle cx=${x(values.length - 1)} cy=${y(last)} r="2" />`}
  </svg>`;
});

/** @param {{ value: unknown }} props */
export function Value({ value }) {
  if (value === null || value === undefined) return html`<span class="null">null</span>`;
  const text = cell(value);
  return html`<span class="value" title=${text.length > 40 ? text : null}>${text}</span>`;
}

/** A head that sorts. @param {{ column: { key: string, label: string, num?: boolean, first?: "asc" | "desc", className?: string }, sort: string, order: string, onSort: (key: string, order: string) => void }} props */
export function SortHead({ column, sort, order, onSort }) {
  const { key, label, num, first = num ? "desc" : "asc", className = "" } = column;
  const isSorted = sort === key;
  const press = () => onSort(key, isSorted ? (order === "asc" ? "desc" : "asc") : first);
  const isQuiet = key === "state" && order === "asc";
  const mark = html`<span class="mark" aria-hidden="true">${isSorted && !isQuiet ? (order === "asc" ? "↑" : "↓") : ""}</span>`;
  return html`<th scope="col" class=${`${num ? "num" : ""} ${className}`} aria-sort=${isSorted ? (order === "asc" ? "ascending" : "descending") : null}>
    <button type="button" class="sort" onClick=${press}>${num ? [mark, label] : [label, mark]}</button></th>`;
}

/** @param {{ label: string, ratio: number }} props */
export const Bar = ({ label, ratio }) =>
  html`<progress max="1" value=${ratio} aria-label=${label}>${Math.floor(ratio * 100)} %</progress>`;

/**
 * A modal dialog; Esc closes it, and the focus goes back to where it was.
 * @param {{ title: string, onClose: () => void, children?: any, className?: string }} props
 */
export function Dialog({ title, onClose, children, className = "" }) {
  const place = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const before = useRef(/** @type {Element | null} */ (null));
  useLayoutEffect(() => {
    before.current = document.activeElement;
    place.current?.showModal();
    return () => {
      if (before.current instanceof HTMLElement && before.current.isConnected) before.current.focus();
    };
  }, []);
  return html`<dialog ref=${place} class=${className} aria-label=${title} onClose=${onClose}>
    <h2>${title}</h2>${children}
  </dialog>`;
}

/** @param {{ problem: unknown }} props */
export function Trouble({ problem }) {
  if (!problem) return null;
  const { detail, title, code } = problem instanceof Problem ? problem : { detail: String(problem), title: "failed", code: "" };
  return html`<p class="reason bad" role="alert"><span><b>${code || title}</b> ${detail || title}</span></p>`;
}

/**
 * A button that asks the engine for a change: once at a time, not for viewers, after a question where one is given; what was refused is shown.
 * @param {{ label: string, run: () => Promise<unknown>, ask?: Question, primary?: boolean, className?: string, disabled?: boolean, title?: string | null }} props
 */
export function Act({ label, run, ask, primary = false, className = "", disabled = false, title = null }) {
  const [isBusy, setBusy] = useState(false);
  const [isAsking, setAsking] = useState(false);
  const may = useKnown(mayAct);
  const perform = async () => {
    setAsking(false);
    setBusy(true);
    try {
      await run();
      refresh();
    } catch (problem) {
      notify(problem, label);
    } finally {
      setBusy(false);
    }
  };
  const why = may ? title : "The token's role is viewer: it may look, not act.";
  return html`<button type="button" class=${`${primary ? "primary" : ""} ${className}`} disabled=${disabled || isBusy || !may} aria-busy=${isBusy}
      title=${why} onClick=${ask ? () => setAsking(true) : perform}>${label}</button>
    ${isAsking && ask && html`<${Confirm} question=${ask} onYes=${perform} onNo=${() => setAsking(false)} />`}`;
}

/** @param {{ question: Question, onYes: () => void, onNo: () => void }} props */
function Confirm({ question, onYes, onNo }) {
  const [typed, setTyped] = useState("");
  const isSure = !question.typed || typed === question.typed;
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (isSure) onYes();
  };
  return html`<${Dialog} title=${question.title} onClose=${onNo}>
    <form onSubmit=${submit}>
      <p>${question.text}</p>
      ${question.typed && html`<label class="field">To go on, type <code>${question.typed}</code>
        <input value=${typed} autocomplete="off" spellcheck=${false} onInput=${(/** @type {any} */ event) => setTyped(event.target.value)} /></label>`}
      <div class="buttons"><button type="button" onClick=${onNo}>Keep it</button><button class="danger" disabled=${!isSure}>${question.yes}</button></div>
    </form>
  </${Dialog}>`;
}

/** @type {{ id: number, label: string, problem: unknown }[]} */
let notices = [];
let noticed = 0;
/** @type {(list: typeof notices) => void} */
let showNotices = () => {};

/** @param {unknown} problem @param {string} label What was asked for. */
export function notify(problem, label) {
  notices = [...notices.slice(-2), { id: (noticed += 1), label, problem }];
  showNotices(notices);
}

/** What was refused, until it is put away. */
export function Notices() {
  const [list, setList] = useState(notices);
  useEffect(() => {
    showNotices = setList;
  }, []);
  const close = (/** @type {number} */ id) => {
    notices = notices.filter((notice) => notice.id !== id);
    setList(notices);
  };
  return html`<div class="notices">${list.map(({ id, label, problem }) => {
    const { code, detail } = problem instanceof Problem ? problem : { code: "failed", detail: String(problem) };
    return html`<div key=${id} class="reason bad" role="alert"><span><b>${label}: ${code}</b> ${detail || String(problem)}</span>
      <span class="grow"></span><button type="button" onClick=${() => close(id)}>Close</button></div>`;
  })}</div>`;
}

/**
 * Reads something while it is shown, again whenever `inputs` change or the engine began anew, and every so many seconds where asked.
 * @template T @param {(signal: AbortSignal) => Promise<T>} load @param {unknown[]} inputs @param {number} [everySeconds]
 * @returns {{ value: T | null, problem: unknown, again: () => void }}
 */
export function useLoaded(load, inputs, everySeconds = 0) {
  const [state, setState] = useState(/** @type {{ value: T | null, problem: unknown }} */ ({ value: null, problem: null }));
  const [count, setCount] = useState(0);
  const begun = useKnown(({ begunAtMs }) => begunAtMs);
  useEffect(() => {
    const stop = new AbortController();
    let timer = 0;
    const turn = async () => {
      if (document.visibilityState === "visible") {
        try {
          const value = await load(stop.signal);
          if (!stop.signal.aborted) setState({ value, problem: null });
        } catch (problem) {
          if (!stop.signal.aborted) setState(({ value }) => ({ value, problem }));
        }
      }
      if (everySeconds > 0 && !stop.signal.aborted) timer = setTimeout(turn, everySeconds * 1000);
    };
    turn();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [...inputs, everySeconds, begun, count]);
  useEffect(() => () => setState({ value: null, problem: null }), inputs);
  return { ...state, again: () => setCount((last) => last + 1) };
}

/** @typedef {"narrow" | "medium" | "wide"} Width */
const NARROW = matchMedia("(max-width: 760px)");
const MEDIUM = matchMedia("(max-width: 1040px)");
/** @returns {Width} */
const width = () => (NARROW.matches ? "narrow" : MEDIUM.matches ? "medium" : "wide");

/** How much room there is. @returns {Width} */
export function useWidth() {
  const [room, setRoom] = useState(width);
  useEffect(() => {
    const changed = () => setRoom(width());
    NARROW.addEventListener("change", changed);
    MEDIUM.addEventListener("change", changed);
    return () => (NARROW.removeEventListener("change", changed), MEDIUM.removeEventListener("change", changed));
  }, []);
  return room;
}

/** @param {{ label: string, value: unknown, hint?: string | null, tone?: string }} props */
export const Tile = ({ label, value, hint = null, tone = "" }) =>
  html`<div title=${hint}><span class="muted">${label}</span><b class=${tone}>${value ?? NONE}</b></div>`;

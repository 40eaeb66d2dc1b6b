// Hides the overview: all projections, worst first, each with the reason why it does not do what it should on the row itself.
import { html, memo, useEffect, useMemo, useRef } from "./html.js";
import { byName, ago, build, counted, look, number, rate, remaining, stateOf, untilLevel, worstFirst } from "./format.js";
import { Act, Behind, SortHead, Spark, State, useWidth } from "./parts.js";
import { order, ofProjection } from "./api.js";
import { RebuildLine } from "./rebuild.js";
import { adjust, toProjection } from "./route.js";
import { useKnown } from "./store.js";

/** @typedef {import("./types.js").ProjectionView} ProjectionView */
/** @typedef {import("./parts.js").Width} Width */
/**
 * @typedef {object} Column
 * @property {string} key
 * @property {string} label
 * @property {boolean} [num]
 * @property {"asc" | "desc"} [first]
 * @property {string} className
 * @property {Width[]} at Where there is room for it.
 * @property {(view: ProjectionView) => number | string | null} [value] By what it sorts; worst first where there is none.
 */

/** @type {Column[]} */
const COLUMNS = [
  { key: "state", label: "State", className: "c-state", at: ["medium", "wide"] },
  { key: "state", label: "State, projection", className: "c-name", at: ["narrow"] },
  { key: "name", label: "Projection", className: "c-name", at: ["medium", "wide"], value: (view) => view.name },
  { key: "behind", label: "Behind", num: true, className: "c-behind", at: ["narrow", "medium", "wide"], value: (view) => view.lag_seconds },
  { key: "trend", label: "Last hour", className: "c-trend", first: "desc", at: ["medium", "wide"], value: (view) => Math.max(0, ...view.trend.map((value) => value ?? 0)) },
  { key: "events", label: "Events behind", num: true, className: "c-events", at: ["medium", "wide"], value: (view) => view.lag_events },
  { key: "rate", label: "Events/s", num: true, className: "c-rate", at: ["medium", "wide"], value: (view) => view.rate_per_second },
  { key: "eta", label: "Caught up in", num: true, className: "c-eta", at: ["wide"], value: untilLevel },
  { key: "build", label: "Build", className: "c-build", at: ["wide"], value: (view) => `${view.plugin_file} ${view.revision}` },
];

/** @param {string} key @param {string} direction @returns {(a: ProjectionView, b: ProjectionView) => number} */
function comparison(key, direction) {
  const value = COLUMNS.find((column) => column.key === key)?.value;
  const sign = direction === "desc" ? -1 : 1;
  if (!value) return (a, b) => sign * worstFirst(a, b);
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    // What is not known stands last, whichever way.
    if (x === null || y === null) return Number(x === null) - Number(y === null) || byName(a, b);
    return x === y ? byName(a, b) : x < y ? -sign : sign;
  };
}

/** @param {ProjectionView} view @param {string} words */
function matches(view, words) {
  const text = `${view.name} ${stateOf(view)} ${view.plugin_file} ${view.partitions.map(({ topic }) => topic).join(" ")} ${view.halt?.code ?? ""}`.toLowerCase();
  return words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** @param {{ params: URLSearchParams }} props */
export function Overview({ params }) {
  const all = useKnown(({ projections }) => projections);
  const room = useWidth();
  const [filter, sort, direction] = [params.get("filter") ?? "", params.get("sort") ?? "state", params.get("order") ?? "asc"];
  const held = useRef(/** @type {string[] | null} */ (null));
  const shown = useMemo(() => {
    const views = (all ?? []).filter((view) => !filter.trim() || matches(view, filter.trim())).sort(comparison(sort, direction));
    return held.current ? inOrder(views, held.current) : views;
  }, [all, filter, sort, direction]);
  if (!all) return html`<div class="head"><h1>Projections</h1></div><div class="card"><p class="empty muted">Reading…</p></div>`;
  const columns = COLUMNS.filter(({ at }) => at.includes(room));
  const onSort = (/** @type {string} */ key, /** @type {string} */ next) => {
    held.current = null;
    adjust({ sort: key === "state" ? null : key, order: next === "asc" ? null : next });
  };
  // Nothing moves away from under the pointer.
  const hold = () => (held.current = shown.map(({ name }) => name));
  const release = () => (held.current = null);
  return html`
    <div class="head"><h1>Projections</h1><${Summary} views=${all} /><span class="grow"></span>
      <input id="filter" type="search" placeholder="Filter  /" aria-label="Filter projections" value=${filter} spellcheck=${false}
        onInput=${(/** @type {any} */ event) => (release(), adjust({ filter: event.target.value || null }))} /></div>
    <div class="card" onPointerEnter=${hold} onPointerLeave=${release}>
      ${all.length === 0 ? html`<${Empty} />` : html`<table class="overview">
        <thead><tr>${columns.map((column) => html`<${SortHead} key=${column.key} column=${column} sort=${sort} order=${direction} onSort=${onSort} />`)}</tr></thead>
        ${shown.map((view) => html`<${Row} key=${view.name} view=${view} room=${room} span=${columns.length} />`)}
      </table>`}
      ${all.length > 0 && shown.length === 0 && html`<p class="empty">Nothing matches <b>${filter}</b>. <button type="button" onClick=${() => adjust({ filter: null })}>Show all ${number(all.length)}</button></p>`}
    </div>
    <${Strays} />`;
}

/** @param {ProjectionView[]} views @param {string[]} names */
function inOrder(views, names) {
  const place = new Map(names.map((name, index) => [name, index]));
  return [...views].sort((a, b) => (place.get(a.name) ?? names.length) - (place.get(b.name) ?? names.length));
}

/** @param {{ views: ProjectionView[] }} props */
function Summary({ views }) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const view of views) counts.set(stateOf(view), (counts.get(stateOf(view)) ?? 0) + 1);
  const parts = [...counts].sort(([a], [b]) => look(a).rank - look(b).rank);
  return html`<span class="sum muted">${parts.map(([state, count], index) =>
    html`${index > 0 && " · "}<span class=${look(state).tone === "bad" ? "bad" : ""}>${count} ${state.replace("-", " ")}</span>`)}</span>`;
}

const Row = memo((/** @type {{ view: ProjectionView, room: Width, span: number }} */ { view, room, span }) => {
  const state = stateOf(view);
  const { tone } = look(state);
  const note = state === "idle" && view.last_event_at_us ? `last event ${ago(view.last_event_at_us)}` : "";
  const figures = `${number(view.lag_events)} events behind · ${rate(view.rate_per_second)}/s`;
  const small = room === "narrow" ? note || figures : note;
  return html`<tbody class=${tone} data-projection=${view.name}>
    <tr>
      ${room !== "narrow" && html`<td><${State} state=${state} /></td>`}
      <th scope="row">${room === "narrow" && html`<${State} state=${state} />`}<a class="row" href=${toProjection(view.name)}>${view.name}</a>${small && html`<small class="muted">${small}</small>`}</th>
      <td class="num"><${Behind} view=${view} /></td>
      ${room !== "narrow" && html`<td><${Spark} trend=${view.trend} tone=${tone === "ok" ? "" : tone} /></td>
        <td class="num">${number(view.lag_events)}</td>
        <td class="num">${rate(view.rate_per_second)}</td>`}
      ${room === "wide" && html`<td class="num">${remaining(untilLevel(view))}</td>
        <td><code title=${`${view.plugin_file} ${view.plugin_digest}`}>${build(view.revision, view.plugin_digest)}</code>
          ${view.rejected && html`<small class="badtext">↻ build refused</small>`}</td>`}
    </tr>
    ${lines(view).map((line) => html`<tr class="why">${room !== "narrow" && html`<td></td>`}<td colspan=${room === "narrow" ? span : span - 1}>${line}</td></tr>`)}
  </tbody>`;
});

/** Why it does not do what it should, and what is under way. @param {ProjectionView} view @param {boolean} [withRebuild] */
export function lines(view, withRebuild = true) {
  const { name } = view;
  const found = [];
  if (view.halt) found.push(html`<${HaltLine} view=${view} />`);
  if (view.waiting) found.push(html`<div class="reason"><span><b>waiting</b> ${view.waiting}</span></div>`);
  if (view.state === "stalled") {
    found.push(html`<div class="reason"><span><b>stalled</b> ${counted(view.lag_events ?? 0, "event")} to do, and no checkpoint has moved for a minute.</span><span class="grow"></span>
      <${Act} label="Restart" run=${() => order("POST", ofProjection(name, "/restart"))} /></div>`);
  }
  if (view.desired === "paused") {
    found.push(html`<div class="reason"><span><b>paused</b> ${view.reason ?? "It takes no events until it is resumed."}</span><span class="grow"></span>
      <${Act} label="Resume" primary run=${() => order("PUT", ofProjection(name, "/resume"))} /></div>`);
  }
  if (view.desired === "stopped") {
    found.push(html`<div class="reason"><span><b>stopped</b> ${view.reason ?? "Its plugin was taken out of the plugins folder; its tables stay."}</span></div>`);
  }
  if (view.rejected) found.push(html`<${RejectedLine} rejected=${view.rejected} view=${view} />`);
  if (view.plan?.held) found.push(html`<${HeldLine} view=${view} />`);
  if (view.rebuild && withRebuild) found.push(html`<${RebuildLine} rebuild=${view.rebuild} />`);
  return found.filter(Boolean);
}

/** @param {{ view: ProjectionView }} props */
function HaltLine({ view }) {
  const { code, reason, remedy, at } = /** @type {import("./types.js").Halt} */ (view.halt);
  const step = at && toProjection(view.name, { tab: "step", topic: at.topic, partition: at.partition, offset: at.offset });
  return html`<div class="reason bad"><span><b>${code}</b>${at && html`${" at "}<code>${at.topic}/${at.partition}@${at.offset}</code>${at.key !== null && html`${" key "}<code>${at.key}</code>`}`}: ${reason}
      <span class="remedy">${remedy}</span></span><span class="grow"></span>
    <${Act} label="Restart" primary run=${() => order("POST", ofProjection(view.name, "/restart"))} />
    ${step && html`<a class="button" href=${step}>Step…</a>`}</div>`;
}

/** @param {{ rejected: import("./types.js").RejectedPlugin, view?: ProjectionView }} props */
export const RejectedLine = ({ rejected, view }) =>
  html`<div class="reason"><span><b class="badtext">${rejected.file} refused</b> <code>${rejected.code}</code> ${rejected.reason}
    ${view && html` <span class="muted">${build(view.revision, view.plugin_digest)} stays in use.</span>`}</span></div>`;

/** @param {{ view: ProjectionView }} props */
function HeldLine({ view }) {
  const plan = /** @type {import("./types.js").Plan} */ (view.plan);
  return html`<div class="reason"><span><b>${plan.action} waits</b> for build <code>${build(plan.to_revision, plan.to_digest)}</code>: ${plan.reasons.join("; ") || "see its plan"}</span><span class="grow"></span>
    <a class="button" href=${toProjection(view.name, { tab: "plugin" })}>Plan</a>
    <${Act} label="Apply" primary run=${() => order("POST", ofProjection(view.name, "/deploy"))} /></div>`;
}

/** Files that belong to no projection: they would be seen nowhere else. */
function Strays() {
  const plugins = useKnown(({ plugins }) => plugins);
  const names = useKnown(({ projections }) => projections);
  const known = new Set((names ?? []).map(({ name }) => name));
  const strays = plugins.filter((plugin) => plugin.rejected && !(plugin.projection && known.has(plugin.projection)));
  if (strays.length === 0) return null;
  return html`<section><div class="head"><h2>${counted(strays.length, "file does not run", "files do not run")}</h2></div>
    <div class="card pad">${strays.map((plugin) => html`<${RejectedLine} key=${plugin.file} rejected=${plugin.rejected} />`)}</div></section>`;
}

function Empty() {
  const folder = useKnown(({ status }) => status?.plugins_dir) ?? "plugins";
  const end = folder.endsWith("/") ? "" : "/";
  return html`<div class="empty"><p><b>No plugin runs yet.</b> Drop one in: it appears here within two seconds, and starts at the beginning of its topics.</p>
    <pre><code>cp MY_PROJECTION.wasm ${folder}${end}</code></pre>
    <p class="muted">None at hand? <code>laterna demo</code> brings three, with events and a database.</p></div>`;
}

/** j, k and the arrows go from row to row; Enter opens, being on a link. */
export function useRowKeys() {
  useEffect(() => {
    const pressed = (/** @type {KeyboardEvent} */ event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      const target = /** @type {HTMLElement} */ (event.target);
      const isField = target.matches("input, textarea, select, [contenteditable]");
      const isArrow = event.key === "ArrowDown" || event.key === "ArrowUp";
      const step = event.key === "ArrowDown" || (event.key === "j" && !isField) ? 1 : event.key === "ArrowUp" || (event.key === "k" && !isField) ? -1 : 0;
      if (!step || (isArrow && isField && target.id !== "filter")) return;
      const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("a.row")]);
      if (rows.length === 0) return;
      const here = rows.indexOf(/** @type {HTMLElement} */ (document.activeElement));
      const next = here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.max(0, Math.min(rows.length - 1, here + step));
      event.preventDefault();
      rows[next].focus();
      rows[next].scrollIntoView({ block: "nearest" });
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

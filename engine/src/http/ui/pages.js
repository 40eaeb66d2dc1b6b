// Hides the two list pages: the plugins folder against what runs, and the audit.
import { html, useEffect, useState } from "./html.js";
import { read } from "./api.js";
import { bytes, clock, counted, number, short, shortened } from "./format.js";
import { PlanTable } from "./panels.js";
import { SortHead, Trouble } from "./parts.js";
import { adjust, link, toProjection } from "./route.js";
import { useKnown } from "./store.js";

/** @typedef {import("./types.js").PluginView} PluginView */
/** @typedef {import("./types.js").AuditEntry} AuditEntry */

/** How a file stands to what runs; the worst is the lowest. @param {PluginView} plugin */
function standing({ file, digest, running_digest: running, rejected, plan }) {
  if (rejected) return { rank: 0, icon: "✕", tone: "bad", word: "refused" };
  if (!file) return { rank: 1, icon: "■", tone: "idle", word: "no file" };
  if (plan?.held) return { rank: 2, icon: "◆", tone: "work", word: "held" };
  if (!running) return { rank: 3, icon: "◌", tone: "work", word: "not running" };
  if (digest && digest !== running) return { rank: 4, icon: "≠", tone: "warn", word: "on disk ≠ running" };
  return { rank: 5, icon: "●", tone: "ok", word: "running" };
}

const COLUMNS = [
  { key: "state", label: "State" }, { key: "file", label: "File" }, { key: "projection", label: "Projection" },
  { key: "disk", label: "On disk" }, { key: "running", label: "Running" }, { key: "size", label: "Size", num: true },
  { key: "compiled", label: "Compiled", num: true }, { key: "language", label: "Language" }, { key: "read", label: "Read", num: true },
];
/** @type {Record<string, (plugin: PluginView) => string | number>} */
const VALUES = {
  state: (plugin) => standing(plugin).rank, file: ({ file }) => file, projection: ({ projection }) => projection ?? "", disk: ({ digest }) => digest ?? "", running: ({ running_digest: digest }) => digest ?? "",
  size: (plugin) => plugin.bytes ?? -1, compiled: (plugin) => plugin.compile_seconds ?? -1, language: ({ language }) => language ?? "", read: (plugin) => plugin.read_at_us ?? 0,
};

/** @param {{ params: URLSearchParams }} props */
export function Plugins({ params }) {
  const plugins = useKnown((known) => known.plugins);
  const folder = useKnown(({ status }) => status?.plugins_dir);
  const [sort, order] = [params.get("sort") ?? "state", params.get("order") ?? "asc"];
  const value = VALUES[sort] ?? VALUES.state;
  const sign = order === "desc" ? -1 : 1;
  const shown = [...plugins].sort((a, b) => (value(a) < value(b) ? -sign : value(a) > value(b) ? sign : a.file < b.file ? -1 : 1));
  const onSort = (/** @type {string} */ key, /** @type {string} */ next) => adjust({ sort: key === "state" ? null : key, order: next === "asc" ? null : next });
  return html`<div class="head"><h1>Plugins</h1><span class="muted">watching <code>${folder ?? "…"}</code></span></div>
    <div class="card scroll">${shown.length === 0 ? html`<div class="empty"><p><b>The folder is empty.</b> What is copied into it runs within two seconds:</p><pre><code>cp MY_PROJECTION.wasm ${folder ?? "plugins"}/</code></pre></div>`
      : html`<table class="plain plugins"><thead><tr>${COLUMNS.map((column) => html`<${SortHead} key=${column.key} column=${column} sort=${sort} order=${order} onSort=${onSort} />`)}</tr></thead>
      ${shown.map((plugin) => html`<${Row} key=${`${plugin.file} ${plugin.projection}`} plugin=${plugin} />`)}</table>`}</div>`;
}

/** @param {{ plugin: PluginView }} props */
function Row({ plugin }) {
  const { icon, tone, word } = standing(plugin);
  const { file, digest, running_digest: running, projection, rejected, plan } = plugin;
  return html`<tbody><tr><td><span class=${`state ${tone}`}><i aria-hidden="true">${icon}</i>${word}</span></td><th scope="row">${file || html`<span class="muted">none</span>`}</th>
      <td>${projection ? html`<a class="row" href=${toProjection(projection, { tab: "plugin" })}>${projection}</a>` : html`<span class="muted">not known</span>`}</td>
      <td><code title=${digest}>${plugin.revision === null ? "" : `r${plugin.revision} · `}${short(digest)}</code></td><td><code title=${running}>${short(running)}</code></td>
      <td class="num">${bytes(plugin.bytes)}</td><td class="num">${plugin.compile_seconds === null ? "–" : `${number(plugin.compile_seconds * 1000)} ms`}</td><td>${plugin.language ?? "–"}</td><td class="num">${clock(plugin.read_at_us)}</td></tr>
    ${rejected && html`<tr class="why"><td></td><td colspan="8"><div class="reason bad"><span><b>${rejected.code}</b> ${rejected.reason}${running && html` <span class="muted">Build <code>${short(running)}</code> stays in use.</span>`}</span></div></td></tr>`}
    ${!file && html`<tr class="why"><td></td><td colspan="8"><div class="reason"><span>Its file is not in the folder: the projection is stopped, its tables stay. Copy the file back, or drop the projection on its page.</span></div></td></tr>`}
    ${plan && plan.action !== "nothing" && html`<tr class="why"><td></td><td colspan="8"><details open=${plan.held}><summary>Plan: ${plan.action}${plan.held ? ", held" : ""}</summary><${PlanTable} plan=${plan} />
      <p class="pad"><a class="button" href=${toProjection(plan.projection, { tab: "plugin" })}>To the projection</a></p></details></td></tr>`}</tbody>`;
}

const PAGE = 50;

/** @param {{ params: URLSearchParams }} props */
export function Audit({ params }) {
  const projection = params.get("projection") ?? "";
  const names = useKnown(({ projections }) => projections)?.map(({ name }) => name) ?? [];
  const choices = [...new Set([...names, projection].filter(Boolean))].sort();
  const [pages, setPages] = useState(/** @type {{ entries: AuditEntry[], next: number | null }} */ ({ entries: [], next: null }));
  const [problem, setProblem] = useState(/** @type {unknown} */ (null));
  const [isRead, setRead] = useState(false);
  const load = async (/** @type {number | null} */ before, /** @type {AbortSignal} */ signal) => {
    const query = new URLSearchParams({ limit: String(PAGE), ...(projection && { projection }), ...(before !== null && { before: String(before) }) });
    try {
      const { entries, next } = await read(`audit?${query}`, signal);
      if (signal.aborted) return;
      setPages((last) => ({ entries: before === null ? entries : [...last.entries, ...entries], next: next ?? null }));
      setProblem(null);
      setRead(true);
    } catch (trouble) {
      if (!signal.aborted) setProblem(trouble);
    }
  };
  useEffect(() => {
    const stop = new AbortController();
    load(null, stop.signal);
    return () => stop.abort();
  }, [projection]);
  const more = () => load(pages.next, new AbortController().signal);
  return html`<div class="head"><h1>Audit</h1><span class="muted">who changed what, newest first</span><span class="grow"></span>
      <label>Projection <select value=${projection} onChange=${(/** @type {any} */ event) => adjust({ projection: event.target.value || null })}>
        <option value="" selected=${projection === ""}>all</option>${choices.map((name) => html`<option value=${name} selected=${name === projection}>${name}</option>`)}</select></label>
      <button type="button" onClick=${() => load(null, new AbortController().signal)}>Read again</button></div>
    <${Trouble} problem=${problem} />
    <div class="card scroll">${pages.entries.length === 0 ? html`<p class="empty muted">${isRead ? "Nothing was changed yet." : problem ? "" : "Reading…"}</p>` : html`<table class="plain audit"><thead><tr><th scope="col">When</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">Projection</th><th scope="col">Build</th><th scope="col">Detail</th></tr></thead>
      <tbody>${pages.entries.map((entry) => html`<tr key=${entry.id}><td class="when">${clock(entry.at_us)}</td><td>${entry.actor.name}<small class="muted">${[entry.actor.role !== entry.actor.name && entry.actor.role, entry.actor.source].filter(Boolean).join(" · ")}</small></td>
        <td><b>${entry.action.replaceAll("_", " ")}</b></td><td><a href=${toProjection(entry.projection)}>${entry.projection}</a></td><td><code title=${entry.plugin_digest}>${short(entry.plugin_digest)}</code></td>
        <td class="wrap"><${Change} entry=${entry} /></td></tr>`)}</tbody></table>`}</div>
    ${pages.next !== null && html`<p class="more"><button type="button" onClick=${more}>Older</button> <span class="muted">${counted(pages.entries.length, "entry", "entries")} shown</span></p>`}
    ${projection && html`<p class="more"><a href=${link(["audit"])}>All projections</a></p>`}`;
}

/** @param {{ entry: AuditEntry }} props */
function Change({ entry }) {
  const text = (/** @type {unknown} */ value) => (value === null || value === undefined || JSON.stringify(value) === "{}" ? "" : typeof value === "string" ? value : shortened(JSON.stringify(value)));
  const [detail, before, after] = [text(entry.detail), text(entry.before), text(entry.after)];
  return html`${detail && html`<div><code>${detail}</code></div>`}${(before || after) && html`<div class="muted"><code>${before || "–"}</code> → <code>${after || "–"}</code></div>`}`;
}

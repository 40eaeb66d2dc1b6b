// Hides the parts of a projection's page that read something of their own: tables, logs, its plugin and plan, and stepping through events.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { order, ofProjection, read } from "./api.js";
import { bytes, build, cell, clock, counted, number } from "./format.js";
import { Act, Trouble, Value, useLoaded } from "./parts.js";
import { adjust, go, link } from "./route.js";
import { mayAct, useKnown } from "./store.js";

/** @typedef {import("./types.js").ProjectionView} ProjectionView */
/** @typedef {import("./types.js").LogLine} LogLine */
/** @typedef {import("./types.js").TableView} TableView */
/** @typedef {import("./types.js").StepReport} StepReport */

const ROWS = 20;

/** @param {{ columns: string[], rows: unknown[][] }} props */
export function Grid({ columns, rows }) {
  const isNumber = columns.map((_column, index) => rows.some((row) => row[index] !== null) && rows.every((row) => row[index] === null || (row[index] !== "" && Number.isFinite(Number(row[index])) && typeof row[index] !== "boolean")));
  return html`<div class="scroll"><table class="plain rows"><thead><tr>${columns.map((column, index) => html`<th scope="col" class=${isNumber[index] ? "num" : ""}>${column}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${row.map((value, index) => html`<td class=${isNumber[index] ? "num" : ""}><${Value} value=${value} /></td>`)}</tr>`)}</tbody></table></div>`;
}

/** @param {{ name: string }} props */
export function Tables({ name }) {
  const { value, problem, again } = useLoaded(async (signal) => (await read(ofProjection(name, `/tables?rows=${ROWS}`), signal)).tables, [name], 10);
  const tables = /** @type {TableView[] | null} */ (value);
  return html`<${Trouble} problem=${problem} />${!tables && !problem && html`<p class="empty muted">Reading…</p>`}
    ${tables?.map((table) => html`<section key=${table.name} class="part"><div class="head"><h3><code>${table.name}</code></h3><span class="muted">${table.rows ? `the first ${counted(table.rows.rows.length, "row")}` : "rows are not shown to this role"}</span><span class="grow"></span>
        <button type="button" onClick=${again}>Read again</button></div>
      ${table.rows && (table.rows.rows.length > 0 ? html`<${Grid} columns=${table.rows.columns} rows=${table.rows.rows} />` : html`<p class="empty muted">No rows yet.</p>`)}
      <details><summary>Statements</summary><pre><code>${table.ddl.join(";\n")}</code></pre></details></section>`)}`;
}

const LEVELS = ["trace", "debug", "info", "warn", "error"];
const LINES_MAX = 1000;

/** @param {{ name: string, params: URLSearchParams }} props */
export function Logs({ name, params }) {
  const [kept, setKept] = useState(/** @type {LogLine[]} */ ([]));
  const [problem, setProblem] = useState(/** @type {unknown} */ (null));
  const begun = useKnown(({ begunAtMs }) => begunAtMs);
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const atEnd = useRef(true);
  const level = params.get("level") ?? "info";
  useEffect(() => {
    const stop = new AbortController();
    let timer = 0;
    let last = 0;
    const turn = async () => {
      try {
        if (document.visibilityState === "visible") {
          /** @type {{ lines: LogLine[] }} */
          const { lines } = await read(ofProjection(name, `/logs?after=${last}&limit=500`), stop.signal);
          if (stop.signal.aborted) return;
          if (last === 0) setKept(lines);
          else if (lines.length > 0) setKept((before) => [...before, ...lines].slice(-LINES_MAX));
          last = lines.length > 0 ? lines[lines.length - 1].id : last;
          setProblem(null);
        }
      } catch (trouble) {
        if (!stop.signal.aborted) setProblem(trouble);
      }
      if (!stop.signal.aborted) timer = setTimeout(turn, 1000);
    };
    turn();
    return () => (stop.abort(), clearTimeout(timer));
  }, [name, begun]);
  useLayoutEffect(() => {
    const there = box.current;
    if (there && atEnd.current) there.scrollTop = there.scrollHeight;
  });
  const least = LEVELS.indexOf(level);
  const lines = kept.filter((line) => LEVELS.indexOf(line.level) >= least);
  const scrolled = (/** @type {any} */ { target }) => (atEnd.current = target.scrollHeight - target.scrollTop - target.clientHeight < 24);
  return html`<div class="legend"><label>Level <select value=${level} onChange=${(/** @type {any} */ event) => adjust({ level: event.target.value === "info" ? null : event.target.value })}>
      ${LEVELS.map((each) => html`<option value=${each} selected=${each === level}>${each}${each === "error" ? "" : " and worse"}</option>`)}</select></label>
      <span class="grow"></span><span>${counted(lines.length, "line")}${kept.length > lines.length ? ` of ${number(kept.length)}` : ""}</span></div>
    <${Trouble} problem=${problem} />
    <div class="log" ref=${box} onScroll=${scrolled} tabindex="0" role="log" aria-live="off" aria-label=${`log of ${name}`}>
      ${lines.length === 0 ? html`<p class="muted">Nothing at this level yet.</p>` : lines.map((line) => html`<div key=${line.id} class=${`l-${line.level}`}><time>${clock(line.at_us)}</time><span class="level">${line.level}</span><span class="origin">${line.origin}</span><span class="message">${line.message}</span></div>`)}</div>`;
}

/** @param {{ plan: import("./types.js").Plan }} props */
export function PlanTable({ plan }) {
  return html`<p class="pad">Build <code>${build(plan.to_revision, plan.to_digest)}</code>${plan.from_digest && html` instead of <code>${build(plan.from_revision, plan.from_digest)}</code>`} needs: <b>${plan.action}</b>${plan.held && " · held back until somebody applies it"}</p>
    ${plan.reasons.length > 0 && html`<ul>${plan.reasons.map((reason) => html`<li>${reason}</li>`)}</ul>`}
    ${plan.tables.length > 0 && html`<div class="scroll"><table class="plain"><thead><tr><th scope="col">Table</th><th scope="col">Action</th><th scope="col">Because</th></tr></thead>
      <tbody>${plan.tables.map((table) => html`<tr key=${table.table}><td>${table.table}</td><td><b>${table.action}</b></td><td class="wrap">${table.reasons.length > 0 ? table.reasons.map((reason) => html`<div>${reason}</div>`) : html`<span class="muted">nothing differs</span>`}</td></tr>`)}</tbody></table></div>`}`;
}

/** @param {{ view: ProjectionView }} props */
export function PluginPart({ view }) {
  const { name } = view;
  const plugin = useKnown(({ plugins }) => plugins.find((each) => each.projection === name || (each.file !== "" && each.file === view.plugin_file)));
  const mark = `${view.plugin_digest} ${plugin?.digest} ${view.plan?.to_digest} ${view.plan?.held}`;
  const { value: plan, problem } = useLoaded((signal) => read(ofProjection(name, "/plan"), signal), [name, mark]);
  const isDeployed = !!plugin?.file && view.desired !== "stopped";
  const question = {
    title: `Drop ${name}?`,
    text: `Its tables, views, checkpoints and ${counted(view.generations?.length ?? 1, "generation")} are removed from the database. Events stay in their log, so the plugin can fill them anew.`,
    yes: "Drop it",
    typed: name,
  };
  const drop = async () => {
    await order("DELETE", ofProjection(name));
    go(link([]));
  };
  return html`<dl class="facts pad"><dt>File</dt><dd>${plugin?.file || view.plugin_file || "none"}</dd><dt>Running</dt><dd><code>${view.plugin_digest}</code></dd>
      <dt>On disk</dt><dd>${plugin?.digest ? html`<code>${plugin.digest}</code> ${plugin.digest === view.plugin_digest ? html`<span class="muted">the same</span>` : html`<b class="over">≠ running</b>`}` : html`<span class="muted">not there</span>`}</dd>
      <dt>Revision</dt><dd>${view.revision}</dd><dt>Language</dt><dd>${plugin?.language ?? "not noted"}</dd><dt>Size</dt><dd>${bytes(plugin?.bytes)}</dd>
      <dt>Compiled in</dt><dd>${plugin?.compile_seconds === null || plugin?.compile_seconds === undefined ? "–" : `${number(plugin.compile_seconds * 1000)} ms`}</dd><dt>Read</dt><dd>${clock(plugin?.read_at_us)}</dd></dl>
    <h3>Plan</h3><${Trouble} problem=${problem} />
    ${plan && (plan.action === "nothing" ? html`<p class="pad muted">Nothing to do: the build on disk is what runs.</p>` : html`<${PlanTable} plan=${plan} />`)}
    ${plan?.held && html`<div class="pad buttons left"><${Act} label=${`Apply: ${plan.action}`} primary run=${() => order("POST", ofProjection(name, "/deploy"))} /></div>`}
    <h3>Drop</h3><div class="pad buttons left"><${Act} label="Drop…" className="danger" ask=${question} run=${drop} disabled=${isDeployed} />
      <span class="muted">${isDeployed ? html`Take <code>${plugin?.file}</code> out of the plugins folder first: the projection stops, its tables stay.` : "Removes its tables for good."}</span></div>`;
}

const EXAMPLE = '{"key": "o-1", "value": {"type": "order.placed"}}';

/** @param {File} file @returns {Promise<string>} Its bytes in base64. */
const base64 = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(",", 2)[1] ?? "");
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });

/** @param {{ view: ProjectionView, params: URLSearchParams }} props */
export function Step({ view, params }) {
  const may = useKnown(mayAct);
  const topics = [...new Set(view.partitions.map(({ topic }) => topic))];
  const offset = params.get("offset");
  const [source, setSource] = useState(offset === null ? "lines" : "range");
  const [fields, setFields] = useState({ topic: params.get("topic") ?? topics[0] ?? "", lines: "", partition: params.get("partition") ?? "0", offset: offset ?? "0", count: "1" });
  const [report, setReport] = useState(/** @type {StepReport | null} */ (null));
  const [problem, setProblem] = useState(/** @type {unknown} */ (null));
  const [isBusy, setBusy] = useState(false);
  const [file, setFile] = useState(/** @type {File | null} */ (null));
  const field = (/** @type {keyof typeof fields} */ name) => ({ name, value: fields[name], onInput: (/** @type {any} */ event) => setFields({ ...fields, [name]: event.target.value }) });
  const run = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    const { topic, lines, partition, offset: first, count } = fields;
    const events = source === "lines" ? { lines } : { partition: Number(partition), offset: Number(first), count: Number(count) };
    try {
      const build = file ? { build: await base64(file) } : {};
      setReport(await order("POST", ofProjection(view.name, "/step"), { topic, ...events, ...build }));
    } catch (trouble) {
      setReport(null);
      setProblem(trouble);
    }
    setBusy(false);
  };
  const choice = (/** @type {string} */ value, /** @type {string} */ label) => html`<label><input type="radio" name="source" checked=${source === value} onChange=${() => setSource(value)} /> ${label}</label>`;
  return html`<form class="pad step" onSubmit=${run}><p class="muted">Runs events through build <code>${build(view.revision, view.plugin_digest)}</code> and shows what would change. Nothing is written.</p>
      <fieldset><legend>Events</legend>${choice("lines", "JSON lines")}${choice("range", "from the log")}</fieldset>
      <label class="field">Topic <select ...${{ ...field("topic"), onChange: field("topic").onInput }}>${topics.map((topic) => html`<option value=${topic} selected=${topic === fields.topic}>${topic}</option>`)}</select></label>
      ${source === "lines" ? html`<label class="field block">One event a line, as in files: <code>key</code>, <code>value</code>, <code>headers</code>, <code>timestamp</code><textarea rows="5" spellcheck=${false} placeholder=${EXAMPLE} ...${field("lines")}></textarea></label>`
        : html`<div class="fields"><label class="field">Partition <input class="short" type="number" min="0" ...${field("partition")} /></label><label class="field">Offset <input class="short" type="number" min="0" ...${field("offset")} /></label><label class="field">Count <input class="short" type="number" min="1" max="100" ...${field("count")} /></label></div>`}
      <label class="field">Another build <input type="file" accept=".wasm" onChange=${(/** @type {any} */ event) => setFile(event.target.files[0] ?? null)} /></label>
      <div class="buttons left"><button class="primary" disabled=${!may || isBusy || (source === "lines" && !fields.lines.trim())} title=${may ? null : "The token's role is viewer: it may look, not act."}>Step</button></div></form>
    <${Trouble} problem=${problem} />
    ${report && html`<p class="pad muted">Run by build <code>${report.plugin_digest.slice(0, 6)}</code>.</p>`}
    ${report && (report.events.length === 0 ? html`<p class="pad muted">There were no events.</p>` : report.events.map((event) => html`<${Stepped} key=${`${event.topic}/${event.partition}@${event.offset}`} event=${event} />`))}`;
}

/** @param {{ event: StepReport["events"][number] }} props */
function Stepped({ event }) {
  return html`<section class="part"><h3><code>${event.topic}/${event.partition}@${event.offset}</code>${event.key !== null && html` key <code>${event.key}</code>`} <span class="muted">${counted(event.changes.length, "change")}</span></h3>
    ${event.fault && html`<p class="reason bad"><span><b>at fault</b> ${event.fault}</span></p>`}
    ${event.changes.length > 0 && html`<div class="scroll"><table class="plain rows"><thead><tr><th scope="col">Table</th><th scope="col">Change</th><th scope="col">Key</th><th scope="col">Values</th></tr></thead>
      <tbody>${event.changes.map((change) => html`<tr><td>${cell(change.table)}</td><td>${cell(change.action)}</td><td><${Value} value=${change.key} /></td><td class="wrap"><${Value} value=${change.values} /></td></tr>`)}</tbody></table></div>`}
    ${event.rows.map((row) => html`<${BeforeAfter} row=${row} />`)}</section>`;
}

/** @param {{ row: any }} props */
function BeforeAfter({ row }) {
  const names = [...new Set([...Object.keys(row.before ?? {}), ...Object.keys(row.after ?? {})])];
  const line = (/** @type {"before" | "after"} */ side, /** @type {any} */ values) => html`<tr class="side"><th scope="row">${side}</th>${values
    ? names.map((name) => {
        const differs = side === "after" && cell(row.before?.[name]) !== cell(values[name]);
        return html`<td>${differs ? html`<mark><${Value} value=${values[name]} /></mark>` : html`<${Value} value=${values[name]} />`}</td>`;
      })
    : html`<td class="muted" colspan=${Math.max(1, names.length)}>no such row</td>`}</tr>`;
  return html`<h4>${cell(row.table)} ${cell(row.key)}</h4><div class="scroll"><table class="plain rows"><thead><tr><th scope="col"></th>${names.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
    <tbody>${line("before", row.before)}${line("after", row.after)}</tbody></table></div>`;
}


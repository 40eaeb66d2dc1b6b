// Hides rebuilds: the line on the overview, the bars per partition, the question before one is begun, and how old and new rows differ.
import { html, useEffect, useState } from "./html.js";
import { LONG_MS, order, ofProjection, ofRebuild, read } from "./api.js";
import { NONE, ago, cell, clock, counted, isActive, number, percent, rate, remaining, seconds, short } from "./format.js";
import { Act, Bar, Dialog, Trouble, Value, useLoaded } from "./parts.js";
import { go, toProjection } from "./route.js";

/** @typedef {import("./types.js").RebuildView} RebuildView */
/** @typedef {import("./types.js").ProjectionView} ProjectionView */
/** @typedef {import("./types.js").TableDifference} TableDifference */
/** @typedef {import("./types.js").RebuildForecast} RebuildForecast */

/** @param {{ topic: string, partition: number }} place */
const placeOf = ({ topic, partition }) => `${topic}/${partition}`;

/** What it does now, in words. @param {RebuildView} rebuild @returns {string[]} */
function words(rebuild) {
  const { state, rate_per_second: speed, eta_seconds: left, lag_events: lag } = rebuild;
  const most = rebuild.partitions.reduce((a, b) => (a && a.target - a.next_offset >= b.target - b.next_offset ? a : b), rebuild.partitions[0]);
  const end = rebuild.switch === "auto" || state === "switching" ? "switches by itself" : "switched by hand";
  switch (state) {
    case "filling":
      return [`${rate(speed)} events/s`, left === null ? "" : `${remaining(left)} left`, most && rebuild.partitions.length > 1 ? `slowest ${placeOf(most)}` : "", end].filter(Boolean);
    case "indexing":
      return ["making keys and indexes", end];
    case "catching-up":
      return [`catching up, ${counted(lag ?? 0, "event")} behind`, `${rate(speed)} events/s`, end];
    case "ready":
      return [`${lag ? "ready" : "caught up"}; readers still see generation ${rebuild.from_generation}`, lag ? `${counted(lag, "event")} behind` : ""].filter(Boolean);
    case "switching":
      return ["switching: waits until it is level with the live one", lag ? `${counted(lag, "event")} behind` : ""].filter(Boolean);
    default:
      return [`${state}${rebuild.finished_at_us ? ` ${ago(rebuild.finished_at_us)}` : ""}`, rebuild.reason ?? ""].filter(Boolean);
  }
}

/** @param {RebuildView} rebuild */
const toDiff = (rebuild) => toProjection(rebuild.projection, { tab: "rebuilds", diff: rebuild.id });

/** The buttons of a rebuild that is under way. @param {{ rebuild: RebuildView }} props */
function Buttons({ rebuild }) {
  const { id, state, generation, from_generation: from } = rebuild;
  const isLevel = state === "ready" || state === "catching-up" || state === "switching";
  const later = state !== "ready" && rebuild.switch === "manual";
  const question = {
    title: `Cancel the rebuild of ${rebuild.projection}?`,
    text: `Generation ${generation} is dropped with all that it has filled (${percent(rebuild.progress_ratio)}). Readers never saw it: generation ${from} goes on as it is.`,
    yes: "Cancel the rebuild",
  };
  return html`${isLevel && html`<a class="button" href=${toDiff(rebuild)}>Diff</a>`}
    ${(state === "ready" || later) && html`<${Act} label=${later ? "Switch when ready" : "Switch"} primary=${!later} run=${() => order("POST", ofRebuild(id, "/switch"))} />`}
    <${Act} label="Cancel" ask=${question} run=${() => order("DELETE", ofRebuild(id))} />`;
}

/** A rebuild in one line; nothing where it ended well. @param {{ rebuild: RebuildView }} props */
export function RebuildLine({ rebuild }) {
  if (rebuild.state === "failed") {
    return html`<div class="reason bad"><span><b>rebuild of generation ${rebuild.generation} failed</b> ${ago(rebuild.finished_at_us)}: ${rebuild.reason ?? "see its log"}${" "}
      <span class="muted">Generation ${rebuild.from_generation} goes on.</span></span></div>`;
  }
  if (!isActive(rebuild)) return null;
  const trouble = rebuild.halt ? `${rebuild.halt.code}: ${rebuild.halt.reason} ${rebuild.halt.remedy}` : rebuild.waiting && `waiting: ${rebuild.waiting}`;
  return html`<div class="reason rebuild"><span class="gen">generation ${rebuild.from_generation} → ${rebuild.generation}</span>
    <${Bar} label=${`rebuild of ${rebuild.projection}`} ratio=${rebuild.progress_ratio} /><span class="num">${percent(rebuild.progress_ratio)}</span>
    <span class="muted">${words(rebuild).join(" · ")}${trouble && html`<span class="badtext"> · ${trouble}</span>`}</span><span class="grow"></span>
    <${Buttons} rebuild=${rebuild} /></div>`;
}

/** The page's part about rebuilds and generations. @param {{ view: ProjectionView, params: URLSearchParams }} props */
export function Rebuilds({ view, params }) {
  const mark = `${view.rebuild?.id} ${view.rebuild?.state}`;
  const { value, problem } = useLoaded(async (signal) => (await read(ofProjection(view.name, "/rebuilds"), signal)).rebuilds, [view.name, mark]);
  const list = /** @type {RebuildView[]} */ (value ?? []).map((rebuild) => (rebuild.id === view.rebuild?.id ? view.rebuild : rebuild));
  const active = isActive(view.rebuild) ? view.rebuild : null;
  const diff = params.get("diff");
  const past = list.filter((rebuild) => !isActive(rebuild));
  return html`
    ${active && html`<div class="pad"><${RebuildLine} rebuild=${active} /></div><${Partitions} rebuild=${active} />`}
    ${diff && html`<${Diff} id=${diff} name=${view.name} />`}
    <${Trouble} problem=${problem} />
    ${!active && past.length === 0 && html`<p class="empty muted">It was never rebuilt. <b>Rebuild…</b> fills the next generation beside this one; readers notice nothing until it switches.</p>`}
    <h3>Generations</h3><${Generations} view=${view} />
    ${past.length > 0 && html`<h3>Past rebuilds</h3><div class="scroll"><table class="plain"><thead><tr><th scope="col">Generation</th><th scope="col">Ended as</th><th scope="col">Begun</th><th scope="col" class="num">Took</th><th scope="col">Build</th><th scope="col">Why</th></tr></thead>
      <tbody>${past.map((rebuild) => html`<tr key=${rebuild.id}><td>${rebuild.from_generation} → ${rebuild.generation}</td><td class=${rebuild.state === "failed" ? "badtext" : ""}>${rebuild.state}</td>
        <td>${clock(rebuild.created_at_us)}</td><td class="num">${rebuild.finished_at_us ? seconds((rebuild.finished_at_us - rebuild.created_at_us) / 1e6) : NONE}</td>
        <td><code>${short(rebuild.plugin_digest)}</code></td><td class="wrap">${rebuild.reason ?? ""}</td></tr>`)}</tbody></table></div>`}`;
}

/** @param {{ rebuild: RebuildView }} props */
function Partitions({ rebuild }) {
  return html`<div class="scroll"><table class="plain"><thead><tr><th scope="col">Partition</th><th scope="col" class="c-bar">To its target, frozen ${clock(rebuild.created_at_us)}</th>
      <th scope="col" class="num">Committed</th><th scope="col" class="num">Target</th><th scope="col" class="num">To do</th></tr></thead>
    <tbody>${rebuild.partitions.map((part) => {
      const whole = part.target - part.start;
      const ratio = whole <= 0 ? 1 : Math.min(1, (part.next_offset - part.start) / whole);
      return html`<tr key=${placeOf(part)}><td>${placeOf(part)}</td><td class="bar"><${Bar} label=${`rebuild of ${placeOf(part)}`} ratio=${ratio} /><span class="num">${percent(ratio)}</span></td>
        <td class="num">${number(part.next_offset)}</td><td class="num">${number(part.target)}</td><td class="num">${number(Math.max(0, part.target - part.next_offset))}</td></tr>`;
    })}</tbody></table></div>`;
}

/** @param {{ view: ProjectionView }} props */
function Generations({ view }) {
  const list = [...(view.generations ?? [])].sort((a, b) => b.number - a.number);
  const warm = list.filter(({ state, writable, stored }) => state === "retired" && writable && stored);
  // The engine goes back to the one that was left last, so only that one is offered.
  const last = warm.sort((a, b) => (b.collect_at_us ?? 0) - (a.collect_at_us ?? 0))[0];
  return html`<div class="scroll"><table class="plain"><thead><tr><th scope="col">Generation</th><th scope="col">State</th><th scope="col">Build</th><th scope="col">Made</th><th scope="col"></th></tr></thead>
    <tbody>${list.map((generation) => {
      const isWarm = warm.includes(generation);
      const question = {
        title: `Roll ${view.name} back to generation ${generation.number}?`,
        text: `Readers see generation ${generation.number} (revision ${generation.revision}) again from one transaction to the next. Generation ${view.generation} stays warm, so this can be undone the same way.`,
        yes: "Roll back",
      };
      return html`<tr key=${generation.number}><td>${generation.number}</td>
        <td>${generation.state === "live" ? html`<b>live</b>` : generation.state}${isWarm && html`<small class="muted">warm until ${clock(generation.collect_at_us)}</small>`}</td>
        <td><code>r${generation.revision} · ${short(generation.plugin_digest)}</code></td><td>${clock(generation.created_at_us)}</td>
        <td class="buttons">${generation === last && html`<${Act} label="Roll back" ask=${question} run=${() => order("POST", ofProjection(view.name, "/rollback"))} />`}</td></tr>`;
    })}</tbody></table></div>`;
}

/** Asks how, and says before what it will be. @param {{ view: ProjectionView, onClose: () => void }} props */
export function RebuildDialog({ view, onClose }) {
  const [forecast, setForecast] = useState(/** @type {RebuildForecast | null} */ (null));
  const [problem, setProblem] = useState(/** @type {unknown} */ (null));
  const [how, setHow] = useState("");
  const [most, setMost] = useState("");
  const [force, setForce] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [build, setBuild] = useState("live");
  const path = ofProjection(view.name, "/rebuilds");
  const held = view.plan?.held && view.plan.action === "rebuild" ? view.plan : null;
  useEffect(() => {
    let isGone = false;
    const unlessGone = (/** @type {(value: any) => void} */ show) => (/** @type {unknown} */ value) => void (isGone || show(value));
    setForecast(null);
    setProblem(null);
    order("POST", path, { dry_run: true, build }).then(unlessGone(setForecast), unlessGone(setProblem));
    return () => void (isGone = true);
  }, [build]);
  const begin = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      await order("POST", path, { build, ...(how && { switch: how }), ...(most && { max_rate: Number(most) }), ...(force && { force }) });
      onClose();
      go(toProjection(view.name, { tab: "rebuilds" }));
    } catch (refused) {
      setProblem(refused);
      setBusy(false);
    }
  };
  const choice = (/** @type {string} */ value, /** @type {string} */ label) => html`<label><input type="radio" name="switch" checked=${how === value} onChange=${() => setHow(value)} /> ${label}</label>`;
  return html`<${Dialog} title=${`Rebuild ${view.name}`} onClose=${onClose} className="wide"><form onSubmit=${begin}>
    <p class="muted">The next generation fills from the start of the log beside generation ${view.generation}, which goes on serving. Readers notice nothing.</p>
    ${held && html`<fieldset><legend>Build</legend>${[["live", `the one that runs, ${short(view.plugin_digest)}`], ["held", `the one that is held back, ${short(held.to_digest)}`]].map(([value, label]) => html`<label key=${value}><input type="radio" name="build" checked=${build === value} onChange=${() => setBuild(value)} /> ${label}</label>`)}</fieldset>`}
    ${forecast ? html`<${Forecast} forecast=${forecast} />` : !problem && html`<p class="muted">Looking at the log…</p>`}
    <fieldset><legend>Switch</legend>${choice("", "as configured")}${choice("auto", "by itself, once caught up")}${choice("manual", "a person decides, after the diff")}</fieldset>
    <label class="field">At most <input class="short" type="number" min="1" max="4294967295" step="1" inputmode="numeric" value=${most} placeholder="no limit" onInput=${(/** @type {any} */ event) => setMost(event.target.value)} /> events per second</label>
    ${forecast?.refusal && html`<label class="field"><input type="checkbox" checked=${force} onChange=${() => setForce(!force)} /> Rebuild nevertheless, from what the log still holds</label>`}
    <${Trouble} problem=${problem} />
    <div class="buttons"><button type="button" onClick=${onClose}>Not now</button>
      <button class="primary" disabled=${isBusy || !forecast || (!!forecast.refusal && !force)}>Rebuild</button></div>
  </form></${Dialog}>`;
}

/** @param {{ forecast: RebuildForecast }} props */
function Forecast({ forecast }) {
  const { events, seconds: time, tables, partitions, plugin_digest: digest, running_digest: running, refusal } = forecast;
  return html`<dl class="facts"><dt>Events</dt><dd>${number(events)}</dd><dt>Time</dt><dd>${time === null ? "unknown: no rate was seen yet" : `about ${remaining(time)}`}</dd>
      <dt>Tables</dt><dd>${tables.join(", ")}</dd><dt>Build</dt><dd><code>${short(digest)}</code> ${digest === running ? "the one that runs" : html`<b>held back; ${short(running)} runs</b>`}</dd></dl>
    ${refusal && html`<p class="reason bad"><span>${refusal}</span></p>`}
    <div class="scroll low"><table class="plain"><thead><tr><th scope="col">Partition</th><th scope="col" class="num">Log from</th><th scope="col" class="num">to</th><th scope="col" class="num">Projection began at</th></tr></thead>
      <tbody>${partitions.map((part) => html`<tr key=${placeOf(part)}><td>${placeOf(part)}</td><td class=${`num ${part.began !== null && part.log_start > part.began ? "badtext" : ""}`}>${number(part.log_start)}</td>
        <td class="num">${number(part.log_end)}</td><td class="num">${number(part.began)}</td></tr>`)}</tbody></table></div>`;
}

/** How old and new rows differ, at the same checkpoints. @param {{ id: string, name: string }} props */
function Diff({ id, name }) {
  const { value, problem, again } = useLoaded(async (signal) => (await read(ofRebuild(id, "/diff?samples=20"), signal, LONG_MS)).tables, [id]);
  const tables = /** @type {TableDifference[] | null} */ (value);
  const close = toProjection(name, { tab: "rebuilds" });
  return html`<section class="diff" aria-label="Differences"><div class="head"><h3>Live rows against rebuilt rows, at the same checkpoints</h3><span class="grow"></span>
      <button type="button" onClick=${again}>Compare again</button><a class="button" href=${close}>Close</a></div>
    <${Trouble} problem=${problem} />
    ${!tables && !problem && html`<p class="muted pad">Comparing…</p>`}
    ${tables && html`<div class="scroll"><table class="plain"><thead><tr><th scope="col">Table</th><th scope="col" class="num">Live rows</th><th scope="col" class="num">Rebuilt rows</th><th scope="col" class="num">Only live</th><th scope="col" class="num">Only rebuilt</th><th scope="col" class="num">Changed</th><th scope="col">Verdict</th></tr></thead>
      <tbody>${tables.map((table) => html`<tr key=${table.table}><td>${table.table}</td><td class="num">${number(table.live_rows)}</td><td class="num">${number(table.rebuilt_rows)}</td>
        <td class="num">${number(table.removed)}</td><td class="num">${number(table.added)}</td><td class="num">${number(table.changed)}</td><td>${verdict(table)}</td></tr>`)}</tbody></table></div>
      ${tables.filter(({ samples }) => samples.length > 0).map((table) => html`<${Samples} key=${table.table} table=${table} />`)}`}
  </section>`;
}

/** @param {TableDifference} table */
function verdict({ live_columns: live, rebuilt_columns: rebuilt, removed, added, changed, comparable }) {
  if (live.length === 0) return "new table";
  if (rebuilt.length === 0) return "table goes";
  if (!comparable) return "another key: only counted";
  const more = rebuilt.filter((column) => !live.includes(column));
  const less = live.filter((column) => !rebuilt.includes(column));
  const columns = [more.length > 0 && `new column ${more.join(", ")}`, less.length > 0 && `without column ${less.join(", ")}`].filter(Boolean).join(", ");
  const rows = removed + added + changed === 0 ? "same rows" : "rows differ";
  return columns ? `${rows}, ${columns}` : rows;
}

/** @param {{ table: TableDifference }} props */
function Samples({ table }) {
  const columns = [...new Set([...table.live_columns, ...table.rebuilt_columns])];
  const valueOf = (/** @type {unknown[] | null} */ row, /** @type {string[]} */ names, /** @type {string} */ column) => row?.[names.indexOf(column)];
  const isNumber = (/** @type {unknown} */ value) => value === null || value === undefined || (value !== "" && typeof value !== "boolean" && Number.isFinite(Number(value)));
  const numbers = new Set(columns.filter((column) => table.samples.every(({ live, rebuilt }) => isNumber(valueOf(live, table.live_columns, column)) && isNumber(valueOf(rebuilt, table.rebuilt_columns, column)))));
  const kind = (/** @type {string} */ column) => (numbers.has(column) ? "num" : "");
  const line = (/** @type {import("./types.js").RowDifference} */ sample, /** @type {"live" | "rebuilt"} */ side) => {
    const [row, names] = side === "live" ? [sample.live, table.live_columns] : [sample.rebuilt, table.rebuilt_columns];
    const [other, otherNames] = side === "live" ? [sample.rebuilt, table.rebuilt_columns] : [sample.live, table.live_columns];
    if (!row) return html`<tr class=${`side ${side}`}><th scope="row">${side}</th><td class="muted" colspan=${columns.length}>no such row</td></tr>`;
    return html`<tr class=${`side ${side}`}><th scope="row">${side}</th>${columns.map((column) => {
      if (!names.includes(column)) return html`<td class=${`muted ${kind(column)}`}>${NONE}</td>`;
      const value = valueOf(row, names, column);
      const differs = !!other && otherNames.includes(column) && cell(value) !== cell(valueOf(other, otherNames, column));
      return html`<td class=${kind(column)}>${differs ? html`<mark><${Value} value=${value} /></mark>` : html`<${Value} value=${value} />`}</td>`;
    })}</tr>`;
  };
  return html`<h4>${table.table}: ${table.samples.length === 1 ? "the first difference" : `the first ${table.samples.length} differences`}</h4>
    <div class="scroll"><table class="plain rows"><thead><tr><th scope="col"></th>${columns.map((column) => html`<th scope="col" class=${kind(column)}>${column}</th>`)}</tr></thead>
      ${table.samples.map((sample) => html`<tbody key=${cell(sample.key)}>${line(sample, "live")}${line(sample, "rebuilt")}</tbody>`)}</table></div>`;
}

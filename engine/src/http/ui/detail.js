// Hides the page of one projection: its head with what can be done to it, and its parts.
import { html, useState } from "./html.js";
import { order, ofProjection, read } from "./api.js";
import { Chart, ChartTable } from "./chart.js";
import { NONE, ago, build, clock, counted, isActive, number, rate, remaining, seconds, stateOf } from "./format.js";
import { lines } from "./overview.js";
import { Logs, PluginPart, Step, Tables } from "./panels.js";
import { Act, State, Tile, Trouble, useLoaded } from "./parts.js";
import { RebuildDialog, Rebuilds } from "./rebuild.js";
import { link, toProjection } from "./route.js";
import { mayAct, useKnown } from "./store.js";

/** @typedef {import("./types.js").ProjectionView} ProjectionView */
/** @typedef {import("./types.js").History} History */

const TABS = [["lag", "Lag"], ["rebuilds", "Rebuilds"], ["tables", "Tables"], ["logs", "Logs"], ["plugin", "Plugin"], ["step", "Step"]];

/** @param {{ name: string, params: URLSearchParams, theme: string }} props */
export function Detail({ name, params, theme }) {
  const view = useKnown(({ projections }) => projections?.find((projection) => projection.name === name));
  const isRead = useKnown(({ projections }) => projections !== null);
  const back = html`<p class="crumb"><a href=${link([])}>Projections</a></p>`;
  if (!view) {
    return html`${back}<div class="head"><h1>${name}</h1></div><div class="card"><p class="empty">${isRead ? html`There is no projection of this name. It may have been dropped. <a href=${link([])}>All projections</a>` : "Reading…"}</p></div>`;
  }
  const tab = TABS.some(([key]) => key === params.get("tab")) ? params.get("tab") : "lag";
  return html`${back}<${Head} view=${view} />
    ${lines(view, tab !== "rebuilds").map((line) => html`<div class="line">${line}</div>`)}
    <div class="card">
      <nav class="tabs" aria-label=${`parts of ${name}`}>${TABS.map(([key, label]) =>
        html`<a key=${key} href=${toProjection(name, key === "lag" ? {} : { tab: key })} aria-current=${key === tab ? "page" : null}>${label}${key === "rebuilds" && isActive(view.rebuild) && html` <span class="pill">1</span>`}</a>`)}</nav>
      ${tab === "lag" && html`<${Lag} view=${view} params=${params} theme=${theme} />`}
      ${tab === "rebuilds" && html`<${Rebuilds} view=${view} params=${params} />`}
      ${tab === "tables" && html`<${Tables} name=${name} />`}
      ${tab === "logs" && html`<${Logs} name=${name} params=${params} />`}
      ${tab === "plugin" && html`<${PluginPart} view=${view} />`}
      ${tab === "step" && html`<${Step} key=${params.toString()} view=${view} params=${params} />`}
    </div>
    ${tab === "lag" && html`<${Partitions} view=${view} />`}`;
}

/** @param {{ view: ProjectionView }} props */
function Head({ view }) {
  const [isAsking, setAsking] = useState(false);
  const may = useKnown(mayAct);
  const { name } = view;
  const isPaused = view.desired === "paused";
  const topics = [...new Set(view.partitions.map(({ topic }) => topic))];
  return html`<div class="head detail"><h1>${name}</h1><${State} state=${stateOf(view)} />
      <span class="muted facts-line">${seconds(view.lag_seconds)} behind · limit ${seconds(view.slo_lag_seconds)} · ${topics.map((topic) => html`<code>${topic}</code> `)}${counted(view.partitions.length, "partition")} · generation ${view.generation} · <code>${build(view.revision, view.plugin_digest)}</code></span>
      <span class="grow"></span>
      <span class="buttons"><a class="button" href=${toProjection(name, { tab: "step" })}>Step…</a>
      <${Act} label="Restart" run=${() => order("POST", ofProjection(name, "/restart"))} title="Starts its runners anew, from the checkpoint" />
      ${isPaused ? html`<${Act} key="resume" label="Resume" run=${() => order("PUT", ofProjection(name, "/resume"))} />`
        : html`<${Act} key="pause" label="Pause" disabled=${view.desired !== "running"} run=${() => order("PUT", ofProjection(name, "/pause"))} />`}
      <button type="button" class="primary" disabled=${!may || isActive(view.rebuild)} onClick=${() => setAsking(true)}
        title=${!may ? "The token's role is viewer: it may look, not act." : isActive(view.rebuild) ? "One is under way" : null}>Rebuild…</button></span>
    </div>${isAsking && html`<${RebuildDialog} view=${view} onClose=${() => setAsking(false)} />`}`;
}

const WINDOWS = [["1h", "1 h"], ["6h", "6 h"]];

/** @param {{ view: ProjectionView, params: URLSearchParams, theme: string }} props */
function Lag({ view, params, theme }) {
  const { name } = view;
  const span = params.get("window") === "6h" ? "6h" : "1h";
  const isTable = params.get("as") === "table";
  const { value, problem } = useLoaded((signal) => read(ofProjection(name, `/history?window=${span}`), signal), [name, span], span === "1h" ? 5 : 20);
  const history = /** @type {History | null} */ (value);
  const margins = view.partitions.map((partition) => partition.retention_margin_events).filter((margin) => margin !== null);
  const begun = history?.samples[0]?.at_us;
  const to = (/** @type {Record<string, string | null>} */ changes) => toProjection(name, { window: span === "1h" ? null : span, as: isTable ? "table" : null, ...changes });
  return html`<div class="legend"><span><i class="ink-end"></i>end of log</span><span><i class="ink-checkpoint"></i>checkpoint</span><span><i class="ink-gap"></i>lag</span><span class="grow"></span>
      ${WINDOWS.map(([key, label]) => html`<a key=${key} href=${to({ window: key === "1h" ? null : key })} aria-current=${key === span ? "true" : null}>${label}</a>`)}
      <a href=${to({ as: isTable ? null : "table" })} aria-current=${isTable ? "true" : null}>as table</a></div>
    <${Trouble} problem=${problem} />
    ${!history ? !problem && html`<p class="chart empty muted">Reading…</p>` : history.samples.length < 2 ? html`<p class="chart empty muted">Not enough history yet: it begins with the engine.</p>`
      : isTable ? html`<${ChartTable} history=${history} />` : html`<${Chart} history=${history} theme=${theme} label=${`end of log and checkpoint of ${name}, last ${span === "1h" ? "hour" : "six hours"}; now ${number(view.lag_events)} events behind`} />`}
    <p class="foot muted">${begun ? `Since ${clock(begun)}. ` : ""}History lives in the engine's memory: it begins when the engine starts, and is gone when it stops.</p>
    <div class="tiles">
      <${Tile} label="behind" value=${seconds(view.lag_seconds)} tone=${view.lag_seconds !== null && view.lag_seconds > view.slo_lag_seconds ? "over" : ""} />
      <${Tile} label="events behind" value=${number(view.lag_events)} /><${Tile} label="events/s" value=${rate(view.rate_per_second)} />
      <${Tile} label="caught up in" value=${view.lag_events === 0 || (view.lag_seconds ?? 1) < 1 ? "caught up" : remaining(view.eta_seconds)} hint="at the present rates" />
      <${Tile} label="last event" value=${view.last_event_at_us ? ago(view.last_event_at_us) : NONE} hint="applied by this engine" />
      <${Tile} label="least retention margin" value=${margins.length > 0 ? number(Math.min(.../** @type {number[]} */ (margins))) : NONE} hint="events that the log may still drop before unapplied ones are lost" />
    </div>`;
}

/** @param {{ view: ProjectionView }} props */
function Partitions({ view }) {
  if (view.partitions.length === 0) return null;
  return html`<section><div class="head"><h2>Partitions</h2><span class="muted">${counted(view.partitions.length, "partition")} of this engine</span></div><div class="card scroll"><table class="plain">
    <thead><tr><th scope="col">Partition</th><th scope="col" class="num">Checkpoint</th><th scope="col" class="num">End</th><th scope="col" class="num">Events behind</th><th scope="col" class="num">Behind</th><th scope="col" class="num">Oldest kept</th><th scope="col" class="num">Margin</th><th scope="col">Owner</th></tr></thead>
    <tbody>${view.partitions.map((partition) => {
      const margin = partition.retention_margin_events;
      const isThin = margin !== null && (partition.log_start_offset ?? 0) > 0 && (partition.lag_events ?? 0) > 0 && margin < /** @type {number} */ (partition.lag_events);
      return html`<tr key=${`${partition.topic}/${partition.partition}`}><td>${partition.topic}/${partition.partition}</td><td class="num">${number(partition.next_offset)}</td><td class="num">${number(partition.end_offset)}</td>
        <td class="num strong">${number(partition.lag_events)}</td><td class="num">${seconds(partition.lag_seconds)}</td><td class="num muted">${number(partition.log_start_offset)}</td>
        <td class=${`num ${isThin ? "over" : ""}`} title=${isThin ? "The log may drop events that are not applied yet" : null}>${number(margin)}${isThin && html`<span class="unseen"> low</span>`}</td><td>this engine</td></tr>`;
    })}</tbody></table></div></section>`;
}

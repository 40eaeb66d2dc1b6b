// Hides the chart of one projection: the end of its log and its checkpoint; the gap between them is the lag. The same figures stand in a table.
import { html, useEffect, useLayoutEffect, useRef } from "./html.js";
import { clock, number, rate, seconds } from "./format.js";

/** @typedef {import("./types.js").History} History */

/** @type {Promise<any> | null} Only a page that shows a chart loads what draws it. */
let loading = null;

function library() {
  loading ??= (async () => {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = new URL("./vendor/uplot.css", import.meta.url).href;
    document.head.append(sheet);
    return (await import("./vendor/uplot.js")).default;
  })();
  return loading;
}

/** The page's colours, as they are now. @param {Element} place */
function palette(place) {
  const of = (/** @type {string} */ name) => {
    const probe = document.createElement("i");
    probe.className = `ink-${name}`;
    place.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  };
  const surface = getComputedStyle(place.closest(".card") ?? document.body).backgroundColor;
  return { surface, end: of("end"), checkpoint: of("checkpoint"), gap: of("gap"), line: of("line"), text: of("text") };
}

/** @param {History} history */
function columns(history) {
  const { samples } = history;
  return [samples.map(({ at_us: at }) => at / 1e6), samples.map((sample) => sample.end_offset), samples.map((sample) => sample.next_offset)];
}

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const HEIGHT = 250;

/** Of two labels that do not both fit, what comes first here is shown. @type {Record<string, number>} */
const WEIGHT = { halt: 0, swap: 1, rollback: 2, reload: 3, pause: 4, resume: 5 };
const LANES = 3;
/** Steps on the way: the table and the log tell them. */
const MINOR = /^rebuild \S+ is (indexing|catching-up)$/;
/** Time marks bear seconds where the chart spans less. */
const SECONDS_BELOW = 600;

/** What happened, as dashed lines; each is told beside it where there is room. @param {any} plot @param {import("./types.js").Marker[]} all @param {Record<string, string>} ink */
function mark({ ctx, bbox, valToPos }, all, ink) {
  const ratio = devicePixelRatio;
  const end = bbox.left + bbox.width;
  const shown = all.filter(({ text }) => !MINOR.test(text)).map(({ at_us: at, kind, text }) => ({ x: valToPos(at / 1e6, "x", true), weight: WEIGHT[kind] ?? 9, text: brief(text) })).filter(({ x }) => x >= bbox.left && x <= end);
  ctx.save();
  ctx.font = FONT.replace("11px", `${11 * ratio}px`);
  ctx.strokeStyle = ink.text;
  ctx.lineWidth = ratio;
  ctx.setLineDash([3 * ratio, 3 * ratio]);
  for (const { x } of shown) {
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.textAlign = "left";
  /** @type {[number, number][][]} Of each lane, what is taken. */
  const lanes = Array.from({ length: LANES }, () => []);
  for (const { x, text } of shown.sort((a, b) => a.weight - b.weight)) {
    const width = ctx.measureText(text).width;
    const left = x + width + 8 * ratio > end ? x - width - 5 * ratio : x + 5 * ratio;
    const lane = lanes.findIndex((taken) => taken.every(([from, to]) => left + width + 6 * ratio < from || left > to + 6 * ratio));
    if (lane < 0) continue;
    lanes[lane].push([left, left + width]);
    const y = bbox.top + (12 + 15 * lane) * ratio;
    ctx.fillStyle = ink.surface;
    ctx.fillRect(left - 2 * ratio, y - 10 * ratio, width + 4 * ratio, 13 * ratio);
    ctx.fillStyle = ink.text;
    ctx.fillText(text, left, y);
  }
  ctx.restore();
}

/** The page is about one projection: its name says nothing here. @param {string} text */
function brief(text) {
  const short = text.replace(/\brebuild \S+-g(\d+)\b/, "rebuild of g$1").replace(/\b([0-9a-f]{6})[0-9a-f]{6,}\b/g, "$1");
  return short.length > 34 ? `${short.slice(0, 33)}…` : short;
}

/** @param {any} Plot @param {HTMLElement} place @param {{ current: History }} shown */
function draw(Plot, place, shown) {
  const ink = palette(place);
  const axis = { stroke: ink.text, font: FONT, grid: { stroke: ink.line, width: 1 }, ticks: { show: false } };
  const markers = (/** @type {any} */ plot) => mark(plot, shown.current.markers, ink);
  return new Plot({
    width: place.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    padding: [10, 8, 0, 0],
    // Room for what happened, above the curves.
    scales: { y: { range: (/** @type {any} */ _plot, /** @type {number} */ least, /** @type {number} */ most) => Plot.rangeNum(least, most + (most - least) * 0.2, 0.1, true) } },
    axes: [
      { ...axis, grid: { show: false }, space: 90, size: 30, values: (/** @type {any} */ _plot, /** @type {number[]} */ ticks) => ticks.map((tick) => clock(tick * 1e6).slice(-8, ticks[ticks.length - 1] - ticks[0] < SECONDS_BELOW ? undefined : -3)) },
      { ...axis, size: 74, space: 46, values: (/** @type {any} */ _plot, /** @type {number[]} */ ticks) => ticks.map((tick) => number(tick)) },
    ],
    series: [{}, { stroke: ink.end, width: 1.6, pxAlign: 0, points: { show: false } }, { stroke: ink.checkpoint, width: 2, pxAlign: 0, points: { show: false } }],
    bands: [{ series: [1, 2], fill: ink.gap }],
    hooks: { draw: [markers], setCursor: [(/** @type {any} */ plot) => read(plot, place, shown.current)] },
  }, columns(shown.current), place);
}

/** What stands under the pointer. @param {any} plot @param {HTMLElement} place @param {History} history */
function read(plot, place, history) {
  const sample = history.samples[plot.cursor.idx ?? -1];
  const line = place.parentElement?.querySelector(".under");
  if (!line) return;
  line.textContent = sample
    ? `${clock(sample.at_us)}: ${number(sample.lag_events)} events behind (${seconds(sample.lag_seconds)}), ${rate(sample.rate_per_second)}/s, ${sample.state}`
    : "";
}

/** @param {{ history: History, label: string, theme: string }} props */
export function Chart({ history, label, theme }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const shown = useRef(history);
  shown.current = history;
  useEffect(() => {
    let isGone = false;
    const there = /** @type {HTMLElement} */ (place.current);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const renew = async () => {
      const Plot = await library();
      if (isGone) return;
      plot.current?.destroy();
      plot.current = draw(Plot, there, shown);
    };
    const fit = new ResizeObserver(() => plot.current?.setSize({ width: there.clientWidth, height: HEIGHT }));
    renew();
    fit.observe(there);
    dark.addEventListener("change", renew);
    return () => {
      isGone = true;
      fit.disconnect();
      dark.removeEventListener("change", renew);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [theme]);
  useLayoutEffect(() => plot.current?.setData(columns(history)), [history]);
  return html`<div class="chart" role="img" aria-label=${label} ref=${place}></div><p class="under muted" aria-hidden="true"></p>`;
}

/** The chart's figures as a table, newest first, with what happened between them. @param {{ history: History }} props */
export function ChartTable({ history }) {
  const step = Math.max(1, Math.floor(history.samples.length / 120));
  const samples = history.samples.filter((_sample, index) => (history.samples.length - 1 - index) % step === 0);
  const rows = [...samples.map((sample) => ({ at: sample.at_us, sample, text: "" })), ...history.markers.map((marker) => ({ at: marker.at_us, sample: null, text: marker.text }))]
    .sort((a, b) => b.at - a.at);
  return html`<div class="scroll tall"><table class="plain"><thead><tr><th scope="col">Time</th><th scope="col" class="num">End of log</th><th scope="col" class="num">Checkpoint</th><th scope="col" class="num">Events behind</th><th scope="col" class="num">Behind</th><th scope="col" class="num">Events/s</th><th scope="col">State</th></tr></thead>
    <tbody>${rows.map(({ at, sample, text }) => sample
      ? html`<tr><td>${clock(at)}</td><td class="num">${number(sample.end_offset)}</td><td class="num">${number(sample.next_offset)}</td><td class="num">${number(sample.lag_events)}</td><td class="num">${seconds(sample.lag_seconds)}</td><td class="num">${rate(sample.rate_per_second)}</td><td>${sample.state}</td></tr>`
      : html`<tr><td>${clock(at)}</td><td colspan="6"><b>${text}</b></td></tr>`)}</tbody></table></div>`;
}

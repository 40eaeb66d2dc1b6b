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
  return { end: of("end"), checkpoint: of("checkpoint"), gap: of("gap"), line: of("line"), text: of("text") };
}

/** @param {History} history */
function columns(history) {
  const { samples } = history;
  return [samples.map(({ at_us: at }) => at / 1e6), samples.map((sample) => sample.end_offset), samples.map((sample) => sample.next_offset)];
}

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const HEIGHT = 250;

/** @param {any} Plot @param {HTMLElement} place @param {{ current: History }} shown */
function draw(Plot, place, shown) {
  const ink = palette(place);
  const axis = { stroke: ink.text, font: FONT, grid: { stroke: ink.line, width: 1 }, ticks: { show: false } };
  const markers = (/** @type {any} */ plot) => {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.font = FONT.replace("11px", `${11 * ratio}px`);
    ctx.strokeStyle = ink.text;
    ctx.fillStyle = ink.text;
    ctx.lineWidth = ratio;
    ctx.setLineDash([3 * ratio, 3 * ratio]);
    let line = 0;
    for (const { at_us: at, text } of shown.current.markers) {
      const x = plot.valToPos(at / 1e6, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      const label = text.length > 34 ? `${text.slice(0, 33)}…` : text;
      const isRight = x + ctx.measureText(label).width + 8 * ratio > bbox.left + bbox.width;
      ctx.textAlign = isRight ? "right" : "left";
      ctx.fillText(label, x + (isRight ? -5 : 5) * ratio, bbox.top + (12 + 14 * (line % 4)) * ratio);
      line += 1;
    }
    ctx.restore();
  };
  return new Plot({
    width: place.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    padding: [10, 8, 0, 0],
    axes: [
      { ...axis, grid: { show: false }, space: 90, size: 30, values: (/** @type {any} */ _plot, /** @type {number[]} */ ticks) => ticks.map((tick) => clock(tick * 1e6).slice(-8, -3)) },
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

// Polls the JSON API once a second and redraws. Everything that comes from outside goes in as a text node, never as HTML.
"use strict";

const STATES = {
  running: ["●", "ok"], "catching-up": ["◐", "work"], starting: ["◌", "work"], idle: ["○", "idle"],
  stalled: ["▲", "warn"], waiting: ["▲", "warn"], halted: ["✕", "bad"], stopped: ["■", "idle"],
};
const WORST_FIRST = ["halted", "stalled", "waiting", "catching-up", "starting", "running", "idle", "stopped"];
const UNKNOWN = "unknown";

const byId = (id) => document.getElementById(id);
const number = (value) => (value === null || value === undefined ? UNKNOWN : value.toLocaleString("en"));

function seconds(value) {
  if (value === null || value === undefined) return UNKNOWN;
  if (value < 100) return `${value.toFixed(value < 10 && value > 0 ? 1 : 0)} s`;
  const minutes = Math.floor(value / 60);
  return minutes < 120 ? `${minutes} m ${Math.floor(value % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} m`;
}

function element(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return node;
}

const cell = (text, className) => element("td", className, text);
const row = (...cells) => element("tr", "", ...cells);

function wide(columns, className, ...lines) {
  const td = element("td", "", element("div", `reason ${className}`, ...lines.map((line) => element("div", "", line))));
  td.colSpan = columns;
  return element("tr", "why", td);
}

function projectionRows(projection) {
  const [icon, tone] = STATES[projection.state] || ["?", "idle"];
  const rows = [row(
    element("td", "", element("span", `state ${tone}`, `${icon} ${projection.state}`)),
    cell(projection.name),
    cell(seconds(projection.lag_seconds), "num"),
    cell(number(projection.lag_events), "num"),
    cell(number(Math.round(projection.rate_per_second)), "num"),
    element("td", "", element("code", "", `r${projection.revision} · ${projection.plugin_digest.slice(0, 6)}`)),
  )];
  if (projection.halt) {
    const { code, reason, remedy, at } = projection.halt;
    const place = at ? `${at.topic}/${at.partition}@${at.offset}${at.key === null ? "" : `, key ${at.key}`}: ` : "";
    rows.push(wide(6, "halt", `${code}: ${place}${reason}`, `What to do: ${remedy}`));
  } else if (projection.waiting) {
    rows.push(wide(6, "", `Waiting: ${projection.waiting}`));
  }
  return rows;
}

function draw(status, projections, plugins) {
  byId("version").textContent = `laterna ${status.version}`;
  byId("checks").replaceChildren(...status.checks.filter((check) => !check.ok || check.name !== "draining").map((check) => {
    const mark = element("span", check.ok ? "ok" : "bad", check.ok ? "● " : "✕ ");
    return element("span", "", mark, `${check.name}: ${check.detail}`);
  }));
  projections.sort((a, b) => WORST_FIRST.indexOf(a.state) - WORST_FIRST.indexOf(b.state) || a.name.localeCompare(b.name));
  const counts = WORST_FIRST.map((state) => [projections.filter((p) => p.state === state).length, state]);
  const summary = counts.filter(([count]) => count > 0).map(([count, state]) => `${count} ${state}`).join(" · ");
  if (byId("summary").textContent !== summary) byId("summary").textContent = summary;
  const rows = projections.flatMap(projectionRows);
  if (rows.length === 0) {
    rows.push(wide(6, "", "No plugin runs yet. Drop one in; it starts at the beginning of its topics:", element("code", "", `cp MY_PROJECTION.wasm ${status.plugins_dir}/`)));
  }
  byId("projections").replaceChildren(...rows);
  const partitions = projections.flatMap((projection) => projection.partitions.map((partition) => row(
    cell(projection.name), cell(partition.topic), cell(partition.partition, "num"), cell(number(partition.next_offset), "num"),
    cell(number(partition.end_offset), "num"), cell(number(partition.lag_events), "num"), cell(seconds(partition.lag_seconds), "num"),
    cell(number(partition.log_start_offset), "num"), cell(number(partition.retention_margin_events), "num"),
  )));
  byId("partitions-section").hidden = partitions.length === 0;
  byId("partitions").replaceChildren(...partitions);
  byId("rejected-section").hidden = plugins.rejected.length === 0;
  byId("rejected").replaceChildren(...plugins.rejected.map((file) => row(cell(file.file), element("td", "", element("code", "", file.code)), cell(file.reason))));
}

async function json(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

async function poll() {
  try {
    if (!document.hidden) {
      const [status, { projections }, plugins] = await Promise.all(
        [json("../api/v1/status"), json("../api/v1/projections"), json("../api/v1/plugins")]);
      draw(status, projections, plugins);
      byId("connection").hidden = true;
    }
  } catch (error) {
    console.warn(error);
    byId("connection").hidden = false;
  }
  setTimeout(poll, 1000);
}

poll();

// An engine that only pretends: plausible projections whose figures move. Tests change `world` directly; the shapes are those of the engine's JSON.

const SECOND = 1_000_000;
export const nowUs = () => Date.now() * 1000;
const hash = (/** @type {string} */ text) => {
  let value = 0xcbf29ce484222325n;
  let digits = "";
  for (let round = 0; round < 4; round += 1) {
    for (const letter of `${text}${round}`) value = ((value ^ BigInt(letter.codePointAt(0))) * 0x100000001b3n) & 0xffffffffffffffffn;
    digits += value.toString(16).padStart(16, "0");
  }
  return digits;
};

/** Pseudo-random, the same in every run, so that screenshots are. */
export function random(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export class MockProblem extends Error {
  constructor(status, code, detail, subject = null) {
    super(detail);
    Object.assign(this, { status, code, detail, subject });
  }
}

/** One projection with what belongs to it. */
export function projection(name, { state = "running", rate = 900, lag = 3, topic = "orders", partitions = 4, seed = 1, revision = 1, trend } = {}) {
  const next = random(seed);
  const digest = hash(`${name} ${revision}`);
  const parts = Array.from({ length: partitions }, (_, partition) => {
    const start = Math.floor(next() * 2_000) + 11_000;
    const end = start + 76_000 + Math.floor(next() * 6_000);
    const behind = partition === 0 ? lag - Math.floor(lag / partitions) * (partitions - 1) : Math.floor(lag / partitions);
    return { topic, partition, next_offset: end - behind, end_offset: end, log_start_offset: start, lag_events: behind, lag_seconds: 0, retention_margin_events: end - behind - start };
  });
  const noise = Array.from({ length: 60 }, () => 0.1 + next() * 0.9);
  const view = {
    name, generation: 1, revision, plugin_digest: digest, plugin_file: `${name}.wasm`, state, halt: null, waiting: null, lag_events: lag, lag_seconds: lag === 0 ? 0 : 0.2 + next() * 0.3,
    rate_per_second: rate, partitions: parts, desired: "running", reason: null, slo_lag_seconds: 30, eta_seconds: null, trend: trend ?? noise, last_event_at_us: nowUs() - SECOND / 2,
    plan: null, rejected: null, rebuild: null,
    generations: [{ projection: name, number: 1, state: "live", writable: true, stored: true, revision, plugin_digest: digest, descriptor: {}, collect_at_us: null, created_at_us: nowUs() - 7200 * SECOND }],
  };
  const markers = [];
  const rows = Array.from({ length: 8 }, (_, index) => [`o-${String(index + 1).padStart(8, "0")}`, `c-${String(Math.floor(next() * 9999)).padStart(6, "0")}`, index + 1, `${(next() * 900).toFixed(2)}`, index % 3 === 0 ? null : "open"]);
  return {
    view, markers, logs: [{ id: 1, at_us: nowUs() - 60 * SECOND, level: "info", origin: "engine", message: `generation 1 of ${name} is live` }], past: [], samples: history(view, next),
    tables: [{ name: `${name}.orders`, table: "orders", ddl: [`CREATE TABLE "${name}_g1"."orders" ("order_id" text NOT NULL, PRIMARY KEY ("order_id"))`], rows: { columns: ["order_id", "customer_id", "items", "total", "state"], rows } }],
    differences: [], step: null, flow: rate, applied: rate, holdsStill: false,
  };
}

function history(view, next) {
  const samples = [];
  const end = view.partitions.reduce((sum, part) => sum + part.end_offset, 0);
  for (let index = 720; index >= 1; index -= 1) {
    const lag = Math.max(0, Math.round(view.lag_events + Math.sin(index / 20) * 200 + (index > 200 && index < 330 ? (330 - index) * 120 : index <= 200 && index > 120 ? (index - 120) * 195 : 0) + next() * 30));
    const at = end - Math.round(end * 0.7 * (index / 720 + 0.03 * Math.sin(index / 90)));
    samples.push({ at_us: nowUs() - index * 5 * SECOND, end_offset: at, next_offset: at - lag, lag_events: lag, lag_seconds: lag / 900, rate_per_second: view.rate_per_second, state: "running" });
  }
  return samples;
}

export class World {
  constructor() {
    /** @type {Map<string, ReturnType<typeof projection>>} */
    this.projections = new Map();
    this.plugins = [];
    this.audit = [];
    this.status = {
      version: "0.1.0", ready: true, plugins_dir: "/srv/laterna/plugins", role: "operator",
      checks: [{ name: "database", ok: true, detail: "PostgreSQL 17" }, { name: "source", ok: true, detail: "kafka localhost:9092" }, { name: "plugins", ok: true, detail: "/srv/laterna/plugins" }, { name: "draining", ok: true, detail: "no" }],
    };
    /** What is told to whoever listens: `(event, data)`. */
    this.tell = () => {};
    this.rebuildSeconds = 6;
    this.ticks = 0;
  }

  add(name, options) {
    const made = projection(name, { seed: this.projections.size + 7, ...options });
    this.projections.set(name, made);
    const { view } = made;
    this.plugins.push({ file: view.plugin_file, digest: view.plugin_digest, bytes: 412_000, read_at_us: nowUs() - 7200 * SECOND, projection: name, revision: view.revision, language: "rust", compile_seconds: 0.038, running_digest: view.plugin_digest, rejected: null, plan: null });
    return made;
  }

  views() {
    return [...this.projections.values()].map(({ view }) => view);
  }

  find(name) {
    const found = this.projections.get(name);
    if (!found) throw new MockProblem(404, "projection_unknown", `there is no projection ${JSON.stringify(name)}; GET /api/v1/projections lists them`);
    return found;
  }

  changed(name) {
    const found = this.projections.get(name);
    if (found) this.tell("projection", found.view);
  }

  log(name, level, message, origin = "engine") {
    const { logs } = this.find(name);
    logs.push({ id: (logs.at(-1)?.id ?? 0) + 1, at_us: nowUs(), level, origin, message });
  }

  note(action, name, detail = {}, before = {}, after = {}) {
    this.audit.push({ id: this.audit.length + 1, at_us: nowUs(), actor: { name: "local", role: "operator", source: "127.0.0.1:50112" }, action, projection: name, plugin_digest: this.projections.get(name)?.view.plugin_digest ?? null, detail, before, after });
  }

  desire(name, desired) {
    const { view, markers } = this.find(name);
    this.note("desire", name, { desired }, { desired: view.desired }, { desired });
    view.desired = desired;
    view.state = desired === "paused" ? "paused" : "running";
    markers.push({ at_us: nowUs(), kind: desired === "paused" ? "pause" : "resume", text: desired === "paused" ? "paused" : "resumed" });
    this.changed(name);
  }

  restart(name) {
    const { view } = this.find(name);
    view.halt = null;
    view.state = "running";
    this.note("restart", name);
    this.changed(name);
  }

  /** The build that a rebuild is by: the one that runs, or the one that is held back. */
  buildOf(view, build = "live") {
    if (build === "live") return view.plugin_digest;
    if (!view.plan?.held || view.plan.action !== "rebuild") throw new MockProblem(409, "nothing_held", "no build waits for a rebuild");
    return view.plan.to_digest;
  }

  forecast(name, { build } = {}) {
    const { view } = this.find(name);
    const partitions = view.partitions.map((part) => ({ topic: part.topic, partition: part.partition, log_start: part.log_start_offset, log_end: part.end_offset, began: part.log_start_offset }));
    const events = partitions.reduce((sum, part) => sum + part.log_end - part.log_start, 0);
    return { projection: name, plugin_digest: this.buildOf(view, build), running_digest: view.plugin_digest, events, seconds: events / 41_300, tables: ["orders"], partitions, refusal: null };
  }

  rebuild(name, { switch: how = "manual", max_rate = null, force = false, build } = {}) {
    const { view } = this.find(name);
    const digest = this.buildOf(view, build);
    if (view.rebuild && !["switched", "cancelled", "failed"].includes(view.rebuild.state)) {
      throw new MockProblem(409, "rebuild_active", `${view.rebuild.id} is under way; cancel it or wait for it`, view.rebuild.id);
    }
    const generation = Math.max(...view.generations.map(({ number }) => number)) + 1;
    const targets = view.partitions.map((part) => ({ topic: part.topic, partition: part.partition, start: part.log_start_offset, end: part.end_offset }));
    view.rebuild = {
      id: `${name}-g${generation}`, projection: name, generation, from_generation: view.generation, plugin_digest: digest, state: "filling", switch: how, max_rate, forced: force, targets, reason: null,
      created_at_us: nowUs(), updated_at_us: nowUs(), finished_at_us: null, partitions: targets.map(({ end, ...rest }) => ({ ...rest, next_offset: rest.start, target: end })),
      progress_ratio: 0, remaining_events: targets.reduce((sum, { start, end }) => sum + end - start, 0), rate_per_second: 41_300, eta_seconds: this.rebuildSeconds, lag_events: null, halt: null, waiting: null,
    };
    view.generations.push({ ...view.generations[0], number: generation, state: "building", created_at_us: nowUs() });
    this.note("begin_rebuild", name, { switch: how });
    this.changed(name);
    return view.rebuild;
  }

  findRebuild(id) {
    const rebuild = this.views().flatMap(({ rebuild: each, name }) => [each, ...this.find(name).past]).find((each) => each?.id === id);
    if (!rebuild) throw new MockProblem(404, "rebuild_unknown", `there is no rebuild ${id}`);
    return rebuild;
  }

  advance(name, seconds) {
    const { view } = this.find(name);
    const { rebuild } = view;
    if (!rebuild) return;
    if (rebuild.state === "filling") {
      for (const part of rebuild.partitions) part.next_offset = Math.min(part.target, part.next_offset + Math.ceil(((part.target - part.start) * seconds) / (this.rebuildSeconds * (1 + part.partition * 0.2))));
      const whole = rebuild.partitions.reduce((sum, { start, target }) => sum + target - start, 0);
      rebuild.remaining_events = rebuild.partitions.reduce((sum, { next_offset, target }) => sum + target - next_offset, 0);
      rebuild.progress_ratio = 1 - rebuild.remaining_events / whole;
      rebuild.eta_seconds = rebuild.progress_ratio >= 1 ? 0 : (1 - rebuild.progress_ratio) * this.rebuildSeconds * 1.6;
      if (rebuild.remaining_events === 0) this.move(rebuild, rebuild.switch === "auto" ? "switching" : "ready");
    } else if (rebuild.state === "switching") {
      this.swap(name);
    }
  }

  move(rebuild, state) {
    rebuild.state = state;
    rebuild.updated_at_us = nowUs();
    rebuild.lag_events = 2;
    if (["switched", "cancelled", "failed"].includes(state)) {
      rebuild.finished_at_us = nowUs();
      this.find(rebuild.projection).past.unshift(rebuild);
    }
  }

  swap(name) {
    const { view, markers } = this.find(name);
    const { rebuild } = view;
    for (const generation of view.generations) {
      if (generation.number === rebuild.generation) generation.state = "live";
      else if (generation.state === "live") Object.assign(generation, { state: "retired", collect_at_us: nowUs() + 86_400 * SECOND });
    }
    view.generation = rebuild.generation;
    this.move(rebuild, "switched");
    markers.push({ at_us: nowUs(), kind: "swap", text: `generation ${rebuild.generation} live` });
    this.note("swap", name, {}, { generation: rebuild.from_generation }, { generation: rebuild.generation });
    this.changed(name);
  }

  rollback(name) {
    const { view } = this.find(name);
    const warm = view.generations.find(({ state, writable, stored }) => state === "retired" && writable && stored);
    if (!warm) throw new MockProblem(409, "no_warm_generation", "no generation is warm");
    for (const generation of view.generations) if (generation.state === "live") Object.assign(generation, { state: "retired", collect_at_us: nowUs() + 86_400 * SECOND });
    warm.state = "live";
    view.generation = warm.number;
    this.note("rollback", name);
    this.changed(name);
  }

  /** As the engine does it: one that is ready goes on at once, another one once it has caught up. */
  switch(rebuild) {
    if (["switched", "cancelled", "failed"].includes(rebuild.state)) throw new MockProblem(409, "rebuild_state", `rebuild ${rebuild.id} is ${rebuild.state}, and cannot be switched to any more`, rebuild.id);
    const isReady = rebuild.state === "ready";
    const changed = isReady || rebuild.switch === "manual";
    rebuild.switch = "auto";
    if (isReady) this.move(rebuild, "switching");
    this.note("switch", rebuild.projection);
    this.changed(rebuild.projection);
    return { changed, generation: rebuild.generation, rebuild: rebuild.id };
  }

  cancel(id) {
    const rebuild = this.findRebuild(id);
    this.move(rebuild, "cancelled");
    rebuild.reason = "called off";
    const { view } = this.find(rebuild.projection);
    view.generations = view.generations.filter(({ number }) => number !== rebuild.generation);
    this.note("cancel_rebuild", rebuild.projection);
    this.changed(rebuild.projection);
  }

  /** Lets `seconds` pass. */
  tick(seconds) {
    this.ticks += 1;
    for (const [name, made] of this.projections) {
      const { view } = made;
      if (made.holdsStill) continue;
      const isMoving = !["halted", "paused", "stopped", "idle"].includes(view.state);
      const come = view.state === "idle" ? 0 : Math.round(made.flow * seconds * (0.8 + Math.random() * 0.4));
      view.partitions.forEach((part, index) => {
        part.end_offset += Math.floor(come / view.partitions.length);
        const left = view.state === "running" ? Math.floor(Math.random() * 6) * Number(index === 0) : Math.max(0, part.end_offset - part.next_offset - Math.round((made.applied * seconds) / view.partitions.length));
        if (isMoving) part.next_offset = part.end_offset - left;
        part.lag_events = part.end_offset - part.next_offset;
        part.lag_seconds = part.lag_events === 0 ? 0 : made.flow > 0 ? part.lag_events / (made.flow / view.partitions.length) : part.lag_seconds;
        part.retention_margin_events = part.next_offset - part.log_start_offset;
      });
      view.lag_events = view.partitions.reduce((sum, part) => sum + part.lag_events, 0);
      if (view.state === "halted" || view.state === "paused") view.lag_seconds += seconds;
      else view.lag_seconds = view.lag_events === 0 ? 0 : Math.max(...view.partitions.map((part) => part.lag_seconds));
      view.rate_per_second = isMoving ? made.applied * (0.97 + Math.random() * 0.06) : 0;
      if (isMoving) view.last_event_at_us = nowUs();
      this.advance(name, seconds);
      const last = made.samples.at(-1);
      if (nowUs() - last.at_us > 5 * SECOND) {
        const sum = (key) => view.partitions.reduce((total, part) => total + part[key], 0);
        made.samples.push({ at_us: nowUs(), end_offset: sum("end_offset"), next_offset: sum("next_offset"), lag_events: view.lag_events, lag_seconds: view.lag_seconds, rate_per_second: view.rate_per_second, state: view.state });
      }
      this.changed(name);
    }
  }
}

/** The world of the drawing. */
export function sample() {
  const world = new World();
  const falling = (from, to) => Array.from({ length: 60 }, (_, index) => to + (from - to) * ((59 - index) / 59) ** 2);
  const halted = world.add("invoice_totals", { state: "halted", rate: 0, lag: 48_211, topic: "billing", revision: 3, trend: falling(1, 842).map((value, index) => 1 + 841 * (index / 59) ** 1.6 + value * 0) });
  halted.flow = 57;
  Object.assign(halted.view, { lag_seconds: 842, halt: { code: "plugin_trapped", reason: "the plugin trapped in src/lib.rs:88: index out of bounds. Retried 3 times.", remedy: "Put a repaired build into plugins/, or restart to try the event again.", at: { topic: "billing", partition: 2, offset: 91_823, key: "inv-77" } },
    rejected: { file: "invoice_totals.wasm", code: "contract_mismatch", reason: "export apply of laterna:projection@1.1 is missing; build it against the world in wit/" } });
  Object.assign(world.plugins.at(-1), { digest: hash("invoice r4"), revision: 4, rejected: halted.view.rejected });
  halted.logs.push({ id: 2, at_us: nowUs() - 50 * SECOND, level: "error", origin: "engine", message: "halted: plugin_trapped at billing/2@91823" }, { id: 3, at_us: nowUs() - 49 * SECOND, level: "warn", origin: "plugin", message: "line 7 has no amount" });
  const rebuilt = world.add("order_summary", { rate: 950, lag: 12, revision: 2 });
  rebuilt.markers.push({ at_us: nowUs() - 1650 * SECOND, kind: "halt", text: "PostgreSQL away 42 s" }, { at_us: nowUs() - 1000 * SECOND, kind: "reload", text: "build r2 live" });
  rebuilt.view.slo_lag_seconds = 30;
  const lagging = world.add("product_search", { state: "lagging", rate: 2_410, lag: 92_000, topic: "products", partitions: 2, trend: falling(160, 40) });
  Object.assign(lagging, { flow: 2_000, applied: 2_410 });
  Object.assign(lagging.view, { lag_seconds: 38, eta_seconds: 64 });
  world.add("customers", { rate: 950, lag: 3, revision: 7 });
  const held = world.add("daily_sales", { rate: 1_870, lag: 8, revision: 2 });
  held.view.plan = { projection: "daily_sales", from_digest: held.view.plugin_digest, from_revision: 2, to_digest: hash("daily r3"), to_revision: 3, file: "daily_sales.wasm", action: "rebuild", held: true, reasons: ["revision 2 → 3: the plugin says that its rows differ"],
    tables: [{ table: "sales", action: "rebuild", reasons: ["column day: text became date"] }, { table: "totals", action: "keep", reasons: [] }] };
  Object.assign(world.plugins.at(-1), { digest: held.view.plan.to_digest, revision: 3, plan: held.view.plan });
  world.add("products", { rate: 310, lag: 0, topic: "products", partitions: 2, revision: 5 });
  const idle = world.add("refunds", { state: "idle", rate: 0, lag: 0, topic: "refunds", partitions: 1, trend: Array(60).fill(0) });
  Object.assign(idle.view, { last_event_at_us: nowUs() - 3 * 3600 * SECOND, lag_seconds: 0 });
  idle.flow = 0;
  rebuilt.differences = [
    { table: "orders", live_columns: ["order_id", "customer_id", "items", "total"], rebuilt_columns: ["order_id", "customer_id", "items", "total", "currency"], live_rows: 10_112, rebuilt_rows: 10_114, removed: 1, added: 3, changed: 2, comparable: true,
      samples: [{ key: ["o-00000017"], live: ["o-00000017", "c-001204", 3, "129.90"], rebuilt: ["o-00000017", "c-001204", 4, "149.85", "EUR"] }, { key: ["o-00000031"], live: ["o-00000031", "c-000044", 1, "5.00"], rebuilt: null }, { key: ["o-00009999"], live: null, rebuilt: ["o-00009999", "c-000001", 2, "80.00", "EUR"] }] },
    { table: "customers", live_columns: ["customer_id", "orders"], rebuilt_columns: ["customer_id", "orders"], live_rows: 4_980, rebuilt_rows: 4_980, removed: 0, added: 0, changed: 0, comparable: true, samples: [] },
  ];
  for (let index = 0; index < 120; index += 1) world.note(index % 3 ? "deploy" : "desire", index % 2 ? "order_summary" : "daily_sales", { file: "x.wasm" }, { revision: index }, { revision: index + 1 });
  return world;
}

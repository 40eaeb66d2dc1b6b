// Serves the dashboard's own files and the pretended engine's API, with the policy that the real one sets. Counts streams; can go down and come back.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { MockProblem, sample } from "./world.mjs";

const FILES = fileURLToPath(new URL("../../../engine/src/http/ui/", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml" };
export const POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export class Mock {
  constructor({ world = sample(), token = "", prefix = "", tickMs = 250 } = {}) {
    Object.assign(this, { world, token, prefix, tickMs });
    this.streams = new Set();
    this.streamsMost = 0;
    this.streamsOpened = 0;
    /** What is done with a stream: `serve`, `refuse` or `stall`. */
    this.mode = "serve";
    /** @type {string[]} */
    this.requests = [];
    this.eventId = 0;
    this.port = 0;
  }

  get url() {
    return `http://127.0.0.1:${this.port}${this.prefix}/ui/`;
  }

  async start(port = this.port) {
    this.sockets = new Set();
    this.server = createServer((request, response) => this.answer(request, response).catch((error) => this.fail(response, error)));
    this.server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.on("close", () => this.sockets.delete(socket));
    });
    await new Promise((resolve, reject) => this.server.once("error", reject).listen(port, "127.0.0.1", resolve));
    this.port = this.server.address().port;
    this.world.tell = (event, data) => this.send(event, data);
    if (this.tickMs > 0) this.timer = setInterval(() => this.world.tick(this.tickMs / 1000), this.tickMs);
    return this;
  }

  async stop() {
    clearInterval(this.timer);
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  send(event, data) {
    const text = `id: ${(this.eventId += 1)}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
    for (const response of this.streams) response.write(text);
  }

  fail(response, error) {
    const { status = 500, code = "internal", detail = String(error?.stack ?? error), subject = null } = error instanceof MockProblem ? error : {};
    if (response.headersSent) return response.destroy();
    response.writeHead(status, { "Content-Type": "application/problem+json", "Content-Security-Policy": POLICY });
    response.end(JSON.stringify({ type: `urn:laterna:problem:${code}`, title: status === 409 ? "Conflict" : "Refused", status, code, detail, subject }));
  }

  async answer(request, response) {
    const url = new URL(request.url, "http://mock");
    if (!url.pathname.startsWith(this.prefix)) throw new MockProblem(404, "not_found", url.pathname);
    const path = url.pathname.slice(this.prefix.length);
    response.setHeader("Content-Security-Policy", POLICY);
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.setHeader("Cache-Control", "no-store");
    if (path.startsWith("/ui/")) {
      const name = normalize(decodeURIComponent(path.slice(4))) || "index.html";
      const file = name === "." ? "index.html" : name;
      if (file.startsWith("..")) throw new MockProblem(404, "not_found", file);
      const bytes = await readFile(FILES + file).catch(() => { throw new MockProblem(404, "not_found", file); });
      response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" });
      return response.end(bytes);
    }
    if (!path.startsWith("/api/v1/")) throw new MockProblem(404, "not_found", path);
    if (this.token && request.headers.authorization !== `Bearer ${this.token}`) throw new MockProblem(401, "unauthorized", "this engine wants a token");
    this.requests.push(`${request.method} ${path}`);
    if (path === "/api/v1/events") return this.stream(request, response);
    let body = "";
    for await (const chunk of request) body += chunk;
    const [status, value] = this.route(request.method, path.slice("/api/v1/".length).split("/").map(decodeURIComponent), url.searchParams, body ? JSON.parse(body) : {});
    response.writeHead(status, { "Content-Type": "application/json" });
    response.end(value === null ? "" : JSON.stringify(value));
  }

  stream(request, response) {
    if (this.mode === "refuse") throw new MockProblem(404, "not_found", "no events here");
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    if (this.mode === "stall") return;
    this.streams.add(response);
    this.streamsOpened += 1;
    this.streamsMost = Math.max(this.streamsMost, this.streams.size);
    const beat = setInterval(() => response.write(": still here\n\n"), 5000);
    response.on("close", () => (clearInterval(beat), this.streams.delete(response)));
    const { world } = this;
    response.write(`id: ${(this.eventId += 1)}\nevent: hello\ndata: ${JSON.stringify({ projections: world.views(), plugins: this.plugins(), status: world.status })}\n\n`);
  }

  plugins() {
    return { plugins: this.world.plugins, plugins_dir: this.world.status.plugins_dir };
  }

  /** @returns {[number, any]} */
  route(method, [kind, name, verb], params, body) {
    const { world } = this;
    const is = (wanted, ...path) => method === wanted && kind === path[0] && (path.length < 2 ? name === undefined : true) && (path[2] ?? undefined) === verb;
    if (method !== "GET" && world.status.role === "viewer") throw new MockProblem(403, "forbidden", "role viewer may only look");
    if (is("GET", "status")) return [200, world.status];
    if (is("GET", "projections")) return [200, { projections: world.views() }];
    if (is("GET", "plugins")) return [200, this.plugins()];
    if (is("GET", "audit")) {
      const before = Number(params.get("before") ?? Infinity);
      const limit = Number(params.get("limit") ?? 50);
      const all = world.audit.filter((entry) => entry.id < before && (!params.get("projection") || entry.projection === params.get("projection"))).sort((a, b) => b.id - a.id);
      return [200, { entries: all.slice(0, limit), next: all.length > limit ? all[limit - 1].id : null }];
    }
    if (kind === "projections") {
      const made = world.find(name);
      if (is("GET", kind, 1)) return [200, made.view];
      if (is("DELETE", kind, 1)) return world.projections.delete(name), world.note("drop", name), world.tell("gone", { name }), [200, { changed: true }];
      if (is("GET", kind, 1, "history")) return [200, { step_seconds: 5, samples: made.samples.slice(params.get("window") === "6h" ? 0 : -720), markers: made.markers }];
      if (is("GET", kind, 1, "logs")) return [200, { lines: made.logs.filter(({ id }) => id > Number(params.get("after") ?? 0)).slice(-Number(params.get("limit") ?? 100)) }];
      if (is("GET", kind, 1, "tables")) return [200, { tables: made.tables }];
      if (is("GET", kind, 1, "plan")) return [200, made.view.plan ?? { projection: name, from_digest: made.view.plugin_digest, from_revision: made.view.revision, to_digest: made.view.plugin_digest, to_revision: made.view.revision, file: made.view.plugin_file, action: "nothing", held: false, reasons: [], tables: [] }];
      if (is("GET", kind, 1, "rebuilds")) return [200, { rebuilds: [made.view.rebuild, ...made.past].filter((each, index, all) => each && all.indexOf(each) === index) }];
      if (is("PUT", kind, 1, "pause")) return world.desire(name, "paused"), [200, { changed: true }];
      if (is("PUT", kind, 1, "resume")) return world.desire(name, "running"), [200, { changed: true }];
      if (is("POST", kind, 1, "restart")) return world.restart(name), [202, { changed: true }];
      if (is("POST", kind, 1, "deploy")) return (made.view.plan = null), world.note("deploy", name), world.changed(name), [202, { changed: true }];
      if (is("POST", kind, 1, "rollback")) return world.rollback(name), [200, { changed: true }];
      if (is("POST", kind, 1, "rebuilds")) return body.dry_run ? [200, world.forecast(name, body)] : [202, world.rebuild(name, body)];
      if (is("POST", kind, 1, "step")) return [200, made.step ?? step(made.view, body)];
    }
    if (kind === "rebuilds") {
      const rebuild = world.findRebuild(name);
      if (is("GET", kind, 1)) return [200, rebuild];
      if (is("DELETE", kind, 1)) return world.cancel(name), [200, { changed: true }];
      if (is("POST", kind, 1, "switch")) return [202, world.switch(rebuild)];
      if (is("GET", kind, 1, "diff")) return [200, { tables: world.find(rebuild.projection).differences }];
    }
    throw new MockProblem(404, "not_found", `${method} ${[kind, name, verb].join("/")}`);
  }
}

function step(view, body) {
  const lines = body.lines === undefined ? ["{}"] : body.lines.trim().split("\n");
  return { plugin_digest: view.plugin_digest, events: lines.map((line, index) => {
    let event;
    try { event = JSON.parse(line); } catch { throw new MockProblem(422, "bad_line", `line ${index + 1} is no JSON`); }
    return { topic: body.topic, partition: body.partition ?? 0, offset: (body.offset ?? 0) + index, key: event.key ?? null, changes: [{ table: "orders", action: "upsert", key: [event.key ?? "k"], values: { items: 4 } }],
      rows: [{ table: "orders", key: [event.key ?? "k"], before: { order_id: "o-1", items: 3 }, after: { order_id: "o-1", items: 4 } }], fault: null };
  }) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = await new Mock({ token: process.env.MOCK_TOKEN ?? "" }).start(Number(process.argv[2] ?? 8585));
  mock.world.rebuildSeconds = 60;
  console.log(`the pretended engine: ${mock.url}`);
}

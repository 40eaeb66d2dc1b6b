// Hides how the page stays up to date: ONE event stream per browser. Of the visible tabs one leads (a Web Lock says which), reads the stream
// and passes everything on by BroadcastChannel; the others follow. When no tab is visible, nobody leads and the stream is closed. While the stream
// cannot be had, the leader polls; while nothing answers, it tries again with back-off.
import { Problem, read, request, token } from "./api.js";
import { current, merge, put } from "./store.js";

/** @typedef {import("./store.js").Known} Known */
/** @typedef {import("./types.js").ProjectionView} ProjectionView */
/**
 * @typedef {{ kind: "put", changes: Partial<Known> } | { kind: "merge", views: ProjectionView[] } | { kind: "gone", name: string }
 *   | { kind: "ask" }} Message
 */

const HIDDEN_GRACE_MS = 2_000;
const FIRST_BYTE_MAX_MS = 6_000;
/** Heartbeats come more often than this. */
const SILENCE_MAX_MS = 45_000;
const POLL_EVERY_MS = 2_000;
const POLLS_BEFORE_STREAM = 8;
const BACK_OFF_MAX_MS = 8_000;
const GATHER_MS = 200;

const PLACE = new URL(".", import.meta.url).pathname;
/** Tabs with another token see with other rights: they make a group of their own. */
const GROUP = `laterna:${PLACE}:${fingerprint(token.get())}`;

/** @type {BroadcastChannel | null} */
let channel = null;
/** @type {AbortController | null} Ends this tab's candidacy, or its lead. */
let turn = null;
let isLeading = false;
let lastEventId = "";
/** @type {Map<string, ProjectionView>} Not passed on yet. */
const gathered = new Map();
let gathering = 0;

/** Begins, for as long as the page is open. */
export function start() {
  if (typeof BroadcastChannel === "function") {
    channel = new BroadcastChannel(GROUP);
    channel.onmessage = ({ data }) => heard(data);
    channel.postMessage({ kind: "ask" });
  }
  document.addEventListener("visibilitychange", seen);
  addEventListener("pagehide", () => turn?.abort());
  addEventListener("pageshow", seen);
  seen();
  learnRole();
}

/** A stream tells all tabs the same; what this tab may do is its own token's. */
function learnRole() {
  read("status").then(({ role = null }) => put({ role }), () => setTimeout(learnRole, BACK_OFF_MAX_MS));
}

/** Reads everything once, for whoever just changed something while no stream tells. */
export function refresh() {
  if (current().sign !== "live") poll().catch(() => {});
}

function seen() {
  if (document.visibilityState === "hidden") {
    const ending = turn;
    // Between two tabs there is a moment in which neither is visible.
    setTimeout(() => {
      if (document.visibilityState === "hidden") ending?.abort();
    }, HIDDEN_GRACE_MS);
    return;
  }
  if (turn && !turn.signal.aborted) return;
  turn = new AbortController();
  const { signal } = turn;
  // No locks without a secure context: then each visible tab reads a stream of its own.
  const led = navigator.locks ? navigator.locks.request(GROUP, { signal }, () => lead(signal)) : lead(signal);
  led.catch(() => {});
  channel?.postMessage({ kind: "ask" });
}

/** @param {Message} message */
function heard(message) {
  if (message.kind === "ask") {
    const { role: _own, ...changes } = current();
    if (isLeading && changes.projections) channel?.postMessage({ kind: "put", changes });
  } else {
    apply(message);
  }
}

/** @param {Message} message */
function share(message) {
  apply(message);
  channel?.postMessage(message);
}

/** @param {Message} message */
function apply(message) {
  if (message.kind === "put") put(message.changes);
  else if (message.kind === "merge") merge(message.views);
  else if (message.kind === "gone") put({ projections: (current().projections ?? []).filter(({ name }) => name !== message.name) });
}

/** @param {AbortSignal} signal */
async function lead(signal) {
  isLeading = true;
  let failures = 0;
  while (!signal.aborted) {
    const outcome = await stream(signal);
    if (signal.aborted) break;
    failures = outcome === "ended" ? 0 : failures + 1;
    if (outcome === "ended") {
      await pause(100, signal);
    } else if (outcome === "unauthorized") {
      await pause(BACK_OFF_MAX_MS, signal);
    } else if (await answers()) {
      share({ kind: "put", changes: { sign: "polling" } });
      for (let count = 0; count < POLLS_BEFORE_STREAM && !signal.aborted; count += 1) {
        await pause(POLL_EVERY_MS, signal);
        if (!signal.aborted && !(await answers())) break;
      }
    } else {
      share({ kind: "put", changes: { sign: "reconnecting" } });
      await pause(Math.min(BACK_OFF_MAX_MS, 250 * 2 ** failures) * (0.75 + Math.random() / 2), signal);
    }
  }
  isLeading = false;
}

const answers = () => poll().then(() => true, () => false);

async function poll() {
  const [projections, plugins, status] = await Promise.all([read("projections"), read("plugins"), read("status")]);
  const begun = current().sign === "reconnecting" ? { begunAtMs: Date.now() } : {};
  share({ kind: "put", changes: { ...whole({ ...projections, plugins, status }), ...begun } });
}

/** @param {any} all @returns {Partial<Known>} */
function whole({ projections, plugins, status }) {
  return { projections, plugins: plugins.plugins ?? plugins, status, heardAtMs: Date.now() };
}

/** @param {AbortSignal} signal @returns {Promise<"ended" | "refused" | "silent" | "unauthorized">} How a stream came to its end. */
async function stream(signal) {
  const attempt = new AbortController();
  const stop = () => attempt.abort();
  signal.addEventListener("abort", stop);
  let watchdog = setTimeout(stop, FIRST_BYTE_MAX_MS);
  let isWell = false;
  try {
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream" };
    if (lastEventId) headers["Last-Event-ID"] = lastEventId;
    const response = await request("events", { headers, signal: attempt.signal });
    if (!response.body || !response.headers.get("Content-Type")?.startsWith("text/event-stream")) return "refused";
    const parse = parser(receive);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      clearTimeout(watchdog);
      watchdog = setTimeout(stop, SILENCE_MAX_MS);
      parse(value);
      if (!isWell || current().sign !== "live") share({ kind: "put", changes: { sign: "live", heardAtMs: Date.now() } });
      isWell = true;
    }
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return "unauthorized";
    if (!isWell) return error instanceof Problem && error.status === 0 ? "silent" : "refused";
  } finally {
    clearTimeout(watchdog);
    signal.removeEventListener("abort", stop);
    attempt.abort();
  }
  return isWell ? "ended" : "refused";
}

/** @param {string} event @param {string} data @param {string} id */
function receive(event, data, id) {
  if (id) lastEventId = id;
  const value = JSON.parse(data);
  if (event === "projection") {
    gathered.set(value.name, value);
    gathering ||= setTimeout(passOn, GATHER_MS);
    return;
  }
  passOn();
  if (event === "hello") share({ kind: "put", changes: { ...whole(value), begunAtMs: Date.now() } });
  else if (event === "gone") share({ kind: "gone", name: value.name });
  else if (event === "plugins") share({ kind: "put", changes: { plugins: value.plugins ?? value } });
  else if (event === "status") share({ kind: "put", changes: { status: value } });
}

function passOn() {
  clearTimeout(gathering);
  gathering = 0;
  if (gathered.size === 0) return;
  const views = [...gathered.values()];
  gathered.clear();
  share({ kind: "merge", views });
  share({ kind: "put", changes: { heardAtMs: Date.now() } });
}

/**
 * Cuts a stream of text into its events.
 * @param {(event: string, data: string, id: string) => void} receive @returns {(text: string) => void}
 */
export function parser(receive) {
  let rest = "";
  let event = "";
  let id = "";
  /** @type {string[]} */
  let data = [];
  return (text) => {
    const lines = (rest + text).split("\n");
    rest = /** @type {string} */ (lines.pop());
    for (const ended of lines) {
      const line = ended.endsWith("\r") ? ended.slice(0, -1) : ended;
      const [field, value] = line.split(/: ?(.*)/s, 2);
      if (line === "") {
        if (data.length > 0) receive(event || "message", data.join("\n"), id);
        event = "";
        data = [];
      } else if (field === "data") data.push(value ?? "");
      else if (field === "event") event = value ?? "";
      else if (field === "id") id = value ?? "";
    }
  };
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
const pause = (ms, signal) =>
  new Promise((resolve) => {
    const over = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", over);
      resolve();
    };
    const timer = setTimeout(over, ms);
    signal.addEventListener("abort", over);
  });

/** Tells tokens apart without showing them. @param {string} text */
function fingerprint(text) {
  let hash = 0x811c9dc5;
  for (const letter of text) hash = Math.imul(hash ^ /** @type {number} */ (letter.codePointAt(0)), 0x01000193);
  return (hash >>> 0).toString(16);
}

// Hides requests: where the API is, the token, and problems as errors. The address is relative to this file, so any sub-path works.

const BASE = new URL("../api/v1/", import.meta.url);
const TOKEN = `laterna-token:${BASE.pathname}`;
const TIME_MAX_MS = 30_000;
/** For what reads whole tables: as long as the command line waits. */
export const LONG_MS = 30 * 60_000;

/** A refusal, as the engine said it (`application/problem+json`), or that it did not answer. */
export class Problem extends Error {
  /** @param {{ status: number, title: string, code?: string, detail?: string, subject?: string | null }} problem */
  constructor({ status, title, code = "", detail = "", subject = null }) {
    super(detail || title);
    this.name = "Problem";
    Object.assign(this, { status, title, code, detail, subject });
    /** @type {number} 0 where nothing answered. */
    this.status = status;
    /** @type {string} */
    this.title = title;
    /** @type {string} */
    this.code = code;
    /** @type {string} */
    this.detail = detail;
    /** @type {string | null} */
    this.subject = subject;
  }
}

/** This tab's token; gone with the tab. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  /** @param {string} value */
  set(value) {
    if (value) sessionStorage.setItem(TOKEN, value);
    else sessionStorage.removeItem(TOKEN);
  },
};

let unauthorized = () => {};
/** Says what to do when the engine wants a token. @param {() => void} ask */
export const onUnauthorized = (ask) => (unauthorized = ask);

/**
 * @param {string} path Below `/api/v1/`. @param {RequestInit} [options]
 * @returns {Promise<Response>} Only a success.
 */
export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token.get()) headers.set("Authorization", `Bearer ${token.get()}`);
  let response;
  try {
    response = await fetch(new URL(path, BASE), { ...options, headers, cache: "no-store", credentials: "same-origin" });
  } catch (error) {
    if (options.signal?.aborted && options.signal.reason?.name !== "TimeoutError") throw error;
    throw new Problem({ status: 0, title: "no answer", detail: "The engine does not answer. Is it running?" });
  }
  if (response.ok) return response;
  if (response.status === 401) unauthorized();
  let body = /** @type {any} */ ({});
  try {
    body = await response.json();
  } catch {
    // A proxy's page, say: the status has to do.
  }
  const title = String(body.title ?? response.statusText ?? "refused") || `status ${response.status}`;
  throw new Problem({ ...body, status: response.status, title });
}

/** Whole numbers that a double cannot hold stay as they were written. @param {string} _key @param {unknown} value @param {any} context */
const exact = (_key, value, context) =>
  typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "") ? context.source : value;

/** @param {string} path @param {AbortSignal} [signal] @param {number} [atMostMs] @returns {Promise<any>} */
export async function read(path, signal, atMostMs = TIME_MAX_MS) {
  const limit = AbortSignal.timeout(atMostMs);
  const response = await request(path, { signal: signal ? AbortSignal.any([signal, limit]) : limit });
  return JSON.parse(await response.text(), /** @type {any} */ (exact));
}

/**
 * Asks for a change. @param {"PUT" | "POST" | "DELETE"} method @param {string} path @param {unknown} [body]
 * @returns {Promise<any>} What was answered, or null.
 */
export async function order(method, path, body) {
  /** @type {RequestInit} */
  const options = { method, signal: AbortSignal.timeout(TIME_MAX_MS) };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const text = await (await request(path, options)).text();
  return text ? JSON.parse(text, /** @type {any} */ (exact)) : null;
}

/** @param {string} name @param {string} [rest] */
export const ofProjection = (name, rest = "") => `projections/${encodeURIComponent(name)}${rest}`;
/** @param {string} id @param {string} [rest] */
export const ofRebuild = (id, rest = "") => `rebuilds/${encodeURIComponent(id)}${rest}`;

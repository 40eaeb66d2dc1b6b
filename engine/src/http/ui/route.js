// Hides the address: the page's state is the part behind `#`, so that it can be linked, and Back works.
import { useEffect, useState } from "./html.js";

/** @typedef {{ path: string[], params: URLSearchParams }} Route */

/** @returns {Route} */
function read() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { path: path.split("/").filter(Boolean).map(decode), params: new URLSearchParams(query ?? "") };
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {string[]} path @param {Record<string, string | number | null | undefined>} [params] */
export function link(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** @param {string} name @param {Record<string, string | number | null | undefined>} [params] */
export const toProjection = (name, params) => link(["projections", name], params);

/** @param {string} target What `link` gave. */
export function go(target) {
  location.hash = target;
}

/** Changes parameters of the place where we are, without a step for Back. @param {Record<string, string | null>} changes */
export function adjust(changes) {
  const { path, params } = read();
  history.replaceState(null, "", link(path, { ...Object.fromEntries(params), ...changes }));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** @returns {Route} */
export function useRoute() {
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const changed = () => setRoute(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

// The page's frame: head, route, keys, theme, token, and what is said aloud.
import { html, render, useEffect, useRef, useState } from "./html.js";
import { onUnauthorized, token } from "./api.js";
import { Detail } from "./detail.js";
import { clock, look, stateOf } from "./format.js";
import { start } from "./live.js";
import { Overview, useRowKeys } from "./overview.js";
import { Audit, Plugins } from "./pages.js";
import { Dialog, Notices } from "./parts.js";
import { go, link, useRoute } from "./route.js";
import { useKnown } from "./store.js";

/** @typedef {import("./types.js").Status} Status */

const THEMES = /** @type {const} */ (["auto", "light", "dark"]);
const THEME_KEY = "laterna-theme";
const PAGES = [["", "Projections"], ["plugins", "Plugins"], ["audit", "Audit"]];

function Page() {
  const { path, params } = useRoute();
  const [theme, setTheme] = useState(() => localStorage.getItem(THEME_KEY) ?? "auto");
  const [isHelping, setHelping] = useState(false);
  const [isAsked, setAsked] = useState(false);
  const [place, name] = path;
  useEffect(() => onUnauthorized(() => setAsked(true)) && undefined, []);
  useEffect(() => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    localStorage.setItem(THEME_KEY, theme);
  }, [theme]);
  useEffect(() => {
    document.title = name ? `${name} · Laterna` : `${PAGES.find(([key]) => key === (place ?? ""))?.[1] ?? "Laterna"} · Laterna`;
    scrollTo(0, 0);
  }, [place, name]);
  useRowKeys();
  useKeys(path, () => setHelping(true));
  const next = THEMES[(THEMES.indexOf(/** @type {any} */ (theme)) + 1) % THEMES.length];
  return html`<a class="skip" href="#content" onClick=${(/** @type {Event} */ event) => (event.preventDefault(), document.getElementById("content")?.focus())}>To the content</a>
    <header><a class="brand" href=${link([])}><svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.6" aria-hidden="true"><circle cx="6" cy="10" r="4" /><path d="M10 8l8-4v12l-8-4z" fill="currentColor" fill-opacity=".25" /></svg>Laterna</a>
      <nav aria-label="pages">${PAGES.map(([key, label]) => html`<a key=${key} href=${link([key])} aria-current=${key === (place === "projections" ? "" : place ?? "") ? "page" : null}>${label}<${Refused} of=${key} /></a>`)}<a href="../docs/">API</a></nav>
      <div class="sys"><${Checks} /><${Sign} />
        <button type="button" class="quiet" onClick=${() => setTheme(next)} aria-label=${`Colours: ${theme}; change to ${next}`} title=${`Colours: ${theme}`}>${{ auto: "◐", light: "○", dark: "●" }[theme] ?? "◐"}</button>
        <button type="button" class="quiet" onClick=${() => setHelping(true)} aria-label="Keys" title="Keys  ?">?</button></div></header>
    <main id="content" tabindex="-1"><${Trouble} /><${Notices} />
      ${place === "plugins" ? html`<${Plugins} params=${params} />` : place === "audit" ? html`<${Audit} params=${params} />`
        : place === "projections" && name ? html`<${Detail} key=${name} name=${name} params=${params} theme=${theme} />` : html`<${Overview} params=${params} />`}</main>
    <${Foot} /><${Aloud} />
    ${isHelping && html`<${Help} onClose=${() => setHelping(false)} />`}
    ${isAsked && html`<${AskToken} onClose=${() => setAsked(false)} />`}`;
}

/** How many builds on disk are refused, where the eye passes. @param {{ of: string }} props */
function Refused({ of }) {
  const count = useKnown(({ plugins }) => plugins.filter(({ rejected }) => rejected).length);
  if (of !== "plugins" || count === 0) return null;
  return html` <span class="pill bad" title=${`${count} refused`}>${count}<span class="unseen"> refused</span></span>`;
}

function Checks() {
  const status = /** @type {Status | null} */ (useKnown((known) => known.status));
  const isOld = useKnown(({ sign }) => sign === "reconnecting");
  if (!status) return null;
  const shown = status.checks.filter(({ name, ok }) => !ok || name !== "draining");
  return html`${shown.map(({ name, ok, detail }) => html`<span key=${name} class=${isOld ? "dot unknown" : ok ? "dot" : "dot down"} title=${isOld ? "not known while the engine does not answer" : detail}>${name}<span class="unseen">: ${isOld ? "not known" : ok ? "well" : "in trouble"}</span></span>`)}`;
}

const SIGNS = { connecting: "connecting", live: "live", reconnecting: "reconnecting", polling: "polling" };
const HINTS = { connecting: "", live: "by the event stream", reconnecting: "the engine does not answer; tried again with back-off", polling: "the event stream cannot be had; read every two seconds" };

function Sign() {
  const sign = useKnown((known) => known.sign);
  const role = useKnown((known) => known.role);
  return html`<span id="sign" class=${`dot sign ${sign}`} title=${HINTS[sign]}>${SIGNS[sign]}</span>
    ${role && html`<span title="what this page may do">${role}</span>`}`;
}

/** What is wrong with the engine as a whole. */
function Trouble() {
  const { status, sign, heardAtMs } = useKnown((known) => known);
  const down = sign === "reconnecting" ? [] : (status?.checks ?? []).filter(({ ok }) => !ok);
  return html`${sign === "reconnecting" && html`<p class="reason bad banner"><span><b>The engine does not answer.</b> ${heardAtMs ? `The figures are those of ${clock(heardAtMs * 1000)}.` : "Is it running?"} Trying again…</span></p>`}
    ${down.map(({ name, detail }) => html`<p key=${name} class="reason bad banner"><span><b>${name}</b> ${detail}</span></p>`)}`;
}

function Foot() {
  const version = useKnown(({ status }) => status?.version);
  return html`<footer class="muted">${version && `laterna ${version} · `}<a href="../metrics">metrics</a> · <a href="../api/v1/projections">JSON</a> · <a href="../readyz?verbose">readiness</a> · keys: <kbd>?</kbd></footer>`;
}

/** Tells screen readers when a state changes, and nothing else. */
function Aloud() {
  const projections = useKnown((known) => known.projections);
  const before = useRef(/** @type {Map<string, string> | null} */ (null));
  const [text, setText] = useState("");
  useEffect(() => {
    if (!projections) return;
    const now = new Map(projections.map((view) => [view.name, stateOf(view)]));
    const last = before.current;
    before.current = now;
    if (!last) return;
    const calm = new Set(["running", "idle", "catching-up"]);
    const news = [...now].filter(([name, state]) => last.has(name) && last.get(name) !== state && !(calm.has(state) && calm.has(last.get(name) ?? "")));
    if (news.length > 0) setText(news.sort(([, a], [, b]) => look(a).rank - look(b).rank).slice(0, 5).map(([name, state]) => `${name}: ${state}`).join(", "));
  }, [projections]);
  return html`<p class="unseen" role="status" aria-live="polite">${text || null}</p>`;
}

/** @param {{ onClose: () => void }} props */
function AskToken({ onClose }) {
  const [value, setValue] = useState("");
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!value.trim()) return;
    token.set(value.trim());
    location.reload();
  };
  return html`<${Dialog} title="This engine wants a token" onClose=${onClose}><form onSubmit=${submit}>
    <p class="muted">${token.get() ? "The one that this tab has is not taken (any more). " : ""}It stays in this tab and is gone with it. <code>http.tokens</code> in the engine's configuration lists who may look and who may act.</p>
    <label class="field block">Token <input type="password" autocomplete="off" value=${value} onInput=${(/** @type {any} */ event) => setValue(event.target.value)} /></label>
    <div class="buttons"><button type="button" onClick=${onClose}>Not now</button><button class="primary" disabled=${!value.trim()}>Use it</button></div></form></${Dialog}>`;
}

/** @param {{ onClose: () => void }} props */
function Help({ onClose }) {
  const keys = [["/", "filter"], ["j  k  ↓  ↑", "from row to row"], ["Enter", "open"], ["Esc", "close, clear, back"], ["1  2  3", "projections, plugins, audit"], ["?", "this"]];
  return html`<${Dialog} title="Keys" onClose=${onClose}><dl class="facts">${keys.map(([key, what]) => html`<dt><kbd>${key}</kbd></dt><dd>${what}</dd>`)}</dl>
    <div class="buttons"><button type="button" onClick=${onClose}>Close</button></div></${Dialog}>`;
}

/** @param {string[]} path @param {() => void} help */
function useKeys(path, help) {
  const here = useRef(path);
  here.current = path;
  useEffect(() => {
    const pressed = (/** @type {KeyboardEvent} */ event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
      const target = /** @type {HTMLInputElement} */ (event.target);
      const isField = target.matches("input, textarea, select");
      if (event.key === "Escape") {
        if (isField && target.value && target.id === "filter") {
          target.value = "";
          target.dispatchEvent(new Event("input", { bubbles: true }));
        } else if (isField) target.blur();
        else if (here.current.length > 0) go(link([]));
        return;
      }
      if (isField) return;
      const filter = document.getElementById("filter");
      const page = PAGES[Number(event.key) - 1];
      if (event.key === "/" && filter) filter.focus();
      else if (event.key === "?") help();
      else if (page) go(link([page[0]]));
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

render(html`<${Page} />`, /** @type {Element} */ (document.getElementById("page")));
start();

// Renders the OpenAPI document and sends requests by hand. Text nodes only; the token stays in its field and in no storage.

const ANSWER_BYTES_MAX = 256 * 1024;
const STREAM_MS_MAX = 10_000;

/** @param {string} tag @param {Record<string, unknown>} [properties] @param {...(Node | string | null)} children */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "for") element.setAttribute(name, String(value));
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A text whose parts in backquotes are code. */
function prose(text = "") {
  return text.split("`").map((part, index) => (index % 2 ? make("code", { textContent: part }) : part));
}

/** A type in words, with links to what it names. */
function typeOf(schema) {
  if (!schema || Object.keys(schema).length === 0) return ["anything"];
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return [make("a", { href: `#value-${name}`, textContent: name })];
  }
  const several = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (several) {
    const between = schema.allOf ? " and " : " or ";
    return several.flatMap((one, index) => (index ? [between, ...typeOf(one)] : typeOf(one)));
  }
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" or ")];
  const types = [schema.type].flat();
  if (types.includes("array")) return ["list of ", ...typeOf(schema.items), ...(types.includes("null") ? [" or null"] : [])];
  if (schema.properties) return ["object"];
  return [types.join(" or ") + (schema.format ? ` (${schema.format})` : "")];
}

function members(schema) {
  const rows = [];
  for (const part of schema.allOf ?? [schema]) {
    if (part.$ref) rows.push(make("tr", {}, make("td", { colSpan: 3 }, "all of ", ...typeOf(part))));
    const required = new Set(part.required ?? []);
    for (const [name, one] of Object.entries(part.properties ?? {})) {
      const inner = one.oneOf?.find((branch) => branch.description);
      rows.push(make("tr", {}, make("td", {}, make("code", { textContent: name })),
        make("td", {}, ...typeOf(one), required.has(name) ? "" : ", may be absent"),
        make("td", {}, ...prose(one.description ?? inner?.description))));
    }
  }
  return make("table", {}, ...rows);
}

/** Reads at most so much of an answer, and a stream for at most so long. */
async function textOf(response, abort) {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  const timer = setTimeout(() => abort.abort(), STREAM_MS_MAX);
  try {
    while (reader && text.length < ANSWER_BYTES_MAX) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
    }
  } catch (error) {
    if (!abort.signal.aborted) throw error;
    text += "\n(the rest of the stream is not shown)";
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function tryIt(method, path, fields, content) {
  const shown = make("pre", { hidden: true, "aria-live": "polite" });
  const kind = content ? Object.keys(content)[0] : null;
  const body = kind === "application/json"
    ? make("textarea", { value: "{}", "aria-label": "Body as JSON" })
    : kind ? make("input", { type: "file", "aria-label": "File to send" }) : null;
  const send = make("button", { type: "submit", textContent: "Send" });
  const form = make("form", {}, body ? make("h3", { textContent: `Body: ${kind}` }) : null, body, make("p", {}, send), shown);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const changes = method !== "get";
    if (changes && !confirm(`${method.toUpperCase()} ${path}: this changes the running engine. Send it?`)) return;
    const query = new URLSearchParams();
    const headers = new Headers();
    let address = path;
    for (const { parameter, input } of fields) {
      if (parameter.in === "path") address = address.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value === "") continue;
      else if (parameter.in === "query") query.set(parameter.name, input.value);
      else headers.set(parameter.name, input.value);
    }
    const token = document.querySelector("#token").value.trim();
    if (token) headers.set("Authorization", `Bearer ${token}`);
    if (kind) headers.set("Content-Type", kind);
    const abort = new AbortController();
    send.disabled = true;
    shown.hidden = false;
    shown.textContent = "...";
    try {
      const sent = kind === "application/json" ? body.value : body?.files[0];
      const search = query.size ? `?${query}` : "";
      const response = await fetch(`..${address}${search}`, {
        method: method.toUpperCase(), headers, body: kind ? sent : undefined, signal: abort.signal, credentials: "omit",
      });
      shown.className = response.ok ? "" : "bad";
      const place = response.headers.get("Location");
      shown.textContent = `${response.status} ${response.statusText}${place ? `\nLocation: ${place}` : ""}\n\n${await textOf(response, abort)}`;
    } catch (error) {
      shown.className = "bad";
      shown.textContent = `not sent: ${error}`;
    } finally {
      send.disabled = false;
    }
  });
  return form;
}

function operation(method, path, operation, resolve) {
  const fields = (operation.parameters ?? []).map((parameter) => ({
    parameter,
    input: make("input", {
      placeholder: parameter.schema?.example ?? parameter.example ?? "", required: parameter.required === true,
      "aria-label": parameter.name,
    }),
  }));
  const parameters = fields.map(({ parameter, input }) => make("tr", {},
    make("td", {}, make("code", { textContent: parameter.name })), make("td", {}, input),
    make("td", {}, `${parameter.in}; `, ...typeOf(parameter.schema), parameter.description ? `. ${parameter.description}` : "")));
  const responses = Object.entries(operation.responses).map(([status, given]) => {
    const response = resolve(given);
    const schema = Object.values(response.content ?? {})[0]?.schema;
    return make("tr", {}, make("td", {}, make("code", { textContent: status })), make("td", {}, ...(schema ? typeOf(schema) : [])),
      make("td", {}, ...prose(response.description)));
  });
  const content = operation.requestBody?.content;
  const form = tryIt(method, path, fields, content);
  if (parameters.length) form.prepend(make("h3", { textContent: "Asks for" }), make("table", {}, ...parameters));
  const schema = content && Object.values(content)[0]?.schema;
  return make("details", { id: operation.operationId },
    make("summary", {}, make("span", { className: "method", textContent: method.toUpperCase() }),
      make("span", { className: "path", textContent: path }), make("span", { className: "says" }, ...prose(operation.summary)),
      make("span", { className: "role", textContent: operation["x-role"] ?? "anybody" })),
    make("div", { className: "inside" }, operation.description ? make("p", {}, ...prose(operation.description)) : null, form,
      schema?.$ref ? make("p", {}, "The body is ", ...typeOf(schema), ".") : null,
      make("h3", { textContent: "Answers" }), make("table", {}, ...responses)));
}

async function show() {
  const response = await fetch("../openapi.json", { credentials: "omit" });
  if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
  const api = await response.json();
  const resolve = (value) => value.$ref ? value.$ref.slice(2).split("/").reduce((at, name) => at[name], api) : value;
  document.querySelector("#about").replaceChildren(...prose(api.info.description), ` Version ${api.info.version}.`);
  const tags = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const [method, one] of Object.entries(item)) {
      const tag = one.tags?.[0] ?? "others";
      if (!tags.has(tag)) tags.set(tag, []);
      tags.get(tag).push(operation(method, path, one, resolve));
    }
  }
  for (const tag of ["projections", "rebuilds", "plugins", "engine", ...tags.keys()]) {
    if (!tags.has(tag)) continue;
    document.querySelector("#operations").append(make("h2", { textContent: tag[0].toUpperCase() + tag.slice(1) }), ...tags.get(tag));
    tags.delete(tag);
  }
  const values = document.querySelector("#schemas");
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    values.append(make("h3", { id: `value-${name}`, textContent: name }), schema.description ? make("p", {}, ...prose(schema.description)) : "",
      schema.properties || schema.allOf ? members(schema) : make("p", {}, ...typeOf(schema)));
  }
  values.hidden = false;
  if (location.hash) document.querySelector(CSS.escape(location.hash).replace(/^\\#/, "#"))?.scrollIntoView();
}

show().catch((error) => {
  const about = document.querySelector("#about");
  about.className = "bad";
  about.textContent = `The document could not be shown: ${error}`;
});

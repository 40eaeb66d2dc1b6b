import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test } from "node:test";
import { reads, row, stage, until } from "./browser.mjs";
import { sample } from "./mock/world.mjs";

const { open } = stage();
const ATTACKS = ["<img src=x onerror=executed.push(1)>", "</td><script>executed.push(2)</script>", "javascript:executed.push(3)", "\"><svg onload=executed.push(4)>", "{{constructor.constructor('executed.push(5)')()}}"];

/** Every text of a value becomes an attack that still tells where it was, but for the words that the page decides by. */
function poison(value, key = "") {
  const fixed = ["state", "desired", "switch", "level", "action", "id", "projection", "name", "tab"];
  if (Array.isArray(value)) return value.map((each) => poison(each, key));
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, poison(each, name)]));
  return typeof value === "string" && !fixed.includes(key) ? ATTACKS[0] + value : value;
}

function hostile() {
  const world = sample();
  const name = ATTACKS[0];
  const made = world.add(name, { lag: 7 });
  world.rebuildSeconds = 0.1;
  world.rebuild(name, {});
  world.advance(name, 1);
  made.holdsStill = true;
  const { view } = made;
  Object.assign(view, { state: "halted", desired: "paused", reason: ATTACKS[1], waiting: ATTACKS[3], halt: { code: ATTACKS[0], reason: ATTACKS[1], remedy: ATTACKS[2], at: { topic: ATTACKS[3], partition: 0, offset: 1, key: ATTACKS[4] } },
    rejected: { file: ATTACKS[0], code: ATTACKS[1], reason: ATTACKS[3] }, plugin_file: ATTACKS[1], plugin_digest: ATTACKS[0] });
  view.plan = { projection: name, from_digest: ATTACKS[0], from_revision: 1, to_digest: ATTACKS[1], to_revision: 2, file: ATTACKS[2], action: ATTACKS[3], held: true, reasons: ATTACKS, tables: [{ table: ATTACKS[0], action: ATTACKS[1], reasons: ATTACKS }] };
  for (const part of [...view.partitions, ...view.rebuild.partitions]) part.topic = ATTACKS[3];
  Object.assign(view.rebuild, { waiting: ATTACKS[0], plugin_digest: ATTACKS[1] });
  made.past.push({ ...view.rebuild, id: "old", state: "failed", reason: ATTACKS[0], finished_at_us: 1 });
  made.markers.push({ at_us: Date.now() * 1000, kind: "halt", text: ATTACKS[0] });
  made.logs = ATTACKS.map((message, index) => ({ id: index + 1, at_us: 0, level: index ? "info" : ATTACKS[0], origin: ATTACKS[1], message }));
  made.logs.push({ id: 9, at_us: 0, level: "error", origin: ATTACKS[1], message: ATTACKS[0] });
  made.tables = poison(made.tables).map((table) => ({ ...table, name: ATTACKS[0] }));
  made.differences = poison(world.find("order_summary").differences);
  made.step = { plugin_digest: ATTACKS[0], events: [{ topic: ATTACKS[0], partition: 0, offset: 1, key: ATTACKS[1], changes: [{ table: ATTACKS[0], action: ATTACKS[1], key: [ATTACKS[2]], values: { [ATTACKS[0]]: ATTACKS[3] } }], rows: [{ table: ATTACKS[0], key: [ATTACKS[1]], before: { [ATTACKS[0]]: ATTACKS[1] }, after: { [ATTACKS[0]]: ATTACKS[3] } }], fault: ATTACKS[0] }] };
  world.plugins = poison(world.plugins);
  world.plugins.at(-1).projection = name;
  world.note(ATTACKS[0], name, { [ATTACKS[0]]: ATTACKS[1] }, ATTACKS[3], [ATTACKS[4]]);
  Object.assign(world.audit.at(-1), { actor: { name: ATTACKS[0], role: ATTACKS[1], source: ATTACKS[3] }, plugin_digest: ATTACKS[0] });
  Object.assign(world.status, { version: ATTACKS[0], plugins_dir: ATTACKS[1], checks: [{ name: ATTACKS[0], ok: false, detail: ATTACKS[3] }] });
  return { world, name };
}

test("whatever comes from outside stays text, on every page", async () => {
  const { world, name } = hostile();
  const { page, mock } = await open({ world });
  const place = `#/projections/${encodeURIComponent(name)}`;
  const places = ["#/", `#/?filter=${encodeURIComponent(ATTACKS[0])}`, place, `${place}?as=table`, `${place}?tab=rebuilds&diff=${encodeURIComponent(`${name}-g2`)}`, `${place}?tab=tables`, `${place}?tab=logs&level=trace`, `${place}?tab=plugin`, `${place}?tab=step`, "#/plugins", "#/audit", `#/audit?projection=${encodeURIComponent(name)}`, `#/projections/${encodeURIComponent(ATTACKS[1])}`, "#/%E0%A4%A?%"];
  for (const each of places) {
    await page.goto("about:blank");
    await page.goto(mock.url + each);
    await page.locator("main .head, main .card").first().waitFor();
    await page.getByText("Reading…").waitFor({ state: "detached" });
    await page.getByText("Comparing…").waitFor({ state: "detached" });
    if (each.endsWith("tab=step")) {
      await page.getByLabel(/One event a line/).fill("{}");
      await page.getByRole("button", { name: "Step", exact: true }).click();
      await reads(page.locator("section.part"), /onerror/);
    } else if (each.startsWith(place) || each.includes("filter")) await reads(page.locator("main"), /<img src=x onerror/);
    assert.deepEqual(await page.evaluate(() => ({ ran: globalThis.executed, images: document.images.length, scripts: document.scripts.length, styles: document.querySelectorAll("[onerror],[onload],iframe,object,embed").length,
      links: [...document.links].filter((link) => !["http:"].includes(new URL(link.href).protocol)).length })), { ran: [], images: 0, scripts: 1, styles: 0, links: 0 }, each);
  }
});

test("the files keep the strict policy: nothing inline, nothing from elsewhere", async () => {
  const root = new URL("../../engine/src/http/ui/", import.meta.url);
  for (const file of await readdir(root)) {
    if (!/\.(html|js|css)$/.test(file)) continue;
    const text = await readFile(new URL(file, root), "utf8");
    assert.doesNotMatch(text, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySet|\beval\(|new Function|style=|onclick=/, file);
    assert.doesNotMatch(text, /https?:\/\/(?!www\.w3\.org\/2000\/svg)/, file);
  }
});

test("a token is asked for, kept in the tab, sent as a header, never in an address", async () => {
  const { mock, page } = await open({ token: "s3cret" });
  const addresses = [];
  page.on("request", (request) => addresses.push(request.url()));
  const dialog = page.locator("dialog[open]");
  await reads(dialog, /wants a token/);
  await dialog.getByLabel("Token").fill("wrong");
  await dialog.getByRole("button", { name: "Use it" }).click();
  await reads(dialog, /is not taken/);
  await dialog.getByLabel("Token").fill("s3cret");
  await dialog.getByRole("button", { name: "Use it" }).click();
  await row(page, "customers").waitFor();
  await reads(page.locator("#sign"), /^live$/);
  assert.equal(mock.streams.size, 1);
  assert.ok(addresses.every((address) => !address.includes("s3cret")));
  assert.ok(await page.evaluate(() => !JSON.stringify({ ...localStorage }).includes("s3cret") && !document.cookie));
});

test("a viewer looks and does not act", async () => {
  const world = sample();
  world.status.role = "viewer";
  const { page } = await open({ world, hash: "#/projections/invoice_totals" });
  const head = page.locator(".head.detail");
  await until(() => head.getByRole("button", { name: "Pause" }).isDisabled(), "Pause is disabled");
  for (const name of ["Restart", "Rebuild…"]) assert.ok(await head.getByRole("button", { name }).isDisabled(), name);
  assert.match(await head.getByRole("button", { name: "Pause" }).getAttribute("title"), /viewer/);
  await page.goto(page.url().replace(/#.*/, "#/projections/daily_sales?tab=plugin"));
  await until(() => page.getByRole("button", { name: /Apply: / }).isDisabled(), "Apply is disabled");
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { reads, row, stage, until } from "./browser.mjs";

const { open } = stage();
const head = (page) => page.locator(".head.detail");
const dialog = (page) => page.locator("dialog[open]");

test("pause and resume by clicking", async () => {
  const { mock, page } = await open({ hash: "#/projections/customers" });
  await head(page).getByRole("button", { name: "Pause" }).click();
  await reads(head(page), /paused/);
  assert.equal(mock.world.find("customers").view.desired, "paused");
  await head(page).getByRole("button", { name: "Resume" }).click();
  await reads(head(page), /running/);
  assert.ok(mock.requests.includes("PUT /api/v1/projections/customers/resume"));
});

test("rebuild, watch, look at the diff, switch, roll back", async () => {
  const { mock, page } = await open({ hash: "#/projections/order_summary" });
  mock.world.rebuildSeconds = 2;
  await head(page).getByRole("button", { name: "Rebuild…" }).click();
  await reads(dialog(page), /Events\s*3\d\d,\d\d\d.*about.*orders/s);
  await dialog(page).getByLabel("a person decides").check();
  await dialog(page).getByLabel("At most").fill("50000");
  await dialog(page).getByRole("button", { name: "Rebuild", exact: true }).click();
  await page.waitForURL(/tab=rebuilds/);
  const bar = page.getByRole("progressbar", { name: "rebuild of order_summary" });
  await bar.waitFor();
  assert.equal(mock.world.find("order_summary").view.rebuild.max_rate, 50_000);
  assert.equal(await page.getByRole("progressbar").count(), 5);
  await reads(page.locator(".reason.rebuild"), /(caught up|ready); readers still see generation 1/);
  assert.equal(await bar.getAttribute("value"), "1");
  await page.getByRole("link", { name: "Diff" }).click();
  const diff = page.getByRole("region", { name: "Differences" });
  await reads(diff, /orders.*10,112.*10,114.*rows differ, new column currency.*customers.*same rows/s);
  assert.deepEqual(await diff.locator("mark").allTextContents(), ["3", "129.90", "4", "149.85"]);
  await reads(diff, /no such row/);
  await page.getByRole("button", { name: "Switch", exact: true }).click();
  await reads(head(page), /generation 2/);
  await page.getByRole("button", { name: "Roll back" }).click();
  await dialog(page).getByRole("button", { name: "Roll back" }).click();
  await reads(head(page), /generation 1/);
});

test("one that still fills switches by itself once somebody has said so", async () => {
  const { mock, page } = await open({ hash: "#/projections/customers?tab=rebuilds" });
  mock.world.rebuildSeconds = 600;
  mock.world.rebuild("customers", { switch: "manual" });
  const line = page.locator(".reason.rebuild");
  await reads(line, /switched by hand/);
  await line.getByRole("button", { name: "Switch when ready" }).click();
  await reads(line, /switches by itself/);
  assert.equal(mock.world.find("customers").view.rebuild.state, "filling");
  assert.equal(await line.getByRole("button", { name: /^Switch/ }).count(), 0);
});

test("a rebuild is by the build that runs, and by the held one only where that is chosen", async () => {
  const { mock, page } = await open({ hash: "#/projections/daily_sales" });
  mock.world.rebuildSeconds = 600;
  const { view } = mock.world.find("daily_sales");
  await head(page).getByRole("button", { name: "Rebuild…" }).click();
  await reads(dialog(page), /Build\s*[0-9a-f]+ the one that runs/);
  await dialog(page).getByLabel("the one that is held back").check();
  await reads(dialog(page), /held back; [0-9a-f]+ runs/);
  await dialog(page).getByRole("button", { name: "Rebuild", exact: true }).click();
  await until(() => view.rebuild?.plugin_digest === view.plan.to_digest, "it is by the held build");
});

test("of several warm generations the one that was left last is offered", async () => {
  const { page, mock } = await open({ hash: "#/projections/customers?tab=rebuilds" });
  const { view } = mock.world.find("customers");
  const [live] = view.generations;
  const warm = (number, collect) => ({ ...live, number, state: "retired", collect_at_us: live.created_at_us + collect });
  view.generations = [warm(1, 9e9), warm(2, 8e9), { ...live, number: 3 }];
  mock.world.changed("customers");
  await until(async () => (await page.getByText("warm until").count()) === 2, "both are warm");
  assert.equal(await page.getByRole("button", { name: "Roll back" }).count(), 1);
  await page.getByRole("row", { name: /^1 retired/ }).getByRole("button", { name: "Roll back" }).waitFor();
});

test("a rebuild is cancelled only after a question", async () => {
  const { mock, page } = await open();
  mock.world.rebuildSeconds = 600;
  mock.world.rebuild("customers", { switch: "auto" });
  await reads(row(page, "customers"), /rebuilding.*generation 1 → 2.*switches by itself/s);
  await row(page, "customers").getByRole("button", { name: "Cancel" }).click();
  await dialog(page).getByRole("button", { name: "Keep it" }).click();
  assert.equal(mock.world.find("customers").view.rebuild.state, "filling");
  await row(page, "customers").getByRole("button", { name: "Cancel" }).click();
  await dialog(page).getByRole("button", { name: "Cancel the rebuild" }).click();
  await until(() => mock.world.find("customers").view.rebuild.state === "cancelled", "it is cancelled");
  await reads(row(page, "customers"), /running/);
});

test("what the engine refuses is shown with its detail", async () => {
  const { mock, page } = await open({ hash: "#/projections/customers" });
  await head(page).getByRole("button", { name: "Rebuild…" }).click();
  await reads(dialog(page), /Events/);
  mock.world.rebuildSeconds = 600;
  mock.world.rebuild("customers");
  await dialog(page).getByRole("button", { name: "Rebuild", exact: true }).click();
  await reads(dialog(page).getByRole("alert"), /rebuild_active.*customers-g2 is under way/s);
  await page.keyboard.press("Escape");
  mock.world.desire = () => { throw Object.assign(new Error(), { status: 503 }); };
  await head(page).getByRole("button", { name: "Pause" }).click();
  await reads(page.locator(".notices"), /Pause: internal/);
  await page.getByRole("button", { name: "Close" }).click();
  assert.equal(await page.locator(".notices .reason").count(), 0);
});

test("a log that begins later wants to be forced", async () => {
  const { mock, page } = await open({ hash: "#/projections/customers" });
  const { forecast } = mock.world;
  mock.world.forecast = (name) => ({ ...forecast.call(mock.world, name), refusal: "orders/0 begins at 11,478, the projection began at 0: 11,478 events are gone" });
  await head(page).getByRole("button", { name: "Rebuild…" }).click();
  await reads(dialog(page), /11,478 events are gone/);
  const begin = dialog(page).getByRole("button", { name: "Rebuild", exact: true });
  assert.ok(await begin.isDisabled());
  await dialog(page).getByLabel("Rebuild nevertheless").check();
  await begin.click();
  await until(() => mock.world.find("customers").view.rebuild?.forced === true, "it is forced");
});

test("a held plan says why, table by table, and is applied", async () => {
  const { mock, page } = await open({ hash: "#/projections/daily_sales?tab=plugin" });
  await reads(page.locator(".card"), /≠ running.*column day: text became date.*nothing differs/s);
  await page.getByRole("button", { name: "Apply: rebuild" }).click();
  await until(() => mock.world.find("daily_sales").view.plan === null, "it is applied");
  await reads(page.locator(".card"), /the build on disk is what runs/);
});

test("dropping wants the name, and the page says that it is gone", async () => {
  const { mock, page } = await open({ hash: "#/projections/refunds?tab=plugin" });
  const drop = page.getByRole("button", { name: "Drop…" });
  await drop.waitFor();
  assert.ok(await drop.isDisabled(), "not while its file is there");
  const plugin = mock.world.plugins.find(({ projection }) => projection === "refunds");
  Object.assign(plugin, { file: "", digest: null });
  Object.assign(mock.world.find("refunds").view, { desired: "stopped", state: "stopped" });
  mock.send("plugins", mock.plugins());
  mock.world.changed("refunds");
  await drop.click();
  const sure = dialog(page).getByRole("button", { name: "Drop it" });
  assert.ok(await sure.isDisabled());
  await dialog(page).getByRole("textbox").fill("refunds");
  await sure.click();
  await page.waitForURL(/#\/$/);
  await until(async () => (await row(page, "refunds").count()) === 0, "its row is gone");
});

test("step shows changes and rows before and after", async () => {
  const { page } = await open({ hash: "#/projections/order_summary?tab=step" });
  await page.getByLabel(/One event a line/).fill('{"key":"o-1","value":{}}\nno json');
  await page.getByRole("button", { name: "Step", exact: true }).click();
  await reads(page.getByRole("alert"), /bad_line.*line 2/s);
  await page.getByLabel(/One event a line/).fill('{"key":"o-1","value":{}}');
  await page.getByRole("button", { name: "Step", exact: true }).click();
  await reads(page.locator("section.part"), /orders\/0@0.*o-1.*upsert.*before.*3.*after.*4/s);
  assert.deepEqual(await page.locator("mark").allTextContents(), ["4"]);
  const sent = page.waitForRequest(/step$/);
  await page.getByLabel("Another build").setInputFiles({ name: "x.wasm", mimeType: "application/wasm", buffer: Buffer.from([0, 97, 115, 109, 255]) });
  await page.getByRole("button", { name: "Step", exact: true }).click();
  assert.equal((await sent).postDataJSON().build, "AGFzbf8=");
});

test("logs come live and are filtered by level", async () => {
  const { mock, page } = await open({ hash: "#/projections/customers?tab=logs" });
  await reads(page.getByRole("log"), /generation 1 of customers is live/);
  mock.world.log("customers", "debug", "too small to see");
  mock.world.log("customers", "warn", "line 12 has no price", "plugin");
  await reads(page.getByRole("log"), /line 12 has no price/);
  assert.ok(!(await page.getByRole("log").textContent()).includes("too small"));
  await page.getByLabel("Level").selectOption("debug");
  await reads(page.getByRole("log"), /too small to see/);
  await page.getByLabel("Level").selectOption("error");
  await reads(page.getByRole("log"), /Nothing at this level/);
});

test("the chart has a twin of figures, and says where history lives", async () => {
  const { page } = await open({ hash: "#/projections/order_summary" });
  await page.locator(".chart canvas").waitFor();
  assert.match(await page.locator(".chart").getAttribute("aria-label"), /end of log and checkpoint of order_summary, last hour/);
  await reads(page.locator(".foot"), /lives in the engine's memory: it begins when the engine starts/);
  await page.getByRole("link", { name: "as table" }).click();
  await reads(page.locator(".scroll.tall"), /build r2 live/);
  await page.getByRole("link", { name: "6 h" }).click();
  await page.waitForURL(/window=6h/);
});

test("rows, and whole numbers that a double cannot hold", async () => {
  const { page } = await open({ hash: "#/projections/order_summary?tab=tables" });
  await reads(page.locator("section.part"), /order_summary\.orders.*the first 8 rows.*o-00000001/s);
  const exact = await page.evaluate(async () => {
    const { read } = await import("./api.js");
    const real = fetch;
    globalThis.fetch = async () => new Response('{"a": 9007199254740993, "b": -12, "c": 1.5, "d": "9007199254740993"}');
    try { return await read("x"); } finally { globalThis.fetch = real; }
  });
  assert.deepEqual(exact, { a: "9007199254740993", b: -12, c: 1.5, d: "9007199254740993" });
});

test("the audit is paged and can be had for one projection", async () => {
  const { page } = await open({ hash: "#/audit" });
  const rows = page.locator("table.audit tbody tr");
  await until(async () => (await rows.count()) === 50, "one page");
  await page.getByRole("button", { name: "Older" }).click();
  await until(async () => (await rows.count()) === 100, "two pages");
  await page.getByLabel("Projection").selectOption("daily_sales");
  await until(async () => (await page.locator("table.audit tbody td:nth-child(4)").allTextContents()).every((name) => name === "daily_sales"), "only its entries");
});

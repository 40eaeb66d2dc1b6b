// The main journey on a real engine, in one go, and the README's pictures: what a newcomer sees and clicks.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch, reads, row, until, watch } from "../browser.mjs";
import { Engine } from "./engine.mjs";

const IMAGES = fileURLToPath(new URL("../../../docs/images/", import.meta.url));
const SLOW_MS = 60_000;
const isPicturing = !!process.env.LATERNA_IMAGES;
/** For pictures the engine runs longer, so that there is a history to show. */
const QUIET_MS = isPicturing ? 150_000 : 0;

/** @type {Engine} */
let engine;
let browser;
let context;
let page;
let wrongs;
before(async () => {
  engine = await new Engine(process.env.LATERNA_BIN).start();
  browser = await launch();
  context = await browser.newContext({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 2 });
  wrongs = await watch(context);
  page = await context.newPage();
  await page.goto(engine.url);
});
after(async () => {
  await browser?.close();
  await engine?.remove();
  assert.deepEqual(wrongs, [], "nothing went wrong on the page");
});

const head = () => page.locator(".head.detail");
const dialog = () => page.locator("dialog[open]");
const show = (hash) => page.goto(engine.url + hash);
const pass = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** One picture in both colours. */
async function picture(name) {
  if (!isPicturing) return;
  await mkdir(IMAGES, { recursive: true });
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.mouse.move(2, 2);
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    await page.screenshot({ path: `${IMAGES}${name}-${colorScheme}.png` });
  }
  await page.emulateMedia({ colorScheme: "light" });
}

test("the overview is live", async () => {
  await reads(page.locator("#sign"), /^live$/, SLOW_MS);
  for (const name of ["order_summary", "daily_sales", "products"]) await reads(row(page, name), /running|idle/, SLOW_MS);
});

test("checkpoints move while events flow", async () => {
  await show("#/projections/order_summary");
  const sum = async () => (await page.locator("section table tbody td:nth-child(2)").allTextContents()).reduce((total, text) => total + Number(text.replaceAll(",", "")), 0);
  const first = await until(sum, "partitions are shown", SLOW_MS);
  await until(async () => (await sum()) > first, "a checkpoint has moved", SLOW_MS);
  await page.locator(".chart canvas").waitFor({ timeout: SLOW_MS });
});

test("two tabs share one stream, and the other one goes on when the first is closed", async () => {
  const open = new Set();
  context.on("request", (request) => request.url().endsWith("/api/v1/events") && open.add(request));
  for (const end of ["requestfinished", "requestfailed"]) context.on(end, (request) => open.delete(request));
  const tabs = await Promise.all([context.newPage(), context.newPage()]);
  for (const tab of tabs) {
    await tab.goto(`${engine.url}#/`);
    await reads(tab.locator("#sign"), /^live$/, SLOW_MS);
  }
  assert.equal(open.size, 0, "the first tab's stream does for all");
  const figures = () => row(tabs[1], "order_summary").textContent();
  const first = await figures();
  await until(async () => (await figures()) !== first, "the last tab follows", SLOW_MS);
  await page.close();
  page = tabs[0];
  await until(() => open.size === 1, "one of the others leads", SLOW_MS);
  await tabs[1].close();
  await reads(page.locator("#sign"), /^live$/, SLOW_MS);
  await until(() => open.size === 1, "and there is still one", SLOW_MS);
});

test("pause lets lag grow, resume works it off", async () => {
  await pass(QUIET_MS);
  await show("#/projections/order_summary");
  await head().getByRole("button", { name: "Pause" }).click();
  await reads(head(), /paused/, SLOW_MS);
  await show("#/");
  const behind = async () => Number((await row(page, "order_summary").locator("td.num").nth(1).textContent()).replaceAll(",", ""));
  await until(async () => (await behind()) > 500, "lag grows", SLOW_MS);
  await pass(QUIET_MS / 2);
  await row(page, "order_summary").getByRole("button", { name: "Resume" }).click();
  await reads(row(page, "order_summary"), /running|idle|catching up/, SLOW_MS);
  await until(async () => (await behind()) < 500, "lag falls", SLOW_MS);
});

test("a new build takes over while events flow", async () => {
  await pass(QUIET_MS);
  const bytes = await engine.rebuilt("order_summary.wasm", "cancelledtoo many", "withdrawntoo many");
  const before = await row(page, "order_summary").locator("code").first().textContent();
  await engine.drop("order_summary.wasm", bytes);
  await until(async () => (await row(page, "order_summary").locator("code").first().textContent()) !== before, "the row names the new build", SLOW_MS);
  await show("#/projections/order_summary?as=table");
  await reads(page.locator("section, .card").filter({ hasText: "End of log" }), /took over from/, SLOW_MS);
  await reads(page.locator("section, .card").filter({ hasText: "End of log" }), /paused/);
});

test("rebuild, diff, switch", async () => {
  await show("#/projections/order_summary");
  await head().getByRole("button", { name: "Rebuild…" }).click();
  await reads(dialog(), /Events\s*[\d,]+/, SLOW_MS);
  await dialog().getByLabel("a person decides").check();
  await dialog().getByRole("button", { name: "Rebuild", exact: true }).click();
  await page.waitForURL(/tab=rebuilds/);
  await reads(page.locator(".reason.rebuild"), /(caught up|ready); readers still see generation 1/, SLOW_MS);
  await page.getByRole("link", { name: "Diff" }).click();
  const diff = page.getByRole("region", { name: "Differences" });
  // The new build says of old orders what the old one did not: that is what the rebuild is for.
  await reads(diff, /orders.*rows differ.*cancelled.*withdrawn/s, SLOW_MS);
  await reads(diff, /order_items.*same rows/s, SLOW_MS);
  await picture("diff");
  await page.getByRole("button", { name: "Switch", exact: true }).click();
  await reads(head(), /generation 2/, SLOW_MS);
});

test("roll back, and back again", async () => {
  await show("#/projections/order_summary?tab=rebuilds");
  for (const generation of [1, 2]) {
    const back = page.getByRole("row", { name: new RegExp(`^${generation} retired`) }).getByRole("button", { name: "Roll back" });
    await back.click({ timeout: SLOW_MS });
    await dialog().getByRole("button", { name: "Roll back" }).click();
    await reads(head(), new RegExp(`generation ${generation}`), SLOW_MS);
  }
});

test("tables, logs and the audit tell of it", async () => {
  await show("#/projections/order_summary?tab=tables");
  await reads(page.locator("section.part"), /order_id.*o-0000/s, SLOW_MS);
  await show("#/projections/order_summary?tab=logs");
  await reads(page.getByRole("log"), /took over from.*generation 2 is live/s, SLOW_MS);
  await show("#/audit?projection=order_summary");
  await reads(page.locator("table.audit"), /rebuild/, SLOW_MS);
});

test("a rejected build's reason appears, and the old one goes on", async () => {
  await show("#/");
  const undo = await engine.drop("daily_sales.wasm", (await engine.bytes("daily_sales.wasm")).subarray(0, 1000));
  await reads(row(page, "daily_sales"), /daily_sales\.wasm refused.*stays in use/s, SLOW_MS);
  await reads(row(page, "daily_sales"), /running|idle/);
  await show("#/plugins");
  await reads(page.locator("table.plugins"), /refused/);
  await show("#/");
  await engine.spoil("products");
  await reads(row(page, "products"), /halted.*products\/0@\d+.*SKU-0013/s, SLOW_MS);
  await show("#/projections/order_summary");
  await head().getByRole("button", { name: "Rebuild…" }).click();
  await reads(dialog(), /Events\s*[\d,]+/, SLOW_MS);
  await dialog().getByLabel("At most").fill("1000");
  await dialog().getByRole("button", { name: "Rebuild", exact: true }).click();
  await page.waitForURL(/tab=rebuilds/);
  await show("#/");
  await reads(row(page, "order_summary"), /generation 2 → 3.*[1-9] %/s, SLOW_MS);
  await pass(QUIET_MS / 9);
  await picture("overview");
  await show("#/projections/order_summary");
  // The history has begun anew with the engine, and a line needs two samples.
  await page.locator(".chart canvas").waitFor({ timeout: SLOW_MS });
  await picture("projection");
  await show("#/");
  await row(page, "order_summary").getByRole("button", { name: "Cancel" }).click();
  await dialog().getByRole("button", { name: "Cancel the rebuild" }).click();
  await until(async () => !(await row(page, "order_summary").textContent()).includes("→"), "it is called off", SLOW_MS);
  await undo();
  await until(async () => !(await row(page, "daily_sales").textContent()).includes("refused"), "the good build is taken", SLOW_MS);
});

test("a restart of the engine heals, and everything is remembered", async () => {
  await show("#/projections/order_summary");
  await reads(head(), /generation 2/, SLOW_MS);
  await engine.stop("SIGKILL");
  await reads(page.locator("#sign"), /^reconnecting$/, SLOW_MS);
  await engine.start();
  await reads(page.locator("#sign"), /^live$/, SLOW_MS);
  await reads(head(), /generation 2/, SLOW_MS);
  await show("#/");
  await reads(row(page, "products"), /halted.*SKU-0013/s, SLOW_MS);
});

test("with tokens, a viewer looks and an operator acts", async () => {
  const tokens = { viewer: "a-viewer's-token-of-some-length-0", operator: "an-operator's-token-of-some-length" };
  await page.close();
  await engine.stop();
  await engine.start(tokens);
  for (const [role, token] of Object.entries(tokens)) {
    const own = await browser.newContext();
    const wrong = await watch(own);
    const tab = await own.newPage();
    await tab.goto(`${engine.url}#/projections/daily_sales`);
    await tab.getByRole("textbox", { name: "Token" }).fill(token);
    await tab.getByRole("button", { name: "Use it" }).click();
    await reads(tab.locator("header .sys"), new RegExp(`live.*${role}`, "s"), SLOW_MS);
    const pause = tab.locator(".head.detail").getByRole("button", { name: "Pause" });
    await until(async () => (await pause.isEnabled()) === (role === "operator"), `Pause is for operators: ${role}`, SLOW_MS);
    assert.deepEqual(wrong, []);
    await own.close();
  }
});

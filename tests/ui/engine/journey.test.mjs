// The main journey on a real engine, in one go, and the README's pictures: what a newcomer sees and clicks.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch, reads, row, until, watch } from "../browser.mjs";
import { Engine } from "./engine.mjs";

const IMAGES = fileURLToPath(new URL("../../../docs/images/", import.meta.url));
const SLOW_MS = 60_000;

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

/** One picture in both colours. */
async function picture(name) {
  if (!process.env.LATERNA_IMAGES) return;
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

test("pause lets lag grow, resume works it off", async () => {
  await head().getByRole("button", { name: "Pause" }).click();
  await reads(head(), /paused/, SLOW_MS);
  await show("#/");
  const behind = async () => Number((await row(page, "order_summary").locator("td.num").nth(1).textContent()).replaceAll(",", ""));
  await until(async () => (await behind()) > 500, "lag grows", SLOW_MS);
  await row(page, "order_summary").getByRole("button", { name: "Resume" }).click();
  await reads(row(page, "order_summary"), /running|idle|catching up/, SLOW_MS);
  await until(async () => (await behind()) < 500, "lag falls", SLOW_MS);
});

test("rebuild, diff, switch", async () => {
  await show("#/projections/order_summary");
  await head().getByRole("button", { name: "Rebuild…" }).click();
  await reads(dialog(), /Events\s*[\d,]+/, SLOW_MS);
  await dialog().getByLabel("a person decides").check();
  await dialog().getByRole("button", { name: "Rebuild", exact: true }).click();
  await page.waitForURL(/tab=rebuilds/);
  await reads(page.locator(".reason.rebuild"), /caught up; readers still see generation 1/, SLOW_MS);
  await page.getByRole("link", { name: "Diff" }).click();
  const diff = page.getByRole("region", { name: "Differences" });
  await reads(diff, /same rows/, SLOW_MS);
  assert.ok(!(await diff.textContent()).includes("rows differ"), "the same build on the same events makes the same rows");
  await picture("diff");
  await page.getByRole("button", { name: "Switch", exact: true }).click();
  await reads(head(), /generation 2/, SLOW_MS);
  await page.getByRole("button", { name: "Roll back" }).waitFor();
});

test("tables, logs and the audit tell of it", async () => {
  await show("#/projections/order_summary?tab=tables");
  await reads(page.locator("section.part"), /order_id.*o-0000/s, SLOW_MS);
  await show("#/projections/order_summary?tab=logs");
  await reads(page.getByRole("log"), /generation|rebuild|live/i, SLOW_MS);
  await show("#/audit?projection=order_summary");
  await reads(page.locator("table.audit"), /rebuild/, SLOW_MS);
});

test("a restart of the engine heals, and everything is remembered", async () => {
  await show("#/projections/order_summary");
  await engine.stop("SIGKILL");
  await reads(page.locator("#sign"), /^reconnecting$/, SLOW_MS);
  await engine.start();
  await reads(page.locator("#sign"), /^live$/, SLOW_MS);
  await reads(head(), /generation 2/, SLOW_MS);
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
  await reads(row(page, "order_summary"), /generation 2 → 3/, SLOW_MS);
  await picture("overview");
  await show("#/projections/order_summary");
  // The history has begun anew with the engine, and a line needs two samples.
  await page.locator(".chart canvas").waitFor({ timeout: SLOW_MS });
  await picture("projection");
  await undo();
  await show("#/");
  await until(async () => !(await row(page, "daily_sales").textContent()).includes("refused"), "the good build is taken", SLOW_MS);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { reads, row, stage, until } from "./browser.mjs";
import { World, sample } from "./mock/world.mjs";

const { open } = stage();
const names = (page) => page.locator("a.row").allTextContents();

test("worst first, with the reason, the event and the remedy on the row", async () => {
  const { page } = await open();
  await row(page, "invoice_totals").waitFor();
  assert.deepEqual((await names(page)).slice(0, 2), ["invoice_totals", "product_search"]);
  const text = await row(page, "invoice_totals").textContent();
  for (const part of ["halted", "plugin_trapped", "billing/2@91823", "inv-77", "index out of bounds", "Put a repaired build", "contract_mismatch"]) assert.ok(text.includes(part), part);
});

test("lag moves while events flow, and falls after", async () => {
  const { mock, page } = await open();
  const behind = row(page, "customers").locator("td.num").nth(1);
  await reads(behind, /^\d/);
  Object.assign(mock.world.find("customers").view, { state: "catching-up" });
  Object.assign(mock.world.find("customers"), { flow: 40_000, applied: 900 });
  const number = async () => Number((await behind.textContent()).replaceAll(",", ""));
  await until(async () => (await number()) > 20_000, "it falls behind");
  const high = await number();
  Object.assign(mock.world.find("customers"), { flow: 100, applied: 900_000 });
  await until(async () => (await number()) < high / 10, "it catches up");
});

test("a rejected build's reason appears while the page is open, and its state is said aloud", async () => {
  const { mock, page } = await open();
  await row(page, "customers").waitFor();
  const { view } = mock.world.find("customers");
  view.rejected = { file: "customers.wasm", code: "descriptor_invalid", reason: "table customers has no primary key; name one with key(..)" };
  view.state = "stalled";
  mock.world.changed("customers");
  await reads(row(page, "customers"), /customers\.wasm refused.*descriptor_invalid.*has no primary key/s);
  await reads(page.locator("[role=status]"), /customers: stalled/);
});

test("sorting and filtering stand in the address", async () => {
  const { page, show } = await open();
  await row(page, "customers").waitFor();
  await page.getByRole("button", { name: "Events/s" }).click();
  assert.match(page.url(), /sort=rate&order=desc/);
  assert.equal(await page.locator("th[aria-sort]").getAttribute("aria-sort"), "descending");
  assert.equal((await names(page))[0], "product_search");
  await page.keyboard.press("/");
  await page.keyboard.type("sales");
  await until(async () => (await names(page)).join() === "daily_sales", "one row is left");
  const again = await show(page.url().replace(/^[^#]*/, ""));
  await until(async () => (await names(again)).join() === "daily_sales", "the address is enough");
  await page.keyboard.press("Escape");
  await until(async () => (await names(page)).length === 7, "Esc clears the filter");
});

test("nothing moves away from under the pointer", async () => {
  const { mock, page } = await open();
  await row(page, "refunds").waitFor();
  const before = await names(page);
  await row(page, "refunds").hover();
  mock.world.find("refunds").view.state = "stalled";
  mock.world.changed("refunds");
  await reads(row(page, "refunds"), /stalled/);
  assert.deepEqual(await names(page), before);
  await page.mouse.move(5, 5);
  await until(async () => (await names(page)).indexOf("refunds") === 1, "it moves when the pointer has left");
});

test("an empty engine teaches the command", async () => {
  const { page } = await open({ world: new World() });
  await reads(page.locator("pre"), /^cp MY_PROJECTION\.wasm \/srv\/laterna\/plugins\/$/);
});

test("a file of no projection is shown with its reason", async () => {
  const world = sample();
  world.plugins.push({ file: "broken.wasm", digest: null, bytes: 3, read_at_us: null, projection: null, revision: null, language: null, compile_seconds: null, running_digest: null, rejected: { file: "broken.wasm", code: "not_a_plugin", reason: "it is no WebAssembly: its first bytes are 7f454c46" }, plan: null });
  const { page } = await open({ world });
  await reads(page.locator("section"), /broken\.wasm refused.*not_a_plugin.*first bytes/s);
  await page.getByRole("link", { name: /Plugins/ }).click();
  await reads(page.locator("table.plugins"), /broken\.wasm/);
  await reads(page.locator("table.plugins"), /on disk|refused/);
});

test("two hundred projections, huge figures and long names do not hold the page up", async () => {
  const world = new World();
  for (let index = 0; index < 200; index += 1) world.add(`projection_${String(index).padStart(3, "0")}`, { seed: index + 1 });
  const long = world.add(`a_name_${"of_sixty_three_letters_".repeat(2)}end`, {});
  long.holdsStill = true;
  Object.assign(long.view, { lag_events: 9_007_199_254_740_991, lag_seconds: 3e9, rate_per_second: 123_456_789, eta_seconds: 1e9 });
  const { mock, page } = await open({ world });
  await row(page, "projection_199").waitFor();
  // The page's own processor time, so that a busy machine does not count: all 200 rows change with every tick.
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  const busy = async () => (await session.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value;
  const [begin, first] = [await busy(), mock.world.ticks];
  await until(() => mock.world.ticks >= first + 20, "twenty ticks", 30_000);
  const each = ((await busy()) - begin) / (mock.world.ticks - first);
  assert.ok(each < 0.1, `a tick of 200 projections takes ${Math.round(each * 1000)} ms`);
  if (process.env.LATERNA_FIGURES) console.log(`a tick of 200 projections: ${Math.round(each * 1000)} ms`);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing sticks out");
});

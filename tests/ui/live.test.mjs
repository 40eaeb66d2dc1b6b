import assert from "node:assert/strict";
import { test } from "node:test";
import { reads, row, stage, until } from "./browser.mjs";

const { open } = stage();
const sign = (page) => page.locator("#sign");

/** As if the tab were in the background: headless Chromium shows every tab. */
const hide = (page, isHidden) => page.evaluate((hidden) => {
  Object.defineProperty(document, "visibilityState", { configurable: true, get: () => (hidden ? "hidden" : "visible") });
  document.dispatchEvent(new Event("visibilitychange"));
}, isHidden);

test("tabs share one stream, and another leads when the first one closes", async () => {
  const { mock, page, show } = await open();
  await reads(sign(page), /^live$/);
  const others = [await show("#/"), await show("#/projections/customers")];
  for (const other of others) await reads(sign(other), /^live$/);
  mock.world.find("customers").view.state = "stalled";
  mock.world.changed("customers");
  await reads(row(others[0], "customers"), /stalled/);
  await reads(others[1].locator(".head.detail"), /stalled/);
  assert.equal(mock.streamsMost, 1);
  await page.close();
  await until(() => mock.streamsOpened === 2 && mock.streams.size === 1, "another tab leads");
  mock.world.find("customers").view.state = "running";
  mock.world.changed("customers");
  for (const other of others) await reads(other.locator("main"), /customers[\s\S]*running/);
});

test("the stream is closed while every tab is hidden, and opened again", async () => {
  const { mock, page, show } = await open();
  const other = await show("#/");
  await reads(sign(other), /^live$/);
  await hide(page, true);
  await until(() => mock.streams.size === 1 && mock.streamsOpened === 2, "the visible tab leads");
  await hide(other, true);
  await until(() => mock.streams.size === 0, "nobody looks: no stream");
  mock.world.find("customers").view.state = "waiting";
  mock.world.find("customers").view.waiting = "the broker does not answer";
  await hide(page, false);
  await reads(row(page, "customers"), /the broker does not answer/);
  assert.equal(mock.streams.size, 1);
});

test("a restart of the engine heals, and what was read before is read again", async () => {
  const { mock, page } = await open({ hash: "#/projections/customers?tab=logs" });
  await reads(page.getByRole("log"), /is live/);
  await reads(sign(page), /^live$/);
  await mock.stop();
  await reads(sign(page), /^reconnecting$/);
  await reads(page.locator("main"), /The engine does not answer\..*The figures are those of/s);
  mock.world.find("customers").logs = [{ id: 1, at_us: Date.now() * 1000, level: "info", origin: "engine", message: "began anew" }];
  await mock.start(mock.port);
  await reads(sign(page), /^live$/, 15_000);
  await reads(page.getByRole("log"), /began anew/);
  await until(async () => (await page.locator(".banner").count()) === 0, "the banner is gone");
});

test("a stream that ends is opened again without a word", async () => {
  const { mock, page } = await open();
  await reads(sign(page), /^live$/);
  const seen = await page.evaluate(() => {
    globalThis.signs = [];
    new MutationObserver(() => globalThis.signs.push(document.getElementById("sign").textContent)).observe(document.getElementById("sign"), { subtree: true, characterData: true, childList: true });
  });
  assert.equal(seen, undefined);
  for (const stream of mock.streams) stream.end();
  await until(() => mock.streamsOpened === 2, "it is opened again");
  assert.deepEqual(await page.evaluate(() => globalThis.signs), []);
});

for (const mode of ["refuse", "stall"]) {
  test(`without a stream (${mode}) the page polls, and says so`, async () => {
    const { mock, page } = await open();
    await reads(sign(page), /^live$/);
    mock.mode = mode;
    for (const stream of mock.streams) stream.destroy();
    await reads(sign(page), /^polling$/, 15_000);
    mock.world.find("customers").view.state = "stalled";
    await reads(row(page, "customers"), /stalled/);
  });
}

test("events are cut as the standard says", async () => {
  const { page } = await open();
  const events = await page.evaluate(async () => {
    const { parser } = await import("./live.js");
    const seen = [];
    const feed = parser((...event) => seen.push(event));
    for (const letter of ": beat\n\nid: 7\nevent: a\ndata: {\"x\":\ndata: 1}\n\nevent: b\r\ndata:no space\r\n\r\nevent: without data\n\ndata: last: colon\n\n") feed(letter);
    return seen;
  });
  assert.deepEqual(events, [["a", '{"x":\n1}', "7"], ["b", "no space", "7"], ["message", "last: colon", "7"]]);
});

test("under a sub-path everything is found", async () => {
  const { page, mock } = await open({ prefix: "/tools/laterna" });
  await reads(sign(page), /^live$/);
  assert.match(page.url(), /\/tools\/laterna\/ui\//);
  await page.goto(`${mock.url}#/projections/order_summary`);
  await page.locator(".chart canvas").waitFor();
});

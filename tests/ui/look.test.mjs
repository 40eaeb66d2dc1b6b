import assert from "node:assert/strict";
import { test } from "node:test";
import { reads, row, stage, until } from "./browser.mjs";

const { open } = stage();
const PAGES = ["#/", "#/projections/order_summary", "#/projections/order_summary?tab=rebuilds&diff=order_summary-g2", "#/projections/order_summary?tab=tables", "#/projections/invoice_totals?tab=logs", "#/projections/daily_sales?tab=plugin", "#/projections/customers?tab=step", "#/plugins", "#/audit"];

/** Texts whose contrast with what is behind them is below WCAG AA, and things without a name. Runs in the page. */
function faults() {
  const channel = (value) => ((value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return { r, g, b, a }; };
  const over = (top, below) => ({ r: top.r * top.a + below.r * (1 - top.a), g: top.g * top.a + below.g * (1 - top.a), b: top.b * top.a + below.b * (1 - top.a), a: 1 });
  const light = ({ r, g, b }) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.push(parse(getComputedStyle(each).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), { r: 255, g: 255, b: 255, a: 1 });
  };
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const box = element.getBoundingClientRect();
    if (!walker.currentNode.data.trim() || box.width < 2 || box.height < 2 || element.closest(":disabled, noscript, .skip, .unseen")) continue;
    const below = ground(element);
    const [a, b] = [light(over(parse(getComputedStyle(element).color), below)), light(below)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.add(`contrast ${ratio.toFixed(2)}: ${element.tagName}.${element.className} "${walker.currentNode.data.trim().slice(0, 30)}"`);
  }
  for (const each of document.querySelectorAll("button, a, input, select, textarea, progress, [role=img]")) {
    const name = each.getAttribute("aria-label") || each.textContent.trim() || each.labels?.length || each.title;
    if (!name) found.add(`no name: ${each.outerHTML.slice(0, 80)}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) found.add(`wider than the window: ${document.documentElement.scrollWidth} > ${innerWidth}`);
  return [...found];
}

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1280, 820, 360]) {
    test(`${colorScheme}, ${width} px: readable, named, and nothing sticks out`, async () => {
      const { page, mock } = await open({ context: { colorScheme, viewport: { width, height: 800 } } });
      mock.world.rebuildSeconds = 60;
      mock.world.rebuild("order_summary");
      for (const place of PAGES) {
        await page.goto(mock.url + place);
        await page.locator("main .card").first().waitFor();
        await page.getByText("Reading…").waitFor({ state: "detached" });
        assert.deepEqual(await page.evaluate(faults), [], place);
      }
    });
  }
}

test("by keyboard alone: filter, rows, open, back, help", async () => {
  const { page } = await open();
  await row(page, "customers").waitFor();
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  await page.keyboard.press("j");
  assert.equal(await focused(), "invoice_totals");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  const name = await focused();
  const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(ring, "solid", "the focus is seen");
  await page.keyboard.press("Enter");
  await reads(page.locator(".head.detail h1"), new RegExp(name));
  await page.keyboard.press("Escape");
  await row(page, "customers").waitFor();
  await page.keyboard.press("?");
  await reads(page.locator("dialog[open]"), /from row to row/);
  await page.keyboard.press("Escape");
  await until(async () => (await page.locator("dialog[open]").count()) === 0, "Esc closes it");
  await page.keyboard.press("2");
  await reads(page.locator("h1"), /^Plugins$/);
  await page.keyboard.press("1");
  await reads(page.locator("h1"), /^Projections$/);
  await page.keyboard.press("/");
  await page.keyboard.type("j?1");
  assert.equal(await page.locator("#filter").inputValue(), "j?1", "keys are letters in a field");
});

test("the focus goes back to the button when a dialog closes", async () => {
  const { page } = await open({ hash: "#/projections/customers" });
  const button = page.getByRole("button", { name: "Rebuild…" });
  await button.focus();
  await page.keyboard.press("Enter");
  await page.locator("dialog[open]").waitFor();
  await page.keyboard.press("Escape");
  await until(() => page.evaluate(() => document.activeElement.textContent === "Rebuild…"), "the focus is back");
});

test("colours follow the system until somebody chooses, and the choice stays", async () => {
  const { page } = await open({ context: { colorScheme: "dark" } });
  await row(page, "customers").waitFor();
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await page.getByRole("button", { name: /Colours: auto/ }).click();
  await until(async () => (await ground()) !== dark, "light was chosen");
  await page.reload();
  await row(page, "customers").waitFor();
  assert.notEqual(await ground(), dark);
});

test("only state changes are said aloud", async () => {
  const { mock, page } = await open();
  await row(page, "customers").waitFor();
  await page.evaluate(() => {
    globalThis.said = [];
    const place = document.querySelector("[aria-live=polite]");
    new MutationObserver(() => globalThis.said.push(place.textContent)).observe(place, { subtree: true, childList: true, characterData: true });
  });
  const before = mock.eventId;
  await until(() => mock.eventId > before + 30, "figures have moved");
  mock.world.find("customers").view.state = "stalled";
  mock.world.changed("customers");
  await until(async () => (await page.evaluate(() => globalThis.said.length)) > 0, "something is said");
  assert.deepEqual(await page.evaluate(() => globalThis.said), ["customers: stalled"]);
});

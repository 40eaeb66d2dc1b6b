// A real Chromium on the pretended engine, or on a real one. Every page is watched: an error, a refused script or style, or a dialog fails its test.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, afterEach, before } from "node:test";
import { chromium } from "playwright-core";
import { Mock } from "./mock/server.mjs";

const PLACES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export const launch = () => {
  const executablePath = PLACES.find((place) => place && existsSync(place));
  if (!executablePath) throw new Error("no Chromium: tests/ui/run installs it, or set CHROMIUM");
  // As root (in a container) Chromium has no sandbox of its own.
  return chromium.launch({ executablePath, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
};

/** Gathers what must not happen on a page. */
export async function watch(context) {
  const wrongs = [];
  await context.addInitScript(() => {
    globalThis.executed = [];
    document.addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
  });
  context.on("page", (page) => {
    page.setDefaultTimeout(8000);
    page.on("pageerror", (error) => wrongs.push(`error: ${error.message}`));
    page.on("dialog", (dialog) => (wrongs.push(`dialog: ${dialog.message()}`), dialog.dismiss()));
    page.on("console", (message) => {
      // A request that was refused or not answered is no fault of the page.
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) wrongs.push(`console: ${message.text()}`);
    });
  });
  return wrongs;
}

/**
 * One browser for a file of tests; each test gets a pretended engine and a context of its own by `open`.
 * @returns {{ open: (options?: any) => Promise<{ mock: Mock, context: any, page: any, show: (hash?: string) => Promise<any> }> }}
 */
export function stage() {
  let browser;
  let ending = [];
  before(async () => (browser = await launch()));
  after(() => browser?.close());
  afterEach(async () => {
    const last = ending;
    ending = [];
    for (const end of last) await end();
  });
  return {
    async open({ context: wanted = {}, hash = "#/", ...options } = {}) {
      const mock = await new Mock(options).start(0);
      const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...wanted });
      const wrongs = await watch(context);
      ending.push(async () => {
        await context.close();
        await mock.stop();
        assert.deepEqual(wrongs, [], "nothing went wrong on the page");
      });
      const show = async (place = "#/") => {
        const page = await context.newPage();
        await page.goto(mock.url + place);
        return page;
      };
      const page = await show(hash);
      return { mock, context, page, show, wrongs };
    },
  };
}

/** The row group of a projection on the overview. */
export const row = (page, name) => page.locator(`tbody[data-projection="${name}"]`);

/** Waits for a condition, never for time. */
export async function until(condition, what, limitMs = 8000) {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) assert.fail(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The text of an element, once it satisfies. */
export const reads = (locator, pattern, limitMs) => until(async () => pattern.test((await locator.first().textContent().catch(() => "")) ?? ""), `${locator} reads ${pattern}`, limitMs);

// What is vendored is what the packages ship, but for the one change that the table names.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const ours = (name) => readFile(new URL(`../../engine/src/http/ui/vendor/${name}`, import.meta.url), "utf8");
const theirs = (name) => readFile(new URL(`node_modules/${name}`, import.meta.url), "utf8");

const TABLE = [
  ["preact.js", "preact/dist/preact.mjs"],
  ["hooks.js", "preact/hooks/dist/hooks.mjs", (text) => text.replace('from"preact"', 'from"./preact.js"')],
  ["htm.js", "htm/dist/htm.mjs"],
  ["uplot.js", "uplot/dist/uPlot.esm.js"],
  ["uplot.css", "uplot/dist/uPlot.min.css"],
];

for (const [name, origin, change = (text) => text] of TABLE) {
  test(`${name} is ${origin}`, async () => assert.equal(await ours(name), change(await theirs(origin))));
}

test("versions and licences are told", async () => {
  const [readme, licences] = await Promise.all([ours("README.md"), ours("LICENSES.md")]);
  for (const name of ["preact", "htm", "uplot"]) {
    const { version } = JSON.parse(await theirs(`${name}/package.json`));
    assert.match(readme, new RegExp(`${name} ${version.replaceAll(".", "\\.")}`));
    assert.ok(licences.includes((await theirs(`${name}/LICENSE`)).trim()), `${name}'s licence is there`);
  }
});

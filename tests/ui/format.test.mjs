// Figures in words, without a browser.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as format from "../../engine/src/http/ui/format.js";
import { projection } from "./mock/world.mjs";

test("spans have at most two units and never a bare NaN", () => {
  const cases = [[null, "–"], [undefined, "–"], [0, "0 s"], [-1, "0 s"], [0.04, "< 0.1 s"], [0.4, "0.4 s"], [9.96, "10 s"], [59.6, "1 m 00 s"], [842, "14 m 02 s"], [3599.7, "1 h 00 m"], [11_400, "3 h 10 m"], [200_000, "2 d 7 h"], [1e12, "11,574,074 d 1 h"]];
  for (const [value, text] of cases) assert.equal(format.seconds(value), text);
});

test("what is left is told in whole seconds", () => {
  assert.deepEqual([null, 0, 0.2, 7.01, 190].map(format.remaining), ["–", "1 s", "1 s", "8 s", "3 m 10 s"]);
});

test("a live projection's noise is no time left, a rebuild's is", () => {
  const view = { ...projection("a"), lag_events: 30, lag_seconds: 0.1, eta_seconds: 59, rebuild: null };
  assert.equal(format.untilLevel(view), null);
  assert.equal(format.untilLevel({ ...view, lag_seconds: 40 }), 59);
  assert.equal(format.untilLevel({ ...view, rebuild: { state: "filling", eta_seconds: 20 } }), 20);
  assert.equal(format.untilLevel({ ...view, rebuild: { state: "switched", eta_seconds: null } }), null);
});

test("hashes in a text are told by their beginning", () => {
  assert.equal(format.shortened(`{"digest":"${"ab".repeat(32)}","file":"x"}`), '{"digest":"ababab…","file":"x"}');
});

test("numbers are grouped, rates have a decimal only where they are small", () => {
  assert.equal(format.number(9_007_199_254_740_991), "9,007,199,254,740,991");
  assert.deepEqual([0, 0.44, 9.94, 9.96, 950.4].map(format.rate), ["0", "0.4", "9.9", "10", "950"]);
});

test("a rebuild is not done before it is done", () => {
  assert.deepEqual([0, 0.679, 0.9999, 1].map(format.percent), ["0 %", "67 %", "99 %", "100 %"]);
});

test("a trend needs more than noise", () => {
  const flat = Array(60).fill(0.3);
  assert.equal(format.direction(flat, 0.9), "steady");
  assert.equal(format.direction(flat, 40), "rising");
  assert.equal(format.direction(Array(60).fill(100), 20), "falling");
  assert.equal(format.direction([], 4), "unknown");
  assert.equal(format.direction(flat, null), "unknown");
});

test("worst first, and calm within a state", () => {
  const of = (name, options, changes = {}) => Object.assign(projection(name, options).view, changes);
  const views = [of("b", {}), of("idle", { state: "idle", lag: 0 }), of("slow", { state: "lagging" }, { lag_seconds: 60 }), of("slower", { state: "lagging" }, { lag_seconds: 900 }),
    of("halted", { state: "halted" }), of("a", {}, { lag_seconds: 0.9 }), of("rebuilt", {}, { rebuild: { state: "filling" } }), of("done", {}, { rebuild: { state: "switched" } }), of("ready", {}, { rebuild: { state: "ready" } })];
  assert.deepEqual(views.sort(format.worstFirst).map(({ name }) => name), ["halted", "slower", "slow", "ready", "rebuilt", "a", "b", "done", "idle"]);
});

test("values of rows", () => {
  assert.deepEqual([null, "<b>", 4, true, { a: [1] }].map(format.cell), ["null", "<b>", "4", "true", '{"a":[1]}']);
});

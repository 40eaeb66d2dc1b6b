// The JSDoc types of the dashboard's own files hold; what is vendored is not ours to type.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

test("types", () => {
  const folder = fileURLToPath(new URL(".", import.meta.url));
  const { stdout } = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", ".", "--pretty", "false"], { cwd: folder, encoding: "utf8" });
  assert.deepEqual(stdout.split("\n").filter((line) => line && !line.includes("/vendor/") && !line.startsWith(" ")), []);
});

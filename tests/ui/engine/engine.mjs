// A real engine for the journey: `laterna demo` in a folder of its own, which writes events all the time (file source, SQLite); or, with
// tokens, `laterna run` on what a demo has left.
import { spawn } from "node:child_process";
import { appendFile, copyFile, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const START_MAX_MS = 60_000;

export class Engine {
  /** @param {string} binary @param {{ rate?: number }} [options] */
  constructor(binary, { rate = 300 } = {}) {
    Object.assign(this, { binary, rate, address: "127.0.0.1:0", said: "" });
  }

  /** @param {{ viewer: string, operator: string } | null} [tokens] */
  async start(tokens = null) {
    this.folder ??= await mkdtemp(join(tmpdir(), "laterna-ui-"));
    const settings = { source: "file", plugins_dir: "plugins", "file.dir": "events", cache_dir: "cache", "database.url": "sqlite://laterna-demo.db", "http.listen": this.address };
    const run = ["run", ...Object.entries(settings).flatMap(([key, value]) => ["--set", `${key}=${value}`])];
    const args = tokens ? run : ["demo", "--dir", this.folder, "--listen", this.address, "--rate", String(this.rate)];
    const env = tokens ? { ...process.env, LATERNA_VIEWER_TOKEN: tokens.viewer, LATERNA_OPERATOR_TOKEN: tokens.operator } : process.env;
    this.process = spawn(this.binary, args, { stdio: ["ignore", "pipe", "pipe"], cwd: this.folder, env });
    this.ended = new Promise((resolve) => this.process.once("exit", resolve));
    const url = new Promise((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error(`no address within ${START_MAX_MS} ms:\n${this.said}`)), START_MAX_MS);
      const heard = (chunk) => {
        this.said = (this.said + chunk).slice(-20_000);
        const found = this.said.match(/http:\/\/([\d.]+:\d+)\/ui\//);
        if (found) resolve((clearTimeout(limit), found));
      };
      this.process.stdout.on("data", heard);
      this.process.stderr.on("data", heard);
      this.ended.then((code) => reject(new Error(`it ended with ${code}:\n${this.said}`)));
    });
    const [address, host] = await url;
    // A second start is at the same place, so that an open page finds it again.
    Object.assign(this, { url: address, address: host, said: "" });
    return this;
  }

  /** @param {NodeJS.Signals} [signal] */
  async stop(signal = "SIGTERM") {
    this.process.kill(signal);
    await this.ended;
  }

  async remove() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.stop("SIGKILL");
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Puts bytes into `plugins/`, whole or not at all; gives back what undoes it. @param {string} file @param {Uint8Array} bytes */
  async drop(file, bytes) {
    const place = join(this.folder, "plugins", file);
    const before = join(this.folder, `${file}.before`);
    await copyFile(place, before).catch(() => {});
    await writeFile(join(this.folder, file), bytes);
    await rename(join(this.folder, file), place);
    return () => rename(before, place);
  }

  /** @param {string} file */
  bytes(file) {
    return readFile(join(this.folder, "plugins", file));
  }

  /** Another build of a plugin: the same but for one word of its data, of the same length. @param {string} file @param {string} word @param {string} other */
  async rebuilt(file, word, other) {
    const bytes = await this.bytes(file);
    const at = bytes.indexOf(word);
    if (at < 0 || bytes.indexOf(word, at + 1) >= 0 || other.length !== word.length) throw new Error(`${file} must hold ${word} once, and ${other} be as long`);
    bytes.write(other, at, "latin1");
    return bytes;
  }

  /** Appends an event that no plugin can make sense of. @param {string} topic */
  spoil(topic) {
    return appendFile(join(this.folder, "events", topic, "0.jsonl"), `${JSON.stringify({ key: "SKU-0013", timestamp: Date.now(), value: { type: "product.created", sku: 13 } })}\n`);
  }
}

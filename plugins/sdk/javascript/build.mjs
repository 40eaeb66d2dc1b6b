#!/usr/bin/env node
// Builds a projection: `node build.mjs SOURCE OUTPUT.wasm [--dev]`. Checks types where there is a tsconfig.json, bundles with esbuild, and makes
// a component with componentize-qjs, whose QuickJS runs the file once, so that tables are declared when the plugin is loaded.
//
// With --dev it takes the smaller QuickJS, which is built and compiled a quarter sooner and runs slower: for `laterna dev`.
//
// The tools are those beside the project (npm install), or else those on PATH. The bundle is not minified, and each of its lines keeps
// the place that it came from, so that an error in the sandbox is told as file:line of the source.

import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));

class Failure extends Error {}

/** A tool of the project's own, else the one that a program on PATH belongs to; else the project's tools are installed first. */
function tool(name, program = name, install = existsSync('package.json')) {
  const places = [path.resolve('package.json')];
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    const link = path.join(folder, program);
    if (path.basename(folder) === '.bin' && existsSync(link)) places.push(realpathSync(link));
  }
  for (const place of places) {
    try {
      return createRequire(place).resolve(name);
    } catch {
      // Not here.
    }
  }
  if (install) {
    console.error(`${name} is not installed: running npm install`);
    const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
    spawnSync(npm, ['install', '--no-audit', '--no-fund'], { stdio: 'inherit', shell: process.platform === 'win32' });
    return tool(name, program, false);
  }
  throw new Failure(`${name} is not installed: run \`npm install\` in ${process.cwd()}`);
}

const load = async (name, program) => {
  const { default: whole, ...named } = await import(tool(name, program));
  return { ...whole, ...named };
};

async function bundle(source) {
  const esbuild = await load('esbuild');
  const result = await esbuild.build({
    entryPoints: [source],
    bundle: true,
    format: 'esm',
    target: 'es2023',
    conditions: ['laterna'],
    external: ['laterna:*'],
    alias: { laterna: path.join(here, 'src/laterna.js') },
    keepNames: false,
    sourcemap: 'external',
    outfile: 'plugin.js',
    write: false,
    logLevel: 'silent',
    absWorkingDir: process.cwd(),
  });
  const [map, code] = ['.map', '.js'].map((end) => result.outputFiles.find((file) => file.path.endsWith(end)).text);
  const [sources, places] = lines(JSON.parse(map));
  return { code: `${code}\nglobalThis.laternaLines = ${JSON.stringify([sources, places])};\n`, sources, places: places.split(' ') };
}

/** Words about the bundle as words about the author's files; what happened in the SDK is left out. */
function inSources(message, { sources, places }) {
  const translated = message.split('\n').map((line) => {
    const [whole, number] = /componentize-qjs:user\.js:(\d+)(?::\d+)?/.exec(line) ?? [];
    const [source, at] = places[number - 1]?.split(':') ?? [];
    return whole === undefined ? line : at ? line.replace(whole, `${sources[source]}:${at}`) : undefined;
  });
  return translated.filter((line) => line !== undefined).join('\n');
}

/** Of a source map: for each line of the bundle the first place that it came from. The SDK's own lines have none. */
function lines({ sources, mappings }) {
  const own = sources.map((source) => path.resolve(source).startsWith(path.join(here, 'src') + path.sep));
  let [source, line] = [0, 0];
  const places = mappings.split(';').map((segments) => {
    let place = '';
    for (const segment of segments.split(',')) {
      const [, bySource, byLine] = numbers(segment);
      if (bySource === undefined) continue;
      source += bySource;
      line += byLine;
      if (!place && !own[source]) place = `${source}:${line + 1}`;
    }
    return place;
  });
  return [sources, places.join(' ')];
}

/** The numbers of one segment: base 64, five bits a digit, the lowest bit of a number is its sign. */
function numbers(segment) {
  const found = [];
  let [value, shift] = [0, 0];
  for (const character of segment) {
    const digit = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'.indexOf(character);
    value |= (digit & 31) << shift;
    shift += 5;
    if (digit & 32) continue;
    found.push(value & 1 ? -(value >> 1) : value >> 1);
    [value, shift] = [0, 0];
  }
  return found;
}

/** What the compiler says, where the project has types to check. */
function types() {
  if (!existsSync('tsconfig.json')) return '';
  const compiler = path.join(path.dirname(tool('typescript/package.json', 'tsc')), 'bin/tsc');
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [compiler, '--noEmit', '--pretty', 'false'], (error, stdout, stderr) => (error ? reject(new Failure(stdout + stderr)) : resolve('')));
  });
}

async function build(source, output, isDev) {
  // Beside each other: a project has two cores more often than not.
  const checked = Promise.resolve().then(types);
  checked.catch(() => {});
  const bundled = await bundle(source);
  const { componentize } = await load('componentize-qjs');
  mkdirSync(path.dirname(path.resolve(output)), { recursive: true });
  const made = componentize({ witPath: path.join(here, 'wit'), world: 'projection', jsSource: bundled.code, sync: true, disableGc: true, optSize: isDev });
  made.catch(() => {});
  await checked;
  try {
    writeFileSync(output, (await made).component);
  } catch (error) {
    throw new Failure(inSources(error.message.replace(/^.*JavaScript module evaluation: /, ''), bundled));
  }
}

const [source, output, flag, ...rest] = process.argv.slice(2);
if (source === undefined || output === undefined || (flag ?? '--dev') !== '--dev' || rest.length > 0) {
  console.error('usage: node build.mjs SOURCE OUTPUT.wasm [--dev]');
  process.exit(2);
}
try {
  await build(source, output, flag === '--dev');
} catch (error) {
  const isKnown = error instanceof Failure || error?.errors !== undefined; // esbuild's
  console.error(isKnown ? error.message : error);
  process.exitCode = 1;
}

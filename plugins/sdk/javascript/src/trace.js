// Where an error was thrown, in the author's files.
//
// `build.mjs` ends the bundle with `laternaLines`: for each of its lines the source and line that it was made of, as
// [sources, "source:line source:line .."], because QuickJS knows the bundle only.

const FRAME = /^\s*at (?:(.*?) \()?componentize-qjs:user\.js:(\d+)(?::\d+)?\)?$/;

/** The error in one line: what, where, and who called it. */
export function where(error) {
  if (!(error instanceof Error)) return `${String(error)} was thrown, which is no Error`;
  const lines = globalThis.laternaLines;
  const frames = lines && typeof error.stack === 'string' ? framesOf(error.stack, ...lines) : [];
  return `${error.name}: ${error.message}${frames.length > 0 ? ` (${frames.slice(0, 4).join(' <- ')})` : ''}`;
}

function framesOf(stack, sources, places) {
  const of = places.split(' ');
  const frames = [];
  for (const line of stack.split('\n')) {
    const [, name, number] = FRAME.exec(line) ?? [];
    const [source, at] = of[number - 1]?.split(':') ?? [];
    // The SDK's own lines have no place.
    if (at) frames.push(`${sources[source]}:${at}${name && name !== '<anonymous>' ? ` in ${name}` : ''}`);
  }
  return frames;
}

// What a projection makes of an event, for its author's tests: on Node alone, in names instead of numbers.

/** An event of the projection's first topic, through `apply`. */
export function outcomeOf({ describe, apply }, { topic, partition = 0, offset = 0, timestamp = -1, key, value, headers = {} } = {}) {
  const descriptor = describe();
  const name = topic ?? descriptor.topics[0].name;
  const wanted = descriptor.topics.find((topic) => topic.name === name);
  if (!wanted) throw new TypeError(`the projection reads no topic ${name}`);
  const records = Object.entries(headers).filter(([name]) => wanted.headers.includes(name));
  const event = {
    offset,
    timestampMs: timestamp,
    key: payload(key, wanted.key),
    value: payload(value, wanted.value),
    headers: records.map(([name, value]) => ({ name, value: payload(value, 'text') })),
  };
  const [outcome] = apply({ topic: name, partition, events: [event] });
  if (outcome.tag !== 'changes') return { [outcome.tag]: outcome.val };
  return { changes: outcome.val.map((change) => named(descriptor, change)) };
}

function payload(value, encoding) {
  if (value === undefined || value === null) return null;
  const bytes = value instanceof Uint8Array ? value : new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
  if (encoding === 'bytes') return { tag: 'bytes', val: bytes };
  try {
    return { tag: 'text', val: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { tag: 'bytes', val: bytes };
  }
}

function named({ tables, shapes }, { shape, values }) {
  const { table, action } = shapes[shape];
  const { primaryKey } = tables.find(({ name }) => name === table);
  const assigned = { upsert: (all) => all.map(({ column }) => column), update: (all) => all.map(({ column }) => column), insert: (all) => all };
  const columns = action.tag === 'delete-prefix' ? primaryKey.slice(0, action.val) : [...primaryKey, ...(assigned[action.tag]?.(action.val) ?? [])];
  return { table, action: action.tag, row: Object.fromEntries(columns.map((column, i) => [column, values[i].tag === 'null' ? null : values[i].val])) };
}

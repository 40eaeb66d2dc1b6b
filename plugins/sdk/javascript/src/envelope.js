// What stands around an event's data: CloudEvents and Debezium's changes, as models for `event.json(..)`.
//
// Where the projection's `format` is "cloudevents" or "debezium", the engine hands every event over as one JSON text, however it was
// written, and has checked what every reader needs. In here is only its shape.

import { integer, json, nullable, object, text } from './types.js';

/** A CloudEvent with such data. */
export const cloudEvent = (data = json) =>
  object({ type: text, source: text, id: text, subject: nullable(text), time: nullable(text), data: nullable(data), data_base64: nullable(text) });

const source = object({ ts_ms: nullable(integer), db: nullable(text), schema: nullable(text), table: nullable(text) });

/** A change that Debezium saw, of such rows. */
export const rowChange = (row = json) => object({ op: text, before: nullable(row), after: nullable(row), source: nullable(source) });

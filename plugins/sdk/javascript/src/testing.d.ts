import type { Plugin } from './laterna.js';

/** An event as a test writes it: an object as `value` stands for its JSON. Without `value` it is a tombstone. */
export interface TestEvent {
  topic?: string;
  partition?: number;
  offset?: number;
  /** Milliseconds since 1970. */
  timestamp?: number;
  key?: string | Uint8Array | null;
  value?: string | Uint8Array | object | null;
  headers?: Record<string, string | Uint8Array | null>;
}
/** One row operation by its names. Values are the contract's: decimals as text, instants in microseconds, days since 1970. */
export interface TestChange {
  table: string;
  action: 'upsert' | 'update' | 'insert' | 'delete' | 'delete-prefix';
  row: Record<string, unknown>;
}
/** What the projection makes of the event. */
export declare function outcomeOf(plugin: Plugin, event?: TestEvent): { changes?: TestChange[]; reject?: string; halt?: string };

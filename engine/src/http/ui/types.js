// What the API's JSON looks like: the serde form of `control/view.rs`, `runner/status.rs` and `sink/registry.rs`. Types only.

/** @typedef {{ code: string, reason: string, remedy: string, at: { topic: string, partition: number, offset: number, key: string | null } | null }} Halt */
/**
 * @typedef {object} PartitionStatus
 * @property {string} topic
 * @property {number} partition
 * @property {number} next_offset
 * @property {number | null} end_offset
 * @property {number | null} log_start_offset
 * @property {number | null} lag_events
 * @property {number | null} lag_seconds
 * @property {number | null} retention_margin_events
 */
/** @typedef {{ projection: string, number: number, state: string, writable: boolean, stored: boolean, revision: number, plugin_digest: string, collect_at_us: number | null, created_at_us: number }} GenerationRecord */
/** @typedef {{ table: string, action: string, reasons: string[] }} TablePlan */
/** @typedef {{ projection: string, from_digest: string | null, from_revision: number | null, to_digest: string, to_revision: number, file: string, action: string, held: boolean, reasons: string[], tables: TablePlan[] }} Plan */
/** @typedef {{ file: string, code: string, reason: string }} RejectedPlugin */
/** @typedef {{ topic: string, partition: number, start: number, next_offset: number, target: number }} RebuildPartition */
/**
 * @typedef {object} RebuildView
 * @property {string} id
 * @property {string} projection
 * @property {number} generation
 * @property {number} from_generation
 * @property {string} plugin_digest
 * @property {"filling" | "indexing" | "catching-up" | "ready" | "switching" | "switched" | "cancelled" | "failed"} state
 * @property {"auto" | "manual"} switch
 * @property {number | null} max_rate
 * @property {boolean} forced
 * @property {string | null} reason
 * @property {number} created_at_us
 * @property {number} updated_at_us
 * @property {number | null} finished_at_us
 * @property {RebuildPartition[]} partitions
 * @property {number} progress_ratio
 * @property {number} remaining_events
 * @property {number} rate_per_second
 * @property {number | null} eta_seconds
 * @property {number | null} lag_events
 * @property {Halt | null} halt
 * @property {string | null} waiting
 */
/**
 * @typedef {object} ProjectionView
 * @property {string} name
 * @property {number} generation
 * @property {number} revision
 * @property {string} plugin_digest
 * @property {string} plugin_file
 * @property {string} state
 * @property {Halt | null} halt
 * @property {string | null} waiting
 * @property {number | null} lag_events
 * @property {number | null} lag_seconds
 * @property {number} rate_per_second
 * @property {PartitionStatus[]} partitions
 * @property {"running" | "paused" | "stopped"} desired
 * @property {string | null} reason
 * @property {number} slo_lag_seconds
 * @property {number | null} eta_seconds
 * @property {(number | null)[]} trend
 * @property {number | null} last_event_at_us
 * @property {Plan | null} plan
 * @property {RejectedPlugin | null} rejected
 * @property {RebuildView | null} rebuild
 * @property {GenerationRecord[]} generations
 */
/** @typedef {{ file: string, digest: string | null, bytes: number | null, read_at_us: number | null, projection: string | null, revision: number | null, language: string | null, compile_seconds: number | null, running_digest: string | null, rejected: RejectedPlugin | null, plan: Plan | null }} PluginView */
/** @typedef {{ version: string, ready: boolean, checks: { name: string, ok: boolean, detail: string }[], plugins_dir: string, role?: string }} Status */
/** @typedef {{ at_us: number, end_offset: number | null, next_offset: number | null, lag_events: number | null, lag_seconds: number | null, rate_per_second: number, state: string }} Sample */
/** @typedef {{ at_us: number, kind: string, text: string }} Marker */
/** @typedef {{ step_seconds: number, samples: Sample[], markers: Marker[] }} History */
/** @typedef {{ id: number, at_us: number, level: string, origin: string, message: string }} LogLine */
/** @typedef {{ name: string, table: string, ddl: string[], rows: { columns: string[], rows: unknown[][] } | null }} TableView */
/** @typedef {{ projection: string, plugin_digest: string, running_digest: string, events: number, seconds: number | null, tables: string[], partitions: { topic: string, partition: number, log_start: number, log_end: number, began: number | null }[], refusal: string | null }} RebuildForecast */
/** @typedef {{ key: unknown[], live: unknown[] | null, rebuilt: unknown[] | null }} RowDifference */
/** @typedef {{ table: string, live_columns: string[], rebuilt_columns: string[], live_rows: number, rebuilt_rows: number, removed: number, added: number, changed: number, comparable: boolean, samples: RowDifference[] }} TableDifference */
/** @typedef {{ id: number, at_us: number, actor: { name: string, role: string, source: string }, action: string, projection: string, plugin_digest: string | null, detail: unknown, before: unknown, after: unknown }} AuditEntry */
/** @typedef {{ plugin_digest: string, events: { topic: string, partition: number, offset: number, key: string | null, changes: any[], rows: any[], fault: string | null }[] }} StepReport */

export {};

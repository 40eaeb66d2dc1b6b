//! What the commands read of the engine's answers. Members that are not shown are not named, and new ones do no harm: a command may be older
//! or newer than the engine that it asks.

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub(super) struct Projections {
    pub(super) projections: Vec<Projection>,
}

#[derive(Deserialize)]
pub(super) struct Projection {
    pub(super) name: String,
    pub(super) generation: u32,
    pub(super) revision: u32,
    pub(super) plugin_digest: String,
    pub(super) plugin_file: String,
    pub(super) state: String,
    pub(super) desired: String,
    pub(super) reason: Option<String>,
    pub(super) halt: Option<Halt>,
    pub(super) waiting: Option<String>,
    pub(super) lag_events: Option<i64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) rate_per_second: f64,
    pub(super) last_event_at_us: Option<i64>,
    pub(super) slo_lag_seconds: u32,
    pub(super) eta_seconds: Option<f64>,
    pub(super) trend: Vec<Option<f64>>,
    pub(super) partitions: Vec<Partition>,
    pub(super) plan: Option<Plan>,
    pub(super) rejected: Option<Rejected>,
    pub(super) rebuild: Option<Rebuild>,
    pub(super) generations: Vec<Generation>,
}

#[derive(Deserialize)]
pub(super) struct Halt {
    code: String,
    reason: String,
    remedy: String,
    at: Option<HaltAt>,
}

#[derive(Deserialize)]
struct HaltAt {
    topic: String,
    partition: i32,
    offset: i64,
    key: Option<String>,
}

impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)?;
        if let Some(at) = &self.at {
            write!(f, " (at {}:{}:{}", at.topic, at.partition, at.offset)?;
            if let Some(key) = &at.key {
                write!(f, ", key {key:?}")?;
            }
            write!(f, ")")?;
        }
        write!(f, "; {}", self.remedy)
    }
}

#[derive(Deserialize)]
pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) next_offset: i64,
    pub(super) end_offset: Option<i64>,
    pub(super) log_start_offset: Option<i64>,
    pub(super) lag_events: Option<i64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) retention_margin_events: Option<i64>,
}

#[derive(Deserialize)]
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) state: String,
    pub(super) writable: bool,
    pub(super) revision: u32,
    pub(super) plugin_digest: String,
    pub(super) collect_at_us: Option<i64>,
}

#[derive(Deserialize)]
pub(super) struct Plan {
    pub(super) projection: String,
    pub(super) from_digest: Option<String>,
    pub(super) from_revision: Option<u32>,
    pub(super) to_digest: String,
    pub(super) to_revision: u32,
    pub(super) action: String,
    pub(super) held: bool,
    pub(super) reasons: Vec<String>,
    pub(super) tables: Vec<TablePlan>,
}

#[derive(Deserialize)]
pub(super) struct TablePlan {
    pub(super) table: String,
    pub(super) action: String,
    pub(super) reasons: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Rejected {
    pub(super) file: String,
    pub(super) code: String,
    pub(super) reason: String,
}

#[derive(Deserialize)]
pub(super) struct Plugins {
    pub(super) plugins_dir: String,
    pub(super) plugins: Vec<PluginFile>,
    pub(super) rejected: Vec<Rejected>,
}

#[derive(Deserialize)]
pub(super) struct PluginFile {
    pub(super) file: String,
    pub(super) digest: Option<String>,
    pub(super) bytes: Option<u64>,
    pub(super) projection: Option<String>,
    pub(super) revision: Option<u32>,
    pub(super) running_digest: Option<String>,
    pub(super) rejected: Option<Rejected>,
    pub(super) plan: Option<Plan>,
}

#[derive(Deserialize)]
pub(super) struct Rebuild {
    pub(super) id: String,
    pub(super) projection: String,
    pub(super) generation: u32,
    pub(super) from_generation: u32,
    pub(super) state: String,
    pub(super) switch: String,
    pub(super) reason: Option<String>,
    pub(super) progress_ratio: f64,
    pub(super) remaining_events: i64,
    pub(super) rate_per_second: f64,
    pub(super) eta_seconds: Option<f64>,
    pub(super) lag_events: Option<i64>,
    pub(super) halt: Option<Halt>,
    pub(super) waiting: Option<String>,
}

impl Rebuild {
    /// Whether it is under way.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.state.as_str(), "switched" | "cancelled" | "failed")
    }
}

#[derive(Deserialize)]
pub(super) struct Forecast {
    pub(super) projection: String,
    pub(super) plugin_digest: String,
    pub(super) running_digest: String,
    pub(super) events: i64,
    pub(super) seconds: Option<f64>,
    pub(super) tables: Vec<String>,
    pub(super) partitions: Vec<ForecastPartition>,
    pub(super) refusal: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ForecastPartition {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) log_start: i64,
    pub(super) log_end: i64,
    pub(super) began: Option<i64>,
}

#[derive(Deserialize)]
pub(super) struct Difference {
    pub(super) tables: Vec<TableDifference>,
}

#[derive(Deserialize)]
pub(super) struct TableDifference {
    pub(super) table: String,
    pub(super) live_columns: Vec<String>,
    pub(super) rebuilt_columns: Vec<String>,
    pub(super) live_rows: u64,
    pub(super) rebuilt_rows: u64,
    pub(super) removed: u64,
    pub(super) added: u64,
    pub(super) changed: u64,
    pub(super) comparable: bool,
    pub(super) samples: Vec<RowDifference>,
}

#[derive(Deserialize)]
pub(super) struct RowDifference {
    pub(super) key: Vec<Value>,
    pub(super) live: Option<Vec<Value>>,
    pub(super) rebuilt: Option<Vec<Value>>,
}

#[derive(Deserialize)]
pub(super) struct Accepted {
    pub(super) changed: bool,
    pub(super) generation: Option<u32>,
    pub(super) rebuild: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Tables {
    pub(super) tables: Vec<Table>,
}

#[derive(Deserialize)]
pub(super) struct Table {
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(super) struct Logs {
    pub(super) lines: Vec<LogLine>,
}

#[derive(Clone, Deserialize, serde::Serialize)]
pub(super) struct LogLine {
    pub(super) id: u64,
    pub(super) at_us: i64,
    pub(super) level: String,
    pub(super) origin: String,
    pub(super) message: String,
}

#[derive(Deserialize)]
pub(super) struct Audit {
    pub(super) entries: Vec<AuditEntry>,
}

#[derive(Deserialize)]
pub(super) struct AuditEntry {
    pub(super) at_us: i64,
    pub(super) actor: Actor,
    pub(super) action: String,
    pub(super) projection: String,
    pub(super) plugin_digest: Option<String>,
    pub(super) before: Value,
    pub(super) after: Value,
}

#[derive(Deserialize)]
pub(super) struct Actor {
    pub(super) name: String,
    pub(super) source: String,
}

#[derive(Deserialize)]
pub(super) struct Stepped {
    pub(super) plugin_digest: String,
    pub(super) events: Vec<SteppedEvent>,
}

#[derive(Deserialize)]
pub(super) struct SteppedEvent {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Option<String>,
    pub(super) changes: Vec<Value>,
    pub(super) rows: Vec<Value>,
    pub(super) fault: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Waited {
    pub(super) seconds: f64,
}

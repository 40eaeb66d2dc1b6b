//! What the control plane shows: plain values, put together from what is remembered and what runs. Decides nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Halt;
use crate::runner::{ProjectionStatus, State};
use crate::sink::{OrderError, SinkError};

// What requests and answers are made of, for those who may not see the sink.
pub use crate::sink::{
    Actor, Asked, AuditEntry, Desired, Done, GenerationRecord, GenerationState, RebuildRecord, RebuildState, Switch,
    TableDifference, TableRows, Target,
};

/// A projection, as one line of the overview and the head of its page.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ProjectionView {
    /// What its live generation does; its `state` is by the first rule that holds: halted, stopped, paused, waiting, starting, stalled,
    /// lagging (over the SLO and not falling), catching-up, idle, running.
    #[serde(flatten)]
    pub status: ProjectionStatus,
    /// What is wanted of it.
    pub desired: Desired,
    /// Why it is wanted so.
    pub reason: Option<String>,
    /// How far behind is too far, in seconds.
    pub slo_lag_seconds: u32,
    /// Seconds until the slowest partition has caught up, at the present rates; none where it does not fall or is unknown.
    pub eta_seconds: Option<f64>,
    /// Seconds behind over the last hour, oldest first, one value a minute; null where it was unknown.
    pub trend: Vec<Option<f64>>,
    /// What waits to be done with the build on disk, where it is not what runs.
    pub plan: Option<Plan>,
    /// Why the build on disk does not run, where it does not.
    pub rejected: Option<RejectedPlugin>,
    /// The rebuild that is under way, or the last one.
    pub rebuild: Option<RebuildView>,
    /// All generations whose tables are there, by number.
    pub generations: Vec<GenerationRecord>,
    /// What has been counted of it; for metrics.
    #[serde(skip)]
    pub tallies: Tallies,
}

/// What has happened to a projection since the engine started, counted by how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Builds in the plugins folder: `applied` (one took over), `rejected` (one does not run).
    pub reloads: BTreeMap<&'static str, u64>,
    /// Rebuilds: `switched`, `cancelled`, `failed`.
    pub rebuilds: BTreeMap<&'static str, u64>,
}

/// A rebuild and how far it is.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct RebuildView {
    /// What is remembered of it.
    #[serde(flatten)]
    pub record: RebuildRecord,
    /// Each partition's way to its target.
    pub partitions: Vec<RebuildPartition>,
    /// Committed events over all events up to the targets, 0 to 1; 1 only after the commit that covers the targets.
    pub progress_ratio: f64,
    /// Events up to the targets that are not committed yet.
    pub remaining_events: i64,
    /// Events applied per second, over the last ten seconds.
    pub rate_per_second: f64,
    /// Seconds until the slowest partition has reached its target; none while unknown.
    pub eta_seconds: Option<f64>,
    /// Events behind the log's end now, of the new generation.
    pub lag_events: Option<i64>,
    /// Why its runner stands still, where it does.
    pub halt: Option<Halt>,
    /// What its runner waits for.
    pub waiting: Option<String>,
}

/// One partition of a rebuild. `start <= next_offset`, `start <= target`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RebuildPartition {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Where it began.
    pub start: i64,
    /// The first event that is not committed yet.
    pub next_offset: i64,
    /// The end that was frozen when the rebuild began.
    pub target: i64,
}

/// What a build needs before it can run, and why: decided from name, revision and descriptor, never from the code's hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Plan {
    /// Name of the projection.
    pub projection: String,
    /// The build that runs, where one does.
    pub from_digest: Option<String>,
    /// Its revision.
    pub from_revision: Option<u32>,
    /// The build that the plan is for.
    pub to_digest: String,
    /// Its revision.
    pub to_revision: u32,
    /// The file that it was read from; empty where it was uploaded for the plan only.
    pub file: String,
    /// What is to be done.
    pub action: PlanAction,
    /// Whether it waits for a person: `on_change = "hold"`, or a rebuild is under way.
    pub held: bool,
    /// Why that, for the projection as a whole.
    pub reasons: Vec<String>,
    /// Why that, table by table.
    pub tables: Vec<TablePlan>,
}

/// What is to be done with a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlanAction {
    /// It is what runs.
    Nothing,
    /// The projection is new.
    Create,
    /// It takes over at a batch boundary.
    Reload,
    /// Columns, tables or indexes are added, then it takes over.
    Alter,
    /// The next generation is filled from the start of the log beside the live one.
    Rebuild,
}

/// What happens to one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TablePlan {
    /// Name of the table.
    pub table: String,
    /// `keep`, `create`, `alter`, `rebuild` or `remove`.
    pub action: &'static str,
    /// Each difference in words.
    pub reasons: Vec<String>,
}

/// A file in `plugins/`, or a projection whose file is not there.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PluginView {
    /// Name of the file; empty where there is none.
    pub file: String,
    /// SHA-256 of what is on disk, where it was read.
    pub digest: Option<String>,
    /// Its size.
    pub bytes: Option<u64>,
    /// When it was read. Microseconds since 1970 UTC.
    pub read_at_us: Option<i64>,
    /// The projection that it describes.
    pub projection: Option<String>,
    /// Its revision.
    pub revision: Option<u32>,
    /// The language that its toolchain noted.
    pub language: Option<String>,
    /// How long it took to compile, in seconds.
    pub compile_seconds: Option<f64>,
    /// The build that runs under the projection's name.
    pub running_digest: Option<String>,
    /// Why it does not run.
    pub rejected: Option<RejectedPlugin>,
    /// What waits to be done with it.
    pub plan: Option<Plan>,
}

/// A file in `plugins/` that does not run, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RejectedPlugin {
    /// Name of the file.
    pub file: String,
    /// Stable name of the cause.
    pub code: String,
    /// What is wrong and what to do.
    pub reason: String,
}

/// Lag and rates over time; kept in memory, begins anew with the engine.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct History {
    /// Seconds between two samples.
    pub step_seconds: u32,
    /// Oldest first.
    pub samples: Vec<Sample>,
    /// What happened meanwhile, oldest first.
    pub markers: Vec<Marker>,
}

/// How a projection stood at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Sample {
    /// Microseconds since 1970 UTC.
    pub at_us: i64,
    /// Sum of the partitions' end offsets.
    pub end_offset: Option<i64>,
    /// Sum of the partitions' checkpoints.
    pub next_offset: Option<i64>,
    /// Events behind.
    pub lag_events: Option<i64>,
    /// Seconds behind.
    pub lag_seconds: Option<f64>,
    /// Events applied per second.
    pub rate_per_second: f64,
    /// What it did.
    pub state: State,
}

/// Something that happened to a projection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Marker {
    /// Microseconds since 1970 UTC.
    pub at_us: i64,
    /// `reload`, `rebuild`, `swap`, `rollback`, `pause`, `resume`, `halt`, `restart`.
    pub kind: &'static str,
    /// For people.
    pub text: String,
}

/// A line of a projection's log: its plugin's own lines, and what the engine did with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LogLine {
    /// Number, rising, without gaps as long as nothing was dropped.
    pub id: u64,
    /// Microseconds since 1970 UTC.
    pub at_us: i64,
    /// `trace`, `debug`, `info`, `warn`, `error`.
    pub level: &'static str,
    /// `plugin` or `engine`.
    pub origin: &'static str,
    /// One line.
    pub message: String,
}

/// A table that readers see.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TableView {
    /// The name that readers use: `<projection>.<table>`, in SQLite `<table>`.
    pub name: String,
    /// Name of the table in the descriptor.
    pub table: String,
    /// Its statements, as the database was told.
    pub ddl: Vec<String>,
    /// Its first rows, where they were asked for.
    pub rows: Option<TableRows>,
}

/// What happens when a rebuild is asked for.
#[derive(Clone, Debug, Default)]
pub struct RebuildRequest {
    /// Who decides about the swap; the configuration's word where it is not said.
    pub switch: Option<crate::sink::Switch>,
    /// Events per second at most.
    pub max_rate: Option<u32>,
    /// Also where the log no longer begins where the projection began.
    pub force: bool,
    /// By the build that is held back in `plugins/`, not by the one that runs.
    pub held: bool,
}

/// What a rebuild would be (`dry_run`).
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct RebuildForecast {
    /// Name of the projection.
    pub projection: String,
    /// The build that would fill it.
    pub plugin_digest: String,
    /// The build that runs now.
    pub running_digest: String,
    /// Events between the log's start and its end.
    pub events: i64,
    /// Seconds that it would take at the highest rate seen, or at its bound; none where neither is known.
    pub seconds: Option<f64>,
    /// The tables that would be filled.
    pub tables: Vec<String>,
    /// First offset, end and where the projection began, by partition.
    pub partitions: Vec<ForecastPartition>,
    /// Why it would be refused without force.
    pub refusal: Option<String>,
}

/// One partition of a forecast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ForecastPartition {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// The first offset that the log holds.
    pub log_start: i64,
    /// The end.
    pub log_end: i64,
    /// Where the live generation began.
    pub began: Option<i64>,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// Every checkpoint at the end that its log had when the wait began.
    CaughtUp,
    /// The event at this offset is applied.
    Offset {
        /// Name of the topic.
        topic: String,
        /// Number of the partition.
        partition: i32,
        /// Offset of the event.
        offset: i64,
    },
}

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Waited {
    /// Whether what was waited for has come; false where the time was up.
    pub reached: bool,
    /// Seconds that it took.
    pub seconds: f64,
    /// The live generation's checkpoints then.
    pub partitions: Vec<crate::runner::PartitionStatus>,
}

/// Which events a step runs.
#[derive(Clone, Debug)]
pub enum StepEvents {
    /// JSON lines as in files: `key`, `value`, `headers`, `timestamp`; with the topic that they are said to come from.
    Lines {
        /// Name of the topic.
        topic: String,
        /// The text.
        lines: String,
    },
    /// What the log holds.
    Range {
        /// Name of the topic.
        topic: String,
        /// Number of the partition.
        partition: i32,
        /// First offset.
        offset: i64,
        /// At most so many events, 1 to 100.
        count: u32,
    },
}

/// What a step showed; nothing was written.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct StepReport {
    /// The build that ran.
    pub plugin_digest: String,
    /// Event by event, up to the first that is at fault.
    pub events: Vec<SteppedEvent>,
}

/// One event of a step.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SteppedEvent {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// The key for people.
    pub key: Option<String>,
    /// The changes, each as `{"table", "action", "key", "values"}`.
    pub changes: Vec<serde_json::Value>,
    /// Rows that it would change: `{"table", "key", "before", "after"}`; before holds what the events in front of it have done.
    pub rows: Vec<serde_json::Value>,
    /// Why it is at fault, where it is.
    pub fault: Option<String>,
}

/// Why the control plane does not do something.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// What kind of answer it is.
    pub kind: ControlErrorKind,
    /// Stable name of the cause.
    pub code: &'static str,
    /// What happened and what to do.
    pub message: String,
    /// What it is about: the identity of the active rebuild, say.
    pub subject: Option<String>,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlErrorKind {
    /// There is no such thing.
    NotFound,
    /// It cannot be as things stand.
    Conflict,
    /// What was asked for makes no sense.
    Invalid,
    /// The database or the broker does not answer.
    Unavailable,
    /// A fault of the engine or the database.
    Internal,
}

impl From<OrderError> for ControlError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Failed(error) => error.into(),
            OrderError::Refused(refusal) => Self {
                kind: match refusal.code {
                    "projection_unknown" | "rebuild_unknown" => ControlErrorKind::NotFound,
                    _ => ControlErrorKind::Conflict,
                },
                code: refusal.code,
                message: refusal.message,
                subject: refusal.subject,
            },
        }
    }
}

impl From<SinkError> for ControlError {
    fn from(error: SinkError) -> Self {
        let kind = match error.kind {
            crate::error::ErrorKind::Transient => ControlErrorKind::Unavailable,
            _ => ControlErrorKind::Internal,
        };
        Self { kind, code: error.code, message: error.message, subject: None }
    }
}

//! What the control plane remembers, and the only way to change it: orders.
//!
//! Desired and actual state of each projection, its generations, builds, rebuilds and the audit live in the database, so that the API works
//! while a projection is down, on any node, and survives a crash at any step. Invariants: an [`Order`] is one transaction with its audit
//! row; it is carried out once however often it is sent (a repeated one is refused or changes nothing); what is refused has changed nothing
//! and says why under a stable code. The logic is written once, here; a sink brings a transaction and the statements that make, repoint
//! and drop tables.

pub(super) mod orders;
pub(super) mod records;
pub(super) mod transaction;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use super::SinkError;
use crate::change::Schema;
use crate::checkpoint::{Checkpoint, Generation};
use crate::error::ErrorKind;

/// What somebody wants of a projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Desired {
    /// It takes events.
    Running,
    /// It takes no events until it is resumed; its partitions stay with it, so its lag is known.
    Paused,
    /// It does not run: its plugin was taken out of `plugins/`. The tables stay.
    Stopped,
}

impl Desired {
    pub(super) const ALL: [Self; 3] = [Self::Running, Self::Paused, Self::Stopped];

    /// Its name, in the API as in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// One projection, as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProjectionRecord {
    /// Name of the projection.
    pub name: String,
    /// What is wanted.
    pub desired: Desired,
    /// Why, where somebody said so.
    pub reason: Option<String>,
    /// The file in `plugins/` that the build was last deployed from.
    pub plugin_file: String,
    /// The build that was last deployed or is held back; differs from the live generation's while a rebuild is under way or wanted.
    pub plugin_digest: String,
    /// Raised by each restart that was asked for.
    pub restarts: i64,
    /// Microseconds since 1970 UTC.
    pub updated_at_us: i64,
}

/// The states of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GenerationState {
    /// It fills beside the live one.
    Building,
    /// Readers see it.
    Live,
    /// Readers do not see it any more; while it is `warm` it still applies events and can be rolled back to.
    Retired,
}

impl GenerationState {
    pub(super) const ALL: [Self; 3] = [Self::Building, Self::Live, Self::Retired];

    /// Its name, in the API as in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Live => "live",
            Self::Retired => "retired",
        }
    }
}

/// One generation of a projection.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct GenerationRecord {
    /// Name of the projection.
    pub projection: String,
    /// Number of the generation, from 1.
    pub number: u32,
    /// Building, live or retired.
    pub state: GenerationState,
    /// Whether commits and claims are let through: false once it is cancelled or collected.
    pub writable: bool,
    /// Whether its tables are there: false once they are dropped.
    pub stored: bool,
    /// The plugin's revision.
    pub revision: u32,
    /// The build that writes it.
    pub plugin_digest: String,
    /// The descriptor that its tables were made by, as stored.
    pub descriptor: serde_json::Value,
    /// When its tables may be dropped, for a retired one that is warm. Microseconds since 1970 UTC.
    pub collect_at_us: Option<i64>,
    /// Microseconds since 1970 UTC.
    pub created_at_us: i64,
}

/// The states of a rebuild, in their order; the last three are ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RebuildState {
    /// The new generation fills in bulk, up to the targets.
    Filling,
    /// Keys and indexes are made.
    Indexing,
    /// The new generation applies what has come since, as a live one does.
    CatchingUp,
    /// It has caught up; a person decides (`switch = manual`).
    Ready,
    /// It is to be made the live one as soon as it has caught up (`switch = auto`, or a person said so).
    Switching,
    /// It is the live one.
    Switched,
    /// Somebody called it off; its tables are gone or about to go.
    Cancelled,
    /// It cannot go on; the reason is said, and its tables are gone or about to go.
    Failed,
}

impl RebuildState {
    pub(super) const ALL: [Self; 8] = [
        Self::Filling,
        Self::Indexing,
        Self::CatchingUp,
        Self::Ready,
        Self::Switching,
        Self::Switched,
        Self::Cancelled,
        Self::Failed,
    ];

    /// Its name, in the API as in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Indexing => "indexing",
            Self::CatchingUp => "catching-up",
            Self::Ready => "ready",
            Self::Switching => "switching",
            Self::Switched => "switched",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether the rebuild is under way.
    pub fn is_active(self) -> bool {
        !matches!(self, Self::Switched | Self::Cancelled | Self::Failed)
    }
}

/// Who decides when a rebuilt generation becomes the live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// The engine, as soon as it has caught up.
    Auto,
    /// A person.
    Manual,
}

impl Switch {
    pub(super) const ALL: [Self; 2] = [Self::Auto, Self::Manual];

    /// Its name, in the API as in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Manual => "manual",
        }
    }
}

/// Up to where a rebuild fills one partition, frozen when it was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Target {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// The first offset that the log held.
    pub start: i64,
    /// The offset after the last visible record.
    pub end: i64,
}

/// One rebuild.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct RebuildRecord {
    /// Identity: `<projection>-g<generation>`.
    pub id: String,
    /// Name of the projection.
    pub projection: String,
    /// The generation that fills.
    pub generation: u32,
    /// The generation that was live when it began.
    pub from_generation: u32,
    /// The build that fills it.
    pub plugin_digest: String,
    /// How far it is.
    pub state: RebuildState,
    /// Who decides.
    pub switch: Switch,
    /// Events per second at most.
    pub max_rate: Option<u32>,
    /// Whether it was begun although the log no longer begins where the projection began.
    pub forced: bool,
    /// Up to where it fills.
    pub targets: Vec<Target>,
    /// Why it failed or was cancelled.
    pub reason: Option<String>,
    /// Microseconds since 1970 UTC.
    pub created_at_us: i64,
    /// Microseconds since 1970 UTC.
    pub updated_at_us: i64,
    /// When it ended. Microseconds since 1970 UTC.
    pub finished_at_us: Option<i64>,
}

/// Everything that is remembered, at one moment (one snapshot).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Registry {
    /// By name.
    pub projections: Vec<ProjectionRecord>,
    /// By projection and number; those that are dropped are left out.
    pub generations: Vec<GenerationRecord>,
    /// Newest first; active ones and the last twenty of each projection.
    pub rebuilds: Vec<RebuildRecord>,
}

/// A build of a plugin: its bytes under their SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// SHA-256, 64 hexadecimal digits.
    pub digest: String,
    /// Name of the projection that it describes.
    pub projection: String,
    /// The plugin's revision.
    pub revision: u32,
    /// The file that it was read from.
    pub file: String,
    /// The whole component or module.
    pub bytes: Arc<[u8]>,
}

/// Who asked for an order, for the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Actor {
    /// Name of the token, `plugins-folder`, `engine`, or `local` where no token is asked for.
    pub name: String,
    /// `operator`, `viewer`, or `engine`.
    pub role: String,
    /// Address of the client, or empty.
    pub source: String,
}

/// Who asks for an order, and under which key a repetition of it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who.
    pub actor: Actor,
    /// The client's key (header `Idempotency-Key`): an order under a key that was seen before is not carried out again, and what it did
    /// then is told again; kept for a day. Refused with `idempotency_mismatch` where the key was used for another order.
    pub idempotency_key: Option<String>,
}

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AuditEntry {
    /// Number, rising.
    pub id: i64,
    /// Microseconds since 1970 UTC.
    pub at_us: i64,
    /// Who.
    pub actor: Actor,
    /// What: the order's name, in snake case.
    pub action: String,
    /// On which projection.
    pub projection: String,
    /// The build that it is about.
    pub plugin_digest: Option<String>,
    /// What was asked for.
    pub detail: serde_json::Value,
    /// What stood before, as far as it changed.
    pub before: serde_json::Value,
    /// What stands now, as far as it changed.
    pub after: serde_json::Value,
}

/// What can be changed. Each is one transaction.
#[derive(Clone, Debug)]
pub enum Order {
    /// Makes generation 1 (or the next number after a drop) live: tables, indexes, views, records. Nothing where the projection is there.
    /// Refused: `name_taken`.
    Create {
        /// What the plugin describes.
        schema: Arc<Schema>,
        /// The build; stored before.
        digest: String,
        /// Its file.
        file: String,
    },
    /// Another build writes a generation from now on, without a rebuild. Adds the nullable columns, tables and indexes that `schema` has
    /// and the generation has not, and points the views of a live one at them. Refused: `generation_gone`, `not_additive`, `readers` (try again soon),
    /// `name_taken`. In PostgreSQL the new indexes are left to [`crate::sink::Sink::finish_tables`].
    Deploy {
        /// What the plugin describes.
        schema: Arc<Schema>,
        /// The build; stored before.
        digest: String,
        /// Its file.
        file: String,
        /// Number of the generation.
        generation: u32,
    },
    /// Remembers a build that is not run yet (held back, or waiting for its rebuild).
    Hold {
        /// Name of the projection.
        projection: String,
        /// The build; stored before.
        digest: String,
        /// Its file.
        file: String,
    },
    /// Running, paused or stopped. Nothing where it stands so already.
    Desire {
        /// Name of the projection.
        projection: String,
        /// What is wanted.
        desired: Desired,
        /// Why.
        reason: Option<String>,
    },
    /// Every engine starts the projection's runners anew.
    Restart {
        /// Name of the projection.
        projection: String,
    },
    /// Begins a rebuild: the next generation with bare tables, and the record in state `filling`.
    /// Refused: `rebuild_active` (the message and [`Refusal::subject`] name the active one), `no_live_generation`.
    BeginRebuild {
        /// What the plugin describes.
        schema: Arc<Schema>,
        /// The build; stored before.
        digest: String,
        /// Its file.
        file: String,
        /// Who decides about the swap.
        switch: Switch,
        /// Events per second at most.
        max_rate: Option<u32>,
        /// Whether the log's beginning is missing.
        forced: bool,
        /// Up to where it fills.
        targets: Vec<Target>,
    },
    /// A rebuild's state moves on, if it stands at `from`. Refused: `rebuild_state`.
    MoveRebuild {
        /// Identity.
        id: String,
        /// Where it must stand.
        from: RebuildState,
        /// Where it stands after.
        to: RebuildState,
        /// For `failed`.
        reason: Option<String>,
    },
    /// Makes the generation of a rebuild in state `switching` the live one: checkpoints locked, each of the new one at or past the old one's,
    /// views repointed, states flipped, old one warm until `collect_at_us`. Refused: `rebuild_state`, `behind` (try again soon), `readers`
    /// (somebody holds a view; try again soon), `view_in_use` (a view of somebody else needs a column that goes).
    Swap {
        /// Identity of the rebuild.
        id: String,
        /// When the old generation may be collected.
        collect_at_us: i64,
    },
    /// Makes the warm retired generation the live one again and the live one retired; both as in [`Order::Swap`].
    /// Refused: `no_warm_generation`, and as there.
    Rollback {
        /// Name of the projection.
        projection: String,
        /// When the generation that is left may be collected.
        collect_at_us: i64,
    },
    /// Calls an active rebuild off: state `cancelled`, generation not writable. Refused: `rebuild_state`.
    CancelRebuild {
        /// Identity.
        id: String,
        /// Why.
        reason: String,
    },
    /// Drops the tables of a generation that is retired or whose rebuild has ended without a switch, and its checkpoints. Nothing where they are gone.
    /// Refused: `generation_live`.
    Collect {
        /// Name of the projection.
        projection: String,
        /// Number of the generation.
        generation: u32,
    },
    /// Removes a projection with all generations, views, checkpoints, rebuilds. Builds and audit stay. Refused: `view_in_use`.
    Drop {
        /// Name of the projection.
        projection: String,
    },
}

impl Order {
    /// Its name in snake case, as the audit has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Deploy { .. } => "deploy",
            Self::Hold { .. } => "hold",
            Self::Desire { .. } => "desire",
            Self::Restart { .. } => "restart",
            Self::BeginRebuild { .. } => "begin_rebuild",
            Self::MoveRebuild { .. } => "move_rebuild",
            Self::Swap { .. } => "swap",
            Self::Rollback { .. } => "rollback",
            Self::CancelRebuild { .. } => "cancel_rebuild",
            Self::Collect { .. } => "collect",
            Self::Drop { .. } => "drop",
        }
    }

    /// The projection that it is about.
    pub fn projection(&self) -> &str {
        match self {
            Self::Create { schema, .. } | Self::Deploy { schema, .. } | Self::BeginRebuild { schema, .. } => {
                &schema.descriptor.name
            }
            Self::Hold { projection, .. }
            | Self::Desire { projection, .. }
            | Self::Restart { projection }
            | Self::Rollback { projection, .. }
            | Self::Collect { projection, .. }
            | Self::Drop { projection } => projection,
            Self::MoveRebuild { id, .. } | Self::Swap { id, .. } | Self::CancelRebuild { id, .. } => projection_of(id),
        }
    }
}

/// The projection in a rebuild's identity: no name of one has a hyphen.
fn projection_of(rebuild: &str) -> &str {
    rebuild.rsplit_once("-g").map_or(rebuild, |(projection, _)| projection)
}

/// An order was not carried out, and nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stable name, as the order lists them; also `projection_unknown`, `rebuild_unknown`.
    pub code: &'static str,
    /// What stands in the way and what to do.
    pub message: String,
    /// What it is about: the identity of the active rebuild, say.
    pub subject: Option<String>,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OrderError {
    /// It cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database did not do it. Where the kind is transient it may have been done nevertheless: read the registry, then decide.
    #[error(transparent)]
    Failed(#[from] SinkError),
}

/// For those who look at the kind only: what is refused takes a person.
impl From<OrderError> for SinkError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Refused(Refusal { code, message, .. }) => Self { kind: ErrorKind::Fatal, code, message },
            OrderError::Failed(error) => error,
        }
    }
}

/// What an order has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Whether anything changed.
    pub changed: bool,
    /// The generation that was made or made live, where one was.
    pub generation: Option<u32>,
    /// The rebuild that was begun, where one was.
    pub rebuild: Option<String>,
}

/// A look at a live generation, held still while the rebuilt one is brought to the same checkpoints.
pub trait Comparison: Send {
    /// The live generation's checkpoints in the snapshot.
    fn checkpoints(&self) -> &[Checkpoint];

    /// Compares table by table in key order, streaming, with the rebuilt generation as it stands now; at most `samples_max` differences
    /// are kept of each table.
    ///
    /// # Errors
    /// Transient, or fatal where a table does not exist.
    fn finish<'a>(
        self: Box<Self>,
        live: &'a Schema,
        rebuilt: (&'a Generation, &'a Schema),
        samples_max: usize,
    ) -> BoxFuture<'a, Result<Vec<TableDifference>, SinkError>>;
}

/// A row that two generations do not agree on.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct RowDifference {
    /// The primary key's values.
    pub key: Vec<serde_json::Value>,
    /// The whole row in the live generation, in the order of its columns; none where it is not there.
    pub live: Option<Vec<serde_json::Value>>,
    /// The whole row in the rebuilt generation; none where it is not there.
    pub rebuilt: Option<Vec<serde_json::Value>>,
}

/// How the rows of one table differ between two generations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct TableDifference {
    /// Name of the table.
    pub table: String,
    /// Columns of the live one; empty where the table is new.
    pub live_columns: Vec<String>,
    /// Columns of the rebuilt one; empty where the table is gone.
    pub rebuilt_columns: Vec<String>,
    /// Rows in the live one.
    pub live_rows: u64,
    /// Rows in the rebuilt one.
    pub rebuilt_rows: u64,
    /// Keys that only the live one has.
    pub removed: u64,
    /// Keys that only the rebuilt one has.
    pub added: u64,
    /// Keys that both have, with other values in the columns that both have.
    pub changed: u64,
    /// Whether the primary keys are of the same columns and types; where not, only rows are counted.
    pub comparable: bool,
    /// The first differences in key order, at most as many as were asked for.
    pub samples: Vec<RowDifference>,
}

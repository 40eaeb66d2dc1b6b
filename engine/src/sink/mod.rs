//! Where rows go. Hides databases and SQL text behind two traits.
//!
//! The sink owns the checkpoint: [`Sink::claim`] is the only way to learn where a partition begins, and
//! [`Writer::commit`] the only way to move it, together with the rows. There is no `save_checkpoint`: rows without their checkpoint
//! cannot be written. Every commit is fenced by a compare-and-set on (next_offset, owner_epoch) of all its
//! partitions at once: if one misses, nothing is written.
//!
//! An unknown commit (the connection was lost while the database may have committed) is told as
//! [`CommitError::Unknown`] and never retried here: the runner re-reads the checkpoints and lets them decide.

mod comparison;
#[cfg(test)]
mod contract;
mod digest;
mod postgres;
mod registry;
mod sql;
mod sqlite;
mod stored;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::change::{ChangeSet, Key, Row, Schema};
use crate::checkpoint::{Checkpoint, Generation, LogBounds};
use crate::error::ErrorKind;
use crate::event::TopicPartition;

pub use postgres::{PostgresSettings, PostgresSink};
pub use registry::{
    Actor, Asked, AuditEntry, BothSides, Build, Comparison, Desired, Done, GenerationRecord, GenerationState, Order,
    OrderError, ProjectionRecord, RebuildRecord, RebuildState, Refusal, Registry, RowDifference, Switch,
    TableDifference, Target,
};
pub use sqlite::{SqliteSettings, SqliteSink};
pub use stored::{Difference, TableChange, differences};

/// Something the database said or did.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    /// What must happen next. Poison: a row of the change set is at fault (SQLSTATE classes 22 and 23).
    pub kind: ErrorKind,
    /// Stable name of the cause, in snake case: `database_unreachable`, `schema_changed`, `value_rejected`, ...
    pub code: &'static str,
    /// What was tried, what the database said (with its code), and what to do. Without secrets.
    pub message: String,
}

/// How a commit can fail.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing was written: these partitions belong to somebody else now, or their checkpoint stands elsewhere.
    #[error("fenced: {} partition(s)", .0.len())]
    Fenced(Vec<TopicPartition>),
    /// The database may or may not have committed: re-read the checkpoints and let them say.
    #[error("outcome unknown: {0}")]
    Unknown(SinkError),
    /// Nothing was written.
    #[error(transparent)]
    Failed(#[from] SinkError),
}

/// A generation that is ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The live generation of the projection.
    pub generation: Generation,
    /// Whether it was created by this call.
    pub created: bool,
}

/// One table's rows, for tests, `laterna test` and the demo: column names and, row by row in key order, values as JSON
/// (decimals, timestamps, dates, UUIDs as text, bytes as `{"base64": ..}`), the same from every sink.
#[derive(Clone, Debug, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct TableRows {
    /// Column names in the table's order.
    pub columns: Vec<String>,
    /// Rows in key order.
    pub rows: Vec<Vec<serde_json::Value>>,
}

/// What PostgreSQL is told to make the first generation of a projection: for people, as `laterna inspect` shows it.
pub fn postgres_ddl(schema: &Schema) -> Vec<String> {
    let name = &schema.descriptor.name;
    let generation = format!("{name}_g1");
    let schemas = [name, &generation].map(|schema| format!("CREATE SCHEMA {}", sql::quote(schema)));
    let tables = schema.descriptor.tables.iter().flat_map(|table| {
        let columns = table.columns.iter().map(|column| column.name.as_str());
        let view = format!("CREATE {}", sql::create_view(name, &generation, &table.name, columns));
        let indexes = table.indexes.iter().map(|index| sql::create_index(&generation, table, index, ""));
        [sql::create_table(&generation, table, false)].into_iter().chain(indexes).chain([view]).collect::<Vec<_>>()
    });
    schemas.into_iter().chain(tables).collect()
}

/// A database that holds projections.
pub trait Sink: Send + Sync {
    /// Makes the live generation of a projection ready: its tables, indexes and views, and its record. Idempotent.
    ///
    /// # Errors
    /// Fatal `schema_changed` where the stored generation has other tables; fatal `name_taken` where a view's name
    /// belongs to another projection or to somebody's own table.
    fn open<'a>(&'a self, schema: &'a Arc<Schema>, plugin_digest: &'a str) -> BoxFuture<'a, Result<Opened, SinkError>>;

    /// Whether the tables and views of a live generation are there.
    ///
    /// # Errors
    /// Fatal `table_missing`, naming the first one that is not; otherwise as for [`Sink::registry`].
    fn check_tables<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<(), SinkError>>;

    /// Takes partitions over: raises their owner epoch, so that every earlier owner is fenced, and tells where each
    /// goes on. A partition without a checkpoint gets one at `LogBounds::start`. Waits for a commit that is under way.
    ///
    /// # Errors
    /// Transient, or fatal where the database refuses.
    fn claim<'a>(
        &'a self,
        generation: &'a Generation,
        partitions: &'a [LogBounds],
    ) -> BoxFuture<'a, Result<Vec<Checkpoint>, SinkError>>;

    /// The checkpoints as they stand, of all partitions of the generation. Opens a connection of its own.
    ///
    /// # Errors
    /// Transient, or fatal where the database refuses.
    fn checkpoints<'a>(&'a self, generation: &'a Generation) -> BoxFuture<'a, Result<Vec<Checkpoint>, SinkError>>;

    /// The same for those who only look, as often as they like: on connections that are there, a few at a time.
    ///
    /// # Errors
    /// As for [`Sink::checkpoints`].
    fn positions<'a>(&'a self, generation: &'a Generation) -> BoxFuture<'a, Result<Vec<Checkpoint>, SinkError>> {
        self.checkpoints(generation)
    }

    /// Where each partition of the generation began: the log's start when it was first claimed.
    ///
    /// # Errors
    /// As for [`Sink::checkpoints`].
    fn starts<'a>(&'a self, generation: &'a Generation)
    -> BoxFuture<'a, Result<Vec<(TopicPartition, i64)>, SinkError>>;

    /// A writer with a connection of its own, made when it is first needed.
    fn writer(&self, generation: &Generation, schema: &Arc<Schema>, plugin_digest: &str) -> Box<dyn Writer>;

    /// How many writers may usefully commit side by side; 1 where the database has a single writer.
    fn writers_max(&self) -> usize;

    /// All rows of a table of the live generation, at most `limit`.
    ///
    /// # Errors
    /// Transient, or fatal where the table does not exist.
    fn rows<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
        table: usize,
        limit: Option<u64>,
    ) -> BoxFuture<'a, Result<TableRows, SinkError>>;

    /// The canonical digest of a table's rows as 64 hexadecimal digits: equal where the rows are, whatever the database.
    ///
    /// # Errors
    /// As for [`Sink::rows`].
    fn digest<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
        table: usize,
    ) -> BoxFuture<'a, Result<String, SinkError>>;

    /// Everything that the control plane remembers, in one snapshot.
    ///
    /// # Errors
    /// Transient, or fatal where the database refuses.
    fn registry(&self) -> BoxFuture<'_, Result<Registry, SinkError>>;

    /// Carries out an order and writes its audit row, in one transaction.
    ///
    /// # Errors
    /// It was refused, or the database did not do it.
    fn order<'a>(&'a self, order: &'a Order, asked: &'a Asked) -> BoxFuture<'a, Result<Done, OrderError>>;

    /// What a request was answered under its key before, where it has one and was; `asked.request` says what it is.
    ///
    /// # Errors
    /// As for [`Sink::order`]; refused: `idempotency_mismatch`.
    fn answered<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Result<Option<Done>, OrderError>>;

    /// Stores a build under its digest. Nothing where it is there.
    ///
    /// # Errors
    /// As for [`Sink::registry`].
    fn store_build<'a>(&'a self, build: &'a Build) -> BoxFuture<'a, Result<(), SinkError>>;

    /// A stored build.
    ///
    /// # Errors
    /// As for [`Sink::registry`].
    fn load_build<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<Build>, SinkError>>;

    /// The audit, newest first: at most `limit` entries with numbers below `before`, of one projection or of all.
    ///
    /// # Errors
    /// As for [`Sink::registry`].
    fn audit<'a>(
        &'a self,
        projection: Option<&'a str>,
        before: Option<i64>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<AuditEntry>, SinkError>>;

    /// A writer that fills a generation from its beginning, alone: bulk copies into bare tables as long as it has seen every row that was
    /// written, upserts after. Correct in any case, wherever the generation stands.
    fn bulk_writer(&self, generation: &Generation, schema: &Arc<Schema>, plugin_digest: &str) -> Box<dyn Writer>;

    /// Makes the primary keys and indexes that the tables of a generation still lack, and gathers the planner's figures. Idempotent; a generation
    /// that is in use is read and written meanwhile. It takes as long as it takes.
    ///
    /// # Errors
    /// As for [`Sink::registry`].
    fn finish_tables<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<(), SinkError>>;

    /// Takes a snapshot of the live generation, to be compared once the rebuilt one has come to the same checkpoints.
    ///
    /// # Errors
    /// As for [`Sink::registry`].
    fn compare<'a>(&'a self, live: &'a Generation) -> BoxFuture<'a, Result<Box<dyn Comparison>, SinkError>>;

    /// The rows under these keys, in their order; none where there is no row.
    ///
    /// # Errors
    /// As for [`Sink::rows`].
    fn rows_at<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
        table: usize,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Row>>, SinkError>>;

    /// Whether the database answers, and what it is: its product and version for people.
    ///
    /// # Errors
    /// What it said instead.
    fn ping(&self) -> BoxFuture<'_, Result<String, SinkError>>;

    /// Closes all connections that are not a writer's.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Commits change sets of one generation, one after the other.
pub trait Writer: Send {
    /// Writes rows and checkpoints in one transaction, or nothing.
    ///
    /// Not cancel safe: the future must be awaited to its end. It bounds its own time; where the deadline passes, the
    /// outcome is unknown and the connection is not used again.
    fn commit<'a>(&'a mut self, set: &'a ChangeSet) -> BoxFuture<'a, Result<(), CommitError>>;
}

//! The writer that fills a generation from its beginning: whole new rows into bare tables, keys and indexes last.
//!
//! As long as it has itself written every row there is, it knows of each change whether its row is new, and a new row needs no look at
//! the table: it is copied. Which keys it has written it keeps as fingerprints; a false "seen" only costs an upsert. A row that is seen
//! again, a delete or a set of several stages needs the primary keys, so these are made first; new rows are copied still.
//!
//! Invariants: it copies only where the checkpoints of the whole generation have moved by what it has committed itself, which each commit
//! checks under a lock of its own; whatever goes wrong, it looks again how the generation stands, and goes on with upserts unless that is empty.

use std::borrow::Cow;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hashbrown::{DefaultHashBuilder, HashTable};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{AssertSqlSafe, Row as _};

use super::catalog::lock_key;
use super::commit::{End, Plan, PostgresWriter, Session, add};
use super::connection::Database;
use super::failure::Failure;
use super::wire::{Array, CopyRows};
use super::{finish, namespace};
use crate::change::{ChangeSet, Key, RowChange, Schema, SchemaTable, Stage, Table, TableChanges, Value};
use crate::checkpoint::Generation;
use crate::sink::{CommitError, SinkError, Writer, sql};

/// How many keys are kept: with 9 bytes each in a map that is filled to 7/8, about 72 MiB.
const KEYS_MAX: usize = 7 << 20;
/// From how many rows on they are copied. Below, a COPY would wait for the network: the driver does not set TCP_NODELAY.
const COPY_ROWS_MIN: usize = 1_000;
/// How much of a copy is sent at a time.
const COPY_CHUNK: usize = 512 << 10;
/// How long a commit may take, and how long one that builds primary keys.
const LIMIT: Duration = Duration::from_secs(2 * 60);
const KEYS_LIMIT: Duration = Duration::from_secs(30 * 60);
/// A crash of the server takes back rows and checkpoints together, so nothing waits for the disk.
const SETTINGS: &str = "SET synchronous_commit = off; SET lock_timeout = '60s'; SET maintenance_work_mem = '128MB'; \
                        SET idle_in_transaction_session_timeout = '60s'";

/// Fills a generation.
pub(super) struct BulkWriter {
    writer: PostgresWriter,
    state: State,
    hasher: DefaultHashBuilder,
    keys_max: usize,
}

/// What is known of the tables.
enum State {
    /// Nothing: look.
    Unknown,
    /// Every row in them is this writer's.
    Alone(Alone),
    /// Rows of others may be in them: upserts. Whether their primary keys are known to be made.
    Shared { keyed: bool },
}

struct Alone {
    /// By table: the fingerprints of all keys that were written.
    seen: Vec<HashTable<u64>>,
    /// By table: whether it has its primary key.
    keyed: Vec<bool>,
    /// By how much the generation's checkpoints have moved altogether.
    progress: i64,
}

/// What a commit of a bulk load does beside its statements.
pub(super) struct Bulk {
    /// By how much the generation's checkpoints must have moved for it to be alone; none where it need not be.
    progress: Option<i64>,
    namespace: String,
    /// The tables that get their primary keys first.
    keys: Vec<Table>,
    rows: Vec<NewRows>,
}

/// New rows of one table.
struct NewRows {
    text: String,
    data: Data,
}

enum Data {
    Copy(Vec<u8>),
    Insert(Vec<Array>),
}

/// A change set, parted.
struct Parted<'s> {
    /// By table: changes that make rows which are known to be new.
    new: Vec<Vec<(&'s Key, &'s RowChange)>>,
    /// Everything else.
    rest: Cow<'s, [Stage]>,
    /// Keys that will be there, by table.
    fingerprints: Vec<Vec<u64>>,
}

impl BulkWriter {
    pub(super) fn new(database: Arc<Database>, generation: Generation, schema: Arc<Schema>, digest: String) -> Self {
        let session = Session { limit: LIMIT, settings: SETTINGS };
        let writer = PostgresWriter::new(database, generation, schema, digest, session);
        Self { writer, state: State::Unknown, hasher: DefaultHashBuilder::default(), keys_max: KEYS_MAX }
    }

    /// Bounds the keys that are kept, for tests.
    #[cfg(all(test, feature = "external-tests"))]
    pub(super) fn keys_max(mut self, keys_max: usize) -> Self {
        self.keys_max = keys_max;
        self
    }

    async fn write(&mut self, set: &ChangeSet) -> Result<(), CommitError> {
        if set.advances.is_empty() && set.is_empty() {
            return Ok(());
        }
        loop {
            if matches!(self.state, State::Unknown) {
                self.state = self.look().await?;
            }
            // Taken out: however the commit ends, what is kept is what it has left.
            let state = std::mem::replace(&mut self.state, State::Unknown);
            let alone = matches!(state, State::Alone(_));
            let (plan, next) = self.plan(set, state)?;
            match self.writer.send(plan).await {
                Ok(()) => {
                    self.state = next;
                    return Ok(());
                }
                // Somebody else writes as well. Nothing of this is written, so it goes again in the way that takes any table.
                Err(End::NotAlone) if alone => self.state = State::Shared { keyed: false },
                Err(End::Failed(failure)) if alone && failure.code() == Some("23505") => {
                    tracing::debug!(generation = %self.writer.generation(), "a row that was new is there: upserts from here on");
                    self.state = State::Shared { keyed: false };
                }
                Err(end) => return Err(self.writer.error(end)),
            }
        }
    }

    /// Finds out how the generation stands.
    async fn look(&self) -> Result<State, CommitError> {
        let (generation, schema) = (self.writer.generation().clone(), Arc::clone(self.writer.schema()));
        let tried = format!("looking how {generation} stands");
        let (tables, limit) = (schema.tables.len(), self.writer.database().commit_timeout());
        let alone = self.writer.database().run(Some(limit), tried, move |connection| {
            let (generation, schema) = (generation.clone(), Arc::clone(&schema));
            Box::pin(async move { is_empty(connection, &generation, &schema).await })
        });
        Ok(match alone.await? {
            true => State::Alone(Alone {
                seen: (0..tables).map(|_| HashTable::new()).collect(),
                keyed: vec![false; tables],
                progress: 0,
            }),
            false => State::Shared { keyed: false },
        })
    }

    /// What to send, and how things stand once it is committed.
    fn plan(&mut self, set: &ChangeSet, state: State) -> Result<(Plan, State), SinkError> {
        let namespace = namespace(self.writer.generation());
        let schema = Arc::clone(self.writer.schema());
        let table = |at: usize| schema.descriptor.tables[schema.tables[at].index].clone();
        let all = 0..schema.tables.len();
        match state {
            State::Unknown | State::Shared { keyed: false } => {
                let keys = all.map(table).collect();
                let bulk = Bulk { progress: None, namespace, keys, rows: Vec::new() };
                let plan = self.writer.plan(&set.advances, &set.stages, Some(bulk))?;
                Ok((plan, State::Shared { keyed: true }))
            }
            State::Shared { keyed: true } => {
                Ok((self.writer.plan(&set.advances, &set.stages, None)?, State::Shared { keyed: true }))
            }
            State::Alone(mut alone) => {
                let parted = self.part(set, &alone);
                let needed = |at: &usize| {
                    let touched =
                        |changes: &TableChanges| !changes.rows.is_empty() || !changes.delete_prefixes.is_empty();
                    !alone.keyed[*at] && parted.rest.iter().any(|stage| touched(&stage.tables[*at]))
                };
                let keys: Vec<usize> = all.clone().filter(needed).collect();
                let rows = all.filter(|at| !parted.new[*at].is_empty());
                let rows = rows.map(|at| new_rows(&namespace, &table(at), &schema.tables[at], &parted.new[at]));
                let bulk = Bulk {
                    progress: Some(alone.progress),
                    namespace: namespace.clone(),
                    keys: keys.iter().map(|at| table(*at)).collect(),
                    rows: rows.collect(),
                };
                let plan = self.writer.plan(&set.advances, &parted.rest, Some(bulk))?;
                keys.into_iter().for_each(|at| alone.keyed[at] = true);
                alone.progress += set.advances.iter().map(|advance| advance.next - advance.expected).sum::<i64>();
                for (seen, fingerprints) in alone.seen.iter_mut().zip(parted.fingerprints) {
                    seen.reserve(fingerprints.len(), |known| *known);
                    for fingerprint in fingerprints {
                        seen.entry(fingerprint, |known| *known == fingerprint, |known| *known).or_insert(fingerprint);
                    }
                }
                let full = alone.seen.iter().map(HashTable::len).sum::<usize>() > self.keys_max;
                Ok((plan, if full { State::Shared { keyed: false } } else { State::Alone(alone) }))
            }
        }
    }

    /// Parts new rows from what needs a look at the table.
    fn part<'s>(&self, set: &'s ChangeSet, alone: &Alone) -> Parted<'s> {
        let tables = alone.seen.len();
        let mut new: Vec<Vec<(&Key, &RowChange)>> = vec![Vec::new(); tables];
        let mut fingerprints: Vec<Vec<u64>> = vec![Vec::new(); tables];
        let [stage] = &set.stages[..] else {
            for (at, changes) in set.stages.iter().flat_map(|stage| stage.tables.iter().enumerate()) {
                fingerprints[at].extend(changes.rows.keys().map(|key| self.hasher.hash_one(key)));
            }
            return Parted { new, rest: Cow::Borrowed(&set.stages), fingerprints };
        };
        let mut rest = Stage { tables: vec![TableChanges::default(); tables] };
        for (at, changes) in stage.tables.iter().enumerate() {
            rest.tables[at].delete_prefixes.clone_from(&changes.delete_prefixes);
            fingerprints[at].reserve(changes.rows.len());
            for (key, change) in &changes.rows {
                let fingerprint = self.hasher.hash_one(key);
                if alone.seen[at].find(fingerprint, |known| *known == fingerprint).is_some() {
                    rest.tables[at].rows.insert(key.clone(), change.clone());
                } else if change.makes_row() {
                    new[at].push((key, change));
                    fingerprints[at].push(fingerprint);
                }
            }
        }
        let touched = |changes: &TableChanges| !changes.rows.is_empty() || !changes.delete_prefixes.is_empty();
        let rest = if rest.tables.iter().any(touched) { vec![rest] } else { Vec::new() };
        Parted { new, rest: Cow::Owned(rest), fingerprints }
    }
}

fn new_rows(namespace: &str, table: &Table, resolved: &SchemaTable, rows: &[(&Key, &RowChange)]) -> NewRows {
    // Where the value of each column stands: in the key, or in the rest.
    let sources: Vec<(bool, usize)> = (0..table.columns.len())
        .map(|column| match resolved.key.iter().position(|at| *at == column) {
            Some(at) => (true, at),
            None => (false, resolved.rest.iter().position(|at| *at == column).unwrap_or(0)),
        })
        .collect();
    if rows.len() < COPY_ROWS_MIN {
        let mut arrays: Vec<Array> = table.columns.iter().map(|column| Array::of(column.column_type)).collect();
        for (key, change) in rows {
            for (array, source) in arrays.iter_mut().zip(&sources) {
                array.push(&value(key, change, *source));
            }
        }
        return NewRows { text: sql::insert_rows(namespace, table), data: Data::Insert(arrays) };
    }
    let mut copy = CopyRows::new();
    for (key, change) in rows {
        copy.push(sources.iter().map(|source| value(key, change, *source)));
    }
    NewRows { text: sql::copy_rows(namespace, table), data: Data::Copy(copy.finish()) }
}

/// One value of a new row: of its key, or of the rest.
fn value<'s>(key: &'s Key, change: &'s RowChange, (in_key, at): (bool, usize)) -> Cow<'s, Value> {
    if in_key { Cow::Borrowed(&key.0[at]) } else { change.initial(at) }
}

impl Bulk {
    /// How long the commit may take.
    pub(super) fn limit(&self) -> Duration {
        if self.keys.is_empty() { LIMIT } else { KEYS_LIMIT }
    }

    /// Whether nobody else has committed to the generation; with the next bulk commit waiting until this one has ended.
    pub(super) async fn is_alone(
        &self,
        connection: &mut PgConnection,
        generation: &Generation,
    ) -> Result<bool, Failure> {
        let Some(expected) = self.progress else { return Ok(true) };
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1::int8)");
        lock.bind(lock_key("bulk load", &self.namespace)).execute(&mut *connection).await?;
        Ok(progress(connection, generation).await? == expected)
    }

    /// Makes the primary keys that the statements after it need.
    pub(super) async fn make_keys(&self, connection: &mut PgConnection) -> Result<(), Failure> {
        for table in &self.keys {
            finish::make_key(connection, &self.namespace, table).await?;
        }
        Ok(())
    }

    /// Writes the new rows.
    pub(super) async fn write(&self, connection: &mut PgConnection) -> Result<(), Failure> {
        for rows in &self.rows {
            match &rows.data {
                Data::Insert(arrays) => {
                    let mut arguments = PgArguments::default();
                    for array in arrays {
                        add(&mut arguments, array)?;
                    }
                    let text = AssertSqlSafe(rows.text.clone());
                    sqlx::query_with(text, arguments).execute(&mut *connection).await?;
                }
                Data::Copy(bytes) => {
                    let mut copy = connection.copy_in_raw(&rows.text).await?;
                    for chunk in bytes.chunks(COPY_CHUNK) {
                        copy.send(chunk).await?;
                    }
                    copy.finish().await?;
                }
            }
        }
        Ok(())
    }
}

/// By how much the checkpoints of a generation have moved altogether.
async fn progress(connection: &mut PgConnection, generation: &Generation) -> Result<i64, Failure> {
    let row = sqlx::query(
        "SELECT COALESCE(sum(next_offset - start_offset), 0)::int8 FROM laterna.checkpoint \
         WHERE projection = $1::text AND generation = $2::int4",
    )
    .bind(generation.projection.as_str())
    .bind(generation.number as i32)
    .fetch_one(connection)
    .await?;
    Ok(row.try_get(0)?)
}

/// Whether a generation has bare tables and nothing was ever written to it.
async fn is_empty(connection: &mut PgConnection, generation: &Generation, schema: &Schema) -> Result<bool, Failure> {
    if progress(connection, generation).await? != 0 {
        return Ok(false);
    }
    let namespace = namespace(generation);
    for table in &schema.descriptor.tables {
        let name = sql::qualified(&namespace, &table.name);
        let text = format!("SELECT EXISTS (SELECT 1 FROM {name})");
        let row = match sqlx::raw_sql(AssertSqlSafe(text)).fetch_one(&mut *connection).await.map_err(Failure::from) {
            Ok(row) => row,
            // The generation is gone: the fence says so better.
            Err(failure) if matches!(failure.code(), Some("42P01" | "3F000")) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        if row.try_get(0)? || finish::has_key(connection, &name).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Writer for BulkWriter {
    fn commit<'a>(&'a mut self, set: &'a ChangeSet) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(self.write(set))
    }
}

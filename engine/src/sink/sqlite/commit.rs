//! The writer: reads the rows that a change set touches, combines them with the plain interpreter, and writes them back, in
//! one transaction with the checkpoints.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use hashbrown::HashMap;
use sqlx::sqlite::SqliteConnection;

use super::database::{Database, End};
use super::failure::Failure;
use super::text::{self, Statement, bind, statement};
use crate::change::{Cell, ChangeSet, Key, Row, RowChange, Schema, SchemaTable, Table, apply_row_change};
use crate::checkpoint::{Advance, Generation};
use crate::error::ErrorKind;
use crate::event::TopicPartition;
use crate::sink::comparison::split;
use crate::sink::{CommitError, SinkError, Writer};

/// How many rows one statement takes: few sizes, so that prepared statements come again. Larger ones gain nothing more.
const CHUNKS: [usize; 3] = [50, 10, 1];
/// How many rows are read and combined at a time.
const PART: usize = 500;

/// Commits change sets of one generation.
pub(super) struct SqliteWriter {
    database: Arc<Database>,
    target: Arc<Target>,
}

/// What a writer writes to.
struct Target {
    generation: Generation,
    schema: Arc<Schema>,
    plugin_digest: String,
}

/// One stage of a change set, each table's keys in order: neighbours in the table's tree are written together.
struct StageRows {
    table: usize,
    prefixes: Vec<Key>,
    rows: Vec<(Key, RowChange)>,
}

impl SqliteWriter {
    pub(super) fn new(
        database: Arc<Database>,
        generation: Generation,
        schema: Arc<Schema>,
        plugin_digest: String,
    ) -> Self {
        Self { database, target: Arc::new(Target { generation, schema, plugin_digest }) }
    }
}

impl Writer for SqliteWriter {
    fn commit<'a>(&'a mut self, set: &'a ChangeSet) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(async move {
            if set.advances.is_empty() && set.is_empty() {
                return Ok(());
            }
            let tried = format!("sqlite: writing {} in {}", self.target.generation, self.database.place());
            if set.advances.is_empty() {
                let message = format!("{tried}: rows without a checkpoint; report this");
                return Err(SinkError { kind: ErrorKind::Fatal, code: "bug", message }.into());
            }
            let (target, advances, stages) = (Arc::clone(&self.target), set.advances.clone(), owned(set));
            let work = self.database.write(move |connection| {
                Box::pin(async move {
                    let fenced = fence(connection, &target, &advances).await?;
                    if !fenced.is_empty() {
                        // An error, so that the hits are undone.
                        return Err(Failure::Fenced(fenced));
                    }
                    for stage in stages {
                        write_stage(connection, &target, stage).await?;
                    }
                    Ok(())
                })
            });
            match work.await {
                Ok(()) => Ok(()),
                Err(End::Failed(Failure::Fenced(partitions))) => Err(CommitError::Fenced(partitions)),
                Err(End::Failed(failure)) => Err(CommitError::Failed(failure.into_sink_error(&tried))),
                Err(End::Unknown(failure)) => Err(CommitError::Unknown(failure.into_sink_error(&tried))),
            }
        })
    }
}

/// The set's operations for a task of its own, which may outlive the caller.
fn owned(set: &ChangeSet) -> Vec<StageRows> {
    let mut stages = Vec::new();
    for stage in &set.stages {
        for (table, changes) in stage.tables.iter().enumerate() {
            if changes.rows.is_empty() && changes.delete_prefixes.is_empty() {
                continue;
            }
            let mut rows: Vec<_> = changes.rows.iter().map(|(key, change)| (key.clone(), change.clone())).collect();
            rows.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            stages.push(StageRows { table, prefixes: changes.delete_prefixes.clone(), rows });
        }
    }
    stages
}

/// Moves all checkpoints, and tells those that do not stand where they should.
async fn fence(
    connection: &mut SqliteConnection,
    target: &Target,
    advances: &[Advance],
) -> Result<Vec<TopicPartition>, Failure> {
    let mut fenced = Vec::new();
    for advance in advances {
        let done = statement(
            "UPDATE laterna_checkpoint SET next_offset = ?1, plugin_digest = ?2, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') \
             WHERE projection = ?3 AND generation = ?4 AND topic = ?5 AND partition = ?6 AND next_offset = ?7 AND owner_epoch = ?8 \
             AND EXISTS (SELECT 1 FROM laterna_generation WHERE projection = ?3 AND generation = ?4 AND writable)",
        )
        .bind(advance.next)
        .bind(target.plugin_digest.clone())
        .bind(target.generation.projection.clone())
        .bind(target.generation.number)
        .bind(advance.partition.topic.to_string())
        .bind(advance.partition.partition)
        .bind(advance.expected)
        .bind(advance.owner_epoch)
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() != 1 {
            fenced.push(advance.partition.clone());
        }
    }
    Ok(fenced)
}

async fn write_stage(connection: &mut SqliteConnection, target: &Target, stage: StageRows) -> Result<(), Failure> {
    let (table, resolved) = (&target.schema.descriptor.tables[stage.table], &target.schema.tables[stage.table]);
    let place = Place { stored: text::stored_name(&target.generation, table), table, resolved };
    for length in 1..=resolved.key.len() {
        let prefixes: Vec<_> = stage.prefixes.iter().filter(|prefix| prefix.0.len() == length).collect();
        place.delete(connection, length, &prefixes).await?;
    }
    let mut rows = stage.rows.into_iter();
    loop {
        let part: Vec<_> = rows.by_ref().take(PART).collect();
        if part.is_empty() {
            return Ok(());
        }
        place.combine(connection, part).await?;
    }
}

/// A table of a generation.
pub(super) struct Place<'a> {
    pub(super) stored: String,
    pub(super) table: &'a Table,
    pub(super) resolved: &'a SchemaTable,
}

impl Place<'_> {
    /// Reads what the changes need, and writes what they make of it.
    async fn combine(&self, connection: &mut SqliteConnection, part: Vec<(Key, RowChange)>) -> Result<(), Failure> {
        let needed: Vec<_> = part.iter().filter(|(_, change)| reads(change)).map(|(key, _)| key).collect();
        let mut stored = self.read(connection, &needed).await?;
        let (mut written, mut deleted) = (Vec::with_capacity(part.len()), Vec::new());
        for (key, change) in part {
            let before = stored.remove(&key);
            let unchanged = before.clone();
            let after = apply_row_change(self.table, self.resolved, before, &change).map_err(|error| {
                Failure::Sink(SinkError { kind: ErrorKind::Poison, code: "value_rejected", message: error.to_string() })
            })?;
            match after {
                Some(_) if after == unchanged => {}
                Some(row) => written.push((key, row)),
                None if matches!(change, RowChange::Delete) => deleted.push(key),
                None => {}
            }
        }
        self.delete(connection, self.resolved.key.len(), &deleted.iter().collect::<Vec<_>>()).await?;
        self.write(connection, &written).await
    }

    /// The rows under these keys.
    pub(super) async fn read(
        &self,
        connection: &mut SqliteConnection,
        keys: &[&Key],
    ) -> Result<HashMap<Key, Row>, Failure> {
        let mut stored = HashMap::with_capacity(keys.len());
        for chunk in chunks(keys) {
            let select = statement(&text::select_keys(&self.stored, self.table, self.resolved, chunk.len()));
            let mut rows = with_keys(select, chunk).fetch(&mut *connection);
            while let Some(row) = rows.try_next().await? {
                let (key, rest) = split(text::decode(&row, self.table)?, self.resolved);
                stored.insert(key, rest);
            }
        }
        Ok(stored)
    }

    async fn delete(&self, connection: &mut SqliteConnection, length: usize, keys: &[&Key]) -> Result<(), Failure> {
        for chunk in chunks(keys) {
            let delete = text::delete_keys(&self.stored, self.table, self.resolved, length, chunk.len());
            with_keys(statement(&delete), chunk).execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn write(&self, connection: &mut SqliteConnection, rows: &[(Key, Row)]) -> Result<(), Failure> {
        for chunk in chunks(rows) {
            let write = statement(&text::write_rows(&self.stored, self.table, self.resolved, chunk.len()));
            let values = chunk.iter().flat_map(|(key, row)| key.0.iter().chain(row));
            values.fold(write, bind).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

fn with_keys(statement: Statement, keys: &[&Key]) -> Statement {
    keys.iter().flat_map(|key| key.0.iter()).fold(statement, bind)
}

/// Whether what the change makes depends on the stored row.
fn reads(change: &RowChange) -> bool {
    match change {
        RowChange::Delete => false,
        RowChange::Upsert(cells) => !cells.iter().all(|cell| matches!(cell, Cell::Set(_))),
        RowChange::Update(_) | RowChange::Insert(_) => true,
    }
}

/// Cuts a slice into pieces of the sizes that statements have.
fn chunks<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = CHUNKS.into_iter().find(|size| *size <= items.len())?;
        let (chunk, rest) = items.split_at(size);
        items = rest;
        Some(chunk)
    })
}

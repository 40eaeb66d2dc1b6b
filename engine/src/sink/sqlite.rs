//! The SQLite sink. Hides the file, its lock, result codes, and how values are stored.
//!
//! The engine's own tables are `laterna_*`; a generation's tables are `<table>__g<N>`, and readers use the views `<table>`.
//! Invariants: one process and one writing connection; every transaction that writes begins as one (IMMEDIATE); a commit is
//! fenced by all its checkpoints, in the same transaction as its rows; rows are combined by the interpreter that folding is
//! tested against, so decimals are exact and integers checked.
//!
//! In here: [`database`] (the file, its lock, transactions), [`catalog`] (the engine's tables, generations, checkpoints),
//! [`commit`] (the writer), [`text`] (SQL, values as they are stored), [`failure`] (what result codes mean).

mod catalog;
mod commit;
mod database;
mod failure;
#[cfg(test)]
mod tests;
mod text;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use self::database::{Database, End};
use self::failure::{Failure, refused};
use super::digest::RowsDigest;
use super::{Opened, Sink, SinkError, TableRows, Writer};
use crate::change::{ColumnType, Key, Schema, SchemaTable, Table, Value};
use crate::checkpoint::{Checkpoint, Generation, LogBounds};

/// Where the database is.
#[derive(Clone, Debug)]
pub struct SqliteSettings {
    /// The file. It is made where there is none; its folder must be there.
    pub path: PathBuf,
}

/// A SQLite file that holds projections.
pub struct SqliteSink {
    database: Arc<Database>,
}

impl SqliteSink {
    /// Takes the file for this process alone, and brings the engine's own tables up to date.
    ///
    /// # Errors
    /// Fatal where the folder is missing, another process has the file (`database_in_use`), the file is no database,
    /// or it was used by a newer engine (`schema_newer`). Transient where another program writes to it for long.
    pub async fn connect(settings: SqliteSettings) -> Result<Self, SinkError> {
        let database = Database::take(&settings.path).map_err(|failure| failure.into_sink_error("sqlite"))?;
        let sink = Self { database: Arc::new(database) };
        let place = sink.database.place();
        let tried = format!("sqlite: preparing {place}");
        sink.write(tried, move |connection| Box::pin(async move { catalog::migrate(connection, &place).await }))
            .await?;
        Ok(sink)
    }

    async fn write<T, F>(&self, tried: String, work: F) -> Result<T, SinkError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + 'static,
    {
        // Opening and claiming may be done twice, so an unknown end is no more than a failure.
        self.database
            .write(work)
            .await
            .map_err(|(End::Failed(failure) | End::Unknown(failure))| failure.into_sink_error(&tried))
    }

    async fn read<T, F>(&self, tried: String, work: F) -> Result<T, SinkError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + 'static,
    {
        self.database.read(work).await.map_err(|failure| failure.into_sink_error(&tried))
    }

    /// Feeds all rows of a table, in the table's order of columns, to `take`, up to where that says no more.
    async fn scan<S: Send + 'static>(
        &self,
        stored: String,
        table: Table,
        ordered: bool,
        (mut state, take): (S, impl Fn(&mut S, Vec<Value>) -> bool + Send + 'static),
    ) -> Result<S, SinkError> {
        let tried = format!("sqlite: reading {stored} in {}", self.database.place());
        self.read(tried, move |connection| {
            Box::pin(async move {
                let select = text::statement(&text::select_all(&stored, &table, ordered));
                let mut rows = select.fetch(connection);
                while let Some(row) = rows.try_next().await? {
                    if !take(&mut state, text::decode(&row, &table)?) {
                        break;
                    }
                }
                drop(rows);
                Ok(state)
            })
        })
        .await
    }
}

fn table_of(schema: &Schema, table: usize) -> Result<(&Table, &SchemaTable), SinkError> {
    schema.descriptor.tables.get(table).zip(schema.tables.get(table)).ok_or_else(|| {
        let message = format!("projection {:?} has no table number {table}", schema.descriptor.name);
        refused("table_missing", message).into_sink_error("sqlite")
    })
}

/// Whether SQLite orders the keys of a table as [`Key`] does: not where they are numbers or days kept as text.
fn sorts(table: &Table, resolved: &SchemaTable) -> bool {
    let by_text = |column: &usize| {
        matches!(table.columns[*column].column_type, ColumnType::Decimal | ColumnType::Timestamp | ColumnType::Date)
    };
    !resolved.key.iter().any(by_text)
}

impl Sink for SqliteSink {
    crate::sink::unbuilt::unbuilt!();

    fn open<'a>(&'a self, schema: &'a Arc<Schema>, plugin_digest: &'a str) -> BoxFuture<'a, Result<Opened, SinkError>> {
        let (opened, digest) = (Arc::clone(schema), plugin_digest.to_owned());
        let tried = format!("sqlite: opening projection {:?} in {}", schema.descriptor.name, self.database.place());
        Box::pin(
            self.write(tried, move |connection| {
                Box::pin(async move { catalog::open(connection, &opened, &digest).await })
            }),
        )
    }

    fn claim<'a>(
        &'a self,
        generation: &'a Generation,
        partitions: &'a [LogBounds],
    ) -> BoxFuture<'a, Result<Vec<Checkpoint>, SinkError>> {
        let mut sorted = partitions.to_vec();
        sorted.sort_by(|a, b| a.partition.cmp(&b.partition));
        sorted.dedup_by(|a, b| a.partition == b.partition);
        let of = generation.clone();
        let tried = format!("sqlite: claiming partitions for {generation} in {}", self.database.place());
        Box::pin(
            self.write(tried, move |connection| {
                Box::pin(async move { catalog::claim(connection, &of, &sorted).await })
            }),
        )
    }

    fn checkpoints<'a>(&'a self, generation: &'a Generation) -> BoxFuture<'a, Result<Vec<Checkpoint>, SinkError>> {
        let of = generation.clone();
        let tried = format!("sqlite: reading the checkpoints of {generation} in {}", self.database.place());
        Box::pin(
            self.read(tried, move |connection| Box::pin(async move { catalog::checkpoints(connection, &of).await })),
        )
    }

    fn writer(&self, generation: &Generation, schema: &Arc<Schema>, plugin_digest: &str) -> Box<dyn Writer> {
        let (database, schema) = (Arc::clone(&self.database), Arc::clone(schema));
        Box::new(commit::SqliteWriter::new(database, generation.clone(), schema, plugin_digest.to_owned()))
    }

    fn writers_max(&self) -> usize {
        1
    }

    fn rows<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
        table: usize,
        limit: Option<u64>,
    ) -> BoxFuture<'a, Result<TableRows, SinkError>> {
        Box::pin(async move {
            let (declared, resolved) = table_of(schema, table)?;
            let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
            let ordered = sorts(declared, resolved);
            let until = if ordered { limit } else { usize::MAX };
            let take = move |rows: &mut Vec<Vec<Value>>, row| {
                if rows.len() < until {
                    rows.push(row);
                }
                rows.len() < until
            };
            let stored = text::stored_name(generation, declared);
            let mut rows = self.scan(stored, declared.clone(), ordered, (Vec::new(), take)).await?;
            if !ordered {
                rows.sort_by_cached_key(|row| Key(resolved.key.iter().map(|column| row[*column].clone()).collect()));
                rows.truncate(limit);
            }
            let columns = declared.columns.iter().map(|column| column.name.clone()).collect();
            Ok(TableRows { columns, rows: rows.iter().map(|row| row.iter().map(Value::to_json).collect()).collect() })
        })
    }

    fn digest<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
        table: usize,
    ) -> BoxFuture<'a, Result<String, SinkError>> {
        Box::pin(async move {
            let (declared, _) = table_of(schema, table)?;
            let take = |digest: &mut RowsDigest, row: Vec<Value>| {
                digest.row(row.iter());
                true
            };
            let stored = text::stored_name(generation, declared);
            let digest = self.scan(stored, declared.clone(), false, (RowsDigest::default(), take)).await?;
            Ok(digest.finish())
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<String, SinkError>> {
        let tried = format!("sqlite: asking {} for its version", self.database.place());
        Box::pin(self.read(tried, |connection| {
            Box::pin(async move {
                // It reads the file, so that one which is gone or broken is told.
                let select = "SELECT 'SQLite ' || sqlite_version() FROM laterna_meta";
                Ok(text::statement(select).fetch_one(connection).await?.try_get(0)?)
            })
        }))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.database.close())
    }
}

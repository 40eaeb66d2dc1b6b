//! The SQLite sink. Hides the file, its lock, result codes, and how values are stored.
//!
//! The engine's own tables are `laterna_*`; a generation's tables are `<table>__g<N>`, and readers use the views `<table>`.
//! Invariants: one process and one writing connection; every transaction that writes begins as one (IMMEDIATE); a commit is
//! fenced by all its checkpoints, in the same transaction as its rows; rows are combined by the interpreter that folding is
//! tested against, so decimals are exact and integers checked.
//!
//! In here: [`database`] (the file, its lock, transactions), [`catalog`] (the engine's tables, checkpoints), [`commit`] (the writer),
//! [`transaction`] (orders, generations' tables and views), [`compare`] (two generations), [`text`] (SQL, values as they are stored),
//! [`failure`] (what result codes mean).

mod catalog;
mod commit;
mod compare;
mod database;
mod failure;
#[cfg(test)]
mod tests;
mod text;
mod transaction;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use self::commit::Place;
use self::database::{Database, End};
use self::failure::{Failure, refused};
use self::transaction::SqliteTransaction;
use super::digest::RowsDigest;
use super::registry::{audit, orders, records};
use super::{
    Asked, AuditEntry, Build, Comparison, Done, Opened, Order, OrderError, Registry, Sink, SinkError, TableRows, Writer,
};
use crate::change::{Key, Row, Schema, SchemaTable, Table, Value};
use crate::checkpoint::{Checkpoint, Generation, LogBounds};
use crate::event::TopicPartition;

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

    /// Runs `work` in a transaction of its own, as an order.
    async fn in_transaction<T, W>(&self, tried: String, work: W) -> Result<T, OrderError>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut SqliteTransaction<'_>) -> BoxFuture<'t, Result<T, OrderError>> + Send + 'static,
    {
        let tried = format!("sqlite: {tried} in {}", self.database.place());
        let trying = tried.clone();
        let done = self.database.write(move |connection| {
            Box::pin(async move {
                let mut tx = SqliteTransaction::new(connection, &trying);
                Ok(work(&mut tx).await?)
            })
        });
        done.await.map_err(|(End::Failed(failure) | End::Unknown(failure))| failure.into_order_error(&tried))
    }

    /// Reads the engine's own tables in one snapshot.
    async fn look<T, W>(&self, tried: String, work: W) -> Result<T, SinkError>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut SqliteTransaction<'_>) -> BoxFuture<'t, Result<T, SinkError>> + Send + 'static,
    {
        let tried = format!("sqlite: {tried} in {}", self.database.place());
        let trying = tried.clone();
        self.read(tried, move |connection| {
            Box::pin(async move {
                sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
                let mut tx = SqliteTransaction::new(connection, &trying);
                Ok(work(&mut tx).await?)
            })
        })
        .await
    }

    async fn read<T, F>(&self, tried: String, work: F) -> Result<T, SinkError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + 'static,
    {
        self.database.read(work).await.map_err(|failure| failure.into_sink_error(&tried))
    }

    /// Feeds the rows that `select` gives, in the table's order of columns, to `take`.
    async fn scan<S: Send + 'static>(
        &self,
        select: String,
        table: Table,
        (mut state, take): (S, impl Fn(&mut S, Vec<Value>) + Send + 'static),
    ) -> Result<S, SinkError> {
        let tried = format!("sqlite: reading {} in {}", table.name, self.database.place());
        self.read(tried, move |connection| {
            Box::pin(async move {
                let mut rows = text::statement(&select).fetch(connection);
                while let Some(row) = rows.try_next().await? {
                    take(&mut state, text::decode(&row, &table)?);
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

impl Sink for SqliteSink {
    fn open<'a>(&'a self, schema: &'a Arc<Schema>, plugin_digest: &'a str) -> BoxFuture<'a, Result<Opened, SinkError>> {
        let (schema, digest) = (Arc::clone(schema), plugin_digest.to_owned());
        let tried = format!("opening projection {:?}", schema.descriptor.name);
        Box::pin(async move {
            let opened =
                self.in_transaction(tried, move |tx| Box::pin(async move { orders::open(tx, &schema, &digest).await }));
            opened.await.map_err(SinkError::from)
        })
    }

    fn check_tables<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        let (of, tables) = (generation.clone(), schema.descriptor.tables.clone());
        Box::pin(self.look(format!("looking for the tables of {generation}"), move |tx| {
            Box::pin(async move { orders::check_tables(tx, &of, &tables).await })
        }))
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

    fn starts<'a>(
        &'a self,
        generation: &'a Generation,
    ) -> BoxFuture<'a, Result<Vec<(TopicPartition, i64)>, SinkError>> {
        let of = generation.clone();
        let tried = format!("sqlite: reading where {generation} began in {}", self.database.place());
        Box::pin(self.read(tried, move |connection| Box::pin(async move { catalog::starts(connection, &of).await })))
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
            let (declared, _) = table_of(schema, table)?;
            let select = text::select_ordered(&text::stored_name(generation, declared), declared, limit);
            let take = |rows: &mut Vec<Vec<serde_json::Value>>, row: Vec<Value>| {
                rows.push(row.iter().map(Value::to_json).collect());
            };
            let rows = self.scan(select, declared.clone(), (Vec::new(), take)).await?;
            let columns = declared.columns.iter().map(|column| column.name.clone()).collect();
            Ok(TableRows { columns, rows })
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
            let take = |digest: &mut RowsDigest, row: Vec<Value>| digest.row(row.iter());
            let select = text::select_all(&text::stored_name(generation, declared), declared);
            let digest = self.scan(select, declared.clone(), (RowsDigest::default(), take)).await?;
            Ok(digest.finish())
        })
    }

    fn registry(&self) -> BoxFuture<'_, Result<Registry, SinkError>> {
        let tried = "reading what is known of the projections".to_owned();
        Box::pin(self.look(tried, |tx| Box::pin(records::registry(tx))))
    }

    fn order<'a>(&'a self, order: &'a Order, asked: &'a Asked) -> BoxFuture<'a, Result<Done, OrderError>> {
        let tried = format!("order {} for {}", order.name(), order.projection());
        let work = (order.clone(), asked.clone());
        Box::pin(
            self.in_transaction(tried, move |tx| {
                Box::pin(async move { orders::carry_out(tx, &work.0, &work.1).await })
            }),
        )
    }

    fn answered<'a>(&'a self, asked: &'a Asked) -> BoxFuture<'a, Result<Option<Done>, OrderError>> {
        let (of, tried) = (asked.clone(), "looking up a request".to_owned());
        Box::pin(self.in_transaction(tried, move |tx| {
            Box::pin(async move { audit::answered(tx, &of, of.request.as_deref().unwrap_or_default()).await })
        }))
    }

    fn store_build<'a>(&'a self, build: &'a Build) -> BoxFuture<'a, Result<(), SinkError>> {
        let (stored, tried) = (build.clone(), format!("storing build {}", build.digest));
        Box::pin(async move {
            let done = self
                .in_transaction(tried, move |tx| Box::pin(async move { Ok(records::store_build(tx, &stored).await?) }));
            done.await.map_err(SinkError::from)
        })
    }

    fn load_build<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<Build>, SinkError>> {
        let (of, tried) = (digest.to_owned(), format!("loading build {digest}"));
        Box::pin(self.look(tried, move |tx| Box::pin(async move { records::load_build(tx, &of).await })))
    }

    fn audit<'a>(
        &'a self,
        projection: Option<&'a str>,
        before: Option<i64>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<AuditEntry>, SinkError>> {
        let of = projection.map(str::to_owned);
        Box::pin(self.look("reading the audit".to_owned(), move |tx| {
            Box::pin(async move { records::audit(tx, of.as_deref(), before, limit).await })
        }))
    }

    fn bulk_writer(&self, generation: &Generation, schema: &Arc<Schema>, plugin_digest: &str) -> Box<dyn Writer> {
        // A key in a STRICT table is the table's own order or a second one; to make it last would be to write every row twice.
        self.writer(generation, schema, plugin_digest)
    }

    fn finish_tables<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        let (of, tables) = (generation.clone(), schema.descriptor.tables.clone());
        let tried = format!("making the indexes of {generation}");
        Box::pin(async move {
            let done = self.in_transaction(tried, move |tx| {
                Box::pin(async move {
                    for table in &tables {
                        let stored = text::stored_name(&of, table);
                        for index in &table.indexes {
                            tx.make_index(&stored, index).await?;
                        }
                    }
                    Ok(())
                })
            });
            done.await.map_err(SinkError::from)
        })
    }

    fn compare<'a>(&'a self, live: &'a Generation) -> BoxFuture<'a, Result<Box<dyn Comparison>, SinkError>> {
        Box::pin(async move {
            let tried = format!("sqlite: looking at {live} in {}", self.database.place());
            let begun = compare::begin(&self.database, live).await;
            let comparison: Box<dyn Comparison> = Box::new(begun.map_err(|failure| failure.into_sink_error(&tried))?);
            Ok(comparison)
        })
    }

    fn rows_at<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
        table: usize,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Option<Row>>, SinkError>> {
        Box::pin(async move {
            let (declared, resolved) = table_of(schema, table)?;
            let (declared, resolved, keys) = (declared.clone(), resolved.clone(), keys.to_vec());
            let stored = text::stored_name(generation, &declared);
            let tried = format!("sqlite: reading {stored} in {}", self.database.place());
            let read = self.read(tried, move |connection| {
                Box::pin(async move {
                    let place = Place { stored, table: &declared, resolved: &resolved };
                    let found = place.read(connection, &keys.iter().collect::<Vec<_>>()).await?;
                    Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
                })
            });
            read.await
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

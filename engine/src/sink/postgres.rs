//! The PostgreSQL sink. Hides connections, sessions, SQLSTATEs, the binary protocol and the catalogue.
//!
//! The engine's own tables stand in schema `laterna`; each generation's tables in schema `<projection>_g<N>`; readers use
//! views in schema `<projection>`. Invariants:
//! - a commit is fenced by all its checkpoints, in the same transaction as its rows, and its first statement locks them;
//! - every statement's result counts, because the driver calls the commit of an aborted transaction a success;
//! - keys are sorted within a statement and statements come in one order, so that writers do not deadlock;
//! - a connection whose last answer is missing is never used again, and what it was doing is told as unknown.
//!
//! In here: [`connection`] (made, checked, bounded), [`catalog`] (the engine's tables), [`commit`] (the writer), [`plan`] (a change
//! set as statements), [`bulk`] (the writer that fills a generation), [`finish`] (keys and indexes that come last), [`transaction`] (orders,
//! generations' tables), [`views`] (what readers use), [`compare`] (two generations, rows by key), [`wire`] (values as bytes), [`failure`]
//! (what errors mean).

mod bulk;
mod catalog;
mod commit;
mod compare;
mod connection;
mod failure;
mod finish;
mod plan;
#[cfg(all(test, feature = "external-tests"))]
mod tests;
mod transaction;
mod views;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use self::connection::Database;
use self::failure::Failure;
use self::transaction::PostgresTransaction;
use super::digest::RowsDigest;
use super::registry::{orders, records};
use super::{
    Asked, AuditEntry, Build, Comparison, Done, Opened, Order, OrderError, Registry, Sink, SinkError, TableRows,
    Writer, sql,
};
use crate::change::{Key, Row, Schema, Table, Value};
use crate::checkpoint::{Checkpoint, Generation, LogBounds};
use crate::error::ErrorKind;
use crate::event::TopicPartition;

/// How a transaction begins that writes, and one that only reads.
const BEGIN: &str = "BEGIN";
const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// How to reach a PostgreSQL database, and how long to wait for it.
#[derive(Clone)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database?sslmode=..`; the server takes writes. Never shown.
    pub url: String,
    /// How long connecting may take, the session's settings included.
    pub connect_timeout: Duration,
    /// How long a commit, a claim or another short piece of work may take.
    pub commit_timeout: Duration,
    /// How long a statement waits for a lock before the work is tried again later; below `commit_timeout`.
    pub lock_timeout: Duration,
    /// Whether a commit waits until it is on disk. Without, a crash of the server may take back the last commits, each with
    /// its checkpoint: the events are applied again, and nothing is wrong in between.
    pub synchronous_commit: bool,
    /// How many writers may commit side by side, each on a connection of its own; at least 1.
    pub writers_max: usize,
}

impl PostgresSettings {
    /// The defaults for a database: 10 s to connect, 30 s to commit, 10 s for a lock, synchronous, two writers.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connect_timeout: Duration::from_secs(10),
            commit_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            synchronous_commit: true,
            writers_max: 2,
        }
    }
}

impl std::fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("connect_timeout", &self.connect_timeout)
            .field("commit_timeout", &self.commit_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("synchronous_commit", &self.synchronous_commit)
            .field("writers_max", &self.writers_max)
            .finish_non_exhaustive()
    }
}

/// A PostgreSQL database that holds projections.
pub struct PostgresSink {
    database: Arc<Database>,
    writers_max: usize,
    commit_timeout: Duration,
}

impl PostgresSink {
    /// Connects, checks that the server takes writes, and brings the engine's own tables up to date.
    ///
    /// # Errors
    /// Transient where the database does not answer; fatal where it refuses the user, is a standby, does not exist, or was
    /// used by a newer engine.
    pub async fn connect(settings: PostgresSettings) -> Result<Self, SinkError> {
        let (writers_max, commit_timeout) = (settings.writers_max.max(1), settings.commit_timeout);
        let sink = Self { database: Arc::new(Database::new(settings)?), writers_max, commit_timeout };
        let tried = format!("preparing schema \"laterna\" of {}", sink.database.place());
        let migrated =
            sink.database.transaction(commit_timeout, BEGIN, |connection| Box::pin(catalog::migrate(connection)));
        migrated.await.map_err(|failure| failure.into_sink_error(&tried))?;
        Ok(sink)
    }

    /// Runs `work` in a transaction of its own, as an order.
    async fn in_transaction<T, W>(&self, begin: &'static str, tried: String, work: W) -> Result<T, OrderError>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut PostgresTransaction<'_>) -> BoxFuture<'t, Result<T, OrderError>> + Send + 'static,
    {
        let trying = tried.clone();
        let done = self.database.transaction(self.commit_timeout, begin, move |connection| {
            Box::pin(async move {
                let mut tx = PostgresTransaction::new(connection, &trying);
                Ok(work(&mut tx).await?)
            })
        });
        done.await.map_err(|failure| failure.into_order_error(&tried))
    }

    /// Reads the engine's own tables in one snapshot.
    async fn read<T, W>(&self, tried: String, work: W) -> Result<T, SinkError>
    where
        T: Send + 'static,
        W: for<'t> FnOnce(&'t mut PostgresTransaction<'_>) -> BoxFuture<'t, Result<T, OrderError>> + Send + 'static,
    {
        self.in_transaction(BEGIN_SNAPSHOT, tried, work).await.map_err(SinkError::from)
    }
}

/// The schema that holds a generation's tables.
fn namespace(generation: &Generation) -> String {
    format!("{}_g{}", generation.projection, generation.number)
}

impl Sink for PostgresSink {
    fn open<'a>(&'a self, schema: &'a Arc<Schema>, plugin_digest: &'a str) -> BoxFuture<'a, Result<Opened, SinkError>> {
        let (schema, digest) = (Arc::clone(schema), plugin_digest.to_owned());
        let tried = format!("opening projection {:?}", schema.descriptor.name);
        Box::pin(async move {
            let opened = self.in_transaction(BEGIN, tried, move |tx| {
                Box::pin(async move {
                    tx.begin_order(&schema.descriptor.name).await?;
                    orders::open(tx, &schema, &digest).await
                })
            });
            opened.await.map_err(SinkError::from)
        })
    }

    fn check_tables<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        let (of, tables) = (generation.clone(), schema.descriptor.tables.clone());
        Box::pin(self.read(format!("looking for the tables of {generation}"), move |tx| {
            Box::pin(async move { Ok(orders::check_tables(tx, &of, &tables).await?) })
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
        let work = Arc::new((generation.clone(), sorted));
        let tried = format!("claiming partitions for {generation}");
        Box::pin(self.database.run(Some(self.commit_timeout), tried, move |connection| {
            let work = Arc::clone(&work);
            Box::pin(async move { claim(connection, &work.0, &work.1).await })
        }))
    }

    fn checkpoints<'a>(&'a self, generation: &'a Generation) -> BoxFuture<'a, Result<Vec<Checkpoint>, SinkError>> {
        let work = generation.clone();
        let tried = format!("reading the checkpoints of {generation}");
        Box::pin(self.database.run_fresh(self.commit_timeout, tried, move |connection| {
            let generation = work.clone();
            Box::pin(async move { checkpoints(connection, &generation).await })
        }))
    }

    fn starts<'a>(
        &'a self,
        generation: &'a Generation,
    ) -> BoxFuture<'a, Result<Vec<(TopicPartition, i64)>, SinkError>> {
        let work = generation.clone();
        let tried = format!("reading where {generation} began");
        Box::pin(self.database.run(Some(self.commit_timeout), tried, move |connection| {
            let generation = work.clone();
            Box::pin(async move {
                let rows = sqlx::query(
                    "SELECT topic, partition, start_offset FROM laterna.checkpoint \
                     WHERE projection = $1::text AND generation = $2::int4 ORDER BY topic COLLATE \"C\", partition",
                )
                .bind(generation.projection.as_str())
                .bind(generation.number as i32)
                .fetch_all(connection)
                .await?;
                let start = |row: &sqlx::postgres::PgRow| {
                    Ok((TopicPartition::new(row.try_get::<String, _>(0)?, row.try_get(1)?), row.try_get(2)?))
                };
                rows.iter().map(start).collect()
            })
        }))
    }

    fn writer(&self, generation: &Generation, schema: &Arc<Schema>, plugin_digest: &str) -> Box<dyn Writer> {
        Box::new(commit::PostgresWriter::new(
            Arc::clone(&self.database),
            generation.clone(),
            Arc::clone(schema),
            plugin_digest.to_owned(),
            commit::Session { limit: self.commit_timeout, settings: "" },
        ))
    }

    fn writers_max(&self) -> usize {
        self.writers_max
    }

    fn rows<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
        table: usize,
        limit: Option<u64>,
    ) -> BoxFuture<'a, Result<TableRows, SinkError>> {
        Box::pin(async move {
            let declared = table_of(schema, table)?;
            let columns = declared.columns.iter().map(|column| column.name.clone()).collect();
            let rows = self
                .scan(generation, declared, limit, Vec::new, |rows: &mut Vec<Vec<serde_json::Value>>, row| {
                    rows.push(row.iter().map(Value::to_json).collect());
                })
                .await?;
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
            let declared = table_of(schema, table)?;
            let digest = self
                .scan(generation, declared, None, RowsDigest::default, |digest: &mut RowsDigest, row| {
                    digest.row(row.iter())
                })
                .await?;
            Ok(digest.finish())
        })
    }

    fn registry(&self) -> BoxFuture<'_, Result<Registry, SinkError>> {
        let tried = "reading what is known of the projections".to_owned();
        Box::pin(self.read(tried, |tx| Box::pin(async move { Ok(records::registry(tx).await?) })))
    }

    fn order<'a>(&'a self, order: &'a Order, asked: &'a Asked) -> BoxFuture<'a, Result<Done, OrderError>> {
        Box::pin(async move {
            let tried = format!("order {} for {}", order.name(), order.projection());
            let work = (order.clone(), asked.clone());
            let done = self.in_transaction(BEGIN, tried, move |tx| {
                Box::pin(async move {
                    tx.begin_order(work.0.projection()).await?;
                    orders::carry_out(tx, &work.0, &work.1).await
                })
            });
            done.await
        })
    }

    fn store_build<'a>(&'a self, build: &'a Build) -> BoxFuture<'a, Result<(), SinkError>> {
        let (stored, tried) = (build.clone(), format!("storing build {}", build.digest));
        Box::pin(async move {
            let done = self.in_transaction(BEGIN, tried, move |tx| {
                Box::pin(async move { Ok(records::store_build(tx, &stored).await?) })
            });
            done.await.map_err(SinkError::from)
        })
    }

    fn load_build<'a>(&'a self, digest: &'a str) -> BoxFuture<'a, Result<Option<Build>, SinkError>> {
        let (of, tried) = (digest.to_owned(), format!("loading build {digest}"));
        Box::pin(self.read(tried, move |tx| Box::pin(async move { Ok(records::load_build(tx, &of).await?) })))
    }

    fn audit<'a>(
        &'a self,
        projection: Option<&'a str>,
        before: Option<i64>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<AuditEntry>, SinkError>> {
        let of = projection.map(str::to_owned);
        Box::pin(self.read("reading the audit".to_owned(), move |tx| {
            Box::pin(async move { Ok(records::audit(tx, of.as_deref(), before, limit).await?) })
        }))
    }

    fn bulk_writer(&self, generation: &Generation, schema: &Arc<Schema>, plugin_digest: &str) -> Box<dyn Writer> {
        Box::new(bulk::BulkWriter::new(
            Arc::clone(&self.database),
            generation.clone(),
            Arc::clone(schema),
            plugin_digest.to_owned(),
        ))
    }

    fn finish_tables<'a>(
        &'a self,
        generation: &'a Generation,
        schema: &'a Schema,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        let (of, schema) = (generation.clone(), schema.clone());
        let tried = format!("making keys and indexes of {generation}");
        Box::pin(self.database.run_apart(tried, move |connection| {
            Box::pin(async move { finish::finish(connection, &of, &schema).await })
        }))
    }

    fn compare<'a>(&'a self, live: &'a Generation) -> BoxFuture<'a, Result<Box<dyn Comparison>, SinkError>> {
        Box::pin(async move {
            let comparison: Box<dyn Comparison> = Box::new(compare::begin(&self.database, live).await?);
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
            let declared = table_of(schema, table)?.clone();
            let work = Arc::new((generation.clone(), declared, schema.tables[table].clone(), keys.to_vec()));
            let tried = format!("reading {}.{}", namespace(generation), work.1.name);
            let read = self.database.run(Some(self.commit_timeout), tried, move |connection| {
                let work = Arc::clone(&work);
                Box::pin(async move { compare::rows_at(connection, &work.0, (&work.1, &work.2), &work.3).await })
            });
            read.await
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<String, SinkError>> {
        let tried = format!("asking {} for its version", self.database.place());
        Box::pin(self.database.run(Some(self.commit_timeout), tried, |connection| {
            Box::pin(async move {
                let row = sqlx::query("SELECT 'PostgreSQL ' || current_setting('server_version')")
                    .fetch_one(connection)
                    .await?;
                Ok(row.try_get(0)?)
            })
        }))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.database.close())
    }
}

impl PostgresSink {
    /// Feeds all rows of a table, in key order and in the table's order of columns, to `take`.
    async fn scan<S: Send + 'static>(
        &self,
        generation: &Generation,
        table: &Table,
        limit: Option<u64>,
        start: impl Fn() -> S + Send + Sync + 'static,
        take: impl Fn(&mut S, Vec<Value>) + Send + Sync + 'static,
    ) -> Result<S, SinkError> {
        let text: Arc<str> = sql::select_rows(&namespace(generation), table, limit.is_some()).into();
        let types: Vec<_> = table.columns.iter().map(|column| column.column_type).collect();
        let tried = format!("reading {}.{}", namespace(generation), table.name);
        let work = Arc::new((text, types, start, take));
        // Without a deadline: a large table takes its time.
        self.database
            .run(None, tried, move |connection| {
                let work = Arc::clone(&work);
                Box::pin(async move {
                    let (text, types, start, take) = &*work;
                    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(text)));
                    if let Some(limit) = limit {
                        query = query.bind(i64::try_from(limit).unwrap_or(i64::MAX));
                    }
                    let mut rows = query.fetch(connection);
                    let mut state = start();
                    while let Some(row) = rows.try_next().await? {
                        let values = types
                            .iter()
                            .enumerate()
                            .map(|(at, column_type)| wire::decode(&row, at, *column_type).map_err(sqlx::Error::Decode));
                        take(&mut state, values.collect::<Result<Vec<_>, _>>()?);
                    }
                    Ok(state)
                })
            })
            .await
    }
}

fn table_of(schema: &Schema, table: usize) -> Result<&Table, SinkError> {
    schema.tables.get(table).and_then(|resolved| schema.descriptor.tables.get(resolved.index)).ok_or_else(|| {
        SinkError {
            kind: ErrorKind::Fatal,
            code: "table_missing",
            message: format!("projection {:?} has no table number {table}", schema.descriptor.name),
        }
    })
}

/// Takes partitions over. One statement: a commit of the former owner that is under way holds the row until it ends.
async fn claim(
    connection: &mut PgConnection,
    generation: &Generation,
    partitions: &[LogBounds],
) -> Result<Vec<Checkpoint>, Failure> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "INSERT INTO laterna.checkpoint AS c \
         (projection, generation, topic, partition, next_offset, owner_epoch, topic_id, start_offset) \
         SELECT g.projection, g.generation, w.topic, w.partition, w.start_offset, 1, w.topic_id, w.start_offset \
         FROM UNNEST($3::text[], $4::int4[], $5::int8[], $6::text[]) AS w(topic, partition, start_offset, topic_id) \
         JOIN laterna.generation AS g \
         ON g.projection = $1::text AND g.generation = $2::int4 AND g.writable \
         ORDER BY w.topic COLLATE \"C\", w.partition \
         ON CONFLICT (projection, generation, topic, partition) DO UPDATE SET owner_epoch = c.owner_epoch + 1, \
         topic_id = COALESCE(c.topic_id, EXCLUDED.topic_id), updated_at = now() \
         RETURNING topic, partition, next_offset, owner_epoch, topic_id",
    )
    .bind(generation.projection.as_str())
    .bind(generation.number as i32)
    .bind(wire::Array::text(partitions.iter().map(|bounds| Some(&*bounds.partition.topic))))
    .bind(wire::Array::int4(partitions.iter().map(|bounds| bounds.partition.partition)))
    .bind(wire::Array::int8(partitions.iter().map(|bounds| bounds.start)))
    .bind(wire::Array::text(partitions.iter().map(|bounds| bounds.topic_id.as_deref())))
    .fetch_all(connection)
    .await?;
    if rows.len() != partitions.len() {
        return Err(Failure::Sink(SinkError {
            kind: ErrorKind::Fatal,
            code: "generation_retired",
            message: format!(
                "{generation} is not written any longer: laterna.generation says that it is not writable, or has no record of it"
            ),
        }));
    }
    rows.iter().map(checkpoint).collect()
}

/// The checkpoints of a generation, in the order of topics and partitions.
async fn checkpoints(connection: &mut PgConnection, generation: &Generation) -> Result<Vec<Checkpoint>, Failure> {
    let rows = sqlx::query(
        "SELECT topic, partition, next_offset, owner_epoch, topic_id FROM laterna.checkpoint \
         WHERE projection = $1::text AND generation = $2::int4 ORDER BY topic COLLATE \"C\", partition",
    )
    .bind(generation.projection.as_str())
    .bind(generation.number as i32)
    .fetch_all(connection)
    .await?;
    rows.iter().map(checkpoint).collect()
}

fn checkpoint(row: &sqlx::postgres::PgRow) -> Result<Checkpoint, Failure> {
    Ok(Checkpoint {
        partition: TopicPartition::new(row.try_get::<String, _>(0)?, row.try_get(1)?),
        next_offset: row.try_get(2)?,
        owner_epoch: row.try_get(3)?,
        topic_id: row.try_get(4)?,
    })
}

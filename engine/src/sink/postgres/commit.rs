//! The writer: one change set, one transaction, and what is known when it ends.
//!
//! A small set is one statement that commits by itself; its outcome is unknown whenever the answer is missing. Otherwise:
//! BEGIN, fence, rows, COMMIT, each awaited and checked; the outcome is unknown only from the moment that COMMIT is sent.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{Arguments as _, AssertSqlSafe, Row as _};

use super::connection::{Database, Overdue, bounded};
use super::failure::Failure;
use super::namespace;
use super::plan::{self, Step};
use super::wire::Array;
use crate::change::{ChangeSet, Schema};
use crate::checkpoint::{Advance, Generation};
use crate::error::ErrorKind;
use crate::event::TopicPartition;
use crate::sink::sql::{self, Signature};
use crate::sink::{CommitError, SinkError, Writer};

/// How many one-statement texts a writer makes; further combinations of changes go the long way, whose texts are few.
const SHORT_TEXTS_MAX: usize = 64;

/// SQLSTATE of the division by zero that a missed fence is in a single statement.
const MISSED: &str = "22012";

/// Commits change sets of one generation on a connection of its own.
pub(super) struct PostgresWriter {
    database: Arc<Database>,
    generation: Generation,
    schema: Arc<Schema>,
    digest: Arc<str>,
    connection: Option<PgConnection>,
    texts: HashMap<Signature, Arc<str>>,
    short_texts: HashMap<(Vec<Signature>, bool), Arc<str>>,
}

/// How an attempt ended that did not commit.
enum End {
    Fenced(Vec<TopicPartition>),
    Failed(Failure),
    Unknown(Failure),
}

/// Everything that a commit sends.
struct Plan {
    advances: Vec<Advance>,
    /// Projection, generation and plugin digest for the fence.
    generation: Generation,
    digest: Arc<str>,
    steps: Vec<Step>,
    locks: Vec<i64>,
    /// One text for all steps, or one for each.
    texts: Texts,
}

enum Texts {
    Short(Arc<str>),
    Long(Vec<Arc<str>>),
}

impl PostgresWriter {
    pub(super) fn new(database: Arc<Database>, generation: Generation, schema: Arc<Schema>, digest: String) -> Self {
        Self {
            database,
            generation,
            schema,
            digest: digest.into(),
            connection: None,
            texts: HashMap::new(),
            short_texts: HashMap::new(),
        }
    }

    /// Turns a change set into statements.
    fn plan(&mut self, set: &ChangeSet) -> Result<Plan, SinkError> {
        let rows = plan::rows(set, &self.schema, &self.generation);
        if set.advances.is_empty() || !rows.steps.iter().all(Step::is_even) {
            return Err(SinkError {
                kind: ErrorKind::Fatal,
                code: "bug",
                message: format!(
                    "{}: a change set without checkpoints or with torn rows; report this",
                    self.generation
                ),
            });
        }
        let namespace = namespace(&self.generation);
        let schema = &self.schema;
        let mut short = None;
        if rows.short {
            let key =
                (rows.steps.iter().map(|step| step.signature.clone()).collect::<Vec<_>>(), !rows.locks.is_empty());
            short = self.short_texts.get(&key).cloned();
            if short.is_none() && self.short_texts.len() < SHORT_TEXTS_MAX {
                let text: Arc<str> = sql::one_statement(schema, &namespace, &key.0, key.1).into();
                short = Some(Arc::clone(&text));
                self.short_texts.insert(key, text);
            }
        }
        let texts = match short {
            Some(text) => Texts::Short(text),
            None => Texts::Long(
                rows.steps
                    .iter()
                    .map(|step| match self.texts.get(&step.signature) {
                        Some(text) => Arc::clone(text),
                        None => {
                            let text: Arc<str> = step.signature.text(schema, &namespace, 1, None).into();
                            self.texts.insert(step.signature.clone(), Arc::clone(&text));
                            text
                        }
                    })
                    .collect(),
            ),
        };
        let mut advances = set.advances.clone();
        advances.sort_by(|a, b| a.partition.cmp(&b.partition));
        let (generation, digest) = (self.generation.clone(), Arc::clone(&self.digest));
        Ok(Plan { advances, generation, digest, steps: rows.steps, locks: rows.locks, texts })
    }

    async fn write(&mut self, set: &ChangeSet) -> Result<(), CommitError> {
        if set.advances.is_empty() && set.is_empty() {
            return Ok(());
        }
        let plan = Arc::new(self.plan(set)?);
        let tried = format!("writing {}", self.generation);
        let mut retried = false;
        loop {
            let connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.database.connect().await?,
            };
            let work = run(connection, Arc::clone(&plan));
            let limit = self.database.commit_timeout();
            let (connection, result) = match bounded(Some(limit), work).await {
                Ok(ended) => ended,
                Err(Overdue) => {
                    return Err(CommitError::Unknown(SinkError {
                        kind: ErrorKind::Transient,
                        code: "commit_overdue",
                        message: format!("{tried}: no answer from {} within {limit:?}", self.database.place()),
                    }));
                }
            };
            self.connection = connection;
            return match result {
                Ok(()) => Ok(()),
                Err(End::Fenced(partitions)) => Err(CommitError::Fenced(partitions)),
                Err(End::Unknown(failure)) => Err(CommitError::Unknown(failure.into_sink_error(&tried))),
                Err(End::Failed(failure)) => {
                    if failure.stale() {
                        // The tables changed under what this connection has prepared; another one prepares anew.
                        self.connection = None;
                        if !retried {
                            retried = true;
                            continue;
                        }
                    }
                    Err(CommitError::Failed(failure.into_sink_error(&tried)))
                }
            };
        }
    }
}

impl Writer for PostgresWriter {
    fn commit<'a>(&'a mut self, set: &'a ChangeSet) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(self.write(set))
    }
}

/// Makes one attempt. Gives the connection back if it is fit for another commit.
async fn run(mut connection: PgConnection, plan: Arc<Plan>) -> (Option<PgConnection>, Result<(), End>) {
    let result = match &plan.texts {
        Texts::Short(text) => plan.short(&mut connection, text).await,
        Texts::Long(texts) => plan.long(&mut connection, texts).await,
    };
    let fit = match &result {
        Ok(()) | Err(End::Fenced(_)) => true,
        Err(End::Failed(failure)) => !failure.lost(),
        Err(End::Unknown(_)) => false,
    };
    (fit.then_some(connection), result)
}

impl Plan {
    /// Fence, rows and commit in one round trip.
    async fn short(&self, connection: &mut PgConnection, text: &Arc<str>) -> Result<(), End> {
        let mut arguments = self.fence_arguments().map_err(End::Failed)?;
        add(&mut arguments, self.advances.len() as i64).map_err(End::Failed)?;
        if !self.locks.is_empty() {
            add(&mut arguments, Array::int8(self.locks.iter().copied())).map_err(End::Failed)?;
        }
        for array in self.steps.iter().flat_map(|step| &step.arrays) {
            add(&mut arguments, array).map_err(End::Failed)?;
        }
        let sent = sqlx::query_with(AssertSqlSafe(Arc::clone(text)), arguments).execute(&mut *connection).await;
        match sent.map_err(Failure::from) {
            Ok(_) => Ok(()),
            Err(failure) if failure.lost() => Err(End::Unknown(failure)),
            Err(failure) if failure.code() == Some(MISSED) => self.missed(connection).await,
            Err(failure) => Err(End::Failed(failure)),
        }
    }

    /// Fence, rows and commit, one after the other.
    async fn long(&self, connection: &mut PgConnection, texts: &[Arc<str>]) -> Result<(), End> {
        sqlx::raw_sql("BEGIN").execute(&mut *connection).await.map_err(|error| End::Failed(error.into()))?;
        let fenced = match self.rows(connection, texts).await {
            Ok(fenced) => fenced,
            Err(failure) => {
                if !failure.lost() {
                    rollback(connection).await?;
                }
                return Err(End::Failed(failure));
            }
        };
        if fenced {
            rollback(connection).await?;
            return self.missed(connection).await;
        }
        match sqlx::raw_sql("COMMIT").execute(&mut *connection).await.map_err(Failure::from) {
            Ok(_) => Ok(()),
            Err(failure) if failure.lost() => Err(End::Unknown(failure)),
            // The server refused, and has rolled back.
            Err(failure) => Err(End::Failed(failure)),
        }
    }

    /// Fence and rows in an open transaction; whether the fence was missed.
    async fn rows(&self, connection: &mut PgConnection, texts: &[Arc<str>]) -> Result<bool, Failure> {
        let fence = sqlx::query_with(AssertSqlSafe(sql::fence()), self.fence_arguments()?);
        if fence.execute(&mut *connection).await?.rows_affected() != self.advances.len() as u64 {
            return Ok(true);
        }
        if !self.locks.is_empty() {
            let mut arguments = PgArguments::default();
            add(&mut arguments, Array::int8(self.locks.iter().copied()))?;
            sqlx::query_with("SELECT count(pg_advisory_xact_lock(k)) FROM UNNEST($1::int8[]) AS l(k)", arguments)
                .execute(&mut *connection)
                .await?;
        }
        for (step, text) in self.steps.iter().zip(texts) {
            let mut arguments = PgArguments::default();
            for array in &step.arrays {
                add(&mut arguments, array)?;
            }
            sqlx::query_with(AssertSqlSafe(Arc::clone(text)), arguments).execute(&mut *connection).await?;
        }
        Ok(false)
    }

    /// Finds out which partitions the fence stopped, once nothing of the commit is left.
    async fn missed(&self, connection: &mut PgConnection) -> Result<(), End> {
        let arguments = self.fence_arguments().map_err(End::Failed)?;
        let query = sqlx::query_with(AssertSqlSafe(sql::fence_misses()), arguments);
        let rows = query.fetch_all(&mut *connection).await.map_err(|error| End::Failed(error.into()))?;
        let missed = rows.iter().map(|row| Ok(TopicPartition::new(row.try_get::<String, _>(0)?, row.try_get(1)?)));
        let missed: Vec<_> = missed.collect::<Result<_, sqlx::Error>>().map_err(|error| End::Failed(error.into()))?;
        if missed.is_empty() {
            // It held again a moment later: all of them are to be read anew.
            return Err(End::Fenced(self.advances.iter().map(|advance| advance.partition.clone()).collect()));
        }
        Err(End::Fenced(missed))
    }

    fn fence_arguments(&self) -> Result<PgArguments, Failure> {
        let mut arguments = PgArguments::default();
        add(&mut arguments, self.generation.projection.as_str())?;
        add(&mut arguments, self.generation.number as i32)?;
        add(&mut arguments, &*self.digest)?;
        let advances = &self.advances;
        add(&mut arguments, Array::text(advances.iter().map(|advance| Some(&*advance.partition.topic))))?;
        add(&mut arguments, Array::int4(advances.iter().map(|advance| advance.partition.partition)))?;
        add(&mut arguments, Array::int8(advances.iter().map(|advance| advance.expected)))?;
        add(&mut arguments, Array::int8(advances.iter().map(|advance| advance.next)))?;
        add(&mut arguments, Array::int8(advances.iter().map(|advance| advance.owner_epoch)))?;
        Ok(arguments)
    }
}

/// Ends a transaction without a trace. Where that fails the connection is lost, and the server does it.
async fn rollback(connection: &mut PgConnection) -> Result<(), End> {
    sqlx::raw_sql("ROLLBACK").execute(connection).await.map(|_| ()).map_err(|error| End::Failed(error.into()))
}

/// Encodes one parameter.
fn add<'v, T>(arguments: &mut PgArguments, value: T) -> Result<(), Failure>
where
    T: sqlx::Encode<'v, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    arguments.add(value).map_err(|error| Failure::Sql(sqlx::Error::Encode(error)))
}

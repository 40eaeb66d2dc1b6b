//! The writer: one change set, one transaction, and what is known when it ends.
//!
//! A small set is one statement that commits by itself; its outcome is unknown whenever the answer is missing. Otherwise:
//! BEGIN, fence, rows, COMMIT, each awaited and checked; the outcome is unknown only from the moment that COMMIT is sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{Arguments as _, AssertSqlSafe, Row as _};

use super::bulk::Bulk;
use super::connection::{Database, Overdue, bounded};
use super::failure::Failure;
use super::namespace;
use super::plan::{self, Step};
use super::wire::Array;
use crate::change::{ChangeSet, Schema, Stage};
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
    session: Session,
    texts: HashMap<Signature, Arc<str>>,
    short_texts: HashMap<(Vec<Signature>, bool), Arc<str>>,
}

/// How a writer's connection differs from the others.
#[derive(Clone, Copy)]
pub(super) struct Session {
    /// How long a commit may take.
    pub(super) limit: Duration,
    /// Settings to make once it is connected; none where empty.
    pub(super) settings: &'static str,
}

/// How an attempt ended that did not commit.
pub(super) enum End {
    Fenced(Vec<TopicPartition>),
    Failed(Failure),
    Unknown(Failure),
    /// Somebody else writes to the tables that a bulk load takes itself to be alone in; nothing was written.
    NotAlone,
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Everything that a commit sends.
pub(super) struct Plan {
    advances: Vec<Advance>,
    /// Projection, generation and plugin digest for the fence.
    generation: Generation,
    digest: Arc<str>,
    steps: Vec<Step>,
    locks: Vec<i64>,
    /// One text for all steps, or one for each.
    texts: Texts,
    bulk: Option<Bulk>,
}

enum Texts {
    Short(Arc<str>),
    Long(Vec<Arc<str>>),
}

impl PostgresWriter {
    pub(super) fn new(
        database: Arc<Database>,
        generation: Generation,
        schema: Arc<Schema>,
        digest: String,
        session: Session,
    ) -> Self {
        Self {
            database,
            generation,
            schema,
            digest: digest.into(),
            connection: None,
            session,
            texts: HashMap::new(),
            short_texts: HashMap::new(),
        }
    }

    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    pub(super) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    pub(super) fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Turns the stages of a change set into statements; with what a bulk load does beside them it is never the short form.
    pub(super) fn plan(
        &mut self,
        advances: &[Advance],
        stages: &[Stage],
        bulk: Option<Bulk>,
    ) -> Result<Plan, SinkError> {
        let rows = plan::rows(stages, &self.schema, &self.generation);
        if advances.is_empty() || !rows.steps.iter().all(Step::is_even) {
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
        if rows.short && bulk.is_none() {
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
        let mut advances = advances.to_vec();
        advances.sort_by(|a, b| a.partition.cmp(&b.partition));
        let (generation, digest) = (self.generation.clone(), Arc::clone(&self.digest));
        Ok(Plan { advances, generation, digest, steps: rows.steps, locks: rows.locks, texts, bulk })
    }

    /// Sends everything, and tells how it ended.
    pub(super) async fn send(&mut self, plan: Plan) -> Result<(), End> {
        let plan = Arc::new(plan);
        let mut retried = false;
        loop {
            let connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let work = run(connection, Arc::clone(&plan));
            let limit = plan.bulk.as_ref().map_or(self.session.limit, Bulk::limit);
            let (connection, result) = match bounded(Some(limit), work).await {
                Ok(ended) => ended,
                Err(Overdue) => {
                    return Err(End::Unknown(Failure::Sink(SinkError {
                        kind: ErrorKind::Transient,
                        code: "commit_overdue",
                        message: format!("{}: no answer from {} within {limit:?}", self.tried(), self.database.place()),
                    })));
                }
            };
            self.connection = connection;
            match result {
                Err(End::Failed(failure)) if failure.stale() => {
                    // The tables changed under what this connection has prepared; another one prepares anew.
                    self.connection = None;
                    if retried {
                        return Err(End::Failed(failure));
                    }
                    retried = true;
                }
                other => return other,
            }
        }
    }

    async fn connect(&self) -> Result<PgConnection, Failure> {
        let mut connection = self.database.connect().await?;
        if !self.session.settings.is_empty() {
            sqlx::raw_sql(self.session.settings).execute(&mut connection).await?;
        }
        Ok(connection)
    }

    fn tried(&self) -> String {
        format!("writing {}", self.generation)
    }

    /// How an attempt ended, for the runner.
    pub(super) fn error(&self, end: End) -> CommitError {
        let tried = self.tried();
        match end {
            End::Fenced(partitions) => CommitError::Fenced(partitions),
            End::Unknown(failure) => CommitError::Unknown(failure.into_sink_error(&tried)),
            End::Failed(failure) => CommitError::Failed(failure.into_sink_error(&tried)),
            End::NotAlone => CommitError::Failed(SinkError {
                kind: ErrorKind::Transient,
                code: "database_conflict",
                message: format!("{tried}: somebody else fills it too; it is tried again"),
            }),
        }
    }

    async fn write(&mut self, set: &ChangeSet) -> Result<(), CommitError> {
        if set.advances.is_empty() && set.is_empty() {
            return Ok(());
        }
        let plan = self.plan(&set.advances, &set.stages, None)?;
        self.send(plan).await.map_err(|end| self.error(end))
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
    let result = match result {
        // The tables of a generation that is not written any longer may be gone.
        Err(End::Failed(failure)) if matches!(failure.code(), Some("42P01" | "3F000")) => {
            match plan.misses(&mut connection).await {
                Ok(missed) if !missed.is_empty() => Err(End::Fenced(missed)),
                _ => Err(End::Failed(failure)),
            }
        }
        other => other,
    };
    let fit = match &result {
        Ok(()) | Err(End::Fenced(_) | End::NotAlone) => true,
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
        let wrote = match self.rows(connection, texts).await {
            Ok(wrote) => wrote,
            Err(failure) => {
                if !failure.lost() {
                    rollback(connection).await?;
                }
                return Err(End::Failed(failure));
            }
        };
        match wrote {
            Wrote::All => {}
            Wrote::Fenced => {
                rollback(connection).await?;
                return self.missed(connection).await;
            }
            Wrote::NotAlone => {
                rollback(connection).await?;
                return Err(End::NotAlone);
            }
        }
        match sqlx::raw_sql("COMMIT").execute(&mut *connection).await.map_err(Failure::from) {
            Ok(_) => Ok(()),
            Err(failure) if failure.lost() => Err(End::Unknown(failure)),
            // The server refused, and has rolled back.
            Err(failure) => Err(End::Failed(failure)),
        }
    }

    /// Fence and rows in an open transaction.
    async fn rows(&self, connection: &mut PgConnection, texts: &[Arc<str>]) -> Result<Wrote, Failure> {
        if let Some(bulk) = &self.bulk
            && !bulk.is_alone(connection, &self.generation).await?
        {
            return Ok(Wrote::NotAlone);
        }
        let fence = sqlx::query_with(AssertSqlSafe(sql::fence()), self.fence_arguments()?);
        if fence.execute(&mut *connection).await?.rows_affected() != self.advances.len() as u64 {
            return Ok(Wrote::Fenced);
        }
        if let Some(bulk) = &self.bulk {
            bulk.make_keys(connection).await?;
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
        if let Some(bulk) = &self.bulk {
            bulk.write(connection).await?;
        }
        Ok(Wrote::All)
    }

    /// Finds out which partitions the fence stopped, once nothing of the commit is left.
    async fn missed(&self, connection: &mut PgConnection) -> Result<(), End> {
        let missed = self.misses(connection).await?;
        if missed.is_empty() {
            // It held again a moment later: all of them are to be read anew.
            return Err(End::Fenced(self.advances.iter().map(|advance| advance.partition.clone()).collect()));
        }
        Err(End::Fenced(missed))
    }

    /// The partitions whose checkpoints do not stand where the commit expects them.
    async fn misses(&self, connection: &mut PgConnection) -> Result<Vec<TopicPartition>, Failure> {
        let query = sqlx::query_with(AssertSqlSafe(sql::fence_misses()), self.fence_arguments()?);
        let rows = query.fetch_all(&mut *connection).await?;
        let missed = rows.iter().map(|row| Ok(TopicPartition::new(row.try_get::<String, _>(0)?, row.try_get(1)?)));
        missed.collect()
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

/// How far the statements of a transaction came.
enum Wrote {
    All,
    Fenced,
    NotAlone,
}

/// Ends a transaction without a trace. Where that fails the connection is lost, and the server does it.
async fn rollback(connection: &mut PgConnection) -> Result<(), End> {
    sqlx::raw_sql("ROLLBACK").execute(connection).await.map(|_| ()).map_err(|error| End::Failed(error.into()))
}

/// Encodes one parameter.
pub(super) fn add<'v, T>(arguments: &mut PgArguments, value: T) -> Result<(), Failure>
where
    T: sqlx::Encode<'v, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    arguments.add(value).map_err(|error| Failure::Sql(sqlx::Error::Encode(error)))
}

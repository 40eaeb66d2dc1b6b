//! Orders in PostgreSQL: statements of ours with their parameters, and the tables of generations. Views stand in [`super::views`].
//!
//! Invariants: a name in the database that the engine did not create is never touched; nothing that readers use is held, or waited for,
//! longer than about [`READERS_WAIT`], because whoever comes after a waiting lock waits with it; views are locked before tables, as readers do.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgConnection, PgRow, PgTypeInfo};
use sqlx::{Arguments as _, AssertSqlSafe, Column as _, Postgres, Row as _, Type, TypeInfo as _, ValueRef as _};

use super::failure::Failure;
use super::{catalog, namespace, views, wire};
use crate::change::{Schema, Table};
use crate::checkpoint::Generation;
use crate::sink::registry::transaction::{Field, Fields, Parameter, Transaction, Views};
use crate::sink::stored::{Difference, TableChange};
use crate::sink::{OrderError, Refusal, SinkError, sql};

/// How long readers may be kept waiting by a change of what they read.
pub(super) const READERS_WAIT: Duration = Duration::from_millis(50);
/// What each further lock of such a change is given at least: enough for one that nobody holds.
const NEXT_WAIT: Duration = Duration::from_millis(10);
/// How long a swap waits for the checkpoints to stand level; writers wait meanwhile, readers do not.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an order waits for writers.
const WRITERS_WAIT: &str = "2s";

/// An open transaction on a connection.
pub(super) struct PostgresTransaction<'c> {
    connection: &'c mut PgConnection,
    tried: String,
    /// When the first lock that keeps readers waiting was asked for.
    held: Option<Instant>,
}

impl<'c> PostgresTransaction<'c> {
    /// `tried` says what is attempted, for messages.
    pub(super) fn new(connection: &'c mut PgConnection, tried: &str) -> Self {
        Self { connection, tried: tried.to_owned(), held: None }
    }

    /// Begins an order: the projection's records are for it alone.
    pub(super) async fn begin_order(&mut self, projection: &str) -> Result<(), SinkError> {
        catalog::lock(self.connection, projection).await.map_err(|failure| self.error(failure))
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection
    }

    pub(super) fn error(&self, failure: impl Into<Failure>) -> SinkError {
        failure.into().into_sink_error(&self.tried)
    }

    /// Runs a statement that takes no parameters and no lock that readers wait for.
    pub(super) async fn execute(&mut self, text: String) -> Result<(), OrderError> {
        let done = sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *self.connection).await.map_err(Failure::from);
        done.map(|_| ()).map_err(|failure| self.explained(failure))
    }

    /// Runs statements that only take locks, in a savepoint. Where one cannot be had they are all let go, and its place among the
    /// statements is told.
    pub(super) async fn lock_all(&mut self, statements: &[String]) -> Result<Option<usize>, OrderError> {
        let text = format!("SAVEPOINT locks; {}", statements.join("; "));
        let mut done = 0;
        let mut failed = None;
        {
            let mut results = sqlx::raw_sql(AssertSqlSafe(text)).execute_many(&mut *self.connection);
            while let Some(result) = results.next().await {
                match result {
                    Ok(_) => done += 1,
                    Err(error) => failed = Some(Failure::from(error)),
                }
            }
        }
        match failed {
            None => {
                self.held = Some(Instant::now());
                Ok(None)
            }
            Some(failure) if matches!(failure.code(), Some("55P03" | "40P01")) => {
                self.execute("ROLLBACK TO SAVEPOINT locks".to_owned()).await?;
                Ok(Some(usize::saturating_sub(done, 1)))
            }
            Some(failure) => Err(self.explained(failure)),
        }
    }

    /// Readers hold what is to be changed.
    pub(super) fn readers(&self) -> OrderError {
        let message = format!("{}: readers hold what is to be changed; try again soon", self.tried);
        Refusal { code: "readers", message, subject: None }.into()
    }

    /// Runs a statement that takes a lock which readers wait for, within the time that they may be kept waiting altogether.
    pub(super) async fn execute_in_passing(&mut self, text: &str) -> Result<(), OrderError> {
        let held = *self.held.get_or_insert_with(Instant::now);
        let left = READERS_WAIT.saturating_sub(held.elapsed()).max(NEXT_WAIT);
        self.execute(format!("SET LOCAL lock_timeout = '{}ms'; {text}", left.as_millis())).await
    }

    /// What a failed statement means for an order.
    fn explained(&self, failure: Failure) -> OrderError {
        let refused = |code, message| Refusal { code, message, subject: None }.into();
        match failure.code() {
            // In passing, a deadlock is a lock that cannot be had in time as well.
            Some("55P03" | "40P01") if self.held.is_some() => self.readers(),
            Some("2BP01") => {
                let message = format!(
                    "{}: somebody's own view or other object needs what is to go: {}; drop or change that first",
                    self.tried,
                    failure.said()
                );
                refused("view_in_use", message)
            }
            _ => OrderError::Failed(self.error(failure)),
        }
    }

    async fn make(&mut self, generation: &Generation, schema: &Schema, bare: bool) -> Result<(), OrderError> {
        let namespace = namespace(generation);
        let taken = sqlx::query("SELECT 1 FROM pg_namespace WHERE nspname = $1::text")
            .bind(namespace.as_str())
            .fetch_optional(&mut *self.connection)
            .await
            .map_err(|error| self.error(error))?;
        if taken.is_some() {
            return Err(name_taken(&generation.projection, &format!("the schema {}", sql::quote(&namespace))));
        }
        self.execute(format!(
            "CREATE SCHEMA {}; COMMENT ON SCHEMA {0} IS {}",
            sql::quote(&namespace),
            sql::literal(&format!("Laterna: {generation}. Read through schema {}.", generation.projection))
        ))
        .await?;
        for table in &schema.descriptor.tables {
            self.make_table(&namespace, table, bare).await?;
        }
        Ok(())
    }

    async fn make_table(&mut self, namespace: &str, table: &Table, bare: bool) -> Result<(), OrderError> {
        self.execute(sql::create_table(namespace, table, bare)).await?;
        if !bare {
            for index in &table.indexes {
                self.execute(sql::create_index(namespace, table, index, "")).await?;
            }
        }
        Ok(())
    }

    async fn add(
        &mut self,
        generation: &Generation,
        schema: &Schema,
        changes: &[TableChange],
        live: bool,
    ) -> Result<(), OrderError> {
        let namespace = namespace(generation);
        let declared = |name: &str| schema.descriptor.tables.iter().find(|table| table.name == name);
        // What locks nobody out comes first.
        for change in changes {
            if change.differences.contains(&Difference::TableAdded)
                && let Some(table) = declared(&change.table)
            {
                self.make_table(&namespace, table, false).await?;
            }
        }
        if live {
            let tables: Vec<_> = changes.iter().map(|change| change.table.as_str()).collect();
            views::lock(self, &generation.projection, &tables).await?;
        }
        for change in changes {
            let columns = change.differences.iter().filter_map(|difference| match difference {
                Difference::ColumnAdded { column } => Some(format!("ADD COLUMN {}", sql::column(column))),
                _ => None,
            });
            let columns: Vec<_> = columns.collect();
            if !columns.is_empty() {
                let table = sql::qualified(&namespace, &change.table);
                self.execute_in_passing(&format!("ALTER TABLE {table} {}", columns.join(", "))).await?;
            }
        }
        Ok(())
    }

    async fn drop_generation(&mut self, generation: &Generation, tables: &[Table]) -> Result<(), OrderError> {
        let namespace = namespace(generation);
        let names: Vec<_> = tables.iter().map(|table| sql::qualified(&namespace, &table.name)).collect();
        let drop =
            if names.is_empty() { String::new() } else { format!("DROP TABLE IF EXISTS {}; ", names.join(", ")) };
        self.execute(format!(
            "SET LOCAL lock_timeout = '{WRITERS_WAIT}'; {drop}DROP SCHEMA IF EXISTS {}",
            sql::quote(&namespace)
        ))
        .await
    }

    async fn hold(&mut self, generation: &Generation) -> Result<(), SinkError> {
        let wait = format!("SET LOCAL lock_timeout = '{WRITERS_WAIT}'");
        sqlx::raw_sql(AssertSqlSafe(wait)).execute(&mut *self.connection).await.map_err(|error| self.error(error))?;
        sqlx::query(
            "SELECT 1 FROM laterna.checkpoint WHERE projection = $1::text AND generation = $2::int4 \
             ORDER BY topic COLLATE \"C\", partition FOR UPDATE",
        )
        .bind(generation.projection.as_str())
        .bind(generation.number as i32)
        .execute(&mut *self.connection)
        .await
        .map_err(|error| self.error(error))?;
        Ok(())
    }

    async fn absent(&mut self, generation: &Generation, tables: &[Table]) -> Result<Option<String>, SinkError> {
        let stored = namespace(generation);
        let places = [&stored, &generation.projection];
        let names: Vec<String> = places
            .into_iter()
            .flat_map(|place| tables.iter().map(|table| sql::qualified(place, &table.name)))
            .collect();
        let row = sqlx::query("SELECT n FROM UNNEST($1::text[]) AS t(n) WHERE to_regclass(n) IS NULL LIMIT 1")
            .bind(wire::Array::text(names.iter().map(|name| Some(name.as_str()))))
            .fetch_optional(&mut *self.connection)
            .await
            .map_err(|error| self.error(error))?;
        row.map(|row| row.try_get(0)).transpose().map_err(|error| self.error(error))
    }
}

/// The refusal of a name that somebody else has.
pub(super) fn name_taken(projection: &str, what: &str) -> OrderError {
    let message = format!(
        "projection {projection:?} needs {what}, and the database has one that is not its own; rename that one or the projection"
    );
    Refusal { code: "name_taken", message, subject: Some(what.to_owned()) }.into()
}

/// The text as PostgreSQL takes it.
fn rendered(text: &str) -> String {
    text.replace("@now", "clock_timestamp()").replace('@', "laterna.")
}

fn arguments(parameters: &[Parameter]) -> Result<PgArguments, Failure> {
    let mut arguments = PgArguments::default();
    for parameter in parameters {
        arguments.add(parameter).map_err(|error| Failure::Sql(sqlx::Error::Encode(error)))?;
    }
    Ok(arguments)
}

impl Type<Postgres> for Parameter {
    /// Never asked for: every parameter produces its own type.
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(25))
    }
}

impl Encode<'_, Postgres> for Parameter {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match self {
            // U+0000 is the one character that the server does not take.
            Self::Text(Some(text)) => buffer.extend_from_slice(text.replace('\0', "\u{FFFD}").as_bytes()),
            Self::Integer(Some(number)) => buffer.extend_from_slice(&number.to_be_bytes()),
            Self::Boolean(truth) => buffer.push(u8::from(*truth)),
            Self::Bytes(bytes) => buffer.extend_from_slice(bytes),
            Self::Json(text) => {
                buffer.push(1); // the version of the format
                buffer.extend_from_slice(text.replace("\\u0000", "\\ufffd").as_bytes());
            }
            Self::Time(Some(micros)) => buffer.extend_from_slice(&wire::instant(*micros)),
            Self::Text(None) | Self::Integer(None) | Self::Time(None) => return Ok(IsNull::Yes),
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        let oid = match self {
            Self::Text(_) => 25,
            Self::Integer(_) => 20,
            Self::Boolean(_) => 16,
            Self::Bytes(_) => 17,
            Self::Json(_) => 3802,
            Self::Time(_) => 1184,
        };
        Some(PgTypeInfo::with_oid(Oid(oid)))
    }
}

/// A row of the engine's own tables.
fn fields(row: &PgRow) -> Result<Fields, BoxDynError> {
    let mut fields = Vec::with_capacity(row.len());
    for at in 0..row.len() {
        let raw = row.try_get_raw(at)?;
        if raw.is_null() {
            fields.push(Field::Null);
            continue;
        }
        let bytes = raw.as_bytes()?;
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned);
        fields.push(match row.column(at).type_info().name() {
            "BOOL" => Field::Integer(i64::from(bytes == [1])),
            "INT4" => Field::Integer(i32::from_be_bytes(bytes.try_into()?).into()),
            "INT8" => Field::Integer(i64::from_be_bytes(bytes.try_into()?)),
            "TIMESTAMPTZ" => Field::Integer(wire::micros(i64::from_be_bytes(bytes.try_into()?))),
            "JSONB" => Field::Text(text(bytes.get(1..).unwrap_or_default())?),
            "BYTEA" => Field::Bytes(bytes.to_vec()),
            _ => Field::Text(text(bytes)?),
        });
    }
    Ok(Fields::new(fields))
}

impl Transaction for PostgresTransaction<'_> {
    fn run<'a>(&'a mut self, text: &'static str, parameters: Vec<Parameter>) -> BoxFuture<'a, Result<u64, SinkError>> {
        Box::pin(async move {
            let arguments = arguments(&parameters).map_err(|failure| self.error(failure))?;
            let query = sqlx::query_with(AssertSqlSafe(rendered(text)), arguments);
            let done = query.execute(&mut *self.connection).await.map_err(|error| self.error(error))?;
            Ok(done.rows_affected())
        })
    }

    fn rows<'a>(
        &'a mut self,
        text: &'static str,
        parameters: Vec<Parameter>,
    ) -> BoxFuture<'a, Result<Vec<Fields>, SinkError>> {
        Box::pin(async move {
            let arguments = arguments(&parameters).map_err(|failure| self.error(failure))?;
            let query = sqlx::query_with(AssertSqlSafe(rendered(text)), arguments);
            let rows = query.fetch_all(&mut *self.connection).await.map_err(|error| self.error(error))?;
            let rows = rows.iter().map(|row| fields(row).map_err(|error| self.error(sqlx::Error::Decode(error))));
            rows.collect()
        })
    }

    fn make_tables<'a>(
        &'a mut self,
        generation: &'a Generation,
        schema: &'a Schema,
        bare: bool,
    ) -> BoxFuture<'a, Result<(), OrderError>> {
        Box::pin(self.make(generation, schema, bare))
    }

    fn add_to_tables<'a>(
        &'a mut self,
        generation: &'a Generation,
        schema: &'a Schema,
        changes: &'a [TableChange],
        live: bool,
    ) -> BoxFuture<'a, Result<(), OrderError>> {
        Box::pin(self.add(generation, schema, changes, live))
    }

    fn point_views<'a>(&'a mut self, views: Views<'a>) -> BoxFuture<'a, Result<(), OrderError>> {
        Box::pin(views::point(self, views))
    }

    fn drop_views<'a>(&'a mut self, projection: &'a str, tables: &'a [Table]) -> BoxFuture<'a, Result<(), OrderError>> {
        Box::pin(views::drop_all(self, projection, tables))
    }

    fn drop_tables<'a>(
        &'a mut self,
        generation: &'a Generation,
        tables: &'a [Table],
    ) -> BoxFuture<'a, Result<(), OrderError>> {
        Box::pin(self.drop_generation(generation, tables))
    }

    fn hold_checkpoints<'a>(&'a mut self, generation: &'a Generation) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(self.hold(generation))
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn missing<'a>(
        &'a mut self,
        generation: &'a Generation,
        tables: &'a [Table],
    ) -> BoxFuture<'a, Result<Option<String>, SinkError>> {
        Box::pin(self.absent(generation, tables))
    }
}

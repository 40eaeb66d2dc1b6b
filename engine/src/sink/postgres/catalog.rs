//! What the engine keeps in the database beside the rows: its own schema `laterna`, and each projection's generations.
//!
//! Invariants: the engine's tables change by numbered, forward-only steps, one transaction under one advisory lock, so that
//! two engines that start at once do it once; a schema from a newer engine is refused. A name in the database that the
//! engine did not create is never touched.

use serde_json::Value as Json;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::failure::Failure;
use super::namespace;
use crate::change::Schema;
use crate::checkpoint::Generation;
use crate::error::ErrorKind;
use crate::sink::{Opened, SinkError, sql};

/// The lock under which the catalogue changes: "laterna" as bytes.
const CATALOG_LOCK: i64 = 0x6c_61_74_65_72_6e_61;

/// The steps from an empty database to what this build works with; a step never changes once it was released.
const STEPS: &[&str] = &["
CREATE TABLE laterna.generation (
    projection text NOT NULL,
    generation integer NOT NULL,
    state text NOT NULL CHECK (state IN ('building', 'live', 'retired')),
    revision bigint NOT NULL,
    descriptor jsonb NOT NULL,
    plugin_digest text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, generation)
);
CREATE UNIQUE INDEX generation_live ON laterna.generation (projection) WHERE state = 'live';
CREATE TABLE laterna.checkpoint (
    projection text NOT NULL,
    generation integer NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    owner_epoch bigint NOT NULL,
    topic_id text,
    start_offset bigint NOT NULL,
    plugin_digest text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, generation, topic, partition),
    FOREIGN KEY (projection, generation) REFERENCES laterna.generation
) WITH (fillfactor = 50);
CREATE TABLE laterna.parked (
    projection text NOT NULL,
    generation integer NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    \"offset\" bigint NOT NULL,
    key bytea,
    reason text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, generation, topic, partition, \"offset\")
);
"];

/// Begins a transaction that has the catalogue to itself, and brings the engine's tables up to date in it.
async fn begin(connection: &mut PgConnection) -> Result<(), Failure> {
    sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1::int8)").bind(CATALOG_LOCK).execute(&mut *connection).await?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let stored = stored_version(connection).await?;
    if stored > known {
        return Err(refused(
            "schema_newer",
            format!(
                "the tables in schema \"laterna\" are of version {stored}, and this build knows versions up to {known}; \
                 run the newer laterna that made them"
            ),
        ));
    }
    if stored == known {
        return Ok(());
    }
    if stored == 0 {
        let create = "CREATE SCHEMA IF NOT EXISTS laterna; \
             CREATE TABLE laterna.meta (schema_version bigint NOT NULL); INSERT INTO laterna.meta VALUES (0); \
             COMMENT ON SCHEMA laterna IS 'Laterna: checkpoints and generations of projections. Read it, do not write it.'";
        sqlx::raw_sql(create).execute(&mut *connection).await?;
    }
    for (at, step) in STEPS.iter().enumerate() {
        if at as i64 >= stored {
            sqlx::raw_sql(*step).execute(&mut *connection).await?;
        }
    }
    sqlx::query("UPDATE laterna.meta SET schema_version = $1::int8").bind(known).execute(&mut *connection).await?;
    Ok(())
}

/// The version of the engine's tables; 0 where there are none.
async fn stored_version(connection: &mut PgConnection) -> Result<i64, Failure> {
    let row = sqlx::query(
        "SELECT to_regclass('laterna.meta') IS NOT NULL, \
         EXISTS (SELECT 1 FROM pg_class WHERE relnamespace = to_regnamespace('laterna'))",
    )
    .fetch_one(&mut *connection)
    .await?;
    if row.try_get(0)? {
        let row = sqlx::query("SELECT max(schema_version)::int8 FROM laterna.meta").fetch_one(&mut *connection).await?;
        return Ok(row.try_get::<Option<i64>, _>(0)?.unwrap_or(0));
    }
    if row.try_get(1)? {
        return Err(refused(
            "name_taken",
            "the database has a schema \"laterna\" that is not ours (it has tables, but no table \"meta\"); \
             rename it, or name another database in the connection URL"
                .to_owned(),
        ));
    }
    Ok(0)
}

/// Ends a transaction as its work ended; whatever went wrong, nothing of it stays.
async fn end<T>(connection: &mut PgConnection, result: Result<T, Failure>) -> Result<T, Failure> {
    match result {
        Ok(done) => {
            sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
            Ok(done)
        }
        Err(failure) => {
            // Where the way back is lost too, the connection is; `lost` then says so in place of the first failure.
            sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await?;
            Err(failure)
        }
    }
}

/// Brings the engine's own tables up to date.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), Failure> {
    let result = begin(connection).await;
    end(connection, result).await
}

/// Makes the live generation ready, as [`crate::sink::Sink::open`] says.
pub(super) async fn open(connection: &mut PgConnection, schema: &Schema, digest: &str) -> Result<Opened, Failure> {
    let result = async {
        begin(&mut *connection).await?;
        let projection = &schema.descriptor.name;
        let rows = sqlx::query(
            "SELECT generation, state = 'live', revision, descriptor::text FROM laterna.generation \
             WHERE projection = $1::text ORDER BY generation",
        )
        .bind(projection.as_str())
        .fetch_all(&mut *connection)
        .await?;
        let mut highest = 0;
        for row in &rows {
            let number: i32 = row.try_get(0)?;
            highest = highest.max(number);
            if row.try_get(1)? {
                let generation = generation(projection, number);
                let stored = (row.try_get::<i64, _>(2)?, row.try_get::<String, _>(3)?);
                return reopen(&mut *connection, schema, digest, generation, stored).await;
            }
        }
        let generation = generation(projection, highest.saturating_add(1));
        create(&mut *connection, schema, digest, &generation, rows.is_empty()).await?;
        Ok(Opened { generation, created: true })
    }
    .await;
    end(connection, result).await
}

fn generation(projection: &str, number: i32) -> Generation {
    Generation { projection: projection.to_owned(), number: number.unsigned_abs() }
}

/// Goes on with a stored generation if it has the same tables.
async fn reopen(
    connection: &mut PgConnection,
    schema: &Schema,
    digest: &str,
    generation: Generation,
    (revision, stored): (i64, String),
) -> Result<Opened, Failure> {
    let stored: Json = serde_json::from_str(&stored).unwrap_or(Json::Null);
    let differences = differences(&stored, schema);
    let next = revert_or_drop(&generation);
    if let Some(first) = differences.first() {
        let more = if differences.len() > 1 { format!(" (and {} more)", differences.len() - 1) } else { String::new() };
        return Err(refused(
            "schema_changed",
            format!("{generation} was built with other tables than the plugin now declares: {first}{more}; {next}"),
        ));
    }
    if revision != i64::from(schema.descriptor.revision) {
        return Err(refused(
            "schema_changed",
            format!(
                "{generation} was built by revision {revision}, and the plugin is now revision {}: the meaning of its \
                 rows has changed; {next}",
                schema.descriptor.revision
            ),
        ));
    }
    let namespace = namespace(&generation);
    for table in &schema.descriptor.tables {
        for place in [&namespace, &generation.projection] {
            let name = format!("{}.{}", sql::quote(place), sql::quote(&table.name));
            let row =
                sqlx::query("SELECT to_regclass($1::text) IS NOT NULL").bind(&name).fetch_one(&mut *connection).await?;
            if !row.try_get::<bool, _>(0)? {
                return Err(refused(
                    "table_missing",
                    format!("{generation}: {name} is gone, dropped by somebody; restore it, or {next}"),
                ));
            }
        }
    }
    sqlx::query(
        "UPDATE laterna.generation SET plugin_digest = $3::text, descriptor = $4::text::jsonb, updated_at = now() \
         WHERE projection = $1::text AND generation = $2::int4 AND plugin_digest <> $3::text",
    )
    .bind(generation.projection.as_str())
    .bind(generation.number as i32)
    .bind(digest)
    .bind(descriptor(schema)?)
    .execute(&mut *connection)
    .await?;
    Ok(Opened { generation, created: false })
}

/// What a person can do about a generation that does not fit, with the exact statements.
fn revert_or_drop(generation: &Generation) -> String {
    let projection = sql::literal(&generation.projection);
    format!(
        "rebuilds are not there yet: put the former build back, or drop what was built and start from the beginning of the \
         log: BEGIN; DROP SCHEMA {}, {} CASCADE; DELETE FROM laterna.checkpoint WHERE projection = {projection}; \
         DELETE FROM laterna.parked WHERE projection = {projection}; \
         DELETE FROM laterna.generation WHERE projection = {projection}; COMMIT;",
        sql::quote(&generation.projection),
        sql::quote(&namespace(generation)),
    )
}

/// Makes schemas, tables, indexes, views and the record of a generation.
async fn create(
    connection: &mut PgConnection,
    schema: &Schema,
    digest: &str,
    generation: &Generation,
    first: bool,
) -> Result<(), Failure> {
    let namespace = namespace(generation);
    let public = &generation.projection;
    for name in [Some(&namespace), first.then_some(public)].into_iter().flatten() {
        let taken = sqlx::query("SELECT 1 FROM pg_namespace WHERE nspname = $1::text")
            .bind(name.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        if taken.is_some() {
            return Err(refused(
                "name_taken",
                format!(
                    "projection {public:?} needs the schema {}, and the database has one that is not its own; \
                     rename the schema or the projection",
                    sql::quote(name)
                ),
            ));
        }
    }
    let mut statements = vec![
        format!("CREATE SCHEMA {}", sql::quote(&namespace)),
        format!(
            "COMMENT ON SCHEMA {} IS {}",
            sql::quote(&namespace),
            sql::literal(&format!("Laterna: {generation}. Read through schema {public}."))
        ),
    ];
    if first {
        statements.push(format!("CREATE SCHEMA {}", sql::quote(public)));
        statements.push(format!(
            "COMMENT ON SCHEMA {} IS {}",
            sql::quote(public),
            sql::literal(&format!("Laterna: what projection {public} keeps up to date."))
        ));
    }
    for table in &schema.descriptor.tables {
        statements.extend(sql::create_table(&namespace, table));
        statements.push(format!("DROP VIEW IF EXISTS {}.{}", sql::quote(public), sql::quote(&table.name)));
        statements.push(sql::create_view(public, &namespace, table));
    }
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    }
    sqlx::query(
        "INSERT INTO laterna.generation (projection, generation, state, revision, descriptor, plugin_digest) \
         VALUES ($1::text, $2::int4, 'live', $3::int8, $4::text::jsonb, $5::text)",
    )
    .bind(public.as_str())
    .bind(generation.number as i32)
    .bind(i64::from(schema.descriptor.revision))
    .bind(descriptor(schema)?)
    .bind(digest)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// The descriptor as it is stored.
fn descriptor(schema: &Schema) -> Result<String, Failure> {
    serde_json::to_string(&schema.descriptor)
        .map_err(|error| refused("descriptor", format!("the descriptor cannot be stored: {error}")))
}

fn refused(code: &'static str, message: String) -> Failure {
    Failure::Sink(SinkError { kind: ErrorKind::Fatal, code, message })
}

/// How the stored tables differ from the declared ones, each difference in words.
///
/// Columns, keys and indexes count; how a table is partitioned, and the shapes, do not change what is stored.
fn differences(stored: &Json, schema: &Schema) -> Vec<String> {
    let physical = |table: &Json| {
        ["columns", "primary_key", "indexes"].map(|part| (part, table.get(part).cloned().unwrap_or(Json::Null)))
    };
    let empty = Vec::new();
    let stored = stored.get("tables").and_then(Json::as_array).unwrap_or(&empty);
    let name = |table: &Json| table.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
    let declared = serde_json::to_value(&schema.descriptor.tables).unwrap_or(Json::Null);
    let declared = declared.as_array().unwrap_or(&empty);
    let mut found = Vec::new();
    for table in declared {
        match stored.iter().find(|other| name(other) == name(table)) {
            None => found.push(format!("table {:?} is new", name(table))),
            Some(other) => {
                for ((part, before), (_, after)) in physical(other).into_iter().zip(physical(table)) {
                    if before != after {
                        found.push(format!("table {:?}: {part} were {before} and are {after}", name(table)));
                    }
                }
            }
        }
    }
    for table in stored {
        if !declared.iter().any(|other| name(other) == name(table)) {
            found.push(format!("table {:?} is gone", name(table)));
        }
    }
    found
}

//! What the engine keeps in the database beside the rows: its own schema `laterna`.
//!
//! Invariants: the engine's tables change by numbered, forward-only steps, one transaction under one advisory lock, so that
//! two engines that start at once do it once; a schema from a newer engine is refused.

use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::failure::Failure;
use crate::error::ErrorKind;
use crate::sink::SinkError;

/// The lock under which the catalogue changes: "laterna" as bytes.
const CATALOG_LOCK: i64 = 0x6c_61_74_65_72_6e_61;

/// The steps from an empty database to what this build works with; a step never changes once it was released.
pub(super) const STEPS: &[&str] = &[
    "
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
",
    "
ALTER TABLE laterna.generation
    ADD COLUMN writable boolean NOT NULL DEFAULT true,
    ADD COLUMN stored boolean NOT NULL DEFAULT true,
    ADD COLUMN collect_at timestamptz;
UPDATE laterna.generation SET writable = false WHERE state = 'retired';
CREATE TABLE laterna.projection (
    projection text PRIMARY KEY,
    desired text NOT NULL CHECK (desired IN ('running', 'paused', 'stopped')),
    reason text,
    plugin_file text NOT NULL,
    plugin_digest text NOT NULL,
    restarts bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO laterna.projection (projection, desired, plugin_file, plugin_digest)
    SELECT projection, 'running', '', plugin_digest FROM laterna.generation WHERE state = 'live';
CREATE TABLE laterna.build (
    digest text PRIMARY KEY,
    projection text NOT NULL,
    revision bigint NOT NULL,
    file text NOT NULL,
    bytes bytea NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE laterna.rebuild (
    id text PRIMARY KEY,
    projection text NOT NULL,
    generation integer NOT NULL,
    from_generation integer NOT NULL,
    plugin_digest text NOT NULL,
    state text NOT NULL CHECK (state IN
        ('filling', 'indexing', 'catching-up', 'ready', 'switching', 'switched', 'cancelled', 'failed')),
    switch text NOT NULL CHECK (switch IN ('auto', 'manual')),
    max_rate bigint,
    forced boolean NOT NULL,
    targets jsonb NOT NULL,
    reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE UNIQUE INDEX rebuild_active ON laterna.rebuild (projection) WHERE state NOT IN ('switched', 'cancelled', 'failed');
CREATE TABLE laterna.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    role text NOT NULL,
    source text NOT NULL,
    action text NOT NULL,
    projection text NOT NULL,
    plugin_digest text,
    detail jsonb NOT NULL,
    before jsonb NOT NULL,
    after jsonb NOT NULL
);
CREATE INDEX audit_projection ON laterna.audit (projection, id);
CREATE TABLE laterna.request (
    actor text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    done jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (actor, key)
);
CREATE INDEX request_created_at ON laterna.request (created_at);
",
];

/// Brings the engine's own tables up to date, in an open transaction.
pub(super) async fn migrate(connection: &mut PgConnection) -> Result<(), Failure> {
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

/// Has a projection's records for the transaction alone, against every engine; other projections go on.
pub(super) async fn lock(connection: &mut PgConnection, projection: &str) -> Result<(), Failure> {
    sqlx::query("SELECT pg_advisory_xact_lock_shared($1::int8), pg_advisory_xact_lock($2::int8)")
        .bind(CATALOG_LOCK)
        .bind(lock_key("projection", projection))
        .execute(connection)
        .await?;
    Ok(())
}

/// The number of an advisory lock, the same in every engine.
pub(super) fn lock_key(kind: &str, name: &str) -> i64 {
    let digest = Sha256::digest(format!("laterna {kind} {name}"));
    digest.iter().take(8).fold(0_i64, |key, byte| (key << 8) | i64::from(*byte))
}

/// A fatal failure.
pub(super) fn refused(code: &'static str, message: String) -> Failure {
    Failure::Sink(SinkError { kind: ErrorKind::Fatal, code, message })
}

//! What the engine keeps in the file beside the rows: its own tables `laterna_*`, and how checkpoints are taken over.
//!
//! Invariant: the engine's tables change by numbered, forward-only steps; a file from a newer engine is refused.

use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::failure::{Failure, refused};
use super::text::statement;
use crate::checkpoint::{Checkpoint, Generation, LogBounds};
use crate::event::TopicPartition;

/// The steps from an empty file to what this build works with; a step never changes once it was released.
pub(super) const STEPS: &[&str] = &[
    "
CREATE TABLE laterna_generation (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('building', 'live', 'retired')),
    revision INTEGER NOT NULL,
    descriptor TEXT NOT NULL,
    plugin_digest TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    PRIMARY KEY (projection, generation)
) STRICT;
CREATE UNIQUE INDEX laterna_generation_live ON laterna_generation (projection) WHERE state = 'live';
CREATE TABLE laterna_checkpoint (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    owner_epoch INTEGER NOT NULL,
    topic_id TEXT,
    start_offset INTEGER NOT NULL,
    plugin_digest TEXT,
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    PRIMARY KEY (projection, generation, topic, partition),
    FOREIGN KEY (projection, generation) REFERENCES laterna_generation
) STRICT;
CREATE TABLE laterna_parked (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    \"offset\" INTEGER NOT NULL,
    key BLOB,
    reason TEXT NOT NULL,
    parked_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    PRIMARY KEY (projection, generation, topic, partition, \"offset\")
) STRICT;
",
    "
ALTER TABLE laterna_generation ADD COLUMN writable INTEGER NOT NULL DEFAULT 1;
ALTER TABLE laterna_generation ADD COLUMN stored INTEGER NOT NULL DEFAULT 1;
ALTER TABLE laterna_generation ADD COLUMN collect_at TEXT;
UPDATE laterna_generation SET writable = 0 WHERE state = 'retired';
CREATE TABLE laterna_projection (
    projection TEXT PRIMARY KEY NOT NULL,
    desired TEXT NOT NULL CHECK (desired IN ('running', 'paused', 'stopped')),
    reason TEXT,
    plugin_file TEXT NOT NULL,
    plugin_digest TEXT NOT NULL,
    restarts INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
) STRICT;
INSERT INTO laterna_projection (projection, desired, plugin_file, plugin_digest)
    SELECT projection, 'running', '', plugin_digest FROM laterna_generation WHERE state = 'live';
CREATE TABLE laterna_build (
    digest TEXT PRIMARY KEY NOT NULL,
    projection TEXT NOT NULL,
    revision INTEGER NOT NULL,
    file TEXT NOT NULL,
    bytes BLOB NOT NULL,
    stored_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
) STRICT;
CREATE TABLE laterna_rebuild (
    id TEXT PRIMARY KEY NOT NULL,
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    from_generation INTEGER NOT NULL,
    plugin_digest TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('filling', 'indexing', 'catching-up', 'ready', 'switching', 'switched', 'cancelled', 'failed')),
    switch TEXT NOT NULL CHECK (switch IN ('auto', 'manual')),
    max_rate INTEGER,
    forced INTEGER NOT NULL,
    targets TEXT NOT NULL,
    reason TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    finished_at TEXT
) STRICT;
CREATE UNIQUE INDEX laterna_rebuild_active ON laterna_rebuild (projection)
    WHERE state NOT IN ('switched', 'cancelled', 'failed');
CREATE TABLE laterna_audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    source TEXT NOT NULL,
    action TEXT NOT NULL,
    projection TEXT NOT NULL,
    plugin_digest TEXT,
    detail TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL
) STRICT;
CREATE INDEX laterna_audit_projection ON laterna_audit (projection, id);
CREATE TABLE laterna_request (
    actor TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    done TEXT NOT NULL,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    PRIMARY KEY (actor, key)
) STRICT;
CREATE INDEX laterna_request_created_at ON laterna_request (created_at);
",
];

/// Brings the engine's own tables up to date.
pub(super) async fn migrate(connection: &mut SqliteConnection, place: &str) -> Result<(), Failure> {
    let known = STEPS.len() as i64;
    let mut at = 0;
    if taken(connection, "laterna_meta").await? {
        let row = statement("SELECT max(schema_version) FROM laterna_meta").fetch_one(&mut *connection).await?;
        at = row.try_get::<Option<i64>, _>(0)?.unwrap_or(0);
    } else {
        if taken(connection, "laterna_generation").await? || taken(connection, "laterna_checkpoint").await? {
            return Err(refused(
                "name_taken",
                format!(
                    "sqlite: {place} has tables named laterna_.. that are not ours; rename them, or name another file in database.url"
                ),
            ));
        }
        let create =
            "CREATE TABLE laterna_meta (schema_version INTEGER NOT NULL) STRICT; INSERT INTO laterna_meta VALUES (0)";
        sqlx::raw_sql(create).execute(&mut *connection).await?;
    }
    if at > known {
        return Err(refused(
            "schema_newer",
            format!(
                "sqlite: the engine's tables in {place} are of version {at}, and this build knows versions up to {known}; \
                 run the newer laterna that made them"
            ),
        ));
    }
    for step in STEPS.iter().skip(usize::try_from(at).unwrap_or(0)) {
        sqlx::raw_sql(*step).execute(&mut *connection).await?;
    }
    if at < known {
        statement("UPDATE laterna_meta SET schema_version = ?").bind(known).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Whether anything in the file has this name; SQLite's names do not tell cases apart.
pub(super) async fn taken(connection: &mut SqliteConnection, name: &str) -> Result<bool, Failure> {
    let found = statement("SELECT 1 FROM sqlite_schema WHERE name = ? COLLATE NOCASE").bind(name.to_owned());
    Ok(found.fetch_optional(&mut *connection).await?.is_some())
}

/// Takes partitions over.
pub(super) async fn claim(
    connection: &mut SqliteConnection,
    generation: &Generation,
    partitions: &[LogBounds],
) -> Result<Vec<Checkpoint>, Failure> {
    let mut claimed = Vec::with_capacity(partitions.len());
    for bounds in partitions {
        let row = statement(
            "INSERT INTO laterna_checkpoint \
             (projection, generation, topic, partition, next_offset, owner_epoch, topic_id, start_offset) \
             SELECT projection, generation, ?3, ?4, ?5, 1, ?6, ?5 FROM laterna_generation \
             WHERE projection = ?1 AND generation = ?2 AND writable \
             ON CONFLICT (projection, generation, topic, partition) DO UPDATE SET owner_epoch = owner_epoch + 1, \
             topic_id = COALESCE(topic_id, excluded.topic_id), updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') \
             RETURNING topic, partition, next_offset, owner_epoch, topic_id",
        )
        .bind(generation.projection.clone())
        .bind(generation.number)
        .bind(bounds.partition.topic.to_string())
        .bind(bounds.partition.partition)
        .bind(bounds.start)
        .bind(bounds.topic_id.clone())
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else {
            return Err(refused(
                "generation_retired",
                format!(
                    "{generation} is not written any longer: laterna_generation says that it is not writable, or has no record of it"
                ),
            ));
        };
        claimed.push(checkpoint(&row)?);
    }
    Ok(claimed)
}

/// The checkpoints of a generation, in the order of topics and partitions.
pub(super) async fn checkpoints(
    connection: &mut SqliteConnection,
    generation: &Generation,
) -> Result<Vec<Checkpoint>, Failure> {
    let rows = statement(
        "SELECT topic, partition, next_offset, owner_epoch, topic_id FROM laterna_checkpoint \
         WHERE projection = ? AND generation = ? ORDER BY topic, partition",
    )
    .bind(generation.projection.clone())
    .bind(generation.number)
    .fetch_all(&mut *connection)
    .await?;
    Ok(rows.iter().map(checkpoint).collect::<Result<_, _>>()?)
}

/// Where each partition of a generation began.
pub(super) async fn starts(
    connection: &mut SqliteConnection,
    generation: &Generation,
) -> Result<Vec<(TopicPartition, i64)>, Failure> {
    let rows = statement(
        "SELECT topic, partition, start_offset FROM laterna_checkpoint \
         WHERE projection = ? AND generation = ? ORDER BY topic, partition",
    )
    .bind(generation.projection.clone())
    .bind(generation.number)
    .fetch_all(&mut *connection)
    .await?;
    let start = |row: &sqlx::sqlite::SqliteRow| {
        Ok((TopicPartition::new(row.try_get::<String, _>(0)?, row.try_get(1)?), row.try_get(2)?))
    };
    Ok(rows.iter().map(start).collect::<Result<_, sqlx::Error>>()?)
}

fn checkpoint(row: &sqlx::sqlite::SqliteRow) -> Result<Checkpoint, sqlx::Error> {
    Ok(Checkpoint {
        partition: TopicPartition::new(row.try_get::<String, _>(0)?, row.try_get(1)?),
        next_offset: row.try_get(2)?,
        owner_epoch: row.try_get(3)?,
        topic_id: row.try_get(4)?,
    })
}

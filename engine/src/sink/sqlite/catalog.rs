//! What the engine keeps in the file beside the rows: its own tables `laterna_*`, and each projection's generations.
//!
//! Invariants: the engine's tables change by numbered, forward-only steps; a file from a newer engine is refused. A name in
//! the file that the engine did not create is never touched.

use serde_json::Value as Json;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::failure::{Failure, refused};
use super::text::{self, statement};
use crate::change::{Schema, Table};
use crate::checkpoint::{Checkpoint, Generation, LogBounds};
use crate::event::TopicPartition;
use crate::sink::{Opened, stored};

/// The steps from an empty file to what this build works with; a step never changes once it was released.
const STEPS: &[&str] = &["
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
"];

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
                format!("sqlite: {place} has tables named laterna_.. that are not ours; rename them, or name another file in database.url"),
            ));
        }
        let create = "CREATE TABLE laterna_meta (schema_version INTEGER NOT NULL) STRICT; INSERT INTO laterna_meta VALUES (0)";
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
async fn taken(connection: &mut SqliteConnection, name: &str) -> Result<bool, Failure> {
    let found = statement("SELECT 1 FROM sqlite_schema WHERE name = ? COLLATE NOCASE").bind(name.to_owned());
    Ok(found.fetch_optional(&mut *connection).await?.is_some())
}

/// Makes the live generation ready, as [`crate::sink::Sink::open`] says.
pub(super) async fn open(connection: &mut SqliteConnection, schema: &Schema, digest: &str) -> Result<Opened, Failure> {
    let projection = &schema.descriptor.name;
    let rows = statement(
        "SELECT generation, state = 'live', revision, descriptor FROM laterna_generation WHERE projection = ? ORDER BY generation",
    )
    .bind(projection.clone())
    .fetch_all(&mut *connection)
    .await?;
    let mut highest = 0;
    for row in &rows {
        let number = row.try_get::<u32, _>(0)?;
        highest = highest.max(number);
        if row.try_get(1)? {
            let generation = Generation { projection: projection.clone(), number };
            let before = (row.try_get::<i64, _>(2)?, row.try_get::<String, _>(3)?);
            return reopen(connection, schema, digest, generation, before).await;
        }
    }
    let generation = Generation { projection: projection.clone(), number: highest.saturating_add(1) };
    create(connection, schema, digest, &generation).await?;
    Ok(Opened { generation, created: true })
}

/// Goes on with a stored generation if it has the same tables.
async fn reopen(
    connection: &mut SqliteConnection,
    schema: &Schema,
    digest: &str,
    generation: Generation,
    (revision, descriptor): (i64, String),
) -> Result<Opened, Failure> {
    let before: Json = serde_json::from_str(&descriptor).unwrap_or(Json::Null);
    let next = revert_or_drop(&generation, &before);
    let differences = stored::differences(&before, schema);
    if let Some(first) = differences.first() {
        let more = if differences.len() > 1 { format!(" (and {} more)", differences.len() - 1) } else { String::new() };
        return Err(refused(
            "schema_changed",
            format!("{generation} was built with other tables than the plugin now declares: {first}{more}; {next}"),
        ));
    }
    let declared = schema.descriptor.revision;
    if revision != i64::from(declared) {
        return Err(refused(
            "schema_changed",
            format!(
                "{generation} was built by revision {revision}, and the plugin is now revision {declared}: the meaning of \
                 its rows has changed; {next}"
            ),
        ));
    }
    for table in &schema.descriptor.tables {
        for name in [&text::stored_name(&generation, table), &table.name] {
            if !taken(connection, name).await? {
                return Err(refused("table_missing", format!("{generation}: {name:?} is gone, dropped by somebody; restore it, or {next}")));
            }
        }
    }
    statement(
        "UPDATE laterna_generation SET plugin_digest = ?, descriptor = ?, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') \
         WHERE projection = ? AND generation = ?",
    )
    .bind(digest.to_owned())
    .bind(stored_descriptor(schema)?)
    .bind(generation.projection.clone())
    .bind(generation.number)
    .execute(&mut *connection)
    .await?;
    Ok(Opened { generation, created: false })
}

/// What a person can do about a generation that does not fit, with the exact statements.
fn revert_or_drop(generation: &Generation, descriptor: &Json) -> String {
    use std::fmt::Write as _;
    let mut drops = String::new();
    for name in table_names(descriptor) {
        let (view, table) = (text::quote(name), text::quote(&format!("{name}__g{}", generation.number)));
        // Writing to a String cannot fail.
        write!(drops, "DROP VIEW IF EXISTS {view}; DROP TABLE IF EXISTS {table}; ").ok();
    }
    let projection = text::literal(&generation.projection);
    format!(
        "rebuilds are not there yet: put the former build back, or drop what was built and start from the beginning of the \
         log: BEGIN; {drops}DELETE FROM laterna_checkpoint WHERE projection = {projection}; \
         DELETE FROM laterna_parked WHERE projection = {projection}; \
         DELETE FROM laterna_generation WHERE projection = {projection}; COMMIT;"
    )
}

fn table_names(descriptor: &Json) -> impl Iterator<Item = &str> {
    let tables = descriptor.get("tables").and_then(Json::as_array);
    tables.into_iter().flatten().filter_map(|table| table.get("name")?.as_str())
}

/// Makes tables, indexes, views and the record of a generation.
async fn create(connection: &mut SqliteConnection, schema: &Schema, digest: &str, generation: &Generation) -> Result<(), Failure> {
    for table in &schema.descriptor.tables {
        let name = text::stored_name(generation, table);
        refuse_taken(connection, generation, table, &name).await?;
        // The view of an earlier generation of this projection gives way.
        match owner(connection, &table.name).await? {
            Some(owner) if owner == generation.projection => {
                let drop = format!("DROP VIEW IF EXISTS {}", text::quote(&table.name));
                statement(&drop).execute(&mut *connection).await?;
            }
            _ => refuse_taken(connection, generation, table, &table.name).await?,
        }
        for create in text::create_table(&name, table).into_iter().chain([text::create_view(&name, table)]) {
            statement(&create).execute(&mut *connection).await?;
        }
    }
    statement(
        "INSERT INTO laterna_generation (projection, generation, state, revision, descriptor, plugin_digest) \
         VALUES (?, ?, 'live', ?, ?, ?)",
    )
    .bind(generation.projection.clone())
    .bind(generation.number)
    .bind(schema.descriptor.revision)
    .bind(stored_descriptor(schema)?)
    .bind(digest.to_owned())
    .execute(&mut *connection)
    .await?;
    Ok(())
}

async fn refuse_taken(
    connection: &mut SqliteConnection,
    generation: &Generation,
    table: &Table,
    name: &str,
) -> Result<(), Failure> {
    if !taken(connection, name).await? {
        return Ok(());
    }
    let whose = match owner(connection, &table.name).await? {
        Some(other) if other != generation.projection => format!("projection {other:?} has one of this name"),
        _ => "the database has one of this name that is not the engine's".to_owned(),
    };
    Err(refused(
        "name_taken",
        format!(
            "projection {:?} needs {name:?} for its table {:?}, and {whose}; rename one of them, or keep the projections in two databases",
            generation.projection, table.name
        ),
    ))
}

/// The projection that has a table of this name, and so the view.
async fn owner(connection: &mut SqliteConnection, table: &str) -> Result<Option<String>, Failure> {
    let rows = statement("SELECT projection, descriptor FROM laterna_generation ORDER BY state = 'live' DESC")
        .fetch_all(&mut *connection)
        .await?;
    for row in rows {
        let descriptor: Json = serde_json::from_str(&row.try_get::<String, _>(1)?).unwrap_or(Json::Null);
        if table_names(&descriptor).any(|name| name == table) {
            return Ok(Some(row.try_get(0)?));
        }
    }
    Ok(None)
}

fn stored_descriptor(schema: &Schema) -> Result<String, Failure> {
    serde_json::to_string(&schema.descriptor)
        .map_err(|error| refused("descriptor", format!("the descriptor cannot be stored: {error}")))
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
             WHERE projection = ?1 AND generation = ?2 AND state <> 'retired' \
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
                format!("{generation} is not written any longer: laterna_generation says that it is retired, or has no record of it"),
            ));
        };
        claimed.push(checkpoint(&row)?);
    }
    Ok(claimed)
}

/// The checkpoints of a generation, in the order of topics and partitions.
pub(super) async fn checkpoints(connection: &mut SqliteConnection, generation: &Generation) -> Result<Vec<Checkpoint>, Failure> {
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

fn checkpoint(row: &sqlx::sqlite::SqliteRow) -> Result<Checkpoint, sqlx::Error> {
    Ok(Checkpoint {
        partition: TopicPartition::new(row.try_get::<String, _>(0)?, row.try_get(1)?),
        next_offset: row.try_get(2)?,
        owner_epoch: row.try_get(3)?,
        topic_id: row.try_get(4)?,
    })
}

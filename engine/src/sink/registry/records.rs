//! Reading what is remembered: rows of the engine's own tables as records.

use std::sync::Arc;

use serde_json::Value as Json;

use super::transaction::{Fields, Parameter, Transaction};
use super::{
    Actor, AuditEntry, Build, Desired, GenerationRecord, GenerationState, ProjectionRecord, RebuildRecord,
    RebuildState, Registry, Switch,
};
use crate::error::ErrorKind;
use crate::sink::SinkError;

/// How many rebuilds that have ended are told of each projection.
const ENDED_REBUILDS: u32 = 20;

fn unknown(what: &str, name: &str) -> SinkError {
    let message = format!(
        "the engine's own tables name the {what} {name:?}, which this build does not know; run the newer laterna"
    );
    SinkError { kind: ErrorKind::Fatal, code: "schema_newer", message }
}

fn of<T: Copy>(what: &str, all: &[T], name_of: fn(T) -> &'static str, name: &str) -> Result<T, SinkError> {
    all.iter().copied().find(|one| name_of(*one) == name).ok_or_else(|| unknown(what, name))
}

/// One projection, or all.
pub(super) async fn projections(
    tx: &mut dyn Transaction,
    name: Option<&str>,
) -> Result<Vec<ProjectionRecord>, SinkError> {
    let rows = tx
        .rows(
            "SELECT projection, desired, reason, plugin_file, plugin_digest, restarts, updated_at FROM @projection \
             WHERE projection = $1 OR $2 ORDER BY projection",
            vec![name.unwrap_or_default().into(), Parameter::Boolean(name.is_none())],
        )
        .await?;
    let record = |mut row: Fields| {
        Ok(ProjectionRecord {
            name: row.text()?,
            desired: of("desired state", &Desired::ALL, Desired::name, &row.text()?)?,
            reason: row.maybe_text()?,
            plugin_file: row.text()?,
            plugin_digest: row.text()?,
            restarts: row.integer()?,
            updated_at_us: row.time()?,
        })
    };
    rows.into_iter().map(record).collect()
}

/// The generations of one projection, dropped ones among them, or those of all that are stored, in the order of their numbers.
pub(super) async fn generations(
    tx: &mut dyn Transaction,
    projection: Option<&str>,
) -> Result<Vec<GenerationRecord>, SinkError> {
    let rows = tx
        .rows(
            "SELECT projection, generation, state, writable, stored, revision, plugin_digest, descriptor, collect_at, created_at \
             FROM @generation WHERE projection = $1 OR ($2 AND stored) ORDER BY projection, generation",
            vec![projection.unwrap_or_default().into(), Parameter::Boolean(projection.is_none())],
        )
        .await?;
    let record = |mut row: Fields| {
        Ok(GenerationRecord {
            projection: row.text()?,
            number: row.number()?,
            state: of("generation's state", &GenerationState::ALL, GenerationState::name, &row.text()?)?,
            writable: row.truth()?,
            stored: row.truth()?,
            revision: row.number()?,
            plugin_digest: row.text()?,
            descriptor: row.json()?,
            collect_at_us: row.maybe_time()?,
            created_at_us: row.time()?,
        })
    };
    rows.into_iter().map(record).collect()
}

/// The rebuilds of one projection, or of all those that are under way and the last [`ENDED_REBUILDS`] that have ended of each, the newest first.
pub(super) async fn rebuilds(
    tx: &mut dyn Transaction,
    projection: Option<&str>,
) -> Result<Vec<RebuildRecord>, SinkError> {
    let rows = tx
        .rows(
            "SELECT id, projection, generation, from_generation, plugin_digest, state, switch, max_rate, forced, targets, reason, \
             created_at, updated_at, finished_at FROM (SELECT r.*, ROW_NUMBER() OVER (PARTITION BY projection, finished_at IS NULL \
             ORDER BY created_at DESC, generation DESC) AS place FROM @rebuild AS r) AS told \
             WHERE projection = $1 OR ($2 AND (finished_at IS NULL OR place <= $3)) ORDER BY created_at DESC, generation DESC, projection",
            vec![
                projection.unwrap_or_default().into(),
                Parameter::Boolean(projection.is_none()),
                ENDED_REBUILDS.into(),
            ],
        )
        .await?;
    let record = |mut row: Fields| {
        Ok(RebuildRecord {
            id: row.text()?,
            projection: row.text()?,
            generation: row.number()?,
            from_generation: row.number()?,
            plugin_digest: row.text()?,
            state: of("rebuild's state", &RebuildState::ALL, RebuildState::name, &row.text()?)?,
            switch: of("kind of switch", &Switch::ALL, Switch::name, &row.text()?)?,
            max_rate: row.maybe_integer()?.and_then(|rate| u32::try_from(rate).ok()),
            forced: row.truth()?,
            targets: serde_json::from_value(row.json()?).map_err(|error| unknown("targets", &error.to_string()))?,
            reason: row.maybe_text()?,
            created_at_us: row.time()?,
            updated_at_us: row.time()?,
            finished_at_us: row.maybe_time()?,
        })
    };
    rows.into_iter().map(record).collect()
}

/// Everything, in the snapshot of the transaction.
pub(in crate::sink) async fn registry(tx: &mut dyn Transaction) -> Result<Registry, SinkError> {
    let projections = projections(tx, None).await?;
    let generations = generations(tx, None).await?;
    let rebuilds = rebuilds(tx, None).await?;
    Ok(Registry { projections, generations, rebuilds })
}

/// The audit, newest first.
pub(in crate::sink) async fn audit(
    tx: &mut dyn Transaction,
    projection: Option<&str>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<AuditEntry>, SinkError> {
    let rows = tx
        .rows(
            "SELECT id, at, actor, role, source, action, projection, plugin_digest, detail, before, after FROM @audit \
             WHERE (projection = $1 OR $2) AND id < $3 ORDER BY id DESC LIMIT $4",
            vec![
                projection.unwrap_or_default().into(),
                Parameter::Boolean(projection.is_none()),
                before.unwrap_or(i64::MAX).into(),
                limit.into(),
            ],
        )
        .await?;
    let entry = |mut row: Fields| {
        Ok(AuditEntry {
            id: row.integer()?,
            at_us: row.time()?,
            actor: Actor { name: row.text()?, role: row.text()?, source: row.text()? },
            action: row.text()?,
            projection: row.text()?,
            plugin_digest: row.maybe_text()?,
            detail: row.json()?,
            before: row.json()?,
            after: row.json()?,
        })
    };
    rows.into_iter().map(entry).collect()
}

/// How many builds of a projection are kept that nothing runs.
const BUILDS_KEPT: u32 = 20;

/// Stores a build under its digest, once.
pub(in crate::sink) async fn store_build(tx: &mut dyn Transaction, build: &Build) -> Result<(), SinkError> {
    let known = tx.rows("SELECT 1 FROM @build WHERE digest = $1", vec![(&build.digest).into()]).await?;
    if known.is_empty() {
        // Somebody else may be at it: then one of the two does nothing.
        tx.run(
            "INSERT INTO @build (digest, projection, revision, file, bytes) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (digest) DO NOTHING",
            vec![
                (&build.digest).into(),
                (&build.projection).into(),
                build.revision.into(),
                (&build.file).into(),
                Parameter::Bytes(Arc::clone(&build.bytes)),
            ],
        )
        .await?;
        // What no generation is written by, beyond the last few, nobody comes back to.
        tx.run(
            "DELETE FROM @build WHERE projection = $1 AND digest <> $2 \
             AND digest NOT IN (SELECT plugin_digest FROM @generation WHERE projection = $1 AND stored) \
             AND digest NOT IN (SELECT plugin_digest FROM @projection WHERE projection = $1) \
             AND digest NOT IN (SELECT digest FROM @build WHERE projection = $1 ORDER BY stored_at DESC, digest LIMIT $3)",
            vec![(&build.projection).into(), (&build.digest).into(), BUILDS_KEPT.into()],
        )
        .await?;
    }
    Ok(())
}

/// A stored build.
pub(in crate::sink) async fn load_build(tx: &mut dyn Transaction, digest: &str) -> Result<Option<Build>, SinkError> {
    let rows = tx
        .rows("SELECT digest, projection, revision, file, bytes FROM @build WHERE digest = $1", vec![digest.into()])
        .await?;
    let build = |mut row: Fields| {
        Ok(Build {
            digest: row.text()?,
            projection: row.text()?,
            revision: row.number()?,
            file: row.text()?,
            bytes: row.bytes()?.into(),
        })
    };
    rows.into_iter().next().map(build).transpose()
}

/// What a client was told under its key before: the order's fingerprint, and what it did.
pub(super) async fn request(
    tx: &mut dyn Transaction,
    actor: &str,
    key: &str,
) -> Result<Option<(String, Json)>, SinkError> {
    let rows = tx
        .rows("SELECT fingerprint, done FROM @request WHERE actor = $1 AND key = $2", vec![actor.into(), key.into()])
        .await?;
    rows.into_iter().next().map(|mut row| Ok((row.text()?, row.json()?))).transpose()
}

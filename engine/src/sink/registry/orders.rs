//! How each order is carried out: what it asks of the records, what it changes, and when it is refused. The same for every sink.
//!
//! Invariants: an order reads before it writes, and its transaction has the projection's records to itself; what is refused has been
//! written nowhere, because the transaction ends with it; checkpoints are locked before tables, as in a commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::transaction::{Parameter, Transaction, Views};
use super::{
    Actor, Asked, Desired, Done, GenerationRecord, GenerationState, Order, OrderError, ProjectionRecord, RebuildRecord,
    RebuildState, Refusal, Switch, Target,
};
use super::{audit, records};
use crate::change::{Schema, Table};
use crate::checkpoint::Generation;
use crate::error::ErrorKind;
use crate::sink::stored::{self, TableChange};
use crate::sink::{Opened, SinkError};

/// How often a swap looks whether the new generation has caught up.
const POLL: Duration = Duration::from_millis(20);

/// What an order has done, for the caller and for the audit.
pub(super) struct Outcome {
    pub(super) done: Done,
    pub(super) digest: Option<String>,
    pub(super) before: Json,
    pub(super) after: Json,
}

impl Outcome {
    fn nothing() -> Self {
        let done = Done { changed: false, generation: None, rebuild: None };
        Self { done, digest: None, before: Json::Null, after: Json::Null }
    }

    fn changed(before: Json, after: Json) -> Self {
        let done = Done { changed: true, generation: None, rebuild: None };
        Self { done, digest: None, before, after }
    }

    fn generation(mut self, number: u32) -> Self {
        self.done.generation = Some(number);
        self
    }

    fn rebuild(mut self, id: &str) -> Self {
        self.done.rebuild = Some(id.to_owned());
        self
    }

    fn digest(mut self, digest: &str) -> Self {
        self.digest = Some(digest.to_owned());
        self
    }
}

pub(super) fn refused(code: &'static str, message: String, subject: Option<&str>) -> OrderError {
    Refusal { code, message, subject: subject.map(str::to_owned) }.into()
}

/// Carries an order out, with its audit row, or tells what it did when it was asked for under this key before.
pub(in crate::sink) async fn carry_out(
    tx: &mut dyn Transaction,
    order: &Order,
    asked: &Asked,
) -> Result<Done, OrderError> {
    if let Some(done) = audit::answered(tx, asked, &audit::request(order, asked)).await? {
        return Ok(done);
    }
    let outcome = dispatch(tx, order).await?;
    if outcome.done.changed {
        audit::note(tx, order, asked, &outcome).await?;
    }
    audit::remember(tx, order, asked, &outcome.done).await?;
    Ok(outcome.done)
}

async fn dispatch(tx: &mut dyn Transaction, order: &Order) -> Result<Outcome, OrderError> {
    match order {
        Order::Create { schema, digest, file } => create(tx, schema, digest, file).await,
        Order::Deploy { schema, digest, file, generation } => deploy(tx, schema, (digest, file), *generation).await,
        Order::Hold { projection, digest, file } => hold(tx, projection, digest, file).await,
        Order::Desire { projection, desired, reason } => desire(tx, projection, *desired, reason.as_deref()).await,
        Order::Restart { projection } => restart(tx, projection).await,
        Order::BeginRebuild { schema, digest, file, switch, max_rate, forced, targets } => {
            let terms = Terms { switch: *switch, max_rate: *max_rate, forced: *forced, targets };
            begin_rebuild(tx, schema, (digest, file), terms).await
        }
        Order::MoveRebuild { id, from, to, reason } => move_rebuild(tx, id, (*from, *to), reason.as_deref()).await,
        Order::Switch { id } => switch(tx, id).await,
        Order::Swap { id, collect_at_us } => swap(tx, id, *collect_at_us).await,
        Order::Rollback { projection, collect_at_us } => rollback(tx, projection, *collect_at_us).await,
        Order::CancelRebuild { id, reason } => cancel(tx, id, reason).await,
        Order::Collect { projection, generation } => collect(tx, projection, *generation).await,
        Order::Drop { projection } => drop_projection(tx, projection).await,
        Order::File { digest, file, .. } => Ok(file_order(digest.as_deref(), file)),
    }
}

/// A file was put into the plugins folder or taken out of it: only the audit tells it, what follows is ordered by whoever deals with the folder.
fn file_order(digest: Option<&str>, file: &str) -> Outcome {
    let mut outcome = Outcome::changed(Json::Null, json!({ "file": file, "digest": digest }));
    outcome.digest = digest.map(str::to_owned);
    outcome
}

/// A projection's records.
struct Known {
    projection: Option<ProjectionRecord>,
    generations: Vec<GenerationRecord>,
}

impl Known {
    async fn read(tx: &mut dyn Transaction, name: &str) -> Result<Self, SinkError> {
        let projection = records::projections(tx, Some(name)).await?.pop();
        Ok(Self { projection, generations: records::generations(tx, Some(name)).await? })
    }

    fn live(&self) -> Option<&GenerationRecord> {
        self.generations.iter().find(|generation| generation.state == GenerationState::Live)
    }

    fn generation(&self, number: u32) -> Option<&GenerationRecord> {
        self.generations.iter().find(|generation| generation.number == number)
    }

    fn next(&self) -> u32 {
        self.generations.iter().map(|generation| generation.number).max().unwrap_or(0).saturating_add(1)
    }

    fn projection(&self, name: &str) -> Result<&ProjectionRecord, OrderError> {
        self.projection.as_ref().ok_or_else(|| unknown(name))
    }
}

fn unknown(projection: &str) -> OrderError {
    refused("projection_unknown", format!("there is no projection {projection:?}"), Some(projection))
}

fn generation(projection: &str, number: u32) -> Generation {
    Generation { projection: projection.to_owned(), number }
}

async fn create(tx: &mut dyn Transaction, schema: &Schema, digest: &str, file: &str) -> Result<Outcome, OrderError> {
    let projection = &schema.descriptor.name;
    let known = Known::read(tx, projection).await?;
    if let Some(live) = known.live() {
        return Ok(Outcome::nothing().generation(live.number));
    }
    let made = generation(projection, known.next());
    tx.make_tables(&made, schema, false).await?;
    insert_generation(tx, &made, GenerationState::Live, schema, digest).await?;
    tx.point_views(Views { generation: &made, tables: &schema.descriptor.tables, former: None }).await?;
    tx.run(
        "INSERT INTO @projection (projection, desired, plugin_file, plugin_digest) VALUES ($1, 'running', $2, $3) \
         ON CONFLICT (projection) DO UPDATE SET plugin_file = excluded.plugin_file, plugin_digest = excluded.plugin_digest, \
         updated_at = @now",
        vec![projection.into(), file.into(), digest.into()],
    )
    .await?;
    let after =
        json!({ "generation": made.number, "digest": digest, "file": file, "revision": schema.descriptor.revision });
    Ok(Outcome::changed(Json::Null, after).generation(made.number).digest(digest))
}

fn descriptor(schema: &Schema) -> Result<Parameter, SinkError> {
    let text = serde_json::to_string(&schema.descriptor).map_err(|error| SinkError {
        kind: ErrorKind::Fatal,
        code: "descriptor",
        message: format!("the descriptor cannot be stored: {error}"),
    })?;
    Ok(Parameter::Json(text))
}

async fn insert_generation(
    tx: &mut dyn Transaction,
    made: &Generation,
    state: GenerationState,
    schema: &Schema,
    digest: &str,
) -> Result<(), SinkError> {
    tx.run(
        "INSERT INTO @generation (projection, generation, state, revision, descriptor, plugin_digest) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        vec![
            (&made.projection).into(),
            made.number.into(),
            state.name().into(),
            schema.descriptor.revision.into(),
            descriptor(schema)?,
            digest.into(),
        ],
    )
    .await?;
    Ok(())
}

async fn deploy(
    tx: &mut dyn Transaction,
    schema: &Schema,
    (digest, file): (&str, &str),
    number: u32,
) -> Result<Outcome, OrderError> {
    let projection = &schema.descriptor.name;
    let known = Known::read(tx, projection).await?;
    let record = known.projection(projection)?;
    let found = known.generation(number).filter(|generation| generation.stored && generation.writable);
    let Some(found) = found else {
        let message = format!("generation {number} of {projection} is not written any longer, or was never there");
        return Err(refused("generation_gone", message, None));
    };
    let changes = stored::differences(&found.descriptor, schema);
    if let Some(change) = changes.iter().find(|change| !change.is_additive()) {
        let message = format!("{projection} generation {number} has other tables than the build: {change}; rebuild it");
        return Err(refused("not_additive", message, Some(&change.table)));
    }
    let declared = serde_json::to_value(&schema.descriptor).unwrap_or(Json::Null);
    let revision = schema.descriptor.revision;
    if found.plugin_digest == digest
        && found.revision == revision
        && found.descriptor == declared
        && (record.plugin_digest == digest && record.plugin_file == file)
    {
        return Ok(Outcome::nothing().generation(number));
    }
    let of = generation(projection, number);
    if !changes.is_empty() {
        let live = found.state == GenerationState::Live;
        tx.add_to_tables(&of, schema, &changes, live).await?;
        if live {
            let before = stored::tables(&found.descriptor);
            let former = Some((number, &*before));
            tx.point_views(Views { generation: &of, tables: &schema.descriptor.tables, former }).await?;
        }
    }
    tx.run(
        "UPDATE @generation SET plugin_digest = $3, descriptor = $4, revision = $5, updated_at = @now \
         WHERE projection = $1 AND generation = $2",
        vec![projection.into(), number.into(), digest.into(), descriptor(schema)?, revision.into()],
    )
    .await?;
    set_build(tx, projection, digest, file).await?;
    let before = json!({
        "digest": found.plugin_digest, "revision": found.revision, "file": record.plugin_file,
    });
    let texts: Vec<String> = changes.iter().map(TableChange::to_string).collect();
    let after = json!({ "digest": digest, "revision": revision, "file": file, "tables": texts });
    Ok(Outcome::changed(before, after).generation(number).digest(digest))
}

async fn set_build(tx: &mut dyn Transaction, projection: &str, digest: &str, file: &str) -> Result<(), SinkError> {
    tx.run(
        "UPDATE @projection SET plugin_digest = $2, plugin_file = $3, updated_at = @now WHERE projection = $1",
        vec![projection.into(), digest.into(), file.into()],
    )
    .await?;
    Ok(())
}

async fn hold(tx: &mut dyn Transaction, projection: &str, digest: &str, file: &str) -> Result<Outcome, OrderError> {
    let known = Known::read(tx, projection).await?;
    let record = known.projection(projection)?;
    if record.plugin_digest == digest && record.plugin_file == file {
        return Ok(Outcome::nothing());
    }
    set_build(tx, projection, digest, file).await?;
    let before = json!({ "digest": record.plugin_digest, "file": record.plugin_file });
    Ok(Outcome::changed(before, json!({ "digest": digest, "file": file })).digest(digest))
}

async fn desire(
    tx: &mut dyn Transaction,
    projection: &str,
    desired: Desired,
    reason: Option<&str>,
) -> Result<Outcome, OrderError> {
    let known = Known::read(tx, projection).await?;
    let record = known.projection(projection)?;
    if record.desired == desired {
        return Ok(Outcome::nothing());
    }
    tx.run(
        "UPDATE @projection SET desired = $2, reason = $3, updated_at = @now WHERE projection = $1",
        vec![projection.into(), desired.name().into(), Parameter::Text(reason.map(str::to_owned))],
    )
    .await?;
    let before = json!({ "desired": record.desired, "reason": record.reason });
    Ok(Outcome::changed(before, json!({ "desired": desired, "reason": reason })))
}

async fn restart(tx: &mut dyn Transaction, projection: &str) -> Result<Outcome, OrderError> {
    let known = Known::read(tx, projection).await?;
    let restarts = known.projection(projection)?.restarts;
    tx.run(
        "UPDATE @projection SET restarts = restarts + 1, updated_at = @now WHERE projection = $1",
        vec![projection.into()],
    )
    .await?;
    Ok(Outcome::changed(json!({ "restarts": restarts }), json!({ "restarts": restarts + 1 })))
}

/// What a rebuild is begun under.
struct Terms<'a> {
    switch: Switch,
    max_rate: Option<u32>,
    forced: bool,
    targets: &'a [Target],
}

async fn begin_rebuild(
    tx: &mut dyn Transaction,
    schema: &Schema,
    (digest, file): (&str, &str),
    terms: Terms<'_>,
) -> Result<Outcome, OrderError> {
    let projection = &schema.descriptor.name;
    let known = Known::read(tx, projection).await?;
    let record = known.projection(projection)?;
    let Some(live) = known.live() else {
        let message = format!("projection {projection:?} has no live generation to rebuild; start it first");
        return Err(refused("no_live_generation", message, Some(projection)));
    };
    let rebuilds = records::rebuilds(tx, Some(projection)).await?;
    if let Some(active) = rebuilds.iter().find(|rebuild| rebuild.state.is_active()) {
        let message = format!(
            "rebuild {} of {projection:?} is under way ({}); wait for it, switch it or cancel it",
            active.id,
            active.state.name()
        );
        return Err(refused("rebuild_active", message, Some(&active.id)));
    }
    let made = generation(projection, known.next());
    let id = format!("{projection}-g{}", made.number);
    tx.make_tables(&made, schema, true).await?;
    insert_generation(tx, &made, GenerationState::Building, schema, digest).await?;
    let targets = serde_json::to_value(terms.targets).unwrap_or(Json::Null);
    tx.run(
        "INSERT INTO @rebuild (id, projection, generation, from_generation, plugin_digest, state, switch, max_rate, forced, targets) \
         VALUES ($1, $2, $3, $4, $5, 'filling', $6, $7, $8, $9)",
        vec![
            (&id).into(),
            projection.into(),
            made.number.into(),
            live.number.into(),
            digest.into(),
            terms.switch.name().into(),
            Parameter::Integer(terms.max_rate.map(i64::from)),
            Parameter::Boolean(terms.forced),
            (&targets).into(),
        ],
    )
    .await?;
    set_build(tx, projection, digest, file).await?;
    let before = json!({ "digest": record.plugin_digest, "file": record.plugin_file, "live": live.number });
    let after = json!({ "rebuild": id, "generation": made.number, "digest": digest, "file": file });
    Ok(Outcome::changed(before, after).generation(made.number).rebuild(&id).digest(digest))
}

/// A rebuild by its identity.
async fn rebuild(tx: &mut dyn Transaction, id: &str) -> Result<RebuildRecord, OrderError> {
    let projection = super::projection_of(id);
    let found = records::rebuilds(tx, Some(projection)).await?.into_iter().find(|rebuild| rebuild.id == id);
    found.ok_or_else(|| refused("rebuild_unknown", format!("there is no rebuild {id:?}"), Some(id)))
}

fn stands_elsewhere(rebuild: &RebuildRecord, asked: &str) -> OrderError {
    let message = format!("rebuild {} is {}, and {asked}", rebuild.id, rebuild.state.name());
    refused("rebuild_state", message, Some(&rebuild.id))
}

async fn set_rebuild(
    tx: &mut dyn Transaction,
    id: &str,
    state: RebuildState,
    reason: Option<&str>,
) -> Result<(), SinkError> {
    let reason = Parameter::Text(reason.map(str::to_owned));
    if state.is_active() {
        tx.run(
            "UPDATE @rebuild SET state = $2, reason = COALESCE($3, reason), updated_at = @now WHERE id = $1",
            vec![id.into(), state.name().into(), reason],
        )
        .await?;
    } else {
        tx.run(
            "UPDATE @rebuild SET state = $2, reason = COALESCE($3, reason), updated_at = @now, finished_at = @now WHERE id = $1",
            vec![id.into(), state.name().into(), reason],
        )
        .await?;
    }
    Ok(())
}

async fn move_rebuild(
    tx: &mut dyn Transaction,
    id: &str,
    (from, to): (RebuildState, RebuildState),
    reason: Option<&str>,
) -> Result<Outcome, OrderError> {
    let found = rebuild(tx, id).await?;
    // Sent twice, or by two engines: it is where it was to go.
    if found.state == to {
        return Ok(Outcome::nothing().rebuild(id));
    }
    if found.state != from || !from.is_active() || matches!(to, RebuildState::Switched | RebuildState::Cancelled) {
        return Err(stands_elsewhere(&found, &format!("cannot move from {} to {}", from.name(), to.name())));
    }
    set_rebuild(tx, id, to, reason).await?;
    if to == RebuildState::Failed {
        stop_writing(tx, &found).await?;
        back_to_live(tx, &found.projection).await?;
    }
    let after = json!({ "state": to, "reason": reason });
    Ok(Outcome::changed(json!({ "state": from }), after)
        .generation(found.generation)
        .rebuild(id)
        .digest(&found.plugin_digest))
}

/// The build that is to run is the live generation's again: the one that came to nothing is not begun anew by a restart.
async fn back_to_live(tx: &mut dyn Transaction, projection: &str) -> Result<(), SinkError> {
    tx.run(
        "UPDATE @projection SET plugin_digest = (SELECT g.plugin_digest FROM @generation AS g \
         WHERE g.projection = $1 AND g.state = 'live'), updated_at = @now \
         WHERE projection = $1 AND EXISTS (SELECT 1 FROM @generation AS g WHERE g.projection = $1 AND g.state = 'live')",
        vec![projection.into()],
    )
    .await?;
    Ok(())
}

/// Fences every writer of a rebuild's generation.
async fn stop_writing(tx: &mut dyn Transaction, rebuild: &RebuildRecord) -> Result<(), SinkError> {
    tx.run(
        "UPDATE @generation SET writable = false, updated_at = @now WHERE projection = $1 AND generation = $2",
        vec![(&rebuild.projection).into(), rebuild.generation.into()],
    )
    .await?;
    Ok(())
}

/// From now on the engine decides: a rebuild that waits for a person goes on at once, another one once it has caught up.
async fn switch(tx: &mut dyn Transaction, id: &str) -> Result<Outcome, OrderError> {
    let found = rebuild(tx, id).await?;
    if !found.state.is_active() {
        return Err(stands_elsewhere(&found, "cannot be switched to any more"));
    }
    if found.state != RebuildState::Ready && found.switch == Switch::Auto {
        return Ok(Outcome::nothing().generation(found.generation).rebuild(id));
    }
    let state = if found.state == RebuildState::Ready { RebuildState::Switching } else { found.state };
    tx.run(
        "UPDATE @rebuild SET switch = 'auto', state = $2, updated_at = @now WHERE id = $1",
        vec![id.into(), state.name().into()],
    )
    .await?;
    let before = json!({ "switch": found.switch, "state": found.state });
    let after = json!({ "switch": Switch::Auto, "state": state });
    Ok(Outcome::changed(before, after).generation(found.generation).rebuild(id).digest(&found.plugin_digest))
}

async fn cancel(tx: &mut dyn Transaction, id: &str, reason: &str) -> Result<Outcome, OrderError> {
    let found = rebuild(tx, id).await?;
    if found.state == RebuildState::Cancelled {
        return Ok(Outcome::nothing().rebuild(id));
    }
    if !found.state.is_active() {
        return Err(stands_elsewhere(&found, "cannot be called off any more"));
    }
    set_rebuild(tx, id, RebuildState::Cancelled, Some(reason)).await?;
    stop_writing(tx, &found).await?;
    back_to_live(tx, &found.projection).await?;
    let after = json!({ "state": RebuildState::Cancelled, "reason": reason });
    Ok(Outcome::changed(json!({ "state": found.state }), after)
        .generation(found.generation)
        .rebuild(id)
        .digest(&found.plugin_digest))
}

async fn swap(tx: &mut dyn Transaction, id: &str, collect_at_us: i64) -> Result<Outcome, OrderError> {
    let found = rebuild(tx, id).await?;
    if found.state == RebuildState::Switched {
        return Ok(Outcome::nothing().generation(found.generation).rebuild(id));
    }
    if found.state != RebuildState::Switching {
        return Err(stands_elsewhere(&found, "is not to be switched"));
    }
    let known = Known::read(tx, &found.projection).await?;
    let new = known.generation(found.generation).filter(|generation| generation.stored && generation.writable);
    let Some(new) = new else {
        return Err(stands_elsewhere(&found, "its generation is gone"));
    };
    exchange(tx, known.live(), new, collect_at_us, &found.targets).await?;
    set_rebuild(tx, id, RebuildState::Switched, None).await?;
    let before = json!({ "live": known.live().map(|live| live.number), "state": found.state });
    let after = json!({ "live": new.number, "state": RebuildState::Switched, "collect_at_us": collect_at_us });
    Ok(Outcome::changed(before, after).generation(new.number).rebuild(id).digest(&new.plugin_digest))
}

async fn rollback(tx: &mut dyn Transaction, projection: &str, collect_at_us: i64) -> Result<Outcome, OrderError> {
    let known = Known::read(tx, projection).await?;
    known.projection(projection)?;
    // The one that was left last is the one to come back to.
    let warm = known
        .generations
        .iter()
        .filter(|generation| generation.state == GenerationState::Retired && generation.stored && generation.writable)
        .max_by_key(|generation| (generation.collect_at_us, generation.number));
    let Some(warm) = warm else {
        let message = format!("projection {projection:?} has no former generation that is still kept up to date");
        return Err(refused("no_warm_generation", message, Some(projection)));
    };
    exchange(tx, known.live(), warm, collect_at_us, &[]).await?;
    back_to_live(tx, projection).await?;
    let before = json!({ "live": known.live().map(|live| live.number) });
    let after = json!({ "live": warm.number, "collect_at_us": collect_at_us });
    Ok(Outcome::changed(before, after).generation(warm.number).digest(&warm.plugin_digest))
}

/// Makes `new` the generation that readers see, in place of `old`; it was filled up to `targets`.
async fn exchange(
    tx: &mut dyn Transaction,
    old: Option<&GenerationRecord>,
    new: &GenerationRecord,
    collect_at_us: i64,
    targets: &[Target],
) -> Result<(), OrderError> {
    let projection = &new.projection;
    let shown = generation(projection, new.number);
    let tables = stored::tables(&new.descriptor);
    let former = old.map(|old| stored::tables(&old.descriptor));
    if let Some(old) = old {
        let left = generation(projection, old.number);
        tx.hold_checkpoints(&left).await?;
        let until = Instant::now() + tx.patience();
        while let Some(refusal) = behind(tx, old, new, targets).await? {
            if Instant::now() >= until {
                return Err(refusal.into());
            }
            tokio::time::sleep(POLL).await;
        }
        tx.hold_checkpoints(&shown).await?;
        if let Some(refusal) = behind(tx, old, new, targets).await? {
            return Err(refusal.into());
        }
    }
    let former = old.zip(former.as_deref()).map(|(old, tables)| (old.number, tables));
    tx.point_views(Views { generation: &shown, tables: &tables, former }).await?;
    // One generation is live at any time, which the database itself watches over: so the old one goes first.
    if let Some(old) = old {
        tx.run(
            "UPDATE @generation SET state = 'retired', collect_at = $3, updated_at = @now WHERE projection = $1 AND generation = $2",
            vec![projection.into(), old.number.into(), Parameter::Time(Some(collect_at_us))],
        )
        .await?;
    }
    tx.run(
        "UPDATE @generation SET state = 'live', collect_at = $3, updated_at = @now WHERE projection = $1 AND generation = $2",
        vec![projection.into(), new.number.into(), Parameter::Time(None)],
    )
    .await?;
    Ok(())
}

/// Whether a partition of `new` stands before where `old` stands. Topics that `new` does not read are not waited for, nor logs that `old` knew as others.
async fn behind(
    tx: &mut dyn Transaction,
    old: &GenerationRecord,
    new: &GenerationRecord,
    targets: &[Target],
) -> Result<Option<Refusal>, SinkError> {
    let rows = tx
        .rows(
            "SELECT o.topic, o.partition, o.next_offset, n.next_offset FROM @checkpoint AS o LEFT JOIN @checkpoint AS n \
             ON n.projection = o.projection AND n.generation = $3 AND n.topic = o.topic AND n.partition = o.partition \
             WHERE o.projection = $1 AND o.generation = $2 AND (n.next_offset IS NULL OR n.next_offset < o.next_offset) \
             ORDER BY o.topic, o.partition",
            vec![(&old.projection).into(), old.number.into(), new.number.into()],
        )
        .await?;
    let topics = new.topics();
    let mut partitions = 0;
    let mut first = None;
    for mut row in rows {
        let (topic, partition, stands) = (row.text()?, row.integer()?, row.integer()?);
        let is_other = targets.iter().any(|t| t.other_log && t.topic == topic && i64::from(t.partition) == partition);
        if topics.contains(&topic.as_str()) && !is_other {
            partitions += 1;
            let at = row.maybe_integer()?.map_or_else(|| "nowhere yet".to_owned(), |offset| format!("at {offset}"));
            first = first.or_else(|| Some(format!("{topic}/{partition} stands {at} of {stands}")));
        }
    }
    Ok(first.map(|first| Refusal {
        code: "behind",
        message: format!(
            "generation {} of {} has not caught up with generation {} in {partitions} partition(s): {first}; try again soon",
            new.number, new.projection, old.number
        ),
        subject: Some(new.number.to_string()),
    }))
}

/// Lets go of a generation's tables and checkpoints.
async fn discard(tx: &mut dyn Transaction, projection: &str, record: &GenerationRecord) -> Result<(), OrderError> {
    let of = generation(projection, record.number);
    let names = || vec![projection.into(), record.number.into()];
    tx.run(
        "UPDATE @generation SET state = 'retired', writable = false, stored = false, collect_at = NULL, updated_at = @now \
         WHERE projection = $1 AND generation = $2",
        names(),
    )
    .await?;
    // Checkpoints first, as in a commit: a writer that holds one is waited for, and the next one is fenced.
    tx.run("DELETE FROM @checkpoint WHERE projection = $1 AND generation = $2", names()).await?;
    tx.run("DELETE FROM @parked WHERE projection = $1 AND generation = $2", names()).await?;
    tx.drop_tables(&of, &stored::tables(&record.descriptor)).await
}

async fn collect(tx: &mut dyn Transaction, projection: &str, number: u32) -> Result<Outcome, OrderError> {
    let known = Known::read(tx, projection).await?;
    let Some(found) = known.generation(number).filter(|generation| generation.stored) else {
        return Ok(Outcome::nothing());
    };
    if found.state == GenerationState::Live {
        let message = format!("generation {number} of {projection} is the one that readers see");
        return Err(refused("generation_live", message, None));
    }
    let rebuilds = records::rebuilds(tx, Some(projection)).await?;
    if let Some(active) = rebuilds.iter().find(|rebuild| rebuild.generation == number && rebuild.state.is_active()) {
        let message =
            format!("generation {number} of {projection} is filled by rebuild {}; cancel it first", active.id);
        return Err(refused("generation_live", message, Some(&active.id)));
    }
    discard(tx, projection, found).await?;
    let before = json!({ "state": found.state, "stored": true });
    Ok(Outcome::changed(before, json!({ "stored": false })).generation(number).digest(&found.plugin_digest))
}

async fn drop_projection(tx: &mut dyn Transaction, projection: &str) -> Result<Outcome, OrderError> {
    let known = Known::read(tx, projection).await?;
    let generations: Vec<_> = known.generations.iter().filter(|generation| generation.stored).collect();
    if known.projection.is_none() && generations.is_empty() {
        return Err(unknown(projection));
    }
    // Its numbers stay, so that no generation to come is taken for one that was.
    for found in &generations {
        tx.hold_checkpoints(&generation(projection, found.number)).await?;
    }
    let shown = known.live().map(|live| stored::tables(&live.descriptor)).unwrap_or_default();
    tx.drop_views(projection, &shown).await?;
    for found in &generations {
        discard(tx, projection, found).await?;
    }
    tx.run("DELETE FROM @rebuild WHERE projection = $1", vec![projection.into()]).await?;
    tx.run("DELETE FROM @projection WHERE projection = $1", vec![projection.into()]).await?;
    let numbers: Vec<u32> = generations.iter().map(|generation| generation.number).collect();
    let desired = known.projection.as_ref().map(|record| record.desired);
    let mut outcome = Outcome::changed(json!({ "generations": numbers, "desired": desired }), Json::Null);
    outcome.digest = known.live().map(|live| live.plugin_digest.clone());
    Ok(outcome)
}

/// Makes the live generation ready, as [`crate::sink::Sink::open`] says.
pub(in crate::sink) async fn open(
    tx: &mut dyn Transaction,
    schema: &Arc<Schema>,
    digest: &str,
) -> Result<Opened, OrderError> {
    let projection = &schema.descriptor.name;
    let known = Known::read(tx, projection).await?;
    let Some(live) = known.live() else {
        let order = Order::Create { schema: Arc::clone(schema), digest: digest.to_owned(), file: String::new() };
        let actor = Actor { name: "engine".to_owned(), role: "engine".to_owned(), source: String::new() };
        let done = carry_out(tx, &order, &Asked { actor, idempotency_key: None, request: None }).await?;
        let made = generation(projection, done.generation.unwrap_or(1));
        return Ok(Opened { generation: made, created: done.changed });
    };
    let of = generation(projection, live.number);
    let fatal = |code, message| OrderError::Failed(SinkError { kind: ErrorKind::Fatal, code, message });
    let next = "put the former build back, or rebuild the projection";
    let differences = stored::differences(&live.descriptor, schema);
    if let Some(first) = differences.first() {
        let more = if differences.len() > 1 { format!(" (and {} more)", differences.len() - 1) } else { String::new() };
        return Err(fatal(
            "schema_changed",
            format!("{of} was built with other tables than the plugin now declares: {first}{more}; {next}"),
        ));
    }
    let declared = schema.descriptor.revision;
    if live.revision != declared {
        return Err(fatal(
            "schema_changed",
            format!(
                "{of} was built by revision {}, and the plugin is now revision {declared}: the meaning of its rows has changed; {next}",
                live.revision
            ),
        ));
    }
    check_tables(tx, &of, &schema.descriptor.tables).await?;
    tx.run(
        "UPDATE @generation SET plugin_digest = $3, descriptor = $4, updated_at = @now WHERE projection = $1 AND generation = $2",
        vec![projection.into(), live.number.into(), digest.into(), descriptor(schema)?],
    )
    .await?;
    Ok(Opened { generation: of, created: false })
}

/// Whether the tables and views of a live generation are there.
pub(in crate::sink) async fn check_tables(
    tx: &mut dyn Transaction,
    of: &Generation,
    tables: &[Table],
) -> Result<(), SinkError> {
    match tx.missing(of, tables).await? {
        None => Ok(()),
        Some(name) => Err(SinkError {
            kind: ErrorKind::Fatal,
            code: "table_missing",
            message: format!("{of}: {name} is gone, dropped by somebody; restore it, or rebuild the projection"),
        }),
    }
}

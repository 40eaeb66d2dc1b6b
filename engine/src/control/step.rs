//! Looking without touching: what events would change, and how a rebuilt generation differs from the live one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::Control;
use super::requests::{conflict, invalid};
use super::view::{ControlError, ControlErrorKind, StepEvents, StepReport, SteppedEvent};
use crate::change::{Change, CheckedChange, Key, Rows, Schema, ShapeKind, Value, apply_change};
use crate::checkpoint::{Checkpoint, Generation};
use crate::config::SourceKind;
use crate::event::{Event, EventBatch, TopicPartition};
use crate::format::FormatError;
use crate::plugin::Plugin;
use crate::sink::{BothSides, RebuildState, Sink, TableDifference};
use crate::source::{FileSource, Source as _, SourceEvent, kafka_range, parse_line};

/// Events of one step at most.
const EVENTS_MAX: usize = 100;

/// How long the two generations may take to come to the same checkpoints.
const LEVEL_MAX: Duration = Duration::from_secs(30);

/// How long the log may take to hand over a few events.
const READ_MAX: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(20);

impl Control {
    pub(super) async fn step_events(
        &self,
        sink: &Arc<dyn Sink>,
        projection: &str,
        events: StepEvents,
        build: Option<Arc<[u8]>>,
    ) -> Result<StepReport, ControlError> {
        let live = self.lock().live(projection).cloned();
        let Some(live) = live else {
            return Err(conflict("no_live_generation", format!("{projection:?} has no live generation yet"), None));
        };
        let running = self.build(sink, &live.plugin_digest).await?;
        let plugin = match build {
            Some(bytes) => Arc::new(self.load(bytes).await?),
            None => Arc::clone(&running),
        };
        // Lines that somebody brings are as files are, whatever the source is.
        let is_file = matches!(events, StepEvents::Lines { .. });
        let (partition, events) = self.events_to_step(&running, events).await?;
        let read = Arc::new(EventBatch { partition: partition.clone(), next_offset: i64::MAX, events });
        let decoded = self.decoder(projection, is_file).decode(&read).await.map_err(|error| unreadable(&error))?;
        let generation = Generation { projection: projection.to_owned(), number: live.number };
        // Stored rows are only there for tables of the same kind; another build's are shown against nothing.
        let stored = crate::sink::differences(&live.descriptor, plugin.schema()).is_empty();
        let mut tables = Overlay::new(plugin.schema(), stored.then_some((sink, &generation)));
        let mut report = StepReport { plugin_digest: plugin.digest().to_owned(), events: Vec::new() };
        for event in &decoded.batch.events {
            let stepped = tables.step(&plugin, &partition, event.clone()).await?;
            let is_at_fault = stepped.fault.is_some();
            report.events.push(stepped);
            if is_at_fault {
                return Ok(report);
            }
        }
        if let (Some(fault), Some(event)) = (decoded.fault, read.events.get(decoded.batch.events.len())) {
            report.events.push(SteppedEvent { fault: Some(fault.reason), ..nothing_changed(&partition, event) });
        }
        Ok(report)
    }

    async fn events_to_step(
        &self,
        plugin: &Plugin,
        events: StepEvents,
    ) -> Result<(TopicPartition, Vec<Event>), ControlError> {
        let topics = super::topics(plugin.schema());
        let known = |topic: &str| {
            if topics.iter().any(|known| known == topic) {
                return Ok(());
            }
            Err(invalid(
                "topic_unknown",
                format!("the projection does not read {topic:?}; it reads {}", topics.join(", ")),
            ))
        };
        match events {
            StepEvents::Lines { topic, lines } => {
                known(&topic)?;
                let mut events = Vec::new();
                for (number, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                    let offset = i64::try_from(number).unwrap_or(0);
                    let event = parse_line(line.as_bytes(), offset)
                        .map_err(|error| invalid("bad_line", format!("line {}: {error}", number + 1)))?;
                    events.push(event);
                }
                if events.len() > EVENTS_MAX {
                    return Err(invalid("too_many_events", format!("{} events; {EVENTS_MAX} at most", events.len())));
                }
                Ok((TopicPartition::new(topic, 0), events))
            }
            StepEvents::Range { topic, partition, offset, count } => {
                known(&topic)?;
                let at = TopicPartition::new(topic, partition);
                let count = usize::try_from(count).unwrap_or(1).clamp(1, EVENTS_MAX);
                let events = self.read_log(plugin, &at, offset, count).await?;
                if events.is_empty() {
                    let message = format!("{at} holds no event at {offset}, or did not hand it over in time");
                    return Err(ControlError {
                        kind: ControlErrorKind::NotFound,
                        code: "range_unavailable",
                        message,
                        subject: None,
                    });
                }
                Ok((at, events))
            }
        }
    }

    async fn read_log(
        &self,
        plugin: &Plugin,
        at: &TopicPartition,
        offset: i64,
        count: usize,
    ) -> Result<Vec<Event>, ControlError> {
        match self.shared.config.source {
            SourceKind::Kafka => {
                let settings = self.kafka(plugin.schema(), "laterna-probe", false);
                kafka_range(&settings, at, offset, count).await.map_err(super::rebuild::unavailable)
            }
            SourceKind::File => {
                let mut source = FileSource::start(self.files(plugin.schema())).map_err(super::rebuild::unavailable)?;
                let mut events: Vec<Event> = Vec::new();
                let reading = async {
                    while events.len() < count {
                        match source.next().await {
                            SourceEvent::Assigned { partitions, reply } => {
                                let Some(log) = partitions.iter().find(|log| log.partition == *at) else { return };
                                if offset >= log.end {
                                    return;
                                }
                                reply.start(vec![(at.clone(), offset)]);
                            }
                            SourceEvent::Ready => {
                                while let Some(batch) = source.take(at, count - events.len(), 8 << 20, i64::MAX) {
                                    events.extend(batch.events);
                                    if events.len() >= count {
                                        return;
                                    }
                                }
                                return;
                            }
                            SourceEvent::Failed(_) => return,
                            _ => {}
                        }
                    }
                };
                // Fewer than asked for where the log ends.
                tokio::time::timeout(READ_MAX, reading).await.ok();
                Box::new(source).close().await;
                Ok(events)
            }
        }
    }

    /// Compares a rebuilt generation with the live one at the same checkpoints.
    pub(super) async fn compare(
        &self,
        sink: &Arc<dyn Sink>,
        id: &str,
        samples_max: usize,
    ) -> Result<Vec<TableDifference>, ControlError> {
        let record = self.rebuild(id)?.record;
        if !matches!(record.state, RebuildState::CatchingUp | RebuildState::Ready | RebuildState::Switching) {
            let message = format!("the rebuild {id} has not caught up, or has ended: there is nothing to compare");
            return Err(conflict("rebuild_state", message, Some(record.id)));
        }
        let rebuilt = Generation { projection: record.projection.clone(), number: record.generation };
        // The one that is live now, which may be another than when the rebuild began; and the builds that write the two now.
        let (live, old, new) = {
            let state = self.lock();
            let digest = |number: u32| {
                let mut of = state.registry.generations.iter().filter(|g| g.projection == record.projection);
                of.find(|g| g.number == number).map(|g| g.plugin_digest.clone())
            };
            let number = state.live(&record.projection).map_or(record.from_generation, |live| live.number);
            let live = Generation { projection: record.projection.clone(), number };
            (live, digest(number).unwrap_or_default(), digest(record.generation).unwrap_or(record.plugin_digest))
        };
        let (old, new) = (self.build(sink, &old).await?, self.build(sink, &new).await?);
        {
            let mut state = self.lock();
            let progress = state.rebuilding.entry(id.to_owned()).or_default();
            if std::mem::replace(&mut progress.compared, true) {
                return Err(conflict("comparing", format!("the rebuild {id} is being compared already"), None));
            }
        }
        let held = self.look_at_both(sink, &live, &rebuilt, &shared_topics(old.schema(), new.schema())).await;
        {
            let mut state = self.lock();
            if let Some(progress) = state.rebuilding.get_mut(id) {
                progress.compared = false;
            }
            if let Some(runner) = state.runners.get(&(rebuilt.projection.clone(), rebuilt.number)) {
                runner.until(BTreeMap::new());
            }
        }
        // Both looks are snapshots: the rebuilt generation goes on, and may be switched to, while whole tables are read.
        Ok(held?.finish(old.schema(), new.schema(), samples_max).await?)
    }

    /// Holds the rebuilt generation, looks at the live one once it is past that, lets the rebuilt one come exactly to where the look was taken, and
    /// looks at it too. The live one never waits. What only one of the two reads cannot be brought level, and is not.
    async fn look_at_both(
        &self,
        sink: &Arc<dyn Sink>,
        live: &Generation,
        rebuilt: &Generation,
        topics: &[String],
    ) -> Result<Box<dyn BothSides>, ControlError> {
        let is_shared = |partition: &TopicPartition| topics.iter().any(|topic| **topic == *partition.topic);
        let late = || {
            let message = "the two generations did not come to the same checkpoints in time: is one of them halted, or held by another engine?";
            conflict("behind", message.to_owned(), None)
        };
        let until = Instant::now() + LEVEL_MAX;
        let now = sink.checkpoints(rebuilt).await?;
        self.hold_at(rebuilt, now.iter().map(|c| (c.partition.clone(), i64::MIN)).collect()).await.ok_or_else(late)?;
        let stands = sink.checkpoints(rebuilt).await?;
        loop {
            let ahead = sink.checkpoints(live).await?;
            if stands.iter().all(|c| !is_shared(&c.partition) || !is_before(&ahead, c)) {
                break;
            }
            if Instant::now() > until {
                return Err(late());
            }
            tokio::time::sleep(POLL).await;
        }
        let comparison = sink.compare(live).await?;
        let seen = comparison.checkpoints().iter().filter(|c| is_shared(&c.partition));
        let targets: BTreeMap<TopicPartition, i64> = seen.map(|c| (c.partition.clone(), c.next_offset)).collect();
        self.hold_at(rebuilt, targets.clone()).await.ok_or_else(late)?;
        let both = comparison.beside(rebuilt).await?;
        let stands = both.checkpoints();
        let level =
            targets.iter().all(|(tp, offset)| stands.iter().any(|c| c.partition == *tp && c.next_offset == *offset));
        if !level {
            return Err(late());
        }
        Ok(both)
    }

    /// Lets a generation that runs here take events up to these offsets, and waits until they are committed.
    async fn hold_at(&self, generation: &Generation, offsets: BTreeMap<TopicPartition, i64>) -> Option<()> {
        let key = (generation.projection.clone(), generation.number);
        let held = self.lock().runners.get(&key)?.until(offsets)?;
        tokio::time::timeout(LEVEL_MAX, held).await.ok()?.ok()
    }
}

/// The topics that both read.
fn shared_topics(a: &Schema, b: &Schema) -> Vec<String> {
    let of_b = super::topics(b);
    super::topics(a).into_iter().filter(|topic| of_b.contains(topic)).collect()
}

/// Whether the same partition stands before `checkpoint` in `others`, or is not there.
fn is_before(others: &[Checkpoint], checkpoint: &Checkpoint) -> bool {
    !others.iter().any(|c| c.partition == checkpoint.partition && c.next_offset >= checkpoint.next_offset)
}

/// Events through a build one at a time, on tables in memory that begin empty: what an author looks at, without an engine.
pub struct Stepper<'a> {
    plugin: &'a Plugin,
    tables: Overlay<'a>,
}

impl<'a> Stepper<'a> {
    /// Nothing has happened yet.
    pub fn new(plugin: &'a Plugin) -> Self {
        Self { plugin, tables: Overlay::new(plugin.schema(), None) }
    }

    /// What the event changes, and the rows before and after. An event at fault changes nothing, and may be followed by others.
    ///
    /// # Errors
    /// The sandbox failed, or the projection does not read the topic; never the event's fault.
    pub async fn step(&mut self, partition: &TopicPartition, event: Event) -> Result<SteppedEvent, ControlError> {
        self.tables.step(self.plugin, partition, event).await
    }
}

impl std::fmt::Debug for Stepper<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stepper")
    }
}

/// Tables in memory over those in the database: what was read is kept, what is changed stays here.
struct Overlay<'a> {
    schema: &'a Schema,
    stored: Option<(&'a Arc<dyn Sink>, &'a Generation)>,
    tables: Vec<Rows>,
    /// Keys that were looked up, by table.
    known: Vec<std::collections::BTreeSet<Key>>,
    /// Leading parts of keys whose rows the step has deleted, by table: what the database has under them is gone.
    erased: Vec<Vec<Key>>,
}

impl<'a> Overlay<'a> {
    fn new(schema: &'a Schema, stored: Option<(&'a Arc<dyn Sink>, &'a Generation)>) -> Self {
        let count = schema.tables.len();
        Self {
            schema,
            stored,
            tables: vec![Rows::new(); count],
            known: vec![Default::default(); count],
            erased: vec![Vec::new(); count],
        }
    }

    /// Hands one event to the build, and its changes to the tables.
    async fn step(
        &mut self,
        plugin: &Plugin,
        partition: &TopicPartition,
        event: Event,
    ) -> Result<SteppedEvent, ControlError> {
        let mut stepped = nothing_changed(partition, &event);
        let next_offset = event.offset + 1;
        let batch = Arc::new(EventBatch { partition: partition.clone(), events: vec![event], next_offset });
        let applied = plugin.apply(&batch).await?;
        stepped.fault = applied.fault.map(|fault| fault.reason);
        for change in applied.changes.into_iter().flatten() {
            self.apply(change, &mut stepped).await?;
        }
        Ok(stepped)
    }

    /// Applies one change and shows it, with the rows before and after.
    async fn apply(&mut self, change: Change, stepped: &mut SteppedEvent) -> Result<(), ControlError> {
        let checked = match change.check(self.schema) {
            Ok(checked) => checked,
            Err(error) => {
                stepped.fault.get_or_insert(error.to_string());
                return Ok(());
            }
        };
        let shape = &self.schema.shapes[checked.shape];
        let table = shape.table;
        stepped.changes.push(self.change_json(&checked));
        let touched: Vec<Key> = match shape.kind {
            // Of the rows under a prefix, those that the step has met are shown.
            ShapeKind::DeletePrefix => {
                self.erased[table].push(checked.key.clone());
                self.tables[table].keys().filter(|key| key.0.starts_with(&checked.key.0)).cloned().collect()
            }
            _ => {
                self.look_up(table, &checked.key).await?;
                vec![checked.key.clone()]
            }
        };
        let before: Vec<_> = touched.iter().map(|key| self.tables[table].get(key).cloned()).collect();
        if let Err(error) = apply_change(self.schema, &mut self.tables, &checked) {
            stepped.fault.get_or_insert(error.to_string());
            return Ok(());
        }
        for (key, before) in touched.into_iter().zip(before) {
            let after = self.tables[table].get(&key).cloned();
            if before != after {
                stepped.rows.push(json!({
                    "table": self.schema.descriptor.tables[table].name,
                    "key": self.row_json(table, &key, None),
                    "before": before.map(|row| self.row_json(table, &key, Some(&row))),
                    "after": after.map(|row| self.row_json(table, &key, Some(&row))),
                }));
            }
        }
        Ok(())
    }

    async fn look_up(&mut self, table: usize, key: &Key) -> Result<(), ControlError> {
        let Some((sink, generation)) = self.stored else { return Ok(()) };
        let is_erased = self.erased[table].iter().any(|prefix| key.0.starts_with(&prefix.0));
        if is_erased || !self.known[table].insert(key.clone()) {
            return Ok(());
        }
        let found = sink.rows_at(generation, self.schema, table, std::slice::from_ref(key)).await?;
        if let Some(row) = found.into_iter().next().flatten() {
            self.tables[table].insert(key.clone(), row);
        }
        Ok(())
    }

    fn change_json(&self, change: &CheckedChange) -> Json {
        let shape = &self.schema.shapes[change.shape];
        let table = &self.schema.descriptor.tables[shape.table];
        let resolved = &self.schema.tables[shape.table];
        let action = match shape.kind {
            ShapeKind::Upsert => "upsert",
            ShapeKind::Update => "update",
            ShapeKind::Insert => "insert",
            ShapeKind::Delete => "delete",
            ShapeKind::DeletePrefix => "delete-prefix",
        };
        let key: serde_json::Map<String, Json> = table
            .primary_key
            .iter()
            .zip(change.key.0.iter())
            .map(|(name, value)| (name.clone(), value.to_json()))
            .collect();
        let values: serde_json::Map<String, Json> = shape
            .assignments
            .iter()
            .zip(&change.values)
            .map(|((rest, operation), value)| {
                let name = table.columns[resolved.rest[*rest]].name.clone();
                (name, json!({ "operation": operation_name(*operation), "value": value.to_json() }))
            })
            .collect();
        json!({ "table": table.name, "action": action, "key": key, "values": values })
    }

    /// The key's columns, and the others where there is a row.
    fn row_json(&self, table: usize, key: &Key, row: Option<&[Value]>) -> Json {
        let resolved = &self.schema.tables[table];
        let columns = &self.schema.descriptor.tables[table].columns;
        let name = |index: &usize| columns[*index].name.clone();
        let mut object: serde_json::Map<String, Json> =
            resolved.key.iter().map(name).zip(key.0.iter().map(Value::to_json)).collect();
        if let Some(row) = row {
            object.extend(resolved.rest.iter().map(name).zip(row.iter().map(Value::to_json)));
        }
        Json::Object(object)
    }
}

fn nothing_changed(partition: &TopicPartition, event: &Event) -> SteppedEvent {
    SteppedEvent {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        offset: event.offset,
        key: event.key_for_people(),
        changes: Vec::new(),
        rows: Vec::new(),
        fault: None,
    }
}

fn unreadable(error: &FormatError) -> ControlError {
    ControlError {
        kind: ControlErrorKind::Unavailable,
        code: error.halt.code,
        message: error.to_string(),
        subject: None,
    }
}

fn operation_name(operation: crate::change::Operation) -> &'static str {
    use crate::change::Operation as O;
    match operation {
        O::Set => "set",
        O::Add => "add",
        O::Max => "max",
        O::Min => "min",
        O::SetIfNull => "set-if-null",
        O::Newer => "newer",
    }
}

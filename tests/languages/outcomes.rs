//! What a plugin makes of the events, one by one, against what the same code makes of them as native code.
//!
//! An outcome is compared as the engine would store it: each change held against the schema, so that an integer given as decimal
//! text is the integer. Of a reject only that it is one counts, as its words are those of each language's JSON reader; and it does not
//! matter whether the plugin says it or the engine's check of its changes. The plugin is run in batches of 1, of 100 and of
//! 1,000 events, and all must say the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use laterna::change::{Action, Change, Operation, Schema, Table};
use laterna::event::{Event, EventBatch, OFFSET_MAX, TopicPartition};
use laterna::plugin::{Applied, EventFaultKind, Plugin};
use laterna_sdk::__private::types;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::events::{Law, Ugly};
use crate::load::TOPIC;
use crate::sandbox;

/// What became of one event, as canonical text: `{"changes":[..]}`, or a word for what is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome(String);

impl Outcome {
    fn changes(schema: &Schema, changes: Vec<Change>) -> Self {
        let mut list = Vec::with_capacity(changes.len());
        for change in changes {
            match shown(schema, change) {
                Ok(change) => list.push(change),
                Err(_) => return Outcome::fault(EventFaultKind::Rejected),
            }
        }
        Outcome(json!({ "changes": list }).to_string())
    }

    fn fault(kind: EventFaultKind) -> Self {
        let word = match kind {
            EventFaultKind::Rejected => "rejected",
            EventFaultKind::Halted => "halted",
            EventFaultKind::Trapped => "trapped",
            EventFaultKind::Invalid => "invalid",
        };
        Outcome(word.to_owned())
    }

    /// Whether the event changes rows, or says nothing.
    pub(super) fn applies(&self) -> bool {
        self.0.starts_with('{')
    }

    fn shortened(&self) -> String {
        let text: String = self.0.chars().take(200).collect();
        if text.len() < self.0.len() { format!("{text}.. ({} bytes)", self.0.len()) } else { text }
    }
}

/// A change by the names of its table and columns, its values as the database holds them.
fn shown(schema: &Schema, change: Change) -> Result<Value, String> {
    let checked = change.check(schema).map_err(|error| error.to_string())?;
    let shape = &schema.shapes[checked.shape];
    let (resolved, table) = (&schema.tables[shape.table], &schema.descriptor.tables[shape.table]);
    let key: Vec<Value> = checked.key.0.iter().map(laterna::change::Value::to_json).collect();
    let assigned = shape.assignments.iter().zip(&checked.values).map(|((rest, operation), value)| {
        let column = &table.columns[resolved.rest[*rest]].name;
        (column.clone(), json!([operation_name(*operation), value.to_json()]))
    });
    let assigned: Map<String, Value> = assigned.collect();
    Ok(json!({ "table": table.name, "action": format!("{:?}", shape.kind), "key": key, "assigned": assigned }))
}

fn operation_name(operation: Operation) -> Value {
    serde_json::to_value(operation).expect("an operation is a word")
}

/// A descriptor in canonical form: shapes and the assignments in them stand in the order of their names, as changes are compared
/// by names too.
pub(super) fn descriptor(schema: &Schema) -> Value {
    let mut descriptor = schema.descriptor.clone();
    let by_name = |table: &Table| table.name.clone();
    descriptor.tables.sort_by_key(by_name);
    for shape in &mut descriptor.shapes {
        if let Action::Upsert(list) | Action::Update(list) = &mut shape.action {
            list.sort_by(|left, right| left.column.cmp(&right.column));
        }
    }
    let mut value = serde_json::to_value(&descriptor).expect("a descriptor is JSON");
    if let Some(shapes) = value["shapes"].as_array_mut() {
        shapes.sort_by_key(Value::to_string);
    }
    value
}

/// What the native code makes of each event.
pub(super) fn native(schema: &Schema, events: &[Ugly]) -> Vec<Outcome> {
    let apply = sandbox::Subject::OrderSummary.native();
    let outcome = |ugly: &Ugly| {
        let events = vec![sandbox::sdk_event(&ugly.event)];
        let batch = types::Batch { topic: TOPIC.to_owned(), partition: ugly.partition, events };
        match apply(batch).into_iter().next().expect("an outcome for the event") {
            types::Outcome::Changes(changes) => {
                Outcome::changes(schema, changes.into_iter().map(sandbox::change_of).collect())
            }
            types::Outcome::Reject(_) => Outcome::fault(EventFaultKind::Rejected),
            types::Outcome::Halt(_) => Outcome::fault(EventFaultKind::Halted),
        }
    };
    events.iter().map(outcome).collect()
}

/// What came out of a plugin's runs over all events.
pub(super) struct Compared {
    /// SHA-256 of the descriptor and of the outcomes of all events under [`Law::Same`].
    pub(super) digest: String,
    /// What is wrong, for people: nothing where the plugin keeps every law.
    pub(super) problems: Vec<String>,
    /// How many events of each kind under [`Law::Open`] or [`Law::Deep`] came out otherwise than natively.
    pub(super) open_differences: BTreeMap<&'static str, usize>,
}

/// Applies a run of events of one partition and gives the outcome of each; after one at fault it goes on with the next.
async fn run(plugin: &Plugin, partition: i32, events: &[&Event]) -> Result<Vec<Outcome>, String> {
    let schema = plugin.schema();
    let mut outcomes = Vec::with_capacity(events.len());
    while outcomes.len() < events.len() {
        let rest = &events[outcomes.len()..];
        let next_offset = rest.last().map_or(0, |event| event.offset.saturating_add(1));
        let batch = EventBatch {
            partition: TopicPartition::new(TOPIC, partition),
            events: rest.iter().map(|event| (*event).clone()).collect(),
            next_offset,
        };
        let Applied { changes, fault, .. } = plugin.apply(&Arc::new(batch)).await.map_err(|error| error.to_string())?;
        outcomes.extend(changes.into_iter().map(|changes| Outcome::changes(schema, changes)));
        match fault {
            Some(fault) if fault.kind == EventFaultKind::Rejected && fault.reason.trim().is_empty() => {
                let offset = events[outcomes.len()].offset;
                return Err(format!("the event at offset {offset} was rejected without a word"));
            }
            Some(fault) => outcomes.push(Outcome::fault(fault.kind)),
            None if outcomes.len() < events.len() => return Err("fewer outcomes than events, and no fault".to_owned()),
            None => {}
        }
    }
    Ok(outcomes)
}

/// All chosen events in batches of one partition each; the outcomes stand where their events do.
async fn in_batches(
    plugin: &Plugin,
    events: &[Ugly],
    size: usize,
    chosen: impl Fn(usize) -> bool,
) -> Result<Vec<Option<Outcome>>, String> {
    let mut partitions: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (at, ugly) in events.iter().enumerate().filter(|(at, _)| chosen(*at)) {
        partitions.entry(ugly.partition).or_default().push(at);
    }
    let mut outcomes = vec![None; events.len()];
    for (partition, indexes) in partitions {
        for part in indexes.chunks(size) {
            let batch: Vec<&Event> = part.iter().map(|at| &events[*at].event).collect();
            for (at, outcome) in part.iter().zip(run(plugin, partition, &batch).await?) {
                outcomes[*at] = Some(outcome);
            }
        }
    }
    Ok(outcomes)
}

/// What differs, by the kind of event: the first of each is told.
#[derive(Default)]
struct Problems(BTreeMap<&'static str, (usize, String)>);

impl Problems {
    fn add(&mut self, ugly: &Ugly, name: &str, outcome: &Outcome, other_name: &str, other: &Outcome) {
        let told = || {
            let value = ugly.event.value.as_deref().map_or("none".into(), String::from_utf8_lossy);
            let value: String = value.chars().take(250).collect();
            let (outcome, other) = (outcome.shortened(), other.shortened());
            format!(
                "at {}@{}: {name} {outcome}; {other_name} {other}\n      {value}",
                ugly.partition, ugly.event.offset
            )
        };
        self.0.entry(ugly.kind).or_insert_with(|| (0, told())).0 += 1;
    }

    fn told(self) -> Vec<String> {
        self.0.into_iter().map(|(kind, (count, first))| format!("{kind}, {count} times, first {first}")).collect()
    }
}

/// Runs the plugin over all events and holds it against what the native code says.
pub(super) async fn compare(plugin: &Plugin, events: &[Ugly], native: &[Outcome]) -> Result<Compared, String> {
    let alone = in_batches(plugin, events, 1, |_| true).await?;
    let alone: Vec<Outcome> = alone.into_iter().flatten().collect();
    let mut problems = Problems::default();
    // Events at fault cost a call more each, so the large batches have those only that apply.
    for (size, all) in [(100, true), (1_000, false)] {
        let batched = in_batches(plugin, events, size, |at| all || alone[at].applies()).await?;
        for (at, outcome) in batched.into_iter().enumerate() {
            if let Some(outcome) = outcome.filter(|outcome| *outcome != alone[at]) {
                problems.add(&events[at], &format!("in a batch of {size}"), &outcome, "alone", &alone[at]);
            }
        }
    }
    let mut hash = Sha256::new();
    hash.update(descriptor(plugin.schema()).to_string());
    let mut open_differences = BTreeMap::new();
    let rejected = Outcome::fault(EventFaultKind::Rejected);
    for ((ugly, here), native) in events.iter().zip(&alone).zip(native) {
        let holds = match ugly.law {
            Law::Same => {
                hash.update((here.0.len() as u64).to_be_bytes());
                hash.update(&here.0);
                here == native
            }
            Law::Exact => here == native || *here == rejected,
            Law::Open | Law::Deep => {
                *open_differences.entry(ugly.kind).or_default() += usize::from(here != native);
                let trapped = *here == Outcome::fault(EventFaultKind::Trapped);
                here.applies() || *here == rejected || (ugly.law == Law::Deep && trapped)
            }
            Law::TooMuch => *here == Outcome::fault(EventFaultKind::Invalid),
        };
        if !holds {
            problems.add(ugly, "here", here, "native", native);
        }
    }
    let digest = hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    });
    Ok(Compared { digest, problems: problems.told(), open_differences })
}

/// What a program without an SDK may reject although it applies: its author has not made up for what the language's JSON reader rounds.
const RAW_MAY_REJECT: &[&str] = &["integer beyond 2^53"];

/// The same for a program on the bindings alone, in batches of 100: it describes the same projection, and makes the same changes of every
/// event whose JSON has one meaning.
pub(super) async fn compare_raw(
    plugin: &Plugin,
    events: &[Ugly],
    native: &[Outcome],
    schema: &Schema,
) -> Result<Vec<String>, String> {
    if descriptor(plugin.schema()) != descriptor(schema) {
        return Ok(vec!["it describes another projection than the SDK's program".to_owned()]);
    }
    let outcomes = in_batches(plugin, events, 100, |_| true).await?;
    let rejected = Outcome::fault(EventFaultKind::Rejected);
    let mut problems = Problems::default();
    for ((ugly, here), native) in events.iter().zip(outcomes.into_iter().flatten()).zip(native) {
        let may_reject = ugly.law == Law::Exact || RAW_MAY_REJECT.contains(&ugly.kind);
        let holds = match ugly.law {
            Law::Same | Law::Exact => here == *native || (may_reject && here == rejected),
            Law::Open | Law::Deep => true,
            Law::TooMuch => here == Outcome::fault(EventFaultKind::Invalid),
        };
        if !holds {
            problems.add(ugly, "raw", &here, "native", native);
        }
    }
    Ok(problems.told())
}

/// An event that no sandbox has the memory for traps, and is found: its neighbours apply, and nobody else is blamed.
pub(super) async fn trap(plugin: &Plugin) -> Result<(), String> {
    let value = |id: &str, length: usize| {
        let note = "x".repeat(length);
        format!(r#"{{"type":"order.cancelled","order_id":"{id}","note":"{note}"}}"#).into_bytes()
    };
    let event = |offset, length| Event {
        offset,
        timestamp_ms: 1,
        key: Some(b"o-1".to_vec()),
        value: Some(value("o-1", length)),
        headers: Vec::new(),
    };
    let events = [event(1, 0), event(2, plugin.limits().memory_bytes_max), event(OFFSET_MAX, 0)];
    let outcomes = run(plugin, 0, &events.each_ref()).await?;
    let found: Vec<bool> = outcomes.iter().map(Outcome::applies).collect();
    if found == [true, false, true] && outcomes[1] == Outcome::fault(EventFaultKind::Trapped) {
        return Ok(());
    }
    Err(format!(
        "beside an event larger than the sandbox's memory: {:?}",
        outcomes.iter().map(Outcome::shortened).collect::<Vec<_>>()
    ))
}

//! A plugin in the sandbox against the very same code as native code, in one process, in turns.
//!
//! Both get the same events and give back the same changes, in the engine's own types: in the sandbox that is `Plugin::apply`,
//! with all that belongs to it (a fresh instance for each thousand events, events lowered into its memory, outcomes lifted
//! out of it, the limits held against them); natively it is the plugin's own function, called with events that are ready in
//! memory, and its outcomes moved into the engine's types.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use laterna::change::{Change, PluginValue};
use laterna::event::{Event, EventBatch, TopicPartition};
use laterna::plugin::{Host, HostSettings, Limits, Plugin};
use laterna_sdk::__private::{Guest as _, types};
use laterna_tests::random::Random;

use crate::load::{self, Form, TOPIC};
use crate::timeline::quantile;

/// The engine's own: with another one, neither side would cost what it costs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The example plugin itself: its source, compiled into this program.
#[allow(unreachable_pub, reason = "it is a crate of its own elsewhere")]
#[path = "../../examples/order_summary/rust/src/lib.rs"]
mod order_summary;

/// The guest, in the same way.
#[allow(unreachable_pub, missing_docs, reason = "it is a crate of its own elsewhere")]
#[path = "../guests/bench_w2.rs"]
mod bench_w2;

/// Events in one call: what the engine hands over at once.
const CHUNK: usize = 1_000;
/// Different chunks, so that no branch predictor learns one by heart.
const CHUNKS: usize = 4;

/// Microseconds per event: the lower quartile over all rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// In the sandbox.
    pub(crate) guest: f64,
    /// As native code.
    pub(crate) native: f64,
}

impl Cost {
    /// How many times as much the sandbox costs.
    pub(crate) fn ratio(self) -> f64 {
        self.guest / self.native
    }
}

/// What both sides are given.
pub(crate) struct Chunk {
    /// For the sandbox.
    pub(crate) engine: Arc<EventBatch>,
    /// For the native code.
    pub(crate) sdk: types::Batch,
}

impl Chunk {
    /// The first event alone.
    pub(crate) fn first(&self) -> Arc<EventBatch> {
        let events = self.engine.events[..1].to_vec();
        let next_offset = events[0].offset + 1;
        Arc::new(EventBatch { partition: self.engine.partition.clone(), events, next_offset })
    }
}

/// Different batches of events of one form.
pub(crate) fn chunks(form: Form) -> Vec<Chunk> {
    let mut random = Random::new(13);
    let partition = TopicPartition::new(TOPIC, 0);
    (0..CHUNKS)
        .map(|chunk| {
            let events: Vec<Event> = (0..CHUNK)
                .map(|at| {
                    let number = (chunk * CHUNK + at) as u64;
                    let id = load::order_id(number);
                    Event {
                        offset: number as i64,
                        timestamp_ms: 1_767_225_600_000 + number as i64,
                        value: Some(load::order(&id, form, &mut random).into_bytes()),
                        key: Some(id.into_bytes()),
                        headers: Vec::new(),
                    }
                })
                .collect();
            let sdk =
                types::Batch { topic: TOPIC.to_owned(), partition: 0, events: events.iter().map(sdk_event).collect() };
            let next_offset = events.last().map_or(0, |event| event.offset + 1);
            Chunk { engine: Arc::new(EventBatch { partition: partition.clone(), events, next_offset }), sdk }
        })
        .collect()
}

/// The event as a plugin gets it that reads keys and values as text, and no headers.
pub(crate) fn sdk_event(event: &Event) -> types::Event {
    let payload = |bytes: &Option<Vec<u8>>| {
        bytes.clone().map(|bytes| match String::from_utf8(bytes) {
            Ok(text) => types::Payload::Text(text),
            Err(error) => types::Payload::Bytes(error.into_bytes()),
        })
    };
    types::Event {
        offset: event.offset,
        timestamp_ms: event.timestamp_ms,
        key: payload(&event.key),
        value: payload(&event.value),
        headers: Vec::new(),
    }
}

async fn plugin_of(host: &Host, file: &Path) -> Plugin {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    host.load(bytes.into(), Limits::default()).await.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The plugins that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The example of that name.
    OrderSummary,
    /// The guest of that name.
    BenchW2,
}

impl Subject {
    /// The plugin's own source, as native code.
    pub(crate) fn native(self) -> fn(types::Batch) -> Vec<types::Outcome> {
        match self {
            Subject::OrderSummary => order_summary::LaternaProjection::apply,
            Subject::BenchW2 => bench_w2::LaternaProjection::apply,
        }
    }
}

/// What the engine makes of an outcome: strings and bytes are moved.
pub(crate) fn changes_of(outcome: types::Outcome) -> Vec<Change> {
    let types::Outcome::Changes(changes) = outcome else { panic!("a fault: {outcome:?}") };
    changes.into_iter().map(change_of).collect()
}

/// What the engine makes of a change.
pub(crate) fn change_of(from: types::Change) -> Change {
    Change { shape: from.shape, values: from.values.into_iter().map(value_of).collect() }
}

fn value_of(from: types::Value) -> PluginValue {
    match from {
        types::Value::Null => PluginValue::Null,
        types::Value::Boolean(v) => PluginValue::Boolean(v),
        types::Value::Integer(v) => PluginValue::Integer(v),
        types::Value::Float(v) => PluginValue::Float(v),
        types::Value::Decimal(v) => PluginValue::Decimal(v),
        types::Value::Text(v) => PluginValue::Text(v),
        types::Value::Bytes(v) => PluginValue::Bytes(v),
        types::Value::Timestamp(v) => PluginValue::Timestamp(v),
        types::Value::Date(v) => PluginValue::Date(v),
        types::Value::Uuid(v) => PluginValue::Uuid(v),
        types::Value::Json(v) => PluginValue::Json(v),
    }
}

/// Runs both sides in turns and gives the lower quartile of each.
pub(crate) async fn compare(host: &Host, file: &Path, subject: Subject, form: Form, rounds: usize) -> Cost {
    let plugin = plugin_of(host, file).await;
    let native = subject.native();
    let chunks = chunks(form);
    for chunk in &chunks {
        let in_sandbox = plugin.apply(&chunk.engine).await.expect("the plugin runs").changes;
        let as_native: Vec<_> = native(chunk.sdk.clone()).into_iter().map(changes_of).collect();
        assert!(in_sandbox == as_native, "the two sides differ");
    }
    let (mut in_sandbox, mut as_native) = (Vec::new(), Vec::new());
    let micros_per_event = |begin: Instant| begin.elapsed().as_secs_f64() * 1e6 / CHUNK as f64;
    for _ in 0..rounds {
        for chunk in &chunks {
            let begin = Instant::now();
            let applied = plugin.apply(&chunk.engine).await.expect("the plugin runs");
            assert!(applied.fault.is_none() && applied.changes.len() == CHUNK, "{:?}", applied.fault);
            drop(black_box(applied));
            in_sandbox.push(micros_per_event(begin));

            // The native side consumes its events: they are made ready before.
            let batch = chunk.sdk.clone();
            let begin = Instant::now();
            let changes: Vec<_> = native(black_box(batch)).into_iter().map(changes_of).collect();
            assert!(changes.len() == CHUNK, "{} outcomes", changes.len());
            drop(black_box(changes));
            as_native.push(micros_per_event(begin));
        }
    }
    Cost { guest: quantile(in_sandbox, 0.25), native: quantile(as_native, 0.25) }
}

/// One side alone over small events for so many seconds, for a profiler: a plugin's file, or the word `native`.
pub(crate) async fn alone(arguments: &[String]) -> i32 {
    let [what, seconds] = arguments else {
        eprintln!("usage: laterna-bench alone PLUGIN.wasm|native SECONDS");
        return 2;
    };
    let Ok(seconds) = seconds.parse::<f64>() else {
        eprintln!("SECONDS is a number, not {seconds}");
        return 2;
    };
    let chunks = chunks(load::SMALL);
    let native = Subject::OrderSummary.native();
    let named = Host::new(HostSettings { names_for_perf: true, ..HostSettings::default() }).expect("a host");
    let plugin = if what == "native" { None } else { Some(plugin_of(&named, Path::new(what)).await) };
    let (begin, mut samples) = (Instant::now(), Vec::new());
    while begin.elapsed().as_secs_f64() < seconds {
        for chunk in &chunks {
            let batch = plugin.is_none().then(|| chunk.sdk.clone());
            let begin = Instant::now();
            if let Some(plugin) = &plugin {
                drop(black_box(plugin.apply(&chunk.engine).await.expect("the plugin runs")));
            }
            if let Some(batch) = batch {
                drop(black_box(native(batch).into_iter().map(changes_of).collect::<Vec<_>>()));
            }
            samples.push(begin.elapsed().as_secs_f64() * 1e9 / CHUNK as f64);
        }
    }
    println!(
        "{what}: {} calls of {CHUNK} events, {:.0} ns an event (lower quartile)",
        samples.len(),
        quantile(samples.iter().copied(), 0.25)
    );
    0
}

/// A host without a cache: nothing of the engine's own runs is touched.
pub(crate) fn host() -> Host {
    Host::new(HostSettings::default()).expect("a host")
}

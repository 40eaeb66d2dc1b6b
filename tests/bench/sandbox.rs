//! A plugin in the sandbox against the very same code as native code, in one process, in turns.
//!
//! Both get the same events and give back the same changes: in the sandbox that is `Plugin::apply`, with all that belongs
//! to it (a fresh instance for each thousand events, events lowered into its memory, outcomes lifted out of it);
//! natively it is the plugin's own function, called with events that are ready in memory.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bench_logic::{OrderRow, Output, SaleRow};
use laterna::event::{Event, EventBatch, TopicPartition};
use laterna::plugin::{Host, HostSettings, Limits, Plugin};
use laterna_sdk::__private::{Guest as _, types};
use laterna_tests::random::Random;

use crate::load::{self, Form, TOPIC};
use crate::timeline::quantile;

/// The example plugin itself: its source, compiled into this program.
#[allow(unreachable_pub, reason = "it is a crate of its own elsewhere")]
#[path = "../../examples/order_summary/rust/src/lib.rs"]
mod order_summary;

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
struct Chunk {
    engine: Arc<EventBatch>,
    sdk: types::Batch,
}

fn chunks(form: Form) -> Vec<Chunk> {
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

fn sdk_event(event: &Event) -> types::Event {
    let text = |bytes: &Option<Vec<u8>>| {
        bytes.clone().map(|bytes| types::Payload::Text(String::from_utf8(bytes).expect("text")))
    };
    types::Event {
        offset: event.offset,
        timestamp_ms: event.timestamp_ms,
        key: text(&event.key),
        value: text(&event.value),
        headers: Vec::new(),
    }
}

/// The changes of `bench_w2`, in the contract's own types.
struct Changes(Vec<types::Change>);

impl Output for Changes {
    fn order(&mut self, row: OrderRow<'_>) {
        let values = vec![
            types::Value::Text(row.order_id.into()),
            row.customer_id.map_or(types::Value::Null, |id| types::Value::Text(id.into())),
            types::Value::Text(row.status.into()),
            types::Value::Integer(row.item_count),
            types::Value::Decimal(money(row.total_cents)),
            types::Value::Timestamp(row.placed_at_micros),
            types::Value::Integer(row.last_offset),
        ];
        self.0.push(types::Change { shape: 0, values });
    }

    fn sale(&mut self, row: SaleRow<'_>) {
        let values = vec![
            types::Value::Date(row.day),
            types::Value::Text(row.sku.into()),
            types::Value::Integer(row.quantity),
            types::Value::Decimal(money(row.revenue_cents)),
        ];
        self.0.push(types::Change { shape: 1, values });
    }
}

fn money(cents: i64) -> String {
    laterna_sdk::Decimal::cents(cents).to_string()
}

async fn plugin_of(host: &Host, file: &Path) -> Plugin {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    host.load(bytes.into(), Limits::default()).await.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Runs both sides in turns and gives the lower quartile of each. What the native side consumes is made ready before.
async fn compare<T>(
    plugin: &Plugin,
    form: Form,
    rounds: usize,
    ready: impl Fn(&Chunk) -> T,
    native: impl Fn(&Chunk, T),
) -> Cost {
    let chunks = chunks(form);
    let (mut in_sandbox, mut as_native) = (Vec::new(), Vec::new());
    let micros_per_event = |begin: Instant| begin.elapsed().as_secs_f64() * 1e6 / CHUNK as f64;
    for _ in 0..rounds {
        for chunk in &chunks {
            let begin = Instant::now();
            let applied = plugin.apply(&chunk.engine).await.expect("the plugin runs");
            assert!(applied.fault.is_none() && applied.changes.len() == CHUNK, "{:?}", applied.fault);
            drop(black_box(applied));
            in_sandbox.push(micros_per_event(begin));
            let input = ready(chunk);
            let begin = Instant::now();
            native(chunk, input);
            as_native.push(micros_per_event(begin));
        }
    }
    Cost { guest: quantile(in_sandbox, 0.25), native: quantile(as_native, 0.25) }
}

/// The example `order_summary`, written on the SDK: natively, its own function on the SDK's types.
pub(crate) async fn order_summary(host: &Host, file: &Path, form: Form, rounds: usize) -> Cost {
    let plugin = plugin_of(host, file).await;
    let native = |_: &Chunk, batch: types::Batch| {
        let outcomes = order_summary::LaternaProjection::apply(black_box(batch));
        assert!(outcomes.iter().all(|outcome| matches!(outcome, types::Outcome::Changes(_))), "faults");
        drop(black_box(outcomes));
    };
    compare(&plugin, form, rounds, |chunk| chunk.sdk.clone(), native).await
}

/// `bench_w2`: natively, its logic without the SDK, straight into the contract's types.
pub(crate) async fn bench_w2(host: &Host, file: &Path, form: Form, rounds: usize) -> Cost {
    let plugin = plugin_of(host, file).await;
    let native = |chunk: &Chunk, ()| {
        let mut outcomes = Vec::with_capacity(CHUNK);
        for event in &black_box(chunk).engine.events {
            let value = std::str::from_utf8(event.value.as_deref().expect("a value")).expect("text");
            let mut changes = Changes(Vec::new());
            bench_logic::w2(value, event.offset, &mut changes).expect("an order");
            outcomes.push(changes.0);
        }
        drop(black_box(outcomes));
    };
    compare(&plugin, form, rounds, |_| (), native).await
}

/// A host without a cache: nothing of the engine's own runs is touched.
pub(crate) fn host() -> Host {
    Host::new(HostSettings::default()).expect("a host")
}

//! Commits as spans, linked to the traces of the events that they apply. Hides OpenTelemetry.
//!
//! Invariants: without the standard variables there is no [`Tracer`], and nobody looks at an event's headers for one. Making a span never
//! waits: there is room for so many, and what finds none is dropped and counted. Nothing that a record holds can make it fail: what is no
//! trace context is no link. Of an event, its place and its trace context leave; of a failure, what the log says of it too.
//!
//! In here: what a span says and which traces it links to. In `otlp`: the variables, and how spans are sent.

mod otlp;

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::checkpoint::{Advance, Generation};
use crate::error::Halt;
use crate::event::Event;

use otlp::Room;
pub use otlp::{Destination, NotTraced};

/// Links of one span. The standard's default; `OTEL_SPAN_LINK_COUNT_LIMIT` can make it less.
const LINKS_MAX: usize = 128;
/// Partitions that one span names.
const PARTITIONS_MAX: usize = 32;
/// Bytes of a `tracestate` that are taken along: what the standard asks for at least.
const TRACE_STATE_BYTES_MAX: usize = 512;

/// Makes spans and sends them. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Tracer {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    room: Room,
    /// What the events come from, by the name of the semantic conventions, where they have one.
    system: Option<&'static str>,
}

impl Tracer {
    /// Sends spans to `destination`, from the runtime that this is called in. `system` as the semantic conventions name it (`kafka`).
    ///
    /// # Errors
    /// What of the standard variables is wrong.
    pub fn new(destination: Destination, system: Option<&'static str>) -> Result<Self, NotTraced> {
        let (provider, room) = otlp::provider(destination)?;
        Ok(Self::of(provider, room, system))
    }

    fn of(provider: SdkTracerProvider, room: Room, system: Option<&'static str>) -> Self {
        Self { tracer: provider.tracer("laterna"), provider, room, system }
    }

    /// The spans of one generation. `is_bulk`: it is being filled, from a log whose traces are long over: without links.
    pub fn spans(&self, generation: &Generation, is_bulk: bool) -> Spans {
        Spans { tracer: self.clone(), generation: generation.clone(), is_bulk }
    }

    /// Sends what is still here, for `limit` at most; nothing after that. Says how many spans were not taken, where some were not.
    pub async fn shutdown(self, limit: Duration) {
        let provider = self.provider.clone();
        // It waits for a thread that waits for the network.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit));
        let outcome = tokio::time::timeout(limit + Duration::from_millis(100), flushed).await;
        tracing::debug!(?outcome, "traces ended");
        self.room.sum_up();
    }
}

/// Where the events of a batch come from: when the first was taken, and the traces that they belong to.
#[derive(Debug, Default)]
pub struct Origin {
    since: Option<SystemTime>,
    links: Vec<SpanContext>,
    linked: HashSet<(TraceId, SpanId)>,
    /// Events whose trace found no place among the links.
    left_off: u64,
}

impl Origin {
    fn link(&mut self, context: SpanContext) {
        let id = (context.trace_id(), context.span_id());
        if self.linked.contains(&id) {
            return;
        }
        if self.links.len() == LINKS_MAX {
            self.left_off += 1;
            return;
        }
        self.linked.insert(id);
        self.links.push(context);
    }
}

/// A batch whose commit was answered.
pub struct Answered<'a> {
    /// SHA-256 of the build that made its changes.
    pub plugin_digest: &'a str,
    /// Where its events come from.
    pub origin: &'a Origin,
    /// What moves, or would have moved.
    pub advances: &'a [Advance],
    /// Its events.
    pub events: usize,
    /// Row operations sent to the database.
    pub rows: usize,
    /// Where it is not in: a stable name and a sentence.
    pub failure: Option<(&'static str, String)>,
}

/// Makes the spans of one generation.
pub struct Spans {
    tracer: Tracer,
    generation: Generation,
    is_bulk: bool,
}

impl Spans {
    /// These events, taken then, come to a batch.
    pub fn come(&self, origin: &mut Origin, taken: Option<SystemTime>, events: &[Event]) {
        origin.since = match (origin.since, taken) {
            (Some(since), Some(taken)) => Some(since.min(taken)),
            (since, taken) => since.or(taken),
        };
        if !self.is_bulk {
            events.iter().filter_map(context).for_each(|context| origin.link(context));
        }
    }

    /// The span of a commit: from when its first event was taken until now.
    pub fn answered(&self, batch: &Answered<'_>) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let mut attributes = vec![
            KeyValue::new("messaging.batch.message_count", count(batch.events)),
            KeyValue::new("laterna.rows", count(batch.rows)),
        ];
        let moved = batch.advances.iter().map(|advance| {
            let Advance { partition, expected, next, .. } = advance;
            StringValue::from(format!("{partition} [{expected}, {next})"))
        });
        let moved: Vec<StringValue> = moved.take(PARTITIONS_MAX).collect();
        if moved.len() < batch.advances.len() {
            attributes.push(KeyValue::new("laterna.partitions.left_off", count(batch.advances.len() - moved.len())));
        }
        attributes.push(KeyValue::new("laterna.partitions", Value::Array(Array::String(moved))));
        let topics: BTreeSet<&str> = batch.advances.iter().map(|advance| &*advance.partition.topic).collect();
        if let (1, Some(topic)) = (topics.len(), topics.first()) {
            attributes.push(KeyValue::new("messaging.destination.name", (*topic).to_owned()));
        }
        if let [only] = batch.advances {
            attributes.push(partition_id(only.partition.partition));
        }
        let failure = batch.failure.as_ref().map(|(code, reason)| (*code, reason.as_str()));
        self.span(batch.plugin_digest, attributes, batch.origin, failure);
    }

    /// The span of a halt. `origin` is that of the event that it is about, empty where there is none.
    pub fn halted(&self, plugin_digest: &str, halt: &Halt, origin: &Origin) {
        let mut attributes = Vec::new();
        if let Some(at) = &halt.at {
            attributes.push(KeyValue::new("messaging.destination.name", at.topic.clone()));
            attributes.push(partition_id(at.partition));
            attributes.push(KeyValue::new("laterna.offset", at.offset));
        }
        attributes.push(KeyValue::new("laterna.halted", true));
        self.span(plugin_digest, attributes, origin, Some((halt.code, &halt.reason)));
    }

    fn span(&self, digest: &str, more: Vec<KeyValue>, origin: &Origin, failure: Option<(&'static str, &str)>) {
        let Tracer { tracer, room, system, .. } = &self.tracer;
        if !room.take() {
            return;
        }
        let Generation { projection, number } = &self.generation;
        let mut attributes = vec![
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("laterna.projection", projection.clone()),
            KeyValue::new("laterna.generation", i64::from(*number)),
            KeyValue::new("laterna.plugin.digest", digest.to_owned()),
            KeyValue::new("laterna.pace", if self.is_bulk { "bulk" } else { "live" }),
        ];
        attributes.extend(system.map(|system| KeyValue::new("messaging.system", system)));
        attributes.extend(failure.map(|(code, _)| KeyValue::new("error.type", code)));
        if origin.left_off > 0 {
            let left_off = i64::try_from(origin.left_off).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("laterna.links.left_off", left_off));
        }
        attributes.extend(more);
        let now = SystemTime::now();
        let span = tracer
            .span_builder(format!("process {projection}"))
            .with_kind(SpanKind::Consumer)
            .with_start_time(origin.since.unwrap_or(now))
            .with_attributes(attributes)
            .with_links(origin.links.iter().cloned().map(Link::with_context).collect());
        // A trace of its own: its events may come from many.
        let mut span = span.start_with_context(tracer, &Context::new());
        if !span.span_context().is_sampled() {
            room.give_back(1);
        }
        if let Some((_, reason)) = failure {
            span.set_status(Status::error(reason.to_owned()));
        }
        span.end_with_timestamp(now);
    }
}

fn partition_id(partition: i32) -> KeyValue {
    KeyValue::new("messaging.destination.partition.id", partition.to_string())
}

/// The trace that an event belongs to. Who forwards an event appends, so the last `traceparent` holds.
fn context(event: &Event) -> Option<SpanContext> {
    let header = event.headers.iter().rev().find(|header| header.name == "traceparent")?;
    let (trace_id, span_id, flags) = traceparent(header.value.as_deref()?)?;
    let states = event.headers.iter().filter(|header| header.name == "tracestate");
    let states: Option<Vec<&str>> =
        states.map(|header| std::str::from_utf8(header.value.as_deref().unwrap_or_default()).ok()).collect();
    // Several are one list. A list that is not valid is left out; the trace it stands beside is not.
    let state = states.map(|states| states.join(",")).filter(|state| state.len() <= TRACE_STATE_BYTES_MAX);
    let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    Some(SpanContext::new(trace_id, span_id, flags, true, state))
}

/// Reads a `traceparent` as W3C Trace Context defines it: `VERSION-TRACE-PARENT-FLAGS` in lower-case hexadecimal, 55 bytes. Later versions
/// than 00 may append what they like behind another `-`; version ff, and ids that are zero, are not valid.
fn traceparent(text: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let (head, tail) = text.split_at_checked(55)?;
    let [version] = hex(&head[..2])?;
    let is_as_long_as_it_may = match version {
        0xff => false,
        0 => tail.is_empty(),
        _ => tail.first().is_none_or(|&byte| byte == b'-'),
    };
    let is_divided = [2, 35, 52].iter().all(|&at| head[at] == b'-');
    if !is_as_long_as_it_may || !is_divided {
        return None;
    }
    let (trace_id, span_id) = (TraceId::from_bytes(hex(&head[3..35])?), SpanId::from_bytes(hex(&head[36..52])?));
    let [flags] = hex(&head[53..])?;
    if trace_id == TraceId::INVALID || span_id == SpanId::INVALID {
        return None;
    }
    Some((trace_id, span_id, TraceFlags::new(flags) & TraceFlags::SAMPLED))
}

/// So many bytes in lower-case hexadecimal, and nothing else.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;

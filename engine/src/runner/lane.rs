//! One writer's change sets: the open one, which chunks are folded into, and the one under way, which is being committed or waits to be
//! committed again. Invariants: chunks fold in the order in which they are handed over; what stands behind a fault is not folded; what
//! is told of a set (events, latency, its span) stays with it until its commit is known to be in.

use super::halts::{at, change_halt};
use super::status::Counters;
use super::{ChunkData, now_ms};
use crate::change::{ChangeSet, Schema, TableChanges};
use crate::checkpoint::Advance;
use crate::error::{Halt, HaltAt};
use crate::event::EventBatch;
use crate::sink::Writer;
use crate::trace::{Origin, Spans};

pub(super) struct Lane {
    /// Away while it commits.
    pub(super) writer: Option<Box<dyn Writer>>,
    open: Box<Batch>,
    /// Being committed, or to be committed again; away while it is.
    pub(super) under_way: Option<Box<Batch>>,
    /// What was said of a commit that was not in in time, until one is.
    pub(super) overdue: Option<String>,
}

/// How large a set is.
pub(super) struct Size {
    /// Rows, after folding.
    pub(super) rows: usize,
    /// Changes that were folded into it.
    pub(super) changes: usize,
    /// Bytes that they took, before they were folded.
    pub(super) bytes: usize,
}

/// What one commit writes, and what is told of it.
pub(super) struct Batch {
    pub(super) set: ChangeSet,
    pub(super) events: usize,
    /// The first of them.
    pub(super) first: Option<HaltAt>,
    changes: usize,
    bytes: usize,
    /// Timestamps of its events, one a chunk, for the latency histogram.
    timestamps: Vec<i64>,
    /// For its span.
    pub(super) origin: Origin,
}

/// What became of a chunk.
pub(super) struct Folded {
    /// How many of its events are in the set.
    pub(super) events: usize,
    /// The first offset that is not.
    pub(super) next_offset: i64,
    /// What is wrong with the event there: the name that metrics count it under, and what to halt with.
    pub(super) fault: Option<(&'static str, Halt)>,
}

impl Batch {
    fn new(schema: &Schema) -> Box<Self> {
        let (timestamps, origin) = (Vec::new(), Origin::default());
        Box::new(Self { set: ChangeSet::new(schema), events: 0, first: None, changes: 0, bytes: 0, timestamps, origin })
    }

    /// Row operations, by the number of their table.
    fn operations(&self) -> impl Iterator<Item = (usize, usize)> {
        let stages = self.set.stages.iter();
        stages.flat_map(|stage| {
            let counted =
                |(table, changes): (usize, &TableChanges)| (table, changes.rows.len() + changes.delete_prefixes.len());
            stage.tables.iter().enumerate().map(counted)
        })
    }

    /// Row operations that its commit sends to the database.
    pub(super) fn rows(&self) -> usize {
        self.operations().map(|(_, count)| count).sum()
    }

    /// Counts it as committed.
    pub(super) fn count(&self, schema: &Schema, counters: &mut Counters) {
        let now = now_ms();
        counters.commits += 1;
        counters.applied += self.events as u64;
        counters.batch_events.observe(self.events as f64);
        for timestamp in self.timestamps.iter().filter(|&&t| t >= 0) {
            counters.latency_seconds.observe((now - timestamp) as f64 / 1000.0);
        }
        for (table, count) in self.operations().filter(|(_, count)| *count > 0) {
            if let Some(table) = schema.descriptor.tables.get(table) {
                *counters.rows_written.entry(table.name.clone()).or_default() += count as u64;
            }
        }
    }
}

impl Lane {
    pub(super) fn new(writer: Box<dyn Writer>, schema: &Schema) -> Self {
        Self { writer: Some(writer), open: Batch::new(schema), under_way: None, overdue: None }
    }

    /// Lets another build's writer and schema take over. Nothing is folded.
    pub(super) fn take_over(&mut self, writer: Box<dyn Writer>, schema: &Schema) {
        *self = Self::new(writer, schema);
    }

    /// Folds a chunk into the open set, up to the first event at fault.
    pub(super) fn fold(&mut self, schema: &Schema, chunk: ChunkData, spans: Option<&Spans>) -> Folded {
        let EventBatch { partition, events, next_offset } = &*chunk.batch;
        let open = &mut *self.open;
        let mut fault = None;
        let mut folded = 0;
        for (event, changes) in events.iter().zip(chunk.changes) {
            let count = changes.len();
            if let Err(error) = open.set.push_event(schema, changes) {
                fault = Some(("change", change_halt(partition, event, &error.to_string())));
                break;
            }
            open.changes += count;
            folded += 1;
        }
        if fault.is_none()
            && let (Some(reason), Some(event)) = (&chunk.fault, events.get(folded))
        {
            fault = Some((reason.name(), reason.halt(partition, event)));
        }
        if open.first.is_none()
            && folded > 0
            && let Some(event) = events.first()
        {
            open.first = at(partition, event);
        }
        open.events += folded;
        open.bytes += chunk.bytes;
        open.timestamps.extend(events.first().map(|event| event.timestamp_ms));
        if let Some(spans) = spans {
            spans.come(&mut open.origin, chunk.taken, &events[..folded]);
        }
        let next_offset = match (&fault, events.get(folded)) {
            (Some(_), Some(event)) => event.offset,
            _ => *next_offset,
        };
        Folded { events: folded, next_offset, fault }
    }

    /// How large the open set is.
    pub(super) fn size(&self) -> Size {
        Size { rows: self.open.set.len(), changes: self.open.changes, bytes: self.open.bytes }
    }

    /// Closes the open set, to be committed with these advances, and opens the next one.
    pub(super) fn close(&mut self, schema: &Schema, advances: Vec<Advance>) {
        let mut batch = std::mem::replace(&mut self.open, Batch::new(schema));
        batch.set.advances = advances;
        self.under_way = Some(batch);
    }

    /// Gives up both sets.
    pub(super) fn discard(&mut self, schema: &Schema) {
        self.open = Batch::new(schema);
        self.under_way = None;
    }
}

//! Change sets on their way into the database, as the shell sees them: each writer's open set and the one under way, and what a commit's end
//! means for the figures and for people. What follows from it is the machine's.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::halts::sink_failure;
use super::machine::{CommitFailure, Failure, Input};
use super::{Message, Shell, in_background, now_ms};
use crate::change::{ChangeSet, Schema};
use crate::checkpoint::Advance;
use crate::error::{ErrorKind, HaltAt};
use crate::event::TopicPartition;
use crate::sink::{CommitError, SinkError, Writer};

/// The code of a commit whose deadline has passed.
const OVERDUE: &str = "commit_overdue";

/// A writer with its sets.
pub(super) struct Lane {
    /// Away while it commits.
    pub(super) writer: Option<Box<dyn Writer>>,
    pub(super) open: ChangeSet,
    pub(super) open_events: usize,
    /// Changes that were folded into it.
    pub(super) open_changes: usize,
    /// Bytes that they took, before they were folded.
    pub(super) open_bytes: usize,
    /// Being committed, or to be committed again; away while it is.
    pub(super) under_way: Option<Box<ChangeSet>>,
    pub(super) under_way_events: usize,
    /// Timestamps of the events under way, one a chunk, for the latency histogram.
    pub(super) open_timestamps: Vec<i64>,
    pub(super) under_way_timestamps: Vec<i64>,
    /// What was said of a commit that was not in in time, until one is.
    pub(super) overdue: Option<String>,
}

impl Lane {
    pub(super) fn new(writer: Box<dyn Writer>, schema: &Schema) -> Self {
        Self {
            writer: Some(writer),
            open: ChangeSet::new(schema),
            open_events: 0,
            open_changes: 0,
            open_bytes: 0,
            under_way: None,
            under_way_events: 0,
            open_timestamps: Vec::new(),
            under_way_timestamps: Vec::new(),
            overdue: None,
        }
    }

    pub(super) fn discard(&mut self, schema: &Schema) {
        self.open = ChangeSet::new(schema);
        self.open_events = 0;
        self.open_changes = 0;
        self.open_bytes = 0;
        self.open_timestamps.clear();
        self.under_way = None;
    }
}

impl Shell {
    /// A commit has ended.
    pub(super) fn on_committed(
        &mut self,
        lane: usize,
        writer: Box<dyn Writer>,
        set: Box<ChangeSet>,
        outcome: Result<(), CommitError>,
        took: Duration,
    ) {
        self.lanes[lane].writer = Some(writer);
        self.lanes[lane].under_way = Some(set);
        self.report.counters.commit_seconds.observe(took.as_secs_f64());
        let outcome = match outcome {
            Ok(()) => {
                self.note_sink(None);
                self.lanes[lane].overdue = None;
                Ok(())
            }
            Err(CommitError::Fenced(partitions)) => {
                self.report.counters.fenced += 1;
                let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
                tracing::info!(projection = self.generation.projection, partitions = ?names, "fenced: nothing was written");
                Err(CommitFailure::Fenced(partitions))
            }
            Err(CommitError::Unknown(error)) => {
                self.report.counters.unknown_commits += 1;
                tracing::warn!(projection = self.generation.projection, %error, "commit not answered: reading the checkpoints");
                if error.code == OVERDUE {
                    self.lanes[lane].overdue = Some(format!("{}; less is sent at once now", error.message));
                    Err(CommitFailure::Overdue)
                } else {
                    Err(CommitFailure::Unknown)
                }
            }
            Err(CommitError::Failed(error)) => {
                if error.kind == ErrorKind::Transient {
                    self.note_sink(Some(&error));
                }
                Err(CommitFailure::Failed(self.commit_failure(lane, &error)))
            }
        };
        self.input(Input::Committed(lane, outcome));
        self.after_commit(lane);
    }

    /// The failure of a commit, with the event where it can only be one.
    fn commit_failure(&self, lane: usize, error: &SinkError) -> Failure {
        let mut failure = sink_failure(error);
        let advances = self.lanes[lane].under_way.as_ref().map_or(&[][..], |set| &set.advances);
        if let [only] = advances
            && error.kind == ErrorKind::Poison
        {
            let TopicPartition { topic, partition } = &only.partition;
            failure.halt.at =
                Some(HaltAt { topic: topic.to_string(), partition: *partition, offset: only.expected, key: None });
        }
        failure
    }

    /// Counts a set that turned out to be in, once.
    pub(super) fn after_commit(&mut self, lane: usize) {
        let Lane { under_way, under_way_events, under_way_timestamps, overdue, .. } = &mut self.lanes[lane];
        let Some(set) = under_way else { return };
        let known: HashMap<&TopicPartition, i64> = self.machine.checkpoints().collect();
        if !set.advances.iter().any(|a| known.get(&a.partition).is_some_and(|&next| next >= a.next)) {
            return;
        }
        let now = now_ms();
        let counters = &mut self.report.counters;
        if *under_way_events > 0 {
            self.report.last_event_at_us = Some(now.saturating_mul(1000));
        }
        counters.commits += 1;
        counters.applied += *under_way_events as u64;
        counters.batch_events.observe(*under_way_events as f64);
        for timestamp in under_way_timestamps.drain(..).filter(|&t| t >= 0) {
            counters.latency_seconds.observe((now - timestamp) as f64 / 1000.0);
        }
        for stage in &set.stages {
            for (table, changes) in self.schema.descriptor.tables.iter().zip(&stage.tables) {
                let count = changes.rows.len() + changes.delete_prefixes.len();
                if count > 0 {
                    *counters.rows_written.entry(table.name.clone()).or_default() += count as u64;
                }
            }
        }
        *under_way = None;
        *overdue = None;
        self.report.rate.count(self.report.counters.applied);
    }

    /// Closes a lane's open set: it is what is committed next.
    pub(super) fn close_set(&mut self, lane: usize, advances: Vec<Advance>) {
        // The answer that closes this set may be the one that says that the set before is in.
        self.after_commit(lane);
        let lane = &mut self.lanes[lane];
        let mut set = std::mem::replace(&mut lane.open, ChangeSet::new(&self.schema));
        set.advances = advances;
        lane.under_way = Some(Box::new(set));
        lane.under_way_events = std::mem::take(&mut lane.open_events);
        lane.open_changes = 0;
        lane.open_bytes = 0;
        lane.under_way_timestamps = std::mem::take(&mut lane.open_timestamps);
    }

    /// Commits a lane's set in a task of its own.
    pub(super) fn commit(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        let (Some(mut writer), Some(set)) = (lane.writer.take(), lane.under_way.take()) else { return };
        let messages = self.messages.clone();
        in_background(async move {
            let begun = Instant::now();
            let outcome = writer.commit(&set).await;
            messages.send(Message::Committed(index, writer, set, outcome, begun.elapsed())).ok();
        });
    }
}

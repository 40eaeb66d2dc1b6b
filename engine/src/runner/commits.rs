//! Change sets on their way into the database: what a commit's end means for the figures and for people. What follows from it is the machine's.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::halts::{commit_error, commit_failure};
use super::lane::Batch;
use super::machine::{CommitFailure, Input};
use super::{Message, Shell, in_background, now_ms};
use crate::checkpoint::Advance;
use crate::error::ErrorKind;
use crate::event::TopicPartition;
use crate::sink::{CommitError, Writer};
use crate::trace::Answered;

/// The code of a commit whose deadline has passed.
const OVERDUE: &str = "commit_overdue";

impl Shell {
    /// A commit has ended.
    pub(super) fn on_committed(
        &mut self,
        lane: usize,
        writer: Box<dyn Writer>,
        batch: Box<Batch>,
        outcome: Result<(), CommitError>,
        took: Duration,
    ) {
        if let Err(error) = &outcome {
            self.trace(&batch, Some(error));
        }
        self.lanes[lane].writer = Some(writer);
        self.lanes[lane].under_way = Some(batch);
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
                let only = self.lanes[lane].under_way.as_ref().filter(|batch| batch.events == 1);
                Err(CommitFailure::Failed(commit_failure(&error, only.and_then(|batch| batch.first.clone()))))
            }
        };
        self.input(Input::Committed(lane, outcome));
        self.after_commit(lane);
    }

    /// Counts a set that turned out to be in, once.
    pub(super) fn after_commit(&mut self, lane: usize) {
        let Some(batch) = &self.lanes[lane].under_way else { return };
        let known: HashMap<&TopicPartition, i64> = self.machine.checkpoints().collect();
        if !batch.set.advances.iter().any(|a| known.get(&a.partition).is_some_and(|&next| next >= a.next)) {
            return;
        }
        let Some(batch) = self.lanes[lane].under_way.take() else { return };
        self.lanes[lane].overdue = None;
        if batch.events > 0 {
            self.report.last_event_at_us = Some(now_ms().saturating_mul(1000));
        }
        batch.count(&self.schema, &mut self.report.counters);
        self.trace(&batch, None);
        self.report.rate.count(self.report.counters.applied);
    }

    /// Tells the trace of a commit's answer.
    fn trace(&self, batch: &Batch, failure: Option<&CommitError>) {
        let Some(spans) = &self.spans else { return };
        spans.answered(&Answered {
            plugin_digest: self.plugin.digest(),
            origin: &batch.origin,
            advances: &batch.set.advances,
            events: batch.events,
            rows: batch.rows(),
            failure: failure.map(commit_error),
        });
    }

    /// Closes a lane's open set: it is what is committed next.
    pub(super) fn close_set(&mut self, lane: usize, advances: Vec<Advance>) {
        // The answer that closes this set may be the one that says that the set before is in.
        self.after_commit(lane);
        self.lanes[lane].close(&self.schema, advances);
    }

    /// Commits a lane's set in a task of its own.
    pub(super) fn commit(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        let (Some(mut writer), Some(batch)) = (lane.writer.take(), lane.under_way.take()) else { return };
        let messages = self.messages.clone();
        in_background(async move {
            let begun = Instant::now();
            let outcome = writer.commit(&batch.set).await;
            messages.send(Message::Committed(index, writer, batch, outcome, begun.elapsed())).ok();
        });
    }
}

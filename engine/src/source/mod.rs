//! Where events come from. Hides brokers, group membership, buffers and files behind one trait.
//!
//! A [`Source`] belongs to one projection generation. It says which partitions it was given ([`SourceEvent::Assigned`]),
//! is told where each begins (the sink's checkpoint, never an offset of its own), and then holds a bounded buffer
//! for each. Invariants: what [`Source::take`] returns follows on what it returned before, from the start that was
//! given, without gap and without repeat; after a revocation or a restart nothing of the earlier assignment comes out;
//! the buffers' bytes are bounded whatever the runner does.
//!
//! The log can betray (retention, recreated topics, truncation): a source that sees it says so with
//! [`SourceEvent::Failed`] and never skips.

mod buffer;
mod file;
mod kafka;

use futures_util::future::BoxFuture;

use crate::checkpoint::LogBounds;
use crate::error::{ErrorKind, Halt};
use crate::event::{EventBatch, TopicPartition};

pub use file::{FileSettings, FileSource, parse_line, write_line};
pub use kafka::{
    KafkaSettings, KafkaSource, bounds as kafka_bounds, check_properties, probe, read_range as kafka_range,
};

/// Told by the runner where the partitions of an assignment begin. Partitions left out are not delivered.
/// Dropping it unanswered leaves the whole assignment undelivered.
pub struct StartReply(Box<Answer>);

type Answer = dyn FnOnce(Vec<(TopicPartition, i64)>) + Send;

impl StartReply {
    /// A reply that calls `start` once.
    pub fn new(start: impl FnOnce(Vec<(TopicPartition, i64)>) + Send + 'static) -> Self {
        Self(Box::new(start))
    }

    /// Gives each partition the offset of its first event.
    pub fn start(self, offsets: Vec<(TopicPartition, i64)>) {
        (self.0)(offsets);
    }
}

impl std::fmt::Debug for StartReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StartReply")
    }
}

/// What a source tells the runner.
#[derive(Debug)]
pub enum SourceEvent {
    /// These partitions are ours now. Nothing of them is delivered before the reply.
    Assigned {
        /// What the log offers of each.
        partitions: Vec<LogBounds>,
        /// Where each begins.
        reply: StartReply,
    },
    /// These partitions are no longer ours; their buffers are gone.
    Revoked(Vec<TopicPartition>),
    /// At least one partition has something to take that it had not before.
    Ready,
    /// Something is wrong. The kind says what to do: transient ones heal by themselves and are shown meanwhile;
    /// fatal ones halt the projection.
    Failed(SourceError),
    /// What a transient failure was about works again.
    Recovered,
}

/// Something is wrong with the log or the way to it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{halt}")]
pub struct SourceError {
    /// What must happen next; never poison.
    pub kind: ErrorKind,
    /// What it is, where, and what to do. For transient errors `code` is the state's name (`disconnected`, ...).
    pub halt: Halt,
}

/// How far one partition's log reaches, for lag and retention margins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset that the log still holds, where known.
    pub start: Option<i64>,
    /// The offset after the last visible record (the last stable offset), where known.
    pub end: Option<i64>,
    /// Timestamp of the first event in the buffer that was not taken yet.
    pub first_buffered_timestamp_ms: Option<i64>,
}

/// Where a projection generation's events come from.
pub trait Source: Send {
    /// Waits for news.
    ///
    /// Cancel safe: a dropped future loses nothing.
    fn next(&mut self) -> BoxFuture<'_, SourceEvent>;

    /// The next events of a partition in front of the offset `before`, at most `events_max` and about `bytes_max` (at least one event).
    /// None where the buffer is empty up to there. A batch without events moves the checkpoint over markers or holes, up to `before`.
    fn take(
        &mut self,
        partition: &TopicPartition,
        events_max: usize,
        bytes_max: usize,
        before: i64,
    ) -> Option<EventBatch>;

    /// Delivers the partition anew from `offset`, if it is still assigned; what was buffered of it is discarded.
    fn restart(&mut self, partition: &TopicPartition, offset: i64);

    /// Stops delivering the partition until a restart, and discards what was buffered.
    fn release(&mut self, partition: &TopicPartition);

    /// Tells how far partitions are applied, for a best-effort mirror that lag tools can read.
    fn committed(&mut self, checkpoints: &[(TopicPartition, i64)]);

    /// How far each assigned partition's log reaches.
    fn ends(&self) -> Vec<LogEnd>;

    /// Leaves the group and frees everything, within a bounded time.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

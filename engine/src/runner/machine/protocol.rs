//! What the machine and its shell say to each other.

use std::collections::BTreeMap;

use crate::checkpoint::{Advance, Checkpoint, LogBounds};
use crate::error::{ErrorKind, Halt};
use crate::event::TopicPartition;

/// Number of a chunk, unique in a machine.
pub(crate) type ChunkId = u64;

/// Bounds of the pipeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Events in one call of the plugin.
    pub(crate) chunk_events_max: usize,
    /// Events that may wait, in chunks, for a place in the open set of a writer.
    pub(crate) waiting_events_max: usize,
    /// Events in one commit.
    pub(crate) batch_events_max: usize,
    /// Event bytes in one commit, and in the chunks that wait for one.
    pub(crate) batch_bytes_max: usize,
    /// For how many ticks a set stays open while a backlog is on its way.
    pub(crate) open_ticks_max: u32,
    /// For how many ticks a partition rests before the database is asked whether its checkpoint still stands.
    pub(crate) look_ticks: u32,
    /// Bytes of changes of the chunks that wait for a place in the open set of a writer, beside what is in the sandbox.
    pub(crate) waiting_bytes_max: usize,
    /// Bytes of changes that a chunk should have at most: beyond, the next ones have fewer events.
    pub(crate) chunk_bytes_max: usize,
    /// Chunks in the sandbox at once.
    pub(crate) sandbox_slots: usize,
    /// Writers that partitions are dealt to.
    pub(crate) writers: usize,
}

/// A chunk that was taken from the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// How many events; 0 where the checkpoint only moves over markers.
    pub(crate) events: usize,
    /// Their bytes.
    pub(crate) bytes: usize,
    /// The first offset after the chunk.
    pub(crate) next_offset: i64,
    /// Whether it was as large as a chunk may be: the partition has a backlog.
    pub(crate) full: bool,
}

/// What the plugin returned for a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returned {
    /// Bytes of memory that the changes take.
    pub(crate) bytes: usize,
    /// Where it went no further than to some events, because they have so many changes: how many events they are, and the first offset after them.
    /// The chunk is no longer than that from now on.
    pub(crate) cut: Option<(usize, i64)>,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// The source was given partitions; it waits for [`Action::Start`] with this number, which no other assignment has.
    Assigned(u64, Vec<LogBounds>),
    /// The source lost partitions.
    Revoked(Vec<TopicPartition>),
    /// Some partition may have events to take.
    Ready,
    /// The answer to [`Action::Claim`].
    Claimed(u64, Result<Vec<Checkpoint>, Failure>),
    /// The answer to [`Action::Take`], at once.
    Taken(ChunkId, Option<Taken>),
    /// The answer to [`Action::Apply`]: what the plugin returned, if it could be run at all.
    Applied(ChunkId, Result<Returned, Failure>),
    /// The answer to [`Action::Fold`], at once: everything up to this offset is in the open set; whether that is as large as it should be; then came the
    /// fault, if any.
    Folded(ChunkId, i64, bool, Option<Halt>),
    /// The answer to [`Action::Commit`].
    Committed(usize, Result<(), CommitFailure>),
    /// The answer to [`Action::Reread`]: the generation's checkpoints.
    Reread(usize, Result<Vec<Checkpoint>, Failure>),
    /// The pause of an [`Action::BackOff`] is over.
    Retry(Wait),
    /// Some time has passed: an open set that has been open since the last tick is old.
    Tick,
    /// The answer to [`Action::Look`]: the generation's checkpoints.
    Looked(u64, Result<Vec<Checkpoint>, Failure>),
    /// The log of a partition does not go on: halt once everything before has been applied.
    Betrayed(Halt),
    /// Halt for a reason from outside.
    Halt(Halt),
    /// Take no events until further notice, or take them again. What was taken is still applied.
    Pause(bool),
    /// Take no event at or behind these offsets until further notice; partitions left out are free.
    Until(BTreeMap<TopicPartition, i64>),
    /// Another build takes over: everything folded is to be committed first; answered by [`Action::Reload`].
    Reload,
    /// The answer to [`Action::Reload`], at once.
    Reloaded,
    /// Stop in good order.
    Stop,
}

/// What went wrong, as far as the machine needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    /// What to halt with, where the kind asks for it.
    pub(crate) halt: Halt,
}

/// How a commit failed.
#[derive(Clone, Debug)]
pub(crate) enum CommitFailure {
    /// Nothing was written; these partitions are somebody else's or stand elsewhere.
    Fenced(Vec<TopicPartition>),
    /// Perhaps written: the way to the database was lost.
    Unknown,
    /// Perhaps written: there was no answer in time.
    Overdue,
    /// Nothing was written.
    Failed(Failure),
}

/// What is waited for before it is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Commit(usize),
    Reread(usize),
    Claim(u64),
    Apply(ChunkId),
    /// A fenced partition, and the run in which it was fenced.
    Fenced(TopicPartition, u64),
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Take the partitions over in the database.
    Claim(u64, Vec<LogBounds>),
    /// Deliver these partitions from these offsets: the answer to the [`Input::Assigned`] with this number.
    Start(u64, Vec<(TopicPartition, i64)>),
    /// Deliver a partition anew.
    Restart(TopicPartition, i64),
    /// Deliver nothing of a partition until a restart.
    Release(TopicPartition),
    /// Take a chunk of at most so many events in front of an offset from the source; answer with [`Input::Taken`] before anything else.
    Take(ChunkId, TopicPartition, usize, i64),
    /// Run the plugin over a chunk.
    Apply(ChunkId),
    /// Fold a chunk into the open set of a writer; answer with [`Input::Folded`] before anything else.
    Fold(ChunkId, usize),
    /// Forget a chunk.
    Discard(ChunkId),
    /// Close the writer's open set and commit it with these advances.
    Commit(usize, Vec<Advance>),
    /// Commit the writer's last set once more.
    CommitAgain(usize),
    /// Drop the writer's open set, and the one under way.
    DiscardSets(usize),
    /// Let the other build take over: nothing is in the sandbox, folded or being committed. Answer with [`Input::Reloaded`] before anything else.
    Reload,
    /// Read the checkpoints of the generation.
    Reread(usize),
    /// Read the checkpoints of the generation, to see whether those of partitions at rest stand; answer with [`Input::Looked`].
    Look(u64),
    /// Tell people that the database has lost commits: a partition's checkpoint as it was known, and as it is stored, if it is. It is claimed anew.
    Lost(TopicPartition, i64, Option<i64>),
    /// Wait, longer with each attempt (from 1), then send [`Input::Retry`].
    BackOff(Wait, u32),
    /// The projection stands still from now on.
    Halted(Halt),
    /// Everything is done.
    Stopped,
}

//! Checkpoints: how far each partition of a generation has been applied.
//!
//! Law: a checkpoint is `next_offset`, the first event not yet applied. It only ever moves by an [`Advance`] that
//! names the offset it starts from and the owner that makes it, and two advances join only where one ends
//! and the next begins:
//!
//! | checkpoint | advance | outcome |
//! |---|---|---|
//! | `[.., a)` | `[b, c)` with `a = b`, same owner | `[.., c)` |
//! | `[.., a)` | `[b, c)` with `b > a` | refused: events would be lost |
//! | `[.., a)` | `[b, c)` with `b < a` | refused: events would be applied twice |
//! | `[.., a)` | any, owner epoch passed | refused: fenced |

use std::fmt;

use crate::event::TopicPartition;

/// One build of a projection's tables. A rebuild fills the next one beside the live one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation {
    /// Name of the projection.
    pub projection: String,
    /// Number of the generation, from 1.
    pub number: u32,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} generation {}", self.projection, self.number)
    }
}

/// What a partition's log offers when it is taken over: the input of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset that the log still holds.
    pub start: i64,
    /// The offset after the last visible record.
    pub end: i64,
    /// Identity of the topic, where the log has one; another one under the same name is another log.
    pub topic_id: Option<String>,
}

/// The stored state of one partition of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The partition.
    pub partition: TopicPartition,
    /// The first event not yet applied.
    pub next_offset: i64,
    /// Raised by each claim; a commit with a lower one is fenced.
    pub owner_epoch: i64,
    /// Identity of the topic when the partition was first claimed.
    pub topic_id: Option<String>,
}

/// The move of one partition's checkpoint that a commit makes, and that the commit is fenced by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// The partition.
    pub partition: TopicPartition,
    /// The checkpoint that must stand before.
    pub expected: i64,
    /// The checkpoint that stands after; never below `expected`.
    pub next: i64,
    /// The epoch under which the partition was claimed.
    pub owner_epoch: i64,
}

impl Advance {
    /// Joins the advance that follows this one, or gives it back where it does not.
    ///
    /// # Errors
    /// `later` itself, where it is of another partition or owner, or does not begin where this one ends.
    pub fn join(&mut self, later: Advance) -> Result<(), Advance> {
        let follows = self.partition == later.partition
            && self.owner_epoch == later.owner_epoch
            && self.next == later.expected
            && later.expected <= later.next;
        if !follows {
            return Err(later);
        }
        self.next = later.next;
        Ok(())
    }
}

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

use crate::error::{Halt, HaltAt};
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

impl Checkpoint {
    /// Whether the log that was looked at before the claim can still go on where the checkpoint stands.
    ///
    /// A log that ends before the checkpoint (R16) is not judged here: between the look and the claim, the former owner may have
    /// applied what was written since. The source that is told to begin there judges it, by a look that is younger.
    ///
    /// # Errors
    /// What to halt with: another topic under the same name (R17), or events lost to retention (R15).
    pub fn check(&self, log: &LogBounds) -> Result<(), Halt> {
        let halt = |code, reason, remedy: &str| {
            let TopicPartition { topic, partition } = &self.partition;
            let at = HaltAt { topic: topic.to_string(), partition: *partition, offset: self.next_offset, key: None };
            Err(Halt { code, reason, remedy: remedy.to_owned(), at: Some(at) })
        };
        let (next, start) = (self.next_offset, log.start);
        if let (Some(stored), Some(found)) = (&self.topic_id, &log.topic_id)
            && stored != found
        {
            let reason = format!(
                "the topic was deleted and created again: its id was {stored} and is {found}; the checkpoint {next} belongs to the former one"
            );
            return halt(
                "topic_recreated",
                reason,
                "rebuild the projection from the new topic, or restore the former one",
            );
        }
        if next < start {
            let lost = start - next;
            let reason = format!(
                "the log begins at {start}: retention removed [{next}, {start}), {lost} offsets that were not applied yet"
            );
            return halt(
                "retention_gap",
                reason,
                "restore the missing events, rebuild from what the log still holds, or accept the gap by moving the checkpoint",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advance(expected: i64, next: i64) -> Advance {
        Advance { partition: TopicPartition::new("orders", 0), expected, next, owner_epoch: 1 }
    }

    #[test]
    fn advances_join_only_where_one_ends_and_the_next_begins() {
        let mut first = advance(0, 5);
        assert_eq!(first.join(advance(5, 9)), Ok(()));
        assert_eq!(first, advance(0, 9));
        for refused in [advance(10, 12), advance(8, 12), advance(0, 9), Advance { owner_epoch: 2, ..advance(9, 10) }] {
            assert_eq!(first.join(refused.clone()), Err(refused));
            assert_eq!(first, advance(0, 9));
        }
    }

    #[test]
    fn a_log_that_betrays_is_named() {
        let id = |id: &str| Some(id.to_owned());
        let stored = Checkpoint {
            partition: TopicPartition::new("orders", 0),
            next_offset: 10,
            owner_epoch: 1,
            topic_id: id("a"),
        };
        let log = |start, end, topic_id| LogBounds { partition: stored.partition.clone(), start, end, topic_id };
        for (log, code) in [
            (log(0, 10, id("a")), None),
            (log(10, 10, id("a")), None),
            (log(0, 99, None), None),
            (log(11, 99, id("a")), Some("retention_gap")),
            // An owner who was not fenced yet may have gone on since the end was looked at.
            (log(0, 9, id("a")), None),
            (log(0, 99, id("b")), Some("topic_recreated")),
        ] {
            assert_eq!(stored.check(&log).err().map(|halt| halt.code), code, "{log:?}");
        }
    }
}

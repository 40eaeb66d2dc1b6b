//! Events and where they stand in the log: plain values, no I/O.
//!
//! Invariants: offsets of a batch rise strictly; `next_offset` of a batch is past its last event, and past
//! anything that the log holds no event for (transaction markers, holes left by compaction).

use std::fmt;
use std::sync::Arc;

/// The highest offset that a plugin can be given: exact also where numbers are 64-bit floats.
pub const OFFSET_MAX: i64 = (1 << 53) - 1;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Number of the partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A header of a record. Names may repeat; a null value is not an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name of the header.
    pub name: String,
    /// Its bytes, or none for a null value.
    pub value: Option<Vec<u8>>,
}

/// One record of a partition, as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Position in the partition, from 0 to [`OFFSET_MAX`].
    pub offset: i64,
    /// Milliseconds since 1970-01-01T00:00:00Z; -1 where the record has none.
    pub timestamp_ms: i64,
    /// The key's bytes, or none for a null key.
    pub key: Option<Vec<u8>>,
    /// The value's bytes, or none for a tombstone.
    pub value: Option<Vec<u8>>,
    /// All headers of the record, in its order.
    pub headers: Vec<Header>,
}

impl Event {
    /// About how many bytes of memory the event holds: payloads, headers and the struct itself.
    pub fn bytes(&self) -> usize {
        let payload = |p: &Option<Vec<u8>>| p.as_ref().map_or(0, Vec::len);
        size_of::<Self>()
            + payload(&self.key)
            + payload(&self.value)
            + self.headers.iter().map(|h| size_of::<Header>() + h.name.len() + payload(&h.value)).sum::<usize>()
    }

    /// The key for people: text where it is UTF-8, else hexadecimal after `0x`; at most 200 characters.
    pub fn key_for_people(&self) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(match std::str::from_utf8(key) {
            Ok(text) => text.chars().take(200).collect(),
            Err(_) => {
                use fmt::Write as _;
                let mut hex = String::from("0x");
                for byte in key.iter().take(99) {
                    // Writing to a String cannot fail.
                    write!(hex, "{byte:02x}").ok();
                }
                hex
            }
        })
    }
}

/// Events of one partition that follow the expected offset, and where the log goes on after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBatch {
    /// Where they come from.
    pub partition: TopicPartition,
    /// In offset order. Empty where the log holds nothing but markers or holes up to `next_offset`.
    pub events: Vec<Event>,
    /// The first offset after this batch: the checkpoint once the batch is applied.
    pub next_offset: i64,
}

//! The kinds of error, which say what must happen next.
//!
//! Every error type of the engine answers `kind()`, and the runner looks at nothing else. A new error is placed
//! by asking one question: would the same thing succeed later without anybody doing anything (transient), is
//! one event at fault whatever the time and the machine (poison), or must a person act first (fatal)?

/// What must happen next after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The world is not ready: back off with jitter and retry the whole batch.
    /// Broker or database away, serialization failure, deadlock, deadline passed.
    Transient,
    /// One event is at fault, on every machine and at every time: halt at it (or park it).
    Poison,
    /// A person must act before it can go on: halt under a name.
    Fatal,
}

/// Why a projection stands still, for people: what happened, where, and what to do.
///
/// It is what the API, the page and the log show of a halt.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Halt {
    /// Stable name of the cause, in snake case: `retention_gap`, `topic_recreated`, `event_rejected`, ...
    pub code: &'static str,
    /// What happened, in one sentence with the figures that matter.
    pub reason: String,
    /// The next step for a person.
    pub remedy: String,
    /// The event or the place in the log, where there is one.
    pub at: Option<HaltAt>,
}

/// The place in the log that a halt is about.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct HaltAt {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Offset of the event, or the first offset of the range.
    pub offset: i64,
    /// The event's key for people: text where it is UTF-8, else hexadecimal; shortened to 200 characters.
    pub key: Option<String>,
}

impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)?;
        if let Some(at) = &self.at {
            write!(f, " (at {}/{}@{}", at.topic, at.partition, at.offset)?;
            if let Some(key) = &at.key {
                write!(f, ", key {key:?}")?;
            }
            write!(f, ")")?;
        }
        write!(f, "; {}", self.remedy)
    }
}

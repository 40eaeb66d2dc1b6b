//! The sandbox: `.wasm` bytes become a [`Plugin`], a pure function from events to changes.
//!
//! Hides wasmtime, WASI, compilation and its cache, traps, deadlines and fuel. Invariants: nothing of the machine is reachable
//! from a plugin but its own memory, a clock that shows the event's timestamp, random numbers seeded from (projection,
//! topic, partition, offset), and a bounded log; the verdict "this event is at fault" is the same on every machine
//! and under every load; what was hashed is what runs.
//!
//! `bindings` is generated and stays in here; everything else sees the engine's own types.

use std::sync::Arc;

use crate::change::{Change, Problem, Schema};
use crate::error::ErrorKind;
use crate::event::{Event, TopicPartition};

/// What became of a run of events: the changes of each, up to the first that is at fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The changes of each event, in order; as long as the input where there is no fault.
    pub changes: Vec<Vec<Change>>,
    /// The fault of the event with index `changes.len()`.
    pub fault: Option<EventFault>,
}

/// Why an event could not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFault {
    /// What it is.
    pub kind: EventFaultKind,
    /// For people: the plugin's words, or the trap with source file and line where the build has debug names.
    pub reason: String,
}

/// The ways in which an event can be at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventFaultKind {
    /// The plugin said `reject`.
    Rejected,
    /// The plugin said `halt`.
    Halted,
    /// The plugin trapped (panic, abort, out of memory, stack overflow, out of fuel) on this event alone.
    Trapped,
    /// What came back does not fit the contract or the limits: wrong number of outcomes, too many changes or bytes.
    Invalid,
}

/// A plugin could not be loaded, or not be run for a reason that no event is to blame for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct PluginError {
    /// Transient (out of memory on the host) or fatal; never poison.
    pub kind: ErrorKind,
    /// Stable name of the cause: `not_wasm`, `too_large`, `contract_version`, `missing_import`, `invalid_descriptor`, ...
    pub code: &'static str,
    /// What is wrong, where, and what to do.
    pub message: String,
    /// All problems of the descriptor, where that is what is wrong.
    pub problems: Vec<Problem>,
}

/// A log line of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLog {
    /// `trace`, `debug`, `info`, `warn` or `error`; `stdout` and `stderr` lines are `info` and `warn`.
    pub level: &'static str,
    /// One line, control characters escaped, bounded.
    pub message: String,
}

//! The sandbox: `.wasm` bytes become a [`Plugin`], a pure function from events to changes.
//!
//! Hides wasmtime, WASI, compilation and its cache, traps, deadlines and fuel. Invariants: nothing of the machine is reachable
//! from a plugin but its own memory, a clock that shows the event's timestamp, random numbers seeded from (projection,
//! topic, partition, offset), and a bounded log; the verdict "this event is at fault" is the same on every machine
//! and under every load; what was hashed is what runs.
//!
//! `host` loads, `binary` says what a file is, `cache` keeps compiled code, `instance` is one store and one call, `slots` the
//! memory that it lives in, `wasi` what a plugin sees of the world, `apply` decides what is run again and who is to blame.
//! `bindings` is generated and stays in here; everything else sees the engine's own types.

mod apply;
mod binary;
mod bindings;
mod cache;
mod host;
mod instance;
mod logs;
mod slots;
mod wasi;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::change::{Change, Problem};
use crate::error::ErrorKind;

pub use apply::Plugin;
pub use binary::{CONTRACT_VERSIONS, WASM_BYTES_MAX, digest};
pub use host::{Host, HostSettings, lower_priority};

/// Bytes of changes after which [`Plugin::apply`] goes no further: one call's may be beyond.
pub const APPLIED_BYTES_MAX: usize = 16 << 20;

/// What became of a run of events: the changes of each, up to the first that is at fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The changes of each event, in order. As long as the input where there is no fault, unless they take more than
    /// [`APPLIED_BYTES_MAX`]: then only the first events were applied, at least one.
    pub changes: Vec<Vec<Change>>,
    /// About how many bytes of memory the changes take.
    pub bytes: usize,
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
    /// Stable name of the cause. Of loading: `too_large`, `not_wasm`, `precompiled`, `invalid_wasm`, `not_a_projection`,
    /// `contract_version`, `missing_import`, `describe_failed`, `invalid_descriptor`, `cache_folder`. Of running:
    /// `unknown_topic`, `offset_too_large`, `deadline`, `host_memory`, `sandbox_failed`.
    pub code: &'static str,
    /// What is wrong, where, and what to do.
    pub message: String,
    /// All problems of the descriptor, where that is what is wrong.
    pub problems: Vec<Problem>,
}

impl PluginError {
    fn fatal(code: &'static str, message: String) -> Self {
        Self { kind: ErrorKind::Fatal, code, message, problems: Vec::new() }
    }

    fn host_memory(said: &str) -> Self {
        let said = logs::for_people(said, 500);
        let message = format!("the machine has no memory left for the plugin ({said}); it is tried again");
        Self { kind: ErrorKind::Transient, code: "host_memory", message, problems: Vec::new() }
    }

    /// Something that should not happen within the sandbox itself.
    fn sandbox(what: &str, error: &dyn std::fmt::Display) -> Self {
        let text = logs::for_people(&error.to_string(), 1000);
        Self::fatal(
            "sandbox_failed",
            format!("the sandbox failed ({what}): {text}; please report it with the plugin's file"),
        )
    }
}

/// What one plugin may use. All limits hold for each instance, call or event by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance. Default 64 MiB.
    pub memory_bytes_max: usize,
    /// About how long one event may take, default 1 s. What decides is fuel: an event is at fault when it has used up
    /// [`Limits::fuel_per_event`], which no event reaches that stays within this time.
    pub call_time_max: Duration,
    /// Changes that one event may return. Default 10,000.
    pub changes_per_event_max: usize,
    /// Bytes of changes that one event may return. Default 8 MiB.
    pub change_bytes_per_event_max: usize,
    /// Log lines kept per second. Default 100.
    pub log_lines_per_second_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            call_time_max: Duration::from_secs(1),
            changes_per_event_max: 10_000,
            change_bytes_per_event_max: 8 << 20,
            log_lines_per_second_max: 100,
        }
    }
}

/// A log line of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLog {
    /// `trace`, `debug`, `info`, `warn` or `error`; `stdout` and `stderr` lines are `info` and `warn`.
    pub level: &'static str,
    /// One line, control characters escaped, bounded.
    pub message: String,
}

/// What a plugin has done since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PluginFigures {
    /// Calls of `apply`, all repetitions included.
    pub calls: u64,
    /// Instances made.
    pub instances: u64,
    /// Calls that trapped, those of several events included.
    pub traps: u64,
    /// Calls that ran into the wall-clock deadline of the fast path.
    pub deadlines: u64,
    /// Runs of events that had to be done again one by one.
    pub reruns_one_by_one: u64,
    /// Events that were judged by fuel.
    pub reruns_metered: u64,
    /// Log lines left out.
    pub log_lines_dropped: u64,
    /// Linear memory of the last instance at its end.
    pub memory_bytes_last: u64,
    /// The most linear memory that an instance had at its end.
    pub memory_bytes_peak: u64,
    /// How long loading took to compile, or to read what was compiled before.
    pub compile_seconds: f64,
    /// Whether the compiled form came from the cache.
    pub compiled_from_cache: bool,
}

//! What went wrong, in the words that a person is shown: the kinds of failure of the plugin, the sink and single events as halts with their remedies.

use super::machine::Failure;
use crate::error::{ErrorKind, Halt, HaltAt};
use crate::event::{Event, TopicPartition};
use crate::format::{FormatError, Undecodable};
use crate::plugin::{EventFault, EventFaultKind, PluginError};
use crate::sink::{CommitError, SinkError};

pub(super) fn sink_halt(error: &SinkError) -> Halt {
    let remedy = match error.kind {
        ErrorKind::Poison => {
            "correct the event at its source, or put a corrected plugin into plugins/, then restart the projection"
        }
        _ => "mend what the message names, then restart the projection",
    };
    Halt { code: error.code, reason: error.message.clone(), remedy: remedy.to_owned(), at: None }
}

pub(super) fn sink_failure(error: &SinkError) -> Failure {
    Failure { kind: error.kind, halt: sink_halt(error) }
}

/// The failure of a commit; where it was of one event only, that one may be at fault.
pub(super) fn commit_failure(error: &SinkError, only: Option<HaltAt>) -> Failure {
    let mut failure = sink_failure(error);
    if error.kind == ErrorKind::Poison {
        failure.halt.at = only;
    }
    failure
}

/// A commit's failure as a stable name and a sentence.
pub(super) fn commit_error(error: &CommitError) -> (&'static str, String) {
    let code = match error {
        CommitError::Fenced(_) => "fenced",
        CommitError::Unknown(_) => "commit_unanswered",
        CommitError::Failed(error) => error.code,
    };
    (code, error.to_string())
}

/// Why a chunk has no outcome.
#[derive(Debug)]
pub(super) enum ApplyError {
    /// Its schemas cannot be had.
    Format(FormatError),
    /// The sandbox failed.
    Plugin(PluginError),
}

impl ApplyError {
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Format(error) => Failure { kind: error.kind, halt: error.halt },
            Self::Plugin(error) => plugin_failure(&error),
        }
    }
}

/// What is wrong with one event.
#[derive(Debug)]
pub(super) enum Fault {
    /// It cannot be handed to the plugin.
    Format(Undecodable),
    /// The plugin's word, or what it did.
    Plugin(EventFault),
}

impl Fault {
    /// The name that metrics count it under.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Format(_) => "undecodable",
            Self::Plugin(fault) => fault_name(fault.kind),
        }
    }

    pub(super) fn halt(&self, partition: &TopicPartition, event: &Event) -> Halt {
        match self {
            Self::Format(Undecodable { reason, remedy }) => Halt {
                code: "event_undecodable",
                reason: reason.clone(),
                remedy: remedy.clone(),
                at: at(partition, event),
            },
            Self::Plugin(fault) => event_halt(partition, event, fault),
        }
    }
}

fn plugin_failure(error: &PluginError) -> Failure {
    let remedy = "mend the plugin and put the build into plugins/, or raise the limit that the message names and restart the engine".to_owned();
    Failure { kind: error.kind, halt: Halt { code: error.code, reason: error.message.clone(), remedy, at: None } }
}

pub(super) fn internal_error(error: &impl std::fmt::Display) -> Halt {
    let remedy = "restart the engine, and report this: it is a fault of Laterna".to_owned();
    Halt { code: "internal_error", reason: error.to_string(), remedy, at: None }
}

fn fault_name(kind: EventFaultKind) -> &'static str {
    match kind {
        EventFaultKind::Rejected => "rejected",
        EventFaultKind::Halted => "halted",
        EventFaultKind::Trapped => "trapped",
        EventFaultKind::Invalid => "invalid",
    }
}

pub(super) fn at(partition: &TopicPartition, event: &Event) -> Option<HaltAt> {
    Some(HaltAt {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        offset: event.offset,
        key: event.key_for_people(),
    })
}

fn event_halt(partition: &TopicPartition, event: &Event, fault: &EventFault) -> Halt {
    let (code, remedy) = match fault.kind {
        EventFaultKind::Rejected => (
            "event_rejected",
            "correct what writes such events, or let a new build of the plugin take it: put the build into plugins/",
        ),
        EventFaultKind::Halted => {
            ("projection_halted", "the plugin asked for it: do what its reason says, then restart the projection")
        }
        EventFaultKind::Trapped => {
            ("event_trapped", "mend the plugin where the reason points, and put the build into plugins/")
        }
        EventFaultKind::Invalid => {
            ("event_invalid", "mend the plugin: what it returned for this event does not fit its descriptor or limits")
        }
    };
    Halt { code, reason: fault.reason.clone(), remedy: remedy.to_owned(), at: at(partition, event) }
}

pub(super) fn change_halt(partition: &TopicPartition, event: &Event, error: &str) -> Halt {
    let remedy = "mend the plugin so that it checks this value (and rejects the event with its own reason), or correct the event at its source";
    Halt { code: "change_rejected", reason: error.to_owned(), remedy: remedy.to_owned(), at: at(partition, event) }
}

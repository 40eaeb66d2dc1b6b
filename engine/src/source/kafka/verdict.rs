//! What an error or a look at the cluster means. Pure: no clock, no I/O.
//!
//! The log can betray (reliability.md, R15-R18, R20, R21, R30); each betrayal has a name, and none is ever skipped over.

use std::collections::BTreeMap;

use rdkafka::error::RDKafkaErrorCode as Code;

use super::super::{SourceError, SourceEvent};
use super::raw::Failure;
use super::transient;
use crate::error::{ErrorKind, Halt, HaltAt};
use crate::event::TopicPartition;

/// What librdkafka's error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The position is not in the log: look at its bounds, then judge.
    OutOfRange,
    /// The log was cut behind the position and may have been written anew.
    Truncated,
    /// A batch can't be read.
    Corrupt,
    /// The group says no.
    GroupRefused,
    /// The broker says no, or one of us does not trust the other.
    Refused,
    /// No broker answers.
    Disconnected,
    /// The topic is not there (now).
    TopicMissing,
    /// librdkafka gets over it by itself.
    Passing,
}

/// What an error means.
pub(super) fn meaning(failure: &Failure) -> Meaning {
    match failure.code {
        // With `auto.offset.reset=error` all causes end in one code, and only the text tells them apart.
        Code::AutoOffsetReset if failure.text.contains("truncat") => Meaning::Truncated,
        Code::LogTruncation => Meaning::Truncated,
        Code::AutoOffsetReset | Code::OffsetOutOfRange => Meaning::OutOfRange,
        Code::BadMessage
        | Code::InvalidMessage
        | Code::InvalidMessageSize
        | Code::BadCompression
        | Code::UnsupportedCompressionType => Meaning::Corrupt,
        Code::GroupAuthorizationFailed => Meaning::GroupRefused,
        Code::Authentication
        | Code::SSL
        | Code::SaslAuthenticationFailed
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed => Meaning::Refused,
        Code::AllBrokersDown => Meaning::Disconnected,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => Meaning::TopicMissing,
        _ => Meaning::Passing,
    }
}

/// What is known of a partition whose position may not be in its log.
#[derive(Clone, Debug)]
pub(super) struct Evidence<'a> {
    pub(super) partition: &'a TopicPartition,
    /// The first event not yet read.
    pub(super) position: i64,
    pub(super) start: i64,
    pub(super) end: i64,
    /// The topic's id when the partition was taken over, and now.
    pub(super) id_then: Option<&'a str>,
    pub(super) id_now: Option<&'a str>,
}

/// The name of the betrayal, or none where the position is in the log.
pub(super) fn judge(evidence: &Evidence<'_>) -> Option<SourceError> {
    let Evidence { partition, position, start, end, id_then, id_now } = *evidence;
    if let (Some(then), Some(now)) = (id_then, id_now)
        && then != now
    {
        return Some(recreated(partition, position, &format!("its id was {then} and is {now}")));
    }
    if position < start {
        let reason = format!(
            "{partition}: the log now begins at offset {start}, and events {position} to {} were removed before they were read",
            start - 1
        );
        let remedy = "rebuild the projection, or accept the gap; give the topic a longer retention";
        return Some(halt("retention_gap", partition, position, reason, remedy));
    }
    if position > end {
        let reason =
            format!("{partition}: the next event to read is {position}, but the log ends at {end}: events were lost");
        let remedy = "restore the topic, or rebuild the projection from what is left";
        return Some(halt("offset_beyond_end", partition, position, reason, remedy));
    }
    None
}

/// The topic is another one than the one that was read.
pub(super) fn recreated(partition: &TopicPartition, position: i64, what: &str) -> SourceError {
    let reason = format!("topic {} was deleted and created anew: {what}", partition.topic);
    halt("topic_recreated", partition, position, reason, "rebuild the projection from the new topic")
}

/// The log was cut and possibly written anew.
pub(super) fn truncated(partition: &TopicPartition, position: i64, text: &str) -> SourceError {
    let reason = format!("{partition}: the log was cut before offset {position} by a change of leader: {text}");
    halt("log_truncated", partition, position, reason, "rebuild the projection: its rows may hold events that are gone")
}

/// A batch can't be read.
pub(super) fn corrupt(partition: &TopicPartition, position: i64, text: &str) -> SourceError {
    let reason = format!("{partition}: a batch at or after offset {position} can't be read: {text}");
    halt(
        "log_corrupt",
        partition,
        position,
        reason,
        "check the broker's disk and the network; restore the topic's replica",
    )
}

/// An offset that not every plugin could be given exactly.
pub(super) fn too_large(partition: &TopicPartition, offset: i64) -> SourceError {
    let reason = format!("{partition}: offset {offset} is above 2^53 - 1");
    halt("offset_too_large", partition, offset, reason, "move the topic's events to a new topic")
}

fn halt(
    code: &'static str,
    partition: &TopicPartition,
    offset: i64,
    reason: String,
    remedy: impl Into<String>,
) -> SourceError {
    let at = HaltAt { topic: partition.topic.to_string(), partition: partition.partition, offset, key: None };
    SourceError { kind: ErrorKind::Fatal, halt: Halt { code, reason, remedy: remedy.into(), at: Some(at) } }
}

/// What a transient failure is about; each is raised and cleared by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    Brokers,
    Rights,
    Group,
    Topics,
    Consumer,
}

/// The transient failures that stand, told once each.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<About, SourceError>);

impl Troubles {
    /// Something does not work; the news, unless it's known already.
    pub(super) fn raise(&mut self, about: About, error: SourceError) -> Option<SourceEvent> {
        let known = self.0.insert(about, error.clone());
        let news = known.is_none_or(|known| known.halt.code != error.halt.code);
        news.then_some(SourceEvent::Failed(error))
    }

    /// It works (again); the news, if it did not before: what still does not work, or that all does.
    pub(super) fn clear(&mut self, about: About) -> Option<SourceEvent> {
        self.0.remove(&about)?;
        Some(self.0.values().next().map_or(SourceEvent::Recovered, |other| SourceEvent::Failed(other.clone())))
    }

    /// Whether something about it does not work.
    pub(super) fn stands(&self, about: About) -> bool {
        self.0.contains_key(&about)
    }
}

/// The transient failure that an error stands for, where it stands for one.
pub(super) fn trouble(failure: &Failure, servers: &str, last: Option<&str>) -> Option<(About, SourceError)> {
    let said = if failure.text.is_empty() { failure.code.to_string() } else { failure.text.clone() };
    match meaning(failure) {
        Meaning::Disconnected => Some((About::Brokers, disconnected(servers, last.unwrap_or(&said)))),
        Meaning::GroupRefused => Some((
            About::Group,
            transient(
                "unauthorised",
                format!("kafka at {servers} refuses the group: {said}"),
                "grant READ on the group",
            ),
        )),
        Meaning::Refused => {
            let remedy = "check the credentials in [kafka.properties] and the rights on the topics";
            Some((About::Rights, transient("unauthorised", format!("kafka at {servers} refuses us: {said}"), remedy)))
        }
        _ => None,
    }
}

/// No broker answers.
pub(super) fn disconnected(servers: &str, said: &str) -> SourceError {
    let remedy = "start the broker, or correct `bootstrap_servers` in [kafka]; the connection is tried on and on";
    transient("disconnected", format!("kafka at {servers} does not answer: {said}"), remedy)
}

/// Topics that are not there.
pub(super) fn missing(servers: &str, topics: &[String]) -> SourceError {
    let reason = format!("kafka at {servers} has no topic {}", topics.join(", "));
    transient("topic_missing", reason, "create it; it is read as soon as it is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(position: i64, start: i64, end: i64, ids: (Option<&str>, Option<&str>)) -> Option<&'static str> {
        let partition = TopicPartition::new("t", 3);
        let evidence = Evidence { partition: &partition, position, start, end, id_then: ids.0, id_now: ids.1 };
        judge(&evidence).map(|error| error.halt.code)
    }

    #[test]
    fn a_position_in_the_log_is_well_and_each_betrayal_has_its_name() {
        let same = (Some("a"), Some("a"));
        for position in [5, 7, 9] {
            assert_eq!(verdict(position, 5, 9, same), None);
        }
        assert_eq!(verdict(4, 5, 9, same), Some("retention_gap"));
        assert_eq!(verdict(10, 5, 9, same), Some("offset_beyond_end"));
        // Another topic explains all else, also where the position happens to be in its log.
        for position in [4, 7, 10] {
            assert_eq!(verdict(position, 5, 9, (Some("a"), Some("b"))), Some("topic_recreated"));
        }
        // A broker without ids proves nothing.
        assert_eq!(verdict(7, 5, 9, (Some("a"), None)), None);
        assert_eq!(verdict(7, 5, 9, (None, Some("b"))), None);
    }

    #[test]
    fn a_retention_gap_names_the_first_and_the_last_lost_event() {
        let partition = TopicPartition::new("t", 3);
        let evidence = Evidence { partition: &partition, position: 4, start: 9, end: 9, id_then: None, id_now: None };
        let halt = judge(&evidence).unwrap().halt;
        assert!(halt.reason.contains("4 to 8"), "{halt}");
        assert_eq!(halt.at.unwrap().offset, 4);
    }

    #[test]
    fn truncation_is_told_from_retention_by_its_text() {
        let failure = |text: &str| Failure { code: Code::AutoOffsetReset, text: text.into() };
        assert_eq!(meaning(&failure("Partition log truncation detected at ..")), Meaning::Truncated);
        assert_eq!(meaning(&failure("fetch failed: Broker: Offset out of range")), Meaning::OutOfRange);
    }

    #[test]
    fn a_trouble_is_told_once_and_recovery_when_the_last_one_goes() {
        let mut troubles = Troubles::default();
        let code = |event: Option<SourceEvent>| match event {
            Some(SourceEvent::Failed(error)) => error.halt.code,
            Some(SourceEvent::Recovered) => "recovered",
            None => "nothing",
            Some(_) => "?",
        };
        assert_eq!(code(troubles.clear(About::Brokers)), "nothing");
        assert_eq!(code(troubles.raise(About::Topics, missing("k", &["t".into()]))), "topic_missing");
        assert_eq!(code(troubles.raise(About::Brokers, disconnected("k", "refused"))), "disconnected");
        assert_eq!(code(troubles.raise(About::Brokers, disconnected("k", "timed out"))), "nothing");
        assert_eq!(code(troubles.clear(About::Brokers)), "topic_missing");
        assert_eq!(code(troubles.clear(About::Topics)), "recovered");
    }
}

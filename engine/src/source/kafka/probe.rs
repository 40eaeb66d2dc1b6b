//! Single looks at the cluster, without a group: whether it answers, how far its logs reach, a few events of one.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::super::SourceError;
use super::raw::Failure;
use super::{KafkaSettings, base_config, config_error, fatal, transient, verdict};
use crate::checkpoint::LogBounds;
use crate::event::{Event, Header, TopicPartition};

/// How long the brokers have to answer, for all questions together.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// How long they have to tell how far all partitions reach.
const BOUNDS_MAX: Duration = Duration::from_secs(20);

/// Keeps what the client said last, since the call itself only says that time has passed.
#[derive(Default)]
struct Ear(Mutex<Option<Failure>>);

impl ClientContext for Ear {
    // Never asked for; the default would decode them.
    fn stats_raw(&self, _statistics: &[u8]) {}

    fn log(&self, _: RDKafkaLogLevel, fac: &str, text: &str) {
        tracing::debug!(target: "librdkafka", "{fac} {text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // `all brokers down` says less than what came before it.
        if heard.is_none() || code != RDKafkaErrorCode::AllBrokersDown {
            *heard = Some(Failure { code, text: reason.to_owned() });
        }
    }
}

impl ConsumerContext for Ear {}

/// Looks whether the brokers answer and what they have of the topics, within about 5 s. The text is for people, a line a topic.
///
/// # Errors
/// The brokers do not answer, refuse us, or lack a topic (all transient), or the configuration is wrong (fatal).
pub async fn probe(settings: &KafkaSettings) -> Result<String, SourceError> {
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || look(&settings)).await.unwrap_or_else(|error| {
        Err(fatal("probe_failed", format!("the look at kafka broke off: {error}"), "report this"))
    })
}

fn look(settings: &KafkaSettings) -> Result<String, SourceError> {
    let servers = &settings.bootstrap_servers;
    let consumer = consumer(settings)?;
    let until = Instant::now() + PROBE_MAX;
    let (mut lines, mut missing) = (Vec::new(), Vec::new());
    for topic in &settings.topics {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let metadata = consumer.fetch_metadata(Some(topic), left).map_err(|error| {
            // What the client has to say about it waits to be polled; without a group there are no records to lose.
            while consumer.poll(Duration::ZERO).is_some() {}
            unanswered(servers, &error, consumer.context())
        })?;
        if lines.is_empty() {
            lines.push(format!("kafka at {servers}: {} broker(s)", metadata.brokers().len()));
        }
        for found in metadata.topics().iter().filter(|found| found.name() == topic) {
            match found.error().map(RDKafkaErrorCode::from) {
                None => lines.push(format!("topic {topic}: {} partition(s)", found.partitions().len())),
                Some(code) => {
                    let failure = Failure { code, text: format!("topic {topic}: {code}") };
                    if let Some((_, error)) = verdict::trouble(&failure, servers, None) {
                        return Err(error);
                    }
                    missing.push(topic.clone());
                }
            }
        }
    }
    if missing.is_empty() { Ok(lines.join("\n")) } else { Err(verdict::missing(servers, &missing)) }
}

/// How far the logs of all topics reach: first offsets and ends of visible records.
///
/// # Errors
/// As for [`probe`].
pub async fn bounds(settings: &KafkaSettings) -> Result<Vec<LogBounds>, SourceError> {
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || measure(&settings)).await.unwrap_or_else(|error| {
        Err(fatal("probe_failed", format!("the look at kafka broke off: {error}"), "report this"))
    })
}

fn measure(settings: &KafkaSettings) -> Result<Vec<LogBounds>, SourceError> {
    let servers = &settings.bootstrap_servers;
    let consumer = consumer(settings)?;
    let until = Instant::now() + BOUNDS_MAX;
    let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let failed = |error: KafkaError| {
        while consumer.poll(Duration::ZERO).is_some() {}
        unanswered(servers, &error, consumer.context())
    };
    let mut found = Vec::new();
    for topic in &settings.topics {
        let metadata = consumer.fetch_metadata(Some(topic), left()).map_err(failed)?;
        let partitions: Vec<i32> = metadata
            .topics()
            .iter()
            .filter(|found| found.name() == topic)
            .flat_map(|found| found.partitions().iter().map(|partition| partition.id()))
            .collect();
        if partitions.is_empty() {
            return Err(verdict::missing(servers, std::slice::from_ref(topic)));
        }
        for partition in partitions {
            // With `isolation.level=read_committed` the end is the last stable offset.
            let (start, end) = consumer.fetch_watermarks(topic, partition, left()).map_err(failed)?;
            let partition = TopicPartition::new(topic.as_str(), partition);
            found.push(LogBounds { partition, start, end, topic_id: None });
        }
    }
    Ok(found)
}

/// Up to `count` events of one partition from `offset` on; fewer where the log ends or the brokers are slow.
///
/// # Errors
/// As for [`probe`].
pub async fn read_range(
    settings: &KafkaSettings,
    partition: &TopicPartition,
    offset: i64,
    count: usize,
) -> Result<Vec<Event>, SourceError> {
    let (settings, partition) = (settings.clone(), partition.clone());
    tokio::task::spawn_blocking(move || read(&settings, &partition, offset, count)).await.unwrap_or_else(|error| {
        Err(fatal("probe_failed", format!("the look at kafka broke off: {error}"), "report this"))
    })
}

fn read(
    settings: &KafkaSettings,
    partition: &TopicPartition,
    offset: i64,
    count: usize,
) -> Result<Vec<Event>, SourceError> {
    let servers = &settings.bootstrap_servers;
    let consumer = consumer(settings)?;
    let until = Instant::now() + PROBE_MAX;
    let failed = |error: KafkaError| unanswered(servers, &error, consumer.context());
    let (_, end) = consumer.fetch_watermarks(&partition.topic, partition.partition, PROBE_MAX).map_err(failed)?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset)).map_err(failed)?;
    consumer.assign(&from).map_err(failed)?;
    let mut events = Vec::new();
    while events.len() < count && Instant::now() < until {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let event = to_event(&message);
                let last = event.offset + 1 >= end;
                events.push(event);
                if last {
                    break;
                }
            }
            Some(Err(error)) => return Err(failed(error)),
            None if offset >= end => break,
            None => {}
        }
    }
    Ok(events)
}

fn to_event(message: &impl Message) -> Event {
    let headers = message.headers().map(|headers| {
        let header = |header: rdkafka::message::Header<'_, &[u8]>| Header {
            name: header.key.to_owned(),
            value: header.value.map(<[u8]>::to_vec),
        };
        headers.iter().map(header).collect()
    });
    Event {
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

fn consumer(settings: &KafkaSettings) -> Result<BaseConsumer<Ear>, SourceError> {
    let mut config = base_config(settings)?;
    // Named, because librdkafka reads nothing without; never joined.
    config.set("group.id", &settings.group_id);
    config.set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "error");
    config.set("isolation.level", "read_committed");
    BaseConsumer::from_config_and_context(&config, Ear::default()).map_err(|error| config_error(&error))
}

fn unanswered(servers: &str, error: &KafkaError, ear: &Ear) -> SourceError {
    let heard = ear.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(failure) = &heard
        && let Some((_, refused)) = verdict::trouble(failure, servers, Some(&failure.text))
    {
        return refused;
    }
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::BrokerTransportFailure) | None => {
            let said = heard.map_or_else(|| error.to_string(), |failure| failure.text);
            verdict::disconnected(servers, &said)
        }
        Some(code) => transient("disconnected", format!("kafka at {servers} says: {code}"), "check the broker's log"),
    }
}

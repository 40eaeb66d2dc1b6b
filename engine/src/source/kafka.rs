//! Kafka. Hides the consumer group, librdkafka and its thread.
//!
//! One thread owns the consumer and polls it whatever the database does, so the membership of the group stays. Rebalances
//! are answered at once with an assignment of nothing: which partitions are read, and from where, is decided by the
//! runner's reply alone, which the thread turns into `incremental_assign` with numeric offsets. So neither a slow database nor a
//! restart holds up the group, and assigning, restarting, and stopping for want of room are one mechanism: the thread
//! compares what is read with what is wished (`buffer.rs`). Nothing is ever paused, sought, or read from a queue of its own:
//! those have open bugs in librdkafka (reliability.md, R07).

#[cfg(all(test, feature = "external-tests"))]
mod broker_tests;
mod probe;
mod raw;
mod reader;
mod verdict;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;

use super::buffer::{Outlet, Shared};
use super::{LogEnd, Source, SourceError, SourceEvent};
use crate::error::{ErrorKind, Halt};
use crate::event::{EventBatch, TopicPartition};

pub use probe::{bounds, probe, read_range};

/// How long leaving the group and closing may take before the thread is left to itself.
const CLOSE_MAX: Duration = Duration::from_millis(4500);

/// How a projection generation reads Kafka.
#[derive(Clone)]
pub struct KafkaSettings {
    /// `HOST:PORT`, several with commas.
    pub bootstrap_servers: String,
    /// The consumer group: instances that share it share the partitions.
    pub group_id: String,
    /// Names of the topics, at least one.
    pub topics: Vec<String>,
    /// One instance of the group reads everything: the owner of the first topic's partition 0.
    pub serial: bool,
    /// Bytes of events that are buffered, of all partitions together. librdkafka holds up to about 16 MiB beside it.
    pub buffer_bytes_max: usize,
    /// Passed to librdkafka as they are; see [`check_properties`]. May hold secrets, and is never shown.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSettings")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("group_id", &self.group_id)
            .field("topics", &self.topics)
            .field("serial", &self.serial)
            .field("buffer_bytes_max", &self.buffer_bytes_max)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

/// The properties that a user can't set, with the reason.
const OWNED: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "the engine never creates topics"),
    ("auto.commit.enable", "checkpoints live in the database; the engine mirrors them to the group itself"),
    ("auto.offset.reset", "the engine starts from its own checkpoints and never skips"),
    ("bootstrap.servers", "set `bootstrap_servers` in [kafka]"),
    ("check.crcs", "a corrupt batch must be seen"),
    ("enable.auto.commit", "checkpoints live in the database; the engine mirrors them to the group itself"),
    ("enable.auto.offset.store", "checkpoints live in the database"),
    ("enable.partition.eof", "checkpoints move over transaction markers by it"),
    ("group.id", "the group is named after the projection; set `group_prefix` in [kafka]"),
    ("group.protocol", "the classic protocol is the one that works with this librdkafka"),
    ("group.remote.assignor", "partitions move with cooperative-sticky"),
    ("isolation.level", "aborted records must not reach a projection"),
    ("metadata.broker.list", "set `bootstrap_servers` in [kafka]"),
    ("partition.assignment.strategy", "partitions move with cooperative-sticky"),
    ("plugin.library.paths", "no foreign code is loaded into the engine"),
    ("queued.max.messages.kbytes", "memory is bounded; set `buffer` in [kafka]"),
    ("statistics.interval.ms", "the engine needs them once a second"),
    ("topic.blacklist", "a projection reads the topics that it names"),
];

/// Refuses the properties that the engine owns.
///
/// # Errors
/// One sentence for each of them, with the reason.
pub fn check_properties<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<(), Vec<String>> {
    let refused: Vec<String> = keys
        .into_iter()
        .filter_map(|key| OWNED.iter().find(|(owned, _)| *owned == key.trim()))
        .map(|(key, reason)| format!("{key} can't be set: {reason}"))
        .collect();
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

/// What the runner's side and the reader's thread share beside the buffers.
struct Link {
    settings: KafkaSettings,
    shared: Arc<Shared>,
    /// Checkpoints that were not mirrored yet.
    mirror: Mutex<BTreeMap<TopicPartition, i64>>,
    closing: AtomicBool,
    /// Events that the client delivered again below the expected offset, and that were dropped.
    repeats: AtomicU64,
}

impl Link {
    fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.shared.wake();
    }
}

/// Kafka as a source of one projection generation.
pub struct KafkaSource {
    link: Arc<Link>,
    outlet: Outlet,
    closed: Option<oneshot::Receiver<()>>,
}

impl KafkaSource {
    /// Starts the thread that reads. A broker that does not answer is no error: it is waited for, and told as
    /// [`SourceEvent::Failed`].
    ///
    /// # Errors
    /// Fatal ones: a property that the engine owns or that librdkafka refuses, no topic, no thread.
    pub fn start(settings: KafkaSettings) -> Result<Self, SourceError> {
        if settings.topics.is_empty() {
            return Err(fatal("no_topics", "the projection names no topic", "name at least one topic in the plugin"));
        }
        let config = client_config(&settings)?;
        // librdkafka looks at the values only when a client is made; made here, so that a wrong one is told at once.
        let first = reader::connect(&config)?;
        let (shared, outlet) = Shared::new(settings.buffer_bytes_max);
        let link = Arc::new(Link {
            settings,
            shared,
            mirror: Mutex::default(),
            closing: AtomicBool::new(false),
            repeats: AtomicU64::new(0),
        });
        let (done, closed) = oneshot::channel();
        let reader_link = link.clone();
        let name = format!("kafka {}", link.settings.group_id);
        std::thread::Builder::new()
            .name(name.chars().filter(|c| *c != '\0').collect())
            .spawn(move || {
                reader::run(&reader_link, &config, first);
                // Nobody waits for it when the source was dropped and not closed.
                done.send(()).ok();
            })
            .map_err(|error| fatal("no_thread", format!("no thread for the consumer: {error}"), "raise the limits"))?;
        Ok(Self { link, outlet, closed: Some(closed) })
    }

    /// Events that the client delivered again below the expected offset, and that were dropped.
    pub fn repeats(&self) -> u64 {
        self.link.repeats.load(Ordering::Relaxed)
    }
}

impl Source for KafkaSource {
    fn next(&mut self) -> BoxFuture<'_, SourceEvent> {
        Box::pin(self.outlet.next())
    }

    fn take(
        &mut self,
        partition: &TopicPartition,
        events_max: usize,
        bytes_max: usize,
        before: i64,
    ) -> Option<EventBatch> {
        self.outlet.take(partition, events_max, bytes_max, before)
    }

    fn restart(&mut self, partition: &TopicPartition, offset: i64) {
        self.outlet.redirect(partition, Some(offset));
    }

    fn release(&mut self, partition: &TopicPartition) {
        self.outlet.redirect(partition, None);
    }

    fn committed(&mut self, checkpoints: &[(TopicPartition, i64)]) {
        let mut mirror = self.link.mirror.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, offset) in checkpoints {
            mirror.insert(partition.clone(), *offset);
        }
    }

    fn ends(&self) -> Vec<LogEnd> {
        self.outlet.ends()
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        let closed = self.closed.take();
        self.link.close();
        Box::pin(async move {
            let Some(closed) = closed else { return };
            if tokio::time::timeout(CLOSE_MAX, closed).await.is_err() {
                tracing::warn!(
                    group = self.link.settings.group_id,
                    "the consumer did not close in time; left to itself"
                );
            }
        })
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.link.close();
    }
}

/// The librdkafka configuration without a group: what a consumer and a probe share.
fn base_config(settings: &KafkaSettings) -> Result<ClientConfig, SourceError> {
    check_properties(settings.properties.keys().map(String::as_str))
        .map_err(|refused| fatal("bad_kafka_property", refused.join("; "), "remove it from [kafka.properties]"))?;
    let mut config = ClientConfig::new();
    // Defaults that a user may change.
    for (key, value) in [
        ("client.id", "laterna"),
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "2000"),
        ("topic.metadata.refresh.interval.ms", "10000"),
        // A fetch that waits also delays the fetch of a partition that was just assigned or restarted.
        ("fetch.wait.max.ms", "100"),
        ("fetch.max.bytes", "4194304"),
        ("max.partition.fetch.bytes", "1048576"),
        // The default stops fetching for a second whenever the queue is full, which it is at full speed.
        ("fetch.queue.backoff.ms", "10"),
        ("reconnect.backoff.ms", "100"),
        ("reconnect.backoff.max.ms", "5000"),
        ("socket.keepalive.enable", "true"),
    ] {
        config.set(key, value);
    }
    for (key, value) in &settings.properties {
        config.set(key.trim(), value);
    }
    config.set("bootstrap.servers", &settings.bootstrap_servers);
    config.set("allow.auto.create.topics", "false");
    Ok(config)
}

/// The librdkafka configuration of the consumer.
fn client_config(settings: &KafkaSettings) -> Result<ClientConfig, SourceError> {
    let mut config = base_config(settings)?;
    for (key, value) in [
        ("group.id", settings.group_id.as_str()),
        ("group.protocol", "classic"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("check.crcs", "true"),
        ("isolation.level", "read_committed"),
        ("enable.partition.eof", "true"),
        ("queued.max.messages.kbytes", "4096"),
        ("statistics.interval.ms", "1000"),
    ] {
        config.set(key, value);
    }
    Ok(config)
}

/// An error of librdkafka's about its configuration, without the value: it may be a secret.
fn config_error(error: &KafkaError) -> SourceError {
    let reason = match error {
        KafkaError::ClientConfig(_, what, key, _) => format!("librdkafka refuses {key}: {what}"),
        other => format!("librdkafka refuses the configuration: {other}"),
    };
    fatal("bad_kafka_property", reason, "correct [kafka] or [kafka.properties]")
}

fn fatal(code: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> SourceError {
    let halt = Halt { code, reason: reason.into(), remedy: remedy.into(), at: None };
    SourceError { kind: ErrorKind::Fatal, halt }
}

fn transient(code: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> SourceError {
    let halt = Halt { code, reason: reason.into(), remedy: remedy.into(), at: None };
    SourceError { kind: ErrorKind::Transient, halt }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            bootstrap_servers: "127.0.0.1:1".into(),
            group_id: "laterna.test".into(),
            topics: vec!["orders".into()],
            serial: false,
            buffer_bytes_max: 1 << 20,
            properties: properties.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        }
    }

    #[test]
    fn owned_properties_are_refused_with_the_reason() {
        for (key, reason) in OWNED {
            let error = KafkaSource::start(settings(&[(key, "x")])).err().unwrap();
            assert_eq!((error.kind, error.halt.code), (ErrorKind::Fatal, "bad_kafka_property"));
            assert!(error.halt.reason.contains(key) && error.halt.reason.contains(reason), "{error}");
        }
        assert!(check_properties(["security.protocol", "sasl.username", "fetch.max.bytes"]).is_ok());
    }

    #[test]
    fn a_wrong_property_is_named_and_its_value_is_not_shown() {
        let error = KafkaSource::start(settings(&[("sasl.passwort", "hunter2")])).err().unwrap();
        assert!(error.halt.reason.contains("sasl.passwort") && !error.to_string().contains("hunter2"), "{error}");
        let error = KafkaSource::start(settings(&[("session.timeout.ms", "hunter2")])).err().unwrap();
        assert!(error.halt.reason.contains("session.timeout.ms") && !error.to_string().contains("hunter2"), "{error}");
        assert!(!format!("{:?}", settings(&[("sasl.password", "hunter2")])).contains("hunter2"));
    }

    #[test]
    fn the_clients_own_settings_are_all_known_to_librdkafka() {
        client_config(&settings(&[])).unwrap().create_native_config().unwrap();
    }

    #[tokio::test]
    async fn an_absent_broker_is_told_and_closing_is_bounded() {
        let mut source = Box::new(KafkaSource::start(settings(&[])).unwrap());
        let SourceEvent::Failed(error) = source.next().await else { panic!("expected a failure") };
        assert_eq!((error.kind, error.halt.code), (ErrorKind::Transient, "disconnected"), "{error}");
        assert!(error.halt.reason.contains("127.0.0.1:1"), "{error}");
        let begun = std::time::Instant::now();
        source.close().await;
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

//! The topic as a reader of committed records sees it: the oracle's input. And topics themselves: made, grown, trimmed, deleted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::wait::PATIENCE;

/// One visible record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position in its partition.
    pub offset: i64,
    /// Milliseconds; -1 where it has none.
    pub timestamp_ms: i64,
    /// None: no key.
    pub key: Option<Vec<u8>>,
    /// None: a tombstone.
    pub value: Option<Vec<u8>>,
    /// In the record's order; a value may be null.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Self {
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

/// What has been read of a topic so far; asked for more, it reads on.
pub struct KafkaLog {
    consumer: BaseConsumer,
    topic: String,
    partitions: BTreeMap<i32, Partition>,
}

#[derive(Default)]
struct Partition {
    records: Vec<Record>,
    /// Every visible record below it is in `records`.
    complete_to: i64,
}

impl KafkaLog {
    /// A log of which nothing has been read.
    ///
    /// # Panics
    /// The client cannot be made.
    pub fn new(bootstrap: &str, topic: &str) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "laterna-tests-oracle")
            .set("enable.auto.commit", "false");
        config
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest");
        config.set("fetch.wait.max.ms", "10").set("reconnect.backoff.max.ms", "500").set("check.crcs", "true");
        // What the tests do to the broker makes it talk; what matters is asserted.
        config.set("log_level", "0");
        Self { consumer: config.create().expect("consumer"), topic: topic.to_owned(), partitions: BTreeMap::new() }
    }

    /// The visible records of a partition from `from` up to (not including) `to`. `to` must be stable by now: a
    /// reader somewhere has come so far.
    pub fn range(&mut self, partition: i32, from: i64, to: i64) -> &[Record] {
        if self.partitions.get(&partition).is_none_or(|known| known.complete_to < to) {
            self.read(&[(partition, to)]);
        }
        let records = &self.partitions[&partition].records;
        let at = |offset: i64| records.partition_point(|record| record.offset < offset);
        &records[at(from)..at(to)]
    }

    /// Reads everything that is visible now: of each partition the offset after its last visible record.
    pub fn ends(&mut self) -> BTreeMap<i32, i64> {
        let count = partition_count(&self.consumer, &self.topic);
        let all: Vec<(i32, i64)> = (0..count).map(|partition| (partition, i64::MAX)).collect();
        self.read(&all);
        let end = |partition: &i32| self.partitions[partition].records.last().map_or(0, |record| record.offset + 1);
        (0..count).map(|partition| (partition, end(&partition))).collect()
    }

    /// All that has been read of a partition.
    pub fn known(&self, partition: i32) -> &[Record] {
        self.partitions.get(&partition).map_or(&[], |known| &known.records)
    }

    /// Reads each partition up to an offset or to the end of what is visible, whichever comes first.
    ///
    /// A new assignment fetches anew: the end that it then meets lies at or after the present one.
    fn read(&mut self, wanted: &[(i32, i64)]) {
        let mut list = TopicPartitionList::new();
        let mut open = BTreeMap::new();
        for &(partition, to) in wanted {
            let known = self.partitions.entry(partition).or_default();
            list.add_partition_offset(&self.topic, partition, Offset::Offset(known.complete_to)).expect("add");
            open.insert(partition, to);
        }
        self.consumer.assign(&list).expect("assign");
        let begin = Instant::now();
        while !open.is_empty() {
            assert!(begin.elapsed() < PATIENCE, "reading {} up to {open:?} takes more than {PATIENCE:?}", self.topic);
            match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    let known = self.partitions.entry(message.partition()).or_default();
                    if message.offset() >= known.complete_to {
                        known.records.push(Record::from(&message));
                        known.complete_to = message.offset() + 1;
                    }
                    if open.get(&message.partition()).is_some_and(|&to| known.complete_to >= to) {
                        open.remove(&message.partition());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(to) = open.remove(&partition).filter(|&to| to != i64::MAX) {
                        let known = self.partitions.entry(partition).or_default();
                        known.complete_to = known.complete_to.max(to);
                    }
                }
                // The broker may be down on purpose: the client goes on trying, and the loop has an end.
                Some(Err(_)) | None => {}
            }
        }
        self.consumer.unassign().expect("unassign");
    }
}

fn partition_count(client: &BaseConsumer, topic: &str) -> i32 {
    crate::wait::until("the topic's metadata", PATIENCE, || {
        let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(5)).map_err(|error| error.to_string())?;
        match metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none()) {
            Some(found) if !found.partitions().is_empty() => Ok(found.partitions().len() as i32),
            _ => Err(format!("no topic {topic}")),
        }
    })
}

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", bootstrap).set("log_level", "0").create().expect("admin client")
}

/// The client answers from its own thread; waiting for it needs no runtime.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    crate::wait::until("the broker to answer the admin client", PATIENCE, || {
        (&mut future).now_or_never().ok_or_else(|| "nothing".to_owned())
    })
}

fn options() -> AdminOptions {
    let time = Some(Duration::from_secs(30));
    AdminOptions::new().operation_timeout(time).request_timeout(time)
}

/// Makes a topic, with settings of its own (`cleanup.policy`, ..), and waits until it is there.
///
/// # Panics
/// The broker refuses.
pub fn create_topic(bootstrap: &str, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        new = new.set(key, value);
    }
    let admin = admin(bootstrap);
    for result in wait_for(admin.create_topics([&new], &options())).expect("create a topic") {
        result.expect("create a topic");
    }
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("log_level", "0").create().expect("client");
    partition_count(&client, topic);
}

/// Deletes a topic and waits until it is gone.
///
/// # Panics
/// The broker refuses.
pub fn delete_topic(bootstrap: &str, topic: &str) {
    for result in wait_for(admin(bootstrap).delete_topics(&[topic], &options())).expect("delete a topic") {
        result.expect("delete a topic");
    }
    crate::wait::until("the topic to be gone", PATIENCE, || {
        let names = topics(bootstrap)?;
        if names.iter().any(|name| name == topic) { Err(format!("{names:?}")) } else { Ok(()) }
    });
}

fn topics(bootstrap: &str) -> Result<Vec<String>, String> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("log_level", "0")
        .create()
        .map_err(|error| error.to_string())?;
    let metadata = client.fetch_metadata(None, Duration::from_secs(10)).map_err(|error| error.to_string())?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

/// Deletes all topics that are not the broker's own.
///
/// # Errors
/// What the broker said.
pub fn delete_topics(bootstrap: &str) -> Result<(), String> {
    let names: Vec<String> = topics(bootstrap)?.into_iter().filter(|name| !name.starts_with("__")).collect();
    for name in names {
        delete_topic(bootstrap, &name);
    }
    Ok(())
}

/// Raises the number of partitions.
///
/// # Panics
/// The broker refuses.
pub fn add_partitions(bootstrap: &str, topic: &str, total: usize) {
    for result in wait_for(admin(bootstrap).create_partitions(&[NewPartitions::new(topic, total)], &options()))
        .expect("add partitions")
    {
        result.expect("add partitions");
    }
}

/// Deletes the records below an offset, as retention does.
///
/// # Panics
/// The broker refuses.
pub fn delete_records(bootstrap: &str, topic: &str, partition: i32, below: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(below)).expect("add");
    wait_for(admin(bootstrap).delete_records(&list, &options())).expect("delete records");
}

//! Against a real broker, named by `LATERNA_TEST_KAFKA`. Each test makes topics and groups of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::OwnedHeaders;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{KafkaSettings, KafkaSource, probe};
use crate::error::ErrorKind;
use crate::event::{Event, Header, TopicPartition};
use crate::source::{Source as _, SourceError, SourceEvent};

const PATIENCE: Duration = Duration::from_secs(40);

fn servers() -> String {
    std::env::var("LATERNA_TEST_KAFKA").expect("set LATERNA_TEST_KAFKA to the bootstrap servers of a Kafka for tests")
}

/// A name that no other test or run has.
fn fresh(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    format!("{what}-{nanos}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", servers()).create().unwrap()
}

async fn create(topic: &str, partitions: i32) {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for result in admin().create_topics([&new], &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
}

async fn topic(what: &str, partitions: i32) -> String {
    let name = fresh(what);
    create(&name, partitions).await;
    name
}

type Producer = ThreadedProducer<rdkafka::producer::DefaultProducerContext>;

fn producer(transactional: Option<&str>) -> Producer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers()).set("queue.buffering.max.messages", "1000000");
    if let Some(id) = transactional {
        config.set("transactional.id", id);
    }
    config.create().unwrap()
}

fn send(producer: &Producer, topic: &str, partition: i32, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let (key, value) = (format!("key-{number}"), format!("{number:0200}"));
        let mut record = BaseRecord::to(topic).partition(partition).key(&key).payload(&value);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn produce(topic: &str, partition: i32, numbers: std::ops::Range<u32>) {
    let producer = producer(None);
    send(&producer, topic, partition, numbers);
    producer.flush(PATIENCE).unwrap();
}

fn settings(topics: &[&str]) -> KafkaSettings {
    KafkaSettings {
        bootstrap_servers: servers(),
        group_id: fresh("group"),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        serial: false,
        buffer_bytes_max: 32 << 20,
        properties: BTreeMap::new(),
    }
}

/// A runner in small: keeps checkpoints, and checks that what comes follows on them.
struct Runner {
    source: Box<KafkaSource>,
    next: BTreeMap<TopicPartition, i64>,
    held: std::collections::BTreeSet<TopicPartition>,
    ids: BTreeMap<TopicPartition, Option<String>>,
    events: Vec<(TopicPartition, Event)>,
    failed: Vec<SourceError>,
    recovered: usize,
    takes: bool,
}

impl Runner {
    fn new(settings: KafkaSettings) -> Self {
        Self {
            source: Box::new(KafkaSource::start(settings).unwrap()),
            next: BTreeMap::new(),
            held: Default::default(),
            ids: BTreeMap::new(),
            events: Vec::new(),
            failed: Vec::new(),
            recovered: 0,
            takes: true,
        }
    }

    fn take(&mut self) {
        for partition in self.held.clone() {
            while let Some(batch) = self.source.take(&partition, 700, 1 << 20, i64::MAX) {
                let next = self.next.get_mut(&partition).unwrap();
                for event in &batch.events {
                    assert!(event.offset >= *next, "{partition}: {} after {next}", event.offset);
                    *next = event.offset + 1;
                }
                assert!(batch.next_offset >= *next);
                *next = batch.next_offset;
                self.events.extend(batch.events.into_iter().map(|event| (partition.clone(), event)));
            }
        }
    }

    /// Handles news until `done`, and fails where that takes too long.
    async fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        loop {
            if self.takes {
                self.take();
            }
            if done(self) {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain: {what}; next {:?}, failed {:?}",
                self.next,
                self.failed
            );
            let Ok(news) = tokio::time::timeout(Duration::from_millis(50), self.source.next()).await else { continue };
            match news {
                SourceEvent::Assigned { partitions, reply } => {
                    let mut starts = Vec::new();
                    for bounds in partitions {
                        let next = *self.next.entry(bounds.partition.clone()).or_insert(bounds.start);
                        self.ids.insert(bounds.partition.clone(), bounds.topic_id);
                        self.held.insert(bounds.partition.clone());
                        starts.push((bounds.partition, next));
                    }
                    reply.start(starts);
                }
                SourceEvent::Revoked(partitions) => partitions.iter().for_each(|partition| {
                    assert!(self.held.remove(partition), "{partition} was not ours");
                }),
                SourceEvent::Failed(error) => self.failed.push(error),
                SourceEvent::Recovered => self.recovered += 1,
                SourceEvent::Ready => {}
            }
        }
    }

    async fn fatal(&mut self, code: &str) -> SourceError {
        let is = |error: &SourceError| error.kind == ErrorKind::Fatal;
        self.until(code, |runner| runner.failed.iter().any(is)).await;
        let error = self.failed.iter().find(|error| is(error)).unwrap().clone();
        assert_eq!(error.halt.code, code, "{error}");
        error
    }

    fn at(&self, topic: &str, partition: i32) -> i64 {
        self.next.get(&TopicPartition::new(topic, partition)).copied().unwrap_or(-1)
    }

    fn end(&self, topic: &str, partition: i32) -> Option<i64> {
        let at = TopicPartition::new(topic, partition);
        self.source.ends().into_iter().find(|end| end.partition == at)?.end
    }
}

#[tokio::test]
async fn partitions_start_at_the_offsets_given_and_restart_where_told() {
    let topic = topic("starts", 2).await;
    produce(&topic, 0, 0..1000);
    produce(&topic, 1, 0..1000);
    let mut runner = Runner::new(settings(&[&topic]));
    runner.next.insert(TopicPartition::new(&*topic, 0), 400);
    runner.until("both read", |r| r.at(&topic, 0) == 1000 && r.at(&topic, 1) == 1000).await;
    assert_eq!(runner.events.len(), 600 + 1000);
    assert!(runner.ids.values().all(Option::is_some), "a topic id is known: {:?}", runner.ids);
    let at = TopicPartition::new(&*topic, 0);
    for round in 0..200 {
        let offset = (round * 37) % 1000;
        runner.events.clear();
        runner.source.restart(&at, offset);
        runner.next.insert(at.clone(), offset);
        runner.until("restarted", |r| r.at(&topic, 0) == 1000).await;
        assert_eq!(runner.events.first().map(|(_, event)| event.offset), Some(offset));
        assert_eq!(runner.events.len() as i64, 1000 - offset);
    }
    runner.source.release(&at);
    produce(&topic, 0, 1000..1001);
    produce(&topic, 1, 1000..1001);
    runner.until("the other goes on", |r| r.at(&topic, 1) == 1001 && r.end(&topic, 0) == Some(1001)).await;
    assert_eq!(runner.at(&topic, 0), 1000);
    assert_eq!(runner.source.repeats(), 0);
    runner.source.close().await;
}

#[tokio::test]
async fn the_position_moves_over_aborted_records_and_markers() {
    let topic = topic("transactions", 1).await;
    let producer = producer(Some(&topic));
    producer.init_transactions(PATIENCE).unwrap();
    for (numbers, commit) in [(0..10, true), (10..30, false), (30..40, true), (40..50, false)] {
        producer.begin_transaction().unwrap();
        send(&producer, &topic, 0, numbers);
        producer.flush(PATIENCE).unwrap();
        if commit {
            producer.commit_transaction(PATIENCE).unwrap()
        } else {
            producer.abort_transaction(PATIENCE).unwrap()
        }
    }
    let mut runner = Runner::new(settings(&[&topic]));
    // 50 records and 4 markers.
    runner.until("all passed", |r| r.at(&topic, 0) == 54).await;
    assert_eq!(runner.events.len(), 20);
    assert_eq!(runner.end(&topic, 0), Some(54));
    // An open transaction is not the end; its commit moves it.
    producer.begin_transaction().unwrap();
    send(&producer, &topic, 0, 50..51);
    producer.flush(PATIENCE).unwrap();
    produce(&topic, 0, 51..52);
    assert_eq!(runner.end(&topic, 0), Some(54));
    producer.commit_transaction(PATIENCE).unwrap();
    runner.until("the rest", |r| r.at(&topic, 0) == 57).await;
    assert_eq!(runner.events.len(), 22);
    runner.source.close().await;
}

#[tokio::test]
async fn null_empty_and_repeated_are_told_apart() {
    let topic = topic("nulls", 1).await;
    let producer = producer(None);
    let headers = OwnedHeaders::new()
        .insert(rdkafka::message::Header { key: "a", value: Some("1") })
        .insert(rdkafka::message::Header { key: "a", value: None::<&str> })
        .insert(rdkafka::message::Header { key: "b", value: Some("") });
    producer.send(BaseRecord::<str, str>::to(&topic)).unwrap();
    producer.send(BaseRecord::<str, str>::to(&topic).key("").payload("").timestamp(77).headers(headers)).unwrap();
    producer.flush(PATIENCE).unwrap();
    let mut runner = Runner::new(settings(&[&topic]));
    runner.until("both", |r| r.events.len() == 2).await;
    let (first, second) = (&runner.events[0].1, &runner.events[1].1);
    assert_eq!((&first.key, &first.value, first.headers.len()), (&None, &None, 0));
    assert_eq!((&second.key, &second.value, second.timestamp_ms), (&Some(vec![]), &Some(vec![]), 77));
    let header = |name: &str, value: Option<&[u8]>| Header { name: name.into(), value: value.map(<[u8]>::to_vec) };
    assert_eq!(second.headers, [header("a", Some(b"1")), header("a", None), header("b", Some(b""))]);
    runner.source.close().await;
}

#[tokio::test]
async fn memory_and_membership_hold_while_nothing_is_taken() {
    let topic = topic("full", 2).await;
    produce(&topic, 0, 0..30_000);
    produce(&topic, 1, 0..30_000);
    let mut settings = settings(&[&topic]);
    settings.buffer_bytes_max = 1 << 20;
    let mut runner = Runner::new(settings);
    runner.takes = false;
    // Well past the session timeout of 6 s.
    let begun = Instant::now();
    runner
        .until("idle", |r| {
            let bytes = r.source.link.shared.lock().bytes();
            assert!(bytes <= (1 << 20) + (1 << 20) + (64 << 10), "{bytes} bytes are buffered");
            begun.elapsed() > Duration::from_secs(9)
        })
        .await;
    assert_eq!(runner.held.len(), 2, "still a member");
    produce(&topic, 0, 30_000..30_001);
    runner.until("the end is known though nothing is read", |r| r.end(&topic, 0) == Some(30_001)).await;
    runner.takes = true;
    runner.until("all read", |r| r.at(&topic, 0) == 30_001 && r.at(&topic, 1) == 30_000).await;
    assert_eq!(runner.events.len(), 60_001);
    runner.source.close().await;
}

#[tokio::test]
async fn retention_past_the_position_halts_with_the_range() {
    let topic = topic("retention", 1).await;
    produce(&topic, 0, 0..1000);
    let mut runner = Runner::new(settings(&[&topic]));
    runner.until("read", |r| r.at(&topic, 0) == 1000).await;
    let at = TopicPartition::new(&*topic, 0);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(600)).unwrap();
    admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
    runner.source.restart(&at, 200);
    runner.next.insert(at, 200);
    let error = runner.fatal("retention_gap").await;
    assert!(error.halt.reason.contains("200 to 599"), "{error}");
    assert_eq!(runner.at(&topic, 0), 200);
    runner.source.close().await;
}

#[tokio::test]
async fn a_position_past_the_end_halts() {
    let topic = topic("beyond", 1).await;
    produce(&topic, 0, 0..10);
    let mut runner = Runner::new(settings(&[&topic]));
    runner.next.insert(TopicPartition::new(&*topic, 0), 50);
    runner.fatal("offset_beyond_end").await;
    runner.source.close().await;
}

#[tokio::test]
async fn a_topic_created_anew_while_connected_is_noticed() {
    let topic = topic("recreated", 1).await;
    produce(&topic, 0, 0..10);
    let mut runner = Runner::new(settings(&[&topic]));
    runner.until("read", |r| r.at(&topic, 0) == 10).await;
    let old = runner.ids.clone();
    admin().delete_topics(&[&topic], &AdminOptions::new()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    create(&topic, 1).await;
    produce(&topic, 0, 0..20);
    // Either the source sees it, or it's revoked and assigned anew with another id, which the runner's claim refuses.
    let noticed = |r: &Runner| r.failed.iter().any(|e| e.halt.code == "topic_recreated") || r.ids != old;
    runner.until("noticed", noticed).await;
    runner.source.close().await;
}

#[tokio::test]
async fn a_topic_that_appears_and_partitions_that_are_added_are_read() {
    let topic = fresh("later");
    let mut runner = Runner::new(settings(&[&topic]));
    runner.until("missing", |r| r.failed.iter().any(|e| e.halt.code == "topic_missing")).await;
    assert_eq!(probe(&settings(&[&topic])).await.unwrap_err().halt.code, "topic_missing");
    create(&topic, 1).await;
    produce(&topic, 0, 0..10);
    runner.until("read", |r| r.at(&topic, 0) == 10 && r.recovered == 1).await;
    assert!(probe(&settings(&[&topic])).await.unwrap().contains("1 partition(s)"));
    admin().create_partitions([&NewPartitions::new(&topic, 3)], &AdminOptions::new()).await.unwrap();
    produce(&topic, 2, 0..10);
    runner.until("the new ones", |r| r.at(&topic, 2) == 10 && r.held.len() == 3).await;
    runner.source.close().await;
}

#[tokio::test]
async fn two_sources_share_and_hand_over() {
    let topic = topic("shared", 4).await;
    (0..4).for_each(|partition| produce(&topic, partition, 0..100));
    let settings = settings(&[&topic]);
    let mut first = Runner::new(settings.clone());
    first.until("all", |r| r.held.len() == 4 && (0..4).all(|p| r.at(&topic, p) == 100)).await;
    let mut second = Runner::new(settings);
    second.next = first.next.clone();
    let begun = Instant::now();
    while !(first.held.len() == 2 && second.held.len() == 2) {
        assert!(begun.elapsed() < PATIENCE, "{:?} {:?}", first.held, second.held);
        let turn = Instant::now();
        first.until("a turn", |_| turn.elapsed() > Duration::from_millis(60)).await;
        second.until("a turn", |_| turn.elapsed() > Duration::from_millis(120)).await;
    }
    assert!(first.held.is_disjoint(&second.held));
    let kept: Vec<_> = first.next.clone().into_iter().collect();
    first.source.committed(&kept);
    first.source.close().await;
    (0..4).for_each(|partition| produce(&topic, partition, 100..200));
    second.until("all handed over", |r| r.held.len() == 4 && (0..4).all(|p| r.at(&topic, p) == 200)).await;
    assert_eq!(second.events.len(), 400);
    second.source.close().await;
}

#[tokio::test]
async fn a_serial_source_has_all_or_nothing() {
    let (one, two) = (topic("serial-a", 2).await, topic("serial-b", 2).await);
    let mut settings = settings(&[&one, &two]);
    settings.serial = true;
    let mut first = Runner::new(settings.clone());
    first.until("all", |r| r.held.len() == 4).await;
    let mut second = Runner::new(settings);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        let turn = Instant::now();
        first.until("a turn", |_| turn.elapsed() > Duration::from_millis(60)).await;
        second.until("a turn", |_| turn.elapsed() > Duration::from_millis(120)).await;
        assert!(first.held.len() + second.held.len() <= 4 || !first.held.is_disjoint(&second.held));
    }
    assert_eq!(first.held.len() + second.held.len(), 4, "{:?} {:?}", first.held, second.held);
    assert!(first.held.is_empty() || second.held.is_empty());
    let (leaves, mut stays) = if first.held.is_empty() { (second, first) } else { (first, second) };
    leaves.source.close().await;
    stays.until("all taken over", |r| r.held.len() == 4).await;
    produce(&two, 1, 0..5);
    stays.until("read", |r| r.at(&two, 1) == 5).await;
    stays.source.close().await;
}

#[tokio::test]
async fn closing_with_the_broker_gone_is_bounded() {
    // librdkafka's own broker, in this process: one that can be switched off. It has no controller, so looks at topics fail.
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 1, 1).unwrap();
    let mut settings = settings(&["orders"]);
    settings.bootstrap_servers = cluster.bootstrap_servers();
    let mut runner = Runner::new(settings);
    runner.until("told", |r| r.failed.iter().any(|error| error.halt.code == "disconnected")).await;
    cluster.broker_down(1).unwrap();
    let begun = Instant::now();
    runner.source.close().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

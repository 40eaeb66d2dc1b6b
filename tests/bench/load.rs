//! Order events and the topic that holds them. The same numbers give the same bytes, on any machine.

use std::time::Duration;

use laterna_tests::random::Random;
use laterna_tests::wait;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

/// The topic that the benchmarks' plugins read.
pub(crate) const TOPIC: &str = "orders";
/// Its partitions.
pub(crate) const PARTITIONS: u32 = 4;
/// Days and products of the events: 5,000 rows of `daily_sales`.
const DAYS: u64 = 10;
const SKUS: u64 = 500;
const FIRST_DAY_MS: u64 = 1_767_225_600_000;
const DAY_MS: u64 = 86_400_000;
const PRICES: [&str; 5] = ["12.50", "8.99", "0.05", "199.00", "1049.90"];

/// How an event looks.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    /// Length of the value.
    pub(crate) bytes: usize,
    /// Items of the order.
    pub(crate) items: usize,
}

/// The usual event: 2 items, 290 bytes.
pub(crate) const SMALL: Form = Form { bytes: 290, items: 2 };
/// The large one: 8 items, 1,700 bytes.
pub(crate) const LARGE: Form = Form { bytes: 1_700, items: 8 };

/// An order event: what the plugins read, and fields that they do not, filled up to the wanted length.
pub(crate) fn order(id: &str, form: Form, random: &mut Random) -> String {
    use std::fmt::Write as _;
    let at = FIRST_DAY_MS + random.below(DAYS) * DAY_MS + random.below(DAY_MS);
    let customer = random.below(1_000_000);
    let mut json = format!(
        r#"{{"type":"order.placed","order_id":"{id}","customer_id":"c-{customer:06}","placed_at_ms":{at},"currency":"EUR","items":["#
    );
    for item in 0..form.items {
        let (sku, quantity) = (random.below(SKUS), 1 + random.below(8));
        let price = PRICES[random.below(PRICES.len() as u64) as usize];
        let comma = if item == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        write!(json, r#"{comma}{{"sku":"SKU-{sku:04}","quantity":{quantity},"unit_price":"{price}"}}"#)
            .expect("a String");
    }
    json.push_str(r#"],"channel":"web","note":""#);
    let note = "leave at the back door, please; ".bytes().map(char::from).cycle();
    json.extend(note.take(form.bytes.saturating_sub(json.len() + 2)));
    json.push_str("\"}");
    json
}

/// The id of an order.
pub(crate) fn order_id(key: u64) -> String {
    format!("o-{key:08}")
}

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("log_level", "3");
    config
}

/// Makes the topic anew, empty.
pub(crate) async fn recreate_topic(bootstrap: &str) {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create().expect("admin client");
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    // Where there is none yet, that is what was wanted.
    admin.delete_topics(&[TOPIC], &options).await.expect("delete the topic");
    let new = NewTopic::new(TOPIC, PARTITIONS as i32, TopicReplication::Fixed(1));
    wait::until_async("the topic to be made", wait::PATIENCE, async || {
        match admin.create_topics([&new], &options).await {
            Ok(results) => match results.into_iter().next() {
                Some(Ok(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            },
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    let consumer: BaseConsumer = client(bootstrap).create().expect("consumer");
    wait::until("the topic to be there", wait::PATIENCE, || {
        let metadata =
            consumer.fetch_metadata(Some(TOPIC), Duration::from_secs(5)).map_err(|error| error.to_string())?;
        let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
        let led = partitions.iter().filter(|partition| partition.leader() >= 0 && partition.error().is_none()).count();
        if led == PARTITIONS as usize { Ok(()) } else { Err(format!("{led} partitions")) }
    });
}

/// A producer of its own settings.
pub(crate) fn producer(bootstrap: &str, linger_ms: u32) -> BaseProducer {
    let mut config = client(bootstrap);
    config.set("linger.ms", linger_ms.to_string()).set("queue.buffering.max.messages", "1000000");
    config.create().expect("producer")
}

/// Puts one event into its partition: orders are dealt by their number.
pub(crate) fn send(producer: &BaseProducer, number: u64, id: &str, value: &str) {
    let partition = (number % u64::from(PARTITIONS)) as i32;
    let mut record = BaseRecord::to(TOPIC).partition(partition).key(id).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(Duration::from_millis(10));
                record = back;
            }
            Err((error, _)) => panic!("produce: {error}"),
        }
    }
}

/// Fills a new topic with `events` events of `keys` orders.
pub(crate) async fn fill(bootstrap: &str, events: u64, keys: u64) {
    recreate_topic(bootstrap).await;
    let producer = producer(bootstrap, 20);
    let mut random = Random::new(7);
    for _ in 0..events {
        let key = random.below(keys);
        let id = order_id(key);
        send(&producer, key, &id, &order(&id, SMALL, &mut random));
    }
    producer.flush(Duration::from_secs(60)).expect("flush");
    let consumer: BaseConsumer = client(bootstrap).create().expect("consumer");
    let ends = (0..PARTITIONS as i32).map(|partition| {
        consumer.fetch_watermarks(TOPIC, partition, Duration::from_secs(10)).expect("watermarks").1 as u64
    });
    assert_eq!(ends.sum::<u64>(), events, "the topic holds what was sent");
}

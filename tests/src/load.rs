//! Producers: seeded load with a record of what the broker has acknowledged, and transactions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message};

use crate::random::Random;

/// A record to be.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// None: by the key's hash.
    pub partition: Option<i32>,
    /// None: no key.
    pub key: Option<Vec<u8>>,
    /// None: a tombstone.
    pub value: Option<Vec<u8>>,
    /// A value may be null.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Draft {
    /// A record with a key and a text value.
    pub fn text(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: Some(key.into().into_bytes()), value: Some(value.into().into_bytes()), ..Self::default() }
    }

    /// The same in a given partition.
    pub fn at(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// (partition, offset) of what the broker has acknowledged.
type Acknowledged = Arc<Mutex<Vec<(i32, i64)>>>;

#[derive(Clone, Default)]
struct Ledger(Acknowledged);

impl ClientContext for Ledger {}

impl ProducerContext for Ledger {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Ok(message) = result {
            self.0.lock().expect("lock").push((message.partition(), message.offset()));
        }
    }
}

/// A producer to one topic.
pub struct Sender {
    producer: ThreadedProducer<Ledger>,
    ledger: Ledger,
    topic: String,
}

impl Sender {
    /// An idempotent producer.
    pub fn new(bootstrap: &str, topic: &str) -> Self {
        Self::with(bootstrap, topic, &[])
    }

    /// A transactional producer, ready to [`Sender::begin`].
    ///
    /// # Panics
    /// The broker refuses.
    pub fn transactional(bootstrap: &str, topic: &str, id: &str) -> Self {
        let sender = Self::with(
            bootstrap,
            topic,
            &[("transactional.id", id), ("message.timeout.ms", "50000"), ("transaction.timeout.ms", "60000")],
        );
        sender.producer.init_transactions(Duration::from_secs(60)).expect("init transactions");
        sender
    }

    fn with(bootstrap: &str, topic: &str, settings: &[(&str, &str)]) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            .set("log_level", "0");
        config
            .set("message.timeout.ms", "120000")
            .set("reconnect.backoff.max.ms", "500")
            .set("topic.metadata.refresh.interval.ms", "1000");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        let ledger = Ledger::default();
        let producer = ThreadedProducer::from_config_and_context(&config, ledger.clone()).expect("producer");
        Self { producer, ledger, topic: topic.to_owned() }
    }

    /// Hands a record to the client; waits where its queue is full.
    ///
    /// # Panics
    /// The client refuses for another reason.
    pub fn send(&self, draft: &Draft) {
        let headers = draft
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_ref() }));
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.topic).headers(headers);
        record.partition = draft.partition;
        record.key = draft.key.as_deref();
        record.payload = draft.value.as_deref();
        loop {
            match self.producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => panic!("produce to {}: {error}", self.topic),
            }
        }
    }

    /// Waits until the broker has acknowledged everything; gives what it has acknowledged since the beginning.
    ///
    /// # Panics
    /// It has not within two minutes.
    pub fn flush(&self) -> Vec<(i32, i64)> {
        self.producer.flush(Duration::from_secs(120)).expect("flush");
        self.ledger.0.lock().expect("lock").clone()
    }

    /// Begins a transaction.
    ///
    /// # Panics
    /// The client refuses.
    pub fn begin(&self) {
        self.producer.begin_transaction().expect("begin a transaction");
    }

    /// Ends the transaction: commits it, or aborts it.
    ///
    /// # Panics
    /// The broker refuses.
    pub fn end(&self, commit: bool) {
        let time = Duration::from_secs(60);
        if commit {
            self.producer.commit_transaction(time).expect("commit a transaction");
        } else {
            self.flush();
            self.producer.abort_transaction(time).expect("abort a transaction");
        }
    }
}

/// Produces in a thread of its own until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<(i32, i64)>>>,
}

impl Load {
    /// Produces about `rate` records a second, each as `draft` makes it from its number and the seed.
    pub fn start(
        bootstrap: &str,
        topic: &str,
        rate: u64,
        mut random: Random,
        mut draft: impl FnMut(u64, &mut Random) -> Draft + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sender = Sender::new(bootstrap, topic);
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let begin = Instant::now();
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                let due = (begin.elapsed().as_micros() as u64).saturating_mul(rate) / 1_000_000;
                while sent < due {
                    sender.send(&draft(sent, &mut random));
                    sent += 1;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            sender.flush()
        });
        Self { stop, thread: Some(thread) }
    }

    /// Stops, waits for the broker, and gives what it has acknowledged.
    ///
    /// # Panics
    /// The thread has panicked.
    pub fn stop(mut self) -> Vec<(i32, i64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("stopped once").join().expect("the load runs")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

//! How long an event takes from the producer's hand to a row that a reader sees, at a steady rate.

use std::collections::HashMap;
use std::sync::mpsc::{TryRecvError, channel};
use std::time::{Duration, Instant};

use laterna_tests::random::Random;
use rdkafka::producer::Producer;
use sqlx::{Connection, PgConnection};

use crate::load::{self, SMALL};
use crate::timeline::quantile;

/// Events a second.
pub(crate) const RATE: u32 = 1_000;
/// The first events are sent but not counted: connections and caches warm up.
const WARM_UP: u64 = 1_000;
/// The observer's pause between two looks: without one it would take the engine's CPU.
const PAUSE: Duration = Duration::from_micros(500);
/// How long the last rows may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What readers met.
pub(crate) struct Visible {
    /// Milliseconds, one for each event that counts.
    pub(crate) milliseconds: Vec<f64>,
    /// Looks of the observer a second: how exact the figures are.
    pub(crate) looks_per_second: f64,
}

impl Visible {
    /// The time within which the given part of the events became visible.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        quantile(self.milliseconds.iter().copied(), part)
    }
}

/// Sends new orders for so many seconds, and looks for their rows through the public view, on a connection of its own.
pub(crate) async fn measure(bootstrap: &str, url: &str, seconds: u64) -> Visible {
    let events = WARM_UP + seconds * u64::from(RATE);
    let (to_observer, sent) = channel::<(String, u64, Instant)>();
    let bootstrap = bootstrap.to_owned();
    let sender = std::thread::spawn(move || {
        let producer = load::producer(&bootstrap, 0);
        let mut random = Random::new(11);
        let begin = Instant::now();
        for number in 0..events {
            let due = begin + Duration::from_secs(number) / RATE;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let id = format!("v-{number:08}");
            let value = load::order(&id, SMALL, &mut random);
            to_observer.send((id.clone(), number, Instant::now())).expect("the observer");
            load::send(&producer, number, &id, &value);
            producer.poll(Duration::ZERO);
        }
        producer.flush(Duration::from_secs(30)).expect("flush");
    });

    let mut connection = PgConnection::connect(url).await.expect("connect");
    let mut awaited: HashMap<String, (u64, Instant)> = HashMap::new();
    let (mut milliseconds, mut looks, begin) = (Vec::new(), 0_u64, Instant::now());
    let mut last_seen = begin;
    loop {
        let all_sent = loop {
            match sent.try_recv() {
                Ok((id, number, at)) => drop(awaited.insert(id, (number, at))),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        if awaited.is_empty() {
            if all_sent {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let ids: Vec<&str> = awaited.keys().map(String::as_str).collect();
        let look = sqlx::query_scalar("SELECT order_id FROM bench_w1.orders WHERE order_id = ANY($1)").bind(ids);
        let seen: Vec<String> = look.fetch_all(&mut connection).await.expect("read the view");
        let now = Instant::now();
        looks += 1;
        for id in seen {
            let (number, at) = awaited.remove(&id).expect("an awaited row");
            last_seen = now;
            if number >= WARM_UP {
                milliseconds.push((now - at).as_secs_f64() * 1_000.0);
            }
        }
        assert!(now - last_seen < PATIENCE, "{} events have no row after {PATIENCE:?}", awaited.len());
        tokio::time::sleep(PAUSE).await;
    }
    let looks_per_second = looks as f64 / begin.elapsed().as_secs_f64();
    sender.join().expect("the sender");
    assert_eq!(milliseconds.len() as u64, events - WARM_UP, "every event has a row");
    Visible { milliseconds, looks_per_second }
}

//! How fast a rebuild is beside the live path, and what it costs the live generation meanwhile. Figures, not a verdict:
//! `cargo build --release && cargo test -p laterna-tests --features external --test all -- --ignored how_fast --nocapture`, with
//! `LATERNA_TEST_ROUNDS` for the number of events and `LATERNA_TEST_REPEATS` for how often all is measured. Each workload ends with a line of JSON.
//!
//! Both sides read the same topic into the same cluster, in turn, from a build that is compiled already:
//! - *live*: a first generation works off the whole topic as a backlog, from its first claim to its last commit (the join to the group and the start of
//!   the process left out). With at most 20,000 events in a commit, which is the default; with 5,000, what `sql-sink.md` (section 3) calls its base; and
//!   with 1,000, about what steady traffic commits.
//! - *rebuild*: from the request to the end of indexing, so with the join to the group and everything else that a person waits for. *Fill* is the part of it
//!   from the first claim to the last commit, the counterpart of *live*.
//! - *cpu_seconds*: what engine and database use for it: on a machine that does other work as well, the steadier figure. The start of a live engine and
//!   the index builds are in.
//! - *latency*: events on a fixed schedule, each from its making until a reader of the view sees its row, so that a stall counts for all that wait in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use laterna_tests::engine::{Engine, From, Home};
use laterna_tests::load::{Draft, Sender};
use laterna_tests::oracle::TOPIC;
use laterna_tests::services::{create_database, unique};
use laterna_tests::wait::PATIENCE;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::stage::Stage;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The machine's load of the last minute: what else runs on it.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|one| one.parse().ok()).unwrap_or(f64::NAN)
}

/// Processor seconds that a process and its children, those that have ended among them, have used: unlike the rates, hardly a matter of what else runs.
fn cpu_seconds(pid: u32) -> f64 {
    // After the name in brackets: the state is the first field, the parent the second, user and system time the 12th and 13th; of children waited for
    // the 14th and 15th.
    let fields = |pid: &str| -> Option<Vec<u64>> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(text.rsplit_once(')')?.1.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect())
    };
    let used = |fields: &[u64]| fields.get(10..14).map_or(0, |ticks| ticks.iter().sum::<u64>());
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = processes.filter_map(|entry| fields(entry.file_name().to_str()?));
    let children: u64 = children.filter(|of| of.first() == Some(&u64::from(pid))).map(|of| used(&of)).sum();
    (children + fields(&pid.to_string()).map_or(0, |of| used(&of))) as f64 / 100.0
}

/// Processor seconds of engine and database.
#[derive(Clone, Copy)]
struct Cpu(f64, f64);

impl Cpu {
    fn now(stage: &Stage, engine: &Engine) -> Self {
        Self(cpu_seconds(engine.pid()), cpu_seconds(stage.postgres.pid()))
    }

    fn since(self, stage: &Stage, engine: &Engine) -> Self {
        let now = Self::now(stage, engine);
        Self(now.0 - self.0, now.1 - self.1)
    }

    /// The medians.
    fn median(all: impl Iterator<Item = Self>) -> Value {
        let all: Vec<Self> = all.collect();
        let of = |of: fn(&Self) -> f64| (median(all.iter().map(of).collect()) * 100.0).round() / 100.0;
        json!({ "engine": of(|cpu| cpu.0), "postgres": of(|cpu| cpu.1) })
    }
}

/// How far a generation has come: the sum of its checkpoints, none where it has claimed nothing yet.
async fn applied(connection: &mut PgConnection, generation: i32) -> Option<i64> {
    let text = "SELECT sum(next_offset)::int8 FROM laterna.checkpoint WHERE projection = 'counter' AND generation = $1";
    // Before the engine has made its tables there is nothing to ask.
    let row = sqlx::query(text).bind(generation).fetch_one(connection).await.ok()?;
    row.get(0)
}

/// From a generation's first claim until `count` events are committed.
async fn time_to_apply(url: &str, generation: i32, count: u64) -> Duration {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    let begin = Instant::now();
    let mut claimed = None;
    loop {
        if let Some(sum) = applied(&mut connection, generation).await {
            let claimed = *claimed.get_or_insert_with(Instant::now);
            if sum >= count as i64 {
                return claimed.elapsed();
            }
        }
        assert!(begin.elapsed() < PATIENCE, "generation {generation} does not come to {count}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A first generation works off the topic in a database of its own; events per second.
async fn live_rate(stage: &Stage, guest: &str, batch: u32, count: u64) -> (f64, Cpu) {
    let database = create_database(stage.postgres.port(), "live").await;
    let url = stage.postgres.url(&database);
    let home = Home::new(From::Kafka(stage.bootstrap()), &url, &[])
        .with("kafka", format!("group_prefix = \"{}\"", unique("live")))
        .with("defaults.batch", format!("max_events = {batch}"));
    home.drop_in_build(guest, "counter.wasm", 0);
    let mut engine = home.start();
    let cpu = Cpu::now(stage, &engine);
    let took = time_to_apply(&url, 1, count).await;
    let cpu = cpu.since(stage, &engine);
    engine.kill();
    (count as f64 / took.as_secs_f64(), cpu)
}

/// Events on a fixed schedule, and how long each took to be seen.
struct Probe {
    stop: Arc<AtomicBool>,
    /// When each was seen, and after how many seconds.
    seen: Arc<Mutex<Vec<(Instant, f64)>>>,
    thread: std::thread::JoinHandle<u64>,
    reader: tokio::task::JoinHandle<()>,
}

/// Events of a probe in a second.
const PROBE_RATE: u64 = 200;

impl Probe {
    async fn start(stage: &Stage) -> Self {
        let run = unique("probe");
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let (bootstrap, stopped, sending, name) =
            (stage.bootstrap(), Arc::clone(&stop), Arc::clone(&sent), run.clone());
        let thread = std::thread::spawn(move || {
            let sender = Sender::new(&bootstrap, TOPIC);
            let begin = Instant::now();
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                while begin.elapsed() >= Duration::from_micros(count * 1_000_000 / PROBE_RATE) {
                    sending.lock().expect("lock").push(Instant::now());
                    sender.send(&Draft::text(format!("{name} {count:08}"), "1").at(0));
                    count += 1;
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            sender.flush();
            count
        });
        let mut connection = PgConnection::connect(&stage.url()).await.expect("connect");
        let (stopped, noting) = (Arc::clone(&stop), Arc::clone(&seen));
        let reader = tokio::spawn(async move {
            let mut next = 0;
            while !stopped.load(Ordering::Relaxed) {
                // All are in one partition, so they come to be seen in order.
                let text = "SELECT count(*) FROM counter.counts WHERE key >= $1 AND key < $2";
                let (from, to) = (format!("{run} {next:08}"), format!("{run} 99999999"));
                let row = sqlx::query(text).bind(from).bind(to).fetch_one(&mut connection).await.expect("an answer");
                let now = Instant::now();
                {
                    let (sent, mut seen) = (sent.lock().expect("lock"), noting.lock().expect("lock"));
                    for _ in 0..row.get::<i64, _>(0) {
                        seen.push((now, (now - sent[next]).as_secs_f64()));
                        next += 1;
                    }
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { stop, seen, thread, reader }
    }

    /// All latencies of a time.
    fn between(&self, from: Instant, to: Instant) -> Vec<f64> {
        let seen = self.seen.lock().expect("lock");
        seen.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, seconds)| *seconds).collect()
    }

    /// Ends; gives how many events it has made.
    async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.await.expect("the probe's reader");
        tokio::task::block_in_place(|| self.thread.join().expect("the probe"))
    }
}

/// The value below which a part of them lies, in milliseconds.
fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1))).map_or(0.0, |s| s * 1000.0)
}

/// What one rebuild showed.
struct Rebuilt {
    /// When it was asked for, when its generation was claimed, when the last commit of the fill came, when keys and indexes were made.
    moments: [Instant; 4],
    /// Latencies before, until the fill was done, and from there until it had caught up.
    latencies: [Vec<f64>; 3],
    /// Events that the measurement has added.
    probes: u64,
    /// Of all of it, the live generation's share among it.
    cpu: Cpu,
}

impl Rebuilt {
    fn seconds(&self, from: usize, to: usize) -> f64 {
        (self.moments[to] - self.moments[from]).as_secs_f64()
    }
}

async fn rebuild(stage: &Stage, engine: &mut Engine, count: u64) -> Rebuilt {
    let probe = Probe::start(stage).await;
    let calm = Instant::now();
    // A time to measure, not a condition: what is calm is shown by its own figures.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mut moments = [Instant::now(); 4];
    let cpu = Cpu::now(stage, engine);
    let begun = engine.ask("POST", "/api/v1/projections/counter/rebuilds", Some(&json!({ "switch": "manual" })));
    let (id, generation) =
        (begun["id"].as_str().expect("an identity"), begun["generation"].as_i64().expect("a number"));
    let mut connection = PgConnection::connect(&stage.url()).await.expect("connect");
    let mut passed = 1;
    while passed < moments.len() {
        let state: String = sqlx::query("SELECT state FROM laterna.rebuild WHERE id = $1")
            .bind(id)
            .fetch_one(&mut connection)
            .await
            .expect("the rebuild")
            .get(0);
        assert_ne!(state, "failed", "{}", engine.tail());
        assert!(moments[0].elapsed() < PATIENCE, "{state}: {}", engine.tail());
        let sum = applied(&mut connection, generation as i32).await;
        let come = match passed {
            1 => sum.is_some(),
            2 => sum.is_some_and(|sum| sum >= count as i64),
            _ => ["catching-up", "ready"].contains(&&*state),
        };
        if come {
            moments[passed] = Instant::now();
            passed += 1;
        } else {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let cpu = cpu.since(stage, engine);
    engine.wait_projection("counter", "ready", |status| status["rebuild"]["state"] == "ready");
    let end = Instant::now();
    let spans = [(calm + Duration::from_secs(1), moments[0]), (moments[0], moments[2]), (moments[2], end)];
    let latencies = spans.map(|(from, to)| probe.between(from, to));
    let probes = probe.finish().await;
    engine.ask("DELETE", &format!("/api/v1/rebuilds/{id}"), None);
    engine.wait_projection("counter", "without a rebuild", |status| status["rebuild"]["state"] == "cancelled");
    Rebuilt { moments, latencies, probes, cpu }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: it takes minutes, and its figures are for people"]
async fn how_fast_a_rebuild_is_beside_the_live_rate() {
    let (events, repeats) = (number("LATERNA_TEST_ROUNDS", 300_000), number("LATERNA_TEST_REPEATS", 1));
    let workloads = [
        ("new keys", "counter", u64::MAX),
        ("new keys, two indexes", "counter_indexed", u64::MAX),
        ("100 hot keys", "counter", 100),
    ];
    for (what, guest, keys) in workloads {
        if std::env::var("LATERNA_TEST_WORKLOAD").is_ok_and(|only| only != what) {
            continue;
        }
        let stage = Stage::new(4).await;
        tokio::task::block_in_place(|| {
            let sender = Sender::new(&stage.bootstrap(), TOPIC);
            for number in 0..events {
                let key = format!("key {:08}", number % keys);
                let value = (number.wrapping_mul(2_654_435_761) % 1_000_000).to_string();
                sender.send(&Draft::text(key, value).at((number % 4) as i32));
            }
            sender.flush();
        });
        let home = stage.home(&[]);
        home.drop_in_build(guest, "counter.wasm", 0);
        let mut engine = home.start();
        engine.wait_projection("counter", "caught up", |s| s["state"] == "idle" && s["lag_events"] == 0);
        let mut count = events;
        let (mut live, mut rebuilt) = ([Vec::new(), Vec::new(), Vec::new()], Vec::new());
        let begun = load_average();
        for _ in 0..repeats {
            for (batch, rates) in [1_000, 5_000, 20_000].into_iter().zip(&mut live) {
                rates.push(live_rate(&stage, guest, batch, count).await);
            }
            let one = rebuild(&stage, &mut engine, count).await;
            println!(
                "  {what}: claimed after {:.2} s, filled {:.2} s later, indexes made {:.2} s later",
                one.seconds(0, 1),
                one.seconds(1, 2),
                one.seconds(2, 3)
            );
            count += one.probes;
            rebuilt.push(one);
        }
        let live_cpu = Cpu::median(live[2].iter().map(|(_, cpu)| *cpu));
        let [live_1000, live_5000, live_20000] = live.map(|all| median(all.iter().map(|(rate, _)| *rate).collect()));
        let rate = |from, to| median(rebuilt.iter().map(|one| events as f64 / one.seconds(from, to)).collect());
        let (whole, fill) = (rate(0, 3), rate(1, 2));
        let all = |spans: &[usize]| -> Vec<f64> {
            let of = |one: &Rebuilt| spans.iter().flat_map(|span| one.latencies[*span].clone()).collect::<Vec<f64>>();
            rebuilt.iter().flat_map(of).collect()
        };
        let (before, during) = (all(&[0]), all(&[1, 2]));
        let rounded = |value: f64, unit: f64| (value / unit).round() * unit;
        let ratio = |one: f64, other: f64| (one / other * 100.0).round() / 100.0;
        let milliseconds = |values: &[f64]| {
            let at = |part| (percentile(values, part) * 10.0).round() / 10.0;
            json!({ "p50": at(0.5), "p99": at(0.99), "worst": at(1.0), "events": values.len() })
        };
        let figures = json!({
            "workload": what, "events": events, "repeats": repeats, "load_average": [begun, load_average()],
            "live_per_s": {
                "batch_1000": rounded(live_1000, 1000.0), "batch_5000": rounded(live_5000, 1000.0),
                "batch_20000": rounded(live_20000, 1000.0),
            },
            "cpu_seconds": { "live_batch_20000": live_cpu, "rebuild": Cpu::median(rebuilt.iter().map(|one| one.cpu)) },
            "rebuild_per_s": rounded(whole, 1000.0), "fill_per_s": rounded(fill, 1000.0),
            "rebuild_to_live": {
                "batch_1000": ratio(whole, live_1000), "batch_5000": ratio(whole, live_5000),
                "batch_20000": ratio(whole, live_20000),
            },
            "fill_to_live": {
                "batch_1000": ratio(fill, live_1000), "batch_5000": ratio(fill, live_5000),
                "batch_20000": ratio(fill, live_20000),
            },
            "live_latency_ms": {
                "before": milliseconds(&before), "during": milliseconds(&during),
                "during_fill": milliseconds(&all(&[1])), "during_indexes_and_catching_up": milliseconds(&all(&[2])),
            },
            "p99_during_to_before": ratio(percentile(&during, 0.99), percentile(&before, 0.99)),
        });
        println!("{figures}");
    }
}

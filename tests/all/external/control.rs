//! The control plane on a real Kafka and a real PostgreSQL: builds that take over without a rebalance, swaps that readers never notice, crashes
//! and second engines while a rebuild is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use laterna_tests::engine::{Engine, From, Home, workspace};
use laterna_tests::file_log::FileSender;
use laterna_tests::guardian::Folder;
use laterna_tests::kafka_log::delete_records;
use laterna_tests::load::Sender;
use laterna_tests::oracle::{CHAIN, COUNTER, LEDGER, SERIAL_LAST, TOPIC};
use laterna_tests::random::Random;
use laterna_tests::services::{Lease, Postgres, create_database};
use laterna_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::stage::{Stage, finish, progress};
use crate::crashes::{CRASHES, goes_on_or_is_undone, is_made_or_dropped, wait_crash};
use crate::workload::mixed;

fn rebuilds(projection: &str) -> String {
    format!("/api/v1/projections/{projection}/rebuilds")
}

/// Begins a rebuild and waits until its generation is live.
fn rebuild_and_swap(engine: &mut Engine, projection: &str) -> u64 {
    let begun = engine.ask("POST", &rebuilds(projection), Some(&json!({ "switch": "auto" })));
    let number = begun["generation"].as_u64().expect("a generation");
    engine.wait_projection(projection, &format!("on generation {number}"), |status| {
        assert_ne!(status["rebuild"]["state"], "failed", "{status}");
        status["generation"] == number
    });
    number
}

/// Reads a view again and again until told to stop, and keeps the longest time that an answer took.
struct Readers {
    stop: Arc<AtomicBool>,
    longest_us: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<u64>>,
}

impl Readers {
    fn start(stage: &Stage, count: usize, sql: &str) -> Self {
        let (stop, longest_us) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let reader = |_| {
            let (url, stop, longest_us, sql) =
                (stage.url(), Arc::clone(&stop), Arc::clone(&longest_us), sql.to_owned());
            tokio::spawn(async move {
                let mut connection = PgConnection::connect(&url).await.expect("connect");
                let mut answers = 0;
                while !stop.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    sqlx::query(AssertSqlSafe(sql.clone()))
                        .fetch_all(&mut connection)
                        .await
                        .expect("a reader's answer");
                    longest_us.fetch_max(begin.elapsed().as_micros() as u64, Ordering::Relaxed);
                    answers += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                answers
            })
        };
        let tasks = (0..count).map(reader).collect();
        Self { stop, longest_us, tasks }
    }

    /// How many answers there were, and how long the slowest took. An error would have ended the test.
    async fn finish(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let mut answers = 0;
        for task in self.tasks {
            answers += task.await.expect("no reader met an error");
        }
        (answers, Duration::from_micros(self.longest_us.load(Ordering::Relaxed)))
    }
}

/// How often: a few times in a normal run, as often as `LATERNA_TEST_ROUNDS` says in a long one.
fn rounds(usual: u32) -> u32 {
    std::env::var("LATERNA_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

/// Renames a build into `plugins/`; how long until the engine says that it runs.
fn take_over(home: &Home, engine: &mut Engine, build: u32) -> Duration {
    let before = engine.projection("counter").unwrap()["plugin_digest"].clone();
    let begin = Instant::now();
    home.drop_in_build("counter", "counter.wasm", build);
    while engine.projection("counter").unwrap()["plugin_digest"] == before {
        assert!(begin.elapsed() < PATIENCE, "build {build} does not take over:\n{}", engine.tail());
        std::thread::sleep(Duration::from_millis(1));
    }
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_take_over_under_load_without_a_rebalance() {
    let stage = Stage::new(4).await;
    let home = stage.home(&["counter", "ledger"]);
    let mut observers = [stage.observe(COUNTER), stage.observe(LEDGER)];
    let load = stage.load("reload, load", 1_000);
    let mut engine = home.start();
    progress(&mut observers, 3, &mut [&mut engine]);
    let rebalances = engine.metric("laterna_kafka_rebalances_total", "counter").unwrap();
    let mut memory_mib = vec![engine.rss_mib()];
    let (mut compiled_anew, mut known) = (Vec::new(), Vec::new());
    for build in 0..rounds(20) {
        compiled_anew.push(take_over(&home, &mut engine, build));
        progress(&mut observers[..1], 1, &mut [&mut engine]);
        // Back to the build before and forth again: nothing is compiled.
        if build > 0 {
            known.extend([build - 1, build].map(|build| take_over(&home, &mut engine, build)));
        }
        if build % 100 == 99 {
            memory_mib.push(engine.rss_mib());
        }
    }
    assert_eq!(engine.metric("laterna_kafka_rebalances_total", "counter").unwrap(), rebalances);
    memory_mib.push(engine.rss_mib());
    let count = compiled_anew.len() + known.len();
    println!("{count} reloads: memory at the start, after each three hundred, at the end: {memory_mib:?} MiB");
    for (what, mut took) in [("compiled anew", compiled_anew), ("that is known", known)] {
        took.sort_unstable();
        let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        println!(
            "from the file to the build that runs, {what}, as an HTTP client sees it: median {median:?}, slowest {slowest:?}"
        );
    }
    let acknowledged = load.stop();
    stage.settle(&[COUNTER, LEDGER], &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_never_notice_a_swap() {
    let stage = Stage::new(4).await;
    let home = stage.home(&["counter", "ledger"]);
    let mut observers = [stage.observe(COUNTER), stage.observe(LEDGER)];
    let load = stage.load("swaps, load", 500);
    let mut engine = home.start();
    progress(&mut observers, 3, &mut [&mut engine]);
    let count = rounds(4);
    let crowd = if count < 50 { 20 } else { 50 };
    let query = "SELECT key, events, total FROM counter.counts ORDER BY key LIMIT 100";
    let readers = Readers::start(&stage, crowd, query);
    for _ in 0..count {
        rebuild_and_swap(&mut engine, "counter");
        progress(&mut observers, 1, &mut [&mut engine]);
    }
    let (answers, slowest) = readers.finish().await;
    println!("{count} swaps under {crowd} readers, {answers} answers to readers, the slowest took {slowest:?}");
    // A machine with other work makes every answer slow; what a lock would cost is far more than this.
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    // Somebody sits in a transaction on the view: the swap waits for him, and nobody else does.
    let mut sitting = PgConnection::connect(&stage.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM counter.counts").execute(&mut sitting).await.unwrap();
    let begun = engine.ask("POST", &rebuilds("counter"), Some(&json!({})));
    engine.wait_projection("counter", "about to switch", |s| s["rebuild"]["state"] == "switching");
    let readers = Readers::start(&stage, 5, "SELECT key, events, total FROM counter.counts ORDER BY key LIMIT 100");
    progress(&mut observers, 20, &mut [&mut engine]);
    assert_eq!(engine.projection("counter").unwrap()["rebuild"]["state"], "switching");
    let (answers, slowest) = readers.finish().await;
    println!("beside a reader in a transaction: {answers} answers, the slowest took {slowest:?}");
    sqlx::raw_sql("COMMIT").execute(&mut sitting).await.unwrap();
    engine.wait_projection("counter", "switched", |s| s["generation"] == begun["generation"]);
    let acknowledged = load.stop();
    stage.settle(&[COUNTER, LEDGER], &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_survives_kills_and_goes_on_from_its_checkpoint() {
    let stage = Stage::new(4).await;
    let mut random = Random::from_environment("kills during rebuilds");
    let projections = [LEDGER, COUNTER, CHAIN, SERIAL_LAST];
    let home = stage.home(&projections.map(|projection| projection.name));
    let mut observers = projections.map(|projection| stage.observe(projection));
    let load = stage.load("kills during rebuilds, load", 300);
    let mut engine = home.start();
    progress(&mut observers, 5, &mut [&mut engine]);
    for projection in projections {
        engine.ask("POST", &rebuilds(projection.name), Some(&json!({ "switch": "auto" })));
    }
    for _ in 0..8 {
        std::thread::sleep(Duration::from_micros(random.below(700_000)));
        engine.kill();
        engine = home.start();
        progress(&mut observers[..1], 1, &mut [&mut engine]);
    }
    for projection in projections {
        engine.wait_projection(projection.name, "rebuilt", |status| {
            assert_ne!(status["rebuild"]["state"], "failed", "{status}");
            status["generation"] == 2
        });
    }
    progress(&mut observers, 2, &mut [&mut engine]);
    let acknowledged = load.stop();
    stage.settle(&projections, &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_share_a_rebuild_and_its_swap() {
    let stage = Stage::new(4).await;
    let home = stage.home(&["counter", "ledger"]);
    let mut observers = [stage.observe(COUNTER), stage.observe(LEDGER)];
    let load = stage.load("two engines", 300);
    let (mut first, mut second) = (home.start(), home.start());
    progress(&mut observers, 3, &mut [&mut first, &mut second]);
    for (asked, other) in [(true, false), (false, true)] {
        let engine = if asked { &mut first } else { &mut second };
        let number = rebuild_and_swap(engine, "counter");
        let engine = if other { &mut first } else { &mut second };
        engine.wait_projection("counter", "on the same generation", |status| status["generation"] == number);
        progress(&mut observers, 3, &mut [&mut first, &mut second]);
    }
    // What one is asked, the other does too.
    first.ask("PUT", "/api/v1/projections/counter/pause", None);
    second.wait_projection("counter", "paused", |status| status["state"] == "paused");
    second.ask("PUT", "/api/v1/projections/counter/resume", None);
    let acknowledged = load.stop();
    stage.settle(&[COUNTER, LEDGER], &acknowledged).await;
    finish(observers);
}

/// How many finished secondary indexes a generation has.
async fn indexes(stage: &Stage, namespace: &str) -> i64 {
    let mut connection = PgConnection::connect(&stage.url()).await.unwrap();
    let query = "SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid \
                 WHERE c.relnamespace = to_regnamespace($1) AND NOT i.indisprimary AND i.indisvalid";
    sqlx::query_scalar(query).bind(namespace).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_make_the_indexes_of_one_rebuild() {
    let stage = Stage::new(2).await;
    let home = stage.home(&["counter_indexed"]);
    let mut observers = [stage.observe(COUNTER)];
    let load = stage.load("two engines, indexes", 800);
    let (mut first, mut second) = (home.start(), home.start());
    progress(&mut observers, 3, &mut [&mut first, &mut second]);
    for _ in 0..rounds(3) {
        let number = rebuild_and_swap(&mut first, "counter");
        second.wait_projection("counter", "on the same generation", |status| status["generation"] == number);
        assert_eq!(indexes(&stage, &format!("counter_g{number}")).await, 2);
    }
    let acknowledged = load.stop();
    stage.settle(&[COUNTER], &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_added_is_made_beside_what_goes_on_and_after_a_kill() {
    let stage = Stage::new(2).await;
    let home = stage.home(&["counter"]);
    let mut observers = [stage.observe(COUNTER)];
    let load = stage.load("an index more", 500);
    let mut engine = home.start_with(&[("LATERNA_CRASH_POINT", "deployed")]);
    progress(&mut observers, 3, &mut [&mut engine]);
    home.drop_in_build("counter_indexed", "counter.wasm", 1);
    engine.wait_end(PATIENCE);
    assert_eq!(indexes(&stage, "counter_g1").await, 0, "it died between the order and the indexes");
    // An index that is made beside what goes on waits for every older snapshot: nothing else waits with it.
    let mut sitting = PgConnection::connect(&stage.url()).await.unwrap();
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class")
        .execute(&mut sitting)
        .await
        .unwrap();
    let mut engine = home.start();
    progress(&mut observers, 3, &mut [&mut engine]);
    for (request, state) in [("pause", "paused"), ("resume", "running")] {
        let begin = Instant::now();
        engine.ask("PUT", &format!("/api/v1/projections/counter/{request}"), None);
        engine.wait_projection("counter", state, |s| (s["state"] == "paused") == (request == "pause"));
        assert!(begin.elapsed() < Duration::from_secs(20), "{request} waited for the index: {:?}", begin.elapsed());
    }
    progress(&mut observers, 3, &mut [&mut engine]);
    assert_eq!(indexes(&stage, "counter_g1").await, 0, "the reader sits on its snapshot");
    sqlx::raw_sql("COMMIT").execute(&mut sitting).await.unwrap();
    let begin = Instant::now();
    while indexes(&stage, "counter_g1").await < 2 {
        assert!(begin.elapsed() < 2 * PATIENCE, "the indexes are not made:\n{}", engine.tail());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let acknowledged = load.stop();
    stage.settle(&[COUNTER], &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_waits_for_a_reader_holds_up_nobody_and_goes_on_by_itself() {
    let stage = Stage::new(2).await;
    let home = stage.home(&["counter", "ledger"]);
    let mut observers = [stage.observe(COUNTER), stage.observe(LEDGER)];
    let load = stage.load("a reader in the way", 500);
    let mut engine = home.start();
    progress(&mut observers, 3, &mut [&mut engine]);
    let mut sitting = PgConnection::connect(&stage.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM counter.counts").execute(&mut sitting).await.unwrap();
    home.drop_in_build("counter_wide", "counter.wasm", 1);
    let status = engine.wait_projection("counter", "waiting for the reader", |s| s["plan"]["held"] == true);
    assert_eq!(status["plan"]["action"], "alter", "{status}");
    assert!(status["plan"]["reasons"].to_string().contains("readers"), "{status}");
    for (request, paused) in [("pause", true), ("resume", false)] {
        let begin = Instant::now();
        engine.ask("PUT", &format!("/api/v1/projections/ledger/{request}"), None);
        engine.wait_projection("ledger", request, |s| (s["state"] == "paused") == paused);
        assert!(begin.elapsed() < Duration::from_secs(20), "{request} waited too: {:?}", begin.elapsed());
    }
    progress(&mut observers, 3, &mut [&mut engine]);
    assert!(engine.projection("counter").unwrap()["rejected"].is_null());
    sqlx::raw_sql("COMMIT").execute(&mut sitting).await.unwrap();
    engine.wait_projection("counter", "on the wide build", |s| {
        s["plan"].is_null() && s["generations"][0]["descriptor"].to_string().contains("last")
    });
    let acknowledged = load.stop();
    stage.settle(&[COUNTER, LEDGER], &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_is_refused_says_why_and_is_done_once_it_can_be() {
    let stage = Stage::new(2).await;
    let home = stage.home(&[]);
    home.drop_in_build("counter_wide", "counter.wasm", 1);
    let load = stage.load("a swap that is refused", 300);
    let mut engine = home.start();
    let mut observers = [stage.observe(COUNTER)];
    progress(&mut observers, 3, &mut [&mut engine]);
    stage.execute("CREATE VIEW public.mine AS SELECT last FROM counter.counts").await;
    home.drop_in_build("counter_r2", "counter.wasm", 1);
    let status =
        engine.wait_projection("counter", "with a swap that is refused", |s| s["rebuild"]["waiting"].is_string());
    assert_eq!(status["rebuild"]["state"], "switching", "{status}");
    assert!(status["rebuild"]["waiting"].as_str().unwrap().contains("mine"), "{status}");
    progress(&mut observers, 3, &mut [&mut engine]);
    stage.execute("DROP VIEW public.mine").await;
    let status = engine.wait_projection("counter", "switched", |s| s["generation"] == 2);
    assert!(status["rebuild"]["waiting"].is_null(), "{status}");
    let acknowledged = load.stop();
    stage.settle(&[COUNTER], &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_fails_where_retention_takes_its_beginning_before_it_is_read() {
    let stage = Stage::new(1).await;
    let home = stage.home(&["ledger"]);
    let sender = tokio::task::block_in_place(|| Sender::new(&stage.bootstrap(), TOPIC));
    let mut random = Random::new(12);
    tokio::task::block_in_place(|| {
        for number in 0..200 {
            sender.send(&mixed(number, &mut random).at(0));
        }
        sender.flush();
    });
    let mut engine = home.start_with(&[("LATERNA_CRASH_POINT", "rebuild-begun")]);
    stage.settle(&[LEDGER], &[]).await;
    let before = stage.snapshot(LEDGER).await;
    // It dies before it answers.
    drop(engine.request("POST", &rebuilds("ledger"), Some(&json!({}))));
    engine.wait_end(PATIENCE);
    tokio::task::block_in_place(|| delete_records(&stage.bootstrap(), TOPIC, 0, 50));
    let mut engine = home.start();
    let status = engine.wait_projection("ledger", "with a rebuild that failed", |s| s["rebuild"]["state"] == "failed");
    assert!(status["rebuild"]["reason"].as_str().is_some_and(|why| why.contains("[0, 50)")), "{status}");
    assert_eq!(status["generation"], 1, "{status}");
    assert_eq!(stage.snapshot(LEDGER).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_engine_at_a_rebuild_dies_the_other_one_takes_it_over() {
    let stage = Stage::new(4).await;
    let home = stage.home(&["counter_indexed", "ledger"]);
    let mut observers = [stage.observe(COUNTER), stage.observe(LEDGER)];
    let load = stage.load("one of two dies, load", 200);
    let mut engines = [home.start(), home.start()];
    let [first, second] = &mut engines;
    progress(&mut observers, 3, &mut [first, second]);
    // Enough for a fill of some seconds.
    let sender = tokio::task::block_in_place(|| Sender::new(&stage.bootstrap(), TOPIC));
    let mut random = Random::from_environment("one of two dies, backlog");
    tokio::task::block_in_place(|| {
        (0..5_000).for_each(|number| sender.send(&mixed(number, &mut random)));
        sender.flush();
    });
    engines[0].ask("POST", &rebuilds("counter"), Some(&json!({ "max_rate": 1_000 })));
    let at = wait::until("one that fills", PATIENCE, || {
        let rebuilds: Vec<Value> =
            engines.iter().filter_map(|engine| Some(engine.projection("counter").ok()?["rebuild"].clone())).collect();
        let fills = |rebuild: &Value| {
            rebuild["rate_per_second"].as_f64() > Some(0.0) && rebuild["progress_ratio"].as_f64() > Some(0.1)
        };
        rebuilds.iter().position(fills).ok_or_else(|| format!("{rebuilds:?}"))
    });
    let [first, second] = engines;
    let (mut dying, mut other) = if at == 0 { (first, second) } else { (second, first) };
    dying.kill();
    let left = other.projection("counter").unwrap()["rebuild"].clone();
    assert_eq!(left["state"], "filling", "killed too late to say anything: {left}");
    other.wait_projection("counter", "on generation 2", |status| status["generation"] == 2);
    progress(&mut observers, 3, &mut [&mut other]);
    // Again, right before the swap: a reader in a transaction holds it up, so that the one that is to die comes there for sure.
    let mut dying = home.start_with(&[("LATERNA_CRASH_POINT", "before-swap")]);
    progress(&mut observers, 3, &mut [&mut dying, &mut other]);
    let mut sitting = PgConnection::connect(&stage.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM counter.counts").execute(&mut sitting).await.unwrap();
    other.ask("POST", &rebuilds("counter"), Some(&json!({})));
    wait_crash(&mut dying, "before-swap");
    progress(&mut observers, 3, &mut [&mut other]);
    let status = other.projection("counter").unwrap();
    assert_eq!((&status["generation"], &status["rebuild"]["state"]), (&json!(2), &json!("switching")), "{status}");
    sqlx::raw_sql("COMMIT").execute(&mut sitting).await.unwrap();
    other.wait_projection("counter", "on generation 3", |status| status["generation"] == 3);
    progress(&mut observers, 3, &mut [&mut other]);
    let acknowledged = load.stop();
    stage.settle(&[COUNTER, LEDGER], &acknowledged).await;
    finish(observers);
}

/// Each step of one operation, or of several, one after the other.
async fn dies_at_each_step(is_ours: impl Fn(&str) -> bool) {
    for (operation, points) in CRASHES.into_iter().filter(|(operation, _)| is_ours(operation)) {
        let mut stage = Stage::new(2).await;
        let load = stage.load("crash points, load", 50);
        goes_on_or_is_undone(&mut stage, operation, points).await;
        load.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_step_of_a_rebuild_the_engine_dies_at_it_goes_on() {
    dies_at_each_step(|operation| operation == "revision").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_else_the_engine_dies_at_goes_on_or_is_undone() {
    dies_at_each_step(|operation| operation != "revision").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_is_made_or_dropped_when_the_engine_dies_is_made_or_dropped() {
    let mut stage = Stage::new(2).await;
    let load = stage.load("crash points, first and last, load", 50);
    is_made_or_dropped(&mut stage).await;
    load.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_refused_where_the_log_no_longer_begins_where_the_projection_began() {
    let stage = Stage::new(1).await;
    let home = stage.home(&["ledger"]);
    let sender = tokio::task::block_in_place(|| Sender::new(&stage.bootstrap(), TOPIC));
    let mut random = Random::new(11);
    tokio::task::block_in_place(|| {
        for number in 0..200 {
            sender.send(&mixed(number, &mut random).at(0));
        }
        sender.flush();
    });
    let mut engine = home.start();
    stage.settle(&[LEDGER], &[]).await;
    let before = stage.snapshot(LEDGER).await;
    tokio::task::block_in_place(|| delete_records(&stage.bootstrap(), TOPIC, 0, 50));
    let forecast = engine.ask("POST", &rebuilds("ledger"), Some(&json!({ "dry_run": true })));
    assert!(forecast["refusal"].as_str().is_some_and(|why| why.contains("50")), "{forecast}");
    let (code, body) = engine.request("POST", &rebuilds("ledger"), Some(&json!({}))).unwrap();
    assert_eq!((code, &body["code"]), (409, &Value::from("log_begins_later")), "{body}");
    assert_eq!(stage.snapshot(LEDGER).await, before);
    engine.ask("POST", &rebuilds("ledger"), Some(&json!({ "force": true })));
    engine.wait_projection("ledger", "on generation 2", |status| status["generation"] == 2);
    engine.ask("POST", "/api/v1/projections/ledger/rollback", None);
    engine.wait_projection("ledger", "back on generation 1", |status| status["generation"] == 1);
    assert_eq!(stage.snapshot(LEDGER).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_restarts_changes_nothing_about_a_rebuild() {
    let mut stage = Stage::new(4).await;
    let home = stage.home(&["counter", "ledger"]);
    let mut observers = [stage.observe(COUNTER), stage.observe(LEDGER)];
    let load = stage.load("database restarts", 300);
    let mut engine = home.start();
    progress(&mut observers, 5, &mut [&mut engine]);
    let begun = engine.ask("POST", &rebuilds("counter"), Some(&json!({})));
    for _ in 0..3 {
        tokio::task::block_in_place(|| stage.postgres.restart_immediate());
        progress(&mut observers, 2, &mut [&mut engine]);
    }
    wait::until("the swap", PATIENCE, || {
        let status = engine.projection("counter")?;
        assert_ne!(status["rebuild"]["state"], "failed", "{status}");
        if status["generation"] == begun["generation"] { Ok(()) } else { Err(status["rebuild"].to_string()) }
    });
    let acknowledged = load.stop();
    stage.settle(&[COUNTER, LEDGER], &acknowledged).await;
    finish(observers);
}

/// An example's events as the file source reads them, one folder a topic.
fn split_events(example: &str, topic: &str, folder: &std::path::Path) {
    let events = workspace().join("examples").join(example).join("events.jsonl");
    let mut sender = FileSender::new(folder, topic);
    for line in std::fs::read_to_string(events).unwrap().lines().filter(|line| !line.trim().is_empty()) {
        let mut event: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let partition = event.remove("partition").and_then(|number| number.as_i64()).unwrap_or(0);
        let text = serde_json::to_string(&event).unwrap() + "\n";
        sender.raw(partition as i32, text.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_has_the_same_rows_live_and_rebuilt_on_sqlite_and_postgresql() {
    let postgres = tokio::task::block_in_place(Lease::<Postgres>::take);
    let folder = Folder::new("examples");
    for (example, topic) in [("order_summary", "orders"), ("daily_sales", "orders"), ("products", "products")] {
        let events = folder.path().join(example);
        split_events(example, topic, &events);
        let database = create_database(postgres.port(), example).await;
        let sqlite = format!("sqlite://{}", folder.path().join(format!("{example}.db")).display());
        let mut seen = Vec::new();
        for url in [sqlite, postgres.url(&database)] {
            let home = Home::new(From::Files(events.clone()), &url, &[]);
            let file = format!("{example}.wasm");
            std::fs::copy(workspace().join("plugins").join(&file), home.path().join("plugins").join(&file)).unwrap();
            let mut engine = home.start();
            engine.wait_projection(example, "idle", |s| s["state"] == "idle" && s["lag_events"] == 0);
            let rows = |engine: &Engine| {
                let tables = engine.ask("GET", &format!("/api/v1/projections/{example}/tables?rows=1000"), None);
                let rows = tables["tables"].as_array().unwrap().iter().map(|t| (t["table"].clone(), t["rows"].clone()));
                rows.collect::<Vec<_>>()
            };
            seen.push(rows(&engine));
            let begun = engine.ask("POST", &rebuilds(example), Some(&json!({ "switch": "manual" })));
            let id = begun["id"].as_str().unwrap().to_owned();
            engine.wait_projection(example, "ready", |s| s["rebuild"]["state"] == "ready");
            let diff = engine.ask("GET", &format!("/api/v1/rebuilds/{id}/diff?samples=5"), None);
            for table in diff["tables"].as_array().unwrap() {
                let differs = ["added", "removed", "changed"].map(|what| table[what].as_u64().unwrap());
                assert_eq!(differs, [0, 0, 0], "{table}");
                assert!(table["live_rows"].as_u64().unwrap() > 0, "{table}");
            }
            engine.ask("POST", &format!("/api/v1/rebuilds/{id}/switch"), None);
            engine.wait_projection(example, "on generation 2", |s| s["generation"] == 2);
            seen.push(rows(&engine));
        }
        for other in &seen[1..] {
            assert_eq!(other, &seen[0], "{example}");
        }
    }
}

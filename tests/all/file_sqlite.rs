//! On files and SQLite: no service, the real binary.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use laterna_tests::engine::{Engine, From, Home};
use laterna_tests::file_log::{FileLog, FileSender};
use laterna_tests::guardian::Folder;
use laterna_tests::load::Draft;
use laterna_tests::observer::Observer;
use laterna_tests::oracle::{CHAIN, COUNTER, LEDGER, Projection, SERIAL_LAST, TOPIC, seen, settle};
use laterna_tests::random::Random;
use laterna_tests::sql::Reader;
use laterna_tests::wait::{self, PATIENCE};
use sqlx::{Connection, SqliteConnection};

use crate::workload::{mixed, spread};

/// A folder of events, and a database file.
struct Stage {
    folder: Folder,
    sender: FileSender,
}

impl Stage {
    fn new() -> Self {
        let folder = Folder::new("files");
        let sender = FileSender::new(&folder.path().join("events"), TOPIC);
        Self { folder, sender }
    }

    fn events(&self) -> PathBuf {
        self.folder.path().join("events")
    }

    fn url(&self, name: &str) -> String {
        format!("sqlite://{}", self.folder.path().join(name).display())
    }

    fn home(&self, database: &str, guests: &[&str]) -> Home {
        Home::new(From::Files(self.events()), &self.url(database), guests)
    }

    fn log(&self) -> FileLog {
        FileLog::new(&self.events(), TOPIC)
    }

    fn observe(&self, projection: Projection) -> Observer {
        Observer::start(&self.url("db"), projection, self.log())
    }

    async fn settle(&self, projection: Projection) -> u64 {
        settle(&self.url("db"), projection, self.log()).await
    }
}

/// The whole of a projection's tables as one number.
async fn digest(url: &str, projection: Projection) -> String {
    let mut reader = Reader::connect(url).await.unwrap();
    reader.snapshot(projection.name, projection.whole).await.unwrap().digest()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_snapshot_is_right_while_the_engine_is_killed_twenty_times() {
    let mut stage = Stage::new();
    let mut random = Random::from_environment("kill -9 on SQLite");
    let projections = [LEDGER, COUNTER, CHAIN, SERIAL_LAST];
    let home = stage.home("db", &projections.map(|projection| projection.name));
    let mut observers = projections.map(|projection| stage.observe(projection));
    let mut draft = spread(3);
    let mut number = 0;
    for _ in 0..20 {
        let mut engine = home.start();
        let goal = observers[0].advanced() + 2 + random.below(4);
        wait::until("progress that readers see", PATIENCE, || {
            assert!(engine.ended().is_none(), "the engine ended\n{}", engine.tail());
            observers.iter_mut().for_each(Observer::still_right);
            let some: Vec<Draft> = (0..10).map(|at| draft(number + at, &mut random)).collect();
            number += 10;
            stage.sender.send(&some);
            if observers[0].advanced() >= goal {
                Ok(())
            } else {
                Err(format!("{}\n{}", observers[0].snapshots(), engine.tail()))
            }
        });
        // Anywhere inside of a batch.
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        engine.kill();
        let path = stage.folder.path().join("db");
        let mut connection = SqliteConnection::connect(&format!("sqlite://{}?mode=ro", path.display())).await.unwrap();
        let integrity: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
        assert_eq!(integrity, "ok");
        connection.close().await.unwrap();
    }
    let _engine = home.start();
    for projection in projections {
        assert_eq!(stage.settle(projection).await, number);
    }
    for observer in observers {
        observer.finish();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_digest_whatever_the_batch_and_the_restarts() {
    let mut stage = Stage::new();
    let mut random = Random::from_environment("determinism");
    let mut draft = spread(2);
    let all: Vec<Draft> = (0..3_000).map(|at| draft(at, &mut random)).collect();
    stage.sender.send(&all);
    let projections = [LEDGER, COUNTER, CHAIN];
    let mut digests = Vec::new();
    for (batch, kills) in [(1, 0), (7, 4), (1000, 2), (20_000, 0)] {
        let database = format!("batch-{batch}");
        let url = stage.url(&database);
        let home = stage
            .home(&database, &projections.map(|projection| projection.name))
            .with("defaults.batch", format!("max_events = {batch}"));
        for _ in 0..kills {
            let mut engine = home.start();
            engine.wait_projection("chain", "listed", |status| {
                status["partitions"].as_array().is_some_and(|list| !list.is_empty())
            });
            std::thread::sleep(Duration::from_micros(random.below(50_000)));
            engine.kill();
        }
        let mut engine = home.start();
        for projection in projections {
            settle(&url, projection, stage.log()).await;
        }
        assert!(engine.terminate().0.success());
        let mut of_batch = Vec::new();
        for projection in projections {
            of_batch.push(digest(&url, projection).await);
        }
        digests.push(of_batch);
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_line_is_waited_for() {
    let mut stage = Stage::new();
    stage.sender.send(&[Draft::text("a", "1")]);
    let line = FileSender::line(&Draft::text("a", "41"));
    let (first, second) = line.split_at(line.len() / 2);
    stage.sender.raw(0, first.as_bytes());
    let home = stage.home("db", &["counter"]);
    let mut engine = home.start();
    assert_eq!(stage.settle(COUNTER).await, 1);
    engine.wait_projection("counter", "idle", |status| status["state"] == "idle");
    stage.sender.raw(0, second.as_bytes());
    stage.sender.raw(0, b"\n");
    assert_eq!(stage.settle(COUNTER).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_the_database_lost_are_made_again_although_nothing_new_comes() {
    let mut stage = Stage::new();
    let events: Vec<Draft> = (0..10).map(|n| Draft::text("a", n.to_string())).collect();
    stage.sender.send(&events);
    let home = stage.home("db", &["ledger"]);
    let mut engine = home.start();
    assert_eq!(stage.settle(LEDGER).await, 10);
    engine.wait_projection("ledger", "idle", |status| status["state"] == "idle");
    // As after a failover to a standby that had not heard of the last commits.
    let mut database = SqliteConnection::connect(&stage.url("db")).await.unwrap();
    let lose = "BEGIN IMMEDIATE; DELETE FROM entries__g1 WHERE at >= 6; DELETE FROM applied__g1 WHERE at >= 6; \
                UPDATE laterna_checkpoint SET next_offset = 6; COMMIT";
    sqlx::raw_sql(lose).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    assert_eq!(stage.settle(LEDGER).await, 10);
    assert!(engine.output().contains("the database has lost commits"), "{}", engine.tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_named_with_file_and_line_and_nothing_after_it_is_applied() {
    let mut stage = Stage::new();
    // From the start: what comes before the bad line is applied first.
    stage.sender.send(&[Draft::text("a", "1"), Draft::text("a", "2")]);
    stage.sender.raw(0, b"{\"key\": \"a\", \"value\": \n");
    stage.sender.send(&[Draft::text("a", "4")]);
    let home = stage.home("db", &["counter"]);
    let mut engine = home.start();
    let status = engine.wait_projection("counter", "halted", |status| status["state"] == "halted");
    let said = status["halt"].to_string();
    assert!(said.contains("0.jsonl") && said.contains('3'), "{said}");
    let mut reader = Reader::connect(&stage.url("db")).await.unwrap();
    let snapshot = reader.snapshot("counter", COUNTER.whole).await.unwrap();
    assert_eq!(snapshot.checkpoints.values().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(snapshot.rows["counts"], [["a", "2", "3"].map(|cell| Some(cell.to_owned())).to_vec()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_by_name() {
    let mut stage = Stage::new();
    stage.sender.send(&[Draft::text("a", "1")]);
    let home = stage.home("db", &["counter"]);
    let mut first = home.start();
    stage.settle(COUNTER).await;
    let mut second = home.start();
    let status = second.wait_end(PATIENCE);
    assert_eq!(status.code(), Some(1), "{}", second.tail());
    let said = second.output();
    assert!(said.contains("db") && said.contains("process"), "{said}");
    stage.sender.send(&[Draft::text("a", "2")]);
    assert_eq!(stage.settle(COUNTER).await, 2);
    assert!(first.terminate().0.success());
}

/// A guest meets the word that it misbehaves on: it halts there, with all before it applied, and the others go on.
async fn misbehaves(projection: Projection, file: &str, word: &str, said: &str) {
    let mut stage = Stage::new();
    let mut random = Random::new(7);
    let before: Vec<Draft> = (0..200).map(|at| mixed(at, &mut random).at(0)).collect();
    stage.sender.send(&before);
    stage.sender.send(&[Draft::text("culprit", format!("please {word}"))]);
    let after: Vec<Draft> = (0..100).map(|at| mixed(at, &mut random).at(0)).collect();
    stage.sender.send(&after);
    let home = stage.home("db", &[file, "ledger"]);
    let mut engine = home.start();
    let halted = |status: &serde_json::Value| status["state"] == "halted";
    let status = engine.wait_projection(projection.name, "halted", halted);
    println!("{word}: {}", status["halt"]);
    let at = &status["halt"]["at"];
    assert_eq!((&at["topic"], &at["partition"], &at["offset"]), (&TOPIC.into(), &0.into(), &200.into()), "{status}");
    assert_eq!(at["key"], "culprit");
    assert!(status["halt"].to_string().contains(said), "{said}: {status}");
    assert!(status["halt"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{status}");
    let mut reader = Reader::connect(&stage.url("db")).await.unwrap();
    let snapshot = reader.snapshot(projection.name, projection.whole).await.unwrap();
    assert_eq!(snapshot.checkpoints[&(TOPIC.to_owned(), 0)], 200);
    laterna_tests::oracle::Follower::new(projection, stage.log()).check(&snapshot).unwrap();
    assert_eq!(stage.settle(LEDGER).await, 301);
    // A restart comes to the same verdict at the same place.
    engine.kill();
    let mut engine = home.start();
    let again = engine.wait_projection(projection.name, "halted", halted);
    assert_eq!(again["halt"]["at"]["offset"], 200);
    assert_eq!(again["halt"]["code"], status["halt"]["code"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_event_halts_its_projection_at_it() {
    misbehaves(seen::REJECT, "reject", "reject", "asked to reject").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_halts_is_halted_at_its_event() {
    misbehaves(seen::REJECT, "reject", "halt", "asked to halt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_found_at_its_event_with_its_source_line() {
    misbehaves(seen::TRAP, "trap", "trap", "trap.rs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_is_found_at_its_event() {
    misbehaves(seen::LOOP, "loop", "loop", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_allocation_is_found_at_its_event() {
    misbehaves(seen::ALLOC, "alloc", "alloc", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_dropped_in_starts_within_two_seconds() {
    let mut stage = Stage::new();
    stage.sender.send(&[Draft::text("a", "1")]);
    let home = stage.home("db", &[]);
    let mut engine = home.start();
    wait::until("the engine to answer", PATIENCE, || {
        assert!(engine.ended().is_none(), "{}", engine.tail());
        engine.get("/livez").map(|_| ())
    });
    let mut took = Vec::new();
    for projection in [COUNTER, CHAIN, LEDGER, SERIAL_LAST] {
        let begin = Instant::now();
        home.drop_in(projection.name);
        wait::until("it to be idle", PATIENCE, || match engine.projection(projection.name) {
            Ok(status) if status["state"] == "idle" => Ok(()),
            other => Err(format!("{other:?}\n{}", engine.tail())),
        });
        took.push(begin.elapsed());
        assert_eq!(stage.settle(projection).await, 1);
    }
    // The promise is the release build's. The machine may be busy with other tests: the best of four says what it can.
    let release = laterna_tests::engine::binary().components().any(|part| part.as_os_str() == "release");
    let limit = Duration::from_secs(if release { 2 } else { 20 });
    assert!(took.iter().min().unwrap() < &limit, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_it_within_ten_seconds_with_code_0() {
    let mut stage = Stage::new();
    let mut random = Random::from_environment("SIGTERM on SQLite");
    let home = stage.home("db", &["counter", "ledger"]);
    let mut draft = spread(2);
    for round in 0..5 {
        let some: Vec<Draft> = (0..5_000).map(|at| draft(at, &mut random)).collect();
        stage.sender.send(&some);
        let mut engine: Engine = home.start();
        engine.wait_projection("ledger", "at work", |status| {
            status["partitions"].as_array().is_some_and(|list| !list.is_empty())
        });
        std::thread::sleep(Duration::from_micros(random.below(100_000)));
        let (status, took) = engine.terminate();
        assert_eq!(status.code(), Some(0), "round {round}: {}", engine.tail());
        assert!(took < Duration::from_secs(10), "round {round}: {took:?}");
    }
    let _engine = home.start();
    assert_eq!(stage.settle(COUNTER).await, 25_000);
    assert_eq!(stage.settle(LEDGER).await, 25_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_counted_once() {
    let mut stage = Stage::new();
    let mut random = Random::from_environment("counted events");
    let mut draft = spread(3);
    // Many sets, one right behind the other.
    let some: Vec<Draft> = (0..30_000).map(|at| draft(at, &mut random)).collect();
    stage.sender.send(&some);
    let home = stage.home("db", &["counter"]);
    let mut engine = home.start();
    engine.wait_projection("counter", "idle", |status| status["state"] == "idle");
    assert_eq!(stage.settle(COUNTER).await, 30_000);
    let applied = engine.metric("laterna_records_applied_total", "counter").unwrap();
    assert_eq!(applied as u64, 30_000);
}

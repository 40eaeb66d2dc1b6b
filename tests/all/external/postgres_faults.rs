//! A database that restarts, cuts, blocks, and does not answer.

use std::time::Duration;

use laterna_tests::load::{Draft, Sender};
use laterna_tests::observer::Observer;
use laterna_tests::oracle::{COUNTER, LEDGER, TOPIC};
use laterna_tests::proxy::{Carries, Cut, Proxy};
use laterna_tests::random::Random;
use laterna_tests::sql::READER_NAME;
use laterna_tests::wait::{self, PATIENCE};
use sqlx::{Connection, PgConnection};

use super::stage::{Stage, finish, progress};

#[tokio::test(flavor = "multi_thread")]
async fn an_immediate_restart_changes_nothing() {
    let mut stage = Stage::new(4).await;
    let home = stage.home(&["ledger", "counter"]);
    let mut observers = [stage.observe(LEDGER), stage.observe(COUNTER)];
    let load = stage.load("restart -m immediate", 1_500);
    let mut engine = home.start();
    for _ in 0..4 {
        progress(&mut observers, 5, &mut [&mut engine]);
        tokio::task::block_in_place(|| stage.postgres.restart_immediate());
    }
    progress(&mut observers, 5, &mut [&mut engine]);
    let acknowledged = load.stop();
    stage.settle(&[LEDGER, COUNTER], &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_backends_change_nothing() {
    let stage = Stage::new(4).await;
    let home = stage.home(&["ledger", "counter"]);
    let mut observers = [stage.observe(LEDGER), stage.observe(COUNTER)];
    let load = stage.load("pg_terminate_backend", 1_500);
    let mut engine = home.start();
    progress(&mut observers, 3, &mut [&mut engine]);
    let mut random = Random::from_environment("which backend");
    let mut admin = PgConnection::connect(&stage.url()).await.unwrap();
    let mut ended = 0;
    while ended < 40 {
        let victims = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> $1";
        let pids: Vec<i32> = sqlx::query_scalar(victims).bind(READER_NAME).fetch_all(&mut admin).await.unwrap();
        if let Some(pid) = pids.get(random.below(pids.len() as u64) as usize) {
            let done: bool =
                sqlx::query_scalar("SELECT pg_terminate_backend($1)").bind(pid).fetch_one(&mut admin).await.unwrap();
            ended += u64::from(done);
        }
        if ended % 8 == 0 {
            progress(&mut observers, 1, &mut [&mut engine]);
        }
        tokio::time::sleep(Duration::from_millis(random.below(60))).await;
    }
    let acknowledged = load.stop();
    stage.settle(&[LEDGER, COUNTER], &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_reply_or_request_is_lost_counts_once() {
    let stage = Stage::new(4).await;
    let proxy = Proxy::start(stage.postgres.port(), Carries::Postgres).await;
    let home = stage.home_at(proxy.port(), &["ledger", "counter"]);
    let mut observers = [stage.observe(LEDGER), stage.observe(COUNTER)];
    let load = stage.load("lost commits", 1_000);
    let mut engine = home.start();
    progress(&mut observers, 3, &mut [&mut engine]);
    for round in 0..30 {
        let cut = if round % 2 == 0 { Cut::Reply } else { Cut::Request };
        let before = proxy.cut_counts();
        proxy.arm(cut);
        wait::until("the cut", PATIENCE, || {
            assert!(engine.ended().is_none(), "{}", engine.tail());
            observers.iter_mut().for_each(Observer::still_right);
            let now = proxy.cut_counts();
            if now.0 + now.1 > before.0 + before.1 {
                Ok(())
            } else {
                Err(format!("{} commit points\n{}", proxy.commit_points(), engine.tail()))
            }
        });
        progress(&mut observers[..1], 1, &mut [&mut engine]);
    }
    let (replies, requests) = proxy.cut_counts();
    assert!(replies >= 10 && requests >= 10, "inconclusive: {replies} replies and {requests} requests cut");
    let acknowledged = load.stop();
    stage.settle(&[LEDGER, COUNTER], &acknowledged).await;
    finish(observers);
    let unknown = engine.metric("laterna_unknown_commits_total", "").unwrap();
    println!("{replies} replies and {requests} requests cut, {unknown} unknown commits");
    assert!(unknown > 0.0, "inconclusive: no commit's outcome had to be looked up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_ends_at_the_commit_timeout() {
    let stage = Stage::new(2).await;
    let proxy = Proxy::start(stage.postgres.port(), Carries::Postgres).await;
    let home = stage
        .home_at(proxy.port(), &["ledger"])
        .with("database", "commit_timeout = \"2s\"")
        .with("database", "connect_timeout = \"2s\"");
    let mut observers = [stage.observe(LEDGER)];
    let load = stage.load("black hole", 1_000);
    let mut engine = home.start();
    for _ in 0..2 {
        progress(&mut observers, 3, &mut [&mut engine]);
        proxy.black_hole(true);
        // Longer than the engine's deadline: it has given up and tried again by itself.
        tokio::time::sleep(Duration::from_secs(5)).await;
        proxy.black_hole(false);
    }
    proxy.delay(Duration::from_millis(20));
    progress(&mut observers, 3, &mut [&mut engine]);
    proxy.delay(Duration::ZERO);
    let acknowledged = load.stop();
    stage.settle(&[LEDGER], &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_flat_while_the_database_blocks() {
    let stage = Stage::new(4).await;
    let home = stage.home(&["ledger"]);
    let sender = Sender::new(&stage.bootstrap(), TOPIC);
    let mut engine = home.start();
    sender.send(&Draft::text("first", "1"));
    sender.flush();
    stage.settle(&[LEDGER], &[]).await;
    let mut blocker = PgConnection::connect(&stage.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE ledger_g1.entries IN SHARE MODE").execute(&mut blocker).await.unwrap();
    // 320 MiB wait, ten times what a projection may buffer.
    let value = "x".repeat(4096);
    let acknowledged = tokio::task::block_in_place(|| {
        for number in 0..80_000 {
            sender.send(&Draft::text(format!("k{number}"), value.clone()));
        }
        sender.flush()
    });
    let mut highest = 0;
    for _ in 0..100 {
        highest = highest.max(engine.rss_mib());
        assert!(engine.ended().is_none(), "{}", engine.tail());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{highest} MiB at most while the database blocked");
    assert!(highest < 300, "{highest} MiB");
    sqlx::raw_sql("ROLLBACK").execute(&mut blocker).await.unwrap();
    assert_eq!(stage.settle(&[LEDGER], &acknowledged).await, 80_001);
    println!("{} MiB after", engine.rss_mib());
}

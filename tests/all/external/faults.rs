//! Engines that die, freeze, come and go; a broker that dies.

use std::time::Duration;

use laterna_tests::oracle::{CHAIN, COUNTER, LEDGER, SERIAL_LAST};
use laterna_tests::random::Random;
use laterna_tests::wait::{self, PATIENCE};

use super::stage::{Stage, finish, owned, progress};

#[tokio::test(flavor = "multi_thread")]
async fn every_snapshot_is_right_while_the_engine_is_killed_twenty_times() {
    let stage = Stage::new(4).await;
    let mut random = Random::from_environment("kill -9");
    let projections = [LEDGER, COUNTER, CHAIN, SERIAL_LAST];
    let home = stage.home(&projections.map(|projection| projection.name));
    let mut observers = projections.map(|projection| stage.observe(projection));
    let load = stage.load("kill -9, load", 800);
    for _ in 0..20 {
        let mut engine = home.start();
        progress(&mut observers[..1], 1 + random.below(6), &mut [&mut engine]);
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        engine.kill();
    }
    let mut engine = home.start();
    progress(&mut observers, 2, &mut [&mut engine]);
    let acknowledged = load.stop();
    assert_eq!(stage.settle(&projections, &acknowledged).await, acknowledged.len() as u64);
    println!("{} events, {} snapshots", acknowledged.len(), finish(observers));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_is_fenced() {
    let stage = Stage::new(4).await;
    let home = stage.home(&["ledger", "counter"]).with("defaults.batch", "max_events = 50");
    let mut observers = [stage.observe(LEDGER), stage.observe(COUNTER)];
    let load = stage.load("zombie", 4_000);
    let mut fenced = 0.0;
    for round in 1..=6 {
        let mut zombie = home.start();
        progress(&mut observers, 3, &mut [&mut zombie]);
        zombie.signal("STOP");
        // The second one is given the partitions when the zombie's session is over, and not before.
        let mut successor = home.start();
        wait::until("the successor to own all partitions", PATIENCE, || {
            assert!(successor.ended().is_none(), "{}", successor.tail());
            match owned(&successor, "ledger")? + owned(&successor, "counter")? {
                8 => Ok(()),
                some => Err(format!("{some} of 8\n{}", successor.tail())),
            }
        });
        progress(&mut observers, 3, &mut [&mut successor]);
        zombie.signal("CONT");
        progress(&mut observers, 10, &mut [&mut successor, &mut zombie]);
        fenced += wait::until("the zombie's metrics", PATIENCE, || zombie.metric("laterna_fenced_commits_total", ""));
        println!("round {round}: fenced {fenced}");
        zombie.kill();
        successor.kill();
        if fenced > 0.0 {
            break;
        }
    }
    assert!(fenced > 0.0, "inconclusive: no commit of a zombie met the fence");
    let _engine = home.start();
    let acknowledged = load.stop();
    stage.settle(&[LEDGER, COUNTER], &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_join_and_leave() {
    let stage = Stage::new(4).await;
    let projections = [LEDGER, COUNTER, SERIAL_LAST];
    let home = stage.home(&projections.map(|projection| projection.name));
    let mut observers = projections.map(|projection| stage.observe(projection));
    let load = stage.load("join and leave", 1_500);
    let mut first = home.start();
    progress(&mut observers, 2, &mut [&mut first]);
    for round in 0..4 {
        let mut second = home.start();
        wait::until("both to own partitions", PATIENCE, || {
            let (one, other) = (owned(&first, "ledger")?, owned(&second, "ledger")?);
            if one > 0 && other > 0 && one + other == 4 {
                Ok(())
            } else {
                Err(format!("{one} and {other}\n{}\n{}", first.tail(), second.tail()))
            }
        });
        progress(&mut observers, 3, &mut [&mut first, &mut second]);
        if round % 2 == 0 {
            assert_eq!(first.terminate().0.code(), Some(0), "{}", first.tail());
        } else {
            first.kill();
        }
        progress(&mut observers, 3, &mut [&mut second]);
        first = second;
    }
    let acknowledged = load.stop();
    stage.settle(&projections, &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_changes_nothing() {
    let mut stage = Stage::new(4).await;
    let home = stage.home(&["ledger", "counter"]);
    let mut observers = [stage.observe(LEDGER), stage.observe(COUNTER)];
    let load = stage.load("broker", 1_000);
    let mut engine = home.start();
    for _ in 0..3 {
        progress(&mut observers, 5, &mut [&mut engine]);
        tokio::task::block_in_place(|| {
            stage.kafka.kill();
            stage.kafka.restart();
        });
    }
    progress(&mut observers, 5, &mut [&mut engine]);
    let acknowledged = load.stop();
    stage.settle(&[LEDGER, COUNTER], &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_it_within_ten_seconds_with_code_0() {
    let stage = Stage::new(4).await;
    let mut random = Random::from_environment("SIGTERM");
    let home = stage.home(&["ledger", "counter"]);
    let mut observers = [stage.observe(LEDGER)];
    let load = stage.load("SIGTERM, load", 2_000);
    for round in 0..10 {
        let mut engine = home.start();
        progress(&mut observers, 1 + random.below(3), &mut [&mut engine]);
        let (status, took) = engine.terminate();
        assert_eq!(status.code(), Some(0), "round {round}: {}", engine.tail());
        assert!(took < Duration::from_secs(10), "round {round}: {took:?}");
    }
    let _engine = home.start();
    let acknowledged = load.stop();
    stage.settle(&[LEDGER, COUNTER], &acknowledged).await;
    finish(observers);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_without_broker_and_database() {
    let mut stage = Stage::new(2).await;
    let home = stage.home(&["ledger"]);
    let load = stage.load("SIGTERM alone", 500);
    let mut engine = home.start();
    let mut observers = [stage.observe(LEDGER)];
    progress(&mut observers, 3, &mut [&mut engine]);
    tokio::task::block_in_place(|| stage.kafka.kill());
    let (status, took) = engine.terminate();
    assert_eq!(status.code(), Some(0), "{}", engine.tail());
    assert!(took < Duration::from_secs(10), "{took:?}");
    tokio::task::block_in_place(|| stage.kafka.restart());
    let _engine = home.start();
    let acknowledged = load.stop();
    stage.settle(&[LEDGER], &acknowledged).await;
}

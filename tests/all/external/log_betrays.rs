//! The log is not what it was: each betrayal has a name, and tables do not change under it.

use laterna_tests::engine::Engine;
use laterna_tests::kafka_log::{add_partitions, create_topic, delete_records, delete_topic};
use laterna_tests::load::Sender;
use laterna_tests::oracle::{COUNTER, LEDGER, TOPIC};
use laterna_tests::random::Random;

use super::stage::{Stage, finish, progress};
use crate::workload::mixed;

fn produce(stage: &Stage, count: u64) {
    tokio::task::block_in_place(|| {
        let sender = Sender::new(&stage.bootstrap(), TOPIC);
        let mut random = Random::new(11);
        for number in 0..count {
            sender.send(&mixed(number, &mut random).at(0));
        }
        sender.flush();
    });
}

/// Halts under `code` without a change to the tables, and stays so after a restart.
async fn halts(
    stage: &Stage,
    mut engine: Engine,
    code: &str,
    home: &laterna_tests::engine::Home,
    before: &laterna_tests::sql::Snapshot,
) {
    for round in 0..2 {
        let status = tokio::task::block_in_place(|| engine.wait_halted("ledger", code));
        println!("{}", status["halt"]);
        assert_eq!(status["halt"]["at"]["topic"], TOPIC, "{status}");
        assert!(status["halt"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{status}");
        assert_eq!(&stage.snapshot(LEDGER).await, before);
        if round == 0 {
            engine.kill();
            engine = home.start();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_past_the_checkpoint_halts() {
    let stage = Stage::new(1).await;
    let home = stage.home(&["ledger"]);
    produce(&stage, 100);
    let mut engine = home.start();
    stage.settle(&[LEDGER], &[]).await;
    assert!(engine.terminate().0.success());
    produce(&stage, 100);
    tokio::task::block_in_place(|| delete_records(&stage.bootstrap(), TOPIC, 0, 150));
    let before = stage.snapshot(LEDGER).await;
    halts(&stage, home.start(), "retention_gap", &home, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_up_to_the_checkpoint_does_not_halt() {
    let stage = Stage::new(1).await;
    let home = stage.home(&["ledger"]);
    produce(&stage, 100);
    let mut engine = home.start();
    stage.settle(&[LEDGER], &[]).await;
    assert!(engine.terminate().0.success());
    tokio::task::block_in_place(|| delete_records(&stage.bootstrap(), TOPIC, 0, 100));
    let mut engine = home.start();
    engine.wait_projection("ledger", "idle", |status| status["state"] == "idle");
    produce(&stage, 10);
    engine.wait_projection("ledger", "at 110", |status| status["partitions"][0]["next_offset"] == 110);
    assert_eq!(stage.snapshot(LEDGER).await.rows["applied"].len(), 110);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_halts_while_the_engine_was_down() {
    let stage = Stage::new(1).await;
    let home = stage.home(&["ledger"]);
    produce(&stage, 100);
    let mut engine = home.start();
    stage.settle(&[LEDGER], &[]).await;
    assert!(engine.terminate().0.success());
    let before = stage.snapshot(LEDGER).await;
    tokio::task::block_in_place(|| {
        delete_topic(&stage.bootstrap(), TOPIC);
        create_topic(&stage.bootstrap(), TOPIC, 1, &[]);
    });
    // Longer than the old one was: offsets alone would not tell.
    produce(&stage, 200);
    halts(&stage, home.start(), "topic_recreated", &home, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_halts_while_the_engine_runs() {
    let stage = Stage::new(1).await;
    let home = stage.home(&["ledger"]);
    produce(&stage, 100);
    let engine = home.start();
    stage.settle(&[LEDGER], &[]).await;
    let before = stage.snapshot(LEDGER).await;
    tokio::task::block_in_place(|| {
        delete_topic(&stage.bootstrap(), TOPIC);
        create_topic(&stage.bootstrap(), TOPIC, 1, &[]);
    });
    produce(&stage, 200);
    halts(&stage, engine, "topic_recreated", &home, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_beyond_the_end_halts() {
    let stage = Stage::new(1).await;
    let home = stage.home(&["ledger"]);
    produce(&stage, 100);
    let mut engine = home.start();
    stage.settle(&[LEDGER], &[]).await;
    assert!(engine.terminate().0.success());
    // As after a restore of an older cluster: the database knows more than the log.
    stage.execute("UPDATE laterna.checkpoint SET next_offset = next_offset + 50").await;
    let before = stage.snapshot(LEDGER).await;
    halts(&stage, home.start(), "offset_beyond_end", &home, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_added_under_load_are_read_from_their_beginning() {
    let stage = Stage::new(2).await;
    let home = stage.home(&["ledger", "counter"]);
    let mut observers = [stage.observe(LEDGER), stage.observe(COUNTER)];
    let load = stage.load("partitions added", 1_000);
    let mut engine = home.start();
    progress(&mut observers, 5, &mut [&mut engine]);
    tokio::task::block_in_place(|| add_partitions(&stage.bootstrap(), TOPIC, 6));
    engine
        .wait_projection("ledger", "given all six", |status| status["partitions"].as_array().map_or(0, Vec::len) == 6);
    // The producer learns of the new partitions in its own time, which may be after the engine did.
    engine.wait_projection("ledger", "records of a new partition", |status| {
        let partitions = status["partitions"].as_array().map_or(&[][..], Vec::as_slice);
        partitions.iter().any(|p| p["partition"].as_i64() >= Some(2) && p["next_offset"].as_i64() > Some(0))
    });
    progress(&mut observers, 5, &mut [&mut engine]);
    let acknowledged = load.stop();
    assert!(acknowledged.iter().any(|(partition, _)| *partition >= 2), "the engine has records nobody produced");
    stage.settle(&[LEDGER, COUNTER], &acknowledged).await;
    finish(observers);
}

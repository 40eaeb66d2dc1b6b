//! Records of every kind: transactions, holes, tombstones, poison.

use laterna_tests::kafka_log::KafkaLog;
use laterna_tests::load::{Draft, Sender};
use laterna_tests::observer::Observer;
use laterna_tests::oracle::{CHAIN, COUNTER, Follower, LEDGER, Projection, TOPIC, seen};
use laterna_tests::random::Random;
use laterna_tests::services::unique;
use laterna_tests::wait::{self, PATIENCE};

use super::stage::{Stage, finish, progress};
use crate::workload::mixed;

#[tokio::test(flavor = "multi_thread")]
async fn aborted_transactions_leave_nothing_and_markers_no_lag() {
    let stage = Stage::new(3).await;
    let home = stage.home(&["ledger", "counter"]);
    let mut observers = [stage.observe(LEDGER), stage.observe(COUNTER)];
    let mut engine = home.start();
    let mut random = Random::from_environment("transactions");
    let committed = tokio::task::block_in_place(|| {
        let sender = Sender::transactional(&stage.bootstrap(), TOPIC, &unique("transactions"));
        let mut committed = 0;
        for round in 0..30 {
            sender.begin();
            let count = 1 + random.below(40);
            for number in 0..count {
                sender.send(&mixed(number, &mut random).at((number % 3) as i32));
            }
            // The last one is aborted: what stands at the end of each partition is a marker.
            let commit = round != 29 && round % 3 != 1;
            sender.end(commit);
            committed += if commit { count } else { 0 };
        }
        committed
    });
    assert_eq!(stage.settle(&[LEDGER, COUNTER], &[]).await, committed);
    for name in ["ledger", "counter"] {
        engine.wait_projection(name, "without lag", |status| status["lag_events"] == 0 && status["state"] == "idle");
    }
    progress(&mut observers, 0, &mut [&mut engine]);
    finish(observers);
    // And after a restart the checkpoint stands where it stood: over the markers.
    assert!(engine.terminate().0.success());
    let mut engine = home.start();
    engine.wait_projection("ledger", "idle", |status| status["lag_events"] == 0 && status["state"] == "idle");
    assert_eq!(stage.settle(&[LEDGER, COUNTER], &[]).await, committed);
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_of_compaction_are_no_gap() {
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "200"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "0"),
    ];
    let stage = Stage::with_topic(1, &settings).await;
    let home = stage.home(&["ledger", "chain"]);
    let sent = tokio::task::block_in_place(|| {
        let sender = Sender::new(&stage.bootstrap(), TOPIC);
        let mut sent = 0;
        for _ in 0..400 {
            sent += 1;
            sender.send(&Draft::text(format!("k{}", sent % 7), sent.to_string()).at(0));
        }
        sender.flush();
        // A new segment is begun by a record that comes later than `segment.ms`; only then is the old one compacted.
        wait::until("holes", PATIENCE, || {
            std::thread::sleep(std::time::Duration::from_millis(250));
            sent += 1;
            sender.send(&Draft::text(format!("k{}", sent % 7), sent.to_string()).at(0));
            sender.flush();
            let mut log = KafkaLog::new(&stage.bootstrap(), TOPIC);
            log.ends();
            if log.known(0).len() < 300 { Ok(()) } else { Err(format!("{} records of {sent}", log.known(0).len())) }
        });
        sent
    });
    let mut engine = home.start();
    for name in ["ledger", "chain"] {
        engine.wait_projection(name, "idle", |status| status["lag_events"] == 0 && status["state"] == "idle");
        engine.wait_projection(name, "at the end", |status| status["partitions"][0]["next_offset"] == sent);
    }
    // Compaction may go on meanwhile: what was seen first is what has been applied, so only the law is held up.
    let rows = stage.snapshot(LEDGER).await.rows["applied"].len();
    assert!((7..300).contains(&rows), "{rows}");
    let chain = stage.snapshot(CHAIN).await;
    let last: Vec<&str> = chain.rows["chain"].iter().filter_map(|row| row[4].as_deref()).collect();
    assert_eq!(last.len(), 7);
    for at in (sent - 7)..sent {
        assert!(last.contains(&at.to_string().as_str()), "the last of a key is missing: {at} in {last:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_null_keys_empty_values_and_null_headers_are_what_they_are() {
    let stage = Stage::new(2).await;
    let home = stage.home(&["ledger", "counter", "chain"]);
    let text = |key: Option<&str>, value: Option<&str>, partition| Draft {
        partition: Some(partition),
        key: key.map(|key| key.as_bytes().to_vec()),
        value: value.map(|value| value.as_bytes().to_vec()),
        headers: vec![
            ("none".to_owned(), None),
            ("empty".to_owned(), Some(Vec::new())),
            ("none".to_owned(), Some(vec![0, 255])),
        ],
    };
    let acknowledged = tokio::task::block_in_place(|| {
        let sender = Sender::new(&stage.bootstrap(), TOPIC);
        for partition in 0..2 {
            for key in [None, Some(""), Some("a"), Some("\u{1F3EE} ' \" \\")] {
                for value in [Some("5"), None, Some(""), Some("-7")] {
                    sender.send(&text(key, value, partition));
                }
            }
        }
        sender.flush()
    });
    let _engine = home.start();
    assert_eq!(stage.settle(&[LEDGER, COUNTER, CHAIN], &acknowledged).await, 32);
    let rows = stage.snapshot(LEDGER).await.rows["entries"].clone();
    assert_eq!(rows.iter().filter(|row| row[4].is_none()).count(), 8, "tombstones are not empty values");
    assert_eq!(rows.iter().filter(|row| row[3].is_none()).count(), 8, "null keys are not empty keys");
}

/// A guest that misbehaves halts at the event; what stands is the fold below the checkpoints; the others go on.
async fn poison(projection: Projection, file: &str, word: &str) {
    let stage = Stage::new(3).await;
    let home = stage.home(&[file, "ledger"]);
    let mut random = Random::new(5);
    let acknowledged = tokio::task::block_in_place(|| {
        let sender = Sender::new(&stage.bootstrap(), TOPIC);
        for number in 0..3_000 {
            sender.send(&mixed(number, &mut random).at((number % 3) as i32));
        }
        sender.send(&Draft::text("culprit", format!("please {word}")).at(1));
        for number in 0..600 {
            sender.send(&mixed(number, &mut random).at((number % 3) as i32));
        }
        sender.flush()
    });
    let mut observers = [stage.observe(projection)];
    let mut engine = home.start();
    let status = engine.wait_projection(projection.name, "halted", |status| status["state"] == "halted");
    println!("{word}: {}", status["halt"]);
    let at = &status["halt"]["at"];
    assert_eq!((&at["topic"], &at["partition"], &at["offset"]), (&TOPIC.into(), &1.into(), &1_000.into()), "{status}");
    observers.iter_mut().for_each(Observer::still_right);
    let snapshot = stage.snapshot(projection).await;
    assert_eq!(snapshot.checkpoints[&(TOPIC.to_owned(), 1)], 1_000, "all before it is applied");
    tokio::task::block_in_place(|| Follower::new(projection, stage.log()).check(&snapshot)).unwrap();
    assert_eq!(stage.settle(&[LEDGER], &acknowledged).await, 3_601);
    let again = engine.projection(projection.name).unwrap();
    assert_eq!(again["state"], "halted", "it stays halted: {again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_event_halts_its_projection_only() {
    poison(seen::REJECT, "reject", "reject").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_halts_its_projection_only() {
    poison(seen::TRAP, "trap", "trap").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_halts_its_projection_only() {
    poison(seen::LOOP, "loop", "loop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_allocation_halts_its_projection_only() {
    poison(seen::ALLOC, "alloc", "alloc").await;
}

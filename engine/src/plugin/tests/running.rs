//! Outcomes, faults and verdicts: the same whatever else is in a call, and however slow the machine is.

use std::time::Duration;

use super::guest::{batch, batch_from, numbers, plugin, preview_1, preview_2};
use crate::change::PluginValue;
use crate::error::ErrorKind;
use crate::event::OFFSET_MAX;
use crate::plugin::{APPLIED_BYTES_MAX, EventFaultKind, Limits, Plugin};

/// With so much time that the clock never fires, however loaded the machine is: calls can be counted.
async fn probe() -> Plugin {
    plugin(preview_1().core(), Limits { call_time_max: Duration::from_secs(120), ..Limits::default() }).await
}

/// The events before the fault, the fault's kind and its reason.
async fn fault(plugin: &Plugin, values: &[&str]) -> (usize, EventFaultKind, String) {
    let applied = plugin.apply(&batch(values)).await.unwrap();
    let fault = applied.fault.unwrap();
    (applied.changes.len(), fault.kind, fault.reason)
}

#[tokio::test]
async fn events_become_changes() {
    let plugin = probe().await;
    let applied = plugin.apply(&batch(&["o", "", "o"])).await.unwrap();
    assert_eq!(applied.fault, None);
    assert_eq!(numbers(&applied), [10, 11, 12]);
    assert_eq!(applied.changes[1][0].values, [PluginValue::Text("k1".into()), PluginValue::Integer(11)]);
    assert_eq!(plugin.figures().calls, 1);
    assert_eq!(plugin.apply(&batch(&[])).await.unwrap().changes.len(), 0);
}

#[tokio::test]
async fn many_events_are_dealt_to_calls() {
    let plugin = probe().await;
    let applied = plugin.apply(&batch(&["o"; 2500])).await.unwrap();
    assert_eq!(numbers(&applied), (10..2510).collect::<Vec<_>>());
    assert_eq!((plugin.figures().calls, plugin.figures().instances), (3, 3));
    let large = "o".repeat(1 << 20);
    assert_eq!(numbers(&plugin.apply(&batch(&[&large, &large, "o"])).await.unwrap()), [10, 11, 12]);
}

#[tokio::test]
async fn what_the_plugin_says_is_passed_on_escaped() {
    let plugin = probe().await;
    assert_eq!(
        fault(&plugin, &["o", "r", "t"]).await,
        (1, EventFaultKind::Rejected, "no such order\\u{1b}[31m".into())
    );
    assert_eq!(fault(&plugin, &["h"]).await, (0, EventFaultKind::Halted, "stop here".into()));
}

#[tokio::test]
async fn the_event_that_traps_is_found_and_the_plugin_goes_on() {
    let plugin = probe().await;
    for (value, words) in [
        ("t", "abort_on_purpose"),
        ("p", "panicked at x"),
        ("s", "stack overflowed"),
        ("a", "67108864 bytes of memory"),
    ] {
        let (before, kind, reason) = fault(&plugin, &["o", "o", value, "o", value]).await;
        assert_eq!((before, kind), (2, EventFaultKind::Trapped), "{value}: {reason}");
        assert!(reason.contains(words), "{value}: {reason}");
        assert_eq!(numbers(&plugin.apply(&batch(&["o", "o"])).await.unwrap()), [10, 11]);
    }
    assert_eq!(plugin.figures().reruns_one_by_one, 4);
}

#[tokio::test]
async fn an_endless_loop_is_judged_by_fuel() {
    let limits = Limits { call_time_max: Duration::from_millis(10), ..Limits::default() };
    let plugin = plugin(preview_1().core(), limits.clone()).await;
    // One loop counts, the other calls the host, which costs time but hardly any instructions.
    for value in ["l", "F"] {
        let (before, kind, reason) = fault(&plugin, &["o", value, "o"]).await;
        assert_eq!((before, kind), (1, EventFaultKind::Trapped), "{reason}");
        assert!(reason.contains(&format!("{} units of fuel", limits.fuel_per_event())), "{reason}");
    }
    assert_eq!(plugin.figures().reruns_metered, 2);
}

#[tokio::test]
async fn time_blames_nobody() {
    let values = ["o", "b", "o", "b", "r"];
    let patient = probe().await;
    let expected = patient.apply(&batch(&values)).await.unwrap();
    assert_eq!(expected.changes.len(), 4);
    // The clock fires on innocent events, which do more than 10 ms of work each.
    let hasty =
        plugin(preview_1().core(), Limits { call_time_max: Duration::from_micros(1), ..Limits::default() }).await;
    for _ in 0..3 {
        assert_eq!(hasty.apply(&batch(&values)).await.unwrap(), expected);
    }
    let figures = hasty.figures();
    assert!(figures.deadlines > 0 && figures.reruns_metered > 0, "{figures:?}");
}

#[tokio::test]
async fn a_wrong_number_of_outcomes_is_the_events_fault() {
    let (before, kind, reason) = fault(&probe().await, &["o", "w"]).await;
    assert_eq!((before, kind), (1, EventFaultKind::Invalid), "{reason}");
    assert!(reason.contains("2 outcomes for 1 event"), "{reason}");
}

#[tokio::test]
async fn limits_of_an_event_are_named() {
    let (before, kind, reason) = fault(&probe().await, &["o", "m"]).await;
    assert_eq!((before, kind), (1, EventFaultKind::Invalid), "{reason}");
    assert!(reason.contains("20000 changes") && reason.contains("limits.changes_per_event"), "{reason}");
    let limits = Limits { changes_per_event_max: 100_000, change_bytes_per_event_max: 1000, ..Limits::default() };
    let (_, kind, reason) = fault(&plugin(preview_1().core(), limits).await, &["m"]).await;
    assert_eq!(kind, EventFaultKind::Invalid);
    assert!(reason.contains("limits.bytes_per_event"), "{reason}");
}

#[tokio::test]
async fn what_is_returned_for_many_events_is_bounded() {
    let limits =
        Limits { changes_per_event_max: 100_000, call_time_max: Duration::from_secs(120), ..Limits::default() };
    let plugin = plugin(preview_1().core(), limits).await;
    // Each so large that it is in a call of its own, and has 20,000 changes.
    let many = "m".repeat(1 << 20);
    let applied = plugin.apply(&batch(&[many.as_str(); 20])).await.unwrap();
    assert_eq!(applied.fault, None);
    let (events, bytes) = (applied.changes.len(), applied.bytes);
    assert!((1..20).contains(&events), "{events} events");
    assert!((APPLIED_BYTES_MAX..APPLIED_BYTES_MAX + bytes / events + 1).contains(&bytes), "{bytes} bytes");
}

#[tokio::test]
async fn clock_and_random_numbers_belong_to_the_event() {
    for wasm in [preview_1().core(), preview_2().component()] {
        for value in ["c", "n"] {
            let mut results = Vec::new();
            for size in [1, 7, 1000] {
                let plugin = plugin(wasm.clone(), Limits::default()).await;
                let mut all = Vec::new();
                let mut start = 0;
                while all.len() < 30 {
                    let applied = plugin.apply(&batch_from(start, &vec![value; size.min(30)])).await.unwrap();
                    assert_eq!(applied.fault, None);
                    start += size as i64;
                    all.extend(numbers(&applied));
                }
                all.truncate(30);
                results.push(all);
            }
            assert_eq!(results[0], results[1], "{value}");
            assert_eq!(results[0], results[2], "{value}");
            let mut distinct = results[0].clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), 30, "{value}");
            if value == "c" {
                assert_eq!(results[0][2], 1_700_000_002_000 * 1_000_000);
            }
        }
    }
}

#[tokio::test]
async fn a_plugin_that_reads_the_clock_keeps_its_instance() {
    let plugin = probe().await;
    assert_eq!(plugin.apply(&batch(&["c"; 100])).await.unwrap().changes.len(), 100);
    // One that showed the reading, and one for all of them.
    assert_eq!((plugin.figures().instances, plugin.figures().calls), (2, 101));
    assert_eq!(plugin.apply(&batch(&["o", "c", "t", "o"])).await.unwrap().changes.len(), 2);
}

#[tokio::test]
async fn a_flood_of_log_lines_is_bounded() {
    let plugin = probe().await;
    let applied = plugin.apply(&batch(&["f", "f", "f"])).await.unwrap();
    assert_eq!(applied.changes.len(), 3);
    let logs = plugin.take_logs();
    assert!(!logs.is_empty() && logs.len() <= 256);
    assert!(logs.iter().all(|line| line.message.len() <= 2048 && !line.message.contains(char::is_control)));
    assert!(plugin.figures().log_lines_dropped > 1000);
}

#[tokio::test]
async fn what_no_event_is_to_blame_for_is_an_error() {
    let plugin = probe().await;
    let mut foreign = (*batch(&["o"])).clone();
    foreign.partition = crate::event::TopicPartition::new("others", 0);
    assert_eq!(plugin.apply(&foreign.into()).await.unwrap_err().code, "unknown_topic");
    let error = plugin.apply(&batch_from(OFFSET_MAX, &["o", "o"])).await.unwrap_err();
    assert_eq!((error.code, error.kind), ("offset_too_large", ErrorKind::Fatal));
    assert_eq!(numbers(&plugin.apply(&batch_from(OFFSET_MAX, &["o"])).await.unwrap()), [OFFSET_MAX]);
}

#[tokio::test]
async fn partitions_run_side_by_side() {
    let plugin = probe().await;
    let runs: Vec<_> = (0..8)
        .map(|_| {
            let plugin = plugin.clone();
            tokio::spawn(async move { plugin.apply(&batch(&["o", "t"])).await.unwrap().changes.len() })
        })
        .collect();
    for run in runs {
        assert_eq!(run.await.unwrap(), 1);
    }
}

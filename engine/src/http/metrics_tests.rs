//! The text against a small parser of its own, and the rule that nothing unknown is written.

use std::collections::BTreeMap;

use super::*;
use crate::runner::Counters;

pub(in crate::http) fn projection(name: &str) -> ProjectionStatus {
    let mut counters = Counters { consumed: 12, applied: 11, ..Counters::default() };
    counters.rows_written.insert("orders".into(), 9);
    counters.faults.insert("trapped", 1);
    for value in [0.0, 0.001, 3.0, 1e9] {
        counters.commit_seconds.observe(value);
    }
    let partition = |partition, lag_seconds| PartitionStatus {
        topic: "or\"ders\\\n".into(),
        partition,
        next_offset: 7,
        end_offset: (partition == 0).then_some(9),
        log_start_offset: None,
        lag_events: (partition == 0).then_some(2),
        lag_seconds,
        retention_margin_events: None,
    };
    ProjectionStatus {
        name: name.into(),
        generation: 1,
        revision: 3,
        plugin_digest: "ab".repeat(32),
        plugin_file: format!("{name}.wasm"),
        state: State::CatchingUp,
        halt: None,
        waiting: None,
        lag_events: None,
        lag_seconds: Some(f64::NAN),
        rate_per_second: 1.5,
        last_event_at_us: None,
        partitions: vec![partition(0, Some(0.5)), partition(1, Some(f64::NAN)), partition(2, None)],
        counters,
    }
}

/// From `name{labels}` to value; every line must be a comment or a sample.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let name = series.split('{').next().unwrap_or_default();
        assert!(name.starts_with("laterna_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
        let value: f64 = value.parse().expect(line);
        assert!(value.is_finite(), "{line}");
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

#[test]
fn the_text_parses_and_unknown_values_have_no_line() {
    let seen = Snapshot { projections: vec![projection("a"), projection("b")], ..Snapshot::default() };
    let text = render(&seen).unwrap();
    let samples = parse(&text);
    let topic = "topic=\"or\\\"ders\\\\\\n\"";
    assert_eq!(samples[&format!("laterna_projection_lag_records{{projection=\"a\",{topic},partition=\"0\"}}")], 2.0);
    assert!(
        !samples.contains_key(&format!("laterna_projection_lag_records{{projection=\"a\",{topic},partition=\"1\"}}"))
    );
    assert_eq!(samples.keys().filter(|key| key.starts_with("laterna_projection_lag_seconds")).count(), 2);
    assert!(!samples.keys().any(|key| key.starts_with("laterna_partition_log_start_offset")));
    assert_eq!(samples["laterna_projection_state{projection=\"b\",state=\"catching-up\"}"], 1.0);
    assert_eq!(samples["laterna_projection_state{projection=\"b\",state=\"halted\"}"], 0.0);
    assert_eq!(samples["laterna_records_applied_total{projection=\"a\"}"], 11.0);
    assert_eq!(samples["laterna_rows_written_total{projection=\"a\",table=\"orders\"}"], 9.0);
    assert_eq!(samples["laterna_wasm_traps_total{projection=\"a\",kind=\"trapped\"}"], 1.0);
    assert!(samples.keys().any(|key| key.starts_with("laterna_build_info{version=")), "{text}");
    assert!(samples.keys().any(|key| key.starts_with("laterna_projection_info{projection=\"a\"")));
}

#[test]
fn histograms_are_cumulative_and_end_in_their_count() {
    let text = render(&Snapshot { projections: vec![projection("a")], ..Snapshot::default() }).unwrap();
    let buckets: Vec<(String, u64)> = text
        .lines()
        .filter(|line| line.starts_with("laterna_commit_duration_seconds_bucket"))
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect();
    assert_eq!(buckets.len(), Histogram::BOUNDS + 1);
    assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    assert_eq!((buckets[0].1, buckets[Histogram::BOUNDS - 1].1, buckets[Histogram::BOUNDS].1), (1, 3, 4));
    assert!(buckets[Histogram::BOUNDS].0.contains("le=\"+Inf\""));
}

#[test]
fn without_projections_there_is_still_a_text() {
    let samples = parse(&render(&Snapshot::default()).unwrap());
    assert_eq!(samples["laterna_plugins_rejected"], 0.0);
}

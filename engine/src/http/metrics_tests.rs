//! The text against a small parser of its own, and the rule that nothing unknown is written.

use std::collections::BTreeMap;

use super::*;
use crate::http::fake;

fn projection(name: &str) -> ProjectionView {
    let mut view = fake::view(name);
    let partition = |partition, lag_seconds| PartitionStatus {
        topic: "or\"ders\\\n".into(),
        partition,
        next_offset: 7,
        end_offset: (partition == 0).then_some(9),
        log_start_offset: None,
        lag_events: (partition == 0).then_some(2),
        lag_seconds,
        retention_margin_events: Some(100 - i64::from(partition)),
    };
    view.status.lag_seconds = Some(f64::NAN);
    view.status.rate_per_second = f64::NAN;
    view.status.partitions = vec![partition(0, Some(0.5)), partition(1, Some(f64::NAN)), partition(2, None)];
    view.rebuild = Some(fake::rebuild_view());
    view
}

fn seen(names: &[&str]) -> Snapshot {
    Snapshot { projections: names.iter().map(|name| projection(name)).collect(), ..Snapshot::default() }
}

/// From `name{labels}` to value; every line must be a comment or a sample.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let name = series.split('{').next().unwrap_or_default();
        assert!(["laterna_", "kafka_"].iter().any(|prefix| name.starts_with(prefix)), "{line}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
        let value: f64 = value.parse().expect(line);
        assert!(value.is_finite(), "{line}");
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

#[test]
fn the_text_parses_and_unknown_values_have_no_line() {
    let text = render(&seen(&["a", "halted_one"]), &MetricsSettings::default()).unwrap();
    let samples = parse(&text);
    let topic = "topic=\"or\\\"ders\\\\\\n\"";
    assert_eq!(samples[&format!("laterna_projection_lag_records{{projection=\"a\",{topic},partition=\"0\"}}")], 2.0);
    assert!(
        !samples.contains_key(&format!("laterna_projection_lag_records{{projection=\"a\",{topic},partition=\"1\"}}"))
    );
    assert_eq!(samples.keys().filter(|key| key.starts_with("laterna_projection_lag_seconds")).count(), 2);
    assert!(!samples.keys().any(|key| key.starts_with("laterna_partition_log_start_offset")));
    assert_eq!(samples["laterna_projection_state{projection=\"a\",state=\"catching-up\"}"], 1.0);
    assert_eq!(samples["laterna_projection_state{projection=\"a\",state=\"halted\"}"], 0.0);
    assert_eq!(samples["laterna_records_applied_total{projection=\"a\"}"], 11.0);
    assert_eq!(samples["laterna_plugin_reloads_total{projection=\"a\",result=\"applied\"}"], 3.0);
    assert_eq!(samples["laterna_plugin_reloads_total{projection=\"a\",result=\"rejected\"}"], 1.0);
    assert_eq!(samples["laterna_rebuilds_total{projection=\"a\",result=\"switched\"}"], 2.0);
    assert_eq!(samples["laterna_rows_written_total{projection=\"a\",table=\"orders\"}"], 9.0);
    assert_eq!(samples["laterna_wasm_traps_total{projection=\"a\",kind=\"trapped\"}"], 1.0);
    assert_eq!(samples["laterna_projection_halted{projection=\"halted_one\",code=\"event_rejected\"}"], 1.0);
    assert_eq!(samples["laterna_rebuild_state{projection=\"a\",state=\"filling\"}"], 1.0);
    assert_eq!(samples["laterna_rebuild_remaining_records{projection=\"a\"}"], 6.0);
    assert!((samples["laterna_rebuild_progress_ratio{projection=\"a\"}"] - 1.0 / 3.0).abs() < 1e-9);
    assert_eq!(samples["laterna_projection_slo_lag_seconds{projection=\"a\"}"], 30.0);
    assert!(!samples.keys().any(|key| key.starts_with("laterna_projection_rate") || key.starts_with("kafka_")));
    assert!(samples.keys().any(|key| key.starts_with("laterna_build_info{version=")), "{text}");
    assert!(samples.keys().any(|key| key.starts_with("laterna_projection_info{projection=\"a\"")));
}

#[test]
fn histograms_are_cumulative_and_end_in_their_count() {
    let text = render(&seen(&["a"]), &MetricsSettings::default()).unwrap();
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
    let samples = parse(&render(&Snapshot::default(), &MetricsSettings::default()).unwrap());
    assert_eq!(samples["laterna_plugins_rejected"], 0.0);
}

#[test]
fn a_projection_without_its_partitions_has_one_series_where_all_are_known() {
    let settings = MetricsSettings { granularity: Granularity::Projection, ..MetricsSettings::default() };
    let text = render(&seen(&["a"]), &settings).unwrap();
    let samples = parse(&text);
    assert!(!text.contains("partition=") && !text.contains("topic="));
    assert_eq!(samples["laterna_projection_checkpoint_offset{projection=\"a\"}"], 21.0);
    assert_eq!(samples["laterna_projection_retention_margin_records{projection=\"a\"}"], 98.0);
    assert!(!samples.contains_key("laterna_projection_lag_records{projection=\"a\"}"), "two of three are unknown");
}

#[test]
fn boards_for_the_lag_exporter_find_their_names() {
    let settings = MetricsSettings {
        kafka_lag_exporter_compat: true,
        group_prefix: "laterna".into(),
        ..MetricsSettings::default()
    };
    let samples = parse(&render(&seen(&["a"]), &settings).unwrap());
    let labels = "cluster_name=\"laterna\",group=\"laterna.a\"";
    let partition = format!("{labels},topic=\"or\\\"ders\\\\\\n\",partition=\"0\"");
    assert_eq!(samples[&format!("kafka_consumergroup_group_lag{{{partition}}}")], 2.0);
    assert_eq!(samples[&format!("kafka_consumergroup_group_offset{{{partition}}}")], 7.0);
    assert!(!samples.keys().any(|key| key.contains("max_lag")), "not all partitions are known");
}

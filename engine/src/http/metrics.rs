//! The figures in OpenMetrics text. A pure function of a snapshot: nothing is registered, so nothing can go stale.
//!
//! A value that is not known has no line; NaN is never written. Labels come from names that are bounded by the contract.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::Snapshot;
use crate::runner::{Histogram, PartitionStatus, ProjectionStatus, State};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of `/metrics`.
pub(super) fn render(seen: &Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures(seen.clone())));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Figures(Snapshot);

type Labels = Vec<(&'static str, String)>;

/// One figure of a partition: its name, its help, and the value where it is known.
type PartitionFigure = (&'static str, &'static str, fn(&PartitionStatus) -> Option<f64>);

/// One counter of a projection.
type Count = (&'static str, &'static str, fn(&ProjectionStatus) -> u64);

const PARTITION_FIGURES: [PartitionFigure; 6] = [
    ("laterna_projection_lag_records", "Events behind: end offset minus checkpoint.", |partition| {
        partition.lag_events.map(|events| events as f64)
    }),
    ("laterna_projection_lag_seconds", "Age of the first event that is not applied; 0 without lag.", |partition| {
        partition.lag_seconds
    }),
    ("laterna_projection_checkpoint_offset", "The first event that is not applied.", |partition| {
        Some(partition.next_offset as f64)
    }),
    ("laterna_partition_high_watermark_offset", "The offset after the last visible record.", |partition| {
        partition.end_offset.map(|offset| offset as f64)
    }),
    ("laterna_partition_log_start_offset", "The first offset that the log still holds.", |partition| {
        partition.log_start_offset.map(|offset| offset as f64)
    }),
    (
        "laterna_projection_retention_margin_records",
        "Events that the log may drop before unapplied ones are lost.",
        |partition| partition.retention_margin_events.map(|events| events as f64),
    ),
];

const COUNTS: [Count; 7] = [
    ("laterna_records_consumed", "Events taken from the source.", |projection| projection.counters.consumed),
    ("laterna_records_applied", "Events whose changes are committed.", |projection| projection.counters.applied),
    ("laterna_commits", "Transactions committed.", |projection| projection.counters.commits),
    ("laterna_fenced_commits", "Commits that met the fence: another engine owned a partition.", |projection| {
        projection.counters.fenced
    }),
    ("laterna_unknown_commits", "Commits whose outcome had to be looked up.", |projection| {
        projection.counters.unknown_commits
    }),
    ("laterna_retries", "Transient failures that were retried.", |projection| projection.counters.retries),
    ("laterna_kafka_rebalances", "Assignments and revocations of partitions.", |projection| {
        projection.counters.rebalances
    }),
];

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        engine(&mut encoder, &self.0)?;
        progress(&mut encoder, &self.0.projections)?;
        work(&mut encoder, &self.0.projections)
    }
}

/// The process, and what runs in it.
fn engine(encoder: &mut DescriptorEncoder<'_>, seen: &Snapshot) -> fmt::Result {
    let projections = &seen.projections;
    info(encoder, "laterna_build", "The running engine.", [vec![("version", env!("CARGO_PKG_VERSION").to_owned())]])?;
    gauges(
        encoder,
        "laterna_ready",
        "1 where all readiness checks pass.",
        [(Vec::new(), f64::from(u8::from(seen.ready.iter().all(|check| check.ok))))],
    )?;
    gauges(
        encoder,
        "laterna_plugins_rejected",
        "Files in the plugins folder that do not run.",
        [(Vec::new(), seen.rejected.len() as f64)],
    )?;
    info(
        encoder,
        "laterna_projection",
        "The running build of each projection.",
        projections.iter().map(|projection| {
            let mut labels = of(projection);
            labels.push(("plugin_version", projection.revision.to_string()));
            labels.push(("generation", projection.generation.to_string()));
            labels.push(("sha256", projection.plugin_digest.clone()));
            labels
        }),
    )?;
    let states = projections.iter().flat_map(|projection| {
        State::ALL.map(|state| (state, state.name())).map(|(state, name)| {
            let mut labels = of(projection);
            labels.push(("state", name.to_owned()));
            (labels, f64::from(u8::from(projection.state == state)))
        })
    });
    gauges(encoder, "laterna_projection_state", "1 for the state that the projection is in.", states)
}

/// How far each partition is.
fn progress(encoder: &mut DescriptorEncoder<'_>, projections: &[ProjectionStatus]) -> fmt::Result {
    for (name, help, figure) in PARTITION_FIGURES {
        let values = projections.iter().flat_map(|projection| {
            projection
                .partitions
                .iter()
                .filter_map(move |partition| Some((of_partition(projection, partition), figure(partition)?)))
        });
        gauges(encoder, name, help, values)?;
    }
    Ok(())
}

/// What each projection has done, and how long it took.
fn work(encoder: &mut DescriptorEncoder<'_>, projections: &[ProjectionStatus]) -> fmt::Result {
    for (name, help, count) in COUNTS {
        counters(encoder, name, help, projections.iter().map(|projection| (of(projection), count(projection))))?;
    }
    let rows = by_label(projections, "table", |projection| {
        Box::new(projection.counters.rows_written.iter().map(|(table, n)| (table.clone(), *n)))
    });
    counters(encoder, "laterna_rows_written", "Row operations sent to the database.", rows)?;
    let faults = by_label(projections, "kind", |projection| {
        Box::new(projection.counters.faults.iter().map(|(kind, n)| ((*kind).to_owned(), *n)))
    });
    counters(encoder, "laterna_wasm_traps", "Faults of events by kind: rejected, halted, trapped, invalid.", faults)?;
    let histogram = |encoder: &mut _, name, help, of_counters: fn(&ProjectionStatus) -> &Histogram| {
        histograms(encoder, name, help, projections.iter().map(|projection| (of(projection), of_counters(projection))))
    };
    histogram(encoder, "laterna_apply_duration_seconds", "Time of a call of the plugin.", |p| {
        &p.counters.apply_seconds
    })?;
    histogram(encoder, "laterna_commit_duration_seconds", "Time of a commit.", |p| &p.counters.commit_seconds)?;
    histogram(encoder, "laterna_end_to_end_latency_seconds", "From an event's timestamp to its commit.", |p| {
        &p.counters.latency_seconds
    })?;
    histogram(encoder, "laterna_batch_records", "Events in a commit.", |p| &p.counters.batch_events)
}

type Counted<'a> = Box<dyn Iterator<Item = (String, u64)> + 'a>;

fn by_label<'a>(
    projections: &'a [ProjectionStatus],
    label: &'static str,
    counted: fn(&'a ProjectionStatus) -> Counted<'a>,
) -> impl Iterator<Item = (Labels, u64)> + 'a {
    projections.iter().flat_map(move |projection| {
        counted(projection).map(move |(value, count)| {
            let mut labels = of(projection);
            labels.push((label, value));
            (labels, count)
        })
    })
}

fn of(projection: &ProjectionStatus) -> Labels {
    vec![("projection", projection.name.clone())]
}

fn of_partition(projection: &ProjectionStatus, partition: &PartitionStatus) -> Labels {
    let mut labels = of(projection);
    labels.push(("topic", partition.topic.clone()));
    labels.push(("partition", partition.partition.to_string()));
    labels
}

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    write(&mut encoder.encode_descriptor(name, help, None, kind)?)
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels, f64)>,
) -> fmt::Result {
    family(encoder, name, help, MetricType::Gauge, |metric| {
        let known = values.into_iter().filter(|(_, value)| value.is_finite());
        known.into_iter().try_for_each(|(labels, value)| {
            if labels.is_empty() {
                return metric.encode_gauge(&value);
            }
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)
        })
    })
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels, u64)>,
) -> fmt::Result {
    family(encoder, name, help, MetricType::Counter, |metric| {
        values
            .into_iter()
            .try_for_each(|(labels, value)| ConstCounter::new(value).encode(metric.encode_family(&labels)?))
    })
}

fn info(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = Labels>,
) -> fmt::Result {
    family(encoder, name, help, MetricType::Info, |metric| {
        values.into_iter().try_for_each(|labels| metric.encode_info(&labels))
    })
}

fn histograms<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels, &'a Histogram)>,
) -> fmt::Result {
    family(encoder, name, help, MetricType::Histogram, |metric| {
        values.into_iter().try_for_each(|(labels, histogram)| {
            let bound = |index| if index == Histogram::BOUNDS { f64::INFINITY } else { Histogram::bound(index) };
            let buckets: Vec<(f64, u64)> =
                histogram.buckets.iter().enumerate().map(|(index, count)| (bound(index), *count)).collect();
            let sum = if histogram.sum.is_finite() { histogram.sum } else { f64::MAX };
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, histogram.count, &buckets, None)
        })
    })
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
pub(super) mod tests;

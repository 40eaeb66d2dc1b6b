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
use crate::control::ProjectionView;
use crate::runner::{Histogram, PartitionStatus};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The states of a projection, as they are shown elsewhere.
const STATES: [&str; 10] =
    ["halted", "stopped", "paused", "waiting", "starting", "stalled", "lagging", "catching-up", "idle", "running"];

/// The states of a rebuild.
const REBUILD_STATES: [&str; 8] =
    ["filling", "indexing", "catching-up", "ready", "switching", "switched", "cancelled", "failed"];

/// The name under which boards for kafka-lag-exporter find the cluster.
const CLUSTER: &str = "laterna";

/// What `/metrics` shows.
#[derive(Clone, Debug, Default)]
pub struct MetricsSettings {
    /// How finely offsets and lag are shown.
    pub granularity: Granularity,
    /// Whether lag is shown once more under the names that kafka-lag-exporter gives it.
    pub kafka_lag_exporter_compat: bool,
    /// Prefix of the consumer groups, for those names.
    pub group_prefix: String,
}

/// How finely offsets and lag are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granularity {
    /// A series for each partition.
    #[default]
    Partition,
    /// A series for each projection, for clusters with very many partitions.
    Projection,
}

/// The text of `/metrics`.
pub(super) fn render(seen: &Snapshot, settings: &MetricsSettings) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures { seen: seen.clone(), settings: settings.clone() }));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Figures {
    seen: Snapshot,
    settings: MetricsSettings,
}

type Labels = Vec<(&'static str, String)>;

/// One figure of a partition: its name, its help, the value where it is known, and how the partitions' values become the projection's.
struct PartitionFigure {
    name: &'static str,
    help: &'static str,
    value: fn(&PartitionStatus) -> Option<f64>,
    over_partitions: fn(f64, f64) -> f64,
}

/// One figure of a projection.
type ProjectionFigure = (&'static str, &'static str, fn(&ProjectionView) -> Option<f64>);

/// One counter of a projection.
type Count = (&'static str, &'static str, fn(&ProjectionView) -> u64);

const PARTITION_FIGURES: [PartitionFigure; 6] = [
    PartitionFigure {
        name: "laterna_projection_lag_records",
        help: "Events behind: end offset minus checkpoint.",
        value: |partition| partition.lag_events.map(|events| events as f64),
        over_partitions: |a, b| a + b,
    },
    PartitionFigure {
        name: "laterna_projection_lag_seconds",
        help: "Age of the first event that is not applied; 0 without lag.",
        value: |partition| partition.lag_seconds,
        over_partitions: f64::max,
    },
    PartitionFigure {
        name: "laterna_projection_checkpoint_offset",
        help: "The first event that is not applied.",
        value: |partition| Some(partition.next_offset as f64),
        over_partitions: |a, b| a + b,
    },
    PartitionFigure {
        name: "laterna_partition_high_watermark_offset",
        help: "The offset after the last visible record.",
        value: |partition| partition.end_offset.map(|offset| offset as f64),
        over_partitions: |a, b| a + b,
    },
    PartitionFigure {
        name: "laterna_partition_log_start_offset",
        help: "The first offset that the log still holds.",
        value: |partition| partition.log_start_offset.map(|offset| offset as f64),
        over_partitions: |a, b| a + b,
    },
    PartitionFigure {
        name: "laterna_projection_retention_margin_records",
        help: "Events that the log may drop before unapplied ones are lost.",
        value: |partition| partition.retention_margin_events.map(|events| events as f64),
        over_partitions: f64::min,
    },
];

const PROJECTION_FIGURES: [ProjectionFigure; 5] = [
    ("laterna_projection_slo_lag_seconds", "How far behind is too far.", |view| Some(f64::from(view.slo_lag_seconds))),
    (
        "laterna_projection_eta_seconds",
        "Until the slowest partition has caught up; none where it does not fall.",
        |view| view.eta_seconds,
    ),
    ("laterna_projection_rate_records_per_second", "Events applied, over the last ten seconds.", |view| {
        Some(view.status.rate_per_second)
    }),
    (
        "laterna_rebuild_progress_ratio",
        "Committed part of the rebuild that is under way, or of the last one.",
        |view| view.rebuild.as_ref().map(|rebuild| rebuild.progress_ratio),
    ),
    ("laterna_rebuild_remaining_records", "Events up to the rebuild's targets that are not committed yet.", |view| {
        view.rebuild.as_ref().map(|rebuild| rebuild.remaining_events as f64)
    }),
];

const COUNTS: [Count; 7] = [
    ("laterna_records_consumed", "Events taken from the source.", |projection| projection.status.counters.consumed),
    ("laterna_records_applied", "Events whose changes are committed.", |projection| projection.status.counters.applied),
    ("laterna_commits", "Transactions committed.", |projection| projection.status.counters.commits),
    ("laterna_fenced_commits", "Commits that met the fence: another engine owned a partition.", |projection| {
        projection.status.counters.fenced
    }),
    ("laterna_unknown_commits", "Commits whose outcome had to be looked up.", |projection| {
        projection.status.counters.unknown_commits
    }),
    ("laterna_retries", "Transient failures that were retried.", |projection| projection.status.counters.retries),
    ("laterna_kafka_rebalances", "Assignments and revocations of partitions.", |projection| {
        projection.status.counters.rebalances
    }),
];

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        engine(&mut encoder, &self.seen)?;
        progress(&mut encoder, &self.seen.projections, self.settings.granularity)?;
        work(&mut encoder, &self.seen.projections)?;
        if self.settings.kafka_lag_exporter_compat {
            lag_exporter(&mut encoder, &self.seen.projections, &self.settings)?;
        }
        Ok(())
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
            labels.push(("plugin_version", projection.status.revision.to_string()));
            labels.push(("generation", projection.status.generation.to_string()));
            labels.push(("sha256", projection.status.plugin_digest.clone()));
            labels
        }),
    )?;
    gauges(
        encoder,
        "laterna_projection_state",
        "1 for the state that the projection is in.",
        projections.iter().flat_map(|view| one_of(view, &STATES, &name_of(&view.status.state))),
    )?;
    let halts = projections.iter().filter_map(|view| {
        let mut labels = of(view);
        labels.push(("code", view.status.halt.as_ref()?.code.to_owned()));
        Some((labels, 1.0))
    });
    gauges(encoder, "laterna_projection_halted", "1 where it is halted, with the cause.", halts)?;
    let rebuilds = projections.iter().filter_map(|view| Some((view, name_of(&view.rebuild.as_ref()?.record.state))));
    gauges(
        encoder,
        "laterna_rebuild_state",
        "1 for the state that the rebuild under way, or the last one, is in.",
        rebuilds.flat_map(|(view, state)| one_of(view, &REBUILD_STATES, &state)),
    )?;
    let compiled = seen
        .plugins
        .iter()
        .filter_map(|plugin| Some((vec![("projection", plugin.projection.clone()?)], plugin.compile_seconds?)));
    // Two files may name one projection; a series stands once.
    let compiled: std::collections::BTreeMap<Labels, f64> = compiled.collect();
    gauges(encoder, "laterna_wasm_compile_duration_seconds", "How long the build on disk took to compile.", compiled)
}

/// A series for each name, 1 where it is the present one.
fn one_of(view: &ProjectionView, names: &'static [&'static str], present: &str) -> Vec<(Labels, f64)> {
    let series = |name: &&str| {
        let mut labels = of(view);
        labels.push(("state", (*name).to_owned()));
        (labels, f64::from(u8::from(*name == present)))
    };
    names.iter().map(series).collect()
}

/// The name of a state, as JSON has it.
fn name_of(state: &impl serde::Serialize) -> String {
    serde_json::to_value(state).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// How far each partition is, or each projection.
fn progress(
    encoder: &mut DescriptorEncoder<'_>,
    projections: &[ProjectionView],
    granularity: Granularity,
) -> fmt::Result {
    for PartitionFigure { name, help, value, over_partitions } in PARTITION_FIGURES {
        let values = projections.iter().flat_map(|view| -> Vec<(Labels, f64)> {
            let partitions = &view.status.partitions;
            match granularity {
                Granularity::Partition => {
                    partitions.iter().filter_map(|p| Some((of_partition(view, p), value(p)?))).collect()
                }
                // Where one is not known, the whole is not.
                Granularity::Projection => {
                    let known: Option<Vec<f64>> =
                        partitions.iter().map(|p| value(p).filter(|v| v.is_finite())).collect();
                    let whole = known.and_then(|known| known.into_iter().reduce(over_partitions));
                    whole.map(|whole| (of(view), whole)).into_iter().collect()
                }
            }
        });
        gauges(encoder, name, help, values)?;
    }
    for (name, help, figure) in PROJECTION_FIGURES {
        gauges(encoder, name, help, projections.iter().filter_map(|view| Some((of(view), figure(view)?))))?;
    }
    Ok(())
}

/// Lag under the names that boards for kafka-lag-exporter know; without its labels for members, which would never end.
fn lag_exporter(
    encoder: &mut DescriptorEncoder<'_>,
    projections: &[ProjectionView],
    settings: &MetricsSettings,
) -> fmt::Result {
    let group = |view: &ProjectionView| {
        let group = format!("{}.{}", settings.group_prefix, view.status.name);
        vec![("cluster_name", CLUSTER.to_owned()), ("group", group)]
    };
    type Figure = (&'static str, &'static str, fn(&PartitionStatus) -> Option<f64>);
    const FIGURES: [Figure; 3] = [
        ("kafka_consumergroup_group_offset", "The first event that is not applied.", |p| Some(p.next_offset as f64)),
        ("kafka_consumergroup_group_lag", "Events behind.", |p| p.lag_events.map(|events| events as f64)),
        ("kafka_consumergroup_group_lag_seconds", "Seconds behind.", |p| p.lag_seconds),
    ];
    if settings.granularity == Granularity::Partition {
        for (name, help, figure) in FIGURES {
            let values = projections.iter().flat_map(|view| {
                view.status.partitions.iter().filter_map(move |partition| {
                    let mut labels = group(view);
                    labels.push(("topic", partition.topic.clone()));
                    labels.push(("partition", partition.partition.to_string()));
                    Some((labels, figure(partition)?))
                })
            });
            gauges(encoder, name, help, values)?;
        }
    }
    let max = |figure: fn(&PartitionStatus) -> Option<f64>| {
        projections.iter().filter_map(move |view| {
            let known: Option<Vec<f64>> = view.status.partitions.iter().map(figure).collect();
            Some((group(view), known?.into_iter().reduce(f64::max)?))
        })
    };
    gauges(
        encoder,
        "kafka_consumergroup_group_max_lag",
        "Events behind, of the partition that is furthest behind.",
        max(|partition| partition.lag_events.map(|events| events as f64)),
    )?;
    gauges(
        encoder,
        "kafka_consumergroup_group_max_lag_seconds",
        "Seconds behind, of the partition that is furthest behind.",
        max(|partition| partition.lag_seconds),
    )
}

/// What each projection has done, and how long it took.
fn work(encoder: &mut DescriptorEncoder<'_>, projections: &[ProjectionView]) -> fmt::Result {
    for (name, help, count) in COUNTS {
        counters(encoder, name, help, projections.iter().map(|projection| (of(projection), count(projection))))?;
    }
    let rows = by_label(projections, "table", |projection| {
        Box::new(projection.status.counters.rows_written.iter().map(|(table, n)| (table.clone(), *n)))
    });
    counters(encoder, "laterna_rows_written", "Row operations sent to the database.", rows)?;
    let faults = by_label(projections, "kind", |projection| {
        Box::new(projection.status.counters.faults.iter().map(|(kind, n)| ((*kind).to_owned(), *n)))
    });
    counters(
        encoder,
        "laterna_wasm_traps",
        "Faults of events by kind: rejected, halted, trapped, invalid, undecodable.",
        faults,
    )?;
    let reloads = by_label(projections, "result", |projection| {
        Box::new(projection.tallies.reloads.iter().map(|(result, n)| ((*result).to_owned(), *n)))
    });
    counters(encoder, "laterna_plugin_reloads", "Builds that took over (applied), or do not run (rejected).", reloads)?;
    let rebuilds = by_label(projections, "result", |projection| {
        Box::new(projection.tallies.rebuilds.iter().map(|(result, n)| ((*result).to_owned(), *n)))
    });
    counters(encoder, "laterna_rebuilds", "Rebuilds that ended: switched, cancelled, failed.", rebuilds)?;
    let histogram = |encoder: &mut _, name, help, of_counters: fn(&ProjectionView) -> &Histogram| {
        histograms(encoder, name, help, projections.iter().map(|projection| (of(projection), of_counters(projection))))
    };
    histogram(encoder, "laterna_apply_duration_seconds", "Time of a call of the plugin.", |p| {
        &p.status.counters.apply_seconds
    })?;
    histogram(encoder, "laterna_commit_duration_seconds", "Time of a commit.", |p| &p.status.counters.commit_seconds)?;
    histogram(encoder, "laterna_end_to_end_latency_seconds", "From an event's timestamp to its commit.", |p| {
        &p.status.counters.latency_seconds
    })?;
    histogram(encoder, "laterna_batch_records", "Events in a commit.", |p| &p.status.counters.batch_events)
}

type Counted<'a> = Box<dyn Iterator<Item = (String, u64)> + 'a>;

fn by_label<'a>(
    projections: &'a [ProjectionView],
    label: &'static str,
    counted: fn(&'a ProjectionView) -> Counted<'a>,
) -> impl Iterator<Item = (Labels, u64)> + 'a {
    projections.iter().flat_map(move |projection| {
        counted(projection).map(move |(value, count)| {
            let mut labels = of(projection);
            labels.push((label, value));
            (labels, count)
        })
    })
}

fn of(projection: &ProjectionView) -> Labels {
    vec![("projection", projection.status.name.clone())]
}

fn of_partition(projection: &ProjectionView, partition: &PartitionStatus) -> Labels {
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
mod tests;

//! What a projection looks like from outside: plain values that the runner publishes and HTTP, the demo and the metrics show.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;

use super::Report;
use crate::checkpoint::Generation;
use crate::error::Halt;
use crate::event::TopicPartition;
use crate::source::LogEnd;

/// No checkpoint has moved for so long although there is something to do: the projection is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// Further behind than this is a backlog.
const BACKLOG_SECONDS: f64 = 10.0;

/// What a projection is doing, by the first rule that holds: halted, stopped, paused, waiting, starting, stalled, lagging, catching-up,
/// idle, running. (`lagging` needs the history, and is the control plane's word.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not one partition has been assigned yet.
    Starting,
    /// Events flow, and what is behind is what is on its way.
    Running,
    /// A backlog is being worked off.
    CatchingUp,
    /// Nothing to do: every checkpoint stands at the end of its log.
    Idle,
    /// Behind, and no checkpoint has moved for 60 s.
    Stalled,
    /// Further behind than its SLO allows, and not catching up.
    Lagging,
    /// It takes no events until it is resumed.
    Paused,
    /// Something outside is not ready (broker, database); it is retried with back-off.
    Waiting,
    /// Stopped under a named reason; a person must act.
    Halted,
    /// Stopped by order.
    Stopped,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Starting,
        Self::Running,
        Self::CatchingUp,
        Self::Idle,
        Self::Stalled,
        Self::Lagging,
        Self::Paused,
        Self::Waiting,
        Self::Halted,
        Self::Stopped,
    ];

    /// The word for it, as in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::CatchingUp => "catching-up",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Lagging => "lagging",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::Halted => "halted",
            Self::Stopped => "stopped",
        }
    }
}

/// One projection generation, as it stands.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ProjectionStatus {
    /// Name of the projection.
    pub name: String,
    /// Number of the generation.
    pub generation: u32,
    /// The plugin's revision.
    pub revision: u32,
    /// SHA-256 of the running build, 64 hexadecimal digits.
    pub plugin_digest: String,
    /// The file in `plugins/` that the build was read from.
    pub plugin_file: String,
    /// What it is doing.
    pub state: State,
    /// Why it is halted.
    pub halt: Option<Halt>,
    /// What it waits for, while it waits: what was tried and what was said.
    pub waiting: Option<String>,
    /// Events behind, over all assigned partitions; none while an end is unknown.
    pub lag_events: Option<i64>,
    /// Seconds between now and the timestamp of the first unapplied event of the slowest partition; 0 without lag,
    /// none while unknown.
    pub lag_seconds: Option<f64>,
    /// Events applied per second, over the last ten seconds.
    pub rate_per_second: f64,
    /// When an event was last applied. Microseconds since 1970 UTC.
    pub last_event_at_us: Option<i64>,
    /// The partitions that this instance owns, by topic and number.
    pub partitions: Vec<PartitionStatus>,
    /// Figures since the start of the process.
    #[serde(skip)]
    pub counters: Counters,
}

/// One partition of a projection.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PartitionStatus {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// The first event not yet applied.
    pub next_offset: i64,
    /// The offset after the last visible record, where known.
    pub end_offset: Option<i64>,
    /// The first offset that the log still holds, where known.
    pub log_start_offset: Option<i64>,
    /// Events behind.
    pub lag_events: Option<i64>,
    /// Seconds behind.
    pub lag_seconds: Option<f64>,
    /// How many events the log may still drop before unapplied ones are lost: checkpoint minus log start.
    pub retention_margin_events: Option<i64>,
}

/// Figures that only grow.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Events taken from the source.
    pub consumed: u64,
    /// Events whose changes are committed.
    pub applied: u64,
    /// Commits.
    pub commits: u64,
    /// Commits that met the fence.
    pub fenced: u64,
    /// Commits whose outcome had to be looked up.
    pub unknown_commits: u64,
    /// Transient failures that were retried.
    pub retries: u64,
    /// Assignments and revocations.
    pub rebalances: u64,
    /// Row operations sent to the database, by table.
    pub rows_written: BTreeMap<String, u64>,
    /// Faults of events by kind: `rejected`, `halted`, `trapped`, `invalid`.
    pub faults: BTreeMap<&'static str, u64>,
    /// Seconds that a call of the plugin took.
    pub apply_seconds: Histogram,
    /// Seconds that a commit took.
    pub commit_seconds: Histogram,
    /// Seconds from an event's timestamp to its commit.
    pub latency_seconds: Histogram,
    /// Events in a commit.
    pub batch_events: Histogram,
}

/// A histogram with bounds that double, from 2^-13 (0.12 ms) to 2^14 (16,384).
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// How many values lie at or below each bound, not cumulated; the last is what lies above all.
    pub buckets: [u64; Self::BOUNDS + 1],
    /// Sum of all values.
    pub sum: f64,
    /// How many values.
    pub count: u64,
}

impl Histogram {
    /// How many bounds there are.
    pub const BOUNDS: usize = 28;

    /// The upper bound of a bucket.
    pub fn bound(index: usize) -> f64 {
        f64::exp2(index as f64 - 13.0)
    }

    /// Counts a value.
    pub fn observe(&mut self, value: f64) {
        let value = value.max(0.0);
        let index = (0..Self::BOUNDS).find(|&i| value <= Self::bound(i)).unwrap_or(Self::BOUNDS);
        self.buckets[index] += 1;
        self.sum += value;
        self.count += 1;
    }
}

/// Events per second, over the last ten seconds.
#[derive(Debug, Default)]
pub(super) struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    const WINDOW: Duration = Duration::from_secs(10);

    /// Takes note of how many events have been applied so far.
    pub(super) fn count(&mut self, applied: u64) {
        let now = Instant::now();
        while self.samples.len() > 1 && self.samples.get(1).is_some_and(|(at, _)| now - *at > Self::WINDOW) {
            self.samples.pop_front();
        }
        // A sample every tenth of a second is enough.
        if self.samples.back().is_none_or(|(at, _)| now - *at > Duration::from_millis(100)) {
            self.samples.push_back((now, applied));
        }
    }

    fn per_second(&self, applied: u64) -> f64 {
        let Some((at, before)) = self.samples.front() else { return 0.0 };
        let seconds = at.elapsed().as_secs_f64().max(0.1);
        (applied - before) as f64 / seconds
    }
}

/// The status of a runner that has not heard of its source yet.
pub(super) fn starting(parts: &super::Parts) -> ProjectionStatus {
    let descriptor = &parts.plugin.schema().descriptor;
    let Generation { projection, number } = &parts.generation;
    let away =
        ProjectionStatus::away(projection, *number, descriptor.revision, parts.plugin.digest(), &parts.plugin_file);
    ProjectionStatus { state: if parts.paused { State::Paused } else { State::Starting }, ..away }
}

impl ProjectionStatus {
    /// The status of a generation that does not run here.
    pub(crate) fn away(name: &str, generation: u32, revision: u32, plugin_digest: &str, plugin_file: &str) -> Self {
        Self {
            name: name.to_owned(),
            generation,
            revision,
            plugin_digest: plugin_digest.to_owned(),
            plugin_file: plugin_file.to_owned(),
            state: State::Starting,
            halt: None,
            waiting: None,
            lag_events: None,
            lag_seconds: None,
            rate_per_second: 0.0,
            last_event_at_us: None,
            partitions: Vec::new(),
            counters: Counters::default(),
        }
    }
}

/// The status of one partition. `first_ms` is the timestamp of the first event that was taken and not applied yet.
pub(super) fn partition(
    partition: &TopicPartition,
    next: i64,
    log: Option<&LogEnd>,
    first_ms: Option<i64>,
    now_ms: i64,
) -> PartitionStatus {
    let start = log.and_then(|log| log.start);
    let end = log.and_then(|log| log.end);
    // Expired events are lost, not behind.
    let lag_events = end.map(|end| (end - next.max(start.unwrap_or(next))).max(0));
    let first_ms = first_ms.or(log.and_then(|log| log.first_buffered_timestamp_ms)).filter(|&ms| ms >= 0);
    let lag_seconds = match (lag_events, first_ms) {
        (Some(0), _) => Some(0.0),
        (_, Some(first)) => Some((now_ms - first).max(0) as f64 / 1000.0),
        _ => None,
    };
    PartitionStatus {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        next_offset: next,
        end_offset: end,
        log_start_offset: start,
        lag_events,
        lag_seconds,
        retention_margin_events: start.map(|start| next - start),
    }
}

/// Seconds behind of the partition that is furthest behind. A halted projection reads no more, so some of its partitions' ages are not
/// known: the others' stand for them, but level is not what it is.
fn most_behind(partitions: &[PartitionStatus], is_halted: bool) -> Option<f64> {
    let known = partitions.iter().filter(|p| !is_halted || p.lag_seconds.is_some());
    let most = known.map(|p| p.lag_seconds).try_fold(0.0, |most: f64, seconds| Some(most.max(seconds?)))?;
    let is_unknown = most <= 0.0 && partitions.iter().any(|p| p.lag_seconds.is_none());
    (!is_unknown).then_some(most)
}

impl Report {
    pub(super) fn new(publish: watch::Sender<ProjectionStatus>) -> Self {
        Self {
            publish,
            halt: None,
            stopped: false,
            paused: false,
            source_trouble: None,
            format_trouble: None,
            sink_trouble: None,
            commit_trouble: None,
            counters: Counters::default(),
            rate: Rate::default(),
            last_progress: Instant::now(),
            last_sum: 0,
            last_event_at_us: None,
            mirrored: std::collections::HashMap::new(),
        }
    }

    /// Works out the state and tells everybody.
    pub(super) fn publish(&mut self, generation: &Generation, partitions: Vec<PartitionStatus>, quiet: bool) {
        let lag_events: Option<i64> = partitions.iter().map(|p| p.lag_events).sum();
        let lag_seconds = most_behind(&partitions, self.halt.is_some());
        let sum = partitions.iter().map(|p| p.next_offset).sum();
        if sum != self.last_sum || lag_events == Some(0) {
            self.last_sum = sum;
            self.last_progress = Instant::now();
        }
        let troubles = [&self.sink_trouble, &self.commit_trouble, &self.source_trouble, &self.format_trouble];
        let waiting = troubles.into_iter().find_map(Clone::clone);
        let state = if self.halt.is_some() {
            State::Halted
        } else if self.stopped {
            State::Stopped
        } else if self.paused {
            State::Paused
        } else if waiting.is_some() {
            State::Waiting
        } else if partitions.is_empty() {
            State::Starting
        } else if lag_events == Some(0) && quiet {
            State::Idle
        } else if self.last_progress.elapsed() > STALLED_AFTER {
            State::Stalled
        } else if lag_seconds.is_some_and(|seconds| seconds > BACKLOG_SECONDS) {
            State::CatchingUp
        } else {
            State::Running
        };
        self.rate.count(self.counters.applied);
        let rate_per_second = self.rate.per_second(self.counters.applied);
        self.publish.send_modify(|status| {
            status.generation = generation.number;
            status.state = state;
            status.halt.clone_from(&self.halt);
            status.waiting = waiting;
            status.lag_events = if partitions.is_empty() { None } else { lag_events };
            status.lag_seconds = if partitions.is_empty() { None } else { lag_seconds };
            status.rate_per_second = rate_per_second;
            status.last_event_at_us = self.last_event_at_us;
            status.partitions = partitions;
            status.counters.clone_from(&self.counters);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halted_projection_is_never_said_to_be_level_while_it_is_behind() {
        let of = |lags: &[Option<f64>], is_halted| {
            let topic = TopicPartition { topic: "orders".into(), partition: 0 };
            let partitions: Vec<PartitionStatus> = lags
                .iter()
                .map(|&lag_seconds| PartitionStatus { lag_seconds, ..partition(&topic, 7, None, None, 0) })
                .collect();
            most_behind(&partitions, is_halted)
        };
        assert_eq!(of(&[Some(0.0), None], true), None);
        assert_eq!(of(&[Some(0.0), None, Some(3.0)], true), Some(3.0));
        assert_eq!(of(&[Some(0.0), Some(0.0)], true), Some(0.0));
        assert_eq!(of(&[Some(3.0), None], false), None);
    }
}

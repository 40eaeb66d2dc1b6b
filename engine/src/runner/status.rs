//! What a projection looks like from outside: plain values that the runner publishes and HTTP, the demo and the metrics show.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Halt;

/// What a projection is doing, by the first rule that holds: halted, stopped, waiting, starting, stalled, catching-up, idle, running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
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
    /// Something outside is not ready (broker, database); it is retried with back-off.
    Waiting,
    /// Stopped under a named reason; a person must act.
    Halted,
    /// Stopped by order.
    Stopped,
}

/// One projection generation, as it stands.
#[derive(Clone, Debug, Serialize)]
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
    /// The partitions that this instance owns, by topic and number.
    pub partitions: Vec<PartitionStatus>,
    /// Figures since the start of the process.
    #[serde(skip)]
    pub counters: Counters,
}

/// One partition of a projection.
#[derive(Clone, Debug, PartialEq, Serialize)]
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

//! What has happened to each projection: lag over time, markers, log lines. In memory, bounded; it begins anew with the engine.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use super::Control;
use super::view::{History, LogLine, Marker, RejectedPlugin, Sample, Tallies};
use crate::runner::{PartitionStatus, ProjectionStatus, State};
use crate::sink::RebuildState;

/// Seconds between two samples, and how many are kept: six hours.
const STEP: Duration = Duration::from_secs(10);
const SAMPLES_MAX: usize = 6 * 360;
/// Log lines and markers that are kept of a projection.
const LINES_MAX: usize = 2_000;
const MARKERS_MAX: usize = 200;
/// How often logs are collected and views are told of news.
const TICK: Duration = Duration::from_millis(250);

/// Samples over which a partition's way to its end is measured.
const LAGS_MAX: usize = 6;

/// Events behind, by topic and partition.
type Lags = BTreeMap<(String, i32), i64>;

/// One projection's past.
#[derive(Default)]
pub(super) struct Journal {
    samples: VecDeque<Sample>,
    /// Each partition's lag at the last few samples: a minute.
    lags: VecDeque<(i64, Lags)>,
    markers: VecDeque<Marker>,
    lines: VecDeque<LogLine>,
    next_line: u64,
    /// What it did when it was looked at last, and with which build, on which generation.
    last: Option<(State, String, u32)>,
    /// The newest rebuild when it was looked at last.
    last_rebuild: Option<Option<(String, RebuildState)>>,
    tallies: Tallies,
}

impl Journal {
    /// Writes a line.
    pub(super) fn log(&mut self, level: &'static str, origin: &'static str, message: String) {
        self.next_line += 1;
        self.lines.push_back(LogLine { id: self.next_line, at_us: now_us(), level, origin, message });
        if self.lines.len() > LINES_MAX {
            self.lines.pop_front();
        }
    }

    /// Marks something that happened, in the chart and in the log.
    pub(super) fn mark(&mut self, kind: &'static str, text: String) {
        self.log("info", "engine", text.clone());
        self.markers.push_back(Marker { at_us: now_us(), kind, text });
        if self.markers.len() > MARKERS_MAX {
            self.markers.pop_front();
        }
    }

    /// Compares with the last look, and marks what is new.
    fn look(&mut self, status: &ProjectionStatus) {
        let now = (status.state, status.plugin_digest.clone(), status.generation);
        let Some((state, digest, generation)) = self.last.replace(now) else { return };
        let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_owned();
        if generation != status.generation && generation > 0 && status.generation > 0 {
            self.mark("swap", format!("generation {} is live, {generation} was", status.generation));
        } else if digest != status.plugin_digest {
            self.mark("reload", format!("build {} took over from {}", short(&status.plugin_digest), short(&digest)));
            *self.tallies.reloads.entry("applied").or_default() += 1;
        }
        if state == status.state {
            return;
        }
        match (state, status.state) {
            (_, State::Halted) => {
                let reason = status.halt.as_ref().map(ToString::to_string).unwrap_or_default();
                self.log("error", "engine", format!("halted: {reason}"));
                let code = status.halt.as_ref().map_or("halted", |halt| halt.code);
                self.markers.push_back(Marker { at_us: now_us(), kind: "halt", text: format!("halted: {code}") });
            }
            (_, State::Paused) => self.mark("pause", "paused".to_owned()),
            (State::Paused, _) => self.mark("resume", "resumed".to_owned()),
            (_, State::Waiting) => {
                let what = status.waiting.clone().unwrap_or_default();
                self.log("warn", "engine", format!("waiting: {what}"));
            }
            _ => {}
        }
    }

    /// Counts a rebuild that has ended since the last look, on whichever engine.
    fn look_at_rebuild(&mut self, now: Option<(String, RebuildState)>) {
        let Some(before) = self.last_rebuild.replace(now.clone()) else { return };
        if let Some((_, state)) = now.filter(|now| before.as_ref() != Some(now) && !now.1.is_active()) {
            *self.tallies.rebuilds.entry(state.name()).or_default() += 1;
        }
    }

    /// What has been counted since the engine started.
    pub(super) fn tallies(&self) -> Tallies {
        self.tallies.clone()
    }

    fn sample(&mut self, status: &ProjectionStatus) {
        let sum = |figure: fn(&crate::runner::PartitionStatus) -> Option<i64>| {
            let known: Option<Vec<i64>> = status.partitions.iter().map(figure).collect();
            known.filter(|known| !known.is_empty()).map(|known| known.iter().sum())
        };
        let known = status.partitions.iter().filter_map(|p| Some(((p.topic.clone(), p.partition), p.lag_events?)));
        self.lags.push_back((now_us(), known.collect()));
        if self.lags.len() > LAGS_MAX {
            self.lags.pop_front();
        }
        self.samples.push_back(Sample {
            at_us: now_us(),
            end_offset: sum(|p| p.end_offset),
            next_offset: sum(|p| Some(p.next_offset)),
            lag_events: status.lag_events,
            lag_seconds: status.lag_seconds,
            rate_per_second: status.rate_per_second,
            state: status.state,
        });
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// The last `window`.
    pub(super) fn history(&self, window: Duration) -> History {
        let from = now_us() - i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
        History {
            step_seconds: u32::try_from(STEP.as_secs()).unwrap_or(u32::MAX),
            samples: self.samples.iter().filter(|sample| sample.at_us >= from).cloned().collect(),
            markers: self.markers.iter().filter(|marker| marker.at_us >= from).cloned().collect(),
        }
    }

    /// The most events per second that were applied.
    pub(super) fn highest_rate(&self) -> Option<f64> {
        self.samples.iter().map(|sample| sample.rate_per_second).reduce(f64::max)
    }

    /// Seconds behind over the last hour, one value a minute, oldest first.
    pub(super) fn trend(&self) -> Vec<Option<f64>> {
        let per_minute = usize::try_from(60 / STEP.as_secs().max(1)).unwrap_or(1);
        let start = self.samples.len().saturating_sub(60 * per_minute);
        let last_hour: Vec<&Sample> = self.samples.iter().skip(start).collect();
        // The worst of each minute: an average would hide a stall.
        let worst = |minute: &[&Sample]| minute.iter().filter_map(|s| s.lag_seconds).reduce(f64::max);
        last_hour.rchunks(per_minute).rev().map(worst).collect()
    }

    /// Whether it has come closer to its end over the last minute.
    pub(super) fn is_falling(&self) -> bool {
        let recent: Vec<f64> = self.samples.iter().rev().take(6).filter_map(|sample| sample.lag_seconds).collect();
        match (recent.first(), recent.last()) {
            (Some(now), Some(before)) if recent.len() > 1 => now < before,
            // Too early to tell.
            _ => true,
        }
    }

    /// Seconds until the slowest of the partitions is at its end, each as it came closer over the last minute. None where one of them does not, or it is
    /// too early to tell.
    pub(super) fn eta_seconds(&self, partitions: &[PartitionStatus]) -> Option<f64> {
        let behind = partitions.iter().filter(|p| p.lag_events != Some(0));
        let left = behind.map(|p| {
            let ((from_us, before), (to_us, now)) = (self.lags.front()?, self.lags.back()?);
            let key = (p.topic.clone(), p.partition);
            let fewer = (before.get(&key)? - now.get(&key)?) as f64;
            let seconds = (to_us - from_us) as f64 / 1e6;
            (fewer > 0.0 && seconds > 0.0).then_some(p.lag_events? as f64 * seconds / fewer)
        });
        left.into_iter().try_fold(0.0, |most, left| Some(f64::max(most, left?)))
    }

    /// Lines with numbers above `after`, the last `limit` of them, oldest first.
    pub(super) fn lines(&self, after: u64, limit: usize) -> Vec<LogLine> {
        let newer: Vec<LogLine> = self.lines.iter().filter(|line| line.id > after).cloned().collect();
        newer[newer.len().saturating_sub(limit)..].to_vec()
    }
}

impl super::Supervised {
    pub(super) fn journal(&mut self, projection: &str) -> &mut Journal {
        self.journals.entry(projection.to_owned()).or_default()
    }

    /// Tells the projection whose file it is that it was refused.
    pub(super) fn log_file(&mut self, rejected: &RejectedPlugin) {
        let names: Vec<String> = self
            .registry
            .projections
            .iter()
            .filter(|projection| projection.plugin_file == rejected.file)
            .map(|projection| projection.name.clone())
            .collect();
        for name in names {
            let text = format!(
                "{} was rejected ({}): {}; the build before goes on",
                rejected.file, rejected.code, rejected.reason
            );
            let journal = self.journal(&name);
            journal.log("error", "engine", text);
            *journal.tallies.reloads.entry("rejected").or_default() += 1;
        }
    }
}

impl Control {
    /// Collects logs, samples lag, and says that views may have changed.
    pub(super) async fn keep_journals(self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sampled = tokio::time::Instant::now().checked_sub(STEP);
        loop {
            tick.tick().await;
            let mut state = self.lock();
            if state.draining {
                return;
            }
            let mut lines = Vec::new();
            for ((projection, _), running) in &state.runners {
                lines.extend(running.plugin.take_logs().into_iter().map(|line| (projection.clone(), line)));
            }
            for (projection, line) in lines {
                state.journal(&projection).log(line.level, "plugin", line.message);
            }
            let sample = sampled.is_none_or(|at| at.elapsed() >= STEP);
            if sample {
                sampled = Some(tokio::time::Instant::now());
            }
            for status in state.statuses() {
                let newest = state.registry.rebuilds.iter().find(|rebuild| rebuild.projection == status.name);
                let newest = newest.map(|rebuild| (rebuild.id.clone(), rebuild.state));
                let informed = state.informed;
                let journal = state.journal(&status.name);
                journal.look(&status);
                if informed {
                    journal.look_at_rebuild(newest);
                }
                if sample {
                    journal.sample(&status);
                }
            }
            let known: Vec<String> = state.registry.projections.iter().map(|p| p.name.clone()).collect();
            if state.informed {
                state.journals.retain(|name, _| known.contains(name));
            }
            drop(state);
            self.shared.changes.send_modify(|version| *version += 1);
        }
    }
}

/// Microseconds since 1970 UTC.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_bounded_and_given_from_where_one_was() {
        let mut journal = Journal::default();
        for at in 0..LINES_MAX + 10 {
            journal.log("info", "plugin", at.to_string());
        }
        let lines = journal.lines(0, usize::MAX);
        assert_eq!((lines.len(), lines[0].id), (LINES_MAX, 11));
        assert_eq!(journal.lines(lines[LINES_MAX - 1].id, 10), []);
        let last = journal.lines(0, 2);
        assert_eq!(last.iter().map(|line| line.id).collect::<Vec<_>>(), [2009, 2010]);
    }

    #[test]
    fn the_slowest_partition_says_how_long_it_takes() {
        let part = |partition, lag| PartitionStatus {
            topic: "orders".into(),
            partition,
            next_offset: 0,
            end_offset: None,
            log_start_offset: None,
            lag_events: lag,
            lag_seconds: None,
            retention_margin_events: None,
        };
        let mut journal = Journal::default();
        let mut at = |seconds: i64, lags: [i64; 2]| {
            let lags = lags.into_iter().zip(0..).map(|(lag, partition)| (("orders".to_owned(), partition), lag));
            journal.lags.push_back((seconds * 1_000_000, lags.collect()));
        };
        at(0, [10_000, 1_000]);
        at(10, [0, 900]);
        // 10 events a second in the one that is left: not what the two did together.
        assert_eq!(journal.eta_seconds(&[part(0, Some(0)), part(1, Some(900))]), Some(90.0));
        assert_eq!(journal.eta_seconds(&[part(0, Some(500)), part(1, Some(900))]), Some(90.0));
        assert_eq!(journal.eta_seconds(&[part(0, Some(0)), part(1, Some(0))]), Some(0.0));
        assert_eq!(journal.eta_seconds(&[part(0, Some(0)), part(1, None)]), None, "it is not known how far one is");
        assert_eq!(journal.eta_seconds(&[part(0, Some(0)), part(2, Some(1))]), None, "nothing was seen of it yet");
        journal.lags.back_mut().unwrap().1.insert(("orders".into(), 0), 10_001);
        assert_eq!(journal.eta_seconds(&[part(0, Some(1)), part(1, Some(900))]), None, "one does not come closer");
    }

    #[test]
    fn a_rebuild_is_counted_once_when_it_has_ended() {
        let mut journal = Journal::default();
        let rebuild = |id: &str, state| (id.to_owned(), state);
        // What had ended before the engine started is not its doing.
        journal.look_at_rebuild(Some(rebuild("a", RebuildState::Switched)));
        assert_eq!(journal.tallies().rebuilds, [].into());
        for state in [RebuildState::Filling, RebuildState::Switched, RebuildState::Switched] {
            journal.look_at_rebuild(Some(rebuild("b", state)));
        }
        // One that began and ended between two looks.
        journal.look_at_rebuild(Some(rebuild("c", RebuildState::Cancelled)));
        assert_eq!(journal.tallies().rebuilds, [("switched", 1), ("cancelled", 1)].into());
    }
}

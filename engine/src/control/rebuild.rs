//! The way of a rebuild: from the request through filling, indexing and catching up to the swap.
//!
//! Each step is a state in the database that is left by compare-and-set, so any engine may take the next one, and a crash between two steps leaves the
//! rebuild where the next round finds it. Invariants: the targets are frozen when it begins; a state is left only after the commit that it waits for
//! is in the database; readers see either all of the old generation or all of the new one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

use super::view::{ControlError, ControlErrorKind, ForecastPartition, RebuildForecast, RebuildPartition, RebuildView};
use super::{Control, Supervised, engine};
use crate::checkpoint::{Checkpoint, Generation, LogBounds};
use crate::config::SourceKind;
use crate::error::{ErrorKind, Halt, HaltAt};
use crate::event::TopicPartition;
use crate::plugin::Plugin;
use crate::runner::State;
use crate::sink::{Asked, Done, GenerationRecord, Order, RebuildRecord, RebuildState, Sink, SinkError, Switch, Target};
use crate::source::{FileSource, Source as _, SourceError, SourceEvent, kafka_bounds};

/// How long the files have to say how far they reach.
const BOUNDS_MAX: Duration = Duration::from_secs(20);

/// How long a swap holds back the former generation's events so that the new one comes level.
const LEVEL_MAX: Duration = Duration::from_secs(2);

/// How long a swap that met readers, or was not level, leaves everybody alone before the next try; what a person must clear away is asked for
/// ever more seldom.
const SWAP_PAUSE: Duration = Duration::from_millis(500);
const SWAP_PAUSE_MAX: Duration = Duration::from_secs(60);

/// What is asked for when a rebuild begins.
pub(super) struct Begin {
    pub(super) plugin: Arc<Plugin>,
    pub(super) file: String,
    pub(super) switch: Switch,
    pub(super) rate_max: Option<u32>,
    pub(super) force: bool,
}

/// What this engine knows of a rebuild beside what is stored.
#[derive(Default)]
pub(super) struct Progress {
    /// The new generation's checkpoints, as they were read last.
    checkpoints: Vec<Checkpoint>,
    /// The live generation's in the topics that both read, a round before.
    live_before: Option<Vec<Checkpoint>>,
    /// Keys and indexes are being made.
    indexing: Option<JoinHandle<Result<(), SinkError>>>,
    /// The new generation is held for a comparison: no swap now.
    pub(super) compared: bool,
    /// Why the last try to swap came to nothing, and how many in a row did.
    refused: Option<(String, u32)>,
    /// No other try before this.
    not_before: Option<Instant>,
}

impl Control {
    /// How far the logs of a build's topics reach.
    pub(super) async fn bounds(&self, plugin: &Plugin) -> Result<Vec<LogBounds>, ControlError> {
        let found = match self.shared.config.source {
            SourceKind::Kafka => kafka_bounds(&self.kafka(plugin.schema(), "laterna-probe", false)).await,
            SourceKind::File => {
                let mut source = FileSource::start(self.files(plugin.schema())).map_err(unavailable)?;
                let found = tokio::time::timeout(BOUNDS_MAX, async {
                    loop {
                        match source.next().await {
                            SourceEvent::Assigned { partitions, .. } => break Ok(partitions),
                            SourceEvent::Failed(error) => break Err(error),
                            _ => {}
                        }
                    }
                })
                .await;
                Box::new(source).close().await;
                match found {
                    Ok(found) => found,
                    Err(_) => {
                        let message = "the files do not say how far they reach; look at the folder in [file]";
                        return Err(ControlError {
                            kind: ControlErrorKind::Unavailable,
                            code: "source_unavailable",
                            message: message.to_owned(),
                            subject: None,
                        });
                    }
                }
            }
        };
        found.map_err(unavailable)
    }

    /// What the logs offer to a rebuild, and what the live generation has that they no longer offer.
    async fn survey(&self, sink: &Arc<dyn Sink>, plugin: &Plugin) -> Result<Survey, ControlError> {
        let projection = &plugin.schema().descriptor.name;
        let registry = sink.registry().await?;
        let live = registry
            .generations
            .into_iter()
            .find(|g| g.projection == *projection && g.state == crate::sink::GenerationState::Live);
        let (mut starts, mut stands) = (Vec::new(), Vec::new());
        if let Some(live) = live {
            let generation = Generation { projection: projection.clone(), number: live.number };
            starts = sink.starts(&generation).await?;
            // Before the ends are asked for: a live one that goes on is never past them.
            stands = sink.positions(&generation).await?;
        }
        let halt = self.lock().status(projection).and_then(|status| status.halt);
        Ok(survey(self.bounds(plugin).await?, &starts, &stands, halt.as_ref()))
    }

    /// Begins a rebuild; the answer names it.
    pub(super) async fn begin(&self, sink: &Arc<dyn Sink>, begin: Begin, asked: &Asked) -> Result<Done, ControlError> {
        let schema = Arc::clone(begin.plugin.schema());
        let name = schema.descriptor.name.clone();
        let survey = self.survey(sink, &begin.plugin).await?;
        if let Some(message) = survey.refusal.filter(|_| !begin.force) {
            let kind = ControlErrorKind::Conflict;
            return Err(ControlError { kind, code: "log_begins_later", message, subject: None });
        }
        self.store(sink, &begin.plugin, &begin.file).await?;
        crate::crash::point("rebuild-build-stored");
        let order = Order::BeginRebuild {
            schema,
            digest: begin.plugin.digest().to_owned(),
            file: begin.file,
            switch: begin.switch,
            max_rate: begin.rate_max,
            forced: begin.force,
            targets: survey.targets,
        };
        let done = self.order(sink, &order, asked).await?;
        crate::crash::point("rebuild-begun");
        if let Some(id) = done.rebuild.as_ref().filter(|_| done.changed) {
            self.lock().journal(&name).mark("rebuild", format!("rebuild {id} began"));
        }
        Ok(done)
    }

    /// Takes the next step of every rebuild that is under way; true where one moves by itself.
    pub(super) async fn drive_rebuilds(&self, sink: &Arc<dyn Sink>) -> bool {
        let active: Vec<RebuildRecord> = {
            let mut state = self.lock();
            let active: Vec<RebuildRecord> =
                state.registry.rebuilds.iter().filter(|rebuild| rebuild.state.is_active()).cloned().collect();
            state.rebuilding.retain(|id, _| active.iter().any(|rebuild| rebuild.id == *id));
            active
        };
        let mut moves = false;
        for rebuild in active {
            match self.step_rebuild(sink, &rebuild).await {
                Ok(moved) => moves |= moved,
                Err(error) if matches!(error.kind, ControlErrorKind::Unavailable | ControlErrorKind::Conflict) => {
                    tracing::debug!(rebuild = rebuild.id, %error, "the rebuild waits");
                }
                Err(error) => {
                    tracing::error!(rebuild = rebuild.id, %error, "the rebuild failed");
                    self.move_rebuild(sink, &rebuild, RebuildState::Failed, Some(error.message)).await.ok();
                }
            }
        }
        moves
    }

    async fn step_rebuild(&self, sink: &Arc<dyn Sink>, rebuild: &RebuildRecord) -> Result<bool, ControlError> {
        let generation = Generation { projection: rebuild.projection.clone(), number: rebuild.generation };
        let checkpoints = sink.positions(&generation).await?;
        let (halt, is_gone) = {
            let mut state = self.lock();
            state.rebuilding.entry(rebuild.id.clone()).or_default().checkpoints.clone_from(&checkpoints);
            let key = (rebuild.projection.clone(), rebuild.generation);
            let halt = state.runners.get(&key).and_then(|running| running.status.borrow().halt.clone());
            (halt, !state.runners.contains_key(&key) && !state.leaving.contains_key(&key))
        };
        if let Some(halt) = halt {
            self.move_rebuild(sink, rebuild, RebuildState::Failed, Some(halt.to_string())).await?;
            return Ok(true);
        }
        match rebuild.state {
            RebuildState::Filling if covers(&checkpoints, &rebuild.targets) => {
                crate::crash::point("rebuild-filled");
                let starts = sink.starts(&generation).await?;
                let lost = begun_late(&starts, &rebuild.targets).filter(|_| !rebuild.forced);
                let to = if lost.is_some() { RebuildState::Failed } else { RebuildState::Indexing };
                self.move_rebuild(sink, rebuild, to, lost).await?;
                Ok(true)
            }
            RebuildState::Indexing if is_gone => self.index(sink, rebuild, generation).await,
            RebuildState::CatchingUp | RebuildState::Switching => {
                let live = Generation { projection: rebuild.projection.clone(), number: rebuild.from_generation };
                let mut live_now = sink.positions(&live).await?;
                let (before, waits) = {
                    let mut state = self.lock();
                    let record = state
                        .registry
                        .generations
                        .iter()
                        .find(|g| g.projection == rebuild.projection && g.number == rebuild.generation);
                    // A topic that the new one does not read is not waited for.
                    let topics = record.map(GenerationRecord::topics).unwrap_or_default();
                    live_now.retain(|live| topics.contains(&&*live.partition.topic));
                    // Nor is a log that is another one than the live one's.
                    live_now.retain(|live| !rebuild.targets.iter().any(|t| t.other_log && is_of(&live.partition, t)));
                    let progress = state.rebuilding.entry(rebuild.id.clone()).or_default();
                    let waits = progress.compared || progress.not_before.is_some_and(|at| Instant::now() < at);
                    (progress.live_before.replace(live_now), waits)
                };
                // Level with where the live one stood a round ago, it is a round behind at most. A try before would only hold the live one up.
                if waits || !before.is_some_and(|before| is_level(&checkpoints, &before)) {
                    return Ok(true);
                }
                if rebuild.state == RebuildState::Switching {
                    self.swap(sink, rebuild).await?;
                    return Ok(true);
                }
                crate::crash::point("rebuild-caught-up");
                let to = match rebuild.switch {
                    Switch::Auto => RebuildState::Switching,
                    Switch::Manual => RebuildState::Ready,
                };
                self.move_rebuild(sink, rebuild, to, None).await?;
                Ok(true)
            }
            RebuildState::Filling | RebuildState::Indexing => Ok(true),
            // Somebody said so in the moment in which it became ready.
            RebuildState::Ready if rebuild.switch == Switch::Auto => {
                self.move_rebuild(sink, rebuild, RebuildState::Switching, None).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Makes keys and indexes in a task of its own, then moves on.
    async fn index(
        &self,
        sink: &Arc<dyn Sink>,
        rebuild: &RebuildRecord,
        generation: Generation,
    ) -> Result<bool, ControlError> {
        let plugin = self.build(sink, &rebuild.plugin_digest).await?;
        let finished = {
            let mut state = self.lock();
            let progress = state.rebuilding.entry(rebuild.id.clone()).or_default();
            match &progress.indexing {
                None => {
                    let (sink, control) = (Arc::clone(sink), self.clone());
                    progress.indexing = Some(tokio::spawn(
                        async move {
                            let done = sink.finish_tables(&generation, plugin.schema()).await;
                            control.shared.wake.notify_one();
                            done
                        }
                        .boxed(),
                    ));
                    None
                }
                Some(task) if task.is_finished() => progress.indexing.take(),
                Some(_) => None,
            }
        };
        let Some(task) = finished else { return Ok(true) };
        match task.await {
            Ok(Ok(())) => {
                crate::crash::point("rebuild-indexed");
                self.lock().indexes_made(&rebuild.projection, rebuild.generation);
                self.move_rebuild(sink, rebuild, RebuildState::CatchingUp, None).await?;
            }
            Ok(Err(error)) if error.kind == ErrorKind::Transient => {
                tracing::warn!(rebuild = rebuild.id, %error, "keys and indexes are made again");
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(error) => tracing::warn!(rebuild = rebuild.id, %error, "keys and indexes are made again"),
        }
        Ok(true)
    }

    /// Makes the rebuilt generation the live one; where it is not level, holds the former one back for a moment.
    async fn swap(&self, sink: &Arc<dyn Sink>, rebuild: &RebuildRecord) -> Result<(), ControlError> {
        crate::crash::point("before-swap");
        let keep = self.settings(&rebuild.projection).rebuild_keep;
        let collect_at_us =
            super::journal::now_us().saturating_add(i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
        let order = Order::Swap { id: rebuild.id.clone(), collect_at_us };
        let held = (rebuild.projection.clone(), rebuild.from_generation);
        let done = self.order_level(sink, &order, &held, &engine()).await;
        {
            let mut state = self.lock();
            let progress = state.rebuilding.entry(rebuild.id.clone()).or_default();
            match &done {
                Ok(_) => progress.refused = None,
                Err(error) => {
                    let tries = progress.refused.take().map_or(1, |(_, tries)| tries.saturating_add(1));
                    progress.not_before = Some(Instant::now() + pause_after(error.code, tries));
                    progress.refused = Some((error.message.clone(), tries));
                }
            }
        }
        done?;
        crate::crash::point("after-swap");
        tracing::info!(rebuild = rebuild.id, "the rebuilt generation is live");
        Ok(())
    }

    /// Sends an order that needs one generation level with another; `held` is the one that waits, for a moment, for the other.
    pub(super) async fn order_level(
        &self,
        sink: &Arc<dyn Sink>,
        order: &Order,
        held: &super::RunnerKey,
        asked: &Asked,
    ) -> Result<Done, ControlError> {
        match self.order(sink, order, asked).await {
            Err(error) if error.code == "behind" => {}
            done => return done,
        }
        self.hold_runner(held, true);
        let until = tokio::time::Instant::now() + LEVEL_MAX;
        let done = loop {
            match self.order(sink, order, asked).await {
                Err(error) if error.code == "behind" && tokio::time::Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                done => break done,
            }
        };
        self.hold_runner(held, false);
        done
    }

    /// Lets a runner take nothing more, or go on.
    fn hold_runner(&self, key: &super::RunnerKey, hold: bool) {
        let state = self.lock();
        let Some(running) = state.runners.get(key) else { return };
        let at = |p: &crate::runner::PartitionStatus| (TopicPartition::new(p.topic.as_str(), p.partition), i64::MIN);
        let partitions = running.status.borrow().partitions.iter().filter(|_| hold).map(at).collect();
        if let Some(runner) = &running.runner {
            runner.until(partitions);
        }
    }

    async fn move_rebuild(
        &self,
        sink: &Arc<dyn Sink>,
        rebuild: &RebuildRecord,
        to: RebuildState,
        reason: Option<String>,
    ) -> Result<(), ControlError> {
        let order = Order::MoveRebuild { id: rebuild.id.clone(), from: rebuild.state, to, reason };
        self.order(sink, &order, &engine()).await?;
        let text = format!("rebuild {} is {}", rebuild.id, to.name());
        let mut state = self.lock();
        state.journal(&rebuild.projection).mark("rebuild", text);
        if to == RebuildState::Failed {
            for file in state.files.values_mut().filter(|f| f.digest.as_deref() == Some(&rebuild.plugin_digest)) {
                file.held = Some(format!("its rebuild {} failed; deploy it to begin another one", rebuild.id));
            }
        }
        drop(state);
        crate::crash::point("rebuild-moved");
        Ok(())
    }

    /// Events per second of a rebuild: the most that the projection was seen to do, since at rest it does what comes; and not above its bound.
    fn rate_to_expect(&self, projection: &str) -> Option<f64> {
        let seen = {
            let state = self.lock();
            let now = state.status(projection).map(|status| status.rate_per_second);
            let before = state.journals.get(projection).and_then(super::journal::Journal::highest_rate);
            now.into_iter().chain(before).filter(|rate| *rate >= 1.0).reduce(f64::max)
        };
        let bound = self.settings(projection).rebuild_rate_max.map(f64::from);
        seen.into_iter().chain(bound).reduce(f64::min)
    }

    /// What a rebuild by this build would be.
    pub(super) async fn forecast(
        &self,
        sink: &Arc<dyn Sink>,
        plugin: &Plugin,
    ) -> Result<RebuildForecast, ControlError> {
        let schema = plugin.schema();
        let Survey { partitions, refusal, .. } = self.survey(sink, plugin).await?;
        let events: i64 = partitions.iter().map(|p| (p.log_end - p.log_start).max(0)).sum();
        let rate = self.rate_to_expect(&schema.descriptor.name);
        let running_digest =
            self.lock().live(&schema.descriptor.name).map(|live| live.plugin_digest.clone()).unwrap_or_default();
        Ok(RebuildForecast {
            projection: schema.descriptor.name.clone(),
            plugin_digest: plugin.digest().to_owned(),
            running_digest,
            events,
            seconds: rate.map(|rate| events as f64 / rate),
            tables: schema.descriptor.tables.iter().map(|table| table.name.clone()).collect(),
            partitions,
            refusal,
        })
    }
}

/// What the logs offer to a rebuild.
struct Survey {
    partitions: Vec<ForecastPartition>,
    /// Up to where it would fill.
    targets: Vec<Target>,
    /// Why the tables would lack something, where they would.
    refusal: Option<String>,
}

/// Holds the logs against where the live generation began and stands, and what it is halted by. Pure.
fn survey(
    bounds: Vec<LogBounds>,
    starts: &[(TopicPartition, i64)],
    stands: &[Checkpoint],
    halt: Option<&Halt>,
) -> Survey {
    let (mut partitions, mut targets, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for log in bounds {
        let TopicPartition { topic, partition } = &log.partition;
        let began = starts.iter().find(|(tp, _)| *tp == log.partition).map(|(_, start)| *start);
        // The log's end alone does not tell a topic that was made anew and has outgrown the former one; a halt does.
        let stood = stands.iter().find(|checkpoint| checkpoint.partition == log.partition);
        let is_known = |halt: &&Halt| {
            let at =
                |at: &HaltAt| at.topic == **topic && (halt.code == "topic_recreated" || at.partition == *partition);
            halt.at.as_ref().is_some_and(at)
        };
        // The ends are younger than the checkpoints, so a log that ends before one is not the log that was applied.
        let shorter = |checkpoint: &Checkpoint| {
            let (next, end) = (checkpoint.next_offset, log.end);
            (next > end).then(|| format!("the log ends at {end}, before the checkpoint {next}"))
        };
        let named = |checkpoint: &Checkpoint| {
            let halt = checkpoint.check(&log).err().or_else(|| halt.filter(is_known).cloned())?;
            matches!(halt.code, "topic_recreated" | "offset_beyond_end").then_some(halt.reason)
        };
        let other = stood.and_then(|checkpoint| named(checkpoint).or_else(|| shorter(checkpoint)));
        if let Some(reason) = &other {
            lost.push(format!("{topic}/{partition}: {reason}"));
        } else if let Some(began) = began.filter(|began| log.start > *began) {
            lost.push(format!("{topic}/{partition} began at {began} and the log now at {}", log.start));
        }
        targets.push(Target {
            topic: topic.to_string(),
            partition: *partition,
            start: log.start,
            end: log.end,
            other_log: other.is_some(),
        });
        partitions.push(ForecastPartition {
            topic: topic.to_string(),
            partition: *partition,
            log_start: log.start,
            log_end: log.end,
            began,
        });
    }
    let refusal = (!lost.is_empty()).then(|| {
        format!(
            "the log no longer begins where the projection began, or is another one, so the rebuilt tables would lack what came before: {}; \
             force it if that is what you want",
            lost.join(", ")
        )
    });
    Survey { partitions, targets, refusal }
}

/// What a fill lacks that its targets promised: the log began later when it came to read it.
fn begun_late(starts: &[(TopicPartition, i64)], targets: &[Target]) -> Option<String> {
    let late = |target: &Target| {
        let (_, start) = starts.iter().find(|(tp, start)| is_of(tp, target) && *start > target.start)?;
        Some(format!("{}/{} [{}, {start})", target.topic, target.partition, target.start))
    };
    let lost: Vec<String> = targets.iter().filter_map(late).collect();
    (!lost.is_empty()).then(|| {
        format!(
            "retention removed events after it began and before it read them: {}; begin another one, by force if they are to be lacking",
            lost.join(", ")
        )
    })
}

/// How long a swap leaves everybody alone after so many tries in a row that were refused.
fn pause_after(code: &str, tries: u32) -> Duration {
    match code {
        "behind" | "readers" => SWAP_PAUSE,
        _ => SWAP_PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(SWAP_PAUSE_MAX),
    }
}

fn is_of(partition: &TopicPartition, target: &Target) -> bool {
    *partition.topic == *target.topic && partition.partition == target.partition
}

/// Whether every target is committed.
fn covers(checkpoints: &[Checkpoint], targets: &[Target]) -> bool {
    targets.iter().all(|target| target.start >= target.end || next_offset(checkpoints, target) >= target.end)
}

fn next_offset(checkpoints: &[Checkpoint], target: &Target) -> i64 {
    let found = checkpoints.iter().find(|checkpoint| is_of(&checkpoint.partition, target));
    found.map_or(target.start, |checkpoint| checkpoint.next_offset)
}

/// Whether each of `behind` has come to where `ahead` stands.
fn is_level(checkpoints: &[Checkpoint], ahead: &[Checkpoint]) -> bool {
    ahead
        .iter()
        .all(|live| checkpoints.iter().any(|c| c.partition == live.partition && c.next_offset >= live.next_offset))
}

pub(super) fn unavailable(error: SourceError) -> ControlError {
    ControlError {
        kind: ControlErrorKind::Unavailable,
        code: "source_unavailable",
        message: error.to_string(),
        subject: None,
    }
}

impl Supervised {
    /// Whether some rebuild goes on by itself, without a person.
    pub(super) fn rebuild_is_moving(&self) -> bool {
        self.registry.rebuilds.iter().any(|rebuild| rebuild.state.is_active() && rebuild.state != RebuildState::Ready)
    }

    /// A rebuild as it is shown.
    pub(super) fn rebuild_view(&self, record: &RebuildRecord) -> RebuildView {
        let progress = self.rebuilding.get(&record.id);
        let known = progress.map(|progress| &progress.checkpoints[..]).unwrap_or_default();
        let refused = progress.filter(|_| record.state.is_active()).and_then(|progress| progress.refused.clone());
        let done = matches!(record.state, RebuildState::Switched);
        let partitions: Vec<RebuildPartition> = record
            .targets
            .iter()
            .map(|target| RebuildPartition {
                topic: target.topic.clone(),
                partition: target.partition,
                start: target.start,
                next_offset: if done { target.end } else { next_offset(known, target) },
                target: target.end,
            })
            .collect();
        let left = |p: &RebuildPartition| (p.target - p.next_offset.max(p.start)).max(0);
        let remaining_events: i64 = partitions.iter().map(left).sum();
        let whole: i64 = partitions.iter().map(|p| (p.target - p.start).max(0)).sum();
        let progress_ratio = if whole == 0 { 1.0 } else { (whole - remaining_events) as f64 / whole as f64 };
        let status = self
            .runners
            .get(&(record.projection.clone(), record.generation))
            .filter(|_| record.state.is_active())
            .map(|running| running.status.borrow().clone());
        let rate_per_second = status.as_ref().map_or(0.0, |status| status.rate_per_second);
        // The partitions fill side by side, so the one with the most left decides at its share of the rate.
        let open = partitions.iter().filter(|p| left(p) > 0).count();
        let most = partitions.iter().map(left).max().unwrap_or(0);
        let eta_seconds = match most {
            0 => Some(0.0),
            most if rate_per_second >= 1.0 => Some(most as f64 * open as f64 / rate_per_second),
            _ => None,
        };
        RebuildView {
            partitions,
            progress_ratio,
            remaining_events,
            rate_per_second,
            eta_seconds: eta_seconds.filter(|_| record.state.is_active()),
            lag_events: status.as_ref().and_then(|status| status.lag_events),
            halt: status.as_ref().and_then(|status| status.halt.clone()),
            waiting: status.and_then(|status| status.waiting).or(refused.map(|(why, _)| why)),
            record: record.clone(),
        }
    }
}

/// Whether a runner does not move any more.
pub(super) fn stands(state: State) -> bool {
    matches!(state, State::Halted | State::Stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(partition: i32, next_offset: i64) -> Checkpoint {
        let partition = TopicPartition::new("orders", partition);
        Checkpoint { partition, next_offset, owner_epoch: 1, topic_id: None }
    }

    fn target(partition: i32, start: i64, end: i64) -> Target {
        Target { topic: "orders".into(), partition, start, end, other_log: false }
    }

    fn log(partition: i32, start: i64, end: i64) -> LogBounds {
        LogBounds { partition: TopicPartition::new("orders", partition), start, end, topic_id: None }
    }

    #[test]
    fn a_log_that_lacks_what_the_live_one_has_is_refused_and_another_log_is_not_waited_for() {
        let starts = [0, 1].map(|partition| (TopicPartition::new("orders", partition), 0));
        let stands = [checkpoint(0, 10), checkpoint(1, 1_000)];
        let good = survey(vec![log(0, 0, 10), log(1, 0, 1_000), log(2, 7, 9)], &starts, &stands, None);
        assert_eq!((good.refusal, good.targets.iter().any(|t| t.other_log)), (None, false));
        let late = survey(vec![log(0, 5, 10)], &starts, &stands, None);
        assert!(late.refusal.unwrap().contains("orders/0 began at 0 and the log now at 5"));
        assert!(!late.targets[0].other_log);
        let shorter = survey(vec![log(0, 0, 10), log(1, 0, 5)], &starts, &stands, None);
        assert!(shorter.refusal.unwrap().contains("orders/1: the log ends at 5"));
        assert_eq!(shorter.targets.iter().map(|t| t.other_log).collect::<Vec<_>>(), [false, true]);
        let at = Some(HaltAt { topic: "orders".into(), partition: 0, offset: 10, key: None });
        let halt = Halt { code: "topic_recreated", reason: "another".into(), remedy: String::new(), at };
        let anew = survey(vec![log(0, 0, 20), log(1, 0, 2_000)], &starts, &stands, Some(&halt));
        assert!(anew.refusal.is_some() && anew.targets.iter().all(|t| t.other_log));
    }

    #[test]
    fn a_fill_that_began_later_than_it_was_promised_says_what_it_lacks() {
        let starts = [(TopicPartition::new("orders", 0), 5), (TopicPartition::new("orders", 1), 50)];
        assert_eq!(begun_late(&starts, &[target(0, 5, 9), target(2, 0, 9)]), None);
        assert!(begun_late(&starts, &[target(0, 5, 9), target(1, 7, 90)]).unwrap().contains("orders/1 [7, 50)"));
    }

    #[test]
    fn what_a_person_must_clear_away_is_asked_for_ever_more_seldom() {
        assert_eq!([1, 2, 3].map(|tries| pause_after("view_in_use", tries).as_millis()), [500, 1_000, 2_000]);
        assert_eq!(pause_after("view_in_use", u32::MAX), SWAP_PAUSE_MAX);
        assert_eq!(pause_after("readers", 99), SWAP_PAUSE);
    }

    #[test]
    fn a_fill_is_done_when_every_target_is_committed() {
        let targets = [target(0, 0, 10), target(1, 5, 5)];
        assert!(!covers(&[], &targets));
        assert!(!covers(&[checkpoint(0, 9)], &targets));
        assert!(covers(&[checkpoint(0, 10)], &targets), "an empty partition needs no checkpoint");
    }

    #[test]
    fn level_means_every_partition() {
        let live = [checkpoint(0, 10), checkpoint(1, 20)];
        assert!(!is_level(&[checkpoint(0, 11)], &live), "a partition is missing");
        assert!(!is_level(&[checkpoint(0, 11), checkpoint(1, 19)], &live));
        assert!(is_level(&[checkpoint(0, 10), checkpoint(1, 25)], &live));
    }
}

//! Makes what runs here what the database says: starts, stops, pauses and reloads runners, drives rebuilds, collects what is left over.
//!
//! Goes round whenever somebody wakes it and once a second, because another engine may have written the database. Each round begins from what is
//! stored, so a crash at any step, here or elsewhere, is just a round that came later. It never waits for a runner: one that is to go leaves by itself, and
//! the next one in its place is started once it is gone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::plan::can_take_over;
use super::{Control, RunnerKey, Supervised, engine, sandbox_threads};
use crate::checkpoint::Generation;
use crate::config::SourceKind;
use crate::plugin::Plugin;
use crate::runner::{MakeSource, Pace, Parts, ProjectionStatus, Runner, State};
use crate::sink::{Desired, GenerationRecord, GenerationState, Order, RebuildState, Registry, Sink, SinkError};
use crate::source::{FileSource, KafkaSource, Source};

/// How often it goes round without being woken.
const ROUND: Duration = Duration::from_secs(1);

/// Event bytes in one commit, at most about; what waits for a commit is bounded by as much again.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// When indexes that could not be made are tried again.
const INDEXES_AGAIN: Duration = Duration::from_secs(30);

/// The indexes of generations in use: an order that declares one leaves it to be made beside what goes on, and whoever was to make it may have died.
/// One generation at a time, so that a database is not asked for several at once.
#[derive(Default)]
pub(super) struct Finishing {
    /// The descriptors whose indexes are there, by generation.
    done: HashMap<RunnerKey, serde_json::Value>,
    /// When the last try failed.
    failed: HashMap<RunnerKey, Instant>,
    task: Option<FinishingTask>,
}

/// The generation whose indexes are being made, and its descriptor.
type FinishingTask = (RunnerKey, serde_json::Value, JoinHandle<Result<(), SinkError>>);

impl Finishing {
    /// The next generation that may lack an index.
    fn next(&mut self, registry: &Registry) -> Option<GenerationRecord> {
        if self.task.is_some() {
            return None;
        }
        let is_known = |key: &RunnerKey| {
            registry.generations.iter().any(|generation| generation.projection == key.0 && generation.number == key.1)
        };
        self.done.retain(|key, _| is_known(key));
        self.failed.retain(|key, at| is_known(key) && at.elapsed() < INDEXES_AGAIN);
        let fills = |generation: &GenerationRecord| {
            generation.state == GenerationState::Building
                && !registry.rebuilds.iter().any(|rebuild| {
                    (rebuild.projection == generation.projection && rebuild.generation == generation.number)
                        && matches!(
                            rebuild.state,
                            RebuildState::CatchingUp | RebuildState::Ready | RebuildState::Switching
                        )
                })
        };
        let lacks = |generation: &&GenerationRecord| {
            let key = (generation.projection.clone(), generation.number);
            (generation.stored && generation.writable && !fills(generation))
                && has_indexes(&generation.descriptor)
                && self.done.get(&key) != Some(&generation.descriptor)
                && !self.failed.contains_key(&key)
        };
        registry.generations.iter().find(lacks).cloned()
    }
}

fn has_indexes(descriptor: &serde_json::Value) -> bool {
    let tables = descriptor.get("tables").and_then(serde_json::Value::as_array);
    let indexes = |table: &serde_json::Value| table.get("indexes")?.as_array().map(|indexes| !indexes.is_empty());
    tables.into_iter().flatten().any(|table| indexes(table).unwrap_or_default())
}

/// A runner, and what it was started as.
pub(super) struct Running {
    /// Taken where the engine shuts down.
    pub(super) runner: Option<Runner>,
    pub(super) status: watch::Receiver<ProjectionStatus>,
    pub(super) plugin: Arc<Plugin>,
    wish: Wish,
    /// A build that is about to take over.
    reloading: Option<(Arc<Plugin>, oneshot::Receiver<()>)>,
}

impl Running {
    /// See [`Runner::until`]; none where it is being stopped.
    pub(super) fn until(
        &self,
        offsets: std::collections::BTreeMap<crate::event::TopicPartition, i64>,
    ) -> Option<oneshot::Receiver<()>> {
        Some(self.runner.as_ref()?.until(offsets))
    }

    /// Whether its task ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        self.runner.as_ref().is_some_and(Runner::is_finished)
    }
}

/// How a generation should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    digest: String,
    file: String,
    pace: Pace,
    rate_max: Option<u32>,
    paused: bool,
    restarts: i64,
}

/// What should run here. Pure.
pub(super) fn wishes(registry: &Registry, now_us: i64) -> Vec<(RunnerKey, Wish)> {
    let mut wishes = Vec::new();
    for projection in registry.projections.iter().filter(|projection| projection.desired != Desired::Stopped) {
        for generation in registry.generations.iter().filter(|g| g.projection == projection.name) {
            let rebuild = registry
                .rebuilds
                .iter()
                .find(|r| r.projection == projection.name && r.generation == generation.number && r.state.is_active());
            let pace = match (generation.state, rebuild.map(|rebuild| rebuild.state)) {
                _ if !generation.writable || !generation.stored => continue,
                (GenerationState::Live, _) => Pace::Live,
                (GenerationState::Retired, _) if is_due(generation, now_us) => continue,
                (GenerationState::Retired, _) => Pace::Live,
                (GenerationState::Building, Some(RebuildState::Filling)) => Pace::Bulk,
                (GenerationState::Building, Some(RebuildState::Indexing) | None) => continue,
                (GenerationState::Building, Some(_)) => Pace::Live,
            };
            let wish = Wish {
                digest: generation.plugin_digest.clone(),
                file: projection.plugin_file.clone(),
                pace,
                rate_max: rebuild.filter(|_| pace == Pace::Bulk).and_then(|rebuild| rebuild.max_rate),
                // Readers see the live one. A warm one goes on, so that it can be rolled back to.
                paused: projection.desired == Desired::Paused && generation.state == GenerationState::Live,
                restarts: projection.restarts,
            };
            wishes.push(((projection.name.clone(), generation.number), wish));
        }
    }
    wishes
}

/// Whether a retired generation is no longer kept.
fn is_due(generation: &GenerationRecord, now_us: i64) -> bool {
    generation.collect_at_us.is_none_or(|at| at <= now_us)
}

impl Control {
    /// Goes round until the engine shuts down.
    pub(super) async fn steward(self) {
        let Some(sink) = self.wait_for_sink().await else { return };
        loop {
            if self.lock().draining {
                return;
            }
            let busy = self.round(&sink).await;
            {
                let mut state = self.lock();
                state.quiet = if busy { 0 } else { state.quiet + 1 };
            }
            let pause = if busy { ROUND / 10 } else { ROUND };
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One round; true where something is left to do that does not wait for anybody.
    async fn round(&self, sink: &Arc<dyn Sink>) -> bool {
        let mut busy = !self.deal_with_files(sink).await;
        match sink.registry().await {
            Ok(registry) => {
                let mut state = self.lock();
                state.registry = registry;
                state.informed = true;
            }
            Err(error) => {
                tracing::debug!(%error, "the registry can't be read now");
                return true;
            }
        }
        busy |= self.drive_rebuilds(sink).await;
        busy |= self.match_runners(sink).await;
        self.finish_indexes(sink).await;
        self.collect(sink).await;
        busy
    }

    /// Starts, stops, pauses and reloads.
    async fn match_runners(&self, sink: &Arc<dyn Sink>) -> bool {
        let wishes = {
            let mut state = self.lock();
            if state.draining {
                return false;
            }
            let wishes = wishes(&state.registry, super::journal::now_us());
            state.leaving.retain(|_, task| !task.is_finished());
            state.forget_builds(&wishes);
            let unwanted: Vec<RunnerKey> =
                state.runners.keys().filter(|key| !wishes.iter().any(|(wanted, _)| wanted == *key)).cloned().collect();
            for key in unwanted {
                self.dismiss(&mut state, &key);
            }
            wishes
        };
        let mut busy = false;
        for (key, wish) in wishes {
            busy |= self.match_runner(sink, &key, wish).await;
        }
        busy | !self.lock().leaving.is_empty()
    }

    async fn match_runner(&self, sink: &Arc<dyn Sink>, key: &RunnerKey, wish: Wish) -> bool {
        let plugin = match self.build(sink, &wish.digest).await {
            Ok(plugin) => {
                self.lock().unloadable.remove(&wish.digest);
                plugin
            }
            Err(error) => {
                let mut state = self.lock();
                if state.unloadable.insert(wish.digest.clone(), error.message.clone()).is_none() {
                    tracing::error!(
                        projection = key.0,
                        code = error.code,
                        reason = error.message,
                        "the build can't be loaded"
                    );
                }
                return false;
            }
        };
        let mut state = self.lock();
        if state.draining {
            return false;
        }
        let Some(running) = state.runners.get_mut(key) else {
            if state.leaving.contains_key(key) {
                return true;
            }
            self.begin_runner(&mut state, sink, key, wish, plugin);
            return false;
        };
        if running.wish == wish && !running.has_ended() {
            return running.settle_reload();
        }
        let is_halted = running.status.borrow().state == State::Halted;
        let same_kind = running.wish.pace == wish.pace
            && running.wish.restarts == wish.restarts
            && running.wish.rate_max == wish.rate_max
            && !running.has_ended();
        let reloads = running.wish.digest != wish.digest;
        if !same_kind || reloads && (is_halted || !can_take_over(running.plugin.schema(), plugin.schema())) {
            self.dismiss(&mut state, key);
            return true;
        }
        if let Some(runner) = &running.runner {
            if reloads {
                let answer = runner.reload(Arc::clone(&plugin), wish.file.clone());
                running.reloading = Some((plugin, answer));
            }
            if running.wish.paused != wish.paused {
                runner.pause(wish.paused);
            }
            running.wish = wish;
        }
        true
    }

    fn begin_runner(
        &self,
        state: &mut Supervised,
        sink: &Arc<dyn Sink>,
        key: &RunnerKey,
        wish: Wish,
        plugin: Arc<Plugin>,
    ) {
        let (projection, number) = key;
        tracing::info!(projection, generation = number, digest = &wish.digest[..12], pace = ?wish.pace, "starting");
        let settings = self.settings(projection);
        let bulk = wish.pace == Pace::Bulk;
        // All that it spawns goes where it is started.
        let _in_background = bulk.then(|| self.shared.background.handle.enter());
        let runner = Runner::start(Parts {
            make_source: self.make_source(&plugin, *number, wish.pace),
            plugin: if bulk { Arc::new(plugin.in_background()) } else { Arc::clone(&plugin) },
            plugin_file: wish.file.clone(),
            decoder: self.decoder(projection, false),
            generation: Generation { projection: projection.clone(), number: *number },
            sink: Arc::clone(sink),
            batch_events_max: settings.batch_events_max,
            batch_bytes_max: BATCH_BYTES_MAX,
            writers: self.shared.config.database.writers,
            // One more than there are threads: the next chunk waits beside the ones that run. A fill has one thread.
            sandbox_slots: if bulk { 2 } else { sandbox_threads() + 1 },
            pace: wish.pace,
            rate_max: wish.rate_max,
            paused: wish.paused,
            tracer: self.shared.tracer.clone(),
        });
        let status = runner.status();
        let running = Running { runner: Some(runner), status, plugin, wish, reloading: None };
        state.runners.insert(key.clone(), running);
    }

    /// Lets a runner leave.
    fn dismiss(&self, state: &mut Supervised, key: &RunnerKey) {
        let Some(runner) = state.runners.remove(key).and_then(|running| running.runner) else { return };
        tracing::info!(projection = key.0, generation = key.1, "stopping");
        let control = self.clone();
        let task = tokio::spawn(
            async move {
                runner.stop().await;
                control.shared.wake.notify_one();
            }
            .boxed(),
        );
        state.leaving.insert(key.clone(), task);
    }

    /// The group of the first generation is `laterna.<projection>`, where tools for lag look for it; another generation needs one of its own,
    /// because it reads the same log from elsewhere.
    fn make_source(&self, plugin: &Plugin, number: u32, pace: Pace) -> MakeSource {
        let config = &self.shared.config;
        let schema = plugin.schema();
        match config.source {
            SourceKind::File => {
                let settings = self.files(schema);
                Box::new(move |_: &Generation| Ok(Box::new(FileSource::start(settings)?) as Box<dyn Source>))
            }
            SourceKind::Kafka => {
                let prefix = &config.kafka.group_prefix;
                let name = &schema.descriptor.name;
                let group = if number == 1 { format!("{prefix}.{name}") } else { format!("{prefix}.{name}.g{number}") };
                // A fill is done by one engine alone: only who has written every row may copy without looking.
                let settings = self.kafka(schema, &group, schema.is_serial() || pace == Pace::Bulk);
                Box::new(move |_: &Generation| Ok(Box::new(KafkaSource::start(settings)?) as Box<dyn Source>))
            }
        }
    }

    /// Has the indexes made that generations in use lack, in a task of its own: that can take hours, or wait for somebody's transaction.
    async fn finish_indexes(&self, sink: &Arc<dyn Sink>) {
        let ended = self.lock().finishing.task.take_if(|(.., task)| task.is_finished());
        if let Some((key, descriptor, task)) = ended {
            let result = task.await.unwrap_or_else(|error| {
                let message = format!("the work broke off: {error}");
                Err(SinkError { kind: crate::error::ErrorKind::Transient, code: "database_timeout", message })
            });
            let mut state = self.lock();
            match result {
                Ok(()) => drop(state.finishing.done.insert(key, descriptor)),
                Err(error) => {
                    tracing::warn!(projection = key.0, generation = key.1, %error, "an index may be lacking; it is tried again");
                    state.finishing.failed.insert(key, Instant::now());
                }
            }
        }
        let next = {
            let mut state = self.lock();
            let Supervised { finishing, registry, draining, .. } = &mut *state;
            finishing.next(registry).filter(|_| !*draining)
        };
        let Some(generation) = next else { return };
        let key = (generation.projection.clone(), generation.number);
        // What can't be loaded is told where it is to run.
        let Ok(plugin) = self.build(sink, &generation.plugin_digest).await else {
            self.lock().finishing.failed.insert(key, Instant::now());
            return;
        };
        let (sink, control) = (Arc::clone(sink), self.clone());
        let of = Generation { projection: generation.projection, number: generation.number };
        let task = tokio::spawn(
            async move {
                let done = sink.finish_tables(&of, plugin.schema()).await;
                control.shared.wake.notify_one();
                done
            }
            .boxed(),
        );
        self.lock().finishing.task = Some((key, generation.descriptor, task));
    }

    /// Drops what nobody needs any more: retired generations whose time is up, and those of rebuilds that came to nothing.
    async fn collect(&self, sink: &Arc<dyn Sink>) {
        let due: Vec<RunnerKey> = {
            let state = self.lock();
            let now = super::journal::now_us();
            let is_left_over = |generation: &&GenerationRecord| match generation.state {
                GenerationState::Live => false,
                GenerationState::Retired => is_due(generation, now),
                GenerationState::Building => !state.registry.rebuilds.iter().any(|rebuild| {
                    rebuild.projection == generation.projection
                        && rebuild.generation == generation.number
                        && rebuild.state.is_active()
                }),
            };
            let key = |generation: &GenerationRecord| (generation.projection.clone(), generation.number);
            let stored = state.registry.generations.iter().filter(|generation| generation.stored);
            // Whoever still writes it is waited for: here by name, elsewhere by the fence.
            let is_free = |key: &RunnerKey| !state.runners.contains_key(key) && !state.leaving.contains_key(key);
            stored.filter(is_left_over).map(key).filter(is_free).collect()
        };
        for (projection, generation) in due {
            tracing::info!(projection, generation, "dropping the tables of a generation that is not needed any more");
            let order = Order::Collect { projection: projection.clone(), generation };
            if let Err(error) = self.order(sink, &order, &engine()).await {
                tracing::warn!(projection, generation, %error, "the generation can't be dropped now; it is tried again");
            }
            crate::crash::point("collected");
        }
    }
}

impl Supervised {
    /// All indexes of a generation are there.
    pub(super) fn indexes_made(&mut self, projection: &str, number: u32) {
        let found = self.registry.generations.iter().find(|g| g.projection == projection && g.number == number);
        if let Some(found) = found {
            self.finishing.done.insert((projection.to_owned(), number), found.descriptor.clone());
        }
    }

    /// Lets go of builds that nothing names any more: a thousand reloads leave as much behind as one.
    fn forget_builds(&mut self, wishes: &[(RunnerKey, Wish)]) {
        let files: Vec<String> = self.files.values().filter_map(|file| file.digest.clone()).collect();
        let generations = &self.registry.generations;
        self.builds.retain(|digest, _| {
            files.contains(digest)
                || wishes.iter().any(|(_, wish)| wish.digest == *digest)
                || generations.iter().any(|generation| generation.plugin_digest == *digest)
        });
    }
}

impl Running {
    /// Takes note of a build that has taken over; true while one is still about to.
    fn settle_reload(&mut self) -> bool {
        let Some((plugin, answer)) = &mut self.reloading else { return false };
        match answer.try_recv() {
            Ok(()) => {
                self.plugin = Arc::clone(plugin);
                self.reloading = None;
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => {
                // A projection that halts before the boundary never comes to it: it is started anew by the next change of its wish.
                if self.status.borrow().state == State::Halted {
                    self.wish.digest.clear();
                }
                true
            }
            Err(oneshot::error::TryRecvError::Closed) => {
                self.wish.digest.clear();
                self.reloading = None;
                true
            }
        }
    }
}

//! What users ask of the engine: each request is checked, becomes an order to the database, and is carried out by whoever runs the projection.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::folder::DiskFile;
use super::journal::now_us;
use super::rebuild::Begin;
use super::view::{
    ControlError, ControlErrorKind, History, LogLine, Plan, PlanAction, PluginView, ProjectionView, RebuildForecast,
    RebuildRequest, RebuildView, StepEvents, StepReport, TableView, WaitFor, Waited,
};
use super::{Control, Supervised, plan};
use crate::checkpoint::Generation;
use crate::event::TopicPartition;
use crate::plugin::{Plugin, PluginError};
use crate::runner::State;
use crate::sink::{Asked, AuditEntry, Desired, Done, Order, ProjectionRecord, Sink, Switch, TableDifference};

/// Numbers uploads, so that two under one name do not write into one another.
static UPLOADS: AtomicU64 = AtomicU64::new(0);

/// How often something is looked at again that somebody waits for.
const POLL: Duration = Duration::from_millis(50);

/// How long runners may take to leave before a drop, and a rollback to find a moment without readers.
const LEAVE_MAX: Duration = Duration::from_secs(10);

impl Control {
    /// All projections, by name.
    pub fn views(&self) -> Vec<ProjectionView> {
        let state = self.lock();
        let names = state.registry.projections.iter().map(|projection| &projection.name);
        names.filter_map(|name| self.view_of(&state, name)).collect()
    }

    /// One projection.
    ///
    /// # Errors
    /// `projection_unknown`.
    pub fn view(&self, projection: &str) -> Result<ProjectionView, ControlError> {
        self.view_of(&self.lock(), projection).ok_or_else(|| unknown(projection))
    }

    /// Raised whenever something that a view shows has changed, at most about four times a second.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// The files in `plugins/` and what runs without one.
    pub fn plugins(&self) -> Vec<PluginView> {
        let state = self.lock();
        let mut plugins: Vec<PluginView> = state.files.values().map(|file| self.plugin_of_file(&state, file)).collect();
        let of_file = |name: &str| state.files.values().any(|file| file.projection() == Some(name));
        let without_file = state.registry.projections.iter().filter(|projection| !of_file(&projection.name));
        plugins.extend(without_file.map(|projection| plugin_without_file(&state, projection)));
        plugins
    }

    /// Stops taking events, on every engine, until it is resumed.
    ///
    /// # Errors
    /// `projection_unknown`, or the database's.
    pub async fn pause(&self, projection: &str, asked: &Asked) -> Result<Done, ControlError> {
        self.desire(projection, Desired::Paused, asked).await
    }

    /// Takes events again.
    ///
    /// # Errors
    /// As for [`Control::pause`].
    pub async fn resume(&self, projection: &str, asked: &Asked) -> Result<Done, ControlError> {
        self.desire(projection, Desired::Running, asked).await
    }

    /// Starts its runners anew, on every engine; also where it is halted.
    ///
    /// # Errors
    /// As for [`Control::pause`].
    pub async fn restart(&self, projection: &str, asked: &Asked) -> Result<Done, ControlError> {
        let sink = self.connected_sink()?;
        let (asked, before) = self.request(&sink, format!("restart {projection}"), asked).await?;
        if let Some(done) = before {
            return Ok(done);
        }
        self.known(projection)?;
        let done = self.order(&sink, &Order::Restart { projection: projection.to_owned() }, &asked).await?;
        self.lock().journal(projection).mark("restart", format!("started anew by {}", asked.actor.name));
        Ok(done)
    }

    /// Removes a projection with its tables.
    ///
    /// # Errors
    /// As for [`Control::pause`]; `plugin_present` where its file is still in `plugins/`; `view_in_use`.
    pub async fn drop_projection(&self, projection: &str, asked: &Asked) -> Result<Done, ControlError> {
        let sink = self.connected_sink()?;
        let (asked, before) = self.request(&sink, format!("drop {projection}"), asked).await?;
        if let Some(done) = before {
            return Ok(done);
        }
        self.known(projection)?;
        let file = self.lock().file_of(projection).map(|found| found.file.clone());
        if let Some(file) = file {
            let message =
                format!("{file} is in plugins/ and would make it anew: take it out first (laterna plugin rm {file})");
            return Err(conflict("plugin_present", message, Some(file)));
        }
        let stop = Order::Desire {
            projection: projection.to_owned(),
            desired: Desired::Stopped,
            reason: Some("it is being dropped".to_owned()),
        };
        self.order(&sink, &stop, &asked.on_the_way()).await?;
        crate::crash::point("drop-stopped");
        // What runs here is let go first; what runs elsewhere is stopped by the fence.
        let until = Instant::now() + LEAVE_MAX;
        while self.lock().runs(projection) && Instant::now() < until {
            tokio::time::sleep(POLL).await;
        }
        let done = self.order_patiently(&sink, &Order::Drop { projection: projection.to_owned() }, &asked).await?;
        crate::crash::point("dropped");
        Ok(done)
    }

    /// What waits to be done with the build on disk, or `nothing`.
    ///
    /// # Errors
    /// `projection_unknown`.
    pub fn plan(&self, projection: &str) -> Result<Plan, ControlError> {
        let state = self.lock();
        if !state.registry.projections.iter().any(|record| record.name == projection) {
            return Err(unknown(projection));
        }
        Ok(self.plan_of(&state, projection).unwrap_or_else(|| nothing_to_do(&state, projection)))
    }

    /// What these bytes would need. Nothing is stored.
    ///
    /// # Errors
    /// The plugin's own codes, with every problem.
    pub async fn plan_build(&self, bytes: Arc<[u8]>) -> Result<Plan, ControlError> {
        Ok(self.plan_of_build(&self.load(bytes).await?))
    }

    fn plan_of_build(&self, plugin: &Plugin) -> Plan {
        let state = self.lock();
        let live = state.live(&plugin.schema().descriptor.name);
        plan::decide(live, plugin.schema(), plugin.digest(), "")
    }

    /// Carries out the plan that is held back (`on_change = "hold"`); names the rebuild that it has begun, where it is one.
    ///
    /// # Errors
    /// `nothing_held`; `log_begins_later`, and it is held back as before; what the orders refuse.
    pub async fn deploy(&self, projection: &str, asked: &Asked) -> Result<Done, ControlError> {
        let sink = self.connected_sink()?;
        let (asked, before) = self.request(&sink, format!("deploy {projection}"), asked).await?;
        if let Some(done) = before {
            return Ok(done);
        }
        self.known(projection)?;
        let _one_at_a_time = self.shared.deploying.lock().await;
        let held = {
            let state = self.lock();
            let runs = state.live(projection).map(|live| live.plugin_digest.clone());
            let found = state.accepted(projection).map(|(found, plugin)| (Arc::clone(plugin), found.file.clone()));
            found.filter(|(plugin, _)| Some(plugin.digest()) != runs.as_deref())
        };
        let Some((plugin, file)) = held else {
            let message = format!("there is no other build of {projection:?} in plugins/ than the one that runs");
            return Err(conflict("nothing_held", message, None));
        };
        self.store(&sink, &plugin, &file).await?;
        Ok(self.apply_plan(&sink, &plugin, &file, true, &asked).await?.1)
    }

    /// Puts a build into `plugins/` under a name, whole or not at all, and tells its plan. A repeated request puts nothing there again.
    ///
    /// # Errors
    /// `file_name`; the plugin's own codes; what the folder says.
    pub async fn add_plugin(&self, file: &str, bytes: Arc<[u8]>, asked: &Asked) -> Result<Plan, ControlError> {
        let name = file.strip_suffix(".wasm").unwrap_or_default();
        let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.starts_with('.') || file.len() > 100 || !name.chars().all(is_good) {
            let message = format!(
                "{:?} cannot be the name of a plugin's file: letters, digits, '_', '-' and '.', then .wasm, 100 characters at most",
                file.chars().take(120).collect::<String>()
            );
            return Err(invalid("file_name", message));
        }
        let sink = self.connected_sink()?;
        let plugin = self.load(Arc::clone(&bytes)).await?;
        let plan = self.plan_of_build(&plugin);
        let digest = Some(plugin.digest().to_owned());
        let (asked, before) = self.request(&sink, format!("add {file} {}", plugin.digest()), asked).await?;
        if before.is_some() {
            return Ok(plan);
        }
        self.store(&sink, &plugin, file).await?;
        self.lock().brought.insert(file.to_owned(), (digest.clone(), asked.actor.clone()));
        let dir = self.plugins_dir();
        let (target, part) = (dir.join(file), dir.join(format!(".{file}.{}.part", UPLOADS.fetch_add(1, Relaxed))));
        let written = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            // Beside it and renamed: whoever looks sees all of it or nothing.
            std::fs::write(&part, &bytes)?;
            std::fs::File::open(&part)?.sync_all()?;
            std::fs::rename(&part, &target)
        });
        folder_done(written.await, &self.plugins_dir())?;
        tracing::info!(file, actor = asked.actor.name, "plugin added");
        let order = Order::File { projection: plan.projection.clone(), file: file.to_owned(), digest };
        self.order(&sink, &order, &asked).await?;
        Ok(plan)
    }

    /// Takes a file out of `plugins/`: its projection stops, its tables stay.
    ///
    /// # Errors
    /// `plugin_unknown`; what the folder says.
    pub async fn remove_plugin(&self, file: &str, asked: &Asked) -> Result<Done, ControlError> {
        let sink = self.connected_sink()?;
        let (asked, before) = self.request(&sink, format!("remove {file}"), asked).await?;
        if let Some(done) = before {
            return Ok(done);
        }
        let known = self.lock().files.get(file).map(|found| found.projection().unwrap_or_default().to_owned());
        let Some(projection) = known else {
            let file: String = file.chars().take(120).collect();
            let message = format!("there is no file {file:?} in plugins/; GET /api/v1/plugins lists them");
            return Err(ControlError {
                kind: ControlErrorKind::NotFound,
                code: "plugin_unknown",
                message,
                subject: None,
            });
        };
        self.lock().brought.insert(file.to_owned(), (None, asked.actor.clone()));
        let target = self.plugins_dir().join(file);
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(target));
        folder_done(removed.await, &self.plugins_dir())?;
        tracing::info!(file, actor = asked.actor.name, "plugin removed");
        self.order(&sink, &Order::File { projection, file: file.to_owned(), digest: None }, &asked).await
    }

    /// What a rebuild would be, by the build that runs or by the one that is held back.
    ///
    /// # Errors
    /// `projection_unknown`, `nothing_held`; the broker's.
    pub async fn forecast_rebuild(&self, projection: &str, held: bool) -> Result<RebuildForecast, ControlError> {
        let sink = self.connected_sink()?;
        let (plugin, _) = self.build_for_rebuild(&sink, projection, held).await?;
        self.forecast(&sink, &plugin).await
    }

    /// Begins to fill the next generation beside the live one.
    ///
    /// # Errors
    /// `projection_unknown`, `nothing_held`, `rebuild_active` (names it), `log_begins_later` (unless forced).
    pub async fn begin_rebuild(
        &self,
        projection: &str,
        request: RebuildRequest,
        asked: &Asked,
    ) -> Result<RebuildView, ControlError> {
        let sink = self.connected_sink()?;
        let (asked, before) = self.request(&sink, format!("rebuild {projection} {request:?}"), asked).await?;
        if let Some(id) = before.and_then(|done| done.rebuild) {
            return self.rebuild(&id);
        }
        let (plugin, file) = self.build_for_rebuild(&sink, projection, request.held).await?;
        let settings = self.settings(projection);
        let by_default = if settings.rebuild_switch_manual { Switch::Manual } else { Switch::Auto };
        let begin = Begin {
            plugin,
            file,
            switch: request.switch.unwrap_or(by_default),
            rate_max: request.max_rate.or(settings.rebuild_rate_max),
            force: request.force,
        };
        let begun = self.begin(&sink, begin, &asked).await?;
        self.rebuild(&begun.rebuild.unwrap_or_default())
    }

    /// The rebuilds of a projection, newest first.
    ///
    /// # Errors
    /// `projection_unknown`.
    pub fn rebuilds(&self, projection: &str) -> Result<Vec<RebuildView>, ControlError> {
        self.known(projection)?;
        let state = self.lock();
        let of_projection = state.registry.rebuilds.iter().filter(|rebuild| rebuild.projection == projection);
        Ok(of_projection.map(|record| state.rebuild_view(record)).collect())
    }

    /// One rebuild, by its identity.
    ///
    /// # Errors
    /// `rebuild_unknown`.
    pub fn rebuild(&self, id: &str) -> Result<RebuildView, ControlError> {
        let state = self.lock();
        let record = state.registry.rebuilds.iter().find(|rebuild| rebuild.id == id).ok_or_else(|| no_rebuild(id))?;
        Ok(state.rebuild_view(record))
    }

    /// Lets a rebuilt generation become the live one as soon as it has caught up.
    ///
    /// # Errors
    /// `rebuild_unknown`, `rebuild_state`.
    pub async fn switch_rebuild(&self, id: &str, asked: &Asked) -> Result<Done, ControlError> {
        let sink = self.connected_sink()?;
        self.order(&sink, &Order::Switch { id: id.to_owned() }, asked).await
    }

    /// Calls a rebuild off; the live generation has never noticed it.
    ///
    /// # Errors
    /// `rebuild_unknown`, `rebuild_state`.
    pub async fn cancel_rebuild(&self, id: &str, asked: &Asked) -> Result<Done, ControlError> {
        let sink = self.connected_sink()?;
        let (asked, before) = self.request(&sink, format!("cancel {id}"), asked).await?;
        if let Some(done) = before {
            return Ok(done);
        }
        let record = self.rebuild(id)?.record;
        let reason = format!("cancelled by {}", asked.actor.name);
        let done = self.order(&sink, &Order::CancelRebuild { id: id.to_owned(), reason }, &asked).await?;
        crate::crash::point("rebuild-cancelled");
        let mut state = self.lock();
        state.journal(&record.projection).mark("rebuild", format!("rebuild {id} was cancelled"));
        for file in state.files.values_mut().filter(|file| file.digest.as_deref() == Some(&record.plugin_digest)) {
            file.held = Some("its rebuild was cancelled; deploy it to begin another one".to_owned());
        }
        Ok(done)
    }

    /// Makes the generation that was live before the live one again.
    ///
    /// # Errors
    /// `projection_unknown`, `no_warm_generation`, `behind` (it does not catch up in time), `readers`.
    pub async fn rollback(&self, projection: &str, asked: &Asked) -> Result<Done, ControlError> {
        let sink = self.connected_sink()?;
        let (asked, before) = self.request(&sink, format!("roll back {projection}"), asked).await?;
        if let Some(done) = before {
            return Ok(done);
        }
        self.known(projection)?;
        let keep = self.settings(projection).rebuild_keep;
        let collect_at_us = now_us().saturating_add(i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
        let live = self.lock().live(projection).map_or(0, |live| live.number);
        let order = Order::Rollback { projection: projection.to_owned(), collect_at_us };
        let until = Instant::now() + LEAVE_MAX;
        let done = loop {
            match self.order_level(&sink, &order, &(projection.to_owned(), live), &asked).await {
                Err(error) if matches!(error.code, "readers" | "behind") && Instant::now() < until => {
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => return Err(error),
                Ok(done) => break done,
            }
        };
        crate::crash::point("rolled-back");
        let mut state = self.lock();
        let now = state.live(projection).map_or(0, |live| live.number);
        state.journal(projection).mark("rollback", format!("rolled back from generation {live} to {now}"));
        let left = state.registry.generations.iter().find(|g| g.projection == projection && g.number == live);
        let left = left.map(|left| left.plugin_digest.clone());
        for file in state.files.values_mut().filter(|file| file.digest == left && left.is_some()) {
            file.held = Some("it was rolled back; deploy it to try again".to_owned());
        }
        Ok(done)
    }

    /// Compares the live rows with the rebuilt ones at the same checkpoints.
    ///
    /// # Errors
    /// `rebuild_unknown`, `rebuild_state` (not caught up yet), `behind`.
    pub async fn diff(&self, id: &str, samples_max: usize) -> Result<Vec<TableDifference>, ControlError> {
        let sink = self.connected_sink()?;
        self.compare(&sink, id, samples_max).await
    }

    /// Waits until something is applied, at most for `limit`: read your writes.
    ///
    /// # Errors
    /// `projection_unknown`, `partition_unknown`, `halted` (it would never come).
    pub async fn wait(&self, projection: &str, what: WaitFor, limit: Duration) -> Result<Waited, ControlError> {
        let sink = self.connected_sink()?;
        self.known(projection)?;
        let begun = Instant::now();
        let targets: Vec<(TopicPartition, i64)> = match what {
            WaitFor::Offset { topic, partition, offset } => {
                let read = self.lock().topics_of(projection);
                if !read.contains(&topic) {
                    let message = format!("{projection:?} does not read {topic:?}; it reads {}", read.join(", "));
                    return Err(invalid("partition_unknown", message));
                }
                vec![(TopicPartition::new(topic, partition), offset.saturating_add(1))]
            }
            WaitFor::CaughtUp => {
                let digest = self.lock().live(projection).map(|live| live.plugin_digest.clone()).unwrap_or_default();
                let plugin = self.build(&sink, &digest).await?;
                let bounds = self.bounds(&plugin).await?;
                bounds.into_iter().filter(|log| log.end > log.start).map(|log| (log.partition, log.end)).collect()
            }
        };
        loop {
            let (status, live) = {
                let state = self.lock();
                (state.status(projection), state.live(projection).map(|live| live.number))
            };
            let (Some(mut status), Some(number)) = (status, live) else { return Err(unknown(projection)) };
            let here = |tp: &TopicPartition| {
                let of = status.partitions.iter().find(|p| *p.topic == *tp.topic && p.partition == tp.partition);
                of.map(|p| p.next_offset)
            };
            // Another engine may have the partition, and our own view of ours may be a moment old: the database knows.
            let mut reached = targets.iter().all(|(tp, offset)| here(tp).is_some_and(|next| next >= *offset));
            if !reached {
                let generation = Generation { projection: projection.to_owned(), number };
                let stored = sink.positions(&generation).await?;
                reached = targets
                    .iter()
                    .all(|(tp, offset)| stored.iter().any(|c| c.partition == *tp && c.next_offset >= *offset));
                for p in &mut status.partitions {
                    let of = |c: &&crate::checkpoint::Checkpoint| {
                        *c.partition.topic == *p.topic && c.partition.partition == p.partition
                    };
                    p.next_offset = stored.iter().find(of).map_or(p.next_offset, |c| c.next_offset.max(p.next_offset));
                }
            }
            if !reached && super::rebuild::stands(status.state) {
                let why = status.halt.map_or_else(|| "it is stopped".to_owned(), |halt| halt.to_string());
                return Err(conflict("halted", format!("{projection:?} does not go on: {why}"), None));
            }
            if reached || begun.elapsed() >= limit {
                return Ok(Waited { reached, seconds: begun.elapsed().as_secs_f64(), partitions: status.partitions });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Runs events through the current build, or through `build`, and shows what would change. Nothing is written.
    ///
    /// # Errors
    /// `projection_unknown`, `topic_unknown`, `bad_line`, `range_unavailable`; the plugin's own codes.
    pub async fn step(
        &self,
        projection: &str,
        events: StepEvents,
        build: Option<Arc<[u8]>>,
    ) -> Result<StepReport, ControlError> {
        let sink = self.connected_sink()?;
        self.known(projection)?;
        self.step_events(&sink, projection, events, build).await
    }

    /// The last lines of a projection's log: at most `limit` with numbers above `after`, oldest first.
    ///
    /// # Errors
    /// `projection_unknown`.
    pub fn logs(&self, projection: &str, after: u64, limit: usize) -> Result<Vec<LogLine>, ControlError> {
        self.known(projection)?;
        Ok(self.lock().journal(projection).lines(after, limit))
    }

    /// Lag and rates over the last `window`, at most 6 h.
    ///
    /// # Errors
    /// `projection_unknown`.
    pub fn history(&self, projection: &str, window: Duration) -> Result<History, ControlError> {
        self.known(projection)?;
        Ok(self.lock().journal(projection).history(window))
    }

    /// The tables that readers see, each with its first `rows` rows.
    ///
    /// # Errors
    /// `projection_unknown`; the database's.
    pub async fn tables(&self, projection: &str, rows: u32) -> Result<Vec<TableView>, ControlError> {
        let sink = self.connected_sink()?;
        self.known(projection)?;
        let live = self.lock().live(projection).cloned();
        let Some(live) = live else { return Ok(Vec::new()) };
        let plugin = self.build(&sink, &live.plugin_digest).await?;
        let generation = Generation { projection: projection.to_owned(), number: live.number };
        let statements = crate::sink::postgres_ddl(plugin.schema());
        let is_sqlite = self.shared.config.database.url.expose().starts_with("sqlite:");
        let mut views = Vec::new();
        for (index, table) in plugin.schema().descriptor.tables.iter().enumerate() {
            let name = &table.name;
            let shown = match rows {
                0 => None,
                rows => Some(sink.rows(&generation, plugin.schema(), index, Some(u64::from(rows))).await?),
            };
            let of_table = |text: &&String| text.contains(&format!(".\"{name}\""));
            views.push(TableView {
                name: if is_sqlite { name.clone() } else { format!("{projection}.{name}") },
                table: name.clone(),
                ddl: statements.iter().filter(of_table).cloned().collect(),
                rows: shown,
            });
        }
        Ok(views)
    }

    /// The audit, newest first: at most `limit` entries with numbers below `before`.
    ///
    /// # Errors
    /// The database's.
    pub async fn audit(
        &self,
        projection: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, ControlError> {
        let sink = self.connected_sink()?;
        Ok(sink.audit(projection, before, limit).await?)
    }
}

impl Control {
    async fn desire(&self, projection: &str, desired: Desired, asked: &Asked) -> Result<Done, ControlError> {
        let sink = self.connected_sink()?;
        let (asked, before) = self.request(&sink, format!("{} {projection}", desired.name()), asked).await?;
        if let Some(done) = before {
            return Ok(done);
        }
        let stopped = {
            let state = self.lock();
            let record = state.registry.projections.iter().find(|record| record.name == projection);
            record.ok_or_else(|| unknown(projection))?.desired == Desired::Stopped
        };
        if stopped {
            let message = format!("{projection:?} is stopped because its plugin is not in plugins/: put it back first");
            return Err(conflict("plugin_missing", message, None));
        }
        let order = Order::Desire { projection: projection.to_owned(), desired, reason: None };
        self.order(&sink, &order, &asked).await
    }

    /// The request under its words, and what it was answered where it came before under its key. Asked before anything else is looked at: what it has
    /// done must not stand in the way of being told so.
    async fn request(
        &self,
        sink: &Arc<dyn Sink>,
        words: String,
        asked: &Asked,
    ) -> Result<(Asked, Option<Done>), ControlError> {
        let asked = asked.with_request(words);
        let before = if asked.idempotency_key.is_some() { sink.answered(&asked).await? } else { None };
        Ok((asked, before))
    }

    /// The database, or why there is none.
    fn connected_sink(&self) -> Result<Arc<dyn Sink>, ControlError> {
        self.sink().ok_or_else(|| {
            let said = match &self.lock().database {
                Some(Err(said)) => said.clone(),
                _ => "it has not answered yet".to_owned(),
            };
            let message = format!("the database is away: {said}");
            ControlError { kind: ControlErrorKind::Unavailable, code: "database_unreachable", message, subject: None }
        })
    }

    fn known(&self, projection: &str) -> Result<(), ControlError> {
        let state = self.lock();
        let found = state.registry.projections.iter().any(|record| record.name == projection);
        if found { Ok(()) } else { Err(unknown(projection)) }
    }

    /// The build that a rebuild would run, and its file: the live one, or the one that is held back. Never that one by itself: it may be what was just
    /// rolled back.
    async fn build_for_rebuild(
        &self,
        sink: &Arc<dyn Sink>,
        projection: &str,
        held: bool,
    ) -> Result<(Arc<Plugin>, String), ControlError> {
        let (digest, file) = {
            let state = self.lock();
            let record = state.registry.projections.iter().find(|record| record.name == projection);
            let record = record.ok_or_else(|| unknown(projection))?;
            let plan = self.plan_of(&state, projection).filter(|plan| plan.action == PlanAction::Rebuild);
            let plan = plan.map(|plan| (plan.to_digest, plan.file));
            let live = state.live(projection).ok_or_else(|| {
                conflict("no_live_generation", format!("{projection:?} has no live generation yet"), None)
            })?;
            match (held, plan) {
                (false, _) => (live.plugin_digest.clone(), record.plugin_file.clone()),
                (true, Some(plan)) => plan,
                (true, None) => {
                    let message = format!("no build of {projection:?} in plugins/ waits for a rebuild");
                    return Err(conflict("nothing_held", message, None));
                }
            }
        };
        Ok((self.build(sink, &digest).await?, file))
    }

    fn view_of(&self, state: &Supervised, projection: &str) -> Option<ProjectionView> {
        let record = state.registry.projections.iter().find(|record| record.name == projection)?;
        let mut status = state.status(projection)?;
        let settings = self.settings(projection);
        let journal = state.journals.get(projection);
        let over = status.lag_seconds.is_some_and(|seconds| seconds > f64::from(settings.slo_lag_seconds));
        let falls = journal.is_none_or(super::journal::Journal::is_falling);
        if matches!(status.state, State::Running | State::CatchingUp) && over && !falls {
            status.state = State::Lagging;
        }
        let eta_seconds = match status.lag_events {
            Some(0) => Some(0.0),
            _ => journal.and_then(|journal| journal.eta_seconds(&status.partitions)),
        };
        let file = state.files.get(&record.plugin_file);
        let last = state.registry.rebuilds.iter().find(|rebuild| rebuild.projection == projection);
        let rebuild = state.active_rebuild(projection).or(last).map(|record| state.rebuild_view(record));
        let generations = state.registry.generations.iter().filter(|g| g.projection == projection && g.stored);
        Some(ProjectionView {
            desired: record.desired,
            reason: record.reason.clone(),
            slo_lag_seconds: settings.slo_lag_seconds,
            eta_seconds,
            trend: journal.map(super::journal::Journal::trend).unwrap_or_default(),
            plan: self.plan_of(state, projection),
            rejected: file.and_then(DiskFile::rejected),
            rebuild,
            generations: generations.cloned().collect(),
            tallies: journal.map(super::journal::Journal::tallies).unwrap_or_default(),
            status,
        })
    }

    /// What waits to be done with the build on disk, where it is not what runs.
    fn plan_of(&self, state: &Supervised, projection: &str) -> Option<Plan> {
        let (file, plugin) = state.accepted(projection)?;
        let mut plan = plan::decide(state.live(projection), plugin.schema(), plugin.digest(), &file.file);
        if plan.action == PlanAction::Nothing {
            return None;
        }
        let filling = state.active_rebuild(projection).is_some_and(|active| active.plugin_digest == plan.to_digest);
        if filling {
            plan.reasons.push("its rebuild is under way".to_owned());
        }
        plan.held = file.held.is_some() && !filling;
        plan.reasons.extend(file.held.clone().filter(|_| plan.held));
        Some(plan)
    }

    fn plugin_of_file(&self, state: &Supervised, file: &DiskFile) -> PluginView {
        let plugin = file.plugin.as_ref();
        let by_file = state.registry.projections.iter().find(|record| record.plugin_file == file.file);
        let projection = file.projection().map(str::to_owned).or_else(|| Some(by_file?.name.clone()));
        let live = projection.as_deref().and_then(|name| state.live(name));
        PluginView {
            file: file.file.clone(),
            digest: file.digest.clone(),
            bytes: file.digest.is_some().then_some(file.bytes),
            read_at_us: Some(file.read_at_us),
            revision: plugin.map(|plugin| plugin.schema().descriptor.revision),
            language: plugin.and_then(|plugin| plugin.language().map(str::to_owned)),
            compile_seconds: plugin.map(|plugin| plugin.figures().compile_seconds),
            running_digest: live.map(|live| live.plugin_digest.clone()),
            rejected: file.rejected(),
            plan: projection
                .as_deref()
                .and_then(|name| self.plan_of(state, name))
                .filter(|plan| plan.file == file.file),
            projection,
        }
    }
}

fn plugin_without_file(state: &Supervised, projection: &ProjectionRecord) -> PluginView {
    let live = state.live(&projection.name);
    PluginView {
        file: String::new(),
        digest: None,
        bytes: None,
        read_at_us: None,
        projection: Some(projection.name.clone()),
        revision: live.map(|live| live.revision),
        language: None,
        compile_seconds: None,
        running_digest: live.map(|live| live.plugin_digest.clone()),
        rejected: None,
        plan: None,
    }
}

fn nothing_to_do(state: &Supervised, projection: &str) -> Plan {
    let live = state.live(projection);
    let digest = live.map(|live| live.plugin_digest.clone());
    let revision = live.map(|live| live.revision);
    Plan {
        projection: projection.to_owned(),
        to_digest: digest.clone().unwrap_or_default(),
        from_digest: digest,
        to_revision: revision.unwrap_or_default(),
        from_revision: revision,
        file: String::new(),
        action: PlanAction::Nothing,
        held: false,
        reasons: vec!["the build in plugins/ is the one that runs".to_owned()],
        tables: Vec::new(),
    }
}

impl Supervised {
    /// Whether a runner of the projection is here, or on its way out.
    fn runs(&self, projection: &str) -> bool {
        self.runners.keys().any(|key| key.0 == projection)
            || self.leaving.iter().any(|(key, task)| key.0 == projection && !task.is_finished())
    }

    /// The topics that its live generation reads.
    fn topics_of(&self, projection: &str) -> Vec<String> {
        let topics = self.live(projection).and_then(|live| live.descriptor.get("topics")?.as_array());
        let name = |topic: &serde_json::Value| Some(topic.get("name")?.as_str()?.to_owned());
        topics.into_iter().flatten().filter_map(name).collect()
    }
}

impl From<PluginError> for ControlError {
    fn from(error: PluginError) -> Self {
        let mut message = error.message;
        // All problems at once, each with its place.
        for problem in &error.problems {
            if !message.contains(&problem.place) {
                message.push('\n');
                message.push_str(&problem.to_string());
            }
        }
        let kind = match error.kind {
            crate::error::ErrorKind::Transient => ControlErrorKind::Unavailable,
            _ => ControlErrorKind::Invalid,
        };
        Self { kind, code: error.code, message, subject: None }
    }
}

fn folder_done(done: Result<std::io::Result<()>, tokio::task::JoinError>, dir: &Path) -> Result<(), ControlError> {
    let said = match done {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    let message = format!("the folder {} cannot be written: {said}; let the engine's user write there", dir.display());
    Err(ControlError { kind: ControlErrorKind::Internal, code: "plugins_folder", message, subject: None })
}

pub(super) fn conflict(code: &'static str, message: String, subject: Option<String>) -> ControlError {
    ControlError { kind: ControlErrorKind::Conflict, code, message, subject }
}

pub(super) fn invalid(code: &'static str, message: String) -> ControlError {
    ControlError { kind: ControlErrorKind::Invalid, code, message, subject: None }
}

fn no_rebuild(id: &str) -> ControlError {
    let id: String = id.chars().take(120).collect();
    let message = format!("there is no rebuild {id:?}; GET /api/v1/projections/{{projection}}/rebuilds lists them");
    ControlError { kind: ControlErrorKind::NotFound, code: "rebuild_unknown", message, subject: None }
}

fn unknown(projection: &str) -> ControlError {
    let projection: String = projection.chars().take(100).collect();
    ControlError {
        kind: ControlErrorKind::NotFound,
        code: "projection_unknown",
        message: format!("there is no projection {projection:?}; GET /api/v1/projections lists them"),
        subject: None,
    }
}

//! What was found in `plugins/`, and how it becomes what runs.
//!
//! Invariants: a build is stored in the database before any order names it; a build that cannot run leaves everything as it was; a file that is
//! found when the engine starts is deployed only where its build is new to the database, so that a restart, a rollback or an engine that lags behind
//! with its files never puts an earlier build back; a file that changes while the engine watches is a person's word and is deployed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan;
use super::view::{ControlError, ControlErrorKind, Plan, PlanAction, RejectedPlugin};
use super::watch::Found;
use super::{Control, Supervised, asked_by};
use crate::config::OnChange;
use crate::plugin::Plugin;
use crate::sink::{Asked, Build, Desired, Done, Order, Sink, Switch};

/// How many of a projection's last orders are looked at for an earlier build.
const AUDIT_LOOK_BACK: u32 = 1_000;

/// How long readers who hold what a build changes are left alone before the next try.
const READERS_PAUSE: Duration = Duration::from_millis(500);

/// Why a file is refused whose projection runs from another file, or whose views somebody else has.
const NAME_TAKEN: &str = "name_taken";

/// One file of the folder.
pub(super) struct DiskFile {
    /// Its name.
    pub(super) file: String,
    /// SHA-256 of its bytes, where it was read.
    pub(super) digest: Option<String>,
    pub(super) bytes: u64,
    pub(super) read_at_us: i64,
    /// The build, where the file holds one; also where it is refused.
    pub(super) plugin: Option<Arc<Plugin>>,
    /// Why it does not run.
    pub(super) refused: Option<RejectedPlugin>,
    /// The projection that the file described before, where it holds no build now.
    before: Option<String>,
    /// Whether it still is to be compared with what runs.
    pub(super) pending: bool,
    /// It waits for readers: not compared again before this.
    not_before: Option<Instant>,
    /// Whether it was there when the engine started.
    pub(super) first: bool,
    /// Why it is not deployed although it could be: what a person is told.
    pub(super) held: Option<String>,
}

impl DiskFile {
    pub(super) fn rejected(&self) -> Option<RejectedPlugin> {
        self.refused.clone()
    }

    /// The build, where nothing is said against it.
    pub(super) fn accepted(&self) -> Option<&Arc<Plugin>> {
        self.plugin.as_ref().filter(|_| self.refused.is_none())
    }

    /// The projection that it describes, or did before it was overwritten by something that is no plugin. A file that is refused is there all the same.
    pub(super) fn projection(&self) -> Option<&str> {
        self.plugin.as_ref().map(|plugin| plugin.schema().descriptor.name.as_str()).or(self.before.as_deref())
    }

    fn refuse(&mut self, code: &str, reason: String) {
        self.refused = Some(RejectedPlugin { file: self.file.clone(), code: code.to_owned(), reason });
    }
}

impl Control {
    /// Takes note of what the watching thread has seen.
    pub(super) async fn found(&self, found: Found) {
        match found {
            Found::File(file, bytes) => {
                self.lock().folder = None;
                let mut read = match bytes {
                    Ok(bytes) => self.read(&file, bytes).await,
                    Err(reason) => unreadable(&file, reason),
                };
                let mut state = self.lock();
                if let Some(rejected) = &read.refused {
                    tracing::error!(file, code = rejected.code, reason = rejected.reason, "plugin does not run");
                    state.log_file(rejected);
                    read.before = state.projection_of(&file);
                }
                state.files.insert(file, read);
            }
            Found::Gone(file) => {
                let mut state = self.lock();
                state.files.remove(&file);
                state.gone.push(file);
                // Who was refused for its sake may have its place.
                let refused = |file: &&mut DiskFile| file.refused.as_ref().is_some_and(|why| why.code == NAME_TAKEN);
                for file in state.files.values_mut().filter(refused) {
                    file.refused = None;
                    file.pending = true;
                }
            }
            Found::Settled => {
                self.shared.settled.send_replace(true);
            }
            Found::Unreadable(reason) => {
                tracing::error!(reason, "the plugins folder cannot be read");
                self.lock().folder = Some(reason);
            }
        }
    }

    async fn read(&self, file: &str, bytes: Arc<[u8]>) -> DiskFile {
        let size = bytes.len() as u64;
        let digest = crate::plugin::digest(&bytes);
        let known = self.lock().builds.get(&digest).cloned();
        let outcome = match known {
            Some(plugin) => Ok(plugin),
            None => match self.load(bytes).await {
                Ok(plugin) => match plugin.try_out().await {
                    Ok(()) => Ok(Arc::new(plugin)),
                    Err(error) => Err((error.code, error.message)),
                },
                Err(error) => Err((error.code, error.message)),
            },
        };
        let first = !*self.shared.settled.borrow();
        let mut read = DiskFile {
            file: file.to_owned(),
            digest: Some(digest.clone()),
            bytes: size,
            read_at_us: super::journal::now_us(),
            plugin: None,
            refused: None,
            before: None,
            pending: true,
            not_before: None,
            first,
            held: None,
        };
        match outcome {
            Ok(plugin) => {
                self.lock().builds.insert(digest, Arc::clone(&plugin));
                read.plugin = Some(plugin);
            }
            Err((code, reason)) => read.refuse(code, reason),
        }
        read
    }

    /// Deals with all files that are new, changed or gone. False where something is left: the database did not answer, readers are in the way, or
    /// somebody deploys a build at this moment. It waits for none of them, because everything else would wait with it.
    pub(super) async fn deal_with_files(&self, sink: &Arc<dyn Sink>) -> bool {
        let Ok(_one_at_a_time) = self.shared.deploying.try_lock() else { return false };
        let gone = std::mem::take(&mut self.lock().gone);
        for (at, file) in gone.iter().enumerate() {
            if self.file_is_gone(sink, file).await.is_err() {
                self.lock().gone.extend_from_slice(&gone[at..]);
                return false;
            }
            self.lock().forget_bringer(file, None);
        }
        loop {
            let (next, left) = {
                let state = self.lock();
                let pending = || state.files.values().filter(|file| file.pending && file.accepted().is_some());
                let now = Instant::now();
                let next = pending().find(|file| file.not_before.is_none_or(|at| at <= now));
                (next.map(|found| found.file.clone()), pending().next().is_some())
            };
            let Some(file) = next else { return !left };
            match self.deploy_file(sink, &file).await {
                Ok(()) => {}
                Err(error) if error.kind == ControlErrorKind::Unavailable => {
                    tracing::warn!(file, %error, "the plugin waits for the database");
                    return false;
                }
                Err(error) if error.code == "readers" => {
                    tracing::debug!(file, %error, "the plugin waits for readers");
                    if let Some(found) = self.lock().files.get_mut(&file) {
                        found.not_before = Some(Instant::now() + READERS_PAUSE);
                        found.held = Some(format!("{}; it goes on by itself when they are done", error.message));
                    }
                    continue;
                }
                Err(error) => {
                    tracing::error!(file, code = error.code, reason = error.message, "plugin does not run");
                    let mut state = self.lock();
                    if let Some(found) = state.files.get_mut(&file) {
                        found.refuse(error.code, error.message);
                    }
                }
            }
            let mut state = self.lock();
            let Some(found) = state.files.get_mut(&file) else { continue };
            found.pending = false;
            let digest = found.digest.clone();
            state.forget_bringer(&file, digest.as_deref());
        }
    }

    /// The projection whose file went away stops; its tables stay.
    async fn file_is_gone(&self, sink: &Arc<dyn Sink>, file: &str) -> Result<(), ControlError> {
        let registry = sink.registry().await?;
        let of_file = registry.projections.iter().filter(|p| p.plugin_file == file && p.desired != Desired::Stopped);
        for projection in of_file {
            // Under another name it is still there.
            if self.lock().files.values().any(|other| other.projection() == Some(&projection.name)) {
                continue;
            }
            tracing::warn!(
                file,
                projection = projection.name,
                "the file is gone: the projection stops, its tables stay"
            );
            let order = Order::Desire {
                projection: projection.name.clone(),
                desired: Desired::Stopped,
                reason: Some(format!(
                    "{file} was taken out of plugins/; put it back to go on, or remove the tables with laterna drop {}",
                    projection.name
                )),
            };
            let asked = self.lock().brought_by(file, None);
            self.order(sink, &order, &asked).await?;
        }
        Ok(())
    }

    /// Compares a file with what runs, and does what its plan says.
    async fn deploy_file(&self, sink: &Arc<dyn Sink>, file: &str) -> Result<(), ControlError> {
        let (plugin, first) = {
            let state = self.lock();
            let Some(found) = state.files.get(file) else { return Ok(()) };
            let Some(plugin) = found.accepted() else { return Ok(()) };
            (Arc::clone(plugin), found.first)
        };
        let name = plugin.schema().descriptor.name.clone();
        let registry = sink.registry().await?;
        let record = registry.projections.iter().find(|projection| projection.name == name);
        self.check_name(&name, file, record.map(|record| record.plugin_file.as_str()))?;
        let is_current = record.is_some_and(|record| record.plugin_digest == plugin.digest());
        // Stored is not enough: the engine may have died between storing it and the order.
        let ran_before = first && record.is_some() && !is_current && {
            let audit = sink.audit(Some(&name), None, AUDIT_LOOK_BACK).await?;
            audit.iter().any(|entry| entry.plugin_digest.as_deref() == Some(plugin.digest()))
        };
        if ran_before {
            self.hold(file, "it is an earlier build than the one that the database says is to run; touch the file, or deploy it, to go back to it");
            return Ok(());
        }
        let asked = self.lock().brought_by(file, Some(plugin.digest()));
        if !is_current {
            self.store(sink, &plugin, file).await?;
            crate::crash::point("build-stored");
        }
        if record.is_some_and(|record| record.desired == Desired::Stopped) {
            let (desired, reason) = self.wanted_before(sink, &name).await?;
            let order = Order::Desire { projection: name.clone(), desired, reason };
            self.order(sink, &order, &asked).await?;
        }
        let (plan, _) = self.apply_plan(sink, &plugin, file, false, &asked).await?;
        tracing::info!(projection = name, file, digest = &plugin.digest()[..12], action = ?plan.action, held = plan.held, "plugin");
        Ok(())
    }

    /// What was wanted of a stopped projection before its file went, and why: a pause outlasts that.
    async fn wanted_before(
        &self,
        sink: &Arc<dyn Sink>,
        projection: &str,
    ) -> Result<(Desired, Option<String>), ControlError> {
        let audit = sink.audit(Some(projection), None, AUDIT_LOOK_BACK).await?;
        let stopped = audit.iter().find(|entry| entry.after["desired"] == Desired::Stopped.name());
        let before = stopped.filter(|entry| entry.before["desired"] == Desired::Paused.name());
        Ok(match before {
            Some(entry) => (Desired::Paused, entry.before["reason"].as_str().map(str::to_owned)),
            None => (Desired::Running, None),
        })
    }

    /// One name runs once.
    fn check_name(&self, name: &str, file: &str, owner: Option<&str>) -> Result<(), ControlError> {
        let state = self.lock();
        let mut others = state.files.values().filter(|other| {
            let describes = other.accepted().is_some_and(|plugin| plugin.schema().descriptor.name == name);
            other.file != file && describes
        });
        // The one that it was deployed from, or else the first that was found.
        let other = others.find(|other| owner == Some(other.file.as_str()) || (owner != Some(file) && !other.pending));
        match other {
            Some(other) => Err(ControlError {
                kind: ControlErrorKind::Conflict,
                code: NAME_TAKEN,
                message: format!(
                    "projection {name:?} already runs from {}: give this one another name, or remove one of the files",
                    other.file
                ),
                subject: None,
            }),
            None => Ok(()),
        }
    }

    fn hold(&self, file: &str, reason: &str) {
        if let Some(found) = self.lock().files.get_mut(file) {
            found.held = Some(reason.to_owned());
        }
    }

    pub(super) async fn store(&self, sink: &Arc<dyn Sink>, plugin: &Plugin, file: &str) -> Result<(), ControlError> {
        let build = Build {
            digest: plugin.digest().to_owned(),
            projection: plugin.schema().descriptor.name.clone(),
            revision: plugin.schema().descriptor.revision,
            file: file.to_owned(),
            bytes: Arc::clone(plugin.bytes()),
        };
        Ok(sink.store_build(&build).await?)
    }

    /// Decides what a build needs and does it; with `approved` also what is held back otherwise, and what cannot be done is an error. What was done
    /// last is the answer.
    pub(super) async fn apply_plan(
        &self,
        sink: &Arc<dyn Sink>,
        plugin: &Arc<Plugin>,
        file: &str,
        approved: bool,
        asked: &Asked,
    ) -> Result<(Plan, Done), ControlError> {
        let on_the_way = asked.on_the_way();
        let schema = Arc::clone(plugin.schema());
        let (name, digest) = (schema.descriptor.name.clone(), plugin.digest().to_owned());
        let registry = sink.registry().await?;
        let live =
            registry.generations.iter().find(|g| g.projection == name && g.state == crate::sink::GenerationState::Live);
        let mut plan = plan::decide(live, &schema, &digest, file);
        let active = registry.rebuilds.iter().find(|rebuild| rebuild.projection == name && rebuild.state.is_active());
        let (projection, file_name) = (name.clone(), file.to_owned());
        let mut done = Done { changed: false, generation: None, rebuild: None };
        match plan.action {
            PlanAction::Create => {
                done = self.order(sink, &Order::Create { schema, digest, file: file_name }, asked).await?;
                crate::crash::point("created");
            }
            PlanAction::Nothing => {
                self.supersede(sink, active.filter(|rebuild| rebuild.plugin_digest != digest), &digest, &on_the_way)
                    .await?;
                done = self.order(sink, &Order::Hold { projection, digest, file: file_name }, asked).await?;
            }
            PlanAction::Reload | PlanAction::Alter => {
                let from = live.map(|live| live.plugin_digest.clone());
                let (same, other) = match active {
                    Some(active) if Some(&active.plugin_digest) == from.as_ref() => (Some(active), None),
                    active => (None, active),
                };
                self.supersede(sink, other, &digest, &on_the_way).await?;
                // The generation that is filling becomes the live one later, so it must not fall back to the build before.
                for generation in same.map(|rebuild| rebuild.generation).into_iter().chain(live.map(|live| live.number))
                {
                    let is_last = live.is_some_and(|live| live.number == generation);
                    let (schema, digest, file) = (Arc::clone(&schema), digest.clone(), file_name.clone());
                    let order = Order::Deploy { schema, digest, file, generation };
                    done = self.order_deploy(sink, &order, approved, if is_last { asked } else { &on_the_way }).await?;
                }
            }
            PlanAction::Rebuild if !approved && self.settings(&name).on_change == OnChange::Hold => {
                self.order(sink, &Order::Hold { projection, digest, file: file_name }, asked).await?;
                self.hold(file, "on_change is \"hold\": the rebuild waits for a person");
                plan.held = true;
            }
            PlanAction::Rebuild => {
                if active.is_some_and(|active| active.plugin_digest == digest) {
                    let rebuild = active.map(|active| active.id.clone());
                    return Ok((plan, Done { changed: false, generation: None, rebuild }));
                }
                self.supersede(sink, active, &digest, &on_the_way).await?;
                match self.begin_as_set(sink, plugin, file, asked).await {
                    Ok(begun) => done = begun,
                    Err(error) if error.kind == ControlErrorKind::Conflict => {
                        self.order(sink, &Order::Hold { projection, digest, file: file_name }, &on_the_way).await?;
                        self.hold(file, &error.message);
                        if approved {
                            return Err(error);
                        }
                        plan.held = true;
                        plan.reasons.push(error.message);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        if let Some(found) = self.lock().files.get_mut(file)
            && !plan.held
        {
            found.held = None;
        }
        self.shared.wake.notify_one();
        Ok((plan, done))
    }

    /// Begins a rebuild with what the configuration says of its projection.
    async fn begin_as_set(
        &self,
        sink: &Arc<dyn Sink>,
        plugin: &Arc<Plugin>,
        file: &str,
        asked: &Asked,
    ) -> Result<Done, ControlError> {
        let settings = self.settings(&plugin.schema().descriptor.name);
        let request = super::rebuild::Begin {
            plugin: Arc::clone(plugin),
            file: file.to_owned(),
            switch: if settings.rebuild_switch_manual { Switch::Manual } else { Switch::Auto },
            rate_max: settings.rebuild_rate_max,
            force: false,
        };
        self.begin(sink, request, asked).await
    }

    /// A person is waited with; a file comes again in the next round.
    async fn order_deploy(
        &self,
        sink: &Arc<dyn Sink>,
        order: &Order,
        patiently: bool,
        asked: &Asked,
    ) -> Result<Done, ControlError> {
        let done = match patiently {
            true => self.order_patiently(sink, order, asked).await?,
            false => self.order(sink, order, asked).await?,
        };
        crate::crash::point("deployed");
        Ok(done)
    }

    /// A rebuild of another build is called off by a newer one.
    async fn supersede(
        &self,
        sink: &Arc<dyn Sink>,
        rebuild: Option<&crate::sink::RebuildRecord>,
        digest: &str,
        asked: &Asked,
    ) -> Result<(), ControlError> {
        let Some(rebuild) = rebuild else { return Ok(()) };
        let reason = format!("superseded by the build {}", &digest[..12]);
        match self.order(sink, &Order::CancelRebuild { id: rebuild.id.clone(), reason }, asked).await {
            // It has ended meanwhile, one way or the other.
            Err(error) if error.code == "rebuild_state" => Ok(()),
            done => done.map(drop),
        }
    }

    /// Sends an order. What it changes is known here before it returns.
    pub(super) async fn order(&self, sink: &Arc<dyn Sink>, order: &Order, asked: &Asked) -> Result<Done, ControlError> {
        let done = sink.order(order, asked).await?;
        if let Ok(registry) = sink.registry().await {
            self.lock().registry = registry;
        }
        self.shared.wake.notify_one();
        Ok(done)
    }

    /// Sends an order again and again while readers hold what it needs, for up to a minute.
    pub(super) async fn order_patiently(
        &self,
        sink: &Arc<dyn Sink>,
        order: &Order,
        asked: &Asked,
    ) -> Result<Done, ControlError> {
        let until = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            match self.order(sink, order, asked).await {
                Err(error) if error.code == "readers" && tokio::time::Instant::now() < until => {
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                }
                done => return done,
            }
        }
    }
}

impl Supervised {
    /// The projection that a file of this name describes, or did, as far as it is known.
    fn projection_of(&self, file: &str) -> Option<String> {
        let seen = self.files.get(file).and_then(|found| found.projection().map(str::to_owned));
        seen.or_else(|| self.registry.projections.iter().find(|p| p.plugin_file == file).map(|p| p.name.clone()))
    }

    /// The file in `plugins/` with a build of a projection that nothing is said against.
    pub(super) fn accepted(&self, projection: &str) -> Option<(&DiskFile, &Arc<Plugin>)> {
        let of = |plugin: &&Arc<Plugin>| plugin.schema().descriptor.name == projection;
        self.files.values().find_map(|file| Some((file, file.accepted().filter(of)?)))
    }

    /// A file in `plugins/` that describes a projection, refused or not.
    pub(super) fn file_of(&self, projection: &str) -> Option<&DiskFile> {
        self.files.values().find(|file| {
            // What is no plugin is known by the name that it was deployed under.
            let was = || self.registry.projections.iter().any(|p| p.plugin_file == file.file && p.name == projection);
            file.projection().map_or_else(was, |name| name == projection)
        })
    }

    /// Who put this build into the folder (or took the file out), where that was through the API; else the folder itself.
    fn brought_by(&self, file: &str, digest: Option<&str>) -> Asked {
        match self.brought.get(file) {
            Some((brought, actor)) if brought.as_deref() == digest => {
                Asked { actor: actor.clone(), idempotency_key: None, request: None }
            }
            _ => asked_by("plugins-folder", "operator"),
        }
    }

    /// What somebody brought is dealt with: whoever touches the file next is somebody else.
    fn forget_bringer(&mut self, file: &str, digest: Option<&str>) {
        if self.brought.get(file).is_some_and(|(brought, _)| brought.as_deref() == digest) {
            self.brought.remove(file);
        }
    }
}

fn unreadable(file: &str, reason: String) -> DiskFile {
    let mut found = DiskFile {
        file: file.to_owned(),
        digest: None,
        bytes: 0,
        read_at_us: super::journal::now_us(),
        plugin: None,
        refused: None,
        before: None,
        pending: false,
        not_before: None,
        first: false,
        held: None,
    };
    found.refuse("unreadable", reason);
    found
}

//! The control plane: which projections run, with which build, on which generation. Connects the database, watches `plugins/`, and makes what
//! runs here what the database says should run.
//!
//! Invariants: what is wanted stands in the database and nowhere else, so a request is an order to the database, and every engine finds out and
//! acts (`steward`); one generation of a projection has one runner here; a file is read once and those bytes are what runs; a file
//! that does not run says why, and the build before it goes on; neither a broker nor a database that is away stops the engine from
//! starting and showing so.
//!
//! In here: `watch` (the folder), `folder` (what was found in it), `plan` (what a build needs), `steward` (what runs), `rebuild`
//! (the way of a rebuild), `requests` (what users ask), `journal` (what has happened), `view` (what is shown).

mod folder;
mod journal;
mod plan;
mod rebuild;
mod requests;
mod step;
mod steward;
mod view;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, mpsc, watch as watch_channel};

use crate::change::Schema;
use crate::config::{Config, DatabaseConfig, ProjectionConfig, SourceKind};
use crate::error::ErrorKind;
use crate::format::{Decoder, FormatError, Registry as SchemaRegistry, RegistrySettings};
use crate::plugin::{Host, HostSettings, Limits, Plugin, PluginError, lower_priority};
use crate::runner::{ProjectionStatus, State};
use crate::sink::{PostgresSettings, PostgresSink, Registry, Sink, SinkError, SqliteSettings, SqliteSink};
use crate::source::{FileSettings, KafkaSettings, check_properties};
use crate::trace::Tracer;

use folder::DiskFile;
use journal::Journal;
pub use step::Stepper;
use steward::Running;
pub use view::*;

/// How often the database is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(5);

/// The running engine. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    host: Host,
    /// None where none is configured.
    schema_registry: Option<Arc<SchemaRegistry>>,
    tracer: Option<Tracer>,
    /// None until the database has answered for the first time.
    sink: watch_channel::Sender<Option<Arc<dyn Sink>>>,
    state: Mutex<Supervised>,
    /// Whether every file in the folder has been looked at.
    settled: watch_channel::Sender<bool>,
    /// Something is to be looked at by the steward.
    wake: Notify,
    /// Builds are deployed one after the other.
    deploying: tokio::sync::Mutex<()>,
    /// Raised when a view may have changed.
    changes: watch_channel::Sender<u64>,
    background: Background,
}

/// Threads of fills: one takes and folds, one writes.
const FILL_THREADS: usize = 2;

/// Threads that give way to all others: fills run here, so that what readers see is not held up (reliability.md, R61).
struct Background {
    handle: tokio::runtime::Handle,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Background {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(FILL_THREADS)
            .thread_name("fill")
            .on_thread_start(lower_priority)
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It must not be dropped where it would block; what it still does is rolled back by the database.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A projection's name and the number of a generation.
type RunnerKey = (String, u32);

#[derive(Default)]
struct Supervised {
    /// What the database said last.
    registry: Registry,
    /// Whether it has said anything yet.
    informed: bool,
    runners: BTreeMap<RunnerKey, Running>,
    /// Runners that are on their way out; none is started in their place before they are gone.
    leaving: HashMap<RunnerKey, tokio::task::JoinHandle<()>>,
    /// What is in the folder, by file name.
    files: BTreeMap<String, DiskFile>,
    /// Who put a build into the folder through the API, or took a file out (no digest), until it is dealt with; by file name.
    brought: BTreeMap<String, (Option<String>, Actor)>,
    /// Files that went away, and are not dealt with yet.
    gone: Vec<String>,
    /// Builds that were loaded, by digest.
    builds: HashMap<String, Arc<Plugin>>,
    /// Builds that the database holds and that cannot be loaded, by digest: why.
    unloadable: HashMap<String, String>,
    journals: BTreeMap<String, Journal>,
    /// By identity of the rebuild.
    rebuilding: HashMap<String, rebuild::Progress>,
    finishing: steward::Finishing,
    /// What the database said when it was asked whether it is there.
    database: Option<Result<String, String>>,
    /// Why the folder cannot be read.
    folder: Option<String>,
    /// How often the steward has gone round without finding anything left to do.
    quiet: u64,
    draining: bool,
}

/// One thing that the engine needs to be ready.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct ReadyCheck {
    /// What it is: `database`, `source`, `plugins`, `draining`.
    pub name: &'static str,
    /// Whether it is well.
    pub ok: bool,
    /// What it is, or what is wrong with it.
    pub detail: String,
}

/// The engine could not start.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// What was tried, what was said, and what to do.
    pub message: String,
}

impl Control {
    /// Starts the engine: opens the database, watches `plugins_dir`, and runs what the two say. Commits are traced where there is a `tracer`.
    ///
    /// # Errors
    /// The database refuses (wrong password, newer schema, locked by another process) or the folder is missing. A database or
    /// broker that does not answer yet is no error: it is waited for.
    pub async fn start(config: Config, tracer: Option<Tracer>) -> Result<Self, StartError> {
        if config.source == SourceKind::Kafka {
            check_properties(config.kafka.properties.keys().map(String::as_str))
                .map_err(|refused| StartError { message: refused.join("\n") })?;
        }
        if !config.plugins_dir.is_dir() {
            let dir = config.plugins_dir.display();
            let message =
                format!("the plugins folder {dir} does not exist: create it (mkdir -p {dir}) or set plugins_dir");
            return Err(StartError { message });
        }
        let host = open_host(&config)?;
        let schema_registry =
            schema_registry(&config).map_err(|error| StartError { message: error.to_string() })?.map(Arc::new);
        let background = Background::start()
            .map_err(|error| StartError { message: format!("cannot start a thread for rebuilds: {error}") })?;
        let control = Self {
            shared: Arc::new(Shared {
                config,
                host,
                schema_registry,
                tracer,
                sink: watch_channel::Sender::new(None),
                state: Mutex::default(),
                settled: watch_channel::Sender::new(false),
                wake: Notify::new(),
                deploying: tokio::sync::Mutex::default(),
                changes: watch_channel::Sender::new(0),
                background,
            }),
        };
        match connect(&control.shared.config.database).await {
            Ok(sink) => control.connected(sink).await,
            Err(error) if error.kind == ErrorKind::Transient => {
                tracing::warn!(%error, "waiting for the database");
                control.lock().database = Some(Err(error.message));
            }
            Err(error) => return Err(StartError { message: error.message }),
        }
        tokio::spawn(control.clone().keep_database().boxed());
        tokio::spawn(control.clone().keep_journals().boxed());
        tokio::spawn(control.clone().steward().boxed());
        control.watch_plugins()?;
        Ok(control)
    }

    fn lock(&self) -> MutexGuard<'_, Supervised> {
        // Nothing is left half done under the lock.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connected(&self, sink: Arc<dyn Sink>) {
        self.lock().database = Some(sink.ping().await.map_err(|error| error.message));
        self.shared.sink.send_replace(Some(sink));
        self.shared.wake.notify_one();
    }

    /// Connects where the first try failed, then asks now and then whether the database is there.
    async fn keep_database(self) {
        while !self.lock().draining {
            let sink = self.shared.sink.borrow().clone();
            match sink {
                Some(sink) => {
                    let answer = sink.ping().await.map_err(|error| error.message);
                    self.lock().database = Some(answer);
                    tokio::time::sleep(PING_EVERY).await;
                }
                None => match connect(&self.shared.config.database).await {
                    Ok(sink) => {
                        tracing::info!("the database answers");
                        self.connected(sink).await;
                    }
                    Err(error) => {
                        self.lock().database = Some(Err(error.message));
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
            }
        }
    }

    fn watch_plugins(&self) -> Result<(), StartError> {
        let (tell, mut told) = mpsc::unbounded_channel();
        let dir = self.shared.config.plugins_dir.clone();
        watch::watch(dir, move |found| tell.send(found).is_ok()).map_err(|error| StartError {
            message: format!("cannot start a thread to watch the plugins folder: {error}"),
        })?;
        let control = self.clone();
        tokio::spawn(
            async move {
                while let Some(found) = told.recv().await {
                    if control.lock().draining {
                        return;
                    }
                    control.found(found).await;
                    control.shared.wake.notify_one();
                }
            }
            .boxed(),
        );
        Ok(())
    }

    /// The live generation of every projection that the database or this engine knows, by name.
    pub fn projections(&self) -> Vec<ProjectionStatus> {
        self.lock().statuses()
    }

    /// Files in `plugins/` that do not run.
    pub fn rejected(&self) -> Vec<RejectedPlugin> {
        self.lock().files.values().filter_map(DiskFile::rejected).collect()
    }

    /// What readiness depends on.
    pub fn ready(&self) -> Vec<ReadyCheck> {
        let waiting: Vec<String> = self
            .projections()
            .into_iter()
            .filter_map(|status| Some(format!("{}: {}", status.name, status.waiting?)))
            .collect();
        let state = self.lock();
        let (database_ok, database) = match &state.database {
            Some(Ok(detail)) => (true, detail.clone()),
            Some(Err(detail)) => (false, detail.clone()),
            None => (false, "not connected yet".to_owned()),
        };
        let folder = state.folder.clone();
        let source = match self.shared.config.source {
            SourceKind::Kafka => format!("kafka {}", self.shared.config.kafka.bootstrap_servers),
            SourceKind::File => format!("files in {}", self.shared.config.file.dir.display()),
        };
        let source = ReadyCheck {
            name: "source",
            ok: waiting.is_empty(),
            detail: if waiting.is_empty() { source } else { waiting.join("; ") },
        };
        vec![
            ReadyCheck { name: "database", ok: database_ok, detail: database },
            source,
            ReadyCheck {
                name: "plugins",
                ok: folder.is_none(),
                detail: folder.unwrap_or_else(|| self.plugins_dir().display().to_string()),
            },
            ReadyCheck {
                name: "draining",
                ok: !state.draining,
                detail: if state.draining { "shutting down" } else { "no" }.to_owned(),
            },
        ]
    }

    /// The folder that is watched.
    pub fn plugins_dir(&self) -> PathBuf {
        self.shared.config.plugins_dir.clone()
    }

    /// The database, once it has answered.
    pub fn sink(&self) -> Option<Arc<dyn Sink>> {
        self.shared.sink.borrow().clone()
    }

    /// Waits until every projection stands at the end of its log (or is halted), no rebuild is under way that could go on by itself, and no plugin is
    /// still being loaded. For `demo --once` and `test`.
    pub async fn caught_up(&self) {
        // The sender lives as long as this handle.
        self.shared.settled.subscribe().wait_for(|settled| *settled).await.ok();
        let quiet = self.lock().quiet;
        loop {
            {
                let state = self.lock();
                // A whole round must have passed since the folder was known.
                let done = state.quiet > quiet + 1
                    && !state.rebuild_is_moving()
                    && state.runners.values().all(|running| {
                        matches!(
                            running.status.borrow().state,
                            State::Idle | State::Halted | State::Stopped | State::Paused
                        )
                    });
                if done {
                    return;
                }
            }
            self.shared.wake.notify_one();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops fetching, finishes or rolls back what is under way, leaves the groups, closes the database; within `limit`.
    pub async fn shutdown(&self, limit: Duration) {
        let (runners, leaving) = {
            let mut state = self.lock();
            state.draining = true;
            let runners: Vec<_> = state.runners.values_mut().filter_map(|running| running.runner.take()).collect();
            (runners, std::mem::take(&mut state.leaving))
        };
        self.shared.wake.notify_one();
        let sink = self.sink();
        let stopping = tokio::spawn(
            async move {
                // All at once: each has its own commit to finish and its own group to leave.
                let stops: Vec<_> = runners.into_iter().map(|runner| tokio::spawn(runner.stop().boxed())).collect();
                for stop in stops.into_iter().chain(leaving.into_values()) {
                    stop.await.ok();
                }
                if let Some(sink) = sink {
                    sink.close().await;
                }
            }
            .boxed(),
        );
        // What is not done by then ends with the process: the database rolls back what was not committed.
        if tokio::time::timeout(limit, stopping).await.is_err() {
            tracing::warn!(?limit, "not everything stopped in time; what was not committed is rolled back");
        }
    }

    /// What holds for a projection.
    fn settings(&self, projection: &str) -> &ProjectionConfig {
        let config = &self.shared.config;
        config.projections.get(projection).unwrap_or(&config.defaults)
    }

    /// How the events of a projection are read; `is_file` also where they are not the source's.
    fn decoder(&self, projection: &str, is_file: bool) -> Decoder {
        let settings = self.settings(projection);
        let is_file = is_file || self.shared.config.source == SourceKind::File;
        let registry = self.shared.schema_registry.clone();
        Decoder::new(settings.format.clone(), settings.key_format.clone(), registry, is_file)
    }

    /// Compiles bytes with the limits of the projection that they describe.
    async fn load(&self, bytes: Arc<[u8]>) -> Result<Plugin, PluginError> {
        let config = &self.shared.config;
        // The name is inside, so the limits of a projection of another name hold until it is known.
        let plugin = load(&self.shared.host, bytes.clone(), &config.defaults).await?;
        match config.projections.get(&plugin.schema().descriptor.name) {
            Some(own) => load(&self.shared.host, bytes, own).await,
            None => Ok(plugin),
        }
    }

    /// A build by its digest: one that was loaded, or the one that the database holds.
    async fn build(&self, sink: &Arc<dyn Sink>, digest: &str) -> Result<Arc<Plugin>, ControlError> {
        if let Some(plugin) = self.lock().builds.get(digest) {
            return Ok(Arc::clone(plugin));
        }
        let stored = sink.load_build(digest).await?;
        let Some(build) = stored else {
            let message = format!(
                "the database has no build {}; put its file into plugins/ again",
                digest.get(..12).unwrap_or(digest)
            );
            return Err(ControlError {
                kind: ControlErrorKind::Internal,
                code: "build_missing",
                message,
                subject: None,
            });
        };
        let plugin = Arc::new(self.load(build.bytes).await?);
        self.lock().builds.insert(digest.to_owned(), Arc::clone(&plugin));
        Ok(plugin)
    }

    /// How the events of a generation are read from Kafka.
    fn kafka(&self, schema: &Schema, group: &str, serial: bool) -> KafkaSettings {
        let config = &self.shared.config;
        let properties = config.kafka.properties.iter();
        KafkaSettings {
            bootstrap_servers: config.kafka.bootstrap_servers.clone(),
            group_id: group.to_owned(),
            topics: topics(schema),
            serial,
            buffer_bytes_max: config.kafka.buffer_bytes_max,
            properties: properties.map(|(key, value)| (key.clone(), value.expose().to_owned())).collect(),
        }
    }

    /// How the events of a projection are read from files.
    fn files(&self, schema: &Schema) -> FileSettings {
        let config = &self.shared.config;
        FileSettings {
            dir: config.file.dir.clone(),
            topics: topics(schema),
            buffer_bytes_max: config.kafka.buffer_bytes_max,
        }
    }

    /// Waits for the database, however long it takes.
    async fn wait_for_sink(&self) -> Option<Arc<dyn Sink>> {
        let mut sink = self.shared.sink.subscribe();
        sink.wait_for(Option::is_some).await.ok()?.clone()
    }
}

/// The schema registry that is configured, not asked yet.
///
/// # Errors
/// The file with its certificates cannot be read, or holds none.
pub fn schema_registry(config: &Config) -> Result<Option<SchemaRegistry>, FormatError> {
    let settings = &config.schema_registry;
    let Some(url) = settings.url.clone() else { return Ok(None) };
    let ca = settings.ca.as_ref().map(|path| std::fs::read(path).map_err(|error| (path, error))).transpose();
    let ca = ca.map_err(|(path, error)| {
        let reason = format!("schema_registry.ca: {} cannot be read: {error}", path.display());
        let remedy = "name a file with certificates in PEM".to_owned();
        let halt = crate::error::Halt { code: "schema_registry_setting", reason, remedy, at: None };
        FormatError { kind: ErrorKind::Fatal, halt }
    })?;
    let password = settings.password.as_ref().map(|password| password.expose().to_owned());
    SchemaRegistry::new(RegistrySettings { url, username: settings.username.clone(), password, ca }).map(Some)
}

fn topics(schema: &Schema) -> Vec<String> {
    schema.descriptor.topics.iter().map(|topic| topic.name.clone()).collect()
}

/// The engine itself, as one who asks.
fn engine() -> Asked {
    asked_by("engine", "engine")
}

fn asked_by(name: &str, role: &str) -> Asked {
    Asked {
        actor: Actor { name: name.to_owned(), role: role.to_owned(), source: String::new() },
        idempotency_key: None,
        request: None,
    }
}

fn sandbox_threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

fn open_host(config: &Config) -> Result<Host, StartError> {
    let settings = HostSettings {
        cache_dir: Some(config.cache_dir.clone()),
        threads: sandbox_threads(),
        ..HostSettings::default()
    };
    Host::new(settings).map_err(|error| StartError { message: error.message })
}

async fn load(host: &Host, bytes: Arc<[u8]>, settings: &ProjectionConfig) -> Result<Plugin, PluginError> {
    let limits = Limits {
        memory_bytes_max: settings.memory_bytes_max,
        call_time_max: settings.call_time_max,
        changes_per_event_max: settings.changes_per_event_max,
        change_bytes_per_event_max: settings.change_bytes_per_event_max,
        log_lines_per_second_max: settings.log_lines_per_second_max,
    };
    host.load(bytes, limits).await
}

/// Connects the database that the URL names.
///
/// # Errors
/// Transient where it does not answer; fatal where it refuses, or the URL names no database that there is a sink for.
pub async fn connect(config: &DatabaseConfig) -> Result<Arc<dyn Sink>, SinkError> {
    let url = config.url.expose();
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let settings = SqliteSettings { path: PathBuf::from(path) };
        return Ok(Arc::new(SqliteSink::connect(settings).await?));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let mut settings = PostgresSettings::new(url);
        settings.connect_timeout = config.connect_timeout;
        settings.commit_timeout = config.commit_timeout;
        settings.writers_max = config.writers;
        return Ok(Arc::new(PostgresSink::connect(settings).await?));
    }
    let message = "database.url must begin with postgres:// or sqlite://, as in sqlite://laterna.db".to_owned();
    Err(SinkError { kind: ErrorKind::Fatal, code: "unknown_database", message })
}

impl Supervised {
    /// How the live generation of each projection stands, by name.
    fn statuses(&self) -> Vec<ProjectionStatus> {
        self.registry.projections.iter().filter_map(|projection| self.status(&projection.name)).collect()
    }

    /// How the live generation of a projection stands.
    fn status(&self, projection: &str) -> Option<ProjectionStatus> {
        let record = self.registry.projections.iter().find(|record| record.name == projection)?;
        let live = self.live(projection)?;
        let running = self.runners.get(&(projection.to_owned(), live.number));
        let mut status = match running {
            Some(running) => running.status.borrow().clone(),
            None => {
                ProjectionStatus::away(projection, live.number, live.revision, &live.plugin_digest, &record.plugin_file)
            }
        };
        status.plugin_file.clone_from(&record.plugin_file);
        if let Some(reason) = self.unloadable.get(&live.plugin_digest).filter(|_| running.is_none()) {
            status.waiting = Some(reason.clone());
            status.state = State::Waiting;
        }
        // A task that ended by itself did not end well.
        let ended = running.is_some_and(Running::has_ended);
        if status.state != State::Halted && (ended || record.desired == Desired::Stopped) {
            status.state = State::Stopped;
        }
        Some(status)
    }

    fn live(&self, projection: &str) -> Option<&crate::sink::GenerationRecord> {
        self.registry
            .generations
            .iter()
            .find(|g| g.projection == projection && g.state == crate::sink::GenerationState::Live)
    }

    fn active_rebuild(&self, projection: &str) -> Option<&crate::sink::RebuildRecord> {
        self.registry.rebuilds.iter().find(|rebuild| rebuild.projection == projection && rebuild.state.is_active())
    }
}

//! The control plane: which projections run. Connects the database, watches `plugins/`, loads builds, starts and stops runners.
//!
//! Invariants: one name runs once; a file is read once and those bytes are what runs; a file that does not run says why; neither a
//! broker nor a database that is away stops the engine from starting and showing so.

mod requests;
mod view;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch as watch_channel};

use crate::change::Schema;
use crate::checkpoint::Generation;
use crate::config::{Config, DatabaseConfig, ProjectionConfig, SourceKind};
use crate::error::ErrorKind;
use crate::plugin::{Host, HostSettings, Limits, Plugin, PluginError};
use crate::runner::{MakeSource, Parts, ProjectionStatus, Runner, State};
use crate::sink::{PostgresSettings, PostgresSink, Sink, SinkError, SqliteSettings, SqliteSink};
use crate::source::{FileSettings, FileSource, KafkaSettings, KafkaSource, Source, check_properties};

pub use view::*;
use watch::Found;

/// How often the database is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(5);

/// Event bytes in one commit, at most about; what waits for a commit is bounded by as much again.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// The running engine. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    host: Host,
    /// None until the database has answered for the first time.
    sink: watch_channel::Sender<Option<Arc<dyn Sink>>>,
    state: Mutex<Supervised>,
    /// Whether every file in the folder has been looked at.
    settled: watch_channel::Sender<bool>,
}

#[derive(Default)]
struct Supervised {
    projections: BTreeMap<String, Projection>,
    rejected: BTreeMap<String, RejectedPlugin>,
    /// What the database said last.
    database: Option<Result<String, String>>,
    /// Why the folder cannot be read.
    folder: Option<String>,
    draining: bool,
}

struct Projection {
    file: String,
    digest: String,
    status: watch_channel::Receiver<ProjectionStatus>,
    runner: Option<Runner>,
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
    /// Starts the engine: opens the database, looks at the source, and runs every plugin in `plugins_dir`.
    ///
    /// # Errors
    /// The database refuses (wrong password, newer schema, locked by another process) or the folder is missing. A database or
    /// broker that does not answer yet is no error: it is waited for.
    pub async fn start(config: Config) -> Result<Self, StartError> {
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
        let control = Self {
            shared: Arc::new(Shared {
                config,
                host,
                sink: watch_channel::Sender::new(None),
                state: Mutex::default(),
                settled: watch_channel::Sender::new(false),
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
        tokio::spawn(control.clone().keep_database());
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
        tokio::spawn(async move {
            while let Some(found) = told.recv().await {
                if control.lock().draining {
                    return;
                }
                control.found(found).await;
            }
        });
        Ok(())
    }

    async fn found(&self, found: Found) {
        match found {
            Found::File(file, bytes) => {
                self.lock().folder = None;
                let outcome = match bytes {
                    Ok(bytes) => self.load(&file, bytes).await,
                    Err(reason) => Err(RejectedPlugin { file: file.clone(), code: "unreadable".to_owned(), reason }),
                };
                let mut state = self.lock();
                match outcome {
                    Ok(()) => drop(state.rejected.remove(&file)),
                    Err(rejected) => {
                        tracing::error!(file, code = rejected.code, reason = rejected.reason, "plugin does not run");
                        state.rejected.insert(file, rejected);
                    }
                }
            }
            Found::Gone(file) => {
                let mut state = self.lock();
                state.rejected.remove(&file);
                if let Some((name, _)) = state.projections.iter().find(|(_, p)| p.file == file) {
                    tracing::warn!(
                        file,
                        projection = name,
                        "the file is gone; the build that was read from it goes on until the engine is restarted"
                    );
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

    /// Loads a build and starts its projection.
    async fn load(&self, file: &str, bytes: Arc<[u8]>) -> Result<(), RejectedPlugin> {
        let reject =
            |code: &str, reason: String| RejectedPlugin { file: file.to_owned(), code: code.to_owned(), reason };
        let config = &self.shared.config;
        // The name is inside, so the limits of a projection of another name hold until it is known.
        let plugin =
            load(&self.shared.host, bytes.clone(), &config.defaults).await.map_err(|e| reject(e.code, e.message))?;
        let name = plugin.schema().descriptor.name.clone();
        let settings = config.projections.get(&name).unwrap_or(&config.defaults);
        let plugin = match config.projections.get(&name) {
            Some(own) => load(&self.shared.host, bytes, own).await.map_err(|e| reject(e.code, e.message))?,
            None => plugin,
        };
        if let Some(other) = self.lock().projections.get(&name) {
            if other.digest == plugin.digest() && other.file == file {
                return Ok(());
            }
            let reason = if other.file == file {
                format!(
                    "projection {name:?} runs the build {} that was read from this file before; restart the engine to run this one ({})",
                    &other.digest[..12],
                    &plugin.digest()[..12]
                )
            } else {
                format!(
                    "projection {name:?} already runs from {}: give this one another name, or remove one of the files",
                    other.file
                )
            };
            let code = if other.file == file { "restart_needed" } else { "name_taken" };
            return Err(reject(code, reason));
        }
        let mut sink = self.shared.sink.subscribe();
        let Ok(Some(sink)) = sink.wait_for(Option::is_some).await.map(|sink| sink.clone()) else { return Ok(()) };
        tracing::info!(projection = name, file, digest = &plugin.digest()[..12], "starting");
        let digest = plugin.digest().to_owned();
        let runner = Runner::start(Parts {
            make_source: make_source(config, plugin.schema()),
            plugin: Arc::new(plugin),
            plugin_file: file.to_owned(),
            sink,
            batch_events_max: settings.batch_events_max,
            batch_bytes_max: BATCH_BYTES_MAX,
            writers: config.database.writers,
            // One more than there are threads: the next chunk waits beside the ones that run.
            sandbox_slots: sandbox_threads() + 1,
        });
        let status = runner.status();
        let projection = Projection { file: file.to_owned(), digest, status, runner: Some(runner) };
        self.lock().projections.insert(name, projection);
        Ok(())
    }

    /// All projections, by name.
    pub fn projections(&self) -> Vec<ProjectionStatus> {
        let state = self.lock();
        let status = |projection: &Projection| {
            let mut status = projection.status.borrow().clone();
            // A task that ended by itself did not end well.
            if projection.runner.as_ref().is_some_and(Runner::is_finished) && status.state != State::Halted {
                status.state = State::Stopped;
            }
            status
        };
        state.projections.values().map(status).collect()
    }

    /// Files in `plugins/` that do not run.
    pub fn rejected(&self) -> Vec<RejectedPlugin> {
        self.lock().rejected.values().cloned().collect()
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

    /// Waits until every projection stands at the end of its log (or is halted), and no plugin is still being loaded. For `demo --once`
    /// and `test`.
    pub async fn caught_up(&self) {
        // The sender lives as long as this handle.
        self.shared.settled.subscribe().wait_for(|settled| *settled).await.ok();
        let statuses: Vec<_> = self.lock().projections.values().map(|projection| projection.status.clone()).collect();
        for mut status in statuses {
            status.wait_for(|status| matches!(status.state, State::Idle | State::Halted | State::Stopped)).await.ok();
        }
    }

    /// Stops fetching, finishes or rolls back what is under way, leaves the groups, closes the database; within `limit`.
    pub async fn shutdown(&self, limit: Duration) {
        let runners: Vec<Runner> = {
            let mut state = self.lock();
            state.draining = true;
            state.projections.values_mut().filter_map(|projection| projection.runner.take()).collect()
        };
        let sink = self.sink();
        let stopping = tokio::spawn(async move {
            // All at once: each has its own commit to finish and its own group to leave.
            let stops: Vec<_> = runners.into_iter().map(|runner| tokio::spawn(runner.stop())).collect();
            for stop in stops {
                stop.await.ok();
            }
            if let Some(sink) = sink {
                sink.close().await;
            }
        });
        // What is not done by then ends with the process: the database rolls back what was not committed.
        if tokio::time::timeout(limit, stopping).await.is_err() {
            tracing::warn!(?limit, "not everything stopped in time; what was not committed is rolled back");
        }
    }
}

fn sandbox_threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

fn open_host(config: &Config) -> Result<Host, StartError> {
    let settings = HostSettings { cache_dir: Some(config.cache_dir.clone()), threads: sandbox_threads() };
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

/// The source that the configuration names, for one projection.
fn make_source(config: &Config, schema: &Arc<Schema>) -> MakeSource {
    let topics: Vec<String> = schema.descriptor.topics.iter().map(|topic| topic.name.clone()).collect();
    match config.source {
        SourceKind::File => {
            let settings =
                FileSettings { dir: config.file.dir.clone(), topics, buffer_bytes_max: config.kafka.buffer_bytes_max };
            Box::new(move |_: &Generation| Ok(Box::new(FileSource::start(settings)?) as Box<dyn Source>))
        }
        SourceKind::Kafka => {
            let properties: HashMap<&String, &crate::config::Secret> = config.kafka.properties.iter().collect();
            let settings = KafkaSettings {
                bootstrap_servers: config.kafka.bootstrap_servers.clone(),
                group_id: format!("{}.{}", config.kafka.group_prefix, schema.descriptor.name),
                topics,
                serial: schema.is_serial(),
                buffer_bytes_max: config.kafka.buffer_bytes_max,
                properties: properties
                    .into_iter()
                    .map(|(key, value)| (key.clone(), value.expose().to_owned()))
                    .collect(),
            };
            Box::new(move |_: &Generation| Ok(Box::new(KafkaSource::start(settings)?) as Box<dyn Source>))
        }
    }
}

//! Every option: its default, its unit, its bound. Read once into one validated value; an unknown key is an error.
//!
//! One table (`config/keys.rs`) declares each key once; parsing, `config show`, `config schema` and the reference all come
//! from it. Layers, the later one wins: default, well-known environment variable (`DATABASE_URL`), configuration file,
//! `LATERNA__SECTION__KEY`, `--set`. All problems are reported together, each with its place; none of them shows a secret.
//! Relative paths are relative to the working directory.

mod keys;
mod load;
mod parse;
mod show;
mod tokens;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::format::TopicFormats;

pub use load::{ConfigError, ConfigFile, ConfigProblem, Inputs, Loaded};
pub use parse::masked_url;
pub use show::{Shown, schema, show};
pub use tokens::{TokenConfig, TokenRole};

/// All options of the engine. The field names are the keys of `laterna.toml`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder whose `*.wasm` files are run. Default `plugins`.
    pub plugins_dir: PathBuf,
    /// The folder for compiled plugins; private to the engine. Default `.laterna/cache`.
    pub cache_dir: PathBuf,
    /// Where events come from. Default `kafka`.
    pub source: SourceKind,
    /// `[http]`
    pub http: HttpConfig,
    /// `[metrics]`
    pub metrics: MetricsConfig,
    /// `[database]`
    pub database: DatabaseConfig,
    /// `[kafka]`
    pub kafka: KafkaConfig,
    /// `[file]`
    pub file: FileConfig,
    /// `[schema_registry]`
    pub schema_registry: SchemaRegistryConfig,
    /// `[defaults]`: what holds for every projection unless `[projections.NAME]` says otherwise.
    pub defaults: ProjectionConfig,
    /// `[projections.NAME]`, already laid over the defaults.
    pub projections: BTreeMap<String, ProjectionConfig>,
}

/// The two kinds of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A Kafka cluster.
    Kafka,
    /// A folder of JSON-lines files.
    File,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Address of the API and the dashboard. Default `127.0.0.1:8484`. Without tokens only loopback, unless `allow_remote` is set.
    pub listen: SocketAddr,
    /// Allows an address that is not loopback without tokens (containers): everybody who can reach it may look, nobody may change. Default false.
    pub allow_remote: bool,
    /// Who may use the API. Without any: everything is allowed on loopback.
    pub tokens: Vec<TokenConfig>,
    /// Names under which the engine is served, beside its own.
    pub allowed_hosts: Vec<String>,
}

/// `[metrics]`
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// Whether there is a series for each partition, or only for each projection. Default true.
    pub by_partition: bool,
    /// Whether lag is shown once more under the names of kafka-lag-exporter. Default false.
    pub kafka_lag_exporter_compat: bool,
}

/// `[database]`
#[derive(Clone)]
pub struct DatabaseConfig {
    /// `postgres://..` or `sqlite://PATH`. Default `sqlite://laterna.db`; `DATABASE_URL` where the key is not set.
    pub url: Secret,
    /// Writers of each projection, 1 to 8. Default 2; SQLite has one writer, whatever this says.
    pub writers: usize,
    /// How long to wait for a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// How long one transaction may take until its outcome counts as unknown. Default 60 s.
    pub commit_timeout: Duration,
}

/// `[kafka]`
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// `HOST:PORT`, several with commas. Default `localhost:9092`.
    pub bootstrap_servers: String,
    /// Prefix of the consumer groups: `PREFIX.PROJECTION`. Default `laterna`.
    pub group_prefix: String,
    /// How many bytes of events each projection buffers. Default 8 MiB, 1 MiB to 1 GiB.
    pub buffer_bytes_max: usize,
    /// Passed to librdkafka as they are; keys that the engine owns are refused.
    pub properties: BTreeMap<String, Secret>,
}

/// `[file]`
#[derive(Clone, Debug)]
pub struct FileConfig {
    /// The folder with `TOPIC/PARTITION.jsonl`. Default `events`.
    pub dir: PathBuf,
}

/// `[schema_registry]`
#[derive(Clone, Debug)]
pub struct SchemaRegistryConfig {
    /// `http://HOST:PORT` or `https://..`; none without. `SCHEMA_REGISTRY_URL` where the key is not set.
    pub url: Option<String>,
    /// For basic authentication.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// A file with certificates in PEM that are trusted beside the system's.
    pub ca: Option<PathBuf>,
}

/// `[defaults]` and `[projections.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectionConfig {
    /// What happens to an event at fault. Only `halt` for now.
    pub on_error: OnError,
    /// `format`: what the values of its topics are written in. Default `auto`.
    pub format: TopicFormats,
    /// `key_format`: what their keys are written in. Default `auto`.
    pub key_format: TopicFormats,
    /// `batch.max_events`: events in one commit. Default 20,000; 1 to 100,000.
    pub batch_events_max: usize,
    /// `limits.memory`: linear memory of one instance. Default 64 MiB.
    pub memory_bytes_max: usize,
    /// `limits.call_time`: deadline of one call of the plugin. Default 1 s, 10 ms to 60 s.
    pub call_time_max: Duration,
    /// `limits.changes_per_event`. Default 10,000.
    pub changes_per_event_max: usize,
    /// `limits.bytes_per_event`: bytes of changes that one event may return. Default 8 MiB.
    pub change_bytes_per_event_max: usize,
    /// `limits.log_lines`: log lines kept per second and projection. Default 100.
    pub log_lines_per_second_max: u32,
    /// `slo.lag_seconds`: how far behind is too far, for readers of the metrics. Default 30.
    pub slo_lag_seconds: u32,
    /// `on_change`: what happens to a new build that needs a rebuild. Default `rebuild`.
    pub on_change: OnChange,
    /// `rebuild.switch = "manual"`: a person makes a rebuilt generation the live one. Default false (`auto`).
    pub rebuild_switch_manual: bool,
    /// `rebuild.max_rate`: events per second that a rebuild applies at most. Default none.
    pub rebuild_rate_max: Option<u32>,
    /// `rebuild.keep`: how long the former generation is kept up to date after a swap. Default 24 h.
    pub rebuild_keep: Duration,
}

/// What happens to a new build that needs a rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// The rebuild is begun; the former build serves meanwhile.
    Rebuild,
    /// It waits for a person.
    Hold,
}

/// What happens to an event at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The projection halts at it.
    Halt,
}

/// A value that no log, error or dump shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl std::fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConfig").field("writers", &self.writers).finish_non_exhaustive()
    }
}

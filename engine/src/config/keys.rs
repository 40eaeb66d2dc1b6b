//! The table of all keys. What is not in here is not an option.
//!
//! A key's setter is the only way from text to [`Config`]; a default is a text like any other, so it is checked by the same
//! bounds.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::{
    Config, DatabaseConfig, FileConfig, HttpConfig, KafkaConfig, MetricsConfig, OnChange, OnError, ProjectionConfig,
    SchemaRegistryConfig, Secret, SourceKind, parse,
};
use crate::format::{Format, TopicFormats, check_registry_url};

/// One option of `T`.
pub(super) struct Key<T> {
    /// Where it stands: `http.listen`. For projections, the part behind the projection's name.
    pub(super) path: &'static str,
    pub(super) kind: Kind<T>,
    /// As text; `-` stands for none.
    pub(super) default: &'static str,
    /// Well-known environment variables that give it a default, the first one wins; each also as `NAME_FILE`.
    pub(super) env: &'static [&'static str],
    /// What it means, with its unit.
    pub(super) meaning: &'static str,
}

/// What a value must look like, and where it goes.
pub(super) enum Kind<T> {
    Text(fn(&mut T, String) -> Result<(), String>),
    /// Text that no output shows.
    Secret(fn(&mut T, Secret) -> Result<(), String>),
    Boolean(fn(&mut T, bool)),
    Integer {
        min: u64,
        max: u64,
        set: fn(&mut T, u64),
    },
    Size {
        min: u64,
        max: u64,
        set: fn(&mut T, u64),
    },
    Time {
        min: Duration,
        max: Duration,
        set: fn(&mut T, Duration),
    },
    Choice {
        values: &'static [&'static str],
        set: fn(&mut T, &str) -> Result<(), String>,
    },
    /// One of these for all topics, or a table of topics; in a variable or an argument `TOPIC=WORD` with commas between them.
    Topics {
        formats: &'static [Format],
        get: fn(&mut T) -> &mut TopicFormats,
    },
    /// Texts; in a variable or an argument with commas between them.
    List(fn(&mut T, Vec<String>) -> Result<(), String>),
}

/// Where librdkafka's own properties stand; everything below is passed on.
pub(super) const PROPERTIES: &str = "kafka.properties";

/// Where the tokens stand: a list of tables, in the file only.
pub(super) const TOKENS: &str = "http.tokens";

/// Environment variables that become a librdkafka property; each also as `NAME_FILE`.
pub(super) const PROPERTY_VARIABLES: [(&str, &str); 5] = [
    ("KAFKA_SECURITY_PROTOCOL", "security.protocol"),
    ("KAFKA_SASL_MECHANISM", "sasl.mechanism"),
    ("KAFKA_SASL_USERNAME", "sasl.username"),
    ("KAFKA_SASL_PASSWORD", "sasl.password"),
    ("KAFKA_SSL_CA_LOCATION", "ssl.ca.location"),
];

const MIB: u64 = 1 << 20;

/// The options of the engine.
pub(super) const KEYS: &[Key<Config>] = &[
    Key {
        path: "plugins_dir",
        kind: Kind::Text(|config, text| path(&mut config.plugins_dir, text)),
        default: "plugins",
        env: &[],
        meaning: "The folder whose *.wasm files are run.",
    },
    Key {
        path: "cache_dir",
        kind: Kind::Text(|config, text| path(&mut config.cache_dir, text)),
        default: ".laterna/cache",
        env: &[],
        meaning: "The folder for compiled plugins; private to the engine.",
    },
    Key {
        path: "source",
        kind: Kind::Choice {
            values: &["kafka", "file"],
            set: |config, text| {
                config.source = if text == "file" { SourceKind::File } else { SourceKind::Kafka };
                Ok(())
            },
        },
        default: "kafka",
        env: &[],
        meaning: "Where events come from: a Kafka cluster, or a folder of JSON-lines files.",
    },
    Key {
        path: "http.listen",
        kind: Kind::Text(|config, text| {
            config.http.listen = text
                .parse()
                .map_err(|_| format!("{text:?} is not an address with a port; write it as \"127.0.0.1:8484\""))?;
            Ok(())
        }),
        default: "127.0.0.1:8484",
        env: &[],
        meaning: "Address of the API and the dashboard. Without http.tokens only loopback, unless http.allow_remote is true.",
    },
    Key {
        path: "http.allow_remote",
        kind: Kind::Boolean(|config, value| config.http.allow_remote = value),
        default: "false",
        env: &[],
        meaning: "Allows an address that is not loopback without http.tokens (in a container): everybody may look, nobody may change.",
    },
    Key {
        path: "http.allowed_hosts",
        kind: Kind::List(|config, names| {
            if let Some(bad) = names.iter().find(|name| !is_host_name(name)) {
                return Err(format!(
                    "{bad:?} is no name of a host; write it without scheme and port, as \"laterna.example.com\""
                ));
            }
            config.http.allowed_hosts = names;
            Ok(())
        }),
        default: "",
        env: &[],
        meaning: "Names under which the engine is served, beside its own (behind a proxy). Pages of other names are refused.",
    },
    Key {
        path: "metrics.granularity",
        kind: Kind::Choice {
            values: &["partition", "projection"],
            set: |config, text| {
                config.metrics.by_partition = text == "partition";
                Ok(())
            },
        },
        default: "partition",
        env: &[],
        meaning: "Whether offsets and lag have a series for each partition, or only for each projection.",
    },
    Key {
        path: "metrics.kafka_lag_exporter_compat",
        kind: Kind::Boolean(|config, value| config.metrics.kafka_lag_exporter_compat = value),
        default: "false",
        env: &[],
        meaning: "Shows lag once more under the names of kafka-lag-exporter, for its boards.",
    },
    Key {
        path: "database.url",
        kind: Kind::Secret(|config, secret| {
            parse::database_url(secret.expose())?;
            config.database.url = secret;
            Ok(())
        }),
        default: "sqlite://laterna.db",
        env: &["DATABASE_URL"],
        meaning: "postgres://USER@HOST/DATABASE or sqlite://PATH.",
    },
    Key {
        path: "database.writers",
        kind: Kind::Integer { min: 1, max: 8, set: |config, value| config.database.writers = usize_of(value) },
        default: "2",
        env: &[],
        meaning: "Writers of each projection. SQLite has one writer, whatever this says.",
    },
    Key {
        path: "database.connect_timeout",
        kind: Kind::Time {
            min: Duration::from_millis(100),
            max: Duration::from_secs(60),
            set: |config, value| config.database.connect_timeout = value,
        },
        default: "5s",
        env: &[],
        meaning: "How long to wait for a connection.",
    },
    Key {
        path: "database.commit_timeout",
        kind: Kind::Time {
            min: Duration::from_secs(1),
            max: Duration::from_secs(3600),
            set: |config, value| config.database.commit_timeout = value,
        },
        default: "60s",
        env: &[],
        meaning: "How long one transaction may take until its outcome counts as unknown and is looked up.",
    },
    Key {
        path: "kafka.bootstrap_servers",
        kind: Kind::Text(|config, text| text_of(&mut config.kafka.bootstrap_servers, text)),
        default: "localhost:9092",
        env: &["KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BROKERS"],
        meaning: "HOST:PORT, several with commas.",
    },
    Key {
        path: "kafka.group_prefix",
        kind: Kind::Text(|config, text| text_of(&mut config.kafka.group_prefix, text)),
        default: "laterna",
        env: &[],
        meaning: "Prefix of the consumer groups: PREFIX.PROJECTION.",
    },
    Key {
        path: "kafka.buffer",
        kind: Kind::Size {
            min: MIB,
            max: 1024 * MIB,
            set: |config, value| config.kafka.buffer_bytes_max = usize_of(value),
        },
        default: "8MiB",
        env: &[],
        meaning: "How many bytes of events each projection buffers.",
    },
    Key {
        path: "file.dir",
        kind: Kind::Text(|config, text| path(&mut config.file.dir, text)),
        default: "events",
        env: &[],
        meaning: "The folder with TOPIC/PARTITION.jsonl, for source = \"file\".",
    },
    Key {
        path: "schema_registry.url",
        kind: Kind::Text(|config, text| {
            let text = text.trim().to_owned();
            if !text.is_empty() {
                check_registry_url(&text)?;
            }
            config.schema_registry.url = Some(text).filter(|text| !text.is_empty());
            Ok(())
        }),
        default: "",
        env: &["SCHEMA_REGISTRY_URL"],
        meaning: "http://HOST:PORT of a schema registry (Confluent's API), for Avro and Protobuf; empty for none.",
    },
    Key {
        path: "schema_registry.username",
        kind: Kind::Text(|config, text| {
            config.schema_registry.username = Some(text).filter(|text| !text.is_empty());
            Ok(())
        }),
        default: "",
        env: &[],
        meaning: "Name for the registry's basic authentication; empty for none.",
    },
    Key {
        path: "schema_registry.password",
        kind: Kind::Secret(|config, secret| {
            config.schema_registry.password = Some(secret).filter(|secret| !secret.expose().is_empty());
            Ok(())
        }),
        default: "",
        env: &[],
        meaning: "Password for the registry's basic authentication.",
    },
    Key {
        path: "schema_registry.ca",
        kind: Kind::Text(|config, text| {
            config.schema_registry.ca = Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty());
            Ok(())
        }),
        default: "",
        env: &[],
        meaning: "File with certificates in PEM that are trusted for the registry beside the system's; empty for none.",
    },
];

/// What keys can be written in: no CloudEvent is a key.
const KEY_FORMATS: &[Format] =
    &[Format::Auto, Format::Json, Format::Bytes, Format::Debezium, Format::Avro, Format::Protobuf];

/// The options of a projection, below `defaults` and `projections.NAME`.
pub(super) const PROJECTION_KEYS: &[Key<ProjectionConfig>] = &[
    Key {
        path: "on_error",
        kind: Kind::Choice {
            values: &["halt"],
            set: |config, _| {
                config.on_error = OnError::Halt;
                Ok(())
            },
        },
        default: "halt",
        env: &[],
        meaning: "What happens to an event at fault: the projection halts at it.",
    },
    Key {
        path: "format",
        kind: Kind::Topics { formats: &Format::ALL, get: |config| &mut config.format },
        default: "auto",
        env: &[],
        meaning: "What the values of its topics are written in; a table for single topics: { orders = \"avro\" }.",
    },
    Key {
        path: "key_format",
        kind: Kind::Topics { formats: KEY_FORMATS, get: |config| &mut config.key_format },
        default: "auto",
        env: &[],
        meaning: "What the keys of its topics are written in; a table for single topics: { orders = \"avro\" }.",
    },
    Key {
        path: "batch.max_events",
        kind: Kind::Integer { min: 1, max: 100_000, set: |config, value| config.batch_events_max = usize_of(value) },
        default: "20000",
        env: &[],
        meaning: "Events in one commit, at most.",
    },
    Key {
        path: "limits.memory",
        kind: Kind::Size { min: MIB, max: 4096 * MIB, set: |config, value| config.memory_bytes_max = usize_of(value) },
        default: "64MiB",
        env: &[],
        meaning: "Linear memory of one instance of the plugin.",
    },
    Key {
        path: "limits.call_time",
        kind: Kind::Time {
            min: Duration::from_millis(10),
            max: Duration::from_secs(60),
            set: |config, value| config.call_time_max = value,
        },
        default: "1s",
        env: &[],
        meaning: "Deadline of one call of the plugin.",
    },
    Key {
        path: "limits.changes_per_event",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000,
            set: |config, value| config.changes_per_event_max = usize_of(value),
        },
        default: "10000",
        env: &[],
        meaning: "Changes that one event may return.",
    },
    Key {
        path: "limits.bytes_per_event",
        kind: Kind::Size {
            min: 1 << 10,
            max: 256 * MIB,
            set: |config, value| config.change_bytes_per_event_max = usize_of(value),
        },
        default: "8MiB",
        env: &[],
        meaning: "Bytes of changes that one event may return.",
    },
    Key {
        path: "limits.log_lines",
        kind: Kind::Integer {
            min: 0,
            max: 100_000,
            set: |config, value| config.log_lines_per_second_max = u32::try_from(value).unwrap_or(u32::MAX),
        },
        default: "100",
        env: &[],
        meaning: "Log lines of the plugin kept per second.",
    },
    Key {
        path: "on_change",
        kind: Kind::Choice {
            values: &["rebuild", "hold"],
            set: |config, text| {
                config.on_change = if text == "hold" { OnChange::Hold } else { OnChange::Rebuild };
                Ok(())
            },
        },
        default: "rebuild",
        env: &[],
        meaning: "What happens to a new build that needs a rebuild: it is begun, or it waits for a person.",
    },
    Key {
        path: "rebuild.switch",
        kind: Kind::Choice {
            values: &["auto", "manual"],
            set: |config, text| {
                config.rebuild_switch_manual = text == "manual";
                Ok(())
            },
        },
        default: "auto",
        env: &[],
        meaning: "Who makes a rebuilt generation the live one once it has caught up: the engine, or a person.",
    },
    Key {
        path: "rebuild.max_rate",
        kind: Kind::Integer {
            min: 0,
            max: 100_000_000,
            set: |config, value| config.rebuild_rate_max = u32::try_from(value).ok().filter(|rate| *rate > 0),
        },
        default: "0",
        env: &[],
        meaning: "Events per second that a rebuild applies at most; 0 for no bound.",
    },
    Key {
        path: "rebuild.keep",
        kind: Kind::Time {
            min: Duration::from_secs(1),
            max: Duration::from_secs(90 * 86_400),
            set: |config, value| config.rebuild_keep = value,
        },
        default: "24h",
        env: &[],
        meaning: "How long the former generation is kept up to date after a swap, so that it can be rolled back to.",
    },
    Key {
        path: "slo.lag_seconds",
        kind: Kind::Integer {
            min: 1,
            max: 86_400,
            set: |config, value| config.slo_lag_seconds = u32::try_from(value).unwrap_or(u32::MAX),
        },
        default: "30",
        env: &[],
        meaning: "How far behind is too far, in seconds, for readers of the metrics.",
    },
];

/// A value of each type before its defaults are laid over it: nothing in here is ever seen.
pub(super) fn blank() -> Config {
    Config {
        plugins_dir: PathBuf::new(),
        cache_dir: PathBuf::new(),
        source: SourceKind::Kafka,
        http: HttpConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            allow_remote: false,
            tokens: Vec::new(),
            allowed_hosts: Vec::new(),
        },
        metrics: MetricsConfig { by_partition: true, kafka_lag_exporter_compat: false },
        database: DatabaseConfig {
            url: Secret::new(""),
            writers: 1,
            connect_timeout: Duration::ZERO,
            commit_timeout: Duration::ZERO,
        },
        kafka: KafkaConfig {
            bootstrap_servers: String::new(),
            group_prefix: String::new(),
            buffer_bytes_max: 0,
            properties: BTreeMap::new(),
        },
        file: FileConfig { dir: PathBuf::new() },
        schema_registry: SchemaRegistryConfig { url: None, username: None, password: None, ca: None },
        defaults: ProjectionConfig {
            on_error: OnError::Halt,
            format: TopicFormats::default(),
            key_format: TopicFormats::default(),
            batch_events_max: 1,
            memory_bytes_max: 0,
            call_time_max: Duration::ZERO,
            changes_per_event_max: 0,
            change_bytes_per_event_max: 0,
            log_lines_per_second_max: 0,
            slo_lag_seconds: 0,
            on_change: OnChange::Rebuild,
            rebuild_switch_manual: false,
            rebuild_rate_max: None,
            rebuild_keep: Duration::ZERO,
        },
        projections: BTreeMap::new(),
    }
}

impl<T> Key<T> {
    /// Puts a text where it belongs, and gives it back as a person would write it; none where it is a secret.
    pub(super) fn apply(&self, target: &mut T, text: &str) -> Result<Option<String>, String> {
        let shown = match &self.kind {
            Kind::Text(set) => {
                set(target, text.to_owned())?;
                text.to_owned()
            }
            Kind::Secret(set) => {
                set(target, Secret::new(text))?;
                return Ok(None);
            }
            Kind::Boolean(set) => {
                set(target, text.parse().map_err(|_| format!("{text:?} is neither true nor false"))?);
                text.to_owned()
            }
            Kind::Integer { min, max, set } => {
                let value = text.replace('_', "").parse().map_err(|_| format!("{text:?} is not a whole number"))?;
                set(target, within(value, *min, *max, |value| value.to_string())?);
                value.to_string()
            }
            Kind::Size { min, max, set } => {
                let value = parse::size(text)?;
                set(target, within(value, *min, *max, parse::show_size)?);
                parse::show_size(value)
            }
            Kind::Time { min, max, set } => {
                let value = parse::duration(text)?;
                set(target, within(value, *min, *max, parse::show_duration)?);
                parse::show_duration(value)
            }
            Kind::Choice { values, set } => {
                if !values.contains(&text) {
                    return Err(unknown_choice(text, values));
                }
                set(target, text)?;
                text.to_owned()
            }
            Kind::Topics { formats, get } => {
                set_topics(get(target), text, formats)?;
                text.to_owned()
            }
            Kind::List(set) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned);
                set(target, items.collect())?;
                text.to_owned()
            }
        };
        Ok(Some(shown))
    }
}

fn within<V: PartialOrd + Copy>(value: V, min: V, max: V, show: impl Fn(V) -> String) -> Result<V, String> {
    if value < min || value > max {
        return Err(format!("{} is out of bounds: {} to {}", show(value), show(min), show(max)));
    }
    Ok(value)
}

fn unknown_choice(text: &str, values: &[&str]) -> String {
    if text == "park" {
        return "\"park\" is not built yet: setting events aside comes with a later release; write \"halt\" until then"
            .into();
    }
    let values = values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(" or ");
    format!("{text:?} is not known; write {values}")
}

/// One word holds for all topics; topics with words are laid over what there is.
fn set_topics(target: &mut TopicFormats, text: &str, formats: &[Format]) -> Result<(), String> {
    let named = |word: &str| {
        let found = Format::named(word).filter(|format| formats.contains(format));
        found.ok_or_else(|| unknown_format(word, formats))
    };
    if !text.contains('=') {
        *target = TopicFormats { all: named(text.trim())?, topics: BTreeMap::new() };
        return Ok(());
    }
    for pair in text.split(',') {
        let (topic, word) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not TOPIC=WORD"))?;
        target.topics.insert(topic.trim().to_owned(), named(word.trim())?);
    }
    Ok(())
}

fn unknown_format(word: &str, formats: &[Format]) -> String {
    let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
    if word == Format::CloudEvents.name() {
        return format!("a key is no CloudEvent; write one of {}", names.join(", "));
    }
    let likeness = |name: &&str| strsim::normalized_damerau_levenshtein(&word.to_lowercase(), name);
    let best = names.iter().map(|name| (likeness(name), *name)).max_by(|a, b| a.0.total_cmp(&b.0));
    let meant = best.filter(|(likeness, _)| *likeness >= 0.5).map(|(_, name)| format!("; did you mean {name:?}?"));
    format!("{word:?} is not known; write one of {}{}", names.join(", "), meant.unwrap_or_default())
}

fn path(target: &mut PathBuf, text: String) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty; name a folder".into());
    }
    *target = PathBuf::from(text);
    Ok(())
}

fn is_host_name(name: &str) -> bool {
    name.len() <= 253 && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
}

fn text_of(target: &mut String, text: String) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty".into());
    }
    *target = text;
    Ok(())
}

fn usize_of(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

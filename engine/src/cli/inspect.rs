//! `laterna inspect`: what a plugin is, and whether it would run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;
use laterna::change::{Action, Encoding, Schema, Shape, Topic};
use laterna::config::{Config, ConfigFile, Inputs};
use laterna::plugin::{Host, HostSettings, Limits, Plugin, PluginError};
use laterna::sink::postgres_ddl;
use serde_json::{Value, json};

use super::terminal::say;

#[derive(clap::Args)]
pub(super) struct Options {
    /// The plugin
    #[arg(value_name = "X.wasm")]
    file: PathBuf,
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Loads plugins under the limits of a configuration.
pub(super) struct Loader {
    host: Host,
    config: Config,
}

impl Loader {
    pub(super) fn new(config: Config) -> anyhow::Result<Self> {
        let cache_dir = Some(config.cache_dir.clone());
        let settings = HostSettings { cache_dir, keeps_functions: true, ..HostSettings::default() };
        Ok(Self { host: Host::new(settings)?, config })
    }

    /// Reads the file once and loads it, as the engine would.
    pub(super) async fn load(&self, file: &Path) -> anyhow::Result<Plugin> {
        let bytes: Arc<[u8]> =
            std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?.into();
        let plugin = self.load_bytes(bytes.clone(), None).await?;
        let name = plugin.schema().descriptor.name.clone();
        // The name is inside, so a projection's own limits are known only now.
        if self.config.projections.contains_key(&name) {
            return Ok(self.load_bytes(bytes, Some(&name)).await?);
        }
        Ok(plugin)
    }

    async fn load_bytes(&self, bytes: Arc<[u8]>, name: Option<&str>) -> Result<Plugin, PluginError> {
        let settings = name.and_then(|name| self.config.projections.get(name)).unwrap_or(&self.config.defaults);
        let limits = Limits {
            memory_bytes_max: settings.memory_bytes_max,
            call_time_max: settings.call_time_max,
            changes_per_event_max: settings.changes_per_event_max,
            change_bytes_per_event_max: settings.change_bytes_per_event_max,
            log_lines_per_second_max: settings.log_lines_per_second_max,
        };
        self.host.load(bytes, limits).await
    }
}

/// Shows the plugin; a file that would not run is a failure with all of its problems.
pub(super) async fn inspect(options: Options) -> anyhow::Result<ExitCode> {
    let file = &options.file;
    let size_bytes = std::fs::metadata(file).with_context(|| format!("{} cannot be read", file.display()))?.len();
    let work = super::Temporary::create("inspect")?;
    let overrides = vec![format!("cache_dir={}", work.path().display())];
    let config = Config::load(&Inputs { file: ConfigFile::Absent, overrides, ..Inputs::default() })?.config;
    let loader = Loader::new(config)?;
    match loader.load(file).await {
        Ok(plugin) => {
            match options.output {
                Output::Text => say(&text(file, size_bytes, &plugin, &loader.config)),
                Output::Json => say(&serde_json::to_string_pretty(&document(size_bytes, &plugin, &loader.config))?),
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let refusal = error.downcast_ref::<PluginError>().cloned().map_or_else(|| Err(error), Ok)?;
            match options.output {
                Output::Text => say(&refused(file, &refusal)),
                Output::Json => {
                    let problems: Vec<Value> = refusal
                        .problems
                        .iter()
                        .map(|problem| json!({ "place": problem.place, "message": problem.message }))
                        .collect();
                    let document = json!({ "valid": false, "code": refusal.code, "reason": refusal.message, "problems": problems, "size_bytes": size_bytes });
                    say(&serde_json::to_string_pretty(&document)?);
                }
            }
            Ok(ExitCode::from(super::FAILURE))
        }
    }
}

/// Why it does not run, with all of its problems.
pub(super) fn refused(file: &Path, refusal: &PluginError) -> String {
    let mut lines = vec![format!("{} does not run ({}): {}", file.display(), refusal.code, refusal.message)];
    // The message may already hold them.
    let missing = refusal.problems.iter().map(ToString::to_string).filter(|problem| !refusal.message.contains(problem));
    lines.extend(missing.map(|problem| format!("  {problem}")));
    lines.join("\n")
}

fn text(file: &Path, size_bytes: u64, plugin: &Plugin, config: &Config) -> String {
    let schema = plugin.schema();
    let descriptor = &schema.descriptor;
    let mut lines = vec![
        format!("projection  {}", descriptor.name),
        format!("revision    {}", descriptor.revision),
        format!("file        {} ({} KiB)", file.display(), size_bytes.div_ceil(1024)),
        format!("sha256      {}", plugin.digest()),
        format!("contract    laterna:projection@{}, {}", plugin.contract_version(), kind(plugin)),
    ];
    lines.extend(plugin.language().map(|language| format!("language    {language}")));
    lines.extend(descriptor.topics.iter().map(|topic| format!("topic       {}", topic_text(topic))));
    lines.extend(
        schema
            .descriptor
            .tables
            .iter()
            .map(|table| format!("table       {} ({})", table.name, name_of(table.partitioning))),
    );
    lines.extend(descriptor.shapes.iter().map(|shape| format!("shape       {}", shape_text(shape))));
    let limits = config.projections.get(&descriptor.name).unwrap_or(&config.defaults);
    lines.push(format!(
        "limits      {} MiB memory, {} ms a call, {} changes and {} KiB an event",
        limits.memory_bytes_max >> 20,
        limits.call_time_max.as_millis(),
        limits.changes_per_event_max,
        limits.change_bytes_per_event_max >> 10
    ));
    lines.extend(plugin.imports().iter().map(|name| format!("import      {name}")));
    lines.push(format!("verdict     it runs: cp {} plugins/", file.display()));
    lines.push(String::new());
    lines.push(ddl(schema));
    lines.join("\n")
}

fn kind(plugin: &Plugin) -> &'static str {
    if plugin.is_core_module() { "core module, wrapped" } else { "component" }
}

fn ddl(schema: &Schema) -> String {
    postgres_ddl(schema).into_iter().map(|statement| format!("{statement};")).collect::<Vec<_>>().join("\n")
}

/// The word of the contract.
fn name_of(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn topic_text(topic: &Topic) -> String {
    let encoding = |encoding: Encoding| name_of(encoding);
    let headers = if topic.headers.is_empty() {
        "no headers".to_owned()
    } else {
        format!("headers {}", topic.headers.join(", "))
    };
    format!("{} (key {}, value {}, {headers})", topic.name, encoding(topic.key), encoding(topic.value))
}

fn shape_text(shape: &Shape) -> String {
    let table = &shape.table;
    let assigned = |assignments: &[laterna::change::Assignment]| {
        assignments
            .iter()
            .map(|one| format!("{} {}", name_of(one.operation), one.column))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match &shape.action {
        Action::Upsert(assignments) => format!("upsert {table}: {}", assigned(assignments)),
        Action::Update(assignments) => format!("update {table}: {}", assigned(assignments)),
        Action::Insert(columns) => format!("insert {table}: {}", columns.join(", ")),
        Action::Delete => format!("delete {table}"),
        Action::DeletePrefix(length) => format!("delete {table} by the first {length} column(s) of its key"),
    }
}

fn document(size_bytes: u64, plugin: &Plugin, config: &Config) -> Value {
    let descriptor = &plugin.schema().descriptor;
    let limits = config.projections.get(&descriptor.name).unwrap_or(&config.defaults);
    json!({
        "valid": true,
        "descriptor": descriptor,
        "sha256": plugin.digest(),
        "size_bytes": size_bytes,
        "contract_version": plugin.contract_version(),
        "core_module": plugin.is_core_module(),
        "language": plugin.language(),
        "imports": plugin.imports(),
        "ddl": postgres_ddl(plugin.schema()),
        "limits": {
            "memory_bytes": limits.memory_bytes_max,
            "call_time_ms": u64::try_from(limits.call_time_max.as_millis()).unwrap_or(u64::MAX),
            "changes_per_event": limits.changes_per_event_max,
            "bytes_per_event": limits.change_bytes_per_event_max,
        },
    })
}

//! `laterna test`: golden events through the real engine (file source, SQLite), and the rows against the expected ones.
//!
//! A folder holds `events.jsonl` and `expected/<table>.jsonl`; the formats stand in `examples/README.md`.

mod diff;
mod events;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use laterna::change::Schema;
use laterna::config::{Config, ConfigFile, Inputs};
use laterna::control::Control;
use laterna::sink::TableRows;

use super::inspect::Loader;
use super::terminal::say;
use events::Lines;

/// How long the events of one folder may take.
const TIME_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(8);

#[derive(clap::Args)]
pub(super) struct Options {
    /// Folders with events.jsonl and expected/TABLE.jsonl
    #[arg(value_name = "DIR", default_value = ".")]
    dirs: Vec<PathBuf>,
    /// The plugin; without it DIR/plugin.wasm, else plugins/NAME.wasm with the folder's name
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// Write the rows as the expected ones instead of comparing
    #[arg(long)]
    update: bool,
}

/// Tests every folder, and fails if one of them does.
pub(super) async fn test(options: Options) -> anyhow::Result<ExitCode> {
    let mut failed = 0;
    for dir in &options.dirs {
        let outcome = test_one(dir, &options).await.with_context(|| dir.display().to_string());
        match outcome {
            Ok(report) if report.differences.is_empty() => {
                say(&format!("ok      {}: {}", dir.display(), report.summary))
            }
            Ok(report) => {
                failed += 1;
                say(&format!("FAILED  {}: {}\n{}", dir.display(), report.summary, report.differences.join("\n")));
            }
            Err(error) => {
                failed += 1;
                say(&format!("FAILED  {error:#}"));
            }
        }
    }
    say(&format!("{} passed, {failed} failed", options.dirs.len() - failed));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(super::FAILURE) })
}

struct Report {
    summary: String,
    /// For people, one difference each.
    differences: Vec<String>,
}

async fn test_one(dir: &Path, options: &Options) -> anyhow::Result<Report> {
    let plugin_file = find_plugin(dir, options.plugin.as_deref())?;
    let work = super::Temporary::create("test")?;
    let config = config(work.path())?;
    let plugin = Loader::new(config.clone())?.load(&plugin_file).await?;
    let schema = plugin.schema().clone();
    let events = dir.join("events.jsonl");
    let text = std::fs::read_to_string(&events).with_context(|| format!("{} cannot be read", events.display()))?;
    let lines = events::split(&text, &schema.descriptor.topics, &config.file.dir)
        .with_context(|| events.display().to_string())?;
    std::fs::create_dir_all(&config.plugins_dir)?;
    std::fs::copy(&plugin_file, config.plugins_dir.join("plugin.wasm"))?;
    let control = Control::start(config).await?;
    let tables = run_through(&control, &schema, plugin.digest(), &lines).await;
    control.shutdown(STOP_MAX).await;
    let tables = tables?;
    let expected = dir.join("expected");
    let rows: usize = tables.iter().map(|table| table.rows.len()).sum();
    let counts = format!("{} events, {rows} rows in {} table(s)", lines.count(), tables.len());
    if options.update {
        write_expected(&expected, &schema, &tables)?;
        return Ok(Report { summary: format!("{counts}, written to {}", expected.display()), differences: Vec::new() });
    }
    let mut differences = unknown_files(&expected, &schema)?;
    for (table, found) in schema.descriptor.tables.iter().zip(&tables) {
        let path = expected.join(format!("{}.jsonl", table.name));
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let expected = diff::parse(&text, &found.columns).with_context(|| path.display().to_string())?;
                differences.extend(diff::rows(&table.name, &table.primary_key, &expected, found));
            }
            Err(error) => differences.push(format!(
                "  {}: {} cannot be read: {error}; `--update` writes it",
                table.name,
                path.display()
            )),
        }
    }
    Ok(Report { summary: counts, differences })
}

fn find_plugin(dir: &Path, named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let beside = dir.join("plugin.wasm");
    if beside.is_file() {
        return Ok(beside);
    }
    let whole = dir.canonicalize().with_context(|| "the folder cannot be opened".to_owned())?;
    let name = whole.file_name().unwrap_or_default();
    let dropped = Path::new("plugins").join(name).with_extension("wasm");
    ensure!(
        dropped.is_file(),
        "no plugin: neither {} nor {} exists; name one with --plugin",
        beside.display(),
        dropped.display()
    );
    Ok(dropped)
}

/// The engine as always, on folders of our own.
fn config(work: &Path) -> anyhow::Result<Config> {
    let text =
        |name: &str| work.join(name).to_str().map(str::to_owned).context("the temporary folder's path is not UTF-8");
    let overrides = vec![
        "source=file".to_owned(),
        format!("plugins_dir={}", text("plugins")?),
        format!("file.dir={}", text("events")?),
        format!("cache_dir={}", text("cache")?),
        format!("database.url=sqlite://{}", text("test.db")?),
    ];
    Ok(Config::load(&Inputs { file: ConfigFile::Absent, overrides, ..Inputs::default() })?.config)
}

/// Waits for the end of the events and reads all tables.
async fn run_through(
    control: &Control,
    schema: &Arc<Schema>,
    digest: &str,
    lines: &Lines,
) -> anyhow::Result<Vec<TableRows>> {
    let caught_up = tokio::time::timeout(TIME_MAX, control.caught_up()).await;
    if let Some(file) = control.rejected().into_iter().next() {
        bail!("the plugin does not run: {}", file.reason);
    }
    for projection in control.projections() {
        if let Some(halt) = projection.halt {
            let line = halt.at.as_ref().and_then(|at| lines.line(&at.topic, at.partition, at.offset));
            let place = line.map(|line| format!("events.jsonl:{line}: ")).unwrap_or_default();
            bail!("{place}{} is halted: {halt}", projection.name);
        }
    }
    caught_up.with_context(|| format!("the events were not through after {} s", TIME_MAX.as_secs()))?;
    let sink = control.sink().context("the database was not opened")?;
    let generation = sink.open(schema, digest).await?.generation;
    let mut tables = Vec::new();
    for table in 0..schema.tables.len() {
        tables.push(sink.rows(&generation, schema, table, None).await?);
    }
    Ok(tables)
}

fn write_expected(dir: &Path, schema: &Schema, tables: &[TableRows]) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    for (table, rows) in schema.descriptor.tables.iter().zip(tables) {
        let path = dir.join(format!("{}.jsonl", table.name));
        std::fs::write(&path, diff::write(rows)).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

/// Expected rows of a table that the plugin does not have would never be compared.
fn unknown_files(dir: &Path, schema: &Schema) -> anyhow::Result<Vec<String>> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(Vec::new()) };
    let mut unknown = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_rows = path.extension().is_some_and(|extension| extension == "jsonl");
        if is_rows && !schema.descriptor.tables.iter().any(|table| table.name == name) {
            unknown.push(format!("  {name}: the plugin has no such table, but {} exists", path.display()));
        }
    }
    unknown.sort();
    Ok(unknown)
}

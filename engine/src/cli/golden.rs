//! `laterna test`: golden events through the real engine (file source, SQLite), and the rows against the expected ones.
//!
//! A project holds `tests/NAME.jsonl` and `tests/NAME.expected/TABLE.jsonl`; a folder without a plugin.toml may also hold one case as
//! `events.jsonl` and `expected/TABLE.jsonl`. The formats stand in `examples/README.md`. Of a row that differs, the events that made it
//! are named: they are handed to the same build once more, one by one.

mod diff;
pub(super) mod events;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use laterna::change::Schema;
use laterna::config::{Config, ConfigFile, Inputs};
use laterna::control::{Control, Stepper};
use laterna::plugin::Plugin;
use laterna::sink::TableRows;
use serde_json::Value;

use super::author::project::{Flavour, Project, config as loading, replace};
use super::author::with_source_line;
use super::inspect::Loader;
use super::terminal::say;
use events::Lines;

/// How long the events of one case may take.
const TIME_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(8);
/// Of the events that wrote a row, the last so many are named.
const LINES_SHOWN: usize = 5;

#[derive(clap::Args)]
pub(super) struct Options {
    /// Projects, or folders with events.jsonl and expected/TABLE.jsonl
    #[arg(value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    dirs: Vec<PathBuf>,
    /// The plugin; without it a project is built, and another folder's is DIR/plugin.wasm, else plugins/NAME.wasm with the folder's name
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    plugin: Option<PathBuf>,
    /// Write the rows as the expected ones instead of comparing
    #[arg(long)]
    update: bool,
    /// Only cases whose path has this in it
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// Tests every case of every folder, and fails if one of them does.
pub(super) async fn test(options: Options) -> anyhow::Result<ExitCode> {
    let (mut passed, mut failed) = (0, 0);
    for dir in &options.dirs {
        let outcome = test_folder(dir, &options, &mut passed, &mut failed).await;
        if let Err(error) = outcome {
            failed += 1;
            say(&format!("FAILED  {}: {error:#}", dir.display()));
        }
    }
    if let (Some(text), 0) = (&options.filter, passed + failed) {
        bail!("no case has {text:?} in its path");
    }
    say(&format!("{passed} passed, {failed} failed"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(super::FAILURE) })
}

async fn test_folder(dir: &Path, options: &Options, passed: &mut usize, failed: &mut usize) -> anyhow::Result<()> {
    let all = cases(dir)?;
    ensure!(
        !all.is_empty(),
        "no golden events: put some into {} (one JSON object a line: key, value, timestamp), then `laterna test --update`",
        dir.join("tests/NAME.jsonl").display()
    );
    let is_asked_for =
        |case: &&Case| options.filter.as_ref().is_none_or(|text| case.events.display().to_string().contains(text));
    let cases: Vec<&Case> = all.iter().filter(is_asked_for).collect();
    if cases.is_empty() {
        return Ok(());
    }
    let plugin = plugin_of(dir, options.plugin.as_deref()).await?;
    for case in cases {
        let place = case.name(dir);
        match run(case, &plugin, dir, options.update).await {
            Ok(report) if report.differences.is_empty() => {
                *passed += 1;
                say(&format!("ok      {place}: {}", report.summary));
            }
            Ok(report) => {
                *failed += 1;
                say(&format!("FAILED  {place}: {}\n{}", report.summary, report.differences.join("\n")));
            }
            Err(error) => {
                *failed += 1;
                say(&format!("FAILED  {place}: {error:#}"));
            }
        }
    }
    Ok(())
}

/// Writes the expected rows of all cases of a project.
pub(super) async fn update(dir: &Path, plugin: &Plugin) -> anyhow::Result<()> {
    for case in cases(dir)? {
        let report = run(&case, plugin, dir, true).await.with_context(|| case.events.display().to_string())?;
        say(&format!("ok      {}: {}", case.name(dir), report.summary));
    }
    Ok(())
}

/// The files of all cases.
pub(super) fn inputs(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    Ok(cases(dir)?.into_iter().map(|case| case.events).collect())
}

/// Events, and where the rows that they must give stand.
struct Case {
    events: PathBuf,
    expected: PathBuf,
}

impl Case {
    /// As it is told: a folder's only case by the folder.
    fn name(&self, dir: &Path) -> String {
        let is_whole = self.events == dir.join("events.jsonl");
        if is_whole { dir.display().to_string() } else { self.events.display().to_string() }
    }
}

fn cases(dir: &Path) -> anyhow::Result<Vec<Case>> {
    // What is told of the working directory is told without its dot.
    let dir = dir.strip_prefix(".").unwrap_or(dir);
    let mut cases = Vec::new();
    let whole = dir.join("events.jsonl");
    if whole.is_file() {
        cases.push(Case { events: whole, expected: dir.join("expected") });
    }
    let tests = dir.join("tests");
    for entry in std::fs::read_dir(&tests).into_iter().flatten() {
        let events = entry.with_context(|| format!("{} cannot be read", tests.display()))?.path();
        if events.is_file() && events.extension().is_some_and(|extension| extension == "jsonl") {
            cases.push(Case { expected: events.with_extension("expected"), events });
        }
    }
    cases.sort_by(|a, b| a.events.cmp(&b.events));
    Ok(cases)
}

async fn plugin_of(dir: &Path, named: Option<&Path>) -> anyhow::Result<Plugin> {
    if named.is_none()
        && let Some(project) = Project::find(dir)?
    {
        let built = project.build(Flavour::Release).await?;
        // So that the file beside the sources is never older than what was tested.
        built.write(&project, None)?;
        return Ok(built.plugin);
    }
    let work = super::Temporary::create("plugin")?;
    Loader::new(loading(&work.path().join("cache"))?)?.load(&find_plugin(dir, named)?).await
}

struct Report {
    summary: String,
    /// For people, one difference each.
    differences: Vec<String>,
}

async fn run(case: &Case, plugin: &Plugin, dir: &Path, update: bool) -> anyhow::Result<Report> {
    let work = super::Temporary::create("test")?;
    let config = config(work.path(), &cache_of(dir, work.path()))?;
    let schema = plugin.schema().clone();
    let text =
        std::fs::read_to_string(&case.events).with_context(|| format!("{} cannot be read", case.events.display()))?;
    let lines = events::split(&text, &schema.descriptor.topics, &config.file.dir)?;
    std::fs::create_dir_all(&config.plugins_dir)?;
    std::fs::write(config.plugins_dir.join("plugin.wasm"), plugin.bytes())?;
    let control = Control::start(config, None).await?;
    let tables = run_through(&control, &schema, plugin.digest(), &lines, case, dir).await;
    control.shutdown(STOP_MAX).await;
    let tables = tables?;
    let rows: usize = tables.iter().map(|table| table.rows.len()).sum();
    let counts = format!("{} events, {rows} rows in {} table(s)", lines.count(), tables.len());
    if update {
        let written = write_expected(&case.expected, &schema, &tables)?;
        let summary = if written.is_empty() {
            format!("{counts}, as expected before")
        } else {
            format!("{counts}, written to {}", written.join(", "))
        };
        return Ok(Report { summary, differences: Vec::new() });
    }
    let mut differences = unknown_files(&case.expected, &schema)?;
    let mut history = None;
    for (table, found) in schema.descriptor.tables.iter().zip(&tables) {
        let path = case.expected.join(format!("{}.jsonl", table.name));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let place = path.display();
                differences.push(format!("  {}: {place} cannot be read: {error}; `--update` writes it", table.name));
                continue;
            }
        };
        let expected = diff::parse(&text, &found.columns).with_context(|| path.display().to_string())?;
        let found = diff::rows(&table.name, &table.primary_key, &expected, found);
        if !found.is_empty() && history.is_none() {
            history = Some(History::of(plugin, &lines).await?);
        }
        for difference in found {
            let blame = history.as_ref().map(|history| history.blame(case, &table.name, &difference.key));
            let line = difference.expected_line.map(|line| format!("\n    expected by {}:{line}", path.display()));
            differences.push(format!("{}{}{}", difference.text, line.unwrap_or_default(), blame.unwrap_or_default()));
        }
    }
    Ok(Report { summary: counts, differences })
}

/// Which events wrote which row.
#[derive(Default)]
struct History {
    /// Lines by table and primary key, as JSON.
    lines: BTreeMap<(String, String), Vec<usize>>,
}

impl History {
    async fn of(plugin: &Plugin, lines: &Lines) -> anyhow::Result<Self> {
        let mut history = Self::default();
        let mut stepper = Stepper::new(plugin);
        for golden in &lines.0 {
            let stepped = stepper.step(&golden.at, golden.event.clone()).await?;
            // What a change says, and what it did: of the rows under a prefix, only the rows themselves tell the whole key.
            for touched in
                stepped.changes.iter().filter(|change| change["action"] != "delete-prefix").chain(&stepped.rows)
            {
                let key = touched["key"].as_object().into_iter().flat_map(|key| key.values().cloned()).collect();
                let place = (touched["table"].as_str().unwrap_or_default().to_owned(), key_text(key));
                history.lines.entry(place).or_default().push(golden.line);
            }
        }
        Ok(history)
    }

    fn blame(&self, case: &Case, table: &str, key: &[Value]) -> String {
        if key.is_empty() {
            return String::new();
        }
        let Some(lines) = self.lines.get(&(table.to_owned(), key_text(key.to_vec()))) else {
            return "\n    no event wrote this row".to_owned();
        };
        let mut text = String::new();
        let unique: BTreeSet<usize> = lines.iter().copied().collect();
        let hidden = unique.len().saturating_sub(LINES_SHOWN);
        for (index, line) in unique.iter().skip(hidden).rev().enumerate() {
            let verb = if index == 0 { "written last by" } else { "before that by" };
            // Writing to a String cannot fail, here and below.
            write!(text, "\n    {verb} {}:{line}", case.events.display()).ok();
        }
        if hidden > 0 {
            write!(text, "\n    and by {hidden} events before").ok();
        }
        text
    }
}

/// A primary key that tells one row from another, whatever the order of its columns.
fn key_text(mut key: Vec<Value>) -> String {
    key.sort_by_key(ToString::to_string);
    Value::Array(key).to_string()
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

/// A project keeps compiled code, so that the next test starts sooner.
fn cache_of(dir: &Path, work: &Path) -> PathBuf {
    let kept = Project::find(dir).ok().flatten().map(|project| project.private().join("cache"));
    kept.unwrap_or_else(|| work.join("cache"))
}

/// The engine as always, on folders of our own.
fn config(work: &Path, cache: &Path) -> anyhow::Result<Config> {
    let text = |path: PathBuf| path.to_str().map(str::to_owned).context("the folder's path is not UTF-8");
    let overrides = vec![
        "source=file".to_owned(),
        format!("plugins_dir={}", text(work.join("plugins"))?),
        format!("file.dir={}", text(work.join("events"))?),
        format!("cache_dir={}", text(cache.to_owned())?),
        format!("database.url=sqlite://{}", text(work.join("test.db"))?),
    ];
    Ok(Config::load(&Inputs { file: ConfigFile::Absent, overrides, ..Inputs::default() })?.config)
}

/// Waits for the end of the events and reads all tables.
async fn run_through(
    control: &Control,
    schema: &Arc<Schema>,
    digest: &str,
    lines: &Lines,
    case: &Case,
    dir: &Path,
) -> anyhow::Result<Vec<TableRows>> {
    let caught_up = tokio::time::timeout(TIME_MAX, control.caught_up()).await;
    if let Some(file) = control.rejected().into_iter().next() {
        bail!("the plugin does not run: {}", file.reason);
    }
    for projection in control.projections() {
        if let Some(halt) = projection.halt {
            let line = halt.at.as_ref().and_then(|at| lines.line(&at.topic, at.partition, at.offset));
            let place = line.map(|line| format!("{}:{line}: ", case.events.display())).unwrap_or_default();
            bail!("{}", with_source_line(&format!("{place}{} is halted: {halt}", projection.name), dir));
        }
    }
    caught_up.with_context(|| format!("the events were not through after {} s", TIME_MAX.as_secs()))?;
    tables(control, schema, digest).await
}

/// All rows of a projection's live generation.
pub(super) async fn tables(control: &Control, schema: &Arc<Schema>, digest: &str) -> anyhow::Result<Vec<TableRows>> {
    let sink = control.sink().context("the database was not opened")?;
    let generation = sink.open(schema, digest).await?.generation;
    let mut tables = Vec::new();
    for table in 0..schema.tables.len() {
        tables.push(sink.rows(&generation, schema, table, None).await?);
    }
    Ok(tables)
}

/// Writes what differs, and answers which files those are.
fn write_expected(dir: &Path, schema: &Schema, tables: &[TableRows]) -> anyhow::Result<Vec<String>> {
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let mut written = Vec::new();
    for (table, rows) in schema.descriptor.tables.iter().zip(tables) {
        let path = dir.join(format!("{}.jsonl", table.name));
        let text = diff::write(rows);
        if std::fs::read_to_string(&path).is_ok_and(|before| before == text) {
            continue;
        }
        replace(&path, text.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))?;
        written.push(path.display().to_string());
    }
    Ok(written)
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

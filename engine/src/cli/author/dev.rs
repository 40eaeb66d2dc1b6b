//! `laterna dev`: from a saved file to new rows. Watches the project, builds it, replays the events from the start, shows what has changed.
//!
//! Every build gets an engine of its own on a fresh SQLite file, and takes the place of the one before once it stands at the end of the events.
//! Invariants: a build that fails, is refused, or meets an event that it cannot take, is told with its source line and leaves the rows and the
//! engine before it as they are; the page stays at one address; everything is in the project's `.laterna/`, one `dev` a project.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow, bail};
use futures_util::FutureExt as _;
use laterna::change::Topic;
use laterna::config::{Config, ConfigFile, Inputs};
use laterna::control::{Control, Stepper};
use laterna::event::TopicPartition;
use laterna::http::Server;
use laterna::plugin::Plugin;
use laterna::sink::TableRows;
use laterna::source::write_line;
use serde_json::Value;

use super::super::golden::{self, events};
use super::super::remote::stepped_text;
use super::super::terminal::{complain, one_line, say, table};
use super::super::{Global, demo, run};
use super::project::{Flavour, MANIFEST, Project, replace};
use super::tap::{From, Tapped};
use super::with_source_line;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often a topic is asked for new events.
const TAP_EVERY: Duration = Duration::from_secs(1);
const STOP_MAX: Duration = Duration::from_secs(5);
const HTTP_STOP_MAX: Duration = Duration::from_millis(500);
/// Rows of a table, or differences, that are shown; the others are counted.
const ROWS_SHOWN: usize = 10;
/// Events that `--step` shows of one build.
const STEPS_SHOWN: usize = 200;
/// Events that `--topic` takes without `--from`.
const TAPPED: usize = 1000;

#[derive(clap::Args)]
pub(in crate::cli) struct Options {
    /// The project: a folder with a plugin.toml
    #[arg(value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
    /// The events: one JSON object a line; without it, those of all tests/*.jsonl
    #[arg(long, value_name = "F.jsonl", conflicts_with = "topic", value_hint = clap::ValueHint::FilePath)]
    input: Option<PathBuf>,
    /// The events of a topic of the configured source, and those that come
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Where in the topic to begin: `earliest`, or `-N` for the last N events; without it the last 1000
    #[arg(long, value_name = "PLACE", requires = "topic", allow_hyphen_values = true)]
    from: Option<From>,
    /// Show what each event changes: the rows before, the changes, the rows after
    #[arg(long)]
    step: bool,
    /// Build and replay once, show the rows, and exit
    #[arg(long)]
    once: bool,
    /// Address of the dashboard; where it is taken, a free port is chosen
    #[arg(long, default_value = "127.0.0.1:8484", value_name = "HOST:PORT")]
    listen: SocketAddr,
}

/// Goes round until a signal.
pub(in crate::cli) async fn dev(global: &Global, options: Options) -> anyhow::Result<ExitCode> {
    let project = Project::open(&options.dir)?;
    let place = project.private();
    std::fs::create_dir_all(&place).with_context(|| format!("{} cannot be made", place.display()))?;
    let _lock = lock(&place)?;
    let mut input = Input::open(global, &options).await?;
    let mut signals = run::Signals::new()?;
    let rounds = Rounds::new(&place)?;
    let mut author = Author { options: &options, rounds, server: None, live: None, steps: BTreeMap::new() };
    if options.once {
        let is_well = author.round(&input, None).await;
        if let Some(live) = author.live.take() {
            live.control.shutdown(STOP_MAX).await;
        }
        return Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(super::super::FAILURE) });
    }
    let listener = demo::listen(options.listen).await?;
    let server = Server::start(listener, run::http_settings(&author.rounds.config(&place)?))?;
    say(&format!(
        "dashboard  http://{}/ui/\nrows       sqlite3 -readonly {}",
        server.address(),
        author.rounds.link.display()
    ));
    author.server = Some(server);
    let outcome = tokio::select! {
        outcome = author.go_round(&mut input) => outcome,
        () = signals.next() => Ok(()),
    };
    if let Some(live) = author.live.take() {
        run::stop(live.control, &mut signals, STOP_MAX).await;
    }
    if let Some(server) = author.server {
        server.shutdown(HTTP_STOP_MAX).await;
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

/// One `dev` a project: two would take each other's files away.
fn lock(place: &Path) -> anyhow::Result<File> {
    let path = place.join("dev.lock");
    let file = File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => bail!("another `laterna dev` runs in this project; end it first"),
        Err(std::fs::TryLockError::Error(error)) => Err(error).context("the project cannot be locked"),
    }
}

/// What is shown, and what was shown before.
struct Author<'a> {
    options: &'a Options,
    rounds: Rounds,
    /// Where the newest engine is shown.
    server: Option<Server>,
    live: Option<Live>,
    /// What each event did in the last build, by its place in the input.
    steps: BTreeMap<usize, String>,
}

/// An engine that stands at the end of the events.
struct Live {
    control: Control,
    dir: PathBuf,
    topics: Vec<Topic>,
    tables: Vec<(String, Vec<String>, TableRows)>,
}

impl Author<'_> {
    async fn go_round(&mut self, input: &mut Input) -> anyhow::Result<()> {
        loop {
            let seen = self.state(input);
            let begun = Instant::now();
            self.round(input, Some(begun)).await;
            let mut tapped = Instant::now();
            while self.state(input) == seen {
                tokio::time::sleep(LOOK_EVERY).await;
                if input.tapped.is_some() && tapped.elapsed() >= TAP_EVERY {
                    let news = input.news().await;
                    tapped = Instant::now();
                    match (news, &self.live) {
                        (Ok(news), Some(live)) if !news.is_empty() => live.append(&news)?,
                        (Err(error), _) => complain(&format!("{error:#}")),
                        _ => {}
                    }
                }
            }
            say("");
        }
    }

    /// What a round depends on.
    fn state(&self, input: &Input) -> Vec<(PathBuf, u64, SystemTime)> {
        let files = input.files.iter().cloned().chain([self.options.dir.join(MANIFEST)]);
        let stamp = |path: PathBuf| {
            let metadata = std::fs::metadata(&path).ok()?;
            Some((path, metadata.len(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
        };
        let mut state: Vec<_> = files.filter_map(stamp).collect();
        if let Ok(project) = Project::open(&self.options.dir) {
            state.extend(project.state());
        }
        state
    }

    /// Builds, replays, shows. False: the rows before stay, and why was told.
    async fn round(&mut self, input: &Input, begun: Option<Instant>) -> bool {
        let begun = begun.unwrap_or_else(Instant::now);
        match self.try_round(input, begun).await {
            Ok(()) => true,
            Err(error) => {
                let stay = if self.live.is_some() { "\nthe rows before stay" } else { "" };
                complain(&format!("{}{stay}", with_source_line(&format!("{error:#}"), &self.options.dir)));
                false
            }
        }
    }

    async fn try_round(&mut self, input: &Input, begun: Instant) -> anyhow::Result<()> {
        let project = Project::open(&self.options.dir)?;
        let built = project.build(Flavour::Dev).await?;
        let text = input.text()?;
        let dir = self.rounds.next()?;
        let replayed = replay(&self.rounds.config(&dir)?, &built.plugin, &text, input).await;
        let (control, lines, tables) = match replayed {
            Ok(replayed) => replayed,
            Err(error) => {
                self.rounds.drop(&dir);
                return Err(error);
            }
        };
        let descriptor = &built.plugin.schema().descriptor;
        let tables: Vec<_> = descriptor
            .tables
            .iter()
            .zip(tables)
            .map(|(table, rows)| (table.name.clone(), table.primary_key.clone(), rows))
            .collect();
        if self.options.step {
            self.step(&built.plugin, &lines, input).await?;
        }
        let live = Live { control, dir, topics: descriptor.topics.clone(), tables };
        if let Some(server) = &self.server {
            server.show(live.control.clone());
        }
        self.rounds.link(&live.dir);
        say(&match &self.live {
            Some(before) => differences(before, &live),
            None => whole(&live),
        });
        say(&format!(
            "{} events replayed through {} revision {}: built in {:.1} s, new rows after {:.1} s",
            lines.count(),
            descriptor.name,
            descriptor.revision,
            built.seconds,
            begun.elapsed().as_secs_f64()
        ));
        if let Some(before) = self.live.replace(live) {
            let rounds = self.rounds.clone();
            // Nobody waits for the end of what is shown no more.
            tokio::spawn(
                async move {
                    before.control.shutdown(STOP_MAX).await;
                    rounds.drop(&before.dir);
                }
                .boxed(),
            );
        }
        Ok(())
    }

    /// What each event does; after the first time, only where that is something else than before.
    async fn step(&mut self, plugin: &Plugin, lines: &events::Lines, input: &Input) -> anyhow::Result<()> {
        let is_first = self.steps.is_empty();
        let mut stepper = Stepper::new(plugin);
        let mut shown = 0;
        for (index, golden) in lines.0.iter().enumerate() {
            let stepped = stepper.step(&golden.at, golden.event.clone()).await?;
            let text = stepped_text(&stepped);
            let is_news = self.steps.get(&index) != Some(&text);
            self.steps.insert(index, text.clone());
            if is_news {
                shown += 1;
                if shown <= STEPS_SHOWN {
                    say(&format!("{text}\n  ({})", input.place(golden.line)));
                }
            }
        }
        if shown > STEPS_SHOWN {
            say(&format!("\nand {} events more", shown - STEPS_SHOWN));
        }
        if !is_first && shown == 0 {
            say("every event does what it did before");
        }
        Ok(())
    }
}

impl Live {
    /// Hands the engine events that have come since.
    fn append(&self, news: &[(TopicPartition, String)]) -> anyhow::Result<()> {
        for (at, line) in news.iter().filter(|(at, _)| self.topics.iter().any(|topic| *topic.name == *at.topic)) {
            let folder = self.dir.join("events").join(&*at.topic);
            let path = folder.join(format!("{}.jsonl", at.partition));
            let append = || {
                std::fs::create_dir_all(&folder)?;
                File::options().create(true).append(true).open(&path)?.write_all(format!("{line}\n").as_bytes())
            };
            append().with_context(|| format!("{} cannot be written", path.display()))?;
        }
        say(&format!("{} new events", news.len()));
        Ok(())
    }
}

type Replayed = (Control, events::Lines, Vec<TableRows>);

/// An engine with the plugin, at the end of the events; an event that it cannot take is an error, with its line.
async fn replay(config: &Config, plugin: &Plugin, text: &str, input: &Input) -> anyhow::Result<Replayed> {
    let schema = plugin.schema();
    let lines =
        events::split(text, &schema.descriptor.topics, &config.file.dir).map_err(|error| input.located(error))?;
    std::fs::create_dir_all(&config.plugins_dir)?;
    let control = Control::start(config.clone(), None).await?;
    // Renamed into place while the engine watches, it is whole at once; a file that is there already would have to settle first.
    replace(&config.plugins_dir.join(format!("{}.wasm", schema.descriptor.name)), plugin.bytes())?;
    while control.projections().is_empty() && control.rejected().is_empty() {
        tokio::time::sleep(LOOK_EVERY / 5).await;
    }
    control.caught_up().await;
    let rows = async {
        if let Some(file) = control.rejected().into_iter().next() {
            bail!("the plugin does not run: {}", file.reason);
        }
        if let Some(halt) = control.projections().into_iter().find_map(|projection| projection.halt) {
            let line = halt.at.as_ref().and_then(|at| lines.line(&at.topic, at.partition, at.offset));
            let place = line.map(|line| format!("{}: ", input.place(line))).unwrap_or_default();
            let event = line.and_then(|line| lines.0.iter().find(|golden| golden.line == line));
            let event = event.map(|golden| format!("\n  the event: {}", one_line(&golden.text))).unwrap_or_default();
            bail!("{place}{halt}{event}");
        }
        golden::tables(&control, schema, plugin.digest()).await
    };
    match rows.await {
        Ok(rows) => Ok((control, lines, rows)),
        Err(error) => {
            control.shutdown(STOP_MAX).await;
            Err(error)
        }
    }
}

fn whole(live: &Live) -> String {
    let one = |(name, _, rows): &(String, Vec<String>, TableRows)| {
        let cells: Vec<Vec<String>> =
            rows.rows.iter().take(ROWS_SHOWN).map(|row| row.iter().map(cell).collect()).collect();
        let more = rows.rows.len().saturating_sub(ROWS_SHOWN);
        let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
        format!("{name} ({} rows)\n{}{more}\n", rows.rows.len(), table(&rows.columns, &cells))
    };
    live.tables.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// What a new build has made of the same events.
fn differences(before: &Live, after: &Live) -> String {
    let mut lines = Vec::new();
    let mut has_same_columns = before.tables.len() == after.tables.len();
    for ((old_name, _, old), (name, key, new)) in before.tables.iter().zip(&after.tables) {
        has_same_columns &= old_name == name && old.columns == new.columns;
        if has_same_columns {
            lines.extend(row_differences(name, key, old, new));
        }
    }
    if !has_same_columns {
        return whole(after);
    }
    if lines.is_empty() {
        return "the rows are the same as before".to_owned();
    }
    let more = lines.len().saturating_sub(ROWS_SHOWN * 2);
    lines.truncate(ROWS_SHOWN * 2);
    if more > 0 {
        lines.push(format!("and {more} rows more"));
    }
    lines.join("\n")
}

fn row_differences(name: &str, key: &[String], before: &TableRows, after: &TableRows) -> Vec<String> {
    let place = |row: &Vec<Value>| {
        let parts = after.columns.iter().zip(row).filter(|(column, _)| key.contains(column));
        parts.map(|(column, value)| format!("{column} {}", cell(value))).collect::<Vec<_>>().join(", ")
    };
    let mut old: BTreeMap<String, &Vec<Value>> = before.rows.iter().map(|row| (place(row), row)).collect();
    let mut lines = Vec::new();
    for row in &after.rows {
        let place = place(row);
        match old.remove(&place) {
            Some(was) if was == row => {}
            Some(was) => {
                let cells = after.columns.iter().zip(was.iter().zip(row)).filter(|(_, (was, is))| was != is);
                let cells = cells.map(|(column, (was, is))| format!("{column} {} → {}", cell(was), cell(is)));
                lines.push(format!("~ {name}({place}): {}", cells.collect::<Vec<_>>().join(", ")));
            }
            None => {
                let cells = after.columns.iter().zip(row).map(|(column, is)| format!("{column} {}", cell(is)));
                lines.push(format!("+ {name}({place}): {}", cells.collect::<Vec<_>>().join(", ")));
            }
        }
    }
    lines.extend(old.keys().map(|place| format!("- {name}({place})")));
    lines
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => one_line(text),
        other => other.to_string(),
    }
}

/// Where the events come from.
struct Input {
    /// Files that are read anew in each round.
    files: Vec<PathBuf>,
    tapped: Option<TappedInput>,
}

/// A topic of the configured source, as far as it was read.
struct TappedInput {
    topic: Tapped,
    lines: Vec<String>,
    ends: BTreeMap<TopicPartition, i64>,
}

impl Input {
    async fn open(global: &Global, options: &Options) -> anyhow::Result<Self> {
        if let Some(topic) = &options.topic {
            let topic = Tapped::open(global, topic)?;
            let from = options.from.unwrap_or(From::Last(TAPPED));
            let mut tapped = TappedInput { topic, lines: Vec::new(), ends: BTreeMap::new() };
            for (at, event) in tapped.topic.read(from).await? {
                tapped.lines.push(write_line(&at, &event));
                let end = tapped.ends.entry(at).or_default();
                *end = (event.offset + 1).max(*end);
            }
            say(&format!("{} events of the topic", tapped.lines.len()));
            return Ok(Self { files: Vec::new(), tapped: Some(tapped) });
        }
        let files = match &options.input {
            Some(file) => vec![file.clone()],
            None => golden::inputs(&options.dir)?,
        };
        if files.is_empty() {
            bail!(
                "no events: put some into {} (one JSON object a line), or name them with --input F.jsonl or --topic TOPIC",
                options.dir.join("tests/NAME.jsonl").display()
            );
        }
        Ok(Self { files, tapped: None })
    }

    /// All events, as golden events stand in files.
    fn text(&self) -> anyhow::Result<String> {
        if let Some(tapped) = &self.tapped {
            return Ok(tapped.lines.join("\n"));
        }
        let mut text = String::new();
        for file in &self.files {
            text += &std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
        Ok(text)
    }

    /// The place of a line of [`Input::text`], for people.
    fn place(&self, line: usize) -> String {
        if self.tapped.is_some() {
            return format!("event {line} of the topic");
        }
        let mut before = 0;
        for file in &self.files {
            let lines = std::fs::read_to_string(file).map(|text| text.lines().count()).unwrap_or_default();
            if line <= before + lines {
                return format!("{}:{}", file.display(), line - before);
            }
            before += lines;
        }
        format!("line {line}")
    }

    /// An error that speaks of `line N` of all events, with the file that this is in.
    fn located(&self, error: anyhow::Error) -> anyhow::Error {
        let text = format!("{error:#}");
        let number = text.strip_prefix("line ").and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
        match (number, text.split_once(": ")) {
            (Some(number), Some((_, rest))) => anyhow!("{}: {rest}", self.place(number)),
            _ => error,
        }
    }

    /// Events that have come to the topic since the last look.
    async fn news(&mut self) -> anyhow::Result<Vec<(TopicPartition, String)>> {
        let Some(tapped) = &mut self.tapped else { return Ok(Vec::new()) };
        let mut news = Vec::new();
        for (at, event) in tapped.topic.read_after(&tapped.ends).await? {
            let end = tapped.ends.entry(at.clone()).or_default();
            *end = (event.offset + 1).max(*end);
            let line = write_line(&at, &event);
            tapped.lines.push(line.clone());
            news.push((at, line));
        }
        Ok(news)
    }
}

/// Folders of the engines, one after the other, and the link that names the newest database.
#[derive(Clone)]
struct Rounds {
    folder: PathBuf,
    cache: PathBuf,
    link: PathBuf,
    number: u32,
}

impl Rounds {
    fn new(place: &Path) -> anyhow::Result<Self> {
        let folder = place.join("dev");
        // Nobody else is here: what lies there is of a run that was killed.
        let _nothing_there = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Self { cache: place.join("cache"), link: place.join("dev.db"), folder, number: 0 })
    }

    fn next(&mut self) -> anyhow::Result<PathBuf> {
        self.number += 1;
        let dir = self.folder.join(self.number.to_string());
        std::fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        Ok(dir)
    }

    fn config(&self, dir: &Path) -> anyhow::Result<Config> {
        let text = |path: PathBuf| path.to_str().map(str::to_owned).context("the project's path is not UTF-8");
        let overrides = vec![
            "source=file".to_owned(),
            format!("plugins_dir={}", text(dir.join("plugins"))?),
            format!("file.dir={}", text(dir.join("events"))?),
            format!("cache_dir={}", text(self.cache.clone())?),
            format!("database.url=sqlite://{}", text(dir.join("dev.db"))?),
        ];
        Ok(Config::load(&Inputs { file: ConfigFile::Absent, overrides, ..Inputs::default() })?.config)
    }

    /// Points the link at a round's database. Where links cannot be made, the rows are on the page all the same.
    fn link(&self, dir: &Path) {
        let Ok(target) = dir.join("dev.db").canonicalize() else { return };
        let beside = self.folder.join("link");
        let _not_there = std::fs::remove_file(&beside);
        let linked = std::os::unix::fs::symlink(target, &beside).and_then(|()| std::fs::rename(&beside, &self.link));
        if let Err(error) = linked {
            tracing::debug!(%error, "the database cannot be linked");
        }
    }

    fn drop(&self, dir: &Path) {
        let _left_behind = std::fs::remove_dir_all(dir);
    }
}

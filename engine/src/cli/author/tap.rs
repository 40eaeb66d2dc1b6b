//! `laterna tap`: what is really in a topic, a line an event, from the source that is configured.
//!
//! Hides that the source is Kafka or a folder, and what the topic is written in. Invariants: nothing is changed, no group is joined, no
//! checkpoint moves; a line is what the file source and golden tests read as the same event, byte for byte, as a plugin is handed it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use laterna::config::{Config, SourceKind};
use laterna::control::schema_registry;
use laterna::event::{Event, EventBatch, TopicPartition};
use laterna::format::{Decoder, Format, TopicFormats};
use laterna::source::{kafka_bounds, kafka_range, parse_line, write_line};

use super::super::Global;
use super::super::check::kafka_settings;
use super::super::terminal::{complain, say};
use super::project::replace;

/// Events that are read of one partition at once.
const PIECE: usize = 10_000;

#[derive(clap::Args)]
pub(in crate::cli) struct Options {
    /// The topic
    topic: String,
    /// How many events, over all partitions
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Where to begin: `earliest`, or `-N` for the last N of the topic; without it, the last ones that -n asks for
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    from: Option<From>,
    /// What the values are written in, instead of what [defaults] in the configuration says; `bytes` shows what really stands there
    #[arg(long, value_name = "FORMAT", value_parser = format_named)]
    format: Option<Format>,
    /// Write the lines to a file too: for `laterna new --from-sample`, `laterna dev --input`, tests/NAME.jsonl
    #[arg(long, value_name = "F.jsonl", value_hint = clap::ValueHint::FilePath)]
    save: Option<PathBuf>,
}

/// Where in the topic to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum From {
    /// At the first event that there still is.
    Earliest,
    /// So many events before the end, over all partitions.
    Last(usize),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "earliest" {
            return Ok(Self::Earliest);
        }
        let last = text.strip_prefix('-').and_then(|number| number.parse().ok()).filter(|number| *number > 0);
        last.map(Self::Last)
            .ok_or_else(|| format!("{text:?}: `earliest` or a number of events before the end, as in -100, is wanted"))
    }
}

fn format_named(word: &str) -> Result<Format, String> {
    let names = || Format::ALL.map(Format::name).join(", ");
    Format::named(word).ok_or_else(|| format!("one of {} is wanted", names()))
}

/// Shows the events, and saves them where that is asked for.
pub(in crate::cli) async fn tap(global: &Global, options: Options) -> anyhow::Result<ExitCode> {
    let count = usize::try_from(options.count).unwrap_or(usize::MAX);
    let topic = Tapped::open_as(global, &options.topic, options.format)?;
    let from = options.from.unwrap_or(From::Last(count));
    let mut events = topic.read(from).await?;
    events.truncate(count);
    let lines: Vec<String> = events.iter().map(|(at, event)| write_line(at, event)).collect();
    lines.iter().for_each(|line| say(line));
    if lines.is_empty() {
        complain(&format!("the topic {} holds no event", options.topic));
    }
    if let Some(file) = options.save {
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        replace(&file, text.as_bytes()).with_context(|| format!("{} cannot be written", file.display()))?;
        complain(&format!("{} events written to {}", lines.len(), file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest events of a topic as lines, in the order of time.
pub(super) async fn newest(global: &Global, topic: &str, count: usize) -> anyhow::Result<Vec<String>> {
    let events = Tapped::open(global, topic)?.read(From::Last(count)).await?;
    Ok(events.iter().map(|(at, event)| write_line(at, event)).collect())
}

/// A topic of the configured source.
pub(super) struct Tapped {
    config: Config,
    topic: String,
    decoder: Decoder,
}

impl Tapped {
    pub(super) fn open(global: &Global, topic: &str) -> anyhow::Result<Self> {
        Self::open_as(global, topic, None)
    }

    /// With another format than the configured one.
    fn open_as(global: &Global, topic: &str, format: Option<Format>) -> anyhow::Result<Self> {
        let config = global.load()?.config;
        let registry = schema_registry(&config)?.map(Arc::new);
        if let Some(format) = format.filter(|format| format.needs_registry()) {
            let name = format.name();
            ensure!(
                registry.is_some(),
                "--format {name} is read with the schemas of a registry: set schema_registry.url, or SCHEMA_REGISTRY_URL"
            );
        }
        let (values, keys) = match format {
            // Then the key is shown as it is, too.
            Some(Format::Bytes) => (one(Format::Bytes), one(Format::Bytes)),
            Some(format) => (one(format), config.defaults.key_format.clone()),
            None => (config.defaults.format.clone(), config.defaults.key_format.clone()),
        };
        let decoder = Decoder::new(values, keys, registry, config.source == SourceKind::File);
        Ok(Self { config, topic: topic.to_owned(), decoder })
    }

    /// The events as a plugin is handed them. Those that cannot be decoded are told of, and left as they are.
    async fn decoded(
        &self,
        at: &TopicPartition,
        mut events: Vec<Event>,
    ) -> anyhow::Result<Vec<(TopicPartition, Event)>> {
        let mut found = Vec::with_capacity(events.len());
        while !events.is_empty() {
            let batch = Arc::new(EventBatch { partition: at.clone(), next_offset: i64::MAX, events });
            let decoded = self.decoder.decode(&batch).await?;
            found.extend(decoded.batch.events.iter().map(|event| (at.clone(), event.clone())));
            let Some(fault) = decoded.fault else { break };
            let mut rest = batch.events[decoded.batch.events.len()..].iter().cloned();
            if let Some(event) = rest.next() {
                complain(&format!("{at}@{}: {}", event.offset, fault.reason));
                found.push((at.clone(), event));
            }
            events = rest.collect();
        }
        Ok(found)
    }

    /// The events from there to the end as it is now, by their time; those of one partition in the order of their offsets.
    pub(super) async fn read(&self, from: From) -> anyhow::Result<Vec<(TopicPartition, Event)>> {
        let mut events = match self.config.source {
            SourceKind::Kafka => self.read_kafka(from).await?,
            SourceKind::File => self.read_files().await?,
        };
        // Timestamps of one partition may go back; what counts there is the order of its log.
        let mut latest = HashMap::new();
        let mut ordered: Vec<(i64, (TopicPartition, Event))> = Vec::new();
        events.sort_by(|(a, first), (b, second)| (a, first.offset).cmp(&(b, second.offset)));
        for (at, event) in events {
            let time = latest.entry(at.clone()).or_insert(i64::MIN);
            *time = event.timestamp_ms.max(*time);
            ordered.push((*time, (at, event)));
        }
        ordered.sort_by_key(|(time, _)| *time);
        let mut events: Vec<_> = ordered.into_iter().map(|(_, event)| event).collect();
        if let From::Last(count) = from {
            events.drain(..events.len().saturating_sub(count));
        }
        Ok(events)
    }

    /// What has come behind these offsets, of partitions that are not among them from their beginning.
    pub(super) async fn read_after(
        &self,
        ends: &BTreeMap<TopicPartition, i64>,
    ) -> anyhow::Result<Vec<(TopicPartition, Event)>> {
        let known = |at: &TopicPartition| ends.get(at).copied().unwrap_or(0);
        if self.config.source == SourceKind::File {
            let mut events = self.read_files().await?;
            events.retain(|(at, event)| event.offset >= known(at));
            return Ok(events);
        }
        let settings = kafka_settings(&self.config, vec![self.topic.clone()]);
        let mut found = Vec::new();
        for log in kafka_bounds(&settings).await? {
            let from = known(&log.partition).max(log.start);
            if from < log.end {
                let events = kafka_range(&settings, &log.partition, from, PIECE).await?;
                found.extend(self.decoded(&log.partition, events).await?);
            }
        }
        Ok(found)
    }

    async fn read_kafka(&self, from: From) -> anyhow::Result<Vec<(TopicPartition, Event)>> {
        let settings = kafka_settings(&self.config, vec![self.topic.clone()]);
        let mut found = Vec::new();
        for log in kafka_bounds(&settings).await? {
            let mut offset = match from {
                From::Earliest => log.start,
                From::Last(count) => log.start.max(log.end - i64::try_from(count).unwrap_or(i64::MAX)),
            };
            while offset < log.end {
                let mut events = kafka_range(&settings, &log.partition, offset, PIECE).await?;
                // Markers and holes of compaction may be all that is left.
                let Some(last) = events.last() else { break };
                offset = last.offset + 1;
                events.retain(|event| event.offset < log.end);
                found.extend(self.decoded(&log.partition, events).await?);
            }
        }
        Ok(found)
    }

    async fn read_files(&self) -> anyhow::Result<Vec<(TopicPartition, Event)>> {
        let folder = self.config.file.dir.join(&self.topic);
        ensure!(
            folder.is_dir(),
            "the folder {} does not exist: the configured source is files in {} (for Kafka: --set source=kafka)",
            folder.display(),
            self.config.file.dir.display()
        );
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
            let path = entry?.path();
            let number = path.file_stem().and_then(|name| name.to_str()?.parse().ok());
            if let (Some(number), Some("jsonl")) = (number, path.extension().and_then(|extension| extension.to_str())) {
                let at = TopicPartition::new(self.topic.as_str(), number);
                found.extend(self.decoded(&at, read_file(&path)?).await?);
            }
        }
        Ok(found)
    }
}

/// The same for all topics.
fn one(all: Format) -> TopicFormats {
    TopicFormats { all, topics: BTreeMap::new() }
}

fn read_file(path: &Path) -> anyhow::Result<Vec<Event>> {
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut found = Vec::new();
    for offset in 0.. {
        line.clear();
        let length =
            reader.read_until(b'\n', &mut line).with_context(|| format!("{} cannot be read", path.display()))?;
        // A last line without its end is still being written.
        if length == 0 || !line.ends_with(b"\n") {
            break;
        }
        match parse_line(line.trim_ascii_end(), offset) {
            Ok(event) => found.push(event),
            Err(error) => bail!("{}:{}: {error}", path.display(), offset + 1),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        assert_eq!("earliest".parse(), Ok(From::Earliest));
        assert_eq!("-100".parse(), Ok(From::Last(100)));
        for wrong in ["100", "-", "-0", "latest", ""] {
            assert!(wrong.parse::<From>().is_err(), "{wrong}");
        }
    }
}

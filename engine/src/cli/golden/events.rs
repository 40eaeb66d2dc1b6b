//! Golden events into the file source's folders: one line each, and where each line went.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use laterna::change::Topic;
use laterna::event::{Event, TopicPartition};
use laterna::source::parse_line;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The events of a golden file, each with its line.
pub(in crate::cli) struct Lines(pub(in crate::cli) Vec<Golden>);

impl Lines {
    pub(in crate::cli) fn line(&self, topic: &str, partition: i32, offset: i64) -> Option<usize> {
        let is_it =
            |one: &&Golden| *one.at.topic == *topic && one.at.partition == partition && one.event.offset == offset;
        self.0.iter().find(is_it).map(|one| one.line)
    }

    pub(in crate::cli) fn count(&self) -> usize {
        self.0.len()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    topic: Option<String>,
    #[serde(default)]
    partition: i32,
    /// Where a line that `tap` wrote was taken from; offsets of golden events count anew.
    #[serde(default, rename = "offset")]
    _offset: Option<i64>,
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    value: &'a RawValue,
    #[serde(borrow, default)]
    headers: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
}

/// Without it, `null` would count as a missing value.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<&'de RawValue, D::Error> {
    <&RawValue>::deserialize(deserializer)
}

/// A golden event.
pub(in crate::cli) struct Golden {
    /// The line it stands in, from 1.
    pub(in crate::cli) line: usize,
    /// Where it stands in the log.
    pub(in crate::cli) at: TopicPartition,
    /// The same as the file source reads it.
    pub(in crate::cli) text: String,
    pub(in crate::cli) event: Event,
}

/// Reads golden events; those without a topic are of `topic`. Offsets count from 0 in each partition.
pub(in crate::cli) fn read(text: &str, topic: &str) -> anyhow::Result<Vec<Golden>> {
    let mut ends: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        let event: Line<'_> = serde_json::from_str(line).with_context(|| format!("line {number}"))?;
        if event.partition < 0 {
            bail!("line {number}: partition {} is negative", event.partition);
        }
        let at = TopicPartition::new(event.topic.as_deref().unwrap_or(topic), event.partition);
        let end = ends.entry(at.clone()).or_default();
        let text = source_line(&event);
        let event = parse_line(text.as_bytes(), *end).map_err(|error| anyhow::anyhow!("line {number}: {error}"))?;
        *end += 1;
        found.push(Golden { line: number, at, text, event });
    }
    Ok(found)
}

/// Writes every event to `dir/TOPIC/PARTITION.jsonl`; topics without events get an empty first partition.
pub(in crate::cli) fn split(text: &str, topics: &[Topic], dir: &Path) -> anyhow::Result<Lines> {
    let first = topics.first().context("the plugin reads no topic")?;
    let events = read(text, &first.name)?;
    let mut files: BTreeMap<(String, i32), String> = BTreeMap::new();
    for Golden { line, at, text, .. } in &events {
        ensure!(
            topics.iter().any(|known| *known.name == *at.topic),
            "line {line}: the plugin does not read the topic {:?}; it reads {}",
            at.topic,
            topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>().join(", ")
        );
        let file = files.entry((at.topic.to_string(), at.partition)).or_default();
        file.push_str(text);
        file.push('\n');
    }
    for topic in topics {
        files.entry((topic.name.clone(), 0)).or_default();
    }
    for ((topic, partition), file) in &files {
        let folder = dir.join(topic);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("{partition}.jsonl")), file)?;
    }
    Ok(Lines(events))
}

/// The event as the file source reads it: a document becomes its compact text.
fn source_line(event: &Line<'_>) -> String {
    let mut fields = Vec::new();
    let mut push = |name: &str, text: String| fields.push(format!("\"{name}\":{text}"));
    if let Some(key) = event.key {
        push("key", payload(key.get()));
    }
    push("value", payload(event.value.get()));
    if let Some(headers) = event.headers {
        push("headers", headers.get().to_owned());
    }
    if let Some(timestamp) = event.timestamp {
        push("timestamp", timestamp.get().to_owned());
    }
    format!("{{{}}}", fields.join(","))
}

fn payload(text: &str) -> String {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Bytes {
        #[serde(rename = "base64")]
        _base64: String,
    }
    let is_text = text.starts_with('"') || text == "null";
    if is_text || serde_json::from_str::<Bytes>(text).is_ok() {
        return text.to_owned();
    }
    serde_json::Value::String(compact(text)).to_string()
}

/// JSON without white space between its tokens; the order of keys and the digits of numbers stay.
fn compact(text: &str) -> String {
    let (mut in_string, mut is_escaped) = (false, false);
    let keep = |c: &char| {
        if in_string {
            let ends = *c == '"' && !is_escaped;
            is_escaped = *c == '\\' && !is_escaped;
            in_string = !ends;
            return true;
        }
        in_string = *c == '"';
        !c.is_ascii_whitespace()
    };
    text.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use laterna::change::Encoding;

    use super::*;

    fn topic(name: &str) -> Topic {
        Topic { name: name.into(), key: Encoding::Text, value: Encoding::Text, headers: Vec::new() }
    }

    #[test]
    fn documents_become_their_compact_text() {
        assert_eq!(compact(r#"{ "b" : [1.50, "a \" b\\" ] , "a": null }"#), r#"{"b":[1.50,"a \" b\\"],"a":null}"#);
        assert_eq!(payload(r#"{"base64":"AA=="}"#), r#"{"base64":"AA=="}"#);
        assert_eq!(payload(r#""text""#), r#""text""#);
        assert_eq!(payload("12"), r#""12""#);
        assert_eq!(payload(r#"{"base64":"AA==","x":1}"#), r#""{\"base64\":\"AA==\",\"x\":1}""#);
    }

    #[test]
    fn every_line_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let text = "{\"value\": {\"a\": 1}}\n\n{\"topic\":\"b\",\"partition\":2,\"key\":\"k\",\"value\":null,\"timestamp\":5}\n{\"value\":\"x\"}\n";
        let lines = split(text, &[topic("a"), topic("b")], dir.path()).unwrap();
        assert_eq!(
            (lines.count(), lines.line("a", 0, 1), lines.line("b", 2, 0), lines.line("b", 0, 0)),
            (3, Some(4), Some(3), None)
        );
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("a/0.jsonl"), "{\"value\":\"{\\\"a\\\":1}\"}\n{\"value\":\"x\"}\n");
        assert_eq!(read("b/2.jsonl"), "{\"key\":\"k\",\"value\":null,\"timestamp\":5}\n");
        assert_eq!(read("b/0.jsonl"), "");
    }

    #[test]
    fn wrong_lines_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for (text, expected) in [
            ("{\"value\":1}\n{\"key\":\"a\"}", "line 2"),
            ("{\"valu\":1}", "line 1"),
            ("{\"topic\":\"zzz\",\"value\":1}", "does not read the topic"),
            ("{\"partition\":-1,\"value\":1}", "negative"),
        ] {
            let error = split(text, &[topic("a")], dir.path()).map(|_| ()).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}

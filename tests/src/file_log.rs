//! Topics as folders of JSON lines: written for the engine's file source, and read back for the oracle.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::kafka_log::Record;
use crate::load::Draft;
use crate::oracle::Log;

/// Appends to one partition's file.
#[derive(Debug)]
pub struct FileSender {
    folder: PathBuf,
    files: BTreeMap<i32, File>,
}

impl FileSender {
    /// A writer of `dir/topic/`.
    ///
    /// # Panics
    /// The folder cannot be made.
    pub fn new(dir: &Path, topic: &str) -> Self {
        let folder = dir.join(topic);
        std::fs::create_dir_all(&folder).expect("create the topic's folder");
        Self { folder, files: BTreeMap::new() }
    }

    /// The file of a partition.
    pub fn path(&self, partition: i32) -> PathBuf {
        self.folder.join(format!("{partition}.jsonl"))
    }

    /// Appends bytes as they are.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn raw(&mut self, partition: i32, bytes: &[u8]) {
        let path = self.path(partition);
        let open = || OpenOptions::new().create(true).append(true).open(path).expect("open the partition's file");
        self.files.entry(partition).or_insert_with(open).write_all(bytes).expect("append");
    }

    /// Appends events in one write; partition 0 where the draft names none.
    pub fn send(&mut self, drafts: &[Draft]) {
        let mut lines: BTreeMap<i32, String> = BTreeMap::new();
        for draft in drafts {
            let line = lines.entry(draft.partition.unwrap_or(0)).or_default();
            line.push_str(&Self::line(draft));
            line.push('\n');
        }
        for (partition, text) in lines {
            self.raw(partition, text.as_bytes());
        }
    }

    /// An event as a line, without its end.
    pub fn line(draft: &Draft) -> String {
        let mut object = json!({ "timestamp": 1_767_225_600_000_i64 });
        if let Some(key) = &draft.key {
            object["key"] = payload(key);
        }
        if let Some(value) = &draft.value {
            object["value"] = payload(value);
        }
        object.to_string()
    }
}

fn payload(bytes: &[u8]) -> Value {
    String::from_utf8(bytes.to_vec()).expect("the load writes UTF-8").into()
}

/// Reads a topic's folder.
#[derive(Debug)]
pub struct FileLog {
    folder: PathBuf,
    /// The records, and how many bytes of the file they take.
    partitions: BTreeMap<i32, (Vec<Record>, u64)>,
}

impl FileLog {
    /// A reader of `dir/topic/`.
    pub fn new(dir: &Path, topic: &str) -> Self {
        Self { folder: dir.join(topic), partitions: BTreeMap::new() }
    }

    /// Reads on from where it stopped.
    fn read(&mut self, partition: i32) {
        let (records, position) = self.partitions.entry(partition).or_default();
        let Ok(mut file) = File::open(self.folder.join(format!("{partition}.jsonl"))) else { return };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(*position))
            .and_then(|_| file.read_to_end(&mut bytes))
            .expect("read the partition's file");
        // A last line without its end is not there yet.
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        *position += whole as u64;
        for line in std::str::from_utf8(&bytes[..whole]).expect("UTF-8").lines() {
            let object: Value = serde_json::from_str(line).expect("a line is JSON");
            let part = |name: &str| object.get(name).and_then(Value::as_str).map(|text| text.as_bytes().to_vec());
            let timestamp_ms = object["timestamp"].as_i64().unwrap_or(-1);
            let (key, value, offset) = (part("key"), part("value"), records.len() as i64);
            records.push(Record { offset, timestamp_ms, key, value, headers: Vec::new() });
        }
    }
}

impl Log for FileLog {
    fn range(&mut self, partition: i32, from: i64, to: i64) -> &[Record] {
        if self.partitions.get(&partition).is_none_or(|(records, _)| (records.len() as i64) < to) {
            self.read(partition);
        }
        let records = &self.partitions[&partition].0;
        let bound = |offset: i64| (offset.max(0) as usize).min(records.len());
        &records[bound(from)..bound(to)]
    }

    fn ends(&mut self) -> BTreeMap<i32, i64> {
        let names = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let numbers: Vec<i32> =
            names.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".jsonl")?.parse().ok()).collect();
        for number in &numbers {
            self.read(*number);
        }
        numbers.into_iter().map(|number| (number, self.partitions[&number].0.len() as i64)).collect()
    }
}

//! A folder of JSON-lines files: `<dir>/<topic>/<partition>.jsonl`, one event a line, tailed.
//!
//! An event's offset is the number of its line, from 0. Files are logs: lines are only ever appended. A last line without
//! its end is waited for. Invariants: files are read in pieces of bounded size, into the same bounded buffers as Kafka's; a
//! file is opened for each piece, so that one that an editor replaced is read on by its name; a line that can't be read
//! halts, and is never skipped.

mod line;

use std::fs::File;
use std::io::{ErrorKind as IoKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use notify::{RecursiveMode, Watcher as _};

use super::buffer::{Outlet, Shared, Tag};
use super::{LogEnd, Source, SourceError, SourceEvent};
use crate::checkpoint::LogBounds;
use crate::error::{ErrorKind, Halt, HaltAt};
use crate::event::{Event, EventBatch, TopicPartition};

pub use line::{parse_line, write_line};

/// Looked at anew at least this often, whatever the file system tells.
const RESCAN_EVERY: Duration = Duration::from_millis(250);
/// How much is read in one piece, and how long a line may be.
const PIECE_BYTES: usize = 1 << 20;
const LINE_BYTES_MAX: usize = 64 << 20;
/// A file that is shorter than before for this long was cut, and is not being written anew.
const SHORTER_FOR: Duration = Duration::from_secs(1);
/// Every so many lines, the place of one is kept, so that a restart need not read from the beginning.
const MARK_LINES: i64 = 4096;

/// How a projection generation reads files.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// The folder with a folder for each topic.
    pub dir: PathBuf,
    /// Names of the topics, at least one.
    pub topics: Vec<String>,
    /// Bytes of events that are buffered, of all partitions together.
    pub buffer_bytes_max: usize,
}

/// Files as a source of one projection generation.
pub struct FileSource {
    shared: Arc<Shared>,
    closing: Arc<AtomicBool>,
    outlet: Outlet,
}

impl FileSource {
    /// Starts the thread that reads. A missing folder is no error: it is waited for, and told as [`SourceEvent::Failed`].
    ///
    /// # Errors
    /// Fatal ones: no topic, a topic's name that is not the name of a folder, no thread.
    pub fn start(settings: FileSettings) -> Result<Self, SourceError> {
        if settings.topics.is_empty() {
            return Err(error(
                ErrorKind::Fatal,
                "no_topics",
                "the projection names no topic",
                "name one in the plugin",
            ));
        }
        if let Some(topic) = settings.topics.iter().find(|topic| !is_folder_name(topic)) {
            let reason = format!("topic {topic:?} can't be the name of a folder");
            return Err(error(ErrorKind::Fatal, "bad_topic_name", reason, "use letters, digits, '.', '_' and '-'"));
        }
        let (shared, outlet) = Shared::new(settings.buffer_bytes_max);
        let closing = Arc::new(AtomicBool::new(false));
        let mut reader = Reader::new(settings, shared.clone(), closing.clone());
        std::thread::Builder::new().name("files".into()).spawn(move || reader.run()).map_err(|e| {
            error(ErrorKind::Fatal, "no_thread", format!("no thread for reading files: {e}"), "raise the limits")
        })?;
        Ok(Self { shared, closing, outlet })
    }
}

impl Source for FileSource {
    fn next(&mut self) -> BoxFuture<'_, SourceEvent> {
        Box::pin(self.outlet.next())
    }

    fn take(
        &mut self,
        partition: &TopicPartition,
        events_max: usize,
        bytes_max: usize,
        before: i64,
    ) -> Option<EventBatch> {
        self.outlet.take(partition, events_max, bytes_max, before)
    }

    fn restart(&mut self, partition: &TopicPartition, offset: i64) {
        self.outlet.redirect(partition, Some(offset));
    }

    fn release(&mut self, partition: &TopicPartition) {
        self.outlet.redirect(partition, None);
    }

    /// Files have no group to tell.
    fn committed(&mut self, _: &[(TopicPartition, i64)]) {}

    fn ends(&self) -> Vec<LogEnd> {
        self.outlet.ends()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        // Dropping it ends the thread at its next look, and the thread holds nothing that others wait for.
        Box::pin(async move { drop(self) })
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        self.shared.wake();
    }
}

fn is_folder_name(topic: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !topic.is_empty() && topic != "." && topic != ".." && topic.chars().all(plain)
}

/// One file that is tailed.
struct Tail {
    partition: TopicPartition,
    path: PathBuf,
    /// How many complete lines there are, and where the last one ends.
    lines: i64,
    bytes: u64,
    /// The place of every 4,096th line: the n-th is that of line n * 4,096.
    marks: Vec<u64>,
    /// Since when the file is shorter than what was counted.
    shorter_since: Option<Instant>,
    /// Since when what is to be read is beyond its end.
    beyond_since: Option<Instant>,
    /// What is being read, and from where: the tag, the line, and its place.
    cursor: Option<(Tag, i64, u64)>,
    announced: bool,
    /// Nothing is read of it until the runner restarts it.
    failed: bool,
}

struct Reader {
    settings: FileSettings,
    shared: Arc<Shared>,
    closing: Arc<AtomicBool>,
    tails: Vec<Tail>,
    /// The transient failure that was told last.
    trouble: Option<SourceError>,
    /// Something changed on the disk.
    stirred: Arc<AtomicBool>,
    piece: Vec<u8>,
}

impl Reader {
    fn new(settings: FileSettings, shared: Arc<Shared>, closing: Arc<AtomicBool>) -> Self {
        let stirred = Arc::new(AtomicBool::new(false));
        Self { settings, shared, closing, tails: Vec::new(), trouble: None, stirred, piece: Vec::new() }
    }

    fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn run(&mut self) {
        let mut watcher = None;
        while !self.closing() {
            if watcher.is_none() {
                watcher = self.watcher();
            }
            self.scan();
            let until = Instant::now() + RESCAN_EVERY;
            let version = self.shared.lock().wishes_version();
            // Reads all that is there, but looks around now and then; then waits for more, or for room.
            let mut more = true;
            while more && !self.closing() && Instant::now() < until {
                more = self.read();
            }
            if !more {
                let full = self.shared.lock().full();
                self.shared.wait(until.saturating_duration_since(Instant::now()), |buffers| {
                    self.closing()
                        || buffers.wishes_version() != version
                        || (full && buffers.has_room())
                        || self.stirred.swap(false, Ordering::AcqRel)
                });
            }
        }
    }

    /// Wakes us when something changes in the folder. Where that can't be had, looking again and again does it.
    fn watcher(&self) -> Option<notify::RecommendedWatcher> {
        let (shared, stirred) = (Arc::downgrade(&self.shared), self.stirred.clone());
        let mut watcher = notify::recommended_watcher(move |change: notify::Result<notify::Event>| {
            // Our own reading is no news.
            if change.is_ok_and(|change| matches!(change.kind, notify::EventKind::Access(_))) {
                return;
            }
            stirred.store(true, Ordering::Release);
            if let Some(shared) = shared.upgrade() {
                shared.wake();
            }
        })
        .ok()?;
        watcher.watch(&self.settings.dir, RecursiveMode::Recursive).ok()?;
        Some(watcher)
    }

    /// Looks for new files and at the ends of known ones.
    fn scan(&mut self) {
        let (found, mut trouble) = self.find();
        for (partition, path) in found {
            if !self.tails.iter().any(|tail| tail.partition == partition) {
                self.tails.push(Tail::new(partition, path));
            }
        }
        let mut new = Vec::new();
        for tail in &mut self.tails {
            match tail.count(&self.shared) {
                Ok(()) if tail.announced => self.shared.lock().set_bounds(&tail.partition, None, Some(tail.lines)),
                Ok(()) => {
                    let partition = tail.partition.clone();
                    new.push(LogBounds { partition, start: 0, end: tail.lines, topic_id: None });
                    tail.announced = true;
                }
                Err(error) if error.kind == ErrorKind::Fatal => {
                    if !std::mem::replace(&mut tail.failed, true) {
                        self.shared.lock().freeze(&tail.partition);
                        self.shared.tell(SourceEvent::Failed(error));
                    }
                }
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        if !new.is_empty() {
            self.shared.announce(new);
        }
        self.tell_trouble(trouble);
    }

    fn tell_trouble(&mut self, trouble: Option<SourceError>) {
        let known = self.trouble.as_ref().map(|error| &error.halt);
        if known == trouble.as_ref().map(|error| &error.halt) {
            return;
        }
        self.trouble.clone_from(&trouble);
        self.shared.tell(trouble.map_or(SourceEvent::Recovered, SourceEvent::Failed));
    }

    /// The files of our topics, and what is in the way of others.
    fn find(&self) -> (Vec<(TopicPartition, PathBuf)>, Option<SourceError>) {
        let dir = &self.settings.dir;
        if !dir.is_dir() {
            let reason = format!("the folder {} with the events is missing", dir.display());
            let remedy = "create it, or correct `dir` in [file]";
            return (Vec::new(), Some(error(ErrorKind::Transient, "dir_missing", reason, remedy)));
        }
        let (mut found, mut trouble) = (Vec::new(), None);
        for topic in &self.settings.topics {
            trouble = trouble.or(find_topic(topic, &dir.join(topic), &mut found));
        }
        found.sort();
        (found, trouble)
    }

    /// Reads a piece of each file that is behind; true if there was anything.
    fn read(&mut self) -> bool {
        let mut any = false;
        let wishes = self.shared.lock().wishes();
        for wish in wishes {
            if self.shared.lock().full() || self.closing() {
                return false;
            }
            let Some(tail) = self.tails.iter_mut().find(|tail| tail.partition == wish.partition) else { continue };
            let Some(from) = wish.from else { continue };
            // What failed is wished no more, unless the runner restarts it.
            tail.failed = false;
            if let Some(fault) = tail.beyond(from) {
                tail.failed = true;
                self.shared.lock().freeze(&tail.partition);
                self.shared.tell(SourceEvent::Failed(fault));
            }
            if from >= tail.lines {
                continue;
            }
            match tail.read(wish.tag, from, &mut self.piece) {
                Ok((mut events, fault)) => {
                    any |= !events.is_empty();
                    let pushed = self.shared.lock().push(&tail.partition, wish.tag, &mut events);
                    if pushed.ready {
                        self.shared.tell_ready();
                    }
                    if let Some(fault) = fault {
                        tail.failed = true;
                        self.shared.lock().freeze(&tail.partition);
                        self.shared.tell(SourceEvent::Failed(fault));
                    }
                }
                // Told by the next look, if it lasts.
                Err(error) => tracing::debug!(path = %tail.path.display(), %error, "the file can't be read now"),
            }
        }
        any
    }
}

impl Tail {
    fn new(partition: TopicPartition, path: PathBuf) -> Self {
        Self {
            partition,
            path,
            lines: 0,
            bytes: 0,
            marks: vec![0],
            shorter_since: None,
            beyond_since: None,
            cursor: None,
            announced: false,
            failed: false,
        }
    }

    /// Counts the complete lines that came since the last look.
    fn count(&mut self, shared: &Shared) -> Result<(), SourceError> {
        if self.failed {
            return Ok(());
        }
        let mut file = File::open(&self.path).map_err(|e| unreadable(&self.path, &e))?;
        let size = file.metadata().map_err(|e| unreadable(&self.path, &e))?.len();
        if size < self.bytes {
            return self.shorter(shared);
        }
        self.shorter_since = None;
        if size == self.bytes {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.bytes)).map_err(|e| unreadable(&self.path, &e))?;
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(size - self.bytes).unwrap_or(PIECE_BYTES))];
        let mut at = self.bytes;
        loop {
            let read = file.read(&mut piece).map_err(|e| unreadable(&self.path, &e))?;
            if read == 0 {
                return Ok(());
            }
            for (index, _) in piece[..read].iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
                self.lines += 1;
                self.bytes = at + index as u64 + 1;
                if self.lines % MARK_LINES == 0 {
                    self.marks.push(self.bytes);
                }
            }
            at += read as u64;
        }
    }

    /// The file lost bytes: by an editor that writes it anew, or for good.
    fn shorter(&mut self, shared: &Shared) -> Result<(), SourceError> {
        let since = *self.shorter_since.get_or_insert_with(Instant::now);
        if since.elapsed() < SHORTER_FOR {
            return Ok(());
        }
        let position = shared.lock().position(&self.partition).unwrap_or(0);
        let mut counted = Self::new(self.partition.clone(), self.path.clone());
        counted.count(shared)?;
        if counted.lines < position {
            let reason = format!(
                "{} has {} line(s) now, but {position} were read: lines were removed",
                self.path.display(),
                counted.lines
            );
            let remedy = "put the lines back, or rebuild the projection";
            return Err(self.halt("offset_beyond_end", counted.lines, reason, remedy));
        }
        counted.announced = self.announced;
        *self = counted;
        Ok(())
    }

    /// What is wrong with a file that is to be read from beyond its end: lines that were applied are gone. Its lines have been counted
    /// since it was first seen so, and an editor that writes it anew has had its time.
    fn beyond(&mut self, from: i64) -> Option<SourceError> {
        if from <= self.lines {
            self.beyond_since = None;
            return None;
        }
        let since = *self.beyond_since.get_or_insert_with(Instant::now);
        if since.elapsed() < SHORTER_FOR {
            return None;
        }
        self.beyond_since = None;
        let reason =
            format!("{} has {} line(s), but {from} were applied: lines were removed", self.path.display(), self.lines);
        Some(self.halt("offset_beyond_end", from, reason, "put the lines back, or rebuild the projection"))
    }

    /// Reads complete lines from line `from` on, about a piece of them. With the events comes what is wrong with the line after
    /// them, if anything.
    fn read(&mut self, tag: Tag, from: i64, piece: &mut Vec<u8>) -> std::io::Result<(Vec<Event>, Option<SourceError>)> {
        let (mut line, mut at) = match self.cursor {
            Some((cursor_tag, line, at)) if cursor_tag == tag && line == from => (line, at),
            _ => {
                let mark = usize::try_from(from / MARK_LINES).unwrap_or(0).min(self.marks.len().saturating_sub(1));
                (mark as i64 * MARK_LINES, self.marks.get(mark).copied().unwrap_or(0))
            }
        };
        let mut file = File::open(&self.path)?;
        let mut events = Vec::new();
        while events.is_empty() && line < self.lines {
            let fault = match self.piece(&mut file, at, piece)? {
                Err(fault) => Some(fault),
                Ok(len) => {
                    let mut fault = None;
                    let mut rest = &piece[1..=len];
                    while let (Some(end), None) = (rest.iter().position(|byte| *byte == b'\n'), &fault) {
                        if line >= self.lines {
                            break;
                        }
                        if line >= from {
                            match parse_line(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]), line) {
                                Ok(event) => events.push(event),
                                Err(what) => fault = Some(self.bad_line(line, &what)),
                            }
                        }
                        if fault.is_none() {
                            line += 1;
                            at += end as u64 + 1;
                            rest = &rest[end + 1..];
                        }
                    }
                    fault
                }
            };
            if fault.is_some() {
                return Ok((events, fault));
            }
        }
        self.cursor = Some((tag, line, at));
        Ok((events, None))
    }

    /// Fills `piece` with the byte before `at` and the bytes from `at` on, with one whole line at least, and gives the
    /// number of the latter.
    fn piece(&self, file: &mut File, at: u64, piece: &mut Vec<u8>) -> std::io::Result<Result<usize, SourceError>> {
        let mut want = PIECE_BYTES;
        loop {
            piece.clear();
            if at == 0 {
                piece.push(b'\n');
            }
            file.seek(SeekFrom::Start(at.saturating_sub(1)))?;
            file.by_ref().take(want as u64).read_to_end(piece)?;
            // What stands before a line is the end of another one, or the file is not the one that was counted.
            if piece.first() != Some(&b'\n') {
                let line = self.cursor.map_or(0, |(_, line, _)| line);
                let reason = format!("{}: lines before line {} were changed", self.path.display(), line + 1);
                let remedy = "files of events are only appended to: put the lines back, or rebuild the projection";
                return Ok(Err(self.halt("log_rewritten", line, reason, remedy)));
            }
            let len = piece.len() - 1;
            if piece[1..].contains(&b'\n') {
                return Ok(Ok(len));
            }
            if len + 1 < want {
                return Err(std::io::Error::new(IoKind::UnexpectedEof, "lines that were counted are gone"));
            }
            if want >= LINE_BYTES_MAX {
                let line = self.cursor.map_or(0, |(_, line, _)| line);
                return Ok(Err(self.bad_line(line, &format!("it is longer than {LINE_BYTES_MAX} bytes"))));
            }
            want *= 2;
        }
    }

    fn bad_line(&self, line: i64, what: &str) -> SourceError {
        let reason = format!("{} line {}: {what}", self.path.display(), line + 1);
        self.halt("bad_line", line, reason, "correct the line, then resume the projection")
    }

    fn halt(&self, code: &'static str, line: i64, reason: String, remedy: &str) -> SourceError {
        let (topic, partition) = (self.partition.topic.to_string(), self.partition.partition);
        let mut error = error(ErrorKind::Fatal, code, reason, remedy);
        error.halt.at = Some(HaltAt { topic, partition, offset: line, key: None });
        error
    }
}

/// The files of a topic. What is in the way of one is told, and the others are read.
fn find_topic(topic: &str, folder: &Path, found: &mut Vec<(TopicPartition, PathBuf)>) -> Option<SourceError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == IoKind::NotFound => {
            let reason = format!("the folder {} of topic {topic} is missing", folder.display());
            return Some(error(ErrorKind::Transient, "topic_missing", reason, "create it, with a file 0.jsonl"));
        }
        Err(e) => return Some(unreadable(folder, &e)),
    };
    let mut trouble = None;
    for entry in entries {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(e) => return trouble.or(Some(unreadable(folder, &e))),
        };
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match stem.parse::<i32>().ok().filter(|number| *number >= 0 && number.to_string() == stem) {
            Some(number) => found.push((TopicPartition::new(topic, number), path)),
            None => {
                let reason = format!("{} is not named after a partition", path.display());
                let remedy = "name it 0.jsonl, 1.jsonl and so on, or move it away";
                trouble = trouble.or(Some(error(ErrorKind::Transient, "bad_file_name", reason, remedy)));
            }
        }
    }
    trouble
}

fn unreadable(path: &Path, said: &std::io::Error) -> SourceError {
    let reason = format!("{} can't be read: {said}", path.display());
    error(ErrorKind::Transient, "file_unreadable", reason, "give the engine the right to read it")
}

fn error(kind: ErrorKind, code: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> SourceError {
    SourceError { kind, halt: Halt { code, reason: reason.into(), remedy: remedy.into(), at: None } }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn append(dir: &Path, file: &str, text: &str) {
        let path = dir.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::options().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn lines(numbers: std::ops::Range<usize>) -> String {
        numbers.map(|n| format!("{{\"key\":\"k{n}\",\"value\":{n}}}\n")).collect()
    }

    fn start(dir: &Path, buffer_bytes_max: usize) -> FileSource {
        let settings = FileSettings { dir: dir.to_owned(), topics: vec!["orders".into()], buffer_bytes_max };
        FileSource::start(settings).unwrap()
    }

    /// Starts what is assigned at `from`, and takes until the partition's position is `until`.
    async fn take_until(source: &mut FileSource, at: &TopicPartition, from: i64, until: i64) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        let mut next = from;
        loop {
            while let Some(batch) = source.take(at, 1000, 1 << 20, i64::MAX) {
                assert_eq!(batch.events.first().map_or(next, |event| event.offset), next);
                next = batch.next_offset;
                events.extend(batch.events);
            }
            if next >= until {
                return events;
            }
            match source.next().await {
                SourceEvent::Assigned { partitions, reply } => {
                    reply.start(partitions.into_iter().map(|bounds| (bounds.partition, from)).collect());
                }
                SourceEvent::Failed(error) if error.kind == ErrorKind::Fatal => panic!("{error}"),
                _ => {}
            }
        }
    }

    async fn failure(source: &mut FileSource) -> SourceError {
        loop {
            match source.next().await {
                SourceEvent::Assigned { partitions, reply } => {
                    reply.start(partitions.into_iter().map(|bounds| (bounds.partition, 0)).collect());
                }
                SourceEvent::Failed(error) => return error,
                _ => {}
            }
        }
    }

    #[tokio::test]
    async fn a_file_is_read_from_the_checkpoint_and_tailed() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), "orders/0.jsonl", &lines(0..10_000));
        let at = TopicPartition::new("orders", 0);
        let mut source = start(dir.path(), 64 << 10);
        let events = take_until(&mut source, &at, 9_000, 10_000).await;
        assert_eq!(events.len(), 1_000);
        assert_eq!(events[0].key.as_deref(), Some(b"k9000".as_slice()));
        // Half a line is waited for, and is one event when it's whole.
        append(dir.path(), "orders/0.jsonl", "{\"key\":\"half\"");
        append(dir.path(), "orders/0.jsonl", "}\n");
        let events = take_until(&mut source, &at, 10_000, 10_001).await;
        assert_eq!(events[0].key.as_deref(), Some(b"half".as_slice()));
        assert_eq!(source.ends()[0].end, Some(10_001));
        source.restart(&at, 4_500);
        assert_eq!(take_until(&mut source, &at, 4_500, 10_001).await.len(), 5_501);
    }

    #[tokio::test]
    async fn new_topics_and_partitions_are_assigned_and_a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("events");
        let mut source = start(&missing, 1 << 20);
        let error = failure(&mut source).await;
        assert_eq!((error.kind, error.halt.code), (ErrorKind::Transient, "dir_missing"));
        assert!(error.halt.reason.contains(missing.to_str().unwrap()), "{error}");
        append(&missing, "orders/1.jsonl", &lines(0..1));
        take_until(&mut source, &TopicPartition::new("orders", 1), 0, 1).await;
        append(&missing, "orders/0.jsonl", &lines(0..2));
        take_until(&mut source, &TopicPartition::new("orders", 0), 0, 2).await;
        // What does not belong there is told, and does not stand in the way of the others.
        append(&missing, "orders/stray.jsonl", &lines(0..1));
        assert_eq!(failure(&mut source).await.halt.code, "bad_file_name");
        append(&missing, "orders/2.jsonl", &lines(0..3));
        take_until(&mut source, &TopicPartition::new("orders", 2), 0, 3).await;
    }

    #[tokio::test]
    async fn a_bad_line_halts_with_its_file_and_number_and_what_came_before_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), "orders/0.jsonl", &(lines(0..3) + "{\"key\":5}\n" + &lines(4..5)));
        let mut source = start(dir.path(), 1 << 20);
        let error = failure(&mut source).await;
        assert_eq!((error.kind, error.halt.code), (ErrorKind::Fatal, "bad_line"));
        assert!(error.halt.reason.contains("0.jsonl line 4: key must be"), "{error}");
        assert_eq!(error.halt.at.unwrap().offset, 3);
        let batch = source.take(&TopicPartition::new("orders", 0), 1000, 1 << 20, i64::MAX).unwrap();
        assert_eq!((batch.events.len(), batch.next_offset), (3, 3));
    }

    #[tokio::test]
    async fn lines_that_vanish_halt_and_an_editor_that_writes_the_file_anew_does_not() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), "orders/0.jsonl", &lines(0..10));
        let at = TopicPartition::new("orders", 0);
        let mut source = start(dir.path(), 1 << 20);
        take_until(&mut source, &at, 0, 10).await;
        std::fs::write(dir.path().join("orders/new"), lines(0..12)).unwrap();
        std::fs::rename(dir.path().join("orders/new"), dir.path().join("orders/0.jsonl")).unwrap();
        take_until(&mut source, &at, 10, 12).await;
        std::fs::write(dir.path().join("orders/0.jsonl"), lines(0..5)).unwrap();
        let error = failure(&mut source).await;
        assert_eq!((error.kind, error.halt.code), (ErrorKind::Fatal, "offset_beyond_end"));
    }

    #[tokio::test]
    async fn a_checkpoint_beyond_the_end_is_judged_by_lines_that_are_counted_after_it() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), "orders/0.jsonl", &lines(0..5));
        let at = TopicPartition::new("orders", 0);
        let mut source = start(dir.path(), 1 << 20);
        let SourceEvent::Assigned { partitions, reply } = source.next().await else { panic!("expected partitions") };
        assert_eq!(partitions[0].end, 5);
        // Somebody else has applied what was written since.
        append(dir.path(), "orders/0.jsonl", &lines(5..8));
        reply.start(vec![(at.clone(), 8)]);
        append(dir.path(), "orders/0.jsonl", &lines(8..9));
        assert_eq!(take_until(&mut source, &at, 8, 9).await.len(), 1);
        // Nobody can have applied these.
        source.restart(&at, 20);
        let error = failure(&mut source).await;
        assert_eq!((error.kind, error.halt.code), (ErrorKind::Fatal, "offset_beyond_end"));
        assert!(error.halt.reason.contains("9 line(s), but 20"), "{error}");
    }

    #[tokio::test]
    async fn the_buffer_is_bounded_while_nothing_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), "orders/0.jsonl", &lines(0..200_000));
        let at = TopicPartition::new("orders", 0);
        let mut source = start(dir.path(), 1 << 20);
        loop {
            match source.next().await {
                SourceEvent::Ready => break,
                SourceEvent::Assigned { partitions, reply } => {
                    reply.start(partitions.into_iter().map(|bounds| (bounds.partition, 0)).collect());
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(source.shared.wait(Duration::from_secs(20), super::super::buffer::Buffers::full));
        assert_eq!(take_until(&mut source, &at, 0, 200_000).await.len(), 200_000);
    }
}

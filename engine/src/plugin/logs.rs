//! What plugins say: bounded, escaped, counted. A plugin may write as fast as it can; what is kept is little.
//!
//! Invariants: a kept line is at most [`LINE_BYTES_MAX`] bytes and holds no control characters; at most `lines_per_second_max`
//! lines a second are kept and passed to the engine's log; at most [`LINES_KEPT`] stand in memory; what was left out is
//! counted and said.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::PluginLog;

/// The longest line in bytes, escapes included.
pub(super) const LINE_BYTES_MAX: usize = 2048;
/// How many lines are kept until somebody takes them.
const LINES_KEPT: usize = 256;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// The log of one plugin, shared by all of its instances.
#[derive(Debug)]
pub(super) struct Logs {
    lines_per_second_max: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    projection: String,
    kept: VecDeque<PluginLog>,
    second: Instant,
    in_second: u32,
    dropped_in_second: u64,
    dropped: u64,
}

impl Logs {
    /// An empty log. `projection` is a name until the plugin has told its own.
    pub(super) fn new(projection: String, lines_per_second_max: u32) -> Self {
        let inner = Inner {
            projection,
            kept: VecDeque::new(),
            second: Instant::now(),
            in_second: 0,
            dropped_in_second: 0,
            dropped: 0,
        };
        Self { lines_per_second_max, inner: Mutex::new(inner) }
    }

    /// The name under which lines appear in the engine's log.
    pub(super) fn rename(&self, projection: &str) {
        self.lock().projection = projection.to_owned();
    }

    /// Takes a line, or counts it as dropped.
    pub(super) fn write(&self, level: Level, message: &str) {
        let mut inner = self.lock();
        if inner.second.elapsed() >= Duration::from_secs(1) {
            inner.next_second();
        }
        if inner.in_second >= self.lines_per_second_max {
            inner.dropped_in_second += 1;
            inner.dropped += 1;
            return;
        }
        inner.in_second += 1;
        let message = for_people(message, LINE_BYTES_MAX);
        inner.keep(level, message);
    }

    /// The lines since the last call, oldest first.
    pub(super) fn take(&self) -> Vec<PluginLog> {
        let mut inner = self.lock();
        if inner.second.elapsed() >= Duration::from_secs(1) {
            inner.next_second();
        }
        inner.kept.drain(..).collect()
    }

    /// How many lines were left out since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A log is whole after every statement, so a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn next_second(&mut self) {
        self.second = Instant::now();
        self.in_second = 0;
        let dropped = std::mem::take(&mut self.dropped_in_second);
        if dropped > 0 {
            self.keep(Level::Warn, format!("{dropped} lines of this plugin were left out: it writes too many"));
        }
    }

    fn keep(&mut self, level: Level, message: String) {
        let projection = self.projection.as_str();
        match level {
            Level::Trace => tracing::trace!(target: "plugin", projection, "{message}"),
            Level::Debug => tracing::debug!(target: "plugin", projection, "{message}"),
            Level::Info => tracing::info!(target: "plugin", projection, "{message}"),
            Level::Warn => tracing::warn!(target: "plugin", projection, "{message}"),
            Level::Error => tracing::error!(target: "plugin", projection, "{message}"),
        }
        if self.kept.len() == LINES_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(PluginLog { level: level.name(), message });
    }
}

/// Bytes that a plugin writes to stdout or stderr, which need be neither lines nor UTF-8, as lines.
#[derive(Debug, Default)]
pub(super) struct LineBuffer(Vec<u8>);

impl LineBuffer {
    /// Takes bytes and hands over each line that they end. A line beyond [`LINE_BYTES_MAX`] is handed over in pieces.
    pub(super) fn write(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX.saturating_sub(self.0.len()).max(1);
            let window = &bytes[..bytes.len().min(room)];
            let end = window.iter().position(|&b| b == b'\n');
            let taken = end.unwrap_or(window.len());
            self.0.extend_from_slice(&window[..taken]);
            bytes = &bytes[taken + usize::from(end.is_some())..];
            if end.is_some() || self.0.len() >= LINE_BYTES_MAX {
                self.flush(&mut line);
            }
        }
    }

    /// Hands over what stands without a line end.
    pub(super) fn flush(&mut self, mut line: impl FnMut(&str)) {
        if !self.0.is_empty() {
            line(&String::from_utf8_lossy(&self.0));
            self.0.clear();
        }
    }
}

/// A plugin's words for a terminal, a log or a page: control characters and what turns the direction of writing escaped,
/// at most `bytes_max` bytes, cut with an ellipsis.
pub(super) fn for_people(text: &str, bytes_max: usize) -> String {
    const ELLIPSIS: char = '…';
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for c in text.trim_end().chars() {
        let start = out.len();
        if must_escape(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() + ELLIPSIS.len_utf8() > bytes_max {
            out.truncate(start);
            out.push(ELLIPSIS);
            break;
        }
    }
    out
}

fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_bounded_and_counted() {
        let logs = Logs::new("p".into(), 10);
        for i in 0..100_000 {
            logs.write(Level::Info, &format!("line {i} {}", "x".repeat(100)));
        }
        let kept = logs.take();
        assert!(kept.len() <= LINES_KEPT);
        assert_eq!(kept[0].message.split(' ').nth(1), Some("0"));
        assert!(logs.dropped() > 90_000);
    }

    #[test]
    fn escapes_cannot_forge_lines_or_colours() {
        assert_eq!(for_people("a\nb\x1b[31mc\u{202E}d\u{9b}", 100), r"a\nb\u{1b}[31mc\u{202e}d\u{9b}");
        let long = for_people(&"é".repeat(5000), LINE_BYTES_MAX);
        assert!(long.len() <= LINE_BYTES_MAX && long.ends_with('…'));
        let controls = for_people(&"\x01".repeat(5000), LINE_BYTES_MAX);
        assert!(controls.len() <= LINE_BYTES_MAX);
    }

    #[test]
    fn bytes_become_lines() {
        let mut lines = Vec::new();
        let mut buffer = LineBuffer::default();
        for piece in [b"pan".as_slice(), b"ic\nat ", b"x\xff", b"\n\n", &[b'y'; 3 * LINE_BYTES_MAX]] {
            buffer.write(piece, |l| lines.push(l.to_owned()));
        }
        buffer.flush(|l| lines.push(l.to_owned()));
        assert_eq!(lines[0], "panic");
        assert_eq!(lines[1], "at x\u{FFFD}");
        assert!(lines[2..].iter().all(|l| l.len() <= LINE_BYTES_MAX));
        assert_eq!(lines[2..].iter().map(String::len).sum::<usize>(), 3 * LINE_BYTES_MAX);
    }
}

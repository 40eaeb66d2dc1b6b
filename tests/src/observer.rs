//! A reader that never stops: it takes snapshots as fast as it may, and holds each against the law, while faults happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::oracle::{Follower, Log, Projection};
use crate::sql::Reader;

/// Watches one projection from a thread of its own.
pub struct Observer {
    stop: Arc<AtomicBool>,
    snapshots: Arc<AtomicU64>,
    advanced: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Observer {
    /// Begins. `url` should be the database itself, not a proxy: what is looked at is what other readers see.
    pub fn start(url: &str, projection: Projection, log: impl Log + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (snapshots, advanced) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let watch = Watch { stop: stop.clone(), snapshots: snapshots.clone(), advanced: advanced.clone() };
        let (url, follower) = (url.to_owned(), Follower::new(projection, log));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(watch.run(&url, projection, follower))
        });
        Self { stop, snapshots, advanced, thread: Some(thread) }
    }

    /// How many snapshots have been held against the law.
    pub fn snapshots(&self) -> u64 {
        self.snapshots.load(Ordering::Relaxed)
    }

    /// How many of them stood at other checkpoints than the one before: the engine's progress as readers see it.
    pub fn advanced(&self) -> u64 {
        self.advanced.load(Ordering::Relaxed)
    }

    /// Panics at once where the law was broken.
    ///
    /// # Panics
    /// See above.
    pub fn still_right(&mut self) {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join();
        }
    }

    fn join(&mut self) {
        let outcome = self.thread.take().expect("joined once").join().expect("the observer runs");
        outcome.unwrap_or_else(|wrong| panic!("the law is broken in a snapshot: {wrong}"));
    }

    /// Ends, and panics where the law was broken or nothing was seen.
    ///
    /// # Panics
    /// See above.
    pub fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.is_some() {
            self.join();
        }
        assert!(self.advanced() > 1, "inconclusive: {} snapshots, {} advances", self.snapshots(), self.advanced());
        self.snapshots()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Watch {
    stop: Arc<AtomicBool>,
    snapshots: Arc<AtomicU64>,
    advanced: Arc<AtomicU64>,
}

impl Watch {
    async fn run<L: Log>(self, url: &str, projection: Projection, mut follower: Follower<L>) -> Result<(), String> {
        let mut reader = None;
        let mut before = None;
        while !self.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut connection = match reader.take() {
                Some(connection) => connection,
                // The database may be down on purpose.
                None => match Reader::connect(url).await {
                    Ok(connection) => connection,
                    Err(_) => continue,
                },
            };
            match connection.snapshot(projection.name, projection.quick).await {
                Ok(snapshot) => {
                    follower.check(&snapshot)?;
                    self.snapshots.fetch_add(1, Ordering::Relaxed);
                    let checkpoints = Some(snapshot.checkpoints);
                    self.advanced.fetch_add(u64::from(checkpoints != before), Ordering::Relaxed);
                    before = checkpoints;
                    reader = Some(connection);
                }
                // Not there yet, at the start of a first engine; a relation that vanishes later breaks the promise.
                Err(sqlx::Error::Database(error)) if missing(error.code().as_deref(), error.message()) => {
                    if self.snapshots() > 0 {
                        return Err(format!("a table that readers use is gone: {error}"));
                    }
                    reader = Some(connection);
                }
                // Cut, restarting, busy: a new connection.
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn snapshots(&self) -> u64 {
        self.snapshots.load(Ordering::Relaxed)
    }
}

fn missing(code: Option<&str>, message: &str) -> bool {
    matches!(code, Some("42P01" | "3F000")) || message.starts_with("no such table")
}

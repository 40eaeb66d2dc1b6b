//! A connection's place. Pure bookkeeping: when all places are taken, the one that has been without a complete request for the longest
//! time makes room.
//!
//! So two thousand sockets that send nothing, or a byte a second, or read nothing, only push out each other: a client that sends a whole
//! request at once is the youngest, and while its request runs it cannot be pushed out. What can run for long (streams, waits) has
//! fewer places than there are connections (see `guard.rs`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// All places.
pub(super) struct Seats {
    seats: Mutex<HashMap<u64, Arc<Seat>>>,
    max: usize,
    quiet_max: Duration,
}

/// One connection's place.
pub(super) struct Seat {
    state: Mutex<State>,
    leave: Notify,
    quiet_max: Duration,
}

struct State {
    /// Since when it has had no running request: accepted, or the last one answered.
    since: Instant,
    running: usize,
    /// When a stream last took something; none where none runs.
    streamed: Option<Instant>,
    gone: bool,
}

/// A running request; while it lives, its connection keeps its place.
pub(super) struct Running {
    seat: Arc<Seat>,
}

impl Seats {
    /// At most `max` connections; each may be without a running request, or have a stream that takes nothing, for `quiet_max`.
    pub(super) fn new(max: usize, quiet_max: Duration) -> Arc<Self> {
        Arc::new(Self { seats: Mutex::default(), max, quiet_max })
    }

    /// A place for a new connection; none where every connection has a running request.
    pub(super) fn take(&self, id: u64) -> Option<Arc<Seat>> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        while seats.len() >= self.max {
            let oldest = seats.iter().filter_map(|(id, seat)| Some((seat.idle_since()?, *id))).min()?;
            // It may have got a request in the meantime: then the next one.
            if seats.get(&oldest.1).is_some_and(|seat| seat.push_out()) {
                seats.remove(&oldest.1);
            }
        }
        let state = State { since: Instant::now(), running: 0, streamed: None, gone: false };
        let seat = Arc::new(Seat { state: Mutex::new(state), leave: Notify::new(), quiet_max: self.quiet_max });
        seats.insert(id, seat.clone());
        Some(seat)
    }

    /// The connection has ended.
    pub(super) fn free(&self, id: u64) {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        (state.running == 0 && !state.gone).then_some(state.since)
    }

    fn push_out(&self) -> bool {
        let mut state = self.lock();
        if state.running > 0 {
            return false;
        }
        state.gone = true;
        self.leave.notify_one();
        true
    }

    /// A complete request has come; none where the place is lost already.
    pub(super) fn run(self: &Arc<Self>) -> Option<Running> {
        let mut state = self.lock();
        if state.gone {
            return None;
        }
        state.running += 1;
        Some(Running { seat: self.clone() })
    }

    /// Ends when the connection must: it was pushed out, or nothing has moved on it for too long.
    pub(super) async fn must_leave(&self) {
        loop {
            let left = {
                let state = self.lock();
                match (state.running, state.streamed) {
                    (0, _) => self.quiet_max.saturating_sub(state.since.elapsed()),
                    (_, Some(at)) => self.quiet_max.saturating_sub(at.elapsed()),
                    // A request bounds its own time.
                    (_, None) => self.quiet_max,
                }
            };
            if left.is_zero() || tokio::time::timeout(left, self.leave.notified()).await.is_ok() {
                return;
            }
        }
    }
}

impl Running {
    /// A stream has taken something.
    pub(super) fn streamed(&self) {
        self.seat.lock().streamed = Some(Instant::now());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.seat.lock();
        state.running -= 1;
        state.since = Instant::now();
        state.streamed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_has_been_quiet_for_longest_makes_room_and_a_running_one_never() {
        let seats = Seats::new(3, Duration::from_secs(60));
        let (first, second, third) = (seats.take(1).unwrap(), seats.take(2).unwrap(), seats.take(3).unwrap());
        let running = first.run().unwrap();
        let _fourth = seats.take(4).unwrap();
        assert!(second.run().is_none(), "the second was the oldest without a request");
        let also = third.run().unwrap();
        drop(running);
        // The first has just been answered; the fourth has been quiet for longer.
        let fifth = seats.take(5).unwrap();
        let (a, b) = (first.run().unwrap(), fifth.run().unwrap());
        assert!(seats.take(6).is_none(), "all run");
        drop((a, b, also));
        seats.free(3);
        assert!(seats.take(7).is_some());
        assert!(first.run().is_some() && fifth.run().is_some());
    }

    #[tokio::test]
    async fn who_does_nothing_leaves_and_who_runs_stays() {
        let seats = Seats::new(3, Duration::from_millis(100));
        let leaves = |seat: Arc<Seat>| async move {
            tokio::time::timeout(Duration::from_millis(400), seat.must_leave()).await.is_ok()
        };
        let (quiet, running, stalled) = (seats.take(1).unwrap(), seats.take(2).unwrap(), seats.take(3).unwrap());
        let _request = running.run().unwrap();
        let stream = stalled.run().unwrap();
        stream.streamed();
        assert!(leaves(quiet).await, "it sends nothing, or reads nothing");
        assert!(leaves(stalled.clone()).await, "its stream takes nothing");
        assert!(!leaves(running).await);
        let flowing = tokio::spawn(leaves(stalled));
        for _ in 0..20 {
            stream.streamed();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!flowing.await.unwrap());
    }
}

//! How much of what a pipeline holds: the bounds of live generations and of bulk fills, and the rate that a person may set. Pure but for the clock of the rate.

use std::time::Instant;

use super::machine::Limits;
use super::{Pace, Parts};
use crate::change::Schema;
use crate::plugin::APPLIED_BYTES_MAX;

/// Events in one call of the plugin: nothing is gained beyond (reference: batches of 10 to 1000 cost the same per event).
const CHUNK_EVENTS_MAX: usize = 1_000;

/// Events that wait for a place in a writer's open set: enough to go on at once when it is committed, little beside the sets.
const WAITING_EVENTS_MAX: usize = 4 * CHUNK_EVENTS_MAX;

/// After so many ticks (10 s) without a commit the database is asked whether a checkpoint still stands: soon beside a failover, and a
/// connection every ten seconds costs an idle projection next to nothing.
const LOOK_TICKS: u32 = 40;

/// What ends a change set of a bulk fill. Where most changes are of rows of their own, so many rows: a copy of more is no faster, and the
/// writer only begins later. Where rows are changed again and again they go on folding, and cost the less in the database: up to many rows, and to
/// so many events, bytes of events or ticks that little is lost and done again after a crash.
const BULK_ROWS_ENOUGH: usize = 50_000;
const BULK_ROWS_MAX: usize = 400_000;
const BULK_EVENTS_MAX: usize = 4_000_000;
const BULK_BYTES_MAX: usize = 96 << 20;
const BULK_TICKS_MAX: u32 = 20;
/// The ticks where a rate bounds the fill: the database has time then, and who watches sees it move.
const BOUNDED_TICKS_MAX: u32 = 4;

/// Bytes of changes in a set, about: what plugins return is bounded by nothing else.
const SET_BYTES_MAX: usize = 64 << 20;
/// Row operations in a set of a live generation.
const LIVE_ROWS_MAX: usize = 200_000;
/// Bytes of changes that wait for a place in a writer's open set.
const WAITING_CHANGE_BYTES_MAX: usize = 32 << 20;

/// The bounds of its pipeline.
pub(super) fn limits(parts: &Parts, schema: &Schema) -> Limits {
    let bulk = parts.pace == Pace::Bulk;
    let writers = if schema.is_serial() || bulk { 1 } else { parts.writers.clamp(1, parts.sink.writers_max()) };
    Limits {
        chunk_events_max: CHUNK_EVENTS_MAX.min(parts.batch_events_max),
        waiting_events_max: WAITING_EVENTS_MAX,
        batch_events_max: if bulk { BULK_EVENTS_MAX } else { parts.batch_events_max },
        batch_bytes_max: if bulk { BULK_BYTES_MAX } else { parts.batch_bytes_max },
        open_ticks_max: match (bulk, parts.rate_max) {
            (true, None) => BULK_TICKS_MAX,
            (true, Some(_)) => BOUNDED_TICKS_MAX,
            (false, _) => 2,
        },
        look_ticks: LOOK_TICKS,
        waiting_bytes_max: WAITING_CHANGE_BYTES_MAX,
        chunk_bytes_max: APPLIED_BYTES_MAX / 2,
        sandbox_slots: parts.sandbox_slots,
        writers,
    }
}

/// Whether a set holds as much as memory should: so many row operations are left of changes that took so many bytes.
pub(super) fn is_heavy(pace: Pace, rows: usize, changes: usize, bytes: usize) -> bool {
    pace == Pace::Live && rows >= LIVE_ROWS_MAX || bytes / changes.max(1) * rows >= SET_BYTES_MAX
}

/// Whether a set of a bulk fill, so many rows that so many changes made, gains nothing from being larger.
pub(super) fn is_enough(rows: usize, changes: usize) -> bool {
    rows >= BULK_ROWS_MAX || rows >= BULK_ROWS_ENOUGH && rows >= changes / 4 * 3
}

/// Events per second at most: what is not used up is kept for a second.
pub(super) struct Allowance {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), left: 0.0, at: Instant::now() }
    }

    /// How many events may be taken now.
    pub(super) fn events(&mut self) -> usize {
        let now = Instant::now();
        let more = (now - self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + more).min(self.per_second.max(1.0));
        self.at = now;
        self.left as usize
    }

    /// So many have been taken.
    pub(super) fn use_up(&mut self, events: usize) {
        self.left -= events as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fills_set_ends_early_where_rows_are_new_and_late_where_they_fold() {
        assert!(!is_enough(BULK_ROWS_ENOUGH - 1, BULK_ROWS_ENOUGH - 1), "small");
        assert!(is_enough(BULK_ROWS_ENOUGH, BULK_ROWS_ENOUGH), "a row for each change");
        assert!(!is_enough(BULK_ROWS_ENOUGH, 2 * BULK_ROWS_ENOUGH), "each row changed twice: more may fold");
        assert!(!is_enough(100, 3_000_000), "hot rows");
        assert!(is_enough(BULK_ROWS_MAX, 10 * BULK_ROWS_MAX), "memory is bounded");
    }

    #[test]
    fn a_set_ends_where_what_is_left_of_its_changes_fills_memory() {
        let large = 10 << 10;
        assert!(!is_heavy(Pace::Live, 6_000, 6_000, 6_000 * large), "60 MB");
        assert!(is_heavy(Pace::Live, 7_000, 7_000, 7_000 * large), "70 MB in rows of their own");
        assert!(!is_heavy(Pace::Live, 10, 7_000, 7_000 * large), "they have folded into ten rows");
        assert!(is_heavy(Pace::Live, LIVE_ROWS_MAX, LIVE_ROWS_MAX, LIVE_ROWS_MAX), "small, and too many");
        assert!(!is_heavy(Pace::Bulk, LIVE_ROWS_MAX, LIVE_ROWS_MAX, LIVE_ROWS_MAX), "a fill's sets are larger");
        assert!(!is_heavy(Pace::Live, 0, 0, 0), "nothing");
    }
}

//! The bounded buffers between the thread that reads a log and the runner that takes from them. Pure state under one
//! lock; the reader's side fills, the runner's side takes, and neither waits for the other's I/O.
//!
//! Invariants: a partition's events leave in offset order, each once, from the start that was given; what was read under an
//! older tag (before a restart or a revocation) never enters; `bytes` is the sum over all slots, so the reader can hold
//! one bound for the whole source. The tag is also how the runner's wishes reach the reader: a slot says whether and from
//! where it wants to be read, and the reader makes it so in its own time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use super::{LogEnd, SourceEvent, StartReply};
use crate::checkpoint::LogBounds;
use crate::event::{Event, EventBatch, TopicPartition};

/// Numbers the assignments and restarts of all partitions; what carries another one than the slot is of the past.
pub(super) type Tag = u64;

/// One partition's buffer, and what the runner wants of it.
#[derive(Debug, Default)]
struct Slot {
    tag: Tag,
    /// The runner gave a start and has not released it.
    wanted: bool,
    /// The next offset that may enter.
    position: i64,
    /// The next offset that the runner has not been given yet.
    taken: i64,
    events: VecDeque<Event>,
    bytes: usize,
    start: Option<i64>,
    end: Option<i64>,
}

/// What the runner wants to be read, of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) partition: TopicPartition,
    pub(super) tag: Tag,
    /// From where, or none where nothing is to be delivered.
    pub(super) from: Option<i64>,
}

/// What became of the events that were pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pushed {
    /// The slot had nothing to take before, and has now.
    pub(super) ready: bool,
    /// Events below the expected offset: the reader repeated itself.
    pub(super) repeats: usize,
}

/// All buffers of one source.
#[derive(Debug)]
pub(super) struct Buffers {
    slots: BTreeMap<TopicPartition, Slot>,
    bytes: usize,
    bytes_max: usize,
    last_tag: Tag,
    /// Counts the changes of wishes, so that the reader sees cheaply whether there is something new.
    wishes_version: u64,
}

impl Buffers {
    /// Empty buffers that count as full from `bytes_max` on.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { slots: BTreeMap::new(), bytes: 0, bytes_max, last_tag: 0, wishes_version: 0 }
    }

    /// Takes a partition in, not yet delivered.
    fn assign(&mut self, bounds: &LogBounds) -> Tag {
        self.revoke(&bounds.partition);
        let tag = self.next_tag();
        let slot = Slot { tag, start: Some(bounds.start), end: Some(bounds.end), ..Slot::default() };
        self.slots.insert(bounds.partition.clone(), slot);
        tag
    }

    /// Starts a partition, if the assignment is still the one with `tag`.
    fn start(&mut self, partition: &TopicPartition, tag: Tag, offset: i64) -> bool {
        let Some(slot) = self.slots.get_mut(partition).filter(|slot| slot.tag == tag && !slot.wanted) else {
            return false;
        };
        slot.wanted = true;
        slot.position = offset;
        slot.taken = offset;
        self.wishes_version += 1;
        true
    }

    /// Forgets a partition and what is buffered of it.
    pub(super) fn revoke(&mut self, partition: &TopicPartition) {
        if let Some(slot) = self.slots.remove(partition) {
            self.bytes -= slot.bytes;
            self.wishes_version += 1;
        }
    }

    /// Discards what is buffered, and delivers from `offset`, or not at all until the next restart.
    fn redirect(&mut self, partition: &TopicPartition, offset: Option<i64>) {
        let tag = self.next_tag();
        let Some(slot) = self.slots.get_mut(partition) else { return };
        self.bytes -= std::mem::take(&mut slot.bytes);
        slot.events = VecDeque::new();
        slot.tag = tag;
        slot.wanted = offset.is_some();
        if let Some(offset) = offset {
            slot.position = offset;
        }
        slot.taken = slot.position;
    }

    /// Lets nothing more in, but keeps what is buffered: for a log that can't be trusted from here on.
    pub(super) fn freeze(&mut self, partition: &TopicPartition) {
        let tag = self.next_tag();
        if let Some(slot) = self.slots.get_mut(partition) {
            slot.tag = tag;
            slot.wanted = false;
        }
    }

    /// Appends events in offset order; drops them all where `tag` has passed.
    pub(super) fn push(&mut self, partition: &TopicPartition, tag: Tag, events: &mut Vec<Event>) -> Pushed {
        let mut pushed = Pushed::default();
        let Some(slot) = self.slots.get_mut(partition).filter(|slot| slot.tag == tag) else {
            events.clear();
            return pushed;
        };
        let before = slot.position;
        let was_empty = slot.position == slot.taken;
        let mut bytes = 0;
        slot.events.reserve(events.len());
        for event in events.drain(..) {
            if event.offset < slot.position {
                pushed.repeats += 1;
                continue;
            }
            slot.position = event.offset + 1;
            bytes += event.bytes();
            slot.events.push_back(event);
        }
        slot.bytes += bytes;
        self.bytes += bytes;
        pushed.ready = was_empty && slot.position > before;
        pushed
    }

    /// Moves a partition's position to `offset` where the log holds nothing before it; true if there was nothing to take before.
    pub(super) fn advance(&mut self, partition: &TopicPartition, tag: Tag, offset: i64) -> bool {
        let Some(slot) = self.slots.get_mut(partition).filter(|slot| slot.tag == tag) else { return false };
        let was_empty = slot.position == slot.taken;
        let moved = offset > slot.position;
        slot.position = slot.position.max(offset);
        was_empty && moved
    }

    /// The next batch of a partition; see [`super::Source::take`].
    fn take(
        &mut self,
        partition: &TopicPartition,
        events_max: usize,
        bytes_max: usize,
        before: i64,
    ) -> Option<EventBatch> {
        let slot = self.slots.get_mut(partition).filter(|slot| slot.position.min(before) > slot.taken)?;
        let in_front = slot.events.back().is_none_or(|last| last.offset < before);
        let whole = in_front && slot.events.len() <= events_max && slot.bytes <= bytes_max;
        let (events, bytes) = if whole {
            (Vec::from(std::mem::take(&mut slot.events)), slot.bytes)
        } else {
            let (mut count, mut bytes) = (0, 0);
            for event in &slot.events {
                let with = bytes + event.bytes();
                if event.offset >= before || count > 0 && (count >= events_max || with > bytes_max) {
                    break;
                }
                (count, bytes) = (count + 1, with);
            }
            (slot.events.drain(..count).collect(), bytes)
        };
        slot.bytes -= bytes;
        self.bytes -= bytes;
        let next_offset = match (events.last(), slot.events.front()) {
            (_, Some(left)) if left.offset >= before => before,
            (Some(last), Some(_)) => last.offset + 1,
            _ => slot.position.min(before),
        };
        slot.taken = next_offset;
        Some(EventBatch { partition: partition.clone(), events, next_offset })
    }

    /// Tells how far the log reaches.
    pub(super) fn set_bounds(&mut self, partition: &TopicPartition, start: Option<i64>, end: Option<i64>) {
        if let Some(slot) = self.slots.get_mut(partition) {
            slot.start = start.or(slot.start);
            slot.end = end.or(slot.end);
        }
    }

    /// The next offset that may enter.
    pub(super) fn position(&self, partition: &TopicPartition) -> Option<i64> {
        Some(self.slots.get(partition)?.position)
    }

    /// The last known end of a partition's log.
    pub(super) fn end(&self, partition: &TopicPartition) -> Option<i64> {
        self.slots.get(partition)?.end
    }

    /// What is to be read, and from where.
    pub(super) fn wishes(&self) -> Vec<Wish> {
        let wish = |(partition, slot): (&TopicPartition, &Slot)| Wish {
            partition: partition.clone(),
            tag: slot.tag,
            from: slot.wanted.then_some(slot.position),
        };
        self.slots.iter().map(wish).collect()
    }

    /// Changes when a wish has changed.
    pub(super) fn wishes_version(&self) -> u64 {
        self.wishes_version
    }

    /// Bytes of all events that are held.
    #[cfg(all(test, feature = "external-tests"))]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing more should be read.
    pub(super) fn full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Enough was taken to read on after it was full.
    pub(super) fn has_room(&self) -> bool {
        self.bytes <= self.bytes_max / 2
    }

    fn ends(&self) -> Vec<LogEnd> {
        let end = |(partition, slot): (&TopicPartition, &Slot)| LogEnd {
            partition: partition.clone(),
            start: slot.start,
            // What was read is there, whatever the last look at the log's end said.
            end: slot.end.map(|end| if slot.wanted { end.max(slot.position) } else { end }),
            first_buffered_timestamp_ms: slot.events.front().map(|event| event.timestamp_ms),
        };
        self.slots.iter().map(end).collect()
    }

    fn next_tag(&mut self) -> Tag {
        self.wishes_version += 1;
        self.last_tag += 1;
        self.last_tag
    }
}

/// What a source's reader and the runner's side of it share.
pub(super) struct Shared {
    buffers: Mutex<Buffers>,
    /// Something happened that the reader may wait for: room, a wish, the end.
    changed: Condvar,
    ready: Notify,
    news: mpsc::UnboundedSender<SourceEvent>,
    /// Wakes a reader that waits elsewhere than at `changed`.
    waker: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

impl Shared {
    /// A bounded pair: the reader's side, and the runner's.
    pub(super) fn new(bytes_max: usize) -> (Arc<Self>, Outlet) {
        let (news, inbox) = mpsc::unbounded_channel();
        let shared = Arc::new(Self {
            buffers: Mutex::new(Buffers::new(bytes_max)),
            changed: Condvar::new(),
            ready: Notify::new(),
            news,
            waker: Mutex::new(None),
        });
        (shared.clone(), Outlet { shared, inbox })
    }

    /// The buffers. A panic elsewhere leaves them as consistent as any statement left them.
    pub(super) fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the runner.
    pub(super) fn tell(&self, event: SourceEvent) {
        // The runner's side may be gone already; then nobody needs the news.
        self.news.send(event).ok();
    }

    /// Tells the runner that there is something to take.
    pub(super) fn tell_ready(&self) {
        self.ready.notify_one();
    }

    /// Takes partitions in and tells the runner of them; what it replies becomes a wish.
    pub(super) fn announce(self: &Arc<Self>, partitions: Vec<LogBounds>) {
        let tags: BTreeMap<TopicPartition, Tag> = {
            let mut buffers = self.lock();
            partitions.iter().map(|bounds| (bounds.partition.clone(), buffers.assign(bounds))).collect()
        };
        let shared = self.clone();
        let reply = StartReply::new(move |offsets| {
            let mut buffers = shared.lock();
            for (partition, offset) in offsets {
                if let Some(tag) = tags.get(&partition) {
                    buffers.start(&partition, *tag, offset);
                }
            }
            drop(buffers);
            shared.wake();
        });
        self.tell(SourceEvent::Assigned { partitions, reply });
    }

    /// Forgets partitions and tells the runner.
    pub(super) fn revoke(&self, partitions: Vec<TopicPartition>) {
        if partitions.is_empty() {
            return;
        }
        let mut buffers = self.lock();
        partitions.iter().for_each(|partition| buffers.revoke(partition));
        drop(buffers);
        self.tell(SourceEvent::Revoked(partitions));
    }

    /// Wakes the reader.
    pub(super) fn wake(&self) {
        // Taken and let go, so that a reader between its look and its wait is not missed.
        drop(self.lock());
        self.changed.notify_all();
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker();
        }
    }

    /// How to wake a reader that waits elsewhere.
    pub(super) fn set_waker(&self, waker: Option<Box<dyn Fn() + Send + Sync>>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = waker;
    }

    /// Waits until `done` holds of the buffers, or the time has passed; true if it holds.
    pub(super) fn wait(&self, limit: Duration, mut done: impl FnMut(&Buffers) -> bool) -> bool {
        let until = Instant::now() + limit;
        let mut buffers = self.lock();
        loop {
            if done(&buffers) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            buffers = self.changed.wait_timeout(buffers, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The runner's side of the buffers.
pub(super) struct Outlet {
    shared: Arc<Shared>,
    inbox: mpsc::UnboundedReceiver<SourceEvent>,
}

impl Outlet {
    /// See [`super::Source::next`].
    pub(super) async fn next(&mut self) -> SourceEvent {
        tokio::select! {
            biased;
            news = self.inbox.recv() => match news {
                Some(news) => news,
                // The reader's side holds a sender as long as this side exists.
                None => std::future::pending().await,
            },
            () = self.shared.ready.notified() => SourceEvent::Ready,
        }
    }

    /// See [`super::Source::take`].
    pub(super) fn take(
        &self,
        partition: &TopicPartition,
        events_max: usize,
        bytes_max: usize,
        before: i64,
    ) -> Option<EventBatch> {
        let mut buffers = self.shared.lock();
        let had_room = buffers.has_room();
        let batch = buffers.take(partition, events_max, bytes_max, before);
        let wake = !had_room && buffers.has_room();
        drop(buffers);
        if wake {
            self.shared.wake();
        }
        batch
    }

    /// See [`super::Source::restart`]; none is [`super::Source::release`].
    pub(super) fn redirect(&self, partition: &TopicPartition, offset: Option<i64>) {
        self.shared.lock().redirect(partition, offset);
        self.shared.wake();
    }

    /// See [`super::Source::ends`].
    pub(super) fn ends(&self) -> Vec<LogEnd> {
        self.shared.lock().ends()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(offset: i64) -> Event {
        Event { offset, timestamp_ms: offset, key: None, value: Some(vec![0; 100]), headers: Vec::new() }
    }

    fn bounds(partition: &TopicPartition) -> LogBounds {
        LogBounds { partition: partition.clone(), start: 0, end: 100, topic_id: None }
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Log offsets: what is visible among the next `0..span` of the reader's position.
        Read {
            visible: Vec<bool>,
            back: i64,
        },
        End,
        Take {
            events_max: usize,
            bytes_max: usize,
            before: i64,
        },
        Restart(i64),
        Release,
        Revoke,
        /// The reader goes on under an old tag.
        Stale,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (proptest::collection::vec(any::<bool>(), 1..20), 0..4_i64)
                .prop_map(|(visible, back)| Step::Read { visible, back }),
            2 => Just(Step::End),
            6 => (1..30_usize, 1..4000_usize, prop_oneof![Just(i64::MAX), 0..60_i64])
                .prop_map(|(events_max, bytes_max, before)| Step::Take { events_max, bytes_max, before }),
            1 => (0..50_i64).prop_map(Step::Restart),
            1 => Just(Step::Release),
            1 => Just(Step::Revoke),
            1 => Just(Step::Stale),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// What is taken follows on what was taken, from the start that was given; the bytes are those of what is held.
        #[test]
        fn what_leaves_is_the_log_without_gap_or_repeat(steps in proptest::collection::vec(step(), 1..80)) {
            let at = TopicPartition::new("t", 0);
            let mut buffers = Buffers::new(10_000);
            let mut tag = buffers.assign(&bounds(&at));
            prop_assert!(buffers.start(&at, tag, 7));
            // The log, as it turns out to be: visible or not, by offset.
            let mut log: BTreeMap<i64, bool> = BTreeMap::new();
            let (mut next, mut delivering, mut old_tag) = (7, true, 0);
            for step in steps {
                match step {
                    Step::Read { visible, back } if delivering => {
                        let from = (buffers.position(&at).unwrap() - back).max(0);
                        let offsets = (from..).zip(visible);
                        let mut events = Vec::new();
                        for (offset, visible) in offsets {
                            if *log.entry(offset).or_insert(visible) {
                                events.push(event(offset));
                            }
                        }
                        buffers.push(&at, tag, &mut events);
                    }
                    Step::End if delivering => {
                        let end = log.keys().next_back().map_or(0, |last| last + 1);
                        let position = buffers.position(&at).unwrap();
                        // What nobody has seen yet is a hole from now on.
                        for offset in position..end {
                            log.entry(offset).or_insert(false);
                        }
                        // The reader is at the end when it has read all that is visible.
                        if !(position..end).any(|offset| log.get(&offset).copied().unwrap_or(false)) {
                            buffers.advance(&at, tag, end);
                        }
                    }
                    Step::Take { events_max, bytes_max, before } => {
                        let Some(batch) = buffers.take(&at, events_max, bytes_max, before) else { continue };
                        prop_assert!(batch.next_offset > next && batch.next_offset <= before);
                        prop_assert!(batch.events.len() <= events_max);
                        let expected: Vec<i64> =
                            log.range(next..batch.next_offset).filter(|(_, visible)| **visible).map(|(o, _)| *o).collect();
                        let got: Vec<i64> = batch.events.iter().map(|event| event.offset).collect();
                        prop_assert_eq!(got, expected);
                        next = batch.next_offset;
                    }
                    Step::Restart(offset) => {
                        buffers.redirect(&at, Some(offset));
                        (old_tag, tag) = (tag, buffers.wishes()[0].tag);
                        (next, delivering) = (offset, true);
                    }
                    Step::Release => {
                        buffers.redirect(&at, None);
                        (old_tag, tag) = (tag, buffers.wishes()[0].tag);
                        delivering = false;
                        prop_assert_eq!(buffers.take(&at, 10, 1000, i64::MAX), None);
                    }
                    Step::Revoke => {
                        buffers.revoke(&at);
                        prop_assert_eq!(buffers.take(&at, 10, 1000, i64::MAX), None);
                        prop_assert_eq!(buffers.bytes, 0);
                        old_tag = tag;
                        tag = buffers.assign(&bounds(&at));
                        prop_assert!(!buffers.start(&at, old_tag, 3));
                        prop_assert!(buffers.start(&at, tag, 3));
                        (next, delivering) = (3, true);
                    }
                    Step::Stale => {
                        let before = buffers.bytes;
                        buffers.push(&at, old_tag, &mut vec![event(1_000_000)]);
                        prop_assert!(!buffers.advance(&at, old_tag, 2_000_000));
                        prop_assert_eq!(buffers.bytes, before);
                    }
                    Step::Read { .. } | Step::End => {}
                }
                let held: usize = buffers.slots.values().flat_map(|slot| &slot.events).map(Event::bytes).sum();
                prop_assert_eq!(buffers.bytes, held);
            }
        }
    }

    #[test]
    fn markers_and_holes_move_the_position_without_events() {
        let at = TopicPartition::new("t", 0);
        let mut buffers = Buffers::new(1000);
        let tag = buffers.assign(&bounds(&at));
        assert_eq!(buffers.take(&at, 1, 1, i64::MAX), None);
        assert!(buffers.start(&at, tag, 5));
        assert!(buffers.advance(&at, tag, 9), "the first move makes it ready");
        assert!(!buffers.advance(&at, tag, 9));
        let batch = buffers.take(&at, 1, 1, i64::MAX).unwrap();
        assert_eq!((batch.events.len(), batch.next_offset), (0, 9));
        // A hole before, a marker after.
        assert!(buffers.push(&at, tag, &mut vec![event(20)]).ready);
        assert!(!buffers.advance(&at, tag, 22));
        let batch = buffers.take(&at, 10, 1, i64::MAX).unwrap();
        assert_eq!((batch.events.len(), batch.next_offset), (1, 22));
    }

    #[test]
    fn repeats_are_dropped_and_counted_and_a_frozen_partition_keeps_what_it_has() {
        let at = TopicPartition::new("t", 0);
        let mut buffers = Buffers::new(1000);
        let tag = buffers.assign(&bounds(&at));
        buffers.start(&at, tag, 5);
        let pushed = buffers.push(&at, tag, &mut vec![event(4), event(5), event(5), event(6)]);
        assert_eq!(pushed, Pushed { ready: true, repeats: 2 });
        buffers.freeze(&at);
        assert_eq!(buffers.wishes()[0].from, None);
        buffers.push(&at, tag, &mut vec![event(7)]);
        let batch = buffers.take(&at, 10, 10_000, i64::MAX).unwrap();
        assert_eq!(batch.next_offset, 7);
    }
}

//! What to do next for a projection and its partitions: a pure state machine. Inputs in, actions out, no clock, no I/O.
//!
//! Events travel in *chunks* (a run of events of one partition, applied by one call of the plugin). A chunk is taken from the source,
//! applied in the sandbox (several at once), folded into the *open* change set of its partition's writer in offset order, and committed
//! with that set. While a writer commits one set, the next one opens.
//!
//! Invariants:
//! - For each partition, `committed <= folded <= taken`, and what is folded into a set is exactly `[advance.expected, advance.next)`.
//! - A writer has at most one commit under way; a set is committed only after the one before it is known to be in.
//! - Whatever goes wrong with a set (fenced, found missing, refused), every partition of it and of the open set behind it is claimed
//!   again and starts anew where the database says. Nothing computed before is used: chunks carry the partition's *run*.
//! - Another build takes over where nothing is in the sandbox, folded or being committed; what was taken and not folded is applied anew.
//! - A fault takes effect when its chunk's turn comes, so it is the first in offset order whatever finished first.
//!
//! ```text
//! assigned -> Claiming -> Active -> (fenced) Fenced -> Claiming -> Active ..
//! Running -> Halting -> Halted        Running | Halted -> Stopping -> Stopped
//! ```

mod claims;
mod protocol;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::checkpoint::{Advance, Checkpoint, LogBounds};
use crate::error::{ErrorKind, Halt};
use crate::event::TopicPartition;

use claims::{Look, PendingClaim};
pub(crate) use protocol::{Action, ChunkId, CommitFailure, Failure, Input, Limits, Returned, Taken, Wait};

/// A fenced partition waits as long as after so many failures: its new owner has it, or the group will say so.
const FENCED_ATTEMPT: u32 = 4;

#[derive(Debug)]
enum Phase {
    Running,
    /// What precedes the fault is being committed.
    Halting(Halt),
    Halted,
    Stopping,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// A claim is under way.
    Claiming,
    /// Ours under this owner epoch.
    Active(i64),
    /// Somebody else's, or elsewhere; to be claimed again if it is still assigned.
    Fenced,
}

#[derive(Debug)]
struct Partition {
    bounds: LogBounds,
    /// Raised whenever what was computed before must not be used any more.
    run: u64,
    claim: Claim,
    writer: usize,
    /// The checkpoint, once a claim has told it.
    committed: Option<i64>,
    folded: i64,
    taken: i64,
    chunks: VecDeque<Chunk>,
    /// Whether the source may have more.
    data: bool,
    /// Whether the last chunk was full.
    backlog: bool,
    /// Events in its next chunk at most: fewer where the plugin returns much for each.
    chunk_events_max: usize,
    /// Ticks since the database last said that the checkpoint stands there.
    unseen_ticks: u32,
}

#[derive(Debug)]
struct Chunk {
    id: ChunkId,
    taken: Taken,
    applied: bool,
    /// Bytes of what the plugin returned for it.
    returned_bytes: usize,
    attempt: u32,
}

#[derive(Debug, Default)]
struct Set {
    advances: Vec<Advance>,
    events: usize,
    bytes: usize,
    /// The shell takes it for large enough.
    full: bool,
    ticks: u32,
}

#[derive(Debug)]
struct WriterState {
    open: Set,
    under_way: Option<Set>,
    /// Attempts in a row that failed.
    attempt: u32,
    /// Whether the set under way waits for a retry.
    waits: bool,
    /// Events in the next commit at most; halved when the database finds an event at fault, until it is alone.
    events_max: usize,
    /// Up to where that grows again: halved when a commit comes too late, and raised slowly.
    events_cap: usize,
    /// Whether the deadline of the set under way has passed.
    overdue: bool,
}

/// The state of a projection generation's data plane.
#[derive(Debug)]
pub(crate) struct Machine {
    limits: Limits,
    phase: Phase,
    /// What to halt with, once the partition that it is about has nothing left to take.
    betrayals: BTreeMap<TopicPartition, Halt>,
    partitions: BTreeMap<TopicPartition, Partition>,
    writers: Vec<WriterState>,
    claims: Vec<PendingClaim>,
    look: Option<Look>,
    queue: VecDeque<Action>,
    next_id: u64,
    applying: usize,
    /// The partition that is looked at first, so that none is favoured.
    turn: usize,
    paused: bool,
    /// Where taking ends, for some partitions.
    until: BTreeMap<TopicPartition, i64>,
    /// Whether another build waits to take over.
    reload: bool,
}

impl Machine {
    pub(crate) fn new(limits: Limits) -> Self {
        let writer = || WriterState {
            open: Set::default(),
            under_way: None,
            attempt: 0,
            waits: false,
            events_max: limits.batch_events_max,
            events_cap: limits.batch_events_max,
            overdue: false,
        };
        Self {
            limits,
            phase: Phase::Running,
            betrayals: BTreeMap::new(),
            partitions: BTreeMap::new(),
            writers: (0..limits.writers.max(1)).map(|_| writer()).collect(),
            claims: Vec::new(),
            look: None,
            queue: VecDeque::new(),
            next_id: 0,
            applying: 0,
            turn: 0,
            paused: false,
            until: BTreeMap::new(),
            reload: false,
        }
    }

    /// The checkpoint of each partition that is ours, as far as we know.
    pub(crate) fn checkpoints(&self) -> impl Iterator<Item = (&TopicPartition, i64)> {
        self.partitions.iter().filter_map(|(tp, p)| Some((tp, p.committed?)))
    }

    /// Whether nothing is under way and the source was found empty.
    pub(crate) fn is_quiet(&self) -> bool {
        self.claims.is_empty()
            && self.writers.iter().all(|w| w.under_way.is_none() && w.open.advances.is_empty())
            && self.partitions.values().all(|p| p.chunks.is_empty() && !p.data)
    }

    /// Whether every end of taking is reached and committed, and nothing is under way.
    pub(crate) fn is_held(&self) -> bool {
        let reached = |(tp, before): (&TopicPartition, &i64)| {
            self.partitions.get(tp).is_none_or(|p| p.chunks.is_empty() && p.committed.is_some_and(|at| at >= *before))
        };
        self.claims.is_empty()
            && self.until.iter().all(reached)
            && self.writers.iter().all(|w| w.under_way.is_none() && w.open.advances.is_empty())
    }

    /// Takes note of what happened. Then call [`Machine::next`] until it gives nothing.
    pub(crate) fn input(&mut self, input: Input) {
        match input {
            Input::Assigned(number, bounds) => self.assigned(number, bounds),
            Input::Revoked(partitions) => self.revoked(&partitions),
            Input::Ready => self.partitions.values_mut().for_each(|p| p.data = true),
            Input::Claimed(id, outcome) => self.claimed(id, outcome),
            Input::Taken(id, taken) => self.taken(id, taken),
            Input::Applied(id, outcome) => self.applied(id, outcome),
            Input::Folded(id, next_offset, full, fault) => self.folded(id, next_offset, full, fault),
            Input::Committed(writer, Ok(())) => self.commit_is_in(writer),
            Input::Committed(writer, Err(failure)) => self.commit_failed(writer, failure),
            Input::Reread(writer, outcome) => self.reread(writer, outcome),
            Input::Retry(wait) => self.retry(wait),
            Input::Tick => self.tick(),
            Input::Looked(id, outcome) => self.looked(id, outcome),
            Input::Betrayed(halt) => self.betrayed(halt),
            Input::Halt(halt) => self.halt(halt),
            Input::Pause(paused) => self.paused = paused,
            Input::Until(offsets) => self.until = offsets,
            Input::Reload => self.reload = true,
            Input::Reloaded => self.reloaded(),
            Input::Stop => self.stop(),
        }
    }

    /// The next thing to do, or nothing until the next input.
    pub(crate) fn next(&mut self) -> Option<Action> {
        if let Some(action) = self.queue.pop_front() {
            return Some(action);
        }
        self.meet_betrayal();
        match self.phase {
            Phase::Running if self.reload => self.next_commit().or_else(|| self.next_reload()),
            Phase::Running => self.next_fold().or_else(|| self.next_commit()).or_else(|| self.next_take()),
            Phase::Halting(_) | Phase::Stopping => self.next_commit().or_else(|| self.settle()),
            Phase::Halted | Phase::Stopped => None,
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    // ---- taking, applying, folding ----

    fn taken(&mut self, id: ChunkId, taken: Option<Taken>) {
        let Some(partition) = self.partitions.values_mut().find(|p| p.chunks.back().is_some_and(|c| c.id == id)) else {
            return;
        };
        let Some(taken) = taken else {
            partition.chunks.pop_back();
            partition.data = false;
            partition.backlog = false;
            return;
        };
        partition.taken = taken.next_offset;
        partition.backlog = taken.full;
        if let Some(chunk) = partition.chunks.back_mut() {
            chunk.taken = taken;
            chunk.applied = taken.events == 0;
        }
        if taken.events > 0 {
            self.applying += 1;
            self.queue.push_back(Action::Apply(id));
        }
    }

    fn applied(&mut self, id: ChunkId, outcome: Result<Returned, Failure>) {
        let chunk = self.partitions.values_mut().flat_map(|p| p.chunks.iter_mut()).find(|c| c.id == id);
        match (chunk, outcome) {
            (Some(chunk), Err(failure)) if failure.kind == ErrorKind::Transient => {
                chunk.attempt += 1;
                self.queue.push_back(Action::BackOff(Wait::Apply(id), chunk.attempt));
                return;
            }
            (Some(_), Err(failure)) => self.halt(failure.halt),
            (Some(chunk), Ok(returned)) => {
                chunk.applied = true;
                chunk.returned_bytes = returned.bytes;
                self.measure(id, returned);
            }
            // The chunk's partition went away, or its run is over.
            (None, _) => {}
        }
        self.applying = self.applying.saturating_sub(1);
    }

    /// Fits the partition's chunks to what the plugin returns. Where it did not come to a chunk's end, what follows is delivered anew.
    fn measure(&mut self, id: ChunkId, returned: Returned) {
        let Limits { chunk_bytes_max, chunk_events_max, .. } = self.limits;
        let Some((tp, partition, at)) = self.partitions.iter_mut().find_map(|(tp, partition)| {
            let at = partition.chunks.iter().position(|chunk| chunk.id == id)?;
            Some((tp, partition, at))
        }) else {
            return;
        };
        let chunk = &mut partition.chunks[at];
        if returned.bytes > chunk_bytes_max {
            let events = returned.cut.map_or(chunk.taken.events, |(events, _)| events);
            partition.chunk_events_max = (events / 2).max(1);
        } else if returned.bytes < chunk_bytes_max / 4 {
            partition.chunk_events_max = (partition.chunk_events_max * 2).min(chunk_events_max);
        }
        let Some((events, next_offset)) = returned.cut else { return };
        chunk.taken.bytes = chunk.taken.bytes * events / chunk.taken.events.max(1);
        chunk.taken.events = events;
        chunk.taken.next_offset = next_offset;
        for later in partition.chunks.drain(at + 1..) {
            self.queue.push_back(Action::Discard(later.id));
        }
        partition.taken = next_offset;
        partition.data = true;
        self.betrayals.remove(tp);
        self.queue.push_back(Action::Restart(tp.clone(), next_offset));
    }

    fn next_fold(&mut self) -> Option<Action> {
        for (index, writer) in self.writers.iter().enumerate() {
            let ready = self.partitions.values().filter(|p| p.writer == index && matches!(p.claim, Claim::Active(_)));
            let candidates: Vec<&Partition> =
                ready.filter(|p| p.head_fits(writer, &self.limits) == Some(true)).collect();
            if candidates.is_empty() {
                continue;
            }
            self.turn = self.turn.wrapping_add(1);
            let chosen = candidates[self.turn % candidates.len()];
            return chosen.chunks.front().map(|c| Action::Fold(c.id, index));
        }
        None
    }

    fn folded(&mut self, id: ChunkId, next_offset: i64, full: bool, fault: Option<Halt>) {
        let Some((tp, partition)) =
            self.partitions.iter_mut().find(|(_, p)| p.chunks.front().is_some_and(|c| c.id == id))
        else {
            return;
        };
        let (Some(chunk), Claim::Active(owner_epoch)) = (partition.chunks.pop_front(), partition.claim) else { return };
        let advance = Advance { partition: tp.clone(), expected: partition.folded, next: next_offset, owner_epoch };
        partition.folded = next_offset;
        let set = &mut self.writers[partition.writer].open;
        set.events += chunk.taken.events;
        set.bytes += chunk.taken.bytes;
        set.full = full;
        if advance.next > advance.expected {
            let mut left = Some(advance);
            for earlier in &mut set.advances {
                left = left.and_then(|advance| earlier.join(advance).err());
            }
            set.advances.extend(left);
        }
        if let Some(halt) = fault {
            self.halt(halt);
        }
    }

    fn next_take(&mut self) -> Option<Action> {
        if self.paused || self.applying >= self.limits.sandbox_slots {
            return None;
        }
        let count = self.partitions.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let Some((tp, partition)) = self.partitions.iter().nth(at) else { continue };
            let before = self.until.get(tp).copied().unwrap_or(i64::MAX);
            if !partition.data || !matches!(partition.claim, Claim::Active(_)) || partition.taken >= before {
                continue;
            }
            let writer = &self.writers[partition.writer];
            let waiting = self.partitions.values().filter(|p| p.writer == partition.writer).flat_map(|p| &p.chunks);
            let (events, bytes, returned) =
                waiting.fold((0, 0, 0), |(e, b, r), c| (e + c.taken.events, b + c.taken.bytes, r + c.returned_bytes));
            if returned >= self.limits.waiting_bytes_max {
                continue;
            }
            if events >= self.limits.waiting_events_max.min(writer.events_max) || bytes >= self.limits.batch_bytes_max {
                continue;
            }
            let events_max = partition.chunk_events_max.min(writer.events_max);
            let tp = tp.clone();
            self.turn = at + 1;
            let id = self.id();
            if let Some(partition) = self.partitions.get_mut(&tp) {
                let taken = Taken { events: 0, bytes: 0, next_offset: partition.taken, full: false };
                partition.chunks.push_back(Chunk { id, taken, applied: false, returned_bytes: 0, attempt: 0 });
            }
            return Some(Action::Take(id, tp, events_max, before));
        }
        None
    }

    // ---- committing ----

    fn next_commit(&mut self) -> Option<Action> {
        let patient = matches!(self.phase, Phase::Running) && !self.reload;
        for index in 0..self.writers.len() {
            let writer = &self.writers[index];
            if writer.under_way.is_some() || writer.open.advances.is_empty() {
                continue;
            }
            // A backlog wants large batches: as long as more of it is on its way the set stays open. Events that come as they are
            // applied want none.
            let more = self.partitions.values().any(|p| {
                let of_writer = p.writer == index && matches!(p.claim, Claim::Active(_));
                of_writer && p.backlog && (p.data || !p.chunks.is_empty())
            });
            let mut of_writer = self.partitions.values().filter(|p| p.writer == index);
            let full = of_writer.any(|p| p.head_fits(writer, &self.limits) == Some(false));
            let full = full
                || writer.open.events >= writer.events_max
                || writer.open.bytes >= self.limits.batch_bytes_max
                || writer.open.full;
            if patient && more && !full && writer.open.ticks < self.limits.open_ticks_max {
                continue;
            }
            let writer = &mut self.writers[index];
            let set = std::mem::take(&mut writer.open);
            let advances = set.advances.clone();
            writer.under_way = Some(set);
            return Some(Action::Commit(index, advances));
        }
        None
    }

    /// Lets the other build take over once nothing of the present one is left but what it has not folded.
    fn next_reload(&mut self) -> Option<Action> {
        let idle =
            self.applying == 0 && self.writers.iter().all(|w| w.under_way.is_none() && w.open.advances.is_empty());
        (idle && self.queue.is_empty()).then_some(Action::Reload)
    }

    fn reloaded(&mut self) {
        self.reload = false;
        for chunk in self.partitions.values_mut().flat_map(|p| p.chunks.iter_mut()).filter(|c| c.taken.events > 0) {
            chunk.applied = false;
            chunk.returned_bytes = 0;
            chunk.attempt = 0;
            self.applying += 1;
            self.queue.push_back(Action::Apply(chunk.id));
        }
    }

    fn commit_is_in(&mut self, writer: usize) {
        let state = &mut self.writers[writer];
        state.attempt = 0;
        state.waits = false;
        if std::mem::take(&mut state.overdue) {
            state.shrink();
        } else {
            state.grow(self.limits.batch_events_max);
        }
        for advance in state.under_way.take().into_iter().flat_map(|set| set.advances) {
            if let Some(partition) = self.partitions.get_mut(&advance.partition)
                && partition.claim == Claim::Active(advance.owner_epoch)
            {
                partition.committed = Some(advance.next);
                partition.unseen_ticks = 0;
            }
        }
    }

    fn commit_failed(&mut self, writer: usize, failure: CommitFailure) {
        self.writers[writer].overdue = matches!(failure, CommitFailure::Overdue);
        match failure {
            CommitFailure::Unknown | CommitFailure::Overdue => self.queue.push_back(Action::Reread(writer)),
            CommitFailure::Fenced(fenced) => self.start_anew(writer, &fenced),
            CommitFailure::Failed(failure) => match failure.kind {
                ErrorKind::Transient if matches!(self.phase, Phase::Stopping) => self.start_anew(writer, &[]),
                ErrorKind::Transient => self.wait(writer, Wait::Commit(writer)),
                ErrorKind::Poison => {
                    let state = &mut self.writers[writer];
                    let events = state.under_way.as_ref().map_or(0, |set| set.events);
                    if events <= 1 {
                        self.start_anew(writer, &[]);
                        self.halt(failure.halt);
                    } else {
                        // The database does not say which event: halve until it is alone.
                        state.events_max = (events / 2).max(1);
                        self.start_anew(writer, &[]);
                    }
                }
                ErrorKind::Fatal => {
                    self.start_anew(writer, &[]);
                    self.halt(failure.halt);
                }
            },
        }
    }

    fn reread(&mut self, writer: usize, outcome: Result<Vec<Checkpoint>, Failure>) {
        let checkpoints = match outcome {
            Ok(checkpoints) => checkpoints,
            Err(failure) if failure.kind == ErrorKind::Transient && !matches!(self.phase, Phase::Stopping) => {
                return self.wait(writer, Wait::Reread(writer));
            }
            Err(failure) => {
                self.start_anew(writer, &[]);
                return self.halt(failure.halt);
            }
        };
        let Some(set) = &self.writers[writer].under_way else { return };
        match verdict(&set.advances, &checkpoints) {
            Verdict::In => self.commit_is_in(writer),
            Verdict::Out if matches!(self.phase, Phase::Stopping) => self.start_anew(writer, &[]),
            Verdict::Out if self.writers[writer].overdue => self.too_late(writer),
            Verdict::Out => self.queue.push_back(Action::CommitAgain(writer)),
            Verdict::Elsewhere(fenced) => self.start_anew(writer, &fenced),
        }
    }

    /// A set that was not in when its deadline had passed would be late again: half of it goes next, and one event alone after a pause.
    fn too_late(&mut self, writer: usize) {
        let state = &mut self.writers[writer];
        if state.under_way.as_ref().is_some_and(|set| set.events > 1) {
            state.shrink();
            self.start_anew(writer, &[]);
        } else {
            self.wait(writer, Wait::Commit(writer));
        }
    }

    fn wait(&mut self, writer: usize, wait: Wait) {
        let state = &mut self.writers[writer];
        state.attempt += 1;
        state.waits = true;
        self.queue.push_back(Action::BackOff(wait, state.attempt));
    }

    /// Gives up both sets of a writer; their partitions are claimed again, the fenced ones after a pause.
    fn start_anew(&mut self, writer: usize, fenced: &[TopicPartition]) {
        let state = &mut self.writers[writer];
        state.attempt = 0;
        state.waits = false;
        state.overdue = false;
        let sets = [state.under_way.take(), Some(std::mem::take(&mut state.open))];
        let advances = sets.into_iter().flatten().flat_map(|set| set.advances);
        let owned: BTreeSet<(TopicPartition, i64)> = advances.map(|a| (a.partition, a.owner_epoch)).collect();
        self.queue.push_back(Action::DiscardSets(writer));
        let mut again = Vec::new();
        for (tp, owner_epoch) in owned {
            // Claimed again meanwhile: that claim tells where it goes on.
            if self.partitions.get(&tp).is_none_or(|p| p.claim != Claim::Active(owner_epoch)) {
                continue;
            }
            let run = self.let_go(&tp);
            if fenced.contains(&tp) {
                self.queue.push_back(Action::BackOff(Wait::Fenced(tp, run), FENCED_ATTEMPT));
            } else {
                again.push(tp);
            }
        }
        if matches!(self.phase, Phase::Running) {
            self.claim(again, None);
        }
    }

    fn retry(&mut self, wait: Wait) {
        match wait {
            Wait::Commit(writer) if std::mem::take(&mut self.writers[writer].waits) => {
                self.queue.push_back(Action::CommitAgain(writer));
            }
            Wait::Reread(writer) if std::mem::take(&mut self.writers[writer].waits) => {
                self.queue.push_back(Action::Reread(writer));
            }
            Wait::Claim(id) => self.claim_again(id),
            Wait::Apply(id) => {
                if self.partitions.values().flat_map(|p| &p.chunks).any(|c| c.id == id) {
                    self.queue.push_back(Action::Apply(id));
                } else {
                    self.applying = self.applying.saturating_sub(1);
                }
            }
            Wait::Fenced(tp, run) => {
                let still = self.partitions.get(&tp).is_some_and(|p| p.run == run && p.claim == Claim::Fenced);
                if still && matches!(self.phase, Phase::Running) {
                    self.claim(vec![tp], None);
                }
            }
            Wait::Commit(_) | Wait::Reread(_) => {}
        }
    }

    // ---- ending ----

    fn betrayed(&mut self, halt: Halt) {
        let Some(at) = &halt.at else { return self.halt(halt) };
        let tp = TopicPartition::new(at.topic.as_str(), at.partition);
        // A partition that is no longer ours is its new owner's matter.
        if let Some(partition) = self.partitions.get_mut(&tp) {
            // What the source holds of the partition came before.
            partition.data = true;
            self.betrayals.entry(tp).or_insert(halt);
        }
    }

    /// Halts where the log betrayed, once all that comes before has been taken and folded.
    fn meet_betrayal(&mut self) {
        let come_to = |tp: &TopicPartition| {
            let partition = self.partitions.get(tp);
            partition.is_some_and(|p| matches!(p.claim, Claim::Active(_)) && !p.data && p.chunks.is_empty())
        };
        if let Some(halt) = self.betrayals.iter().find_map(|(tp, halt)| come_to(tp).then(|| halt.clone())) {
            self.betrayals.clear();
            self.halt(halt);
        }
    }

    fn halt(&mut self, halt: Halt) {
        if matches!(self.phase, Phase::Running) {
            self.phase = Phase::Halting(halt);
            self.drop_work();
        }
    }

    fn stop(&mut self) {
        if !matches!(self.phase, Phase::Stopped) {
            self.phase = Phase::Stopping;
            self.drop_work();
            for writer in 0..self.writers.len() {
                if self.writers[writer].waits {
                    self.start_anew(writer, &[]);
                }
            }
        }
    }

    /// Nothing more is taken or folded; what is folded is still committed.
    fn drop_work(&mut self) {
        for (tp, partition) in &mut self.partitions {
            partition.data = false;
            discard_chunks(partition, &mut self.queue);
            self.queue.push_back(Action::Release(tp.clone()));
        }
    }

    /// Ends halting or stopping once no commit is under way.
    fn settle(&mut self) -> Option<Action> {
        let busy = self.writers.iter().any(|w| w.under_way.is_some() || !w.open.advances.is_empty());
        match &self.phase {
            Phase::Halting(halt) if !busy => {
                let halt = halt.clone();
                self.phase = Phase::Halted;
                Some(Action::Halted(halt))
            }
            Phase::Stopping if !busy => {
                self.phase = Phase::Stopped;
                self.drop_claims();
                self.queue.push_back(Action::Stopped);
                self.queue.pop_front()
            }
            _ => None,
        }
    }
}

impl WriterState {
    /// A commit as large as the set under way comes too late.
    fn shrink(&mut self) {
        let events = self.under_way.as_ref().map_or(0, |set| set.events);
        self.events_max = (events / 2).max(1);
        self.events_cap = self.events_max;
    }

    /// The set under way was in in time. Twice as much may be, unless that came too late before: from there on a little more each time.
    fn grow(&mut self, events_max: usize) {
        let events = self.under_way.as_ref().map_or(0, |set| set.events);
        if events >= self.events_cap / 2 {
            self.events_cap = (self.events_cap + self.events_cap / 32 + 1).min(events_max);
        }
        self.events_max = (self.events_max * 2).min(self.events_cap);
    }
}

impl Partition {
    /// Whether the writer's open set takes the chunk whose turn it is; none where there is no such chunk yet.
    fn head_fits(&self, writer: &WriterState, limits: &Limits) -> Option<bool> {
        let Claim::Active(owner_epoch) = self.claim else { return None };
        let chunk = self.chunks.front().filter(|chunk| chunk.applied)?;
        // What was folded under an earlier claim must be committed, or fenced, by itself. (After a database failover that lost
        // commits, the epoch alone does not tell claims apart.)
        let follows = |a: &Advance| a.owner_epoch == owner_epoch && a.next == self.folded;
        let earlier = |a: &Advance| a.partition == self.bounds.partition && !follows(a);
        let set = &writer.open;
        let room = set.events + chunk.taken.events <= writer.events_max
            && set.bytes + chunk.taken.bytes <= limits.batch_bytes_max
            && !set.full;
        Some((set.events == 0 || room) && !set.advances.iter().any(earlier))
    }
}

fn discard_chunks(partition: &mut Partition, queue: &mut VecDeque<Action>) {
    partition.taken = partition.folded;
    queue.extend(partition.chunks.drain(..).map(|chunk| Action::Discard(chunk.id)));
}

enum Verdict {
    /// The set was committed.
    In,
    /// It was not, and all of it is still ours.
    Out,
    /// It was not, or it cannot be told because none of it is ours: these partitions stand elsewhere.
    Elsewhere(Vec<TopicPartition>),
}

/// Whether a set whose commit was not answered is in. A set is written whole or not at all, so one partition that is
/// still ours and stands where the set would have moved it says that all of it is in.
fn verdict(advances: &[Advance], checkpoints: &[Checkpoint]) -> Verdict {
    let mut elsewhere = Vec::new();
    for advance in advances {
        match checkpoints.iter().find(|c| c.partition == advance.partition) {
            Some(c) if c.owner_epoch == advance.owner_epoch && c.next_offset == advance.next => return Verdict::In,
            Some(c) if c.owner_epoch == advance.owner_epoch && c.next_offset == advance.expected => {}
            _ => elsewhere.push(advance.partition.clone()),
        }
    }
    if elsewhere.is_empty() { Verdict::Out } else { Verdict::Elsewhere(elsewhere) }
}

#[cfg(test)]
mod simulation;

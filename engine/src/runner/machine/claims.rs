//! Whose a partition is: assignments, claims and their answers, and looks at the checkpoints of partitions at rest.
//!
//! Invariants:
//! - Each assignment gets one answer, under its own number, however many claims are under way: it names the partitions that are still in
//!   the run in which they were claimed for it.
//! - A claim names only partitions that are ours when it is sent: one too many would fence the rightful owner.
//! - A look judges a partition only if nothing of it was under way from before the look to after it, so a look that is older than a
//!   commit says nothing about it.

use super::{
    Action, Checkpoint, Claim, Failure, LogBounds, Machine, Partition, Phase, TopicPartition, VecDeque, Wait,
    discard_chunks,
};
use crate::error::ErrorKind;

#[derive(Debug)]
pub(super) struct PendingClaim {
    id: u64,
    /// Each with the run in which it is claimed.
    partitions: Vec<(LogBounds, u64)>,
    /// The assignment that it is the answer to, where the source waits for one.
    assignment: Option<u64>,
    attempt: u32,
}

/// A look that is under way: the partitions at rest, with their runs and checkpoints.
#[derive(Debug)]
pub(super) struct Look {
    id: u64,
    partitions: Vec<(TopicPartition, u64, i64)>,
}

impl Machine {
    pub(super) fn assigned(&mut self, number: u64, bounds: Vec<LogBounds>) {
        if !matches!(self.phase, Phase::Running) {
            self.queue.push_back(Action::Start(number, Vec::new()));
            return;
        }
        let writers = self.writers.len();
        for bounds in &bounds {
            let writer = usize::try_from(bounds.partition.partition).unwrap_or(0) % writers;
            let run = self.id();
            if let Some(old) = self.partitions.get_mut(&bounds.partition) {
                discard_chunks(old, &mut self.queue);
            }
            self.betrayals.remove(&bounds.partition);
            let partition = Partition {
                bounds: bounds.clone(),
                run,
                claim: Claim::Claiming,
                writer,
                committed: None,
                folded: bounds.start,
                taken: bounds.start,
                chunks: VecDeque::new(),
                data: false,
                backlog: false,
                chunk_events_max: self.limits.chunk_events_max,
                unseen_ticks: 0,
            };
            self.partitions.insert(bounds.partition.clone(), partition);
        }
        self.claim(bounds.into_iter().map(|b| b.partition).collect(), Some(number));
    }

    pub(super) fn revoked(&mut self, partitions: &[TopicPartition]) {
        for tp in partitions {
            self.betrayals.remove(tp);
            // What is folded already may still be committed: if nobody has claimed the partition since, it is right,
            // and if somebody has, the fence stops it.
            if let Some(mut partition) = self.partitions.remove(tp) {
                discard_chunks(&mut partition, &mut self.queue);
            }
        }
    }

    pub(super) fn claim(&mut self, partitions: Vec<TopicPartition>, assignment: Option<u64>) {
        let id = self.id();
        let mut claimed = Vec::new();
        for tp in partitions {
            let run = self.id();
            let Some(partition) = self.partitions.get_mut(&tp) else { continue };
            partition.run = run;
            partition.claim = Claim::Claiming;
            partition.data = false;
            discard_chunks(partition, &mut self.queue);
            claimed.push((partition.bounds.clone(), run));
        }
        if claimed.is_empty() && assignment.is_none() {
            return;
        }
        let bounds = claimed.iter().map(|(b, _)| b.clone()).collect();
        self.claims.push(PendingClaim { id, partitions: claimed, assignment, attempt: 0 });
        self.queue.push_back(Action::Claim(id, bounds));
    }

    pub(super) fn claimed(&mut self, id: u64, outcome: Result<Vec<Checkpoint>, Failure>) {
        let Some(at) = self.claims.iter().position(|c| c.id == id) else { return };
        let checkpoints = match outcome {
            Ok(checkpoints) => checkpoints,
            Err(failure) if failure.kind == ErrorKind::Transient && matches!(self.phase, Phase::Running) => {
                let claim = &mut self.claims[at];
                claim.attempt += 1;
                self.queue.push_back(Action::BackOff(Wait::Claim(id), claim.attempt));
                return;
            }
            Err(failure) => {
                self.give_up_claim(at);
                return self.halt(failure.halt);
            }
        };
        let claim = self.claims.swap_remove(at);
        let mut starts = Vec::new();
        let mut betrayal = None;
        for (bounds, run) in &claim.partitions {
            let Some(partition) = self.partitions.get_mut(&bounds.partition) else { continue };
            let Some(checkpoint) = checkpoints.iter().find(|c| c.partition == bounds.partition) else { continue };
            if partition.run != *run {
                continue;
            }
            partition.committed = Some(checkpoint.next_offset);
            partition.folded = checkpoint.next_offset;
            partition.taken = checkpoint.next_offset;
            partition.unseen_ticks = 0;
            // The bounds of a partition that has been ours for a while are old: only the source can tell then.
            if claim.assignment.is_some()
                && let Err(halt) = checkpoint.check(bounds)
            {
                betrayal.get_or_insert(halt);
                continue;
            }
            partition.claim = Claim::Active(checkpoint.owner_epoch);
            partition.data = true;
            starts.push((bounds.partition.clone(), checkpoint.next_offset));
        }
        let running = matches!(self.phase, Phase::Running) && betrayal.is_none();
        if let Some(number) = claim.assignment {
            self.queue.push_back(Action::Start(number, if running { starts } else { Vec::new() }));
        } else if running {
            for (tp, offset) in starts {
                // What is delivered anew is judged anew: the source says it again once it has come to it.
                self.betrayals.remove(&tp);
                self.queue.push_back(Action::Restart(tp, offset));
            }
        }
        if let Some(halt) = betrayal {
            self.halt(halt);
        }
    }

    /// Sends a claim once more, for what is still to be claimed of it.
    pub(super) fn claim_again(&mut self, id: u64) {
        let Some(at) = self.claims.iter().position(|c| c.id == id) else { return };
        let Self { partitions, claims, .. } = self;
        let claim = &mut claims[at];
        claim.partitions.retain(|(bounds, run)| partitions.get(&bounds.partition).is_some_and(|p| p.run == *run));
        if claim.partitions.is_empty() || !matches!(self.phase, Phase::Running) {
            return self.give_up_claim(at);
        }
        let bounds = claim.partitions.iter().map(|(b, _)| b.clone()).collect();
        self.queue.push_back(Action::Claim(id, bounds));
    }

    fn give_up_claim(&mut self, at: usize) {
        if let Some(number) = self.claims.swap_remove(at).assignment {
            self.queue.push_back(Action::Start(number, Vec::new()));
        }
    }

    /// Nobody waits for a claim any longer.
    pub(super) fn drop_claims(&mut self) {
        while !self.claims.is_empty() {
            self.give_up_claim(0);
        }
    }

    /// Gives up a partition's claim, and what was computed under it; the new run is what it waits in to be claimed again.
    pub(super) fn let_go(&mut self, tp: &TopicPartition) -> u64 {
        let run = self.id();
        if let Some(partition) = self.partitions.get_mut(tp) {
            partition.run = run;
            partition.claim = Claim::Fenced;
            partition.data = false;
            discard_chunks(partition, &mut self.queue);
            self.queue.push_back(Action::Release(tp.clone()));
        }
        run
    }

    // ---- looking ----

    pub(super) fn tick(&mut self) {
        self.writers.iter_mut().for_each(|w| w.open.ticks += 1);
        self.partitions.values_mut().for_each(|p| p.unseen_ticks = p.unseen_ticks.saturating_add(1));
        let due = self.partitions.values().any(|p| p.is_at_rest() && p.unseen_ticks >= self.limits.look_ticks);
        if !due || self.look.is_some() || !matches!(self.phase, Phase::Running) {
            return;
        }
        let id = self.id();
        let resting = self.partitions.iter_mut().filter(|(_, p)| p.is_at_rest());
        let partitions = resting.map(|(tp, p)| {
            p.unseen_ticks = 0;
            (tp.clone(), p.run, p.folded)
        });
        self.look = Some(Look { id, partitions: partitions.collect() });
        self.queue.push_back(Action::Look(id));
    }

    /// A failover may have lost commits, and a partition to which nothing comes meets no fence: where its checkpoint does not stand, it
    /// is claimed anew. (A look that fails says nothing; the next one follows.)
    pub(super) fn looked(&mut self, id: u64, outcome: Result<Vec<Checkpoint>, Failure>) {
        let Some(look) = self.look.take_if(|look| look.id == id) else { return };
        let (Ok(checkpoints), Phase::Running) = (outcome, &self.phase) else { return };
        let mut lost = Vec::new();
        for (tp, run, committed) in look.partitions {
            let Some(partition) = self.partitions.get(&tp) else { continue };
            let Claim::Active(owner_epoch) = partition.claim else { continue };
            if partition.run != run || partition.folded != committed || !partition.is_at_rest() {
                continue;
            }
            let stored = checkpoints.iter().find(|c| c.partition == tp);
            let stands = stored.is_some_and(|c| match c.owner_epoch.cmp(&owner_epoch) {
                std::cmp::Ordering::Less => false,
                std::cmp::Ordering::Equal => c.next_offset == committed,
                // Somebody else's since, and nothing is lost: whoever of us is not the owner will hear of it. Claiming it back would
                // let two engines take it from each other for as long as one of them does not hear.
                std::cmp::Ordering::Greater => c.next_offset >= committed,
            });
            if !stands {
                self.queue.push_back(Action::Lost(tp.clone(), committed, stored.map(|c| c.next_offset)));
                lost.push(tp);
            }
        }
        for tp in &lost {
            self.let_go(tp);
        }
        self.claim(lost, None);
    }
}

impl Partition {
    /// Ours, and all that was folded of it is committed.
    fn is_at_rest(&self) -> bool {
        matches!(self.claim, Claim::Active(_)) && self.committed == Some(self.folded)
    }
}

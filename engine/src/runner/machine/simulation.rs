//! Seeded schedules against a model: two engines, one database, a log with holes; rebalances, zombies, lost replies, fences,
//! database failovers that lose commits, faults of events found by the plugin and by the database, logs that do not go on; builds
//! that take over, pauses, and ends of taking.
//!
//! Checked at every commit: the rows are exactly the visible offsets of `[expected, next)`. Checked at the end: after the
//! faults have healed, every partition was applied to its end, each offset once, or the halt stands at the first event at fault.

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Default)]
struct Database {
    checkpoints: BTreeMap<TopicPartition, (i64, i64)>,
    rows: BTreeMap<TopicPartition, Vec<i64>>,
}

/// The log: visible offsets of each partition, its end, and the events at fault.
struct Log {
    visible: BTreeMap<TopicPartition, Vec<i64>>,
    end: i64,
    plugin_fault: Option<(TopicPartition, i64)>,
    database_fault: Option<(TopicPartition, i64)>,
    /// Where partitions' logs do not go on.
    torn: BTreeMap<TopicPartition, i64>,
    /// How many rows the database writes in time, where it is slow.
    rows_in_time: Option<usize>,
}

impl Log {
    /// Up to where the source delivers a partition.
    fn end_of(&self, tp: &TopicPartition) -> i64 {
        self.torn.get(tp).copied().unwrap_or(self.end)
    }
}

fn betrayal(tp: &TopicPartition, offset: i64) -> Halt {
    let at = crate::error::HaltAt { topic: tp.topic.to_string(), partition: tp.partition, offset, key: None };
    Halt { code: "torn", reason: String::new(), remedy: String::new(), at: Some(at) }
}

type Rows = Vec<(TopicPartition, i64)>;

struct Engine {
    machine: Machine,
    /// Where the source reads on, of what it was told to deliver.
    positions: BTreeMap<TopicPartition, i64>,
    /// What the source was given, each with the number of the assignment.
    assigned: BTreeMap<TopicPartition, u64>,
    /// The assignments that wait for their answer.
    unanswered: BTreeMap<u64, Vec<TopicPartition>>,
    assignments: u64,
    chunks: BTreeMap<ChunkId, (TopicPartition, Vec<i64>, i64)>,
    open: Vec<Rows>,
    under_way: Vec<(Rows, Vec<Advance>)>,
    pending: Vec<Action>,
    /// What the database has said, and the machine has not heard yet.
    answers: Vec<Input>,
    /// How often it was said that the database has lost commits.
    lost: usize,
    /// Commits that met the fence.
    fenced: usize,
    halted: bool,
    stopped: bool,
    frozen: bool,
    /// How often another build took over; chunks keep the number of the build that they were last applied by.
    build: usize,
    applied_by: BTreeMap<ChunkId, usize>,
    until: BTreeMap<TopicPartition, i64>,
    /// Where the source has said that the log does not go on.
    betrayed: BTreeSet<TopicPartition>,
}

fn failure(kind: ErrorKind) -> Failure {
    let halt = Halt { code: "simulated", reason: String::new(), remedy: String::new(), at: None };
    Failure { kind, halt }
}

impl Engine {
    fn new(limits: Limits) -> Self {
        Self {
            machine: Machine::new(limits),
            positions: BTreeMap::new(),
            assigned: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            assignments: 0,
            chunks: BTreeMap::new(),
            open: vec![Vec::new(); limits.writers],
            under_way: vec![(Vec::new(), Vec::new()); limits.writers],
            pending: Vec::new(),
            answers: Vec::new(),
            lost: 0,
            fenced: 0,
            halted: false,
            stopped: false,
            frozen: false,
            build: 0,
            applied_by: BTreeMap::new(),
            until: BTreeMap::new(),
            betrayed: BTreeSet::new(),
        }
    }

    fn assign(&mut self, log: &Log, random: &mut Random, partitions: &[TopicPartition]) {
        self.assignments += 1;
        self.assigned.extend(partitions.iter().map(|tp| (tp.clone(), self.assignments)));
        self.unanswered.insert(self.assignments, partitions.to_vec());
        // The end may be an old one: another owner goes on while the claim is on its way.
        let end = random.below(log.end as usize + 1) as i64;
        let bounds =
            partitions.iter().map(|tp| LogBounds { partition: tp.clone(), start: 0, end, topic_id: None }).collect();
        self.input(log, random, Input::Assigned(self.assignments, bounds));
    }

    fn revoke(&mut self, log: &Log, random: &mut Random, tp: &TopicPartition) {
        self.assigned.remove(tp);
        self.positions.remove(tp);
        self.betrayed.remove(tp);
        self.input(log, random, Input::Revoked(vec![tp.clone()]));
    }

    fn input(&mut self, log: &Log, random: &mut Random, input: Input) {
        self.machine.input(input);
        while let Some(action) = self.machine.next() {
            match action {
                Action::Start(number, offsets) => {
                    let of_assignment = self.unanswered.remove(&number);
                    let of_assignment = of_assignment.unwrap_or_else(|| panic!("assignment {number} answered twice"));
                    for (tp, offset) in offsets {
                        assert!(of_assignment.contains(&tp), "{tp} was not of assignment {number}");
                        // As the source does it: an answer to an earlier assignment than the partition's last one moves nothing.
                        if self.assigned.get(&tp) == Some(&number) {
                            self.positions.insert(tp, offset);
                        }
                    }
                }
                Action::Restart(tp, offset) => {
                    if self.assigned.contains_key(&tp) {
                        self.betrayed.remove(&tp);
                        self.positions.insert(tp, offset);
                    }
                }
                Action::Claim(id, bounds) => {
                    let ours = |bounds: &LogBounds| self.assigned.contains_key(&bounds.partition);
                    assert!(bounds.iter().all(ours), "claims what is somebody else's: {bounds:?}");
                    self.pending.push(Action::Claim(id, bounds));
                }
                Action::Lost(..) => self.lost += 1,
                Action::Release(tp) => drop(self.positions.remove(&tp)),
                Action::Take(id, tp, events_max, before) => {
                    let taken = self.take(log, random, id, &tp, (events_max, before));
                    self.machine.input(Input::Taken(id, taken));
                }
                Action::Fold(id, writer) => {
                    let (tp, offsets, next) = self.chunks.remove(&id).unwrap();
                    assert!(
                        offsets.is_empty() || self.applied_by.get(&id) == Some(&self.build),
                        "folded from another build"
                    );
                    let fault = offsets.iter().position(|&o| log.plugin_fault == Some((tp.clone(), o)));
                    let good = fault.unwrap_or(offsets.len());
                    self.open[writer].extend(offsets[..good].iter().map(|&o| (tp.clone(), o)));
                    let (next, halt) = match fault {
                        Some(at) => (offsets[at], Some(failure(ErrorKind::Poison).halt)),
                        None => (next, None),
                    };
                    let full = self.open[writer].len() >= 5 && random.one_in(4);
                    self.machine.input(Input::Folded(id, next, full, halt));
                }
                Action::Discard(id) => drop(self.chunks.remove(&id)),
                Action::DiscardSets(writer) => {
                    self.open[writer].clear();
                    self.under_way[writer] = (Vec::new(), Vec::new());
                }
                Action::Commit(writer, advances) => {
                    let mut partitions: Vec<_> = advances.iter().map(|a| &a.partition).collect();
                    partitions.dedup();
                    assert_eq!(partitions.len(), advances.len(), "one advance a partition");
                    self.under_way[writer] = (std::mem::take(&mut self.open[writer]), advances);
                    self.pending.push(Action::CommitAgain(writer));
                }
                Action::Reload => {
                    assert!(self.open.iter().all(Vec::is_empty), "what another build has folded is committed first");
                    assert!(
                        !self.pending.iter().any(|action| matches!(action, Action::CommitAgain(_) | Action::Apply(_)))
                    );
                    self.build += 1;
                    self.machine.input(Input::Reloaded);
                }
                Action::Halted(_) => self.halted = true,
                Action::Stopped => self.stopped = true,
                slow => self.pending.push(slow),
            }
        }
    }

    fn take(
        &mut self,
        log: &Log,
        random: &mut Random,
        id: ChunkId,
        tp: &TopicPartition,
        (events_max, before): (usize, i64),
    ) -> Option<Taken> {
        let position = self.positions.get_mut(tp)?;
        let end = log.end_of(tp);
        if *position >= end || random.one_in(8) {
            return None;
        }
        let end = end.min(before);
        let ahead = log.visible[tp].iter().copied().filter(|o| o >= position && *o < end);
        let events: Vec<i64> = ahead.take(1 + random.below(events_max)).collect();
        let next_offset = match events.last() {
            Some(last) if random.one_in(2) => last + 1,
            // Up to the next visible event: markers and holes are passed.
            Some(last) => log.visible[tp].iter().copied().find(|o| o > last && *o < end).unwrap_or(end),
            None => end,
        };
        *position = next_offset;
        let full = events.len() >= events_max;
        let taken = Taken { events: events.len(), bytes: events.len() * 10, next_offset, full };
        self.chunks.insert(id, (tp.clone(), events, next_offset));
        Some(taken)
    }

    /// What the plugin returns for a chunk; now and then that is so much that it comes to a part of the events only.
    fn returned(&mut self, random: &mut Random, id: ChunkId) -> Returned {
        let Some((_, events, next_offset)) = self.chunks.get_mut(&id) else {
            return Returned { bytes: 10, cut: None };
        };
        let bytes = events.len() * random.below(20);
        if events.len() < 2 || !random.one_in(6) {
            return Returned { bytes, cut: None };
        }
        let count = 1 + random.below(events.len() - 1);
        *next_offset = events[count];
        events.truncate(count);
        Returned { bytes: 50, cut: Some((count, *next_offset)) }
    }

    /// A partition in which the source stands where the log is torn, and has not said so.
    fn meets_betrayal(&self, log: &Log) -> Option<(TopicPartition, i64)> {
        let stands = |(tp, at): &(&TopicPartition, &i64)| self.positions.get(tp).is_some_and(|position| position >= at);
        let (tp, at) = log.torn.iter().filter(stands).find(|(tp, _)| !self.betrayed.contains(tp))?;
        Some((tp.clone(), *at))
    }

    /// Carries out one slow action, whichever.
    fn step(&mut self, log: &Log, database: &mut Database, random: &mut Random, trouble: bool) {
        if !self.answers.is_empty() && random.one_in(4) {
            let answer = self.answers.swap_remove(random.below(self.answers.len()));
            return self.input(log, random, answer);
        }
        if self.pending.is_empty() || random.one_in(20) {
            let input = match (random.below(4), self.meets_betrayal(log)) {
                // The source says that the log does not go on once it has delivered what comes before.
                (0, Some((tp, at))) => {
                    let halt = betrayal(&tp, at);
                    self.betrayed.insert(tp);
                    Input::Betrayed(halt)
                }
                (0 | 1, _) => Input::Tick,
                _ => Input::Ready,
            };
            return self.input(log, random, input);
        }
        let action = self.pending.swap_remove(random.below(self.pending.len()));
        let input = match action {
            Action::Claim(id, _) if trouble && random.one_in(6) => {
                Input::Claimed(id, Err(failure(ErrorKind::Transient)))
            }
            Action::Claim(id, bounds) => Input::Claimed(id, Ok(database.claim(&bounds))),
            Action::Apply(id) if trouble && random.one_in(20) => Input::Applied(id, Err(failure(ErrorKind::Transient))),
            Action::Apply(id) => {
                self.applied_by.insert(id, self.build);
                Input::Applied(id, Ok(self.returned(random, id)))
            }
            Action::CommitAgain(writer) => {
                let (rows, advances) = self.under_way[writer].clone();
                let outcome = database.commit(log, &rows, &advances, random, trouble);
                self.fenced += usize::from(matches!(outcome, Err(CommitFailure::Fenced(_))));
                Input::Committed(writer, outcome)
            }
            Action::Reread(writer) if trouble && random.one_in(4) => {
                Input::Reread(writer, Err(failure(ErrorKind::Transient)))
            }
            Action::Reread(writer) => Input::Reread(writer, Ok(database.read())),
            Action::Look(id) if trouble && random.one_in(4) => Input::Looked(id, Err(failure(ErrorKind::Transient))),
            Action::Look(id) => Input::Looked(id, Ok(database.read())),
            Action::BackOff(wait, _) => Input::Retry(wait),
            other => unreachable!("{other:?}"),
        };
        // Much may happen before the answer is heard.
        if trouble && random.one_in(3) {
            self.answers.push(input);
        } else {
            self.input(log, random, input);
        }
    }
}

impl Database {
    fn read(&self) -> Vec<Checkpoint> {
        let checkpoint = |(tp, &(next_offset, owner_epoch)): (&TopicPartition, &(i64, i64))| Checkpoint {
            partition: tp.clone(),
            next_offset,
            owner_epoch,
            topic_id: None,
        };
        self.checkpoints.iter().map(checkpoint).collect()
    }

    fn claim(&mut self, bounds: &[LogBounds]) -> Vec<Checkpoint> {
        for bounds in bounds {
            self.checkpoints.entry(bounds.partition.clone()).or_insert((bounds.start, 0)).1 += 1;
        }
        self.read()
    }

    fn commit(
        &mut self,
        log: &Log,
        rows: &Rows,
        advances: &[Advance],
        random: &mut Random,
        trouble: bool,
    ) -> Result<(), CommitFailure> {
        if trouble && random.one_in(6) {
            return Err(CommitFailure::Failed(failure(ErrorKind::Transient)));
        }
        if trouble && random.one_in(10) {
            return Err(unanswered(random));
        }
        // The database is slow: larger sets are never in in time, however often they are sent.
        if log.rows_in_time.is_some_and(|most| rows.len() > most) {
            return Err(CommitFailure::Overdue);
        }
        let misses = |a: &&Advance| self.checkpoints.get(&a.partition) != Some(&(a.expected, a.owner_epoch));
        let fenced: Vec<_> = advances.iter().filter(misses).map(|a| a.partition.clone()).collect();
        if !fenced.is_empty() {
            return Err(CommitFailure::Fenced(fenced));
        }
        if rows.iter().any(|row| log.database_fault.as_ref() == Some(row)) {
            return Err(CommitFailure::Failed(failure(ErrorKind::Poison)));
        }
        for a in advances {
            let expected: Vec<i64> =
                log.visible[&a.partition].iter().copied().filter(|o| (a.expected..a.next).contains(o)).collect();
            let got: Vec<i64> = rows.iter().filter(|(tp, _)| *tp == a.partition).map(|(_, o)| *o).collect();
            assert_eq!(got, expected, "{a:?}");
            self.rows.entry(a.partition.clone()).or_default().extend(got);
            self.checkpoints.insert(a.partition.clone(), (a.next, a.owner_epoch));
        }
        assert!(rows.iter().all(|(tp, _)| advances.iter().any(|a| a.partition == *tp)), "rows without a checkpoint");
        if trouble && random.one_in(8) {
            return Err(unanswered(random));
        }
        Ok(())
    }
}

fn unanswered(random: &mut Random) -> CommitFailure {
    if random.one_in(2) { CommitFailure::Overdue } else { CommitFailure::Unknown }
}

fn log(random: &mut Random) -> (Log, Vec<TopicPartition>) {
    let end = 40 + random.below(60) as i64;
    let partitions: Vec<_> = (0..1 + random.below(3)).map(|p| TopicPartition::new("orders", p as i32)).collect();
    let visible: BTreeMap<_, Vec<i64>> =
        partitions.iter().map(|tp| (tp.clone(), (0..end).filter(|_| !random.one_in(5)).collect())).collect();
    let mut fault = |one_in| {
        let tp = partitions[random.below(partitions.len())].clone();
        let at = visible[&tp].get(random.below(end as usize)).copied();
        if random.one_in(one_in) { at.map(|o| (tp, o)) } else { None }
    };
    let (plugin_fault, database_fault) = (fault(6), fault(6));
    let torn = [fault(6), fault(6)].into_iter().flatten().collect();
    let rows_in_time = if random.one_in(4) { Some(1 + random.below(5)) } else { None };
    (Log { visible, end, plugin_fault, database_fault, torn, rows_in_time }, partitions)
}

/// Gives each partition to one of the engines; a frozen engine does not hear of it yet.
fn rebalance(engines: &mut [Engine], log: &Log, partitions: &[TopicPartition], random: &mut Random) {
    let mut gains = vec![Vec::new(); engines.len()];
    for tp in partitions {
        let owner = random.below(engines.len());
        for (index, engine) in engines.iter_mut().enumerate() {
            if index != owner && engine.assigned.contains_key(tp) && !engine.frozen {
                engine.revoke(log, random, tp);
            }
        }
        let engine = &mut engines[owner];
        if !engine.frozen && !engine.assigned.contains_key(tp) {
            gains[owner].push(tp.clone());
        }
    }
    for (engine, gained) in engines.iter_mut().zip(gains) {
        // Now in one assignment, now each in its own.
        let size = if random.one_in(2) { 1 } else { partitions.len() };
        gained.chunks(size).for_each(|some| engine.assign(log, random, some));
    }
}

fn run(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..8 {
        random.below(2);
    }
    let (log, partitions) = log(&mut random);
    let batch_events_max = [1, 3, 10, 50][random.below(4)];
    let limits = Limits {
        chunk_events_max: 1 + random.below(10),
        waiting_events_max: 20,
        open_ticks_max: 1 + random.below(3) as u32,
        batch_events_max,
        batch_bytes_max: 10_000,
        waiting_bytes_max: 1 + random.below(300),
        chunk_bytes_max: 40,
        look_ticks: 1 + random.below(5) as u32,
        sandbox_slots: 1 + random.below(3),
        writers: 1 + random.below(2),
    };
    let mut database = Database::default();
    let mut engines = [Engine::new(limits), Engine::new(limits)];
    rebalance(&mut engines, &log, &partitions, &mut random);
    let mut backup = database.clone();
    let calm = seed.is_multiple_of(5);
    let mut restored = false;
    for _ in 0..if calm { 0 } else { random.below(600) } {
        match random.below(60) {
            0 => rebalance(&mut engines, &log, &partitions, &mut random),
            1 => engines[random.below(2)].frozen ^= true,
            2 => backup = database.clone(),
            3 if random.one_in(3) => {
                database = backup.clone();
                restored = true;
            }
            4 if random.one_in(10) => {
                // kill -9 and a new process.
                let index = random.below(2);
                engines[index] = Engine::new(limits);
                rebalance(&mut engines, &log, &partitions, &mut random);
            }
            5 => {
                let engine = &mut engines[random.below(2)];
                if !engine.frozen {
                    let input = match random.below(4) {
                        0 | 1 => Input::Reload,
                        2 => Input::Pause(random.one_in(2)),
                        _ => {
                            engine.until = partitions
                                .iter()
                                .map(|tp| (tp.clone(), random.below(log.end as usize) as i64))
                                .collect();
                            Input::Until(engine.until.clone())
                        }
                    };
                    engine.input(&log, &mut random, input);
                }
            }
            _ => {
                let index = random.below(2);
                if !engines[index].frozen {
                    engines[index].step(&log, &mut database, &mut random, true);
                }
            }
        }
    }
    let lost: usize = engines.iter().map(|engine| engine.lost).sum();
    assert!(restored || lost == 0, "seed {seed}: nothing was lost, and yet it is said");
    heal(&mut engines, &log, &partitions, &mut database, &mut random, (seed, calm));
}

/// Without further trouble everything must reach its end.
fn heal(
    engines: &mut [Engine; 2],
    log: &Log,
    partitions: &[TopicPartition],
    database: &mut Database,
    random: &mut Random,
    (seed, calm): (u64, bool),
) {
    for engine in engines.iter_mut() {
        engine.frozen = false;
        engine.input(log, random, Input::Pause(false));
        engine.input(log, random, Input::Until(BTreeMap::new()));
    }
    // Zombies learn what they have lost, and one engine gets everything; in half of the schedules it keeps what it has, so that nothing but
    // itself tells it what the database has lost meanwhile.
    let keeps = random.one_in(2);
    for tp in partitions {
        let kept = keeps && engines[0].assigned.contains_key(tp);
        if engines[1].assigned.contains_key(tp) {
            engines[1].revoke(log, random, tp);
        }
        if !kept {
            engines[0].revoke(log, random, tp);
            engines[0].assign(log, random, std::slice::from_ref(tp));
        }
    }
    let done = |engines: &[Engine; 2], database: &Database| {
        engines[0].halted || partitions.iter().all(|tp| database.checkpoints.get(tp).is_some_and(|c| c.0 == log.end))
    };
    let backup = database.clone();
    let mut lost = false;
    for failover in [false, true] {
        if failover && random.one_in(2) {
            // The database comes back without its last commits, and nothing new comes to the log.
            *database = backup.clone();
            lost = true;
        }
        for _ in 0..200_000 {
            if done(engines, database) {
                break;
            }
            engines[random.below(2)].step(log, database, random, false);
        }
        assert!(done(engines, database), "seed {seed}: stuck at {:?} {:?}", database.checkpoints, engines[0].machine);
    }
    let first_fault = |tp: &TopicPartition| {
        let faults = [&log.plugin_fault, &log.database_fault].into_iter().flatten();
        faults.filter(|(t, _)| t == tp).map(|(_, o)| *o).chain(log.torn.get(tp).copied()).min()
    };
    for tp in partitions {
        let next = database.checkpoints.get(tp).map_or(0, |c| c.0);
        let expected: Vec<i64> = log.visible[tp].iter().copied().filter(|&o| o < next).collect();
        assert_eq!(database.rows.get(tp).cloned().unwrap_or_default(), expected, "seed {seed}: {tp}");
        if let Some(fault) = first_fault(tp) {
            assert!(next <= fault, "seed {seed}: {tp} went past the fault at {fault}");
        }
    }
    // A set may be fenced (by a claim of before, that only comes now) or too late while it is the last one before the halt: it is applied
    // after a restart.
    let undisturbed = calm && !lost && log.rows_in_time.is_none() && engines[0].fenced == 0;
    let torn: Vec<_> = log.torn.iter().collect();
    if let (None, None, [(tp, at)], true) = (&log.plugin_fault, &log.database_fault, &torn[..], undisturbed) {
        let before: Vec<i64> = log.visible[*tp].iter().copied().filter(|o| o < at).collect();
        assert_eq!(
            database.rows.get(*tp).cloned().unwrap_or_default(),
            before,
            "seed {seed}: all before the tear is applied"
        );
    }
    let faulty = partitions.iter().any(|tp| first_fault(tp).is_some());
    assert_eq!(engines[0].halted, faulty, "seed {seed}: halted exactly where an event is at fault");
    if engines[0].halted {
        let stands = partitions
            .iter()
            .any(|tp| first_fault(tp).is_some_and(|f| database.checkpoints.get(tp).is_none_or(|c| c.0 <= f)));
        assert!(stands, "seed {seed}");
    }
    engines[0].input(log, random, Input::Stop);
    for _ in 0..1000 {
        if !engines[0].stopped {
            engines[0].step(log, database, random, false);
        }
    }
    assert!(engines[0].stopped, "seed {seed}: stops");
    assert!(engines[0].unanswered.is_empty(), "seed {seed}: the source waits for an answer");
}

#[test]
fn ten_thousand_schedules_leave_every_table_the_fold_of_its_log() {
    for seed in 1..=10_000 {
        run(seed);
    }
}

/// Two partitions are found torn while chunks of both are in the sandbox, and one of them is revoked: the other is named when its turn comes.
#[test]
fn a_betrayal_is_met_although_another_one_came_before_it() {
    let (p0, p1) = (TopicPartition::new("orders", 0), TopicPartition::new("orders", 1));
    let limits = Limits {
        chunk_events_max: 10,
        waiting_events_max: 20,
        batch_events_max: 20,
        batch_bytes_max: 1000,
        waiting_bytes_max: 1000,
        chunk_bytes_max: 1000,
        open_ticks_max: 1,
        look_ticks: 1000,
        sandbox_slots: 2,
        writers: 1,
    };
    let mut machine = Machine::new(limits);
    let bounds = |tp: &TopicPartition| LogBounds { partition: tp.clone(), start: 0, end: 9, topic_id: None };
    let mut inputs = VecDeque::from([Input::Assigned(1, vec![bounds(&p0), bounds(&p1)])]);
    let (mut in_sandbox, mut halt) = (Vec::new(), None);
    let mut taken = BTreeSet::new();
    let mut database = Database::default();
    while let Some(input) = inputs.pop_front() {
        machine.input(input);
        while let Some(action) = machine.next() {
            match action {
                Action::Claim(id, bounds) => inputs.push_back(Input::Claimed(id, Ok(database.claim(&bounds)))),
                Action::Take(id, tp, ..) => {
                    let one = Taken { events: 1, bytes: 1, next_offset: 1, full: false };
                    machine.input(Input::Taken(id, taken.insert(tp).then_some(one)));
                }
                Action::Apply(id) => in_sandbox.push(id),
                Action::Fold(id, _) => machine.input(Input::Folded(id, 1, false, None)),
                Action::Commit(writer, _) => inputs.push_back(Input::Committed(writer, Ok(()))),
                Action::Halted(why) => halt = why.at,
                _ => {}
            }
        }
        if in_sandbox.len() == 2 {
            inputs.extend([betrayal(&p0, 1), betrayal(&p1, 1)].map(Input::Betrayed));
            inputs.push_back(Input::Revoked(vec![p0.clone()]));
            let done = Returned { bytes: 1, cut: None };
            inputs.extend(in_sandbox.drain(..).map(|id| Input::Applied(id, Ok(done))));
        }
    }
    assert_eq!(halt.map(|at| (at.partition, at.offset)), Some((1, 1)));
}

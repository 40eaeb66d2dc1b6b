//! One projection generation's data plane: from the source through the plugin into the sink.
//!
//! What to do next is decided by the pure state machine in `runner/machine.rs`; here its actions are carried out and their outcomes told. Invariants: the
//! loop never waits for the database, the sandbox or a clock (each runs in a task that reports with a message); a
//! database future is never dropped; WASM has run before a transaction opens.
//!
//! ```text
//! Source::take -> Decoder::decode -> Plugin::apply -> ChangeSet::push_event -> Writer::commit
//!      ^ restart at the checkpoint                             (rows and checkpoint, one transaction) |
//!      +---------------------------------------- machine <--------------------------------------------+
//! ```

mod bounds;
mod commits;
mod halts;
mod lane;
mod machine;
mod status;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::change::{Change, Schema};
use crate::checkpoint::{Checkpoint, Generation, LogBounds};
use crate::error::{ErrorKind, Halt, HaltAt};
use crate::event::{Event, EventBatch, TopicPartition};
use crate::format::Decoder;
use crate::plugin::{APPLIED_BYTES_MAX, Applied, Plugin};
use crate::sink::{CommitError, Sink, SinkError, Writer};
use crate::source::{Source, SourceError, SourceEvent, StartReply};
use crate::trace::{Origin, Spans, Tracer};

use bounds::{Allowance, is_enough, is_heavy, limits};
use halts::{ApplyError, Fault, internal_error, sink_failure};
use lane::{Batch, Lane, Size};
use machine::{Action, ChunkId, Input, Machine, Returned, Taken, Wait};
pub use status::{Counters, Histogram, PartitionStatus, ProjectionStatus, State};

/// How often an idle loop looks at ends and publishes its status.
const TICK: Duration = Duration::from_millis(250);

/// Bytes of events in one call of the plugin: small beside its memory, large beside the cost of a call.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Makes the source of a generation, once the sink is open.
pub type MakeSource = Box<dyn FnOnce(&Generation) -> Result<Box<dyn Source>, SourceError> + Send>;

/// What a runner is made of.
pub struct Parts {
    /// The build that runs.
    pub plugin: Arc<Plugin>,
    /// The file that it was read from.
    pub plugin_file: String,
    /// What its topics are written in.
    pub decoder: Decoder,
    /// Which generation it writes; its tables are there.
    pub generation: Generation,
    /// Where its events come from.
    pub make_source: MakeSource,
    /// Where its rows go.
    pub sink: Arc<dyn Sink>,
    /// Events in one commit, at most.
    pub batch_events_max: usize,
    /// Event bytes in one commit, at most about.
    pub batch_bytes_max: usize,
    /// Writers that commit side by side, where the projection is not serial.
    pub writers: usize,
    /// Calls of the plugin at once.
    pub sandbox_slots: usize,
    /// How it is filled.
    pub pace: Pace,
    /// Events per second at most.
    pub rate_max: Option<u32>,
    /// Whether it begins paused.
    pub paused: bool,
    /// Where spans of its commits go, if anywhere.
    pub tracer: Option<Tracer>,
}

/// How a generation is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As events come: what arrives alone is visible at once.
    Live,
    /// As fast as it goes, for a generation that nobody reads yet: large change sets, one writer, bulk copies.
    Bulk,
}

/// What a running projection is told.
enum Command {
    Pause(bool),
    Until(BTreeMap<TopicPartition, i64>, oneshot::Sender<()>),
    Reload(Arc<Plugin>, String, oneshot::Sender<()>),
}

/// A running projection generation.
pub struct Runner {
    status: watch::Receiver<ProjectionStatus>,
    stop: mpsc::Sender<()>,
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl Runner {
    /// Starts the projection in a task of its own.
    pub fn start(parts: Parts) -> Self {
        let (publish, status) = watch::channel(status::starting(&parts));
        let (stop, stopped) = mpsc::channel(1);
        let (commands, told) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(parts, publish, stopped, told).boxed());
        Self { status, stop, commands, task }
    }

    /// Takes no events until further notice, or takes them again; what was taken is still applied.
    pub fn pause(&self, paused: bool) {
        self.tell(Command::Pause(paused));
    }

    /// Takes no event at or behind these offsets until further notice; partitions left out are free. Answered once all in front of them
    /// that is here is committed, and nothing else is under way.
    pub fn until(&self, offsets: BTreeMap<TopicPartition, i64>) -> oneshot::Receiver<()> {
        let (held, answer) = oneshot::channel();
        self.tell(Command::Until(offsets, held));
        answer
    }

    /// Lets another build of the same tables, topics and lanes take over at the next boundary of a batch. What is returned is answered then;
    /// where the projection halts or ends first, it ends without an answer.
    pub fn reload(&self, plugin: Arc<Plugin>, plugin_file: String) -> oneshot::Receiver<()> {
        let (done, answer) = oneshot::channel();
        self.tell(Command::Reload(plugin, plugin_file, done));
        answer
    }

    fn tell(&self, command: Command) {
        // Where it has ended there is nobody to be told.
        self.commands.send(command).ok();
    }

    /// How it stands; published at least every quarter of a second.
    pub fn status(&self) -> watch::Receiver<ProjectionStatus> {
        self.status.clone()
    }

    /// Stops taking events, finishes or rolls back the commit that is under way, leaves the group.
    pub async fn stop(self) {
        // A full channel means that it was told already, a closed one that it has ended.
        self.stop.try_send(()).ok();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the projection's task did not end in good order");
        }
    }

    /// Whether its task has ended.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

/// What a task of the loop reports.
enum Message {
    Claimed(u64, Result<Vec<Checkpoint>, SinkError>),
    Applied(ChunkId, Result<Changes, ApplyError>, Duration),
    Committed(usize, Box<dyn Writer>, Box<Batch>, Result<(), CommitError>, Duration),
    Reread(usize, Result<Vec<Checkpoint>, SinkError>),
    Looked(u64, Result<Vec<Checkpoint>, SinkError>),
    Retry(Wait),
}

/// What came of a chunk.
struct Changes {
    of_events: Vec<Vec<Change>>,
    bytes: usize,
    fault: Option<Fault>,
}

struct ChunkData {
    batch: Arc<EventBatch>,
    changes: Vec<Vec<Change>>,
    /// What the changes take.
    bytes: usize,
    fault: Option<Fault>,
    /// When it was taken, where spans are made.
    taken: Option<SystemTime>,
}

struct Shell {
    plugin: Arc<Plugin>,
    decoder: Decoder,
    schema: Arc<Schema>,
    sink: Arc<dyn Sink>,
    generation: Generation,
    source: Box<dyn Source>,
    machine: Machine,
    lanes: Vec<Lane>,
    chunks: HashMap<ChunkId, ChunkData>,
    /// Those that wait for their schemas.
    undecoded: HashSet<ChunkId>,
    /// What the source waits for, by the number of the assignment.
    replies: HashMap<u64, StartReply>,
    messages: mpsc::UnboundedSender<Message>,
    /// The first unapplied events: (first offset after the chunk, timestamp of its first event).
    unapplied: HashMap<TopicPartition, VecDeque<(i64, i64)>>,
    /// The builds that wait to take over, the last one wins.
    reload: Option<(Arc<Plugin>, String)>,
    /// Who waits for that.
    reloading: Vec<oneshot::Sender<()>>,
    /// Who waits for the end of taking to be reached.
    holding: Option<oneshot::Sender<()>>,
    pace: Pace,
    allowance: Option<Allowance>,
    spans: Option<Spans>,
    /// Where the event comes from that the projection is about to halt at.
    fault: Option<(HaltAt, Origin)>,
    report: Report,
}

/// What is known for the status beside the machine's state.
struct Report {
    publish: watch::Sender<ProjectionStatus>,
    halt: Option<Halt>,
    stopped: bool,
    paused: bool,
    source_trouble: Option<String>,
    format_trouble: Option<String>,
    sink_trouble: Option<String>,
    commit_trouble: Option<String>,
    counters: Counters,
    rate: status::Rate,
    last_progress: Instant,
    last_sum: i64,
    last_event_at_us: Option<i64>,
    mirrored: HashMap<TopicPartition, i64>,
}

async fn run(
    parts: Parts,
    publish: watch::Sender<ProjectionStatus>,
    mut stop: mpsc::Receiver<()>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let schema = Arc::clone(parts.plugin.schema());
    let limits = limits(&parts, &schema);
    let generation = parts.generation.clone();
    let spans = parts.tracer.as_ref().map(|tracer| tracer.spans(&generation, parts.pace == Pace::Bulk));
    let source = match (parts.make_source)(&generation) {
        Ok(source) => source,
        Err(error) => {
            if let Some(spans) = spans {
                spans.halted(parts.plugin.digest(), &error.halt, &Origin::default());
            }
            halt_before_start(&publish, error.halt);
            stop.recv().await;
            return;
        }
    };
    let lane = |_| Lane::new(writer(&parts.sink, &generation, &parts.plugin, parts.pace), &schema);
    let (messages, mut inbox) = mpsc::unbounded_channel();
    let mut shell = Shell {
        lanes: (0..limits.writers).map(lane).collect(),
        plugin: parts.plugin,
        decoder: parts.decoder,
        schema,
        sink: parts.sink,
        generation,
        source,
        machine: Machine::new(limits),
        chunks: HashMap::new(),
        undecoded: HashSet::new(),
        replies: HashMap::new(),
        messages,
        unapplied: HashMap::new(),
        reload: None,
        reloading: Vec::new(),
        holding: None,
        pace: parts.pace,
        allowance: parts.rate_max.map(Allowance::new),
        spans,
        fault: None,
        report: Report::new(publish),
    };
    shell.pause(parts.paused);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stopping = false;
    while !shell.report.stopped {
        tokio::select! {
            event = shell.source.next() => shell.on_source(event),
            Some(message) = inbox.recv() => shell.on_message(message),
            _ = tick.tick() => {
                shell.input(Input::Tick);
                if shell.allowance.is_some() {
                    shell.input(Input::Ready);
                }
                shell.publish();
            }
            Some(command) = commands.recv() => shell.on_command(command),
            _ = stop.recv(), if !stopping => {
                stopping = true;
                shell.input(Input::Stop);
            }
        }
    }
    shell.publish();
    shell.source.close().await;
}

fn writer(sink: &Arc<dyn Sink>, generation: &Generation, plugin: &Plugin, pace: Pace) -> Box<dyn Writer> {
    match pace {
        Pace::Live => sink.writer(generation, plugin.schema(), plugin.digest()),
        Pace::Bulk => sink.bulk_writer(generation, plugin.schema(), plugin.digest()),
    }
}

fn halt_before_start(publish: &watch::Sender<ProjectionStatus>, halt: Halt) {
    publish.send_modify(|status| {
        tracing::error!(projection = status.name, %halt, "halted");
        status.state = State::Halted;
        status.waiting = None;
        status.halt = Some(halt);
    });
}

impl Shell {
    fn input(&mut self, input: Input) {
        self.machine.input(input);
        while let Some(action) = self.machine.next() {
            self.execute(action);
        }
        if self.machine.is_held()
            && let Some(held) = self.holding.take()
        {
            // Whoever asked may have gone.
            held.send(()).ok();
        }
    }

    fn on_source(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Assigned { partitions, reply } => {
                self.report.counters.rebalances += 1;
                // One may come while another one is being claimed.
                let number = self.report.counters.rebalances;
                self.replies.insert(number, reply);
                self.input(Input::Assigned(number, partitions));
            }
            SourceEvent::Revoked(partitions) => {
                self.report.counters.rebalances += 1;
                // What could not be written in time may be what has gone.
                self.lanes.iter_mut().for_each(|lane| lane.overdue = None);
                for partition in &partitions {
                    self.unapplied.remove(partition);
                    self.report.mirrored.remove(partition);
                }
                self.input(Input::Revoked(partitions));
            }
            SourceEvent::Ready => self.input(Input::Ready),
            SourceEvent::Recovered => {
                tracing::info!(projection = self.generation.projection, "the source works again");
                self.report.source_trouble = None;
            }
            SourceEvent::Failed(error) if error.kind == ErrorKind::Transient => {
                tracing::warn!(projection = self.generation.projection, %error, "waiting for the source");
                self.report.source_trouble = Some(error.to_string());
                self.publish();
            }
            SourceEvent::Failed(error) => self.input(Input::Betrayed(error.halt)),
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Pause(paused) => {
                self.pause(paused);
                self.publish();
            }
            Command::Until(offsets, held) => {
                // Whoever waited for the one before is told by its end that it does not hold any more.
                self.holding = Some(held);
                self.input(Input::Until(offsets));
            }
            Command::Reload(plugin, file, done) => {
                self.reload = Some((plugin, file));
                self.reloading.push(done);
                self.input(Input::Reload);
            }
        }
    }

    fn pause(&mut self, paused: bool) {
        self.report.paused = paused;
        self.input(Input::Pause(paused));
    }

    /// Lets the build that waits take over. Nothing is folded and every writer is at home.
    fn take_over(&mut self) {
        if let Some((plugin, file)) = self.reload.take() {
            self.schema = Arc::clone(plugin.schema());
            for lane in &mut self.lanes {
                lane.take_over(writer(&self.sink, &self.generation, &plugin, self.pace), &self.schema);
            }
            for chunk in self.chunks.values_mut() {
                chunk.changes.clear();
                chunk.fault = None;
            }
            self.report.publish.send_modify(|status| {
                status.plugin_digest = plugin.digest().to_owned();
                status.plugin_file = file;
                status.revision = plugin.schema().descriptor.revision;
            });
            self.plugin = plugin;
        }
        for done in self.reloading.drain(..) {
            // Whoever asked may have gone.
            done.send(()).ok();
        }
        self.machine.input(Input::Reloaded);
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Claimed(id, outcome) => {
                self.note_sink(outcome.as_ref().err());
                self.input(Input::Claimed(id, outcome.map_err(|error| sink_failure(&error))));
            }
            Message::Applied(id, outcome, took) => {
                self.report.counters.apply_seconds.observe(took.as_secs_f64());
                self.note_format(id, outcome.as_ref().err());
                let outcome = match outcome {
                    Ok(changes) => Ok(self.keep(id, changes)),
                    Err(error) => Err(error.failure()),
                };
                self.input(Input::Applied(id, outcome));
            }
            Message::Committed(lane, writer, batch, outcome, took) => {
                self.on_committed(lane, writer, batch, outcome, took);
            }
            Message::Reread(lane, outcome) => {
                self.note_sink(outcome.as_ref().err());
                self.input(Input::Reread(lane, outcome.map_err(|error| sink_failure(&error))));
                // The machine may have learnt that the set is in.
                self.after_commit(lane);
            }
            Message::Looked(id, outcome) => {
                self.input(Input::Looked(id, outcome.map_err(|error| sink_failure(&error))));
            }
            Message::Retry(wait) => {
                self.report.counters.retries += 1;
                self.input(Input::Retry(wait));
            }
        }
    }

    fn note_sink(&mut self, error: Option<&SinkError>) {
        match error {
            Some(error) if error.kind == ErrorKind::Transient => {
                if self.report.sink_trouble.is_none() {
                    tracing::warn!(projection = self.generation.projection, %error, "waiting for the database");
                }
                self.report.sink_trouble = Some(error.message.clone());
            }
            _ => self.report.sink_trouble = None,
        }
    }

    /// What hands events on may wait for the schema registry. Others go on meanwhile, so that each chunk that waits is known.
    fn note_format(&mut self, id: ChunkId, error: Option<&ApplyError>) {
        match error {
            Some(ApplyError::Format(error)) if error.kind == ErrorKind::Transient => {
                self.undecoded.insert(id);
                if self.report.format_trouble.is_none() {
                    tracing::warn!(projection = self.generation.projection, %error, "waiting for the schema registry");
                }
                self.report.format_trouble = Some(error.to_string());
                self.publish();
            }
            _ => {
                self.undecoded.remove(&id);
                if self.undecoded.is_empty() {
                    self.report.format_trouble = None;
                }
            }
        }
    }

    fn execute(&mut self, action: Action) {
        match action {
            Action::Claim(id, bounds) => self.claim(id, bounds),
            Action::Start(number, offsets) => {
                for (partition, _) in &offsets {
                    self.unapplied.remove(partition);
                }
                if let Some(reply) = self.replies.remove(&number) {
                    reply.start(offsets);
                }
            }
            Action::Restart(partition, offset) => {
                self.unapplied.remove(&partition);
                self.source.restart(&partition, offset);
            }
            Action::Release(partition) => self.source.release(&partition),
            Action::Take(id, partition, events_max, before) => self.take(id, partition, events_max, before),
            Action::Apply(id) => self.apply(id),
            Action::Fold(id, lane) => self.fold(id, lane),
            Action::Discard(id) => {
                self.chunks.remove(&id);
                self.note_format(id, None);
            }
            Action::Commit(lane, advances) => {
                self.close_set(lane, advances);
                self.commit(lane);
            }
            Action::CommitAgain(lane) => self.commit(lane),
            Action::DiscardSets(lane) => self.lanes[lane].discard(&self.schema),
            Action::Reload => self.take_over(),
            Action::Reread(lane) => self.read_checkpoints(move |outcome| Message::Reread(lane, outcome)),
            Action::Look(id) => self.read_checkpoints(move |outcome| Message::Looked(id, outcome)),
            Action::Lost(partition, known, stored) => {
                let projection = &self.generation.projection;
                tracing::warn!(
                    projection, %partition, known, ?stored,
                    "the database has lost commits: events are applied again from its checkpoint"
                );
            }
            Action::BackOff(wait, attempt) => {
                let messages = self.messages.clone();
                in_background(async move {
                    tokio::time::sleep(pause(attempt)).await;
                    // Without a receiver the projection has ended.
                    messages.send(Message::Retry(wait)).ok();
                });
            }
            Action::Halted(halt) => {
                tracing::error!(projection = self.generation.projection, %halt, "halted");
                if let Some(spans) = &self.spans {
                    let of_halt = |(at, _): &(HaltAt, Origin)| halt.at.as_ref() == Some(at);
                    let fault = self.fault.take().filter(of_halt).map(|(_, origin)| origin);
                    spans.halted(self.plugin.digest(), &halt, &fault.unwrap_or_default());
                }
                self.report.halt = Some(halt);
                self.publish();
            }
            Action::Stopped => self.report.stopped = true,
        }
    }

    fn claim(&self, id: u64, bounds: Vec<LogBounds>) {
        let (sink, generation, messages) = (Arc::clone(&self.sink), self.generation.clone(), self.messages.clone());
        in_background(async move {
            let outcome = sink.claim(&generation, &bounds).await;
            messages.send(Message::Claimed(id, outcome)).ok();
        });
    }

    fn read_checkpoints(&self, message: impl FnOnce(Result<Vec<Checkpoint>, SinkError>) -> Message + Send + 'static) {
        let (sink, generation, messages) = (Arc::clone(&self.sink), self.generation.clone(), self.messages.clone());
        in_background(async move {
            messages.send(message(sink.checkpoints(&generation).await)).ok();
        });
    }

    fn take(&mut self, id: ChunkId, partition: TopicPartition, mut events_max: usize, before: i64) {
        if let Some(allowance) = &mut self.allowance {
            events_max = events_max.min(allowance.events());
        }
        let batch =
            if events_max == 0 { None } else { self.source.take(&partition, events_max, CHUNK_BYTES_MAX, before) };
        if let (Some(allowance), Some(batch)) = (&mut self.allowance, &batch) {
            allowance.use_up(batch.events.len());
        }
        let taken = batch.as_ref().map(|batch| {
            let (events, bytes) = (batch.events.len(), batch.events.iter().map(Event::bytes).sum());
            let full = events >= events_max || bytes >= CHUNK_BYTES_MAX / 2;
            Taken { events, bytes, next_offset: batch.next_offset, full }
        });
        if let Some(batch) = batch {
            self.report.counters.consumed += batch.events.len() as u64;
            if let Some(first) = batch.events.first() {
                self.unapplied.entry(partition.clone()).or_default().push_back((batch.next_offset, first.timestamp_ms));
            }
            let taken = self.spans.as_ref().map(|_| SystemTime::now());
            let chunk = ChunkData { batch: Arc::new(batch), changes: Vec::new(), bytes: 0, fault: None, taken };
            self.chunks.insert(id, chunk);
        }
        self.machine.input(Input::Taken(id, taken));
    }

    fn apply(&self, id: ChunkId) {
        let Some(chunk) = self.chunks.get(&id) else { return };
        let (plugin, decoder, batch) = (Arc::clone(&self.plugin), self.decoder.clone(), Arc::clone(&chunk.batch));
        let messages = self.messages.clone();
        in_background(async move {
            let begun = Instant::now();
            let outcome = decode_and_apply(&decoder, &plugin, &batch).await;
            messages.send(Message::Applied(id, outcome, begun.elapsed())).ok();
        });
    }

    /// Keeps what came of a chunk until its turn comes. A plugin that returns very much is not asked for more than some events: the chunk ends there.
    fn keep(&mut self, id: ChunkId, Changes { of_events, bytes, fault }: Changes) -> Returned {
        let mut cut = None;
        if let Some(chunk) = self.chunks.get_mut(&id) {
            let events = &chunk.batch.events;
            if bytes >= APPLIED_BYTES_MAX
                && fault.is_none()
                && let Some(next) = events.get(of_events.len())
                && !of_events.is_empty()
            {
                cut = Some((of_events.len(), next.offset));
                let (partition, next_offset) = (chunk.batch.partition.clone(), next.offset);
                let events = events[..of_events.len()].to_vec();
                chunk.batch = Arc::new(EventBatch { partition, events, next_offset });
            }
            chunk.changes = of_events;
            chunk.bytes = bytes;
            chunk.fault = fault;
        }
        Returned { bytes, cut }
    }

    fn fold(&mut self, id: ChunkId, lane: usize) {
        let Some(chunk) = self.chunks.remove(&id) else {
            // The machine folds only chunks that were taken; nothing is in the set, so nothing moves.
            self.machine.input(Input::Halt(internal_error(&"a chunk is missing")));
            return;
        };
        let events = &chunk.batch.events;
        if !is_whole(events.len(), chunk.changes.len(), chunk.fault.is_some()) {
            // Folded, it would move the checkpoint over events whose changes nobody has.
            let (at, outcomes) = (&chunk.batch.partition, chunk.changes.len());
            let what = format!("{at}: {outcomes} outcomes came back for {} events", events.len());
            self.machine.input(Input::Halt(internal_error(&what)));
            return;
        }
        let (batch, taken) = (Arc::clone(&chunk.batch), chunk.taken);
        let folded = self.lanes[lane].fold(&self.schema, chunk, self.spans.as_ref());
        if let Some((name, halt)) = &folded.fault {
            *self.report.counters.faults.entry(name).or_default() += 1;
            if let (Some(spans), Some(at), Some(event)) = (&self.spans, &halt.at, batch.events.get(folded.events)) {
                let mut origin = Origin::default();
                spans.come(&mut origin, taken, std::slice::from_ref(event));
                self.fault = Some((at.clone(), origin));
            }
        }
        let Size { rows, changes, bytes } = self.lanes[lane].size();
        let full = is_heavy(self.pace, rows, changes, bytes) || self.pace == Pace::Bulk && is_enough(rows, changes);
        let fault = folded.fault.map(|(_, halt)| halt);
        self.machine.input(Input::Folded(id, folded.next_offset, full, fault));
    }

    /// Publishes the status, and tells the source how far its partitions are applied.
    fn publish(&mut self) {
        let checkpoints: Vec<(TopicPartition, i64)> =
            self.machine.checkpoints().map(|(partition, next)| (partition.clone(), next)).collect();
        for (partition, next) in &checkpoints {
            if let Some(waiting) = self.unapplied.get_mut(partition) {
                while waiting.front().is_some_and(|(chunk_next, _)| chunk_next <= next) {
                    waiting.pop_front();
                }
            }
        }
        let moved: Vec<(TopicPartition, i64)> = checkpoints
            .iter()
            .filter(|(partition, next)| self.report.mirrored.get(partition) != Some(next))
            .cloned()
            .collect();
        if !moved.is_empty() {
            self.source.committed(&moved);
            self.report.mirrored.extend(moved);
        }
        self.report.commit_trouble = self.lanes.iter().find_map(|lane| lane.overdue.clone());
        let ends = self.source.ends();
        let now = now_ms();
        let partitions = checkpoints.iter().map(|(partition, next)| {
            let end = ends.iter().find(|end| end.partition == *partition);
            let first =
                self.unapplied.get(partition).and_then(|waiting| waiting.front()).map(|(_, timestamp)| *timestamp);
            status::partition(partition, *next, end, first, now)
        });
        let partitions: Vec<PartitionStatus> = partitions.collect();
        self.report.publish(&self.generation, partitions, self.machine.is_quiet());
    }
}

/// Runs what tells the loop of its end. Boxed: tokio is compiled anew for each type of future.
fn in_background(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work.boxed());
}

/// The changes of the events in front of the first that is at fault, and what is wrong with that one.
async fn decode_and_apply(decoder: &Decoder, plugin: &Plugin, batch: &Arc<EventBatch>) -> Result<Changes, ApplyError> {
    let decoded = decoder.decode(batch).await.map_err(ApplyError::Format)?;
    let Applied { changes, bytes, fault } = plugin.apply(&decoded.batch).await.map_err(ApplyError::Plugin)?;
    // What the plugin refuses stands in front of what could not be handed to it, and what it has not come to may be well.
    let to_the_end = changes.len() == decoded.batch.events.len();
    let fault = fault.map(Fault::Plugin).or(decoded.fault.filter(|_| to_the_end).map(Fault::Format));
    Ok(Changes { of_events: changes, bytes, fault })
}

/// Whether there is an outcome for each event, or for each in front of the one that is at fault.
fn is_whole(events: usize, outcomes: usize, has_fault: bool) -> bool {
    if has_fault { outcomes < events } else { outcomes == events }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How long to wait after so many failures in a row: 0.1 s doubling up to 5 s, of which a random half.
fn pause(attempt: u32) -> Duration {
    use std::hash::{BuildHasher, Hasher};
    let full =
        Duration::from_millis(100).saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(Duration::from_secs(5));
    let random = std::hash::RandomState::new().build_hasher().finish() % 1000;
    full / 2 + (full / 2).mul_f64(random as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_is_passed_over_without_an_outcome() {
        assert!(is_whole(3, 3, false) && is_whole(3, 2, true) && is_whole(0, 0, false));
        assert!(!is_whole(3, 2, false), "too few");
        assert!(!is_whole(3, 4, false), "too many");
        assert!(!is_whole(3, 3, true), "a fault, and no event left that could be at fault");
    }
}

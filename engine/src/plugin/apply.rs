//! From events to changes: what goes into one call, what is run again, and who is to blame.
//!
//! Laws:
//! - An event's outcome depends on the event and the build alone (as long as the plugin keeps no state): not on what else
//!   was in its call, on the machine, or on its load.
//! - An event is at fault only where it fails alone, in a fresh instance. A call of several events that fails blames nobody.
//! - Time blames nobody. Where the clock stops a call, its events run one by one; where it stops one event alone, fuel
//!   decides. A result of the fast path counts only if it came within a time in which no machine uses up the fuel, so
//!   that both paths say the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::OnceCell;

use super::binary::{self, Binary};
use super::bindings::{self, Outcome, ProjectionPre};
use super::host::{Inner as HostInner, Metering, TICK};
use super::instance::{AdapterExports, Failure, Guest, Instance, Setup};
use super::logs::{LINE_BYTES_MAX, Logs, for_people};
use super::slots::Slots;
use super::wasi::Reads;
use super::{APPLIED_BYTES_MAX, Applied, EventFault, EventFaultKind, Limits, PluginError, PluginFigures, PluginLog};
use crate::change::{Change, Schema, Topic};
use crate::event::{Event, EventBatch, OFFSET_MAX, TopicPartition};

/// The most events of one call: what a call costs is invisible beyond, and what a failed one repeats stays small.
const EVENTS_PER_CALL_MAX: usize = 1000;
/// The fewest events of one call that the clock shrinks it to.
const EVENTS_PER_CALL_MIN: usize = 8;
/// The most bytes of events in one call, unless one event has more: a guest's memory must hold them.
const EVENT_BYTES_PER_CALL_MAX: usize = 1 << 20;
/// The fast path stops a call after this part of `call_time_max`; the rest is the margin between clock and fuel.
const FAST_PART: u32 = 4;
/// More than any machine executes: 4 to 16 units a nanosecond were measured, on code of all kinds, in a good year.
const FUEL_PER_NANOSECOND: u64 = 64;
/// When the metered path gives up: no verdict, the machine is at fault.
const METERED_TIME_MIN: Duration = Duration::from_secs(600);
const METERED_TIME_FACTOR: u32 = 30;

impl Limits {
    /// After how much wall-clock time the fast path stops a call.
    fn fast_time_max(&self) -> Duration {
        self.call_time_max / FAST_PART
    }

    /// The longest time in which a result of the fast path counts: the clock ticks, so a call ends a little late.
    fn fast_time_counts(&self) -> Duration {
        self.fast_time_max() + 2 * TICK
    }

    /// Units of fuel (about one for each WebAssembly instruction) that one event may use, instantiation included.
    pub fn fuel_per_event(&self) -> u64 {
        let nanoseconds = u64::try_from(self.fast_time_counts().as_nanos()).unwrap_or(u64::MAX);
        nanoseconds.saturating_mul(FUEL_PER_NANOSECOND)
    }
}

/// A component that is ready to be instantiated.
pub(super) struct Compiled {
    pub(super) pre: ProjectionPre<Guest>,
    pub(super) adapter: Option<AdapterExports>,
    /// Where its instances live and how many slots one takes; none where each has memory of its own.
    pub(super) slots: Option<(Slots, u32)>,
    pub(super) seconds: f64,
    pub(super) from_cache: bool,
}

/// A loaded plugin. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<Inner>,
    background: bool,
}

struct Inner {
    host: Arc<HostInner>,
    binary: Binary,
    fast: Compiled,
    metered: OnceCell<Compiled>,
    limits: Limits,
    logs: Arc<Logs>,
    schema: Arc<Schema>,
    pace: AtomicU8,
    events_per_call: AtomicUsize,
    counters: Counters,
}

/// How events must be handed over so that each sees its own clock and random numbers. Only ever rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pace {
    /// Many in one call: the plugin has never looked at either.
    Together,
    /// One in a call, many to an instance: it has looked at the clock.
    EachCall,
    /// One to an instance: it has looked at random numbers, which seed what lives on (a generator, hash tables).
    EachInstance,
}

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    instances: AtomicU64,
    traps: AtomicU64,
    deadlines: AtomicU64,
    reruns_one_by_one: AtomicU64,
    reruns_metered: AtomicU64,
    memory_bytes_last: AtomicU64,
    memory_bytes_peak: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Plugin {
    pub(super) fn new(
        host: Arc<HostInner>,
        binary: Binary,
        fast: Compiled,
        limits: Limits,
        logs: Arc<Logs>,
        schema: Schema,
    ) -> Self {
        Self {
            background: false,
            inner: Arc::new(Inner {
                host,
                binary,
                fast,
                metered: OnceCell::new(),
                limits,
                logs,
                schema: Arc::new(schema),
                pace: AtomicU8::new(Pace::Together as u8),
                events_per_call: AtomicUsize::new(EVENTS_PER_CALL_MAX),
                counters: Counters::default(),
            }),
        }
    }

    /// The same build on threads that give way to all others: for filling a generation that nobody reads yet.
    #[must_use]
    pub fn in_background(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), background: true }
    }

    /// What the projection is.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.inner.schema
    }

    /// SHA-256 of the file, 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.inner.binary.digest
    }

    /// The file.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.inner.binary.file
    }

    /// What the plugin may use.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Full names of what it imports, the adapter's of a wrapped core module included.
    pub fn imports(&self) -> &[String] {
        &self.inner.binary.imports
    }

    /// The version of `laterna:projection` that it was built for.
    pub fn contract_version(&self) -> &str {
        &self.inner.binary.contract_version
    }

    /// Whether the file is a core module, which was wrapped.
    pub fn is_core_module(&self) -> bool {
        self.inner.binary.wrapped
    }

    /// The language that the toolchain noted in the file, where it did.
    pub fn language(&self) -> Option<&str> {
        self.inner.binary.language.as_deref()
    }

    /// The log lines since the last call, oldest first, at most a few hundred.
    pub fn take_logs(&self) -> Vec<PluginLog> {
        self.inner.logs.take()
    }

    /// What it has done so far.
    pub fn figures(&self) -> PluginFigures {
        let Inner { counters, fast, logs, .. } = &*self.inner;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PluginFigures {
            calls: read(&counters.calls),
            instances: read(&counters.instances),
            traps: read(&counters.traps),
            deadlines: read(&counters.deadlines),
            reruns_one_by_one: read(&counters.reruns_one_by_one),
            reruns_metered: read(&counters.reruns_metered),
            log_lines_dropped: logs.dropped(),
            memory_bytes_last: read(&counters.memory_bytes_last),
            memory_bytes_peak: read(&counters.memory_bytes_peak),
            compile_seconds: fast.seconds,
            compiled_from_cache: fast.from_cache,
        }
    }

    /// The changes that the events ask for, or as many events' as [`APPLIED_BYTES_MAX`] allows, on the sandbox's threads. However many
    /// events there are, a call carries at most a thousand, in an instance of its own. A dropped future stops nothing: the work ends by itself, and is lost.
    ///
    /// # Errors
    /// Transient where the host has no memory; fatal where the topic is not the projection's, an offset is beyond
    /// [`OFFSET_MAX`], or the machine was too slow to judge an event by fuel (`deadline`). Faults of events are no errors:
    /// they are in [`Applied::fault`].
    pub async fn apply(&self, batch: &Arc<EventBatch>) -> Result<Applied, PluginError> {
        let inner = Arc::clone(&self.inner);
        let batch = Arc::clone(batch);
        // A panic of the host ends here, at the task.
        let task = self.inner.host.sandbox(self.background).spawn(async move { inner.apply(&batch).await }.boxed());
        task.await.map_err(|error| PluginError::sandbox("apply", &error))?
    }
}

impl Plugin {
    /// Calls `apply` once with no events: whether the build can be instantiated and called at all, before it takes over from another.
    ///
    /// # Errors
    /// `dry_run_failed`; as for [`Plugin::apply`].
    pub async fn try_out(&self) -> Result<(), PluginError> {
        let inner = Arc::clone(&self.inner);
        let task = self.inner.host.sandbox(self.background).spawn(
            async move {
                let Some(topic) = inner.schema.descriptor.topics.first() else { return Ok(true) };
                let partition = TopicPartition::new(topic.name.as_str(), 0);
                let run = Run { topic, partition: &partition, events: &[] };
                inner.together(run, &mut Applied::with_capacity(0)).await
            }
            .boxed(),
        );
        if task.await.map_err(|error| PluginError::sandbox("dry run", &error))?? {
            return Ok(());
        }
        let message =
            "apply did not return from a call with no events: it trapped or took too long; see the log for its words"
                .to_owned();
        Err(PluginError::fatal("dry_run_failed", message))
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("projection", &self.schema().descriptor.name)
            .field("digest", &self.digest())
            .finish_non_exhaustive()
    }
}

/// Events of one partition, and what is the same for all of them.
#[derive(Clone, Copy)]
struct Run<'a> {
    topic: &'a Topic,
    partition: &'a TopicPartition,
    events: &'a [Event],
}

impl<'a> Run<'a> {
    fn with(self, events: &'a [Event]) -> Self {
        Self { events, ..self }
    }
}

/// An event's changes and their bytes.
type Verdict = Result<(Vec<Change>, usize), EventFault>;

impl Applied {
    fn with_capacity(events: usize) -> Self {
        Self { changes: Vec::with_capacity(events), bytes: 0, fault: None }
    }

    fn take(&mut self, verdict: Verdict) {
        match verdict {
            Ok((changes, bytes)) => {
                self.changes.push(changes);
                self.bytes += bytes;
            }
            Err(fault) => self.fault = Some(fault),
        }
    }

    /// Nothing more is to be applied: an event is at fault, or what is here is enough.
    fn is_over(&self) -> bool {
        self.fault.is_some() || self.bytes >= APPLIED_BYTES_MAX
    }
}

impl Inner {
    async fn apply(self: &Arc<Self>, batch: &EventBatch) -> Result<Applied, PluginError> {
        let partition = &batch.partition;
        let topics = &self.schema.descriptor.topics;
        let Some(topic) = topics.iter().find(|topic| *topic.name == *partition.topic) else {
            let name = &self.schema.descriptor.name;
            return Err(PluginError::fatal(
                "unknown_topic",
                format!("the projection {name} does not read {partition}"),
            ));
        };
        if let Some(event) = batch.events.iter().find(|event| event.offset > OFFSET_MAX) {
            return Err(PluginError::fatal(
                "offset_too_large",
                format!(
                    "{partition}@{}: offsets beyond {OFFSET_MAX} cannot be handed to a plugin exactly",
                    event.offset
                ),
            ));
        }
        let run = Run { topic, partition, events: &batch.events };
        let mut applied = Applied::with_capacity(batch.events.len());
        let mut rest = &batch.events[..];
        while !rest.is_empty() && !applied.is_over() {
            let (events, later) = rest.split_at(self.call_length(rest));
            rest = later;
            self.apply_some(run.with(events), &mut applied).await?;
        }
        Ok(applied)
    }

    /// How many of the events go into the next call: at least 1.
    fn call_length(&self, events: &[Event]) -> usize {
        let bytes_max = EVENT_BYTES_PER_CALL_MAX.min(self.limits.memory_bytes_max / 16);
        let mut bytes = 0usize;
        let fitting = events.iter().take(self.events_per_call.load(Ordering::Relaxed)).take_while(|event| {
            bytes = bytes.saturating_add(event.bytes());
            bytes <= bytes_max
        });
        fitting.count().max(1)
    }

    async fn apply_some(self: &Arc<Self>, run: Run<'_>, applied: &mut Applied) -> Result<(), PluginError> {
        if run.events.len() > 1 {
            if self.pace() == Pace::Together && self.together(run, applied).await? {
                return Ok(());
            }
            if self.pace() == Pace::EachCall && self.each_call(run, applied).await? {
                return Ok(());
            }
            if self.pace() != Pace::EachInstance {
                count(&self.counters.reruns_one_by_one);
            }
        }
        for event in run.events {
            applied.take(Box::pin(self.alone(run.with(std::slice::from_ref(event)))).await?);
            if applied.is_over() {
                break;
            }
        }
        Ok(())
    }

    /// All events in one call. False: it says nothing, hand them over otherwise.
    async fn together(&self, run: Run<'_>, applied: &mut Applied) -> Result<bool, PluginError> {
        let mut instance = match self.instance(&self.fast, None, self.limits.fast_time_max()).await {
            Ok(instance) => instance,
            Err(failure) => return self.inconclusive(failure, run.events.len()),
        };
        let (outcomes, reads) = match self.call(&mut instance, run).await {
            Ok(done) => done,
            Err(failure) => return self.inconclusive(failure, run.events.len()),
        };
        // Without an event nothing was called: what was looked at was at the start, as the runtime of Go does for its hash
        // tables, where it is the same for every instance.
        if (reads.random || reads.clock) && !run.events.is_empty() {
            self.raise(reads);
            return Ok(false);
        }
        if instance.call_elapsed() < self.limits.fast_time_max() / 8 {
            self.lengthen_calls(run.events.len());
        }
        if outcomes.len() != run.events.len() {
            return Ok(false);
        }
        for outcome in outcomes {
            applied.take(self.verdict(outcome));
            if applied.fault.is_some() {
                break;
            }
        }
        Ok(true)
    }

    /// Each event in a call of its own, all in one instance. False: it says nothing, and `applied` is as it was.
    async fn each_call(&self, run: Run<'_>, applied: &mut Applied) -> Result<bool, PluginError> {
        let mut instance = match self.instance(&self.fast, None, self.limits.fast_time_max()).await {
            Ok(instance) => instance,
            Err(failure) => return self.inconclusive(failure, 1),
        };
        let (start, bytes) = (applied.changes.len(), applied.bytes);
        for event in run.events {
            let called = self.call(&mut instance, run.with(std::slice::from_ref(event))).await;
            let verdict = match called {
                Ok((_, reads)) if reads.random => {
                    self.raise(reads);
                    None
                }
                Ok((outcomes, _)) => <[Outcome; 1]>::try_from(outcomes).ok().map(|[outcome]| self.verdict(outcome)),
                Err(failure) => {
                    self.inconclusive(failure, 1)?;
                    None
                }
            };
            match verdict {
                Some(verdict) => applied.take(verdict),
                None => {
                    applied.changes.truncate(start);
                    applied.bytes = bytes;
                    return Ok(false);
                }
            }
            if applied.is_over() {
                break;
            }
        }
        Ok(true)
    }

    /// One event in a fresh instance: what comes out is its verdict.
    async fn alone(self: &Arc<Self>, run: Run<'_>) -> Result<Verdict, PluginError> {
        match self.alone_in(&self.fast, None, self.limits.fast_time_max(), run).await {
            Err(Failure::Deadline | Failure::Fuel) => {}
            judged => return self.judge(judged),
        }
        count(&self.counters.deadlines);
        count(&self.counters.reruns_metered);
        let metered = self.metered().await?;
        let fuel = self.limits.fuel_per_event();
        let time_max = METERED_TIME_MIN + self.limits.call_time_max * METERED_TIME_FACTOR;
        match self.alone_in(metered, Some(fuel), time_max, run).await {
            Err(Failure::Deadline) => {
                let offset = run.events.first().map_or(-1, |event| event.offset);
                Err(PluginError::fatal(
                    "deadline",
                    format!(
                        "{}@{offset}: the plugin neither ended nor used up its {fuel} units of fuel within {time_max:?}: this \
                         machine is too slow or too loaded to judge it; lower limits.call_time or give it more processor time",
                        run.partition
                    ),
                ))
            }
            judged => self.judge(judged),
        }
    }

    async fn alone_in(
        &self,
        compiled: &Compiled,
        fuel: Option<u64>,
        time_max: Duration,
        run: Run<'_>,
    ) -> Result<Vec<Outcome>, Failure> {
        let mut instance = self.instance(compiled, fuel, time_max).await?;
        self.call(&mut instance, run).await.map(|(outcomes, _)| outcomes)
    }

    fn judge(&self, outcomes: Result<Vec<Outcome>, Failure>) -> Result<Verdict, PluginError> {
        let fault = |kind, reason| Ok(Err(EventFault { kind, reason }));
        match outcomes.map(<[Outcome; 1]>::try_from) {
            Ok(Ok([outcome])) => Ok(self.verdict(outcome)),
            Ok(Err(wrong)) => fault(
                EventFaultKind::Invalid,
                format!("`apply` returned {} outcomes for 1 event; one for each event is wanted", wrong.len()),
            ),
            Err(Failure::Trap(reason)) => {
                count(&self.counters.traps);
                fault(EventFaultKind::Trapped, reason)
            }
            Err(Failure::TooMuch) => {
                let bytes = self.limits.change_bytes_per_event_max;
                let reason =
                    format!("far more data for one event than the {bytes} bytes that limits.bytes_per_event allows");
                fault(EventFaultKind::Invalid, reason)
            }
            Err(Failure::Fuel | Failure::Deadline) => {
                let reason = format!(
                    "it used up its {} units of fuel (limits.call_time = {:?}): an endless loop, or too much work for one event",
                    self.limits.fuel_per_event(),
                    self.limits.call_time_max
                );
                count(&self.counters.traps);
                fault(EventFaultKind::Trapped, reason)
            }
            Err(Failure::Host(error)) => Err(error),
        }
    }

    /// What an outcome says, held against the limits.
    fn verdict(&self, outcome: Outcome) -> Verdict {
        let fault = |kind, reason: &str| Err(EventFault { kind, reason: for_people(reason, LINE_BYTES_MAX) });
        let changes = match outcome {
            Outcome::Changes(changes) => changes,
            Outcome::Reject(reason) => return fault(EventFaultKind::Rejected, &reason),
            Outcome::Halt(reason) => return fault(EventFaultKind::Halted, &reason),
        };
        let Limits { changes_per_event_max, change_bytes_per_event_max, .. } = self.limits;
        if changes.len() > changes_per_event_max {
            let reason = format!(
                "{} changes for one event; limits.changes_per_event allows {changes_per_event_max}",
                changes.len()
            );
            return fault(EventFaultKind::Invalid, &reason);
        }
        let bytes: usize = changes.iter().map(bindings::change_bytes).sum();
        if bytes > change_bytes_per_event_max {
            let reason = format!(
                "{bytes} bytes of changes for one event; limits.bytes_per_event allows {change_bytes_per_event_max}"
            );
            return fault(EventFaultKind::Invalid, &reason);
        }
        Ok((changes.into_iter().map(bindings::change).collect(), bytes))
    }

    async fn instance(&self, compiled: &Compiled, fuel: Option<u64>, time_max: Duration) -> Result<Instance, Failure> {
        count(&self.counters.instances);
        let setup = Setup {
            compiled,
            limits: &self.limits,
            logs: &self.logs,
            digest: &self.binary.digest,
            fuel,
            call_time_max: time_max,
        };
        Box::pin(Instance::new(&setup)).await
    }

    async fn call(&self, instance: &mut Instance, run: Run<'_>) -> Result<(Vec<Outcome>, Reads), Failure> {
        count(&self.counters.calls);
        let name = &self.schema.descriptor.name;
        let outcomes = Box::pin(instance.apply(name, run.topic, run.partition, run.events)).await;
        let memory = instance.memory_bytes() as u64;
        self.counters.memory_bytes_last.store(memory, Ordering::Relaxed);
        self.counters.memory_bytes_peak.fetch_max(memory, Ordering::Relaxed);
        let outcomes = outcomes?;
        let reads = instance.reads().await?;
        // Later than the clock should have stopped it: where the ticking thread was starved, more fuel than is allowed
        // may have gone into this result.
        if !instance.is_metered() && instance.call_elapsed() > self.limits.fast_time_counts() {
            return Err(Failure::Deadline);
        }
        Ok((outcomes, reads))
    }

    /// Notes a failure that blames nobody. Always false, for whom it says "hand them over otherwise".
    fn inconclusive(&self, failure: Failure, events: usize) -> Result<bool, PluginError> {
        match failure {
            Failure::Host(error) => return Err(error),
            Failure::Trap(_) | Failure::TooMuch => count(&self.counters.traps),
            Failure::Deadline | Failure::Fuel => {
                count(&self.counters.deadlines);
                let shorter = (events / 2).max(EVENTS_PER_CALL_MIN);
                self.events_per_call.fetch_min(shorter, Ordering::Relaxed);
            }
        }
        Ok(false)
    }

    fn lengthen_calls(&self, events: usize) {
        let length = self.events_per_call.load(Ordering::Relaxed);
        if length < EVENTS_PER_CALL_MAX && events >= length {
            self.events_per_call.store((2 * length).min(EVENTS_PER_CALL_MAX), Ordering::Relaxed);
        }
    }

    fn pace(&self) -> Pace {
        match self.pace.load(Ordering::Relaxed) {
            0 => Pace::Together,
            1 => Pace::EachCall,
            _ => Pace::EachInstance,
        }
    }

    fn raise(&self, reads: Reads) {
        let pace = if reads.random { Pace::EachInstance } else { Pace::EachCall };
        if self.pace.fetch_max(pace as u8, Ordering::Relaxed) < pace as u8 {
            let what = if reads.random { "random numbers" } else { "the clock" };
            let projection = &self.schema.descriptor.name;
            tracing::info!(projection, "the plugin reads {what}: from here on its events are handed over one by one");
        }
    }

    async fn metered(self: &Arc<Self>) -> Result<&Compiled, PluginError> {
        let compile = || async {
            let inner = Arc::clone(self);
            let work = move || {
                // Wrapped anew, so that a component need not be kept twice for what hardly ever happens.
                let component = binary::read(&inner.binary.file)?.component;
                inner.host.compile(Metering::Fuel, &component)
            };
            self.host.compile_somewhere(work).await
        };
        self.metered.get_or_try_init(compile).await
    }
}

//! One instance of a plugin in a store of its own: what it holds, what bounds it, and one call.
//!
//! Invariants: a store that trapped is never called again; a guest is only ever stopped by a trap (epoch, fuel), never by
//! dropping its future; whether memory is granted depends on the limit alone, and a host without memory is told apart.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::component::{Component, ComponentExportIndex, HasSelf, Linker, ResourceTable, TypedFunc};
use wasmtime::{Engine, ResourceLimiter, Store, Trap, UpdateDeadline, WasmBacktrace};

use super::apply::Compiled;
use super::bindings::{self, Batch, Header, Outcome, Payload, Projection, types};
use super::logs::{LINE_BYTES_MAX, Level, LineBuffer, Logs, for_people};
use super::slots::Lease;
use super::wasi::{self, Reads, Virtual};
use super::{Limits, PluginError};
use crate::change::{Encoding, Topic};
use crate::event::{Event, TopicPartition};

/// How many core instances, tables and memories one component may have: shared libraries count one each.
pub(super) const INSTANCES_MAX: usize = 200;
pub(super) const TABLES_MAX: usize = 200;
pub(super) const MEMORIES_MAX: usize = 64;
/// Entries of all tables: functions that can be called through a pointer.
pub(super) const TABLE_ENTRIES_MAX: usize = 1_000_000;
/// Streams, pollables and the like that a plugin may hold at once.
const RESOURCES_MAX: usize = 1_000;
/// What one call may hand to the host beside twice the limit of changes: strings, lists and the outcomes themselves.
const HOSTCALL_BYTES_BASE: usize = 32 << 20;
/// How much of a plugin's last words goes into a fault.
const LAST_WORDS_BYTES: usize = 1024;
/// What a call of the host stands for in fuel: less than the host takes for it at the very least (80 ns, at 64 units each).
const FUEL_PER_HOST_CALL: u64 = 5_000;
/// How many frames of a trap are named.
const FRAMES_MAX: usize = 5;

/// What a store holds beside the plugin itself.
pub(super) struct Guest {
    pub(super) table: ResourceTable,
    pub(super) world: Virtual,
    pub(super) words: Words,
    memory: MemoryUse,
    call_started: Instant,
    call_time_max: Duration,
    host_calls_left: u64,
}

impl Guest {
    pub(super) fn new(digest: &str, logs: &Arc<Logs>, memory_bytes_max: usize, call_time_max: Duration) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Self {
            table,
            world: Virtual::at_start(digest),
            words: Words::new(Arc::clone(logs)),
            memory: MemoryUse { bytes_max: memory_bytes_max, ..MemoryUse::default() },
            call_started: Instant::now(),
            call_time_max,
            host_calls_left: u64::MAX,
        }
    }

    /// Counts a call of the host, which takes time but hardly any fuel, so that an endless loop of them ends by count too.
    pub(super) fn charge(&mut self) -> wasmtime::Result<()> {
        self.host_calls_left = self.host_calls_left.checked_sub(1).ok_or(Trap::OutOfFuel)?;
        Ok(())
    }

    /// The virtual world, for a call that was counted.
    pub(super) fn charged(&mut self) -> wasmtime::Result<&mut Virtual> {
        self.charge()?;
        Ok(&mut self.world)
    }
}

/// Linear memory of all instances of a store, and what became of it.
#[derive(Clone, Copy, Debug, Default)]
struct MemoryUse {
    bytes: usize,
    bytes_max: usize,
    table_entries: usize,
    denied: bool,
    host_failed: bool,
}

/// What a plugin says: to the log, and kept for the reason of a trap.
#[derive(Clone)]
pub(super) struct Words {
    logs: Arc<Logs>,
    last: Arc<Mutex<LastWords>>,
}

#[derive(Default)]
struct LastWords {
    stdout: LineBuffer,
    stderr: LineBuffer,
    /// The last lines of stderr and of level error, each escaped.
    lines: Vec<String>,
}

impl Words {
    fn new(logs: Arc<Logs>) -> Self {
        Self { logs, last: Arc::default() }
    }

    fn line(&self, level: Level, message: &str) {
        if level == Level::Error {
            self.lock().remember(message);
        }
        self.logs.write(level, message);
    }

    /// Bytes for stdout or stderr.
    pub(super) fn output(&self, error: bool, bytes: &[u8]) {
        let last = &mut *self.lock();
        if error {
            let lines = &mut last.lines;
            last.stderr.write(bytes, |line| {
                LastWords::push(lines, line);
                self.logs.write(Level::Warn, line);
            });
        } else {
            last.stdout.write(bytes, |line| self.logs.write(Level::Info, line));
        }
    }

    /// Ends unfinished lines.
    fn flush(&self) {
        let last = &mut *self.lock();
        let lines = &mut last.lines;
        last.stderr.flush(|line| {
            LastWords::push(lines, line);
            self.logs.write(Level::Warn, line);
        });
        last.stdout.flush(|line| self.logs.write(Level::Info, line));
    }

    fn last_words(&self) -> String {
        for_people(&self.lock().lines.join(" | "), LAST_WORDS_BYTES)
    }

    fn forget(&self) {
        self.lock().lines.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LastWords> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LastWords {
    fn remember(&mut self, line: &str) {
        Self::push(&mut self.lines, line);
    }

    // A panic says what it is in its first line, so the first ones are kept; a plugin that logs errors and goes on has
    // its oldest replaced.
    fn push(lines: &mut Vec<String>, line: &str) {
        if lines.len() == 8 {
            lines.remove(0);
        }
        lines.push(for_people(line, LAST_WORDS_BYTES));
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let bytes = self.memory.bytes.saturating_add(desired.saturating_sub(current));
        let granted = bytes <= self.memory.bytes_max;
        if granted {
            self.memory.bytes = bytes;
        } else {
            self.memory.denied = true;
        }
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Beyond 32-bit memory it is refused without being asked for: the plugin's doing, as is every refusal of ours.
        if error.to_string().contains("memory type's limits") {
            return Ok(());
        }
        // What was granted and then failed is the host's lack of memory: the plugin must not be judged by it.
        self.memory.host_failed = true;
        Err(error)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let entries = self.memory.table_entries.saturating_add(desired.saturating_sub(current));
        let granted = entries <= TABLE_ENTRIES_MAX;
        if granted {
            self.memory.table_entries = entries;
        }
        Ok(granted)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

impl types::Host for Guest {}

impl bindings::log::Host for Guest {
    fn write(&mut self, level: bindings::log::Level, message: String) -> wasmtime::Result<()> {
        self.charge()?;
        let level = match level {
            bindings::log::Level::Trace => Level::Trace,
            bindings::log::Level::Debug => Level::Debug,
            bindings::log::Level::Info => Level::Info,
            bindings::log::Level::Warn => Level::Warn,
            bindings::log::Level::Error => Level::Error,
        };
        self.words.line(level, &message);
        Ok(())
    }
}

/// What every plugin can import; [`wasi::link`] adds what one asks for of WASI.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    Projection::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    wasi::link_io(&mut linker)?;
    linker.instance("laterna:adapter/stdio@0.1.0")?.func_wrap(
        "write",
        |mut store: wasmtime::StoreContextMut<'_, Guest>, (fd, bytes): (u32, Vec<u8>)| {
            store.data_mut().charge()?;
            store.data().words.output(fd == 2, &bytes);
            Ok(())
        },
    )?;
    Ok(linker)
}

/// How a call can fail.
#[derive(Debug)]
pub(super) enum Failure {
    /// The plugin trapped; why, for people.
    Trap(String),
    /// The plugin handed over more than a call may, whatever the limits of an event.
    TooMuch,
    /// The fuel is used up.
    Fuel,
    /// The wall-clock deadline passed.
    Deadline,
    /// The host failed, and no event is to blame.
    Host(PluginError),
}

/// What an instance is made with.
pub(super) struct Setup<'a> {
    pub(super) compiled: &'a Compiled,
    pub(super) limits: &'a Limits,
    pub(super) logs: &'a Arc<Logs>,
    pub(super) digest: &'a str,
    /// Fuel for the whole life of the instance, where its engine counts it.
    pub(super) fuel: Option<u64>,
    /// Wall-clock time of each call, and of the instantiation.
    pub(super) call_time_max: Duration,
}

/// A live instance.
pub(super) struct Instance {
    store: Store<Guest>,
    projection: Projection,
    adapter: Option<AdapterEvent>,
    metered: bool,
    /// Dropped last: until then the store has the slots.
    _slots: Option<Lease>,
}

/// What our preview 1 adapter exports.
struct AdapterEvent {
    begin: TypedFunc<(u64, u64), ()>,
    used: TypedFunc<(), (u32,)>,
}

impl Instance {
    /// A fresh store with a fresh instance.
    pub(super) async fn new(setup: &Setup<'_>) -> Result<Self, Failure> {
        let slots = match &setup.compiled.slots {
            Some((slots, needed)) => Some(slots.lease(*needed).await.ok_or_else(gone)?),
            None => None,
        };
        let mut guest = Guest::new(setup.digest, setup.logs, setup.limits.memory_bytes_max, setup.call_time_max);
        if let Some(fuel) = setup.fuel {
            guest.host_calls_left = fuel / FUEL_PER_HOST_CALL;
        }
        let mut store = Store::new(setup.compiled.pre.engine(), guest);
        store.limiter(|guest| guest);
        store.set_hostcall_fuel(HOSTCALL_BYTES_BASE + 2 * setup.limits.change_bytes_per_event_max);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            let guest = store.data();
            Ok(if guest.call_started.elapsed() >= guest.call_time_max {
                UpdateDeadline::Interrupt
            } else {
                UpdateDeadline::Yield(1)
            })
        });
        if let Some(fuel) = setup.fuel {
            store.set_fuel(fuel).map_err(|error| Failure::Host(PluginError::sandbox("fuel", &error)))?;
        }
        match instantiate(setup, &mut store).await {
            Ok((projection, adapter)) => {
                Ok(Self { store, projection, adapter, metered: setup.fuel.is_some(), _slots: slots })
            }
            // What describes itself was made before, so this is no fault of the plugin, unless its start traps or its memory
            // is beyond the limit.
            Err(error) if error.downcast_ref::<Trap>().is_none() && !store.data().memory.denied => {
                Err(Failure::Host(PluginError::host_memory(&format!("{error:#}"))))
            }
            Err(error) => Err(failure(&store, &error)),
        }
    }

    /// What the plugin says that it is.
    pub(super) async fn describe(&mut self) -> Result<types::Descriptor, Failure> {
        self.store.data_mut().call_started = Instant::now();
        let described = self.projection.call_describe(&mut self.store).await;
        self.store.data().words.flush();
        described.map_err(|error| failure(&self.store, &error))
    }

    /// Hands events over in one call. Clock and random numbers are the first event's. None outlives a failure: drop it.
    pub(super) async fn apply(
        &mut self,
        projection: &str,
        topic: &Topic,
        partition: &TopicPartition,
        events: &[Event],
    ) -> Result<Vec<Outcome>, Failure> {
        let Some(first) = events.first() else { return Ok(Vec::new()) };
        let clock_ns = wasi::clock_ns(first.timestamp_ms);
        let seed = wasi::seed_of(&[
            projection.as_bytes(),
            partition.topic.as_bytes(),
            &partition.partition.to_le_bytes(),
            &first.offset.to_le_bytes(),
        ]);
        let guest = self.store.data_mut();
        guest.world.set(clock_ns, seed);
        guest.words.forget();
        guest.call_started = Instant::now();
        if let Some(adapter) = &self.adapter {
            let begun = adapter.begin.call_async(&mut self.store, (clock_ns, seed)).await;
            begun.map_err(|error| failure(&self.store, &error))?;
        }
        let headers = declared_headers(topic, events);
        let headers_of = |i: usize| headers.get(i).map_or(&[][..], Vec::as_slice);
        let events: Vec<_> = events.iter().enumerate().map(|(i, event)| lower(topic, event, headers_of(i))).collect();
        let batch = Batch { topic: &partition.topic, partition: partition.partition, events: &events };
        let outcomes = self.projection.call_apply(&mut self.store, batch).await;
        self.store.data().words.flush();
        outcomes.map_err(|error| failure(&self.store, &error))
    }

    /// What the plugin looked at in the last call.
    pub(super) async fn reads(&mut self) -> Result<Reads, Failure> {
        let mut reads = self.store.data().world.reads;
        if let Some(adapter) = &self.adapter {
            let used = adapter.used.call_async(&mut self.store, ()).await;
            let (used,) = used.map_err(|error| failure(&self.store, &error))?;
            reads.clock |= used & 1 != 0;
            reads.random |= used & 2 != 0;
        }
        Ok(reads)
    }

    /// Linear memory in bytes; it never shrinks.
    pub(super) fn memory_bytes(&self) -> usize {
        self.store.data().memory.bytes
    }

    /// Whether fuel stops it rather than the clock.
    pub(super) fn is_metered(&self) -> bool {
        self.metered
    }

    /// How long the last call has taken so far.
    pub(super) fn call_elapsed(&self) -> Duration {
        self.store.data().call_started.elapsed()
    }
}

fn gone() -> Failure {
    Failure::Host(PluginError::sandbox("a slot", &"the sandbox has ended"))
}

async fn instantiate(
    setup: &Setup<'_>,
    store: &mut Store<Guest>,
) -> wasmtime::Result<(Projection, Option<AdapterEvent>)> {
    let Some(exports) = &setup.compiled.adapter else {
        return Ok((setup.compiled.pre.instantiate_async(store).await?, None));
    };
    let instance = setup.compiled.pre.instance_pre().instantiate_async(&mut *store).await?;
    let begin = instance.get_typed_func(&mut *store, exports.begin)?;
    let used = instance.get_typed_func(&mut *store, exports.used)?;
    Ok((Projection::new(store, &instance)?, Some(AdapterEvent { begin, used })))
}

/// Where a component that we wrapped exports what [`AdapterEvent`] calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdapterExports {
    begin: ComponentExportIndex,
    used: ComponentExportIndex,
}

impl AdapterExports {
    /// None where the component has no adapter of ours.
    pub(super) fn of(component: &Component) -> Option<Self> {
        let event = component.get_export_index(None, "laterna:adapter/event@0.1.0")?;
        Some(Self {
            begin: component.get_export_index(Some(&event), "begin")?,
            used: component.get_export_index(Some(&event), "used")?,
        })
    }
}

/// The declared headers of each event; nothing at all where the topic declares none.
fn declared_headers<'a>(topic: &Topic, events: &'a [Event]) -> Vec<Vec<Header<'a>>> {
    if topic.headers.is_empty() {
        return Vec::new();
    }
    let header = |header: &'a crate::event::Header| Header {
        name: &header.name,
        value: header.value.as_deref().map(|bytes| payload(Encoding::Text, bytes)),
    };
    let declared =
        |event: &'a Event| event.headers.iter().filter(|h| topic.headers.contains(&h.name)).map(header).collect();
    events.iter().map(declared).collect()
}

fn lower<'a>(topic: &Topic, event: &'a Event, headers: &'a [Header<'a>]) -> bindings::Event<'a> {
    bindings::Event {
        offset: event.offset,
        timestamp_ms: event.timestamp_ms,
        key: event.key.as_deref().map(|bytes| payload(topic.key, bytes)),
        value: event.value.as_deref().map(|bytes| payload(topic.value, bytes)),
        headers,
    }
}

fn payload(encoding: Encoding, bytes: &[u8]) -> Payload<'_> {
    match encoding {
        Encoding::Text => std::str::from_utf8(bytes).map_or(Payload::Bytes(bytes), Payload::Text),
        Encoding::Bytes => Payload::Bytes(bytes),
    }
}

fn failure(store: &Store<Guest>, error: &wasmtime::Error) -> Failure {
    let guest = store.data();
    guest.words.flush();
    if guest.memory.host_failed || error.chain().any(is_of_the_host) {
        return Failure::Host(PluginError::host_memory(&format!("{error:#}")));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => return Failure::Deadline,
        Some(Trap::OutOfFuel) => return Failure::Fuel,
        _ => {}
    }
    if error.root_cause().to_string().contains("fuel allocated for hostcalls") {
        return Failure::TooMuch;
    }
    Failure::Trap(trap_reason(guest, error))
}

/// No memory for a stack or a heap, as the operating system says it.
fn is_of_the_host(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<std::io::Error>() || error.is::<rustix::io::Errno>() || error.is::<wasmtime::error::OutOfMemory>()
}

/// What a language's runtime does on its way down; the author looks for what stands above it.
fn is_machinery(name: &str) -> bool {
    let inside = ["std::", "core::", "alloc::", "__rustc", "rust_", "<std::", "<core::", "<alloc::", "runtime."];
    name == "abort" || inside.iter().any(|prefix| name.starts_with(prefix))
}

fn trap_reason(guest: &Guest, error: &wasmtime::Error) -> String {
    let mut reason = match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => {
            "the plugin aborted (a panic, an uncaught exception or an abort)".to_owned()
        }
        Some(Trap::StackOverflow) => "the plugin's stack overflowed (endless recursion?)".to_owned(),
        Some(trap) => trap.to_string(),
        None => for_people(&error.root_cause().to_string(), LINE_BYTES_MAX / 2),
    };
    if guest.memory.denied {
        // Writing to a String cannot fail, here and below.
        write!(reason, "; it asked for more than its {} bytes of memory", guest.memory.bytes_max).ok();
    }
    let words = guest.words.last_words();
    if !words.is_empty() {
        write!(reason, "; it said: {words}").ok();
    }
    if let Some(trace) = error.downcast_ref::<WasmBacktrace>() {
        let before = reason.len();
        name_frames(trace, &mut reason);
        // What an interpreter's library does where it finds nothing: it says no word, and its frames are nobody's source.
        if words.is_empty() && reason[before..].contains("__wasilibc_") {
            reason.push_str(
                "; it looked for files, the network or the environment, of which the sandbox has none: put what it needs into the event",
            );
        }
    }
    reason
}

fn name_frames(trace: &WasmBacktrace, reason: &mut String) {
    let named: Vec<_> = trace
        .frames()
        .iter()
        .filter_map(|frame| Some((format!("{:#}", rustc_demangle::demangle(frame.func_name()?)), frame)))
        .collect();
    let first = named.iter().position(|(name, _)| !is_machinery(name)).unwrap_or(0);
    for (i, (name, frame)) in named[first..].iter().take(FRAMES_MAX).enumerate() {
        let joint = if i == 0 { "; in" } else { " <-" };
        write!(reason, "{joint} {}", for_people(name, 200)).ok();
        // Of what was inlined into one another, the line that an author wrote says more than that of a library.
        let place = |symbol: &'_ wasmtime::FrameSymbol| Some((symbol.file()?.to_owned(), symbol.line()?));
        let places: Vec<_> = frame.symbols().iter().filter_map(place).collect();
        let own = places.iter().find(|(file, _)| !file.starts_with("/rustc/") && !file.contains("/registry/src/"));
        if let Some((file, line)) = own.or(places.first()) {
            write!(reason, " ({}:{line})", for_people(file, 200)).ok();
        }
    }
}

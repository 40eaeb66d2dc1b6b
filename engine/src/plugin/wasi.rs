//! The world that a plugin sees: virtual and deterministic, so that a rebuild gives the same bytes.
//!
//! The clock shows the event's timestamp and never moves within a call; random numbers are seeded from (projection, topic,
//! partition, offset); stdout and stderr go to the log; every wait is over at once. There are no files, sockets, arguments
//! or variables: their interfaces are linked where a plugin's runtime imports them, but they are empty or refuse.
//!
//! One call carries many events, but shows one clock. [`Reads`] says whether the plugin looked at it, so that the caller can
//! throw such a result away and hand the events over one by one.

use sha2::{Digest as _, Sha256};
use wasmtime::StoreContextMut;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentType, Linker, LinkerInstance, Lower, Resource, ResourceTable, ResourceType, Type, Val,
};
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::{Pollable, subscribe};
use wasmtime_wasi_io::streams::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, StreamError, StreamResult,
};
use wasmtime_wasi_io::{IoView, async_trait};

use super::instance::Guest;

/// The most random bytes that one call hands over.
const RANDOM_BYTES_MAX: u64 = 1 << 20;
/// How many bytes a stream takes at once.
const STREAM_BYTES: usize = 64 * 1024;

/// Which of the things that belong to one event a plugin has looked at since they were set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// Wall or monotonic clock.
    pub(super) clock: bool,
    /// Random numbers or the seed of hash tables.
    pub(super) random: bool,
}

/// Clock and random numbers as a plugin sees them.
#[derive(Clone, Debug)]
pub(super) struct Virtual {
    clock_ns: u64,
    seed: u64,
    state: u64,
    pub(super) reads: Reads,
}

impl Virtual {
    /// What an instance sees before its first event: the beginning of 1970, and numbers that depend on the build alone.
    pub(super) fn at_start(digest: &str) -> Self {
        let seed = seed_of(&[digest.as_bytes()]);
        Self { clock_ns: 0, seed, state: seed, reads: Reads::default() }
    }

    /// From here on the clock shows `clock_ns`, and random numbers begin anew from `seed`.
    pub(super) fn set(&mut self, clock_ns: u64, seed: u64) {
        *self = Self { clock_ns, seed, state: seed, reads: Reads::default() };
    }

    fn now(&mut self) -> u64 {
        self.reads.clock = true;
        self.clock_ns
    }

    fn next(&mut self) -> u64 {
        self.reads.random = true;
        split_mix(&mut self.state)
    }

    fn bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        if length > RANDOM_BYTES_MAX {
            wasmtime::bail!("{length} random bytes asked for, at most {RANDOM_BYTES_MAX} are given at once");
        }
        let mut bytes = Vec::with_capacity(length as usize + 8);
        while (bytes.len() as u64) < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length as usize);
        Ok(bytes)
    }
}

/// The seed that belongs to a list of names: equal on every machine.
pub(super) fn seed_of(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

/// A timestamp in milliseconds (-1: none) as nanoseconds since 1970; what lies before is 1970, what lies beyond is cut.
pub(super) fn clock_ns(timestamp_ms: i64) -> u64 {
    u64::try_from(timestamp_ms).unwrap_or(0).saturating_mul(1_000_000)
}

// SplitMix64: small, and the same for ever. Nothing here needs to be hard to guess.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Links wasi:io, which streams and waits are made of.
pub(super) fn link_io(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi_io::add_to_linker_async(linker)
}

/// Links what `component` imports of WASI 0.2 beside wasi:io, under the names and versions that it asks for: our own clocks, random
/// numbers and output; an environment without anything in it; and for all the rest, functions that refuse.
pub(super) fn link(linker: &mut Linker<Guest>, component: &Component) -> wasmtime::Result<()> {
    let engine = component.engine();
    for (name, import) in component.component_type().imports(engine) {
        let Some((interface, _)) = name.strip_prefix("wasi:").and_then(|name| name.split_once('@')) else { continue };
        let ComponentItem::ComponentInstance(items) = import.ty else { continue };
        if interface.starts_with("io/") {
            continue;
        }
        let mut linked = linker.instance(name)?;
        for (item, export) in items.exports(engine) {
            match export.ty {
                ComponentItem::ComponentFunc(_) => link_function(&mut linked, interface, item)?,
                ComponentItem::Resource(_) if !RESOURCES_OF_IO.contains(&item) => {
                    linked.resource(item, ResourceType::host::<Absent>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What other interfaces name again of wasi:io.
const RESOURCES_OF_IO: [&str; 4] = ["error", "input-stream", "output-stream", "pollable"];

/// A file, a terminal, a socket: of these there is never one.
struct Absent;

#[derive(ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

type Store<'a> = StoreContextMut<'a, Guest>;

fn link_function(linked: &mut LinkerInstance<'_, Guest>, interface: &str, item: &str) -> wasmtime::Result<()> {
    match (interface, item) {
        ("clocks/wall-clock", "now") => linked.func_wrap(item, |mut store: Store, (): ()| {
            let ns = store.data_mut().charged()?.now();
            Ok((Datetime { seconds: ns / 1_000_000_000, nanoseconds: (ns % 1_000_000_000) as u32 },))
        }),
        ("clocks/wall-clock", "resolution") => {
            linked.func_wrap(item, |_: Store, (): ()| Ok((Datetime { seconds: 0, nanoseconds: 1_000_000 },)))
        }
        ("clocks/monotonic-clock", "now") => {
            linked.func_wrap(item, |mut store: Store, (): ()| Ok((store.data_mut().charged()?.now(),)))
        }
        ("clocks/monotonic-clock", "resolution") => linked.func_wrap(item, |_: Store, (): ()| Ok((1_000_000_u64,))),
        ("clocks/monotonic-clock", "subscribe-instant" | "subscribe-duration") => {
            linked.func_wrap(item, |mut store: Store, (_,): (u64,)| {
                store.data_mut().charged()?;
                let table = &mut store.data_mut().table;
                let over = table.push(Over)?;
                Ok((subscribe(table, over)?,))
            })
        }
        ("random/random", "get-random-bytes") | ("random/insecure", "get-insecure-random-bytes") => linked
            .func_wrap(item, |mut store: Store, (length,): (u64,)| Ok((store.data_mut().charged()?.bytes(length)?,))),
        ("random/random", "get-random-u64") | ("random/insecure", "get-insecure-random-u64") => {
            linked.func_wrap(item, |mut store: Store, (): ()| Ok((store.data_mut().charged()?.next(),)))
        }
        ("random/insecure-seed", "insecure-seed") => linked.func_wrap(item, |mut store: Store, (): ()| {
            let world = store.data_mut().charged()?;
            world.reads.random = true;
            let mut state = world.seed;
            Ok(((split_mix(&mut state), split_mix(&mut state)),))
        }),
        ("cli/stdout", "get-stdout") | ("cli/stderr", "get-stderr") => {
            let error = interface == "cli/stderr";
            linked.func_wrap(item, move |mut store: Store, (): ()| {
                store.data_mut().charged()?;
                let stream: DynOutputStream = Box::new(Output { words: store.data().words.clone(), error });
                Ok((store.data_mut().table.push(stream)?,))
            })
        }
        ("cli/stdin", "get-stdin") => linked.func_wrap(item, |mut store: Store, (): ()| {
            store.data_mut().charged()?;
            let stream: DynInputStream = Box::new(Over);
            Ok((store.data_mut().table.push(stream)?,))
        }),
        ("cli/environment", "get-environment") => {
            linked.func_wrap(item, |_: Store, (): ()| Ok((Vec::<(String, String)>::new(),)))
        }
        ("cli/environment", "get-arguments") => linked.func_wrap(item, |_: Store, (): ()| Ok((Vec::<String>::new(),))),
        ("cli/environment", "initial-cwd") => linked.func_wrap(item, |_: Store, (): ()| Ok((None::<String>,))),
        ("cli/terminal-stdin" | "cli/terminal-stdout" | "cli/terminal-stderr", _) => {
            linked.func_wrap(item, |_: Store, (): ()| Ok((None::<Resource<Absent>>,)))
        }
        ("filesystem/preopens", "get-directories") => {
            linked.func_wrap(item, |_: Store, (): ()| Ok((Vec::<(Resource<Absent>, String)>::new(),)))
        }
        _ => refuse(linked, interface, item),
    }
}

/// Links a function that says no: by the interface's own error where it has one for that, else by a trap that names it.
fn refuse(linked: &mut LinkerInstance<'_, Guest>, interface: &str, item: &str) -> wasmtime::Result<()> {
    let name = format!("wasi:{interface}#{item}");
    linked.func_new(item, move |mut store, function, _, results| {
        store.data_mut().charged()?;
        let Some((result, kind)) = results.first_mut().zip(function.results().next()) else {
            wasmtime::bail!("{name} was called, which the sandbox does not have");
        };
        let error = match &kind {
            Type::Result(kind) => kind.err(),
            // The reason of a stream's error, as a code of the file system.
            Type::Option(_) => {
                *result = Val::Option(None);
                return Ok(());
            }
            _ => None,
        };
        if let Some(Type::Enum(codes)) = error
            && let Some(code) = codes.names().find(|code| matches!(*code, "access" | "access-denied"))
        {
            *result = Val::Result(Err(Some(Box::new(Val::Enum(code.to_owned())))));
            return Ok(());
        }
        wasmtime::bail!("{name} was called, which the sandbox does not have")
    })
}

impl IoView for Guest {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

/// A wait that is over: the virtual clock has nothing to wait for. As a stream, its end.
struct Over;

#[async_trait]
impl Pollable for Over {
    async fn ready(&mut self) {}
}

impl InputStream for Over {
    fn read(&mut self, _size: usize) -> StreamResult<Bytes> {
        Err(StreamError::Closed)
    }
}

/// Stdout or stderr, as a stream into the log.
struct Output {
    words: super::instance::Words,
    error: bool,
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.words.output(self.error, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(STREAM_BYTES)
    }
}

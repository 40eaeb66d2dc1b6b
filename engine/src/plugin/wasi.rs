//! The world that a plugin sees: virtual and deterministic, so that a rebuild gives the same bytes.
//!
//! The clock shows the event's timestamp and never moves within a call; random numbers are seeded from (projection, topic,
//! partition, offset); stdout and stderr go to the log; every wait is over at once. There are no files, sockets, arguments
//! or variables: what wasmtime-wasi links of them answers from an empty context.
//!
//! One call carries many events, but shows one clock. [`Reads`] says whether the plugin looked at it, so that the caller can
//! throw such a result away and hand the events over one by one.

use sha2::{Digest as _, Sha256};
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::bindings::cli::{stderr, stdout};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::{DynOutputStream, DynPollable, OutputStream, Pollable, StreamResult, subscribe};
use wasmtime_wasi::{WasiCtxView, WasiView, async_trait};

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

/// Links WASI 0.2 from an empty context, and our own clocks, random numbers and output over it.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    wall_clock::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    monotonic_clock::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    random::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    insecure::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    insecure_seed::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    stdout::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    stderr::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl wall_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        self.charge()?;
        let ns = self.world.now();
        Ok(wall_clock::Datetime { seconds: ns / 1_000_000_000, nanoseconds: (ns % 1_000_000_000) as u32 })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 1_000_000 })
    }
}

impl monotonic_clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.charge()?;
        Ok(self.world.now())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1_000_000)
    }

    fn subscribe_instant(&mut self, _when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.charge()?;
        let over = self.table.push(Over)?;
        subscribe(&mut self.table, over)
    }

    fn subscribe_duration(&mut self, _duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.charge()?;
        let over = self.table.push(Over)?;
        subscribe(&mut self.table, over)
    }
}

impl random::Host for Guest {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.charge()?;
        self.world.bytes(length)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.charge()?;
        Ok(self.world.next())
    }
}

impl insecure::Host for Guest {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.charge()?;
        self.world.bytes(length)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.charge()?;
        Ok(self.world.next())
    }
}

impl insecure_seed::Host for Guest {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        self.world.reads.random = true;
        let mut state = self.world.seed;
        Ok((split_mix(&mut state), split_mix(&mut state)))
    }
}

impl stdout::Host for Guest {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(Output { words: self.words.clone(), error: false });
        Ok(self.table.push(stream)?)
    }
}

impl stderr::Host for Guest {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(Output { words: self.words.clone(), error: true });
        Ok(self.table.push(stream)?)
    }
}

/// A wait that is over: the virtual clock has nothing to wait for.
struct Over;

#[async_trait]
impl Pollable for Over {
    async fn ready(&mut self) {}
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
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
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

//! Engines, threads and the way from bytes to a [`Plugin`].
//!
//! There are two engines in a host, which differ in how they stop a guest: the fast one by epoch (a clock that a thread
//! advances), the metered one by fuel (counted instructions, the same on every machine). Guests run on threads of their own,
//! so that they delay no I/O; compilation runs on others, one plugin at a time and with lower priority.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};
use wasmtime::{CacheStore, Config, Engine, ProfilingStrategy, RegallocAlgorithm, Strategy, WasmBacktraceDetails};

use super::apply::{Compiled, Plugin};
use super::binary::{self, Binary};
use super::bindings::{self, ProjectionPre};
use super::cache::Cache;
use super::instance::{self, AdapterExports, Failure, Guest, Instance, Setup};
use super::logs::{Logs, for_people};
use super::slots::Slots;
use super::{Limits, PluginError, wasi};
use crate::change::Descriptor;
use crate::error::ErrorKind;

/// How often guests give way to others, and the clock of deadlines.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// The wall-clock time that describing may take. It is no event, so nothing depends on it but whether the plugin loads.
const DESCRIBE_TIME_MAX: Duration = Duration::from_secs(10);
/// The stack of a guest, and of the fiber that it and the host's functions run on.
const WASM_STACK_BYTES: usize = 512 << 10;
const FIBER_STACK_BYTES: usize = 2 << 20;

/// What a host is made with.
#[derive(Clone, Debug, Default)]
pub struct HostSettings {
    /// The private folder for compiled plugins. None: each start compiles anew.
    pub cache_dir: Option<PathBuf>,
    /// Threads on which plugins run. 0: as many as the machine has cores.
    pub threads: usize,
    /// Whether the process keeps the code of single functions in its memory, so that of a plugin's next build only what has changed is
    /// compiled: for the author's loop. The code is the same either way.
    pub keeps_functions: bool,
    /// Whether the names of a plugin's functions are written where `perf` looks for them (/tmp/perf-PID.map): for benchmarks.
    pub names_for_perf: bool,
}

/// Loads and runs plugins. Cloning gives another handle to the same one; a process needs one.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

/// What plugins share.
pub(super) struct Inner {
    fast: Flavour,
    metered: Flavour,
    cache: Option<Cache>,
    compiling: Arc<Semaphore>,
    sandbox: Sandbox,
    /// A thread that gives way to all others, for what nobody waits for. More than one made live events wait (p99 of their latency four times as long).
    background: Sandbox,
}

/// The threads that guests run on.
struct Sandbox {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Sandbox {
    fn start(name: &str, threads: usize, polite: bool) -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name(name).enable_time();
        if polite {
            builder.on_thread_start(lower_priority);
        }
        let runtime = builder.build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

/// Lets every other thread of the machine go first. On Linux a thread has a priority of its own; where it cannot be lowered, it is merely
/// less polite.
pub fn lower_priority() {
    rustix::process::nice(10).ok();
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A runtime must not be dropped where it would block; calls that are under way end by their deadlines.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An engine, and what plugins can import there.
struct Flavour {
    engine: Engine,
    linker: Linker<Guest>,
    /// Where its instances live; none where each has memory of its own.
    slots: Option<Slots>,
}

/// Compiled functions by the compiler's own key, which holds all that they depend on.
#[derive(Default)]
struct Functions(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    code: HashMap<Vec<u8>, Vec<u8>>,
    /// Of keys and code together.
    bytes: usize,
}

/// Of so many bytes of functions nothing more is kept.
const FUNCTION_BYTES_MAX: usize = 256 << 20;

impl Functions {
    // Nothing is left half done under the lock.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Functions")
    }
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.lock().code.get(key).cloned().map(Cow::Owned)
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let mut functions = self.lock();
        let bytes = functions.bytes + key.len() + value.len();
        if bytes > FUNCTION_BYTES_MAX {
            return false;
        }
        functions.bytes = bytes;
        functions.code.insert(key.to_vec(), value);
        true
    }
}

/// How a guest is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metering {
    /// By the clock.
    Epoch,
    /// By fuel, with the clock as a backstop.
    Fuel,
}

impl Host {
    /// Starts engines and threads.
    ///
    /// # Errors
    /// `cache_folder` where the folder cannot be private; `sandbox_failed` where threads cannot be made.
    pub fn new(settings: HostSettings) -> Result<Self, PluginError> {
        let threads = if settings.threads == 0 { cores() } else { settings.threads };
        let failed = |what: &'static str| move |error: &dyn std::fmt::Display| PluginError::sandbox(what, error);
        let sandbox = Sandbox::start("sandbox", threads, false).map_err(|error| failed("threads")(&error))?;
        let background = Sandbox::start("background", 1, true).map_err(|error| failed("threads")(&error))?;
        let flavour = |metering| Flavour::new(metering, threads, &settings).map_err(|error| failed("engine")(&error));
        let inner = Inner {
            fast: flavour(Metering::Epoch)?,
            metered: flavour(Metering::Fuel)?,
            cache: settings.cache_dir.as_deref().map(Cache::open).transpose()?,
            compiling: Arc::new(Semaphore::new(1)),
            sandbox,
            background,
        };
        tick(&inner).map_err(|error| failed("threads")(&error))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes a plugin of a file's bytes: checks what they are, wraps a core module, compiles (or takes what was compiled
    /// before), lets it describe itself, and validates that. The file's code runs here for the first time, under `limits`.
    ///
    /// # Errors
    /// Fatal, and about the file, except where the host has no memory; see [`PluginError::code`].
    pub async fn load(&self, bytes: Arc<[u8]>, limits: Limits) -> Result<Plugin, PluginError> {
        let inner = Arc::clone(&self.inner);
        let (binary, compiled) = self
            .inner
            .compile_somewhere(move || {
                let binary = binary::read(&bytes)?;
                let compiled = inner.compile(Metering::Epoch, &binary.component)?;
                Ok((binary, compiled))
            })
            .await?;
        let logs = Arc::new(Logs::new(format!("sha256:{}", &binary.digest[..12]), limits.log_lines_per_second_max));
        let inner = Arc::clone(&self.inner);
        // Not on the caller's threads: what describes itself is foreign code already.
        let described = self.inner.sandbox.handle.spawn(
            async move {
                let descriptor = describe(&binary, &compiled, &limits, &logs).await?;
                let schema = descriptor.validate().map_err(|problems| PluginError {
                    kind: ErrorKind::Fatal,
                    code: "invalid_descriptor",
                    message: invalid_descriptor(&problems),
                    problems,
                })?;
                logs.rename(&schema.descriptor.name);
                Ok(Plugin::new(inner, binary, compiled, limits, logs, schema))
            }
            .boxed(),
        );
        described.await.map_err(|error| PluginError::sandbox("describe", &error))?
    }
}

fn invalid_descriptor(problems: &[crate::change::Problem]) -> String {
    let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
    format!("its descriptor does not hold: {}", for_people(&all.join("; "), 16 << 10))
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

impl Inner {
    /// Where guests run.
    pub(super) fn sandbox(&self, background: bool) -> &Handle {
        if background { &self.background.handle } else { &self.sandbox.handle }
    }

    /// Runs work on the compilers' threads, one piece at a time.
    pub(super) async fn compile_somewhere<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> Result<T, PluginError> + Send + 'static,
    ) -> Result<T, PluginError> {
        let permit = Arc::clone(&self.compiling).acquire_owned().await;
        let permit = permit.map_err(|error| PluginError::sandbox("compile", &error))?;
        let task = self.sandbox.handle.spawn_blocking(move || {
            let done = compilers().and_then(|compilers| compilers.install(work));
            drop(permit);
            done
        });
        task.await.map_err(|error| PluginError::sandbox("compile", &error))?
    }

    /// Compiles a component, or takes it from the cache, and links it. Blocks; call it within `compile_somewhere`.
    pub(super) fn compile(&self, metering: Metering, component: &[u8]) -> Result<Compiled, PluginError> {
        let flavour = match metering {
            Metering::Epoch => &self.fast,
            Metering::Fuel => &self.metered,
        };
        let started = Instant::now();
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&flavour.engine, component));
        let from_cache = cached.is_some();
        let compiled = match cached {
            Some(compiled) => compiled,
            None => {
                let compiled = Component::new(&flavour.engine, component).map_err(|error| {
                    let text = for_people(&format!("{error:#}"), 1000);
                    let hint = "it is broken, or uses a WebAssembly proposal that the sandbox leaves out";
                    PluginError::fatal("invalid_wasm", format!("it does not compile: {text}; {hint}"))
                })?;
                if let Some(cache) = &self.cache {
                    cache.store(&flavour.engine, component, &compiled);
                }
                compiled
            }
        };
        let link_error = |code, error: &wasmtime::Error| {
            let text = for_people(&format!("{error:#}"), 1000);
            PluginError::fatal(
                code,
                format!("it does not fit laterna:projection: {text}; build it against wit/projection.wit"),
            )
        };
        let mut linker = flavour.linker.clone();
        let linked = wasi::link(&mut linker, &compiled).and_then(|()| linker.instantiate_pre(&compiled));
        let pre = linked.map_err(|error| link_error("missing_import", &error))?;
        let pre = ProjectionPre::new(pre).map_err(|error| link_error("not_a_projection", &error))?;
        Ok(Compiled {
            pre,
            adapter: AdapterExports::of(&compiled),
            slots: flavour.slots.clone().map(|slots| (slots, Slots::needed(&compiled))),
            seconds: started.elapsed().as_secs_f64(),
            from_cache,
        })
    }
}

impl Flavour {
    /// What runs all the time has slots, where the machine has the addresses for them; what hardly ever runs has none.
    fn new(metering: Metering, threads: usize, settings: &HostSettings) -> wasmtime::Result<Self> {
        let mut config = Self::config(metering);
        if settings.names_for_perf {
            config.profiler(ProfilingStrategy::PerfMap);
        }
        if settings.keeps_functions && metering == Metering::Epoch {
            static FUNCTIONS: LazyLock<Arc<Functions>> = LazyLock::new(Arc::default);
            config.enable_incremental_compilation(FUNCTIONS.clone())?;
        }
        if metering == Metering::Epoch {
            let slots = Slots::reserve(&mut config, threads);
            match Engine::new(&config) {
                Ok(engine) => return Ok(Self { linker: instance::linker(&engine)?, engine, slots: Some(slots) }),
                Err(error) => tracing::warn!("plugins run slower: no address space for their slots ({error:#})"),
            }
            config = Self::config(metering);
        }
        let engine = Engine::new(&config)?;
        Ok(Self { linker: instance::linker(&engine)?, engine, slots: None })
    }

    fn config(metering: Metering) -> Config {
        let mut config = Config::new();
        config
            .strategy(Strategy::Cranelift)
            .cranelift_regalloc_algorithm(RegallocAlgorithm::Backtracking)
            .epoch_interruption(true)
            .consume_fuel(metering == Metering::Fuel)
            .max_wasm_stack(WASM_STACK_BYTES)
            .async_stack_size(FIBER_STACK_BYTES)
            .wasm_backtrace_details(WasmBacktraceDetails::Enable)
            // One result on every machine.
            .cranelift_nan_canonicalization(true)
            .wasm_relaxed_simd(false)
            // What no toolchain of ours needs is attack surface. (Several memories in one module are needed: so wasmtime copies
            // between the modules of a component, of which the interpreters' toolchains make several. Their sum is bounded.)
            .wasm_memory64(false)
            .shared_memory(false);
        config
    }
}

/// Threads for one compilation: what they were given by the allocator goes back when they end, and idle ones would keep it.
fn compilers() -> Result<rayon::ThreadPool, PluginError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(cores())
        .thread_name(|i| format!("compile-{i}"))
        .start_handler(|_| lower_priority())
        .build()
        .map_err(|error| PluginError::sandbox("threads", &error))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// Advances the clock of both engines until they are gone.
fn tick(inner: &Inner) -> std::io::Result<()> {
    let engines = [inner.fast.engine.weak(), inner.metered.engine.weak()];
    std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(TICK);
            let live: Vec<_> = engines.iter().filter_map(wasmtime::EngineWeak::upgrade).collect();
            if live.is_empty() {
                return;
            }
            live.iter().for_each(Engine::increment_epoch);
        }
    })?;
    Ok(())
}

async fn describe(
    binary: &Binary,
    compiled: &Compiled,
    limits: &Limits,
    logs: &Arc<Logs>,
) -> Result<Descriptor, PluginError> {
    let once = async || {
        let setup =
            Setup { compiled, limits, logs, digest: &binary.digest, fuel: None, call_time_max: DESCRIBE_TIME_MAX };
        let mut instance = Box::pin(Instance::new(&setup)).await?;
        instance.describe().await.map(bindings::descriptor)
    };
    let failed = |failure: Failure| {
        let reason = match failure {
            Failure::Host(error) => return error,
            Failure::Trap(reason) => reason,
            Failure::TooMuch => "it returned far too much data".to_owned(),
            Failure::Fuel | Failure::Deadline => format!("it did not end within {DESCRIBE_TIME_MAX:?}"),
        };
        PluginError::fatal(
            "describe_failed",
            format!("`describe` failed: {reason}; it must return the same on every call"),
        )
    };
    let first = once().await.map_err(failed)?;
    let second = once().await.map_err(failed)?;
    if first != second {
        return Err(PluginError::fatal(
            "describe_failed",
            "two calls of `describe` returned different descriptors; it must depend on the code alone".to_owned(),
        ));
    }
    Ok(first)
}

//! What an event costs in each plugin and as native code, in one process and in turns, so that a busy machine is busy for all.

use std::hint::black_box;
use std::time::Instant;

use laterna::plugin::{Host, Limits, Plugin};

use crate::load::{Form, LARGE, SMALL};
use crate::sandbox::{self, Chunk, Subject};
use crate::timeline::median;

/// Events of one length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// Nanoseconds an event.
    pub(super) ns: f64,
    /// Times as much as the native code beside it.
    pub(super) ratio: f64,
}

/// What a plugin costs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Speed {
    /// From the file's bytes to a plugin that has described itself: compiling, and two instances. Milliseconds.
    pub(super) start_ms: f64,
    /// A call with one event: an instance, and what it takes around the event. Microseconds.
    pub(super) call_us: f64,
    /// 290 bytes, 2 items.
    pub(super) small: Cost,
    /// 1,700 bytes, 8 items.
    pub(super) large: Cost,
}

/// Loads a plugin twice and gives the lesser time, without what was compiled before.
pub(super) async fn load(host: &Host, bytes: &[u8], limits: Limits) -> Result<(Plugin, f64), String> {
    let mut least = f64::INFINITY;
    let mut plugin = None;
    for _ in 0..2 {
        let begin = Instant::now();
        plugin = Some(host.load(bytes.into(), limits.clone()).await.map_err(|error| error.to_string())?);
        least = least.min(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok((plugin.ok_or("not loaded")?, least))
}

/// Nanoseconds an event of the native code and of each plugin, over so many rounds.
async fn race(plugins: &[Plugin], form: Form, rounds: usize) -> Result<(f64, Vec<Cost>), String> {
    let apply = Subject::OrderSummary.native();
    let chunks = sandbox::chunks(form);
    let mut native = Vec::new();
    let mut guests: Vec<Vec<f64>> = vec![Vec::new(); plugins.len()];
    // The first round makes memory and pages warm, and is not counted.
    for round in 0..=rounds {
        let Chunk { engine, sdk } = &chunks[round % chunks.len()];
        let count = engine.events.len() as f64;
        let batch = sdk.clone();
        let begin = Instant::now();
        let changes: Vec<_> = apply(black_box(batch)).into_iter().map(sandbox::changes_of).collect();
        drop(black_box(changes));
        let once = begin.elapsed().as_secs_f64() * 1e9 / count;
        if round > 0 {
            native.push(once);
        }
        for (plugin, samples) in plugins.iter().zip(&mut guests) {
            let begin = Instant::now();
            let applied = plugin.apply(engine).await.map_err(|error| error.to_string())?;
            drop(black_box(applied));
            let guest = begin.elapsed().as_secs_f64() * 1e9 / count;
            if round > 0 {
                samples.push(guest);
            }
        }
    }
    let costs = guests.into_iter().map(|samples| {
        let ratios: Vec<f64> = samples.iter().zip(&native).map(|(guest, native)| guest / native).collect();
        Cost { ns: median(samples), ratio: median(ratios) }
    });
    let costs = costs.collect();
    Ok((median(native), costs))
}

/// Whether a plugin can be measured.
pub(super) async fn runs(plugin: &Plugin) -> Result<(), String> {
    for form in [SMALL, LARGE] {
        for chunk in sandbox::chunks(form) {
            let applied = plugin.apply(&chunk.engine).await.map_err(|error| error.to_string())?;
            if let Some(fault) = applied.fault {
                return Err(format!("an ordinary order is at fault: {:?}, {}", fault.kind, fault.reason));
            }
        }
    }
    Ok(())
}

/// Measures all plugins, each with the time that its start took. The first value: the native code's nanoseconds, small and large.
pub(super) async fn measure(started: &[(Plugin, f64)], rounds: usize) -> Result<([f64; 2], Vec<Speed>), String> {
    let plugins: Vec<Plugin> = started.iter().map(|(plugin, _)| plugin.clone()).collect();
    let (native_small, small) = race(&plugins, SMALL, rounds).await?;
    let (native_large, large) = race(&plugins, LARGE, rounds).await?;
    let mut speeds = Vec::new();
    let one = sandbox::chunks(SMALL).swap_remove(0).first();
    for (at, (plugin, start_ms)) in started.iter().enumerate() {
        let mut calls = Vec::new();
        for _ in 0..=rounds {
            let begin = Instant::now();
            drop(black_box(plugin.apply(&one).await.map_err(|error| error.to_string())?));
            calls.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        speeds.push(Speed { start_ms: *start_ms, call_us: median(calls), small: small[at], large: large[at] });
    }
    Ok(([native_small, native_large], speeds))
}

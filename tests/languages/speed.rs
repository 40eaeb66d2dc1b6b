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
    /// Nanoseconds an event of the language's program without the SDK, where it has one.
    pub(super) raw_ns: Option<f64>,
    /// Times as much as that program beside it.
    pub(super) vs_raw: Option<f64>,
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

/// What is raced: a plugin, and the language's program without the SDK.
pub(super) struct Runner {
    /// The SDK's.
    pub(super) plugin: Plugin,
    /// Milliseconds that its start took.
    pub(super) start_ms: f64,
    /// Which of the programs without an SDK is its language's.
    pub(super) raw: Option<usize>,
}

/// Nanoseconds an event of the native code and of each runner, over so many rounds.
async fn race(runners: &[Runner], raws: &[Plugin], form: Form, rounds: usize) -> Result<(f64, Vec<Cost>), String> {
    let apply = Subject::OrderSummary.native();
    let chunks = sandbox::chunks(form);
    // A program without an SDK runs beside the first one that it is compared with, and every other round goes the other way: so what
    // ran before is no advantage to either.
    let raw_at = |raw: usize| runners.len() + raw;
    let mut order: Vec<usize> = Vec::new();
    for (at, runner) in runners.iter().enumerate() {
        order.push(at);
        order.extend(runner.raw.map(raw_at).filter(|raw| !order.contains(raw)));
    }
    let all: Vec<&Plugin> = runners.iter().map(|runner| &runner.plugin).chain(raws).collect();
    let mut native = Vec::new();
    let mut guests: Vec<Vec<f64>> = vec![Vec::new(); all.len()];
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
        for at in &order {
            let begin = Instant::now();
            let applied = all[*at].apply(engine).await.map_err(|error| error.to_string())?;
            drop(black_box(applied));
            let guest = begin.elapsed().as_secs_f64() * 1e9 / count;
            if round > 0 {
                guests[*at].push(guest);
            }
        }
        order.reverse();
    }
    let against = |samples: &[f64], base: &[f64]| median(samples.iter().zip(base).map(|(s, b)| s / b));
    let costs = runners.iter().zip(&guests).map(|(runner, samples)| {
        let raw = runner.raw.map(|raw| &guests[raw_at(raw)]);
        Cost {
            ns: median(samples.clone()),
            ratio: against(samples, &native),
            raw_ns: raw.map(|raw| median(raw.clone())),
            vs_raw: raw.map(|raw| against(samples, raw)),
        }
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

/// Measures all runners. The first value: the native code's nanoseconds, small and large.
pub(super) async fn measure(
    runners: &[Runner],
    raws: &[Plugin],
    rounds: usize,
) -> Result<([f64; 2], Vec<Speed>), String> {
    let (native_small, small) = race(runners, raws, SMALL, rounds).await?;
    let (native_large, large) = race(runners, raws, LARGE, rounds).await?;
    let mut speeds = Vec::new();
    let one = sandbox::chunks(SMALL).swap_remove(0).first();
    for (at, runner) in runners.iter().enumerate() {
        let mut calls = Vec::new();
        for _ in 0..=rounds {
            let begin = Instant::now();
            drop(black_box(runner.plugin.apply(&one).await.map_err(|error| error.to_string())?));
            calls.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        speeds.push(Speed { start_ms: runner.start_ms, call_us: median(calls), small: small[at], large: large[at] });
    }
    Ok(([native_small, native_large], speeds))
}

//! What runs between the engine's call and the author's function.

use crate::bindings::laterna::projection::types::{Batch, Outcome};
use crate::{Changes, Event, Fault};

/// Answers each event of a batch in order.
pub fn run(batch: &Batch, apply: impl Fn(&Event<'_>, &mut Changes) -> Result<(), Fault>) -> Vec<Outcome> {
    report_panics();
    let mut outcomes = Vec::with_capacity(batch.events.len());
    for record in &batch.events {
        let mut changes = Changes::default();
        outcomes.push(match apply(&Event::of(&batch.topic, batch.partition, record), &mut changes) {
            Ok(()) => Outcome::Changes(changes.into_vec()),
            Err(Fault::Reject(reason)) => Outcome::Reject(reason),
            Err(Fault::Halt(reason)) => Outcome::Halt(reason),
        });
    }
    outcomes
}

/// A panic ends the instance without a word of its own: file, line and message go to the log before.
fn report_panics() {
    #[cfg(target_arch = "wasm32")]
    {
        static HOOK: std::sync::Once = std::sync::Once::new();
        HOOK.call_once(|| {
            std::panic::set_hook(Box::new(|panic| crate::log::write(crate::log::Level::Error, &panic.to_string())));
        });
    }
}

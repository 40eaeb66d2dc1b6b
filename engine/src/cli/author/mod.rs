//! The author's loop: from a sample of events to a project, from its source to a plugin, from a saved file to new rows.
//!
//! Invariants: what is built, tested and shown is what the engine would run, because it is loaded, validated and run by the engine itself;
//! everything else that differs between languages stands in `plugin.toml` and in the folder of the language's SDK.
//!
//! `project` is plugin.toml and the commands in it, `tools` what those commands need, `new` makes projects, `sample` infers what a sample's
//! events are made of, `source` writes that as source text, `dev` watches, builds and replays, `tap` reads a topic, `places` finds the
//! line of the source that a message speaks of.

pub(super) mod dev;
pub(super) mod new;
mod places;
pub(super) mod project;
mod sample;
mod source;
pub(super) mod tap;
pub(super) mod tools;

pub(super) use places::with_source_line;

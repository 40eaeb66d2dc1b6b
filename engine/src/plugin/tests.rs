//! The sandbox against a guest written for it (`tests/probe.wat`), which does what each event's value says.

mod guest;
mod loading;
mod running;
mod wasi;

//! Laterna, a WebAssembly-pluggable projection engine: it reads events from Kafka, passes them to sandboxed plugins, and
//! applies the row changes that they return to a SQL database in one transaction with the projection's checkpoint.
//!
//! To follow one event, read in this order: [`runner`] (what happens next), [`source`] (where it comes from),
//! [`mod@format`] (what its bytes mean), [`plugin`] (what it means), [`change`] (how changes fold), [`sink`] (how rows and checkpoint are written).
//! Around them: [`event`] and [`checkpoint`] are the vocabulary, [`error`] says what must happen next, [`config`] holds every
//! option, [`control`] starts and stops projections, [`http`] shows them, [`trace`] tells others, [`cli`] is the command `laterna`.

// The command line names the library as every user of it does.
extern crate self as laterna;

pub mod change;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod control;
mod crash;
pub mod error;
pub mod event;
pub mod format;
pub mod http;
mod peer;
pub mod plugin;
pub mod runner;
pub mod sink;
pub mod source;
pub mod trace;

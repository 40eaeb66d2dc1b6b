//! What the black-box tests stand on: services, faults, load, and an oracle that shares no code with the engine.
//!
//! The harness knows the engine by its binary, its configuration, its HTTP routes and its public tables only. What a
//! table must hold is folded anew, in plain Rust, from what a reader of the topic sees ([`oracle`]), and every
//! snapshot that [`observer`] takes is held against the fold at exactly that snapshot's checkpoints.
//!
//! Nothing sleeps for a fixed time in the hope that something has happened by then: conditions are awaited, with
//! generous deadlines ([`wait`]).

pub mod collector;
pub mod engine;
pub mod file_log;
pub mod guardian;
pub mod kafka_log;
pub mod load;
pub mod observer;
pub mod oracle;
pub mod proxy;
pub mod random;
pub mod registry;
pub mod services;
pub mod sql;
pub mod transcript;
pub mod wait;

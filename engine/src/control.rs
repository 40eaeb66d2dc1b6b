//! The control plane: which projections run. Watches `plugins/`, loads builds, starts and stops runners.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Config;
use crate::runner::ProjectionStatus;

/// The running engine. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Control {}

/// A file in `plugins/` that does not run, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RejectedPlugin {
    /// Name of the file.
    pub file: String,
    /// Stable name of the cause.
    pub code: String,
    /// What is wrong and what to do.
    pub reason: String,
}

/// One thing that the engine needs to be ready.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ReadyCheck {
    /// What it is: `database`, `source`, `plugins`, `draining`.
    pub name: &'static str,
    /// Whether it is well.
    pub ok: bool,
    /// What it is, or what is wrong with it.
    pub detail: String,
}

/// The engine could not start.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// What was tried, what was said, and what to do.
    pub message: String,
}

impl Control {
    /// Starts the engine: opens the database, looks at the source, and runs every plugin in `plugins_dir`.
    ///
    /// # Errors
    /// The database refuses (wrong password, newer schema, locked by another process) or the folder is missing. A database or
    /// broker that does not answer yet is no error: it is waited for.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let _ = config;
        unimplemented!()
    }

    /// All projections, by name.
    pub fn projections(&self) -> Vec<ProjectionStatus> {
        unimplemented!()
    }

    /// Files in `plugins/` that do not run.
    pub fn rejected(&self) -> Vec<RejectedPlugin> {
        unimplemented!()
    }

    /// What readiness depends on.
    pub fn ready(&self) -> Vec<ReadyCheck> {
        unimplemented!()
    }

    /// The folder that is watched.
    pub fn plugins_dir(&self) -> PathBuf {
        unimplemented!()
    }

    /// Waits until every projection stands at the ends that its log had when this was called (or is halted), and no plugin is still
    /// being loaded. For `demo --once` and `test`.
    pub async fn caught_up(&self) {
        unimplemented!()
    }

    /// Stops fetching, finishes or rolls back what is under way, leaves the groups, closes the database; within `limit`.
    pub async fn shutdown(&self, limit: Duration) {
        let _ = limit;
        unimplemented!()
    }
}

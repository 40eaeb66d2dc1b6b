//! The HTTP face: translates the control plane's values to JSON, metrics and a status page. Decides nothing.
//!
//! Invariants: GET and HEAD only; requests have no body; on loopback the `Host` and `Origin` headers must name loopback, or a web page could
//! read us through a name that it points at this machine (DNS rebinding); connections, headers and their time are
//! bounded, so slow clients cannot starve anybody; errors are `application/problem+json`.

mod api;
mod metrics;
mod server;

use std::path::PathBuf;
use std::sync::Arc;

use crate::control::{Control, ReadyCheck, RejectedPlugin};
use crate::runner::ProjectionStatus;

pub use server::{Server, bind};

/// Everything that is shown, as it stands at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// All projections, by name.
    pub projections: Vec<ProjectionStatus>,
    /// Files that do not run.
    pub rejected: Vec<RejectedPlugin>,
    /// What readiness depends on.
    pub ready: Vec<ReadyCheck>,
    /// The folder that is watched.
    pub plugins_dir: PathBuf,
}

/// Takes a snapshot.
pub type Look = Arc<dyn Fn() -> Snapshot + Send + Sync>;

/// Looks at a running engine.
pub fn look_at(control: Control) -> Look {
    Arc::new(move || Snapshot {
        projections: control.projections(),
        rejected: control.rejected(),
        ready: control.ready(),
        plugins_dir: control.plugins_dir(),
    })
}

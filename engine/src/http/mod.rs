//! The HTTP face: translates the control plane's values to JSON, metrics and the pages' files. Decides nothing.
//!
//! Invariants: a request is let through by one table of routes (`rules.rs`) and one guard (`guard.rs`), and by nothing else; on loopback the
//! `Host` header must name loopback, or a web page could read us through a name that it points at this machine (DNS rebinding), and a page of
//! another site is refused everywhere; connections, headers, bodies, streams and their time are bounded, so slow clients cannot starve
//! anybody; errors are `application/problem+json`; the OpenAPI document is made from the handlers (`openapi.rs`).

mod access;
mod answer;
mod assets;
mod engine;
mod feed;
mod guard;
mod input;
mod metrics;
mod observe;
mod openapi;
mod operate;
mod plugins;
mod problem;
mod rebuilds;
mod routes;
mod rules;
mod seat;
mod server;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::control::{PluginView, ProjectionView, ReadyCheck, RejectedPlugin};
use futures_util::FutureExt as _;

pub use access::Token;
pub use metrics::{Granularity, MetricsSettings};
pub use rules::Role;
pub use server::{Server, bind};

use engine::Engine;
use problem::Problem;

/// Streams of events at a time.
const STREAMS_MAX: usize = 64;

/// What the HTTP face must know.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Who may come in. None on loopback: everybody may do everything; none elsewhere: everybody may look.
    pub tokens: Vec<Token>,
    /// Names under which the engine is served, beside its own.
    pub allowed_hosts: Vec<String>,
    /// What `/metrics` shows.
    pub metrics: MetricsSettings,
    /// The folder that is watched.
    pub plugins_dir: PathBuf,
    /// What is said until the engine has started.
    pub starting: String,
}

/// Everything that is shown, as it stands at one moment.
#[derive(Clone, Debug, Default)]
struct Snapshot {
    projections: Vec<ProjectionView>,
    plugins: Vec<PluginView>,
    rejected: Vec<RejectedPlugin>,
    ready: Vec<ReadyCheck>,
    plugins_dir: PathBuf,
}

/// What all handlers share.
struct Api {
    access: access::Access,
    lanes: guard::Lanes,
    feed: feed::Feed,
    metrics: MetricsSettings,
    plugins_dir: PathBuf,
    starting: String,
    /// None until one is shown; another one may be shown later.
    engine: RwLock<Option<Arc<dyn Engine>>>,
}

impl Api {
    fn new(settings: Settings, is_loopback: bool) -> Arc<Self> {
        Arc::new(Self {
            access: access::Access::new(settings.tokens, settings.allowed_hosts, is_loopback),
            lanes: guard::Lanes::new(),
            feed: feed::Feed::new(),
            metrics: settings.metrics,
            plugins_dir: settings.plugins_dir,
            starting: settings.starting,
            engine: RwLock::default(),
        })
    }

    /// From now on this engine is shown.
    fn show(self: &Arc<Self>, engine: Arc<dyn Engine>) {
        let (changes, shown) = (engine.changes(), Arc::downgrade(&engine));
        *self.engine.write().unwrap_or_else(PoisonError::into_inner) = Some(engine);
        tokio::spawn(feed::keep(Arc::downgrade(self), shown, changes).boxed());
    }

    /// The engine that is shown, if one is.
    fn shown(&self) -> Option<Arc<dyn Engine>> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn engine(&self) -> Result<Arc<dyn Engine>, Problem> {
        self.shown().ok_or_else(|| Problem::busy("starting", format!("the engine is starting: {}", self.starting)))
    }

    fn look(&self) -> Snapshot {
        match self.shown() {
            Some(engine) => Snapshot {
                projections: engine.views(),
                plugins: engine.plugins(),
                rejected: engine.rejected(),
                ready: engine.ready(),
                plugins_dir: engine.plugins_dir(),
            },
            None => Snapshot {
                ready: vec![ReadyCheck { name: "starting", ok: false, detail: self.starting.clone() }],
                plugins_dir: self.plugins_dir.clone(),
                ..Snapshot::default()
            },
        }
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

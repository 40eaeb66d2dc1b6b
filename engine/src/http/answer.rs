//! What answers hold beside the control plane's own values, and how they are written.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::Snapshot;
use super::problem::Problem;
use crate::control::{
    AuditEntry, Done, LogLine, PluginView, ProjectionView, ReadyCheck, RebuildView, RejectedPlugin, TableView,
};

/// A value as JSON, with a tag of its content: who has it already is told so.
pub(super) struct Shown<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let tag = tag(&body);
                let kind = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, kind), (header::ETAG, tag)], body).into_response()
            }
            Err(error) => Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "answer_failed",
                format!("the answer could not be written: {error}"),
            )
            .into_response(),
        }
    }
}

/// The entity tag of a content.
pub(super) fn tag(content: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(content);
    let text = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>();
    HeaderValue::from_str(&format!("\"{text}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// An order that was recorded: whoever runs the projection carries it out.
pub(super) struct Ordered(pub(super) Done);

impl IntoResponse for Ordered {
    fn into_response(self) -> Response {
        let Done { changed, generation, rebuild } = self.0;
        let place = rebuild.as_deref().and_then(rebuild_place);
        let mut response =
            (StatusCode::ACCEPTED, axum::Json(Accepted { changed, generation, rebuild })).into_response();
        if let Some(place) = place {
            response.headers_mut().insert(header::LOCATION, place);
        }
        response
    }
}

/// Where a rebuild is seen.
pub(super) fn rebuild_place(id: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("/api/v1/rebuilds/{id}")).ok()
}

/// What an order has done.
#[derive(Serialize, ToSchema)]
pub(super) struct Accepted {
    /// Whether anything changed: a repeated order changes nothing.
    pub(super) changed: bool,
    /// The generation that was made or made live, where one was.
    pub(super) generation: Option<u32>,
    /// The rebuild that was begun, where one was.
    pub(super) rebuild: Option<String>,
}

/// The engine at a glance.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// The engine's version.
    pub(super) version: &'static str,
    /// Whether all checks pass.
    pub(super) ready: bool,
    /// What readiness depends on.
    pub(super) checks: Vec<ReadyCheck>,
    /// The folder that is watched.
    pub(super) plugins_dir: String,
    /// What the asker may do: `viewer` or `operator`. Not in the stream of events, which tells everybody the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
}

/// What `/version` says.
#[derive(Serialize, ToSchema)]
pub(super) struct Version {
    /// `laterna`
    pub(super) name: &'static str,
    /// The engine's version.
    pub(super) version: &'static str,
}

/// All projections.
#[derive(Serialize, ToSchema)]
pub(super) struct Projections {
    /// By name.
    pub(super) projections: Vec<ProjectionView>,
}

/// The partitions of a projection.
#[derive(Serialize, ToSchema)]
pub(super) struct Partitions {
    /// By topic and number.
    pub(super) partitions: Vec<crate::runner::PartitionStatus>,
}

/// Lines of a log.
#[derive(Serialize, ToSchema)]
pub(super) struct Logs {
    /// Oldest first.
    pub(super) lines: Vec<LogLine>,
    /// The number to ask for next as `after`.
    pub(super) next: u64,
}

/// Tables that readers see.
#[derive(Serialize, ToSchema)]
pub(super) struct Tables {
    /// In the plugin's order.
    pub(super) tables: Vec<TableView>,
}

/// Rebuilds of a projection.
#[derive(Serialize, ToSchema)]
pub(super) struct Rebuilds {
    /// Newest first.
    pub(super) rebuilds: Vec<RebuildView>,
}

/// How two generations differ.
#[derive(Serialize, ToSchema)]
pub(super) struct Difference {
    /// Table by table.
    pub(super) tables: Vec<crate::control::TableDifference>,
}

/// Part of the audit.
#[derive(Serialize, ToSchema)]
pub(super) struct Audit {
    /// Newest first.
    pub(super) entries: Vec<AuditEntry>,
    /// The number to ask for next as `before`; null at the end.
    pub(super) next: Option<i64>,
}

/// The folder and what runs.
#[derive(Serialize, ToSchema)]
pub(super) struct Plugins {
    /// The folder that is watched.
    pub(super) plugins_dir: String,
    /// Each file, and each projection without one.
    pub(super) plugins: Vec<PluginView>,
    /// The builds that run.
    pub(super) running: Vec<RunningPlugin>,
    /// The files that do not run, and why.
    pub(super) rejected: Vec<RejectedPlugin>,
}

/// A build that runs.
#[derive(Serialize, ToSchema)]
pub(super) struct RunningPlugin {
    /// The file that it was read from.
    file: String,
    /// Its SHA-256.
    digest: String,
    /// The projection.
    projection: String,
    /// Its revision.
    revision: u32,
}

impl Status {
    pub(super) fn of(seen: &Snapshot) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            ready: seen.ready.iter().all(|check| check.ok),
            checks: seen.ready.clone(),
            plugins_dir: seen.plugins_dir.display().to_string(),
            role: None,
        }
    }
}

impl Plugins {
    pub(super) fn of(seen: Snapshot) -> Self {
        let running = seen.projections.into_iter().map(|view| RunningPlugin {
            file: view.status.plugin_file,
            digest: view.status.plugin_digest,
            projection: view.status.name,
            revision: view.status.revision,
        });
        Self {
            plugins_dir: seen.plugins_dir.display().to_string(),
            plugins: seen.plugins,
            running: running.collect(),
            rejected: seen.rejected,
        }
    }
}

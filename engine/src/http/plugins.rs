//! Routes about the files in `plugins/`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::answer::{Accepted, Ordered, Plugins, Shown};
use super::input::{Asks, By, Segment};
use super::problem::Problem;
use crate::control::{Plan, PluginView};

/// The files, the builds that run, and the files that do not.
#[utoipa::path(get, path = "/api/v1/plugins", tag = "plugins", responses((status = 200, body = Plugins)))]
pub(super) async fn plugins(State(api): State<Arc<Api>>) -> Shown<Plugins> {
    Shown(Plugins::of(api.look()))
}

/// One plugin, by its SHA-256 (on disk, or running) or by its file.
#[utoipa::path(get, path = "/api/v1/plugins/{plugin}", tag = "plugins",
    params(("plugin" = String, Path, description = "SHA-256, or name of the file.")),
    responses((status = 200, body = PluginView)))]
pub(super) async fn plugin(State(api): State<Arc<Api>>, Segment(name): Segment) -> Result<Shown<PluginView>, Problem> {
    let plugins = api.engine()?.plugins();
    let is = |digest: &Option<String>| digest.as_ref().is_some_and(|digest| digest.eq_ignore_ascii_case(&name));
    // The file on disk comes before another one whose projection runs the same build.
    let found = plugins.iter().find(|plugin| plugin.file == name || is(&plugin.digest));
    let found = found.or_else(|| plugins.iter().find(|plugin| is(&plugin.running_digest)));
    found.filter(|_| !name.is_empty()).cloned().map(Shown).ok_or_else(|| {
        let name: String = name.chars().take(100).collect();
        let detail = format!("there is no plugin {name:?}; GET /api/v1/plugins lists them");
        Problem::new(StatusCode::NOT_FOUND, "plugin_unknown", detail)
    })
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UploadQuery {
    /// The name that the file gets: NAME.wasm.
    #[param(example = "order_summary.wasm")]
    file: String,
}

/// Puts a build into `plugins/`, whole or not at all, and tells what it needs. It is carried out as for any file there.
#[utoipa::path(post, path = "/api/v1/plugins", tag = "plugins", params(UploadQuery),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 202, body = Plan)))]
pub(super) async fn add_plugin(
    State(api): State<Arc<Api>>,
    Asks(query): Asks<UploadQuery>,
    By(asked): By,
    body: Bytes,
) -> Result<Response, Problem> {
    let plan = api.engine()?.add_plugin(query.file, Vec::from(body).into(), asked).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(plan)).into_response())
}

/// What these bytes would need. Nothing is stored.
#[utoipa::path(post, path = "/api/v1/plugins/plan", tag = "plugins",
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 200, body = Plan)))]
pub(super) async fn plan_build(State(api): State<Arc<Api>>, body: Bytes) -> Result<Shown<Plan>, Problem> {
    Ok(Shown(api.engine()?.plan_build(Vec::from(body).into()).await?))
}

/// Takes a file out of `plugins/`: its projection stops, its tables stay.
#[utoipa::path(delete, path = "/api/v1/plugins/{plugin}", tag = "plugins",
    params(("plugin" = String, Path, description = "Name of the file.")),
    responses((status = 202, body = Accepted)))]
pub(super) async fn remove_plugin(
    State(api): State<Arc<Api>>,
    Segment(file): Segment,
    By(asked): By,
) -> Result<Ordered, Problem> {
    Ok(Ordered(api.engine()?.remove_plugin(file, asked).await?))
}

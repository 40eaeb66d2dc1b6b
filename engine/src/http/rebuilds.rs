//! Routes about rebuilds: begin one, watch it, compare, switch, call it off.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::answer::{Accepted, Difference, Ordered, Rebuilds, Shown, rebuild_place};
use super::input::{Asks, By, Members, Nothing, Segment, json, within};
use super::problem::{Problem, ProblemDocument};
use crate::control::{RebuildForecast, RebuildRequest, RebuildView, Switch};

const SAMPLES_MAX: u32 = 100;

/// The rebuilds of a projection, newest first.
#[utoipa::path(get, path = "/api/v1/projections/{projection}/rebuilds", tag = "rebuilds",
    params(("projection" = String, Path, description = "Name of the projection.")),
    responses((status = 200, body = Rebuilds)))]
pub(super) async fn rebuilds(State(api): State<Arc<Api>>, Segment(name): Segment) -> Result<Shown<Rebuilds>, Problem> {
    Ok(Shown(Rebuilds { rebuilds: api.engine()?.rebuilds(&name)? }))
}

/// How a rebuild is to be done.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rebuild {
    /// Who makes the new generation the live one; as the configuration says, if not said.
    switch: Option<SwitchBy>,
    /// By which build; the one that runs, if not said.
    build: Option<RebuildBy>,
    /// Events per second at most.
    #[schema(minimum = 1)]
    max_rate: Option<u32>,
    /// Also where the log no longer begins where the projection began.
    #[serde(default)]
    force: bool,
    /// Tells what would be done, and does nothing.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SwitchBy {
    /// The engine, as soon as it has caught up.
    Auto,
    /// A person.
    Manual,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RebuildBy {
    /// The one that runs.
    Live,
    /// The one in `plugins/` whose rebuild is held back.
    Held,
}

impl Members for Rebuild {
    const NAMES: &'static [&'static str] = &["switch", "build", "max_rate", "force", "dry_run"];
}

/// Begins to fill the next generation beside the live one; one at a time.
#[utoipa::path(post, path = "/api/v1/projections/{projection}/rebuilds", tag = "rebuilds",
    params(("projection" = String, Path, description = "Name of the projection.")),
    request_body = Option<Rebuild>,
    responses(
        (status = 202, body = RebuildView, headers(("Location" = String, description = "The rebuild."))),
        (status = 200, body = RebuildForecast, description = "With dry_run: what it would be."),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json",
            description = "`rebuild_active`: `subject` names it. `log_begins_later`: only with force. `nothing_held`: no build waits for a rebuild.")))]
pub(super) async fn begin_rebuild(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
    By(asked): By,
    body: Bytes,
) -> Result<Response, Problem> {
    let rebuild: Rebuild = json(&body)?;
    if rebuild.max_rate == Some(0) {
        return Err(Problem::invalid("max_rate=0 would never end; leave it out for no bound"));
    }
    let held = matches!(rebuild.build, Some(RebuildBy::Held));
    if rebuild.dry_run {
        return Ok(Shown(api.engine()?.forecast_rebuild(name, held).await?).into_response());
    }
    let switch = rebuild.switch.map(|switch| match switch {
        SwitchBy::Auto => Switch::Auto,
        SwitchBy::Manual => Switch::Manual,
    });
    let request = RebuildRequest { switch, max_rate: rebuild.max_rate, force: rebuild.force, held };
    let begun = api.engine()?.begin_rebuild(name, request, asked).await?;
    let place = rebuild_place(&begun.record.id);
    let mut response = (StatusCode::ACCEPTED, axum::Json(begun)).into_response();
    if let Some(place) = place {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// One rebuild.
#[utoipa::path(get, path = "/api/v1/rebuilds/{id}", tag = "rebuilds",
    params(("id" = String, Path, description = "Identity of the rebuild.")),
    responses((status = 200, body = RebuildView)))]
pub(super) async fn rebuild(State(api): State<Arc<Api>>, Segment(id): Segment) -> Result<Shown<RebuildView>, Problem> {
    Ok(Shown(api.engine()?.rebuild(&id)?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DiffQuery {
    /// Shows so many differing rows of each table; 10 if not said.
    #[param(minimum = 0, maximum = 100)]
    samples: Option<u32>,
}

/// Compares the live rows with the rebuilt ones, at the same checkpoints.
#[utoipa::path(get, path = "/api/v1/rebuilds/{id}/diff", tag = "rebuilds",
    params(("id" = String, Path, description = "Identity of the rebuild."), DiffQuery),
    responses((status = 200, body = Difference)))]
pub(super) async fn diff(
    State(api): State<Arc<Api>>,
    Segment(id): Segment,
    Asks(query): Asks<DiffQuery>,
) -> Result<Shown<Difference>, Problem> {
    let samples = within("samples", query.samples.unwrap_or(10), 0, SAMPLES_MAX)?;
    Ok(Shown(Difference { tables: api.engine()?.diff(id, samples as usize).await? }))
}

/// Lets the rebuilt generation become the live one as soon as it has caught up, also where it still fills.
#[utoipa::path(post, path = "/api/v1/rebuilds/{id}/switch", tag = "rebuilds",
    params(("id" = String, Path, description = "Identity of the rebuild.")),
    responses((status = 202, body = Accepted)))]
pub(super) async fn switch_rebuild(
    State(api): State<Arc<Api>>,
    Segment(id): Segment,
    By(asked): By,
    body: Bytes,
) -> Result<Ordered, Problem> {
    let Nothing {} = json(&body)?;
    Ok(Ordered(api.engine()?.switch_rebuild(id, asked).await?))
}

/// Calls it off; the live generation has never noticed it.
#[utoipa::path(delete, path = "/api/v1/rebuilds/{id}", tag = "rebuilds",
    params(("id" = String, Path, description = "Identity of the rebuild.")),
    responses((status = 202, body = Accepted)))]
pub(super) async fn cancel_rebuild(
    State(api): State<Arc<Api>>,
    Segment(id): Segment,
    By(asked): By,
) -> Result<Ordered, Problem> {
    Ok(Ordered(api.engine()?.cancel_rebuild(id, asked).await?))
}

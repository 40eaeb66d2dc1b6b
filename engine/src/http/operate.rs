//! Routes that change a projection. Each is one order, recorded with who asked for it; whoever runs the projection carries it out.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use base64::Engine as _;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Api;
use super::answer::{Accepted, Ordered, Shown};
use super::input::{By, Members, Nothing, Segment, json};
use super::problem::Problem;
use crate::control::{StepEvents, StepReport};

const STEP_EVENTS_MAX: u32 = 100;

/// Stops taking events, on every engine, until it is resumed. Nothing where it is paused.
#[utoipa::path(put, path = "/api/v1/projections/{projection}/pause", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection.")),
    responses((status = 202, body = Accepted)))]
pub(super) async fn pause(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
    By(asked): By,
    body: Bytes,
) -> Result<Ordered, Problem> {
    let Nothing {} = json(&body)?;
    Ok(Ordered(api.engine()?.pause(name, asked).await?))
}

/// Takes events again. Nothing where it does.
#[utoipa::path(put, path = "/api/v1/projections/{projection}/resume", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection.")),
    responses((status = 202, body = Accepted)))]
pub(super) async fn resume(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
    By(asked): By,
    body: Bytes,
) -> Result<Ordered, Problem> {
    let Nothing {} = json(&body)?;
    Ok(Ordered(api.engine()?.resume(name, asked).await?))
}

/// Starts its runners anew, on every engine; also where it is halted.
#[utoipa::path(post, path = "/api/v1/projections/{projection}/restart", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection.")),
    responses((status = 202, body = Accepted)))]
pub(super) async fn restart(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
    By(asked): By,
    body: Bytes,
) -> Result<Ordered, Problem> {
    let Nothing {} = json(&body)?;
    Ok(Ordered(api.engine()?.restart(name, asked).await?))
}

/// Carries out the plan that is held back. `Location` names the rebuild, where it begins one.
#[utoipa::path(post, path = "/api/v1/projections/{projection}/deploy", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection.")),
    responses((status = 202, body = Accepted, headers(("Location" = String, description = "The rebuild, where one was begun.")))))]
pub(super) async fn deploy(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
    By(asked): By,
    body: Bytes,
) -> Result<Ordered, Problem> {
    let Nothing {} = json(&body)?;
    Ok(Ordered(api.engine()?.deploy(name, asked).await?))
}

/// Makes the generation that was live before the live one again.
#[utoipa::path(post, path = "/api/v1/projections/{projection}/rollback", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection.")),
    responses((status = 202, body = Accepted)))]
pub(super) async fn rollback(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
    By(asked): By,
    body: Bytes,
) -> Result<Ordered, Problem> {
    let Nothing {} = json(&body)?;
    Ok(Ordered(api.engine()?.rollback(name, asked).await?))
}

/// Removes a projection with its tables. Its plugin's file must be gone.
#[utoipa::path(delete, path = "/api/v1/projections/{projection}", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection.")),
    responses((status = 202, body = Accepted)))]
pub(super) async fn drop_projection(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
    By(asked): By,
) -> Result<Ordered, Problem> {
    Ok(Ordered(api.engine()?.drop_projection(name, asked).await?))
}

/// Which events a step runs: `lines`, or a place in the log.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// Name of the topic.
    topic: String,
    /// JSON lines as in files: `key`, `value`, `headers`, `timestamp`.
    lines: Option<String>,
    /// Number of the partition.
    #[schema(minimum = 0)]
    partition: Option<i32>,
    /// First offset.
    #[schema(minimum = 0)]
    offset: Option<i64>,
    /// At most so many events; 1 if not said.
    #[schema(minimum = 1, maximum = 100)]
    count: Option<u32>,
    /// Another build than the one that runs: the bytes of a component or module, in base64.
    #[schema(content_encoding = "base64")]
    build: Option<String>,
}

impl Members for Step {
    const NAMES: &'static [&'static str] = &["topic", "lines", "partition", "offset", "count", "build"];
}

/// Runs events through the current build, or through another one, and shows what would change. Nothing is written.
#[utoipa::path(post, path = "/api/v1/projections/{projection}/step", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection.")),
    request_body = Step, responses((status = 200, body = StepReport)))]
pub(super) async fn step(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
    body: Bytes,
) -> Result<Shown<StepReport>, Problem> {
    let step: Step = json(&body)?;
    drop(body);
    let topic = step.topic;
    let events = match (step.lines, step.partition, step.offset, step.count) {
        (Some(lines), None, None, None) => StepEvents::Lines { topic, lines },
        (None, Some(partition), Some(offset), count) if partition >= 0 && offset >= 0 => {
            let count = count.unwrap_or(1);
            if !(1..=STEP_EVENTS_MAX).contains(&count) {
                return Err(Problem::invalid(format!("count={count} is out of bounds: 1 to {STEP_EVENTS_MAX}")));
            }
            StepEvents::Range { topic, partition, offset, count }
        }
        _ => {
            let detail = "say which events: either lines, or partition, offset and (optionally) count";
            return Err(Problem::invalid(detail));
        }
    };
    let build = step.build.map(|text| base64::engine::general_purpose::STANDARD.decode(text)).transpose();
    let build = build.map_err(|error| Problem::invalid(format!("build is not base64: {error}")))?;
    Ok(Shown(api.engine()?.step(name, events, build.map(Into::into)).await?))
}

//! Routes that look: the engine, projections, logs, history, tables, the audit, and the wait for one's own writes.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use super::Api;
use super::access::Caller;
use super::answer::{Audit, Logs, Partitions, Projections, Shown, Status, Tables, Version};
use super::input::{Asks, Segment, duration, flag, within};
use super::metrics;
use super::problem::Problem;
use super::rules::Role;
use crate::control::{History, Plan, ProjectionView, WaitFor, Waited};

const HISTORY_MAX: Duration = Duration::from_secs(6 * 3600);
const WAIT_DEFAULT: Duration = Duration::from_secs(30);
const WAIT_MAX: Duration = Duration::from_secs(5 * 60);
const ROWS_MAX: u32 = 1000;
const LINES_MAX: u32 = 1000;
/// No number in an answer is greater: JavaScript's numbers are exact up to here.
const NUMBER_MAX: u64 = (1 << 53) - 1;
const ENTRIES_MAX: u32 = 500;

/// Whether the process runs. Looks at nothing else.
#[utoipa::path(get, path = "/livez", tag = "engine", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadyQuery {
    /// Shows every check, to those who may look.
    #[param(allow_reserved)]
    verbose: Option<String>,
}

/// Whether the engine can do its work: 503 while the database, the source or the folder is away, and while it ends.
#[utoipa::path(get, path = "/readyz", tag = "engine", params(ReadyQuery), responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = 503, body = String, content_type = "text/plain", description = "Not ready, and what is not.")))]
pub(super) async fn readyz(State(api): State<Arc<Api>>, Asks(query): Asks<ReadyQuery>, request: Request) -> Response {
    ready(&api, query.verbose.is_some(), &request)
}

/// As `/readyz`.
#[utoipa::path(get, path = "/healthz", tag = "engine", params(ReadyQuery), responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = 503, body = String, content_type = "text/plain", description = "Not ready, and what is not.")))]
pub(super) async fn healthz(State(api): State<Arc<Api>>, Asks(query): Asks<ReadyQuery>, request: Request) -> Response {
    ready(&api, query.verbose.is_some(), &request)
}

fn ready(api: &Api, is_verbose: bool, request: &Request) -> Response {
    // Anybody may ask whether; why is for those who may look.
    let may_look = request.extensions().get::<Caller>().is_some_and(|caller| caller.role >= Some(Role::Viewer));
    let checks = api.look().ready;
    let is_ready = checks.iter().all(|check| check.ok);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let lines = checks.iter().filter(|check| is_verbose || !check.ok).map(|check| {
        let mark = if check.ok { '+' } else { '-' };
        if may_look {
            format!("[{mark}] {}: {}\n", check.name, check.detail.replace('\n', " "))
        } else {
            format!("[{mark}] {}\n", check.name)
        }
    });
    let last = if is_ready { "ok\n" } else { "not ready\n" };
    let body = lines.chain([last.to_owned()]).collect::<String>();
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

/// Name and version.
#[utoipa::path(get, path = "/version", tag = "engine", responses((status = 200, body = Version)))]
pub(super) async fn version() -> Shown<Version> {
    Shown(Version { name: "laterna", version: env!("CARGO_PKG_VERSION") })
}

/// The figures in OpenMetrics text, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "engine", responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn show_metrics(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let text = metrics::render(&api.look(), &api.metrics).map_err(|error| {
        let detail = format!("the metrics could not be written: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics_failed", detail)
    })?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// The engine at a glance, and what the asker may do.
#[utoipa::path(get, path = "/api/v1/status", tag = "engine", responses((status = 200, body = Status)))]
pub(super) async fn status(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Shown<Status> {
    Shown(Status { role: caller.role.map(Role::name), ..Status::of(&api.look()) })
}

/// All projections, by name.
#[utoipa::path(get, path = "/api/v1/projections", tag = "projections", responses((status = 200, body = Projections)))]
pub(super) async fn projections(State(api): State<Arc<Api>>) -> Shown<Projections> {
    Shown(Projections { projections: api.shown().map(|engine| engine.views()).unwrap_or_default() })
}

/// One projection.
#[utoipa::path(get, path = "/api/v1/projections/{projection}", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection.")),
    responses((status = 200, body = ProjectionView)))]
pub(super) async fn projection(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
) -> Result<Shown<ProjectionView>, Problem> {
    Ok(Shown(api.engine()?.view(&name)?))
}

/// Its partitions, as this engine holds them.
#[utoipa::path(get, path = "/api/v1/projections/{projection}/partitions", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection.")),
    responses((status = 200, body = Partitions)))]
pub(super) async fn partitions(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
) -> Result<Shown<Partitions>, Problem> {
    Ok(Shown(Partitions { partitions: api.engine()?.view(&name)?.status.partitions }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// How far back: `1h` if not said, at most `6h`.
    #[param(example = "1h", pattern = "^[0-9]{1,9}(ms|s|m|h)?$")]
    window: Option<String>,
}

/// Lag and rates over time. Kept in memory: begins anew with the engine.
#[utoipa::path(get, path = "/api/v1/projections/{projection}/history", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection."), HistoryQuery),
    responses((status = 200, body = History)))]
pub(super) async fn history(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
    Asks(query): Asks<HistoryQuery>,
) -> Result<Shown<History>, Problem> {
    let window = duration("window", query.window.as_deref().unwrap_or("1h"))?;
    if window > HISTORY_MAX || window.is_zero() {
        return Err(Problem::bad_query("window is at most 6h: older figures are not kept"));
    }
    Ok(Shown(api.engine()?.history(&name, window)?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogsQuery {
    /// Only lines with greater numbers: `next` of the answer before.
    #[serde(default)]
    #[param(maximum = 9007199254740991_u64)]
    after: u64,
    /// At most so many lines; 200 if not said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// The last lines of its log: the plugin's own, and what the engine did with it.
#[utoipa::path(get, path = "/api/v1/projections/{projection}/logs", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection."), LogsQuery),
    responses((status = 200, body = Logs)))]
pub(super) async fn logs(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
    Asks(query): Asks<LogsQuery>,
) -> Result<Shown<Logs>, Problem> {
    let limit = within("limit", query.limit.unwrap_or(200), 1, LINES_MAX)?;
    if query.after > NUMBER_MAX {
        return Err(Problem::bad_query(format!("after is at most {NUMBER_MAX}")));
    }
    let lines = api.engine()?.logs(&name, query.after, limit as usize)?;
    let next = lines.last().map_or(query.after, |line| line.id);
    Ok(Shown(Logs { lines, next }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TablesQuery {
    /// Shows so many rows of each table; none if not said.
    #[param(minimum = 0, maximum = 1000)]
    rows: Option<u32>,
}

/// The tables that readers see, and their first rows.
#[utoipa::path(get, path = "/api/v1/projections/{projection}/tables", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection."), TablesQuery),
    responses((status = 200, body = Tables)))]
pub(super) async fn tables(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
    Asks(query): Asks<TablesQuery>,
) -> Result<Shown<Tables>, Problem> {
    let rows = within("rows", query.rows.unwrap_or(0), 0, ROWS_MAX)?;
    Ok(Shown(Tables { tables: api.engine()?.tables(name, rows).await? }))
}

/// The tables that readers see, as the database was told to make them.
#[utoipa::path(get, path = "/api/v1/projections/{projection}/schema", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection.")),
    responses((status = 200, body = Tables)))]
pub(super) async fn schema(State(api): State<Arc<Api>>, Segment(name): Segment) -> Result<Shown<Tables>, Problem> {
    Ok(Shown(Tables { tables: api.engine()?.tables(name, 0).await? }))
}

/// What waits to be done with the build on disk, and why, table by table.
#[utoipa::path(get, path = "/api/v1/projections/{projection}/plan", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection.")),
    responses((status = 200, body = Plan)))]
pub(super) async fn plan(State(api): State<Arc<Api>>, Segment(name): Segment) -> Result<Shown<Plan>, Problem> {
    Ok(Shown(api.engine()?.plan(&name)?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitQuery {
    /// Waits for the end that each log has now. Either this, or a place in a log.
    caught_up: Option<String>,
    /// The topic of the event that is waited for.
    topic: Option<String>,
    /// Its partition.
    #[param(minimum = 0)]
    partition: Option<i32>,
    /// Its offset.
    #[param(minimum = 0)]
    offset: Option<i64>,
    /// For how long: `30s` if not said, at most `5m`.
    #[param(example = "30s", pattern = "^[0-9]{1,9}(ms|s|m|h)?$")]
    timeout: Option<String>,
}

/// Waits until an event is applied, or all are: read your own writes.
#[utoipa::path(get, path = "/api/v1/projections/{projection}/wait", tag = "projections",
    params(("projection" = String, Path, description = "Name of the projection."), WaitQuery),
    responses((status = 200, body = Waited), (status = 504, body = super::problem::ProblemDocument,
        content_type = "application/problem+json", description = "The time is up.")))]
pub(super) async fn wait(
    State(api): State<Arc<Api>>,
    Segment(name): Segment,
    Asks(query): Asks<WaitQuery>,
) -> Result<axum::Json<Waited>, Problem> {
    let limit = query.timeout.as_deref().map_or(Ok(WAIT_DEFAULT), |text| duration("timeout", text))?;
    if limit > WAIT_MAX {
        return Err(Problem::bad_query("timeout is at most 5m; ask again when the time is up"));
    }
    let what = match (flag("caught_up", query.caught_up.as_deref())?, query.topic, query.partition, query.offset) {
        (true, None, None, None) => WaitFor::CaughtUp,
        (false, Some(topic), Some(partition), Some(offset)) if partition >= 0 && offset >= 0 => {
            WaitFor::Offset { topic, partition, offset }
        }
        _ => {
            return Err(Problem::bad_query("say what to wait for: either caught_up, or topic, partition and offset"));
        }
    };
    let waited = api.engine()?.wait(name, what, limit).await?;
    if waited.reached {
        return Ok(axum::Json(waited));
    }
    let detail =
        format!("after {:.1} s it has not come yet; ask again, or look at the projection's lag", waited.seconds);
    Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "time_is_up", detail)
        .with("seconds", json!(waited.seconds))
        .with("partitions", json!(waited.partitions)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Only of this projection.
    projection: Option<String>,
    /// Only entries with lesser numbers: `next` of the answer before.
    before: Option<i64>,
    /// At most so many entries; 100 if not said.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// Who changed what, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "engine", params(AuditQuery), responses((status = 200, body = Audit)))]
pub(super) async fn audit(State(api): State<Arc<Api>>, Asks(query): Asks<AuditQuery>) -> Result<Shown<Audit>, Problem> {
    let limit = within("limit", query.limit.unwrap_or(100), 1, ENTRIES_MAX)?;
    let entries = api.engine()?.audit(query.projection, query.before, limit).await?;
    let is_full = u32::try_from(entries.len()).is_ok_and(|length| length >= limit);
    let next = entries.last().map(|entry| entry.id).filter(|_| is_full);
    Ok(Shown(Audit { entries, next }))
}

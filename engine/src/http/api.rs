//! Routes and the checks before them.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::{Look, metrics};

const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// All routes. `is_loopback`: whether only this machine can reach them, so that only its names are valid hosts.
pub(super) fn router(look: Look, is_loopback: bool) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("ui/") }))
        .route("/ui", get(|| async { Redirect::temporary("ui/") }))
        .route("/ui/", get(|| async { asset("text/html; charset=utf-8", include_str!("ui/index.html")) }))
        .route("/ui/page.js", get(|| async { asset("text/javascript; charset=utf-8", include_str!("ui/page.js")) }))
        .route("/ui/page.css", get(|| async { asset("text/css; charset=utf-8", include_str!("ui/page.css")) }))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/healthz", get(readyz))
        .route("/version", get(|| async { axum::Json(version()) }))
        .route("/metrics", get(show_metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/projections", get(projections))
        .route("/api/v1/projections/{name}", get(projection))
        .route("/api/v1/plugins", get(plugins))
        .fallback(not_found)
        .layer(middleware::from_fn(move |request, next| guard(is_loopback, request, next)))
        .with_state(look)
}

/// What every answer of `/version` says.
fn version() -> Value {
    json!({ "name": "laterna", "version": env!("CARGO_PKG_VERSION") })
}

async fn guard(is_loopback: bool, request: Request, next: Next) -> Response {
    let mut response = match refusal(is_loopback, &request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    response
}

fn refusal(is_loopback: bool, request: &Request) -> Option<Problem> {
    if is_loopback && !names_loopback(request.uri(), request.headers()) {
        return Some(Problem {
            status: StatusCode::MISDIRECTED_REQUEST,
            code: "host_not_allowed",
            detail: "the Host and Origin headers must name localhost, 127.0.0.1 or [::1], because the engine listens on this machine only".into(),
        });
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some(Problem {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "method_not_allowed",
            detail: format!("{} is not answered here; use GET", request.method()),
        });
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    if length.is_some_and(|length| length != "0") || request.headers().contains_key(header::TRANSFER_ENCODING) {
        return Some(Problem {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            code: "body_not_allowed",
            detail: "no route takes a body".into(),
        });
    }
    None
}

fn names_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    let text =
        |name: HeaderName| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect::<Vec<_>>();
    let hosts = text(header::HOST);
    let origins = text(header::ORIGIN);
    // HTTP/1.1 wants exactly one Host; an absolute address in the request line counts as another.
    let is_host_well = hosts.len() == 1 && hosts.iter().all(|host| is_loopback_name(host));
    let is_target_well = uri.authority().is_none_or(|authority| is_loopback_name(authority.as_str()));
    let is_origin_well = origins.iter().all(|origin| origin.strip_prefix("http://").is_some_and(is_loopback_name));
    is_host_well && is_target_well && is_origin_well
}

/// `localhost`, `127.x.y.z` or `[::1]`, with any port.
fn is_loopback_name(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, port)) => (name, port.strip_prefix(':').unwrap_or(port)),
        None => host.split_once(':').unwrap_or((host, "")),
    };
    let is_loopback =
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_loopback && port.chars().all(|c| c.is_ascii_digit())
}

/// An error as RFC 9457 has it, with a stable `code`.
struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("error");
        let body = json!({
            "type": format!("urn:laterna:problem:{}", self.code),
            "title": title,
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        let mut response =
            (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response();
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

fn asset(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem { status: StatusCode::NOT_FOUND, code: "not_found", detail: format!("there is nothing at {path}") }
}

async fn readyz(State(look): State<Look>, RawQuery(query): RawQuery) -> Response {
    let ready = look().ready;
    let is_ready = ready.iter().all(|check| check.ok);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let is_verbose =
        query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose=")));
    let checks = ready.iter().filter(|check| is_verbose || !check.ok).map(|check| {
        let mark = if check.ok { '+' } else { '-' };
        format!("[{mark}] {}: {}\n", check.name, check.detail.replace('\n', " "))
    });
    let last = if is_ready { "ok\n" } else { "not ready\n" };
    let body = checks.chain([last.to_owned()]).collect::<String>();
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

async fn show_metrics(State(look): State<Look>) -> Response {
    match metrics::render(&look()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            let detail = format!("the metrics could not be written: {error}");
            Problem { status: StatusCode::INTERNAL_SERVER_ERROR, code: "metrics_failed", detail }.into_response()
        }
    }
}

async fn status(State(look): State<Look>) -> axum::Json<Value> {
    let seen = look();
    axum::Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ready": seen.ready.iter().all(|check| check.ok),
        "checks": seen.ready,
        "plugins_dir": seen.plugins_dir.display().to_string(),
    }))
}

async fn projections(State(look): State<Look>) -> axum::Json<Value> {
    axum::Json(json!({ "projections": look().projections }))
}

async fn projection(State(look): State<Look>, Path(name): Path<String>) -> Response {
    match look().projections.into_iter().find(|projection| projection.name == name) {
        Some(projection) => axum::Json(projection).into_response(),
        None => {
            let name: String = name.chars().take(100).collect();
            let detail = format!("there is no projection {name:?}; GET /api/v1/projections lists them");
            Problem { status: StatusCode::NOT_FOUND, code: "projection_not_found", detail }.into_response()
        }
    }
}

async fn plugins(State(look): State<Look>) -> axum::Json<Value> {
    let seen = look();
    let running = seen.projections.iter().map(|projection| {
        json!({
            "file": projection.plugin_file,
            "digest": projection.plugin_digest,
            "projection": projection.name,
            "revision": projection.revision,
        })
    });
    axum::Json(json!({
        "plugins_dir": seen.plugins_dir.display().to_string(),
        "running": running.collect::<Vec<_>>(),
        "rejected": seen.rejected,
    }))
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;

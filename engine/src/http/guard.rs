//! What stands before every handler, in this order: the name we are called by, the route, who asks, the body, a free place.
//!
//! Invariants: a route that the table (`rules.rs`) does not have is refused, even where it has a handler; who may not call a route learns
//! nothing from it, and nothing of his body is read; a handler runs only once its whole body is here, so a slow sender holds no place; each
//! answer carries the fixed headers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{self, Body as HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Api;
use super::access::Peer;
use super::problem::Problem;
use super::rules::{self, Body, Entry, Lane, Rule};
use super::seat::{Running, Seat};

/// Only from here, nothing inline.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// How long a body may take.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// The places for requests that take long. Together they are far fewer than connections.
pub(super) struct Lanes {
    work: Arc<Semaphore>,
    upload: Arc<Semaphore>,
    wait: Arc<Semaphore>,
    stream: Arc<Semaphore>,
}

/// The places of a running request: its connection's, and the one in its lane.
pub(super) struct Places {
    pub(super) running: Option<Running>,
    _lane: Option<OwnedSemaphorePermit>,
}

tokio::task_local! {
    static PLACES: Arc<Places>;
}

/// The places of the request that this handler runs for. Whatever outlives the handler (a stream, work that goes on although its client is
/// gone) keeps them, so that going away and coming again gains nobody more than his share.
pub(super) fn places() -> Option<Arc<Places>> {
    PLACES.try_with(Arc::clone).ok()
}

impl Lanes {
    pub(super) fn new() -> Self {
        let lane = |places| Arc::new(Semaphore::new(places));
        Self { work: lane(32), upload: lane(4), wait: lane(128), stream: lane(super::STREAMS_MAX) }
    }

    fn enter(&self, lane: Lane) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        let (places, what) = match lane {
            Lane::Quick => return Ok(None),
            Lane::Work => (&self.work, "requests to the database"),
            Lane::Upload => (&self.upload, "uploads"),
            Lane::Wait => (&self.wait, "waits"),
            Lane::Stream => (&self.stream, "event streams"),
        };
        places.clone().try_acquire_owned().map(Some).map_err(|_full| {
            Problem::busy("busy", format!("as many {what} as are allowed are under way; try again in a second"))
        })
    }
}

/// Checks a request, hands it on, and puts the fixed headers on the answer.
pub(super) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let tags = request.headers().get(header::IF_NONE_MATCH).cloned();
    let mut response = match checked(&api, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    if response.status() == StatusCode::OK
        && let (Some(asked), Some(tag)) = (&tags, response.headers().get(header::ETAG))
        && is_among(asked, tag)
    {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = HttpBody::empty();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    let headers = response.headers_mut();
    // What has a tag may be kept, and is asked for again each time.
    let cache = if headers.contains_key(header::ETAG) { "private, no-cache" } else { "no-store" };
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, cache),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn is_among(asked: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(asked), Ok(tag)) = (asked.to_str(), tag.to_str()) else { return false };
    asked.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == "*" || one == tag)
}

async fn checked(api: &Arc<Api>, mut request: Request, next: Next) -> Result<Response, Problem> {
    if let Some(problem) = api.access.stranger(request.method(), request.uri(), request.headers()) {
        return Err(problem);
    }
    let rule = rule_of(&request)?;
    let peer = request.extensions().get::<Peer>().copied();
    let caller = api.access.caller(request.headers(), peer);
    if let Some(problem) = api.access.refusal(&caller, rule.role, request.method()) {
        return Err(problem);
    }
    media_type(rule, request.method(), request.headers())?;
    let lane = api.lanes.enter(rule.lane)?;
    request.extensions_mut().insert(caller);
    let request = with_whole_body(rule, request).await?;
    let running = match request.extensions().get::<Arc<Seat>>() {
        Some(seat) => Some(seat.run().ok_or_else(|| Problem::busy("busy", "too many connections; try again"))?),
        None => None,
    };
    Ok(PLACES.scope(Arc::new(Places { running, _lane: lane }), next.run(request)).await)
}

fn rule_of(request: &Request) -> Result<&'static Rule, Problem> {
    let shown: String = request.uri().path().chars().take(200).collect();
    let Some(path) = request.extensions().get::<MatchedPath>() else {
        let detail = format!("there is nothing at {shown}; /docs lists what there is");
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail));
    };
    match rules::entry(request.method(), path.as_str()) {
        Entry::Here(rule) => Ok(rule),
        Entry::OtherMethods(methods) => {
            let detail = format!("{} is not answered at {shown}; use {methods}", request.method());
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
            Err(match HeaderValue::from_str(&methods) {
                Ok(methods) => problem.with_header(header::ALLOW, methods),
                Err(_) => problem,
            })
        }
        Entry::Absent => {
            let detail = "this route has no rule about who may call it, so nobody may";
            Err(Problem::new(StatusCode::FORBIDDEN, "route_without_rule", detail))
        }
    }
}

/// A page of another site can send a form's types without asking first; so none of those is taken.
fn media_type(rule: &Rule, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let taken = match rule.body {
        Body::Json(_) => "application/json",
        Body::Wasm(_) => "application/wasm",
        Body::None => "",
    };
    let length = headers.get(header::CONTENT_LENGTH);
    let has_body = length.is_some_and(|length| length != "0") || headers.contains_key(header::TRANSFER_ENCODING);
    if has_body && rule.body == Body::None {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_not_allowed", "this route takes no body"));
    }
    let given = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
    let essence = given.map(|given| given.split(';').next().unwrap_or_default().trim());
    let is_well = match essence {
        Some(essence) => essence.eq_ignore_ascii_case(taken) || matches!(*method, Method::GET | Method::HEAD),
        None => !has_body,
    };
    if is_well {
        return Ok(());
    }
    let detail = match rule.body {
        Body::None => "this route takes no body, so no Content-Type".to_owned(),
        _ => format!("the body must be {taken}: send the header Content-Type: {taken}"),
    };
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", detail))
}

/// The request with its body in memory.
async fn with_whole_body(rule: &Rule, request: Request) -> Result<Request, Problem> {
    let limit = match rule.body {
        Body::None => return Ok(request),
        Body::Json(limit) | Body::Wasm(limit) => limit,
    };
    let (head, stream) = request.into_parts();
    let too_large = || {
        let detail = format!("the body is larger than {limit} bytes, the most that is taken here");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    };
    let length =
        head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIME_MAX, body::to_bytes(stream, limit)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(head, HttpBody::from(bytes))),
        // Too large, or broken off: whoever broke off does not read the answer.
        Ok(Err(_)) => Err(too_large()),
        Err(_) => {
            let detail = format!("the body did not come within {} s", BODY_TIME_MAX.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail))
        }
    }
}

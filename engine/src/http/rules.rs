//! The one table of routes: who may call each, what body it takes, and whose places it competes for.
//!
//! What is not in here is refused, whether there is a handler for it or not.

use axum::http::Method;

/// What somebody may do. The order is that of the rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks at everything.
    Viewer,
    /// Looks at everything and changes it.
    Operator,
}

impl Role {
    /// As the configuration and the audit write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

/// The body that a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    /// A JSON object of at most so many bytes; may be left out.
    Json(usize),
    /// A component or module of at most so many bytes.
    Wasm(usize),
}

/// The places that a request competes for, so that slow ones leave room for quick ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Answered from memory.
    Quick,
    /// Asks the database or the broker.
    Work,
    /// Holds up to 64 MiB or compiles.
    Upload,
    /// Waits for minutes.
    Wait,
    /// Has no end.
    Stream,
}

/// One route. `role`: none where anybody may call it.
pub(super) struct Rule {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) role: Option<Role>,
    pub(super) body: Body,
    pub(super) lane: Lane,
}

const JSON: Body = Body::Json(64 << 10);
/// What the plugin host takes at most.
const WASM: Body = Body::Wasm(64 << 20);
/// Lines of events, and a build in base64 beside them.
const STEP: Body = Body::Json(90 << 20);

const fn anybody(path: &'static str) -> Rule {
    Rule { method: Method::GET, path, role: None, body: Body::None, lane: Lane::Quick }
}

const fn look(path: &'static str, lane: Lane) -> Rule {
    Rule { method: Method::GET, path, role: Some(Role::Viewer), body: Body::None, lane }
}

const fn change(method: Method, path: &'static str, body: Body) -> Rule {
    let lane = if matches!(body, Body::Wasm(_)) { Lane::Upload } else { Lane::Work };
    Rule { method, path, role: Some(Role::Operator), body, lane }
}

/// All routes.
pub(super) const RULES: &[Rule] = &[
    anybody("/"),
    anybody("/ui"),
    anybody("/ui/"),
    anybody("/ui/{*path}"),
    anybody("/docs"),
    anybody("/docs/"),
    anybody("/docs/{*path}"),
    anybody("/openapi.json"),
    anybody("/livez"),
    anybody("/readyz"),
    anybody("/healthz"),
    anybody("/version"),
    look("/metrics", Lane::Quick),
    look("/api/v1/status", Lane::Quick),
    look("/api/v1/events", Lane::Stream),
    look("/api/v1/projections", Lane::Quick),
    look("/api/v1/projections/{projection}", Lane::Quick),
    look("/api/v1/projections/{projection}/partitions", Lane::Quick),
    look("/api/v1/projections/{projection}/history", Lane::Quick),
    look("/api/v1/projections/{projection}/logs", Lane::Quick),
    look("/api/v1/projections/{projection}/tables", Lane::Work),
    look("/api/v1/projections/{projection}/schema", Lane::Work),
    look("/api/v1/projections/{projection}/plan", Lane::Quick),
    look("/api/v1/projections/{projection}/rebuilds", Lane::Quick),
    look("/api/v1/projections/{projection}/wait", Lane::Wait),
    change(Method::PUT, "/api/v1/projections/{projection}/pause", JSON),
    change(Method::PUT, "/api/v1/projections/{projection}/resume", JSON),
    change(Method::POST, "/api/v1/projections/{projection}/restart", JSON),
    change(Method::POST, "/api/v1/projections/{projection}/deploy", JSON),
    change(Method::POST, "/api/v1/projections/{projection}/rollback", JSON),
    change(Method::POST, "/api/v1/projections/{projection}/rebuilds", JSON),
    // Writes nothing, but runs what is uploaded: the operator's.
    Rule {
        method: Method::POST,
        path: "/api/v1/projections/{projection}/step",
        role: Some(Role::Operator),
        body: STEP,
        lane: Lane::Upload,
    },
    change(Method::DELETE, "/api/v1/projections/{projection}", Body::None),
    look("/api/v1/rebuilds/{id}", Lane::Quick),
    look("/api/v1/rebuilds/{id}/diff", Lane::Work),
    change(Method::POST, "/api/v1/rebuilds/{id}/switch", JSON),
    change(Method::DELETE, "/api/v1/rebuilds/{id}", Body::None),
    look("/api/v1/plugins", Lane::Quick),
    look("/api/v1/plugins/{plugin}", Lane::Quick),
    change(Method::POST, "/api/v1/plugins", WASM),
    change(Method::POST, "/api/v1/plugins/plan", WASM),
    change(Method::DELETE, "/api/v1/plugins/{plugin}", Body::None),
    look("/api/v1/audit", Lane::Work),
];

/// What the table says of a route.
pub(super) enum Entry {
    Here(&'static Rule),
    /// The path is known, under other methods only.
    OtherMethods(String),
    Absent,
}

/// Looks a route up. `HEAD` is as `GET`.
pub(super) fn entry(method: &Method, path: &str) -> Entry {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut methods = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.path == path) {
        if rule.method == *method {
            return Entry::Here(rule);
        }
        methods.push(rule.method.as_str());
        if rule.method == Method::GET {
            methods.push("HEAD");
        }
    }
    if methods.is_empty() { Entry::Absent } else { Entry::OtherMethods(methods.join(", ")) }
}

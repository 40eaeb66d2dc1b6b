//! What went wrong, as RFC 9457 has it: what happened, what to do, and a code that programs can rely on.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::control::{ControlError, ControlErrorKind};

/// The media type of every error.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// An error, with a stable `code`.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    /// What happened and what to do. Without secrets.
    pub(super) detail: String,
    /// Further members.
    pub(super) members: Map<String, Value>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), members: Map::new(), headers: Vec::new() }
    }

    pub(super) fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn with(mut self, member: &str, value: Value) -> Self {
        self.members.insert(member.to_owned(), value);
        self
    }

    /// Nothing can be done now, but soon.
    pub(super) fn busy(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "body_invalid", detail)
    }

    pub(super) fn bad_query(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "query_invalid", detail)
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let problem = match error.kind {
            ControlErrorKind::NotFound => Self::new(StatusCode::NOT_FOUND, error.code, error.message),
            ControlErrorKind::Conflict => Self::new(StatusCode::CONFLICT, error.code, error.message),
            ControlErrorKind::Invalid => Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.code, error.message),
            ControlErrorKind::Unavailable => Self::busy(error.code, error.message),
            ControlErrorKind::Internal => {
                tracing::error!(code = error.code, "a request failed: {}", error.message);
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.code, error.message)
            }
        };
        match error.subject {
            Some(subject) => problem.with("subject", subject.into()),
            None => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:laterna:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some(object) = body.as_object_mut() {
            object.extend(self.members);
        }
        let mut response = (self.status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body.to_string()).into_response();
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// What an error answer holds.
#[derive(utoipa::ToSchema)]
#[schema(as = Problem)]
#[allow(dead_code, reason = "the shape for the OpenAPI document; the members are written by hand above")]
pub(super) struct ProblemDocument {
    /// `urn:laterna:problem:CODE`
    #[schema(required)]
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// Stable name of the cause.
    code: String,
    /// What happened and what to do.
    detail: String,
    /// What it is about, where it is about something that has a name: the rebuild that is under way, say.
    subject: Option<String>,
}

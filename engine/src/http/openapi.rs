//! The OpenAPI document: made of what the handlers say and of the table of routes, so that it cannot drift from either. The copy in the
//! repository (`engine/openapi.json`) is held against it by a test.

use std::sync::LazyLock;

use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::feed::Hello;
use super::problem::{MEDIA_TYPE, ProblemDocument};
use super::rules::{self, Body, Entry};
use super::{answer, routes};

static DOCUMENT: LazyLock<(String, HeaderValue)> = LazyLock::new(|| {
    let text = text();
    let tag = answer::tag(text.as_bytes());
    (text, tag)
});

/// What the document begins with.
pub(super) fn head() -> OpenApi {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let about = "Looks at and operates a running Laterna engine. Errors are `application/problem+json` with a stable `code`. \
                 Changes take the header `Idempotency-Key`: an order under a key that was seen within a day is not carried out again.";
    let info = InfoBuilder::new()
        .title("Laterna")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(about))
        .license(Some(license))
        .build();
    OpenApiBuilder::new().info(info).build()
}

/// The document, as it is served.
pub(super) fn text() -> String {
    let mut document = serde_json::to_value(routes::document()).unwrap_or_default();
    let mut referenced = Vec::new();
    ProblemDocument::schemas(&mut referenced);
    Hello::schemas(&mut referenced);
    referenced.push(("Problem".to_owned(), ProblemDocument::schema()));
    referenced.push(("Hello".to_owned(), Hello::schema()));
    for (name, schema) in referenced {
        document["components"]["schemas"][name] = serde_json::to_value(schema).unwrap_or_default();
    }
    document["components"]["securitySchemes"] = json!({
        "token": { "type": "http", "scheme": "bearer", "description": "A token of http.tokens; without tokens none is asked for." }
    });
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                complete(operation, method, path);
            }
        }
    }
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// Adds what the table of routes and the guard say.
fn complete(operation: &mut Value, method: &str, path: &str) {
    let Ok(method) = Method::from_bytes(method.to_ascii_uppercase().as_bytes()) else { return };
    let Entry::Here(rule) = rules::entry(&method, path) else { return };
    if let Some(role) = rule.role {
        operation["security"] = json!([{ "token": [] }, {}]);
        operation["x-role"] = json!(role.name());
    }
    let is_change = method != Method::GET;
    if is_change {
        let key = json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "An order under a key that was seen before is not carried out again; what it did is told again.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$" },
        });
        match operation["parameters"].as_array_mut() {
            Some(parameters) => parameters.push(key),
            None => operation["parameters"] = json!([key]),
        }
    }
    let mut problem = |status: &str, description: &str| {
        let content = json!({ MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } });
        let responses = &mut operation["responses"];
        if responses.get(status).is_none() {
            responses[status] = json!({ "description": description, "content": content });
        }
    };
    if path.starts_with("/api/") {
        problem("400", "The address or the query is wrong.");
        problem("503", "Busy, starting, or the database or broker does not answer: try again.");
    }
    if path.contains('{') {
        problem("404", "There is no such thing.");
    }
    if rule.role.is_some() {
        problem("401", "A token is needed.");
        problem("403", "The role does not allow it, or the request comes from another site.");
    }
    if is_change {
        problem("409", "It cannot be as things stand.");
        problem("413", "The body is too large.");
        problem("415", "The body has another media type.");
        problem("422", "The body makes no sense.");
    }
    if matches!(rule.body, Body::Json(_) | Body::Wasm(_)) {
        problem("408", "The body came too slowly.");
    }
    problem("default", "Anything else.");
}

/// `/openapi.json`
pub(super) async fn show(_: Request) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind), (header::ETAG, DOCUMENT.1.clone())], DOCUMENT.0.as_str()).into_response()
}

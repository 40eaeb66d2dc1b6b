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

/// The errors that answers refer to: status, name, meaning.
const PROBLEMS: [(&str, &str, &str); 12] = [
    ("400", "BadRequest", "The address or the query is wrong, or the body is not JSON."),
    ("401", "Unauthorized", "A token is needed."),
    ("403", "Forbidden", "The role does not allow it, or the request comes from a page of another site."),
    ("404", "NotFound", "There is no such thing."),
    ("405", "MethodNotAllowed", "There are other methods here."),
    ("408", "BodyTooSlow", "The body came too slowly."),
    ("409", "Conflict", "It cannot be as things stand."),
    ("413", "BodyTooLarge", "The body is too large, or none is taken."),
    ("415", "MediaType", "The body is of another media type."),
    ("422", "Invalid", "What is asked for makes no sense."),
    ("503", "Unavailable", "Busy, starting, or the database or broker does not answer: try again."),
    ("default", "Error", "Anything else."),
];

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
    for (_, name, meaning) in PROBLEMS {
        let content = json!({ MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } });
        document["components"]["responses"][name] = json!({ "description": meaning, "content": content });
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
    flow(&mut document);
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// Comments in the code are broken into lines; texts in the document are not.
fn flow(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "description" || name == "summary" => {
                        let paragraphs: Vec<String> =
                            text.split("\n\n").map(|text| text.split('\n').collect::<Vec<_>>().join(" ")).collect();
                        *text = paragraphs.join("\n\n");
                    }
                    member => flow(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(flow),
        _ => {}
    }
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
    // These only show what would be.
    let is_order = is_change && !path.ends_with("/step") && !path.ends_with("/plan");
    if is_order {
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
    let has_documented_body = operation.get("requestBody").is_some();
    if let Some(content) = operation.pointer_mut("/requestBody/content/application~1json/schema")
        && let Some(only) = content.pointer("/oneOf/0").cloned()
    {
        // An optional body is left out, not null.
        *content = only;
    }
    let mut expected = vec!["405", "default"];
    if path.starts_with("/api/") || path.contains("{") || path.ends_with('z') {
        expected.extend(["400", "503"]);
    }
    if path.contains('{') {
        expected.push("404");
    }
    if rule.role.is_some() {
        expected.extend(["401", "403"]);
    }
    if is_change {
        expected.extend(["409", "413", "415", "422"]);
    }
    if has_documented_body && matches!(rule.body, Body::Json(_) | Body::Wasm(_)) {
        expected.push("408");
    }
    let responses = &mut operation["responses"];
    for (status, name, _) in PROBLEMS.iter().filter(|(status, _, _)| expected.contains(status)) {
        if responses.get(status).is_none() {
            responses[status] = json!({ "$ref": format!("#/components/responses/{name}") });
        }
    }
    for (status, response) in responses.as_object_mut().into_iter().flatten() {
        if response.get("$ref").is_none() && response["description"].as_str().unwrap_or_default().is_empty() {
            response["description"] = json!(if status == "202" {
                "Accepted: recorded, and carried out by the engine that runs it."
            } else {
                "Here it is."
            });
        }
    }
}

/// `/openapi.json`
pub(super) async fn show(_: Request) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind), (header::ETAG, DOCUMENT.1.clone())], DOCUMENT.0.as_str()).into_response()
}

//! Routes without a port: what they answer, and to whom.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use super::fake::{DIGEST, Fake};
use super::rules::{self, RULES};
use super::*;

mod events;
mod roles;
mod slow;

const VIEWER: &str = "viewer-viewer-viewer-viewer-viewer";
const OPERATOR: &str = "operator-operator-operator-operator";

fn token(name: &str, role: Role, text: &str) -> Token {
    Token { name: name.into(), role, digest: Sha256::digest(text.as_bytes()).into() }
}

fn with_tokens() -> Settings {
    Settings {
        tokens: vec![token("eye", Role::Viewer, VIEWER), token("hand", Role::Operator, OPERATOR)],
        ..Settings::default()
    }
}

/// An API over a fake, without a port.
struct Desk {
    api: Arc<Api>,
    fake: Arc<Fake>,
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }

    fn is_problem(&self, status: u16, code: &str) {
        let value = self.json();
        assert_eq!((self.status.as_u16(), value["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!((&value["status"], &value["type"]), (&json!(status), &json!(format!("urn:laterna:problem:{code}"))));
        assert!(value["title"].is_string() && value["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    }
}

impl Desk {
    #[allow(clippy::fn_params_excessive_bools, reason = "a test's shorthand")]
    fn new(settings: Settings, is_loopback: bool, ok: bool) -> Self {
        let api = Api::new(settings, is_loopback);
        let fake = Fake::new(ok);
        api.show(fake.clone());
        Self { api, fake }
    }

    fn local() -> Self {
        Self::new(Settings::default(), true, true)
    }

    async fn send(&self, request: Request<Body>) -> Answered {
        let response = routes::router(self.api.clone()).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 8 << 20).await.unwrap();
        Answered { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn get(&self, path: &str) -> Answered {
        self.send(request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    async fn json(&self, method: Method, path: &str, body: &str) -> Answered {
        let request =
            request(method, path).header("content-type", "application/json").body(Body::from(body.to_owned()));
        self.send(request.unwrap()).await
    }

    async fn call(&self, method: Method, path: &str) -> Answered {
        self.send(request(method, path).body(Body::empty()).unwrap()).await
    }
}

fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "localhost:8484")
}

#[tokio::test]
async fn every_look_answers_with_its_type_and_the_fixed_headers() {
    let desk = Desk::local();
    for (path, content_type) in [
        ("/livez", "text/plain"),
        ("/readyz", "text/plain"),
        ("/healthz", "text/plain"),
        ("/version", "application/json"),
        ("/metrics", "application/openmetrics-text"),
        ("/ui/", "text/html"),
        ("/ui/index.html", "text/html"),
        ("/docs/", "text/html"),
        ("/openapi.json", "application/json"),
        ("/api/v1/status", "application/json"),
        ("/api/v1/projections", "application/json"),
        ("/api/v1/projections/order_summary", "application/json"),
        ("/api/v1/projections/order_summary/partitions", "application/json"),
        ("/api/v1/projections/order_summary/history?window=6h", "application/json"),
        ("/api/v1/projections/order_summary/logs?after=2&limit=2", "application/json"),
        ("/api/v1/projections/order_summary/tables?rows=5", "application/json"),
        ("/api/v1/projections/order_summary/schema", "application/json"),
        ("/api/v1/projections/order_summary/plan", "application/json"),
        ("/api/v1/projections/order_summary/rebuilds", "application/json"),
        ("/api/v1/projections/order_summary/wait?caught_up", "application/json"),
        ("/api/v1/rebuilds/order_summary-g2", "application/json"),
        ("/api/v1/rebuilds/order_summary-g2/diff?samples=3", "application/json"),
        ("/api/v1/plugins", "application/json"),
        ("/api/v1/plugins/order_summary.wasm", "application/json"),
        ("/api/v1/audit", "application/json"),
    ] {
        let answer = desk.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path} {}", answer.body);
        let headers = &answer.headers;
        assert!(headers[header::CONTENT_TYPE].to_str().unwrap().starts_with(content_type), "{path}");
        assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'self'"), "{path}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert!(!headers.contains_key(header::SET_COOKIE) && !headers.contains_key("access-control-allow-origin"));
    }
    for path in ["/", "/ui", "/docs"] {
        assert_eq!(desk.get(path).await.status, StatusCode::TEMPORARY_REDIRECT);
    }
}

#[tokio::test]
async fn what_was_there_before_is_there() {
    let desk = Desk::local();
    let value = desk.get("/api/v1/projections").await.json();
    assert_eq!(value["projections"][1]["state"], "catching-up");
    assert_eq!(value["projections"][1]["partitions"][0]["next_offset"], 7);
    assert_eq!(value["projections"][0]["halt"]["at"]["offset"], 7);
    let value = desk.get("/api/v1/plugins").await.json();
    assert_eq!((&value["rejected"][0]["code"], &value["running"][0]["revision"]), (&json!("not_wasm"), &json!(3)));
    let value = desk.get("/api/v1/status").await.json();
    assert_eq!((&value["ready"], &value["checks"][0]["name"]), (&json!(true), &json!("database")));
    desk.get("/api/v1/projections/absent").await.is_problem(404, "projection_unknown");
    desk.get("/api/v1/rebuilds/absent").await.is_problem(404, "rebuild_unknown");
    desk.get("/api/v1/plugins/absent.wasm").await.is_problem(404, "plugin_unknown");
    assert_eq!(desk.get(&format!("/api/v1/plugins/{DIGEST}")).await.json()["file"], "order_summary.wasm");
    for path in ["/api/v1/../..%2fetc/passwd", "/ui/..%2f..%2fCargo.toml", "/ui/%2e%2e/docs/index.html", "/docs/%00"] {
        desk.get(path).await.is_problem(404, "not_found");
    }
    desk.get("/api/v1/projections/%ff").await.is_problem(400, "path_invalid");
}

#[tokio::test]
async fn before_the_engine_has_started_it_says_so() {
    let settings = Settings { starting: "waiting for the database".into(), ..Settings::default() };
    let api = Api::new(settings, true);
    let desk = Desk { api, fake: Fake::new(true) };
    assert_eq!(desk.get("/livez").await.status, StatusCode::OK);
    let ready = desk.get("/readyz").await;
    assert_eq!(ready.body, "[-] starting: waiting for the database\nnot ready\n");
    assert_eq!(desk.get("/api/v1/projections").await.body, r#"{"projections":[]}"#);
    let answer = desk.call(Method::PUT, "/api/v1/projections/order_summary/pause").await;
    answer.is_problem(503, "starting");
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn readiness_follows_the_checks_and_liveness_does_not() {
    let (well, ill) = (Desk::local(), Desk::new(Settings::default(), true, false));
    assert_eq!(well.get("/readyz").await.body, "ok\n");
    let answer = ill.get("/readyz").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "[-] database: SQLite\nnot ready\n")
    );
    assert_eq!(well.get("/readyz?verbose").await.body, "[+] database: SQLite\nok\n");
    assert_eq!(ill.get("/livez").await.status, StatusCode::OK);
    // Whether is for everybody, why for those who may look.
    let guarded = Desk::new(with_tokens(), false, false);
    assert_eq!(guarded.get("/readyz?verbose").await.body, "[-] database\nnot ready\n");
}

#[tokio::test]
async fn orders_are_accepted_with_who_asked_and_under_which_key() {
    let desk = Desk::local();
    for (method, path, order) in [
        (Method::PUT, "/api/v1/projections/order_summary/pause", "pause"),
        (Method::PUT, "/api/v1/projections/order_summary/resume", "resume"),
        (Method::POST, "/api/v1/projections/order_summary/restart", "restart"),
        (Method::POST, "/api/v1/projections/order_summary/deploy", "deploy"),
        (Method::POST, "/api/v1/projections/order_summary/rollback", "rollback"),
        (Method::POST, "/api/v1/rebuilds/order_summary-g2/switch", "switch_rebuild"),
        (Method::DELETE, "/api/v1/rebuilds/order_summary-g2", "cancel_rebuild"),
        (Method::DELETE, "/api/v1/plugins/order_summary.wasm", "remove_plugin"),
        (Method::DELETE, "/api/v1/projections/halted_one", "drop"),
    ] {
        let asks = request(method, path).header("idempotency-key", "k-1").body(Body::empty()).unwrap();
        let answer = desk.send(asks).await;
        assert_eq!((answer.status, &answer.json()["changed"]), (StatusCode::ACCEPTED, &json!(true)), "{path}");
        let (given, _, asked) = desk.fake.orders.lock().unwrap().last().cloned().unwrap();
        assert_eq!((given, asked.idempotency_key.as_deref()), (order, Some("k-1")));
        assert_eq!((asked.actor.name.as_str(), asked.actor.role.as_str()), ("local", "operator"));
    }
    for key in ["", "a b", &"x".repeat(129)] {
        let asks = request(Method::PUT, "/api/v1/projections/order_summary/pause").header("idempotency-key", key);
        desk.send(asks.body(Body::empty()).unwrap()).await.is_problem(400, "idempotency_key_invalid");
    }
}

#[tokio::test]
async fn a_rebuild_is_forecast_begun_once_and_named() {
    let desk = Desk::local();
    let path = "/api/v1/projections/order_summary/rebuilds";
    let answer = desk.json(Method::POST, path, r#"{"dry_run":true}"#).await;
    assert_eq!((answer.status, &answer.json()["events"]), (StatusCode::OK, &json!(9)));
    let answer = desk.json(Method::POST, path, r#"{"switch":"manual","max_rate":100,"force":true}"#).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.headers[header::LOCATION], "/api/v1/rebuilds/order_summary-g2");
    let again = desk.call(Method::POST, path).await;
    again.is_problem(409, "rebuild_active");
    assert_eq!(again.json()["subject"], "order_summary-g2");
    assert!(again.json()["detail"].as_str().unwrap().contains("order_summary-g2"));
}

#[tokio::test]
async fn bodies_are_what_they_must_be() {
    let desk = Desk::local();
    let path = "/api/v1/projections/order_summary/rebuilds";
    for (body, status, code, says) in [
        (r#"{"swich":"auto"}"#, 422, "body_invalid", "did you mean \"switch\"?"),
        (r#"{"zzzzzz":1}"#, 422, "body_invalid", "known are switch, build, max_rate, force, dry_run"),
        (r#"{"switch":"later"}"#, 422, "body_invalid", "auto"),
        (r#"{"max_rate":0}"#, 422, "body_invalid", "max_rate"),
        (r#"{"max_rate":-1}"#, 422, "body_invalid", "body"),
        ("[]", 422, "body_invalid", "object"),
        ("{", 400, "json_invalid", "JSON"),
    ] {
        let answer = desk.json(Method::POST, path, body).await;
        answer.is_problem(status, code);
        assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{}", answer.body);
    }
    let pause = "/api/v1/projections/order_summary/pause";
    desk.json(Method::PUT, pause, r#"{"reason":"x"}"#).await.is_problem(422, "body_invalid");
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(70 << 10));
    desk.json(Method::POST, path, &large).await.is_problem(413, "body_too_large");
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"]
    {
        for body in ["{}", ""] {
            let asks = request(Method::POST, path).header("content-type", kind).body(Body::from(body)).unwrap();
            desk.send(asks).await.is_problem(415, "media_type");
        }
    }
    let asks = request(Method::POST, path).header("content-length", "2").body(Body::from("{}")).unwrap();
    desk.send(asks).await.is_problem(415, "media_type");
    let asks = request(Method::GET, "/livez").header("content-length", "5").body(Body::from("hello")).unwrap();
    desk.send(asks).await.is_problem(413, "body_not_allowed");
    assert!(desk.fake.orders.lock().unwrap().is_empty(), "nothing of this was done");
}

#[tokio::test]
async fn plugins_are_taken_as_wasm_only() {
    let desk = Desk::local();
    let upload = |path: &str, kind: &str| {
        request(Method::POST, path).header("content-type", kind).body(Body::from(&b"\0asm.."[..])).unwrap()
    };
    let path = "/api/v1/plugins?file=order_summary.wasm";
    let answer = desk.send(upload(path, "application/wasm")).await;
    assert_eq!((answer.status, &answer.json()["action"]), (StatusCode::ACCEPTED, &json!("rebuild")));
    desk.send(upload(path, "application/json")).await.is_problem(415, "media_type");
    desk.send(upload("/api/v1/plugins", "application/wasm")).await.is_problem(400, "query_invalid");
    desk.send(upload("/api/v1/plugins?file=..%2fx.wasm", "application/wasm")).await.is_problem(422, "file_name");
    assert_eq!(desk.send(upload("/api/v1/plugins/plan", "application/wasm")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_step_names_its_events() {
    let desk = Desk::local();
    let path = "/api/v1/projections/order_summary/step";
    for body in [
        r#"{"topic":"orders","lines":"{}"}"#,
        r#"{"topic":"orders","partition":0,"offset":7}"#,
        r#"{"topic":"orders","partition":0,"offset":7,"count":100,"build":"AGFzbQ=="}"#,
    ] {
        let answer = desk.json(Method::POST, path, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    for body in [
        "{}",
        r#"{"topic":"orders"}"#,
        r#"{"topic":"orders","lines":"","offset":1}"#,
        r#"{"topic":"orders","partition":0,"offset":7,"count":101}"#,
        r#"{"topic":"orders","partition":-1,"offset":7}"#,
        r#"{"topic":"orders","lines":"","build":"***"}"#,
    ] {
        desk.json(Method::POST, path, body).await.is_problem(422, "body_invalid");
    }
}

#[tokio::test]
async fn a_wait_ends_reached_or_with_504() {
    let desk = Desk::local();
    let path = "/api/v1/projections/order_summary/wait";
    let answer = desk.get(&format!("{path}?topic=orders&partition=0&offset=7&timeout=1s")).await;
    assert_eq!((answer.status, &answer.json()["reached"]), (StatusCode::OK, &json!(true)));
    let answer = desk.get(&format!("{path}?topic=orders&partition=0&offset=700&timeout=200ms")).await;
    answer.is_problem(504, "time_is_up");
    assert!(answer.json()["partitions"][0]["next_offset"].is_i64());
    for query in [
        "",
        "?caught_up=maybe",
        "?caught_up&offset=1",
        "?topic=orders&offset=1",
        "?topic=orders&partition=0&offset=-1",
        "?caught_up&timeout=6m",
        "?caught_up&timeout=soon",
        "?caught_up&timeout=99999999999999999999s",
        "?caught_up&tiemout=1s",
    ] {
        desk.get(&format!("{path}{query}")).await.is_problem(400, "query_invalid");
    }
}

#[tokio::test]
async fn who_goes_away_leaves_no_place_before_his_work_is_done() {
    let desk = Desk::local();
    let path = "/api/v1/projections/order_summary/wait?topic=orders&partition=0&offset=700&timeout=3s";
    let router = routes::router(desk.api.clone());
    for _ in 0..128 {
        let asks = request(Method::GET, path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(asks);
        // The client is gone as soon as the wait has begun.
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), answer).await.is_err());
    }
    desk.get(path).await.is_problem(503, "busy");
    assert_eq!(desk.get("/api/v1/projections").await.status, StatusCode::OK);
    tokio::time::sleep(std::time::Duration::from_millis(3500)).await;
    desk.get(path).await.is_problem(504, "time_is_up");
}

#[tokio::test]
async fn queries_are_bounded() {
    let desk = Desk::local();
    for path in [
        "/api/v1/projections/order_summary/history?window=7h",
        "/api/v1/projections/order_summary/history?window=0s",
        "/api/v1/projections/order_summary/logs?limit=0",
        "/api/v1/projections/order_summary/logs?limit=1001",
        "/api/v1/projections/order_summary/logs?after=-1",
        "/api/v1/projections/order_summary/tables?rows=1001",
        "/api/v1/rebuilds/order_summary-g2/diff?samples=101",
        "/api/v1/audit?limit=501",
        "/api/v1/audit?befor=1",
    ] {
        desk.get(path).await.is_problem(400, "query_invalid");
    }
}

#[tokio::test]
async fn pages_of_the_audit_and_the_logs_follow_each_other() {
    let desk = Desk::local();
    let first = desk.get("/api/v1/audit?limit=3").await.json();
    assert_eq!((first["entries"].as_array().unwrap().len(), &first["next"]), (3, &json!(3)));
    let last = desk.get("/api/v1/audit?limit=3&before=3").await.json();
    assert_eq!((last["entries"][0]["id"].as_i64(), &last["next"]), (Some(2), &Value::Null));
    let logs = desk.get("/api/v1/projections/order_summary/logs?after=3").await.json();
    assert_eq!((logs["lines"].as_array().unwrap().len(), &logs["next"]), (2, &json!(5)));
    let logs = desk.get("/api/v1/projections/order_summary/logs?after=5").await.json();
    assert_eq!((logs["lines"].as_array().unwrap().len(), &logs["next"]), (0, &json!(5)));
}

#[tokio::test]
async fn who_has_it_already_is_told_so() {
    let desk = Desk::local();
    for path in ["/api/v1/plugins", "/openapi.json", "/ui/", "/api/v1/projections/order_summary/tables"] {
        let first = desk.get(path).await;
        let tag = first.headers[header::ETAG].clone();
        assert_eq!(first.headers[header::CACHE_CONTROL], "private, no-cache");
        let asks = request(Method::GET, path).header("if-none-match", tag.clone()).body(Body::empty()).unwrap();
        let second = desk.send(asks).await;
        assert_eq!(
            (second.status, second.body.as_str(), &second.headers[header::ETAG]),
            (StatusCode::NOT_MODIFIED, "", &tag)
        );
        let asks = request(Method::GET, path).header("if-none-match", "\"other\"").body(Body::empty()).unwrap();
        assert_eq!(desk.send(asks).await.status, StatusCode::OK);
    }
    assert_eq!(desk.get("/livez").await.headers[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn other_methods_are_told_which_ones_there_are() {
    let desk = Desk::local();
    for (path, allowed) in [
        ("/api/v1/status", "GET, HEAD"),
        ("/api/v1/projections/order_summary", "GET, HEAD, DELETE"),
        ("/api/v1/projections/order_summary/pause", "PUT"),
    ] {
        for method in [Method::OPTIONS, Method::PATCH, Method::TRACE] {
            let answer = desk.call(method, path).await;
            answer.is_problem(405, "method_not_allowed");
            assert_eq!(answer.headers[header::ALLOW], allowed);
        }
    }
    let answer = desk.call(Method::HEAD, "/api/v1/status").await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
}

#[test]
fn the_document_in_the_repository_is_the_one_that_is_served() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let now = openapi::text();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_default()).unwrap_or_default();
    // As values: the order of members depends on the features of the build.
    let document: Value = serde_json::from_str(&now).unwrap();
    assert!(
        golden == document,
        "engine/openapi.json is not what the code says: UPDATE_GOLDEN=1 cargo test -p laterna http:: writes it"
    );
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    // Every reference leads somewhere.
    for part in now.split("\"#/").skip(1) {
        let pointer = format!("/{}", part.split('"').next().unwrap());
        assert!(document.pointer(&pointer).is_some(), "{pointer}");
    }
}

#[test]
fn the_pages_have_nothing_inline_and_write_no_html() {
    let mut seen = 0;
    for path in assets::paths().filter(|path| !path.contains("vendor/")) {
        let Some(text) = assets::text(path) else { continue };
        seen += 1;
        if path.ends_with(".html") {
            for inline in ["style=", "<style", "<script>", "onclick", "onload", "onerror", "http://", "https://"] {
                assert!(!text.contains(inline), "{path}: {inline} is against the policy");
            }
        }
        if path.ends_with(".js") {
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!text.contains(forbidden), "{path}: {forbidden}");
            }
        }
    }
    assert!(seen >= 5, "only {seen} files were seen");
}

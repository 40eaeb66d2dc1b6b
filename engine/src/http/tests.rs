//! Routes without a port; the server's own bounds with one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use tower::ServiceExt;

use super::*;
use crate::control::{ReadyCheck, RejectedPlugin};
use crate::error::{Halt, HaltAt};
use crate::http::metrics::tests::projection as sample;
use crate::http::{Server, Snapshot, bind};

fn look(ok: bool) -> Look {
    let halt = Halt {
        code: "event_rejected",
        reason: "<img onerror=alert(1)>".into(),
        remedy: "repair it".into(),
        at: Some(HaltAt { topic: "orders".into(), partition: 0, offset: 7, key: None }),
    };
    let mut halted = sample("halted_one");
    halted.halt = Some(halt);
    let seen = Snapshot {
        projections: vec![sample("order_summary"), halted],
        rejected: vec![RejectedPlugin {
            file: "bad.wasm".into(),
            code: "not_wasm".into(),
            reason: "it is text".into(),
        }],
        ready: vec![ReadyCheck { name: "database", ok, detail: "SQLite".into() }],
        plugins_dir: PathBuf::from("plugins"),
    };
    Arc::new(move || seen.clone())
}

#[allow(clippy::fn_params_excessive_bools, reason = "a test's shorthand")]
async fn ask(request: axum::http::request::Builder, is_loopback: bool, ok: bool) -> (StatusCode, HeaderMap, String) {
    let response = router(look(ok), is_loopback).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn get_path(path: &str) -> (StatusCode, HeaderMap, String) {
    ask(Request::get(path).header("host", "localhost:8484"), true, true).await
}

fn is_problem(headers: &HeaderMap, body: &str, code: &str) -> bool {
    let value: Value = serde_json::from_str(body).unwrap();
    headers[header::CONTENT_TYPE] == "application/problem+json"
        && value["code"] == code
        && value["status"].is_u64()
        && value["detail"].is_string()
}

#[tokio::test]
async fn every_route_answers_with_its_type_and_the_fixed_headers() {
    for (path, content_type) in [
        ("/livez", "text/plain"),
        ("/readyz", "text/plain"),
        ("/healthz", "text/plain"),
        ("/version", "application/json"),
        ("/metrics", "application/openmetrics-text"),
        ("/ui/", "text/html"),
        ("/ui/page.js", "text/javascript"),
        ("/ui/page.css", "text/css"),
        ("/api/v1/status", "application/json"),
        ("/api/v1/projections", "application/json"),
        ("/api/v1/projections/order_summary", "application/json"),
        ("/api/v1/plugins", "application/json"),
    ] {
        let (status, headers, _) = get_path(path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(headers[header::CONTENT_TYPE].to_str().unwrap().starts_with(content_type), "{path}");
        assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'self'"), "{path}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
    }
    assert_eq!(get_path("/").await.0, StatusCode::TEMPORARY_REDIRECT);
}

#[tokio::test]
async fn projections_are_the_status_values() {
    let (_, _, body) = get_path("/api/v1/projections").await;
    let value: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(value["projections"][0]["state"], "catching-up");
    assert_eq!(value["projections"][0]["partitions"][0]["next_offset"], 7);
    assert_eq!(value["projections"][1]["halt"]["at"]["offset"], 7);
    let (status, headers, body) = get_path("/api/v1/projections/absent").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(is_problem(&headers, &body, "projection_not_found"));
    let (_, headers, body) = get_path("/api/v1/../..%2fetc/passwd").await;
    assert!(is_problem(&headers, &body, "not_found"));
    let (_, _, body) = get_path("/api/v1/plugins").await;
    let value: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&value["rejected"][0]["code"], &value["running"][0]["revision"]), (&json!("not_wasm"), &json!(3)));
}

#[tokio::test]
async fn readiness_follows_the_checks_and_liveness_does_not() {
    let request = || Request::get("/readyz").header("host", "127.0.0.1");
    assert_eq!(ask(request(), true, true).await.2, "ok\n");
    let (status, _, body) = ask(request(), true, false).await;
    assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "[-] database: SQLite\nnot ready\n"));
    assert_eq!(
        ask(Request::get("/readyz?verbose").header("host", "[::1]:1"), true, true).await.2,
        "[+] database: SQLite\nok\n"
    );
    assert_eq!(ask(Request::get("/livez").header("host", "localhost"), true, false).await.0, StatusCode::OK);
}

#[tokio::test]
async fn on_loopback_only_its_own_names_are_served() {
    for host in [
        "evil.com",
        "evil.com:8484",
        "localhost.evil.com",
        "127.0.0.1.evil.com",
        "0.0.0.0",
        "localhost:80@evil",
        "",
        "[::2]",
    ] {
        let (status, headers, body) = ask(Request::get("/api/v1/projections").header("host", host), true, true).await;
        assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{host}");
        assert!(is_problem(&headers, &body, "host_not_allowed"));
    }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8484", "127.8.8.8", "[::1]:8484"] {
        assert_eq!(ask(Request::get("/livez").header("host", host), true, true).await.0, StatusCode::OK, "{host}");
    }
    let origin = Request::get("/livez").header("host", "localhost").header("origin", "https://evil.com");
    assert_eq!(ask(origin, true, true).await.0, StatusCode::MISDIRECTED_REQUEST);
    let absolute = Request::get("http://evil.com/livez").header("host", "localhost");
    assert_eq!(ask(absolute, true, true).await.0, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(ask(Request::get("/livez"), true, true).await.0, StatusCode::MISDIRECTED_REQUEST);
    // Not on loopback, the names are not known: that is what allow_remote says.
    assert_eq!(ask(Request::get("/livez").header("host", "engine:8484"), false, true).await.0, StatusCode::OK);
}

#[tokio::test]
async fn only_get_without_a_body() {
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
        let request = Request::builder().method(method).uri("/api/v1/projections").header("host", "localhost");
        let (status, headers, body) = ask(request, true, true).await;
        assert_eq!((status, headers[header::ALLOW].to_str().unwrap()), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD"));
        assert!(is_problem(&headers, &body, "method_not_allowed"));
    }
    let request = Request::get("/livez").header("host", "localhost").header("content-length", "5");
    assert_eq!(ask(request, true, true).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn the_page_has_nothing_inline_and_writes_no_html() {
    let (page, script) = (include_str!("ui/index.html"), include_str!("ui/page.js"));
    for inline in ["style=", "<style", "<script>", "onclick", "onload", "onerror"] {
        assert!(!page.contains(inline), "{inline} is against the policy");
    }
    assert!(!page.contains("http://") && !page.contains("https://"));
    for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!script.contains(forbidden), "{forbidden}");
    }
}

#[tokio::test]
async fn the_server_answers_bounds_headers_and_leaves() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let server = Server::start(listener, look(true)).unwrap();
    let address = server.address();
    let talk = |text: String| async move {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A refused client may be reset before it has written everything.
        let _read = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = talk(format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok\n"), "{answer}");
    let many = (0..200).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let answer = talk(format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    // A client that keeps its connection open without a request does not hold the end up.
    let _idle = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), server.shutdown(Duration::from_secs(5))).await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

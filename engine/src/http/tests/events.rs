//! The stream of events: what it tells, and how it resumes.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt;

use super::*;

struct Stream {
    body: BodyDataStream,
    text: String,
}

impl Stream {
    async fn open(desk: &Desk) -> Self {
        let asks = request(Method::GET, "/api/v1/events").header("last-event-id", "1-77").body(Body::empty()).unwrap();
        let response = routes::router(desk.api.clone()).oneshot(asks).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// Name, identity and data of the next event; comments are none.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
                };
                let Some(name) = field("event") else { continue };
                let data = serde_json::from_str(&field("data").unwrap()).unwrap();
                return Some((name, field("id").unwrap(), data));
            }
            let more = tokio::time::timeout(Duration::from_secs(20), self.body.next()).await.expect("an event");
            self.text.push_str(std::str::from_utf8(&more?.unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_stream_begins_with_everything_and_tells_what_changes() {
    let desk = Desk::local();
    let mut stream = Stream::open(&desk).await;
    let (name, first, hello) = stream.next().await.unwrap();
    assert_eq!(name, "hello");
    assert_eq!(hello["projections"][1]["name"], "order_summary");
    assert_eq!(
        (&hello["status"]["ready"], &hello["plugins"]["running"][0]["file"]),
        (&json!(true), &json!("halted_one.wasm"))
    );
    desk.call(Method::PUT, "/api/v1/projections/order_summary/pause").await;
    let (name, second, projection) = stream.next().await.unwrap();
    assert_eq!((name.as_str(), &projection["desired"]), ("projection", &json!("paused")));
    assert!(first.split_once('-').unwrap().0 == second.split_once('-').unwrap().0 && first != second);
    // A second one begins with what is now, and does not disturb the first.
    let mut other = Stream::open(&desk).await;
    assert_eq!(other.next().await.unwrap().2["projections"][1]["desired"], "paused");
    desk.call(Method::DELETE, "/api/v1/projections/order_summary").await;
    for stream in [&mut stream, &mut other] {
        let (name, _, gone) = stream.next().await.unwrap();
        assert_eq!((name.as_str(), &gone["name"]), ("gone", &json!("order_summary")));
        let (name, _, plugins) = stream.next().await.unwrap();
        assert_eq!((name.as_str(), plugins["running"].as_array().unwrap().len()), ("plugins", 1));
    }
    desk.api.feed.close();
    assert!(stream.next().await.is_none(), "it ends with the engine");
}

#[tokio::test]
async fn a_slow_reader_is_told_everything_anew() {
    let desk = Desk::local();
    let mut stream = Stream::open(&desk).await;
    assert_eq!(stream.next().await.unwrap().0, "hello");
    // Each one who comes makes the engine be looked at, and so brings the changes to the slow one.
    for turn in 0..300 {
        let way = if turn % 2 == 0 { "pause" } else { "resume" };
        desk.call(Method::PUT, &format!("/api/v1/projections/order_summary/{way}")).await;
        Stream::open(&desk).await.next().await.unwrap();
    }
    assert_eq!(stream.next().await.unwrap().0, "hello");
}

#[tokio::test]
async fn a_silent_stream_says_that_it_lives() {
    let desk = Desk::local();
    let mut stream = Stream::open(&desk).await;
    stream.next().await.unwrap();
    let more = stream.body.next().await.unwrap().unwrap();
    assert!(more.starts_with(b":"), "{more:?}");
}

#[tokio::test]
async fn streams_are_bounded_and_leave_their_place() {
    let desk = Desk::local();
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX {
        streams.push(Stream::open(&desk).await);
    }
    desk.get("/api/v1/events").await.is_problem(503, "busy");
    assert_eq!(desk.get("/api/v1/projections").await.status, StatusCode::OK);
    streams.pop();
    Stream::open(&desk).await;
}

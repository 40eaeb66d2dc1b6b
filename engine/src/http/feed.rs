//! Everything that changes, as one stream of events for a whole page (server-sent events).
//!
//! A stream begins with `hello`, which holds everything; then come `projection`, `gone`, `plugins` and `status`, each with what it is about
//! whole. Invariants: what a stream has told, laid over each other, is what the engine showed a moment ago; a stream that has missed
//! something (a slow reader, a reconnect with `Last-Event-ID`) is told everything anew by another `hello`; the engine is looked at once
//! for all streams, and not at all where there is none.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{broadcast, watch};

use super::answer::{Plugins, Status};
use super::engine::Engine;
use super::guard;
use super::{Api, Snapshot};

/// The engine is looked at this long after it said that something has changed, so that many changes are told at once.
const GATHER: Duration = Duration::from_millis(250);
/// It is looked at this often anyway: time alone makes lag.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A silent stream says this often that it lives.
const HEARTBEAT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 15 });
/// Frames that a slow reader may be behind before it is told everything anew.
const BACKLOG_MAX: usize = 256;

/// What the streams have been told, and how to tell them more.
pub(super) struct Feed {
    told: Mutex<Told>,
    /// Tells this run of the engine from another one, in the identities of the events.
    run: u64,
}

#[derive(Default)]
struct Told {
    projections: BTreeMap<String, Arc<str>>,
    plugins: Arc<str>,
    status: Arc<str>,
    last: u64,
    tell: Option<broadcast::Sender<Frame>>,
    closed: bool,
}

/// One event of the stream.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) id: u64,
    pub(super) event: &'static str,
    pub(super) data: Arc<str>,
}

impl Feed {
    pub(super) fn new() -> Self {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { told: Mutex::default(), run }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything, and what comes after it. None once the engine ends.
    pub(super) fn listen(&self, api: &Api) -> Option<(Frame, broadcast::Receiver<Frame>)> {
        let mut told = self.lock();
        if told.closed {
            return None;
        }
        // Under the lock, so that a later look is never told before an earlier one.
        told.update(api.look());
        let receiver = told.tell.get_or_insert_with(|| broadcast::channel(BACKLOG_MAX).0).subscribe();
        let projections = told.projections.values().map(AsRef::as_ref).collect::<Vec<&str>>().join(",");
        let data = format!(r#"{{"status":{},"projections":[{projections}],"plugins":{}}}"#, told.status, told.plugins);
        Some((Frame { id: told.last, event: "hello", data: data.into() }, receiver))
    }

    /// Tells what has changed, if anybody listens.
    fn refresh(&self, api: &Api) {
        let mut told = self.lock();
        if told.tell.as_ref().is_some_and(|tell| tell.receiver_count() > 0) {
            told.update(api.look());
        }
    }

    /// Ends all streams.
    pub(super) fn close(&self) {
        let mut told = self.lock();
        told.closed = true;
        told.tell = None;
    }

    fn event(&self, frame: &Frame) -> Event {
        Event::default().id(format!("{}-{}", self.run, frame.id)).event(frame.event).data(&*frame.data)
    }
}

impl Told {
    fn update(&mut self, seen: Snapshot) {
        let text = |value: &dyn erased::Shown| -> Arc<str> { value.json().into() };
        let status = text(&Status::of(&seen));
        let projections: BTreeMap<String, Arc<str>> =
            seen.projections.iter().map(|view| (view.status.name.clone(), text(view))).collect();
        let plugins = text(&Plugins::of(seen));
        for (name, now) in &projections {
            if self.projections.get(name) != Some(now) {
                self.send("projection", now.clone());
            }
        }
        let gone: Vec<String> =
            self.projections.keys().filter(|name| !projections.contains_key(*name)).cloned().collect();
        for name in gone {
            self.send("gone", json!({ "name": name }).to_string().into());
        }
        if self.plugins != plugins {
            self.send("plugins", plugins.clone());
        }
        if self.status != status {
            self.send("status", status.clone());
        }
        (self.projections, self.plugins, self.status) = (projections, plugins, status);
    }

    fn send(&mut self, event: &'static str, data: Arc<str>) {
        self.last += 1;
        let frame = Frame { id: self.last, event, data };
        // Nobody listens: whoever comes is told everything.
        self.tell.as_ref().map(|tell| tell.send(frame).ok());
    }
}

/// Values as JSON, whatever their type.
mod erased {
    use serde::Serialize;

    pub(super) trait Shown {
        fn json(&self) -> String;
    }

    impl<T: Serialize> Shown for T {
        fn json(&self) -> String {
            serde_json::to_string(self).unwrap_or_else(|_| "null".to_owned())
        }
    }
}

/// Keeps the streams up to date as long as the API lives and shows this engine.
pub(super) async fn keep(api: Weak<Api>, shown: Weak<dyn Engine>, mut changes: watch::Receiver<u64>) {
    if let Some(api) = api.upgrade() {
        api.feed.refresh(&api);
    }
    while shown.strong_count() > 0 {
        let changed = tokio::time::timeout(LOOK_EVERY, changes.changed()).await;
        // Nothing will be said any more; the pace stays.
        let pause = if matches!(changed, Ok(Err(_))) { LOOK_EVERY } else { GATHER };
        tokio::time::sleep(pause).await;
        let Some(api) = api.upgrade() else { return };
        api.feed.refresh(&api);
    }
}

/// What a stream's first event holds.
#[derive(Serialize, utoipa::ToSchema)]
#[allow(dead_code, reason = "the shape for the OpenAPI document")]
pub(super) struct Hello {
    status: Status,
    projections: Vec<crate::control::ProjectionView>,
    plugins: Plugins,
}

/// Everything that changes, as server-sent events: `hello` with everything, then `projection`, `gone` (`{"name"}`), `plugins` and `status`.
///
/// Each event has an id; a reconnect, with or without `Last-Event-ID`, is answered by a fresh `hello`, and so is a reader that is too slow.
#[utoipa::path(get, path = "/api/v1/events", tag = "engine",
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(super) async fn events(State(api): State<Arc<Api>>) -> Response {
    let state = (api, None::<broadcast::Receiver<Frame>>, guard::places());
    let events = stream::unfold(state, |(api, listening, held)| async move {
        let running = held.as_ref().and_then(|places| places.running.as_ref());
        if let Some(running) = running {
            running.streamed();
        }
        let Some(mut receiver) = listening else {
            let (hello, receiver) = api.feed.listen(&api)?;
            let event = api.feed.event(&hello);
            return Some((Ok::<_, Infallible>(event), (api, Some(receiver), held)));
        };
        match tokio::time::timeout(HEARTBEAT, receiver.recv()).await {
            Ok(Ok(frame)) => Some((Ok(api.feed.event(&frame)), (api, Some(receiver), held))),
            // Too slow: everything anew.
            Ok(Err(broadcast::error::RecvError::Lagged(_))) => {
                let (hello, receiver) = api.feed.listen(&api)?;
                let event = api.feed.event(&hello);
                Some((Ok(event), (api, Some(receiver), held)))
            }
            Ok(Err(broadcast::error::RecvError::Closed)) => None,
            Err(_) => Some((Ok(Event::default().comment("")), (api, Some(receiver), held))),
        }
    });
    // A proxy that gathers would hold events back.
    ([(HeaderName::from_static("x-accel-buffering"), "no"), (header::CACHE_CONTROL, "no-store")], Sse::new(events))
        .into_response()
}

//! Where spans go: the standard variables, and OTLP over HTTP with our own client. Queue, batches, retries and the rest of the variables
//! (service name, resource, sampler, limits, headers) are OpenTelemetry's.
//!
//! Invariants: what a variable asks for and we do not do is refused by its name, before anything is sent; headers and the URL's query are
//! never shown; a collector that is away costs the thread that waits for it, and is told once, not for each span.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use http_body_util::Full;
use hyper::{Uri, header};
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter as OtlpExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;
use tokio_native_tls::native_tls::Certificate;

use crate::peer::{Peer, check_url};

/// Bytes of an answer: it says at most what was refused.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The standard's defaults.
const TIMEOUT: Duration = Duration::from_secs(10);
const QUEUE_MAX: u64 = 2048;

/// A variable asks for something that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {reason}; {remedy}")]
pub struct NotTraced {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong with it.
    pub reason: String,
    /// What to do.
    pub remedy: &'static str,
}

/// Where spans are to go, as the variables say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The variable that names it.
    variable: &'static str,
    /// The whole address.
    url: String,
    timeout: Duration,
    /// The variable that names a file with certificates, and the file.
    certificates: Option<(&'static str, String)>,
    queue_max: u64,
}

impl Destination {
    /// Reads the process's variables; none where they name no endpoint, or turn traces off.
    ///
    /// # Errors
    /// The first one that asks for what cannot be done.
    pub fn from_environment() -> Result<Option<Self>, NotTraced> {
        Self::read(&|name| std::env::var(name).ok())
    }

    fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, NotTraced> {
        // An empty one is one that is not set.
        let set = |name: &'static str| variable(name).filter(|value| !value.is_empty()).map(|value| (name, value));
        // What is said of traces alone comes before what is said of all signals.
        let either = |own, common| set(own).or_else(|| set(common));
        if set("OTEL_SDK_DISABLED").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let endpoint = either("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
        let Some((variable, mut url)) = endpoint else { return Ok(None) };
        let refuse = |variable, reason: String, remedy| Err(NotTraced { variable, reason, remedy });
        if let Some((variable, names)) = set("OTEL_TRACES_EXPORTER") {
            let names: Vec<&str> = names.split(',').map(str::trim).collect();
            if names == ["none"] {
                return Ok(None);
            }
            if !names.contains(&"otlp") {
                return refuse(variable, format!("no exporter {names:?}"), "set it to otlp, or to none");
            }
        }
        if let Err(error) = check_url(&url) {
            // It may hold a password, so it is not shown.
            return refuse(variable, error.to_string(), "set it to a URL like http://localhost:4318");
        }
        if variable == "OTEL_EXPORTER_OTLP_ENDPOINT" {
            // It is the root of all signals.
            url = format!("{}/v1/traces", url.trim_end_matches('/'));
        }
        let protocol = either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
        if let Some((variable, protocol)) = protocol.filter(|(_, protocol)| protocol != "http/protobuf") {
            let remedy = "set it to http/protobuf, and name the collector's port for HTTP (4318 by default)";
            return refuse(variable, format!("no protocol {protocol:?}"), remedy);
        }
        let compression = either("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION");
        if let Some((variable, compression)) = compression.filter(|(_, compression)| compression != "none") {
            return refuse(variable, format!("no compression {compression:?}"), "unset it, or set it to none");
        }
        let key = either("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY");
        if let Some((variable, _)) = key {
            let remedy = "unset it, and send to a collector that needs no client certificate";
            return refuse(variable, "client certificates are not supported".to_owned(), remedy);
        }
        let timeout = either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
        let number = |(_, value): (&'static str, String)| value.parse::<u64>().ok();
        Ok(Some(Self {
            variable,
            url,
            timeout: timeout.and_then(number).map_or(TIMEOUT, Duration::from_millis),
            certificates: either("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"),
            queue_max: set("OTEL_BSP_MAX_QUEUE_SIZE").and_then(number).unwrap_or(QUEUE_MAX),
        }))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// What makes spans, and the room that there is for them.
pub(super) fn provider(destination: Destination) -> Result<(SdkTracerProvider, Room), NotTraced> {
    let room = Room::new(destination.queue_max);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter(destination, room.clone())?)
        .with_resource(resource())
        .build();
    Ok((provider, room))
}

/// Who sends: `laterna` with its version, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say otherwise.
fn resource() -> Resource {
    let ours = Resource::builder_empty()
        .with_service_name("laterna")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => ours.with_service_name(name).build(),
        _ => ours.build(),
    }
}

fn exporter(destination: Destination, room: Room) -> Result<Watched, NotTraced> {
    let Destination { variable, url, timeout, certificates, .. } = destination;
    let refused = |reason: String| NotTraced { variable, reason, remedy: "set it to a URL like http://localhost:4318" };
    let mut trusted = Vec::new();
    if let Some((variable, file)) = certificates {
        let refused = |reason| NotTraced { variable, reason, remedy: "name a file with certificates in PEM" };
        let bytes = std::fs::read(&file).map_err(|error| refused(format!("{file}: {error}")))?;
        trusted = Certificate::stack_from_pem(&bytes).map_err(|error| refused(format!("{file}: {error}")))?;
    }
    // The path comes with each request.
    let uri: Uri = url.parse().map_err(|_| refused("it is no URL".to_owned()))?;
    let origin = format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |a| a.as_str()));
    let peer = Peer::new(&origin, trusted)
        .map_err(|error| refused(error.to_string()))?
        .map_err(|error| refused(format!("TLS: {error}")))?;
    let client = Client { peer: Arc::new(peer), timeout, runtime: Handle::current(), room: room.clone() };
    let inner = OtlpExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(&url)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(timeout)
        .build()
        .map_err(|error| refused(error.to_string()))?;
    Ok(Watched { inner, room, url })
}

/// How many spans there is room for, and what became of all of them.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    max: u64,
    /// On their way.
    taken: AtomicU64,
    sent: AtomicU64,
    /// Not taken by the collector, or made when there was no room.
    lost: AtomicU64,
    is_full_told: AtomicBool,
    is_away: AtomicBool,
    /// Why the last request failed, for people.
    cause: Mutex<String>,
}

impl Room {
    pub(super) fn new(max: u64) -> Self {
        Self(Arc::new(Figures {
            max,
            taken: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            is_full_told: AtomicBool::new(false),
            is_away: AtomicBool::new(false),
            cause: Mutex::default(),
        }))
    }

    /// Takes room for a span; false where there is none. So the queue behind it never overflows, and nothing is dropped that is not counted.
    pub(super) fn take(&self) -> bool {
        let figures = &*self.0;
        if figures.taken.fetch_add(1, Ordering::Relaxed) < figures.max {
            return true;
        }
        self.give_back(1);
        figures.lost.fetch_add(1, Ordering::Relaxed);
        if !figures.is_full_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                waiting = figures.max,
                "spans are made faster than they are taken: what finds no room is dropped, and counted at the end (OTEL_BSP_MAX_QUEUE_SIZE)"
            );
        }
        false
    }

    pub(super) fn give_back(&self, count: u64) {
        self.0.taken.fetch_sub(count, Ordering::Relaxed);
    }

    fn failed_because(&self, cause: String) {
        *self.0.cause.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    fn exported(&self, url: &str, count: u64, is_taken: bool) {
        let figures = &*self.0;
        self.give_back(count);
        let fate = if is_taken { &figures.sent } else { &figures.lost };
        fate.fetch_add(count, Ordering::Relaxed);
        match (figures.is_away.swap(!is_taken, Ordering::Relaxed), is_taken) {
            (false, false) => {
                let cause = figures.cause.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tracing::warn!(
                    url,
                    cause,
                    "spans are not taken; they are dropped until they are, and all else goes on"
                );
            }
            (true, true) => {
                let lost = figures.lost.load(Ordering::Relaxed);
                tracing::info!(url, lost, "spans are taken again");
            }
            _ => {}
        }
    }

    /// Says how many spans were lost, where some were.
    pub(super) fn sum_up(&self) {
        let figures = &*self.0;
        let [sent, lost, taken] = [&figures.sent, &figures.lost, &figures.taken].map(|n| n.load(Ordering::Relaxed));
        if lost + taken > 0 {
            tracing::warn!(sent, lost = lost + taken, "not every span was taken");
        }
    }
}

/// The exporter, and what became of its spans.
#[derive(Debug)]
struct Watched {
    inner: OtlpExporter,
    room: Room,
    url: String,
}

impl SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let outcome = self.inner.export(batch).await;
        self.room.exported(&self.url, count, outcome.is_ok());
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// The engine's way to speak HTTP, for an exporter that runs on a thread of its own, outside of any runtime.
struct Client {
    peer: Arc<Peer>,
    timeout: Duration,
    runtime: Handle,
    room: Room,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.peer.url()).finish_non_exhaustive()
    }
}

impl Client {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let mut ours = self.peer.request(parts.uri.path()).method(parts.method);
        for (name, value) in parts.headers.iter().filter(|(name, _)| *name != header::USER_AGENT) {
            ours = ours.header(name, value);
        }
        let (ours, peer, timeout) = (ours.body(Full::new(body))?, Arc::clone(&self.peer), self.timeout);
        let asked = self.runtime.spawn(async move { peer.ask(ours, timeout, ANSWER_BYTES_MAX).await }.boxed());
        let (status, body) = asked.await?.map_err(|failed| failed.cause)?;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Ok(response)
    }
}

impl HttpClient for Client {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let outcome = self.send(request).await;
            match &outcome {
                Ok(response) if response.status().is_success() => {}
                Ok(response) => self.room.failed_because(format!("it answers {}", response.status())),
                Err(error) => self.room.failed_because(error.to_string()),
            }
            outcome
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Destination>, NotTraced> {
        Destination::read(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318");

    #[test]
    fn without_an_endpoint_or_when_turned_off_there_is_no_destination() {
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("OTEL_SERVICE_NAME", "x")],
            // What else is wrong is nobody's concern then.
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
        ] {
            assert_eq!(read(variables), Ok(None), "{variables:?}");
        }
    }

    #[test]
    fn what_is_said_of_traces_comes_first_and_the_common_endpoint_is_a_root() {
        let url = |variables| read(variables).unwrap().unwrap().url;
        assert_eq!(url(&[ENDPOINT]), "http://otel:4318/v1/traces");
        assert_eq!(url(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x/otlp/")]), "https://x/otlp/v1/traces");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own/as/it/is/");
        assert_eq!(url(&[ENDPOINT, own]), "http://own/as/it/is/");
        let timeouts = [("OTEL_EXPORTER_OTLP_TIMEOUT", "100"), ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "200")];
        let destination = read(&[ENDPOINT, timeouts[0], timeouts[1]]).unwrap().unwrap();
        assert_eq!(destination.timeout, Duration::from_millis(200));
        assert_eq!(read(&[ENDPOINT]).unwrap().unwrap().timeout, TIMEOUT);
        // Several exporters, one of them ours.
        assert!(read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "console, otlp")]).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_the_variables_name() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "otel:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:secret@otel"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
        ] {
            let refused = read(&[ENDPOINT, (name, value)]).unwrap_err();
            assert_eq!(refused.variable, name);
            let text = refused.to_string();
            assert!(text.starts_with(name) && !text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_full_room_takes_no_more_and_counts() {
        let room = Room::new(2);
        assert_eq!([room.take(), room.take(), room.take(), room.take()], [true, true, false, false]);
        assert_eq!(room.0.lost.load(Ordering::Relaxed), 2);
        room.exported("http://x", 1, true);
        assert!(room.take());
        room.exported("http://x", 2, false);
        let [sent, lost, taken] = [&room.0.sent, &room.0.lost, &room.0.taken].map(|n| n.load(Ordering::Relaxed));
        assert_eq!([sent, lost, taken], [1, 4, 0]);
    }
}

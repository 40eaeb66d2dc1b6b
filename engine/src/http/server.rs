//! Connections: the accept loop, its bounds, and how it ends.
//!
//! Own loop, because `axum::serve` installs no timer, so that hyper's deadline for headers would never fire, and has no bound on
//! connections. The loop never waits for a client: where all places are taken, the quietest connection makes room (`seat.rs`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tower_service::Service;

use super::access::Peer;
use super::seat::{Seat, Seats};
use super::{Api, Settings, routes};
use crate::control::Control;

/// Connections at a time: a process may usually have 1,024 files open.
pub(super) const CONNECTIONS_MAX: usize = 512;
/// How long a client may take for its headers, and stay idle between two requests.
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection may be without a running request, which bounds who reads an answer byte by byte, and how long a stream may take
/// nothing, which is sent a heartbeat every 15 s.
const QUIET_TIME_MAX: Duration = Duration::from_secs(60);
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 << 10;

/// A server that answers until it is shut down.
pub struct Server {
    address: SocketAddr,
    api: Arc<Api>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Opens the port, so that a port that is taken is known before anything else starts.
///
/// # Errors
/// What the operating system said.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

impl Server {
    /// Answers on `listener`; until [`Server::show`] it says that the engine is starting.
    ///
    /// # Errors
    /// The listener has no address: it is closed.
    pub fn start(listener: TcpListener, settings: Settings) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let api = Api::new(settings, address.ip().is_loopback());
        let task = tokio::spawn(accept(listener, routes::router(api.clone()), stopped).boxed());
        Ok(Self { address, api, stop, task })
    }

    /// From now on the API is this engine's.
    pub fn show(&self, control: Control) {
        self.api.show(Arc::new(control));
    }

    #[cfg(test)]
    pub(super) fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Finishes the requests that are under way, for at most `limit`.
    pub async fn shutdown(self, limit: Duration) {
        self.stop.send_replace(true);
        self.api.feed.close();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(limit, self.task).await.is_err() {
            abort.abort();
        }
    }
}

async fn accept(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let seats = Seats::new(CONNECTIONS_MAX, QUIET_TIME_MAX);
    let mut connections = JoinSet::new();
    let mut id = 0;
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                id += 1;
                // Where every connection has a running request, one more is closed at once.
                let Some(seat) = seats.take(id) else { continue };
                let (seats, router, stopped) = (seats.clone(), router.clone(), stopped.clone());
                connections.spawn(
                    async move {
                        serve(stream, Peer(peer), seat, router, stopped).await;
                        seats.free(id);
                    }
                    .boxed(),
                );
            }
            // Out of file descriptors, or the client is gone again: neither ends the server.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(stream: TcpStream, peer: Peer, seat: Arc<Seat>, router: Router, mut stopped: watch::Receiver<bool>) {
    let its_seat = seat.clone();
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(its_seat.clone());
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let must_leave = seat.must_leave();
    tokio::pin!(must_leave);
    let mut stopping = false;
    loop {
        tokio::select! {
            done = connection.as_mut() => {
                if let Err(error) = done {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = &mut must_leave => return,
            _ = stopped.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

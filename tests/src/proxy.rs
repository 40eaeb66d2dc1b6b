//! A TCP proxy on the loopback that can hurt: cut, delay, black hole, and, where it carries PostgreSQL's protocol, take
//! the reply to a commit away.
//!
//! A *commit point* is a message after which the server commits: a query `COMMIT`, or the `Sync` that runs a statement
//! which moves a checkpoint outside of an explicit transaction. An armed proxy acts on the next one, once, in one of
//! two ways, so that both outcomes of an unknown commit happen: [`Cut::Reply`] lets the server commit and swallows
//! what it says; [`Cut::Request`] never forwards the message. Then the client's connection is closed.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::services::free_port;

/// Which half of a commit is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server commits; the client never hears of it.
    Reply,
    /// The server never hears of it.
    Request,
}

/// What the proxy carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Bytes.
    Anything,
    /// PostgreSQL's protocol, without TLS.
    Postgres,
}

/// What holds for all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    /// Bytes are read but go nowhere, and nobody is told.
    black_hole: bool,
    /// New connections are refused at once.
    refuse: bool,
    /// How long each piece waits.
    delay: Duration,
    /// Raised by each cut: connections of an earlier number end.
    cuts: u64,
}

#[derive(Debug)]
struct Inner {
    link: watch::Sender<Link>,
    armed: Mutex<Option<Cut>>,
    replies_cut: AtomicU64,
    requests_cut: AtomicU64,
    commit_points: AtomicU64,
}

/// A listening proxy. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    inner: Arc<Inner>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// A proxy on a new port to a port of the loopback.
    pub async fn start(target: u16, carries: Carries) -> Self {
        Self::start_at(free_port(), target, carries).await
    }

    /// A proxy on a given port to a port of the loopback.
    ///
    /// # Panics
    /// The port is taken.
    pub async fn start_at(port: u16, target: u16, carries: Carries) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("bind the proxy");
        let whole = Link { black_hole: false, refuse: false, delay: Duration::ZERO, cuts: 0 };
        let inner = Arc::new(Inner {
            link: watch::Sender::new(whole),
            armed: Mutex::new(None),
            replies_cut: AtomicU64::new(0),
            requests_cut: AtomicU64::new(0),
            commit_points: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, target, carries, inner.clone()));
        Self { port, inner, accepting }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next commit point loses this half.
    pub fn arm(&self, cut: Cut) {
        *self.inner.armed.lock().expect("lock") = Some(cut);
    }

    /// Whether an armed cut has not happened yet.
    pub fn armed(&self) -> bool {
        self.inner.armed.lock().expect("lock").is_some()
    }

    /// How many replies and how many requests have been taken away.
    pub fn cut_counts(&self) -> (u64, u64) {
        (self.inner.replies_cut.load(Ordering::SeqCst), self.inner.requests_cut.load(Ordering::SeqCst))
    }

    /// How many commit points have been seen.
    pub fn commit_points(&self) -> u64 {
        self.inner.commit_points.load(Ordering::SeqCst)
    }

    /// Closes all connections; new ones work.
    pub fn cut(&self) {
        self.inner.link.send_modify(|link| link.cuts += 1);
    }

    /// Refuses new connections, and closes the present ones where it begins.
    pub fn refuse(&self, on: bool) {
        self.inner.link.send_modify(|link| {
            link.refuse = on;
            link.cuts += u64::from(on);
        });
    }

    /// Swallows everything in both directions, without closing anything. What was swallowed is lost: at its end all
    /// connections of that time are closed.
    pub fn black_hole(&self, on: bool) {
        self.inner.link.send_modify(|link| {
            link.cuts += u64::from(link.black_hole && !on);
            link.black_hole = on;
        });
    }

    /// Each piece of up to 64 KiB waits so long before it goes on.
    pub fn delay(&self, delay: Duration) {
        self.inner.link.send_modify(|link| link.delay = delay);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, target: u16, carries: Carries, inner: Arc<Inner>) {
    while let Ok((client, _)) = listener.accept().await {
        let inner = inner.clone();
        tokio::spawn(async move {
            let mut link = inner.link.subscribe();
            let number = link.borrow_and_update().cuts;
            if link.borrow().refuse {
                return;
            }
            let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
            let carried = async {
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                match carries {
                    Carries::Anything => carry_bytes(client, server, inner.link.subscribe()).await,
                    Carries::Postgres => carry_postgres(client, server, inner.clone()).await,
                }
            };
            // However a connection ends, the client sees it closed.
            tokio::select! {
                _ = carried => {}
                _ = link.wait_for(|link| link.cuts != number) => {}
            }
        });
    }
}

/// Waits out the delay; false where the piece is to be swallowed.
async fn passes(link: &watch::Receiver<Link>) -> bool {
    let now = *link.borrow();
    if !now.delay.is_zero() {
        tokio::time::sleep(now.delay).await;
    }
    !now.black_hole
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: watch::Receiver<Link>) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        if passes(&link).await {
            to.write_all(&buffer[..count]).await?;
        }
    }
}

async fn carry_bytes(client: TcpStream, server: TcpStream, link: watch::Receiver<Link>) -> io::Result<()> {
    let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
    tokio::try_join!(copy(client_in, server_out, link.clone()), copy(server_in, client_out, link))?;
    Ok(())
}

/// One message with its type byte.
struct Message {
    kind: u8,
    bytes: Vec<u8>,
}

impl Message {
    async fn read(from: &mut OwnedReadHalf) -> io::Result<Self> {
        let mut head = [0; 5];
        from.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut bytes = vec![0; 1 + length.max(4)];
        bytes[..5].copy_from_slice(&head);
        from.read_exact(&mut bytes[5..]).await?;
        Ok(Self { kind: head[0], bytes })
    }

    /// The zero-terminated string that begins at `at` in the body, and where the next one begins.
    fn text(&self, at: usize) -> (String, usize) {
        let body = self.bytes.get(5 + at..).unwrap_or_default();
        let length = body.iter().position(|&byte| byte == 0).unwrap_or(body.len());
        (String::from_utf8_lossy(&body[..length]).into_owned(), at + length + 1)
    }
}

/// What the client side of a connection has prepared, as far as commit points go.
#[derive(Default)]
struct Prepared {
    /// Names of prepared statements that move a checkpoint.
    fences: HashSet<String>,
    /// Names of prepared statements that commit.
    commits: HashSet<String>,
    /// Since the last `Sync`, such a statement was bound.
    fence_bound: bool,
    commit_bound: bool,
}

fn is_commit(sql: &str) -> bool {
    sql.split(|c: char| !c.is_ascii_alphabetic()).any(|word| word.eq_ignore_ascii_case("commit"))
}

fn is_fence(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    sql.contains("update") && sql.contains("checkpoint") && sql.contains("next_offset") && sql.contains("owner_epoch")
}

impl Prepared {
    /// Whether the server commits after this message. `in_transaction`: an explicit one is open.
    fn commit_point(&mut self, message: &Message, in_transaction: bool) -> bool {
        match message.kind {
            b'Q' => is_commit(&message.text(0).0),
            b'P' => {
                let (name, next) = message.text(0);
                let sql = message.text(next).0;
                let note =
                    |set: &mut HashSet<String>, is: bool| if is { set.insert(name.clone()) } else { set.remove(&name) };
                note(&mut self.fences, is_fence(&sql));
                note(&mut self.commits, is_commit(&sql));
                false
            }
            b'B' => {
                let (_, next) = message.text(0);
                let statement = message.text(next).0;
                self.fence_bound |= self.fences.contains(&statement);
                self.commit_bound |= self.commits.contains(&statement);
                false
            }
            b'S' => {
                let commits = self.commit_bound || (self.fence_bound && !in_transaction);
                (self.fence_bound, self.commit_bound) = (false, false);
                commits
            }
            _ => false,
        }
    }
}

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// Passes the client's first packet on; requests for encryption are declined here.
async fn startup(
    from: &mut OwnedReadHalf,
    to_client: &mut OwnedWriteHalf,
    to_server: &mut OwnedWriteHalf,
) -> io::Result<()> {
    loop {
        let length = from.read_u32().await?;
        let mut body = vec![0; (length as usize).saturating_sub(4)];
        from.read_exact(&mut body).await?;
        let code = body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        if matches!(code, Some(SSL_REQUEST | GSS_REQUEST)) {
            to_client.write_all(b"N").await?;
            continue;
        }
        to_server.write_all(&length.to_be_bytes()).await?;
        return to_server.write_all(&body).await;
    }
}

/// What the two directions of a connection tell each other.
struct Shared {
    /// The transaction status of the server's last `ReadyForQuery`.
    status: watch::Sender<u8>,
    /// Set: what the server says goes nowhere, up to the next `ReadyForQuery`, which ends the connection.
    swallow: std::sync::atomic::AtomicBool,
}

async fn carry_postgres(client: TcpStream, server: TcpStream, inner: Arc<Inner>) -> io::Result<()> {
    let ((mut client_in, mut client_out), (server_in, mut server_out)) = (client.into_split(), server.into_split());
    startup(&mut client_in, &mut client_out, &mut server_out).await?;
    let shared = Shared { status: watch::Sender::new(b'I'), swallow: false.into() };
    tokio::try_join!(
        from_client(client_in, server_out, &inner, &shared),
        from_server(server_in, client_out, &inner, &shared)
    )?;
    Ok(())
}

async fn from_client(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    inner: &Inner,
    shared: &Shared,
) -> io::Result<()> {
    let link = inner.link.subscribe();
    let mut prepared = Prepared::default();
    loop {
        let message = Message::read(&mut client).await?;
        let in_transaction = *shared.status.borrow() != b'I';
        if prepared.commit_point(&message, in_transaction) {
            inner.commit_points.fetch_add(1, Ordering::SeqCst);
            let armed = inner.armed.lock().expect("lock").take();
            match armed {
                Some(Cut::Request) => {
                    inner.requests_cut.fetch_add(1, Ordering::SeqCst);
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                Some(Cut::Reply) => shared.swallow.store(true, Ordering::SeqCst),
                None => {}
            }
        }
        if passes(&link).await {
            server.write_all(&message.bytes).await?;
        }
    }
}

async fn from_server(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    inner: &Inner,
    shared: &Shared,
) -> io::Result<()> {
    let link = inner.link.subscribe();
    loop {
        let message = Message::read(&mut server).await?;
        let ready = message.kind == b'Z';
        if shared.swallow.load(Ordering::SeqCst) {
            if ready {
                inner.replies_cut.fetch_add(1, Ordering::SeqCst);
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            continue;
        }
        if ready {
            shared.status.send_replace(message.bytes.get(5).copied().unwrap_or(b'I'));
        }
        if passes(&link).await {
            client.write_all(&message.bytes).await?;
        }
    }
}

//! A collector of traces of the tests' own: takes OTLP over HTTP in Protobuf, and keeps what arrives. It reads the wire format by itself, so
//! that what is tested is not tested against the same library.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What one request said beside its spans.
#[derive(Clone, Debug)]
pub struct Posted {
    /// The request line and the headers.
    pub head: String,
    /// The spans in it.
    pub spans: Vec<Received>,
}

/// A span as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Its name.
    pub name: String,
    /// Its trace and its own id, in hexadecimal.
    pub id: (String, String),
    /// Its parent's id; empty where it is a root.
    pub parent: String,
    /// 5 is a consumer's.
    pub kind: u64,
    /// Nanoseconds since 1970 UTC: beginning and end.
    pub time: (u64, u64),
    /// Attributes as text; the members of a list joined with `; `.
    pub attributes: BTreeMap<String, String>,
    /// Trace, span and `tracestate` of each link.
    pub links: Vec<(String, String, String)>,
    /// The message, where its status is an error.
    pub error: Option<String>,
    /// Who sent it.
    pub resource: BTreeMap<String, String>,
}

/// One that listens, until it is dropped.
#[derive(Debug)]
pub struct Collector {
    port: u16,
    posted: Arc<Mutex<Vec<Posted>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Collector {
    /// Takes everything.
    ///
    /// # Panics
    /// No port is free.
    pub fn start() -> Self {
        Self::listen(false)
    }

    /// Takes connections, and never answers.
    ///
    /// # Panics
    /// No port is free.
    pub fn hanging() -> Self {
        Self::listen(true)
    }

    fn listen(hangs: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        let port = listener.local_addr().expect("an address").port();
        let (posted, stop) = (Arc::<Mutex<Vec<Posted>>>::default(), Arc::new(AtomicBool::new(false)));
        let (kept, stopped) = (Arc::clone(&posted), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                match listener.accept() {
                    Ok((stream, _)) if hangs => held.push(stream),
                    Ok((stream, _)) => take(stream, &kept),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self { port, posted, stop, thread: Some(thread) }
    }

    /// Its address, as `OTEL_EXPORTER_OTLP_ENDPOINT` names it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Every request so far.
    ///
    /// # Panics
    /// Its thread has panicked.
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().expect("lock").clone()
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Received> {
        self.posted().into_iter().flat_map(|posted| posted.spans).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // What it panicked with is printed already.
            thread.join().ok();
        }
    }
}

fn take(mut stream: TcpStream, posted: &Mutex<Vec<Posted>>) {
    stream.set_nonblocking(false).expect("a stream that waits");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head in UTF-8").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).expect("the whole body");
    posted.lock().expect("lock").push(Posted { head, spans: spans(&body) });
    let answer =
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // Whoever asked may have gone.
    stream.write_all(answer.as_bytes()).ok();
}

// ---- Protobuf, as far as OTLP has it ----

#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(number) => panic!("{number} stands for bytes"),
        }
    }

    fn number(self) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Bytes(bytes) => panic!("{bytes:?} stand for a number"),
        }
    }

    fn text(self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("UTF-8")
    }

    fn hex(self) -> String {
        self.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

/// The fields of a message: their numbers and what they hold.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let mut cut = |length: usize| {
            let (cut, rest) = bytes.split_at(length);
            bytes = rest;
            cut
        };
        let field = match tag & 7 {
            1 => Field::Number(u64::from_le_bytes(cut(8).try_into().expect("8 bytes"))),
            5 => Field::Number(u32::from_le_bytes(cut(4).try_into().expect("4 bytes")).into()),
            0 => Field::Number(varint(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (cut, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(cut)
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

/// What a field holds, wherever it stands in the message.
fn all(message: &[u8], number: u64) -> impl Iterator<Item = Field<'_>> {
    fields(message).into_iter().filter(move |(at, _)| *at == number).map(|(_, field)| field)
}

fn value(any: &[u8]) -> String {
    match fields(any).as_slice() {
        [(1, text)] => text.text(),
        [(2, flag)] => (flag.number() != 0).to_string(),
        [(3, number)] => (number.number() as i64).to_string(),
        [(5, list)] => all(list.bytes(), 1).map(|one| value(one.bytes())).collect::<Vec<_>>().join("; "),
        _ => panic!("a value of another kind: {any:?}"),
    }
}

fn attributes<'a>(pairs: impl Iterator<Item = Field<'a>>) -> BTreeMap<String, String> {
    let pair = |pair: Field<'_>| {
        let of = |number| all(pair.bytes(), number).next().expect("a pair");
        (of(1).text(), value(of(2).bytes()))
    };
    pairs.map(pair).collect()
}

fn spans(request: &[u8]) -> Vec<Received> {
    let mut spans = Vec::new();
    for of_resource in all(request, 1).map(Field::bytes) {
        let resource = attributes(all(of_resource, 1).flat_map(|resource| all(resource.bytes(), 1)));
        for span in all(of_resource, 2).flat_map(|scope| all(scope.bytes(), 2)) {
            spans.push(Received { resource: resource.clone(), ..span_of(span.bytes()) });
        }
    }
    spans
}

fn span_of(message: &[u8]) -> Received {
    let text = |message: &[u8], number| all(message, number).next().map(Field::text).unwrap_or_default();
    let hex = |message: &[u8], number| all(message, number).next().map(Field::hex).unwrap_or_default();
    let number = |number| all(message, number).next().map_or(0, Field::number);
    let status = all(message, 15).next().map(Field::bytes).unwrap_or_default();
    let is_error = all(status, 3).next().is_some_and(|code| code.number() == 2);
    let link = |link: Field<'_>| (hex(link.bytes(), 1), hex(link.bytes(), 2), text(link.bytes(), 3));
    Received {
        name: text(message, 5),
        id: (hex(message, 1), hex(message, 2)),
        parent: hex(message, 4),
        kind: number(6),
        time: (number(7), number(8)),
        attributes: attributes(all(message, 9)),
        links: all(message, 13).map(link).collect(),
        error: is_error.then(|| text(status, 2)),
        resource: BTreeMap::new(),
    }
}

//! The server with a port: its bounds, slow clients, and its end.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

async fn server() -> Server {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let server = Server::start(listener, Settings::default()).unwrap();
    server.api().show(Fake::new(true));
    server
}

/// Sends a text and reads until the other side closes.
async fn talk(address: std::net::SocketAddr, text: String) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A refused client may be reset before it has written or read everything.
    let _written = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let _read = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_server_answers_bounds_headers_and_leaves() {
    let server = server().await;
    let address = server.address();
    let answer = talk(address, format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok\n"), "{answer}");
    let many = (0..200).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let answer = talk(address, format!("GET /livez HTTP/1.1\r\nHost: {address}\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    // Neither a client without a request nor one that listens for ever holds the end up.
    let _idle = TcpStream::connect(address).await.unwrap();
    let mut listening = TcpStream::connect(address).await.unwrap();
    let asks = format!("GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    listening.write_all(asks.as_bytes()).await.unwrap();
    let mut some = [0; 64];
    listening.read_exact(&mut some).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), server.shutdown(Duration::from_secs(5))).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// So many sockets as there may be files for; two for each client, as both ends are in this process.
fn crowd() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20);
    let files = usize::try_from(limit).unwrap_or(usize::MAX);
    (files.saturating_sub(server::CONNECTIONS_MAX + 200)).min(2000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_slow_sockets_stop_nobody() {
    let server = server().await;
    let address = server.address();
    let crowd = crowd();
    assert!(crowd > 100, "too few files may be open for this test");
    let listening = TcpStream::connect(address).await.unwrap();
    let mut listening = tokio::io::BufReader::new(listening);
    let asks = format!("GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    listening.write_all(asks.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    listening.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    let mut slow = Vec::new();
    for n in 0..crowd {
        let mut socket = TcpStream::connect(address).await.unwrap();
        // Some send nothing, some half a head, some a head and half a body, some a request whose answer they never read.
        let text = match n % 4 {
            0 => String::new(),
            1 => "GET /livez HTTP/1.1\r\nHost: local".to_owned(),
            2 => format!(
                "POST /api/v1/projections/order_summary/rebuilds HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
            ),
            _ => format!("GET /openapi.json HTTP/1.1\r\nHost: {address}\r\n\r\n"),
        };
        let _written = socket.write_all(text.as_bytes()).await;
        slow.push(socket);
    }
    let mut times = Vec::new();
    for _ in 0..200 {
        let begin = Instant::now();
        let asks = format!("GET /api/v1/projections HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let answer = talk(address, asks).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
        times.push(begin.elapsed());
        // They go on: a byte each now and then, and new ones for those that were sent away.
        for socket in slow.iter_mut().skip(times.len() * 7 % 50).step_by(50) {
            let _written = socket.try_write(b"x");
        }
        let _gone = std::mem::replace(&mut slow[times.len()], TcpStream::connect(address).await.unwrap());
    }
    times.sort();
    assert!(times[198] < Duration::from_millis(500), "99 of 100 took {:?}, {crowd} slow sockets", times[198]);
    println!("{crowd} slow sockets: half took {:?}, 99 of 100 {:?}", times[100], times[198]);
    // The stream, as old as it is, was never in anybody's way.
    let mut more = String::new();
    use tokio::io::AsyncBufReadExt;
    while !more.starts_with("event: hello") {
        more.clear();
        assert!(listening.read_line(&mut more).await.unwrap() > 0, "the stream was cut");
    }
    server.shutdown(Duration::from_secs(5)).await;
}

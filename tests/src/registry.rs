//! A schema registry of the tests' own: the four routes of Confluent's API that the engine asks, from memory. No real one is run by these
//! tests: it is a Java service of a vendor's that no package registry has whole.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::services::free_port;

/// What it knows. Filled before and while it runs.
#[derive(Clone, Debug, Default)]
pub struct Schemas {
    /// The JSON of `GET path`.
    answers: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl Schemas {
    fn say(&self, path: String, answer: Value) {
        self.answers.lock().expect("lock").insert(path, answer);
    }

    /// A schema in Avro. `references`: names with a subject each, of which it uses version 1.
    pub fn avro(&self, id: u32, schema: &str, references: &[(&str, &str)]) {
        let references: Vec<Value> = references
            .iter()
            .map(|(name, subject)| json!({ "name": name, "subject": subject, "version": 1 }))
            .collect();
        self.say(format!("/schemas/ids/{id}"), json!({ "schema": schema, "references": references }));
    }

    /// The same, to be found by its GUID.
    pub fn avro_guid(&self, guid: &str, schema: &str) {
        self.say(format!("/schemas/guids/{guid}"), json!({ "schema": schema, "guid": guid }));
    }

    /// A schema in Protobuf: the bytes of its `FileDescriptorProto`.
    pub fn protobuf(&self, id: u32, file: &[u8]) {
        let serialized = base64::engine::general_purpose::STANDARD.encode(file);
        let text = "syntax = \"proto3\"; // what stands here is not asked for";
        self.say(format!("/schemas/ids/{id}"), json!({ "schema": text, "schemaType": "PROTOBUF" }));
        let answer = json!({ "schema": serialized, "schemaType": "PROTOBUF" });
        self.say(format!("/schemas/ids/{id}?format=serialized"), answer);
    }

    /// Version 1 of a subject.
    pub fn subject(&self, subject: &str, id: u32) {
        let answer = json!({ "subject": subject, "version": 1, "id": id });
        self.say(format!("/subjects/{subject}/versions/1?deleted=true"), answer);
    }

    fn answer(&self, path: &str) -> (u16, Value) {
        match self.answers.lock().expect("lock").get(path) {
            Some(answer) => (200, answer.clone()),
            None => (404, json!({ "error_code": 40403, "message": "Schema not found" })),
        }
    }
}

/// Where one may be, or not yet be.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    /// What it answers with.
    pub schemas: Schemas,
    running: Option<(Arc<AtomicBool>, std::thread::JoinHandle<()>)>,
}

impl Registry {
    /// A place for one. Nothing listens there.
    pub fn down() -> Self {
        Self { port: free_port(), schemas: Schemas::default(), running: None }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Listens from now on.
    ///
    /// # Panics
    /// Somebody else does.
    pub fn start(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("listen");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        let (stop, schemas) = (Arc::new(AtomicBool::new(false)), self.schemas.clone());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                match listener.accept() {
                    Ok((stream, _)) => serve(stream, &schemas),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        self.running = Some((stop, thread));
    }

    /// Does not listen any more.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.store(true, Ordering::Release);
            thread.join().expect("the registry's thread");
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(mut stream: TcpStream, schemas: &Schemas) {
    stream.set_nonblocking(false).expect("a stream that waits");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, body) = schemas.answer(path);
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status} Answer\r\nContent-Type: application/vnd.schemaregistry.v1+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // Whoever asked may have gone.
    stream.write_all(answer.as_bytes()).ok();
}

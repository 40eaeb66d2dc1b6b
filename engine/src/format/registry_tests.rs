//! The registry's protocol against a stub that says what it is told to say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers by path; counts what it was asked, and keeps the last request.
pub(in crate::format) struct Stub {
    pub(in crate::format) url: String,
    pub(in crate::format) asked: Arc<AtomicUsize>,
    last: Arc<Mutex<String>>,
    answers: Arc<Mutex<BTreeMap<String, (u16, String)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Stub {
    pub(in crate::format) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, last, answers) =
            (Arc::new(AtomicUsize::new(0)), Arc::<Mutex<String>>::default(), Arc::<Mutex<BTreeMap<_, _>>>::default());
        let (count, kept, table) = (Arc::clone(&asked), Arc::clone(&last), Arc::clone(&answers));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                        break;
                    }
                    request.push(byte[0]);
                }
                let request = String::from_utf8(request).unwrap();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                *kept.lock().unwrap() = request;
                count.fetch_add(1, Ordering::SeqCst);
                let unknown = (404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned());
                let (status, body) = table.lock().unwrap().get(&path).cloned().unwrap_or(unknown);
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.ok();
            }
        });
        Self { url, asked, last, answers, task }
    }

    pub(in crate::format) fn say(&self, path: &str, status: u16, body: impl Into<String>) {
        self.answers.lock().unwrap().insert(path.to_owned(), (status, body.into()));
    }

    pub(in crate::format) fn avro(&self, id: u32, schema: &str) {
        self.say(&format!("/schemas/ids/{id}"), 200, serde_json::json!({ "schema": schema }).to_string());
    }

    pub(in crate::format) fn registry(&self) -> Registry {
        let settings = RegistrySettings { url: self.url.clone(), username: None, password: None, ca: None };
        Registry::new(settings).unwrap()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_schema_is_asked_for_once_and_an_unknown_one_not_at_once_again() {
    let stub = Stub::start().await;
    stub.avro(7, "\"long\"");
    let registry = stub.registry();
    let all = futures_util::future::join_all((0..20).map(|_| registry.schema(SchemaId::Number(7)))).await;
    assert!(all.into_iter().all(|schema| matches!(schema.unwrap().as_deref(), Some(Schema::Avro(_)))));
    assert_eq!(stub.asked.load(Ordering::SeqCst), 1);
    for _ in 0..3 {
        assert!(registry.schema(SchemaId::Number(8)).await.unwrap().is_none());
    }
    assert_eq!(stub.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let stub = Stub::start().await;
    let registry = stub.registry();
    for id in 1..=u32::try_from(KEPT_MAX + 5).unwrap() {
        stub.avro(id, "\"int\"");
        registry.schema(SchemaId::Number(id.cast_signed())).await.unwrap().unwrap();
    }
    let cache = registry.lock();
    assert_eq!((cache.found.len(), cache.order.len()), (KEPT_MAX, KEPT_MAX));
    assert!(!cache.found.contains_key(&SchemaId::Number(5)) && cache.found.contains_key(&SchemaId::Number(6)));
}

#[tokio::test]
async fn references_are_followed_and_a_missing_one_is_the_schemas_fault() {
    let stub = Stub::start().await;
    let order = serde_json::json!({
        "schema": r#"{"type":"record","name":"O","fields":[{"name":"m","type":"shop.Money"},{"name":"c","type":"Cents"}]}"#,
        "references": [{ "name": "shop.Money", "subject": "shop money/1", "version": 3 }, { "name": "Cents", "subject": "cents", "version": 1 }],
    });
    stub.say("/schemas/ids/1", 200, order.to_string());
    let registry = stub.registry();
    let schema = registry.schema(SchemaId::Number(1)).await.unwrap().unwrap();
    assert!(matches!(&*schema, Schema::Unusable(why) if why.contains("version 3 of \"shop money/1\"")), "{schema:?}");
    stub.say("/subjects/shop%20money%2F1/versions/3?deleted=true", 200, r#"{"id":2}"#);
    stub.say("/subjects/cents/versions/1?deleted=true", 200, r#"{"id":3}"#);
    let money = serde_json::json!({
        "schema": r#"{"type":"record","name":"Money","namespace":"shop","fields":[{"name":"c","type":"Cents"}]}"#,
        "references": [{ "name": "Cents", "subject": "cents", "version": 1 }],
    });
    stub.say("/schemas/ids/2", 200, money.to_string());
    stub.avro(3, r#"{"type":"fixed","name":"Cents","size":1}"#);
    let registry = stub.registry();
    let schema = registry.schema(SchemaId::Number(1)).await.unwrap().unwrap();
    let Schema::Avro(schema) = &*schema else { panic!("{schema:?}") };
    assert_eq!(schema.decode(&[1, 2]).unwrap(), r#"{"m":{"c":"AQ=="},"c":"Ag=="}"#);
}

#[tokio::test]
async fn protobuf_is_asked_for_as_its_descriptor() {
    let stub = Stub::start().await;
    stub.say("/schemas/ids/4", 200, r#"{"schemaType":"PROTOBUF","schema":"syntax = \"proto3\";"}"#);
    stub.say("/schemas/ids/4?format=serialized", 200, r#"{"schemaType":"PROTOBUF","schema":"syntax = \"proto3\";"}"#);
    let schema = stub.registry().schema(SchemaId::Number(4)).await.unwrap().unwrap();
    assert!(matches!(&*schema, Schema::Unusable(why) if why.contains("format=serialized")), "{schema:?}");
    // A file "a.proto" with a message M without fields.
    let file = [&[10, 7][..], b"a.proto", &[34, 3, 10, 1], b"M", &[98, 6], b"proto3"].concat();
    let file = base64::engine::general_purpose::STANDARD.encode(file);
    let answer = serde_json::json!({ "schemaType": "PROTOBUF", "schema": file }).to_string();
    stub.say("/schemas/ids/4?format=serialized", 200, answer);
    let schema = stub.registry().schema(SchemaId::Number(4)).await.unwrap().unwrap();
    let Schema::Protobuf(schema) = &*schema else { panic!("{schema:?}") };
    assert_eq!(schema.decode(None, &[0]).unwrap(), "{}");
}

#[tokio::test]
async fn a_guid_is_asked_for_by_its_text() {
    let stub = Stub::start().await;
    stub.say("/schemas/guids/01020304-0506-0708-090a-0b0c0d0e0f10", 200, r#"{"schema":"\"int\"","guid":"x"}"#);
    let guid = SchemaId::Guid(std::array::from_fn(|index| index as u8 + 1));
    assert!(stub.registry().schema(guid).await.unwrap().is_some());
    stub.say(
        "/schemas/guids/01020304-0506-0708-090a-0b0c0d0e0f10",
        404,
        r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#,
    );
    let error = stub.registry().schema(guid).await.unwrap_err();
    assert_eq!((error.kind, error.halt.code), (ErrorKind::Fatal, "schema_registry_too_old"), "{error}");
}

#[tokio::test]
async fn refusals_and_silence_are_told_apart_and_no_secret_is_shown() {
    let stub = Stub::start().await;
    let path = "/base/schemas/ids/1";
    let settings = RegistrySettings {
        url: format!("{}/base/", stub.url),
        username: Some("me".into()),
        password: Some("hunter2".into()),
        ca: None,
    };
    assert!(!format!("{settings:?}").contains("hunter2"));
    let registry = Registry::new(settings).unwrap();
    for (status, body, kind, code) in [
        (401, r#"{"error_code":401,"message":"Unauthorized"}"#, ErrorKind::Fatal, "schema_registry_refused"),
        (403, "no", ErrorKind::Fatal, "schema_registry_refused"),
        (503, r#"{"error_code":50003,"message":"not leader"}"#, ErrorKind::Transient, "schema_registry_away"),
        (200, "<html>", ErrorKind::Transient, "schema_registry_strange"),
        (404, "<html>", ErrorKind::Transient, "schema_registry_strange"),
        (302, "", ErrorKind::Transient, "schema_registry_strange"),
    ] {
        stub.say(path, status, body);
        let error = registry.schema(SchemaId::Number(1)).await.unwrap_err();
        assert_eq!((error.kind, error.halt.code), (kind, code), "{error}");
        assert!(!error.to_string().contains("hunter2") && error.to_string().contains(&stub.url), "{error}");
    }
    assert!(stub.last.lock().unwrap().to_lowercase().contains("authorization: basic bwu6ahvudgvymg=="));
    let gone = RegistrySettings { url: "http://127.0.0.1:1".into(), username: None, password: None, ca: None };
    let error = Registry::new(gone).unwrap().schema(SchemaId::Number(1)).await.unwrap_err();
    assert_eq!((error.kind, error.halt.code), (ErrorKind::Transient, "schema_registry_away"), "{error}");
}

#[tokio::test]
async fn a_probe_says_what_is_there() {
    let stub = Stub::start().await;
    stub.say("/schemas/types", 200, r#"["AVRO","PROTOBUF"]"#);
    assert!(stub.registry().probe().await.unwrap().ends_with("has schemas of AVRO, PROTOBUF"));
    stub.say("/schemas/types", 404, "");
    assert!(stub.registry().probe().await.unwrap().ends_with("answers"));
}

#[test]
fn addresses_and_certificates_are_looked_at_before_anything_is_asked() {
    for url in ["http://a", "https://a:8081/x", "http://[::1]:8081"] {
        check_registry_url(url).unwrap();
    }
    for (url, words) in [
        ("a:8081", "http://"),
        ("ftp://a", "http://"),
        ("http://u:p@a", "schema_registry.username"),
        ("http://a?b", "a host"),
    ] {
        assert!(check_registry_url(url).unwrap_err().contains(words), "{url}");
    }
    let settings = RegistrySettings {
        url: "https://a".into(),
        username: None,
        password: None,
        ca: Some(b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n".to_vec()),
    };
    assert!(Registry::new(settings).unwrap_err().to_string().contains("schema_registry.ca"));
}

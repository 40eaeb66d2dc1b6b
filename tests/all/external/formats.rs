//! Topics in the formats that the world writes, from a real Kafka to rows in a real PostgreSQL: held against what this file says that they
//! mean, written byte by byte without any of the engine's code. The schema registry is the tests' own.

use std::fmt::Write as _;
use std::process::Command;

use laterna_tests::engine::{Engine, Home, binary};
use laterna_tests::kafka_log::create_topic;
use laterna_tests::load::{Draft, Sender};
use laterna_tests::registry::Registry;
use laterna_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::stage::Stage;

const MONEY: &str = r#"{"type":"record","name":"Money","namespace":"shop","fields":[
    {"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":30,"scale":2}},{"name":"currency","type":"string"}]}"#;

const ORDER_1: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"string"},{"name":"count","type":"long"},{"name":"total","type":"Money"},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","PAID"]}},
    {"name":"note","type":["null","string"]}]}"#;

/// A later version: one field more, another one gone, an old one of a union of more.
const ORDER_2: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"string"},{"name":"total","type":"Money"},
    {"name":"tags","type":{"type":"array","items":"string"}},
    {"name":"due","type":["null",{"type":"int","logicalType":"date"},"string"]}]}"#;

/// Bytes as Avro writes them.
#[derive(Default)]
struct Avro(Vec<u8>);

impl Avro {
    fn framed(id: u32) -> Self {
        Self([&[0][..], &id.to_be_bytes()].concat())
    }

    fn long(mut self, number: i64) -> Self {
        self.0.extend(varint(((number << 1) ^ (number >> 63)).cast_unsigned()));
        self
    }

    fn text(mut self, text: &str) -> Self {
        self = self.long(text.len() as i64);
        self.0.extend(text.as_bytes());
        self
    }

    /// So many hundredths.
    fn decimal(mut self, unscaled: i64) -> Self {
        self = self.long(8);
        self.0.extend(unscaled.to_be_bytes());
        self
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// One field of a message as Protobuf writes it, with its length.
fn part(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// One field that is a whole number.
fn whole(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

/// A field of a descriptor: its name, number, type and, for messages, the type's name.
fn declared(name: &str, number: u64, label: u64, kind: u64, of: &str) -> Vec<u8> {
    let of = if of.is_empty() { Vec::new() } else { part(6, of.as_bytes()) };
    part(2, &[part(1, name.as_bytes()), whole(3, number), whole(4, label), whole(5, kind), of].concat())
}

/// `message Shipment { int64 id = 1; repeated Item items = 2; string note = 3 (from the second version on); google.protobuf.Timestamp at = 4;
/// message Item { string sku = 1; uint32 count = 2; } }`, behind a message that is not meant.
fn shipment_file(has_note: bool) -> Vec<u8> {
    let item = part(3, &[part(1, b"Item"), declared("sku", 1, 1, 9, ""), declared("count", 2, 1, 13, "")].concat());
    let note = if has_note { declared("note", 3, 1, 9, "") } else { Vec::new() };
    let shipment = [
        part(1, b"Shipment"),
        declared("id", 1, 1, 3, ""),
        declared("items", 2, 3, 11, ".shop.Shipment.Item"),
        note,
        declared("at", 4, 1, 11, ".google.protobuf.Timestamp"),
        item,
    ];
    [
        part(1, b"shipment.proto"),
        part(2, b"shop"),
        part(3, b"google/protobuf/timestamp.proto"),
        part(4, &part(1, b"Other")),
        part(4, &shipment.concat()),
        part(12, b"proto3"),
    ]
    .concat()
}

/// A shipment behind Confluent's framing: the second message of its file.
fn shipment(id: u32, number: u64, note: Option<&str>) -> Vec<u8> {
    let item = |sku: &str, count| part(2, &[part(1, sku.as_bytes()), whole(2, count)].concat());
    let note = note.map_or_else(Vec::new, |note| part(3, note.as_bytes()));
    let at = part(4, &[whole(1, 1_700_000_000), whole(2, 5_000_000)].concat());
    [&[0][..], &id.to_be_bytes(), &[2, 2], &whole(1, number), &item("a", 1), &item("b", number), &note, &at].concat()
}

/// What is sent to a topic, and what its text must be.
struct Sent {
    topic: &'static str,
    draft: Draft,
    key: Option<String>,
    value: Option<String>,
    headers: String,
}

fn sent(topic: &'static str, key: Option<(&[u8], &str)>, value: Option<(Vec<u8>, String)>) -> Sent {
    let (bytes, text) = value.unzip();
    let draft =
        Draft { partition: Some(0), key: key.map(|(bytes, _)| bytes.to_vec()), value: bytes, headers: Vec::new() };
    Sent { topic, draft, key: key.map(|(_, text)| text.to_owned()), value: text, headers: "- - -".to_owned() }
}

fn order(number: i64) -> Sent {
    let id = format!("o-{number}");
    let key = Avro::framed(3).text(&id).0;
    // Numbers beyond 2^53, decimals below zero, moments to the microsecond.
    let (count, cents, micros) = ((1 << 60) + number, -5 - number, 1_700_000_000_123_456 + number);
    let amount = format!("-{}.{:02}", (5 + number) / 100, (5 + number) % 100);
    let (bytes, text) = if number % 2 == 0 {
        let note = number % 4 == 0;
        let bytes =
            Avro::framed(1).text(&id).long(count).decimal(cents).text("EUR").long(micros).long(1).long(note.into());
        let bytes = if note { bytes.text("ä \"b\"") } else { bytes };
        let note = if note { "\"ä \\\"b\\\"\"" } else { "null" };
        let text = format!(
            r#"{{"id":"{id}","count":{count},"total":{{"amount":"{amount}","currency":"EUR"}},"at":"2023-11-14T22:13:20.{:06}Z","state":"PAID","note":{note}}}"#,
            123_456 + number
        );
        (bytes, text)
    } else {
        let bytes =
            Avro::framed(2).text(&id).decimal(cents).text("").long(2).text("x").text("y").long(0).long(1).long(19_782);
        let text = format!(
            r#"{{"id":"{id}","total":{{"amount":"{amount}","currency":""}},"tags":["x","y"],"due":"2024-02-29"}}"#
        );
        (bytes, text)
    };
    let mut made = sent("avro", None, Some((bytes.0, text)));
    (made.draft.key, made.key) = (Some(key), Some(id));
    made
}

fn with_headers(mut sent: Sent, headers: &[(&str, &str)], seen: &str) -> Sent {
    sent.draft.headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec()))).collect();
    sent.headers = seen.to_owned();
    sent
}

fn cloud_events() -> Vec<Sent> {
    let structured = |id: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/till","type":"paid","data":{{"cents":9007199254740993}}}}"#
        )
    };
    let binary = [
        ("content-type", "application/json"),
        ("ce_specversion", "1.0"),
        ("ce_id", "b-1"),
        ("ce_source", "/shop"),
        ("ce_type", "paid"),
        ("ce_time", "2026-01-31T12:00:00.25Z"),
        ("ce_subject", "order 7"),
        ("traceparent", "00-0-0-00"),
    ];
    let text = concat!(
        r#"{"specversion":"1.0","id":"b-1","source":"/shop","type":"paid","time":"2026-01-31T12:00:00.25Z","subject":"order 7","#,
        r#""datacontenttype":"application/json","data":{"cents": 12}}"#
    );
    vec![
        with_headers(
            sent("cloud", Some((b"k", "k")), Some((br#"{"cents": 12}"#.to_vec(), text.to_owned()))),
            &binary,
            // What was not asked for is not handed over, whatever the format needed.
            "paid - application/cloudevents+json",
        ),
        with_headers(
            sent("cloud", None, Some((structured("s-1").into_bytes(), structured("s-1")))),
            &[("content-type", "application/cloudevents+json; charset=utf-8")],
            "- - application/cloudevents+json; charset=utf-8",
        ),
        sent("cloud", Some((b"k", "k")), None),
    ]
}

/// Created, changed, deleted, and the tombstone behind it; with Kafka Connect's wrapper, without it, and in Avro.
fn debezium() -> Vec<Sent> {
    let row = |id: i64, name: &str| format!(r#"{{"id":{id},"name":"{name}"}}"#);
    let change = |op: &str, before: &str, after: &str, ts: i64| {
        format!(r#"{{"before":{before},"after":{after},"source":{{"ts_ms":{ts},"table":"customers"}},"op":"{op}"}}"#)
    };
    let wrapped = |payload: &str| format!(r#"{{"schema":{{"type":"struct","optional":false}},"payload":{payload}}}"#);
    let mut all = Vec::new();
    let mut push = |id: i64, payload: Option<String>| {
        let (key, bare) = (wrapped(&format!(r#"{{"id":{id}}}"#)), format!(r#"{{"id":{id}}}"#));
        let value = payload.map(|payload| (wrapped(&payload).into_bytes(), payload));
        all.push(sent("debezium", Some((key.as_bytes(), &bare)), value));
    };
    push(1, Some(change("c", "null", &row(1, "Ada"), 10)));
    push(2, Some(change("r", "null", &row(2, "Bob"), 20)));
    push(1, Some(change("u", &row(1, "Ada"), &row(1, "Ada L."), 30)));
    push(2, Some(change("d", &row(2, "Bob"), "null", 40)));
    push(2, None);
    let plain = change("c", "null", &row(3, "Cy"), 50);
    all.push(sent("debezium", Some((b"{\"id\":3}", "{\"id\":3}")), Some((plain.clone().into_bytes(), plain))));
    // before: null, after: row, source, op.
    let avro = Avro::framed(4).long(0).long(1).long(4).text("Di").long(60).text("customers").text("c");
    all.push(sent("debezium", None, Some((avro.0, change("c", "null", &row(4, "Di"), 60)))));
    all
}

const ENVELOPE: &str = r#"{"type":"record","name":"Envelope","fields":[
    {"name":"before","type":["null",{"type":"record","name":"Row","fields":[{"name":"id","type":"long"},{"name":"name","type":"string"}]}]},
    {"name":"after","type":["null","Row"]},
    {"name":"source","type":{"type":"record","name":"Source","fields":[{"name":"ts_ms","type":"long"},{"name":"table","type":"string"}]}},
    {"name":"op","type":"string"}]}"#;

struct Show {
    stage: Stage,
    registry: Registry,
    sent: Vec<Sent>,
    /// Folders stay as long as a process may be in one.
    homes: Vec<Home>,
}

impl Show {
    async fn new() -> Self {
        let stage = Stage::new(1).await;
        let registry = Registry::down();
        let schemas = &registry.schemas;
        schemas.avro(1, ORDER_1, &[("shop.Money", "money")]);
        schemas.avro(2, ORDER_2, &[("shop.Money", "money")]);
        schemas.avro(3, "\"string\"", &[]);
        schemas.avro(4, ENVELOPE, &[]);
        schemas.avro(5, MONEY, &[]);
        schemas.subject("money", 5);
        schemas.avro_guid("00010203-0405-0607-0809-0a0b0c0d0e0f", "\"long\"");
        schemas.protobuf(6, &shipment_file(false));
        schemas.protobuf(7, &shipment_file(true));
        tokio::task::block_in_place(|| {
            for topic in ["avro", "protobuf", "cloud", "debezium"] {
                create_topic(&stage.bootstrap(), topic, 1, &[]);
            }
        });
        Self { stage, registry, sent: Vec::new(), homes: Vec::new() }
    }

    fn start(&mut self) -> Engine {
        let home = self.stage.home(&["formats"]);
        let home = home.with("schema_registry", format!("url = \"{}\"", self.registry.url()));
        let formats = "avro = \"avro\", protobuf = \"protobuf\", cloud = \"cloudevents\", debezium = \"debezium\"";
        let home = home.with("projections.formats", format!("format = {{ {formats} }}"));
        let engine = home.start();
        self.homes.push(home);
        engine
    }

    /// Through one client for each topic, which keeps the order.
    fn send(&mut self, all: Vec<Sent>) {
        tokio::task::block_in_place(|| {
            let topics: std::collections::BTreeSet<&str> = all.iter().map(|sent| sent.topic).collect();
            for topic in topics {
                let sender = Sender::new(&self.stage.bootstrap(), topic);
                all.iter().filter(|sent| sent.topic == topic).for_each(|sent| sender.send(&sent.draft));
                sender.flush();
            }
        });
        self.sent.extend(all);
    }

    /// The rows of `texts` as they must be, in the order of topic and offset.
    fn wanted(&self) -> Vec<Value> {
        let mut offsets = std::collections::BTreeMap::<&str, i64>::new();
        let mut rows: Vec<(&str, i64, Value)> = Vec::new();
        for sent in &self.sent {
            let at = offsets.entry(sent.topic).or_default();
            rows.push((sent.topic, *at, json!([sent.topic, *at, sent.key, sent.value, sent.headers])));
            *at += 1;
        }
        rows.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        rows.into_iter().map(|(.., row)| row).collect()
    }

    async fn texts(&self) -> Result<Vec<Value>, String> {
        let rows = self
            .query("SELECT topic, at, key, value, headers FROM formats.texts ORDER BY topic COLLATE \"C\", at")
            .await?;
        let row = |row: &sqlx::postgres::PgRow| {
            let text = |index| row.get::<Option<String>, _>(index);
            json!([text(0), row.get::<i64, _>(1), text(2), text(3), text(4)])
        };
        Ok(rows.iter().map(row).collect())
    }

    async fn query(&self, sql: &'static str) -> Result<Vec<sqlx::postgres::PgRow>, String> {
        let mut connection = PgConnection::connect(&self.stage.url()).await.map_err(|error| error.to_string())?;
        sqlx::query(sql).fetch_all(&mut connection).await.map_err(|error| error.to_string())
    }

    /// Waits until all that was sent is there, and holds every row against what it must be.
    async fn settle(&self) {
        let wanted = self.wanted();
        wait::until_async("every event's row", PATIENCE, || async {
            let count = self.texts().await?.len();
            if count >= wanted.len() { Ok(()) } else { Err(format!("{count} of {} rows", wanted.len())) }
        })
        .await;
        for (found, wanted) in self.texts().await.unwrap().into_iter().zip(wanted) {
            assert_eq!(found, wanted);
        }
        let customers = self.query("SELECT id, name, ts_ms FROM formats.customers ORDER BY id").await.unwrap();
        let customers: Vec<(i64, String, Option<i64>)> =
            customers.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        assert_eq!(
            customers,
            [(1, "Ada L.".to_owned(), Some(30)), (3, "Cy".to_owned(), Some(50)), (4, "Di".to_owned(), Some(60))]
        );
        let paid = self
            .query("SELECT source, id, kind, subject, cents, time::text FROM formats.paid ORDER BY source")
            .await
            .unwrap();
        let paid: Vec<String> = paid
            .iter()
            .map(|row| {
                let text = |index| row.get::<Option<String>, _>(index).unwrap_or_default();
                let mut line = [0, 1, 2, 3, 5].map(text).join("|");
                write!(line, "|{:?}", row.get::<Option<i64>, _>(4)).unwrap();
                line
            })
            .collect();
        assert_eq!(
            paid,
            ["/shop|b-1|paid|order 7|2026-01-31 12:00:00.25+00|Some(12)", "/till|s-1|paid|||Some(9007199254740993)"]
        );
    }
}

fn everything() -> Vec<Sent> {
    let mut all: Vec<Sent> = (0..500).map(order).collect();
    // A tombstone among them; and one whose schema is named by a header.
    all.push(sent("avro", Some((b"plain", "plain")), None));
    let guid = [&[1][..], &(0..16).collect::<Vec<u8>>()].concat();
    let mut in_header = sent("avro", None, Some((Avro::default().long(-7).0, "-7".to_owned())));
    in_header.draft.headers = vec![("__value_schema_id".to_owned(), Some(guid))];
    all.push(in_header);
    for number in 0..200_u64 {
        let (id, note) = if number % 2 == 0 { (6, None) } else { (7, Some("n")) };
        let note_text = note.map_or(String::new(), |note| format!(r#""note":"{note}","#));
        let id_text = if number == 0 { "0".to_owned() } else { number.to_string() };
        let text = format!(
            r#"{{"id":"{id_text}","items":[{{"sku":"a","count":1}},{{"sku":"b","count":{number}}}],{note_text}"at":"2023-11-14T22:13:20.005Z"}}"#
        );
        all.push(sent("protobuf", None, Some((shipment(id, number, note), text))));
    }
    all.extend(cloud_events());
    all.extend(debezium());
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_becomes_its_rows_live_and_rebuilt_and_a_registry_that_comes_late_is_waited_for() {
    let mut show = Show::new().await;
    let mut engine = show.start();
    show.send(everything());
    let waiting = engine.wait_projection("formats", "waiting for the registry", |status| {
        status["waiting"].as_str().is_some_and(|reason| reason.contains("schema_registry_away"))
    });
    assert_eq!(waiting["state"], "waiting", "{waiting}");
    show.registry.start();
    show.settle().await;
    let live = show.texts().await.unwrap();

    let rebuilt = engine.ask("POST", "/api/v1/projections/formats/rebuilds", Some(&json!({ "switch": "auto" })));
    engine.wait_projection("formats", "rebuilt", |status| status["generation"] == rebuilt["generation"]);
    show.settle().await;
    assert_eq!(show.texts().await.unwrap(), live);

    // What is known is known: the registry may go, and nothing asks for it.
    show.registry.stop();
    show.send((500..600).map(order).collect());
    wait::until_async("the rows behind", PATIENCE, || async {
        let (found, wanted) = (show.texts().await?, show.wanted());
        if found == wanted { Ok(()) } else { Err(format!("{} of {} rows", found.len(), wanted.len())) }
    })
    .await;

    // A step sees what the projection sees, and so does a tap by the engine's own words.
    let step = json!({ "topic": "debezium", "partition": 0, "offset": 2, "count": 1 });
    let report = engine.ask("POST", "/api/v1/projections/formats/step", Some(&step));
    assert!(report.to_string().contains("Ada L."), "{report}");
    show.registry.start();
    let tapped = Command::new(binary())
        .args(["tap", "avro", "-n", "5000", "--from", "earliest"])
        .env("KAFKA_BOOTSTRAP_SERVERS", show.stage.bootstrap())
        .env("SCHEMA_REGISTRY_URL", show.registry.url())
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    let lines = String::from_utf8(tapped.stdout).unwrap();
    assert!(tapped.status.success(), "{}", String::from_utf8_lossy(&tapped.stderr));
    assert_eq!(lines.lines().count(), 602);
    for (line, sent) in lines.lines().zip(show.sent.iter().filter(|sent| sent.topic == "avro")) {
        let line: Value = serde_json::from_str(line).unwrap();
        let value = sent.value.as_ref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        let found = match &line["value"] {
            Value::String(text) => serde_json::from_str(text).unwrap(),
            other => other.clone(),
        };
        assert_eq!((found, line["key"].as_str()), (value, sent.key.as_deref()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_decoded_halts_at_its_offset_with_all_before_it_applied() {
    let mut show = Show::new().await;
    show.registry.start();
    show.send((0..50).map(order).collect());
    // Cut in the middle of a field, then good ones behind it.
    let mut broken = order(50);
    broken.draft.value.as_mut().unwrap().truncate(20);
    let behind: Vec<Sent> = std::iter::once(broken).chain((51..60).map(order)).collect();
    let good = show.wanted();
    show.send(behind);
    let mut engine = show.start();
    let status = engine.wait_halted("formats", "event_undecodable");
    let halt = &status["halt"];
    assert_eq!(
        (&halt["at"]["topic"], &halt["at"]["partition"], &halt["at"]["offset"]),
        (&json!("avro"), &json!(0), &json!(50))
    );
    let reason = halt["reason"].as_str().unwrap();
    assert!(
        reason.contains("its value cannot be read as avro, schema id 1: field ") && reason.contains("ends early"),
        "{reason}"
    );
    assert!(halt["remedy"].as_str().unwrap().contains("format = { \"avro\" = \"bytes\" }"), "{halt}");
    wait::until_async("the rows in front", PATIENCE, || async {
        let found = show.texts().await?;
        if found == good { Ok(()) } else { Err(format!("{} rows", found.len())) }
    })
    .await;
    assert!(engine.metric("laterna_wasm_traps_total", "undecodable").unwrap() >= 1.0);
    // A step says the same of it.
    let step = json!({ "topic": "avro", "partition": 0, "offset": 49, "count": 3 });
    let report = engine.ask("POST", "/api/v1/projections/formats/step", Some(&step));
    let events = report["events"].as_array().unwrap();
    assert_eq!(events.len(), 2, "{report}");
    assert!(events[1]["fault"].as_str().unwrap().contains("ends early"), "{report}");
    assert_eq!(show.texts().await.unwrap(), good);
}

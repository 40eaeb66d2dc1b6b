//! The events that apply, through the real engine: live and rebuilt, on SQLite and on PostgreSQL. All four readings are one set of
//! rows, and it is the one that `examples/order_summary/expected.py` gives, which shares no code with the engine or an SDK.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use laterna::event::Event;
use laterna_tests::engine::{From, Home, workspace};
use laterna_tests::file_log::FileSender;
use laterna_tests::guardian::Folder;
use laterna_tests::services::{Postgres, create_database};
use laterna_tests::sql::{Query, Reader, Rows, Snapshot};
use serde_json::{Map, Value, json};

use super::events::Ugly;
use crate::load::TOPIC;

const PROJECTION: &str = "order_summary";
/// Columns of `orders` and where the instant stands.
const ORDERS: [&str; 7] = ["order_id", "customer_id", "status", "item_count", "total", "placed_at", "last_offset"];
const PLACED_AT: usize = 5;
const ITEMS: [&str; 5] = ["order_id", "line", "sku", "quantity", "unit_price"];

const ITEMS_QUERY: Query = Query {
    name: "order_items",
    sql: "SELECT order_id, CAST(line AS text), sku, CAST(quantity AS text), CAST(unit_price AS text) FROM {order_summary.order_items}",
};
/// Instants in microseconds, as PostgreSQL's text forms of years beyond four digits are its own.
const ON_POSTGRES: &[Query] = &[
    Query {
        name: "orders",
        sql: "SELECT order_id, customer_id, status, CAST(item_count AS text), CAST(total AS text), \
              CAST(CAST(extract(epoch FROM placed_at) * 1000000 AS bigint) AS text), CAST(last_offset AS text) FROM {order_summary.orders}",
    },
    ITEMS_QUERY,
];
const ON_SQLITE: &[Query] = &[
    Query {
        name: "orders",
        sql: "SELECT order_id, customer_id, status, CAST(item_count AS text), CAST(total AS text), placed_at, \
              CAST(last_offset AS text) FROM {order_summary.orders}",
    },
    ITEMS_QUERY,
];

/// The events on disk, the rows that they must give, and a PostgreSQL.
pub(super) struct Stage {
    folder: Folder,
    postgres: Postgres,
    expected: Snapshot,
}

impl Stage {
    /// Writes the events and asks the oracle for their rows.
    pub(super) fn new<'a>(events: impl Iterator<Item = &'a Ugly>) -> Self {
        let folder = Folder::new("languages");
        let mut sender = FileSender::new(&folder.path().join("events"), TOPIC);
        let mut golden = String::new();
        for ugly in events {
            let mut line = line(&ugly.event);
            sender.raw(ugly.partition, format!("{}\n", Value::from(line.clone())).as_bytes());
            line.insert("partition".to_owned(), ugly.partition.into());
            // Writing to a String cannot fail.
            writeln!(golden, "{}", Value::from(line)).ok();
        }
        let file = folder.path().join("events.jsonl");
        std::fs::write(&file, golden).expect("write the events");
        let expected = oracle(&file, &folder.path().join("expected"));
        Self { folder, postgres: Postgres::start(), expected }
    }

    /// How many rows there must be.
    pub(super) fn rows(&self) -> usize {
        self.expected.rows.values().map(Vec::len).sum()
    }

    /// The digest of the rows that there must be.
    pub(super) fn digest(&self) -> String {
        self.expected.digest()
    }

    /// Runs a plugin live, rebuilds it, and holds both against the oracle, on each database.
    ///
    /// # Errors
    /// The first reading that differs, with its first different row.
    pub(super) async fn check(&self, plugin: &Path, language: &str) -> Result<(), String> {
        let database = create_database(self.postgres.port(), "languages").await;
        let sqlite = format!("sqlite://{}", self.folder.path().join(format!("{language}.db")).display());
        for (name, url, queries) in
            [("SQLite", sqlite, ON_SQLITE), ("PostgreSQL", self.postgres.url(&database), ON_POSTGRES)]
        {
            let events = self.folder.path().join("events");
            let (plugin, at) = (plugin.to_owned(), url.clone());
            // The engine's driver panics where something takes too long; that is this language's failure, not everybody's.
            let run = std::thread::spawn(move || live_and_rebuilt(&plugin, events, &at, queries)).join();
            let readings = run.map_err(|panic| format!("on {name}: {}", panic_text(&*panic)))?;
            for (what, snapshot) in ["live", "rebuilt"].into_iter().zip(readings) {
                self.compare(&snapshot).map_err(|difference| format!("on {name}, {what}: {difference}"))?;
            }
        }
        Ok(())
    }

    fn compare(&self, found: &Snapshot) -> Result<(), String> {
        for (table, expected) in &self.expected.rows {
            let found = found.rows.get(table).map_or(&[][..], Vec::as_slice);
            if let Some(at) = (0..expected.len().max(found.len())).find(|at| expected.get(*at) != found.get(*at)) {
                let show = |row: Option<&Vec<Option<String>>>| {
                    row.map_or("no row".to_owned(), |row| format!("{row:?}").chars().take(400).collect())
                };
                return Err(format!(
                    "{table} has {} rows, {} were expected; the first different one is {} instead of {}",
                    found.len(),
                    expected.len(),
                    show(found.get(at)),
                    show(expected.get(at))
                ));
            }
        }
        Ok(())
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

fn live_and_rebuilt(plugin: &Path, events: PathBuf, url: &str, queries: &[Query]) -> [Snapshot; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let read = || {
        runtime.block_on(async {
            let mut reader = Reader::connect(url).await.expect("connect");
            let mut snapshot = reader.snapshot(PROJECTION, queries).await.expect("the tables");
            for row in snapshot.rows.get_mut("orders").into_iter().flatten() {
                if let Some(text) = &mut row[PLACED_AT] {
                    *text = micros(text);
                }
            }
            sorted(snapshot)
        })
    };
    let home = Home::new(From::Files(events), url, &[]);
    std::fs::copy(plugin, home.path().join("plugins").join("order_summary.wasm")).expect("copy the plugin");
    let mut engine = home.start();
    engine.wait_projection(PROJECTION, "idle", |status| {
        assert_ne!(status["state"], "halted", "{status}");
        status["state"] == "idle" && status["lag_events"] == 0
    });
    let live = read();
    let path = format!("/api/v1/projections/{PROJECTION}/rebuilds");
    let begun = engine.ask("POST", &path, Some(&json!({ "switch": "auto" })));
    engine.wait_projection(PROJECTION, "rebuilt", |status| {
        assert_ne!(status["rebuild"]["state"], "failed", "{status}");
        status["generation"] == begun["generation"]
    });
    let rebuilt = read();
    assert!(engine.terminate().0.success(), "{}", engine.tail());
    [live, rebuilt]
}

fn sorted(mut snapshot: Snapshot) -> Snapshot {
    snapshot.rows.values_mut().for_each(|rows| rows.sort());
    snapshot
}

/// An event as the file source and the golden files have it.
fn line(event: &Event) -> Map<String, Value> {
    let payload = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    };
    let headers: Vec<Value> =
        event.headers.iter().map(|header| json!([header.name, header.value.as_deref().map(payload)])).collect();
    let mut line = Map::new();
    line.insert("key".to_owned(), event.key.as_deref().map_or(Value::Null, payload));
    line.insert("value".to_owned(), event.value.as_deref().map_or(Value::Null, payload));
    line.insert("headers".to_owned(), headers.into());
    if event.timestamp_ms >= 0 {
        line.insert("timestamp".to_owned(), event.timestamp_ms.into());
    }
    line
}

/// The rows by `expected.py`, as the databases' readings have them.
fn oracle(events: &Path, out: &Path) -> Snapshot {
    let script = workspace().join("examples").join(PROJECTION).join("expected.py");
    let output = Command::new("python3").arg(&script).args([events, out]).output().expect("start python3");
    assert!(output.status.success(), "{}:\n{}", script.display(), String::from_utf8_lossy(&output.stderr));
    let read = |table: &str, columns: &[&str]| -> Rows {
        let text = std::fs::read_to_string(out.join(format!("{table}.jsonl"))).expect("the oracle's rows");
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).expect("a row of JSON");
            let cell = |column: &&str| match &row[*column] {
                Value::Null => None,
                Value::String(text) if *column == "placed_at" => Some(micros(text)),
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            columns.iter().map(cell).collect()
        };
        text.split('\n').filter(|line| !line.is_empty()).map(row).collect()
    };
    let rows = [("orders", read("orders", &ORDERS)), ("order_items", read("order_items", &ITEMS))];
    let rows = rows.into_iter().map(|(table, rows)| (table.to_owned(), rows)).collect();
    sorted(Snapshot { rows, ..Snapshot::default() })
}

/// Microseconds since 1970 of `2026-01-31T12:00:00.000000Z`, or of the same with a space and without the Z; years may have a sign
/// and more digits. What is a number already stays.
fn micros(text: &str) -> String {
    if text.parse::<i64>().is_ok() {
        return text.to_owned();
    }
    let parse = || {
        let (day, clock) = text.trim_end_matches('Z').split_once(['T', ' '])?;
        let mut parts = day.rsplitn(3, '-').map(str::parse::<i64>);
        let (day, month, year) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
        // Years from March: 1 March is day 0, so the leap day is the last of its year.
        let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let leaps = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
        let days = 365 * years + leaps + (153 * months + 2) / 5 + day - 1 - 719_468;
        let part = |from: usize, to: usize| clock.get(from..to)?.parse::<i64>().ok();
        let seconds = part(0, 2)? * 3600 + part(3, 5)? * 60 + part(6, 8)?;
        days.checked_mul(86_400_000_000)?.checked_add(seconds * 1_000_000 + part(9, 15)?)
    };
    parse().unwrap_or_else(|| panic!("{text:?} is no instant")).to_string()
}

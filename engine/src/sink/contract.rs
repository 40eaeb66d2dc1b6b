//! What holds for every sink, run by each sink's tests against a real database.
//!
//! Each law takes a projection of its own, so that all may run in one database. The database must be empty of them.
//! The laws of orders stand in [`orders`], those of filling and comparing generations in [`generations`].

mod generations;
mod orders;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use super::digest::RowsDigest;
use super::{Actor, Asked, CommitError, Sink, Writer};
use crate::change::{
    Action, Assignment, Change, ChangeSet, Column, ColumnType, Descriptor, Encoding, Key, Operation, Partitioning,
    PluginValue, Row, Rows, Schema, SchemaTable, Shape, Table, Topic, Value, apply_change,
};
use crate::checkpoint::{Advance, Checkpoint, Generation, LogBounds};
use crate::error::ErrorKind;
use crate::event::TopicPartition;

/// Asked for by a test.
pub(super) fn asked(key: Option<&str>) -> Asked {
    let actor = Actor { name: "tester".into(), role: "operator".into(), source: "127.0.0.1".into() };
    Asked { actor, idempotency_key: key.map(str::to_owned), request: None }
}

/// Runs all laws. `commits` is how many random change sets are held against the plain interpreter.
pub(super) async fn holds(sink: &dyn Sink, commits: usize) {
    opening_and_claiming(sink).await;
    fencing(sink).await;
    refusing(sink).await;
    abandoning(sink).await;
    values(sink).await;
    order(sink).await;
    interpreting(sink, commits).await;
    orders::hold(sink).await;
    generations::hold(sink, commits).await;
}

pub(super) fn column(name: &str, column_type: ColumnType, nullable: bool) -> Column {
    Column { name: name.into(), column_type, nullable }
}

pub(super) fn assign(assignments: &[(&str, Operation)]) -> Vec<Assignment> {
    let assignment =
        |(column, operation): &(&str, Operation)| Assignment { column: (*column).into(), operation: *operation };
    assignments.iter().map(assignment).collect()
}

const NULLABLE: [(&str, ColumnType); 10] = [
    ("b", ColumnType::Boolean),
    ("i", ColumnType::Integer),
    ("f", ColumnType::Float),
    ("d", ColumnType::Decimal),
    ("t", ColumnType::Text),
    ("y", ColumnType::Bytes),
    ("ts", ColumnType::Timestamp),
    ("dt", ColumnType::Date),
    ("u", ColumnType::Uuid),
    ("j", ColumnType::Json),
];

/// A table with every type, one whose key has every type that a key can have, and one of sums, for a projection of this name.
pub(super) fn schema(projection: &str) -> Arc<Schema> {
    use Operation as O;
    let name = |table: &str| format!("{projection}_{table}");
    let table = |table: &str, columns: Vec<Column>, key: &[&str]| Table {
        name: name(table),
        columns,
        primary_key: key.iter().map(|column| (*column).to_owned()).collect(),
        indexes: vec![],
        partitioning: Partitioning::Serial,
    };
    let mut wide = vec![column("id", ColumnType::Text, false), column("part", ColumnType::Integer, false)];
    wide.extend(NULLABLE.iter().map(|(name, column_type)| column(name, *column_type, true)));
    let mut keys = vec![column("n", ColumnType::Integer, true)];
    keys.extend(NULLABLE[..9].iter().map(|(name, column_type)| column(name, *column_type, false)));
    let key: Vec<_> = NULLABLE[..9].iter().map(|(name, _)| *name).collect();
    let sums = vec![
        column("id", ColumnType::Text, false),
        column("n", ColumnType::Integer, true),
        column("m", ColumnType::Decimal, true),
    ];
    let on = |table: &str, action: Action| Shape { table: name(table), action };
    let all: Vec<_> = NULLABLE.iter().map(|(name, _)| (*name, O::Set)).collect();
    let shapes = vec![
        on("sums", Action::Upsert(assign(&[("n", O::Add)]))),
        on("wide", Action::Upsert(assign(&all))),
        on("keys", Action::Upsert(assign(&[("n", O::Set)]))),
        on("sums", Action::Upsert(assign(&[("n", O::Add), ("m", O::Add)]))),
        on(
            "wide",
            Action::Upsert(assign(&[
                ("i", O::Add),
                ("f", O::Add),
                ("d", O::Add),
                ("t", O::Max),
                ("ts", O::Max),
                ("dt", O::Min),
                ("u", O::Min),
            ])),
        ),
        on(
            "wide",
            Action::Upsert(assign(&[("i", O::SetIfNull), ("t", O::SetIfNull), ("j", O::SetIfNull), ("f", O::Max)])),
        ),
        on("wide", Action::Update(assign(&[("t", O::Set), ("b", O::Set), ("i", O::Add), ("d", O::Max)]))),
        on("wide", Action::Update(assign(&[("ts", O::Min), ("t", O::Min), ("u", O::Max), ("y", O::SetIfNull)]))),
        on("wide", Action::Insert(vec!["i".into(), "t".into(), "j".into()])),
        on("wide", Action::Delete),
        on("wide", Action::DeletePrefix(1)),
        on("wide", Action::DeletePrefix(2)),
        on("wide", Action::Upsert(assign(&[("i", O::Newer), ("t", O::Set), ("d", O::Add)]))),
        on("wide", Action::Update(assign(&[("ts", O::Newer), ("d", O::Add), ("i", O::Add)]))),
        on("wide", Action::Upsert(vec![])),
        on("keys", Action::Delete),
        on("keys", Action::DeletePrefix(4)),
        on("keys", Action::DeletePrefix(1)),
    ];
    let descriptor = Descriptor {
        name: projection.into(),
        revision: 1,
        topics: vec![Topic { name: "orders".into(), key: Encoding::Text, value: Encoding::Text, headers: vec![] }],
        tables: vec![table("wide", wide, &["id", "part"]), table("keys", keys, &key), table("sums", sums, &["id"])],
        shapes,
    };
    Arc::new(descriptor.validate().unwrap())
}

const WIDE: usize = 0;
const KEYS: usize = 1;
pub(super) const SUMS: usize = 2;

pub(super) fn add(id: &str, n: i64) -> Change {
    Change { shape: 0, values: vec![PluginValue::Text(id.into()), PluginValue::Integer(n)] }
}

pub(super) fn bounds(partition: i32) -> LogBounds {
    let partition = TopicPartition::new("orders", partition);
    LogBounds { partition, start: 5, end: 100, topic_id: Some("id".into()) }
}

fn advance(checkpoint: &Checkpoint, events: i64) -> Advance {
    Advance {
        partition: checkpoint.partition.clone(),
        expected: checkpoint.next_offset,
        next: checkpoint.next_offset + events,
        owner_epoch: checkpoint.owner_epoch,
    }
}

/// An open projection with two claimed partitions and a writer.
pub(super) struct Bench<'a> {
    pub(super) sink: &'a dyn Sink,
    pub(super) schema: Arc<Schema>,
    pub(super) generation: Generation,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) writer: Box<dyn Writer>,
}

impl<'a> Bench<'a> {
    pub(super) async fn new(sink: &'a dyn Sink, projection: &str) -> Self {
        let schema = schema(projection);
        let generation = sink.open(&schema, "digest").await.unwrap().generation;
        let checkpoints = sink.claim(&generation, &[bounds(1), bounds(0)]).await.unwrap();
        let writer = sink.writer(&generation, &schema, "digest");
        Self { sink, schema, generation, checkpoints, writer }
    }

    /// A generation that is there, with partitions claimed anew, and a writer of it.
    pub(super) async fn on(sink: &'a dyn Sink, schema: &Arc<Schema>, number: u32, bulk: bool) -> Self {
        let generation = Generation { projection: schema.descriptor.name.clone(), number };
        let checkpoints = sink.claim(&generation, &[bounds(1), bounds(0)]).await.unwrap();
        let writer = match bulk {
            true => sink.bulk_writer(&generation, schema, "digest"),
            false => sink.writer(&generation, schema, "digest"),
        };
        Self { sink, schema: Arc::clone(schema), generation, checkpoints, writer }
    }

    /// The digests of all tables.
    pub(super) async fn digests(&self) -> Vec<String> {
        let mut digests = Vec::new();
        for table in 0..self.schema.tables.len() {
            digests.push(self.sink.digest(&self.generation, &self.schema, table).await.unwrap());
        }
        digests
    }

    /// A set that moves all partitions by ten.
    pub(super) fn set(&self, changes: &[Change]) -> ChangeSet {
        let mut set = ChangeSet::new(&self.schema);
        for change in changes {
            set.push_event(&self.schema, vec![change.clone()]).unwrap();
        }
        set.advances = self.checkpoints.iter().map(|checkpoint| advance(checkpoint, 10)).collect();
        set
    }

    pub(super) async fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        let set = self.set(changes);
        self.writer.commit(&set).await?;
        self.checkpoints.iter_mut().for_each(|checkpoint| checkpoint.next_offset += 10);
        Ok(())
    }

    async fn rows(&self, table: usize) -> Vec<Vec<serde_json::Value>> {
        self.sink.rows(&self.generation, &self.schema, table, None).await.unwrap().rows
    }

    pub(super) async fn sums(&self) -> BTreeMap<String, i64> {
        let row = |row: Vec<serde_json::Value>| (row[0].as_str().unwrap().to_owned(), row[1].as_i64().unwrap());
        self.rows(SUMS).await.into_iter().map(row).collect()
    }

    pub(super) async fn stored(&self) -> Vec<Checkpoint> {
        self.sink.checkpoints(&self.generation).await.unwrap()
    }

    /// Nothing has changed since the last commit.
    async fn stands(&self, sums: &[(&str, i64)]) {
        assert_eq!(self.stored().await, self.checkpoints);
        assert_eq!(self.sums().await, sums.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect());
    }
}

async fn opening_and_claiming(sink: &dyn Sink) {
    let schema = schema("opening");
    let opened = sink.open(&schema, "digest").await.unwrap();
    assert_eq!((opened.generation.projection.as_str(), opened.generation.number, opened.created), ("opening", 1, true));
    let again = sink.open(&schema, "other").await.unwrap();
    assert_eq!((again.generation, again.created), (opened.generation.clone(), false));

    let claimed = sink.claim(&opened.generation, &[bounds(1), bounds(0)]).await.unwrap();
    let seen: Vec<_> =
        claimed.iter().map(|c| (c.partition.partition, c.next_offset, c.owner_epoch, c.topic_id.as_deref())).collect();
    assert_eq!(seen, [(0, 5, 1, Some("id")), (1, 5, 1, Some("id"))]);
    let later = LogBounds { start: 50, topic_id: Some("another".into()), ..bounds(1) };
    let claimed = sink.claim(&opened.generation, &[later]).await.unwrap();
    assert_eq!(
        (claimed.len(), claimed[0].next_offset, claimed[0].owner_epoch, claimed[0].topic_id.as_deref()),
        (1, 5, 2, Some("id"))
    );
    assert!(sink.claim(&opened.generation, &[]).await.unwrap().is_empty());
    let stored = sink.checkpoints(&opened.generation).await.unwrap();
    assert_eq!(stored.iter().map(|c| (c.partition.partition, c.owner_epoch)).collect::<Vec<_>>(), [(0, 1), (1, 2)]);

    let mut changed = schema.descriptor.clone();
    changed.tables[SUMS].columns.push(column("extra", ColumnType::Text, true));
    let mut revised = schema.descriptor.clone();
    revised.revision += 1;
    for other in [changed, revised] {
        let error = sink.open(&Arc::new(other.validate().unwrap()), "digest").await.unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "schema_changed"), "{error}");
    }
    let mut reshaped = schema.descriptor.clone();
    reshaped.shapes.truncate(3);
    assert!(!sink.open(&Arc::new(reshaped.validate().unwrap()), "digest").await.unwrap().created);
    assert_eq!(sink.rows(&opened.generation, &schema, 9, None).await.unwrap_err().code, "table_missing");
    assert!(!sink.ping().await.unwrap().is_empty());
}

async fn fencing(sink: &dyn Sink) {
    let mut bench = Bench::new(sink, "fencing").await;
    bench.commit(&[add("a", 1)]).await.unwrap();
    bench.commit(&[]).await.unwrap();
    bench.stands(&[("a", 1)]).await;

    // Partition 1 is taken over: the former owner writes nothing, not even for partition 0.
    let taken = sink.claim(&bench.generation, &[bounds(1)]).await.unwrap().remove(0);
    let Err(CommitError::Fenced(fenced)) = bench.commit(&[add("a", 1)]).await else { panic!("not fenced") };
    assert_eq!(fenced, [TopicPartition::new("orders", 1)]);
    let former = std::mem::replace(&mut bench.checkpoints[1], taken);
    bench.stands(&[("a", 1)]).await;

    // It goes on with what is left to it, and the new owner with its own.
    let mut set = bench.set(&[add("a", 1)]);
    set.advances.remove(1);
    bench.writer.commit(&set).await.unwrap();
    bench.checkpoints[0].next_offset += 10;
    bench.stands(&[("a", 2)]).await;
    bench.commit(&[add("b", 1)]).await.unwrap();

    // The same set again, and one that leaves a gap, both miss.
    for (by, name) in [(-10, "again"), (10, "gap")] {
        let mut set = bench.set(&[add(name, 1)]);
        set.advances.iter_mut().for_each(|advance| advance.expected += by);
        let Err(CommitError::Fenced(fenced)) = bench.writer.commit(&set).await else { panic!("not fenced") };
        assert_eq!(fenced.len(), 2);
    }
    let mut set = bench.set(&[add("late", 1)]);
    set.advances[1] = advance(&former, 10);
    assert!(matches!(bench.writer.commit(&set).await, Err(CommitError::Fenced(_))));
    // A partition that nobody claimed.
    let unknown = Checkpoint { partition: TopicPartition::new("orders", 7), ..former };
    set.advances[1] = advance(&unknown, 10);
    assert!(matches!(bench.writer.commit(&set).await, Err(CommitError::Fenced(_))));
    bench.stands(&[("a", 2), ("b", 1)]).await;
}

async fn refusing(sink: &dyn Sink) {
    let mut bench = Bench::new(sink, "refusing").await;
    bench.commit(&[add("a", i64::MAX - 1), add("b", 5)]).await.unwrap();
    // The sum of both fits, but not on the way.
    for changes in [vec![add("b", 1), add("a", 2)], vec![add("b", 1), add("a", 2), add("a", -2)]] {
        let Err(CommitError::Failed(error)) = bench.commit(&changes).await else { panic!("not refused") };
        assert_eq!(error.kind, ErrorKind::Poison, "{error}");
        bench.stands(&[("a", i64::MAX - 1), ("b", 5)]).await;
    }
    bench.commit(&[add("a", 1), add("a", -1)]).await.unwrap();
    bench.stands(&[("a", i64::MAX - 1), ("b", 5)]).await;
}

/// A caller that goes away in the middle of a commit leaves all of it or nothing, and nobody waits for ever.
async fn abandoning(sink: &dyn Sink) {
    let mut bench = Bench::new(sink, "abandoning").await;
    let many: Vec<_> = (0..2_000).map(|id| add(&format!("k{id:05}"), 1)).collect();
    for polls in 1..6 {
        let set = bench.set(&many);
        {
            let mut commit = bench.writer.commit(&set);
            for _ in 0..polls {
                if (&mut commit).now_or_never().is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        bench.writer = sink.writer(&bench.generation, &bench.schema, "digest");
        bench.checkpoints = sink.claim(&bench.generation, &[bounds(0), bounds(1)]).await.unwrap();
        let sums = bench.sums().await;
        let moved = (bench.checkpoints[0].next_offset - 5) / 10;
        assert!(bench.checkpoints.iter().all(|checkpoint| checkpoint.next_offset == 5 + 10 * moved));
        assert!(
            sums.values().all(|n| *n == moved) && (sums.len() == 2_000 || moved == 0),
            "{moved} commits, {} rows",
            sums.len()
        );
    }
    bench.commit(&[add("end", 1)]).await.unwrap();
    assert_eq!(bench.sums().await["end"], 1);
}

fn wide(id: &str, values: [PluginValue; 10]) -> Change {
    Change {
        shape: 1,
        values: [PluginValue::Text(id.into()), PluginValue::Integer(0)].into_iter().chain(values).collect(),
    }
}

const UUID: &str = "0190a5c3-1111-7abc-8def-001122334455";

/// Rows with nulls, with ordinary values, and with the ends of each type's range.
fn given() -> Vec<Change> {
    use PluginValue as P;
    let text = |text: &str| text.to_owned();
    vec![
        wide("1", std::array::from_fn(|_| P::Null)),
        wide(
            "2",
            [
                P::Boolean(true),
                P::Integer(i64::MIN),
                P::Float(-0.0),
                P::Decimal(text("12.50")),
                P::Text(text("ä'\"\\\u{1}")),
                P::Bytes(vec![0, 255]),
                P::Timestamp(1_795_269_723_000_004),
                P::Date(20_778),
                P::Uuid(UUID.to_uppercase()),
                P::Json(text("{\"b\":[1.50,null],\"a\":1e2}")),
            ],
        ),
        wide(
            "3",
            [
                P::Boolean(false),
                P::Integer(i64::MAX),
                P::Float(5e-324),
                P::Decimal(text("-123456789012345678901234567890.0000000001")),
                P::Text(String::new()),
                P::Bytes(vec![]),
                P::Timestamp(-210_866_803_200_000_000),
                P::Date(-2_440_588),
                P::Uuid(text("00000000-0000-0000-0000-000000000000")),
                P::Json(text("null")),
            ],
        ),
        wide(
            "4",
            [
                P::Null,
                P::Decimal(text("7.0")),
                P::Float(1.7976931348623157e308),
                P::Decimal(text("1e-3")),
                P::Text(text("\u{10FFFF}")),
                P::Null,
                P::Timestamp(i64::MAX - 1_000_000),
                P::Date(2_145_042_905),
                P::Null,
                P::Json(text("\"\\u00e4\"")),
            ],
        ),
    ]
}

/// The same rows as a sink tells them.
fn told() -> Vec<Vec<serde_json::Value>> {
    let null = serde_json::Value::Null;
    vec![
        [vec![json!("1"), json!(0)], vec![null.clone(); 10]].concat(),
        vec![
            json!("2"),
            json!(0),
            json!(true),
            json!(i64::MIN),
            json!(0.0),
            json!("12.50"),
            json!("ä'\"\\\u{1}"),
            json!({"base64": "AP8="}),
            json!("2026-11-21T14:02:03.000004Z"),
            json!("2026-11-21"),
            json!(UUID),
            json!({"a": 100, "b": [1.5, null]}),
        ],
        vec![
            json!("3"),
            json!(0),
            json!(false),
            json!(i64::MAX),
            json!(5e-324),
            json!("-123456789012345678901234567890.0000000001"),
            json!(""),
            json!({"base64": ""}),
            json!("-004713-11-24T00:00:00.000000Z"),
            json!("-004713-11-24"),
            json!("00000000-0000-0000-0000-000000000000"),
            json!(null),
        ],
        vec![
            json!("4"),
            json!(0),
            json!(null),
            json!(7),
            json!(1.7976931348623157e308),
            json!("0.001"),
            json!("\u{10FFFF}"),
            json!(null),
            json!("+294247-01-10T04:00:53.775807Z"),
            json!("+5874897-12-31"),
            json!(null),
            json!("ä"),
        ],
    ]
}

/// Every type comes back as it went in, at the ends of its range.
async fn values(sink: &dyn Sink) {
    use PluginValue as P;
    let mut bench = Bench::new(sink, "valued").await;
    bench.commit(&given()).await.unwrap();
    assert_eq!(bench.rows(WIDE).await, told());
    assert_eq!(bench.sink.digest(&bench.generation, &bench.schema, SUMS).await.unwrap(), "0".repeat(64));
    // Decimal sums are exact, and the scale is the greater one.
    let sum = |m: &str| Change { shape: 3, values: vec![P::Text("s".into()), P::Null, P::Decimal(m.into())] };
    bench.commit(&[sum("0.1"), sum("0.20")]).await.unwrap();
    bench.commit(&[sum("123456789012345678901234567890")]).await.unwrap();
    assert_eq!(bench.rows(SUMS).await, [[json!("s"), json!(0), json!("123456789012345678901234567890.30")]]);
}

/// Rows come in the order of keys, texts by their bytes, numbers by size, up to a limit.
async fn order(sink: &dyn Sink) {
    use PluginValue as P;
    let mut bench = Bench::new(sink, "ordering").await;
    let ids = ["b", "B", "ä", "a", "Z", "\u{1F600}", "\u{FFFD}"];
    bench.commit(&ids.map(|id| add(id, 1))).await.unwrap();
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    let rows = bench.sink.rows(&bench.generation, &bench.schema, SUMS, Some(5)).await.unwrap();
    assert_eq!(rows.columns, ["id", "n", "m"]);
    assert_eq!(rows.rows.iter().map(|row| row[0].as_str().unwrap()).collect::<Vec<_>>(), sorted[..5]);

    let key = |n: i64, decimal: &str, micros: i64| {
        let zero = "00000000-0000-0000-0000-000000000000".to_owned();
        let values = vec![
            P::Boolean(false),
            P::Integer(0),
            P::Float(0.0),
            P::Decimal(decimal.into()),
            P::Text(String::new()),
            P::Bytes(vec![]),
            P::Timestamp(micros),
            P::Date(0),
            P::Uuid(zero),
            P::Integer(n),
        ];
        Change { shape: 2, values }
    };
    let changes = [
        key(4, "10", 0),
        key(1, "-1", 0),
        key(3, "9.5", 0),
        key(2, "9.5", i64::MIN / 64),
        key(0, "-10", 0),
        key(5, "10", i64::MAX),
    ];
    bench.commit(&changes).await.unwrap();
    // The same key in another notation is the same row.
    bench.commit(&[key(6, "1.0e1", 0)]).await.unwrap();
    let numbers =
        |rows: Vec<Vec<serde_json::Value>>| rows.iter().map(|row| row[0].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!(numbers(bench.rows(KEYS).await), [0, 1, 2, 3, 6, 5]);
    let some = bench.sink.rows(&bench.generation, &bench.schema, KEYS, Some(2)).await.unwrap();
    assert_eq!(numbers(some.rows), [0, 1]);
}

fn pick<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> BoxedStrategy<T> {
    proptest::sample::select(values.to_vec()).boxed()
}

/// A value of a type: few, so that they meet, with the extremes among them.
fn value(column_type: ColumnType, nullable: bool) -> BoxedStrategy<PluginValue> {
    use PluginValue as P;
    let texts =
        |values: &[&'static str], case: fn(String) -> P| pick(values).prop_map(move |text| case(text.into())).boxed();
    let some = match column_type {
        ColumnType::Boolean => any::<bool>().prop_map(P::Boolean).boxed(),
        ColumnType::Integer => {
            prop_oneof![8 => -3_i64..4, 1 => pick(&[i64::MAX, i64::MIN, i64::MAX - 2])].prop_map(P::Integer).boxed()
        }
        ColumnType::Float => pick(&[0.0, -0.0, 1.5, -2.25, 0.1, 1e300, 5e-324]).prop_map(P::Float).boxed(),
        ColumnType::Decimal => texts(
            &["0", "0.00", "1", "1.0", "1.00", "-2.5", "12345678901234567890.123456789", "1e-30", "-3e20"],
            P::Decimal,
        ),
        ColumnType::Text => {
            texts(&["", "a", "A", "b", "ä", "Z ", "\u{1F600}", "\u{FFFD}", "a'b\"c\\", "NULL", "\u{1}"], P::Text)
        }
        ColumnType::Bytes => {
            pick(&[&b""[..], b"\0", b"\xff\x00", b"abc"]).prop_map(|bytes| P::Bytes(bytes.to_vec())).boxed()
        }
        ColumnType::Timestamp => {
            pick(&[0, 1, -1, 946_684_800_000_000, 1_700_000_000_123_456]).prop_map(P::Timestamp).boxed()
        }
        ColumnType::Date => pick(&[0, 1, -1, 10_957, -719_162, 2_932_896]).prop_map(P::Date).boxed(),
        ColumnType::Uuid => {
            texts(&["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"], P::Uuid)
        }
        ColumnType::Json => texts(
            &["null", "{}", "{\"b\": 1.50, \"a\": [1, \"\\u00e4\"]}", "[1e3, -0.0, 1E-2]", "12345678901234567890.5"],
            P::Json,
        ),
    };
    if nullable { prop_oneof![1 => Just(P::Null), 3 => some].boxed() } else { some }
}

/// A change of one of the schema's shapes, on one of few rows.
fn change(schema: &Schema) -> BoxedStrategy<Change> {
    let shapes = schema.shapes.iter().enumerate().map(|(index, shape)| {
        let (table, resolved) = (&schema.descriptor.tables[shape.table], &schema.tables[shape.table]);
        let keys = resolved.key[..shape.key_values].iter().map(|column| match table.columns[*column].column_type {
            ColumnType::Integer => (0_i64..2).prop_map(PluginValue::Integer).boxed(),
            ColumnType::Text => pick(&["a", "ä"]).prop_map(|text| PluginValue::Text(text.into())).boxed(),
            other => value(other, false),
        });
        let rest =
            shape.assignments.iter().map(|(rest, _)| value(table.columns[resolved.rest[*rest]].column_type, true));
        let values: Vec<_> = keys.chain(rest).collect();
        values.prop_map(move |values| Change { shape: index as u32, values }).boxed()
    });
    proptest::strategy::Union::new(shapes.collect::<Vec<_>>()).boxed()
}

/// A row of the model in the table's order of columns.
fn whole(resolved: &SchemaTable, key: &Key, row: &Row) -> Vec<Value> {
    let columns: BTreeMap<usize, &Value> =
        resolved.key.iter().copied().zip(key.0.iter()).chain(resolved.rest.iter().copied().zip(row)).collect();
    columns.into_values().cloned().collect()
}

/// Committed change sets leave what the plain interpreter leaves, row by row, or nothing; and the digest is that of the rows.
async fn interpreting(sink: &dyn Sink, commits: usize) {
    let mut bench = Bench::new(sink, "interpreting").await;
    let schema = Arc::clone(&bench.schema);
    let events = proptest::collection::vec(proptest::collection::vec(change(&schema), 1..3), 1..20);
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let mut model = vec![Rows::new(); schema.tables.len()];
    let (mut taken, mut staged) = (0, 0);
    for _ in 0..commits {
        let (mut next, mut set, mut overflows) = (model.clone(), ChangeSet::new(&schema), false);
        for event in events.new_tree(&mut runner).unwrap().current() {
            if set.push_event(&schema, event.clone()).is_err() {
                continue;
            }
            for change in event {
                overflows |= apply_change(&schema, &mut next, &change.check(&schema).unwrap()).is_err();
            }
        }
        set.advances = bench.checkpoints.iter().map(|checkpoint| advance(checkpoint, 10)).collect();
        match bench.writer.commit(&set).await {
            Ok(()) => {
                assert!(!overflows, "the interpreter refuses what the sink took: {set:?}");
                model = next;
                bench.checkpoints.iter_mut().for_each(|checkpoint| checkpoint.next_offset += 10);
                (taken, staged) = (taken + 1, staged + usize::from(set.stages.len() > 1));
            }
            Err(CommitError::Failed(error)) if error.kind == ErrorKind::Poison => {
                assert!(overflows, "the sink refuses what the interpreter took: {error}");
            }
            Err(error) => panic!("{error}"),
        }
        for (table, resolved) in schema.tables.iter().enumerate() {
            let rows: Vec<_> = model[table].iter().map(|(key, row)| whole(resolved, key, row)).collect();
            let expected: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(Value::to_json).collect()).collect();
            assert_eq!(bench.rows(table).await, expected, "table {table}");
            let mut digest = RowsDigest::default();
            rows.iter().for_each(|row| digest.row(row.iter()));
            assert_eq!(sink.digest(&bench.generation, &schema, table).await.unwrap(), digest.finish());
        }
    }
    assert!(
        taken > commits / 3 && staged > commits / 10,
        "{taken} of {commits} commits were taken, {staged} with stages"
    );
    assert_eq!(bench.stored().await, bench.checkpoints);
}

//! Against a real server: `LATERNA_TEST_POSTGRES_URL` names one on which databases may be created. Each test makes its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test says what it expects by panicking"
)]

mod connections;
mod generations;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::{PostgresSettings, PostgresSink};
use crate::change::{
    Action, Assignment, Change, ChangeSet, Column, ColumnType, Descriptor, Encoding, Index, IndexKind, Operation,
    Partitioning, PluginValue, Rows, Schema, Shape, Table, Topic, Value, apply_change,
};
use crate::checkpoint::{Advance, Checkpoint, Generation, LogBounds};
use crate::error::ErrorKind;
use crate::event::TopicPartition;
use crate::sink::{CommitError, Order, Sink, Writer, contract};

/// A database of its own for a test.
struct TestDatabase {
    admin: String,
    name: String,
    url: String,
}

impl TestDatabase {
    async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let admin = std::env::var("LATERNA_TEST_POSTGRES_URL")
            .expect("LATERNA_TEST_POSTGRES_URL must name a PostgreSQL server on which databases may be created");
        let name = format!("laterna_test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (server, rest) = admin.split_at(admin.rfind('/').unwrap());
        let query = rest.find('?').map_or("", |at| &rest[at..]);
        let url = format!("{server}/{name}{query}");
        let database = Self { admin, name, url };
        let mut admin = PgConnection::connect(&database.admin).await.unwrap();
        run(&mut admin, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", database.name)).await;
        run(&mut admin, &format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    fn settings(&self) -> PostgresSettings {
        PostgresSettings::new(&self.url)
    }

    async fn sink(&self) -> PostgresSink {
        PostgresSink::connect(self.settings()).await.unwrap()
    }

    async fn drop(self) {
        let mut admin = PgConnection::connect(&self.admin).await.unwrap();
        run(&mut admin, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

async fn run(connection: &mut PgConnection, text: &str) {
    sqlx::raw_sql(AssertSqlSafe(text)).execute(connection).await.unwrap();
}

fn column(name: &str, column_type: ColumnType, nullable: bool) -> Column {
    Column { name: name.into(), column_type, nullable }
}

fn assign(assignments: &[(&str, Operation)]) -> Vec<Assignment> {
    let assignment =
        |(column, operation): &(&str, Operation)| Assignment { column: (*column).into(), operation: *operation };
    assignments.iter().map(assignment).collect()
}

/// Three tables with every type, every action and every operation.
fn schema() -> Arc<Schema> {
    use ColumnType as T;
    use Operation as O;
    let wide = Table {
        name: "wide".into(),
        columns: vec![
            column("id", T::Text, false),
            column("part", T::Integer, false),
            column("b", T::Boolean, true),
            column("i", T::Integer, true),
            column("f", T::Float, true),
            column("d", T::Decimal, true),
            column("t", T::Text, true),
            column("y", T::Bytes, true),
            column("ts", T::Timestamp, true),
            column("dt", T::Date, true),
            column("u", T::Uuid, true),
            column("j", T::Json, true),
        ],
        primary_key: vec!["id".into(), "part".into()],
        indexes: vec![
            Index { columns: vec!["ts".into(), "i".into()], kind: IndexKind::Ordered },
            Index { columns: vec!["t".into(), "id".into()], kind: IndexKind::FullText },
        ],
        partitioning: Partitioning::Serial,
    };
    let keys = Table {
        name: "keys".into(),
        columns: vec![
            column("n", T::Integer, false),
            column("kb", T::Boolean, false),
            column("ki", T::Integer, false),
            column("kf", T::Float, false),
            column("kd", T::Decimal, false),
            column("kt", T::Text, false),
            column("kts", T::Timestamp, false),
            column("kdt", T::Date, false),
            column("ku", T::Uuid, false),
            column("ky", T::Bytes, false),
        ],
        primary_key: ["kb", "ki", "kf", "kd", "kt", "kts", "kdt", "ku", "ky"].map(String::from).to_vec(),
        indexes: vec![],
        partitioning: Partitioning::Serial,
    };
    let versions = Table {
        name: "versions".into(),
        columns: vec![column("id", T::Text, false), column("v", T::Text, false), column("t", T::Text, true)],
        primary_key: vec!["id".into()],
        indexes: vec![],
        partitioning: Partitioning::Commutative,
    };
    let sums = Table {
        name: "sums".into(),
        columns: vec![column("id", T::Text, false), column("n", T::Integer, true), column("m", T::Decimal, true)],
        primary_key: vec!["id".into()],
        indexes: vec![],
        partitioning: Partitioning::Commutative,
    };
    let all = ["b", "i", "f", "d", "t", "y", "ts", "dt", "u", "j"];
    let on = |table: &str, action: Action| Shape { table: table.into(), action };
    let shapes = vec![
        on("wide", Action::Upsert(assign(&all.map(|name| (name, O::Set))))),
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
        on("wide", Action::Upsert(assign(&[("i", O::Newer), ("t", O::Set), ("d", O::Add)]))),
        on("wide", Action::Update(assign(&[("ts", O::Newer), ("d", O::Add), ("i", O::Add)]))),
        on("wide", Action::Upsert(vec![])),
        on("keys", Action::Upsert(assign(&[("n", O::Add)]))),
        on("keys", Action::Delete),
        on("keys", Action::DeletePrefix(4)),
        on("versions", Action::Upsert(assign(&[("v", O::Newer), ("t", O::Set)]))),
        on("sums", Action::Upsert(assign(&[("n", O::Add), ("m", O::Add)]))),
        on("sums", Action::Upsert(assign(&[("n", O::Add)]))),
    ];
    let topic = Topic { name: "orders".into(), key: Encoding::Text, value: Encoding::Text, headers: vec![] };
    let (tables, topics) = (vec![wide, keys, versions, sums], vec![topic]);
    Arc::new(Descriptor { name: "shop".into(), revision: 1, topics, tables, shapes }.validate().unwrap())
}

const WIDE: usize = 0;
const SUMS: usize = 3;
const ADD: u32 = 16;

/// A set of changes, each an event of its own.
fn set(schema: &Schema, advances: Vec<Advance>, changes: &[Change]) -> ChangeSet {
    let mut set = ChangeSet::new(schema);
    for change in changes {
        set.push_event(schema, vec![change.clone()]).unwrap();
    }
    set.advances = advances;
    set
}

fn add(id: &str, n: i64) -> Change {
    Change { shape: ADD, values: vec![PluginValue::Text(id.into()), PluginValue::Integer(n)] }
}

fn bounds(partition: i32) -> LogBounds {
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

/// Rows enough for the long form of a commit.
fn many(n: i64) -> Vec<Change> {
    (0..1_500).map(|id| add(&format!("k{id:05}"), n)).collect()
}

async fn sums(sink: &PostgresSink, generation: &Generation, schema: &Schema) -> BTreeMap<String, Option<i64>> {
    let rows = sink.rows(generation, schema, SUMS, None).await.unwrap();
    rows.rows.iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_i64())).collect()
}

/// What a test needs most of the time: an open projection with two claimed partitions and a writer.
struct Bench {
    database: TestDatabase,
    sink: PostgresSink,
    schema: Arc<Schema>,
    generation: Generation,
    checkpoints: Vec<Checkpoint>,
    writer: Box<dyn Writer>,
}

impl Bench {
    async fn new(change: impl FnOnce(&mut PostgresSettings)) -> Self {
        let database = TestDatabase::create().await;
        let mut settings = database.settings();
        change(&mut settings);
        let sink = PostgresSink::connect(settings).await.unwrap();
        let schema = schema();
        let generation = sink.open(&schema, "digest").await.unwrap().generation;
        let checkpoints = sink.claim(&generation, &[bounds(1), bounds(0)]).await.unwrap();
        let writer = sink.writer(&generation, &schema, "digest");
        Self { database, sink, schema, generation, checkpoints, writer }
    }

    async fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        let set =
            set(&self.schema, self.checkpoints.iter().map(|checkpoint| advance(checkpoint, 10)).collect(), changes);
        self.writer.commit(&set).await?;
        self.checkpoints.iter_mut().for_each(|checkpoint| checkpoint.next_offset += 10);
        Ok(())
    }

    async fn sums(&self) -> BTreeMap<String, Option<i64>> {
        sums(&self.sink, &self.generation, &self.schema).await
    }

    async fn stored(&self) -> Vec<Checkpoint> {
        self.sink.checkpoints(&self.generation).await.unwrap()
    }
}

#[tokio::test]
async fn the_contract_of_all_sinks_holds() {
    let database = TestDatabase::create().await;
    contract::holds(&database.sink().await, 150).await;
    database.drop().await;
}

#[tokio::test]
async fn opening_is_idempotent_and_safe_when_engines_do_it_at_once() {
    let database = TestDatabase::create().await;
    let schema = schema();
    let open = |digest: &'static str| {
        let (settings, schema) = (database.settings(), Arc::clone(&schema));
        tokio::spawn(async move {
            let sink = PostgresSink::connect(settings).await.unwrap();
            sink.open(&schema, digest).await.unwrap()
        })
    };
    let tasks: Vec<_> = ["a", "b", "c", "d"].map(open).into_iter().collect();
    let mut created = 0;
    for task in tasks {
        let opened = task.await.unwrap();
        assert_eq!(opened.generation, Generation { projection: "shop".into(), number: 1 });
        created += u32::from(opened.created);
    }
    assert_eq!(created, 1);
    let again = database.sink().await.open(&schema, "e").await.unwrap();
    assert!(!again.created);
    let mut connection = database.connection().await;
    let row =
        sqlx::query("SELECT state, plugin_digest FROM laterna.generation").fetch_one(&mut connection).await.unwrap();
    assert_eq!((row.get::<String, _>(0), row.get::<String, _>(1)), ("live".into(), "e".into()));
    run(&mut connection, "SELECT id, part, j FROM shop.wide; SELECT * FROM shop.versions").await;
    database.drop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    run(&mut connection, "CREATE SCHEMA shop").await;
    let sink = database.sink().await;
    let schema = schema();
    let error = sink.open(&schema, "digest").await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "name_taken"), "{error}");
    run(&mut connection, "DROP SCHEMA shop").await;
    sink.open(&schema, "digest").await.unwrap();

    let mut changed = schema.descriptor.clone();
    changed.tables[SUMS].columns.push(column("extra", ColumnType::Text, true));
    let changed = Arc::new(changed.validate().unwrap());
    let error = sink.open(&changed, "other").await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "schema_changed"), "{error}");
    assert!(error.message.contains("\"sums\""), "{error}");
    sink.order(&Order::Drop { projection: "shop".into() }, &contract::asked(None)).await.unwrap();
    let opened = sink.open(&changed, "other").await.unwrap();
    assert_eq!((opened.created, opened.generation.number), (true, 2));

    let mut reshaped = changed.descriptor.clone();
    reshaped.shapes.truncate(8);
    assert!(!sink.open(&Arc::new(reshaped.validate().unwrap()), "third").await.unwrap().created);

    run(&mut connection, "DROP VIEW shop.wide").await;
    let error = sink.open(&changed, "other").await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "table_missing"), "{error}");

    run(&mut connection, "UPDATE laterna.generation SET state = 'retired', writable = false").await;
    let error = sink.claim(&opened.generation, &[bounds(0)]).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "generation_retired"), "{error}");

    run(&mut connection, "UPDATE laterna.meta SET schema_version = 1000").await;
    let error = PostgresSink::connect(database.settings()).await.err().unwrap();
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "schema_newer"), "{error}");
    assert!(error.message.contains("1000"), "{error}");
    database.drop().await;
}

#[tokio::test]
async fn a_claim_keeps_the_checkpoint_and_fences_the_former_owner() {
    let mut bench = Bench::new(|_| {}).await;
    assert_eq!(bench.checkpoints.iter().map(|c| (c.next_offset, c.owner_epoch)).collect::<Vec<_>>(), [(5, 1), (5, 1)]);
    bench.commit(&[add("a", 1)]).await.unwrap();
    let other = bench.database.sink().await;
    let later = LogBounds { start: 50, topic_id: Some("another".into()), ..bounds(1) };
    let claimed = other.claim(&bench.generation, &[later]).await.unwrap();
    assert_eq!((claimed[0].next_offset, claimed[0].owner_epoch), (15, 2));
    assert_eq!(claimed[0].topic_id.as_deref(), Some("id"));
    let before = bench.stored().await;
    for changes in [vec![add("a", 1), add("b", 1)], many(1), vec![]] {
        let Err(CommitError::Fenced(fenced)) = bench.commit(&changes).await else { panic!("not fenced") };
        assert_eq!(fenced, [TopicPartition::new("orders", 1)]);
        assert_eq!(bench.sums().await, BTreeMap::from([("a".into(), Some(1))]));
        assert_eq!(bench.stored().await, before);
    }
    // Without the lost partition it goes on, and the new owner writes its own.
    bench.checkpoints.retain(|checkpoint| checkpoint.partition.partition == 0);
    bench.commit(&many(1)).await.unwrap();
    let mut writer = other.writer(&bench.generation, &bench.schema, "digest");
    let taken = set(&bench.schema, vec![advance(&claimed[0], 3)], &[add("a", 1)]);
    writer.commit(&taken).await.unwrap();
    assert!(matches!(writer.commit(&taken).await, Err(CommitError::Fenced(_))));
    assert_eq!(bench.sums().await["a"], Some(2));
    let stored: Vec<_> = bench.stored().await.iter().map(|c| (c.next_offset, c.owner_epoch)).collect();
    assert_eq!(stored, [(25, 1), (18, 2)]);
    // A retired generation is nobody's.
    run(&mut bench.database.connection().await, "UPDATE laterna.generation SET state = 'retired', writable = false")
        .await;
    for changes in [vec![add("a", 1)], many(1)] {
        assert!(matches!(bench.commit(&changes).await, Err(CommitError::Fenced(_))));
    }
    bench.database.drop().await;
}

#[tokio::test]
async fn a_claim_waits_for_a_commit_that_is_under_way() {
    let bench = Bench::new(|_| {}).await;
    let mut owner = bench.database.connection().await;
    run(&mut owner, "BEGIN; UPDATE laterna.checkpoint SET next_offset = 42 WHERE partition = 0").await;
    let generation = bench.generation.clone();
    let other = bench.database.sink().await;
    let claim = tokio::spawn(async move { other.claim(&generation, &[bounds(0)]).await });
    let mut watcher = bench.database.connection().await;
    wait_for_a_lock(&mut watcher).await;
    assert!(!claim.is_finished());
    run(&mut owner, "COMMIT").await;
    assert_eq!(claim.await.unwrap().unwrap()[0].next_offset, 42);
    bench.database.drop().await;
}

/// Waits until a session of ours waits for a lock.
async fn wait_for_a_lock(watcher: &mut PgConnection) {
    let waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name = 'laterna' AND wait_event_type = 'Lock'";
    while sqlx::query(waiting).fetch_optional(&mut *watcher).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_overflow_is_poison_and_writes_nothing() {
    let mut bench = Bench::new(|_| {}).await;
    bench.commit(&[add("high", i64::MAX - 10), add("low", i64::MIN + 10), add("other", 1)]).await.unwrap();
    let (rows, stored) = (bench.sums().await, bench.stored().await);
    let mut long = many(1);
    long.push(add("high", 11));
    // The end fits, but an event on the way did not.
    let turning_high = vec![add("high", 11), add("high", -5)];
    let turning_low = vec![add("low", -20), add("low", 15), add("other", 4)];
    for changes in [vec![add("high", 11), add("other", 1)], vec![add("low", -11)], long, turning_high, turning_low] {
        let Err(CommitError::Failed(error)) = bench.commit(&changes).await else { panic!("no failure") };
        assert_eq!((error.kind, error.code), (ErrorKind::Poison, "value_rejected"), "{error}");
        assert!(!error.message.contains("at line"), "{error}");
        assert_eq!(bench.sums().await, rows);
        assert_eq!(bench.stored().await, stored);
    }
    bench.commit(&[add("high", 10), add("high", -20), add("high", 20)]).await.unwrap();
    assert_eq!(bench.sums().await["high"], Some(i64::MAX));
    bench.database.drop().await;
}

const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE datname = current_database() AND application_name = 'laterna'";

#[tokio::test]
async fn a_lost_connection_is_told_as_what_it_is() {
    let mut bench = Bench::new(|_| {}).await;
    let mut admin = bench.database.connection().await;
    bench.commit(&[add("a", 1)]).await.unwrap();
    // Between commits: the short form can't know, the long form can.
    run(&mut admin, TERMINATE).await;
    assert!(
        matches!(bench.commit(&[add("a", 1)]).await, Err(CommitError::Unknown(error)) if error.kind == ErrorKind::Transient)
    );
    assert_eq!(bench.stored().await[0].next_offset, 15);
    bench.commit(&[add("a", 1)]).await.unwrap();
    run(&mut admin, TERMINATE).await;
    assert!(
        matches!(bench.commit(&many(1)).await, Err(CommitError::Failed(error)) if error.kind == ErrorKind::Transient)
    );
    bench.commit(&[add("a", 1)]).await.unwrap();
    assert_eq!(bench.sums().await, BTreeMap::from([("a".into(), Some(3))]));
    // Between two statements of a transaction: somebody holds a row that it needs.
    let mut holder = bench.database.connection().await;
    run(&mut holder, "BEGIN; UPDATE shop_g1.sums SET n = n WHERE id = 'a'").await;
    let mut changes = many(1);
    changes.push(add("a", 1));
    let watching = async {
        wait_for_a_lock(&mut admin).await;
        run(&mut admin, TERMINATE).await;
    };
    let (result, ()) = tokio::join!(bench.commit(&changes), watching);
    assert!(matches!(result, Err(CommitError::Failed(error)) if error.kind == ErrorKind::Transient));
    run(&mut holder, "ROLLBACK").await;
    assert_eq!(bench.sums().await, BTreeMap::from([("a".into(), Some(3))]));
    bench.commit(&changes).await.unwrap();
    assert_eq!(bench.sums().await.len(), 1_501);
    bench.database.drop().await;
}

#[tokio::test]
async fn a_lock_or_a_deadline_ends_a_commit() {
    let mut bench = Bench::new(|settings| settings.lock_timeout = Duration::from_millis(100)).await;
    bench.commit(&[add("a", 1)]).await.unwrap();
    let mut holder = bench.database.connection().await;
    run(&mut holder, "BEGIN; UPDATE shop_g1.sums SET n = n WHERE id = 'a'").await;
    for changes in [vec![add("a", 1)], many(1).into_iter().chain([add("a", 1)]).collect()] {
        let Err(CommitError::Failed(error)) = bench.commit(&changes).await else { panic!("no failure") };
        assert_eq!((error.kind, error.code), (ErrorKind::Transient, "database_locked"), "{error}");
    }
    run(&mut holder, "ROLLBACK").await;
    let slow = "CREATE FUNCTION shop_g1.slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NEW; END'; \
                CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON shop_g1.sums FOR EACH ROW EXECUTE FUNCTION shop_g1.slow()";
    run(&mut holder, slow).await;
    let mut settings = bench.database.settings();
    settings.commit_timeout = Duration::from_millis(300);
    let impatient = PostgresSink::connect(settings).await.unwrap();
    bench.writer = impatient.writer(&bench.generation, &bench.schema, "digest");
    let Err(CommitError::Unknown(error)) = bench.commit(&[add("a", 1)]).await else { panic!("no deadline") };
    assert_eq!(error.code, "commit_overdue", "{error}");
    run(&mut holder, "DROP TRIGGER slow ON shop_g1.sums").await;
    // What was left behind ends one way or the other; the checkpoint says which, and a claim waits for it.
    let claimed = bench.sink.claim(&bench.generation, &[bounds(0), bounds(1)]).await.unwrap();
    let applied = i64::from(claimed[0].next_offset == 25);
    assert_eq!(bench.sums().await["a"], Some(1 + applied));
    bench.checkpoints = claimed;
    bench.commit(&[add("a", 1)]).await.unwrap();
    assert_eq!(bench.sums().await["a"], Some(2 + applied));
    bench.database.drop().await;
}

/// Writers of one engine on shared rows, each with several kinds of change a commit, in any order: no deadlock.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_on_shared_rows_do_not_deadlock() {
    let bench = Bench::new(|_| {}).await;
    let mut tasks = Vec::new();
    for checkpoint in bench.checkpoints.clone() {
        let mut writer = bench.sink.writer(&bench.generation, &bench.schema, "digest");
        let schema = Arc::clone(&bench.schema);
        tasks.push(tokio::spawn(async move {
            let mut checkpoint = checkpoint;
            for round in 0..40_i64 {
                let rows = if round % 2 == 0 { 100 } else { 1_200 };
                let changes: Vec<_> = (0..rows)
                    .map(|row| {
                        let id = format!("k{row}");
                        match (row + round + i64::from(checkpoint.partition.partition)) % 2 {
                            0 => add(&id, 1),
                            _ => Change {
                                shape: ADD - 1,
                                values: vec![
                                    PluginValue::Text(id),
                                    PluginValue::Integer(1),
                                    PluginValue::Decimal("0.5".into()),
                                ],
                            },
                        }
                    })
                    .collect();
                writer.commit(&set(&schema, vec![advance(&checkpoint, 1)], &changes)).await.unwrap();
                checkpoint.next_offset += 1;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(bench.sums().await["k7"], Some(80));
    let mut admin = bench.database.connection().await;
    let row = sqlx::query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
    assert_eq!(row.fetch_one(&mut admin).await.unwrap().get::<i64, _>(0), 0);
    bench.database.drop().await;
}

fn pick<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> BoxedStrategy<T> {
    proptest::sample::select(values.to_vec()).boxed()
}

/// A value of a type: few, so that they meet, with the extremes among them.
fn value(column_type: ColumnType, nullable: bool) -> BoxedStrategy<PluginValue> {
    use PluginValue as P;
    let some = match column_type {
        ColumnType::Boolean => any::<bool>().prop_map(P::Boolean).boxed(),
        ColumnType::Integer => {
            prop_oneof![6 => -3_i64..4, 1 => pick(&[i64::MAX, i64::MIN, i64::MAX - 2])].prop_map(P::Integer).boxed()
        }
        ColumnType::Float => pick(&[0.0, -0.0, 1.5, -2.25, 0.1, 1e300, -1e300, 5e-324]).prop_map(P::Float).boxed(),
        ColumnType::Decimal => pick(&[
            "0",
            "0.00",
            "1",
            "1.0",
            "1.00",
            "-2.5",
            "12345678901234567890.123456789",
            "1e-30",
            "-3e20",
            "10000",
            "0.0001",
        ])
        .prop_map(|text| P::Decimal(text.into()))
        .boxed(),
        ColumnType::Text => pick(&[
            "",
            "a",
            "A",
            "b",
            "ä",
            "z",
            "Z ",
            "\u{1F600}",
            "\u{FFFD}",
            "a'b\"c\\",
            "{x,\"y\"}",
            "NULL",
            "\u{1}",
        ])
        .prop_map(|text| P::Text(text.into()))
        .boxed(),
        ColumnType::Bytes => {
            pick(&[&b""[..], b"\0", b"\xff\x00", b"abc"]).prop_map(|bytes| P::Bytes(bytes.to_vec())).boxed()
        }
        ColumnType::Timestamp => pick(&[
            0,
            1,
            -1,
            946_684_800_000_000,
            1_700_000_000_123_456,
            -62_135_596_800_000_000,
            4_102_444_800_000_000,
        ])
        .prop_map(P::Timestamp)
        .boxed(),
        ColumnType::Date => pick(&[0, 1, -1, 10_957, 19_000, -719_162, 2_932_896]).prop_map(P::Date).boxed(),
        ColumnType::Uuid => pick(&[
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "80000000-0000-0000-0000-000000000001",
        ])
        .prop_map(|text| P::Uuid(text.into()))
        .boxed(),
        ColumnType::Json => pick(&[
            "null",
            "{}",
            "{\"b\": 1.50, \"a\": [1, 2.0, \"x\\u00e4\"], \"long name\": null}",
            "[1e3, -0.0, 1E-2]",
            "\"text\"",
            "12345678901234567890.5",
            "{\"a\": 1, \"a\": 2}",
        ])
        .prop_map(|text| P::Json(text.into()))
        .boxed(),
    };
    if nullable { prop_oneof![1 => Just(P::Null), 3 => some].boxed() } else { some }
}

/// A change of one of the schema's shapes, on one of few rows.
fn change(schema: &Schema) -> BoxedStrategy<Change> {
    let shapes = schema.shapes.iter().enumerate().map(|(index, shape)| {
        let table = &schema.descriptor.tables[shape.table];
        let resolved = &schema.tables[shape.table];
        let keys = resolved.key[..shape.key_values].iter().map(|column| match table.name.as_str() {
            "keys" => value(table.columns[*column].column_type, false),
            _ => match table.columns[*column].column_type {
                ColumnType::Integer => (0_i64..2).prop_map(PluginValue::Integer).boxed(),
                _ => pick(&["a", "B", "ä"]).prop_map(|text| PluginValue::Text(text.into())).boxed(),
            },
        });
        let rest = shape.assignments.iter().map(|(rest, _)| {
            let column = &table.columns[resolved.rest[*rest]];
            value(column.column_type, column.nullable)
        });
        let values: Vec<_> = keys.chain(rest).collect();
        values.prop_map(move |values| Change { shape: index as u32, values }).boxed()
    });
    proptest::strategy::Union::new(shapes.collect::<Vec<_>>()).boxed()
}

/// What the database holds, table by table.
async fn all_rows(sink: &PostgresSink, generation: &Generation, schema: &Schema) -> Vec<Vec<Vec<serde_json::Value>>> {
    let mut tables = Vec::new();
    for table in 0..schema.tables.len() {
        tables.push(sink.rows(generation, schema, table, None).await.unwrap().rows);
    }
    tables
}

/// The same of the model.
fn model_rows(model: &[Rows], schema: &Schema) -> Vec<Vec<Vec<serde_json::Value>>> {
    let in_order = |(resolved, rows): (&crate::change::SchemaTable, &Rows)| {
        let row = |(key, rest): (&crate::change::Key, &Vec<Value>)| {
            let columns: BTreeMap<usize, &Value> =
                resolved.key.iter().copied().zip(key.0.iter()).chain(resolved.rest.iter().copied().zip(rest)).collect();
            columns.values().map(|value| value.to_json()).collect()
        };
        rows.iter().map(row).collect()
    };
    schema.tables.iter().zip(model).map(in_order).collect()
}

/// The digest of the model, by the sink's own rules.
fn model_digest(model: &[Rows], schema: &Schema, table: usize) -> String {
    let mut digest = crate::sink::digest::RowsDigest::default();
    let resolved = &schema.tables[table];
    for (key, rest) in &model[table] {
        let columns: BTreeMap<usize, &Value> =
            resolved.key.iter().copied().zip(key.0.iter()).chain(resolved.rest.iter().copied().zip(rest)).collect();
        digest.row(columns.into_values());
    }
    digest.finish()
}

/// The law of the sink: committed change sets leave what the plain interpreter leaves, row by row, or nothing.
#[test]
fn commits_leave_what_the_interpreter_leaves() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut bench = runtime.block_on(Bench::new(|_| {}));
    let mut connection = runtime.block_on(bench.database.connection());
    let schema = Arc::clone(&bench.schema);
    let event = proptest::collection::vec(change(&schema), 1..3);
    let commits = proptest::collection::vec(proptest::collection::vec(event, 1..12), 1..4);
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let (bench, connection) = (std::cell::RefCell::new(&mut bench), std::cell::RefCell::new(&mut connection));
    TestRunner::new(config)
        .run(&commits, |commits| {
            let (mut bench, mut connection) = (bench.borrow_mut(), connection.borrow_mut());
            runtime.block_on(async {
                run(&mut connection, "TRUNCATE shop_g1.wide, shop_g1.keys, shop_g1.versions, shop_g1.sums").await;
                let mut model = vec![Rows::new(); schema.tables.len()];
                for events in commits {
                    let mut next = model.clone();
                    let mut set = ChangeSet::new(&schema);
                    set.advances = bench.checkpoints.iter().map(|checkpoint| advance(checkpoint, 10)).collect();
                    let mut overflows = false;
                    for event in events {
                        if set.push_event(&schema, event.clone()).is_err() {
                            continue;
                        }
                        for change in event {
                            let checked = change.check(&schema).unwrap();
                            overflows |= apply_change(&schema, &mut next, &checked).is_err();
                        }
                    }
                    match bench.writer.commit(&set).await {
                        Ok(()) => {
                            prop_assert!(!overflows, "the interpreter refuses what the database took");
                            model = next;
                            bench.checkpoints.iter_mut().for_each(|checkpoint| checkpoint.next_offset += 10);
                        }
                        Err(CommitError::Failed(error)) if error.kind == ErrorKind::Poison => {
                            prop_assert!(overflows, "the database refuses what the interpreter took: {error}");
                        }
                        Err(error) => return Err(TestCaseError::fail(format!("{error}"))),
                    }
                    for table in 0..schema.tables.len() {
                        let digest = bench.sink.digest(&bench.generation, &schema, table).await.unwrap();
                        prop_assert_eq!(digest, model_digest(&model, &schema, table));
                    }
                    prop_assert_eq!(
                        all_rows(&bench.sink, &bench.generation, &schema).await,
                        model_rows(&model, &schema)
                    );
                }
                Ok(())
            })
        })
        .unwrap();
}

#[tokio::test]
async fn rows_come_in_key_order_up_to_a_limit() {
    let mut bench = Bench::new(|_| {}).await;
    let ids = ["b", "B", "ä", "a", "Z", "\u{1F600}", "\u{FFFD}"];
    bench.commit(&ids.map(|id| add(id, 1))).await.unwrap();
    let rows = bench.sink.rows(&bench.generation, &bench.schema, SUMS, Some(5)).await.unwrap();
    assert_eq!(rows.columns, ["id", "n", "m"]);
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    assert_eq!(rows.rows.iter().map(|row| row[0].as_str().unwrap()).collect::<Vec<_>>(), sorted[..5]);
    assert!(bench.sink.rows(&bench.generation, &bench.schema, WIDE, None).await.unwrap().rows.is_empty());
    assert_eq!(bench.sink.rows(&bench.generation, &bench.schema, 9, None).await.unwrap_err().code, "table_missing");
    assert!(bench.sink.ping().await.unwrap().starts_with("PostgreSQL "));
    bench.sink.close().await;
    bench.database.drop().await;
}

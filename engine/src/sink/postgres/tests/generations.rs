//! What is PostgreSQL's own of generations: locks that readers feel, grants, dependents, and what a bulk load leaves in the catalogue.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::*;
use crate::sink::contract::asked;
use crate::sink::postgres::bulk::BulkWriter;
use crate::sink::postgres::catalog::STEPS;
use crate::sink::{Done, OrderError, RebuildState, Refusal, Switch};

async fn done(sink: &PostgresSink, order: Order) -> Done {
    sink.order(&order, &asked(None)).await.unwrap_or_else(|error| panic!("{order:?}: {error}"))
}

async fn refused(sink: &PostgresSink, order: &Order) -> Refusal {
    match sink.order(order, &asked(None)).await {
        Err(OrderError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn begin(schema: &Arc<Schema>) -> Order {
    Order::BeginRebuild {
        schema: Arc::clone(schema),
        digest: "digest".into(),
        file: String::new(),
        switch: Switch::Auto,
        max_rate: None,
        forced: false,
        targets: Vec::new(),
    }
}

fn moved(id: &str, to: RebuildState) -> Order {
    Order::MoveRebuild { id: id.into(), from: RebuildState::Filling, to, reason: None }
}

const COLLECT_AT: i64 = 4_102_444_800_000_000;

fn swap(id: &str) -> Order {
    Order::Swap { id: id.into(), collect_at_us: COLLECT_AT }
}

fn rollback() -> Order {
    Order::Rollback { projection: "shop".into(), collect_at_us: COLLECT_AT }
}

/// A second generation of `shop` that reads `schema`, level with the first one and about to be switched to.
async fn second(bench: &Bench, schema: &Arc<Schema>, changes: &[Change]) -> (Generation, Vec<Checkpoint>) {
    done(&bench.sink, begin(schema)).await;
    let generation = Generation { projection: "shop".into(), number: 2 };
    let mut checkpoints = bench.sink.claim(&generation, &[bounds(0), bounds(1)]).await.unwrap();
    let advances = checkpoints.iter().map(|checkpoint| advance(checkpoint, 10)).collect();
    bench.sink.bulk_writer(&generation, schema, "digest").commit(&set(schema, advances, changes)).await.unwrap();
    bench.sink.finish_tables(&generation, schema).await.unwrap();
    checkpoints.iter_mut().for_each(|checkpoint| checkpoint.next_offset += 10);
    done(&bench.sink, moved("shop-g2", RebuildState::Switching)).await;
    (generation, checkpoints)
}

fn text(text: &str) -> PluginValue {
    PluginValue::Text(text.into())
}

/// The row that tells which generation a reader sees, in two tables.
fn mark(number: i64) -> Vec<Change> {
    let insert = vec![text("mark"), PluginValue::Integer(0), PluginValue::Integer(number), text(""), PluginValue::Null];
    vec![add("mark", number), Change { shape: 5, values: insert }]
}

/// Twenty swaps under readers and under writers of both generations: no error, no mixture, no long wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_one_generation_or_the_other_in_many_swaps() {
    let mut bench = Bench::new(|_| {}).await;
    bench.commit(&mark(1)).await.unwrap();
    let schema = Arc::clone(&bench.schema);
    let (generation, checkpoints) = second(&bench, &schema, &mark(2)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for (generation, mut checkpoints) in
        [(bench.generation.clone(), bench.checkpoints.clone()), (generation, checkpoints)]
    {
        let mut writer = bench.sink.writer(&generation, &schema, "digest");
        let (schema, stop) = (Arc::clone(&schema), Arc::clone(&stop));
        writers.push(tokio::spawn(async move {
            let mut events = 0;
            while !stop.load(Ordering::Relaxed) {
                let advances = checkpoints.iter().map(|checkpoint| advance(checkpoint, 1)).collect();
                writer.commit(&set(&schema, advances, &[add("count", 1)])).await.unwrap();
                checkpoints.iter_mut().for_each(|checkpoint| checkpoint.next_offset += 1);
                events += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            events
        }));
    }
    let mut readers = Vec::new();
    for number in 0..4 {
        // Tables in either order: whoever changes both must not wait for one while it holds the other.
        let from = if number % 2 == 0 { "shop.sums AS s, shop.wide AS w" } else { "shop.wide AS w, shop.sums AS s" };
        let query = format!("SELECT s.n, w.i FROM {from} WHERE s.id = 'mark' AND w.id = 'mark'");
        let (mut connection, stop) = (bench.database.connection().await, Arc::clone(&stop));
        readers.push(tokio::spawn(async move {
            let (mut slowest, mut seen) = (Duration::ZERO, [0, 0]);
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let row = sqlx::query(AssertSqlSafe(query.as_str())).fetch_one(&mut connection).await.unwrap();
                slowest = slowest.max(begun.elapsed());
                let (n, i): (i64, i64) = (row.get(0), row.get(1));
                assert_eq!(n, i, "a mixture");
                seen[usize::try_from(n - 1).unwrap()] += 1;
            }
            (slowest, seen)
        }));
    }
    let (mut swaps, mut refusals) = (0, BTreeMap::<&str, u32>::new());
    while swaps < 20 {
        let order = if swaps == 0 { swap("shop-g2") } else { rollback() };
        match bench.sink.order(&order, &asked(None)).await {
            Ok(_) => swaps += 1,
            Err(OrderError::Refused(refusal)) => {
                *refusals.entry(refusal.code).or_default() += 1;
                assert!(refusals.values().sum::<u32>() < 500, "{refusals:?}");
            }
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        let (slowest, seen) = reader.await.unwrap();
        assert!(slowest < Duration::from_millis(300) && seen.iter().all(|seen| *seen > 0), "{slowest:?} {seen:?}");
    }
    for (writer, number) in writers.into_iter().zip(1..) {
        let events: i64 = writer.await.unwrap();
        let generation = Generation { projection: "shop".into(), number };
        assert_eq!(sums(&bench.sink, &generation, &schema).await["count"], Some(events));
    }
    assert!(refusals.keys().all(|code| ["behind", "readers"].contains(code)), "{refusals:?}");
    bench.database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stays_in_a_transaction_keeps_nobody_waiting() {
    let mut bench = Bench::new(|_| {}).await;
    bench.commit(&mark(1)).await.unwrap();
    let schema = Arc::clone(&bench.schema);
    second(&bench, &schema, &mark(2)).await;
    let mut idle = bench.database.connection().await;
    run(&mut idle, "BEGIN; SELECT n FROM shop.sums").await;
    let mut other = bench.database.connection().await;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let reader = tokio::spawn(async move {
        let mut slowest = Duration::ZERO;
        while !stopped.load(Ordering::Relaxed) {
            let begun = Instant::now();
            run(&mut other, "SELECT n FROM shop.sums").await;
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    });
    for _ in 0..5 {
        let begun = Instant::now();
        assert_eq!(refused(&bench.sink, &swap("shop-g2")).await.code, "readers");
        assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
        bench.commit(&[]).await.unwrap();
        let generation = Generation { projection: "shop".into(), number: 2 };
        let checkpoints = bench.sink.claim(&generation, &[bounds(0), bounds(1)]).await.unwrap();
        let advances = checkpoints.iter().map(|checkpoint| advance(checkpoint, 10)).collect();
        bench.sink.writer(&generation, &schema, "digest").commit(&set(&schema, advances, &[])).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let slowest = reader.await.unwrap();
    assert!(slowest < Duration::from_millis(200), "{slowest:?}");
    // A build that adds a column waits no longer either.
    let mut wider = schema.descriptor.clone();
    wider.tables[SUMS].columns.push(column("extra", ColumnType::Text, true));
    let wider = Arc::new(wider.validate().unwrap());
    let deploy = Order::Deploy { schema: wider, digest: "wider".into(), file: String::new(), generation: 1 };
    assert_eq!(refused(&bench.sink, &deploy).await.code, "readers");
    run(&mut idle, "COMMIT").await;
    done(&bench.sink, swap("shop-g2")).await;
    assert_eq!(sqlx::query("SELECT n FROM shop.sums").fetch_one(&mut idle).await.unwrap().get::<i64, _>(0), 2);
    bench.database.drop().await;
}

/// A swap waits a moment for the new generation, while the old one stands still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_waits_for_the_last_events() {
    let mut bench = Bench::new(|_| {}).await;
    bench.commit(&mark(1)).await.unwrap();
    let schema = Arc::clone(&bench.schema);
    let (generation, checkpoints) = second(&bench, &schema, &mark(2)).await;
    bench.commit(&[]).await.unwrap();
    let mut writer = bench.sink.writer(&generation, &schema, "digest");
    let late = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let advances = checkpoints.iter().map(|checkpoint| advance(checkpoint, 10)).collect();
        writer.commit(&set(&schema, advances, &[])).await.unwrap();
    };
    let begun = Instant::now();
    let (ended, ()) = tokio::join!(done(&bench.sink, swap("shop-g2")), late);
    assert!(ended.changed && begun.elapsed() >= Duration::from_millis(300));
    // The old one goes on after that, warm.
    bench.commit(&[add("a", 1)]).await.unwrap();
    bench.database.drop().await;
}

#[tokio::test]
async fn views_keep_grants_and_what_others_have_built_on_them() {
    let mut bench = Bench::new(|_| {}).await;
    bench.commit(&mark(1)).await.unwrap();
    let mut admin = bench.database.connection().await;
    let role = format!("reader of {}", bench.database.name);
    run(&mut admin, &format!(
        "CREATE ROLE \"{role}\"; GRANT SELECT ON shop.wide TO \"{role}\" WITH GRANT OPTION; GRANT SELECT ON shop.sums TO PUBLIC; \
         GRANT SELECT (id), SELECT (t), UPDATE (t) ON shop.versions TO \"{role}\"; CREATE SCHEMA reports; \
         CREATE VIEW reports.totals AS SELECT id, n FROM shop.sums"
    ))
    .await;
    // The next build has more columns in one table, one fewer in two, and one table less.
    let mut next = bench.schema.descriptor.clone();
    next.shapes
        .retain(|shape| !matches!(shape.action, Action::Upsert(ref all) if all.iter().any(|one| one.column == "m")));
    next.shapes.retain(|shape| shape.table != "keys" && shape.table != "versions");
    next.tables[SUMS].columns.insert(1, column("extra", ColumnType::Text, true));
    next.tables[2].columns.truncate(2);
    next.tables.remove(1);
    let next = Arc::new(next.validate().unwrap());
    let mark = |number: i64, schema: &Schema| {
        let ordinal = schema.descriptor.shapes.iter().rposition(|shape| shape.table == "sums").unwrap();
        Change { shape: ordinal as u32, values: vec![text("mark"), PluginValue::Integer(number)] }
    };
    second(&bench, &next, &[mark(2, &next)]).await;
    // A view of somebody on a column that goes stands in the way, and is named.
    run(&mut admin, "CREATE VIEW reports.texts AS SELECT t FROM shop.versions").await;
    let refusal = refused(&bench.sink, &swap("shop-g2")).await;
    assert!(refusal.code == "view_in_use" && refusal.message.contains("reports.texts"), "{refusal}");
    run(&mut admin, "DROP VIEW reports.texts; CREATE VIEW reports.keys AS SELECT ki FROM shop.keys").await;
    let refusal = refused(&bench.sink, &swap("shop-g2")).await;
    assert!(refusal.code == "view_in_use" && refusal.message.contains("reports.keys"), "{refusal}");
    run(&mut admin, "DROP VIEW reports.keys; CREATE TABLE shop.mine (n int)").await;
    done(&bench.sink, swap("shop-g2")).await;

    let rights = |table: &'static str, column: &'static str, right: &'static str| {
        let role = role.clone();
        format!("SELECT has_column_privilege('{role}', 'shop.{table}', '{column}', '{right}')")
    };
    for (query, expected) in [
        (rights("wide", "id", "SELECT WITH GRANT OPTION"), true),
        (rights("sums", "extra", "SELECT"), true),
        (rights("versions", "id", "SELECT"), true),
        (rights("versions", "v", "SELECT"), false),
    ] {
        let row = sqlx::query(AssertSqlSafe(query.clone())).fetch_one(&mut admin).await.unwrap();
        assert_eq!(row.get::<bool, _>(0), expected, "{query}");
    }
    let row = sqlx::query("SELECT n FROM reports.totals").fetch_one(&mut admin).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 2);
    // Old columns keep their places; new ones come after them. Views of tables that are gone are gone.
    let columns = "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'shop.sums'::regclass AND attnum > 0";
    assert_eq!(sqlx::query(columns).fetch_one(&mut admin).await.unwrap().get::<String, _>(0), "id n m extra");
    run(&mut admin, "SELECT 1 / (CASE WHEN to_regclass('shop.keys') IS NULL THEN 1 ELSE 0 END)").await;

    // And back, where the view over all columns of the newer one is in the way.
    run(&mut admin, "CREATE VIEW reports.extra AS SELECT extra FROM shop.sums").await;
    let refusal = refused(&bench.sink, &rollback()).await;
    assert!(refusal.code == "view_in_use" && refusal.message.contains("reports.extra"), "{refusal}");
    run(&mut admin, "DROP VIEW reports.extra, reports.totals").await;
    done(&bench.sink, rollback()).await;
    run(&mut admin, "SELECT ki FROM shop.keys").await;
    // A table of one's own keeps the schema, also when the projection goes.
    run(&mut admin, "CREATE VIEW reports.totals AS SELECT id, n FROM shop.sums").await;
    let drop = Order::Drop { projection: "shop".into() };
    assert_eq!(refused(&bench.sink, &drop).await.code, "view_in_use");
    run(&mut admin, "DROP VIEW reports.totals").await;
    done(&bench.sink, drop).await;
    run(&mut admin, "SELECT * FROM shop.mine").await;
    assert!(bench.sink.open(&bench.schema, "digest").await.unwrap().created);
    bench.sink.close().await;
    bench.database.drop().await;
    let mut admin = PgConnection::connect(&std::env::var("LATERNA_TEST_POSTGRES_URL").unwrap()).await.unwrap();
    run(&mut admin, &format!("DROP ROLE \"{role}\"")).await;
}

#[tokio::test]
async fn names_of_others_are_refused_in_a_rebuild_too() {
    let bench = Bench::new(|_| {}).await;
    let mut admin = bench.database.connection().await;
    run(&mut admin, "CREATE SCHEMA shop_g2").await;
    assert_eq!(refused(&bench.sink, &begin(&bench.schema)).await.code, "name_taken");
    run(&mut admin, "DROP SCHEMA shop_g2; CREATE TABLE shop.more (x int)").await;
    let mut next = bench.schema.descriptor.clone();
    next.tables.push(Table { name: "more".into(), ..next.tables[SUMS].clone() });
    let next = Arc::new(next.validate().unwrap());
    let deploy = Order::Deploy { schema: Arc::clone(&next), digest: "x".into(), file: String::new(), generation: 1 };
    assert_eq!(refused(&bench.sink, &deploy).await.code, "name_taken");
    run(&mut admin, "DROP TABLE shop.more").await;
    done(&bench.sink, deploy).await;
    run(&mut admin, "SELECT id FROM shop.more").await;
    bench.database.drop().await;
}

async fn keys(admin: &mut PgConnection) -> i64 {
    let query = "SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid \
                 WHERE c.relnamespace = to_regnamespace('shop_g2') AND i.indisprimary";
    sqlx::query(query).fetch_one(admin).await.unwrap().get(0)
}

async fn indexes(admin: &mut PgConnection, namespace: &str) -> i64 {
    let query = "SELECT count(*) FROM pg_indexes WHERE schemaname = $1 AND indexname NOT LIKE '%_pkey'";
    sqlx::query(query).bind(namespace).fetch_one(admin).await.unwrap().get(0)
}

/// Keys come when they are needed, indexes when it is finished, and neither twice.
#[tokio::test]
async fn a_bulk_load_makes_keys_when_it_needs_them() {
    let bench = Bench::new(|_| {}).await;
    let mut admin = bench.database.connection().await;
    done(&bench.sink, begin(&bench.schema)).await;
    let generation = Generation { projection: "shop".into(), number: 2 };
    let mut checkpoints = bench.sink.claim(&generation, &[bounds(0), bounds(1)]).await.unwrap();
    let mut writer = bench.sink.bulk_writer(&generation, &bench.schema, "digest");
    let mut commit = async |changes: &[Change]| {
        let advances = checkpoints.iter().map(|checkpoint| advance(checkpoint, 10)).collect();
        writer.commit(&set(&bench.schema, advances, changes)).await.unwrap();
        checkpoints.iter_mut().for_each(|checkpoint| checkpoint.next_offset += 10);
    };
    let some = |from: i64| (from..from + 1_200).map(|id| add(&format!("k{id:05}"), 1)).collect::<Vec<_>>();
    commit(&some(0)).await;
    commit(&some(1_200)).await;
    commit(&mark(2)).await;
    assert_eq!((keys(&mut admin).await, indexes(&mut admin, "shop_g2").await), (0, 0));
    commit(&some(2_000)).await;
    assert_eq!((keys(&mut admin).await, indexes(&mut admin, "shop_g2").await), (1, 0));
    for _ in 0..2 {
        bench.sink.finish_tables(&generation, &bench.schema).await.unwrap();
        assert_eq!((keys(&mut admin).await, indexes(&mut admin, "shop_g2").await), (4, 2));
    }
    commit(&some(3_000)).await;
    let sums = sums(&bench.sink, &generation, &bench.schema).await;
    assert_eq!((sums.len(), sums["k02100"], sums["k03100"]), (4_201, Some(2), Some(2)));
    // A live one that was made by the first version has its indexes under other names.
    let index = &bench.schema.descriptor.tables[WIDE].indexes[0];
    let name = crate::sink::sql::index_name("wide", index);
    run(&mut admin, &format!("ALTER INDEX shop_g1.{name} RENAME TO wide_ts_i_idx")).await;
    bench.sink.finish_tables(&bench.generation, &bench.schema).await.unwrap();
    assert_eq!(indexes(&mut admin, "shop_g1").await, 2);
    bench.database.drop().await;
}

/// Several engines make what a generation lacks at once: all of it is there in the end, and none of them fails for the others' sake.
#[tokio::test]
async fn tables_are_finished_by_one_engine_at_a_time() {
    let bench = Bench::new(|_| {}).await;
    let mut admin = bench.database.connection().await;
    done(&bench.sink, begin(&bench.schema)).await;
    let filled = Generation { projection: "shop".into(), number: 2 };
    // As CREATE INDEX CONCURRENTLY leaves it behind when it is ended.
    let index = crate::sink::sql::index_name("wide", &bench.schema.descriptor.tables[WIDE].indexes[0]);
    run(&mut admin, &format!("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'shop_g1.{index}'::regclass"))
        .await;
    for generation in [&filled, &bench.generation] {
        let at_once = (0..4).map(|_| bench.sink.finish_tables(generation, &bench.schema));
        for end in futures_util::future::join_all(at_once).await {
            end.unwrap_or_else(|error| panic!("{generation}: {error}"));
        }
    }
    assert_eq!((indexes(&mut admin, "shop_g1").await, indexes(&mut admin, "shop_g2").await), (2, 2));
    let unfinished = sqlx::query("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetch_one(&mut admin).await;
    assert_eq!(unfinished.unwrap().get::<i64, _>(0), 0);
    bench.database.drop().await;
}

/// Two that fill one generation at once, with keys in common: nothing is doubled, whoever comes first.
#[tokio::test]
async fn bulk_loads_side_by_side_keep_the_rows_right() {
    let bench = Bench::new(|_| {}).await;
    done(&bench.sink, begin(&bench.schema)).await;
    let generation = Generation { projection: "shop".into(), number: 2 };
    let claimed = bench.sink.claim(&generation, &[bounds(0), bounds(1)]).await.unwrap();
    let mut fillers: Vec<_> = claimed
        .into_iter()
        .map(|checkpoint| (checkpoint, bench.sink.bulk_writer(&generation, &bench.schema, "digest")))
        .collect();
    for round in 0..6_i64 {
        let commits = fillers.iter_mut().map(|(checkpoint, writer)| {
            let changes: Vec<_> = (0..1_100).map(|id| add(&format!("k{:05}", round * 600 + id), 1)).collect();
            let set = set(&bench.schema, vec![advance(checkpoint, 1)], &changes);
            async move {
                writer.commit(&set).await.unwrap();
                checkpoint.next_offset += 1;
            }
        });
        futures_util::future::join_all(commits).await;
    }
    bench.sink.finish_tables(&generation, &bench.schema).await.unwrap();
    let sums = sums(&bench.sink, &generation, &bench.schema).await;
    assert_eq!(sums.len(), 600 * 5 + 1_100);
    assert_eq!(sums.values().map(|n| n.unwrap()).sum::<i64>(), 2 * 6 * 1_100);
    bench.database.drop().await;
}

/// More keys than are kept: upserts from there on.
#[tokio::test]
async fn a_bulk_load_bounds_what_it_keeps() {
    let bench = Bench::new(|_| {}).await;
    done(&bench.sink, begin(&bench.schema)).await;
    let generation = Generation { projection: "shop".into(), number: 2 };
    let mut checkpoints = bench.sink.claim(&generation, &[bounds(0)]).await.unwrap();
    let (database, schema) = (Arc::clone(&bench.sink.database), Arc::clone(&bench.schema));
    let mut writer = BulkWriter::new(database, generation.clone(), schema, "digest".into()).keys_max(2_000);
    for round in 0..4 {
        let changes: Vec<_> = (0..1_500).map(|id| add(&format!("k{:05}", round * 1_000 + id), 1)).collect();
        writer.commit(&set(&bench.schema, vec![advance(&checkpoints[0], 1)], &changes)).await.unwrap();
        checkpoints[0].next_offset += 1;
    }
    let sums = sums(&bench.sink, &generation, &bench.schema).await;
    assert_eq!((sums.len(), sums.values().map(|n| n.unwrap()).sum::<i64>()), (4_500, 6_000));
    assert_eq!(keys(&mut bench.database.connection().await).await, 4);
    bench.database.drop().await;
}

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date() {
    let database = TestDatabase::create().await;
    let mut admin = database.connection().await;
    run(&mut admin, &format!(
        "CREATE SCHEMA laterna; CREATE TABLE laterna.meta (schema_version bigint NOT NULL); INSERT INTO laterna.meta VALUES (1); {}; \
         INSERT INTO laterna.generation (projection, generation, state, revision, descriptor, plugin_digest) \
         VALUES ('shop', 1, 'retired', 1, '{{}}', 'old'), ('shop', 2, 'live', 1, '{{}}', 'new')",
        STEPS[0]
    ))
    .await;
    let registry = database.sink().await.registry().await.unwrap();
    let projection = &registry.projections[0];
    assert_eq!((&*projection.name, projection.desired.name(), &*projection.plugin_digest), ("shop", "running", "new"));
    assert_eq!(projection.plugin_file, "");
    let writable: Vec<_> = registry.generations.iter().map(|one| (one.number, one.writable, one.stored)).collect();
    assert_eq!(writable, [(1, false, true), (2, true, true)]);
    database.drop().await;
}

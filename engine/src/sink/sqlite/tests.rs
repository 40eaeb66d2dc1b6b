//! Against real files.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::{SqliteSettings, SqliteSink};
use crate::change::{ColumnType, Index, IndexKind, Schema};
use crate::error::ErrorKind;
use crate::sink::contract::{self, Bench, add, bounds, column};
use crate::sink::{CommitError, Order, OrderError, Sink as _};

async fn sink(folder: &Path) -> SqliteSink {
    SqliteSink::connect(SqliteSettings { path: folder.join("rows.db") }).await.unwrap()
}

/// Another program's connection.
async fn connection(folder: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(folder.join("rows.db")).connect().await.unwrap()
}

async fn run(connection: &mut SqliteConnection, text: &str) {
    sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(connection).await.unwrap();
}

async fn text(connection: &mut SqliteConnection, query: &str) -> String {
    sqlx::query(AssertSqlSafe(query.to_owned())).fetch_one(connection).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_of_all_sinks_holds() {
    let folder = tempfile::tempdir().unwrap();
    contract::holds(&sink(folder.path()).await, 150).await;
    let mut connection = connection(folder.path()).await;
    assert_eq!(text(&mut connection, "PRAGMA integrity_check").await, "ok");
    assert_eq!(text(&mut connection, "PRAGMA journal_mode").await, "wal");
}

#[tokio::test]
async fn sqlite_is_one_without_the_wal_reset_bug() {
    let folder = tempfile::tempdir().unwrap();
    let version = sink(folder.path()).await.ping().await.unwrap();
    let numbers: Vec<u32> =
        version.strip_prefix("SQLite ").unwrap().split('.').map(|part| part.parse().unwrap()).collect();
    assert!(numbers >= vec![3, 51, 3], "{version}");
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = sink(folder.path()).await;
    let mut bench = Bench::new(&first, "shop").await;
    bench.commit(&[add("a", 1)]).await.unwrap();
    let checkpoints = bench.stored().await;
    drop(bench);
    // Without a close, as after a crash.
    drop(first);
    let second = sink(folder.path()).await;
    let mut bench = Bench::new(&second, "shop").await;
    assert_eq!(bench.stored().await.iter().map(|c| c.next_offset).collect::<Vec<_>>(), [15, 15]);
    assert!(bench.checkpoints.iter().zip(&checkpoints).all(|(new, old)| new.owner_epoch == old.owner_epoch + 1));
    second.close().await;
    bench.commit(&[add("a", 1)]).await.unwrap();
    assert_eq!(bench.sums().await["a"], 2);
}

#[tokio::test]
async fn readers_see_views_and_ours_are_public() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path()).await;
    let mut bench = Bench::new(&sink, "shop").await;
    bench.commit(&[add("a", 1)]).await.unwrap();
    let mut reader = connection(folder.path()).await;
    assert_eq!(text(&mut reader, "SELECT id || n FROM shop_sums").await, "a1");
    assert_eq!(text(&mut reader, "SELECT id || n FROM shop_sums__g1").await, "a1");
    let checkpoints = "SELECT group_concat(topic || partition || ':' || next_offset || ':' || owner_epoch || ':' || start_offset || plugin_digest) \
                       FROM laterna_checkpoint WHERE projection = 'shop' AND generation = 1";
    assert_eq!(text(&mut reader, checkpoints).await, "orders0:15:1:5digest,orders1:15:1:5digest");
    assert_eq!(
        text(&mut reader, "SELECT state || revision || plugin_digest FROM laterna_generation").await,
        "live1digest"
    );
    assert_eq!(text(&mut reader, "SELECT count(*) || '' FROM laterna_parked").await, "0");
}

#[tokio::test]
async fn a_second_engine_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let first = sink(folder.path()).await;
    std::os::unix::fs::symlink(folder.path().join("rows.db"), folder.path().join("other.db")).unwrap();
    for name in ["rows.db", "other.db"] {
        let error = SqliteSink::connect(SqliteSettings { path: folder.path().join(name) }).await.err().unwrap();
        assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "database_in_use"), "{error}");
        assert!(
            error.message.contains(&format!("process {}", std::process::id()))
                && error.message.contains("rows.db.lock"),
            "{error}"
        );
    }
    drop(first);
    sink(folder.path()).await;
}

/// Runs in the other process of `a_process_that_is_killed_leaves_the_file_free`; alone it does nothing.
#[tokio::test]
async fn hold_the_file() {
    let Some(folder) = std::env::var_os("LATERNA_TEST_HOLD") else { return };
    let folder = Path::new(&folder);
    let sink = sink(folder).await;
    let mut bench = Bench::new(&sink, "shop").await;
    let many: Vec<_> = (0..200).map(|id| add(&format!("k{id}"), 1)).collect();
    loop {
        bench.commit(&many).await.unwrap();
        println!("committed");
    }
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_the_file_free() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "sink::sqlite::tests::hold_the_file"])
        .env("LATERNA_TEST_HOLD", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("committed")), "the other process ended");
    let error = SqliteSink::connect(SqliteSettings { path: folder.path().join("rows.db") }).await.err().unwrap();
    assert_eq!(error.code, "database_in_use");
    assert!(error.message.contains(&format!("process {}", child.id())), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    // Whatever it was doing: rows and checkpoints say the same.
    let sink = sink(folder.path()).await;
    let bench = Bench::new(&sink, "shop").await;
    let commits = (bench.checkpoints[0].next_offset - 5) / 10;
    let sums = bench.sums().await;
    assert!(commits >= 1 && sums.len() == 200 && sums.values().all(|n| *n == commits), "{commits} commits");
    let mut connection = connection(folder.path()).await;
    assert_eq!(text(&mut connection, "PRAGMA integrity_check").await, "ok");
}

#[tokio::test]
async fn a_file_that_cannot_be_ours_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let connect =
        async |name: &str| SqliteSink::connect(SqliteSettings { path: folder.path().join(name) }).await.err().unwrap();
    let error = connect("none/rows.db").await;
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "folder_missing"), "{error}");
    assert!(error.message.contains("none"), "{error}");
    let error = SqliteSink::connect(SqliteSettings { path: ":memory:".into() }).await.err().unwrap();
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "database_refused"), "{error}");
    std::fs::write(folder.path().join("text.db"), "not a database, and long enough to be one: ".repeat(100)).unwrap();
    let error = connect("text.db").await;
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "database_corrupt"), "{error}");
    std::fs::create_dir(folder.path().join("folder.db")).unwrap();
    let error = connect("folder.db").await;
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "database_refused"), "{error}");

    drop(sink(folder.path()).await);
    let mut other = connection(folder.path()).await;
    run(&mut other, "UPDATE laterna_meta SET schema_version = 1000").await;
    let error = connect("rows.db").await;
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "schema_newer"), "{error}");
    assert!(error.message.contains("1000"), "{error}");
    run(&mut other, "DROP TABLE laterna_meta").await;
    let error = connect("rows.db").await;
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "name_taken"), "{error}");
}

fn renamed(projection: &str, of: &Schema) -> Arc<Schema> {
    let mut descriptor = of.descriptor.clone();
    descriptor.name = projection.into();
    Arc::new(descriptor.validate().unwrap())
}

#[tokio::test]
async fn names_of_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path()).await;
    let schema = contract::schema("shop");
    let mut other = connection(folder.path()).await;
    for (make, drop) in [
        ("CREATE TABLE Shop_Sums (x)", "DROP TABLE Shop_Sums"),
        ("CREATE VIEW shop_keys AS SELECT 1", "DROP VIEW shop_keys"),
        ("CREATE TABLE shop_wide__g1 (x)", "DROP TABLE shop_wide__g1"),
        ("CREATE TABLE x (y); CREATE INDEX shop_wide ON x (y)", "DROP TABLE x"),
    ] {
        run(&mut other, make).await;
        let error = sink.open(&schema, "digest").await.unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "name_taken"), "{make}: {error}");
        run(&mut other, drop).await;
    }
    // Nothing of the refused ones stayed.
    let left = text(&mut other, "SELECT count(*) || '' FROM sqlite_schema WHERE name LIKE 'shop%'").await;
    assert_eq!(left, "0");
    assert!(sink.open(&schema, "digest").await.unwrap().created);
    let error = sink.open(&renamed("market", &schema), "digest").await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "name_taken"), "{error}");
    assert!(error.message.contains("\"market\"") && error.message.contains("\"shop\""), "{error}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_can_be_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path()).await;
    let mut bench = Bench::new(&sink, "shop").await;
    bench.commit(&[add("a", 1)]).await.unwrap();
    let mut changed = bench.schema.descriptor.clone();
    changed.tables[contract::SUMS].columns.push(column("extra", ColumnType::Text, true));
    changed.tables[0].indexes.push(Index { columns: vec!["t".into(), "i".into()], kind: IndexKind::Ordered });
    changed.tables[0].indexes.push(Index { columns: vec!["t".into()], kind: IndexKind::FullText });
    let changed = Arc::new(changed.validate().unwrap());
    let error = sink.open(&changed, "digest").await.unwrap_err();
    assert_eq!(error.code, "schema_changed");
    assert!(error.message.contains("(and 1 more)"), "{error}");
    let mut other = connection(folder.path()).await;
    sink.order(&Order::Drop { projection: "shop".into() }, &contract::asked(None)).await.unwrap();
    assert!(sink.open(&changed, "digest").await.unwrap().created);
    let indexes = "SELECT group_concat(sql) FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name LIKE 'shop%'";
    let made = text(&mut other, indexes).await;
    assert!(made.contains("laterna_index_shop_wide__g2_") && made.ends_with("(\"t\", \"i\")"), "{made}");

    run(&mut other, "DROP VIEW shop_sums").await;
    let error = sink.open(&changed, "digest").await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "table_missing"), "{error}");
}

#[tokio::test]
async fn a_retired_generation_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path()).await;
    let mut bench = Bench::new(&sink, "shop").await;
    let mut other = connection(folder.path()).await;
    run(&mut other, "UPDATE laterna_generation SET state = 'retired', writable = false").await;
    let Err(CommitError::Fenced(fenced)) = bench.commit(&[add("a", 1)]).await else { panic!("not fenced") };
    assert_eq!(fenced.len(), 2);
    let error = sink.claim(&bench.generation, &[bounds(0)]).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "generation_retired"), "{error}");
    let next = sink.open(&bench.schema, "digest").await.unwrap();
    assert_eq!((next.generation.number, next.created), (2, true));
    assert_eq!(
        text(&mut other, "SELECT sql FROM sqlite_schema WHERE name = 'shop_sums'").await.matches("__g2").count(),
        1
    );
}

#[tokio::test]
async fn a_poisonous_sum_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path()).await;
    let mut bench = Bench::new(&sink, "shop").await;
    bench.commit(&[add("a", i64::MAX)]).await.unwrap();
    let Err(CommitError::Failed(error)) = bench.commit(&[add("a", 1)]).await else { panic!("not refused") };
    assert_eq!((error.kind, error.code), (ErrorKind::Poison, "value_rejected"));
    assert!(error.message.contains("shop_sums.n"), "{error}");
}

/// A full disk, by a bound on the file's pages: nothing is written, it is told, and it goes on once there is room.
#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path()).await;
    let mut bench = Bench::new(&sink, "shop").await;
    bench.commit(&[add("a", 1)]).await.unwrap();
    let limit = |pages: i64| {
        sink.write("limiting".into(), move |connection| {
            Box::pin(async move {
                run(connection, &format!("PRAGMA max_page_count = {pages}")).await;
                Ok(())
            })
        })
    };
    limit(1).await.unwrap();
    let many: Vec<_> = (0..5_000).map(|id| add(&format!("key number {id}"), 1)).collect();
    let Err(CommitError::Failed(error)) = bench.commit(&many).await else { panic!("not full") };
    assert_eq!((error.kind, error.code), (ErrorKind::Transient, "disk_full"), "{error}");
    assert_eq!(bench.stored().await, bench.checkpoints);
    limit(1 << 30).await.unwrap();
    bench.commit(&many).await.unwrap();
    assert_eq!(bench.sums().await.len(), 5_001);
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new().filename(folder.path().join("rows.db")).create_if_missing(true);
    let mut before = options.connect().await.unwrap();
    run(
        &mut before,
        "CREATE TABLE laterna_meta (schema_version INTEGER NOT NULL) STRICT; INSERT INTO laterna_meta VALUES (1)",
    )
    .await;
    run(&mut before, super::catalog::STEPS[0]).await;
    let generations = "INSERT INTO laterna_generation (projection, generation, state, revision, descriptor, plugin_digest) \
                       VALUES ('shop', 1, 'retired', 1, '{}', 'old'), ('shop', 2, 'live', 1, '{}', 'new')";
    run(&mut before, generations).await;
    drop(before);
    let registry = sink(folder.path()).await.registry().await.unwrap();
    let projection = &registry.projections[0];
    assert_eq!((&*projection.name, projection.desired.name(), &*projection.plugin_digest), ("shop", "running", "new"));
    let writable: Vec<_> = registry.generations.iter().map(|one| (one.number, one.writable, one.stored)).collect();
    assert_eq!(writable, [(1, false, true), (2, true, true)]);
}

/// A rebuilt generation may take new names, as long as nobody has them; readers see the one that is switched to.
#[tokio::test]
async fn names_of_a_rebuild_are_held_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(folder.path()).await;
    let mut bench = Bench::new(&sink, "shop").await;
    bench.commit(&[add("a", 1)]).await.unwrap();
    let mut next = bench.schema.descriptor.clone();
    next.tables.push(crate::change::Table { name: "more".into(), ..next.tables[contract::SUMS].clone() });
    let next = Arc::new(next.validate().unwrap());
    let begin = |schema: &Arc<Schema>| Order::BeginRebuild {
        schema: Arc::clone(schema),
        digest: "next".into(),
        file: String::new(),
        switch: crate::sink::Switch::Auto,
        max_rate: None,
        forced: false,
        targets: vec![],
    };
    let mut other = connection(folder.path()).await;
    run(&mut other, "CREATE TABLE more (x)").await;
    let refused = async |order: Order| match sink.order(&order, &contract::asked(None)).await {
        Err(OrderError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(begin(&next)).await.code, "name_taken");
    run(&mut other, "DROP TABLE more").await;
    sink.order(&begin(&next), &contract::asked(None)).await.unwrap();
    // Another projection that declares it comes too late.
    let mut market = contract::schema("market").descriptor.clone();
    market.tables.push(crate::change::Table { name: "more".into(), ..market.tables[contract::SUMS].clone() });
    let create =
        Order::Create { schema: Arc::new(market.validate().unwrap()), digest: String::new(), file: String::new() };
    let refusal = refused(create).await;
    assert!(refusal.code == "name_taken" && refusal.message.contains("\"shop\""), "{refusal}");
    let mut filling = Bench::on(&sink, &next, 2, true).await;
    filling.commit(&[add("a", 2)]).await.unwrap();
    let switch = Order::MoveRebuild {
        id: "shop-g2".into(),
        from: crate::sink::RebuildState::Filling,
        to: crate::sink::RebuildState::Switching,
        reason: None,
    };
    sink.order(&switch, &contract::asked(None)).await.unwrap();
    assert_eq!(text(&mut other, "SELECT id || n FROM shop_sums").await, "a1");
    sink.order(&Order::Swap { id: "shop-g2".into(), collect_at_us: 0 }, &contract::asked(None)).await.unwrap();
    assert_eq!(text(&mut other, "SELECT id || n FROM shop_sums").await, "a2");
    run(&mut other, "SELECT * FROM more").await;
    sink.order(&Order::Rollback { projection: "shop".into(), collect_at_us: 0 }, &contract::asked(None)).await.unwrap();
    assert_eq!(text(&mut other, "SELECT id || n FROM shop_sums").await, "a1");
    assert_eq!(text(&mut other, "SELECT count(*) || '' FROM sqlite_schema WHERE name = 'more'").await, "0");
    sink.order(&Order::Drop { projection: "shop".into() }, &contract::asked(None)).await.unwrap();
    assert_eq!(text(&mut other, "SELECT count(*) || '' FROM sqlite_schema WHERE tbl_name NOT LIKE '%laterna%' AND tbl_name NOT LIKE 'sqlite_%'").await, "0");
}

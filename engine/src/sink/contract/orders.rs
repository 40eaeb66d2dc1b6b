//! Laws of orders: what each changes, when it is refused, and what the audit and a repetition tell.

use futures_util::future::join_all;
use serde_json::json;

use super::*;
use crate::change::{Index, IndexKind};
use crate::sink::{
    Build, Desired, Done, GenerationState, Order, OrderError, RebuildState, Refusal, Registry, Switch, Target,
    differences,
};

pub(super) async fn hold(sink: &dyn Sink) {
    wishes(sink).await;
    repetitions(sink).await;
    builds(sink).await;
    rebuilds(sink).await;
    ends(sink).await;
    swaps(sink).await;
    deploys(sink).await;
    races(sink).await;
}

pub(super) async fn done(sink: &dyn Sink, order: Order) -> Done {
    sink.order(&order, &asked(None)).await.unwrap_or_else(|error| panic!("{order:?}: {error}"))
}

async fn refused(sink: &dyn Sink, order: Order) -> Refusal {
    let before = sink.registry().await.unwrap();
    let Err(OrderError::Refused(refusal)) = sink.order(&order, &asked(None)).await else {
        panic!("not refused: {order:?}")
    };
    assert_eq!(sink.registry().await.unwrap(), before, "{refusal}");
    refusal
}

/// The registry of one projection.
async fn registry(sink: &dyn Sink, projection: &str) -> Registry {
    let mut registry = sink.registry().await.unwrap();
    registry.projections.retain(|record| record.name == projection);
    registry.generations.retain(|record| record.projection == projection);
    registry.rebuilds.retain(|record| record.projection == projection);
    registry
}

fn create(schema: &Arc<Schema>) -> Order {
    Order::Create { schema: Arc::clone(schema), digest: "one".into(), file: "one.wasm".into() }
}

pub(super) fn begin(schema: &Arc<Schema>) -> Order {
    Order::BeginRebuild {
        schema: Arc::clone(schema),
        digest: "two".into(),
        file: "two.wasm".into(),
        switch: Switch::Manual,
        max_rate: Some(1_000),
        forced: false,
        targets: vec![Target { topic: "orders".into(), partition: 0, start: 5, end: 100, other_log: false }],
    }
}

pub(super) fn moved(id: &str, from: RebuildState, to: RebuildState) -> Order {
    Order::MoveRebuild { id: id.into(), from, to, reason: None }
}

/// Whole milliseconds, which is what SQLite keeps.
const LATER: i64 = 4_102_444_800_123_000;

async fn wishes(sink: &dyn Sink) {
    let schema = schema("wishing");
    let projection = || "wishing".to_owned();
    let made = done(sink, create(&schema)).await;
    assert_eq!((made.changed, made.generation), (true, Some(1)));
    let again = done(sink, create(&schema)).await;
    assert_eq!((again.changed, again.generation), (false, Some(1)));
    let known = registry(sink, "wishing").await;
    let record = &known.projections[0];
    assert_eq!((record.desired, &*record.plugin_file, &*record.plugin_digest), (Desired::Running, "one.wasm", "one"));
    let live = &known.generations[0];
    assert_eq!((live.number, live.state, live.writable, live.stored), (1, GenerationState::Live, true, true));
    assert_eq!((live.revision, &*live.plugin_digest, live.collect_at_us), (1, "one", None));
    assert!(differences(&live.descriptor, &schema).is_empty() && live.created_at_us > 1_700_000_000_000_000);

    let desire =
        |desired, reason: &str| Order::Desire { projection: projection(), desired, reason: Some(reason.into()) };
    assert!(done(sink, desire(Desired::Paused, "maintenance")).await.changed);
    assert!(!done(sink, desire(Desired::Paused, "again")).await.changed);
    assert!(done(sink, Order::Restart { projection: projection() }).await.changed);
    let hold = || Order::Hold { projection: projection(), digest: "two".into(), file: "two.wasm".into() };
    assert!(done(sink, hold()).await.changed);
    assert!(!done(sink, hold()).await.changed);
    let record = registry(sink, "wishing").await.projections.remove(0);
    assert_eq!((record.desired, record.reason.as_deref(), record.restarts), (Desired::Paused, Some("maintenance"), 1));
    assert_eq!((&*record.plugin_digest, &*record.plugin_file), ("two", "two.wasm"));
    for order in [
        Order::Restart { projection: "nobody".into() },
        Order::Drop { projection: "nobody".into() },
        Order::Rollback { projection: "nobody".into(), collect_at_us: 0 },
        Order::Deploy { schema: super::schema("nobody"), digest: String::new(), file: String::new(), generation: 1 },
        begin(&super::schema("nobody")),
    ] {
        assert_eq!(refused(sink, order).await.code, "projection_unknown");
    }

    // What changed is in the audit, once, and nothing else.
    let audit = sink.audit(Some("wishing"), None, 100).await.unwrap();
    assert_eq!(audit.iter().map(|entry| &*entry.action).collect::<Vec<_>>(), ["hold", "restart", "desire", "create"]);
    assert!(audit.is_sorted_by_key(|entry| -entry.id) && audit.iter().all(|entry| entry.at_us > 1_700_000_000_000_000));
    assert_eq!(audit[0].actor, asked(None).actor);
    assert_eq!((audit[0].before["digest"].as_str(), audit[0].after["digest"].as_str()), (Some("one"), Some("two")));
    assert_eq!(audit[0].plugin_digest.as_deref(), Some("two"));
    assert_eq!(audit[2].detail, json!({"desired": "paused", "reason": "maintenance"}));
    assert_eq!(audit[2].before["desired"], "running");
    let older = sink.audit(Some("wishing"), Some(audit[0].id), 2).await.unwrap();
    assert_eq!(older, audit[1..3]);
    assert!(sink.audit(None, None, 1_000).await.unwrap().len() >= 4);
    assert!(sink.audit(Some("nobody"), None, 100).await.unwrap().is_empty());
}

async fn repetitions(sink: &dyn Sink) {
    let schema = schema("repeating");
    done(sink, create(&schema)).await;
    let restart = Order::Restart { projection: "repeating".into() };
    for _ in 0..3 {
        assert!(sink.order(&restart, &asked(Some("a key"))).await.unwrap().changed);
    }
    assert_eq!(registry(sink, "repeating").await.projections[0].restarts, 1);
    assert_eq!(sink.audit(Some("repeating"), None, 100).await.unwrap().len(), 2);
    let other = Order::Drop { projection: "repeating".into() };
    let Err(OrderError::Refused(refusal)) = sink.order(&other, &asked(Some("a key"))).await else { panic!() };
    assert_eq!((refusal.code, refusal.subject.as_deref()), ("idempotency_mismatch", Some("a key")));
    let mut somebody = asked(Some("a key"));
    somebody.actor.name = "somebody else".into();
    sink.order(&restart, &somebody).await.unwrap();
    assert_eq!(registry(sink, "repeating").await.projections[0].restarts, 2);

    // What the engine finds at the time makes no other request of it.
    let first = sink.order(&begin(&schema), &asked(Some("rebuild"))).await.unwrap();
    assert_eq!((first.generation, first.rebuild.as_deref()), (Some(2), Some("repeating-g2")));
    let mut again = begin(&schema);
    if let Order::BeginRebuild { targets, .. } = &mut again {
        targets.clear();
    }
    assert_eq!(sink.order(&again, &asked(Some("rebuild"))).await.unwrap(), first);
    // What was refused may be asked for again under its key.
    let Err(OrderError::Refused(_)) = sink.order(&again, &asked(Some("another"))).await else { panic!() };
    done(sink, Order::CancelRebuild { id: "repeating-g2".into(), reason: "enough".into() }).await;
    assert_eq!(sink.order(&again, &asked(Some("another"))).await.unwrap().generation, Some(3));
}

async fn builds(sink: &dyn Sink) {
    let build = |digest: &str, bytes: Vec<u8>| Build {
        digest: digest.into(),
        projection: "building".into(),
        revision: 7,
        file: "a b.wasm".into(),
        bytes: bytes.into(),
    };
    let large = build("large", (0..300_000_u32).map(|n| (n % 251) as u8).collect());
    for one in [&large, &build("empty", vec![]), &large] {
        sink.store_build(one).await.unwrap();
        assert_eq!(sink.load_build(&one.digest).await.unwrap().as_ref(), Some(one));
    }
    sink.store_build(&build("large", vec![1])).await.unwrap();
    assert_eq!(sink.load_build("large").await.unwrap(), Some(large));
    assert_eq!(sink.load_build("none").await.unwrap(), None);
}

async fn rebuilds(sink: &dyn Sink) {
    use RebuildState as S;
    let schema = schema("rebuilding");
    done(sink, create(&schema)).await;
    let begun = done(sink, begin(&schema)).await;
    assert_eq!((begun.changed, begun.generation, begun.rebuild.as_deref()), (true, Some(2), Some("rebuilding-g2")));
    let known = registry(sink, "rebuilding").await;
    let rebuild = &known.rebuilds[0];
    assert_eq!((rebuild.generation, rebuild.from_generation, rebuild.state), (2, 1, S::Filling));
    assert_eq!(
        (rebuild.switch, rebuild.max_rate, rebuild.forced, rebuild.targets.len()),
        (Switch::Manual, Some(1_000), false, 1)
    );
    assert_eq!((&*known.projections[0].plugin_digest, known.generations[1].state), ("two", GenerationState::Building));
    let refusal = refused(sink, begin(&schema)).await;
    assert_eq!((refusal.code, refusal.subject.as_deref()), ("rebuild_active", Some("rebuilding-g2")));
    assert!(refusal.message.contains("rebuilding-g2"), "{refusal}");

    let id = "rebuilding-g2";
    let swap = || Order::Swap { id: id.into(), collect_at_us: LATER };
    for (order, code) in [
        (moved(id, S::Indexing, S::CatchingUp), "rebuild_state"),
        (moved(id, S::Filling, S::Switched), "rebuild_state"),
        (moved(id, S::Filling, S::Cancelled), "rebuild_state"),
        (moved("rebuilding-g9", S::Filling, S::Indexing), "rebuild_unknown"),
        (moved("nothing", S::Filling, S::Indexing), "rebuild_unknown"),
        (swap(), "rebuild_state"),
        (Order::Collect { projection: "rebuilding".into(), generation: 1 }, "generation_live"),
        (Order::Collect { projection: "rebuilding".into(), generation: 2 }, "generation_live"),
        (Order::Rollback { projection: "rebuilding".into(), collect_at_us: 0 }, "no_warm_generation"),
    ] {
        assert_eq!(refused(sink, order).await.code, code);
    }
    assert!(done(sink, moved(id, S::Filling, S::Indexing)).await.changed);
    assert!(!done(sink, moved(id, S::Filling, S::Indexing)).await.changed);
    let failed = Order::MoveRebuild { id: id.into(), from: S::Indexing, to: S::Failed, reason: Some("no room".into()) };
    done(sink, failed).await;
    let known = registry(sink, "rebuilding").await;
    let rebuild = &known.rebuilds[0];
    assert_eq!((rebuild.state, rebuild.reason.as_deref()), (S::Failed, Some("no room")));
    assert!(rebuild.finished_at_us.is_some_and(|at| at >= rebuild.created_at_us));
    assert!(!known.generations[1].writable && known.generations[1].stored);
    assert_eq!(refused(sink, swap()).await.code, "rebuild_state");
    let cancel = Order::CancelRebuild { id: id.into(), reason: "late".into() };
    assert_eq!(refused(sink, cancel).await.code, "rebuild_state");
}

/// Cancelled, collected and dropped generations are written by nobody, and their numbers do not come again.
async fn ends(sink: &dyn Sink) {
    let mut live = Bench::new(sink, "ending").await;
    let schema = Arc::clone(&live.schema);
    live.commit(&[add("a", 1)]).await.unwrap();
    done(sink, begin(&schema)).await;
    let mut filling = Bench::on(sink, &schema, 2, true).await;
    filling.commit(&[add("a", 1)]).await.unwrap();
    let cancel = || Order::CancelRebuild { id: "ending-g2".into(), reason: "enough".into() };
    assert!(done(sink, cancel()).await.changed);
    assert!(!done(sink, cancel()).await.changed);
    assert_eq!(registry(sink, "ending").await.rebuilds[0].reason.as_deref(), Some("enough"));
    assert!(matches!(filling.commit(&[add("a", 1)]).await, Err(CommitError::Fenced(_))));
    let error = sink.claim(&filling.generation, &[bounds(0)]).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Fatal, "generation_retired"), "{error}");
    let collect = || Order::Collect { projection: "ending".into(), generation: 2 };
    assert!(done(sink, collect()).await.changed);
    assert!(!done(sink, collect()).await.changed);
    // The tables are gone: still fenced, by the writer that is at it and by a new one.
    assert!(matches!(filling.commit(&[add("a", 1)]).await, Err(CommitError::Fenced(_))));
    for bulk in [false, true] {
        let generation = filling.generation.clone();
        filling.writer =
            if bulk { sink.bulk_writer(&generation, &schema, "x") } else { sink.writer(&generation, &schema, "x") };
        assert!(filling.commit(&[add("a", 1)]).await.is_err(), "{bulk}");
    }
    assert!(sink.checkpoints(&filling.generation).await.unwrap().is_empty());
    let known = registry(sink, "ending").await;
    assert_eq!(known.generations.iter().map(|generation| generation.number).collect::<Vec<_>>(), [1]);
    assert_eq!(known.rebuilds.len(), 1);
    assert_eq!(done(sink, begin(&schema)).await.rebuild.as_deref(), Some("ending-g3"));
    assert_eq!(registry(sink, "ending").await.rebuilds.iter().map(|one| one.generation).collect::<Vec<_>>(), [3, 2]);

    let drop = || Order::Drop { projection: "ending".into() };
    assert!(done(sink, drop()).await.changed);
    assert_eq!(refused(sink, drop()).await.code, "projection_unknown");
    assert_eq!(registry(sink, "ending").await, Registry::default());
    assert!(matches!(live.commit(&[add("a", 1)]).await, Err(CommitError::Fenced(_))));
    assert!(sink.rows(&live.generation, &schema, SUMS, None).await.is_err());
    assert!(sink.audit(Some("ending"), None, 100).await.unwrap().len() >= 5);
    assert_eq!(done(sink, create(&schema)).await.generation, Some(4));
    sink.check_tables(&Generation { projection: "ending".into(), number: 4 }, &schema).await.unwrap();
    assert_eq!(registry(sink, "ending").await.projections[0].desired, Desired::Running);
}

async fn swaps(sink: &dyn Sink) {
    use RebuildState as S;
    let mut old = Bench::new(sink, "swapping").await;
    let schema = Arc::clone(&old.schema);
    old.commit(&[add("a", 1)]).await.unwrap();
    done(sink, begin(&schema)).await;
    let id = "swapping-g2";
    let swap = || Order::Swap { id: id.into(), collect_at_us: LATER };
    let rollback = || Order::Rollback { projection: "swapping".into(), collect_at_us: LATER };
    done(sink, moved(id, S::Filling, S::Switching)).await;

    // Behind: a partition that is not there yet, one that is not there yet in offsets, none.
    let refusal = refused(sink, swap()).await;
    assert_eq!(refusal.code, "behind", "{refusal}");
    let mut new = Bench::on(sink, &schema, 2, true).await;
    assert_eq!(refused(sink, swap()).await.code, "behind");
    let mut set = new.set(&[add("a", 2)]);
    set.advances.truncate(1);
    new.writer.commit(&set).await.unwrap();
    let refusal = refused(sink, swap()).await;
    assert!(refusal.code == "behind" && refusal.message.contains("orders/1 stands at 5 of 15"), "{refusal}");
    new = Bench::on(sink, &schema, 2, false).await;
    sink.finish_tables(&new.generation, &schema).await.unwrap();
    new = Bench::on(sink, &schema, 2, false).await;
    let mut set = new.set(&[]);
    set.advances.remove(0);
    new.writer.commit(&set).await.unwrap();
    assert!(sink.check_tables(&new.generation, &schema).await.is_ok());
    let swapped = done(sink, swap()).await;
    assert_eq!((swapped.changed, swapped.generation, swapped.rebuild.as_deref()), (true, Some(2), Some(id)));
    assert!(!done(sink, swap()).await.changed);
    let known = registry(sink, "swapping").await;
    let states = |known: &Registry| known.generations.iter().map(|g| (g.state, g.writable)).collect::<Vec<_>>();
    assert_eq!(states(&known), [(GenerationState::Retired, true), (GenerationState::Live, true)]);
    assert_eq!(known.generations.iter().map(|g| g.collect_at_us).collect::<Vec<_>>(), [Some(LATER), None]);
    assert_eq!((known.rebuilds[0].state, known.rebuilds[0].state.is_active()), (S::Switched, false));

    // The one that is left stays warm: it can be claimed and goes on, and be come back to when it stands level.
    let mut old = Bench::on(sink, &schema, 1, false).await;
    new = Bench::on(sink, &schema, 2, false).await;
    new.commit(&[add("a", 1)]).await.unwrap();
    assert_eq!(refused(sink, rollback()).await.code, "behind");
    old.commit(&[add("a", 1)]).await.unwrap();
    assert_eq!(done(sink, rollback()).await.generation, Some(1));
    assert_eq!(
        states(&registry(sink, "swapping").await),
        [(GenerationState::Live, true), (GenerationState::Retired, true)]
    );
    assert_eq!(done(sink, rollback()).await.generation, Some(2));
    old.commit(&[add("a", 1)]).await.unwrap();
    assert!(done(sink, Order::Collect { projection: "swapping".into(), generation: 1 }).await.changed);
    assert!(matches!(old.commit(&[add("a", 1)]).await, Err(CommitError::Fenced(_))));
    assert_eq!(refused(sink, rollback()).await.code, "no_warm_generation");
    new.commit(&[add("a", 1)]).await.unwrap();
    assert_eq!(new.sums().await["a"], 4);
    let audit = sink.audit(Some("swapping"), None, 4).await.unwrap();
    assert_eq!((audit[1].before.clone(), audit[1].after["live"].clone()), (json!({"live": 1}), json!(2)));
}

async fn deploys(sink: &dyn Sink) {
    let mut bench = Bench::new(sink, "deploying").await;
    bench.commit(&[add("a", 1)]).await.unwrap();
    let mut descriptor = bench.schema.descriptor.clone();
    descriptor.tables[SUMS].columns.insert(1, column("extra", ColumnType::Decimal, true));
    descriptor.tables[WIDE].indexes.push(Index { columns: vec!["t".into(), "i".into()], kind: IndexKind::Ordered });
    descriptor.tables.push(Table { name: "deploying_more".into(), ..descriptor.tables[SUMS].clone() });
    let added = Arc::new(descriptor.validate().unwrap());
    let deploy = |schema: &Arc<Schema>, digest: &str, generation| Order::Deploy {
        schema: Arc::clone(schema),
        digest: digest.into(),
        file: "new.wasm".into(),
        generation,
    };
    for generation in [0, 2] {
        assert_eq!(refused(sink, deploy(&added, "new", generation)).await.code, "generation_gone");
    }
    let done_once = done(sink, deploy(&added, "new", 1)).await;
    assert_eq!((done_once.changed, done_once.generation), (true, Some(1)));
    assert!(!done(sink, deploy(&added, "new", 1)).await.changed);
    let known = registry(sink, "deploying").await;
    assert!(differences(&known.generations[0].descriptor, &added).is_empty());
    assert_eq!((&*known.generations[0].plugin_digest, &*known.projections[0].plugin_file), ("new", "new.wasm"));
    sink.check_tables(&bench.generation, &added).await.unwrap();
    sink.finish_tables(&bench.generation, &added).await.unwrap();
    // The former build goes on until its runner is started anew, and the new one after it.
    bench.commit(&[add("a", 1)]).await.unwrap();
    let mut new = Bench::on(sink, &added, 1, false).await;
    new.commit(&[add("a", 1)]).await.unwrap();
    let rows = sink.rows(&new.generation, &added, SUMS, None).await.unwrap();
    assert_eq!(
        (rows.columns, rows.rows),
        (
            ["id", "extra", "n", "m"].map(String::from).to_vec(),
            vec![vec![json!("a"), json!(null), json!(3), json!(null)]]
        )
    );
    assert!(sink.rows(&new.generation, &added, 3, None).await.unwrap().rows.is_empty());
    let audit = sink.audit(Some("deploying"), None, 1).await.unwrap().remove(0);
    assert!(
        audit.action == "deploy" && audit.after["tables"][0].as_str().unwrap().contains("deploying_wide"),
        "{audit:?}"
    );

    for change in [
        |descriptor: &mut Descriptor| descriptor.tables[SUMS].columns[3].column_type = ColumnType::Integer,
        |descriptor: &mut Descriptor| descriptor.tables[SUMS].columns.push(column("needed", ColumnType::Text, false)),
        |descriptor: &mut Descriptor| drop(descriptor.tables.remove(3)),
    ] {
        let mut descriptor = added.descriptor.clone();
        descriptor.shapes.retain(|shape| shape.table != "deploying_sums");
        change(&mut descriptor);
        let refusal = refused(sink, deploy(&Arc::new(descriptor.validate().unwrap()), "bad", 1)).await;
        assert_eq!(refusal.code, "not_additive", "{refusal}");
    }
}

/// Of many who begin a rebuild at once, one does; of many that have ended, the last ones are told of.
async fn races(sink: &dyn Sink) {
    let schema = schema("racing");
    done(sink, create(&schema)).await;
    let (order, by) = (begin(&schema), asked(None));
    let ended = join_all((0..20).map(|_| sink.order(&order, &by))).await;
    let (won, lost): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1, "{lost:?}");
    for error in lost {
        let Err(OrderError::Refused(refusal)) = error else { panic!("{error:?}") };
        assert_eq!((refusal.code, refusal.subject.as_deref()), ("rebuild_active", Some("racing-g2")));
    }
    assert_eq!(registry(sink, "racing").await.rebuilds.len(), 1);
    for number in 2..24 {
        let id = format!("racing-g{number}");
        done(sink, Order::CancelRebuild { id, reason: "enough".into() }).await;
        done(sink, Order::Collect { projection: "racing".into(), generation: number }).await;
        done(sink, order.clone()).await;
    }
    let known = registry(sink, "racing").await;
    assert_eq!(known.rebuilds.iter().map(|one| one.generation).collect::<Vec<_>>(), (4..25).rev().collect::<Vec<_>>());
    assert_eq!(known.generations.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 24]);
}

//! Laws of filling a generation in bulk, of comparing two, and of rows by their keys.

use std::collections::BTreeMap;

use serde_json::json;

use super::orders::{begin, done, moved};
use super::*;
use crate::sink::{RebuildState, TableDifference};

pub(super) async fn hold(sink: &dyn Sink, commits: usize) {
    filling(sink).await;
    for crash in [None, Some(0), Some(2)] {
        filling_at_random(sink, commits / 10, crash).await;
    }
    comparing(sink).await;
    looking_up(sink).await;
}

fn delete(id: &str, part: i64) -> Change {
    Change { shape: 9, values: vec![PluginValue::Text(id.into()), PluginValue::Integer(part)] }
}

fn delete_prefix(id: &str) -> Change {
    Change { shape: 10, values: vec![PluginValue::Text(id.into())] }
}

/// A live generation and one that fills, both from the start.
async fn pair<'a>(sink: &'a dyn Sink, projection: &str) -> (Bench<'a>, Bench<'a>) {
    let live = Bench::new(sink, projection).await;
    done(sink, begin(&live.schema)).await;
    let filling = Bench::on(sink, &live.schema, 2, true).await;
    (live, filling)
}

/// What is filled in bulk is what is written as usual: new rows, rows again in a set and in a later one, deletes, whole prefixes.
async fn filling(sink: &dyn Sink) {
    let (mut live, mut bulk) = pair(sink, "filling").await;
    let some = |from: i64, to: i64| (from..to).map(|id| add(&format!("k{id:06}"), id)).collect::<Vec<_>>();
    let rows = |from: i64, to: i64| {
        let mut changes = Vec::new();
        for id in from..to {
            changes.extend(given().into_iter().map(|mut change| {
                change.values[1] = PluginValue::Integer(id);
                change
            }));
        }
        changes
    };
    let sets = [
        vec![],
        some(0, 1_500),
        [some(1_500, 3_000), rows(0, 3), some(1_500, 1_600)].concat(),
        [some(3_000, 4_200), rows(3, 400)].concat(),
        [some(4_200, 4_300), some(0, 50)].concat(),
        [some(4_300, 6_000), vec![delete("2", 1), delete("nobody", 1)]].concat(),
        [vec![delete_prefix("3")], rows(2, 5), some(10, 20)].concat(),
        some(6_000, 6_010),
    ];
    for (at, changes) in sets.iter().enumerate() {
        live.commit(changes).await.unwrap();
        bulk.commit(changes).await.unwrap_or_else(|error| panic!("set {at}: {error}"));
        assert_eq!(live.digests().await, bulk.digests().await, "set {at}");
    }
    sink.finish_tables(&bulk.generation, &bulk.schema).await.unwrap();
    sink.finish_tables(&bulk.generation, &bulk.schema).await.unwrap();
    bulk.commit(&some(0, 1_200)).await.unwrap();
    live.commit(&some(0, 1_200)).await.unwrap();
    assert_eq!(live.digests().await, bulk.digests().await);
    assert_eq!(live.sums().await.len(), 6_010);
}

/// The same for any change sets, with another writer that takes over half-way.
async fn filling_at_random(sink: &dyn Sink, commits: usize, crash: Option<usize>) {
    let projection = format!("filling_{}", crash.map_or("whole".to_owned(), |at| format!("from_{at}")));
    let (mut live, mut bulk) = pair(sink, &projection).await;
    let schema = Arc::clone(&live.schema);
    let events = proptest::collection::vec(proptest::collection::vec(change(&schema), 1..3), 1..12);
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    for commit in 0..commits {
        let mut set = ChangeSet::new(&schema);
        for event in events.new_tree(&mut runner).unwrap().current() {
            set.push_event(&schema, event).ok();
        }
        if crash == Some(commit) {
            bulk = Bench::on(sink, &schema, 2, true).await;
        }
        let mut ends = Vec::new();
        for bench in [&mut live, &mut bulk] {
            set.advances = bench.checkpoints.iter().map(|checkpoint| advance(checkpoint, 10)).collect();
            ends.push(match bench.writer.commit(&set).await {
                Ok(()) => {
                    bench.checkpoints.iter_mut().for_each(|checkpoint| checkpoint.next_offset += 10);
                    true
                }
                Err(CommitError::Failed(error)) if error.kind == ErrorKind::Poison => false,
                Err(error) => panic!("{error}"),
            });
        }
        assert_eq!(ends[0], ends[1], "commit {commit}");
        assert_eq!(live.digests().await, bulk.digests().await, "commit {commit}");
    }
    sink.finish_tables(&bulk.generation, &schema).await.unwrap();
    assert_eq!(live.digests().await, bulk.digests().await);
    let expected: Vec<_> = live.stored().await.iter().map(|checkpoint| checkpoint.next_offset).collect();
    assert_eq!(bulk.stored().await.iter().map(|checkpoint| checkpoint.next_offset).collect::<Vec<_>>(), expected);
}

fn counts(difference: &TableDifference) -> (u64, u64, u64, u64, u64) {
    let TableDifference { live_rows, rebuilt_rows, removed, added, changed, .. } = difference;
    (*live_rows, *rebuilt_rows, *removed, *added, *changed)
}

async fn comparing(sink: &dyn Sink) {
    let mut live = Bench::new(sink, "comparing").await;
    // The next build has another column in a table that is otherwise the same, another key in one, and one table more and one less.
    let mut descriptor = live.schema.descriptor.clone();
    descriptor.shapes.retain(|shape| shape.table != "comparing_keys");
    descriptor.tables[SUMS].columns.insert(1, column("extra", ColumnType::Text, true));
    descriptor.tables[KEYS].name = "comparing_more".into();
    let next = Arc::new(descriptor.validate().unwrap());
    done(sink, begin(&next)).await;
    let mut rebuilt = Bench::on(sink, &next, 2, true).await;

    live.commit(&given()).await.unwrap();
    live.commit(&["a", "b", "c", "d"].map(|id| add(id, 1))).await.unwrap();
    let comparison = sink.compare(&live.generation).await.unwrap();
    assert_eq!(comparison.checkpoints(), live.stored().await);
    // What comes after the look is not seen.
    live.commit(&[add("e", 1), delete("1", 0)]).await.unwrap();
    assert_eq!(comparison.checkpoints()[0].next_offset, 25);
    let mut wide = given();
    wide.truncate(3);
    // The shapes of the next build stand before where those of the table that it has not stood.
    let sum =
        |id: &str, n: i64| Change { shape: 0, values: vec![PluginValue::Text(id.into()), PluginValue::Integer(n)] };
    rebuilt.commit(&wide).await.unwrap();
    rebuilt.commit(&[sum("B", 1), sum("a", 1), sum("b", 2), sum("d", 1), sum("ä", 1)]).await.unwrap();
    let both = comparison.beside(&rebuilt.generation).await.unwrap();
    assert_eq!(both.checkpoints(), rebuilt.stored().await);
    // Nor what comes to the rebuilt one after the look at it.
    rebuilt.commit(&[sum("zz", 1)]).await.unwrap();
    let found = both.finish(&live.schema, &next, 2).await.unwrap();
    let by_name: BTreeMap<&str, &TableDifference> = found.iter().map(|one| (&*one.table, one)).collect();
    assert_eq!(
        found.iter().map(|one| &*one.table).collect::<Vec<_>>(),
        ["comparing_wide", "comparing_more", "comparing_sums", "comparing_keys"]
    );
    let wide = by_name["comparing_wide"];
    assert_eq!((counts(wide), wide.comparable), ((4, 3, 1, 0, 0), true));
    assert_eq!((wide.samples.len(), &wide.samples[0].key), (1, &vec![json!("4"), json!(0)]));
    assert!(wide.samples[0].rebuilt.is_none() && wide.samples[0].live.as_ref().unwrap()[3] == 7);
    let sums = by_name["comparing_sums"];
    assert_eq!(counts(sums), (4, 5, 1, 2, 1));
    assert_eq!((sums.live_columns.len(), sums.rebuilt_columns.len(), sums.samples.len()), (3, 4, 2));
    assert_eq!((&sums.samples[0].key, &sums.samples[0].live), (&vec![json!("B")], &None));
    let changed = &sums.samples[1];
    assert_eq!(changed.live, Some(vec![json!("b"), json!(1), json!(null)]));
    assert_eq!(changed.rebuilt, Some(vec![json!("b"), json!(null), json!(2), json!(null)]));
    for name in ["comparing_more", "comparing_keys"] {
        assert!(!by_name[name].comparable && counts(by_name[name]) == (0, 0, 0, 0, 0), "{name}");
    }

    // Where nothing differs nothing is found; keys of every type, in the order that each database has.
    let (mut live, mut bulk) = pair(sink, "comparing_equal").await;
    let schema = Arc::clone(&live.schema);
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let keys = schema.tables[KEYS]
        .key
        .iter()
        .map(|column| value(schema.descriptor.tables[KEYS].columns[*column].column_type, false));
    let keys = proptest::collection::vec(keys.collect::<Vec<_>>(), 300).new_tree(&mut runner).unwrap().current();
    let changes = keys.into_iter().enumerate().map(|(at, mut values)| {
        values.push(PluginValue::Integer(at as i64 % 3));
        Change { shape: 2, values }
    });
    let changes: Vec<_> = changes.collect();
    live.commit(&changes).await.unwrap();
    bulk.commit(&changes).await.unwrap();
    let comparison = sink.compare(&live.generation).await.unwrap();
    let both = comparison.beside(&bulk.generation).await.unwrap();
    let found = both.finish(&schema, &schema, 10).await.unwrap();
    for difference in &found {
        assert!(difference.comparable && difference.samples.is_empty(), "{difference:?}");
        assert_eq!((difference.removed, difference.added, difference.changed), (0, 0, 0));
    }
    assert!(found[KEYS].live_rows > 250 && found[KEYS].live_rows == found[KEYS].rebuilt_rows);
    done(sink, moved("comparing_equal-g2", RebuildState::Filling, RebuildState::Ready)).await;
}

async fn looking_up(sink: &dyn Sink) {
    let mut bench = Bench::new(sink, "looking").await;
    bench.commit(&given()).await.unwrap();
    bench.commit(&[add("a", 1), add("b", 2)]).await.unwrap();
    let key = |id: &str| Key([Value::Text(id.into())].into());
    let (generation, schema) = (&bench.generation, &bench.schema);
    let rows = sink.rows_at(generation, schema, SUMS, &["b", "x", "a", "b"].map(key)).await.unwrap();
    let some = |n: i64| Some(vec![Value::Integer(n), Value::Null]);
    assert_eq!(rows, [some(2), None, some(1), some(2)]);
    assert!(sink.rows_at(generation, schema, SUMS, &[]).await.unwrap().is_empty());
    let wide = Key([Value::Text("3".into()), Value::Integer(0)].into());
    let row = sink.rows_at(generation, schema, WIDE, &[wide]).await.unwrap().remove(0).unwrap();
    assert_eq!(row.iter().map(Value::to_json).collect::<Vec<_>>(), told()[2][2..]);
    assert_eq!(sink.rows_at(generation, schema, 9, &[]).await.unwrap_err().code, "table_missing");
}

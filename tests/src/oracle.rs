//! What tables must hold: each guest's meaning, written a second time, as a fold over the records of a topic.
//!
//! The law (C1): for each partition, the tables equal the fold of exactly the visible records below the checkpoint, in
//! offset order. A [`Fold`] only ever advances, so holding thousands of snapshots against it costs one pass over the log.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::kafka_log::{KafkaLog, Record};
use crate::sql::{Cell, Query, Reader, Rows, Snapshot};
use crate::wait;

/// The records of one topic.
pub trait Log: Send {
    /// The visible records of a partition from `from` up to (not including) `to`.
    fn range(&mut self, partition: i32, from: i64, to: i64) -> &[Record];
    /// Of each partition, the offset after its last visible record.
    fn ends(&mut self) -> BTreeMap<i32, i64>;
}

impl Log for KafkaLog {
    fn range(&mut self, partition: i32, from: i64, to: i64) -> &[Record] {
        KafkaLog::range(self, partition, from, to)
    }

    fn ends(&mut self) -> BTreeMap<i32, i64> {
        KafkaLog::ends(self)
    }
}

/// The meaning of a guest.
pub trait Fold: Send {
    /// Takes the next record of a partition.
    fn apply(&mut self, partition: i32, record: &Record);
    /// What is wrong with the answer to a query of the projection, if anything.
    ///
    /// # Errors
    /// What is wrong, in one line.
    fn check(&self, query: &str, rows: &Rows) -> Result<(), String>;
}

/// A guest and how to look at what it keeps.
#[derive(Clone, Copy)]
pub struct Projection {
    /// Its name.
    pub name: &'static str,
    /// Asked in every snapshot.
    pub quick: &'static [Query],
    /// Asked at the end: every row.
    pub whole: &'static [Query],
    /// An empty fold.
    pub fold: fn() -> Box<dyn Fold>,
}

/// The topic of all guests here.
pub const TOPIC: &str = "events";

/// 64 bits of FNV-1a.
fn fnv1a(bytes: &[u8]) -> i64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash as i64
}

fn cell(value: impl ToString) -> Cell {
    Some(value.to_string())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the load writes UTF-8")
}

fn key(record: &Record) -> String {
    record.key.as_deref().map(text).unwrap_or_default()
}

/// The first difference between two sorted lists of rows.
fn compare(mut expected: Rows, rows: &Rows) -> Result<(), String> {
    expected.sort();
    if expected == *rows {
        return Ok(());
    }
    let missing = expected.iter().find(|row| rows.binary_search(row).is_err());
    let surplus = rows.iter().find(|row| expected.binary_search(row).is_err());
    Err(format!(
        "{} rows, expected {}; first missing {missing:?}, first not expected {surplus:?}",
        rows.len(),
        expected.len()
    ))
}

/// `ledger`: every event once.
pub const LEDGER: Projection = Projection {
    name: "ledger",
    quick: &[
        Query {
            name: "entries by part",
            sql: "SELECT CAST(part AS TEXT), CAST(count(*) AS TEXT), CAST(sum(at) AS TEXT), \
                  CAST(coalesce(sum(value_hash % 1000003), 0) AS TEXT) FROM {ledger.entries} GROUP BY part",
        },
        Query {
            name: "applied by part",
            sql: "SELECT CAST(part AS TEXT), CAST(count(*) AS TEXT), CAST(sum(at) AS TEXT), CAST(max(times) AS TEXT), \
                  CAST(sum(times) AS TEXT) FROM {ledger.applied} GROUP BY part",
        },
    ],
    whole: &[
        Query {
            name: "entries",
            sql: "SELECT topic, CAST(part AS TEXT), CAST(at AS TEXT), CAST(length(key) AS TEXT), CAST(value_hash AS TEXT) FROM {ledger.entries}",
        },
        Query {
            name: "applied",
            sql: "SELECT topic, CAST(part AS TEXT), CAST(at AS TEXT), CAST(times AS TEXT) FROM {ledger.applied}",
        },
    ],
    fold: || Box::<Ledger>::default(),
};

#[derive(Default)]
struct Ledger {
    entries: Rows,
    parts: BTreeMap<i32, (i64, i64, i64)>,
}

impl Fold for Ledger {
    fn apply(&mut self, partition: i32, record: &Record) {
        let hash = record.value.as_deref().map(fnv1a);
        let part = self.parts.entry(partition).or_default();
        *part = (part.0 + 1, part.1 + record.offset, part.2 + hash.map_or(0, |hash| hash % 1_000_003));
        let length = record.key.as_ref().map(|key| key.len().to_string());
        self.entries.push(vec![
            cell(TOPIC),
            cell(partition),
            cell(record.offset),
            length,
            hash.map(|hash| hash.to_string()),
        ]);
    }

    fn check(&self, query: &str, rows: &Rows) -> Result<(), String> {
        let parts = self.parts.iter();
        let expected = match query {
            "entries by part" => {
                parts.map(|(part, (count, at, hash))| vec![cell(part), cell(count), cell(at), cell(hash)]).collect()
            }
            "applied by part" => parts
                .map(|(part, (count, at, _))| vec![cell(part), cell(count), cell(at), cell(1), cell(count)])
                .collect(),
            "entries" => self.entries.clone(),
            "applied" => self.entries.iter().map(|row| [&row[..3], &[cell(1)]].concat()).collect(),
            _ => panic!("no query {query}"),
        };
        compare(expected, rows)
    }
}

/// `counter`: sums over all partitions.
pub const COUNTER: Projection =
    Projection { name: "counter", quick: COUNTS, whole: COUNTS, fold: || Box::<Counter>::default() };

const COUNTS: &[Query] =
    &[Query { name: "counts", sql: "SELECT key, CAST(events AS TEXT), CAST(total AS TEXT) FROM {counter.counts}" }];

#[derive(Default)]
struct Counter(BTreeMap<String, (i64, i64)>);

impl Fold for Counter {
    fn apply(&mut self, _: i32, record: &Record) {
        let row = self.0.entry(key(record)).or_default();
        let number = record.value.as_deref().and_then(|value| text(value).trim().parse::<i64>().ok()).unwrap_or(0);
        *row = (row.0 + 1, row.1 + number);
    }

    fn check(&self, _: &str, rows: &Rows) -> Result<(), String> {
        compare(self.0.iter().map(|(key, (events, total))| vec![cell(key), cell(events), cell(total)]).collect(), rows)
    }
}

/// `chain`: the first and the last of each key, by partition.
pub const CHAIN: Projection =
    Projection { name: "chain", quick: LINKS, whole: LINKS, fold: || Box::<Chain>::default() };

const LINKS: &[Query] = &[Query {
    name: "chain",
    sql: "SELECT CAST(part AS TEXT), key, last_value, first_value, CAST(last_at AS TEXT), CAST(first_at AS TEXT), \
          CAST(events AS TEXT), CAST(tombstones AS TEXT) FROM {chain.chain}",
}];

struct Link {
    last_value: Option<String>,
    first_value: Option<String>,
    last_at: i64,
    first_at: i64,
    events: i64,
    tombstones: i64,
}

#[derive(Default)]
struct Chain(BTreeMap<(i32, String), Link>);

impl Fold for Chain {
    fn apply(&mut self, partition: i32, record: &Record) {
        let fresh = || Link {
            last_value: None,
            first_value: None,
            last_at: record.offset,
            first_at: record.offset,
            events: 0,
            tombstones: 0,
        };
        let link = self.0.entry((partition, key(record))).or_insert_with(fresh);
        link.last_value = record.value.as_deref().map(text);
        link.first_value = link.first_value.take().or_else(|| link.last_value.clone());
        link.last_at = record.offset;
        link.events += 1;
        link.tombstones += i64::from(record.value.is_none());
    }

    fn check(&self, _: &str, rows: &Rows) -> Result<(), String> {
        let row = |((part, key), link): (&(i32, String), &Link)| {
            let numbers = [link.last_at, link.first_at, link.events, link.tombstones].map(cell);
            [vec![cell(part), cell(key), link.last_value.clone(), link.first_value.clone()], numbers.to_vec()].concat()
        };
        compare(self.0.iter().map(row).collect(), rows)
    }
}

/// `serial_last`: one row a key, shared by all partitions. Which partition's event came last is open; that it was the
/// last of its own partition, and that each was counted once, is not.
pub const SERIAL_LAST: Projection =
    Projection { name: "serial_last", quick: LAST, whole: LAST, fold: || Box::<SerialLast>::default() };

const LAST: &[Query] = &[Query {
    name: "last",
    sql: "SELECT key, value, CAST(part AS TEXT), CAST(at AS TEXT), CAST(events AS TEXT) FROM {serial_last.last}",
}];

/// The rows that may stand: of each partition the last event, and how many there were over all.
#[derive(Default)]
struct SerialLast(BTreeMap<String, (BTreeMap<i32, Vec<Cell>>, i64)>);

impl Fold for SerialLast {
    fn apply(&mut self, partition: i32, record: &Record) {
        let (candidates, events) = self.0.entry(key(record)).or_default();
        *events += 1;
        candidates.insert(partition, vec![record.value.as_deref().map(text), cell(partition), cell(record.offset)]);
    }

    fn check(&self, _: &str, rows: &Rows) -> Result<(), String> {
        if rows.len() != self.0.len() {
            return Err(format!("{} rows, expected {}", rows.len(), self.0.len()));
        }
        for row in rows {
            let found = row[0].as_ref().and_then(|key| self.0.get(key));
            let Some((candidates, events)) = found else { return Err(format!("not expected {row:?}")) };
            if row[4] != cell(events) || !candidates.values().any(|candidate| candidate[..] == row[1..4]) {
                return Err(format!("{row:?}, expected {events} events and one of {candidates:?}"));
            }
        }
        Ok(())
    }
}

/// The table `seen(part, at)` of the guests that misbehave on a word.
pub mod seen {
    use super::{Fold, Projection, Query, Record, Rows, cell, compare};

    #[derive(Default)]
    struct Seen(Rows);

    impl Fold for Seen {
        fn apply(&mut self, partition: i32, record: &Record) {
            self.0.push(vec![cell(partition), cell(record.offset)]);
        }

        fn check(&self, _: &str, rows: &Rows) -> Result<(), String> {
            compare(self.0.clone(), rows)
        }
    }

    macro_rules! seen {
        ($constant:ident, $name:literal) => {
            #[doc = concat!("`", $name, "`")]
            pub const $constant: Projection = Projection {
                name: $name,
                quick: $constant::QUERIES,
                whole: $constant::QUERIES,
                fold: || Box::<Seen>::default(),
            };

            #[expect(non_snake_case, reason = "named as its projection")]
            mod $constant {
                pub(super) const QUERIES: &[super::Query] = &[super::Query {
                    name: "seen",
                    sql: concat!("SELECT CAST(part AS TEXT), CAST(at AS TEXT) FROM {", $name, ".seen}"),
                }];
            }
        };
    }

    seen!(TRAP, "trap");
    seen!(LOOP, "loop_guest");
    seen!(ALLOC, "alloc");
    seen!(REJECT, "reject");
}

/// A fold that follows the checkpoints of snapshots.
pub struct Follower<L> {
    projection: Projection,
    log: L,
    fold: Box<dyn Fold>,
    at: BTreeMap<i32, i64>,
}

impl<L: Log> Follower<L> {
    /// A fold at the beginning of a log.
    pub fn new(projection: Projection, log: L) -> Self {
        Self { projection, log, fold: (projection.fold)(), at: BTreeMap::new() }
    }

    /// Advances to the snapshot's checkpoints and holds its answers against the fold.
    ///
    /// # Errors
    /// The law does not hold, and where.
    pub fn check(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        for ((topic, partition), &next) in &snapshot.checkpoints {
            if topic != TOPIC {
                return Err(format!("a checkpoint of topic {topic}"));
            }
            let at = self.at.entry(*partition).or_insert(0);
            if next < *at {
                return Err(format!("the checkpoint of partition {partition} went back from {at} to {next}"));
            }
            if next > *at {
                self.log.range(*partition, *at, next).iter().for_each(|record| self.fold.apply(*partition, record));
                *at = next;
            }
        }
        for (query, rows) in &snapshot.rows {
            let place = || format!("{} of {} at checkpoints {:?}", query, self.projection.name, self.at);
            self.fold.check(query, rows).map_err(|wrong| format!("{}: {wrong}", place()))?;
        }
        Ok(())
    }
}

/// Waits until the checkpoints stand at or after the end of everything that is visible now, then holds every row
/// against a fold of its own. Gives how many records there were.
///
/// # Panics
/// They do not get there, or the law does not hold.
pub async fn settle(url: &str, projection: Projection, mut log: impl Log) -> u64 {
    let ends = tokio::task::block_in_place(|| log.ends());
    let what = format!("{} to reach {ends:?}", projection.name);
    let reached = wait::until_async(&what, wait::PATIENCE, || async {
        let mut reader = Reader::connect(url).await.map_err(|error| error.to_string())?;
        let snapshot = reader.snapshot(projection.name, projection.whole).await.map_err(|error| error.to_string())?;
        let next = |partition: &i32| snapshot.checkpoints.get(&(TOPIC.to_owned(), *partition)).copied().unwrap_or(0);
        let behind = ends.iter().any(|(partition, end)| next(partition) < *end);
        if behind {
            // Whole tables are heavy to read: not fifty times a second.
            tokio::time::sleep(Duration::from_millis(200)).await;
            return Err(format!("{:?}", snapshot.checkpoints));
        }
        Ok(snapshot)
    });
    let snapshot = reached.await;
    tokio::task::block_in_place(|| {
        let count = ends.iter().map(|(partition, end)| log.range(*partition, 0, *end).len() as u64).sum();
        Follower::new(projection, log).check(&snapshot).unwrap_or_else(|wrong| panic!("after all: {wrong}"));
        count
    })
}

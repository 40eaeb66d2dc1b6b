//! The bare native loop that the engine is measured against: what a good engineer writes by hand for exactly these two
//! tables. Kafka's consumer, the same typed parse as the plugin's (`bench_logic`, as native code), a fold in a hash map by
//! key, sorted keys, one `UNNEST` upsert a table, fetch and write overlapped. No sandbox, no checkpoint, no fence, no
//! checks of values, no groups.
//!
//! It is a process of its own, so that its start counts as the engine's does: [`child`] is that process, [`run`] starts
//! it. It tells what it has committed when, line by line.

use std::collections::HashMap;
use std::process::Command;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bench_logic::{OrderRow, Output, SaleRow};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use sqlx::{Connection, PgConnection};

use crate::load::{PARTITIONS, TOPIC};
use crate::timeline::Timeline;
use crate::{Workload, process};

/// How a bare loop works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Variant {
    /// Writers, the partitions dealt between them.
    pub(crate) writers: usize,
    /// Events in one transaction.
    pub(crate) batch: usize,
}

/// Those that are tried; the best counts.
pub(crate) const VARIANTS: [Variant; 4] = [
    Variant { writers: 1, batch: 5_000 },
    Variant { writers: 1, batch: 20_000 },
    Variant { writers: 2, batch: 5_000 },
    Variant { writers: 2, batch: 20_000 },
];

const TABLES: [&str; 2] = [
    "CREATE TABLE orders (order_id text NOT NULL, customer_id text, status text NOT NULL, item_count bigint NOT NULL,
     total numeric NOT NULL, placed_at timestamptz NOT NULL, last_offset bigint NOT NULL, PRIMARY KEY (order_id))",
    "CREATE TABLE daily_sales (day date NOT NULL, sku text NOT NULL, quantity bigint NOT NULL, revenue numeric NOT NULL,
     PRIMARY KEY (day, sku))",
];

const UPSERT_ORDERS: &str = "INSERT INTO orders (order_id, customer_id, status, item_count, total, placed_at, last_offset)
    SELECT u.order_id, u.customer_id, u.status, u.item_count, u.cents * 0.01, 'epoch'::timestamptz + u.micros * interval '1 microsecond',
        u.last_offset
    FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
        AS u (order_id, customer_id, status, item_count, cents, micros, last_offset)
    ON CONFLICT (order_id) DO UPDATE SET customer_id = EXCLUDED.customer_id, status = EXCLUDED.status,
        item_count = EXCLUDED.item_count, total = EXCLUDED.total, placed_at = EXCLUDED.placed_at,
        last_offset = GREATEST(orders.last_offset, EXCLUDED.last_offset)";

const UPSERT_SALES: &str = "INSERT INTO daily_sales AS t (day, sku, quantity, revenue)
    SELECT date '1970-01-01' + u.day, u.sku, u.quantity, u.cents * 0.01
    FROM UNNEST($1::integer[], $2::text[], $3::bigint[], $4::bigint[]) AS u (day, sku, quantity, cents)
    ON CONFLICT (day, sku) DO UPDATE SET quantity = t.quantity + EXCLUDED.quantity, revenue = t.revenue + EXCLUDED.revenue";

/// One run in a process of its own, into an empty database. The second value: its seconds of CPU.
pub(crate) fn run(bootstrap: &str, url: &str, workload: Workload, variant: Variant, total: u64) -> (Timeline, f64) {
    let begin = SystemTime::now();
    let output = Command::new(std::env::current_exe().expect("our own path"))
        .args(["bare", bootstrap, url, workload.name(), &variant.writers.to_string(), &variant.batch.to_string()])
        .arg(total.to_string())
        .output()
        .expect("start the bare loop");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "the bare loop failed:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let begin = begin.duration_since(UNIX_EPOCH).expect("clock").as_secs_f64();
    let (mut commits, mut cpu) = (Vec::new(), f64::NAN);
    for line in said.lines() {
        let (what, value) = line.split_once(' ').expect("two words a line");
        match what {
            "cpu" => cpu = value.parse().expect("seconds"),
            at => commits.push((at.parse::<f64>().expect("seconds") - begin, value.parse::<u64>().expect("events"))),
        }
    }
    // Two writers tell of their commits by themselves.
    commits.sort_by(|left, right| left.0.total_cmp(&right.0));
    let mut done = 0;
    let points = commits.into_iter().map(|(at, events)| {
        done += events;
        (at, done)
    });
    let timeline = Timeline { total, points: points.collect() };
    assert_eq!(timeline.points.last().map(|point| point.1), Some(total), "the bare loop applied all events");
    (timeline, cpu)
}

/// The process itself.
pub(crate) fn child(arguments: &[String]) {
    let [bootstrap, url, workload, writers, batch, total] = arguments else { panic!("six arguments") };
    let workload = Workload::of(workload);
    let (writers, batch): (u32, usize) = (writers.parse().expect("writers"), batch.parse().expect("batch"));
    let total: u64 = total.parse().expect("total");
    let database = runtime();
    database.block_on(async {
        let mut connection = PgConnection::connect(url).await.expect("connect");
        for table in TABLES {
            sqlx::raw_sql(table).execute(&mut connection).await.expect("create a table");
        }
    });
    let counted: u64 = std::thread::scope(|scope| {
        let loops: Vec<_> = (0..writers)
            .map(|writer| {
                let partitions: Vec<i32> =
                    (0..PARTITIONS).filter(|p| p % writers == writer).map(|p| p as i32).collect();
                let (to_writer, from_reader) = sync_channel(1);
                scope.spawn(move || write(url, workload, &from_reader));
                scope.spawn(move || {
                    let mut counted = 0;
                    read(bootstrap, &partitions, |value, offset, fold: &mut Fold| {
                        workload.native(value, offset, fold).expect("an order event");
                        fold.events += 1;
                        if fold.events as usize == batch {
                            counted += fold.events;
                            to_writer.send(Batch::of(std::mem::take(fold))).expect("the writer");
                        }
                    })
                    .filter(|rest| rest.events > 0)
                    .map_or(counted, |rest| {
                        let rest_events = rest.events;
                        to_writer.send(Batch::of(rest)).expect("the writer");
                        counted + rest_events
                    })
                })
            })
            .collect();
        loops.into_iter().map(|handle| handle.join().expect("a loop")).sum()
    });
    assert_eq!(counted, total, "events read");
    println!("cpu {}", process::cpu_seconds(std::process::id()));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime")
}

/// Reads the partitions from their start to what is now their end. Gives back what is left in the fold.
fn read(bootstrap: &str, partitions: &[i32], mut each: impl FnMut(&str, i64, &mut Fold)) -> Option<Fold> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "bare").set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "error").set("check.crcs", "true").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().expect("consumer");
    let mut list = TopicPartitionList::new();
    let mut left = 0;
    for &partition in partitions {
        list.add_partition_offset(TOPIC, partition, Offset::Beginning).expect("a partition");
        let (first, end) = consumer.fetch_watermarks(TOPIC, partition, Duration::from_secs(10)).expect("watermarks");
        left += end - first;
    }
    consumer.assign(&list).expect("assign");
    let mut fold = Fold::default();
    while left > 0 {
        let message = consumer.poll(Duration::from_secs(30))?.expect("a message");
        let value = std::str::from_utf8(message.payload().expect("a value")).expect("text");
        each(value, message.offset(), &mut fold);
        left -= 1;
    }
    Some(fold)
}

/// What a batch's events come to: the last state of each order, the sums of each day's products.
#[derive(Default)]
struct Fold {
    events: u64,
    orders: HashMap<String, Order>,
    sales: HashMap<i32, HashMap<String, (i64, i64)>>,
}

struct Order {
    customer_id: Option<String>,
    status: &'static str,
    item_count: i64,
    total_cents: i64,
    placed_at_micros: i64,
    last_offset: i64,
}

impl Output for Fold {
    fn order(&mut self, row: OrderRow<'_>) {
        let order = Order {
            customer_id: row.customer_id.map(Into::into),
            status: row.status,
            item_count: row.item_count,
            total_cents: row.total_cents,
            placed_at_micros: row.placed_at_micros,
            last_offset: row.last_offset,
        };
        // An order's events are of one partition, so the last one has the greatest offset.
        match self.orders.get_mut(&*row.order_id) {
            Some(stored) => *stored = order,
            None => drop(self.orders.insert(row.order_id.into_owned(), order)),
        }
    }

    fn sale(&mut self, row: SaleRow<'_>) {
        let skus = self.sales.entry(row.day).or_default();
        let sums = match skus.get_mut(&*row.sku) {
            Some(sums) => sums,
            None => skus.entry(row.sku.into_owned()).or_default(),
        };
        sums.0 += row.quantity;
        sums.1 += row.revenue_cents;
    }
}

/// The columns of a batch, sorted by key.
#[derive(Default)]
struct Batch {
    events: u64,
    order_ids: Vec<String>,
    customer_ids: Vec<Option<String>>,
    statuses: Vec<&'static str>,
    item_counts: Vec<i64>,
    totals: Vec<i64>,
    placed_at: Vec<i64>,
    last_offsets: Vec<i64>,
    days: Vec<i32>,
    skus: Vec<String>,
    quantities: Vec<i64>,
    revenues: Vec<i64>,
}

impl Batch {
    fn of(fold: Fold) -> Self {
        let mut batch = Self { events: fold.events, ..Self::default() };
        let mut orders: Vec<_> = fold.orders.into_iter().collect();
        orders.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        for (order_id, order) in orders {
            batch.order_ids.push(order_id);
            batch.customer_ids.push(order.customer_id);
            batch.statuses.push(order.status);
            batch.item_counts.push(order.item_count);
            batch.totals.push(order.total_cents);
            batch.placed_at.push(order.placed_at_micros);
            batch.last_offsets.push(order.last_offset);
        }
        let mut sales: Vec<_> = fold.sales.into_iter().collect();
        sales.sort_unstable_by_key(|(day, _)| *day);
        for (day, skus) in sales {
            let mut skus: Vec<_> = skus.into_iter().collect();
            skus.sort_unstable_by(|left, right| left.0.cmp(&right.0));
            for (sku, (quantity, cents)) in skus {
                batch.days.push(day);
                batch.skus.push(sku);
                batch.quantities.push(quantity);
                batch.revenues.push(cents);
            }
        }
        batch
    }
}

fn write(url: &str, workload: Workload, batches: &Receiver<Batch>) {
    runtime().block_on(async {
        let mut connection = PgConnection::connect(url).await.expect("connect");
        while let Ok(batch) = batches.recv() {
            let orders = sqlx::query(UPSERT_ORDERS)
                .bind(batch.order_ids)
                .bind(batch.customer_ids)
                .bind(batch.statuses)
                .bind(batch.item_counts)
                .bind(batch.totals)
                .bind(batch.placed_at)
                .bind(batch.last_offsets);
            match workload {
                // One statement is a transaction.
                Workload::W1 => drop(orders.execute(&mut connection).await.expect("upsert")),
                Workload::W2 => {
                    let mut transaction = connection.begin().await.expect("begin");
                    orders.execute(&mut *transaction).await.expect("upsert");
                    let sales = sqlx::query(UPSERT_SALES).bind(batch.days).bind(batch.skus);
                    let sales = sales.bind(batch.quantities).bind(batch.revenues);
                    sales.execute(&mut *transaction).await.expect("upsert");
                    transaction.commit().await.expect("commit");
                }
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("clock");
            println!("{} {}", now.as_secs_f64(), batch.events);
        }
        connection.close().await.expect("close");
    });
}

//! Orders and products for the demo: the n-th event of a topic is a pure function of n, so a second run goes on where the first
//! one was by counting lines. The formats stand in `examples/README.md`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde_json::{Value, json};

/// Orders placed by the fixed set of `demo --once`.
pub(super) const ORDERS_ONCE: u64 = 1_000;
/// Products created by the fixed set.
pub(super) const PRODUCTS_ONCE: u64 = 200;
/// 2026-01-01T00:00:00Z: where the fixed set begins.
pub(super) const EPOCH_MS: i64 = 1_767_225_600_000;

/// Of ten events of an order topic, eight place an order, one updates one and one ends one.
const ORDER_BLOCK: u64 = 10;
const PLACED_PER_BLOCK: u64 = 8;
/// Of six events of the product topic, four create a product and two change one.
const PRODUCT_BLOCK: u64 = 6;
const CREATED_PER_BLOCK: u64 = 4;

/// The events of the fixed set, by topic.
pub(super) const ORDER_EVENTS_ONCE: u64 = ORDERS_ONCE / PLACED_PER_BLOCK * ORDER_BLOCK;
pub(super) const PRODUCT_EVENTS_ONCE: u64 = PRODUCTS_ONCE / CREATED_PER_BLOCK * PRODUCT_BLOCK;

const ADJECTIVES: [&str; 8] = ["Brass", "Painted", "Folding", "Portable", "Twin", "Silent", "Grand", "Pocket"];
const THINGS: [&str; 10] =
    ["lantern", "slide", "lens", "shutter", "screen", "prism", "condenser", "burner", "projector", "stereoscope"];
const CATEGORIES: [&str; 4] = ["optics", "slides", "lamps", "accessories"];

/// One event before it is a line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Generated {
    pub(super) key: String,
    /// None: a tombstone.
    pub(super) value: Option<Value>,
}

/// The two topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Orders,
    Products,
}

impl Topic {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Products => "products",
        }
    }

    fn partitions(self) -> u64 {
        match self {
            Self::Orders => 4,
            Self::Products => 2,
        }
    }

    fn event(self, number: u64, at_ms: i64) -> Generated {
        match self {
            Self::Orders => order_event(number, at_ms),
            Self::Products => product_event(number, at_ms),
        }
    }
}

/// Pseudo-random numbers that depend on nothing but their arguments (SplitMix64).
fn random(stream: &str, number: u64, draw: u64) -> u64 {
    let seed = fnv(stream.as_bytes())
        .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(draw.wrapping_mul(0xd1b5_4a32_d192_ed03));
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn pick<T: Copy>(from: &[T], random: u64) -> T {
    from[(random % from.len() as u64) as usize]
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn sku(number: u64) -> String {
    format!("SKU-{:04}", number % 10_000)
}

fn items(order: u64, revision: u64) -> Vec<Value> {
    let draw = |n| random("items", order, revision * 100 + n);
    let first = draw(0);
    (0..1 + draw(1) % 4)
        .map(|n| {
            // Different skus in one order, each with its own price.
            let product = (first + n * 7) % PRODUCTS_ONCE;
            json!({ "sku": sku(product), "quantity": 1 + draw(10 + n) % 5, "unit_price": money(499 + random("price", product, 0) % 20_000) })
        })
        .collect()
}

fn order_event(number: u64, at_ms: i64) -> Generated {
    let (block, position) = (number / ORDER_BLOCK, number % ORDER_BLOCK);
    let chosen = block * PLACED_PER_BLOCK + random("chosen", number, 0) % PLACED_PER_BLOCK;
    let order = if position < PLACED_PER_BLOCK { block * PLACED_PER_BLOCK + position } else { chosen };
    let key = format!("o-{order:08}");
    let whole = |kind: &str, revision| {
        let customer = format!("c-{:06}", random("customer", order, 0) % 5_000);
        json!({ "type": kind, "order_id": key, "customer_id": customer, "placed_at_ms": at_ms, "items": items(order, revision) })
    };
    let value = match position {
        0..PLACED_PER_BLOCK => Some(whole("order.placed", 0)),
        PLACED_PER_BLOCK => Some(whole("order.updated", 1)),
        // Every fifth of the orders that end is erased; the others are cancelled.
        _ if block % 5 == 4 => None,
        _ => Some(json!({ "type": "order.cancelled", "order_id": key, "reason": "changed my mind" })),
    };
    Generated { key, value }
}

fn product_event(number: u64, at_ms: i64) -> Generated {
    let (block, position) = (number / PRODUCT_BLOCK, number % PRODUCT_BLOCK);
    let chosen = random("product", block, 0) % CREATED_PER_BLOCK;
    // The two changes of a block are to two different products, so each of them is that product's second version.
    let within = match position {
        0..CREATED_PER_BLOCK => position,
        CREATED_PER_BLOCK => chosen,
        _ => (chosen + 1) % CREATED_PER_BLOCK,
    };
    let product = block * CREATED_PER_BLOCK + within;
    let key = format!("SKU-{product:04}");
    let whole = |kind: &str, version: u64| {
        let draw = |n| random("product", product, n);
        let name = format!("{} {}", pick(&ADJECTIVES, draw(1)), pick(&THINGS, draw(2)));
        let cents = 499 + random("price", product, 0) % 20_000 + (version - 1) * 100;
        json!({
            "type": kind, "sku": key, "version": version, "at_ms": at_ms, "name": name, "category": pick(&CATEGORIES, draw(3)),
            "price": money(cents), "status": "active", "attributes": { "weight_g": 50 + draw(4) % 3_000 },
        })
    };
    let value = match position {
        0..CREATED_PER_BLOCK => whole("product.created", 1),
        CREATED_PER_BLOCK => whole("product.updated", 2),
        _ if block % 4 == 3 => json!({ "type": "product.deleted", "sku": key, "version": 2, "at_ms": at_ms }),
        _ => {
            json!({ "type": "product.status.changed", "sku": key, "version": 2, "at_ms": at_ms, "status": "sold_out" })
        }
    };
    Generated { key, value: Some(value) }
}

/// Appends the events of one topic to its files, line by line and in their order.
pub(super) struct Appender {
    topic: Topic,
    files: Vec<File>,
    next: u64,
}

impl Appender {
    /// Opens `dir/TOPIC/PARTITION.jsonl` and finds out where the last run was.
    pub(super) fn open(dir: &Path, topic: Topic) -> io::Result<Self> {
        let folder = dir.join(topic.name());
        std::fs::create_dir_all(&folder)?;
        let mut next = 0;
        let mut files = Vec::new();
        for partition in 0..topic.partitions() {
            let path = folder.join(format!("{partition}.jsonl"));
            let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
            next += whole_lines(&file)?;
            files.push(file);
        }
        Ok(Self { topic, files, next })
    }

    /// The number of the next event.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Appends the next event.
    pub(super) fn append(&mut self, at_ms: i64) -> io::Result<()> {
        let event = self.topic.event(self.next, at_ms);
        let partition = fnv(event.key.as_bytes()) % self.topic.partitions();
        let mut line = json!({ "key": event.key, "timestamp": at_ms });
        if let Some(value) = event.value {
            line["value"] = Value::String(value.to_string());
        }
        // One write, so that a reader sees the line whole or not at all.
        self.files[partition as usize].write_all(format!("{line}\n").as_bytes())?;
        self.next += 1;
        Ok(())
    }
}

/// Counts lines. A last line that was not finished (killed in the middle) was never seen by a reader: it is cut off.
fn whole_lines(file: &File) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    let (mut lines, mut whole_bytes, mut line) = (0, 0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)? as u64;
        if line.last() == Some(&b'\n') {
            lines += 1;
            whole_bytes += read;
            continue;
        }
        if read > 0 {
            file.set_len(whole_bytes)?;
        }
        return Ok(lines);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn read(dir: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for topic in [Topic::Orders, Topic::Products] {
            for partition in 0..topic.partitions() {
                let name = format!("{}/{partition}.jsonl", topic.name());
                let text = std::fs::read_to_string(dir.join(&name)).unwrap();
                found.insert(name, text);
            }
        }
        found
    }

    #[test]
    fn a_second_run_goes_on_where_the_first_one_was() {
        let (once, twice) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for topic in [Topic::Orders, Topic::Products] {
            let mut whole = Appender::open(once.path(), topic).unwrap();
            (0..200).for_each(|_| whole.append(EPOCH_MS).unwrap());
            for part in [77, 123] {
                let mut appender = Appender::open(twice.path(), topic).unwrap();
                (0..part).for_each(|_| appender.append(EPOCH_MS).unwrap());
                // Killed in the middle of a line.
                appender.files[0].write_all(b"{\"key\":\"o-").unwrap();
            }
            assert_eq!(Appender::open(twice.path(), topic).unwrap().next(), 200);
        }
        assert_eq!(read(once.path()), read(twice.path()));
    }

    #[test]
    fn the_fixed_set_places_what_it_says() {
        let count = |topic: Topic, events: u64, kind: &str| {
            let all = (0..events).map(|n| topic.event(n, EPOCH_MS));
            all.filter(|event| event.value.as_ref().is_some_and(|value| value["type"] == kind))
                .map(|event| event.key)
                .collect::<BTreeSet<_>>()
                .len() as u64
        };
        assert_eq!(count(Topic::Orders, ORDER_EVENTS_ONCE, "order.placed"), ORDERS_ONCE);
        assert_eq!(count(Topic::Products, PRODUCT_EVENTS_ONCE, "product.created"), PRODUCTS_ONCE);
    }

    #[test]
    fn every_change_is_about_something_that_was_created_before() {
        for (topic, events, first) in [
            (Topic::Orders, ORDER_EVENTS_ONCE, "order.placed"),
            (Topic::Products, PRODUCT_EVENTS_ONCE, "product.created"),
        ] {
            let mut known = BTreeMap::new();
            for event in (0..events).map(|n| topic.event(n, EPOCH_MS)) {
                let version = event.value.as_ref().and_then(|value| value["version"].as_u64()).unwrap_or(1);
                if event.value.as_ref().is_some_and(|value| value["type"] == first) {
                    assert!(known.insert(event.key, version).is_none());
                } else {
                    let before = known.get_mut(&event.key).expect("created before");
                    assert!(topic == Topic::Orders || version > *before);
                    *before = version;
                }
            }
        }
    }

    #[test]
    fn items_of_an_order_have_different_skus() {
        for order in 0..500 {
            let items = items(order, 0);
            let skus: BTreeSet<_> = items.iter().map(|item| item["sku"].to_string()).collect();
            assert_eq!(skus.len(), items.len());
        }
    }
}

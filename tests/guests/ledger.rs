//! One row for each event in `entries`, keyed by topic, partition and offset, inserted and never changed: a missing row is
//! an event lost. `applied` adds 1 for each event: `times` above 1 is an event applied twice.

use guests::fnv1a;
use laterna_sdk::prelude::*;

projection! { name: "ledger", revision: 1, topics: ["events"], tables: [entries, applied], apply: apply }

table! {
    /// What came, in full: `value_hash` is FNV-1a of the value, none for a tombstone.
    entries(topic: String, part: i64, at: i64) {
        key: Option<Vec<u8>>,
        value_hash: Option<i64>,
    }
    changes { insert Entry { key, value_hash }; }
}

table! {
    /// How often: 1 in every row.
    applied(topic: String, part: i64, at: i64) { times: i64 }
    changes { upsert Applied { times: add }; }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let (topic, part, at) = (event.topic().to_owned(), event.partition().into(), event.offset());
    let (key, value_hash) = (event.key().map(Vec::from), event.bytes().map(fnv1a));
    changes.push(Entry { topic: topic.clone(), part, at, key, value_hash });
    changes.push(Applied { topic, part, at, times: 1 });
    Ok(())
}

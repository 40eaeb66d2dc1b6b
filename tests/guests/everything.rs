//! Every column type, action and operation. An event's value is a list of commands that say which change to make with
//! which values, so that a test decides what happens; whatever the batches and restarts, the rows are the same.
//!
//! A command is an object: `do` names it, the other fields are its values; one that is absent or null is NULL.
//!
//! | `do` | table | change |
//! |---|---|---|
//! | `put`, `fill` | `cells` | upsert of all columns, with `set` or `set_if_null` |
//! | `put_some`, `patch` | `cells` | upsert, update of `flag`, `whole`, `words` alone |
//! | `make`, `drop` | `cells` | insert, delete |
//! | `sum`, `sum_there` | `sums` | upsert, update with `add`, `max`, `min` |
//! | `versioned`, `versioned_there` | `versions` | upsert, update under `newer` |
//! | `clear_sums`, `clear_versions`, `clear_series` | .. | delete by the leading column of the key, by both |
//! | `drop_sum`, `drop_version` | .. | delete |
//! | `key` | `keyed` | upsert with one key column of each type that suits |

use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! { name: "everything", revision: 1, topics: ["events"], tables: [cells, sums, versions, keyed], apply: apply }

table! {
    /// One column of each type.
    cells(id: String) {
        flag: Option<bool>,
        whole: Option<i64>,
        real: Option<f64>,
        exact: Option<Decimal>,
        words: Option<String>,
        raw: Option<Vec<u8>>,
        instant: Option<Timestamp>,
        day: Option<Date>,
        unique_id: Option<Uuid>,
        document: Option<Json>,
    }
    indexes { ordered(day, whole), full_text(words) }
    changes {
        upsert Put { flag, whole, real, exact, words, raw, instant, day, unique_id, document };
        upsert Fill {
            flag: set_if_null, whole: set_if_null, real: set_if_null, exact: set_if_null, words: set_if_null,
            raw: set_if_null, instant: set_if_null, day: set_if_null, unique_id: set_if_null, document: set_if_null,
        };
        upsert PutSome { flag, whole, words };
        update Patch { flag, whole, words };
        insert Make { flag, whole, real, exact, words, raw, instant, day, unique_id, document };
        delete Drop;
    }
}

table! {
    /// Sums, and the extremes of every type that has an order.
    sums(series: String, slot: i64) {
        whole_sum: Option<i64>, exact_sum: Option<Decimal>, real_sum: Option<f64>,
        whole_max: Option<i64>, exact_max: Option<Decimal>, real_max: Option<f64>, words_max: Option<String>,
        instant_max: Option<Timestamp>, day_max: Option<Date>, unique_id_max: Option<Uuid>,
        whole_min: Option<i64>, exact_min: Option<Decimal>, real_min: Option<f64>, words_min: Option<String>,
        instant_min: Option<Timestamp>, day_min: Option<Date>, unique_id_min: Option<Uuid>,
    }
    changes {
        upsert Summed {
            whole_sum: add, exact_sum: add, real_sum: add,
            whole_max: max, exact_max: max, real_max: max, words_max: max, instant_max: max, day_max: max, unique_id_max: max,
            whole_min: min, exact_min: min, real_min: min, words_min: min, instant_min: min, day_min: min, unique_id_min: min,
        };
        update SummedThere {
            whole_sum: add, exact_sum: add, real_sum: add,
            whole_max: max, exact_max: max, real_max: max, words_max: max, instant_max: max, day_max: max, unique_id_max: max,
            whole_min: min, exact_min: min, real_min: min, words_min: min, instant_min: min, day_min: min, unique_id_min: min,
        };
        delete SumDropped;
        delete_prefix SumsCleared(series);
    }
}

table! {
    /// Rows under a guard.
    versions(series: String, slot: i64, side: String) {
        version: Option<i64>,
        words: Option<String>,
        first_words: Option<String>,
        times: i64,
    }
    changes {
        upsert Versioned { version: newer, words, first_words: set_if_null, times: add };
        update VersionedThere { version: newer, words, first_words: set_if_null, times: add };
        delete VersionDropped;
        delete_prefix VersionsCleared(series);
        delete_prefix SeriesCleared(series, slot);
    }
}

table! {
    /// One key column of each type that suits.
    keyed(flag: bool, whole: i64, exact: Decimal, words: String, raw: Vec<u8>, instant: Timestamp, day: Date, unique_id: Uuid) {
        times: i64,
    }
    changes { upsert Keyed { times: add }; }
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    Put(Cells),
    Fill(Cells),
    PutSome(Cells),
    Patch(Cells),
    Make(Cells),
    Drop { id: String },
    Sum(Summand),
    SumThere(Summand),
    DropSum { series: String, slot: i64 },
    ClearSums { series: String },
    Versioned(Version),
    VersionedThere(Version),
    DropVersion { series: String, slot: i64, side: String },
    ClearVersions { series: String },
    ClearSeries { series: String, slot: i64 },
    Key(Key),
}

#[derive(Deserialize)]
struct Cells {
    id: String,
    flag: Option<bool>,
    whole: Option<i64>,
    real: Option<f64>,
    exact: Option<Decimal>,
    words: Option<String>,
    /// A list of numbers.
    raw: Option<Vec<u8>>,
    instant: Option<Timestamp>,
    day: Option<Date>,
    unique_id: Option<Uuid>,
    document: Option<Json>,
}

#[derive(Deserialize)]
struct Summand {
    series: String,
    slot: i64,
    whole: Option<i64>,
    exact: Option<Decimal>,
    real: Option<f64>,
    words: Option<String>,
    instant: Option<Timestamp>,
    day: Option<Date>,
    unique_id: Option<Uuid>,
}

#[derive(Deserialize)]
struct Version {
    series: String,
    slot: i64,
    side: String,
    version: Option<i64>,
    words: Option<String>,
}

#[derive(Deserialize)]
struct Key {
    flag: bool,
    whole: i64,
    exact: Decimal,
    words: String,
    raw: Vec<u8>,
    instant: Timestamp,
    day: Date,
    unique_id: Uuid,
}

/// A change with the fields of the same name, and those that have another.
macro_rules! push {
    ($changes:ident, $Change:ident, $from:ident { $($field:ident),* } $($other:ident : $value:expr),*) => {
        $changes.push($Change { $($field: $from.$field,)* $($other: $value),* })
    };
}

macro_rules! push_cells {
    ($changes:ident, $Change:ident, $from:ident) => {
        push!($changes, $Change, $from { id, flag, whole, real, exact, words, raw, instant, day, unique_id, document })
    };
}

macro_rules! push_sum {
    ($changes:ident, $Change:ident, $from:ident) => {
        push!($changes, $Change, $from { series, slot }
            whole_sum: $from.whole, exact_sum: $from.exact, real_sum: $from.real,
            whole_max: $from.whole, exact_max: $from.exact, real_max: $from.real, words_max: $from.words.clone(),
            instant_max: $from.instant, day_max: $from.day, unique_id_max: $from.unique_id,
            whole_min: $from.whole, exact_min: $from.exact, real_min: $from.real, words_min: $from.words,
            instant_min: $from.instant, day_min: $from.day, unique_id_min: $from.unique_id)
    };
}

macro_rules! push_version {
    ($changes:ident, $Change:ident, $from:ident) => {
        push!($changes, $Change, $from { series, slot, side, version } first_words: $from.words.clone(), words: $from.words, times: 1)
    };
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    for command in event.json::<Vec<Command>>()?.unwrap_or_default() {
        match command {
            Command::Put(c) => push_cells!(changes, Put, c),
            Command::Fill(c) => push_cells!(changes, Fill, c),
            Command::Make(c) => push_cells!(changes, Make, c),
            Command::PutSome(c) => push!(changes, PutSome, c { id, flag, whole, words }),
            Command::Patch(c) => push!(changes, Patch, c { id, flag, whole, words }),
            Command::Drop { id } => changes.push(Drop { id }),
            Command::Sum(s) => push_sum!(changes, Summed, s),
            Command::SumThere(s) => push_sum!(changes, SummedThere, s),
            Command::DropSum { series, slot } => changes.push(SumDropped { series, slot }),
            Command::ClearSums { series } => changes.push(SumsCleared { series }),
            Command::Versioned(v) => push_version!(changes, Versioned, v),
            Command::VersionedThere(v) => push_version!(changes, VersionedThere, v),
            Command::DropVersion { series, slot, side } => changes.push(VersionDropped { series, slot, side }),
            Command::ClearVersions { series } => changes.push(VersionsCleared { series }),
            Command::ClearSeries { series, slot } => changes.push(SeriesCleared { series, slot }),
            Command::Key(k) => {
                push!(changes, Keyed, k { flag, whole, exact, words, raw, instant, day, unique_id } times: 1)
            }
        }
    }
    Ok(())
}

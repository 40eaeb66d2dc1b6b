//! What a sample's events are made of: from golden events to a [`Model`] of a projection. Pure.
//!
//! The model keeps one row a key: the last value of every field, and how many events there were. It is a beginning that builds, passes its
//! test and shows the data; what the rows shall mean is the author's to say. Laws: every event of [`Sample::events`] gives its row without a
//! fault; a column takes null where one of them may leave it out; names are such that every language and both databases take them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use laterna::change::{NameOf, name_fault, parse_date};
use serde_json::{Map, Value};

use super::super::golden::events::Golden;

/// Fields of one object that become columns: so many are read into one struct in every language.
const COLUMNS_MAX: usize = 60;
/// Kinds of event that get a branch of their own.
const KINDS_MAX: usize = 40;
/// Of each kind, so many events go into the test.
const EVENTS_OF_A_KIND: usize = 5;
/// And so many of the first ones, whatever they are.
const EVENTS_FIRST: usize = 40;
/// In a sample of so few events, each may be of another kind.
const FEW: usize = 10;
/// Names under which events say what they are, most common first.
const DISCRIMINATORS: [&str; 6] = ["type", "event_type", "eventType", "kind", "event", "__type"];
/// 2000-01-01 and 2100-01-01: whole numbers between them, in fields that are named so, are milliseconds.
const MILLIS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

/// A projection, as far as a sample tells it.
#[derive(Debug, PartialEq)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) topic: String,
    pub(super) key: Key,
    /// The field that tells one kind of event from another.
    pub(super) discriminator: Option<String>,
    /// At least one; exactly one where nothing tells them apart.
    pub(super) kinds: Vec<Kind>,
    /// Outside the primary key, beside [`Model::count`].
    pub(super) columns: Vec<Column>,
    /// The column that counts events.
    pub(super) count: String,
}

/// Where the primary key comes from.
#[derive(Debug, PartialEq)]
pub(super) enum Key {
    /// The event's key, as text.
    Event {
        /// Its column.
        column: String,
    },
    /// A field of the value; its events may come from several partitions.
    Field(Field),
    /// The event's place: a row an event.
    Place,
}

/// A kind of event.
#[derive(Debug, PartialEq)]
pub(super) struct Kind {
    /// What the discriminator says; empty where there is none.
    pub(super) value: String,
    /// For types: `OrderPlaced`.
    pub(super) type_name: String,
    /// Its fields, each with its column's place in [`Model::columns`].
    pub(super) fields: Vec<(usize, Field)>,
}

/// A field of a kind of event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// As it stands in the JSON.
    pub(super) json: String,
    /// As a column, and as a name in every language.
    pub(super) column: String,
    pub(super) kind: Type,
    /// Whether it may be null or absent.
    pub(super) optional: bool,
}

/// A column, whatever kind of event sets it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Type,
    pub(super) nullable: bool,
}

/// What a field's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Type {
    Boolean,
    Integer,
    /// A whole number beyond 2^53: some languages read it in a way of its own.
    Long,
    Float,
    /// A decimal number as text.
    Decimal,
    Text,
    /// RFC 3339.
    Timestamp,
    /// Whole milliseconds since 1970; the column is a timestamp.
    Millis,
    Date,
    Uuid,
    /// An object, a list, or values of several kinds.
    Json,
}

/// A model, and the events it was made of.
pub(super) struct Sample {
    pub(super) model: Model,
    /// Lines for `tests/events.jsonl`.
    pub(super) events: Vec<String>,
    /// What an author should know of it, a line each.
    pub(super) notes: Vec<String>,
}

/// Infers a projection `name` that reads `topic` from events.
pub(super) fn infer(name: &str, topic: &str, golden: &[Golden]) -> anyhow::Result<Sample> {
    let mut notes = Vec::new();
    let (mut objects, mut others) = (Vec::new(), 0usize);
    for one in golden {
        match one.event.value.as_deref().map(serde_json::from_slice::<Value>) {
            Some(Ok(Value::Object(object))) => objects.push((one, object)),
            Some(_) => others += 1,
            None => {}
        }
    }
    ensure!(
        !objects.is_empty(),
        "none of the {} events of the sample has a JSON object as its value: without a sample, `laterna new` makes a project that keeps values whole",
        golden.len()
    );
    if others > 0 {
        notes.push(format!(
            "{others} of {} events have no JSON object as value: the projection rejects such events",
            golden.len()
        ));
    }
    let discriminator = discriminator(&objects);
    let key = key(&objects, golden, discriminator.as_deref());
    let names = Names::of(&objects, &key, discriminator.as_deref());
    let mut by_kind: BTreeMap<&str, Vec<&Map<String, Value>>> = BTreeMap::new();
    let mut order = Vec::new();
    for (_, object) in &objects {
        let value = discriminator.as_ref().and_then(|field| object.get(field)?.as_str()).unwrap_or_default();
        if !by_kind.contains_key(value) {
            order.push(value);
        }
        by_kind.entry(value).or_default().push(object);
    }
    let types = types(&objects);
    let mut columns: Vec<Column> = Vec::new();
    for (json, name) in &names.columns {
        columns.push(Column { name: name.clone(), kind: types[json.as_str()], nullable: false });
    }
    let mut kinds = Vec::new();
    let mut taken = BTreeSet::new();
    for value in order {
        let fields = fields(&by_kind[value], &names, &columns);
        kinds.push(Kind { value: value.to_owned(), type_name: type_name(value, &mut taken), fields });
    }
    for (index, column) in columns.iter_mut().enumerate() {
        let is_always_there =
            |kind: &Kind| kind.fields.iter().any(|(column, field)| *column == index && !field.optional);
        column.nullable = !kinds.iter().all(is_always_there);
    }
    for (json, kind) in &types {
        if *kind == Type::Json
            && objects
                .iter()
                .any(|(_, object)| object.get(*json).is_some_and(|v| !v.is_object() && !v.is_array() && !v.is_null()))
        {
            notes.push(format!("the field {json:?} has values of several kinds: it is kept as JSON"));
        }
    }
    if names.left_out > 0 {
        notes.push(format!(
            "{} more fields were left out: a projection rarely needs more than {COLUMNS_MAX} columns",
            names.left_out
        ));
    }
    if !names.unnamed.is_empty() {
        notes.push(format!("left out, as not every language can name it: {}", names.unnamed.join(", ")));
    }
    let events = chosen(golden, discriminator.as_deref(), &key);
    if events.len() < golden.len() {
        notes.push(format!("tests/events.jsonl has {} of the sample's {} events", events.len(), golden.len()));
    }
    let model = Model {
        name: name.to_owned(),
        topic: topic.to_owned(),
        key,
        discriminator,
        kinds,
        columns,
        count: names.count,
    };
    Ok(Sample { model, events, notes })
}

type Objects<'a> = [(&'a Golden, Map<String, Value>)];

/// A field that every event has as text, and whose texts are few.
fn discriminator(objects: &Objects<'_>) -> Option<String> {
    let is_one = |name: &&&str| {
        let values: Option<BTreeSet<&str>> = objects.iter().map(|(_, object)| object.get(**name)?.as_str()).collect();
        let Some(values) = values else { return false };
        let is_few = values.len() <= KINDS_MAX && (values.len() < objects.len() || objects.len() <= FEW);
        is_few && !values.contains("") && (***name == *DISCRIMINATORS[0] || values.len() > 1)
    };
    DISCRIMINATORS.iter().find(is_one).map(|name| (*name).to_owned())
}

fn key(objects: &Objects<'_>, golden: &[Golden], discriminator: Option<&str>) -> Key {
    let text = |one: &Golden| one.event.key.as_deref().and_then(|key| std::str::from_utf8(key).ok().map(str::to_owned));
    if golden.iter().all(|one| text(one).is_some()) {
        // A field that repeats the key gives it its name.
        let repeats = |json: &str| {
            objects.iter().all(|(one, object)| {
                let value = match object.get(json) {
                    Some(Value::String(text)) => text.clone(),
                    Some(Value::Number(number)) => number.to_string(),
                    _ => return false,
                };
                text(one).is_some_and(|key| key == value)
            })
        };
        let field = objects.first().and_then(|(_, object)| object.keys().find(|json| repeats(json)));
        return Key::Event { column: field.map_or_else(|| "key".to_owned(), |json| column_name(json)) };
    }
    let types = types(objects);
    let candidates = |json: &&String| {
        let is_id = *json == "id" || json.ends_with("_id") || json.ends_with("Id") || *json == "uuid";
        let is_there = objects.iter().all(|(_, object)| object.get(*json).is_some_and(|value| !value.is_null()));
        let is_key = matches!(types[json.as_str()], Type::Integer | Type::Long | Type::Text | Type::Uuid);
        is_id && is_there && is_key && is_name(json) && Some(json.as_str()) != discriminator
    };
    let first = objects.first().and_then(|(_, object)| object.keys().filter(candidates).min_by_key(|json| json.len()));
    match first {
        // A tombstone without a key says nothing of any row.
        Some(json) if golden.iter().all(|one| one.event.value.is_some()) => Key::Field(Field {
            json: json.clone(),
            column: column_name(json),
            kind: types[json.as_str()],
            optional: false,
        }),
        _ => Key::Place,
    }
}

/// The column of every field, without those that the key and the discriminator are.
struct Names {
    columns: Vec<(String, String)>,
    count: String,
    /// Beyond [`COLUMNS_MAX`].
    left_out: usize,
    /// Fields whose names are no names elsewhere, as they are told.
    unnamed: Vec<String>,
}

impl Names {
    fn of(objects: &Objects<'_>, key: &Key, discriminator: Option<&str>) -> Self {
        let mut taken: BTreeSet<String> = match key {
            Key::Event { column } => [column.clone()].into(),
            Key::Field(field) => [field.column.clone()].into(),
            Key::Place => ["partition_number".to_owned(), "event_offset".to_owned()].into(),
        };
        let types = types(objects);
        let mut columns: Vec<(String, String)> = Vec::new();
        let mut left_out: BTreeSet<&str> = BTreeSet::new();
        let mut unnamed: Vec<String> = Vec::new();
        for json in objects.iter().flat_map(|(_, object)| object.keys()) {
            let is_key = match key {
                Key::Event { column } => column != "key" && column_name(json) == *column,
                Key::Field(field) => field.json == *json,
                Key::Place => false,
            };
            if is_key || Some(json.as_str()) == discriminator || columns.iter().any(|(known, _)| known == json) {
                continue;
            }
            if !is_name(json) {
                let told = format!("{json:?}");
                if !unnamed.contains(&told) {
                    unnamed.push(told);
                }
                continue;
            }
            if columns.len() == COLUMNS_MAX {
                left_out.insert(json);
                continue;
            }
            let plain = column_name(json);
            // `placed_at_ms` is kept as the instant `placed_at`.
            let short = plain
                .strip_suffix("_ms")
                .filter(|short| types[json.as_str()] == Type::Millis && name_fault(short, NameOf::Column).is_none());
            let name = free(short.unwrap_or(&plain), &mut taken);
            columns.push((json.clone(), name));
        }
        let count = free("events", &mut taken);
        Self { columns, count, left_out: left_out.len(), unnamed }
    }
}

/// Whether a field's name is one in every language: Go's tags end at a comma or a back quote, C's texts at a NUL.
fn is_name(json: &str) -> bool {
    !json.is_empty() && json != "-" && !json.contains([',', '`']) && !json.contains(char::is_control)
}

/// The name, or the name with a number, so that it stands once.
fn free(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut free = name.to_owned();
    let mut number = 2;
    while !taken.insert(free.clone()) {
        free = format!("{name}_{number}");
        number += 1;
    }
    free
}

fn fields(objects: &[&Map<String, Value>], names: &Names, columns: &[Column]) -> Vec<(usize, Field)> {
    let mut fields = Vec::new();
    for (index, (json, column)) in names.columns.iter().enumerate() {
        let values = objects.iter().map(|object| object.get(json));
        let there = values.clone().flatten().count();
        if there == 0 {
            continue;
        }
        let optional = there < objects.len() || values.flatten().any(Value::is_null);
        fields.push((index, Field { json: json.clone(), column: column.clone(), kind: columns[index].kind, optional }));
    }
    fields
}

/// The type of every field, over all kinds of event.
fn types<'a>(objects: &'a Objects<'_>) -> BTreeMap<&'a str, Type> {
    let mut values: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (json, value) in objects.iter().flat_map(|(_, object)| object) {
        values.entry(json).or_default().push(value);
    }
    values.into_iter().map(|(json, values)| (json, type_of(json, &values))).collect()
}

fn type_of(json: &str, values: &[&Value]) -> Type {
    let values: Vec<&&Value> = values.iter().filter(|value| !value.is_null()).collect();
    let all = |test: &dyn Fn(&Value) -> bool| !values.is_empty() && values.iter().all(|value| test(value));
    let texts = |test: &dyn Fn(&str) -> bool| all(&|value| value.as_str().is_some_and(test));
    if all(&Value::is_boolean) {
        Type::Boolean
    } else if all(&Value::is_i64) {
        let lower = json.to_ascii_lowercase();
        let is_named_so = ["_ms", "_at", "ms", "time", "timestamp", "ts"].iter().any(|end| lower.ends_with(end))
            || json.ends_with("At");
        if is_named_so && all(&|value| value.as_i64().is_some_and(|ms| MILLIS.contains(&ms))) {
            Type::Millis
        } else if all(&|value| value.as_i64().is_some_and(|n| n.unsigned_abs() < 1 << 53)) {
            Type::Integer
        } else {
            Type::Long
        }
    } else if all(&|value| value.is_i64() || value.is_f64()) {
        Type::Float
    } else if texts(&|text| is_uuid(text)) {
        Type::Uuid
    } else if texts(&|text| text.len() == 10 && parse_date(text).is_ok()) {
        Type::Date
    } else if texts(&is_timestamp) {
        Type::Timestamp
    } else if texts(&|text| is_decimal(text))
        && values.iter().any(|value| value.as_str().is_some_and(|text| text.contains('.')))
    {
        Type::Decimal
    } else if all(&|value| value.as_str().is_some_and(|text| !text.contains('\0'))) || values.is_empty() {
        Type::Text
    } else {
        Type::Json
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// `2026-01-31T12:00:00.5+01:00`, with microseconds at most.
fn is_timestamp(text: &str) -> bool {
    let Some((day, time)) = text.split_once('T') else { return false };
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(0);
    let (time, zone) = time.split_at(zone_at);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let numbers = |text: &str, bounds: &[u32]| {
        let parts: Vec<&str> = text.split(':').collect();
        let fits =
            |(part, max): (&&str, &u32)| part.len() == 2 && part.parse::<u32>().is_ok_and(|number| number < *max);
        parts.len() == bounds.len() && parts.iter().zip(bounds).all(fits)
    };
    let is_fraction = (1..=6).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let is_zone = zone == "Z" || zone.get(1..).is_some_and(|zone| numbers(zone, &[24, 60]));
    parse_date(day).is_ok() && numbers(time, &[24, 60, 60]) && is_fraction && is_zone
}

/// `12.50`, `-3`: few enough digits for every SDK.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    is_number(whole) && is_number(fraction) && digits.len() <= 20 && (whole == "0" || !whole.starts_with('0'))
}

/// The events of the test: those that the projection takes, the first ones and some of every kind.
fn chosen(golden: &[Golden], discriminator: Option<&str>, key: &Key) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut chosen = Vec::new();
    for one in golden {
        let kind = match one.event.value.as_deref().map(serde_json::from_slice::<Value>) {
            Some(Ok(Value::Object(object))) => {
                let value = discriminator.and_then(|field| object.get(field)?.as_str());
                value.unwrap_or_default().to_owned()
            }
            // A tombstone deletes the row of its key.
            None if matches!(key, Key::Event { .. }) => "\0".to_owned(),
            _ => continue,
        };
        let count = seen.entry(kind).or_default();
        *count += 1;
        if *count <= EVENTS_OF_A_KIND || chosen.len() < EVENTS_FIRST {
            // One topic and one partition: without them, the line is as short as it can be.
            chosen.push(one.text.clone());
        }
    }
    chosen
}

/// A field's name as a column: in snake case, no reserved word of SQL or of a language.
pub(super) fn column_name(json: &str) -> String {
    let mut name = String::new();
    let mut before = '_';
    for c in json.chars() {
        if c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            name.push('_');
        }
        name.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
        before = c;
    }
    let mut name: String = name.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
    name.truncate(44);
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name = format!("f_{name}").trim_end_matches('_').to_owned();
    }
    // What is kept for the engine and the databases by how it begins.
    if ["laterna", "pg_", "sqlite_"].iter().any(|start| name.starts_with(start)) {
        name = format!("f_{name}");
    }
    let is_taken = |name: &str| name_fault(name, NameOf::Column).is_some() || is_keyword(name);
    if is_taken(&name) { format!("{name}_").replace("__", "_") + "value" } else { name }
}

/// `order.placed` as `OrderPlaced`, once.
fn type_name(value: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name = String::new();
    let mut is_first = true;
    for c in value.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(if is_first { c.to_ascii_uppercase() } else { c });
            is_first = false;
        } else {
            is_first = true;
        }
    }
    if !name.starts_with(|c: char| c.is_ascii_uppercase()) {
        name = format!("Kind{name}");
    }
    if value.is_empty() {
        name = "Seen".to_owned();
    }
    name.truncate(40);
    let mut free = name.clone();
    let mut number = 2;
    while TYPES.contains(&free.as_str()) || !taken.insert(free.to_ascii_lowercase()) {
        free = format!("{name}{number}");
        number += 1;
    }
    free
}

/// Types that the sources have already: their own, and those of the languages and SDKs.
const TYPES: [&str; 27] = [
    "Box",
    "Bytes",
    "Changes",
    "Date",
    "Decimal",
    "Deserialize",
    "Err",
    "Event",
    "Fault",
    "Gone",
    "Incoming",
    "Json",
    "None",
    "Null",
    "Ok",
    "Option",
    "Other",
    "Result",
    "Row",
    "Rows",
    "Self",
    "Some",
    "String",
    "Text",
    "Timestamp",
    "Uuid",
    "Vec",
];

/// Whether the name is a key word of one of the languages, or a name that all of their sources have already.
pub(super) fn is_keyword(name: &str) -> bool {
    KEYWORDS.binary_search(&name).is_ok()
}

/// Of Rust, JavaScript, Python, Go, C, C++ and Zig, in small letters; and of the generated sources. Sorted.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "abstract", "addrspace", "alignas", "alignof", "allowzero", "and", "anyframe", "anytype", "arguments", "as", "asm", "assert", "async",
    "auto", "await", "become", "bool", "boolean", "box", "break", "byte", "callconv", "case", "catch", "chan", "changes", "char",
    "char16_t", "char32_t", "char8_t", "class", "co_await", "co_return", "co_yield", "comptime", "concept", "const", "const_cast",
    "consteval", "constexpr", "constinit", "continue", "crate", "debugger", "decltype", "def", "default", "defer", "del", "delete", "do",
    "double", "dyn", "dynamic_cast", "elif", "else", "enum", "errdefer", "error", "eval", "event", "except", "explicit", "export",
    "extends", "extern", "f64", "fallthrough", "false", "final", "finally", "float", "fn", "for", "friend", "from", "func", "function",
    "gen", "global", "go", "goto", "i32", "i64", "if", "impl", "implements", "import", "in", "inline", "instanceof", "int", "interface",
    "is", "lambda", "let", "linksection", "long", "loop", "macro", "map", "match", "mod", "move", "mut", "mutable", "namespace", "new",
    "nil", "noalias", "noexcept", "noinline", "none", "nonlocal", "nosuspend", "not", "null", "nullptr", "opaque", "operator", "or",
    "orelse", "override", "package", "packed", "pass", "priv", "private", "protected", "pub", "public", "raise", "range", "ref", "register",
    "reinterpret_cast", "requires", "restrict", "resume", "return", "select", "self", "short", "signed", "sizeof", "static",
    "static_assert", "static_cast", "str", "struct", "super", "suspend", "switch", "template", "test", "this", "thread_local",
    "threadlocal", "throw", "trait", "true", "try", "type", "typedef", "typeid", "typename", "typeof", "u8", "undefined", "union",
    "unreachable", "unsafe", "unsigned", "unsized", "use", "using", "usingnamespace", "usize", "var", "virtual", "void", "volatile",
    "wchar_t", "where", "while", "with", "xor", "yield",
];

#[cfg(test)]
mod tests {
    use super::super::super::golden::events;
    use super::*;

    fn of(lines: &str) -> Sample {
        infer("p", "t", &events::read(lines, "t").unwrap()).unwrap()
    }

    fn column<'a>(model: &'a Model, name: &str) -> &'a Column {
        model.columns.iter().find(|column| column.name == name).unwrap_or_else(|| panic!("{name}: {model:?}"))
    }

    #[test]
    fn keywords_are_sorted() {
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn types_follow_from_all_values() {
        let sample = of(
            r#"{"key":"a","value":{"id":"a","n":1,"f":1,"money":"12.50","at":"2026-01-31T12:00:00Z","placed_at_ms":1767225600000,"day":"2026-01-31","u":"0196a9c1-1111-7abc-8def-0123456789ab","ok":true,"tags":["x"],"mixed":1,"note":null,"user":"x","orderId":"7"}}
{"key":"b","value":{"id":"b","n":2,"f":1.5,"money":"3","at":"2026-01-31T12:00:00.5+01:00","placed_at_ms":1767225600001,"day":"2026-02-01","u":"0196a9c1-1111-7abc-8def-0123456789AB","ok":false,"tags":{},"mixed":"x","note":null,"user":"y","orderId":"8"}}"#,
        );
        let model = &sample.model;
        assert_eq!(model.key, Key::Event { column: "id".into() });
        let kind = |name: &str| column(model, name).kind;
        for (name, expected) in [
            ("n", Type::Integer),
            ("f", Type::Float),
            ("money", Type::Decimal),
            ("at", Type::Timestamp),
            ("placed_at", Type::Millis),
            ("day", Type::Date),
            ("u", Type::Uuid),
            ("ok", Type::Boolean),
            ("tags", Type::Json),
            ("mixed", Type::Json),
            ("note", Type::Text),
            ("user_value", Type::Text),
            ("order_id", Type::Text),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
        assert!(column(model, "note").nullable && !column(model, "n").nullable);
        assert!(!model.columns.iter().any(|column| column.name == "id"), "the key stands once");
        assert_eq!(model.count, "events");
        assert!(sample.notes.iter().any(|note| note.contains("mixed")), "{:?}", sample.notes);
        assert_eq!((model.kinds.len(), model.kinds[0].type_name.as_str()), (1, "Seen"));
    }

    #[test]
    fn each_kind_of_event_has_its_own_fields() {
        let sample = of(r#"{"key":"1","value":{"type":"order.placed","order_id":1,"total":"1.50","events":3}}
{"key":"1","value":{"type":"order.cancelled","order_id":1}}
{"key":"2","value":{"type":"order.placed","order_id":2,"total":"2.50","events":3}}
{"key":"2","value":null}
{"key":"2","value":"no object"}"#);
        let model = &sample.model;
        assert_eq!(
            (model.discriminator.as_deref(), &model.key),
            (Some("type"), &Key::Event { column: "order_id".into() })
        );
        let kinds: Vec<_> =
            model.kinds.iter().map(|kind| (kind.value.as_str(), kind.type_name.as_str(), kind.fields.len())).collect();
        assert_eq!(kinds, [("order.placed", "OrderPlaced", 2), ("order.cancelled", "OrderCancelled", 0)]);
        assert!(column(model, "total").nullable, "one kind leaves it out");
        assert_eq!(model.count, "events_2");
        assert_eq!(sample.events.len(), 4, "what has no object is not in the test");
    }

    #[test]
    fn without_keys_a_field_or_the_place_is_the_key() {
        let sample = of(r#"{"value":{"customerId":"c","n":1}}"#);
        assert!(matches!(&sample.model.key, Key::Field(field) if field.column == "customer_id"));
        assert_eq!(of(r#"{"value":{"n":1}}"#).model.key, Key::Place);
        assert!(infer("p", "t", &events::read("{\"value\":\"x\"}", "t").unwrap()).is_err());
    }

    #[test]
    fn names_are_taken_by_everybody() {
        for (json, column) in [
            ("orderId", "order_id"),
            ("HTTPStatus", "httpstatus"),
            ("total €", "total"),
            ("type", "type_value"),
            ("order", "order_value"),
            ("9lives", "f_9lives"),
            ("é", "f"),
            ("a--b", "a_b"),
            ("laterna_x", "f_laterna_x"),
            ("value", "value"),
        ] {
            assert_eq!(column_name(json), column, "{json}");
        }
        let mut taken = BTreeSet::new();
        let names =
            ["order.placed", "order-placed", "3d", "", "other", "event"].map(|value| type_name(value, &mut taken));
        assert_eq!(names, ["OrderPlaced", "OrderPlaced2", "Kind3d", "Seen", "Other2", "Event2"]);
        let odd = of(r#"{"key":"a","value":{"a,b":1,"`":2,"":3,"-":4,"n":5}}"#);
        let columns: Vec<_> = odd.model.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!((columns, odd.notes.len()), (vec!["n"], 1), "{:?}", odd.notes);
    }
}

//! SQL text for SQLite, and values as it stores them.
//!
//! | type | stored as |
//! |---|---|
//! | boolean, integer | INTEGER, booleans as 0 and 1 |
//! | float | REAL |
//! | decimal, text, uuid, json | TEXT, decimals exact and with their scale |
//! | timestamp, date | TEXT, `2026-11-21 14:02:03.000004` in UTC, and `2026-11-21` |
//! | bytes | BLOB |
//!
//! Invariants: every identifier is quoted, no value stands in a text. Tables are STRICT: what another program writes cannot be
//! of another type.

use std::cmp::Ordering;

use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};

use crate::change::{
    Column, ColumnType, Decimal, Index, IndexKind, SchemaTable, Table, Value, ValueError, date_text, parse_date,
    parse_timestamp, timestamp_text, uuid_text,
};
use crate::checkpoint::Generation;
use crate::sink::sql;

/// An identifier in double quotes.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The table that holds a generation's rows.
pub(super) fn stored_name(generation: &Generation, table: &Table) -> String {
    format!("{}__g{}", table.name, generation.number)
}

fn list<'a>(names: impl Iterator<Item = &'a str>, render: impl Fn(&str) -> String) -> String {
    names.map(render).collect::<Vec<_>>().join(", ")
}

fn columns(table: &Table) -> impl Iterator<Item = &str> {
    table.columns.iter().map(|column| column.name.as_str())
}

fn key_columns<'a>(table: &'a Table, resolved: &'a SchemaTable) -> impl Iterator<Item = &'a str> {
    resolved.key.iter().map(|column| table.columns[*column].name.as_str())
}

/// A column as a table declares it.
pub(super) fn column(column: &Column) -> String {
    let stored = match column.column_type {
        ColumnType::Boolean | ColumnType::Integer => "INTEGER",
        ColumnType::Float => "REAL",
        ColumnType::Bytes => "BLOB",
        _ => "TEXT",
    };
    format!("{} {stored}{}", quote(&column.name), if column.nullable { "" } else { " NOT NULL" })
}

/// The statement that makes a table.
pub(super) fn create_table(name: &str, table: &Table) -> String {
    let declared = table.columns.iter().map(column).collect::<Vec<_>>().join(", ");
    let key = list(table.primary_key.iter().map(String::as_str), quote);
    format!("CREATE TABLE {} ({declared}, PRIMARY KEY ({key})) STRICT", quote(name))
}

/// The statement that makes an index, for the kinds that SQLite has: none of words in a table's own columns.
pub(super) fn create_index(name: &str, index: &Index) -> Option<String> {
    let of = list(index.columns.iter().map(String::as_str), quote);
    let made = quote(&sql::index_name(name, index));
    (index.kind == IndexKind::Ordered).then(|| format!("CREATE INDEX {made} ON {} ({of})", quote(name)))
}

/// The view that readers use.
pub(super) fn create_view(stored: &str, table: &Table) -> String {
    format!("CREATE VIEW {} AS SELECT {} FROM {}", quote(&table.name), list(columns(table), quote), quote(stored))
}

/// All rows, in the table's order of columns.
pub(super) fn select_all(stored: &str, table: &Table) -> String {
    format!("SELECT {} FROM {}", list(columns(table), quote), quote(stored))
}

/// The first `limit` rows in the order of keys, or all.
pub(super) fn select_ordered(stored: &str, table: &Table, limit: Option<u64>) -> String {
    let by = |name: &str| {
        let column = table.columns.iter().find(|column| column.name == name);
        let order = column.and_then(|column| ORDERS.iter().find(|order| order.0 == column.column_type));
        format!("{}{}", quote(name), order.map_or(String::new(), |(_, name, _)| format!(" COLLATE {name}")))
    };
    let key = list(table.primary_key.iter().map(String::as_str), by);
    let limit = limit.map_or(String::new(), |limit| format!(" LIMIT {}", limit.min(i64::MAX as u64)));
    format!("{} ORDER BY {key}{limit}", select_all(stored, table))
}

/// Numbers and days are kept as text: the types of keys that SQLite by itself would not order as [`crate::change::Key`] does, each with the name of
/// the order that every connection is given for it.
pub(super) const ORDERS: [(ColumnType, &str, Collation); 3] = [
    (ColumnType::Decimal, "laterna_decimal", |a, b| order(Decimal::parse_stored, a, b)),
    (ColumnType::Timestamp, "laterna_timestamp", |a, b| order(parse_timestamp, a, b)),
    (ColumnType::Date, "laterna_date", |a, b| order(parse_date, a, b)),
];

/// How two values as they are stored compare.
type Collation = fn(&str, &str) -> Ordering;

/// What cannot be read, because another program wrote it, comes first.
fn order<T: Ord>(parse: impl Fn(&str) -> Result<T, ValueError>, a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Err(_), Ok(_)) => Ordering::Less,
        (Ok(_), Err(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

/// A condition for `count` keys of `length` leading key columns.
fn keys_in(table: &Table, resolved: &SchemaTable, length: usize, count: usize) -> String {
    let names = list(key_columns(table, resolved).take(length), quote);
    if length == 1 {
        return format!("{names} IN ({})", repeated("?", count));
    }
    format!("({names}) IN (VALUES {})", repeated(&format!("({})", repeated("?", length)), count))
}

fn repeated(part: &str, count: usize) -> String {
    vec![part; count].join(", ")
}

/// The rows of `count` keys, in the table's order of columns.
pub(super) fn select_keys(stored: &str, table: &Table, resolved: &SchemaTable, count: usize) -> String {
    let condition = keys_in(table, resolved, resolved.key.len(), count);
    format!("SELECT {} FROM {} WHERE {condition}", list(columns(table), quote), quote(stored))
}

/// Deletes the rows of `count` keys, or leading parts of `length` columns.
pub(super) fn delete_keys(stored: &str, table: &Table, resolved: &SchemaTable, length: usize, count: usize) -> String {
    format!("DELETE FROM {} WHERE {}", quote(stored), keys_in(table, resolved, length, count))
}

/// Writes `count` whole rows: the key's values, then the others.
pub(super) fn write_rows(stored: &str, table: &Table, resolved: &SchemaTable, count: usize) -> String {
    let rest = || resolved.rest.iter().map(|column| table.columns[*column].name.as_str());
    let names = list(key_columns(table, resolved).chain(rest()), quote);
    let row = format!("({})", repeated("?", table.columns.len()));
    let conflict = match resolved.rest.is_empty() {
        true => "NOTHING".to_owned(),
        false => format!("UPDATE SET {}", list(rest(), |name| format!("{0} = excluded.{0}", quote(name)))),
    };
    let key = list(key_columns(table, resolved), quote);
    format!(
        "INSERT INTO {} ({names}) VALUES {} ON CONFLICT ({key}) DO {conflict}",
        quote(stored),
        repeated(&row, count)
    )
}

/// A statement with parameters.
pub(super) type Statement = Query<'static, Sqlite, SqliteArguments>;

/// A statement with a text of ours.
pub(super) fn statement(text: &str) -> Statement {
    sqlx::query(AssertSqlSafe(text.to_owned()))
}

/// Adds a value as it is stored.
pub(super) fn bind(statement: Statement, value: &Value) -> Statement {
    match value {
        Value::Null => statement.bind(None::<i64>),
        Value::Boolean(value) => statement.bind(i64::from(*value)),
        Value::Integer(value) => statement.bind(*value),
        Value::Float(value) => statement.bind(*value),
        Value::Decimal(decimal) => statement.bind(decimal.to_string()),
        Value::Text(text) | Value::Json(text) => statement.bind(text.clone()),
        Value::Bytes(bytes) => statement.bind(bytes.clone()),
        Value::Timestamp(micros) => statement.bind(timestamp_text(*micros)),
        Value::Date(days) => statement.bind(date_text(*days)),
        Value::Uuid(bytes) => statement.bind(uuid_text(bytes)),
    }
}

/// A stored row's values in the table's order.
pub(super) fn decode(row: &SqliteRow, table: &Table) -> Result<Vec<Value>, sqlx::Error> {
    table.columns.iter().enumerate().map(|(at, column)| decode_value(row, at, column)).collect()
}

fn decode_value(row: &SqliteRow, at: usize, column: &Column) -> Result<Value, sqlx::Error> {
    let unreadable =
        |error: ValueError| sqlx::Error::ColumnDecode { index: column.name.clone(), source: Box::new(error) };
    let parsed = |parse: fn(&str) -> Result<Value, ValueError>| {
        let text: Option<String> = row.try_get(at)?;
        text.map_or(Ok(Value::Null), |text| parse(&text).map_err(unreadable))
    };
    Ok(match column.column_type {
        ColumnType::Boolean => {
            row.try_get::<Option<i64>, _>(at)?.map_or(Value::Null, |value| Value::Boolean(value != 0))
        }
        ColumnType::Integer => row.try_get::<Option<i64>, _>(at)?.map_or(Value::Null, Value::Integer),
        ColumnType::Float => row.try_get::<Option<f64>, _>(at)?.map_or(Value::Null, Value::Float),
        ColumnType::Text => row.try_get::<Option<String>, _>(at)?.map_or(Value::Null, Value::Text),
        ColumnType::Bytes => row.try_get::<Option<Vec<u8>>, _>(at)?.map_or(Value::Null, Value::Bytes),
        ColumnType::Decimal => parsed(|text| Decimal::parse_stored(text).map(Value::Decimal))?,
        ColumnType::Timestamp => parsed(|text| parse_timestamp(text).map(Value::Timestamp))?,
        ColumnType::Date => parsed(|text| parse_date(text).map(Value::Date))?,
        ColumnType::Uuid => parsed(Value::uuid)?,
        // It was brought into canonical form before it was written.
        ColumnType::Json => row.try_get::<Option<String>, _>(at)?.map_or(Value::Null, Value::Json),
    })
}

//! Rows against rows, by primary key. Pure.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use laterna::sink::TableRows;
use serde_json::{Map, Value};

/// Differences shown of one table; the rest is counted.
const SHOWN_MAX: usize = 20;

/// An expected row.
#[derive(Debug)]
pub(super) struct Expected {
    /// The line it stands in, from 1.
    line: usize,
    row: Map<String, Value>,
}

/// Reads expected rows: one JSON object a line, with exactly these columns.
pub(super) fn parse(text: &str, columns: &[String]) -> anyhow::Result<Vec<Expected>> {
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        let row: Map<String, Value> = serde_json::from_str(line).with_context(|| format!("line {number}"))?;
        if let Some(unknown) = row.keys().find(|name| !columns.contains(name)) {
            bail!("line {number}: the table has no column {unknown:?}");
        }
        if let Some(missing) = columns.iter().find(|name| !row.contains_key(*name)) {
            bail!("line {number}: the column {missing:?} is missing");
        }
        rows.push(Expected { line: number, row });
    }
    Ok(rows)
}

/// Rows as lines, columns in the table's order.
pub(super) fn write(rows: &TableRows) -> String {
    let line = |row: &Vec<Value>| {
        let cells =
            rows.columns.iter().zip(row).map(|(name, value)| format!("{}: {value}", Value::String(name.clone())));
        format!("{{{}}}\n", cells.collect::<Vec<_>>().join(", "))
    };
    rows.rows.iter().map(line).collect()
}

/// One thing that differs.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    /// The row's primary key, in its order.
    pub(super) key: Vec<Value>,
    /// The line in which it is expected otherwise.
    pub(super) expected_line: Option<usize>,
    /// For people.
    pub(super) text: String,
}

/// What differs, one line each.
pub(super) fn rows(table: &str, key: &[String], expected: &[Expected], found: &TableRows) -> Vec<Difference> {
    let found: Vec<Map<String, Value>> =
        found.rows.iter().map(|row| found.columns.iter().cloned().zip(row.iter().cloned()).collect()).collect();
    let key_of = |row: &Map<String, Value>| -> Vec<Value> {
        key.iter().map(|name| row.get(name).cloned().unwrap_or_default()).collect()
    };
    let place = |row: &Map<String, Value>| {
        key.iter().zip(key_of(row)).map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    let mut differences = Vec::new();
    let mut add = |row: &Map<String, Value>, expected_line: Option<usize>, what: String| {
        let text = format!("  {table} {}: {what}", place(row));
        differences.push(Difference { key: key_of(row), expected_line, text });
    };
    let mut by_key: BTreeMap<String, &Expected> = BTreeMap::new();
    for expected in expected {
        if by_key.insert(place(&expected.row), expected).is_some() {
            add(&expected.row, Some(expected.line), "expected twice".to_owned());
        }
    }
    for row in &found {
        match by_key.remove(&place(row)) {
            None => add(row, None, format!("unexpected row {}", Value::Object(row.clone()))),
            Some(Expected { line, row: wanted }) => {
                for (name, value) in wanted.iter().filter(|(name, value)| row.get(*name) != Some(value)) {
                    let found = row.get(name).unwrap_or(&Value::Null);
                    add(row, Some(*line), format!("{name} is {found}, expected {value}"));
                }
            }
        }
    }
    by_key.values().for_each(|Expected { line, row }| {
        add(row, Some(*line), format!("missing row {}", Value::Object(row.clone())));
    });
    if differences.len() > SHOWN_MAX {
        let more = differences.len() - SHOWN_MAX;
        differences.truncate(SHOWN_MAX);
        differences.push(Difference {
            key: Vec::new(),
            expected_line: None,
            text: format!("  {table}: and {more} more differences"),
        });
    }
    differences
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found() -> TableRows {
        let rows = vec![vec![json!("a"), json!(1), json!("1.50")], vec![json!("b"), json!(2), Value::Null]];
        TableRows { columns: ["id", "n", "sum"].map(str::to_owned).to_vec(), rows }
    }

    fn compare(text: &str) -> Vec<String> {
        let differences = rows("t", &["id".to_owned()], &parse(text, &found().columns).unwrap(), &found());
        differences.into_iter().map(|difference| difference.text).collect()
    }

    #[test]
    fn what_is_written_is_equal() {
        assert_eq!(
            write(&found()),
            "{\"id\": \"a\", \"n\": 1, \"sum\": \"1.50\"}\n{\"id\": \"b\", \"n\": 2, \"sum\": null}\n"
        );
        assert_eq!(compare(&write(&found())), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_difference_is_told_with_both_values() {
        let text = "{\"id\":\"a\",\"n\":1,\"sum\":\"1.5\"}\n{\"id\":\"c\",\"n\":3,\"sum\":null}\n";
        assert_eq!(
            compare(text),
            [
                "  t id=\"a\": sum is \"1.50\", expected \"1.5\"",
                "  t id=\"b\": unexpected row {\"id\":\"b\",\"n\":2,\"sum\":null}",
                "  t id=\"c\": missing row {\"id\":\"c\",\"n\":3,\"sum\":null}",
            ]
        );
        assert_eq!(compare("").len(), 2);
        let lines = rows("t", &["id".to_owned()], &parse(text, &found().columns).unwrap(), &found());
        assert_eq!(lines.iter().map(|one| one.expected_line).collect::<Vec<_>>(), [Some(1), None, Some(2)]);
        let twice = format!("{}{}", write(&found()), "{\"id\":\"a\",\"n\":1,\"sum\":\"1.50\"}\n");
        assert_eq!(compare(&twice), ["  t id=\"a\": expected twice"]);
    }

    #[test]
    fn wrong_columns_are_named() {
        let columns = found().columns;
        assert!(parse("{\"id\":1,\"n\":1,\"sum\":1,\"x\":1}", &columns).is_err());
        assert!(parse("{\"id\":1,\"n\":1}", &columns).is_err());
    }
}

//! `diff`: what a rebuild would change for readers. Counts of each table, and the first rows that differ with the columns that do.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCandidates;
use hyper::Method;
use serde_json::Value;

use super::answers::{Difference, Rebuild, RowDifference, TableDifference};
use super::client::{Body, LONG};
use super::rebuild::{find, of_rebuild};
use super::words::{counted, number};
use super::{Engine, Show, projections, read};
use crate::cli::terminal::{shorten, table};

#[derive(clap::Args)]
pub(in crate::cli) struct Options {
    /// The projection that is being rebuilt, or the rebuild
    #[arg(value_name = "PROJECTION|REBUILD", add = ArgValueCandidates::new(projections))]
    which: String,
    /// Show so many differing rows of each table
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100))]
    samples: u32,
    #[command(flatten)]
    pub(super) show: Show,
}

/// Compares, and says what it has found.
pub(super) async fn diff(engine: &Engine, options: &Options) -> anyhow::Result<ExitCode> {
    let rebuild: Rebuild = read(find(engine, &options.which).await?)?;
    let path = of_rebuild(&rebuild.id, &format!("/diff?samples={}", options.samples));
    let answer = engine.client.ask(Method::GET, &path, Body::None, LONG).await?;
    engine.show(answer, |difference: &Difference| text(&rebuild, &difference.tables))?;
    Ok(ExitCode::SUCCESS)
}

fn text(rebuild: &Rebuild, tables: &[TableDifference]) -> String {
    let columns = ["table", "live rows", "rebuilt rows", "removed", "added", "changed"].map(str::to_owned);
    let count = |count: u64| number(i64::try_from(count).unwrap_or(i64::MAX));
    let row = |table: &TableDifference| {
        let compared = |value| if table.comparable { count(value) } else { "?".to_owned() };
        let [removed, added, changed] = [table.removed, table.added, table.changed].map(compared);
        vec![table.table.clone(), count(table.live_rows), count(table.rebuilt_rows), removed, added, changed]
    };
    let mut lines = vec![
        format!(
            "generation {} (live) and {} ({}), at the same checkpoints",
            rebuild.from_generation, rebuild.generation, rebuild.id
        ),
        String::new(),
        table(&columns, &tables.iter().map(row).collect::<Vec<_>>()),
    ];
    for table in tables {
        lines.extend(details(table));
    }
    let is_same = tables.iter().all(|table| {
        table.comparable
            && table.removed + table.added + table.changed == 0
            && table.live_columns == table.rebuilt_columns
    });
    if is_same {
        lines.push("\nThe rows are the same.".to_owned());
    }
    if rebuild.state == "ready" {
        lines.push(format!("\nlaterna rebuild switch {0}, or laterna rebuild cancel {0}", rebuild.id));
    }
    lines.join("\n")
}

fn details(table: &TableDifference) -> Vec<String> {
    let mut lines = Vec::new();
    let name = &table.table;
    let lacks = |columns: &[String], others: &[String]| {
        let lacking: Vec<&str> = columns.iter().filter(|column| !others.contains(column)).map(String::as_str).collect();
        (!lacking.is_empty() && !others.is_empty()).then(|| lacking.join(", "))
    };
    match (table.live_columns.is_empty(), table.rebuilt_columns.is_empty()) {
        (true, false) => lines.push(format!("\n{name} is new")),
        (false, true) => lines.push(format!("\n{name} goes away")),
        _ if !table.comparable => lines.push(format!("\n{name} has another primary key, so rows are only counted")),
        _ => {}
    }
    lines.extend(lacks(&table.rebuilt_columns, &table.live_columns).map(|new| format!("\n{name}: new columns {new}")));
    lines.extend(
        lacks(&table.live_columns, &table.rebuilt_columns).map(|gone| format!("\n{name}: columns that go {gone}")),
    );
    if !table.samples.is_empty() {
        let differing = table.removed + table.added + table.changed;
        let shown = counted(table.samples.len() as u64, "row");
        lines.push(format!(
            "\n{name}: the first {shown} of {} that differ",
            number(i64::try_from(differing).unwrap_or(i64::MAX))
        ));
        lines.extend(table.samples.iter().map(|sample| sample_text(table, sample)));
    }
    lines
}

fn sample_text(table: &TableDifference, sample: &RowDifference) -> String {
    let key = sample.key.iter().map(cell).collect::<Vec<_>>().join(", ");
    match (&sample.live, &sample.rebuilt) {
        (Some(live), Some(rebuilt)) => {
            let differing = table.live_columns.iter().zip(live).filter_map(|(column, before)| {
                let at = table.rebuilt_columns.iter().position(|other| other == column)?;
                let after = rebuilt.get(at).filter(|after| *after != before)?;
                Some(format!("{column} {} → {}", cell(before), cell(after)))
            });
            format!("  ~ {key}: {}", differing.collect::<Vec<_>>().join(", "))
        }
        (Some(live), None) => format!("  - {key}: {}", whole(&table.live_columns, live)),
        (None, Some(rebuilt)) => format!("  + {key}: {}", whole(&table.rebuilt_columns, rebuilt)),
        (None, None) => format!("  ? {key}"),
    }
}

fn whole(columns: &[String], row: &[Value]) -> String {
    columns.iter().zip(row).map(|(column, value)| format!("{column} {}", cell(value))).collect::<Vec<_>>().join(", ")
}

/// A value of a row: text as it is, what is nested as JSON.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => shorten(text),
        value => shorten(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table_difference(members: Value) -> TableDifference {
        let mut value = json!({
            "table": "orders", "live_columns": ["id", "total"], "rebuilt_columns": ["id", "total"], "live_rows": 3, "rebuilt_rows": 3,
            "removed": 0, "added": 0, "changed": 0, "comparable": true, "samples": [],
        });
        value.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn rebuild() -> Rebuild {
        serde_json::from_value(json!({
            "id": "orders-g2", "projection": "orders", "generation": 2, "from_generation": 1, "state": "ready", "switch": "manual",
            "progress_ratio": 1.0, "remaining_events": 0, "rate_per_second": 0.0,
        }))
        .unwrap()
    }

    #[test]
    fn the_same_rows_are_said_to_be_the_same() {
        let text = text(&rebuild(), &[table_difference(json!({}))]);
        assert!(text.contains("The rows are the same.") && text.contains("laterna rebuild switch orders-g2"), "{text}");
    }

    #[test]
    fn differing_rows_show_both_values() {
        let text = text(
            &rebuild(),
            &[table_difference(json!({
                "removed": 1, "added": 1, "changed": 1, "samples": [
                    { "key": ["a"], "live": ["a", 1], "rebuilt": ["a", 2] },
                    { "key": ["b"], "live": ["b", 1], "rebuilt": null },
                    { "key": ["c"], "live": null, "rebuilt": ["c\u{1b}", 1] },
                ],
            }))],
        );
        assert!(text.contains("the first 3 rows of 3 that differ\n  ~ a: total 1 → 2\n  - b: id b, total 1\n  + c: id c\u{fffd}, total 1"), "{text}");
        assert!(!text.contains("rows are the same"), "{text}");
    }

    #[test]
    fn tables_and_columns_that_come_and_go_are_told() {
        let text = text(
            &rebuild(),
            &[
                table_difference(json!({ "table": "fresh", "live_columns": [], "comparable": false })),
                table_difference(json!({ "table": "old", "rebuilt_columns": [], "comparable": false })),
                table_difference(json!({ "rebuilt_columns": ["id", "sum"] })),
                table_difference(json!({ "table": "keyed", "comparable": false })),
            ],
        );
        for part in [
            "fresh is new",
            "old goes away",
            "orders: new columns sum",
            "orders: columns that go total",
            "another primary key",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("rows are the same"), "{text}");
    }
}

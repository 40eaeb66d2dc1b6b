//! Comparing two generations of a table: a merge of two streams of rows in key order. The same for every sink.
//!
//! Invariant: both streams are in the order of [`Key`], and nothing of them is kept but the first differences.

use std::cmp::Ordering;

use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use serde_json::Value as Json;

use super::{RowDifference, SinkError, TableDifference};
use crate::change::{Key, Row, Schema, SchemaTable, Table, Value};

/// One generation's rows of a table.
pub(super) struct Side<'a> {
    pub(super) table: &'a Table,
    pub(super) resolved: &'a SchemaTable,
    /// In key order, each with its values in the table's order.
    pub(super) rows: BoxStream<'a, Result<Vec<Value>, SinkError>>,
}

/// A table in one generation, or in both.
pub(super) struct Pair<'a> {
    pub(super) live: Option<(&'a Table, &'a SchemaTable)>,
    pub(super) rebuilt: Option<(&'a Table, &'a SchemaTable)>,
}

/// The tables of both generations, in the rebuilt one's order, then those that are gone.
pub(super) fn pairs<'a>(live: &'a Schema, rebuilt: &'a Schema) -> Vec<Pair<'a>> {
    let of = |schema: &'a Schema, name: &str| tables(schema).find(|(table, _)| table.name == name);
    let there = tables(rebuilt).map(|new| Pair { live: of(live, &new.0.name), rebuilt: Some(new) });
    let gone = tables(live).filter(|(table, _)| of(rebuilt, &table.name).is_none());
    there.chain(gone.map(|old| Pair { live: Some(old), rebuilt: None })).collect()
}

fn tables(schema: &Schema) -> impl Iterator<Item = (&Table, &SchemaTable)> {
    schema.descriptor.tables.iter().zip(&schema.tables)
}

impl Pair<'_> {
    /// What is known without a row.
    pub(super) fn difference(&self) -> TableDifference {
        let columns = |side: Option<(&Table, &SchemaTable)>| {
            side.map(|(table, _)| table.columns.iter().map(|column| column.name.clone()).collect()).unwrap_or_default()
        };
        let either = self.rebuilt.or(self.live);
        TableDifference {
            table: either.map(|(table, _)| table.name.clone()).unwrap_or_default(),
            live_columns: columns(self.live),
            rebuilt_columns: columns(self.rebuilt),
            comparable: self.live.zip(self.rebuilt).is_some_and(|(live, rebuilt)| same_key(live, rebuilt)),
            ..TableDifference::default()
        }
    }
}

fn same_key((live, of_live): (&Table, &SchemaTable), (rebuilt, of_rebuilt): (&Table, &SchemaTable)) -> bool {
    let key = |table: &Table, resolved: &SchemaTable| -> Vec<_> {
        let columns = resolved.key.iter().map(|column| &table.columns[*column]);
        columns.map(|column| (column.name.clone(), column.column_type)).collect()
    };
    key(live, of_live) == key(rebuilt, of_rebuilt)
}

/// Counts the rows of both sides and how they differ, and keeps the first differences.
pub(super) async fn merge(
    difference: &mut TableDifference,
    mut live: Side<'_>,
    mut rebuilt: Side<'_>,
    samples_max: usize,
) -> Result<(), SinkError> {
    // Where each column that both have stands on either side; keys are compared by themselves.
    let shared: Vec<(usize, usize)> = live
        .table
        .columns
        .iter()
        .enumerate()
        .filter(|(at, _)| !live.resolved.key.contains(at))
        .filter_map(|(at, column)| {
            let other = rebuilt.table.columns.iter().position(|other| other.name == column.name)?;
            Some((at, other))
        })
        .collect();
    let (mut old, mut new) = (live.rows.try_next().await?, rebuilt.rows.try_next().await?);
    loop {
        let order = match (&old, &new) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => compare_keys((old, live.resolved), (new, rebuilt.resolved)),
        };
        let differs = match (order, &old, &new) {
            (Ordering::Less, ..) => {
                difference.removed += 1;
                true
            }
            (Ordering::Greater, ..) => {
                difference.added += 1;
                true
            }
            (Ordering::Equal, Some(old), Some(new)) => {
                let differs = shared.iter().any(|(at, other)| old[*at] != new[*other]);
                difference.changed += u64::from(differs);
                differs
            }
            _ => false,
        };
        let taken_old = if order.is_le() { old.take() } else { None };
        let taken_new = if order.is_ge() { new.take() } else { None };
        if differs && difference.samples.len() < samples_max {
            let key = taken_old.as_ref().map(|row| key_of(row, live.resolved));
            let key = key.or_else(|| taken_new.as_ref().map(|row| key_of(row, rebuilt.resolved)));
            let whole = |row: &Vec<Value>| row.iter().map(Value::to_json).collect();
            difference.samples.push(RowDifference {
                key: key.unwrap_or_default(),
                live: taken_old.as_ref().map(whole),
                rebuilt: taken_new.as_ref().map(whole),
            });
        }
        if taken_old.is_some() {
            difference.live_rows += 1;
            old = live.rows.try_next().await?;
        }
        if taken_new.is_some() {
            difference.rebuilt_rows += 1;
            new = rebuilt.rows.try_next().await?;
        }
    }
}

fn compare_keys((old, of_old): (&[Value], &SchemaTable), (new, of_new): (&[Value], &SchemaTable)) -> Ordering {
    let pairs = of_old.key.iter().zip(&of_new.key);
    pairs.map(|(a, b)| old[*a].compare(&new[*b])).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn key_of(row: &[Value], resolved: &SchemaTable) -> Vec<Json> {
    resolved.key.iter().map(|column| row[*column].to_json()).collect()
}

/// Splits a row in the table's order into its key and the rest.
pub(super) fn split(mut values: Vec<Value>, resolved: &SchemaTable) -> (Key, Row) {
    let mut take = |columns: &[usize]| -> Vec<Value> {
        columns.iter().map(|column| std::mem::replace(&mut values[*column], Value::Null)).collect()
    };
    let key = take(&resolved.key);
    (Key(key.into()), take(&resolved.rest))
}

//! What changes mean, row by row: the plain interpreter that folding is tested against, and that the SQLite sink
//! applies folded changes with.
//!
//! [`apply_change`] is the meaning of the contract: one change, one table, nothing folded. [`apply_row_change`] is the
//! meaning of a folded change. They share the arithmetic of single values and nothing else.

use std::collections::BTreeMap;

use super::{
    Cell, ChangeError, CheckedChange, Key, Operation, RowChange, Schema, SchemaTable, ShapeKind, Sum, Table, Value,
    ValueError,
};

/// The values of a row outside its primary key, in the order of `SchemaTable::rest`.
pub type Row = Vec<Value>;

/// The rows of a table, in memory.
pub type Rows = BTreeMap<Key, Row>;

/// Applies one change to tables in memory (one for each of `Schema::tables`), as `wit/projection.wit` says.
///
/// # Errors
/// A sum overflows; the tables are as before.
pub fn apply_change(schema: &Schema, tables: &mut [Rows], change: &CheckedChange) -> Result<(), ChangeError> {
    let shape = &schema.shapes[change.shape];
    let (table, resolved) = (&schema.descriptor.tables[shape.table], &schema.tables[shape.table]);
    let rows = &mut tables[shape.table];
    let assigned =
        || shape.assignments.iter().zip(&change.values).map(|((rest, operation), value)| (*rest, *operation, value));
    match shape.kind {
        ShapeKind::Delete => {
            rows.remove(&change.key);
        }
        ShapeKind::DeletePrefix => rows.retain(|key, _| !key.0.starts_with(&change.key.0)),
        ShapeKind::Insert => {
            rows.entry(change.key.clone()).or_insert_with(|| {
                let mut row = vec![Value::Null; resolved.rest.len()];
                assigned().for_each(|(rest, _, value)| row[rest] = value.clone());
                row
            });
        }
        ShapeKind::Upsert | ShapeKind::Update => {
            let stored = rows.get(&change.key);
            if stored.is_none() && shape.kind == ShapeKind::Update {
                return Ok(());
            }
            let held_back = stored.is_some_and(|row| {
                assigned().any(|(rest, operation, value)| operation == Operation::Newer && !is_newer(&row[rest], value))
            });
            if held_back {
                return Ok(());
            }
            let mut row = stored.cloned().unwrap_or_else(|| vec![Value::Null; resolved.rest.len()]);
            for (rest, operation, value) in assigned() {
                let stored = std::mem::replace(&mut row[rest], Value::Null);
                row[rest] = combine(stored, operation, value).map_err(|error| at_rest(table, resolved, rest, error))?;
            }
            rows.insert(change.key.clone(), row);
        }
    }
    Ok(())
}

/// Whether a guard lets a change through: the stored value is null or lesser.
pub(super) fn is_newer(stored: &Value, value: &Value) -> bool {
    stored.is_null() || (!value.is_null() && stored.compare(value).is_lt())
}

fn combine(stored: Value, operation: Operation, value: &Value) -> Result<Value, ValueError> {
    Ok(match operation {
        Operation::Set | Operation::Newer => value.clone(),
        Operation::Add => return add(&stored, value),
        Operation::Max => greater(stored, value),
        Operation::Min => lesser(stored, value),
        Operation::SetIfNull if stored.is_null() => value.clone(),
        Operation::SetIfNull => stored,
    })
}

/// The sum of a stored value, where null is 0, and a new one, where [`Change::check`](super::Change::check) has put 0 for null.
fn add(stored: &Value, value: &Value) -> Result<Value, ValueError> {
    match (stored, value) {
        (Value::Null, value) => Ok(value.clone()),
        (Value::Integer(a), Value::Integer(b)) => a.checked_add(*b).map(Value::Integer).ok_or_else(overflow),
        (Value::Decimal(a), Value::Decimal(b)) => Ok(Value::Decimal(a.add(b))),
        (Value::Float(a), Value::Float(b)) => add_floats(*a, *b),
        _ => Err(ValueError("is no number".into())),
    }
}

pub(super) fn overflow() -> ValueError {
    ValueError("the sum is beyond 64 bits".into())
}

pub(super) fn add_floats(a: f64, b: f64) -> Result<Value, ValueError> {
    Value::float(a + b).map_err(|_| ValueError("the sum is beyond what a float can hold".into()))
}

/// The stored value, unless the new one is greater. Null loses.
pub(super) fn greater(stored: Value, value: &Value) -> Value {
    if !value.is_null() && (stored.is_null() || stored.compare(value).is_lt()) { value.clone() } else { stored }
}

/// The stored value, unless the new one is lesser. Null loses.
pub(super) fn lesser(stored: Value, value: &Value) -> Value {
    if !value.is_null() && (stored.is_null() || stored.compare(value).is_gt()) { value.clone() } else { stored }
}

fn at_rest(table: &Table, resolved: &SchemaTable, rest: usize, error: ValueError) -> ChangeError {
    let column = &table.columns[resolved.rest[rest]];
    ChangeError { table: Some(table.name.clone()), column: Some(column.name.clone()), reason: error.0 }
}

/// What becomes of a row (or of its absence) under a folded change.
///
/// # Errors
/// A sum overflows: the fault of one of the folded events.
pub fn apply_row_change(
    table: &Table,
    resolved: &SchemaTable,
    stored: Option<Row>,
    change: &RowChange,
) -> Result<Option<Row>, ChangeError> {
    match (change, stored) {
        (change, None) => Ok(change.makes_row().then(|| {
            let values = (0..resolved.rest.len()).map(|rest| change.initial(rest).into_owned());
            values.collect()
        })),
        (RowChange::Delete, Some(_)) => Ok(None),
        (RowChange::Insert(_), stored) => Ok(stored),
        (RowChange::Upsert(cells) | RowChange::Update(cells), Some(mut row)) => {
            if !is_effective(&row, cells) {
                return Ok(Some(row));
            }
            for (rest, cell) in cells.iter().enumerate() {
                let stored = std::mem::replace(&mut row[rest], Value::Null);
                row[rest] = apply_cell(stored, cell).map_err(|error| at_rest(table, resolved, rest, error))?;
            }
            Ok(Some(row))
        }
    }
}

/// Whether a stored row passes the guard among the cells, if there is one.
pub(super) fn is_effective(row: &[Value], cells: &[Cell]) -> bool {
    row.iter().zip(cells).all(|(stored, cell)| match cell {
        Cell::Newer(value) => is_newer(stored, value),
        _ => true,
    })
}

/// What becomes of one stored value.
pub(super) fn apply_cell(stored: Value, cell: &Cell) -> Result<Value, ValueError> {
    Ok(match cell {
        Cell::Keep => stored,
        Cell::Set(value) | Cell::Newer(value) => value.clone(),
        Cell::Add(sum) => return apply_sum(&stored, sum),
        Cell::Max(value) => greater(stored, value),
        Cell::Min(value) => lesser(stored, value),
        Cell::SetIfNull(value) => {
            if stored.is_null() {
                value.clone()
            } else {
                stored
            }
        }
    })
}

fn apply_sum(stored: &Value, sum: &Sum) -> Result<Value, ValueError> {
    let wrong = || ValueError("is no number of the column's type".into());
    match (stored, sum) {
        (_, Sum::Integer { total, highest, lowest }) => {
            let base = match stored {
                Value::Null => 0,
                Value::Integer(base) => *base,
                _ => return Err(wrong()),
            };
            base.checked_add(*highest).and(base.checked_add(*lowest)).ok_or_else(overflow)?;
            base.checked_add(*total).map(Value::Integer).ok_or_else(overflow)
        }
        (Value::Null, Sum::Decimal(sum)) => Ok(Value::Decimal(sum.clone())),
        (Value::Decimal(stored), Sum::Decimal(sum)) => Ok(Value::Decimal(stored.add(sum))),
        (Value::Null, Sum::Float(sum)) => add_floats(0.0, *sum),
        (Value::Float(stored), Sum::Float(sum)) => add_floats(*stored, *sum),
        _ => Err(wrong()),
    }
}

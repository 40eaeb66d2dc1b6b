//! How two operations of one row become one.
//!
//! Law: where `first` becomes `both`, applying `both` to any row, and to no row, gives what applying the two one after the
//! other gives, errors included. Where no form can say that, the two stay apart: a barrier. So an operation that
//! may fail (a sum that may overflow) is never swallowed by one that would hide it.
//!
//! The arguments, where they are not plain to see:
//! - `Upsert; Update`: the row surely exists in between, so it is `Upsert; Upsert`. The same for `Insert; Update`.
//! - `Update; Upsert`: without a row, the first does nothing and the second inserts. One upsert says that only if the
//!   second sets everything that the first assigns.
//! - `Insert; Upsert`: a stored row only sees the second, a new one both. So the second's cell must give the same from the
//!   inserted value as from null: it is a `set`, or the inserted value is null.
//! - `Delete; X`: the row surely is away, so `X` is known in full: a constant row, all cells `Set`.
//! - Two guards on one column: after the first, whether it took effect or not, the stored version is at least the first's
//!   (or null, if that is null). So a second that is not newer never takes effect. A newer one takes effect whenever the first
//!   did; if it sets all that the first assigns, nothing of the first is left to see.

use super::interpret::{apply_cell, greater, is_newer, lesser};
use super::{Cell, RowChange, Sum, Value, ValueError};

/// What a pair of operations comes to.
enum Pair {
    Folds,
    Barrier,
    /// The second fails on what the first leaves, surely.
    Fails(ValueError),
}

/// Why the second operation surely fails: the position in `SchemaTable::rest`, and what is wrong.
#[derive(Debug)]
pub(super) struct Failure(pub(super) usize, pub(super) ValueError);

/// Folds `second` into `first`, or gives it back where it must come later.
///
/// # Errors
/// The second fails whatever the row was. `first` is as before.
pub(super) fn compose(first: &mut RowChange, second: RowChange) -> Result<Option<RowChange>, Failure> {
    use RowChange as R;
    match (&mut *first, second) {
        (R::Delete, R::Delete | R::Update(_)) | (R::Upsert(_) | R::Insert(_), R::Insert(_)) => Ok(None),
        (R::Delete, second) => {
            if let Some(constant) = constant(second) {
                *first = constant;
            }
            Ok(None)
        }
        (_, R::Delete) => {
            if can_fail(first) {
                return Ok(Some(R::Delete));
            }
            *first = R::Delete;
            Ok(None)
        }
        (R::Update(_), second @ R::Insert(_)) => Ok(Some(second)),
        (R::Insert(values), R::Upsert(cells)) => {
            if !replaces_inserted(values, &cells) {
                return Ok(Some(R::Upsert(cells)));
            }
            *first = R::Upsert(cells);
            Ok(None)
        }
        (R::Insert(values), R::Update(cells)) => {
            if !replaces_inserted(values, &cells) {
                return Ok(Some(R::Update(cells)));
            }
            *first = R::Upsert(cells);
            Ok(None)
        }
        (R::Upsert(cells), R::Upsert(later)) => Ok(compose_cells(cells, later, true)?.map(R::Upsert)),
        (R::Upsert(cells), R::Update(later)) => Ok(compose_cells(cells, later, true)?.map(R::Update)),
        (R::Update(cells), R::Update(later)) => Ok(compose_cells(cells, later, false)?.map(R::Update)),
        (R::Update(cells), R::Upsert(later)) => {
            let hides = match (guard(cells), guard(&later)) {
                (_, None) => covers(&later, cells, None),
                (Some((a, old)), Some((b, new))) => a == b && is_newer(old, new) && covers(&later, cells, Some(a)),
                (None, Some(_)) => false,
            };
            if !hides || any_can_fail(cells) {
                return Ok(Some(R::Upsert(later)));
            }
            *first = R::Upsert(later);
            Ok(None)
        }
    }
}

/// What an operation makes where the row surely is away: a constant row, or nothing.
pub(super) fn constant(change: RowChange) -> Option<RowChange> {
    match change {
        RowChange::Delete | RowChange::Update(_) => None,
        RowChange::Upsert(cells) => {
            Some(RowChange::Upsert(cells.into_iter().map(|cell| Cell::Set(cell.into_initial())).collect()))
        }
        RowChange::Insert(values) => Some(RowChange::Upsert(values.into_iter().map(Cell::Set).collect())),
    }
}

/// Whether there is a row on which the operation fails.
pub(super) fn can_fail(change: &RowChange) -> bool {
    match change {
        RowChange::Delete | RowChange::Insert(_) => false,
        RowChange::Upsert(cells) | RowChange::Update(cells) => any_can_fail(cells),
    }
}

fn any_can_fail(cells: &[Cell]) -> bool {
    cells.iter().any(|cell| matches!(cell, Cell::Add(sum) if sum_can_fail(sum)))
}

fn sum_can_fail(sum: &Sum) -> bool {
    match sum {
        Sum::Integer { highest, lowest, .. } => *highest != 0 || *lowest != 0,
        Sum::Decimal(_) => false,
        Sum::Float(sum) => *sum != 0.0,
    }
}

fn guard(cells: &[Cell]) -> Option<(usize, &Value)> {
    cells.iter().enumerate().find_map(|(rest, cell)| match cell {
        Cell::Newer(value) => Some((rest, value)),
        _ => None,
    })
}

/// Whether `later` sets every column that `cells` assign, but for the guard's.
fn covers(later: &[Cell], cells: &[Cell], guard: Option<usize>) -> bool {
    let hidden =
        |(rest, (cell, later))| Some(rest) == guard || matches!(cell, &Cell::Keep) || matches!(later, &Cell::Set(_));
    cells.iter().zip(later).enumerate().all(hidden)
}

fn replaces_inserted(values: &[Value], later: &[Cell]) -> bool {
    values.iter().zip(later).all(|(value, cell)| value.is_null() || matches!(cell, Cell::Set(_)))
}

/// Folds the cells of an upsert or update over those of another one. `certain`: the row surely exists in between.
fn compose_cells(cells: &mut Vec<Cell>, mut later: Vec<Cell>, certain: bool) -> Result<Option<Vec<Cell>>, Failure> {
    match (guard(cells), guard(&later)) {
        (None, None) => {}
        (Some((a, old)), Some((b, new))) => {
            if a != b {
                return Ok(Some(later));
            }
            if !is_newer(old, new) {
                return Ok(None);
            }
            return Ok(replace(cells, later, Some(a)));
        }
        (Some(_), None) => return Ok(replace(cells, later, None)),
        (None, Some((rest, new))) => {
            // Only a version that the first sets tells what the guard will find.
            let Cell::Set(old) = &cells[rest] else { return Ok(Some(later)) };
            if !is_newer(old, new) {
                return Ok(None);
            }
            later[rest] = Cell::Set(new.clone());
        }
    }
    for (rest, (cell, later_cell)) in cells.iter().zip(&later).enumerate() {
        match pair(cell, later_cell) {
            Pair::Folds => {}
            Pair::Fails(error) if certain => return Err(Failure(rest, error)),
            // Where there is no row, nothing fails; the guard that was resolved above held in either case.
            Pair::Fails(_) | Pair::Barrier => return Ok(Some(later)),
        }
    }
    for (cell, later) in cells.iter_mut().zip(later) {
        merge(cell, later);
    }
    Ok(None)
}

fn replace(cells: &mut Vec<Cell>, later: Vec<Cell>, guard: Option<usize>) -> Option<Vec<Cell>> {
    if any_can_fail(cells) || !covers(&later, cells, guard) {
        return Some(later);
    }
    *cells = later;
    None
}

/// Whether two cells without guard fold.
fn pair(first: &Cell, second: &Cell) -> Pair {
    use Cell as C;
    let folds = match (first, second) {
        (_, C::Keep) | (C::Keep, _) => true,
        (C::Set(value), C::Add(_)) => {
            return match apply_cell(value.clone(), second) {
                Ok(_) => Pair::Folds,
                Err(error) => Pair::Fails(error),
            };
        }
        (C::Set(_), _) => true,
        (C::Add(sum), C::Set(_)) => !sum_can_fail(sum),
        (C::Add(first), C::Add(second)) => joined(first, second).is_some(),
        // A sum is never null; nor is what a maximum or minimum leaves, as their own value is not.
        (C::Add(_) | C::Max(_) | C::Min(_), C::SetIfNull(_)) => true,
        (C::Max(_), C::Max(_)) | (C::Min(_), C::Min(_)) | (C::SetIfNull(_), C::SetIfNull(_)) => true,
        (C::Max(_) | C::Min(_) | C::SetIfNull(_), C::Set(_)) => true,
        _ => false,
    };
    if folds { Pair::Folds } else { Pair::Barrier }
}

/// Folds the second cell into the first, where [`pair`] says that it does.
fn merge(first: &mut Cell, second: Cell) {
    use Cell as C;
    match (&mut *first, second) {
        (_, C::Keep) | (C::Add(_) | C::Max(_) | C::Min(_) | C::SetIfNull(_), C::SetIfNull(_)) => {}
        (C::Set(value), second) => {
            let stored = std::mem::replace(value, Value::Null);
            // `pair` has tried it: it does not fail.
            if let Ok(result) = apply_cell(stored, &second) {
                *value = result;
            }
        }
        (C::Add(first), C::Add(second)) => {
            if let Some(sum) = joined(first, &second) {
                *first = sum;
            }
        }
        (C::Max(value), C::Max(second)) => *value = greater(std::mem::replace(value, Value::Null), &second),
        (C::Min(value), C::Min(second)) => *value = lesser(std::mem::replace(value, Value::Null), &second),
        (_, second) => *first = second,
    }
}

/// One sum that stands for two, where there is one.
fn joined(first: &Sum, second: &Sum) -> Option<Sum> {
    match (first, second) {
        (
            Sum::Integer { total, highest, lowest },
            Sum::Integer { total: more, highest: more_highest, lowest: more_lowest },
        ) => Some(Sum::Integer {
            total: total.checked_add(*more)?,
            highest: *highest.max(&total.checked_add(*more_highest)?),
            lowest: *lowest.min(&total.checked_add(*more_lowest)?),
        }),
        (Sum::Decimal(first), Sum::Decimal(second)) => Some(Sum::Decimal(first.add(second))),
        // Sums of floats depend on their order; adding 0 changes nothing but null.
        _ => None,
    }
}

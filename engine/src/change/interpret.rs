//! What changes mean, row by row: the plain interpreter that folding is tested against, and that the SQLite sink
//! applies folded changes with.

use super::{ChangeError, RowChange, SchemaTable, Table, Value};

/// The values of a row outside its primary key, in the order of `SchemaTable::rest`.
pub type Row = Vec<Value>;

/// What becomes of a row (or of its absence) under a folded change.
///
/// # Errors
/// A sum overflows: the fault of one of the folded events.
pub fn apply_row_change(table: &Table, resolved: &SchemaTable, stored: Option<Row>, change: &RowChange) -> Result<Option<Row>, ChangeError> {
    let _ = (table, resolved, stored, change);
    unimplemented!()
}

//! The change algebra: what a plugin's changes mean, and how many of them become one row operation.
//!
//! A plugin returns changes in event order; a commit writes a [`ChangeSet`]. Between the two, changes of one row
//! fold into one [`RowChange`], so that a row is written once however often it changed. What cannot fold goes to
//! a later [`Stage`]: a barrier, never an error and never a loss.
//!
//! Law (property-tested against `interpret.rs`, which applies changes row by row): for every sequence of changes,
//! folding and applying the stages in order gives the same rows, or the same error at the same event, as applying
//! each change by itself.
//!
//! No I/O and no SQL here. `descriptor` says what a projection is, `value` what a column holds, `fold` how changes
//! combine, `interpret` what they mean.

mod calendar;
mod check;
mod compose;
mod decimal;
mod descriptor;
mod fold;
mod interpret;
mod json;
mod reserved;
mod validate;
mod value;

#[cfg(test)]
mod laws;

pub use calendar::{date_text, parse_date, parse_timestamp, timestamp_text};
pub use check::CheckedChange;
pub use decimal::{DECIMAL_DIGITS_MAX, DECIMAL_SCALE_MAX};
pub use descriptor::{
    Action, Assignment, Column, ColumnType, Descriptor, Encoding, Index, IndexKind, Operation, Partitioning, Problem,
    Schema, SchemaShape, SchemaTable, Shape, ShapeKind, Table, Topic,
};
pub use fold::{Cell, ChangeSet, RowChange, Stage, Sum, TableChanges};
pub use interpret::{Row, Rows, apply_change, apply_row_change};
pub use json::JSON_DEPTH_MAX;
pub use reserved::{NameOf, fault as name_fault};
pub use value::{Decimal, Key, PluginValue, VALUE_BYTES_MAX, Value, ValueError, uuid_text};

/// One row operation, as a plugin returns it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Index into `Descriptor::shapes`.
    pub shape: u32,
    /// The primary key's values in the table's order (for `delete-prefix` the leading ones), then one value for each
    /// assignment of the shape.
    pub values: Vec<PluginValue>,
}

/// Why a change cannot be applied: the fault of the event that asked for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {reason}", table.as_deref().unwrap_or("change"), column.as_ref().map(|c| format!(".{c}")).unwrap_or_default())]
pub struct ChangeError {
    /// The table, where the change names one that exists.
    pub table: Option<String>,
    /// The column, where one value is at fault.
    pub column: Option<String>,
    /// What is wrong, with the value shortened.
    pub reason: String,
}

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

mod descriptor;
mod fold;
mod interpret;
mod value;

pub use descriptor::{
    Action, Assignment, Column, ColumnType, Descriptor, Encoding, Index, IndexKind, Operation, Partitioning, Problem,
    Schema, SchemaShape, SchemaTable, Shape, ShapeKind, Table, Topic,
};
pub use fold::{Cell, ChangeSet, RowChange, Stage, Sum, TableChanges};
pub use interpret::{Row, apply_row_change};
pub use value::{Decimal, Key, Value, ValueError};

/// One row operation, as a plugin returns it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Index into `Descriptor::shapes`.
    pub shape: u32,
    /// The primary key's values in the table's order (for `delete-prefix` the leading ones), then one value for each
    /// assignment of the shape. Unchecked: the plugin's words.
    pub values: Vec<PluginValue>,
}

/// A value as a plugin returns it, unchecked: the change set checks it against its column.
#[derive(Clone, Debug, PartialEq)]
pub enum PluginValue {
    /// SQL NULL.
    Null,
    /// True or false.
    Boolean(bool),
    /// Whole number.
    Integer(i64),
    /// Floating-point number, NaN and infinities included.
    Float(f64),
    /// Decimal number in plain or scientific notation, or anything else.
    Decimal(String),
    /// Text.
    Text(String),
    /// Any bytes.
    Bytes(Vec<u8>),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// Days since 1970-01-01.
    Date(i32),
    /// A UUID, or anything else.
    Uuid(String),
    /// A JSON document, or anything else.
    Json(String),
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

//! What a projection is: its topics, tables and shapes, as the plugin describes them, and their validation.
//!
//! A [`Descriptor`] is the plugin's word and may say anything. A [`Schema`] is a descriptor that holds: every name is
//! an identifier that both databases take, every shape's columns exist and take their operations. Everything
//! behind validation works on a `Schema` and looks nothing up by name.

use std::fmt;

/// How the bytes of a key or a value are handed to the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// As text where they are UTF-8, as bytes where they are not.
    Text,
    /// Always as bytes.
    Bytes,
}

/// A topic that the projection reads.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Topic {
    /// Name of the topic.
    pub name: String,
    /// How keys are handed over.
    pub key: Encoding,
    /// How values are handed over.
    pub value: Encoding,
    /// Names of the headers to hand over.
    pub headers: Vec<String>,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnType {
    /// True or false.
    Boolean,
    /// Whole number of 64 bits.
    Integer,
    /// Binary floating-point number of 64 bits, finite.
    Float,
    /// Exact decimal number.
    Decimal,
    /// Text without U+0000.
    Text,
    /// Bytes.
    Bytes,
    /// Instant in microseconds, UTC.
    Timestamp,
    /// Calendar day.
    Date,
    /// UUID.
    Uuid,
    /// JSON document.
    Json,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Column {
    /// Identifier.
    pub name: String,
    /// Type of its values.
    pub column_type: ColumnType,
    /// Whether null is allowed.
    pub nullable: bool,
}

/// What an index serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IndexKind {
    /// Equality, ranges and order.
    Ordered,
    /// Words in text columns.
    FullText,
}

/// An index of a table; never unique.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Index {
    /// Names of columns.
    pub columns: Vec<String>,
    /// What it serves.
    pub kind: IndexKind,
}

/// Which events change a row of a table, so how many writers may work at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partitioning {
    /// Each row is only ever changed by events of one partition.
    ByPartition,
    /// Rows are shared between partitions and changed by commutative operations only.
    Commutative,
    /// Anything else: one lane for the whole projection.
    Serial,
}

/// A table of the read model.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Table {
    /// Identifier.
    pub name: String,
    /// In the order in which the table is created.
    pub columns: Vec<Column>,
    /// Names of columns, none of them nullable.
    pub primary_key: Vec<String>,
    /// Indexes beside the primary key's.
    pub indexes: Vec<Index>,
    /// Which events change its rows.
    pub partitioning: Partitioning,
}

/// How a new value combines with the stored one. The meaning of each stands in `wit/projection.wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// The new value, null included.
    Set,
    /// The sum; null is 0.
    Add,
    /// The greater one; null loses.
    Max,
    /// The lesser one; null loses.
    Min,
    /// The stored value, or the new one where the stored one is null.
    SetIfNull,
    /// A guard for the whole change: effect only where there is no row, or the stored value is null or lesser.
    Newer,
}

/// A column outside the primary key, and what its value does.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Assignment {
    /// Name of the column.
    pub column: String,
    /// How its value combines with the stored one.
    pub operation: Operation,
}

/// What a shape does with the rows of its table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Insert the row, or combine it with the stored one.
    Upsert(Vec<Assignment>),
    /// Combine with the stored row; nothing where there is none.
    Update(Vec<Assignment>),
    /// Insert a row with these columns; nothing where there is one.
    Insert(Vec<String>),
    /// Delete the row, if there is one.
    Delete,
    /// Delete all rows that agree in so many leading columns of the primary key.
    DeletePrefix(u32),
}

/// A kind of change that the projection makes, declared once.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shape {
    /// Name of the table.
    pub table: String,
    /// What it does.
    pub action: Action,
}

/// What a plugin says that its projection is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Descriptor {
    /// Identifier.
    pub name: String,
    /// Raised by the author when the meaning of the rows changes.
    pub revision: u32,
    /// What it reads.
    pub topics: Vec<Topic>,
    /// What it keeps.
    pub tables: Vec<Table>,
    /// The kinds of change that it makes.
    pub shapes: Vec<Shape>,
}

/// One thing that is wrong with a descriptor, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path in the descriptor: `tables[1] "orders", column "total"`.
    pub place: String,
    /// What is wrong and what is right instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A descriptor that holds, with every name resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// What the plugin said.
    pub descriptor: Descriptor,
    /// Resolved tables, in the descriptor's order.
    pub tables: Vec<SchemaTable>,
    /// Resolved shapes, in the descriptor's order.
    pub shapes: Vec<SchemaShape>,
}

/// A table with its columns split into key and rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaTable {
    /// Index into `Descriptor::tables`.
    pub index: usize,
    /// Columns of the primary key, in the key's order, as indexes into `Table::columns`.
    pub key: Vec<usize>,
    /// The other columns, in the table's order, as indexes into `Table::columns`.
    pub rest: Vec<usize>,
    /// How many bytes a value of each of `rest` may have: less where an index takes less.
    pub rest_bytes_max: Vec<usize>,
    /// The lengths of key prefixes that some shape of the table deletes by, ascending, without repeats.
    pub prefix_lengths: Vec<usize>,
}

/// A shape with its table and columns resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaShape {
    /// Index into `Schema::tables`.
    pub table: usize,
    /// How many leading values of a change are key values.
    pub key_values: usize,
    /// What it does; for each assigned value after the key's, its position in `SchemaTable::rest` and its operation
    /// (`Set` for `insert`).
    pub assignments: Vec<(usize, Operation)>,
    /// Which of the five actions it is, without its columns.
    pub kind: ShapeKind,
}

/// The five actions, without their columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShapeKind {
    /// See [`Action::Upsert`].
    Upsert,
    /// See [`Action::Update`].
    Update,
    /// See [`Action::Insert`].
    Insert,
    /// See [`Action::Delete`].
    Delete,
    /// See [`Action::DeletePrefix`].
    DeletePrefix,
}

impl Schema {
    /// Whether one table is `serial`, so that the whole projection runs in one lane.
    pub fn is_serial(&self) -> bool {
        self.descriptor.tables.iter().any(|table| table.partitioning == Partitioning::Serial)
    }
}

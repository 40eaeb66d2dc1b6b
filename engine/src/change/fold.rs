//! Folding: many changes of a row become one.

use hashbrown::HashMap;

use super::{Change, ChangeError, Key, Schema, Value};
use crate::checkpoint::Advance;

/// What one commit writes: row operations in stages, and the checkpoints that move with them.
#[derive(Clone, Debug)]
pub struct ChangeSet {
    /// Which partitions move, at most one advance each.
    pub advances: Vec<Advance>,
    /// Applied in order; within a stage, prefix deletes come first, then the rows, in any order. Empty where no row changes.
    pub stages: Vec<Stage>,
}

/// Row operations of which no two touch the same row.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// By index into `Schema::tables`; always as long as that.
    pub tables: Vec<TableChanges>,
}

/// The operations of one table in one stage.
#[derive(Clone, Debug, Default)]
pub struct TableChanges {
    /// Leading key values; all rows that agree in them go, before `rows` are applied. The length of a key says how many columns.
    pub delete_prefixes: Vec<Key>,
    /// One operation a row.
    pub rows: HashMap<Key, RowChange>,
}

/// What happens to one row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    /// It goes, if it is there.
    Delete,
    /// A new row takes the cells' own values (see [`Cell::initial`]); a stored one combines with them.
    /// One cell for each of `SchemaTable::rest`.
    Upsert(Vec<Cell>),
    /// A stored row combines with the cells; without one nothing happens.
    Update(Vec<Cell>),
    /// A new row takes the values, one for each of `SchemaTable::rest`; a stored one stays as it is.
    Insert(Vec<Value>),
}

/// What happens to one column.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Null in a new row, unchanged in a stored one.
    Keep,
    /// The new value.
    Set(Value),
    /// The sum; null is 0.
    Add(Sum),
    /// The greater one; null loses.
    Max(Value),
    /// The lesser one; null loses.
    Min(Value),
    /// The new value where the stored one is null.
    SetIfNull(Value),
    /// Guards the whole row change, and is the new value where the guard holds.
    Newer(Value),
}

/// What is added to a column by one or more events.
#[derive(Clone, Debug, PartialEq)]
pub enum Sum {
    /// Whole numbers: the sum, and the highest and lowest value that the running sum took (0 included), because a
    /// stored value that overflows on the way is the fault of an event even where the end would fit again.
    Integer {
        /// The sum of all.
        total: i64,
        /// The highest running sum, at least 0.
        highest: i64,
        /// The lowest running sum, at most 0.
        lowest: i64,
    },
    /// Decimals: the exact sum.
    Decimal(super::Decimal),
    /// One float: sums of floats depend on their order, so they never fold.
    Float(f64),
}

impl Cell {
    /// The column's value in a new row.
    pub fn initial(&self) -> Value {
        unimplemented!()
    }
}

impl ChangeSet {
    /// An empty set.
    pub fn new(schema: &Schema) -> Self {
        let _ = schema;
        unimplemented!()
    }

    /// Checks all changes of one event against the schema, and folds them in. All or nothing: on an error the set is as before.
    ///
    /// # Errors
    /// The event is at fault: a shape that does not exist, a value of another type than its column's, a value that no
    /// database can hold, a sum that overflows.
    pub fn push_event(&mut self, schema: &Schema, changes: Vec<Change>) -> Result<(), ChangeError> {
        let _ = (schema, changes);
        unimplemented!()
    }

    /// How many row operations it holds.
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// Whether no row changes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

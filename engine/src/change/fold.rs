//! Folding: many changes of a row become one.
//!
//! Where two do not fold, the later one goes to the next stage. A row's change goes to the last stage in which the row
//! is pending or is deleted by a prefix; in the latter case the row is known to be away. A prefix delete erases what
//! is pending under it, except what may fail: it goes to the first stage after that. So a replaced set of
//! children costs one delete and its last rows, however often it was replaced.

use std::borrow::Cow;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::compose::{Failure, can_fail, compose, constant};
use super::{Change, ChangeError, CheckedChange, Key, Operation, Schema, SchemaTable, ShapeKind, Value};
use crate::checkpoint::Advance;

/// What one commit writes: row operations in stages, and the checkpoints that move with them.
#[derive(Clone, Debug)]
pub struct ChangeSet {
    /// Which partitions move, at most one advance each.
    pub advances: Vec<Advance>,
    /// Applied in order; within a stage, prefix deletes come first, then the rows, in any order. Empty where no row changes.
    pub stages: Vec<Stage>,
    /// One for each table.
    places: Vec<Places>,
    operations: usize,
    /// What the event in hand has done, where a later change of it may fail.
    undo: Option<Vec<Undo>>,
    /// One for each table.
    sums_may_fail: Vec<bool>,
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

impl RowChange {
    /// Whether it makes a row where there is none.
    pub fn makes_row(&self) -> bool {
        matches!(self, RowChange::Upsert(_) | RowChange::Insert(_))
    }

    /// What one of `SchemaTable::rest` holds in the row that it makes; null where it makes none.
    pub fn initial(&self, rest: usize) -> Cow<'_, Value> {
        match self {
            RowChange::Upsert(cells) => cells.get(rest).map(Cell::initial),
            RowChange::Insert(values) => values.get(rest).map(Cow::Borrowed),
            RowChange::Update(_) | RowChange::Delete => None,
        }
        .unwrap_or(Cow::Owned(Value::Null))
    }
}

impl Cell {
    /// The column's value in a new row.
    pub fn initial(&self) -> Cow<'_, Value> {
        match self {
            Cell::Set(value) | Cell::Max(value) | Cell::Min(value) | Cell::SetIfNull(value) | Cell::Newer(value) => {
                Cow::Borrowed(value)
            }
            Cell::Keep | Cell::Add(_) => Cow::Owned(self.clone().into_initial()),
        }
    }

    pub(super) fn into_initial(self) -> Value {
        match self {
            Cell::Keep => Value::Null,
            Cell::Set(value) | Cell::Max(value) | Cell::Min(value) | Cell::SetIfNull(value) | Cell::Newer(value) => {
                value
            }
            Cell::Add(Sum::Integer { total, .. }) => Value::Integer(total),
            Cell::Add(Sum::Decimal(sum)) => Value::Decimal(sum),
            Cell::Add(Sum::Float(sum)) => Value::Float(sum),
        }
    }

    /// The cell of one assignment.
    fn of(operation: Operation, value: Value) -> Self {
        match (operation, value) {
            (Operation::Set, value) => Cell::Set(value),
            (Operation::Newer, value) => Cell::Newer(value),
            (Operation::Add, Value::Integer(value)) => {
                Cell::Add(Sum::Integer { total: value, highest: value.max(0), lowest: value.min(0) })
            }
            (Operation::Add, Value::Decimal(value)) => Cell::Add(Sum::Decimal(value)),
            (Operation::Add, Value::Float(value)) => Cell::Add(Sum::Float(value)),
            // Null loses, and validation lets only numbers be added.
            (_, Value::Null) | (Operation::Add, _) => Cell::Keep,
            (Operation::Max, value) => Cell::Max(value),
            (Operation::Min, value) => Cell::Min(value),
            (Operation::SetIfNull, value) => Cell::SetIfNull(value),
        }
    }
}

impl Stage {
    fn new(tables: usize) -> Self {
        Self { tables: (0..tables).map(|_| TableChanges::default()).collect() }
    }
}

/// Where the operations of a table stand.
#[derive(Clone, Debug, Default)]
struct Places {
    /// The last stage in which a row is pending, where that is not the first.
    last: HashMap<Key, usize>,
    /// The last stage in which rows under a prefix are deleted.
    prefixes: HashMap<Key, usize>,
    /// Rows that are, or were, pending under a prefix that some shape deletes by. Empty where none does.
    under: HashMap<Key, Vec<Key>>,
}

impl Places {
    /// Whether no row of the table is pending in a later stage, and no prefix is or can be deleted.
    fn are_plain(&self, resolved: &SchemaTable) -> bool {
        self.last.is_empty() && self.prefixes.is_empty() && resolved.prefix_lengths.is_empty()
    }

    /// Notes that a row is pending under its prefixes.
    fn note(&mut self, resolved: &SchemaTable, key: &Key) {
        for length in resolved.prefix_lengths.iter().filter(|length| **length < key.0.len()) {
            match self.under.get_mut(&key.0[..*length]) {
                Some(keys) => keys.push(key.clone()),
                None => {
                    self.under.insert(Key(key.0[..*length].into()), vec![key.clone()]);
                }
            }
        }
    }
}

/// How to take one step of an event back.
#[derive(Clone, Debug)]
enum Undo {
    /// The operation and the last stage of a row, as they were.
    Row { table: usize, key: Key, stage: usize, before: Option<RowChange>, last: Option<usize> },
    /// The last prefix delete of a stage, and where the prefix stood before.
    Prefix { table: usize, key: Key, stage: usize, before: Option<usize> },
}

impl ChangeSet {
    /// An empty set.
    pub fn new(schema: &Schema) -> Self {
        Self {
            advances: Vec::new(),
            stages: Vec::new(),
            places: vec![Places::default(); schema.tables.len()],
            operations: 0,
            undo: None,
            sums_may_fail: (0..schema.tables.len()).map(|table| sums_may_fail(schema, table)).collect(),
        }
    }

    /// Checks all changes of one event against the schema, and folds them in. All or nothing: on an error the set is as before.
    ///
    /// # Errors
    /// The event is at fault: a shape that does not exist, a value of another type than its column's, a value that no
    /// database can hold, a sum that overflows.
    pub fn push_event(&mut self, schema: &Schema, changes: Vec<Change>) -> Result<(), ChangeError> {
        let checked = changes.into_iter().map(|change| change.check(schema)).collect::<Result<Vec<_>, _>>()?;
        let stages = self.stages.len();
        // Nothing but a sum fails, and a step that fails changes nothing itself. So only what comes before a sum is noted.
        let may_fail = |change: &CheckedChange| self.sums_may_fail[schema.shapes[change.shape].table];
        self.undo = checked.iter().skip(1).any(may_fail).then(Vec::new);
        for change in checked {
            if let Err(error) = self.fold(schema, change) {
                self.take_back(schema);
                self.stages.truncate(stages);
                return Err(error);
            }
        }
        self.undo = None;
        Ok(())
    }

    /// How many row operations and prefix deletes it holds.
    pub fn len(&self) -> usize {
        self.operations
    }

    /// Whether no row changes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn fold(&mut self, schema: &Schema, change: CheckedChange) -> Result<(), ChangeError> {
        let shape = &schema.shapes[change.shape];
        let resolved = &schema.tables[shape.table];
        let cells = |values: Vec<Value>| {
            let mut cells: Vec<Cell> = std::iter::repeat_with(|| Cell::Keep).take(resolved.rest.len()).collect();
            for (value, (rest, operation)) in values.into_iter().zip(&shape.assignments) {
                cells[*rest] = Cell::of(*operation, value);
            }
            cells
        };
        let row_change = match shape.kind {
            ShapeKind::Upsert => RowChange::Upsert(cells(change.values)),
            ShapeKind::Update => RowChange::Update(cells(change.values)),
            ShapeKind::Insert => RowChange::Insert(cells(change.values).into_iter().map(Cell::into_initial).collect()),
            ShapeKind::Delete => RowChange::Delete,
            // The whole key is a prefix of one row.
            ShapeKind::DeletePrefix if change.key.0.len() == resolved.key.len() => RowChange::Delete,
            ShapeKind::DeletePrefix => {
                self.delete_prefix(resolved, change.key);
                return Ok(());
            }
        };
        self.fold_row(resolved, change.key, row_change).map_err(|Failure(rest, error)| {
            let table = &schema.descriptor.tables[resolved.index];
            let column = table.columns[resolved.rest[rest]].name.clone();
            ChangeError { table: Some(table.name.clone()), column: Some(column), reason: error.0 }
        })
    }

    fn fold_row(&mut self, resolved: &SchemaTable, key: Key, change: RowChange) -> Result<(), Failure> {
        let table = resolved.index;
        if self.undo.is_none() && self.places[table].are_plain(resolved) {
            self.grow(0);
            // By far the most changes: nothing stands in the way, and one look at the map is enough.
            let Some(later) = (match self.stages[0].tables[table].rows.entry(key.clone()) {
                Entry::Occupied(mut first) => compose(first.get_mut(), change)?,
                Entry::Vacant(place) => {
                    place.insert(change);
                    self.operations += 1;
                    None
                }
            }) else {
                return Ok(());
            };
            self.put(resolved, key, 1, later);
            return Ok(());
        }
        let pending = self.last_stage(table, &key);
        let deleted = self.deleted_in(resolved, &key.0);
        let Some(stage) = pending.filter(|stage| Some(*stage) >= deleted) else {
            match deleted {
                None => self.put(resolved, key, 0, change),
                Some(stage) => {
                    if let Some(constant) = constant(change) {
                        self.put(resolved, key, stage, constant);
                    }
                }
            }
            return Ok(());
        };
        let rows = &mut self.stages[stage].tables[table].rows;
        let Some(first) = rows.get_mut(&key) else { return Ok(()) };
        let before = self.undo.is_some().then(|| first.clone());
        if let Some(later) = compose(first, change)? {
            self.put(resolved, key, stage + 1, later);
        } else if let (Some(undo), before @ Some(_)) = (&mut self.undo, before) {
            let last = self.places[table].last.get(&key).copied();
            undo.push(Undo::Row { table, key, stage, before, last });
        }
        Ok(())
    }

    /// The last stage in which the row is pending.
    fn last_stage(&self, table: usize, key: &Key) -> Option<usize> {
        let later = self.places[table].last.get(key).copied();
        later.or_else(|| self.stages.first()?.tables[table].rows.contains_key(key).then_some(0))
    }

    /// The last stage in which rows with this key, or leading part of one, are deleted by a prefix.
    fn deleted_in(&self, resolved: &SchemaTable, key: &[Value]) -> Option<usize> {
        let prefixes = &self.places[resolved.index].prefixes;
        if prefixes.is_empty() {
            return None;
        }
        let lengths = resolved.prefix_lengths.iter().filter(|length| **length <= key.len());
        lengths.filter_map(|length| prefixes.get(&key[..*length]).copied()).max()
    }

    /// Adds an operation of a row that is not pending in this stage.
    fn put(&mut self, resolved: &SchemaTable, key: Key, stage: usize, change: RowChange) {
        let table = resolved.index;
        self.grow(stage);
        let places = &mut self.places[table];
        places.note(resolved, &key);
        if let Some(undo) = &mut self.undo {
            let last = places.last.get(&key).copied();
            undo.push(Undo::Row { table, key: key.clone(), stage, before: None, last });
        }
        if stage > 0 {
            places.last.insert(key.clone(), stage);
        }
        self.stages[stage].tables[table].rows.insert(key, change);
        self.operations += 1;
    }

    fn grow(&mut self, stage: usize) {
        while self.stages.len() <= stage {
            self.stages.push(Stage::new(self.places.len()));
        }
    }

    fn delete_prefix(&mut self, resolved: &SchemaTable, prefix: Key) {
        let table = resolved.index;
        let mut stage = 0;
        if let Some(mut keys) = self.places[table].under.remove(&prefix) {
            keys.retain(|key| match self.erase(table, key) {
                Some(left) => {
                    stage = stage.max(left + 1);
                    true
                }
                None => false,
            });
            if !keys.is_empty() {
                self.places[table].under.insert(prefix.clone(), keys);
            }
        }
        // What is left lies before `stage`, so an earlier delete there or later has done it all.
        if self.deleted_in(resolved, &prefix.0).is_some_and(|deleted| deleted >= stage) {
            return;
        }
        self.grow(stage);
        self.stages[stage].tables[table].delete_prefixes.push(prefix.clone());
        self.operations += 1;
        let before = self.places[table].prefixes.insert(prefix.clone(), stage);
        if let Some(undo) = &mut self.undo {
            undo.push(Undo::Prefix { table, key: prefix, stage, before });
        }
    }

    /// Erases a row's pending operations, the last one first, up to one that may fail; tells the stage of that one.
    fn erase(&mut self, table: usize, key: &Key) -> Option<usize> {
        while let Some(stage) = self.last_stage(table, key) {
            let rows = &mut self.stages[stage].tables[table].rows;
            if rows.get(key).is_some_and(can_fail) {
                return Some(stage);
            }
            let before = rows.remove(key);
            self.operations -= 1;
            let earlier = (0..stage).rev().find(|earlier| self.stages[*earlier].tables[table].rows.contains_key(key));
            let last = match earlier {
                Some(earlier) if earlier > 0 => self.places[table].last.insert(key.clone(), earlier),
                _ => self.places[table].last.remove(key),
            };
            if let Some(undo) = &mut self.undo {
                undo.push(Undo::Row { table, key: key.clone(), stage, before, last });
            }
        }
        None
    }

    /// Takes the noted steps back, the last one first.
    fn take_back(&mut self, schema: &Schema) {
        for step in self.undo.take().into_iter().flatten().rev() {
            match step {
                Undo::Row { table, key, stage, before, last } => {
                    match last {
                        Some(last) => self.places[table].last.insert(key.clone(), last),
                        None => self.places[table].last.remove(&key),
                    };
                    let rows = &mut self.stages[stage].tables[table].rows;
                    if let Some(before) = before {
                        // A row that was erased is no longer noted; noting one twice does no harm.
                        if rows.insert(key.clone(), before).is_none() {
                            self.operations += 1;
                            self.places[table].note(&schema.tables[table], &key);
                        }
                    } else if rows.remove(&key).is_some() {
                        self.operations -= 1;
                    }
                }
                Undo::Prefix { table, key, stage, before } => {
                    self.stages[stage].tables[table].delete_prefixes.pop();
                    self.operations -= 1;
                    match before {
                        Some(before) => self.places[table].prefixes.insert(key, before),
                        None => self.places[table].prefixes.remove(&key),
                    };
                }
            }
        }
    }
}

/// Whether folding a sum into a row of the table can fail. That takes a row whose value is known: one that some shape sets, or
/// whose absence is known. Where every shape upserts and every sum is of one kind, none is ever known.
fn sums_may_fail(schema: &Schema, table: usize) -> bool {
    let shapes = || schema.shapes.iter().filter(|shape| shape.table == table);
    let adds = shapes().any(|shape| shape.assignments.iter().any(|(_, operation)| *operation == Operation::Add));
    let sums: std::collections::BTreeSet<usize> = shapes()
        .flat_map(|shape| &shape.assignments)
        .filter(|(_, operation)| *operation == Operation::Add)
        .map(|(rest, _)| *rest)
        .collect();
    let only_sums = shapes().all(|shape| {
        shape.kind == ShapeKind::Upsert
            && shape.assignments.iter().all(|(rest, operation)| *operation == Operation::Add || !sums.contains(rest))
    });
    adds && !only_sums
}

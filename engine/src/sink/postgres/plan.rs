//! What a change set becomes before any connection is used: statements with their parameters. Pure.
//!
//! Invariants: steps stand in the order of stages, then tables, then actions; keys are sorted within a step; all arrays of a
//! step are of one length, because the server fills up a shorter one with nulls and says nothing.

use super::catalog::lock_key;
use super::wire::Array;
use crate::change::{Cell, Key, RowChange, Schema, Stage, Sum, TableChanges};
use crate::checkpoint::Generation;
use crate::sink::sql::{self, Action, CellKind, Signature};

/// The most rows in one statement, and the bytes of parameters after which another one begins: the server takes at most
/// 1 GiB, and both sides hold a statement in memory whole.
const STEP_ROWS_MAX: i32 = 20_000;
const STEP_BYTES_MAX: usize = 32 << 20;
/// Up to how many rows and statements a commit is one statement.
const SHORT_ROWS_MAX: i32 = 1_000;
const SHORT_STEPS_MAX: usize = 8;

/// One statement's worth of rows.
pub(super) struct Step {
    pub(super) signature: Signature,
    pub(super) arrays: Vec<Array>,
    pub(super) rows: i32,
}

/// The rows of a commit.
pub(super) struct Rows {
    pub(super) steps: Vec<Step>,
    /// Tables that are locked for the commit, by agreement between writers; sorted.
    pub(super) locks: Vec<i64>,
    /// Whether fence and rows may be one statement.
    pub(super) short: bool,
}

/// Sorts, groups and encodes the rows of a change set's stages.
pub(super) fn rows(stages: &[Stage], schema: &Schema, generation: &Generation) -> Rows {
    let mut steps = Vec::new();
    let mut locks = Vec::new();
    let mut short = stages.len() <= 1;
    for stage in stages {
        for (table, changes) in stage.tables.iter().enumerate() {
            if changes.delete_prefixes.is_empty() && changes.rows.is_empty() {
                continue;
            }
            // One statement sees one snapshot: a row can't come back in it under the key that it deletes.
            short &= changes.delete_prefixes.is_empty() || changes.rows.is_empty();
            if sql::needs_table_lock(schema, table) {
                let name = &schema.descriptor.tables[schema.tables[table].index].name;
                locks.push(lock_key("table", &format!("{}_g{}.{name}", generation.projection, generation.number)));
            }
            table_steps(table, changes, schema, &mut steps);
        }
    }
    locks.sort_unstable();
    locks.dedup();
    let few = steps.len() <= SHORT_STEPS_MAX && steps.iter().map(|step| step.rows).sum::<i32>() <= SHORT_ROWS_MAX;
    let checks = steps.iter().any(|step| matches!(step.signature.action, Action::Check { .. }));
    Rows { steps, locks, short: short && few && !checks }
}

/// The steps of one table in one stage.
fn table_steps(table: usize, changes: &TableChanges, schema: &Schema, steps: &mut Vec<Step>) {
    let first = steps.len();
    let mut groups = Groups { table, schema, first, steps };
    let mut prefixes: Vec<&Key> = changes.delete_prefixes.iter().collect();
    prefixes.sort_unstable();
    for prefix in prefixes {
        let length = prefix.0.len();
        let step = groups.step(|action| *action == Action::DeletePrefix(length), || Action::DeletePrefix(length));
        step.add(prefix, &mut |_| {});
    }
    let mut rows: Vec<(&Key, &RowChange)> = changes.rows.iter().collect();
    rows.sort_unstable_by(|a, b| a.0.cmp(b.0));
    for (key, change) in rows {
        match change {
            RowChange::Delete => {
                groups.step(|action| *action == Action::Delete, || Action::Delete).add(key, &mut |_| {});
            }
            RowChange::Upsert(cells) => {
                groups.check(key, cells);
                let step = groups.step(
                    |action| matches!(action, Action::Upsert(kinds) if same_kinds(kinds, cells)),
                    || Action::Upsert(cells.iter().map(kind).collect()),
                );
                step.add(key, &mut |arrays| push_cells(arrays, cells));
            }
            RowChange::Update(cells) => {
                if cells.iter().all(|cell| matches!(cell, Cell::Keep)) {
                    continue;
                }
                groups.check(key, cells);
                let step = groups.step(
                    |action| matches!(action, Action::Update(kinds) if same_kinds(kinds, cells)),
                    || Action::Update(cells.iter().map(kind).collect()),
                );
                step.add(key, &mut |arrays| push_cells(arrays, cells));
            }
            RowChange::Insert(values) => {
                let step = groups.step(|action| *action == Action::Insert, || Action::Insert);
                step.add(key, &mut |arrays| {
                    for (array, value) in arrays.iter_mut().zip(values) {
                        array.push(value);
                    }
                });
            }
        }
    }
    // Stable: the pieces of one signature stay in key order.
    steps[first..].sort_by(|a, b| a.signature.cmp(&b.signature));
}

/// The open steps of one table.
struct Groups<'s> {
    table: usize,
    schema: &'s Schema,
    /// Where the table's steps begin.
    first: usize,
    steps: &'s mut Vec<Step>,
}

impl Groups<'_> {
    /// The step that takes the next row of an action.
    fn step(&mut self, fits: impl Fn(&Action) -> bool, action: impl Fn() -> Action) -> &mut Step {
        // The latest piece of a signature is the open one. A table has few signatures, so that looking is cheap.
        let open = self.steps[self.first..].iter().rposition(|step| fits(&step.signature.action));
        let at = match open.map(|at| self.first + at) {
            Some(at) if !self.steps[at].is_full() => at,
            _ => {
                let signature = Signature { table: self.table, action: action() };
                let resolved = &self.schema.tables[self.table];
                let columns = &self.schema.descriptor.tables[resolved.index].columns;
                let arrays = signature.columns(self.schema);
                let arrays = arrays.iter().map(|at| Array::of(columns[*at].column_type)).collect();
                self.steps.push(Step { signature, arrays, rows: 0 });
                self.steps.len() - 1
            }
        };
        &mut self.steps[at]
    }

    /// Has the server check running sums of which the end does not tell whether they stayed within 64 bits.
    fn check(&mut self, key: &Key, cells: &[Cell]) {
        let turns = |cell: &Cell| match cell {
            Cell::Add(Sum::Integer { total, highest, lowest }) => {
                *highest > (*total).max(0) || *lowest < (*total).min(0)
            }
            _ => false,
        };
        if !cells.iter().any(turns) {
            return;
        }
        let sums: Box<[usize]> = (0..cells.len()).filter(|at| turns(&cells[*at])).collect();
        let newer = cells.iter().position(|cell| matches!(cell, Cell::Newer(_)));
        let action = Action::Check { sums: sums.clone(), newer };
        let step = self.step(|open| *open == action, || action.clone());
        step.add(key, &mut |arrays| {
            for (pair, at) in arrays.chunks_mut(2).zip(&sums) {
                if let (Cell::Add(Sum::Integer { highest, lowest, .. }), [high, low]) = (&cells[*at], pair) {
                    high.push_integer(*highest);
                    low.push_integer(*lowest);
                }
            }
            if let (Some(Cell::Newer(value)), Some(array)) = (newer.map(|at| &cells[at]), arrays.last_mut()) {
                array.push(value);
            }
        });
    }
}

impl Step {
    fn add(&mut self, key: &Key, rest: &mut dyn FnMut(&mut [Array])) {
        let columns = key.0.len().min(self.arrays.len());
        let (keys, others) = self.arrays.split_at_mut(columns);
        for (array, value) in keys.iter_mut().zip(key.0.iter()) {
            array.push(value);
        }
        rest(others);
        self.rows += 1;
    }

    fn is_full(&self) -> bool {
        self.rows >= STEP_ROWS_MAX || self.arrays.iter().map(Array::size).sum::<usize>() >= STEP_BYTES_MAX
    }

    /// Whether every array has a value for each row.
    pub(super) fn is_even(&self) -> bool {
        self.arrays.iter().all(|array| array.len() == self.rows)
    }
}

fn kind(cell: &Cell) -> CellKind {
    match cell {
        Cell::Keep => CellKind::Keep,
        Cell::Set(_) => CellKind::Set,
        Cell::Add(_) => CellKind::Add,
        Cell::Max(_) => CellKind::Max,
        Cell::Min(_) => CellKind::Min,
        Cell::SetIfNull(_) => CellKind::SetIfNull,
        Cell::Newer(_) => CellKind::Newer,
    }
}

fn same_kinds(kinds: &[CellKind], cells: &[Cell]) -> bool {
    kinds.len() == cells.len() && kinds.iter().zip(cells).all(|(known, cell)| *known == kind(cell))
}

/// Adds a row's cells to the arrays of the columns that are not kept.
fn push_cells(arrays: &mut [Array], cells: &[Cell]) {
    let changed = cells.iter().filter(|cell| !matches!(cell, Cell::Keep));
    for (array, cell) in arrays.iter_mut().zip(changed) {
        match cell {
            Cell::Keep => {}
            Cell::Set(value) | Cell::Max(value) | Cell::Min(value) | Cell::SetIfNull(value) | Cell::Newer(value) => {
                array.push(value);
            }
            Cell::Add(Sum::Integer { total, .. }) => array.push_integer(*total),
            Cell::Add(Sum::Decimal(sum)) => array.push_decimal(sum),
            Cell::Add(Sum::Float(sum)) => array.push_float(*sum),
        }
    }
}

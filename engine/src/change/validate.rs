//! Validation of descriptors: everything that can be known without an event, all problems at once.
//!
//! What is let through holds in both databases, and folds, commits and rebuilds to the same rows. In particular, a
//! `commutative` table gives the same rows whatever the order in which partitions are applied.

use std::collections::{BTreeMap, BTreeSet};

use super::check::KEY_BYTES_MAX;
use super::reserved::{NameOf, fault};
use super::value::{VALUE_BYTES_MAX, shortened};
use super::{
    Action, Assignment, ColumnType, Descriptor, IndexKind, Operation, Partitioning, Problem, Schema, SchemaShape,
    SchemaTable, Shape, ShapeKind, Table, Topic,
};

const TOPICS_MAX: usize = 64;
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 256;
const TABLES_MAX: usize = 64;
const COLUMNS_MAX: usize = 200;
const KEY_COLUMNS_MAX: usize = 16;
const INDEXES_MAX: usize = 32;
const INDEX_COLUMNS_MAX: usize = 16;
const SHAPES_MAX: usize = 1_024;
/// Kafka's own bound.
const TOPIC_LENGTH_MAX: usize = 249;
/// How many bytes the columns of a full-text index may have together: PostgreSQL's `tsvector` takes 1 MiB, and its
/// entries can be several times as long as their words.
const FULL_TEXT_BYTES_MAX: usize = 128 << 10;

impl Descriptor {
    /// Checks everything that can be checked without an event, and resolves all names.
    ///
    /// # Errors
    /// All problems at once, each with its place; never empty.
    pub fn validate(self) -> Result<Schema, Vec<Problem>> {
        let mut problems = Problems(Vec::new());
        if let Some(fault) = fault(&self.name, NameOf::Projection) {
            problems.add("name", fault);
        }
        check_topics(&self.topics, &mut problems);
        let mut tables = check_tables(&self.tables, &mut problems);
        let shapes = check_shapes(&self.shapes, &self.tables, &tables, &mut problems);
        for (index, table) in self.tables.iter().enumerate() {
            if table.partitioning == Partitioning::Commutative {
                let of_table = self.shapes.iter().filter(|shape| shape.table == table.name);
                check_commutative(&table_place(index, table), table, of_table, &mut problems);
            }
        }
        if !problems.0.is_empty() {
            return Err(problems.0);
        }
        for shape in shapes.iter().filter(|shape| shape.kind == ShapeKind::DeletePrefix) {
            tables[shape.table].prefix_lengths.push(shape.key_values);
        }
        for table in &mut tables {
            table.prefix_lengths.sort_unstable();
            table.prefix_lengths.dedup();
        }
        Ok(Schema { descriptor: self, tables, shapes })
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { place: place.into(), message: message.into() });
    }

    fn bound(&mut self, place: &str, count: usize, max: usize, what: &str) {
        if count > max {
            self.add(place, format!("{count} {what}, at most {max} are taken"));
        }
    }

    /// Says each name that repeats once.
    fn repeats<'a>(&mut self, place: &str, names: impl Iterator<Item = &'a str>, what: &str) {
        let (mut seen, mut told) = (BTreeSet::new(), BTreeSet::new());
        for name in names {
            if !seen.insert(name) && told.insert(name) {
                self.add(place, format!("the {what} {:?} stands here more than once", shortened(name)));
            }
        }
    }
}

fn table_place(index: usize, table: &Table) -> String {
    format!("tables[{index}] {:?}", shortened(&table.name))
}

fn check_topics(topics: &[Topic], problems: &mut Problems) {
    if topics.is_empty() {
        problems.add("topics", "is empty, a projection reads at least one topic");
    }
    problems.bound("topics", topics.len(), TOPICS_MAX, "topics");
    problems.repeats("topics", topics.iter().map(|topic| topic.name.as_str()), "topic");
    for (index, topic) in topics.iter().enumerate() {
        let place = format!("topics[{index}] {:?}", shortened(&topic.name));
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if topic.name.is_empty() {
            problems.add(&place, "the topic's name is empty");
        } else if topic.name.len() > TOPIC_LENGTH_MAX
            || !topic.name.bytes().all(legal)
            || matches!(topic.name.as_str(), "." | "..")
        {
            let message = format!(
                "no topic can have this name: at most {TOPIC_LENGTH_MAX} letters, digits, dots, underscores and hyphens"
            );
            problems.add(&place, message);
        }
        problems.bound(&place, topic.headers.len(), HEADERS_MAX, "headers");
        problems.repeats(&place, topic.headers.iter().map(String::as_str), "header");
        for header in &topic.headers {
            if header.is_empty() || header.len() > HEADER_BYTES_MAX {
                let message =
                    format!("the header's name {:?} has not 1 to {HEADER_BYTES_MAX} bytes", shortened(header));
                problems.add(&place, message);
            }
        }
    }
}

fn check_tables(tables: &[Table], problems: &mut Problems) -> Vec<SchemaTable> {
    if tables.is_empty() {
        problems.add("tables", "is empty, a projection keeps at least one table");
    }
    problems.bound("tables", tables.len(), TABLES_MAX, "tables");
    problems.repeats("tables", tables.iter().map(|table| table.name.as_str()), "table");
    tables.iter().enumerate().map(|(index, table)| check_table(index, table, problems)).collect()
}

fn check_table(index: usize, table: &Table, problems: &mut Problems) -> SchemaTable {
    let place = table_place(index, table);
    if let Some(fault) = fault(&table.name, NameOf::Table) {
        problems.add(&place, fault);
    }
    problems.bound(&place, table.columns.len(), COLUMNS_MAX, "columns");
    problems.repeats(&place, table.columns.iter().map(|column| column.name.as_str()), "column");
    for column in &table.columns {
        if let Some(fault) = fault(&column.name, NameOf::Column) {
            problems.add(format!("{place}, column {:?}", shortened(&column.name)), fault);
        }
    }
    let key = check_key(&place, table, problems);
    let rest: Vec<_> = (0..table.columns.len()).filter(|column| !key.contains(column)).collect();
    let mut bytes_max = vec![VALUE_BYTES_MAX; table.columns.len()];
    problems.bound(&place, table.indexes.len(), INDEXES_MAX, "indexes");
    for number in 0..table.indexes.len() {
        check_index(&format!("{place}, indexes[{number}]"), table, number, &mut bytes_max, problems);
    }
    let rest_bytes_max = rest.iter().map(|column| bytes_max[*column]).collect();
    SchemaTable { index, key, rest, rest_bytes_max, prefix_lengths: Vec::new() }
}

fn check_key(place: &str, table: &Table, problems: &mut Problems) -> Vec<usize> {
    let place = format!("{place}, primary key");
    if table.primary_key.is_empty() {
        problems.add(&place, "is empty, a table has at least one key column");
    }
    problems.bound(&place, table.primary_key.len(), KEY_COLUMNS_MAX, "columns");
    problems.repeats(&place, table.primary_key.iter().map(String::as_str), "column");
    let mut key = Vec::new();
    for name in &table.primary_key {
        let Some(at) = find_column(&place, table, name, problems) else { continue };
        let column = &table.columns[at];
        if column.nullable {
            problems.add(&place, format!("the column {name:?} is nullable, a key column is not"));
        }
        if column.column_type == ColumnType::Json {
            problems.add(&place, format!("the column {name:?} is json, which cannot be part of a key: use text"));
        }
        key.push(at);
    }
    key
}

fn check_index(place: &str, table: &Table, number: usize, bytes_max: &mut [usize], problems: &mut Problems) {
    let index = &table.indexes[number];
    if index.columns.is_empty() {
        problems.add(place, "has no columns");
    }
    problems.bound(place, index.columns.len(), INDEX_COLUMNS_MAX, "columns");
    problems.repeats(place, index.columns.iter().map(String::as_str), "column");
    if table.indexes[..number].contains(index) {
        problems.add(place, "the same index stands here already");
    }
    let mut long = Vec::new();
    for name in &index.columns {
        let Some(at) = find_column(place, table, name, problems) else { continue };
        let column_type = table.columns[at].column_type;
        match index.kind {
            IndexKind::FullText if column_type != ColumnType::Text => {
                problems
                    .add(place, format!("the column {name:?} is {}, a full-text index takes text", column_type.name()));
            }
            IndexKind::Ordered if column_type == ColumnType::Json => {
                problems.add(
                    place,
                    format!("the column {name:?} is json, which has no useful order: index a column of its own"),
                );
            }
            _ => {}
        }
        if matches!(column_type, ColumnType::Text | ColumnType::Bytes | ColumnType::Decimal) {
            long.push(at);
        }
    }
    // An entry has a bounded size, and each row operation brings only some of its columns: so each has its share.
    let together = match index.kind {
        IndexKind::Ordered => KEY_BYTES_MAX,
        IndexKind::FullText => FULL_TEXT_BYTES_MAX,
    };
    for at in &long {
        bytes_max[*at] = bytes_max[*at].min(together / long.len());
    }
}

fn find_column(place: &str, table: &Table, name: &str, problems: &mut Problems) -> Option<usize> {
    let found = table.columns.iter().position(|column| column.name == name);
    if found.is_none() {
        let names = table.columns.iter().map(|column| column.name.as_str());
        problems.add(place, format!("the table has no column {:?}{}", shortened(name), did_you_mean(name, names)));
    }
    found
}

fn did_you_mean<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let near = names.map(|other| (strsim::damerau_levenshtein(name, other), other)).min();
    match near {
        Some((distance, other)) if name.len() <= 100 && distance <= 1 + name.len() / 4 => {
            format!(", did you mean {other:?}?")
        }
        _ => String::new(),
    }
}

fn check_shapes(
    shapes: &[Shape],
    tables: &[Table],
    resolved: &[SchemaTable],
    problems: &mut Problems,
) -> Vec<SchemaShape> {
    problems.bound("shapes", shapes.len(), SHAPES_MAX, "shapes");
    let check = |(index, shape): (usize, &Shape)| {
        let place = format!("shapes[{index}] of table {:?}", shortened(&shape.table));
        let Some(at) = tables.iter().position(|table| table.name == shape.table) else {
            let names = tables.iter().map(|table| table.name.as_str());
            problems.add(&place, format!("there is no such table{}", did_you_mean(&shape.table, names)));
            return None;
        };
        check_shape(&place, shape, &tables[at], &resolved[at], problems)
    };
    shapes.iter().enumerate().filter_map(check).collect()
}

fn check_shape(
    place: &str,
    shape: &Shape,
    table: &Table,
    resolved: &SchemaTable,
    problems: &mut Problems,
) -> Option<SchemaShape> {
    let key_values = resolved.key.len();
    let as_set = |column: &String| Assignment { column: column.clone(), operation: Operation::Set };
    let (kind, key_values, assignments) = match &shape.action {
        Action::Upsert(assignments) => (ShapeKind::Upsert, key_values, assignments.clone()),
        Action::Update(assignments) => (ShapeKind::Update, key_values, assignments.clone()),
        Action::Insert(columns) => (ShapeKind::Insert, key_values, columns.iter().map(as_set).collect()),
        Action::Delete => (ShapeKind::Delete, key_values, Vec::new()),
        Action::DeletePrefix(count) => {
            (ShapeKind::DeletePrefix, usize::try_from(*count).unwrap_or(usize::MAX), Vec::new())
        }
    };
    if kind == ShapeKind::DeletePrefix && !(1..=resolved.key.len()).contains(&key_values) {
        let message =
            format!("delete-prefix of {key_values} columns, but the key has {}: 1 to that", resolved.key.len());
        problems.add(place, message);
    }
    if kind == ShapeKind::Update && assignments.is_empty() {
        problems.add(place, "an update without assignments does nothing");
    }
    problems.bound(place, assignments.len(), COLUMNS_MAX, "assignments");
    problems.repeats(place, assignments.iter().map(|assignment| assignment.column.as_str()), "column");
    let newer = assignments.iter().filter(|assignment| assignment.operation == Operation::Newer).count();
    if newer > 1 {
        problems.add(place, format!("{newer} columns are guarded by newer, at most one is"));
    }
    let assignments: Vec<_> = assignments
        .iter()
        .filter_map(|assignment| check_assignment(place, assignment, table, resolved, problems))
        .collect();
    if matches!(kind, ShapeKind::Upsert | ShapeKind::Insert) {
        for (rest, column) in resolved.rest.iter().map(|column| &table.columns[*column]).enumerate() {
            if !column.nullable && !assignments.iter().any(|(assigned, _)| *assigned == rest) {
                let message = format!(
                    "the column {:?} is not nullable, so a new row needs a value: assign it",
                    shortened(&column.name)
                );
                problems.add(place, message);
            }
        }
    }
    Some(SchemaShape { table: resolved.index, key_values, assignments, kind })
}

fn check_assignment(
    place: &str,
    assignment: &Assignment,
    table: &Table,
    resolved: &SchemaTable,
    problems: &mut Problems,
) -> Option<(usize, Operation)> {
    let at = find_column(place, table, &assignment.column, problems)?;
    let column = &table.columns[at];
    let takes = match assignment.operation {
        Operation::Set | Operation::SetIfNull => true,
        Operation::Add => matches!(column.column_type, ColumnType::Integer | ColumnType::Float | ColumnType::Decimal),
        Operation::Max | Operation::Min | Operation::Newer => {
            !matches!(column.column_type, ColumnType::Boolean | ColumnType::Json | ColumnType::Bytes)
        }
    };
    if !takes {
        let (operation, of) = (assignment.operation.name(), column.column_type.name());
        problems.add(place, format!("the column {:?} is {of}, which {operation} does not take", column.name));
    }
    let rest = resolved.rest.iter().position(|rest| *rest == at);
    if rest.is_none() {
        problems.add(
            place,
            format!("the column {:?} is part of the key, which a change names and never assigns", column.name),
        );
    }
    rest.map(|rest| (rest, assignment.operation))
}

/// Whether the order of partitions cannot show in the rows. Either all shapes are upserts with `add`, `max` and `min`, one
/// operation a column; or all are upserts that set the same columns under the same guard, so that the newest version
/// is the whole row.
fn check_commutative<'a>(place: &str, table: &Table, shapes: impl Iterator<Item = &'a Shape>, problems: &mut Problems) {
    let mut operations: BTreeMap<&str, BTreeSet<&'static str>> = BTreeMap::new();
    let mut guarded: BTreeSet<Vec<(&str, &'static str)>> = BTreeSet::new();
    let (mut plain, mut ordered) = (false, BTreeSet::new());
    for shape in shapes {
        let Action::Upsert(assignments) = &shape.action else {
            ordered.insert(shape.action.name());
            continue;
        };
        if assignments.iter().any(|assignment| assignment.operation == Operation::Newer) {
            let mut set: Vec<_> = assignments.iter().map(|a| (a.column.as_str(), a.operation.name())).collect();
            set.sort_unstable();
            guarded.insert(set);
        } else {
            plain = true;
            for assignment in assignments {
                operations.entry(&assignment.column).or_default().insert(assignment.operation.name());
            }
        }
    }
    let place = format!("{place}, partitioning commutative");
    let otherwise = "or make the table by-partition or serial";
    for action in ordered {
        let message = format!(
            "{action} takes effect by the order of events, which partitions do not share: use upserts, {otherwise}"
        );
        problems.add(&place, message);
    }
    if plain && !guarded.is_empty() {
        problems.add(
            &place,
            format!("upserts with and without a newer guard depend on each other's order: use one kind, {otherwise}"),
        );
    }
    let type_of = |name: &str| table.columns.iter().find(|column| column.name == name);
    for (column, operations) in operations {
        for operation in operations.iter().filter(|operation| !matches!(**operation, "add" | "max" | "min")) {
            problems.add(
                &place,
                format!("{operation} on {column:?} depends on the order of events: use add, max or min, {otherwise}"),
            );
        }
        if operations.len() > 1 {
            let list = operations.iter().copied().collect::<Vec<_>>().join(" and ");
            problems.add(
                &place,
                format!("{list} on {column:?} depend on each other's order: use one of them, {otherwise}"),
            );
        }
        if operations.contains("add") && type_of(column).is_some_and(|column| column.column_type == ColumnType::Float) {
            problems.add(&place, format!("add on {column:?}: a sum of floats depends on the order of events: make it decimal or integer, {otherwise}"));
        }
    }
    if guarded.len() > 1 {
        problems.add(&place, format!("upserts under newer that assign different columns leave a mix of versions: assign the same ones, {otherwise}"));
    }
    for (column, operation) in guarded.iter().flatten().collect::<BTreeSet<_>>() {
        match *operation {
            "set" => {}
            "newer" if type_of(column).is_some_and(|column| column.nullable) => {
                problems.add(&place, format!("newer on {column:?}, which is nullable: versions without a value have no order: make it not nullable, {otherwise}"));
            }
            "newer" => {}
            other => problems.add(
                &place,
                format!(
                    "{other} on {column:?} under a newer guard counts by the order of events: use set, {otherwise}"
                ),
            ),
        }
    }
}

impl Operation {
    /// The operation's name, as in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Set => "set",
            Operation::Add => "add",
            Operation::Max => "max",
            Operation::Min => "min",
            Operation::SetIfNull => "set-if-null",
            Operation::Newer => "newer",
        }
    }
}

impl Action {
    /// The action's name, as in the contract.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Upsert(_) => "upsert",
            Action::Update(_) => "update",
            Action::Insert(_) => "insert",
            Action::Delete => "delete",
            Action::DeletePrefix(_) => "delete-prefix",
        }
    }
}

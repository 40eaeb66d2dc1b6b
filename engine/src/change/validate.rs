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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Column, Encoding, Index};

    fn column(name: &str, column_type: ColumnType, nullable: bool) -> Column {
        Column { name: name.into(), column_type, nullable }
    }

    fn assign(list: &[(&str, Operation)]) -> Vec<Assignment> {
        list.iter().map(|(column, operation)| Assignment { column: (*column).into(), operation: *operation }).collect()
    }

    fn upsert(list: &[(&str, Operation)]) -> Action {
        Action::Upsert(assign(list))
    }

    fn shape(action: Action) -> Shape {
        Shape { table: "items".into(), action }
    }

    fn index(columns: &[&str], kind: IndexKind) -> Index {
        Index { columns: columns.iter().map(|name| (*name).to_owned()).collect(), kind }
    }

    fn valid() -> Descriptor {
        Descriptor {
            name: "shop".into(),
            revision: 0,
            topics: vec![Topic {
                name: "shop.items-1".into(),
                key: Encoding::Text,
                value: Encoding::Bytes,
                headers: vec!["h".into()],
            }],
            tables: vec![Table {
                name: "items".into(),
                columns: vec![
                    column("total", ColumnType::Decimal, true),
                    column("id", ColumnType::Uuid, false),
                    column("line", ColumnType::Integer, false),
                    column("title", ColumnType::Text, true),
                    column("weight", ColumnType::Float, true),
                    column("version", ColumnType::Integer, true),
                    column("extra", ColumnType::Json, true),
                ],
                primary_key: vec!["id".into(), "line".into()],
                indexes: vec![index(&["total", "title"], IndexKind::Ordered), index(&["title"], IndexKind::FullText)],
                partitioning: Partitioning::ByPartition,
            }],
            shapes: vec![
                shape(upsert(&[("version", Operation::Newer), ("total", Operation::Add)])),
                shape(Action::Update(assign(&[("title", Operation::SetIfNull)]))),
                shape(Action::Insert(vec!["extra".into()])),
                shape(Action::Delete),
                shape(Action::DeletePrefix(1)),
                shape(Action::DeletePrefix(2)),
                shape(Action::DeletePrefix(1)),
            ],
        }
    }

    #[test]
    fn names_are_resolved() {
        let schema = valid().validate().unwrap();
        let table = &schema.tables[0];
        assert_eq!((table.key.as_slice(), table.rest.as_slice()), ([1, 2].as_slice(), [0, 3, 4, 5, 6].as_slice()));
        assert_eq!(table.prefix_lengths, [1, 2]);
        assert_eq!(table.rest_bytes_max, [1_000, 1_000, VALUE_BYTES_MAX, VALUE_BYTES_MAX, VALUE_BYTES_MAX]);
        assert_eq!(schema.shapes[0].assignments, [(3, Operation::Newer), (0, Operation::Add)]);
        assert_eq!(schema.shapes[2].assignments, [(4, Operation::Set)]);
        let key_values: Vec<_> = schema.shapes.iter().map(|shape| shape.key_values).collect();
        assert_eq!(key_values, [2, 2, 2, 2, 1, 2, 1]);
    }

    /// A change of the valid descriptor, and what the one problem must say.
    type Case = (fn(&mut Descriptor), &'static str);

    fn each_is_told(cases: &[Case]) {
        for (number, (change, said)) in cases.iter().enumerate() {
            let mut descriptor = valid();
            change(&mut descriptor);
            let problems = descriptor.validate().expect_err(said);
            let said_by: Vec<_> = problems.iter().filter(|problem| problem.to_string().contains(said)).collect();
            assert_eq!(said_by.len(), 1, "case {number}, {said}: {problems:?}");
        }
    }

    #[test]
    fn problems_of_names_and_tables_are_told_with_their_place() {
        each_is_told(&[
            (|d| d.name = "laterna_x".into(), "name: \"laterna_x\" begins with"),
            (|d| d.topics.clear(), "topics: is empty"),
            (
                |d| d.topics = vec![d.topics[0].clone(); 2],
                "topics: the topic \"shop.items-1\" stands here more than once",
            ),
            (|d| d.topics[0].name.clear(), "topics[0] \"\": the topic's name is empty"),
            (|d| d.topics[0].name = "a/b".into(), "topics[0] \"a/b\": no topic"),
            (|d| d.topics[0].name = "..".into(), "no topic"),
            (|d| d.topics[0].name = "a".repeat(250), "no topic"),
            (|d| d.topics[0].headers = vec![String::new()], "header's name"),
            (|d| d.topics[0].headers = vec!["a".into(); 3], "the header \"a\" stands"),
            (|d| d.topics[0].headers = (0..65).map(|n| n.to_string()).collect(), "65 headers, at most 64"),
            (
                |d| {
                    d.tables.clear();
                    d.shapes.clear();
                },
                "tables: is empty",
            ),
            (|d| d.tables.push(d.tables[0].clone()), "tables: the table \"items\" stands"),
            (
                |d| d.tables[0].columns[0].name = "Total".into(),
                "tables[0] \"items\", column \"Total\": \"Total\" is not an identifier",
            ),
            (|d| d.tables[0].columns.push(column("user", ColumnType::Text, true)), "reserved word"),
            (|d| d.tables[0].columns.push(column("extra", ColumnType::Text, true)), "the column \"extra\" stands"),
            (
                |d| d.tables[0].columns.extend((0..200).map(|n| column(&format!("c{n}"), ColumnType::Text, true))),
                "207 columns",
            ),
            (
                |d| d.tables[0].primary_key[0] = "ids".into(),
                "tables[0] \"items\", primary key: the table has no column \"ids\", did you mean \"id\"?",
            ),
            (|d| d.tables[0].columns[1].nullable = true, "the column \"id\" is nullable"),
            (
                |d| {
                    d.tables[0].columns[1].column_type = ColumnType::Json;
                },
                "is json, which cannot be part of a key",
            ),
            (|d| d.tables[0].primary_key.push("id".into()), "primary key: the column \"id\" stands"),
            (|d| d.tables[0].indexes[0].columns.clear(), "indexes[0]: has no columns"),
            (|d| d.tables[0].indexes[0].columns[0] = "titel".into(), "did you mean \"title\"?"),
            (|d| d.tables[0].indexes[0].columns[1] = "total".into(), "indexes[0]: the column \"total\" stands"),
            (|d| d.tables[0].indexes.push(index(&["title"], IndexKind::FullText)), "indexes[2]: the same index"),
            (
                |d| d.tables[0].indexes[1].columns[0] = "total".into(),
                "\"total\" is decimal, a full-text index takes text",
            ),
            (|d| d.tables[0].indexes[0].columns[0] = "extra".into(), "is json, which has no useful order"),
        ]);
    }

    #[test]
    fn problems_of_shapes_are_told_with_their_place() {
        each_is_told(&[
            (
                |d| d.shapes[0].table = "item".into(),
                "shapes[0] of table \"item\": there is no such table, did you mean \"items\"?",
            ),
            (
                |d| d.shapes.push(shape(Action::DeletePrefix(0))),
                "shapes[7] of table \"items\": delete-prefix of 0 columns",
            ),
            (|d| d.shapes.push(shape(Action::DeletePrefix(3))), "delete-prefix of 3 columns, but the key has 2"),
            (|d| d.shapes.push(shape(Action::Update(vec![]))), "does nothing"),
            (
                |d| d.shapes.push(shape(upsert(&[("titel", Operation::Set)]))),
                "no column \"titel\", did you mean \"title\"?",
            ),
            (|d| d.shapes.push(shape(upsert(&[("quite_another", Operation::Set)]))), "no column \"quite_another\""),
            (
                |d| d.shapes.push(shape(upsert(&[("title", Operation::Set), ("title", Operation::Max)]))),
                "the column \"title\" stands",
            ),
            (|d| d.shapes.push(shape(upsert(&[("line", Operation::Set)]))), "\"line\" is part of the key"),
            (
                |d| d.shapes.push(shape(upsert(&[("title", Operation::Add)]))),
                "\"title\" is text, which add does not take",
            ),
            (
                |d| d.shapes.push(shape(upsert(&[("extra", Operation::Max)]))),
                "\"extra\" is json, which max does not take",
            ),
            (
                |d| d.shapes.push(shape(upsert(&[("extra", Operation::Newer)]))),
                "\"extra\" is json, which newer does not take",
            ),
            (
                |d| d.shapes.push(shape(upsert(&[("version", Operation::Newer), ("total", Operation::Newer)]))),
                "2 columns are guarded by newer",
            ),
            (|d| d.shapes.resize(1_025, shape(Action::Delete)), "1025 shapes, at most 1024"),
        ]);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut descriptor = valid();
        descriptor.name = "Shop".into();
        descriptor.topics.clear();
        descriptor.tables[0].columns[6].nullable = false;
        descriptor.shapes.push(shape(upsert(&[
            ("nothing", Operation::Set),
            ("title", Operation::Add),
            ("extra", Operation::Set),
        ])));
        descriptor.shapes.push(Shape { table: "zzz".into(), action: Action::Delete });
        let problems = descriptor.validate().unwrap_err();
        let places: Vec<_> = problems.iter().map(|problem| problem.place.as_str()).collect();
        let (first, last) = ("shapes[0] of table \"items\"", "shapes[7] of table \"items\"");
        assert_eq!(places, ["name", "topics", first, last, last, "shapes[8] of table \"zzz\""], "{problems:?}");
        assert!(problems[2].message.contains("\"extra\" is not nullable"));
    }

    fn commutative(shapes: Vec<Action>) -> Result<Schema, Vec<Problem>> {
        let mut descriptor = valid();
        descriptor.tables[0].partitioning = Partitioning::Commutative;
        descriptor.tables[0].columns[5].nullable = false;
        // Plain upserts give every column that is not nullable a value; here only `version`.
        descriptor.shapes = shapes.into_iter().map(shape).collect();
        descriptor.validate()
    }

    #[test]
    fn commutative_tables_do_not_show_the_order_of_partitions() {
        use Operation::{Add, Max, Min, Newer, Set, SetIfNull};
        for shapes in [
            vec![upsert(&[("version", Max), ("total", Add)])],
            vec![upsert(&[("version", Max), ("total", Add)]), upsert(&[("version", Max), ("weight", Min)])],
            vec![upsert(&[("version", Newer), ("total", Set)]), upsert(&[("total", Set), ("version", Newer)])],
        ] {
            assert!(commutative(shapes.clone()).is_ok(), "{shapes:?}");
        }
        for (shapes, said) in [
            (vec![upsert(&[("version", Set)])], "set on \"version\" depends on the order"),
            (vec![upsert(&[("version", SetIfNull)])], "set-if-null on \"version\" depends"),
            (vec![upsert(&[("version", Max)]), upsert(&[("version", Add)])], "add and max on \"version\""),
            (vec![upsert(&[("version", Max), ("weight", Add)])], "a sum of floats"),
            (vec![Action::Delete], "delete takes effect by the order"),
            (vec![Action::DeletePrefix(1)], "delete-prefix takes effect"),
            (vec![Action::Insert(vec!["version".into()])], "insert takes effect"),
            (vec![Action::Update(assign(&[("total", Add)]))], "update takes effect"),
            (vec![upsert(&[("version", Newer), ("total", Set)]), upsert(&[("version", Newer)])], "a mix of versions"),
            (vec![upsert(&[("version", Newer), ("total", Add)])], "add on \"total\" under a newer guard"),
            (vec![upsert(&[("version", Newer)]), upsert(&[("version", Max)])], "with and without a newer guard"),
            (vec![upsert(&[("version", Set), ("total", Newer)])], "\"total\", which is nullable"),
        ] {
            let problems = commutative(shapes).expect_err(said);
            assert!(problems.iter().any(|problem| problem.message.contains(said)), "{said}: {problems:?}");
            assert!(problems.iter().all(|problem| problem.place.contains("tables[0] \"items\"")), "{problems:?}");
        }
    }
}

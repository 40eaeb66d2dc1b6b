//! Tests of the algebra's law: folding and applying gives what applying row by row gives, errors included.

use proptest::prelude::*;

use super::*;

/// One column of each kind that operations tell apart, after a key of two columns.
const COLUMNS: [(&str, ColumnType); 7] = [
    ("n", ColumnType::Integer),
    ("version", ColumnType::Integer),
    ("amount", ColumnType::Decimal),
    ("weight", ColumnType::Float),
    ("label", ColumnType::Text),
    ("flag", ColumnType::Boolean),
    ("day", ColumnType::Date),
];

fn column(name: &str, column_type: ColumnType, nullable: bool) -> Column {
    Column { name: name.into(), column_type, nullable }
}

fn descriptor(shapes: Vec<Shape>) -> Descriptor {
    let mut columns = vec![column("a", ColumnType::Text, false), column("b", ColumnType::Integer, false)];
    columns.extend(COLUMNS.iter().map(|(name, column_type)| column(name, *column_type, true)));
    let table = |name: &str| Table {
        name: name.into(),
        columns: columns.clone(),
        primary_key: vec!["a".into(), "b".into()],
        indexes: vec![],
        partitioning: Partitioning::Serial,
    };
    Descriptor {
        name: "laws".into(),
        revision: 1,
        topics: vec![Topic { name: "t".into(), key: Encoding::Text, value: Encoding::Text, headers: vec![] }],
        tables: vec![table("one"), table("two")],
        shapes,
    }
}

fn takes(column_type: ColumnType, operation: Operation) -> bool {
    match operation {
        Operation::Set | Operation::SetIfNull => true,
        Operation::Add => matches!(column_type, ColumnType::Integer | ColumnType::Float | ColumnType::Decimal),
        _ => column_type != ColumnType::Boolean,
    }
}

const OPERATIONS: [Operation; 6] =
    [Operation::Set, Operation::Add, Operation::Max, Operation::Min, Operation::SetIfNull, Operation::Newer];

/// Assignments of some of the columns. At most one guard, most often of the same column, as authors do.
/// With `few`, of the first two columns only, so that they meet more often.
fn assignments(few: bool) -> impl Strategy<Value = Vec<Assignment>> {
    let one = (prop::bool::weighted(if few { 0.7 } else { 0.45 }), 0..5usize);
    (
        prop::collection::vec(one, COLUMNS.len()),
        prop_oneof![3 => Just(None), 3 => Just(Some(1)), 1 => (0..COLUMNS.len()).prop_map(Some)],
    )
        .prop_map(move |(picks, guard)| {
            let pick = |(at, (used, operation)): (usize, (bool, usize))| {
                let (name, column_type) = COLUMNS[at];
                let operation = if guard == Some(at) && takes(column_type, Operation::Newer) {
                    Operation::Newer
                } else if !used {
                    return None;
                } else if takes(column_type, OPERATIONS[operation]) {
                    OPERATIONS[operation]
                } else {
                    Operation::Set
                };
                Some(Assignment { column: name.into(), operation })
            };
            let mut all: Vec<_> =
                picks.into_iter().take(if few { 2 } else { COLUMNS.len() }).enumerate().filter_map(pick).collect();
            if all.is_empty() {
                all.push(Assignment { column: "n".into(), operation: Operation::Set });
            }
            all
        })
}

fn shape(few: bool) -> impl Strategy<Value = Shape> {
    let action = prop_oneof![
        5 => assignments(few).prop_map(Action::Upsert),
        3 => assignments(few).prop_map(Action::Update),
        2 => assignments(few).prop_map(|all| Action::Insert(all.into_iter().map(|one| one.column).collect())),
        1 => Just(Action::Delete),
        1 => (1..=2u32).prop_map(Action::DeletePrefix),
    ];
    (prop::bool::weighted(0.8), action)
        .prop_map(|(one, action)| Shape { table: if one { "one" } else { "two" }.into(), action })
}

/// A value from the seed: from a small range, so that equal, lesser and greater ones meet, and from the ends of it.
fn value(column_type: ColumnType, seed: u8) -> PluginValue {
    let small = i64::from(seed / 8 % 5) - 2;
    if seed.is_multiple_of(8) {
        return PluginValue::Null;
    }
    match column_type {
        ColumnType::Integer if seed % 8 == 1 => PluginValue::Integer(i64::MAX - i64::from(seed / 64)),
        ColumnType::Integer if seed % 8 == 2 => PluginValue::Integer(i64::MIN + i64::from(seed / 64)),
        ColumnType::Integer => PluginValue::Integer(small),
        ColumnType::Decimal => PluginValue::Decimal(format!("{small}.{}e{}", seed / 32, i32::from(seed % 8) * 12 - 36)),
        ColumnType::Float if seed % 8 == 1 => PluginValue::Float(f64::MAX),
        ColumnType::Float => PluginValue::Float(0.1 * small as f64),
        ColumnType::Text => PluginValue::Text(format!("x{small}")),
        ColumnType::Boolean => PluginValue::Boolean(small > 0),
        _ => PluginValue::Date(small as i32),
    }
}

/// A shape, the key, and a seed for each value.
type Step = (prop::sample::Index, u8, i64, [u8; 7]);

fn change(schema: &Schema, (shape, a, b, seeds): &Step) -> Change {
    let number = shape.index(schema.shapes.len());
    let shape = &schema.shapes[number];
    let mut values = vec![PluginValue::Text(format!("k{}", a % 2)), PluginValue::Integer(*b)];
    values.truncate(shape.key_values);
    values.extend(shape.assignments.iter().map(|(rest, _)| value(COLUMNS[*rest].1, seeds[*rest])));
    Change { shape: number as u32, values }
}

fn schema_and_events(few: bool) -> impl Strategy<Value = (Schema, Vec<Vec<Change>>, usize)> {
    let step = (any::<prop::sample::Index>(), 0..2u8, 0..2i64, any::<[u8; 7]>());
    let events = prop::collection::vec(prop::collection::vec(step, 1..=4), 1..=12);
    (prop::collection::vec(shape(few), 1..=7), events, 0..8usize).prop_map(|(shapes, events, before)| {
        let schema = descriptor(shapes).validate().expect("the shapes are valid");
        let events: Vec<Vec<_>> =
            events.iter().map(|steps| steps.iter().map(|step| change(&schema, step)).collect()).collect();
        let before = before.min(events.len());
        (schema, events, before)
    })
}

/// Applies events row by row, up to the first that fails; tells which one.
fn row_by_row(schema: &Schema, tables: &mut Vec<Rows>, events: &[Vec<Change>]) -> Option<usize> {
    for (number, event) in events.iter().enumerate() {
        let mut after = tables.clone();
        for change in event {
            let change = change.clone().check(schema).expect("the values are valid");
            if apply_change(schema, &mut after, &change).is_err() {
                return Some(number);
            }
        }
        *tables = after;
    }
    None
}

/// Applies the stages as a sink does; nothing on an error.
fn commit(schema: &Schema, tables: &mut Vec<Rows>, set: &ChangeSet) -> Result<(), ChangeError> {
    let mut after = tables.clone();
    for stage in &set.stages {
        for (at, changes) in stage.tables.iter().enumerate() {
            let (table, resolved) = (&schema.descriptor.tables[at], &schema.tables[at]);
            for prefix in &changes.delete_prefixes {
                assert!(resolved.prefix_lengths.contains(&prefix.0.len()));
                after[at].retain(|key, _| !key.0.starts_with(&prefix.0));
            }
            for (key, change) in &changes.rows {
                let stored = after[at].remove(key);
                if let Some(row) = apply_row_change(table, resolved, stored, change)? {
                    after[at].insert(key.clone(), row);
                }
            }
        }
    }
    *tables = after;
    Ok(())
}

fn count(set: &ChangeSet) -> usize {
    set.stages.iter().flat_map(|stage| &stage.tables).map(|table| table.rows.len() + table.delete_prefixes.len()).sum()
}

fn holds(schema: &Schema, events: &[Vec<Change>], before: usize) -> Result<(), TestCaseError> {
    let mut stored = vec![Rows::new(), Rows::new()];
    let fault = row_by_row(schema, &mut stored, &events[..before]);
    let events = &events[fault.map_or(before, |fault| fault)..];
    let events = if fault.is_some() { &events[1..] } else { events };

    let mut expected = stored.clone();
    let fault = row_by_row(schema, &mut expected, events);
    let mut set = ChangeSet::new(schema);
    let mut refused = None;
    for (number, event) in events.iter().enumerate() {
        let copy = set.clone();
        if set.push_event(schema, event.clone()).is_err() {
            refused = Some(number);
            prop_assert_eq!(set.len(), copy.len());
            prop_assert_eq!(set.stages.len(), copy.stages.len());
            let (mut a, mut b) = (stored.clone(), stored.clone());
            prop_assert_eq!(commit(schema, &mut a, &set).is_ok(), commit(schema, &mut b, &copy).is_ok());
            prop_assert_eq!(a, b);
            break;
        }
        prop_assert_eq!(set.len(), count(&set));
    }
    if let Some(refused) = refused {
        prop_assert!(fault.is_some_and(|fault| fault <= refused), "folding refused {refused}, row by row {fault:?}");
    }
    let pushed = refused.unwrap_or(events.len());
    let mut folded = stored.clone();
    let outcome = commit(schema, &mut folded, &set);
    match fault {
        Some(fault) if fault < pushed => {
            prop_assert!(outcome.is_err(), "row by row fails at {fault}, folded it does not");
            // The runner then goes on in smaller sets, which must lead to the same event.
            let mut set = ChangeSet::new(schema);
            for event in &events[..fault] {
                prop_assert!(set.push_event(schema, event.clone()).is_ok());
            }
            let mut folded = stored.clone();
            prop_assert_eq!(commit(schema, &mut folded, &set), Ok(()));
            prop_assert_eq!(&folded, &expected);
            let mut set = ChangeSet::new(schema);
            let refused = set.push_event(schema, events[fault].clone());
            prop_assert!(refused.and_then(|()| commit(schema, &mut folded, &set)).is_err());
        }
        _ => {
            prop_assert_eq!(outcome, Ok(()));
            prop_assert_eq!(&folded, &expected);
            if refused.is_some() {
                after_refusal(schema, set, &events[pushed + 1..], (stored, expected))?;
            }
        }
    }
    Ok(())
}

/// A set that has refused an event goes on as if it had never seen it.
fn after_refusal(
    schema: &Schema,
    mut set: ChangeSet,
    events: &[Vec<Change>],
    (stored, mut expected): (Vec<Rows>, Vec<Rows>),
) -> Result<(), TestCaseError> {
    for event in events {
        let fault = row_by_row(schema, &mut expected, std::slice::from_ref(event));
        let mut with = set.clone();
        let pushed = with.push_event(schema, event.clone());
        let mut folded = stored.clone();
        let outcome = pushed.and_then(|()| commit(schema, &mut folded, &with));
        prop_assert_eq!(outcome.is_err(), fault.is_some());
        if fault.is_none() {
            prop_assert_eq!(&folded, &expected);
            set = with;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12_000, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn folding_is_applying_row_by_row((schema, events, before) in schema_and_events(false)) {
        holds(&schema, &events, before)?;
    }

    #[test]
    fn folding_few_columns_is_applying_row_by_row((schema, events, before) in schema_and_events(true)) {
        holds(&schema, &events, before)?;
    }
}

/// Every pair of actions and operations on one column and one row, with every relation of the two values, on no row, on null and on
/// a lesser, an equal and a greater value.
#[test]
fn every_pair_of_operations_holds() {
    let mut shapes = vec![];
    for operation in OPERATIONS {
        let only = vec![Assignment { column: "n".into(), operation }];
        shapes.push(Shape { table: "one".into(), action: Action::Upsert(only.clone()) });
        shapes.push(Shape { table: "one".into(), action: Action::Update(only) });
    }
    for action in [Action::Insert(vec!["n".into()]), Action::Delete, Action::DeletePrefix(1), Action::DeletePrefix(2)] {
        shapes.push(Shape { table: "one".into(), action });
    }
    let schema = descriptor(shapes).validate().unwrap();
    let key = [PluginValue::Text("k".into()), PluginValue::Integer(0)];
    let values = [
        PluginValue::Null,
        PluginValue::Integer(-1),
        PluginValue::Integer(0),
        PluginValue::Integer(2),
        PluginValue::Integer(i64::MAX),
    ];
    let all: Vec<Change> = (0..schema.shapes.len())
        .flat_map(|shape| {
            let resolved = &schema.shapes[shape];
            let count = if resolved.assignments.is_empty() { 1 } else { values.len() };
            let (key, values) = (&key, &values);
            (0..count).map(move |at| {
                let assigned = values[at..].iter().take(resolved.assignments.len());
                Change {
                    shape: shape as u32,
                    values: key[..resolved.key_values].iter().chain(assigned).cloned().collect(),
                }
            })
        })
        .collect();
    let stored: Vec<Option<Change>> = std::iter::once(None)
        .chain(
            values.iter().map(|value| Some(Change { shape: 0, values: key.iter().chain([value]).cloned().collect() })),
        )
        .collect();
    let mut pairs = 0;
    for before in &stored {
        for first in &all {
            for second in &all {
                let mut events: Vec<_> = before.iter().cloned().map(|change| vec![change]).collect();
                events.extend([vec![first.clone()], vec![second.clone()]]);
                holds(&schema, &events, usize::from(before.is_some())).unwrap();
                // As one event, too: then it is all or nothing.
                let together = events.len() - 2;
                let both = events.split_off(together).concat();
                events.push(both);
                holds(&schema, &events, usize::from(before.is_some())).unwrap();
                pairs += 1;
            }
        }
    }
    assert_eq!(pairs, 6 * 68 * 68);
}

/// Every pair of operations on one column, each with and without a guard by an equal, an older or a newer version.
#[test]
fn every_pair_of_guarded_operations_holds() {
    let mut shapes = vec![];
    for operation in [Operation::Set, Operation::Add, Operation::Max, Operation::SetIfNull] {
        let only = Assignment { column: "n".into(), operation };
        let guard = Assignment { column: "version".into(), operation: Operation::Newer };
        for assignments in [vec![only.clone()], vec![guard, only]] {
            shapes.push(Shape { table: "one".into(), action: Action::Upsert(assignments.clone()) });
            shapes.push(Shape { table: "one".into(), action: Action::Update(assignments) });
        }
    }
    let both = vec!["version".to_owned(), "n".to_owned()];
    for action in [Action::Insert(both), Action::Delete, Action::DeletePrefix(1)] {
        shapes.push(Shape { table: "one".into(), action });
    }
    let schema = descriptor(shapes).validate().unwrap();
    let key = [PluginValue::Text("k".into()), PluginValue::Integer(0)];
    let values = [PluginValue::Null, PluginValue::Integer(1), PluginValue::Integer(i64::MAX)];
    let versions = [PluginValue::Null, PluginValue::Integer(1), PluginValue::Integer(2)];
    let mut all = vec![];
    for (shape, resolved) in schema.shapes.iter().enumerate() {
        let values = if resolved.assignments.is_empty() { &values[..1] } else { &values[..] };
        let versions = if resolved.assignments.len() < 2 { &versions[..1] } else { &versions[..] };
        for (value, version) in values.iter().flat_map(|value| versions.iter().map(move |version| (value, version))) {
            let assigned = [version, value];
            let assigned = assigned[2 - resolved.assignments.len()..].iter().copied();
            let values = key[..resolved.key_values].iter().chain(assigned).cloned().collect();
            all.push(Change { shape: shape as u32, values });
        }
    }
    let insert = schema.shapes.iter().position(|shape| shape.kind == ShapeKind::Insert).unwrap() as u32;
    let stored: Vec<&Change> = all.iter().filter(|change| change.shape == insert).collect();
    for before in std::iter::once(None).chain(stored.into_iter().map(Some)) {
        for (first, second) in all.iter().flat_map(|first| all.iter().map(move |second| (first, second))) {
            let mut events: Vec<_> = before.iter().map(|change| vec![(*change).clone()]).collect();
            events.extend([vec![first.clone()], vec![second.clone()]]);
            holds(&schema, &events, usize::from(before.is_some())).unwrap();
        }
    }
}

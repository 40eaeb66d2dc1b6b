//! What a new build needs before it can run: decided from name, revision and descriptor, never from the code's hash. Pure.
//!
//! The revision is the author's word: raised, the meaning of the rows has changed, and they are made anew. Under the same revision what is stored
//! stays true, so columns that may be null, tables and indexes are added, and anything else is a rebuild.

use super::view::{Plan, PlanAction, TablePlan};
use crate::change::Schema;
use crate::sink::{GenerationRecord, differences};

/// Decides what is to be done so that the build `digest` of `schema` runs where `live` does; none where the projection is new.
pub(super) fn decide(live: Option<&GenerationRecord>, schema: &Schema, digest: &str, file: &str) -> Plan {
    let descriptor = &schema.descriptor;
    let mut plan = Plan {
        projection: descriptor.name.clone(),
        from_digest: live.map(|live| live.plugin_digest.clone()),
        from_revision: live.map(|live| live.revision),
        to_digest: digest.to_owned(),
        to_revision: descriptor.revision,
        file: file.to_owned(),
        action: PlanAction::Nothing,
        held: false,
        reasons: Vec::new(),
        tables: Vec::new(),
    };
    let Some(live) = live else {
        plan.action = PlanAction::Create;
        plan.reasons.push("the projection is new: it starts at the beginning of the log".to_owned());
        plan.tables = descriptor.tables.iter().map(|table| table_plan(&table.name, "create", Vec::new())).collect();
        return plan;
    };
    let changes = differences(&live.descriptor, schema);
    let mut action = if live.plugin_digest == digest { PlanAction::Nothing } else { PlanAction::Reload };
    if action == PlanAction::Reload {
        plan.reasons.push("same revision: it takes over at a batch boundary and goes on at the checkpoint".to_owned());
    }
    if !changes.is_empty() {
        action = PlanAction::Alter;
        plan.reasons = vec![
            "same revision, and only columns that may be null, tables or indexes are new: they are added in place; rows that are there keep null in them, \
             raise the revision to have them filled"
                .to_owned(),
        ];
    }
    let mut rebuild = Vec::new();
    if live.revision != descriptor.revision {
        rebuild.push(format!(
            "the revision was {} and is {}: the meaning of the rows has changed",
            live.revision, descriptor.revision
        ));
    }
    rebuild.extend(topics_gone(live, schema));
    if changes.iter().any(|change| !change.is_additive()) {
        rebuild.push("tables changed in a way that rows that are there cannot follow".to_owned());
    }
    if !rebuild.is_empty() {
        action = PlanAction::Rebuild;
        rebuild.push("the next generation is filled from the beginning of the log beside the live one".to_owned());
        plan.reasons = rebuild;
    }
    plan.action = action;
    let declared = descriptor.tables.iter().map(|table| table.name.as_str());
    let gone = changes.iter().map(|change| change.table.as_str());
    let gone = gone.filter(|name| !descriptor.tables.iter().any(|table| table.name == *name));
    plan.tables = declared
        .chain(gone)
        .map(|name| {
            let change = changes.iter().find(|change| change.table == name);
            let reasons: Vec<String> =
                change.iter().flat_map(|change| &change.differences).map(ToString::to_string).collect();
            let is_gone = !descriptor.tables.iter().any(|table| table.name == name);
            let is_new = change.is_some_and(|change| change.differences.contains(&crate::sink::Difference::TableAdded));
            let does = match action {
                _ if is_gone => "remove",
                _ if is_new => "create",
                PlanAction::Rebuild => "rebuild",
                PlanAction::Alter if change.is_some() => "alter",
                _ => "keep",
            };
            table_plan(name, does, reasons)
        })
        .collect();
    plan
}

/// Topics that are not read any more have left rows behind that nobody keeps up to date.
fn topics_gone(live: &GenerationRecord, schema: &Schema) -> Vec<String> {
    let stored = live.descriptor.get("topics").and_then(|topics| topics.as_array());
    let names = stored.into_iter().flatten().filter_map(|topic| topic.get("name")?.as_str());
    names
        .filter(|name| !schema.descriptor.topics.iter().any(|topic| topic.name == *name))
        .map(|name| format!("the topic {name:?} is not read any more, and its rows would stay"))
        .collect()
}

fn table_plan(table: &str, action: &'static str, reasons: Vec<String>) -> TablePlan {
    TablePlan { table: table.to_owned(), action, reasons }
}

/// Whether a build can take over from another in a running projection: it reads the same topics in the same way, in as many lanes.
/// Otherwise its runner starts anew.
pub(super) fn can_take_over(running: &Schema, next: &Schema) -> bool {
    running.descriptor.topics == next.descriptor.topics && running.is_serial() == next.is_serial()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Column, ColumnType, Descriptor, Encoding, Index, IndexKind, Partitioning, Table, Topic};
    use crate::sink::GenerationState;

    fn descriptor() -> Descriptor {
        let column = |name: &str, column_type| Column { name: name.into(), column_type, nullable: false };
        Descriptor {
            name: "shop".into(),
            revision: 1,
            topics: vec![Topic {
                name: "orders".into(),
                key: Encoding::Text,
                value: Encoding::Text,
                headers: Vec::new(),
            }],
            tables: vec![Table {
                name: "orders".into(),
                columns: vec![column("id", ColumnType::Text), column("total", ColumnType::Integer)],
                primary_key: vec!["id".into()],
                indexes: Vec::new(),
                partitioning: Partitioning::ByPartition,
            }],
            shapes: Vec::new(),
        }
    }

    fn live() -> GenerationRecord {
        GenerationRecord {
            projection: "shop".into(),
            number: 1,
            state: GenerationState::Live,
            writable: true,
            stored: true,
            revision: 1,
            plugin_digest: "aa".into(),
            descriptor: serde_json::to_value(descriptor()).unwrap(),
            collect_at_us: None,
            created_at_us: 0,
        }
    }

    fn plan(change: impl FnOnce(&mut Descriptor)) -> (PlanAction, Vec<(String, &'static str)>) {
        let mut changed = descriptor();
        change(&mut changed);
        let plan = decide(Some(&live()), &changed.validate().unwrap(), "bb", "shop.wasm");
        (plan.action, plan.tables.into_iter().map(|table| (table.table, table.action)).collect())
    }

    #[test]
    fn what_a_build_needs_follows_from_revision_and_descriptor() {
        let orders = |action| vec![("orders".to_owned(), action)];
        let schema = descriptor().validate().unwrap();
        assert_eq!(decide(None, &schema, "aa", "f").action, PlanAction::Create);
        assert_eq!(decide(Some(&live()), &schema, "aa", "f").action, PlanAction::Nothing);
        assert_eq!(plan(|_| {}), (PlanAction::Reload, orders("keep")));
        assert_eq!(plan(|d| d.revision = 2), (PlanAction::Rebuild, orders("rebuild")));
        let column = |nullable| Column { name: "note".into(), column_type: ColumnType::Text, nullable };
        assert_eq!(plan(|d| d.tables[0].columns.push(column(true))), (PlanAction::Alter, orders("alter")));
        assert_eq!(plan(|d| d.tables[0].columns.push(column(false))), (PlanAction::Rebuild, orders("rebuild")));
        let index = Index { columns: vec!["total".into()], kind: IndexKind::Ordered };
        assert_eq!(plan(|d| d.tables[0].indexes.push(index)), (PlanAction::Alter, orders("alter")));
        let (action, tables) = plan(|d| {
            let mut other = d.tables[0].clone();
            other.name = "others".into();
            d.tables.push(other);
        });
        assert_eq!((action, tables[1].1), (PlanAction::Alter, "create"));
        let (action, tables) = plan(|d| d.tables[0].name = "bills".into());
        assert_eq!((action, tables[0].1, tables[1].1), (PlanAction::Rebuild, "create", "remove"));
        let topic = |name: &str| Topic { name: name.into(), ..descriptor().topics[0].clone() };
        assert_eq!(plan(|d| d.topics.push(topic("refunds"))).0, PlanAction::Reload);
        assert_eq!(plan(|d| d.topics = vec![topic("refunds")]).0, PlanAction::Rebuild);
        assert_eq!(plan(|d| d.tables[0].columns[1].column_type = ColumnType::Decimal).0, PlanAction::Rebuild);
    }

    #[test]
    fn a_build_takes_over_where_topics_and_lanes_are_the_same() {
        let schema = descriptor().validate().unwrap();
        let mut other = descriptor();
        other.revision = 7;
        assert!(can_take_over(&schema, &other.clone().validate().unwrap()));
        other.tables[0].partitioning = Partitioning::Serial;
        assert!(!can_take_over(&schema, &other.clone().validate().unwrap()));
    }
}

//! What a database remembers of a generation's tables, against what a plugin declares now. The same for every sink.
//!
//! Names, types, nullability, keys and indexes count. The order of columns does not, because every statement names them; nor how a table is
//! partitioned, nor the shapes: they do not change what is stored.

use std::fmt;

use serde::Serialize;
use serde_json::Value as Json;

use crate::change::{Column, Index, IndexKind, Schema, Table};

/// One way in which a declared table differs from the stored one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Difference {
    /// It is not stored yet.
    TableAdded,
    /// It is not declared any longer.
    TableRemoved,
    /// A column is not stored yet.
    ColumnAdded {
        /// The new one.
        column: Column,
    },
    /// A column is not declared any longer.
    ColumnRemoved {
        /// The stored one.
        column: Column,
    },
    /// A column has another type, or takes nulls now, or no longer.
    ColumnChanged {
        /// The stored one.
        before: Column,
        /// The declared one.
        after: Column,
    },
    /// The primary key has other columns, or another order.
    KeyChanged {
        /// The stored one.
        before: Vec<String>,
        /// The declared one.
        after: Vec<String>,
    },
    /// An index is not stored yet.
    IndexAdded {
        /// The new one.
        index: Index,
    },
    /// An index is not declared any longer.
    IndexRemoved {
        /// The stored one.
        index: Index,
    },
}

impl Difference {
    /// Whether it can be made in place without looking at an event again. An index that is not declared any longer just stays.
    pub fn is_additive(&self) -> bool {
        match self {
            Self::TableAdded | Self::IndexAdded { .. } | Self::IndexRemoved { .. } => true,
            Self::ColumnAdded { column } => column.nullable,
            _ => false,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column_text = |column: &Column| {
            format!("{}{}", column.column_type.name(), if column.nullable { ", nullable" } else { ", not null" })
        };
        let index_text = |index: &Index| {
            let kind = if index.kind == IndexKind::FullText { "full-text index" } else { "index" };
            format!("the {kind} on ({})", index.columns.join(", "))
        };
        match self {
            Self::TableAdded => f.write_str("is new"),
            Self::TableRemoved => f.write_str("is gone"),
            Self::ColumnAdded { column } => write!(f, "column {:?} ({}) is new", column.name, column_text(column)),
            Self::ColumnRemoved { column } => write!(f, "column {:?} ({}) is gone", column.name, column_text(column)),
            Self::ColumnChanged { before, after } => {
                write!(f, "column {:?} was {} and is {}", before.name, column_text(before), column_text(after))
            }
            Self::KeyChanged { before, after } => {
                write!(f, "the primary key was ({}) and is ({})", before.join(", "), after.join(", "))
            }
            Self::IndexAdded { index } => write!(f, "{} is new", index_text(index)),
            Self::IndexRemoved { index } => write!(f, "{} is gone", index_text(index)),
        }
    }
}

/// How one table differs; at least in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableChange {
    /// Name of the table.
    pub table: String,
    /// In which ways.
    pub differences: Vec<Difference>,
}

impl TableChange {
    /// Whether all of it can be made in place.
    pub fn is_additive(&self) -> bool {
        self.differences.iter().all(Difference::is_additive)
    }
}

impl fmt::Display for TableChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {:?}: ", self.table)?;
        for (at, difference) in self.differences.iter().enumerate() {
            write!(f, "{}{difference}", if at > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

/// How the tables of a stored descriptor ([`crate::sink::GenerationRecord::descriptor`]) differ from the declared ones: the declared tables
/// first, in their order, then those that are gone.
pub fn differences(stored: &Json, schema: &Schema) -> Vec<TableChange> {
    let stored = tables(stored);
    let declared = &schema.descriptor.tables;
    let changed = declared.iter().map(|table| {
        let differences = match stored.iter().find(|other| other.name == table.name) {
            Some(before) => table_differences(before, table),
            None => vec![Difference::TableAdded],
        };
        TableChange { table: table.name.clone(), differences }
    });
    let gone = stored.iter().filter(|table| !declared.iter().any(|other| other.name == table.name));
    let gone = gone.map(|table| TableChange { table: table.name.clone(), differences: vec![Difference::TableRemoved] });
    changed.chain(gone).filter(|change| !change.differences.is_empty()).collect()
}

fn table_differences(before: &Table, after: &Table) -> Vec<Difference> {
    let mut found = Vec::new();
    for column in &after.columns {
        match before.columns.iter().find(|other| other.name == column.name) {
            None => found.push(Difference::ColumnAdded { column: column.clone() }),
            Some(other) if other != column => {
                found.push(Difference::ColumnChanged { before: other.clone(), after: column.clone() });
            }
            Some(_) => {}
        }
    }
    let gone = before.columns.iter().filter(|column| !after.columns.iter().any(|other| other.name == column.name));
    found.extend(gone.map(|column| Difference::ColumnRemoved { column: column.clone() }));
    if before.primary_key != after.primary_key {
        found.push(Difference::KeyChanged { before: before.primary_key.clone(), after: after.primary_key.clone() });
    }
    let added = after.indexes.iter().filter(|index| !before.indexes.contains(index));
    found.extend(added.map(|index| Difference::IndexAdded { index: index.clone() }));
    let gone = before.indexes.iter().filter(|index| !after.indexes.contains(index));
    found.extend(gone.map(|index| Difference::IndexRemoved { index: index.clone() }));
    found
}

/// The tables of a stored descriptor; what cannot be read is left out.
pub(super) fn tables(descriptor: &Json) -> Vec<Table> {
    let tables = descriptor.get("tables").and_then(Json::as_array);
    tables.into_iter().flatten().filter_map(|table| serde::Deserialize::deserialize(table).ok()).collect()
}

/// The names of a stored descriptor's topics.
pub(super) fn topics(descriptor: &Json) -> Vec<&str> {
    let topics = descriptor.get("topics").and_then(Json::as_array);
    topics.into_iter().flatten().filter_map(|topic| topic.get("name")?.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::ColumnType;
    use crate::sink::contract;

    #[test]
    fn differences_are_told_by_kind_and_in_words() {
        let schema = contract::schema("shop");
        let stored = serde_json::to_value(&schema.descriptor).unwrap();
        assert_eq!(differences(&stored, &schema), []);
        let mut changed = schema.descriptor.clone();
        let wide = &mut changed.tables[0];
        wide.columns.swap(2, 3);
        let reordered = changed.clone().validate().unwrap();
        assert_eq!(differences(&stored, &reordered), []);

        let wide = &mut changed.tables[0];
        wide.columns.push(contract::column("extra", ColumnType::Text, true));
        wide.indexes.push(Index { columns: vec!["i".into()], kind: IndexKind::Ordered });
        let additive = changed.clone().validate().unwrap();
        let found = differences(&stored, &additive);
        assert!(found.len() == 1 && found[0].is_additive());
        assert_eq!(
            found[0].to_string(),
            "table \"shop_wide\": column \"extra\" (text, nullable) is new; the index on (i) is new"
        );
        let back = differences(&serde_json::to_value(&additive.descriptor).unwrap(), &schema);
        assert_eq!(back[0].to_string().matches("is gone").count(), 2);
        assert!(!back[0].is_additive());

        let mut changed = schema.descriptor.clone();
        changed.shapes.retain(|shape| shape.table == "shop_wide");
        changed.tables.truncate(2);
        changed.tables[1].name = "shop_other".into();
        changed.tables[0].primary_key.reverse();
        changed.tables[0].columns[1].column_type = ColumnType::Text;
        changed.shapes.retain(|shape| matches!(shape.action, crate::change::Action::Insert(_)));
        let found = differences(&stored, &changed.validate().unwrap());
        let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "table \"shop_wide\": column \"part\" was integer, not null and is text, not null; \
                 the primary key was (id, part) and is (part, id)",
                "table \"shop_other\": is new",
                "table \"shop_keys\": is gone",
                "table \"shop_sums\": is gone",
            ]
        );
        assert_eq!(found.iter().map(TableChange::is_additive).collect::<Vec<_>>(), [false, true, false, false]);
        assert_eq!(differences(&Json::Null, &schema).len(), 3);
    }
}

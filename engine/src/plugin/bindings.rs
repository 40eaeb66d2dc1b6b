//! Generated from `wit/projection.wit`, and the way from its types to the engine's own. Nothing else sees them.
//!
//! Events go in by reference (`ownership: Borrowing`); values come out owned and are moved, not copied.

use crate::change::{self, PluginValue};

mod generated {
    #![allow(missing_docs, unreachable_pub, reason = "generated code; the contract's text documents it")]
    #![allow(clippy::all, clippy::too_many_lines, clippy::missing_errors_doc, reason = "generated code")]
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "projection",
        ownership: Borrowing { duplicate_if_necessary: false },
        imports: { default: trappable },
        exports: { default: async },
    });
}

pub(super) use generated::laterna::projection::log;
pub(super) use generated::laterna::projection::types::{self, Batch, Event, Header, Outcome, Payload};
pub(super) use generated::{Projection, ProjectionPre};

/// What a plugin says that it is, in the engine's words.
pub(super) fn descriptor(from: types::Descriptor) -> change::Descriptor {
    change::Descriptor {
        name: from.name,
        revision: from.revision,
        topics: from.topics.into_iter().map(topic).collect(),
        tables: from.tables.into_iter().map(table).collect(),
        shapes: from.shapes.into_iter().map(shape).collect(),
    }
}

fn topic(from: types::Topic) -> change::Topic {
    change::Topic { name: from.name, key: encoding(from.key), value: encoding(from.value), headers: from.headers }
}

fn encoding(from: types::Encoding) -> change::Encoding {
    match from {
        types::Encoding::Text => change::Encoding::Text,
        types::Encoding::Bytes => change::Encoding::Bytes,
    }
}

fn table(from: types::Table) -> change::Table {
    change::Table {
        name: from.name,
        columns: from.columns.into_iter().map(column).collect(),
        primary_key: from.primary_key,
        indexes: from.indexes.into_iter().map(index).collect(),
        partitioning: match from.partitioning {
            types::Partitioning::ByPartition => change::Partitioning::ByPartition,
            types::Partitioning::Commutative => change::Partitioning::Commutative,
            types::Partitioning::Serial => change::Partitioning::Serial,
        },
    }
}

fn column(from: types::Column) -> change::Column {
    change::Column {
        name: from.name,
        column_type: match from.column_type {
            types::ColumnType::Boolean => change::ColumnType::Boolean,
            types::ColumnType::Integer => change::ColumnType::Integer,
            types::ColumnType::Float => change::ColumnType::Float,
            types::ColumnType::Decimal => change::ColumnType::Decimal,
            types::ColumnType::Text => change::ColumnType::Text,
            types::ColumnType::Bytes => change::ColumnType::Bytes,
            types::ColumnType::Timestamp => change::ColumnType::Timestamp,
            types::ColumnType::Date => change::ColumnType::Date,
            types::ColumnType::Uuid => change::ColumnType::Uuid,
            types::ColumnType::Json => change::ColumnType::Json,
        },
        nullable: from.nullable,
    }
}

fn index(from: types::Index) -> change::Index {
    change::Index {
        columns: from.columns,
        kind: match from.kind {
            types::IndexKind::Ordered => change::IndexKind::Ordered,
            types::IndexKind::FullText => change::IndexKind::FullText,
        },
    }
}

fn shape(from: types::Shape) -> change::Shape {
    let assignments = |list: Vec<types::Assignment>| list.into_iter().map(assignment).collect();
    change::Shape {
        table: from.table,
        action: match from.action {
            types::Action::Upsert(list) => change::Action::Upsert(assignments(list)),
            types::Action::Update(list) => change::Action::Update(assignments(list)),
            types::Action::Insert(columns) => change::Action::Insert(columns),
            types::Action::Delete => change::Action::Delete,
            types::Action::DeletePrefix(length) => change::Action::DeletePrefix(length),
        },
    }
}

fn assignment(from: types::Assignment) -> change::Assignment {
    change::Assignment {
        column: from.column,
        operation: match from.operation {
            types::Operation::Set => change::Operation::Set,
            types::Operation::Add => change::Operation::Add,
            types::Operation::Max => change::Operation::Max,
            types::Operation::Min => change::Operation::Min,
            types::Operation::SetIfNull => change::Operation::SetIfNull,
            types::Operation::Newer => change::Operation::Newer,
        },
    }
}

/// One row operation in the engine's words. Strings and bytes are moved.
pub(super) fn change(from: types::Change) -> change::Change {
    change::Change { shape: from.shape, values: from.values.into_iter().map(value).collect() }
}

fn value(from: types::Value) -> PluginValue {
    match from {
        types::Value::Null => PluginValue::Null,
        types::Value::Boolean(v) => PluginValue::Boolean(v),
        types::Value::Integer(v) => PluginValue::Integer(v),
        types::Value::Float(v) => PluginValue::Float(v),
        types::Value::Decimal(v) => PluginValue::Decimal(v),
        types::Value::Text(v) => PluginValue::Text(v),
        types::Value::Bytes(v) => PluginValue::Bytes(v),
        types::Value::Timestamp(v) => PluginValue::Timestamp(v),
        types::Value::Date(v) => PluginValue::Date(v),
        types::Value::Uuid(v) => PluginValue::Uuid(v),
        types::Value::Json(v) => PluginValue::Json(v),
    }
}

/// How many bytes of the host's memory a change takes: its values and what they own.
pub(super) fn change_bytes(change: &types::Change) -> usize {
    let owned = |value: &types::Value| match value {
        types::Value::Decimal(v) | types::Value::Text(v) | types::Value::Uuid(v) | types::Value::Json(v) => v.len(),
        types::Value::Bytes(v) => v.len(),
        _ => 0,
    };
    size_of::<types::Change>() + change.values.iter().map(|v| size_of::<types::Value>() + owned(v)).sum::<usize>()
}

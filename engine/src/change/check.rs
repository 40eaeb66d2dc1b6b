//! A plugin's change against the schema: what comes out names a shape that exists and holds values that both
//! databases take.

use super::{
    Change, ChangeError, Column, ColumnType, Decimal, Key, Operation, PluginValue, Schema, SchemaShape, Table, Value,
    ValueError,
};

/// How many bytes the values of a key may have together: an entry of a PostgreSQL index takes at most 2,704 bytes.
pub(super) const KEY_BYTES_MAX: usize = 2_000;

/// A change whose values are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedChange {
    /// Index into `Schema::shapes`.
    pub shape: usize,
    /// The primary key, or its leading part for a delete-prefix; decimals without zeros at their end.
    pub key: Key,
    /// One value for each of `SchemaShape::assignments`; 0 instead of null where it is added.
    pub values: Vec<Value>,
}

impl Change {
    /// Checks the change's shape, the number of its values, and each value against its column.
    ///
    /// # Errors
    /// What is wrong, with table and column.
    pub fn check(self, schema: &Schema) -> Result<CheckedChange, ChangeError> {
        let index = usize::try_from(self.shape).unwrap_or(usize::MAX);
        let Some(shape) = schema.shapes.get(index) else {
            let reason = format!("shape {} does not exist, the descriptor has {}", self.shape, schema.shapes.len());
            return Err(ChangeError { table: None, column: None, reason });
        };
        let table = &schema.descriptor.tables[shape.table];
        let expected = shape.key_values + shape.assignments.len();
        if self.values.len() != expected {
            let reason = format!(
                "a change of shape {index} carries {} values, but takes {expected}: {} of the key and {} assigned",
                self.values.len(),
                shape.key_values,
                shape.assignments.len()
            );
            return Err(ChangeError { table: Some(table.name.clone()), column: None, reason });
        }
        let mut given = self.values.into_iter();
        let key = check_key(&mut given, schema, shape, table)?;
        let resolved = &schema.tables[shape.table];
        let values = given
            .zip(&shape.assignments)
            .map(|(value, (rest, operation))| {
                let column = &table.columns[resolved.rest[*rest]];
                if *operation == Operation::Add && column.nullable && value == PluginValue::Null {
                    return Ok(zero(column.column_type));
                }
                value
                    .check(column.column_type, column.nullable, resolved.rest_bytes_max[*rest])
                    .map_err(|error| at_column(table, column, error))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(CheckedChange { shape: index, key, values })
    }
}

fn check_key(
    given: &mut impl Iterator<Item = PluginValue>,
    schema: &Schema,
    shape: &SchemaShape,
    table: &Table,
) -> Result<Key, ChangeError> {
    let columns = &schema.tables[shape.table].key[..shape.key_values];
    let mut key = Vec::with_capacity(columns.len());
    let mut bytes = 0;
    for (value, column) in given.take(columns.len()).zip(columns) {
        let column = &table.columns[*column];
        let value =
            value.check(column.column_type, false, KEY_BYTES_MAX).map_err(|error| at_column(table, column, error))?;
        bytes += value.bytes();
        // Equal keys are one row, so they must be one text where a database keeps decimals as text.
        key.push(match value {
            Value::Decimal(decimal) => Value::Decimal(decimal.trimmed()),
            value => value,
        });
    }
    if bytes > KEY_BYTES_MAX {
        let reason = format!("the key has {bytes} bytes, at most {KEY_BYTES_MAX} are taken");
        return Err(ChangeError { table: Some(table.name.clone()), column: None, reason });
    }
    Ok(Key(key.into()))
}

fn at_column(table: &Table, column: &Column, error: ValueError) -> ChangeError {
    ChangeError { table: Some(table.name.clone()), column: Some(column.name.clone()), reason: error.0 }
}

fn zero(column_type: ColumnType) -> Value {
    match column_type {
        ColumnType::Float => Value::Float(0.0),
        ColumnType::Decimal => Value::Decimal(Decimal::ZERO),
        _ => Value::Integer(0),
    }
}

//! What a database remembers of a generation's descriptor, against what a plugin declares now. The same for every sink.

use serde_json::Value as Json;

use crate::change::Schema;

/// How the stored tables differ from the declared ones, each difference in words.
///
/// Columns, keys and indexes count; how a table is partitioned, and the shapes, do not change what is stored.
pub(super) fn differences(stored: &Json, schema: &Schema) -> Vec<String> {
    let empty = Vec::new();
    let stored = stored.get("tables").and_then(Json::as_array).unwrap_or(&empty);
    let declared = serde_json::to_value(&schema.descriptor.tables).unwrap_or(Json::Null);
    let declared = declared.as_array().unwrap_or(&empty);
    let name = |table: &Json| table.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for table in declared {
        let Some(before) = stored.iter().find(|other| name(other) == name(table)) else {
            found.push(format!("table {:?} is new", name(table)));
            continue;
        };
        for part in ["columns", "primary_key", "indexes"] {
            let (before, after) = (before.get(part).unwrap_or(&Json::Null), table.get(part).unwrap_or(&Json::Null));
            if before != after {
                found.push(format!("table {:?}: {part} were {before} and are {after}", name(table)));
            }
        }
    }
    for table in stored {
        if !declared.iter().any(|other| name(other) == name(table)) {
            found.push(format!("table {:?} is gone", name(table)));
        }
    }
    found
}

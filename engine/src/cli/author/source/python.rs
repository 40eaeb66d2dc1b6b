//! Python: values are read from the event's own dictionary, so that a field may have any name.

use super::super::sample::{Column, Field, Key, Kind, Model, Type};
use super::{introduction, literal, snake};

pub(super) fn write(model: &Model) -> String {
    let introduction = introduction(model).join("\n");
    let body = [table(model), apply(model)].join("\n\n");
    let known = [
        "boolean",
        "date",
        "decimal",
        "float_",
        "integer",
        "json",
        "nullable",
        "projection",
        "text",
        "timestamp",
        "uuid",
    ];
    let is_used =
        |name: &&&str| body.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == **name);
    let mut names = vec!["Event", "Reject", "Table"];
    names.extend(known.iter().filter(is_used));
    format!("\"\"\"{introduction}\n\"\"\"\n\nfrom laterna import {}\n\n{body}", names.join(", "))
}

fn table(model: &Model) -> String {
    let (key, shared) = match &model.key {
        Key::Event { column } => (format!("\"{column}\": text"), ""),
        // Events of one row may stand in several partitions.
        Key::Field(field) => {
            (format!("\"{}\": {}", field.column, type_of(field.kind)), "    partitioning=\"serial\",\n")
        }
        Key::Place => ("\"partition_number\": integer, \"event_offset\": integer".to_owned(), ""),
    };
    let mut text = format!("rows = Table(\n    \"{}\",\n    key={{{key}}},\n    columns={{\n", model.name);
    for Column { name, kind, nullable } in &model.columns {
        let plain = type_of(*kind);
        let whole = if *nullable { format!("nullable({plain})") } else { plain.to_owned() };
        text += &format!("        \"{name}\": {whole},\n");
    }
    text += &format!("        \"{}\": integer,\n    }},\n{shared})\n\n", model.count);
    for kind in &model.kinds {
        let mut columns: Vec<String> = kind.fields.iter().map(|(_, field)| format!("\"{}\"", field.column)).collect();
        columns.push(format!("{}=\"add\"", model.count));
        text += &format!("{} = rows.upsert({})\n", change(kind), columns.join(", "));
    }
    if matches!(model.key, Key::Event { .. }) {
        text += "set_gone = rows.delete()\n";
    }
    text
}

fn apply(model: &Model) -> String {
    let mut text = format!(
        "@projection(\"{}\", revision=1, topics=[{}])\ndef apply(event: Event) -> None:\n",
        model.name,
        literal(&model.topic)
    );
    match &model.key {
        Key::Event { column } => {
            text += &format!(
                "    {column} = event.key_text\n    if event.is_tombstone:\n        set_gone({column}={column})\n        return\n"
            );
        }
        _ => text += "    if event.is_tombstone:\n        return  # it names no row here\n",
    }
    text += "    it = event.json()\n    if not isinstance(it, dict):\n        raise Reject(\"the value is no JSON object\")\n";
    for (index, kind) in model.kinds.iter().enumerate() {
        let indent = match &model.discriminator {
            Some(discriminator) => {
                let word = if index == 0 { "if" } else { "elif" };
                text += &format!("    {word} it.get({}) == {}:\n", literal(discriminator), literal(&kind.value));
                "        "
            }
            None => "    ",
        };
        text += &format!("{indent}{}(\n", change(kind));
        match &model.key {
            Key::Event { column } => text += &format!("{indent}    {column}={column},\n"),
            Key::Field(field) => text += &format!("{indent}    {}={},\n", field.column, value(field)),
            Key::Place => {
                text +=
                    &format!("{indent}    partition_number=event.partition,\n{indent}    event_offset=event.offset,\n");
            }
        }
        for (_, field) in &kind.fields {
            text += &format!("{indent}    {}={},\n", field.column, value(field));
        }
        text += &format!("{indent}    {}=1,\n{indent})\n", model.count);
    }
    text
}

/// What is missing is null, which a column that takes none rejects.
fn value(field: &Field) -> String {
    let json = literal(&field.json);
    // JSON knows no difference between 1 and 1.0; the column does.
    if field.kind == Type::Float {
        return format!("None if it.get({json}) is None else float(it[{json}])");
    }
    format!("it.get({json})")
}

/// The function of a kind's change.
fn change(kind: &Kind) -> String {
    format!("set{}", snake(&kind.type_name))
}

fn type_of(kind: Type) -> &'static str {
    match kind {
        Type::Boolean => "boolean",
        Type::Integer | Type::Long => "integer",
        Type::Float => "float_",
        Type::Decimal => "decimal",
        Type::Text => "text",
        Type::Timestamp | Type::Millis => "timestamp",
        Type::Date => "date",
        Type::Uuid => "uuid",
        Type::Json => "json",
    }
}

//! JavaScript and TypeScript: one source for both, because the SDK's types follow from what is declared.

use super::super::sample::{Column, Field, Key, Kind, Model, Type};
use super::{introduction, literal};

pub(super) fn write(model: &Model) -> String {
    let introduction: String =
        introduction(model).iter().map(|line| format!("// {line}").trim_end().to_owned() + "\n").collect();
    let body = [table(model), events(model), apply(model)].join("\n");
    let known = [
        "bigint",
        "boolean",
        "date",
        "decimal",
        "float",
        "integer",
        "json",
        "nullable",
        "object",
        "projection",
        "table",
        "tagged",
        "text",
        "timestamp",
        "uuid",
    ];
    // A name is taken in where it is used as a word of its own.
    let is_used =
        |name: &&&str| body.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == **name);
    let names: Vec<&str> = known.iter().filter(is_used).copied().collect();
    format!("{introduction}\nimport {{ {} }} from 'laterna';\n\n{body}", names.join(", "))
}

fn table(model: &Model) -> String {
    let (key, shared) = match &model.key {
        Key::Event { column } => (format!("{column}: text"), ""),
        // Events of one row may stand in several partitions.
        Key::Field(field) => (format!("{}: {}", field.column, type_of(field.kind)), "  partitioning: 'serial',\n"),
        Key::Place => ("partition_number: integer, event_offset: integer".to_owned(), ""),
    };
    let mut text = format!("const rows = table('{}', {{\n  key: {{ {key} }},\n  columns: {{\n", model.name);
    for Column { name, kind, nullable } in &model.columns {
        let plain = if *kind == Type::Millis { "timestamp" } else { type_of(*kind) };
        let whole = if *nullable { format!("nullable({plain})") } else { plain.to_owned() };
        text += &format!("    {name}: {whole},\n");
    }
    text += &format!("    {}: integer,\n  }},\n{shared}}});\n", model.count);
    for kind in &model.kinds {
        let mut columns: Vec<String> = kind.fields.iter().map(|(_, field)| format!("'{}'", field.column)).collect();
        columns.push(format!("{{ {}: 'add' }}", model.count));
        text += &format!("const {} = rows.upsert({});\n", change(kind), columns.join(", "));
    }
    if matches!(model.key, Key::Event { .. }) {
        text += "const setGone = rows.delete();\n";
    }
    text
}

fn events(model: &Model) -> String {
    let object = |kind: &Kind, indent: &str| {
        let key = if let Key::Field(field) = &model.key { Some(field) } else { None };
        let fields = key.into_iter().chain(kind.fields.iter().map(|(_, field)| field));
        let field = |field: &Field| {
            let plain = type_of(field.kind);
            let whole = if field.optional { format!("nullable({plain})") } else { plain.to_owned() };
            format!("{indent}  {}: {whole},\n", property(&field.json))
        };
        let fields: String = fields.map(field).collect();
        if fields.is_empty() { "object({})".to_owned() } else { format!("object({{\n{fields}{indent}}})") }
    };
    match &model.discriminator {
        Some(discriminator) => {
            let one = |kind: &Kind| format!("  {}: {},\n", literal(&kind.value), object(kind, "  "));
            let kinds: String = model.kinds.iter().map(one).collect();
            format!("const Incoming = tagged({}, {{\n{kinds}}});\n", literal(discriminator))
        }
        None => model.kinds.iter().map(|kind| format!("const Incoming = {};\n", object(kind, ""))).collect(),
    }
}

fn apply(model: &Model) -> String {
    let mut text = format!(
        "export const {{ describe, apply }} = projection({{ name: '{}', revision: 1, topics: [{}] }}, (event) => {{\n",
        model.name,
        literal(&model.topic)
    );
    match &model.key {
        Key::Event { column } => {
            text += &format!(
                "  const {column} = event.keyText;\n  if (event.isTombstone) {{\n    setGone({{ {column} }});\n    return;\n  }}\n"
            );
        }
        _ => text += "  if (event.isTombstone) return; // it names no row here\n",
    }
    text += "  const it = event.json(Incoming);\n";
    for (index, kind) in model.kinds.iter().enumerate() {
        let condition = match &model.discriminator {
            Some(discriminator) => format!("it?.{} === {}", access(discriminator), literal(&kind.value)),
            None => "it".to_owned(),
        };
        let word = if index == 0 { "if" } else { "} else if" };
        text += &format!("  {word} ({condition}) {{\n    {}({{\n", change(kind));
        match &model.key {
            Key::Event { column } => text += &format!("      {column},\n"),
            Key::Field(field) => text += &format!("      {}: it{},\n", field.column, dotted(&field.json)),
            Key::Place => text += "      partition_number: event.partition,\n      event_offset: event.offset,\n",
        }
        for (_, field) in &kind.fields {
            text += &format!("      {}: it{},\n", field.column, dotted(&field.json));
        }
        text += &format!("      {}: 1,\n    }});\n", model.count);
    }
    text + "  }\n});\n"
}

/// The function of a kind's change.
fn change(kind: &Kind) -> String {
    format!("set{}", kind.type_name)
}

fn is_name(json: &str) -> bool {
    json.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && json.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn property(json: &str) -> String {
    if is_name(json) { json.to_owned() } else { literal(json) }
}

/// What stands behind `it?.`
fn access(json: &str) -> String {
    if is_name(json) { json.to_owned() } else { format!("[{}]", literal(json)) }
}

fn dotted(json: &str) -> String {
    if is_name(json) { format!(".{json}") } else { format!("[{}]", literal(json)) }
}

/// What is read of an event, and what the column is, but for milliseconds.
fn type_of(kind: Type) -> &'static str {
    match kind {
        Type::Boolean => "boolean",
        Type::Integer | Type::Millis => "integer",
        Type::Long => "bigint",
        Type::Float => "float",
        Type::Decimal => "decimal",
        Type::Text => "text",
        Type::Timestamp => "timestamp",
        Type::Date => "date",
        Type::Uuid => "uuid",
        Type::Json => "json",
    }
}

//! Rust: `table!` and `projection!`, an enum of the kinds of event, serde reads them.

use super::super::sample::{Column, Field, Key, Kind, Model, Type};
use super::{introduction, literal};

pub(super) fn write(model: &Model) -> String {
    [head(model), table(model), events(model), apply(model)].join("\n")
}

fn head(model: &Model) -> String {
    let introduction: String =
        introduction(model).iter().map(|line| format!("//! {line}").trim_end().to_owned() + "\n").collect();
    format!(
        "{introduction}\nuse laterna_sdk::prelude::*;\nuse serde::Deserialize;\n\n\
         projection! {{\n    name: \"{0}\",\n    revision: 1,\n    topics: [{1}],\n    tables: [{0}],\n    apply: apply,\n}}\n",
        model.name,
        literal(&model.topic)
    )
}

fn table(model: &Model) -> String {
    let mut text = String::from("table! {\n");
    let (key, word) = match &model.key {
        Key::Event { column } => (format!("{column}: String"), ""),
        // Events of one row may stand in several partitions.
        Key::Field(field) => (format!("{}: {}", field.column, type_of(field.kind)), " serial"),
        Key::Place => ("partition_number: i64, event_offset: i64".to_owned(), ""),
    };
    text += &format!("    {}({key}){word} {{\n", model.name);
    for Column { name, kind, nullable } in &model.columns {
        let plain = type_of(*kind);
        let whole = if *nullable { format!("Option<{plain}>") } else { plain.to_owned() };
        text += &format!("        {name}: {whole},\n");
    }
    text += &format!("        {}: i64,\n    }}\n    changes {{\n", model.count);
    for kind in &model.kinds {
        let mut columns: Vec<&str> = kind.fields.iter().map(|(_, field)| field.column.as_str()).collect();
        let count = format!("{}: add", model.count);
        columns.push(&count);
        text += &format!("        upsert {}Row {{ {} }};\n", kind.type_name, columns.join(", "));
    }
    if matches!(model.key, Key::Event { .. }) {
        text += "        delete Gone;\n";
    }
    text + "    }\n}\n"
}

/// What is read of an event.
fn events(model: &Model) -> String {
    let mut text = String::new();
    if let Some(discriminator) = &model.discriminator {
        text += &format!("#[derive(Deserialize)]\n#[serde(tag = {})]\nenum Incoming {{\n", literal(discriminator));
        for kind in &model.kinds {
            text += &format!("    #[serde(rename = {})]\n    {1}({1}),\n", literal(&kind.value), kind.type_name);
        }
        text += "    #[serde(other)]\n    Other,\n}\n\n";
    }
    let structs: Vec<String> = model.kinds.iter().map(|kind| event(model, kind)).collect();
    text + &structs.join("\n")
}

fn event(model: &Model, kind: &Kind) -> String {
    let mut fields: Vec<&Field> = kind.fields.iter().map(|(_, field)| field).collect();
    if let Key::Field(field) = &model.key {
        fields.insert(0, field);
    }
    if fields.is_empty() {
        return format!("#[derive(Deserialize)]\nstruct {} {{}}\n", kind.type_name);
    }
    let mut text = format!("#[derive(Deserialize)]\nstruct {} {{\n", kind.type_name);
    for field in fields {
        if field.json != field.column {
            text += &format!("    #[serde(rename = {})]\n", literal(&field.json));
        }
        let plain = if field.kind == Type::Millis { "i64" } else { type_of(field.kind) };
        let whole = if field.optional { format!("Option<{plain}>") } else { plain.to_owned() };
        text += &format!("    {}: {whole},\n", field.column);
    }
    text + "}\n"
}

fn apply(model: &Model) -> String {
    let mut text = String::from("fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {\n");
    let is_keyed = matches!(model.key, Key::Event { .. });
    if let Key::Event { column } = &model.key {
        text += &format!("    let {column} = event.key_text()?.to_owned();\n");
    }
    text += match model.discriminator {
        Some(_) => "    match event.json()? {\n",
        None => "    match event.json::<Seen>()? {\n",
    };
    for kind in &model.kinds {
        let pattern = match model.discriminator {
            Some(_) => format!("Some(Incoming::{}({}))", kind.type_name, name_of(model, kind)),
            None => format!("Some({})", name_of(model, kind)),
        };
        text += &format!("        {pattern} => changes.push({}Row {{\n", kind.type_name);
        match &model.key {
            Key::Event { column } => text += &format!("            {column},\n"),
            Key::Field(field) => text += &format!("            {0}: it.{0},\n", field.column),
            Key::Place => {
                text += "            partition_number: event.partition().into(),\n            event_offset: event.offset(),\n";
            }
        }
        for (index, field) in &kind.fields {
            text += &format!("            {}: {},\n", field.column, value(field, &model.columns[*index]));
        }
        text += &format!("            {}: 1,\n        }}),\n", model.count);
    }
    if model.discriminator.is_some() {
        text += "        Some(Incoming::Other) => {}\n";
    }
    text += match &model.key {
        Key::Event { column } if is_keyed => format!("        None => changes.push(Gone {{ {column} }}),\n"),
        _ => "        // A tombstone names no row here.\n        None => {}\n".to_owned(),
    }
    .as_str();
    text + "    }\n    Ok(())\n}\n"
}

/// The event's name in its branch; an event of which nothing is taken needs none.
fn name_of(model: &Model, kind: &Kind) -> &'static str {
    if kind.fields.is_empty() && !matches!(model.key, Key::Field(_)) { "_" } else { "it" }
}

fn value(field: &Field, column: &Column) -> String {
    let it = format!("it.{}", field.column);
    match (field.kind, field.optional, column.nullable) {
        (Type::Millis, true, _) => format!("{it}.map(Timestamp::from_millis).transpose()?"),
        (Type::Millis, false, true) => format!("Some(Timestamp::from_millis({it})?)"),
        (Type::Millis, false, false) => format!("Timestamp::from_millis({it})?"),
        (_, false, true) => format!("Some({it})"),
        _ => it,
    }
}

fn type_of(kind: Type) -> &'static str {
    match kind {
        Type::Boolean => "bool",
        Type::Integer | Type::Long => "i64",
        Type::Float => "f64",
        Type::Decimal => "Decimal",
        Type::Text => "String",
        Type::Timestamp | Type::Millis => "Timestamp",
        Type::Date => "Date",
        Type::Uuid => "Uuid",
        Type::Json => "Json",
    }
}

//! C and C++: the same declarations; values are read and made by functions in the one, by methods in the other.

use super::super::sample::{Column, Field, Key, Kind, Model, Type};
use super::{introduction, literal, snake};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    C,
    Cpp,
}

pub(super) fn write(model: &Model, dialect: Dialect) -> String {
    let introduction: String =
        introduction(model).iter().map(|line| format!("// {line}").trim_end().to_owned() + "\n").collect();
    let include = match dialect {
        Dialect::C => "#include \"laterna.h\"\n",
        Dialect::Cpp => "#include \"laterna.hpp\"\nusing namespace laterna;\n",
    };
    let body = [declarations(model, dialect), apply(model, dialect)].join("\n");
    let or_null = if body.contains("OR_NULL(") {
        "// A value that is NULL where its field is null or left out.\n\
         #define OR_NULL(type, name, value) (laterna_has(it, name) ? (value) : (struct laterna_##type##_value){ 0 })\n\n"
    } else {
        ""
    };
    format!("{introduction}{include}\n{or_null}{body}")
}

/// A macro with a list, in lines of its own where it is long.
fn macro_of(name: &str, first: &[String], items: &[String]) -> String {
    let line = first.iter().chain(items).cloned().collect::<Vec<_>>().join(", ");
    if name.len() + line.len() < 130 {
        return format!("{name}({line})\n");
    }
    let mut text = format!("{name}({},\n", first.join(", "));
    let indent = " ".repeat(name.len() + 1);
    let mut width = 0;
    for (index, item) in items.iter().enumerate() {
        let end = if index + 1 == items.len() { ")\n" } else { "," };
        let is_new = width == 0 || width + item.len() > 120;
        text += &match (is_new, index) {
            (true, 0) => format!("{indent}{item}{end}"),
            (true, _) => format!("\n{indent}{item}{end}"),
            (false, _) => format!(" {item}{end}"),
        };
        width = if is_new { indent.len() } else { width } + item.len() + 2;
    }
    text
}

fn declarations(model: &Model, dialect: Dialect) -> String {
    let mut columns: Vec<String> =
        key_columns(model).into_iter().map(|(column, kind)| format!("key({}, {column})", type_of(kind))).collect();
    for Column { name, kind, nullable } in &model.columns {
        let word = if *nullable { "nullable" } else { "column" };
        columns.push(format!("{word}({}, {name})", type_of(*kind)));
    }
    columns.push(format!("column(integer, {})", model.count));
    // Events of one row may stand in several partitions.
    if matches!(model.key, Key::Field(_)) {
        columns.push("serial".to_owned());
    }
    let mut text = macro_of("LATERNA_TABLE", std::slice::from_ref(&model.name), &columns);
    let keys: Vec<String> = key_columns(model).into_iter().map(|(column, _)| format!("key({column})")).collect();
    let mut changes: Vec<String> = model.kinds.iter().map(|kind| change(kind, dialect)).collect();
    for (kind, change) in model.kinds.iter().zip(&changes) {
        let set = kind.fields.iter().map(|(_, field)| format!("set({})", field.column));
        let items: Vec<String> = keys.iter().cloned().chain(set).chain([format!("add({})", model.count)]).collect();
        text += &macro_of("LATERNA_UPSERT", &[model.name.clone(), change.clone()], &items);
    }
    if matches!(model.key, Key::Event { .. }) {
        changes.push(gone(dialect).to_owned());
        text += &macro_of("LATERNA_DELETE", &[model.name.clone(), gone(dialect).to_owned()], &keys);
    }
    text + &format!(
        "LATERNA_PROJECTION({0}, 1, LATERNA_TOPICS(LATERNA_TOPIC({1})), LATERNA_TABLES({0}),\n                   LATERNA_CHANGES({2}))\n",
        model.name,
        literal(&model.topic),
        changes.join(", ")
    )
}

fn key_columns(model: &Model) -> Vec<(&str, Type)> {
    match &model.key {
        Key::Event { column } => vec![(column, Type::Text)],
        Key::Field(field) => vec![(&field.column, field.kind)],
        Key::Place => vec![("partition_number", Type::Integer), ("event_offset", Type::Integer)],
    }
}

fn apply(model: &Model, dialect: Dialect) -> String {
    let is_c = dialect == Dialect::C;
    let mut text = String::from(if is_c {
        "void laterna_apply(const laterna_event *event, laterna_changes *changes) {\n"
    } else {
        "void laterna::apply(const Event &event, Changes &changes) {\n"
    });
    let is_tombstone = if is_c { "laterna_is_tombstone(event)" } else { "event.tombstone()" };
    text += &match &model.key {
        Key::Event { column } => {
            let key = if is_c {
                "struct laterna_text_value key = laterna_text(laterna_key_text(event, changes));"
            } else {
                "auto key = text(event.key_text());"
            };
            let put = put(dialect, gone(dialect), &[format!(".{column} = key")], "        ");
            format!("    {key}\n    if ({is_tombstone}) {{\n{put}        return;\n    }}\n")
        }
        _ => format!("    if ({is_tombstone}) return; // it names no row here\n"),
    };
    text +=
        if is_c { "    laterna_json it = laterna_json_of(event, changes);\n" } else { "    Json it = event.json();\n" };
    let Some(discriminator) = &model.discriminator else {
        text += if is_c {
            "    if (laterna_kind_of(it) != LATERNA_OBJECT) laterna_reject(changes, \"the value is no JSON object\");\n"
        } else {
            "    if (it.kind() != LATERNA_OBJECT) changes.reject(\"the value is no JSON object\");\n"
        };
        text.extend(model.kinds.iter().map(|kind| branch(model, kind, dialect, "    ")));
        return text + "}\n";
    };
    let discriminator = literal(discriminator);
    text += &if is_c {
        format!("    laterna_str kind = laterna_get_text(it, {discriminator});\n")
    } else {
        format!("    auto kind = it.text({discriminator});\n")
    };
    for (index, kind) in model.kinds.iter().enumerate() {
        let word = if index == 0 { "    if" } else { "    } else if" };
        let value = literal(&kind.value);
        let condition = if is_c { format!("laterna_is(kind, {value})") } else { format!("kind == {value}") };
        text += &format!("{word} ({condition}) {{\n{}", branch(model, kind, dialect, "        "));
    }
    text + "    }\n}\n"
}

fn branch(model: &Model, kind: &Kind, dialect: Dialect, indent: &str) -> String {
    let is_c = dialect == Dialect::C;
    let mut values = match &model.key {
        Key::Event { column } => vec![format!(".{column} = key")],
        Key::Field(field) => vec![format!(".{} = {}", field.column, value(field, dialect))],
        Key::Place if is_c => vec![
            ".partition_number = laterna_integer(laterna_partition(changes))".to_owned(),
            ".event_offset = laterna_integer(event->offset)".to_owned(),
        ],
        Key::Place => vec![
            ".partition_number = integer(event.partition())".to_owned(),
            ".event_offset = integer(event.offset())".to_owned(),
        ],
    };
    values.extend(kind.fields.iter().map(|(_, field)| format!(".{} = {}", field.column, value(field, dialect))));
    values.push(format!(".{} = {}(1)", model.count, if is_c { "laterna_integer" } else { "integer" }));
    put(dialect, &change(kind, dialect), &values, indent)
}

fn put(dialect: Dialect, change: &str, values: &[String], indent: &str) -> String {
    match (dialect, values) {
        (Dialect::C, [one]) => format!("{indent}laterna_put(changes, {change}, {one});\n"),
        (Dialect::Cpp, [one]) => format!("{indent}changes.put({change}{{ {one} }});\n"),
        (Dialect::C, _) => {
            format!(
                "{indent}laterna_put(changes, {change},\n{indent}    {});\n",
                values.join(&format!(",\n{indent}    "))
            )
        }
        (Dialect::Cpp, _) => format!(
            "{indent}changes.put({change}{{\n{indent}    {},\n{indent}}});\n",
            values.join(&format!(",\n{indent}    "))
        ),
    }
}

/// The value of a column, from its field.
fn value(field: &Field, dialect: Dialect) -> String {
    let name = literal(&field.json);
    let of = type_of(field.kind);
    let whole = match dialect {
        Dialect::C => {
            let text = if field.optional && matches!(field.kind, Type::Text | Type::Uuid) {
                format!("laterna_get_text_or_null(it, {name})")
            } else {
                format!("laterna_get_text(it, {name})")
            };
            match field.kind {
                Type::Boolean => format!("laterna_boolean(laterna_get_boolean(it, {name}))"),
                Type::Integer | Type::Long => format!("laterna_integer(laterna_get_integer(it, {name}))"),
                Type::Float => format!("laterna_float(laterna_get_float(it, {name}))"),
                Type::Decimal => format!("laterna_decimal(laterna_get_decimal(it, {name}))"),
                // A text that is none is NULL already.
                Type::Text => return format!("laterna_text({text})"),
                Type::Uuid => return format!("laterna_uuid({text})"),
                Type::Timestamp => format!("laterna_timestamp(laterna_micros_of({text}, changes))"),
                Type::Millis => format!("laterna_timestamp_ms(laterna_get_integer(it, {name}))"),
                Type::Date => format!("laterna_date(laterna_days_of({text}, changes))"),
                Type::Json => format!("laterna_document(laterna_source(laterna_get(it, {name})))"),
            }
        }
        Dialect::Cpp => match field.kind {
            Type::Text if field.optional => return format!("text(it.text_or_null({name}))"),
            Type::Text => format!("text(it.text({name}))"),
            Type::Boolean => format!("boolean(it.boolean({name}))"),
            Type::Integer | Type::Long => format!("integer(it.integer({name}))"),
            Type::Float => format!("number(it.number({name}))"),
            Type::Decimal => format!("decimal(it.decimal({name}))"),
            Type::Uuid => format!("uuid(it.text({name}))"),
            Type::Timestamp => format!("timestamp_us(laterna_micros_of(raw(it.text({name})), changes.raw()))"),
            Type::Millis => format!("timestamp_ms(it.integer({name}))"),
            Type::Date => format!("date(laterna_days_of(raw(it.text({name})), changes.raw()))"),
            Type::Json => format!("document(it[{name}].source())"),
        },
    };
    match (field.optional, dialect) {
        (false, _) => whole,
        (true, Dialect::C) => format!("OR_NULL({of}, {name}, {whole})"),
        (true, Dialect::Cpp) => format!("it.has({name}) ? {whole} : laterna_{of}_value{{}}"),
    }
}

/// The name of a kind's change.
fn change(kind: &Kind, dialect: Dialect) -> String {
    match dialect {
        Dialect::C => format!("set{}", snake(&kind.type_name)),
        Dialect::Cpp => kind.type_name.clone(),
    }
}

fn gone(dialect: Dialect) -> &'static str {
    if dialect == Dialect::C { "set_gone" } else { "Gone" }
}

fn type_of(kind: Type) -> &'static str {
    match kind {
        Type::Boolean => "boolean",
        Type::Integer | Type::Long => "integer",
        Type::Float => "float",
        Type::Decimal => "decimal",
        Type::Text => "text",
        Type::Timestamp | Type::Millis => "timestamp",
        Type::Date => "date",
        Type::Uuid => "uuid",
        Type::Json => "json",
    }
}

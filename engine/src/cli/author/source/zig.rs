//! Zig: what is read of each kind of event is a struct in its branch.

use super::super::sample::{Column, Field, Key, Kind, Model, Type};
use super::{introduction, literal};

pub(super) fn write(model: &Model) -> String {
    let introduction: String =
        introduction(model).iter().map(|line| format!("//! {line}").trim_end().to_owned() + "\n").collect();
    let body = [table(model), apply(model)].join("\n");
    let std = if body.contains("std.") { "const std = @import(\"std\");\n" } else { "" };
    let is_used = |name: &str| body.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name);
    let names: String = ["Text", "Decimal", "Timestamp"]
        .iter()
        .filter(|name| is_used(name))
        .map(|name| format!("const {name} = laterna.{name};\n"))
        .collect();
    format!(
        "{introduction}\n{std}const laterna = @import(\"laterna\");\n{names}pub const panic = laterna.panic;\n\n{body}"
    )
}

fn table(model: &Model) -> String {
    // Events of one row may stand in several partitions.
    let (keys, shared) = match &model.key {
        Key::Event { column } => (vec![(column.as_str(), Type::Text)], ""),
        Key::Field(field) => (vec![(field.column.as_str(), field.kind)], ", .partitioning = .serial"),
        Key::Place => (vec![("partition_number", Type::Integer), ("event_offset", Type::Integer)], ""),
    };
    let mut text = format!("const Rows = laterna.Table(\"{}\", struct {{\n", model.name);
    for (column, kind) in &keys {
        text += &format!("    {column}: {},\n", type_of(*kind));
    }
    for Column { name, kind, nullable } in &model.columns {
        text += &format!("    {name}: {}{},\n", if *nullable { "?" } else { "" }, type_of(*kind));
    }
    let keys: Vec<String> = keys.iter().map(|(column, _)| format!("\"{column}\"")).collect();
    let keys = if let [one] = keys.as_slice() { format!("{{{one}}}") } else { format!("{{ {} }}", keys.join(", ")) };
    text += &format!("    {}: i64,\n}}, .{{ .key = &.{keys}{shared} }});\n", model.count);
    let mut changes = Vec::new();
    for kind in &model.kinds {
        let set = kind.fields.iter().map(|(_, field)| format!(".{} = .set", field.column));
        let set: Vec<String> = set.chain([format!(".{} = .add", model.count)]).collect();
        text += &format!("const {} = laterna.Upsert(Rows, .{{ {} }});\n", kind.type_name, set.join(", "));
        changes.push(kind.type_name.as_str());
    }
    if matches!(model.key, Key::Event { .. }) {
        text += "const Gone = laterna.Delete(Rows);\n";
        changes.push("Gone");
    }
    let changes =
        if let [one] = changes.as_slice() { format!("{{{one}}}") } else { format!("{{ {} }}", changes.join(", ")) };
    text + &format!(
        "\ncomptime {{\n    laterna.projection(.{{\n        .name = \"{}\",\n        .revision = 1,\n        \
         .topics = .{{laterna.Topic{{ .name = {} }}}},\n        .tables = .{{Rows}},\n        .changes = .{changes},\n        \
         .apply = apply,\n    }});\n}}\n",
        model.name,
        literal(&model.topic)
    )
}

fn apply(model: &Model) -> String {
    let mut text = String::from("fn apply(event: *const laterna.Event, changes: *laterna.Changes) anyerror!void {\n");
    let gone = match &model.key {
        Key::Event { column } => {
            text += "    const key = try event.keyText(changes);\n";
            format!("return changes.put(Gone, .{{ .{column} = key }})")
        }
        _ => "return".to_owned(),
    };
    let why = if gone == "return" { " // a tombstone names no row here" } else { "" };
    let Some(discriminator) = &model.discriminator else {
        for kind in &model.kinds {
            let structure = structure(model, kind, "    ");
            text += &format!("    const it = try event.json({structure}, changes) orelse {gone};{why}\n");
            text += &put(model, kind, "    ");
        }
        return text + "}\n";
    };
    text += &format!(
        "    const incoming = try event.json(struct {{ {}: Text }}, changes) orelse {gone};{why}\n",
        name(discriminator)
    );
    for (index, kind) in model.kinds.iter().enumerate() {
        let word = if index == 0 { "    if" } else { "    } else if" };
        text += &format!("{word} (std.mem.eql(u8, incoming.{}, {})) {{\n", name(discriminator), literal(&kind.value));
        if reads(model, kind) {
            let structure = structure(model, kind, "        ");
            text += &format!("        const it = (try event.json({structure}, changes)).?;\n");
        }
        text += &put(model, kind, "        ");
    }
    text + "    }\n}\n"
}

/// Whether anything is read of such an event.
fn reads(model: &Model, kind: &Kind) -> bool {
    !kind.fields.is_empty() || matches!(model.key, Key::Field(_))
}

fn structure(model: &Model, kind: &Kind, indent: &str) -> String {
    let key = if let Key::Field(field) = &model.key { Some(field) } else { None };
    let fields = key.into_iter().chain(kind.fields.iter().map(|(_, field)| field));
    let line = |field: &Field| {
        let plain = if field.kind == Type::Millis { "i64" } else { type_of(field.kind) };
        format!("{indent}    {}: {}{plain},\n", name(&field.json), if field.optional { "?" } else { "" })
    };
    let lines: String = fields.map(line).collect();
    if lines.is_empty() { "struct {}".to_owned() } else { format!("struct {{\n{lines}{indent}}}") }
}

fn put(model: &Model, kind: &Kind, indent: &str) -> String {
    // Zig takes no name that nothing is done with.
    let unused =
        if model.discriminator.is_none() && !reads(model, kind) { format!("{indent}_ = it;\n") } else { String::new() };
    let mut values = match &model.key {
        Key::Event { column } => vec![format!(".{column} = key")],
        Key::Field(field) => vec![format!(".{} = {}", field.column, value(field))],
        Key::Place => vec![".partition_number = event.partition".to_owned(), ".event_offset = event.offset".to_owned()],
    };
    values.extend(kind.fields.iter().map(|(_, field)| format!(".{} = {}", field.column, value(field))));
    values.push(format!(".{} = 1", model.count));
    let values: String = values.iter().map(|value| format!("{indent}    {value},\n")).collect();
    format!("{unused}{indent}try changes.put({}, .{{\n{values}{indent}}});\n", kind.type_name)
}

fn value(field: &Field) -> String {
    let it = format!("it.{}", name(&field.json));
    match (field.kind, field.optional) {
        (Type::Millis, true) => format!("if ({it}) |millis| try Timestamp.fromMillis(millis) else null"),
        (Type::Millis, false) => format!("try Timestamp.fromMillis({it})"),
        _ => it,
    }
}

/// The name of a field: any text is one, in quotes.
fn name(json: &str) -> String {
    const KEYWORDS: [&str; 49] = [
        "addrspace",
        "align",
        "allowzero",
        "and",
        "anyframe",
        "anytype",
        "asm",
        "async",
        "await",
        "break",
        "callconv",
        "catch",
        "comptime",
        "const",
        "continue",
        "defer",
        "else",
        "enum",
        "errdefer",
        "error",
        "export",
        "extern",
        "fn",
        "for",
        "if",
        "inline",
        "linksection",
        "noalias",
        "noinline",
        "nosuspend",
        "opaque",
        "or",
        "orelse",
        "packed",
        "pub",
        "resume",
        "return",
        "struct",
        "suspend",
        "switch",
        "test",
        "threadlocal",
        "try",
        "union",
        "unreachable",
        "usingnamespace",
        "var",
        "volatile",
        "while",
    ];
    let is_plain = json.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && json.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain && json != "_" && !KEYWORDS.contains(&json) { json.to_owned() } else { format!("@{}", literal(json)) }
}

fn type_of(kind: Type) -> &'static str {
    match kind {
        Type::Boolean => "bool",
        Type::Integer | Type::Long => "i64",
        Type::Float => "f64",
        Type::Decimal => "Decimal",
        Type::Text => "Text",
        Type::Timestamp | Type::Millis => "Timestamp",
        Type::Date => "laterna.Date",
        Type::Uuid => "laterna.Uuid",
        Type::Json => "laterna.Json",
    }
}

//! Go and TinyGo: one struct for each kind of event, whose tags say what is read of it and what it does to its row.

use std::collections::BTreeSet;

use super::super::sample::{Column, Field, Key, Kind, Model, Type};
use super::{introduction, literal};

pub(super) fn write(model: &Model) -> String {
    let names = Names::of(model);
    let introduction: String =
        introduction(model).iter().map(|line| format!("// {line}").trim_end().to_owned() + "\n").collect();
    let body = [types(model, &names), declarations(model), apply(model, &names)].join("\n");
    let packages = [("json.RawMessage", "encoding/json"), ("time.", "time")];
    let packages: String = packages
        .iter()
        .filter(|(sign, _)| body.contains(sign))
        .map(|(_, package)| format!("\t\"{package}\"\n"))
        .collect();
    let packages = if packages.is_empty() { packages } else { packages + "\n" };
    format!(
        "{introduction}package main\n\nimport (\n{packages}\tlaterna \"github.com/laterna/laterna/plugins/sdk/go\"\n)\n\n{body}"
    )
}

/// Fields of the structs: Go's names have capitals where columns have underscores, so two columns may come to one name.
struct Names {
    key: Vec<String>,
    columns: Vec<String>,
    /// Of what is read in milliseconds, by the column that it becomes.
    millis: Vec<String>,
    count: String,
}

impl Names {
    fn of(model: &Model) -> Self {
        let mut taken = BTreeSet::new();
        let mut name = |column: &str| {
            let plain: String = column.split('_').map(capital).collect();
            let mut free = plain.clone();
            let mut number = 2;
            while !taken.insert(free.clone()) {
                free = format!("{plain}{number}");
                number += 1;
            }
            free
        };
        Self {
            key: key_columns(model).iter().map(|(column, _)| name(column)).collect(),
            columns: model.columns.iter().map(|column| name(&column.name)).collect(),
            millis: model.columns.iter().map(|column| name(&format!("{}_millis", column.name))).collect(),
            count: name(&model.count),
        }
    }
}

fn capital(part: &str) -> String {
    if part == "id" {
        return "ID".to_owned();
    }
    let mut letters = part.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

fn key_columns(model: &Model) -> Vec<(&str, Type)> {
    match &model.key {
        Key::Event { column } => vec![(column, Type::Text)],
        Key::Field(field) => vec![(&field.column, field.kind)],
        Key::Place => vec![("partition_number", Type::Integer), ("event_offset", Type::Integer)],
    }
}

/// A line of a struct: its name, its type, its tag.
type Member = [String; 3];

/// A struct as `gofmt` sets it: names, types and tags in columns.
fn structure(comment: &str, name: &str, members: &[Member]) -> String {
    let width = |at: usize| members.iter().map(|member| member[at].len()).max().unwrap_or(0);
    let (names, types) = (width(0), width(1));
    let lines: String = members.iter().map(|[name, of, tag]| format!("\t{name:names$} {of:types$} {tag}\n")).collect();
    format!("// {comment}\ntype {name} struct {{\n{lines}}}\n")
}

fn tag(parts: &[(&str, String)]) -> String {
    let text: Vec<String> = parts.iter().map(|(name, value)| format!("{name}:{}", literal(value))).collect();
    format!("`{}`", text.join(" "))
}

fn types(model: &Model, names: &Names) -> String {
    let mut all = Vec::new();
    let keys = || key_columns(model).into_iter().zip(&names.key);
    // One kind of event names every column itself.
    if model.kinds.len() > 1 {
        let mut members: Vec<Member> = keys()
            .map(|((column, kind), name)| {
                [name.clone(), type_of(kind).into(), tag(&[("laterna", format!("{column},key"))])]
            })
            .collect();
        for (Column { name: column, kind, nullable }, name) in model.columns.iter().zip(&names.columns) {
            let word = if *nullable && *kind == Type::Json { ",null" } else { "" };
            members.push([name.clone(), pointer(*kind, *nullable), tag(&[("laterna", format!("{column}{word}"))])]);
        }
        members.push([names.count.clone(), "int64".into(), tag(&[("laterna", model.count.clone())])]);
        all.push(structure("Row is a row of the table.", "Row", &members));
    }
    for kind in &model.kinds {
        let mut members: Vec<Member> = Vec::new();
        for ((column, of), name) in keys() {
            let json = if let Key::Field(field) = &model.key { field.json.clone() } else { "-".to_owned() };
            members.push([
                name.clone(),
                type_of(of).into(),
                tag(&[("laterna", format!("{column},key")), ("json", json)]),
            ]);
        }
        for (at, field) in &kind.fields {
            members.extend(member(&names.columns[*at], &names.millis[*at], field));
        }
        let count = tag(&[("laterna", format!("{},add", model.count)), ("json", "-".to_owned())]);
        members.push([names.count.clone(), "int64".into(), count]);
        let of =
            if kind.value.is_empty() { "an event".to_owned() } else { format!("an event {}", literal(&kind.value)) };
        let comment = format!("{} is what is read of {of}, and what it does to its row.", kind.type_name);
        all.push(structure(&comment, &kind.type_name, &members));
    }
    if let Key::Event { column } = &model.key {
        let member = [names.key[0].clone(), "string".into(), tag(&[("laterna", format!("{column},key"))])];
        all.push(structure("Gone is the key of a row that a tombstone deletes.", "Gone", &[member]));
    }
    all.join("\n")
}

/// What is read, and what goes into the column: mostly the same.
fn member(name: &str, millis: &str, field: &Field) -> Vec<Member> {
    if field.kind == Type::Millis {
        let plain = if field.optional { "*int64" } else { "int64" };
        let instant = tag(&[("laterna", field.column.clone()), ("json", "-".to_owned())]);
        return vec![
            [millis.to_owned(), plain.into(), tag(&[("json", field.json.clone())])],
            [name.to_owned(), pointer(field.kind, field.optional), instant],
        ];
    }
    let (null, empty) = if field.optional && field.kind == Type::Json { (",null", ",omitempty") } else { ("", "") };
    let both = [("laterna", format!("{}{null}", field.column)), ("json", format!("{}{empty}", field.json))];
    vec![[name.to_owned(), pointer(field.kind, field.optional), tag(&both)]]
}

fn declarations(model: &Model) -> String {
    // Events of one row may stand in several partitions.
    let shared = if matches!(model.key, Key::Field(_)) { ", laterna.Serial" } else { "" };
    let row = match model.kinds.as_slice() {
        [kind] => &kind.type_name,
        _ => "Row",
    };
    let mut lines = vec![("rows".to_owned(), format!("laterna.NewTable[{row}](\"{}\"{shared})", model.name))];
    lines.extend(model.kinds.iter().map(|kind| (change(kind), format!("laterna.Upsert[{}](rows)", kind.type_name))));
    if matches!(model.key, Key::Event { .. }) {
        lines.push(("setGone".to_owned(), "laterna.Delete[Gone](rows)".to_owned()));
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: String = lines.iter().map(|(name, value)| format!("\t{name:width$} = {value}\n")).collect();
    format!(
        "var (\n{lines})\n\nfunc init() {{ laterna.Projection(\"{}\", 1, apply, laterna.Topic({})) }}\n\nfunc main() {{}}\n",
        model.name,
        literal(&model.topic)
    )
}

fn apply(model: &Model, names: &Names) -> String {
    let mut text = String::from("func apply(event *laterna.Event, changes *laterna.Changes) error {\n");
    text += match &model.key {
        Key::Event { .. } => {
            "\tkey, err := event.KeyText()\n\tif err != nil {\n\t\treturn err\n\t}\n\tif event.Tombstone() {\n\
             \t\tsetGone.Put(changes, Gone{key})\n\t\treturn nil\n\t}\n"
        }
        _ => "\tif event.Tombstone() {\n\t\treturn nil // it names no row here\n\t}\n",
    };
    let Some(discriminator) = &model.discriminator else {
        text.extend(model.kinds.iter().map(|kind| branch(model, names, kind, "\t")));
        return text + "\treturn nil\n}\n";
    };
    text += &format!(
        "\tvar incoming struct {{\n\t\tKind string {}\n\t}}\n\tif err := event.JSON(&incoming); err != nil {{\n\t\treturn err\n\t}}\n\tswitch incoming.Kind {{\n",
        tag(&[("json", discriminator.clone())])
    );
    for kind in &model.kinds {
        text += &format!("\tcase {}:\n{}", literal(&kind.value), branch(model, names, kind, "\t\t"));
    }
    text + "\t}\n\treturn nil\n}\n"
}

fn branch(model: &Model, names: &Names, kind: &Kind, indent: &str) -> String {
    let mut set: Vec<String> = match &model.key {
        Key::Event { .. } => vec![format!("{}: key", names.key[0])],
        Key::Field(_) => Vec::new(),
        Key::Place => {
            vec![format!("{}: int64(event.Partition)", names.key[0]), format!("{}: event.Offset", names.key[1])]
        }
    };
    set.push(format!("{}: 1", names.count));
    let mut text = format!(
        "{indent}it := {}{{{}}}\n{indent}if err := event.JSON(&it); err != nil {{\n{indent}\treturn err\n{indent}}}\n",
        kind.type_name,
        set.join(", ")
    );
    for (at, field) in kind.fields.iter().filter(|(_, field)| field.kind == Type::Millis) {
        let (instant, millis) = (&names.columns[*at], &names.millis[*at]);
        text += &if field.optional {
            format!(
                "{indent}if it.{millis} != nil {{\n{indent}\tinstant := time.UnixMilli(*it.{millis})\n{indent}\tit.{instant} = &instant\n{indent}}}\n"
            )
        } else {
            format!("{indent}it.{instant} = time.UnixMilli(it.{millis})\n")
        };
    }
    text + &format!("{indent}{}.Put(changes, it)\n", change(kind))
}

/// The variable of a kind's change.
fn change(kind: &Kind) -> String {
    format!("set{}", kind.type_name)
}

/// What can be null is a pointer; of JSON nil is null.
fn pointer(kind: Type, nullable: bool) -> String {
    let plain = type_of(kind);
    if nullable && kind != Type::Json { format!("*{plain}") } else { plain.to_owned() }
}

fn type_of(kind: Type) -> &'static str {
    match kind {
        Type::Boolean => "bool",
        Type::Integer | Type::Long => "int64",
        Type::Float => "float64",
        Type::Decimal => "laterna.Decimal",
        Type::Text => "string",
        Type::Timestamp | Type::Millis => "time.Time",
        Type::Date => "laterna.Date",
        Type::Uuid => "laterna.UUID",
        Type::Json => "json.RawMessage",
    }
}

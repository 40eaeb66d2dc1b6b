//! A model as source text, one small generator a language.
//!
//! A generator writes the one file of a template that says what the projection is; everything else of the project is the template's.
//! Laws: what it writes builds without a warning, passes for every event that the model was made of, and is what a person would have
//! written: it is a beginning to be changed.

mod c;
mod go;
mod javascript;
mod python;
mod rust;
mod zig;

use super::sample::Model;

/// The source of a projection in a language of plugin.toml, with the ending of its file; none where no generator knows the language.
///
/// It takes the place of the template's file with this ending that names the topic.
pub(super) fn write(language: &str, model: &Model) -> Option<(&'static str, String)> {
    match language {
        "rust" => Some(("rs", rust::write(model))),
        "javascript" => Some(("js", javascript::write(model))),
        "typescript" => Some(("ts", javascript::write(model))),
        "python" => Some(("py", python::write(model))),
        "go" | "tinygo" => Some(("go", go::write(model))),
        "c" => Some(("c", c::write(model, c::Dialect::C))),
        "cpp" => Some(("cpp", c::write(model, c::Dialect::Cpp))),
        "zig" => Some(("zig", zig::write(model))),
        _ => None,
    }
}

/// What the file says of itself, as lines without a comment's mark.
fn introduction(model: &Model) -> Vec<String> {
    let key = match &model.key {
        super::sample::Key::Place => "one row an event".to_owned(),
        super::sample::Key::Event { column } => format!("one row for each {column}"),
        super::sample::Key::Field(field) => format!("one row for each {}", field.column),
    };
    vec![
        format!("What the topic `{}` says: {key}, the last value of each field, and how many events there were.", model.topic),
        String::new(),
        "Made by `laterna new` from a sample of events. It is a beginning: change columns, types and what an event means,".to_owned(),
        "raise the revision when the meaning of rows that are already there changes.".to_owned(),
    ]
}

/// A text as a literal in double quotes, as all of these languages read it.
fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `OrderPlaced` as `_order_placed`.
fn snake(type_name: &str) -> String {
    let mut name = String::new();
    for c in type_name.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::super::super::golden::events;
    use super::super::sample::infer;
    use super::*;

    /// Fields of every type, kinds that share some of them, names that no language takes as they are.
    const KINDS: &str = r#"{"key":"o-1","value":{"type":"order.placed","orderId":"o-1","total":"12.50","n":1,"big":9007199254740993,"ratio":1.5,"paid":true,"class":"a","é \"x\"":"y","day":"2026-01-31","at":"2026-01-31T12:00:00Z","placed_at_ms":1767225600000,"id":"0196a9c1-1111-7abc-8def-0123456789ab","items":[1],"note":null}}
{"key":"o-1","value":{"type":"order.cancelled","orderId":"o-1","note":"late","n":2}}
{"key":"o-1","value":null}"#;
    const PLAIN: &str = r#"{"value":{"customer_id":7,"total":"12.50","at_ms":1767225600000}}
{"value":{"customer_id":8,"total":"1.00","at_ms":null}}"#;
    const KEYLESS: &str = r#"{"value":{"level":"info","text":"a"}}"#;

    /// What is written stands in `engine/tests/sources/`, to be looked at and tried; `LATERNA_WRITE_SOURCES=1` writes it anew.
    #[test]
    fn sources_are_those_that_were_tried() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sources");
        for language in ["rust", "javascript", "typescript", "python", "go", "c", "cpp", "zig"] {
            for (name, sample) in [("kinds", KINDS), ("plain", PLAIN), ("keyless", KEYLESS)] {
                let golden = events::read(sample, "orders").unwrap();
                let (ending, text) = write(language, &infer(name, "orders", &golden).unwrap().model).unwrap();
                let file = folder.join(format!("{name}.{ending}"));
                if std::env::var_os("LATERNA_WRITE_SOURCES").is_some() {
                    std::fs::create_dir_all(&folder).unwrap();
                    std::fs::write(&file, &text).unwrap();
                }
                let tried = std::fs::read_to_string(&file).unwrap_or_default();
                assert_eq!(text, tried, "{}: LATERNA_WRITE_SOURCES=1 writes it anew; try it then", file.display());
            }
        }
    }
}

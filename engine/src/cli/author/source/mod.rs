//! A model as source text, one small generator a language.
//!
//! A generator writes the one file of a template that says what the projection is; everything else of the project is the template's.
//! Laws: what it writes builds without a warning, passes for every event that the model was made of, and is what a person would have
//! written: it is a beginning to be changed.

mod javascript;
mod rust;

use super::sample::Model;

/// The source of a projection in a language of plugin.toml, with the ending of its file; none where no generator knows the language.
///
/// It takes the place of the template's file with this ending that names the topic.
pub(super) fn write(language: &str, model: &Model) -> Option<(&'static str, String)> {
    match language {
        "rust" => Some(("rs", rust::write(model))),
        "javascript" => Some(("js", javascript::write(model))),
        "typescript" => Some(("ts", javascript::write(model))),
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

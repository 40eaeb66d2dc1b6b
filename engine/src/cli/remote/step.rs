//! `step`: what some events would do, in the build that runs or in another one. Nothing is written.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine as _;
use hyper::Method;
use serde_json::{Value, json};

use super::answers::{Stepped, SteppedEvent};
use super::client::Body;
use super::diff::cell;
use super::words::{Place, counted, short};
use super::{Engine, Named, of_projection, wasm};
use crate::cli::terminal::one_line;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("events").required(true).args(["file", "offset"])))]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    pub(super) named: Named,
    /// Events as JSON lines: key, value, headers, timestamp
    #[arg(long, value_name = "F.jsonl", requires = "topic", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// The topic that the lines are said to come from
    #[arg(long, value_name = "TOPIC", requires = "file")]
    topic: Option<String>,
    /// Events of the log, from this one on
    #[arg(long, value_name = "TOPIC:PARTITION:OFFSET")]
    offset: Option<Place>,
    /// How many of them
    #[arg(long, value_name = "N", requires = "offset", value_parser = clap::value_parser!(u32).range(1..=100))]
    count: Option<u32>,
    /// Another build than the one that runs
    #[arg(long, value_name = "X.wasm", value_hint = clap::ValueHint::FilePath)]
    build: Option<PathBuf>,
}

/// Steps; exit code 1 where an event is at fault.
pub(super) async fn step(engine: &Engine, options: &Options) -> anyhow::Result<ExitCode> {
    let name = &options.named.projection;
    let mut body = match (&options.file, &options.offset) {
        (Some(file), _) => {
            let lines = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
            json!({ "topic": options.topic, "lines": lines })
        }
        (None, Some(Place { topic, partition, offset })) => {
            json!({ "topic": topic, "partition": partition, "offset": offset, "count": options.count.unwrap_or(1) })
        }
        (None, None) => return Err(crate::cli::Usage("say which events: --file or --offset".to_owned()).into()),
    };
    if let Some(file) = &options.build {
        body["build"] = base64::engine::general_purpose::STANDARD.encode(wasm(file)?).into();
    }
    let answer = engine.order(Method::POST, &of_projection(name, "/step"), Body::Json(body)).await?;
    let stepped: Stepped = engine.show(answer, text)?;
    let is_at_fault = stepped.events.iter().any(|event| event.fault.is_some());
    Ok(if is_at_fault { ExitCode::from(crate::cli::FAILURE) } else { ExitCode::SUCCESS })
}

fn text(stepped: &Stepped) -> String {
    let count = counted(stepped.events.len() as u64, "event");
    let head = format!("{count} through the build {}; nothing was written", short(&stepped.plugin_digest));
    [head].into_iter().chain(stepped.events.iter().map(event_text)).collect::<Vec<_>>().join("\n")
}

/// What an event does, from the engine itself.
pub(in crate::cli) fn stepped_text(event: &laterna::control::SteppedEvent) -> String {
    let laterna::control::SteppedEvent { topic, partition, offset, key, changes, rows, fault } = event.clone();
    event_text(&SteppedEvent { topic, partition, offset, key, changes, rows, fault })
}

fn event_text(event: &SteppedEvent) -> String {
    let key = event.key.as_ref().map_or(String::new(), |key| format!(" key {}", one_line(key)));
    let mut lines = vec![format!("\n{}:{}:{}{key}", event.topic, event.partition, event.offset)];
    lines.extend(event.changes.iter().map(|change| format!("  {}", change_text(change))));
    lines.extend(event.rows.iter().map(|row| format!("  {}", row_text(row))));
    if let Some(fault) = &event.fault {
        lines.push(format!("  AT FAULT: {}", one_line(fault)));
    } else if event.changes.is_empty() {
        lines.push("  no change".to_owned());
    }
    lines.join("\n")
}

fn word(value: &Value) -> String {
    one_line(value.as_str().unwrap_or("?"))
}

/// `upsert orders(id o-1): total add 5, at max 7`
fn change_text(change: &Value) -> String {
    let assigned = change["values"].as_object().into_iter().flatten().map(|(column, assigned)| {
        format!("{} {} {}", one_line(column), word(&assigned["operation"]), cell(&assigned["value"]))
    });
    let assigned = assigned.collect::<Vec<_>>().join(", ");
    let colon = if assigned.is_empty() { "" } else { ": " };
    format!("{} {}({}){colon}{assigned}", word(&change["action"]), word(&change["table"]), members(&change["key"]))
}

/// The row before and after, as far as it differs.
fn row_text(row: &Value) -> String {
    let place = format!("{}({})", word(&row["table"]), members(&row["key"]));
    match (row["before"].as_object(), row["after"].as_object()) {
        (None, _) => format!("+ {place}: {}", members(&row["after"])),
        (_, None) => format!("- {place}: {}", members(&row["before"])),
        (Some(before), Some(after)) => {
            let differing = after.iter().filter(|(column, value)| before.get(*column) != Some(value));
            let one = |(column, value): (&String, &Value)| {
                let before = before.get(column).map_or_else(|| "null".to_owned(), cell);
                format!("{} {before} → {}", one_line(column), cell(value))
            };
            format!("~ {place}: {}", differing.map(one).collect::<Vec<_>>().join(", "))
        }
    }
}

fn members(object: &Value) -> String {
    let one = |(name, value): (&String, &Value)| format!("{} {}", one_line(name), cell(value));
    object.as_object().into_iter().flatten().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_tell_changes_rows_and_faults() {
        let stepped: Stepped = serde_json::from_value(json!({
            "plugin_digest": "abcdef012345",
            "events": [
                { "topic": "orders", "partition": 0, "offset": 7, "key": "o-1", "fault": null,
                  "changes": [{ "table": "orders", "action": "upsert", "key": { "id": "o-1" }, "values": { "total": { "operation": "add", "value": 5 } } }],
                  "rows": [
                    { "table": "orders", "key": { "id": "o-1" }, "before": { "id": "o-1", "total": 1 }, "after": { "id": "o-1", "total": 6 } },
                    { "table": "orders", "key": { "id": "o-2" }, "before": null, "after": { "id": "o-2" } },
                    { "table": "orders", "key": { "id": "o-3" }, "before": { "id": "o-3" }, "after": null }] },
                { "topic": "orders", "partition": 0, "offset": 8, "key": null, "changes": [], "rows": [], "fault": "no\nJSON" },
            ],
        }))
        .unwrap();
        let lines = [
            "2 events through the build abcdef; nothing was written",
            "\norders:0:7 key o-1",
            "  upsert orders(id o-1): total add 5",
            "  ~ orders(id o-1): total 1 → 6",
            "  + orders(id o-2): id o-2",
            "  - orders(id o-3): id o-3",
            "\norders:0:8",
            "  AT FAULT: no JSON",
        ];
        assert_eq!(text(&stepped), lines.join("\n"));
    }
}

//! `ls` and `show`: how projections stand.

use std::process::ExitCode;

use super::answers::{Generation, Partition, Plugins, Projection, Projections, Rebuild, Rejected};
use super::words::{NONE, build, counted, maybe, number, percent, rate, seconds, short, spark, time};
use super::{Engine, of_projection, plugins, read};
use crate::cli::terminal::{Tone, one_line, table, toned};

const COLUMNS: [&str; 8] = ["projection", "state", "behind", "trend", "events", "rate/s", "eta", "build"];

/// `ls`: all projections, and the files that do not run.
pub(super) async fn list(engine: &Engine) -> anyhow::Result<ExitCode> {
    let answer = engine.get("/api/v1/projections").await?;
    let files: Plugins = read(engine.get("/api/v1/plugins").await?)?;
    engine.show(answer, |all: &Projections| overview(&all.projections, &files, engine.has_color))?;
    Ok(ExitCode::SUCCESS)
}

/// The table of all projections, with what is to be said of some of them below it.
pub(super) fn overview(projections: &[Projection], files: &Plugins, has_color: bool) -> String {
    if projections.is_empty() && files.rejected.is_empty() {
        return format!(
            "No projection yet. Drop a plugin in: laterna plugin add MY.wasm (or cp it to {})",
            files.plugins_dir
        );
    }
    let columns = COLUMNS.map(str::to_owned);
    let rows: Vec<Vec<String>> = projections.iter().map(row).collect();
    let text = table(&columns, &rows);
    let tones = projections.iter().map(|projection| tone(&projection.state)).collect::<Vec<_>>();
    let mut lines = vec![toned(&text, &tones, has_color)];
    let mut notes: Vec<String> = projections.iter().flat_map(notes).collect();
    let is_told =
        |file: &Rejected| projections.iter().any(|p| p.rejected.as_ref().is_some_and(|r| r.file == file.file));
    notes.extend(files.rejected.iter().filter(|file| !is_told(file)).map(refused));
    if !notes.is_empty() {
        lines.push(String::new());
        lines.append(&mut notes);
    }
    lines.join("\n")
}

fn row(projection: &Projection) -> Vec<String> {
    vec![
        projection.name.clone(),
        word(projection).to_owned(),
        seconds(projection.lag_seconds),
        spark(&projection.trend),
        maybe(projection.lag_events),
        rate(projection.rate_per_second),
        eta(projection),
        build(projection.revision, &projection.plugin_digest),
    ]
}

fn eta(projection: &Projection) -> String {
    match projection.eta_seconds {
        Some(left) if left > 0.0 => seconds(Some(left)),
        _ => NONE.to_owned(),
    }
}

/// The one word for a projection: its state, or its rebuild's where nothing worse is to be said.
fn word(projection: &Projection) -> &str {
    let quiet = matches!(projection.state.as_str(), "running" | "idle" | "catching-up");
    match &projection.rebuild {
        Some(rebuild) if quiet && rebuild.is_active() && rebuild.state == "ready" => "ready to switch",
        Some(rebuild) if quiet && rebuild.is_active() => "rebuilding",
        _ => &projection.state,
    }
}

fn tone(state: &str) -> Tone {
    match state {
        "halted" => Tone::Bad,
        "stalled" | "waiting" | "lagging" | "paused" => Tone::Warn,
        _ => Tone::Plain,
    }
}

/// What a reader must know beside the figures.
fn notes(projection: &Projection) -> Vec<String> {
    let name = &projection.name;
    let mut notes = Vec::new();
    if let Some(halt) = &projection.halt {
        notes.push(format!("{name} is halted: {}", one_line(&halt.to_string())));
    }
    if let Some(waiting) = &projection.waiting {
        notes.push(format!("{name} waits: {}", one_line(waiting)));
    }
    if let Some(reason) = projection.reason.as_ref().filter(|_| projection.desired != "running") {
        notes.push(format!("{name} is {}: {}", projection.desired, one_line(reason)));
    }
    if let Some(rejected) = &projection.rejected {
        notes.push(format!("{}; {name} goes on with {}", refused(rejected), short(&projection.plugin_digest)));
    }
    if let Some(rebuild) =
        projection.rebuild.as_ref().filter(|rebuild| rebuild.is_active() || rebuild.state == "failed")
    {
        notes.push(progress(rebuild));
    }
    if let Some(plan) = projection.plan.as_ref().filter(|plan| plan.held) {
        notes.push(format!("{name} holds a build back that needs: {} (laterna deploy {name})", plan.action));
    }
    notes
}

fn refused(rejected: &Rejected) -> String {
    format!("{} does not run ({}): {}", one_line(&rejected.file), rejected.code, one_line(&rejected.reason))
}

/// A rebuild in one line.
pub(super) fn progress(rebuild: &Rebuild) -> String {
    let state = format!(
        "rebuild {} (generation {} → {}) is {}",
        rebuild.id, rebuild.from_generation, rebuild.generation, rebuild.state
    );
    let id = &rebuild.id;
    match rebuild.state.as_str() {
        "filling" => format!("{state}: {}", figures(rebuild)),
        "ready" => format!("{state}: laterna diff {id}, then laterna rebuild switch {id}"),
        "failed" | "cancelled" => {
            format!("{state}: {}", one_line(rebuild.reason.as_deref().unwrap_or("no reason was given")))
        }
        "catching-up" | "switching" if rebuild.lag_events.is_some() => {
            format!("{state}: {} behind", counted(rebuild.lag_events.unwrap_or(0).unsigned_abs(), "event"))
        }
        _ => state,
    }
}

/// How far a filling rebuild is.
pub(super) fn figures(rebuild: &Rebuild) -> String {
    let mut text = format!(
        "{}, {} events left, {}/s",
        percent(rebuild.progress_ratio),
        number(rebuild.remaining_events),
        rate(rebuild.rate_per_second)
    );
    if let Some(left) = rebuild.eta_seconds.filter(|left| *left > 0.0) {
        text.push_str(&format!(", {} left", seconds(Some(left))));
    }
    if let Some(why) = rebuild.halt.as_ref().map(ToString::to_string).or(rebuild.waiting.clone()) {
        text.push_str(&format!("; it waits: {}", one_line(&why)));
    }
    text
}

/// `show`: one projection.
pub(super) async fn show(engine: &Engine, name: &str) -> anyhow::Result<ExitCode> {
    let answer = engine.get(&of_projection(name, "")).await?;
    engine.show(answer, |projection: &Projection| detail(projection, engine.has_color))?;
    Ok(ExitCode::SUCCESS)
}

fn detail(projection: &Projection, has_color: bool) -> String {
    let behind = format!("{} ({} events)", seconds(projection.lag_seconds), maybe(projection.lag_events));
    let mut lines = vec![
        format!("projection  {}", projection.name),
        format!("state       {}", word(projection)),
        format!("behind      {behind}, SLO {} s  {}", projection.slo_lag_seconds, spark(&projection.trend)),
        format!("rate        {} events/s, caught up in {}", rate(projection.rate_per_second), eta(projection)),
        format!("last event  {}", projection.last_event_at_us.map_or(NONE.to_owned(), time)),
        format!(
            "build       {} from {}, generation {}",
            build(projection.revision, &projection.plugin_digest),
            if projection.plugin_file.is_empty() { "no file" } else { &projection.plugin_file },
            projection.generation
        ),
    ];
    let notes = notes(projection);
    if !notes.is_empty() {
        lines.push(String::new());
        lines.extend(notes);
    }
    if !projection.partitions.is_empty() {
        lines.push(format!("\n{}", partitions(&projection.partitions, has_color)));
    }
    if projection.generations.len() > 1 {
        lines.push(format!("\n{}", generations(&projection.generations, has_color)));
    }
    if let Some(plan) = &projection.plan {
        lines.push(format!("\n{}", plugins::plan_text(plan)));
    }
    lines.join("\n")
}

fn partitions(partitions: &[Partition], has_color: bool) -> String {
    let columns = ["partition", "checkpoint", "end", "events", "behind", "oldest kept", "margin"].map(str::to_owned);
    let row = |partition: &Partition| {
        vec![
            format!("{}:{}", partition.topic, partition.partition),
            number(partition.next_offset),
            maybe(partition.end_offset),
            maybe(partition.lag_events),
            seconds(partition.lag_seconds),
            maybe(partition.log_start_offset),
            maybe(partition.retention_margin_events),
        ]
    };
    toned(&table(&columns, &partitions.iter().map(row).collect::<Vec<_>>()), &[], has_color)
}

fn generations(generations: &[Generation], has_color: bool) -> String {
    let columns = ["generation", "state", "build", "kept until"].map(str::to_owned);
    let row = |generation: &Generation| {
        vec![
            generation.number.to_string(),
            if is_warm(generation) { "retired, warm".into() } else { generation.state.clone() },
            build(generation.revision, &generation.plugin_digest),
            generation.collect_at_us.map_or(NONE.to_owned(), time),
        ]
    };
    toned(&table(&columns, &generations.iter().map(row).collect::<Vec<_>>()), &[], has_color)
}

/// Whether it can be rolled back to.
pub(super) fn is_warm(generation: &Generation) -> bool {
    generation.state == "retired" && generation.writable
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn projection(state: &str, rebuild: serde_json::Value) -> Projection {
        let value = json!({
            "name": "orders", "generation": 1, "revision": 2, "plugin_digest": "abcdef0123", "plugin_file": "orders.wasm",
            "state": state, "desired": "running", "lag_events": 12000, "lag_seconds": 61.0, "rate_per_second": 950.0,
            "slo_lag_seconds": 30, "eta_seconds": 12.6, "trend": [0.0, 61.0], "partitions": [], "rebuild": rebuild, "generations": [],
            "waiting": null, "halt": null,
        });
        serde_json::from_value(value).unwrap()
    }

    fn rebuild(state: &str) -> serde_json::Value {
        json!({
            "id": "orders-g2", "projection": "orders", "generation": 2, "from_generation": 1, "state": state, "switch": "manual",
            "reason": null, "progress_ratio": 0.684, "remaining_events": 3160, "rate_per_second": 2000.0, "eta_seconds": 1.6,
        })
    }

    fn files() -> Plugins {
        Plugins { plugins_dir: "plugins".into(), plugins: Vec::new(), rejected: Vec::new() }
    }

    #[test]
    fn the_overview_says_figures_in_columns_and_reasons_below() {
        let text = overview(&[projection("running", rebuild("filling"))], &files(), false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "orders      rebuilding  1 m 01 s  ▁█     12,000     950  13 s  r2 abcdef");
        assert_eq!(
            lines[4],
            "rebuild orders-g2 (generation 1 → 2) is filling: 68 %, 3,160 events left, 2,000/s, 1.6 s left"
        );
        assert!(!text.contains('\x1b'));
        let ready = overview(&[projection("idle", rebuild("ready"))], &files(), false);
        assert!(ready.contains("ready to switch") && ready.contains("laterna rebuild switch orders-g2"), "{ready}");
        assert!(overview(&[projection("halted", rebuild("ready"))], &files(), true).contains("\x1b[31morders"));
        assert!(overview(&[], &files(), false).contains("laterna plugin add"), "an empty one teaches the next command");
    }
}

//! `logs` and `audit`: what was said, and who changed what.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use clap_complete::engine::ArgValueCandidates;
use serde_json::{Map, Value};

use super::answers::{Audit, AuditEntry, LogLine, Logs};
use super::client::ClientError;
use super::words::{NONE, Since, short, time};
use super::{Engine, Show, of_projection, projections, read};
use crate::cli::terminal::{complain, one_line, say, shorten, table, toned};
use crate::peer::segment;

/// How often new lines are asked for.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);
/// What the engine gives at most.
const LINES_MAX: u32 = 1000;

#[derive(clap::Args)]
pub(in crate::cli) struct Options {
    /// The projection
    #[arg(value_name = "PROJECTION", add = ArgValueCandidates::new(projections))]
    projection: String,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// Only lines after this number, or since so long ago (-10m)
    #[arg(long, value_name = "ID|-TIME", allow_hyphen_values = true)]
    since: Option<Since>,
    /// Only lines of this level and above
    #[arg(long, value_enum, default_value_t = Level::Trace)]
    level: Level,
    /// At most so many of the last lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = LINES_MAX, value_parser = clap::value_parser!(u32).range(1..=1000))]
    lines: u32,
    #[command(flatten)]
    pub(super) show: Show,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// `logs`. With `-o json` one object a line, so that it can be followed.
pub(super) async fn logs(engine: &Engine, options: &Options) -> anyhow::Result<ExitCode> {
    let name = &options.projection;
    let (after, from_us) = match options.since {
        Some(Since::Line(id)) => (id, i64::MIN),
        Some(Since::Ago(ago)) => (0, now_us().saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX))),
        None => (0, i64::MIN),
    };
    let is_wanted = |line: &LogLine| line.at_us >= from_us && level(&line.level) >= options.level;
    let lines = ask(engine, name, after).await?;
    let wanted: Vec<&LogLine> = lines.iter().filter(|line| is_wanted(line)).collect();
    let skipped = wanted.len().saturating_sub(options.lines as usize);
    wanted[skipped..].iter().try_for_each(|line| print(engine, line))?;
    if !options.follow {
        return Ok(ExitCode::SUCCESS);
    }
    let mut last = lines.last().cloned();
    let mut is_away = false;
    loop {
        tokio::time::sleep(FOLLOW_PAUSE).await;
        match newer(engine, name, last.as_ref(), after).await {
            Ok(lines) => {
                is_away = false;
                lines.iter().filter(|line| is_wanted(line)).try_for_each(|line| print(engine, line))?;
                last = lines.last().cloned().or(last);
            }
            // It may be restarting: said once.
            Err(error) if error.is_unreachable() => {
                if !is_away {
                    complain(&error.to_string());
                }
                is_away = true;
            }
            Err(error) if error.is("starting") || error.is("projection_unknown") && is_away => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn ask(engine: &Engine, name: &str, after: u64) -> Result<Vec<LogLine>, ClientError> {
    let answer = engine.get(&of_projection(name, &format!("/logs?after={after}&limit={LINES_MAX}"))).await?;
    Ok(read::<Logs>(answer).map(|logs| logs.lines).unwrap_or_default())
}

/// The lines after `last`. Numbers begin anew with the engine, so the last line is asked for again: where it is not there any more, they do.
async fn newer(engine: &Engine, name: &str, last: Option<&LogLine>, after: u64) -> Result<Vec<LogLine>, ClientError> {
    let Some(last) = last else { return ask(engine, name, after).await };
    let lines = ask(engine, name, last.id.saturating_sub(1)).await?;
    if lines.first().is_some_and(|first| is_same(first, last)) {
        return Ok(lines.into_iter().skip(1).collect());
    }
    let lines = ask(engine, name, 0).await?;
    Ok(lines.into_iter().filter(|line| line.at_us > last.at_us).collect())
}

fn is_same(line: &LogLine, other: &LogLine) -> bool {
    line.id == other.id && line.at_us == other.at_us
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// An unknown word is shown always.
fn level(name: &str) -> Level {
    Level::from_str(name, true).unwrap_or(Level::Error)
}

fn print(engine: &Engine, line: &LogLine) -> anyhow::Result<()> {
    if engine.is_json() {
        say(&serde_json::to_string(line)?);
        return Ok(());
    }
    let level = format!("{:<5}", line.level.to_uppercase());
    let level = match line.level.as_str() {
        "error" if engine.has_color => format!("\x1b[31m{level}\x1b[0m"),
        "warn" if engine.has_color => format!("\x1b[33m{level}\x1b[0m"),
        _ => level,
    };
    say(&format!("{}  {level}  {:<6}  {}", time(line.at_us), line.origin, one_line(&line.message)));
    Ok(())
}

#[derive(clap::Args)]
pub(in crate::cli) struct AuditOptions {
    /// Only of this projection
    #[arg(value_name = "PROJECTION", add = ArgValueCandidates::new(projections))]
    projection: Option<String>,
    /// At most so many entries
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    lines: u32,
    #[command(flatten)]
    pub(super) show: Show,
}

/// `audit`, newest first.
pub(super) async fn audit(engine: &Engine, options: &AuditOptions) -> anyhow::Result<ExitCode> {
    let of = options.projection.as_ref().map_or(String::new(), |name| format!("&projection={}", segment(name)));
    let answer = engine.get(&format!("/api/v1/audit?limit={}{of}", options.lines)).await?;
    engine.show(answer, |audit: &Audit| audit_text(audit, engine.has_color))?;
    Ok(ExitCode::SUCCESS)
}

fn audit_text(audit: &Audit, has_color: bool) -> String {
    if audit.entries.is_empty() {
        return "nothing was changed yet".to_owned();
    }
    let columns = ["time", "who", "from", "projection", "action", "build", "change"].map(str::to_owned);
    let row = |entry: &AuditEntry| {
        vec![
            time(entry.at_us),
            entry.actor.name.clone(),
            if entry.actor.source.is_empty() { NONE.to_owned() } else { entry.actor.source.clone() },
            entry.projection.clone(),
            entry.action.clone(),
            entry.plugin_digest.as_deref().map_or(NONE, short).to_owned(),
            change(&entry.before, &entry.after),
        ]
    };
    toned(&table(&columns, &audit.entries.iter().map(row).collect::<Vec<_>>()), &[], has_color)
}

/// The plain members that differ: `desired running → paused`.
fn change(before: &Value, after: &Value) -> String {
    let none = Map::new();
    let (before, after) = (before.as_object().unwrap_or(&none), after.as_object().unwrap_or(&none));
    let is_plain = |value: Option<&Value>| value.is_none_or(|value| !value.is_object() && !value.is_array());
    let plain = |value: Option<&Value>| match value {
        None | Some(Value::Null) => NONE.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let differing = names.filter_map(|name| {
        let (old, new) = (before.get(name), after.get(name));
        let is_told = is_plain(old) && is_plain(new) && plain(old) != plain(new) && !name.contains("digest");
        is_told.then(|| format!("{name} {} → {}", plain(old), plain(new)))
    });
    shorten(&differing.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn levels_are_ordered_and_unknown_ones_are_shown() {
        assert!(level("info") < level("warn") && level("warn") < level("error"));
        assert!(level("fatal") == Level::Error);
    }

    #[test]
    fn an_audit_entry_says_what_differs() {
        let text =
            change(&json!({ "desired": "running", "a": 1 }), &json!({ "desired": "paused", "a": 1, "new": true }));
        assert_eq!(text, "desired running → paused, new – → true");
        assert_eq!(change(&Value::Null, &Value::Null), "");
    }
}

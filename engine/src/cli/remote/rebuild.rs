//! `rebuild`: the next generation fills beside the live one. It is told what that means before it begins, and can be watched to its end.
//!
//! Invariant: a watch ends only with the rebuild's end or where a person must decide, and its exit code says which: 0 switched or ready to be,
//! 1 failed or cancelled.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCandidates;
use hyper::Method;
use serde_json::{Value, json};

use super::answers::{Accepted, Forecast, Projection, Rebuild};
use super::client::{Body, ClientError};
use super::words::{NONE, bar, counted, number, percent, rate, seconds, short};
use super::{Engine, Named, Output, Show, look, of_projection, operate, projections, read};
use crate::cli::terminal::{complain, end_line, json, one_line, redraw_line, say, table};
use crate::peer::segment;

/// How often a bar is drawn, and a plain line is written.
const BAR_PAUSE: Duration = Duration::from_millis(250);
const LINE_PAUSE: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, disable_help_subcommand = true)]
pub(in crate::cli) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// The projection
    #[arg(value_name = "PROJECTION", required = true, add = ArgValueCandidates::new(projections))]
    projection: Option<String>,
    /// Tell what it would be, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Who makes the new generation the live one; as the engine's configuration says, if not said
    #[arg(long, value_enum)]
    switch: Option<Switch>,
    /// By the build in plugins/ whose rebuild is held back, not by the one that runs
    #[arg(long)]
    held: bool,
    /// Events per second at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_rate: Option<u32>,
    /// Also where the log no longer begins where the projection began
    #[arg(long)]
    force: bool,
    /// Watch it to its end
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    show: Show,
}

impl Options {
    pub(super) fn output(&self) -> Output {
        match &self.command {
            Some(Command::Switch(which) | Command::Cancel(which) | Command::Watch(which)) => which.show.output,
            Some(Command::Rollback(named)) => named.show.output,
            None => self.show.output,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// The engine, as soon as it has caught up
    Auto,
    /// A person, with `rebuild switch`
    Manual,
}

#[derive(Subcommand)]
enum Command {
    /// Make a rebuilt generation the live one
    Switch(Which),
    /// Call a rebuild off
    Cancel(Which),
    /// Watch a rebuild to its end
    Watch(Which),
    /// Make the generation that was live before the live one again
    Rollback(Named),
}

#[derive(clap::Args)]
struct Which {
    /// The rebuild, or the projection that is being rebuilt
    #[arg(value_name = "REBUILD|PROJECTION", add = ArgValueCandidates::new(projections))]
    which: String,
    #[command(flatten)]
    show: Show,
}

/// Does what is asked for.
pub(super) async fn run(engine: &Engine, options: Options) -> anyhow::Result<ExitCode> {
    match (options.command.as_ref(), options.projection.as_deref()) {
        (Some(Command::Switch(which)), _) => switch(engine, &which.which).await,
        (Some(Command::Cancel(which)), _) => cancel(engine, &which.which).await,
        (Some(Command::Watch(which)), _) => {
            let rebuild: Rebuild = read(find(engine, &which.which).await?)?;
            watch(engine, &rebuild.id).await
        }
        (Some(Command::Rollback(named)), _) => operate::rollback(engine, &named.projection).await,
        (None, Some(name)) => begin(engine, name, &options).await,
        (None, None) => Err(crate::cli::Usage("which projection? laterna rebuild PROJECTION".to_owned()).into()),
    }
}

async fn begin(engine: &Engine, name: &str, options: &Options) -> anyhow::Result<ExitCode> {
    let path = of_projection(name, "/rebuilds");
    let build = if options.held { "held" } else { "live" };
    let answer = engine.order(Method::POST, &path, Body::Json(json!({ "dry_run": true, "build": build }))).await?;
    if options.dry_run {
        engine.show(answer, forecast_text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let forecast: Forecast = read(answer)?;
    engine.tell(&forecast_text(&forecast));
    if let Some(refusal) = forecast.refusal.as_ref().filter(|_| !options.force) {
        let detail = format!("{refusal} (--force)");
        return Err(ClientError::Refused { code: "log_begins_later".into(), detail }.into());
    }
    engine.consent.ask(&format!("Rebuild {name}?"))?;
    let mut body = json!({ "force": options.force, "build": build });
    if let Some(switch) = options.switch {
        body["switch"] = json!(if switch == Switch::Auto { "auto" } else { "manual" });
    }
    if let Some(max_rate) = options.max_rate {
        body["max_rate"] = json!(max_rate);
    }
    let answer = engine.order(Method::POST, &path, Body::Json(body)).await?;
    if options.watch {
        let begun: Rebuild = read(answer)?;
        return watch(engine, &begun.id).await;
    }
    engine.show(answer, |begun: &Rebuild| {
        let end = if begun.switch == "auto" { "it is switched to by itself" } else { "it is switched to by hand" };
        format!("{} has begun, and {end}: laterna rebuild watch {}", begun.id, begun.id)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn forecast_text(forecast: &Forecast) -> String {
    let events = counted(forecast.events.max(0).unsigned_abs(), "event");
    let time = match forecast.seconds {
        Some(_) => format!("about {} at the highest rate seen", seconds(forecast.seconds)),
        None => "for a time that is not known: no rate was seen yet".to_owned(),
    };
    let columns = ["partition", "began", "log start", "log end"].map(str::to_owned);
    let row = |partition: &super::answers::ForecastPartition| {
        vec![
            format!("{}:{}", partition.topic, partition.partition),
            partition.began.map_or(NONE.to_owned(), number),
            number(partition.log_start),
            number(partition.log_end),
        ]
    };
    let which = if forecast.plugin_digest == forecast.running_digest {
        "the build that runs".to_owned()
    } else {
        format!("a build that is held back ({} runs)", short(&forecast.running_digest))
    };
    let mut lines = vec![
        format!("{}: {events}, {time}, by {}, {which}", forecast.projection, short(&forecast.plugin_digest)),
        format!("fills anew, beside the live ones: {}", forecast.tables.join(", ")),
        String::new(),
        table(&columns, &forecast.partitions.iter().map(row).collect::<Vec<_>>()),
        String::new(),
    ];
    lines.extend(forecast.refusal.as_ref().map(|refusal| format!("refused without --force: {}\n", one_line(refusal))));
    lines.join("\n")
}

/// A rebuild by its identity, or the one that a projection is in.
pub(super) async fn find(engine: &Engine, which: &str) -> anyhow::Result<Value> {
    match engine.get(&of_rebuild(which, "")).await {
        Err(error) if error.is("rebuild_unknown") => {}
        answer => return Ok(answer?),
    }
    let answer = match engine.get(&of_projection(which, "")).await {
        Err(error) if error.is("projection_unknown") => {
            let detail = format!("{which:?} is neither a rebuild nor a projection; laterna ls lists them");
            return Err(ClientError::Refused { code: "rebuild_unknown".into(), detail }.into());
        }
        answer => answer?,
    };
    let rebuild = answer["rebuild"].clone();
    let projection: Projection = read(answer)?;
    if projection.rebuild.is_some_and(|rebuild| rebuild.is_active()) {
        return Ok(rebuild);
    }
    let detail = format!("no rebuild of {which} is under way; begin one: laterna rebuild {which}");
    Err(ClientError::Refused { code: "rebuild_unknown".into(), detail }.into())
}

/// The path of a rebuild's resource.
pub(super) fn of_rebuild(id: &str, resource: &str) -> String {
    format!("/api/v1/rebuilds/{}{resource}", segment(id))
}

async fn switch(engine: &Engine, which: &str) -> anyhow::Result<ExitCode> {
    let rebuild: Rebuild = read(find(engine, which).await?)?;
    let answer = engine.order(Method::POST, &of_rebuild(&rebuild.id, "/switch"), Body::None).await?;
    let words = |accepted: &Accepted| {
        let already = if accepted.changed { "" } else { " already" };
        format!(
            "{} becomes the live one{already} as soon as it is level; the former one is kept: laterna rollback {}",
            rebuild.id, rebuild.projection
        )
    };
    engine.show(answer, words)?;
    Ok(ExitCode::SUCCESS)
}

async fn cancel(engine: &Engine, which: &str) -> anyhow::Result<ExitCode> {
    let rebuild: Rebuild = read(find(engine, which).await?)?;
    if rebuild.is_active() {
        engine.tell(&format!(
            "{}; it is called off and the tables of generation {} are dropped. Readers have never seen them.",
            look::progress(&rebuild),
            rebuild.generation
        ));
        engine.consent.ask(&format!("Cancel {}?", rebuild.id))?;
    }
    let answer = engine.order(Method::DELETE, &of_rebuild(&rebuild.id, ""), Body::None).await?;
    operate::done(
        engine,
        answer,
        &format!("{} is cancelled", rebuild.id),
        &format!("{} was cancelled already", rebuild.id),
    )
}

/// Shows a rebuild until it has ended or waits for a person.
async fn watch(engine: &Engine, id: &str) -> anyhow::Result<ExitCode> {
    let is_bar = !engine.is_json() && std::io::stdout().is_terminal();
    if is_bar {
        say("Ctrl-C leaves it running.");
    }
    let mut told: Option<(String, Instant)> = None;
    loop {
        let seen = engine.get(&of_rebuild(id, "")).await;
        let answer = match seen {
            Ok(answer) => answer,
            // The engine restarts, say: the rebuild is remembered and goes on.
            Err(error) if told.is_some() && (error.is("starting") || error.is_unreachable()) => {
                if is_bar {
                    redraw_line(&one_line(&error.to_string()));
                } else {
                    complain(&error.to_string());
                }
                tokio::time::sleep(LINE_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let rebuild: Rebuild = read(answer.clone())?;
        let end = match rebuild.state.as_str() {
            "switched" | "ready" => Some(ExitCode::SUCCESS),
            "failed" | "cancelled" => Some(ExitCode::from(crate::cli::FAILURE)),
            _ => None,
        };
        let is_due = end.is_some() || is_news(told.as_ref(), &rebuild.state);
        if is_due {
            told = Some((rebuild.state.clone(), Instant::now()));
        }
        match (is_bar, is_due) {
            (true, _) => redraw_line(&bar_text(&rebuild)),
            (false, true) => engine.tell(&look::progress(&rebuild)),
            (false, false) => {}
        }
        if let Some(code) = end {
            if is_bar {
                end_line();
                say(&look::progress(&rebuild));
            }
            if engine.is_json() {
                say(&json(&answer));
            }
            return Ok(code);
        }
        tokio::time::sleep(BAR_PAUSE).await;
    }
}

/// Whether a plain line is due: the state is another one, or some time has gone.
fn is_news(told: Option<&(String, Instant)>, state: &str) -> bool {
    told.is_none_or(|(before, at)| before != state || at.elapsed() >= LINE_PAUSE)
}

fn bar_text(rebuild: &Rebuild) -> String {
    let left = rebuild.eta_seconds.filter(|left| *left > 0.0).map(|left| format!("  {} left", seconds(Some(left))));
    let ratio = rebuild.progress_ratio;
    format!(
        "{}  {}  {} {:>5}  {}/s{}",
        rebuild.id,
        rebuild.state,
        bar(ratio),
        percent(ratio),
        rate(rebuild.rate_per_second),
        left.unwrap_or_default()
    )
}

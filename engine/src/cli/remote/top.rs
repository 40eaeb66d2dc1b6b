//! `top`: the table of `ls`, live; without a terminal, plain lines.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use super::answers::{Plugins, Projections};
use super::words::{duration, maybe, rate, seconds};
use super::{Engine, look, read};
use crate::cli::terminal::{clear, one_line, redraw, say};

#[derive(clap::Args)]
pub(in crate::cli) struct Options {
    /// Time between two looks
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "TIME")]
    interval: Duration,
    /// End after so many looks
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

/// Looks again and again, also while the engine is away, until a signal or the count ends it.
pub(super) async fn top(engine: &Engine, options: &Options) -> anyhow::Result<ExitCode> {
    let is_screen = std::io::stdout().is_terminal();
    if is_screen {
        clear();
    }
    let mut looks = 0;
    loop {
        let seen = look(engine).await;
        let is_away = seen.is_err();
        match (seen, is_screen) {
            (Ok((projections, files)), true) => {
                let table = look::overview(&projections.projections, &files, engine.has_color);
                redraw(&format!("{}   every {:?}, Ctrl-C ends\n\n{table}", engine.client.url(), options.interval));
            }
            (Ok((projections, _)), false) => say(&line(&projections)),
            (Err(error), true) => redraw(&one_line(&format!("{error:#}"))),
            (Err(error), false) => say(&one_line(&format!("{error:#}"))),
        }
        looks += 1;
        if options.count.is_some_and(|count| looks >= count) {
            return Ok(if is_away { ExitCode::from(crate::cli::FAILURE) } else { ExitCode::SUCCESS });
        }
        tokio::time::sleep(options.interval.max(Duration::from_millis(100))).await;
    }
}

async fn look(engine: &Engine) -> anyhow::Result<(Projections, Plugins)> {
    Ok((read(engine.get("/api/v1/projections").await?)?, read(engine.get("/api/v1/plugins").await?)?))
}

fn line(all: &Projections) -> String {
    let one = |projection: &super::answers::Projection| {
        let behind = format!("{} behind, {} events", seconds(projection.lag_seconds), maybe(projection.lag_events));
        format!("{} {} ({behind}, {}/s)", projection.name, projection.state, rate(projection.rate_per_second))
    };
    match all.projections.as_slice() {
        [] => "no projection yet".to_owned(),
        projections => projections.iter().map(one).collect::<Vec<_>>().join(" · "),
    }
}

//! Orders on one projection: pause, resume, restart, deploy, rollback, drop; and the wait for one's own writes.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::Value;

use super::answers::{Accepted, Plan, Plugins, Projection, Tables, Waited};
use super::client::{Body, ClientError, LONG};
use super::words::{Place, build, duration, seconds};
use super::{Engine, Named, look, of_projection, plugins, read};
use crate::cli::terminal::complain;
use crate::peer::segment;

/// The engine waits for so long at most; a longer wait asks again.
const ONE_WAIT_MAX: Duration = Duration::from_secs(4 * 60);

/// `pause`.
pub(super) async fn pause(engine: &Engine, name: &str) -> anyhow::Result<ExitCode> {
    let answer = engine.order(Method::PUT, &of_projection(name, "/pause"), Body::None).await?;
    done(
        engine,
        answer,
        &format!("{name} takes no events until: laterna resume {name}"),
        &format!("{name} was paused already"),
    )
}

/// `resume`.
pub(super) async fn resume(engine: &Engine, name: &str) -> anyhow::Result<ExitCode> {
    let answer = engine.order(Method::PUT, &of_projection(name, "/resume"), Body::None).await?;
    done(engine, answer, &format!("{name} takes events again"), &format!("{name} was not paused"))
}

/// `restart`.
pub(super) async fn restart(engine: &Engine, name: &str) -> anyhow::Result<ExitCode> {
    let answer = engine.order(Method::POST, &of_projection(name, "/restart"), Body::None).await?;
    done(engine, answer, &format!("{name} starts anew"), &format!("{name} had nothing to start anew"))
}

/// Says what an order has come to; a repeated one changes nothing.
pub(super) fn done(engine: &Engine, answer: Value, changed: &str, unchanged: &str) -> anyhow::Result<ExitCode> {
    let words = |accepted: &Accepted| if accepted.changed { changed.to_owned() } else { unchanged.to_owned() };
    engine.show(answer, words)?;
    Ok(ExitCode::SUCCESS)
}

/// `deploy`: tells the plan that is held back, asks, and carries it out.
pub(super) async fn deploy(engine: &Engine, name: &str) -> anyhow::Result<ExitCode> {
    let plan: Plan = read(engine.get(&of_projection(name, "/plan")).await?)?;
    engine.tell(&plugins::plan_text(&plan));
    if plan.action == "nothing" {
        return Ok(ExitCode::SUCCESS);
    }
    engine.consent.ask(&format!("Carry this out on {name}?"))?;
    let answer = engine.order(Method::POST, &of_projection(name, "/deploy"), Body::None).await?;
    let words = |accepted: &Accepted| match (&accepted.rebuild, accepted.changed) {
        (Some(rebuild), true) => format!("the rebuild {rebuild} has begun: laterna rebuild watch {rebuild}"),
        (Some(rebuild), false) => {
            format!("the rebuild {rebuild} is under way already: laterna rebuild watch {rebuild}")
        }
        (None, true) => format!("{name} runs the new build: laterna show {name}"),
        (None, false) => "nothing was held back".to_owned(),
    };
    engine.show(answer, words)?;
    Ok(ExitCode::SUCCESS)
}

/// `rollback`: tells between which generations, asks, and swaps back.
pub(super) async fn rollback(engine: &Engine, name: &str) -> anyhow::Result<ExitCode> {
    let projection: Projection = read(engine.get(&of_projection(name, "")).await?)?;
    // As the engine chooses: the one that readers left last.
    let warm = projection.generations.iter().filter(|generation| look::is_warm(generation));
    let Some(warm) = warm.max_by_key(|generation| (generation.collect_at_us, generation.number)) else {
        let detail =
            format!("{name} has no former generation that is kept up to date, so there is nothing to roll back to");
        return Err(ClientError::Refused { code: "no_warm_generation".into(), detail }.into());
    };
    engine.tell(&format!(
        "{name}: readers see generation {} again ({}) instead of {} ({}); the build on disk is held back until it is deployed.",
        warm.number,
        build(warm.revision, &warm.plugin_digest),
        projection.generation,
        build(projection.revision, &projection.plugin_digest)
    ));
    engine.consent.ask(&format!("Roll {name} back?"))?;
    let answer = engine.order(Method::POST, &of_projection(name, "/rollback"), Body::None).await?;
    let words = |accepted: &Accepted| match accepted.generation {
        Some(generation) => format!("{name} is on generation {generation}"),
        None => format!("{name} is rolled back"),
    };
    engine.show(answer, words)?;
    Ok(ExitCode::SUCCESS)
}

/// `drop`: tells which tables go, asks, and removes the projection.
pub(super) async fn drop_projection(engine: &Engine, name: &str) -> anyhow::Result<ExitCode> {
    let projection: Projection = read(engine.get(&of_projection(name, "")).await?)?;
    let files: Plugins = read(engine.get("/api/v1/plugins").await?)?;
    let in_the_way =
        files.plugins.iter().find(|file| !file.file.is_empty() && file.projection.as_deref() == Some(name));
    // The engine would refuse it too, but after the question.
    if let Some(file) = in_the_way {
        let detail = format!("{0} is in plugins/ and would make {name} anew: first laterna plugin rm {0}", file.file);
        return Err(ClientError::Refused { code: "plugin_present".into(), detail }.into());
    }
    let tables: Tables = read(engine.get(&of_projection(name, "/schema")).await?)?;
    let names = tables.tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>().join(", ");
    engine.tell(&format!(
        "{name}: these tables are dropped with all their rows, in {} generation(s): {}. Its checkpoints go too; the log stays.",
        projection.generations.len(),
        if names.is_empty() { "none" } else { &names }
    ));
    engine.consent.ask(&format!("Drop {name}?"))?;
    let answer = engine.order(Method::DELETE, &of_projection(name, ""), Body::None).await?;
    done(engine, answer, &format!("{name} is dropped"), &format!("{name} was dropped already"))
}

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["caught_up", "offset"])))]
pub(in crate::cli) struct WaitOptions {
    #[command(flatten)]
    pub(super) named: Named,
    /// Until every checkpoint is where its log ends now
    #[arg(long)]
    caught_up: bool,
    /// Until this event is applied
    #[arg(long, value_name = "TOPIC:PARTITION:OFFSET")]
    offset: Option<Place>,
    /// For how long
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    timeout: Duration,
}

/// `wait`: exit code 3 where the time is up.
pub(super) async fn wait(engine: &Engine, options: &WaitOptions) -> anyhow::Result<ExitCode> {
    let name = &options.named.projection;
    let what = match &options.offset {
        Some(Place { topic, partition, offset }) => {
            format!("topic={}&partition={partition}&offset={offset}", segment(topic))
        }
        None => "caught_up".to_owned(),
    };
    let begun = Instant::now();
    loop {
        let left = options.timeout.saturating_sub(begun.elapsed());
        let path = of_projection(name, &format!("/wait?{what}&timeout={}ms", left.min(ONE_WAIT_MAX).as_millis()));
        match engine.client.ask(Method::GET, &path, Body::None, LONG).await {
            Ok(answer) => {
                let after = |waited: &Waited| format!("{name}: done after {}", seconds(Some(waited.seconds)));
                engine.show(answer, after)?;
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) if error.is("time_is_up") && begun.elapsed() >= options.timeout => {
                complain(&format!("error: after {:?} {name} is not there yet; laterna show {name}", options.timeout));
                return Ok(ExitCode::from(crate::cli::UNHEALTHY));
            }
            Err(error) if error.is("time_is_up") => {}
            Err(error) => return Err(error.into()),
        }
    }
}

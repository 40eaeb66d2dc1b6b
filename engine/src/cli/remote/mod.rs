//! Commands on a running engine, through its HTTP API and nothing else: what they may do is what the token may do.
//!
//! Invariants: with `-o json` standard output holds the engine's answer and nothing else; what destroys tells first what will happen and asks,
//! and without a terminal wants `--yes`; text from the engine is shown without control characters, because a plugin or an event may have
//! written it.

mod answers;
mod ask;
mod client;
mod diff;
mod health;
mod logs;
mod look;
mod operate;
mod plugins;
mod rebuild;
mod step;
mod top;
mod words;

pub(super) use step::stepped_text;

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::terminal::{json, say};
use super::{Global, Usage};
use crate::peer::segment;
use ask::Consent;
use client::{Body, Client, ClientError, LONG, QUICK};

const URL: &str = "http://127.0.0.1:8484";
const HEADING: &str = "Commands on a running engine";
/// A shell waits for its completions.
const COMPLETION_MAX: Duration = Duration::from_millis(400);

/// Where the engine is, who asks, and whether there is somebody to answer.
#[derive(Args)]
pub(super) struct Access {
    /// Where the engine is
    #[arg(long, global = true, env = "LATERNA_URL", default_value = URL, value_name = "URL", help_heading = HEADING)]
    url: String,
    /// The token that the engine asks for; also LATERNA_TOKEN_FILE, which names a file with it
    #[arg(long, global = true, env = "LATERNA_TOKEN", hide_env_values = true, value_name = "TOKEN", help_heading = HEADING)]
    token: Option<String>,
    /// Do what destroys without asking
    #[arg(long, global = true, help_heading = HEADING)]
    yes: bool,
    /// Never ask; what would ask fails, unless there is --yes
    #[arg(long, global = true, help_heading = HEADING)]
    no_input: bool,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Args)]
pub(super) struct Show {
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// A projection that the engine knows.
#[derive(Args)]
pub(super) struct Named {
    /// The projection
    #[arg(value_name = "PROJECTION", add = ArgValueCandidates::new(projections))]
    projection: String,
    #[command(flatten)]
    show: Show,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// List the projections: state, lag, rate, and what is wrong
    Ls {
        #[command(flatten)]
        show: Show,
    },
    /// Show one projection: partitions, generations, rebuild, plan
    Show(Named),
    /// Show the projections live
    Top(top::Options),
    /// Show a projection's log: the plugin's own lines, and what the engine did with it
    Logs(logs::Options),
    /// Show who changed what
    Audit(logs::AuditOptions),
    /// Stop taking events until `resume`
    Pause(Named),
    /// Take events again
    Resume(Named),
    /// Start a projection anew, also where it is halted
    Restart(Named),
    /// Wait until a projection has caught up or has applied an event; exit code 3 when the time is up
    Wait(operate::WaitOptions),
    /// Fill a projection's next generation beside the live one, and make it the live one
    Rebuild(rebuild::Options),
    /// Compare the live rows with the rebuilt ones, at the same checkpoints
    Diff(diff::Options),
    /// Make the generation that was live before the live one again
    Rollback(Named),
    /// Run events through a build and show what would change; nothing is written
    Step(step::Options),
    /// Tell what a build would need, table by table; nothing is stored
    Plan(plugins::PlanOptions),
    /// Carry out the plan that is held back
    Deploy(Named),
    /// The files in the engine's plugins folder
    #[command(subcommand)]
    Plugin(plugins::Command),
    /// Remove a projection with its tables
    Drop(Named),
    /// Exit code 0 where the engine is ready, 3 where it is not: for Docker's HEALTHCHECK
    Healthcheck,
}

/// A running engine, as a command sees it.
struct Engine {
    client: Client,
    consent: Consent,
    output: Output,
    has_color: bool,
}

impl Command {
    fn output(&self) -> Output {
        match self {
            Self::Ls { show } => show.output,
            Self::Show(named)
            | Self::Pause(named)
            | Self::Resume(named)
            | Self::Restart(named)
            | Self::Rollback(named)
            | Self::Deploy(named)
            | Self::Drop(named) => named.show.output,
            Self::Logs(options) => options.show.output,
            Self::Audit(options) => options.show.output,
            Self::Wait(options) => options.named.show.output,
            Self::Rebuild(options) => options.output(),
            Self::Diff(options) => options.show.output,
            Self::Step(options) => options.named.show.output,
            Self::Plan(options) => options.show.output,
            Self::Plugin(command) => command.output(),
            Self::Top(_) | Self::Healthcheck => Output::Table,
        }
    }
}

/// Does what the command says.
pub(super) async fn run(command: Command, access: &Access, global: &Global) -> anyhow::Result<ExitCode> {
    let engine = Engine {
        client: access.client()?,
        consent: Consent { yes: access.yes, no_input: access.no_input },
        output: command.output(),
        has_color: global.has_color(std::io::stdout().is_terminal()),
    };
    match command {
        Command::Ls { .. } => look::list(&engine).await,
        Command::Show(named) => look::show(&engine, &named.projection).await,
        Command::Top(options) => top::top(&engine, &options).await,
        Command::Logs(options) => logs::logs(&engine, &options).await,
        Command::Audit(options) => logs::audit(&engine, &options).await,
        Command::Pause(named) => operate::pause(&engine, &named.projection).await,
        Command::Resume(named) => operate::resume(&engine, &named.projection).await,
        Command::Restart(named) => operate::restart(&engine, &named.projection).await,
        Command::Wait(options) => operate::wait(&engine, &options).await,
        Command::Rebuild(options) => rebuild::run(&engine, options).await,
        Command::Diff(options) => diff::diff(&engine, &options).await,
        Command::Rollback(named) => operate::rollback(&engine, &named.projection).await,
        Command::Step(options) => step::step(&engine, &options).await,
        Command::Plan(options) => plugins::plan(&engine, &options.file).await,
        Command::Deploy(named) => operate::deploy(&engine, &named.projection).await,
        Command::Plugin(command) => plugins::run(&engine, command).await,
        Command::Drop(named) => operate::drop_projection(&engine, &named.projection).await,
        Command::Healthcheck => health::check(&engine).await,
    }
}

impl Access {
    fn client(&self) -> anyhow::Result<Client> {
        let url = if self.url.is_empty() { URL } else { &self.url };
        let token = match &self.token {
            Some(token) if !token.is_empty() => Some(token.clone()),
            _ => token_file()?,
        };
        Client::new(url, token).map_err(|wrong| Usage(wrong).into())
    }

    /// Whether an engine answers, in words: for `doctor`.
    pub(super) async fn answers(&self) -> anyhow::Result<Result<String, String>> {
        let client = self.client()?;
        let answer = client.ask(Method::GET, "/version", Body::None, QUICK).await;
        let version = |answer: Value| answer["version"].as_str().unwrap_or("?").to_owned();
        Ok(answer
            .map(|answer| format!("{} answers, version {}", client.url(), version(answer)))
            .map_err(|error| error.to_string()))
    }
}

fn token_file() -> anyhow::Result<Option<String>> {
    let Some(path) = std::env::var_os("LATERNA_TOKEN_FILE").filter(|path| !path.is_empty()) else { return Ok(None) };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Usage(format!("LATERNA_TOKEN_FILE {} cannot be read: {error}", Path::new(&path).display())))?;
    Ok(Some(text.trim().to_owned()))
}

impl Engine {
    fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// A `GET`.
    async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.client.ask(Method::GET, path, Body::None, QUICK).await
    }

    /// An order; it may wait for readers or for builds.
    async fn order(&self, method: Method, path: &str, body: Body) -> Result<Value, ClientError> {
        self.client.ask(method, path, body, LONG).await
    }

    /// Shows an answer: as it came, or in words.
    fn show<T: DeserializeOwned>(&self, answer: Value, words: impl FnOnce(&T) -> String) -> anyhow::Result<T> {
        if self.is_json() {
            say(&json(&answer));
            return read(answer);
        }
        let read = read(answer)?;
        say(words(&read).trim_end());
        Ok(read)
    }

    /// A line of progress or explanation: never between the answer's lines.
    fn tell(&self, text: &str) {
        if self.is_json() { super::terminal::complain(text) } else { say(text) }
    }
}

/// An answer's members.
fn read<T: DeserializeOwned>(answer: Value) -> anyhow::Result<T> {
    serde_json::from_value(answer)
        .context("the engine's answer is not understood; is it of another version than this command?")
}

/// The path of a projection's resource.
fn of_projection(name: &str, resource: &str) -> String {
    format!("/api/v1/projections/{}{resource}", segment(name))
}

/// A plugin's bytes.
fn wasm(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// A file's name, where it is text.
fn file_name(path: &Path) -> anyhow::Result<String> {
    let name = path.file_name().and_then(OsStr::to_str).map(str::to_owned);
    name.with_context(|| format!("{} has no name that an engine could take", path.display()))
}

/// The names of the engine's projections, for the shell; none where it does not answer at once.
fn projections() -> Vec<CompletionCandidate> {
    let names = async {
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let token = variable("LATERNA_TOKEN").or_else(|| token_file().ok()?);
        let client = Client::new(&variable("LATERNA_URL").unwrap_or(URL.to_owned()), token).ok()?;
        let answer = client.ask(Method::GET, "/api/v1/projections", Body::None, COMPLETION_MAX).await.ok()?;
        let all: answers::Projections = read(answer).ok()?;
        Some(all.projections.into_iter().map(|projection| CompletionCandidate::new(projection.name)).collect())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let names: Option<Vec<CompletionCandidate>> = runtime.ok().and_then(|runtime| runtime.block_on(names));
    names.unwrap_or_default()
}

//! The command line: arguments, logging, exit codes. The only place with `anyhow`.
//!
//! Exit codes: 0 well, 1 failure, 2 usage or configuration, 3 unhealthy (what was asked for was looked at and is not well).

mod author;
mod check;
mod demo;
mod doctor;
mod golden;
mod inspect;
mod remote;
mod run;
mod terminal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::CompleteEnv;
use futures_util::FutureExt as _;
use laterna::config::{self, Config, ConfigError, ConfigFile, Inputs, Loaded};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use terminal::say;

const FAILURE: u8 = 1;
const USAGE: u8 = 2;
const UNHEALTHY: u8 = 3;
/// How long threads that still work may take after a command is done.
const RUNTIME_STOP_MAX: Duration = Duration::from_millis(500);

/// A WebAssembly-pluggable projection engine: events in, exactly-once SQL read models out.
#[derive(Parser)]
#[command(name = "laterna", version, long_version = long_version(), arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Global {
    /// Configuration file; without it `laterna.toml` in the working directory, if there is one
    #[arg(short, long, global = true, env = "LATERNA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one option, as in --set kafka.bootstrap_servers=localhost:9092; repeatable
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How logs are written to standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Log more; twice for everything. RUST_LOG says it in detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Colours; NO_COLOR is honoured
    #[arg(long, global = true, value_enum, default_value_t = clap::ColorChoice::Auto)]
    color: clap::ColorChoice,
    /// How long work under way may take after the first signal; a second signal ends at once
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    graceful_shutdown_limit_secs: u64,
    #[command(flatten)]
    access: remote::Access,
}

/// The command was not given as it must be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Run every plugin in the plugins folder until a signal ends it
    Run,
    /// Watch generated events become rows: no service and no toolchain needed
    Demo(demo::Options),
    /// Make a plugin's project, from a sample of events where there is one
    New(author::new::Options),
    /// Build a project with the language's own tools, and validate the plugin as the engine would
    Build(author::project::Options),
    /// Run golden events through a plugin and compare the rows
    Test(golden::Options),
    /// Build and replay at every saved file, with rows and dashboard
    Dev(author::dev::Options),
    /// Show what is really in a topic, a line an event
    Tap(author::tap::Options),
    /// Show what a plugin is: topics, tables, limits, and whether it would run
    Inspect(inspect::Options),
    /// Validate the configuration and every plugin in the plugins folder
    Check {
        /// Also ask the database and the event source
        #[arg(long)]
        connect: bool,
    },
    /// Show what is installed and what answers, and the one line that mends each thing that does not
    Doctor,
    #[command(flatten)]
    Remote(remote::Command),
    /// The configuration itself
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write a completion script for a shell to standard output; it asks the engine for the projections' names
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Clone, Copy, Subcommand)]
enum ConfigCommand {
    /// What holds, with the origin of each value; secrets are masked
    Show,
    /// JSON Schema of the configuration file, for editors
    Schema,
}

/// The version, with the commit where the build knew it.
fn long_version() -> &'static str {
    match option_env!("LATERNA_COMMIT") {
        Some(commit) => Box::leak(format!("{} ({commit})", env!("CARGO_PKG_VERSION")).into_boxed_str()),
        None => env!("CARGO_PKG_VERSION"),
    }
}

/// Parses the arguments, does what they say, and tells how it went.
pub fn main() -> ExitCode {
    // A shell that wants completions runs us with this variable, as the script from `completions` says.
    CompleteEnv::with_factory(Cli::command).complete();
    let cli = Cli::parse();
    let outcome = dispatch(cli);
    outcome.unwrap_or_else(|error| {
        terminal::complain(&format!("error: {error:#}"));
        let is_usage = error.downcast_ref::<ConfigError>().is_some() || error.downcast_ref::<Usage>().is_some();
        ExitCode::from(if is_usage { USAGE } else { FAILURE })
    })
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { global, command } = cli;
    match command {
        Command::Config(ConfigCommand::Schema) => say(&serde_json::to_string_pretty(&config::schema())?),
        Command::Config(ConfigCommand::Show) => say(config::show(&global.load()?).trim_end()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            let shells = clap_complete::env::Shells::builtins();
            let completer = shells.completer(&shell.to_string()).context("no completions for this shell")?;
            completer.write_registration("COMPLETE", "laterna", "laterna", "laterna", &mut script)?;
            say(String::from_utf8_lossy(&script).trim_end());
        }
        Command::Run => {
            global.start_logging(None)?;
            let loaded = global.load()?;
            return block_on(run::run(loaded, global.shutdown_limit()));
        }
        Command::Demo(options) => return demo::demo(&global, options),
        Command::Test(options) => {
            global.start_author_logging()?;
            return block_on(golden::test(options));
        }
        Command::New(options) => {
            global.start_author_logging()?;
            return block_on(author::new::new(&global, options));
        }
        Command::Build(options) => {
            global.start_author_logging()?;
            return block_on(author::project::build(options));
        }
        Command::Dev(options) => {
            global.start_author_logging()?;
            return block_on(author::dev::dev(&global, options));
        }
        Command::Tap(options) => {
            global.start_author_logging()?;
            return block_on(author::tap::tap(&global, options));
        }
        Command::Inspect(options) => {
            global.start_logging(None)?;
            return block_on(inspect::inspect(options));
        }
        Command::Check { connect } => {
            global.start_logging(None)?;
            let loaded = global.load()?;
            return block_on(check::check(loaded, connect));
        }
        Command::Doctor => {
            global.start_logging(None)?;
            return block_on(doctor::doctor(&global));
        }
        Command::Remote(command) => return block_on(remote::run(command, &global.access, &global)),
    }
    Ok(ExitCode::SUCCESS)
}

fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime could not be started")?;
    // Boxed, so that the runtime is compiled once and not for each command.
    let outcome = runtime.block_on(work.boxed_local());
    runtime.shutdown_timeout(RUNTIME_STOP_MAX);
    outcome
}

/// A folder of our own that goes away with it.
struct Temporary(PathBuf);

impl Temporary {
    fn create(purpose: &str) -> anyhow::Result<Self> {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        let dir = std::env::temp_dir().join(format!("laterna-{purpose}-{}-{nanos}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| format!("the folder {} could not be made", dir.display()))?;
        Ok(Self(dir))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

impl Global {
    fn load(&self) -> Result<Loaded, ConfigError> {
        let file = self.config.clone().map_or(ConfigFile::IfPresent, ConfigFile::Named);
        let variables = std::env::vars_os();
        let environment: BTreeMap<String, String> =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
        Config::load(&Inputs { file, environment, overrides: self.set.clone() })
    }

    fn shutdown_limit(&self) -> Duration {
        Duration::from_secs(self.graceful_shutdown_limit_secs)
    }

    fn has_color(&self, is_terminal: bool) -> bool {
        match self.color {
            clap::ColorChoice::Always => true,
            clap::ColorChoice::Never => false,
            clap::ColorChoice::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// For commands that say themselves what an author wants to know: of the engine nothing, of plugins what they log.
    fn start_author_logging(&self) -> anyhow::Result<()> {
        let is_asked_for = self.verbose > 0 || self.quiet || std::env::var_os("RUST_LOG").is_some();
        self.start_logging_at(None, if is_asked_for { None } else { Some("off,plugin=info") })
    }

    /// Logs go to standard error, or to `file` where the terminal is needed for something else.
    fn start_logging(&self, file: Option<std::fs::File>) -> anyhow::Result<()> {
        self.start_logging_at(file, None)
    }

    fn start_logging_at(&self, file: Option<std::fs::File>, level: Option<&'static str>) -> anyhow::Result<()> {
        use std::io::IsTerminal;
        let level = match (self.quiet, self.verbose) {
            _ if level.is_some() => level.unwrap_or_default(),
            (true, _) => "error",
            // PostgreSQL's notices come through sqlx ("view does not exist, skipping"), a watch of a folder that is gone through notify.
            (false, 0) => "info,notify=warn,sqlx=warn",
            (false, 1) => "info,notify=warn,sqlx=warn,laterna=debug",
            (false, _) => "debug,laterna=trace",
        };
        let filter = match std::env::var("RUST_LOG") {
            Ok(text) if !text.is_empty() => {
                text.parse::<Targets>().with_context(|| format!("RUST_LOG {text:?} is no log filter"))?
            }
            _ => level.parse::<Targets>()?,
        };
        let has_color = file.is_none() && self.has_color(std::io::stderr().is_terminal());
        let writer = match file {
            Some(file) => tracing_subscriber::fmt::writer::BoxMakeWriter::new(std::sync::Mutex::new(file)),
            None => tracing_subscriber::fmt::writer::BoxMakeWriter::new(std::io::stderr),
        };
        let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(has_color).with_target(false);
        let registry = tracing_subscriber::registry().with(filter);
        match self.log_format {
            LogFormat::Text => registry.with(lines).try_init(),
            LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        }
        .map_err(|error| anyhow::anyhow!("logging could not be started: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}

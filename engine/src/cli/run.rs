//! `laterna run`: the engine and its HTTP face, from the first line to the last signal.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt as _;
use laterna::config::{Config, Loaded, SourceKind, TokenRole, masked_url};
use laterna::control::{Control, ReadyCheck};
use laterna::http::{self, Granularity, MetricsSettings, Role, Server, Settings, Token};
use laterna::trace::{Destination, NotTraced, Tracer};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long requests under way may take at the end.
const HTTP_STOP_MAX: Duration = Duration::from_millis(500);
/// How long spans that are still here may take to be sent at the end.
const TRACES_STOP_MAX: Duration = Duration::from_secs(1);
/// The engine bounds its own end; this is for the case that it does not.
const STOP_MARGIN: Duration = Duration::from_secs(1);
const READINESS_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until a signal.
pub(super) async fn run(loaded: Loaded, limit: Duration) -> anyhow::Result<ExitCode> {
    let config = loaded.config;
    let mut signals = Signals::new()?;
    let listener = http::bind(config.http.listen).await.with_context(|| {
        format!(
            "http.listen {} could not be opened; end what listens there, or choose another port with --set http.listen=127.0.0.1:8485",
            config.http.listen
        )
    })?;
    let server = Server::start(listener, http_settings(&config))?;
    introduce(&config, loaded.file.as_deref(), &server);
    let tracer = tracer(&config);
    // In a task of its own: a signal must not drop it halfway through a statement.
    let starting = tokio::spawn(Control::start(config, tracer.clone()).boxed());
    let control = tokio::select! {
        control = starting => control.context("the engine stopped while it started")?.map_err(anyhow::Error::new)?,
        () = signals.next() => {
            tracing::info!("ended by a signal before it had started");
            return Ok(ExitCode::SUCCESS);
        }
    };
    server.show(control.clone());
    let readiness = tokio::spawn(tell_readiness(control.clone()).boxed());
    signals.next().await;
    readiness.abort();
    tracing::info!(
        limit_seconds = limit.as_secs(),
        "stopping: finishing what is under way; a second signal ends at once"
    );
    let in_order = stop(control, &mut signals, limit).await;
    let spans_sent = async {
        if let Some(tracer) = tracer {
            // Not waited for after a second signal.
            tracer.shutdown(if in_order { TRACES_STOP_MAX } else { Duration::ZERO }).await;
        }
    };
    if !in_order {
        spans_sent.await;
        return Ok(ExitCode::from(super::FAILURE));
    }
    tokio::join!(server.shutdown(HTTP_STOP_MAX), spans_sent);
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Ends the engine; false where a second signal came first.
pub(super) async fn stop(control: Control, signals: &mut Signals, limit: Duration) -> bool {
    let stopping = tokio::spawn(async move { control.shutdown(limit).await }.boxed());
    tokio::select! {
        ended = stopping => {
            if let Err(error) = ended {
                tracing::error!(%error, "the engine did not end in order");
            }
            true
        }
        () = tokio::time::sleep(limit + STOP_MARGIN) => {
            tracing::warn!("the engine did not end in time; what was not committed is taken up again at the next start");
            true
        }
        () = signals.next() => {
            tracing::warn!("ended by a second signal; what was not committed is taken up again at the next start");
            false
        }
    }
}

/// SIGINT and SIGTERM.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals could not be listened to");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next one. Cancel safe.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What the HTTP face must know of the configuration.
pub(super) fn http_settings(config: &Config) -> Settings {
    let tokens = config.http.tokens.iter().map(|token| Token {
        name: token.name.clone(),
        role: match token.role {
            TokenRole::Viewer => Role::Viewer,
            TokenRole::Operator => Role::Operator,
        },
        digest: token.digest,
    });
    Settings {
        tokens: tokens.collect(),
        allowed_hosts: config.http.allowed_hosts.clone(),
        metrics: MetricsSettings {
            granularity: if config.metrics.by_partition { Granularity::Partition } else { Granularity::Projection },
            kafka_lag_exporter_compat: config.metrics.kafka_lag_exporter_compat,
            group_prefix: config.kafka.group_prefix.clone(),
        },
        plugins_dir: config.plugins_dir.clone(),
        starting: format!("waiting for the database {}", masked_url(config.database.url.expose())),
    }
}

/// Traces, where the standard variables ask for them. What is wrong with these stops nothing else.
fn tracer(config: &Config) -> Option<Tracer> {
    let start = || {
        let Some(destination) = Destination::from_environment()? else { return Ok(None) };
        tracing::info!("traces: spans of commits go to {destination}");
        Tracer::new(destination, (config.source == SourceKind::Kafka).then_some("kafka")).map(Some)
    };
    start().unwrap_or_else(|refused: NotTraced| {
        tracing::error!("no traces are sent: {refused}");
        None
    })
}

fn introduce(config: &Config, file: Option<&std::path::Path>, server: &Server) {
    let source = match config.source {
        SourceKind::Kafka => format!("Kafka at {}", config.kafka.bootstrap_servers),
        SourceKind::File => format!("files in {}", config.file.dir.display()),
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %file.map_or_else(|| "none, all defaults".into(), |file| file.display().to_string()),
        plugins = %config.plugins_dir.display(),
        %source,
        database = %masked_url(config.database.url.expose()),
        "laterna starts"
    );
    tracing::info!("dashboard: http://{}/ui/", server.address());
    let is_remote = !server.address().ip().is_loopback();
    if is_remote && config.http.tokens.is_empty() {
        tracing::warn!(
            "everybody who can reach {} may look at everything, table rows included; nobody may change anything (http.allow_remote without http.tokens)",
            server.address()
        );
    } else if is_remote {
        tracing::warn!(
            "tokens and answers are not encrypted on their way: put a proxy with TLS in front where the network is not yours"
        );
    }
}

/// Logs when something that readiness depends on goes away or comes back.
async fn tell_readiness(control: Control) {
    let mut known: Vec<ReadyCheck> = Vec::new();
    loop {
        let checks = control.ready();
        // While draining nobody needs to be told.
        for check in checks.iter().filter(|check| check.name != "draining") {
            let before = known.iter().find(|before| before.name == check.name);
            if before.is_some_and(|before| before.ok == check.ok) {
                continue;
            }
            match (check.ok, before) {
                (false, _) => tracing::warn!("{} is not ready: {}", check.name, check.detail),
                (true, _) => tracing::info!("{}: {}", check.name, check.detail),
            }
        }
        known = checks;
        tokio::time::sleep(READINESS_INTERVAL).await;
    }
}

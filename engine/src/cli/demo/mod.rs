//! `laterna demo`: generated events become rows, with nothing installed.
//!
//! The engine is the real one, on the file source and SQLite; only the events are made here. Everything lives in one folder.

mod generate;
mod rows;
mod show;

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use laterna::config::{Config, ConfigFile, Inputs};
use laterna::control::Control;
use laterna::http::{self, Server};
use laterna::runner::State;
use tokio::net::TcpListener;

use super::terminal::{complain, say};
use super::{Global, run};
use generate::{Appender, EPOCH_MS, ORDER_EVENTS_ONCE, PRODUCT_EVENTS_ONCE, Topic};

const PLUGINS: [(&str, &[u8]); 3] = [
    ("order_summary.wasm", include_bytes!("../../../../plugins/order_summary.wasm")),
    ("daily_sales.wasm", include_bytes!("../../../../plugins/daily_sales.wasm")),
    ("products.wasm", include_bytes!("../../../../plugins/products.wasm")),
];
const DATABASE: &str = "laterna-demo.db";
/// Steps per second in which events are written.
const TICKS_PER_SECOND: u64 = 10;
/// One product event for so many events of orders.
const ORDERS_PER_PRODUCT: u64 = 10;
/// `--once` gives up after this: the fixed set takes a second or two.
const ONCE_TIME_MAX: Duration = Duration::from_secs(120);
/// A first run finds a past of so many events over so many days, so that there is something to catch up with and to rebuild.
const PAST_ORDER_EVENTS: u64 = 20_000;
const PAST_PRODUCT_EVENTS: u64 = 2_000;
const PAST_DAYS: u64 = 7;
/// Bounds by which a rebuild takes some seconds and can be watched, and the choice that leaves the swap to a person.
const REBUILD: [&str; 3] =
    ["defaults.rebuild.switch=manual", "defaults.rebuild.max_rate=2000", "projections.products.rebuild.max_rate=250"];
const HTTP_STOP_MAX: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub(super) struct Options {
    /// Run a fixed set of events to its end, print the tables, and exit
    #[arg(long)]
    once: bool,
    /// The folder for events, plugins and the database; a second run goes on where the first one was. Default: laterna-demo (with --once a temporary one)
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Events of orders per second
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: u64,
    /// Address of the dashboard; where it is taken, a free port is chosen
    #[arg(long, default_value = "127.0.0.1:8484", value_name = "HOST:PORT")]
    listen: SocketAddr,
}

pub(super) fn demo(global: &Global, options: Options) -> anyhow::Result<ExitCode> {
    let temporary = match (&options.dir, options.once) {
        (None, true) => Some(super::Temporary::create("demo")?),
        _ => None,
    };
    let dir = match (&temporary, &options.dir) {
        (Some(temporary), _) => temporary.path().to_owned(),
        (None, Some(dir)) => dir.clone(),
        (None, None) => PathBuf::from("laterna-demo"),
    };
    let place = Place::prepare(dir)?;
    let is_screen = !options.once && std::io::stdout().is_terminal();
    // The screen is redrawn all the time: the log would be lost in it.
    let log = is_screen
        .then(|| OpenOptions::new().create(true).append(true).open(place.dir.join("laterna-demo.log")))
        .transpose()?;
    global.start_logging(log)?;
    let config = place.config(&global.set, options.listen)?;
    super::block_on(async move {
        let outcome = if options.once {
            once(&place, config).await
        } else {
            live(&place, config, &options, global, is_screen).await
        };
        drop(temporary);
        outcome
    })
}

/// Where the demo lives.
struct Place {
    dir: PathBuf,
    plugins: PathBuf,
    events: PathBuf,
    database: PathBuf,
}

impl Place {
    fn prepare(dir: PathBuf) -> anyhow::Result<Self> {
        let place =
            Self { plugins: dir.join("plugins"), events: dir.join("events"), database: dir.join(DATABASE), dir };
        for folder in [&place.plugins, &place.events] {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("the folder {} could not be made", folder.display()))?;
        }
        for (name, bytes) in PLUGINS {
            let path = place.plugins.join(name);
            // Left alone where it exists: the user may have put a build of their own there.
            if !path.exists() {
                std::fs::write(&path, bytes).with_context(|| format!("{} could not be written", path.display()))?;
            }
        }
        Ok(place)
    }

    fn config(&self, overrides: &[String], listen: SocketAddr) -> anyhow::Result<Config> {
        let text = |path: &Path| {
            path.to_str().map(str::to_owned).with_context(|| format!("the path {} is not UTF-8", path.display()))
        };
        let mut settings = vec![
            "source=file".to_owned(),
            format!("plugins_dir={}", text(&self.plugins)?),
            format!("file.dir={}", text(&self.events)?),
            format!("cache_dir={}", text(&self.dir.join("cache"))?),
            format!("database.url=sqlite://{}", text(&self.database)?),
            format!("http.listen={listen}"),
        ];
        settings.extend(REBUILD.map(str::to_owned));
        settings.extend_from_slice(overrides);
        Ok(Config::load(&Inputs { file: ConfigFile::Absent, overrides: settings, ..Inputs::default() })?.config)
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The fixed set, to its end.
async fn once(place: &Place, config: Config) -> anyhow::Result<ExitCode> {
    for (topic, events) in [(Topic::Orders, ORDER_EVENTS_ONCE), (Topic::Products, PRODUCT_EVENTS_ONCE)] {
        let mut appender = Appender::open(&place.events, topic)?;
        while appender.next() < events {
            // Ten seconds apart: the set spans a few hours, whenever it is run.
            let at_ms = EPOCH_MS + i64::try_from(appender.next()).unwrap_or(0) * 10_000;
            appender.append(at_ms)?;
        }
    }
    let limit = ONCE_TIME_MAX;
    let control = Control::start(config, None).await?;
    let caught_up = tokio::time::timeout(limit, control.caught_up()).await.is_ok();
    let (projections, rejected) = (control.projections(), control.rejected());
    control.shutdown(Duration::from_secs(8)).await;
    for file in &rejected {
        complain(&format!("{} does not run: {}", file.file, file.reason));
    }
    for halt in projections.iter().filter_map(|projection| Some((&projection.name, projection.halt.as_ref()?))) {
        complain(&format!("{} is halted: {}", halt.0, halt.1));
    }
    if !caught_up {
        bail!("the fixed set was not through after {} s: {}", limit.as_secs(), show::summary(&projections));
    }
    let is_well = rejected.is_empty()
        && !projections.is_empty()
        && projections.iter().all(|projection| projection.state != State::Halted);
    for view in rows::views(&place.database).await? {
        say(&show::view(&view));
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(super::FAILURE) })
}

/// Events flow until a signal.
async fn live(
    place: &Place,
    config: Config,
    options: &Options,
    global: &Global,
    is_screen: bool,
) -> anyhow::Result<ExitCode> {
    let mut signals = run::Signals::new()?;
    let listener = listen(config.http.listen).await?;
    let mut appenders =
        [Appender::open(&place.events, Topic::Orders)?, Appender::open(&place.events, Topic::Products)?];
    let server = Server::start(listener, run::http_settings(&config))?;
    let hints = hints(place, &server);
    if !is_screen {
        say(&hints);
    }
    write_past(&mut appenders).with_context(|| format!("events could not be written to {}", place.events.display()))?;
    let control = Control::start(config, None).await?;
    server.show(control.clone());
    let mut screen = show::Screen::new(hints, place.database.clone(), style(global, is_screen));
    let mut tick = tokio::time::interval(Duration::from_millis(1000 / TICKS_PER_SECOND));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut ticks: u64 = 0;
    let outcome = loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = signals.next() => break Ok(()),
        }
        if let Err(error) = write_events(&mut appenders, options.rate, ticks) {
            break Err(error).with_context(|| format!("events could not be written to {}", place.events.display()));
        }
        if ticks.is_multiple_of(TICKS_PER_SECOND) {
            screen.update(&control).await;
        }
        ticks += 1;
    };
    let is_stopped = run::stop(control, &mut signals, global.shutdown_limit()).await;
    server.shutdown(HTTP_STOP_MAX).await;
    outcome?;
    say(&format!("\nStopped. Run it again to go on; everything is in {}.", place.dir.display()));
    Ok(if is_stopped { ExitCode::SUCCESS } else { ExitCode::from(super::FAILURE) })
}

fn style(global: &Global, is_screen: bool) -> show::Style {
    match (is_screen, global.has_color(is_screen)) {
        (false, _) => show::Style::Lines,
        (true, false) => show::Style::Plain,
        (true, true) => show::Style::Colored,
    }
}

/// What has happened before the first run, spread over the last days.
fn write_past(appenders: &mut [Appender; 2]) -> std::io::Result<()> {
    let now = now_ms();
    for (appender, events) in appenders.iter_mut().zip([PAST_ORDER_EVENTS, PAST_PRODUCT_EVENTS]) {
        let step_ms = i64::try_from(PAST_DAYS * 86_400_000 / events).unwrap_or(0);
        // Also where a first run was ended in the middle of it.
        while appender.next() < events {
            let back = i64::try_from(events - appender.next()).unwrap_or(0);
            appender.append(now - back * step_ms)?;
        }
    }
    Ok(())
}

/// As many events as belong to this tick; over a second, exactly `rate` of orders and a tenth of it of products, at least one.
fn write_events(appenders: &mut [Appender; 2], rate: u64, tick: u64) -> std::io::Result<()> {
    let [orders, products] = appenders;
    let share = |per_second: u64| {
        let step = tick % TICKS_PER_SECOND;
        per_second * (step + 1) / TICKS_PER_SECOND - per_second * step / TICKS_PER_SECOND
    };
    let now = now_ms();
    (0..share(rate)).try_for_each(|_| orders.append(now))?;
    (0..share((rate / ORDERS_PER_PRODUCT).max(1))).try_for_each(|_| products.append(now))
}

/// Opens the address, or a free port of the same host.
pub(super) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match http::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            say(&format!("{address} is taken; choosing a free port"));
            http::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.context("no free port could be opened")
        }
        Err(error) => {
            Err(error).with_context(|| format!("{address} could not be opened; choose another one with --listen"))
        }
    }
}

fn hints(place: &Place, server: &Server) -> String {
    let address = server.address();
    let url = if address.port() == 8484 { String::new() } else { format!(" --url http://{address}") };
    [
        format!("dashboard     http://{address}/ui/"),
        "try           choose order_summary there, press Rebuild, watch the bar, look at the diff, switch".to_owned(),
        format!("the same      laterna rebuild order_summary --watch{url}, then diff, then rebuild switch"),
        format!(
            "rows          sqlite3 -readonly {} 'SELECT * FROM orders ORDER BY order_id DESC LIMIT 5'",
            place.database.display()
        ),
        format!("add a plugin  cp MY_PROJECTION.wasm {}/", place.plugins.display()),
        "stop          Ctrl-C".to_owned(),
    ]
    .join("\n")
}

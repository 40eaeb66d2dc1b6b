//! `laterna-bench`: how fast the engine is, as ratios from one run on one machine. Started by `tests/bench/run`.
//!
//! (a) the engine against a bare native loop, (b) a plugin against the same code native, (c) from produce to visible row,
//! (d) memory with ten projections, (e) cost as events, keys and projections grow tenfold. Kafka and PostgreSQL are its
//! own, started here, on the same cores. What a run leaves in the tables is compared with what the bare loop leaves.

mod bare;
mod engine;
#[path = "../languages/mod.rs"]
mod languages;
mod load;
mod process;
mod report;
mod sandbox;
mod throughput;
mod timeline;
mod visible;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bench_logic::Output;
use laterna_tests::guardian::Folder;
use laterna_tests::services::{Kafka, Postgres, create_database};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use engine::{Engine, Setup};
use load::{Form, LARGE, SMALL};
use report::{Report, number};
use sandbox::Subject;

const USAGE: &str = "usage: laterna-bench [--quick] [--only abcde] [--json FILE] [--perf DIR] [--writers N,N]
  --quick    a hundredth of the work: shows that everything runs; its figures mean nothing
  --only     some of the measures (see the first lines of tests/bench/run)
  --json     writes all figures as one object
  --perf     one more run of (a) for each workload, watched by `perf record`
  --writers  runs (a) also with these settings of database.writers
environment: LATERNA_BIN (the engine), LATERNA_GUESTS and LATERNA_EXAMPLES (folders with the plugins)";

/// What is asked for.
struct Options {
    quick: bool,
    only: String,
    json: Option<PathBuf>,
    perf: Option<PathBuf>,
    writers: Vec<usize>,
}

/// The two workloads of (a).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workload {
    /// One upserted table.
    W1,
    /// The same, and sums by day and product.
    W2,
}

impl Workload {
    fn name(self) -> &'static str {
        match self {
            Workload::W1 => "w1",
            Workload::W2 => "w2",
        }
    }

    fn of(name: &str) -> Self {
        if name == "w2" { Workload::W2 } else { Workload::W1 }
    }

    /// The plugin's logic as native code.
    fn native(self, value: &str, offset: i64, output: &mut impl Output) -> Result<(), String> {
        match self {
            Workload::W1 => bench_logic::w1(value, offset, output),
            Workload::W2 => bench_logic::w2(value, offset, output),
        }
    }
}

/// What all measures share. A service starts when a measure first asks for it: (b) needs none.
pub(crate) struct Services {
    kafka: LazyLock<Kafka>,
    postgres: LazyLock<Postgres>,
    engine: PathBuf,
    guests: PathBuf,
    examples: PathBuf,
    cache: Folder,
}

impl Services {
    /// Seconds of CPU that PostgreSQL has used so far, all its processes together.
    fn postgres_cpu(&self) -> f64 {
        process::cpu_seconds_with_children(self.postgres.pid())
    }

    fn kafka_cpu(&self) -> f64 {
        process::cpu_seconds(self.kafka.pid())
    }

    /// The address of a new, empty database, with nothing of an earlier run left to be written to disk.
    async fn database(&self) -> String {
        let name = create_database(self.postgres.port(), "bench").await;
        let url = self.postgres.url(&name);
        let mut connection = PgConnection::connect(&url).await.expect("connect");
        sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await.expect("checkpoint");
        connection.close().await.expect("close");
        url
    }

    fn guest(&self, name: &str) -> (PathBuf, String) {
        (self.guests.join(format!("{name}.wasm")), format!("{name}.wasm"))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "bare") {
        return bare::child(&arguments[1..]);
    }
    if arguments.first().is_some_and(|first| first == "languages") {
        std::process::exit(runtime().block_on(languages::main(&arguments[1..])));
    }
    if arguments.first().is_some_and(|first| first == "alone") {
        std::process::exit(runtime().block_on(sandbox::alone(&arguments[1..])));
    }
    if arguments.first().is_some_and(|first| first == "transcript") {
        std::process::exit(languages::transcript::main(&arguments[1..]));
    }
    let options = parse(&arguments).unwrap_or_else(|problem| {
        eprintln!("{problem}\n{USAGE}");
        std::process::exit(2);
    });
    runtime().block_on(run(&options));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime")
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { quick: false, only: "abcde".to_owned(), json: None, perf: None, writers: Vec::new() };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().cloned().ok_or_else(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--only" => options.only = value()?,
            "--json" => options.json = Some(value()?.into()),
            "--perf" => options.perf = Some(value()?.into()),
            "--writers" => {
                let list: Result<_, _> = value()?.split(',').map(str::parse).collect();
                options.writers = list.map_err(|error| format!("--writers: {error}"))?;
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(options)
}

async fn run(options: &Options) {
    let begin = Instant::now();
    let folder =
        |name: &str| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set\n{USAGE}")));
    let services = Services {
        engine: folder("LATERNA_BIN"),
        guests: folder("LATERNA_GUESTS"),
        examples: folder("LATERNA_EXAMPLES"),
        kafka: LazyLock::new(Kafka::start),
        postgres: LazyLock::new(Postgres::start),
        cache: Folder::new("bench-cache"),
    };
    let mut report = Report::new(options.quick);
    for measure in options.only.chars() {
        match measure {
            'a' => throughput::measure(&services, options, &mut report).await,
            'b' => sandbox_cost(&services, options, &mut report).await,
            'c' => visibility(&services, options, &mut report).await,
            'd' => memory(&services, options, &mut report).await,
            'e' => growth(&services, options, &mut report).await,
            other => panic!("no measure {other}\n{USAGE}"),
        }
    }
    println!("\n{} s in all", number(begin.elapsed().as_secs_f64()));
    report.finish(options.json.as_deref());
}

async fn sandbox_cost(services: &Services, options: &Options, report: &mut Report) {
    let rounds = if options.quick { 2 } else { 40 };
    let host = sandbox::host();
    report.title(
        "(b) plugin in the sandbox against the same code native, µs per event (lower quartile, batches of 1,000)",
    );
    report.row("", &["native".into(), "sandbox".into(), "ratio".into()]);
    for (form, key) in [(SMALL, "guest_vs_native_290b"), (LARGE, "guest_vs_native_1700b")] {
        let mut worst = 0.0_f64;
        for (name, subject, folder) in [
            ("order_summary", Subject::OrderSummary, &services.examples),
            ("bench_w2", Subject::BenchW2, &services.guests),
        ] {
            let cost = sandbox::compare(&host, &folder.join(format!("{name}.wasm")), subject, form, rounds).await;
            worst = worst.max(cost.ratio());
            let Form { bytes, items } = form;
            let row = [format!("{:.2}", cost.native), format!("{:.2}", cost.guest), format!("{:.2}", cost.ratio())];
            report.row(&format!("{name}, {bytes} B, {items} items"), &row);
            let raw = json!({ "native_us": cost.native, "guest_us": cost.guest, "ratio": cost.ratio() });
            report.raw(&format!("b_{name}_{bytes}b"), raw);
        }
        report.headline(key, worst);
    }
}

async fn visibility(services: &Services, options: &Options, report: &mut Report) {
    let (events, keys, seconds) = if options.quick { (1_000, 1_000, 2) } else { (40_000, 10_000, 10) };
    let bootstrap = services.kafka.bootstrap();
    load::fill(&bootstrap, events, keys).await;
    let url = services.database().await;
    let setup = Setup { plugins: vec![services.guest("bench_w1")], ..Setup::default() };
    let mut engine = Engine::start(services, &url, &setup).await;
    engine.run_to(services, events).await;
    let visible = visible::measure(&bootstrap, &url, seconds).await;
    engine.stop().await;
    let (p50, p99, max) = (visible.quantile(0.5), visible.quantile(0.99), visible.quantile(1.0));
    report.title(&format!("(c) from produce to visible row, ms, at {} events/s for {seconds} s", visible::RATE));
    report.row("", &["p50".into(), "p99".into(), "max".into(), "looks/s".into()]);
    let row = [format!("{p50:.1}"), format!("{p99:.1}"), format!("{max:.1}"), number(visible.looks_per_second)];
    report.row("bench_w1", &row);
    report.headline("visible_p50_ms", p50);
    report.headline("visible_p99_ms", p99);
    report.raw(
        "c",
        json!({ "max_ms": max, "looks_per_second": visible.looks_per_second, "events": visible.milliseconds.len() }),
    );
}

/// `bench_w1` under other names, as long as its own: ten projections of one code.
fn renamed(services: &Services, folder: &Folder, count: usize) -> Vec<(PathBuf, String)> {
    let (file, _) = services.guest("bench_w1");
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    (0..count)
        .map(|number| {
            let name = format!("bench_p{number}");
            // A compiler keeps eight characters as text, or as one number in the code.
            let (renamed, as_text) = replaced(&bytes, b"bench_w1", name.as_bytes());
            let constant = |name: &str| leb128(i64::from_le_bytes(name.as_bytes().try_into().expect("eight bytes")));
            let (renamed, as_number) = replaced(&renamed, &constant("bench_w1"), &constant(&name));
            assert!(as_text + as_number > 0, "{}: the projection's name is not in it", file.display());
            let path = folder.path().join(format!("{name}.wasm"));
            std::fs::write(&path, renamed).expect("write a plugin");
            (path, format!("{name}.wasm"))
        })
        .collect()
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> (Vec<u8>, usize) {
    assert_eq!(from.len(), to.len(), "nothing may move");
    let (mut bytes, mut count, mut at) = (bytes.to_vec(), 0, 0);
    while let Some(found) = bytes[at..].windows(from.len()).position(|window| window == from) {
        bytes[at + found..][..to.len()].copy_from_slice(to);
        at += found + to.len();
        count += 1;
    }
    (bytes, count)
}

/// A signed number as WebAssembly writes it.
fn leb128(mut number: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        let last = (number == 0 && byte & 0x40 == 0) || (number == -1 && byte & 0x40 != 0);
        bytes.push(if last { byte } else { byte | 0x80 });
        if last {
            return bytes;
        }
    }
}

async fn memory(services: &Services, options: &Options, report: &mut Report) {
    const PROJECTIONS: usize = 10;
    let (events, keys, live) = if options.quick { (2_000, 1_000, 2) } else { (100_000, 25_000, 10) };
    let bootstrap = services.kafka.bootstrap();
    load::fill(&bootstrap, events, keys).await;
    let url = services.database().await;
    let folder = Folder::new("bench-plugins");
    let mut plugins = renamed(services, &folder, PROJECTIONS - 1);
    plugins.push(services.guest("bench_w1"));
    let setup = Setup { plugins, ..Setup::default() };
    let mut engine = Engine::start(services, &url, &setup).await;
    engine.run_to(services, events * PROJECTIONS as u64).await;
    let peak = process::rss_peak_mib(engine.pid());
    // Caught up: what is only needed for work is given back within a few seconds, or it counts.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = process::rss_mib(engine.pid());
    let pid = engine.pid();
    let watch = tokio::spawn(async move {
        let mut highest = 0.0_f64;
        loop {
            highest = highest.max(process::rss_mib(pid));
            tokio::time::sleep(Duration::from_millis(50)).await;
            if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
                return highest;
            }
        }
    });
    let visible = visible::measure(&bootstrap, &url, live).await;
    engine.stop().await;
    let live = watch.await.expect("the watch");
    report.title("(d) resident memory of the engine with 10 projections, MiB");
    report.row("", &["idle".into(), "1,000 events/s".into(), "peak, catching up".into()]);
    report.row("10 projections", &[format!("{idle:.0}"), format!("{live:.0}"), format!("{peak:.0}")]);
    report.headline("rss_mib_10_projections", idle);
    let raw = json!({ "idle_mib": idle, "live_mib": live, "catching_up_peak_mib": peak, "live_visible_p99_ms": visible.quantile(0.99) });
    report.raw("d", raw);
}

/// One run for (e): microseconds of time and of CPU (engine, PostgreSQL) for each event and projection.
async fn cost(services: &Services, plugins: Vec<(PathBuf, String)>, events: u64) -> [f64; 3] {
    let applied = events * plugins.len() as u64;
    let url = services.database().await;
    let mut engine = Engine::start(services, &url, &Setup { plugins, ..Setup::default() }).await;
    let run = engine.run_to(services, applied).await;
    engine.stop().await;
    let (engine, postgres) = run.cpu_after_claim;
    [run.timeline.seconds() - run.claimed, engine, postgres].map(|seconds| seconds * 1e6 / applied as f64)
}

async fn growth(services: &Services, options: &Options, report: &mut Report) {
    let (events, keys) = if options.quick { (2_000, 500) } else { (40_000, 10_000) };
    let bootstrap = services.kafka.bootstrap();
    let folder = Folder::new("bench-plugins");
    let w1 = || vec![services.guest("bench_w1")];
    load::fill(&bootstrap, events, keys).await;
    let base = cost(services, w1(), events).await;
    let projections = cost(services, renamed(services, &folder, 10), events).await;
    load::fill(&bootstrap, events * 10, keys).await;
    let more_events = cost(services, w1(), events * 10).await;
    load::fill(&bootstrap, events * 10, keys * 10).await;
    let more_keys = cost(services, w1(), events * 10).await;

    report.title("(e) µs per event and projection, from the claim of the partitions on");
    report.row("", &["time".into(), "CPU engine".into(), "CPU PostgreSQL".into(), "CPU ratio".into()]);
    let (few, many) = (number(events as f64), number(events as f64 * 10.0));
    let (few_keys, many_keys) = (number(keys as f64), number(keys as f64 * 10.0));
    let rows = [
        ("base", format!("{few} events, {few_keys} keys"), base, base),
        ("projections", format!("the same, 10 projections, / {few} events"), projections, base),
        ("events", format!("{many} events, {few_keys} keys, / {few} events"), more_events, base),
        ("keys", format!("{many} events, {many_keys} keys, / {few_keys} keys"), more_keys, more_events),
    ];
    for (key, name, cost, against) in rows {
        let [time, engine, postgres] = cost;
        let ratio = (engine + postgres) / (against[1] + against[2]);
        let row = [format!("{time:.2}"), format!("{engine:.2}"), format!("{postgres:.2}"), format!("{ratio:.2}")];
        report.row(&name, &row);
        let raw = json!({ "time_us": time, "cpu_engine_us": engine, "cpu_postgres_us": postgres, "cpu_ratio": ratio,
            "time_ratio": time / against[0] });
        report.raw(&format!("e_{key}"), raw);
    }
}

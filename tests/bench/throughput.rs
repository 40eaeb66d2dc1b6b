//! (a) The engine against the bare native loop: the same topic, the same tables, fresh databases, in turns.
//!
//! Three rates are taken of each run, by one definition for both sides: *whole* from the process's start to the last
//! commit, *steady* from the first commit to the last, *2nd half* from half of the events on. The headline is the ratio of
//! the steady rates: a topic of this size is read in two seconds, of which the start (joining a group, making tables) is a
//! part that says nothing about a backlog. Each side's best is compared with the other's: the bare loop's best variant
//! in each rate against the engine as it comes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::bare::{self, VARIANTS};
use crate::engine::{Engine, Setup};
use crate::load;
use crate::report::{Report, number};
use crate::timeline::{Timeline, median};
use crate::{Options, Services, Workload};

/// A run and what it used.
struct Measured {
    timeline: Timeline,
    /// Seconds of CPU: the process itself, PostgreSQL, Kafka.
    cpu: [f64; 3],
}

type Rate = fn(&Timeline) -> f64;
const RATES: [(&str, Rate); 3] =
    [("whole", Timeline::whole), ("steady", Timeline::steady), ("second_half", Timeline::second_half)];

/// Runs by workload and by who ran.
type Runs = BTreeMap<(&'static str, String), Vec<Measured>>;

const ENGINE: &str = "engine";

/// Measures, reports, and compares the tables.
pub(crate) async fn measure(services: &Services, options: &Options, report: &mut Report) {
    let (events, keys, repetitions) = if options.quick { (4_000, 1_000, 1) } else { (400_000, 100_000, 3) };
    load::fill(&services.kafka.bootstrap(), events, keys).await;
    let mut runs = Runs::new();
    let mut rows = BTreeMap::new();
    let mut settings = vec![None];
    settings.extend(options.writers.iter().copied().map(Some));
    for _ in 0..repetitions {
        for workload in [Workload::W1, Workload::W2] {
            for variant in VARIANTS {
                let url = services.database().await;
                let before = (services.postgres_cpu(), services.kafka_cpu());
                let (timeline, cpu) = bare::run(&services.kafka.bootstrap(), &url, workload, variant, events);
                let cpu = [cpu, services.postgres_cpu() - before.0, services.kafka_cpu() - before.1];
                let name = format!("bare, {} writer(s), {}", variant.writers, number(variant.batch as f64));
                same_rows(&mut rows, workload, &url, "public", &name).await;
                runs.entry((workload.name(), name)).or_default().push(Measured { timeline, cpu });
            }
            for &writers in &settings {
                let name = writers.map_or(ENGINE.to_owned(), |writers| format!("engine, {writers} writer(s)"));
                let setup = Setup { plugins: vec![plugin(services, workload)], writers, perf: None };
                let url = services.database().await;
                let measured = engine_run(services, &url, &setup, events).await;
                same_rows(&mut rows, workload, &url, &format!("bench_{}", workload.name()), &name).await;
                runs.entry((workload.name(), name)).or_default().push(measured);
            }
        }
    }
    summarise(&runs, events, keys, report);
    if let Some(folder) = &options.perf {
        profile(services, folder, events).await;
    }
}

fn plugin(services: &Services, workload: Workload) -> (PathBuf, String) {
    services.guest(&format!("bench_{}", workload.name()))
}

async fn engine_run(services: &Services, url: &str, setup: &Setup, events: u64) -> Measured {
    let before = (services.postgres_cpu(), services.kafka_cpu());
    let mut engine = Engine::start(services, url, setup).await;
    let run = engine.run_to(services, events).await;
    let own = crate::process::cpu_seconds(engine.pid());
    let cpu = [own, services.postgres_cpu() - before.0, services.kafka_cpu() - before.1];
    engine.stop().await;
    Measured { timeline: run.timeline, cpu }
}

/// Fast and wrong is not fast: every run must leave the rows that the first one left.
async fn same_rows(
    rows: &mut BTreeMap<&'static str, Vec<String>>,
    workload: Workload,
    url: &str,
    schema: &str,
    who: &str,
) {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    let mut found = Vec::new();
    let tables: &[_] = match workload {
        Workload::W1 => &["orders"],
        Workload::W2 => &["orders", "daily_sales"],
    };
    for table in tables {
        let columns = match *table {
            "orders" => {
                "order_id, customer_id, status, item_count, total::numeric(30,2), extract(epoch FROM placed_at), last_offset"
            }
            _ => "day, sku, quantity, revenue::numeric(30,2)",
        };
        let digest = format!(
            "SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(md5(ROW({columns})::text), '' ORDER BY md5(ROW({columns})::text))), '')
             FROM {schema}.{table}"
        );
        let digest: String =
            sqlx::query_scalar(AssertSqlSafe(digest)).fetch_one(&mut connection).await.expect("digest");
        found.push(format!("{table}: {digest}"));
    }
    connection.close().await.expect("close");
    let first = rows.entry(workload.name()).or_insert_with(|| found.clone());
    assert_eq!(*first, found, "{} left other rows than the bare loop", who);
}

fn summarise(runs: &Runs, events: u64, keys: u64, report: &mut Report) {
    report.title(&format!(
        "(a) Kafka to PostgreSQL, events/s: {} order events of {} B, {} keys, {} partitions (medians)",
        number(events as f64),
        load::SMALL.bytes,
        number(keys as f64),
        load::PARTITIONS
    ));
    let titles = ["whole", "steady", "2nd half", "CPU s: itself", "PostgreSQL", "Kafka"];
    let mut headline = f64::INFINITY;
    for workload in [Workload::W1, Workload::W2] {
        report.row(&workload.name().to_uppercase(), &titles.map(str::to_owned));
        let mut best = [0.0_f64; 3];
        let mut engine = [f64::NAN; 3];
        let mut raw = serde_json::Map::new();
        for ((_, name), measured) in runs.iter().filter(|((of, _), _)| *of == workload.name()) {
            let rates = RATES.map(|(_, rate)| median(measured.iter().map(|m| rate(&m.timeline))));
            let cpu = [0, 1, 2].map(|at| median(measured.iter().map(|m| m.cpu[at])));
            if name.starts_with("bare") {
                for (best, rate) in best.iter_mut().zip(rates) {
                    *best = best.max(rate);
                }
            } else if name == ENGINE {
                engine = rates;
            }
            let cells = rates.map(number).into_iter().chain(cpu.map(|seconds| format!("{seconds:.2}")));
            report.row(name, &cells.collect::<Vec<_>>());
            raw.insert(name.clone(), raw_of(measured, rates, cpu));
        }
        let ratios = [0, 1, 2].map(|at| engine[at] / best[at]);
        report.row("engine / best bare", &ratios.map(|ratio| format!("{ratio:.2}")));
        let named = RATES.iter().zip(ratios).map(|((name, _), ratio)| ((*name).to_owned(), json!(ratio)));
        raw.insert("engine_vs_bare".to_owned(), Value::Object(named.collect()));
        report.raw(&format!("a_{}", workload.name()), Value::Object(raw));
        headline = headline.min(ratios[1]);
    }
    report.headline("engine_vs_bare", headline);
}

fn raw_of(measured: &[Measured], rates: [f64; 3], cpu: [f64; 3]) -> Value {
    let runs = measured.iter().map(|m| {
        let rates = RATES.iter().map(|(name, rate)| ((*name).to_owned(), json!(rate(&m.timeline))));
        let first = m.timeline.points.first().map(|point| point.0);
        let mut run: serde_json::Map<String, Value> = rates.collect();
        run.insert("seconds".to_owned(), json!(m.timeline.seconds()));
        run.insert("first_commit_seconds".to_owned(), json!(first));
        run.insert("cpu_seconds".to_owned(), json!(m.cpu));
        Value::Object(run)
    });
    json!({
        "whole": rates[0], "steady": rates[1], "second_half": rates[2],
        "cpu_seconds": { "itself": cpu[0], "postgres": cpu[1], "kafka": cpu[2] },
        "runs": runs.collect::<Vec<_>>(),
    })
}

/// One more run of each workload under `perf record`; where its time went is written as text.
async fn profile(services: &Services, folder: &Path, events: u64) {
    std::fs::create_dir_all(folder).expect("make the folder");
    for workload in [Workload::W1, Workload::W2] {
        let data = folder.join(format!("{}.data", workload.name()));
        let url = services.database().await;
        let setup = Setup { plugins: vec![plugin(services, workload)], writers: None, perf: Some(data.clone()) };
        engine_run(services, &url, &setup, events).await;
        let mut report = Command::new("perf");
        report.args([
            "report",
            "--stdio",
            "--no-children",
            "-g",
            "none",
            "--percent-limit",
            "0.3",
            "--sort",
            "comm,dso,symbol",
            "-i",
        ]);
        let output = report.arg(&data).output().expect("start perf");
        std::fs::write(folder.join(format!("{}.txt", workload.name())), output.stdout).expect("write the profile");
    }
    println!("\nprofiles: {}", folder.display());
}

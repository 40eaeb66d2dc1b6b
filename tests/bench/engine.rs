//! The engine as a user runs it: `laterna run` with a configuration, a folder of plugins, and its public tables.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use laterna_tests::guardian::{self, Folder};
use laterna_tests::services::{free_port, unique};
use sqlx::{Connection, PgConnection, Row};

use crate::Services;
use crate::load::PARTITIONS;
use crate::process::cpu_seconds;
use crate::timeline::Timeline;

/// How often the checkpoints are read.
const POLL: Duration = Duration::from_millis(10);
/// How long a run may take until it counts as stuck.
const RUN_MAX: Duration = Duration::from_secs(300);

/// What a run of the engine is made with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// Files, and the names under which they stand in the plugins folder.
    pub(crate) plugins: Vec<(PathBuf, String)>,
    /// `database.writers`; the engine's default where none is given.
    pub(crate) writers: Option<usize>,
    /// Where `perf record` writes, if it shall watch.
    pub(crate) perf: Option<PathBuf>,
}

/// A running engine.
pub(crate) struct Engine {
    child: Child,
    perf: Option<Child>,
    begun: Instant,
    folder: Folder,
    connection: PgConnection,
    projections: usize,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Progress of all projections together.
    pub(crate) timeline: Timeline,
    /// Seconds from the process's start until every partition of every projection was claimed.
    pub(crate) claimed: f64,
    /// Seconds of CPU of the engine and of PostgreSQL from then on.
    pub(crate) cpu_after_claim: (f64, f64),
}

impl Engine {
    /// Starts it on an empty database. Compiled plugins are kept from one run to the next, as they are for a user.
    pub(crate) async fn start(services: &Services, url: &str, setup: &Setup) -> Self {
        let folder = Folder::new("bench");
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins).expect("the plugins folder");
        for (file, name) in &setup.plugins {
            fs::copy(file, plugins.join(name)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        let mut config = format!(
            "plugins_dir = {plugins:?}\ncache_dir = {:?}\nsource = \"kafka\"\n[http]\nlisten = \"127.0.0.1:{}\"\n\
             [kafka]\nbootstrap_servers = {:?}\ngroup_prefix = {:?}\n[database]\nurl = {url:?}\n",
            services.cache.path(),
            free_port(),
            services.kafka.bootstrap(),
            unique("bench"),
        );
        if let Some(writers) = setup.writers {
            // Writing to a String cannot fail.
            writeln!(config, "writers = {writers}").expect("a String");
        }
        fs::write(folder.path().join("laterna.toml"), config).expect("write the configuration");
        let log = File::create(folder.path().join("log")).expect("create the log");
        let connection = PgConnection::connect(url).await.expect("connect");
        let mut command = Command::new(&services.engine);
        command.args(["run", "-c", "laterna.toml"]).current_dir(folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("clone")).stderr(log).process_group(0);
        let begun = Instant::now();
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", services.engine.display()));
        guardian::watch(child.id());
        let perf = setup.perf.as_deref().map(|data| perf(child.id(), data));
        Self { child, perf, begun, folder, connection, projections: setup.plugins.len() }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Claimed partitions and applied events, of all projections together.
    pub(crate) async fn progress(&mut self) -> (u64, u64) {
        let read = "SELECT count(*), coalesce(sum(next_offset), 0)::bigint FROM laterna.checkpoint";
        // Until the engine has made its tables, there is nothing.
        let Ok(row) = sqlx::query(read).fetch_one(&mut self.connection).await else { return (0, 0) };
        (row.get::<i64, _>(0) as u64, row.get::<i64, _>(1) as u64)
    }

    /// Awaits that so many events are applied, and notes how.
    pub(crate) async fn run_to(&mut self, services: &Services, total: u64) -> Run {
        let mut timeline = Timeline { total, points: Vec::new() };
        let partitions = u64::from(PARTITIONS) * self.projections as u64;
        let mut claim = None;
        loop {
            let (rows, done) = self.progress().await;
            let now = self.begun.elapsed().as_secs_f64();
            let cpu = || (cpu_seconds(self.child.id()), services.postgres_cpu());
            if rows == partitions && claim.is_none() {
                claim = Some((now, cpu()));
            }
            if timeline.points.last().map_or(0, |point| point.1) < done {
                timeline.points.push((now, done));
            }
            if let Some((claimed, (engine, postgres))) = claim
                && done >= total
            {
                assert_eq!(done, total, "checkpoints beyond the end");
                let (engine_now, postgres_now) = cpu();
                return Run { timeline, claimed, cpu_after_claim: (engine_now - engine, postgres_now - postgres) };
            }
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none(), "the engine ended ({ended:?}):\n{}", self.log_tail());
            let late = self.begun.elapsed() > RUN_MAX;
            assert!(!late, "the engine applied {done} of {total} events in {RUN_MAX:?}:\n{}", self.log_tail());
            tokio::time::sleep(POLL).await;
        }
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Ends it in the way of an operator.
    pub(crate) async fn stop(mut self) {
        self.connection.close().await.ok();
        guardian::signal(self.child.id(), "TERM");
        let asked = Instant::now();
        while self.child.try_wait().expect("wait").is_none() {
            if asked.elapsed() > Duration::from_secs(15) {
                eprintln!("the engine did not end within 15 s of SIGTERM");
                self.child.kill().expect("kill");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        guardian::gone(self.child.id());
        if let Some(mut perf) = self.perf {
            perf.wait().expect("perf");
        }
    }
}

fn perf(pid: u32, data: &Path) -> Child {
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-F", "997", "-g", "-p", &pid.to_string(), "-o"]).arg(data);
    perf.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("start perf")
}

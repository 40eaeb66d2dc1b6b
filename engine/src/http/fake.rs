//! An engine that answers from fixed values and remembers what it was asked, for tests and for trying the pages and the API without one.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::engine::{Answer, Engine, whole};
use super::*;
use crate::control::*;
use crate::error::{Halt, HaltAt};
use crate::runner::{Counters, PartitionStatus, ProjectionStatus, State};

pub(super) const DIGEST: &str = "abababababababababababababababababababababababababababababababab";
const NOW: i64 = 1_790_000_000_000_000;

pub(super) struct Fake {
    pub(super) ok: bool,
    /// What was ordered: the order, what it is about, by whom.
    pub(super) orders: Mutex<Vec<(&'static str, String, Asked)>>,
    pub(super) paused: Mutex<BTreeSet<String>>,
    pub(super) gone: Mutex<BTreeSet<String>>,
    pub(super) rebuilding: Mutex<bool>,
    pub(super) changes: watch::Sender<u64>,
}

impl Fake {
    pub(super) fn new(ok: bool) -> Arc<Self> {
        Arc::new(Self {
            ok,
            orders: Mutex::default(),
            paused: Mutex::default(),
            gone: Mutex::default(),
            rebuilding: Mutex::default(),
            changes: watch::channel(0).0,
        })
    }

    fn known(&self, name: &str) -> Result<(), ControlError> {
        if ["order_summary", "halted_one"].contains(&name) && !self.gone.lock().unwrap().contains(name) {
            return Ok(());
        }
        Err(refused(
            ControlErrorKind::NotFound,
            "projection_unknown",
            "there is no such projection; GET /api/v1/projections lists them",
        ))
    }

    fn known_rebuild(&self, id: &str) -> Result<RebuildView, ControlError> {
        let message = "there is no such rebuild";
        (id == "order_summary-g2")
            .then(rebuild_view)
            .ok_or_else(|| refused(ControlErrorKind::NotFound, "rebuild_unknown", message))
    }

    fn done(&self, order: &'static str, about: String, asked: Asked) -> Answer<Done> {
        let known = self.known(&about);
        if known.is_ok() {
            match order {
                "pause" => drop(self.paused.lock().unwrap().insert(about.clone())),
                "resume" => drop(self.paused.lock().unwrap().remove(&about)),
                "drop" => drop(self.gone.lock().unwrap().insert(about.clone())),
                _ => {}
            }
            self.note(order, about, asked);
        }
        Box::pin(async move { known.map(|()| Done { changed: true, generation: None, rebuild: None }) })
    }

    fn note(&self, order: &'static str, about: String, asked: Asked) {
        self.orders.lock().unwrap().push((order, about, asked));
        self.changes.send_modify(|n| *n += 1);
    }
}

pub(super) fn refused(kind: ControlErrorKind, code: &'static str, message: &str) -> ControlError {
    ControlError { kind, code, message: message.to_owned(), subject: None }
}

pub(super) fn status(name: &str) -> ProjectionStatus {
    let mut counters = Counters { consumed: 12, applied: 11, ..Counters::default() };
    counters.rows_written.insert("orders".into(), 9);
    counters.faults.insert("trapped", 1);
    for value in [0.0, 0.001, 3.0, 1e9] {
        counters.commit_seconds.observe(value);
    }
    let partition = |partition| PartitionStatus {
        topic: "orders".into(),
        partition,
        next_offset: 7,
        end_offset: (partition == 0).then_some(9),
        log_start_offset: None,
        lag_events: (partition == 0).then_some(2),
        lag_seconds: (partition == 0).then_some(0.5),
        retention_margin_events: None,
    };
    ProjectionStatus {
        last_event_at_us: Some(NOW),
        name: name.into(),
        generation: 1,
        revision: 3,
        plugin_digest: DIGEST.into(),
        plugin_file: format!("{name}.wasm"),
        state: State::CatchingUp,
        halt: None,
        waiting: None,
        lag_events: None,
        lag_seconds: Some(0.5),
        rate_per_second: 1.5,
        partitions: vec![partition(0), partition(1)],
        counters,
    }
}

pub(super) fn view(name: &str) -> ProjectionView {
    let mut status = status(name);
    if name == "halted_one" {
        status.state = State::Halted;
        status.halt = Some(Halt {
            code: "event_rejected",
            reason: "<img onerror=alert(1)>".into(),
            remedy: "repair it".into(),
            at: Some(HaltAt { topic: "orders".into(), partition: 0, offset: 7, key: Some("k".into()) }),
        });
    }
    ProjectionView {
        desired: Desired::Running,
        reason: None,
        slo_lag_seconds: 30,
        eta_seconds: (name == "order_summary").then_some(12.5),
        trend: vec![None, Some(2.0), Some(0.5)],
        plan: (name == "order_summary").then(|| plan(name)),
        rejected: None,
        rebuild: (name == "order_summary").then(rebuild_view),
        generations: vec![GenerationRecord {
            projection: name.into(),
            number: 1,
            state: GenerationState::Live,
            writable: true,
            stored: true,
            revision: 3,
            plugin_digest: DIGEST.into(),
            descriptor: json!({ "name": name }),
            collect_at_us: None,
            created_at_us: NOW,
        }],
        tallies: Tallies { reloads: [("applied", 3), ("rejected", 1)].into(), rebuilds: [("switched", 2)].into() },
        status,
    }
}

pub(super) fn plan(projection: &str) -> Plan {
    Plan {
        projection: projection.into(),
        from_digest: Some(DIGEST.into()),
        from_revision: Some(3),
        to_digest: "cd".repeat(32),
        to_revision: 4,
        file: format!("{projection}.wasm"),
        action: PlanAction::Rebuild,
        held: true,
        reasons: vec!["the revision rises from 3 to 4".into()],
        tables: vec![TablePlan { table: "orders".into(), action: "rebuild", reasons: vec!["key changed".into()] }],
    }
}

pub(super) fn rebuild_view() -> RebuildView {
    RebuildView {
        record: RebuildRecord {
            id: "order_summary-g2".into(),
            projection: "order_summary".into(),
            generation: 2,
            from_generation: 1,
            plugin_digest: "cd".repeat(32),
            state: RebuildState::Filling,
            switch: Switch::Manual,
            max_rate: Some(1000),
            forced: false,
            targets: vec![Target { topic: "orders".into(), partition: 0, start: 0, end: 9, other_log: false }],
            reason: None,
            created_at_us: NOW,
            updated_at_us: NOW,
            finished_at_us: None,
        },
        partitions: vec![RebuildPartition {
            topic: "orders".into(),
            partition: 0,
            start: 0,
            next_offset: 3,
            target: 9,
        }],
        progress_ratio: 1.0 / 3.0,
        remaining_events: 6,
        rate_per_second: 2.0,
        eta_seconds: Some(3.0),
        lag_events: Some(8),
        halt: None,
        waiting: None,
    }
}

macro_rules! orders {
    ($($name:ident)*) => {
        $(fn $name(&self, about: String, asked: Asked) -> Answer<Done> {
            self.done(stringify!($name), about, asked)
        })*
    };
}

impl Engine for Fake {
    fn ready(&self) -> Vec<ReadyCheck> {
        vec![ReadyCheck { name: "database", ok: self.ok, detail: "SQLite".into() }]
    }

    fn plugins_dir(&self) -> PathBuf {
        PathBuf::from("plugins")
    }

    fn rejected(&self) -> Vec<RejectedPlugin> {
        vec![RejectedPlugin { file: "bad.wasm".into(), code: "not_wasm".into(), reason: "it is text".into() }]
    }

    fn views(&self) -> Vec<ProjectionView> {
        ["halted_one", "order_summary"].into_iter().filter_map(|name| Engine::view(self, name).ok()).collect()
    }

    fn view(&self, projection: &str) -> Result<ProjectionView, ControlError> {
        self.known(projection)?;
        let mut view = view(projection);
        if self.paused.lock().unwrap().contains(projection) {
            view.desired = Desired::Paused;
        }
        Ok(view)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn plugins(&self) -> Vec<PluginView> {
        vec![PluginView {
            file: "order_summary.wasm".into(),
            digest: Some("cd".repeat(32)),
            bytes: Some(412_000),
            read_at_us: Some(NOW),
            projection: Some("order_summary".into()),
            revision: Some(4),
            language: Some("Rust".into()),
            compile_seconds: Some(0.038),
            running_digest: Some(DIGEST.into()),
            rejected: None,
            plan: Some(plan("order_summary")),
        }]
    }

    fn plan(&self, projection: &str) -> Result<Plan, ControlError> {
        self.known(projection).map(|()| plan(projection))
    }

    fn rebuilds(&self, projection: &str) -> Result<Vec<RebuildView>, ControlError> {
        self.known(projection).map(|()| vec![rebuild_view()])
    }

    fn rebuild(&self, id: &str) -> Result<RebuildView, ControlError> {
        self.known_rebuild(id)
    }

    fn logs(&self, projection: &str, after: u64, limit: usize) -> Result<Vec<LogLine>, ControlError> {
        self.known(projection)?;
        let line = |id| LogLine { id, at_us: NOW, level: "info", origin: "plugin", message: format!("line {id}") };
        Ok((after.saturating_add(1)..=5).take(limit).map(line).collect())
    }

    fn history(&self, projection: &str, _: Duration) -> Result<History, ControlError> {
        self.known(projection)?;
        let sample = Sample {
            at_us: NOW,
            end_offset: Some(9),
            next_offset: Some(7),
            lag_events: Some(2),
            lag_seconds: Some(0.5),
            rate_per_second: 1.5,
            state: State::Running,
        };
        let marker = Marker { at_us: NOW, kind: "reload", text: "revision 3".into() };
        Ok(History { step_seconds: 10, samples: vec![sample], markers: vec![marker] })
    }

    orders! { pause resume restart deploy rollback }

    fn drop_projection(&self, about: String, asked: Asked) -> Answer<Done> {
        self.done("drop", about, asked)
    }

    fn plan_build(&self, bytes: Arc<[u8]>) -> Answer<Plan> {
        let is_wasm = bytes.starts_with(b"\0asm");
        Box::pin(async move {
            is_wasm
                .then(|| plan("order_summary"))
                .ok_or_else(|| refused(ControlErrorKind::Invalid, "not_wasm", "it is no WebAssembly"))
        })
    }

    fn add_plugin(&self, file: String, bytes: Arc<[u8]>, asked: Asked) -> Answer<Plan> {
        if !file.ends_with(".wasm") || file.contains(['/', '\\']) {
            return Box::pin(async {
                Err(refused(ControlErrorKind::Invalid, "file_name", "a file is called NAME.wasm"))
            });
        }
        self.note("add_plugin", file, asked);
        self.plan_build(bytes)
    }

    fn remove_plugin(&self, file: String, asked: Asked) -> Answer<Done> {
        if file != "order_summary.wasm" {
            return Box::pin(async {
                Err(refused(ControlErrorKind::NotFound, "plugin_unknown", "there is no such file"))
            });
        }
        self.note("remove_plugin", file, asked);
        Box::pin(async { Ok(Done { changed: true, generation: None, rebuild: None }) })
    }

    fn forecast_rebuild(&self, projection: String, held: bool) -> Answer<RebuildForecast> {
        let known = self.known(&projection);
        Box::pin(async move {
            known.map(|()| RebuildForecast {
                projection,
                plugin_digest: if held { "cd".repeat(32) } else { DIGEST.into() },
                running_digest: DIGEST.into(),
                events: 9,
                seconds: Some(4.5),
                tables: vec!["orders".into()],
                partitions: vec![ForecastPartition {
                    topic: "orders".into(),
                    partition: 0,
                    log_start: 0,
                    log_end: 9,
                    began: Some(0),
                }],
                refusal: None,
            })
        })
    }

    fn begin_rebuild(&self, projection: String, _: RebuildRequest, asked: Asked) -> Answer<RebuildView> {
        let begun = self.known(&projection).and_then(|()| {
            if std::mem::replace(&mut *self.rebuilding.lock().unwrap(), true) {
                let message = "the rebuild order_summary-g2 is under way: wait for it, or cancel it first";
                let mut error = refused(ControlErrorKind::Conflict, "rebuild_active", message);
                error.subject = Some("order_summary-g2".into());
                return Err(error);
            }
            self.note("begin_rebuild", projection.clone(), asked);
            Ok(rebuild_view())
        });
        Box::pin(async move { begun })
    }

    fn switch_rebuild(&self, id: String, asked: Asked) -> Answer<Done> {
        let known = self.known_rebuild(&id);
        self.note("switch_rebuild", id, asked);
        Box::pin(async move { known.map(|_| Done { changed: true, generation: Some(2), rebuild: None }) })
    }

    fn cancel_rebuild(&self, id: String, asked: Asked) -> Answer<Done> {
        let known = self.known_rebuild(&id);
        *self.rebuilding.lock().unwrap() = false;
        self.note("cancel_rebuild", id, asked);
        Box::pin(async move { known.map(|_| Done { changed: true, generation: None, rebuild: None }) })
    }

    fn diff(&self, id: String, _: usize) -> Answer<Vec<TableDifference>> {
        let known = self.known_rebuild(&id);
        Box::pin(async move {
            known.map(|_| vec![TableDifference { table: "orders".into(), comparable: true, ..Default::default() }])
        })
    }

    fn wait(&self, projection: String, what: WaitFor, limit: Duration) -> Answer<Waited> {
        let known = self.known(&projection);
        whole(async move {
            known?;
            let reached = matches!(what, WaitFor::Offset { offset, .. } if offset < 100) || what == WaitFor::CaughtUp;
            if !reached {
                tokio::time::sleep(limit).await;
            }
            let seconds = if reached { 0.0 } else { limit.as_secs_f64() };
            Ok(Waited { reached, seconds, partitions: status(&projection).partitions })
        })
    }

    fn step(&self, projection: String, _: StepEvents, _: Option<Arc<[u8]>>) -> Answer<StepReport> {
        let known = self.known(&projection);
        Box::pin(async move {
            known.map(|()| StepReport {
                plugin_digest: DIGEST.into(),
                events: vec![SteppedEvent {
                    topic: "orders".into(),
                    partition: 0,
                    offset: 7,
                    key: Some("k".into()),
                    changes: vec![json!({ "table": "orders", "action": "upsert" })],
                    rows: vec![json!({ "table": "orders", "before": null, "after": [1] })],
                    fault: None,
                }],
            })
        })
    }

    fn tables(&self, projection: String, rows: u32) -> Answer<Vec<TableView>> {
        let known = self.known(&projection);
        Box::pin(async move {
            let some = TableRows { columns: vec!["id".into()], rows: vec![vec![json!("a")]] };
            known.map(|()| {
                vec![TableView {
                    name: "order_summary.orders".into(),
                    table: "orders".into(),
                    ddl: vec!["CREATE TABLE orders (id text PRIMARY KEY)".into()],
                    rows: (rows > 0).then_some(some),
                }]
            })
        })
    }

    fn audit(&self, _: Option<String>, before: Option<i64>, limit: u32) -> Answer<Vec<AuditEntry>> {
        let entry = |id| AuditEntry {
            id,
            at_us: NOW,
            actor: Actor { name: "local".into(), role: "operator".into(), source: "127.0.0.1".into() },
            action: "desire".into(),
            projection: "order_summary".into(),
            plugin_digest: None,
            detail: json!({}),
            before: json!({ "desired": "running" }),
            after: json!({ "desired": "paused" }),
        };
        let entries = (1..=5).rev().filter(|id| before.is_none_or(|before| *id < before)).map(entry);
        let entries = entries.take(limit as usize).collect();
        Box::pin(async move { Ok(entries) })
    }
}

/// Serves the fake until it is killed: `LATERNA_FAKE=127.0.0.1:8499 cargo test -p laterna --lib http::fake -- --ignored --nocapture`.
/// With `LATERNA_FAKE_TOKEN=viewer:TOKEN,operator:TOKEN` it asks for tokens.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "serves until it is killed"]
async fn serve() {
    use sha2::Digest;
    let address = std::env::var("LATERNA_FAKE").unwrap_or_else(|_| "127.0.0.1:8499".into());
    let tokens = std::env::var("LATERNA_FAKE_TOKEN").unwrap_or_default();
    let token = |pair: &str| {
        let (role, token) = pair.split_once(':').expect("ROLE:TOKEN");
        let role = if role == "operator" { Role::Operator } else { Role::Viewer };
        Token { name: role.name().into(), role, digest: sha2::Sha256::digest(token.as_bytes()).into() }
    };
    let tokens = tokens.split(',').filter(|pair| !pair.is_empty()).map(token).collect();
    let listener = bind(address.parse().unwrap()).await.unwrap();
    let server = Server::start(listener, Settings { tokens, ..Settings::default() }).unwrap();
    server.api().show(Fake::new(true));
    println!("http://{}/ui/", server.address());
    std::future::pending::<()>().await;
}

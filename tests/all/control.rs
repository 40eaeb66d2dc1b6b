//! The control plane: builds that take over, rebuilds and swaps, what is remembered, crashes between any two steps. The same scenes on files and
//! SQLite, and (`external/control.rs`) on Kafka and PostgreSQL.

use std::time::{Duration, Instant};

use laterna_tests::engine::{Engine, From, Home, build_of};
use laterna_tests::file_log::{FileLog, FileSender};
use laterna_tests::guardian::Folder;
use laterna_tests::load::Draft;
use laterna_tests::observer::Observer;
use laterna_tests::oracle::{COUNTER, LEDGER, Projection, TOPIC, settle};
use laterna_tests::random::Random;
use laterna_tests::sql::Reader;
use laterna_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

use crate::crashes::{
    CRASHES, PROJECTION, Place, goes_on_or_is_undone, is_made_or_dropped, live_digest, wait_generation,
};
use crate::workload::spread;

/// A folder of events that somebody writes to, and a database file.
struct Stage {
    folder: Folder,
    sender: FileSender,
    random: Random,
    sent: u64,
}

impl Stage {
    fn new(purpose: &str) -> Self {
        let folder = Folder::new("control");
        let sender = FileSender::new(&folder.path().join("events"), TOPIC);
        Self { folder, sender, random: Random::from_environment(purpose), sent: 0 }
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("db").display())
    }

    fn log(&self) -> FileLog {
        FileLog::new(&self.folder.path().join("events"), TOPIC)
    }

    fn send(&mut self, count: u64) {
        let mut draft = spread(2);
        let some: Vec<Draft> = (self.sent..self.sent + count).map(|at| draft(at, &mut self.random)).collect();
        self.sender.send(&some);
        self.sent += count;
    }

    /// Every event is applied once, as the oracle folds them.
    async fn settled(&self, projection: Projection) {
        assert_eq!(settle(&self.url(), projection, self.log()).await, self.sent);
    }
}

impl Place for Stage {
    fn home(&self, guests: &[&str]) -> Home {
        Home::new(From::Files(self.folder.path().join("events")), &self.url(), guests)
    }

    fn observe(&self) -> Observer {
        Observer::start(&self.url(), COUNTER, self.log())
    }

    async fn goes_on(&mut self) {
        self.send(50);
        self.settled(COUNTER).await;
    }

    async fn stored(&self) -> Vec<String> {
        let names = "SELECT name FROM sqlite_schema WHERE name LIKE '%counts%'";
        sqlx::query_scalar(names).fetch_all(&mut connect(&self.url()).await).await.unwrap()
    }
}

/// Waits until another build than `before` runs.
fn wait_other_build(engine: &mut Engine, before: &str) -> String {
    live_digest(
        &engine.wait_projection("counter", "another build", |s| live_digest(s) != before && !live_digest(s).is_empty()),
    )
}

fn rebuild_state(engine: &mut Engine, state: &str) -> Value {
    engine.wait_projection("counter", &format!("with a rebuild that is {state}"), |s| s["rebuild"]["state"] == state)
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_take_over_under_load_and_no_event_is_lost_or_doubled() {
    let mut stage = Stage::new("reload");
    stage.send(200);
    let home = stage.home(&["counter", "ledger"]);
    let mut engine = home.start();
    let observer = stage.observe();
    let mut digest = live_digest(&engine.wait_projection("counter", "running", |s| s["state"] == "idle"));
    let mut slowest = Duration::ZERO;
    for build in 0..20 {
        stage.send(50);
        let begin = Instant::now();
        home.drop_in_build("counter", "counter.wasm", build);
        digest = wait_other_build(&mut engine, &digest);
        slowest = slowest.max(begin.elapsed());
        stage.send(20);
    }
    println!("from the file to the build that runs: {slowest:?} at most");
    stage.settled(COUNTER).await;
    stage.settled(LEDGER).await;
    assert!(observer.finish() > 0);
    // The build stands with the checkpoint that it made.
    let mut connection = connect(&stage.url()).await;
    let stored: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT plugin_digest FROM laterna_checkpoint WHERE projection = 'counter'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert!(stored.contains(&digest), "{stored:?} {digest}");
    let audit = engine.ask("GET", "/api/v1/audit?projection=counter&limit=100", None);
    let deploys = audit["entries"].as_array().unwrap().iter().filter(|entry| entry["action"] == "deploy").count();
    assert_eq!(deploys, 20, "{audit}");
}

async fn connect(url: &str) -> sqlx::SqliteConnection {
    use sqlx::Connection as _;
    sqlx::SqliteConnection::connect(&format!("{url}?mode=ro")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_build_leaves_the_one_before_running_and_says_why() {
    let mut stage = Stage::new("bad builds");
    stage.send(100);
    let home = stage.home(&["counter"]);
    let mut engine = home.start();
    let good = live_digest(&engine.wait_projection("counter", "idle", |s| s["state"] == "idle"));
    let plugin = home.path().join("plugins/counter.wasm");
    for bad in [&b""[..], b"\x7fELF and so on", b"\0asm\x0d\0\x01\0 torn", b"\x1f\x8b\x08 zipped"] {
        std::fs::write(&plugin, bad).unwrap();
        let status = engine.wait_projection("counter", "with a rejected build", |s| {
            s["rejected"]["reason"].as_str().is_some_and(|reason| !reason.is_empty())
        });
        assert_eq!(live_digest(&status), good, "{status}");
        stage.send(30);
        stage.settled(COUNTER).await;
        home.drop_in_build("counter", "counter.wasm", 7);
        engine.wait_projection("counter", "well again", |s| s["rejected"].is_null() && live_digest(s) != good);
        std::fs::copy(laterna_tests::engine::guest("counter"), &plugin).unwrap();
        engine.wait_projection("counter", "on the first build", |s| live_digest(s) == good);
    }
    stage.settled(COUNTER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_goes_stops_its_projection_and_its_tables_stay() {
    let mut stage = Stage::new("removed file");
    stage.send(100);
    let home = stage.home(&["counter"]);
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    home.take_out("counter.wasm");
    let status = engine.wait_projection("counter", "stopped", |s| s["state"] == "stopped");
    assert!(status["reason"].as_str().unwrap().contains("counter.wasm"), "{status}");
    let before = digest(&stage.url()).await;
    stage.send(50);
    // It stays so over a restart.
    engine.kill();
    let mut engine = home.start();
    engine.wait_projection("counter", "still stopped", |s| s["state"] == "stopped");
    assert_eq!(digest(&stage.url()).await, before);
    home.drop_in("counter");
    stage.settled(COUNTER).await;
    home.take_out("counter.wasm");
    engine.wait_projection("counter", "stopped", |s| s["state"] == "stopped");
    engine.ask("DELETE", PROJECTION, None);
    let left = stage.stored().await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_renamed_goes_on_and_one_that_is_refused_is_there_all_the_same() {
    let mut stage = Stage::new("renamed file");
    stage.send(100);
    let home = stage.home(&["counter"]);
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    let plugins = home.path().join("plugins");
    std::fs::rename(plugins.join("counter.wasm"), plugins.join("renamed.wasm")).unwrap();
    let goes_on = |engine: &mut Engine, file: &str| {
        let what = format!("going on from {file}");
        engine.wait_projection("counter", &what, |s| s["plugin_file"] == file && s["state"] == "idle")
    };
    goes_on(&mut engine, "renamed.wasm");
    // Of two files one is refused, and has its place once the other one is gone.
    home.drop_in_build("counter", "a_second.wasm", 1);
    let refused = |engine: &Engine, code: &str| {
        let code = json!(code);
        wait::until("the file to be refused", PATIENCE, || {
            let listed = engine.ask("GET", "/api/v1/plugins", None);
            let mut codes = listed["plugins"].as_array().unwrap().iter().map(|file| &file["rejected"]["code"]);
            if codes.any(|found| *found == code) { Ok(()) } else { Err(listed.to_string()) }
        });
    };
    refused(&engine, "name_taken");
    home.take_out("renamed.wasm");
    goes_on(&mut engine, "a_second.wasm");
    stage.send(50);
    stage.settled(COUNTER).await;
    let audit = engine.ask("GET", "/api/v1/audit?projection=counter&limit=100", None);
    assert!(audit["entries"].as_array().unwrap().iter().all(|entry| entry["action"] != "desire"), "{audit}");
    // What is no plugin any more still is the projection's file: nothing is dropped under it.
    std::fs::write(plugins.join("a_second.wasm"), "no plugin").unwrap();
    refused(&engine, "not_wasm");
    let (code, body) = engine.request("DELETE", PROJECTION, None).unwrap();
    assert_eq!((code, &body["code"]), (409, &json!("plugin_present")), "{body}");
    stage.send(50);
    stage.settled(COUNTER).await;
}

/// All rows that readers see, as one number.
async fn digest(url: &str) -> String {
    Reader::connect(url).await.unwrap().snapshot("counter", COUNTER.whole).await.unwrap().digest()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_goes_on_with_the_stored_build_when_the_file_is_gone_or_another() {
    let mut stage = Stage::new("stored build");
    stage.send(100);
    let home = stage.home(&["counter"]);
    let mut engine = home.start();
    let first = live_digest(&engine.wait_projection("counter", "idle", |s| s["state"] == "idle"));
    engine.kill();
    // Gone while nobody watched: that is no order.
    home.take_out("counter.wasm");
    stage.send(50);
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    assert_eq!(live_digest(&engine.wait_projection("counter", "idle", |s| s["state"] == "idle")), first);
    home.drop_in_build("counter", "counter.wasm", 1);
    wait_other_build(&mut engine, &first);
    engine.kill();
    // An earlier build that comes back while nobody watches does not take over by itself.
    home.drop_in("counter");
    let mut engine = home.start();
    let status = engine
        .wait_projection("counter", "idle, with a held plan", |s| s["state"] == "idle" && s["plan"]["held"] == true);
    assert_ne!(live_digest(&status), first, "{status}");
    engine.ask("POST", &format!("{PROJECTION}/deploy"), None);
    engine.wait_projection("counter", "on the first build", |s| live_digest(s) == first);
    stage.send(20);
    stage.settled(COUNTER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_in_place_and_a_raised_revision_is_rebuilt_and_swapped() {
    let mut stage = Stage::new("alter and rebuild");
    stage.send(300);
    let home = stage.home(&["counter"]).with("defaults", "\"rebuild.keep\" = \"1h\"");
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    let observer = stage.observe();
    home.drop_in_build("counter_wide", "counter.wasm", 1);
    engine.wait_projection("counter", "on the wide build", |s| {
        s["generations"][0]["descriptor"].to_string().contains("last")
    });
    stage.send(100);
    stage.settled(COUNTER).await;
    let mut connection = connect(&stage.url()).await;
    let filled: i64 = sqlx::query_scalar("SELECT count(last) FROM counts").fetch_one(&mut connection).await.unwrap();
    assert!(filled > 0, "new rows have the new column");
    home.drop_in_build("counter_r2", "counter.wasm", 1);
    let status = wait_generation(&mut engine, 2);
    assert_eq!(status["rebuild"]["state"], "switched", "{status}");
    assert_eq!(status["rebuild"]["progress_ratio"], 1.0, "{status}");
    stage.send(100);
    stage.settled(COUNTER).await;
    // The former generation is warm: it goes on, and can be rolled back to.
    engine.ask("POST", &format!("{PROJECTION}/rollback"), None);
    wait_generation(&mut engine, 1);
    stage.send(100);
    stage.settled(COUNTER).await;
    assert!(observer.finish() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_reads_a_topic_less_is_rebuilt_and_swapped() {
    let mut stage = Stage::new("a topic less");
    stage.send(200);
    let mut more = FileSender::new(&stage.folder.path().join("events"), "more");
    more.send(&[Draft::text("of more", "7")]);
    let home = stage.home(&[]);
    home.drop_in_build("counter_topics", "counter.wasm", 1);
    let mut engine = home.start();
    engine.wait_projection("counter", "at the end of both topics", |s| {
        let at = |topic: &str| s["partitions"].as_array().into_iter().flatten().filter(|p| p["topic"] == topic).count();
        s["state"] == "idle" && s["lag_events"] == 0 && at("more") == 1 && at(TOPIC) > 0
    });
    home.drop_in_build("counter", "counter.wasm", 2);
    let status = wait_generation(&mut engine, 2);
    assert_eq!(status["rebuild"]["state"], "switched", "{status}");
    stage.send(50);
    stage.settled(COUNTER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_became_shorter_is_rebuilt_from_by_force_only() {
    let mut stage = Stage::new("shorter log");
    stage.send(300);
    let home = stage.home(&["counter"]);
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    engine.kill();
    for partition in 0..2 {
        std::fs::write(stage.sender.path(partition), "").unwrap();
    }
    // Through a writer of its own: the other one's files are where they were.
    let mut anew = FileSender::new(&stage.folder.path().join("events"), TOPIC);
    anew.send(&[Draft::text("new", "1").at(0), Draft::text("new", "2").at(1)]);
    let mut engine = home.start();
    engine.wait_projection("counter", "halted", |s| s["halt"]["code"] == "offset_beyond_end");
    let before = digest(&stage.url()).await;
    let (code, body) = engine.request("POST", &format!("{PROJECTION}/rebuilds"), Some(&json!({}))).unwrap();
    assert_eq!((code, &body["code"]), (409, &json!("log_begins_later")), "{body}");
    assert!(body["detail"].as_str().unwrap().contains("the log ends at 1"), "{body}");
    assert_eq!(digest(&stage.url()).await, before);
    engine.ask("POST", &format!("{PROJECTION}/rebuilds"), Some(&json!({ "force": true })));
    let status = wait_generation(&mut engine, 2);
    assert_eq!(status["rebuild"]["state"], "switched", "{status}");
    let mut connection = connect(&stage.url()).await;
    let rows: Vec<(String, i64, i64)> =
        sqlx::query_as("SELECT key, events, total FROM counts").fetch_all(&mut connection).await.unwrap();
    assert_eq!(rows, [("new".to_owned(), 2, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_waits_for_a_person_who_compares_and_switches() {
    let mut stage = Stage::new("manual switch");
    stage.send(500);
    let home = stage
        .home(&["counter"])
        .with("defaults", "on_change = \"hold\"")
        .with("defaults", "\"rebuild.switch\" = \"manual\"");
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    home.drop_in_build("counter_double", "counter.wasm", 1);
    let status = engine.wait_projection("counter", "with a plan", |s| s["plan"]["held"] == true);
    assert_eq!(status["plan"]["action"], "rebuild", "{status}");
    let held = json!({ "dry_run": true, "build": "held" });
    let forecast = engine.ask("POST", &format!("{PROJECTION}/rebuilds"), Some(&held));
    assert_eq!(forecast["events"], 500, "{forecast}");
    assert_eq!(forecast["plugin_digest"], status["plan"]["to_digest"], "{forecast}");
    assert_eq!(forecast["running_digest"], status["plugin_digest"], "{forecast}");
    // Twenty at once: one wins, and the others are told which.
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let ask =
            || engine.request("POST", &format!("{PROJECTION}/rebuilds"), Some(&json!({ "build": "held" }))).unwrap();
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let won: Vec<&Value> = answers.iter().filter(|(code, _)| *code == 202).map(|(_, body)| body).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    let id = won[0]["id"].as_str().unwrap().to_owned();
    assert!(
        answers.iter().filter(|(code, body)| *code == 409 && body["subject"] == json!(id)).count() == 19,
        "{answers:?}"
    );
    rebuild_state(&mut engine, "ready");
    stage.send(100);
    let diff = engine.ask("GET", &format!("/api/v1/rebuilds/{id}/diff?samples=3"), None);
    let table = &diff["tables"][0];
    assert_eq!(table["live_rows"], table["rebuilt_rows"], "{diff}");
    assert_eq!(table["changed"], table["live_rows"], "every row counts twice now: {diff}");
    assert_eq!(table["samples"].as_array().unwrap().len(), 3, "{diff}");
    stage.settled(COUNTER).await;
    engine.ask("POST", &format!("/api/v1/rebuilds/{id}/switch"), None);
    wait_generation(&mut engine, 2);
    let mut connection = connect(&stage.url()).await;
    let events: i64 = sqlx::query_scalar("SELECT sum(events) FROM counts").fetch_one(&mut connection).await.unwrap();
    assert_eq!(events as u64, 2 * stage.sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_rebuild_leaves_nothing_and_the_live_one_never_noticed() {
    let mut stage = Stage::new("cancel");
    stage.send(2_000);
    let home = stage.home(&["counter"]);
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    let observer = stage.observe();
    let begun =
        engine.ask("POST", &format!("{PROJECTION}/rebuilds"), Some(&json!({ "max_rate": 100, "switch": "manual" })));
    let id = begun["id"].as_str().unwrap().to_owned();
    rebuild_state(&mut engine, "filling");
    for _ in 0..5 {
        stage.send(20);
        stage.settled(COUNTER).await;
        let seen = observer.advanced();
        stage.send(1);
        wait::until("the observer to see it", PATIENCE, || {
            if observer.advanced() > seen { Ok(()) } else { Err(observer.snapshots().to_string()) }
        });
    }
    engine.ask("DELETE", &format!("/api/v1/rebuilds/{id}"), None);
    let status = rebuild_state(&mut engine, "cancelled");
    assert_eq!(status["generation"], 1);
    wait::until("the tables to go", PATIENCE, || {
        let status = engine.projection("counter")?;
        if status["generations"].as_array().unwrap().len() == 1 { Ok(()) } else { Err(status.to_string()) }
    });
    stage.settled(COUNTER).await;
    assert!(observer.finish() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pauses_are_kept_over_restarts_and_waits_tell_what_is_applied() {
    let mut stage = Stage::new("operations");
    stage.send(100);
    let home = stage.home(&["counter"]);
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    engine.ask("PUT", &format!("{PROJECTION}/pause"), None);
    engine.wait_projection("counter", "paused", |s| s["state"] == "paused");
    stage.send(50);
    let status = engine.wait_projection("counter", "paused and behind", |s| s["lag_events"] == 50);
    assert_eq!(status["state"], "paused");
    let (code, _) = engine.request("GET", &format!("{PROJECTION}/wait?caught_up=true&timeout=1s"), None).unwrap();
    assert_eq!(code, 504);
    engine.kill();
    let mut engine = home.start();
    engine.wait_projection("counter", "still paused", |s| s["state"] == "paused" && s["lag_events"] == 50);
    engine.ask("PUT", &format!("{PROJECTION}/resume"), None);
    engine.ask("GET", &format!("{PROJECTION}/wait?caught_up=true&timeout=60s"), None);
    stage.settled(COUNTER).await;
    stage.send(1);
    let log = engine.ask("GET", &format!("{PROJECTION}/partitions"), None);
    let end = log["partitions"][0]["next_offset"].as_i64().unwrap();
    engine.ask("PUT", &format!("{PROJECTION}/pause"), None);
    let begin = Instant::now();
    let far = format!("{PROJECTION}/wait?topic=events&partition=0&offset={}&timeout=500ms", end + 100);
    assert_eq!(engine.request("GET", &far, None).unwrap().0, 504);
    assert!(begin.elapsed() >= Duration::from_millis(500));
    engine.ask("PUT", &format!("{PROJECTION}/resume"), None);
    engine.ask("POST", &format!("{PROJECTION}/restart"), None);
    stage.settled(COUNTER).await;
    let line = "{\"key\": \"new key\", \"value\": \"42\"}";
    let step = engine.ask("POST", &format!("{PROJECTION}/step"), Some(&json!({ "topic": "events", "lines": line })));
    assert_eq!(step["events"][0]["rows"][0]["after"]["total"], 42, "{step}");
    assert!(step["events"][0]["rows"][0]["before"].is_null(), "{step}");
    let step = engine.ask(
        "POST",
        &format!("{PROJECTION}/step"),
        Some(&json!({ "topic": "events", "partition": 0, "offset": 0, "count": 3 })),
    );
    assert_eq!(step["events"].as_array().unwrap().len(), 3, "{step}");
    stage.settled(COUNTER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_outlasts_its_file() {
    let mut stage = Stage::new("pause and file");
    stage.send(100);
    let home = stage.home(&["counter"]);
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    engine.ask("PUT", &format!("{PROJECTION}/pause"), None);
    engine.wait_projection("counter", "paused", |s| s["state"] == "paused");
    home.take_out("counter.wasm");
    engine.wait_projection("counter", "stopped", |s| s["state"] == "stopped");
    stage.send(50);
    home.drop_in("counter");
    engine.wait_projection("counter", "paused again", |s| s["state"] == "paused" && s["lag_events"] == 50);
    engine.ask("PUT", &format!("{PROJECTION}/resume"), None);
    stage.settled(COUNTER).await;
    home.take_out("counter.wasm");
    engine.wait_projection("counter", "stopped", |s| s["state"] == "stopped");
    home.drop_in("counter");
    engine.wait_projection("counter", "running again", |s| s["state"] == "idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_again_under_its_key_is_answered_as_the_first_time() {
    let mut stage = Stage::new("repeated requests");
    stage.send(200);
    let home = stage.home(&["counter"]).with("defaults", "\"rebuild.keep\" = \"1h\"");
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    // Each is sent twice, under one key, once what the first one began has come to its end.
    let twice = |engine: &mut Engine, method: &str, path: &str, body: Option<Value>, ended: &dyn Fn(&mut Engine)| {
        let key = format!("{method} {path}").replace(' ', "_");
        let send = |engine: &Engine| {
            let body = body.as_ref().map(|body| ("application/json", body.to_string().into_bytes()));
            engine.request_under(&key, method, path, body).unwrap()
        };
        let (code, first) = send(engine);
        assert_eq!((code, &first["changed"]), (202, &Value::Bool(true)), "{method} {path}: {first}");
        ended(engine);
        assert_eq!(send(engine), (202, first.clone()), "{method} {path}");
        first
    };
    let stands = |state: &'static str| {
        move |engine: &mut Engine| drop(engine.wait_projection("counter", state, |s| s["state"] == state))
    };
    twice(&mut engine, "PUT", &format!("{PROJECTION}/pause"), None, &stands("paused"));
    twice(&mut engine, "PUT", &format!("{PROJECTION}/resume"), None, &stands("idle"));
    // The same key, and something else: refused.
    let (code, refused) = engine.request_under("PUT_x", "PUT", &format!("{PROJECTION}/pause"), None).unwrap();
    assert_eq!(code, 202, "{refused}");
    let (code, refused) = engine.request_under("PUT_x", "PUT", &format!("{PROJECTION}/resume"), None).unwrap();
    assert_eq!((code, &refused["code"]), (409, &json!("idempotency_mismatch")), "{refused}");
    engine.ask("PUT", &format!("{PROJECTION}/resume"), None);

    // A build: the second time it is not put there again.
    let plugin = home.path().join("plugins/counter.wasm");
    let upload = |engine: &Engine, build: u32| {
        let body = Some(("application/wasm", build_of("counter", build)));
        engine.request_under("upload", "POST", "/api/v1/plugins?file=counter.wasm", body).unwrap().0
    };
    let before = live_digest(&engine.projection("counter").unwrap());
    assert_eq!(upload(&engine, 1), 202);
    let first = wait_other_build(&mut engine, &before);
    home.drop_in_build("counter", "counter.wasm", 2);
    wait_other_build(&mut engine, &first);
    let on_disk = std::fs::read(&plugin).unwrap();
    assert_eq!(upload(&engine, 1), 202);
    assert_eq!(std::fs::read(&plugin).unwrap(), on_disk);
    assert_eq!(upload(&engine, 3), 409);

    // A rebuild, its switch, and the way back.
    let slow = Some(("application/json", b"{\"switch\": \"manual\"}".to_vec()));
    let path = format!("{PROJECTION}/rebuilds");
    let (code, begun) = engine.request_under("rebuild", "POST", &path, slow.clone()).unwrap();
    assert_eq!(code, 202, "{begun}");
    rebuild_state(&mut engine, "ready");
    let (code, again) = engine.request_under("rebuild", "POST", &path, slow).unwrap();
    assert_eq!((code, &again["id"]), (202, &begun["id"]), "{again}");
    let switch = format!("/api/v1/rebuilds/{}/switch", begun["id"].as_str().unwrap());
    twice(&mut engine, "POST", &switch, None, &|engine| drop(wait_generation(engine, 2)));
    let rollback = format!("{PROJECTION}/rollback");
    let back = twice(&mut engine, "POST", &rollback, None, &|engine| drop(wait_generation(engine, 1)));
    assert_eq!(back["generation"], 1);
    wait_generation(&mut engine, 1);

    // What is of several orders: a deploy that begins a rebuild, and a drop.
    home.drop_in_build("counter_r2", "counter.wasm", 1);
    wait_generation(&mut engine, 3);
    engine.ask("POST", &rollback, None);
    let deploy = format!("{PROJECTION}/deploy");
    let begun = twice(&mut engine, "POST", &deploy, None, &|engine| drop(wait_generation(engine, 4)));
    assert_eq!(begun["rebuild"], "counter-g4", "{begun}");
    home.take_out("counter.wasm");
    engine.wait_projection("counter", "stopped", |s| s["state"] == "stopped");
    twice(&mut engine, "DELETE", PROJECTION, None, &|engine| assert!(engine.projection("counter").is_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_changes_something_is_in_the_audit_with_who_asked() {
    let mut stage = Stage::new("audit of routes");
    stage.send(200);
    let home = stage
        .home(&["counter"])
        .with("defaults", "on_change = \"hold\"")
        .with("defaults", "\"rebuild.switch\" = \"manual\"");
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    let mut walked = Vec::new();
    // Sends a request and finds the person's line in the audit.
    let mut walk =
        |engine: &Engine, method: &str, route: &str, with: &str, body: Option<(&str, Vec<u8>)>, action: &str| {
            let entries = |engine: &Engine| engine.ask("GET", "/api/v1/audit?limit=100", None)["entries"].clone();
            let newest = entries(engine)[0]["id"].as_i64().unwrap_or(0);
            let path =
                route.replace("{projection}", "counter").replace("{plugin}", "counter.wasm").replace("{id}", with);
            let query = if route == "/api/v1/plugins" { with } else { "" };
            let key = format!("{}-{method}{path}", walked.len());
            let (code, answer) = engine.request_under(&key, method, &format!("{path}{query}"), body).unwrap();
            assert_eq!(code, 202, "{method} {path}: {answer}");
            let entries = entries(engine);
            let line = entries.as_array().unwrap().iter().find(|entry| {
                entry["id"].as_i64() > Some(newest) && entry["action"] == action && entry["actor"]["role"] == "operator"
            });
            let line = line.unwrap_or_else(|| panic!("no {action} after {method} {path}: {entries}"));
            assert_eq!((&line["actor"]["name"], &line["projection"]), (&json!("local"), &json!("counter")), "{line}");
            walked.push(format!("{method} {route}"));
            answer
        };
    let projection = "/api/v1/projections/{projection}";
    let of = |verb: &str| format!("{projection}/{verb}");
    walk(&engine, "PUT", &of("pause"), "", None, "desire");
    walk(&engine, "PUT", &of("resume"), "", None, "desire");
    walk(&engine, "POST", &of("restart"), "", None, "restart");
    let build = |name: &str| Some(("application/wasm", build_of(name, 1)));
    let first = live_digest(&engine.projection("counter").unwrap());
    walk(&engine, "POST", "/api/v1/plugins", "?file=counter.wasm", build("counter"), "add_plugin");
    let reloaded = wait_other_build(&mut engine, &first);
    let audit = engine.ask("GET", "/api/v1/audit?projection=counter&limit=100", None);
    let deployed = audit["entries"].as_array().unwrap().iter().find(|entry| entry["action"] == "deploy").unwrap();
    assert_eq!(
        (&deployed["actor"]["name"], &deployed["plugin_digest"]),
        (&json!("local"), &json!(reloaded)),
        "{audit}"
    );
    let begun = walk(&engine, "POST", &of("rebuilds"), "", None, "begin_rebuild");
    rebuild_state(&mut engine, "ready");
    walk(&engine, "POST", "/api/v1/rebuilds/{id}/switch", begun["id"].as_str().unwrap(), None, "switch");
    wait_generation(&mut engine, 2);
    walk(&engine, "POST", &of("rollback"), "", None, "rollback");
    walk(&engine, "POST", "/api/v1/plugins", "?file=counter.wasm", build("counter_r2"), "add_plugin");
    engine.wait_projection("counter", "with a plan", |status| status["plan"]["held"] == true);
    let begun = walk(&engine, "POST", &of("deploy"), "", None, "begin_rebuild");
    walk(&engine, "DELETE", "/api/v1/rebuilds/{id}", begun["rebuild"].as_str().unwrap(), None, "cancel_rebuild");
    walk(&engine, "DELETE", "/api/v1/plugins/{plugin}", "", None, "remove_plugin");
    engine.wait_projection("counter", "stopped", |status| status["state"] == "stopped");
    let audit = engine.ask("GET", "/api/v1/audit?projection=counter&limit=1", None);
    assert_eq!(
        (&audit["entries"][0]["action"], &audit["entries"][0]["actor"]["name"]),
        (&json!("desire"), &json!("local"))
    );
    walk(&engine, "DELETE", projection, "", None, "drop");

    // Those that the document has; two of them write nothing.
    let document = engine.ask("GET", "/openapi.json", None);
    let mut routes = Vec::new();
    for (route, methods) in document["paths"].as_object().unwrap() {
        let changing = methods
            .as_object()
            .unwrap()
            .keys()
            .filter(|method| ["post", "put", "delete", "patch"].contains(&method.as_str()));
        routes.extend(changing.map(|method| format!("{} {route}", method.to_uppercase())));
    }
    let looks = ["POST /api/v1/plugins/plan".to_owned(), format!("POST {projection}/step")];
    routes.retain(|route| !looks.contains(route));
    routes.sort();
    walked.sort();
    walked.dedup();
    assert_eq!(walked, routes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rolled_back_is_rebuilt_only_where_somebody_says_so() {
    let mut stage = Stage::new("rebuild after a rollback");
    stage.send(200);
    let home = stage.home(&["counter"]).with("defaults", "\"rebuild.keep\" = \"1h\"");
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    let good = live_digest(&engine.projection("counter").unwrap());
    home.drop_in_build("counter_double", "counter.wasm", 1);
    let bad = live_digest(&wait_generation(&mut engine, 2));
    engine.ask("POST", &format!("{PROJECTION}/rollback"), None);
    let status = wait_generation(&mut engine, 1);
    assert_eq!((status["plan"]["held"].as_bool(), live_digest(&status)), (Some(true), good.clone()), "{status}");
    let rebuilds = format!("{PROJECTION}/rebuilds");
    let forecast = |build: &str| engine.ask("POST", &rebuilds, Some(&json!({ "dry_run": true, "build": build })));
    assert_eq!(forecast("live")["plugin_digest"], json!(good));
    assert_eq!(forecast("held")["plugin_digest"], json!(bad));
    let begun = engine.ask("POST", &rebuilds, None);
    assert_eq!(begun["plugin_digest"], json!(good), "{begun}");
    let status = wait_generation(&mut engine, 3);
    assert_eq!(live_digest(&status), good, "{status}");
    stage.send(50);
    stage.settled(COUNTER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_still_fills_can_be_told_to_switch_when_it_is_ready() {
    let mut stage = Stage::new("switch when ready");
    stage.send(300);
    let home = stage.home(&["counter"]);
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    let slow = json!({ "switch": "manual", "max_rate": 100 });
    let begun = engine.ask("POST", &format!("{PROJECTION}/rebuilds"), Some(&slow));
    let switch = format!("/api/v1/rebuilds/{}/switch", begun["id"].as_str().unwrap());
    rebuild_state(&mut engine, "filling");
    assert_eq!(engine.ask("POST", &switch, None)["changed"], true);
    assert_eq!(engine.ask("POST", &switch, None)["changed"], false);
    let status = engine.projection("counter").unwrap();
    assert_eq!(
        (&status["rebuild"]["switch"], &status["rebuild"]["state"]),
        (&json!("auto"), &json!("filling")),
        "{status}"
    );
    wait_generation(&mut engine, 2);
    let (code, refused) = engine.request("POST", &switch, None).unwrap();
    assert_eq!((code, &refused["code"]), (409, &json!("rebuild_state")), "{refused}");
    stage.settled(COUNTER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_projection_can_be_rolled_back() {
    let mut stage = Stage::new("pause and roll back");
    stage.send(200);
    let home = stage.home(&["counter"]).with("defaults", "\"rebuild.keep\" = \"1h\"");
    let mut engine = home.start();
    stage.settled(COUNTER).await;
    home.drop_in_build("counter_r2", "counter.wasm", 1);
    wait_generation(&mut engine, 2);
    for (round, generation) in [1, 2, 1].into_iter().enumerate() {
        // Under load, so that the two do not happen to stand at the same offsets.
        stage.send(300);
        engine.ask("PUT", &format!("{PROJECTION}/pause"), None);
        engine.wait_projection("counter", "paused", |s| s["state"] == "paused");
        stage.send(100);
        engine.ask("POST", &format!("{PROJECTION}/rollback"), None);
        let status = engine.wait_projection("counter", "back, and still paused", |s| {
            s["generation"] == generation && s["state"] == "paused"
        });
        assert_eq!(status["desired"], "paused", "round {round}: {status}");
        engine.ask("PUT", &format!("{PROJECTION}/resume"), None);
        stage.settled(COUNTER).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_is_made_or_dropped_when_the_engine_dies_is_made_or_dropped() {
    is_made_or_dropped(&mut Stage::new("crash points, first and last")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_step_the_engine_dies_at_it_goes_on_or_is_undone() {
    for (operation, points) in CRASHES {
        goes_on_or_is_undone(&mut Stage::new("crash points"), operation, points).await;
    }
}

//! The command line on a running engine, as a person and as a script use it: each command once, exit codes, what is asked and when it is not.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use laterna_tests::engine::{Engine, From, Home, binary, guest};
use laterna_tests::file_log::FileSender;
use laterna_tests::guardian::Folder;
use laterna_tests::load::Draft;
use laterna_tests::oracle::TOPIC;
use laterna_tests::random::Random;
use laterna_tests::services::free_port;
use laterna_tests::wait;
use serde_json::Value;

use crate::workload::spread;

const OK: i32 = 0;
const FAILURE: i32 = 1;
const USAGE: i32 = 2;
const UNHEALTHY: i32 = 3;

/// What a command has come to.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// It ended so.
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text), "no {text:?} in {self:?}");
        self
    }

    #[track_caller]
    fn complains(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no {text:?} in {self:?}");
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the command with nobody to ask and nothing of our own environment that it would read.
fn laterna_with(environment: &[(&str, &str)], arguments: &[&str]) -> Said {
    let mut command = Command::new(binary());
    for name in ["LATERNA_URL", "LATERNA_TOKEN", "LATERNA_TOKEN_FILE", "LATERNA_CONFIG", "COMPLETE"] {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied()).args(arguments).stdin(Stdio::null());
    let output = command.output().expect("run laterna");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let said = Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) };
    assert!(!said.out.contains('\x1b') && !said.err.contains('\x1b'), "no colours without a terminal: {said:?}");
    said
}

/// An engine with events behind it.
struct Stage {
    folder: Folder,
    home: Home,
    engine: Engine,
}

impl Stage {
    fn new(purpose: &str, configure: impl FnOnce(Home) -> Home) -> Self {
        let folder = Folder::new("command-line");
        let events = folder.path().join("events");
        let mut random = Random::from_environment(purpose);
        let mut draft = spread(2);
        let some: Vec<Draft> = (0..300).map(|at| draft(at, &mut random)).collect();
        FileSender::new(&events, TOPIC).send(&some);
        let url = format!("sqlite://{}", folder.path().join("db").display());
        let home = configure(Home::new(From::Files(events), &url, &["counter"]));
        let engine = home.start();
        Self { folder, home, engine }
    }

    fn caught_up(&mut self) {
        self.engine.wait_projection("counter", "idle", |status| status["state"] == "idle");
    }

    fn laterna(&self, arguments: &[&str]) -> Said {
        laterna_with(&[("LATERNA_URL", &self.engine.url())], arguments)
    }

    /// A file with the first event of the log.
    fn event(&self) -> PathBuf {
        let text = std::fs::read_to_string(self.folder.path().join("events").join(TOPIC).join("0.jsonl")).unwrap();
        let path = self.folder.path().join("one.jsonl");
        std::fs::write(&path, format!("{}\n", text.lines().next().unwrap())).unwrap();
        path
    }
}

#[test]
fn looking_at_a_running_engine() {
    let mut stage = Stage::new("command line: looking", |home| home);
    stage.caught_up();
    stage.laterna(&["ls"]).ends(OK).says("counter").says("idle");
    assert_eq!(stage.laterna(&["ls", "-o", "json"]).ends(OK).json()["projections"][0]["name"], "counter");
    stage.laterna(&["show", "counter"]).ends(OK).says("generation 1").says(&format!("{TOPIC}:0"));
    assert_eq!(stage.laterna(&["show", "counter", "--output=json"]).ends(OK).json()["state"], "idle");
    stage.laterna(&["show", "counterr"]).ends(FAILURE).complains("(projection_unknown)");
    stage.laterna(&["top", "-n", "2", "--interval", "100ms"]).ends(OK).says("counter idle");
    stage.laterna(&["healthcheck"]).ends(OK).says("ok");
    stage.laterna(&["plugin", "ls"]).ends(OK).says("counter.wasm").says("runs");
    let files = stage.laterna(&["plugin", "ls", "-o", "json"]).ends(OK).json();
    assert_eq!(files["plugins"][0]["file"], "counter.wasm");
    stage.laterna(&["audit"]).ends(OK).says("counter");
    assert!(stage.laterna(&["audit", "counter", "-n", "1", "-o", "json"]).ends(OK).json()["entries"][0].is_object());
    let wide = guest("counter_wide");
    stage.laterna(&["plan", wide.to_str().unwrap()]).ends(OK).says("alter");
    assert_eq!(stage.laterna(&["plan", wide.to_str().unwrap(), "-o", "json"]).json()["action"], "alter");
    stage.laterna(&["plan", "no-such.wasm"]).ends(FAILURE).complains("no-such.wasm cannot be read");
    let place = format!("{TOPIC}:0:0");
    stage.laterna(&["step", "counter", "--offset", &place, "--count", "2"]).ends(OK).says(&format!("{TOPIC}:0:1"));
    let one = stage.event();
    let stepped = ["step", "counter", "--file", one.to_str().unwrap(), "--topic", TOPIC, "-o", "json"];
    assert_eq!(stage.laterna(&stepped).ends(OK).json()["events"].as_array().unwrap().len(), 1);
    let double = guest("counter_double");
    let other = ["step", "counter", "--offset", &place, "--build", double.to_str().unwrap()];
    stage.laterna(&other).ends(OK).says("nothing was written");
    stage.laterna(&["step", "counter"]).ends(USAGE);
    stage.laterna(&["step", "counter", "--offset", "here"]).ends(USAGE).complains("TOPIC:PARTITION:OFFSET");
}

#[test]
fn operating_and_waiting() {
    let mut stage = Stage::new("command line: operating", |home| home);
    stage.caught_up();
    let place = format!("{TOPIC}:0:0");
    stage.laterna(&["wait", "counter", "--caught-up"]).ends(OK).says("done after");
    stage.laterna(&["wait", "counter", "--offset", &place, "--timeout", "5s"]).ends(OK);
    let far = format!("{TOPIC}:0:999999");
    stage
        .laterna(&["wait", "counter", "--offset", &far, "--timeout", "300ms"])
        .ends(UNHEALTHY)
        .complains("is not there yet");
    stage.laterna(&["wait", "counter"]).ends(USAGE);
    stage.laterna(&["pause", "counter"]).ends(OK).says("laterna resume counter");
    stage.engine.wait_projection("counter", "paused", |status| status["state"] == "paused");
    stage.laterna(&["pause", "counter"]).ends(OK).says("already");
    // The engine looks for what is to be logged four times a second.
    wait::until("the log to tell of it", wait::PATIENCE, || {
        let said = stage.laterna(&["logs", "counter"]).ends(OK);
        if said.out.contains("paused") { Ok(()) } else { Err(said.out) }
    });
    stage.laterna(&["logs", "counter", "--since", "-10m", "--level", "info"]).ends(OK).says("paused");
    stage.laterna(&["logs", "counter", "--level", "error"]).ends(OK);
    let last = stage.laterna(&["logs", "counter", "-n", "1", "-o", "json"]).ends(OK).json();
    let id = last["id"].as_u64().unwrap().to_string();
    assert_eq!(stage.laterna(&["logs", "counter", "--since", &id]).ends(OK).out, "");
    assert_eq!(stage.laterna(&["resume", "counter", "-o", "json"]).ends(OK).json()["changed"], true);
    stage.laterna(&["restart", "counter"]).ends(OK).says("starts anew");
    stage.laterna(&["deploy", "counter", "--yes"]).ends(OK).says("nothing is to be done");
    // What would ask, asks nobody, and does nothing.
    stage.laterna(&["plugin", "rm", "counter.wasm"]).ends(USAGE).says("its tables stay").complains("--yes");
    stage.laterna(&["drop", "counter", "--yes"]).ends(FAILURE).complains("(plugin_present)");
    stage.laterna(&["plugin", "rm", "counter.wasm", "--yes"]).ends(OK);
    stage.engine.wait_projection("counter", "stopped", |status| status["state"] == "stopped");
    stage.laterna(&["drop", "counter", "--no-input"]).ends(USAGE).says("counts").complains("Nothing was done");
    stage.laterna(&["show", "counter"]).ends(OK);
    stage.laterna(&["drop", "counter", "--yes", "-o", "json"]).ends(OK).json();
    stage.laterna(&["show", "counter"]).ends(FAILURE);
    stage.laterna(&["ls"]).ends(OK).says("laterna plugin add");
    let counter = guest("counter");
    stage.laterna(&["plugin", "add", counter.to_str().unwrap()]).ends(OK).says("create");
    stage.caught_up();
    stage.laterna(&["plugin", "add", counter.to_str().unwrap(), "--name", "../x.wasm"]).ends(FAILURE);
}

#[test]
fn rebuilding_by_hand() {
    let hold = |home: Home| home.with("defaults", "on_change = \"hold\"");
    let mut stage = Stage::new("command line: rebuilding", hold);
    stage.caught_up();
    stage.laterna(&["rebuild", "counter", "--dry-run"]).ends(OK).says("300 events").says("counts");
    assert_eq!(stage.laterna(&["rebuild", "counter", "--dry-run", "-o", "json"]).json()["events"], 300);
    stage.laterna(&["rebuild", "counter"]).ends(USAGE).says("300 events").complains("--yes");
    stage.laterna(&["diff", "counter"]).ends(FAILURE).complains("laterna rebuild counter");
    // Slow enough to be met under way.
    stage.laterna(&["rebuild", "counter", "--yes", "--max-rate", "20"]).ends(OK).says("counter-g2 has begun");
    stage.laterna(&["rebuild", "counter", "--yes"]).ends(FAILURE).complains("(rebuild_active)");
    stage.laterna(&["rebuild", "cancel", "counter"]).ends(USAGE).says("counter-g2");
    stage.laterna(&["rebuild", "cancel", "counter-g2", "--yes"]).ends(OK);
    stage.engine.wait_projection("counter", "alone", |s| s["generations"].as_array().unwrap().len() == 1);
    // Another build, held back: a rebuild takes it where it is told to.
    stage.home.drop_in_build("counter_double", "counter.wasm", 1);
    stage.engine.wait_projection("counter", "with a plan", |status| status["plan"]["held"] == true);
    stage.laterna(&["ls"]).says("laterna deploy counter");
    stage.laterna(&["deploy", "counter"]).ends(USAGE).says("rebuild");
    stage.laterna(&["rebuild", "counter", "--dry-run"]).ends(OK).says("the build that runs");
    stage.laterna(&["rebuild", "counter", "--dry-run", "--held"]).ends(OK).says("a build that is held back");
    let held = ["rebuild", "counter", "--held", "--yes", "--switch", "manual", "--watch"];
    let watched = stage.laterna(&held).ends(OK);
    let id = "counter-g3";
    let watched = watched.says(&format!("rebuild {id} (generation 1 → 3) is ready"));
    assert!(!watched.out.contains('\r'), "plain lines: {watched:?}");
    stage.laterna(&["diff", "counter", "--samples", "2"]).ends(OK).says("the first 2 rows").says("→");
    assert!(stage.laterna(&["diff", id, "-o", "json"]).ends(OK).json()["tables"].is_array());
    stage.laterna(&["rebuild", "switch", "counter"]).ends(OK).says("laterna rollback counter");
    stage.engine.wait_projection("counter", "on generation 3", |status| status["generation"] == 3);
    stage.laterna(&["rebuild", "watch", id]).ends(OK).says("switched");
    stage.laterna(&["rebuild", "rollback", "counter"]).ends(USAGE).says("generation 1");
    let back = stage.laterna(&["rollback", "counter", "--yes", "-o", "json"]).ends(OK).json();
    assert_eq!(back["generation"], 1);
    stage.laterna(&["rebuild", "watch", "counter-g2"]).ends(FAILURE).says("cancelled");
    stage.laterna(&["deploy", "counter", "--yes"]).ends(OK).says("the rebuild counter-g4 has begun");
    stage.engine.wait_projection("counter", "on generation 4", |status| status["generation"] == 4);
    // Generation 3 has the higher number, and generation 1 was left last.
    stage.laterna(&["rollback", "counter"]).ends(USAGE).says("generation 1 again");
    assert_eq!(stage.laterna(&["rollback", "counter", "--yes", "-o", "json"]).ends(OK).json()["generation"], 1);
    stage.laterna(&["rebuild", "switch", "nobody"]).ends(FAILURE).complains("neither a rebuild nor a projection");
}

#[test]
fn tokens_are_given_by_variable_file_or_flag() {
    let folder = Folder::new("command-line-tokens");
    let token = "a-token-of-the-operator-0123456789";
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let given = format!("tokens = [{{ name = \"ci\", role = \"operator\", token = {{ file = {file:?} }} }}]");
    let mut stage = Stage::new("command line: tokens", |home| home.with("http", given));
    let url = stage.engine.url();
    let said = |environment: &[(&str, &str)], arguments: &[&str]| {
        let all: Vec<(&str, &str)> = environment.iter().copied().chain([("LATERNA_URL", url.as_str())]).collect();
        laterna_with(&all, arguments)
    };
    wait::until("the engine to be ready", wait::PATIENCE, || {
        let said = said(&[], &["healthcheck"]);
        if said.code == OK { Ok(()) } else { Err(format!("{said:?}")) }
    });
    assert!(stage.engine.ended().is_none());
    said(&[], &["ls"]).ends(FAILURE).complains("LATERNA_TOKEN_FILE").complains("(token_needed)");
    said(&[("LATERNA_TOKEN", "another")], &["ls"]).ends(FAILURE);
    said(&[("LATERNA_TOKEN", token)], &["ls"]).ends(OK);
    said(&[("LATERNA_TOKEN_FILE", file.to_str().unwrap())], &["ls"]).ends(OK);
    said(&[("LATERNA_TOKEN", "another")], &["--token", token, "ls"]).ends(OK);
    said(&[("LATERNA_TOKEN_FILE", "/no/such/file")], &["ls"]).ends(USAGE).complains("LATERNA_TOKEN_FILE");
}

#[test]
fn where_no_engine_answers_it_is_said_how_to_find_one() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let said = |arguments: &[&str]| laterna_with(&[("LATERNA_URL", &url)], arguments);
    said(&["ls"]).ends(FAILURE).complains(&format!("no engine answers at {url}")).complains("--url");
    said(&["top", "-n", "1"]).ends(FAILURE).says("no engine answers");
    said(&["healthcheck"]).ends(UNHEALTHY).complains("no engine answers");
    said(&["ls", "--url", "127.0.0.1:8484"]).ends(USAGE).complains("http://HOST:PORT");
    said(&["ls", "-o", "yaml"]).ends(USAGE);
    // The shell's completions: nothing rather than an error.
    let names = laterna_with(
        &[("LATERNA_URL", &url), ("COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", "2")],
        &["--", "laterna", "pause", ""],
    );
    assert_eq!(names.code, OK, "{names:?}");
}

#[test]
fn the_shell_is_told_the_names_of_projections() {
    let mut stage = Stage::new("command line: completion", |home| home);
    stage.caught_up();
    let url = stage.engine.url();
    let environment =
        [("LATERNA_URL", url.as_str()), ("COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", "2"), ("_CLAP_IFS", "\n")];
    laterna_with(&environment, &["--", "laterna", "pause", "co"]).ends(OK).says("counter");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        laterna_with(&[], &["completions", shell]).ends(OK).says("COMPLETE");
    }
}

#[test]
fn the_doctor_names_what_is_away_and_what_mends_it() {
    let folder = Folder::new("command-line-doctor");
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    let plugins = format!("plugins_dir={}", folder.path().join("plugins").display());
    let database = format!("database.url=sqlite://{}", folder.path().join("db").display());
    let files = format!("file.dir={}", folder.path().display());
    let cache = format!("cache_dir={}", folder.path().join("cache").display());
    let url = format!("http://127.0.0.1:{}", free_port());
    let with = |database: &str| {
        let set = ["--set", &plugins, "--set", database, "--set", "source=file", "--set", &files, "--set", &cache];
        laterna_with(&[("LATERNA_URL", &url)], &[&set[..], &["doctor"]].concat())
    };
    with(&database).ends(OK).says("ok      database").says("--      running engine").says("wasm32-unknown-unknown");
    assert!(!folder.path().join("db").exists(), "to look makes no database");
    let away = format!("database.url=postgres://nobody@127.0.0.1:{}/none", free_port());
    with(&away).ends(UNHEALTHY).says("AWAY    database").says("export DATABASE_URL=");
}

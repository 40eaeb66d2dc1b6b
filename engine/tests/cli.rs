//! The binary as a user meets it: exit codes, first lines, the demo, golden events, signals. No service is needed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failure is to stop the test where it happens")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Long enough for a debug build on a busy machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

fn laterna(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_laterna"));
    command.current_dir(dir).env_clear().env("RUST_BACKTRACE", "1");
    command
}

fn run(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output: Output = laterna(dir).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Ends the process with the test, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn terminate(&mut self) -> i32 {
        let status = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status().unwrap();
        assert!(status.success());
        wait(|| self.0.try_wait().unwrap().map(|status| status.code().unwrap_or(-1)))
    }
}

/// Waits until there is something.
fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited for {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn json(address: &str, path: &str) -> Option<serde_json::Value> {
    let answer = get(address, path)?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// Reads lines until one has the page's address; the rest is read on in the background, so that the process never blocks.
fn address(from: impl Read + Send + 'static) -> String {
    let mut lines = BufReader::new(from).lines().map_while(Result::ok);
    let found = lines.by_ref().find_map(|line| {
        let (_, rest) = line.split_once("http://")?;
        Some(rest.split_once("/ui/")?.0.to_owned())
    });
    std::thread::spawn(move || lines.for_each(drop));
    found.expect("the address of the dashboard")
}

#[test]
fn versions_help_and_completions() {
    let dir = temporary();
    let (code, out, _) = run(dir.path(), &["--version"]);
    assert_eq!((code, out.starts_with("laterna 0.")), (0, true));
    let (code, out, _) = run(dir.path(), &["completions", "bash"]);
    assert!(code == 0 && out.contains("_clap_complete_laterna"), "{out}");
    assert_eq!(run(dir.path(), &["no-such-command"]).0, 2);
    assert_eq!(run(dir.path(), &["run", "--graceful-shutdown-limit-secs", "0"]).0, 2);
}

#[test]
fn the_configuration_is_shown_and_its_problems_are_usage_errors() {
    let dir = temporary();
    let (code, out, _) = run(dir.path(), &["config", "show", "--set", "database.url=postgres://u:hunter2@h/d"]);
    assert!(
        code == 0 && out.contains("postgres://u:***@h/d") && out.contains("# --set") && !out.contains("hunter2"),
        "{out}"
    );
    let (code, out, _) = run(dir.path(), &["config", "schema"]);
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, schema["properties"]["http"]["properties"]["listen"]["default"].as_str()),
        (0, Some("127.0.0.1:8484"))
    );
    std::fs::write(dir.path().join("laterna.toml"), "plugin_dir = \"x\"\n[defaults]\non_error = \"park\"\n").unwrap();
    for command in ["run", "check"] {
        let (code, _, err) = run(dir.path(), &[command]);
        assert!(
            code == 2 && err.contains("laterna.toml:1: plugin_dir: unknown key; did you mean `plugins_dir`?"),
            "{err}"
        );
        assert!(err.contains("laterna.toml:3: defaults.on_error") && err.contains("later release"), "{err}");
    }
    assert_eq!(run(dir.path(), &["-c", "absent.toml", "config", "show"]).0, 2);
}

#[test]
fn a_start_that_cannot_be_says_what_to_do() {
    let dir = temporary();
    let file_source = ["run", "--set", "source=file", "--set", "http.listen=127.0.0.1:0"];
    let (code, _, err) = run(dir.path(), &file_source);
    assert!(code == 1 && err.contains("plugins") && err.contains("mkdir -p plugins"), "{err}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("http.listen={}", taken.local_addr().unwrap());
    let (code, _, err) = run(dir.path(), &["run", "--set", "source=file", "--set", &listen]);
    assert!(code == 1 && err.contains("could not be opened") && err.contains("--set http.listen="), "{err}");
}

#[test]
fn a_file_that_is_no_plugin_is_refused() {
    let dir = temporary();
    std::fs::create_dir(dir.path().join("plugins")).unwrap();
    std::fs::write(dir.path().join("plugins/text.wasm"), "this is text").unwrap();
    let (code, out, _) = run(dir.path(), &["inspect", "plugins/text.wasm"]);
    assert!(code == 1 && out.contains("does not run"), "{out}");
    let (code, out, _) = run(dir.path(), &["inspect", "-o", "json", "plugins/text.wasm"]);
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &document["valid"]), (1, &serde_json::Value::Bool(false)));
    let (code, out, _) = run(dir.path(), &["check", "--set", "source=file"]);
    assert!(code == 1 && out.contains("FAILED  plugins/text.wasm"), "{out}");
    assert_eq!(run(dir.path(), &["inspect", "absent.wasm"]).0, 1);
}

#[test]
fn a_bundled_plugin_is_shown() {
    let dir = temporary();
    let plugin = repository().join("plugins/order_summary.wasm");
    let plugin = plugin.to_str().unwrap();
    let (code, out, err) = run(dir.path(), &["inspect", plugin]);
    assert_eq!(code, 0, "{out}{err}");
    for expected in
        ["projection  order_summary", "topic       orders", "CREATE TABLE", "PRIMARY KEY", "verdict     it runs"]
    {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    let (_, out, _) = run(dir.path(), &["inspect", "-o", "json", plugin]);
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["descriptor"]["name"], "order_summary");
}

#[test]
fn check_looks_at_plugins_database_and_source() {
    let dir = temporary();
    std::fs::create_dir_all(dir.path().join("plugins")).unwrap();
    std::fs::copy(repository().join("plugins/products.wasm"), dir.path().join("plugins/products.wasm")).unwrap();
    let (code, out, err) = run(dir.path(), &["check", "--connect", "--set", "source=file"]);
    assert!(code == 3 && out.contains("AWAY    files: the folder events/products does not exist"), "{out}{err}");
    std::fs::create_dir_all(dir.path().join("events/products")).unwrap();
    let (code, out, err) = run(dir.path(), &["check", "--connect", "--set", "source=file"]);
    assert!(code == 0 && out.contains("ok      database:"), "{out}{err}");
    assert!(!dir.path().join("laterna.db").exists(), "to look makes no database");
    std::fs::copy(repository().join("plugins/products.wasm"), dir.path().join("plugins/twice.wasm")).unwrap();
    let (code, out, _) = run(dir.path(), &["check", "--set", "source=file"]);
    assert!(code == 1 && out.contains("one name runs once"), "{out}");
    let (code, out, _) = run(dir.path(), &["check", "--set", "kafka.properties.group.id=x"]);
    assert!(code == 1 && out.contains("group.id can't be set"), "{out}");
}

#[test]
fn golden_events_pass_and_a_wrong_row_is_shown() {
    let dir = temporary();
    let example = dir.path().join("daily_sales");
    std::fs::create_dir(&example).unwrap();
    let source = repository().join("examples/daily_sales");
    std::fs::copy(source.join("events.jsonl"), example.join("events.jsonl")).unwrap();
    let plugin = repository().join("plugins/daily_sales.wasm");
    let test = |more: &[&str]| {
        run(dir.path(), &[&["test", "daily_sales", "--plugin", plugin.to_str().unwrap()], more].concat())
    };
    let (code, out, _) = test(&[]);
    assert!(code == 1 && out.contains("`--update` writes it"), "{out}");
    assert_eq!(test(&["--update"]).0, 0);
    let (code, out, err) = test(&[]);
    assert!(code == 0 && out.contains("1 passed, 0 failed"), "{out}{err}");
    // What the engine writes is what independent code expects.
    let expected = example.join("expected/daily_sales.jsonl");
    let rows = |path: &Path| -> Vec<serde_json::Value> {
        std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!(rows(&expected), rows(&source.join("expected/daily_sales.jsonl")));
    let text = std::fs::read_to_string(&expected).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.pop();
    std::fs::write(&expected, lines.join("\n")).unwrap();
    let (code, out, _) = test(&[]);
    assert!(code == 1 && out.contains("unexpected row") && out.contains("0 passed, 1 failed"), "{out}");
}

#[test]
fn the_fixed_demo_is_the_same_every_time() {
    let dir = temporary();
    let (code, first, err) = run(dir.path(), &["demo", "--once"]);
    assert_eq!(code, 0, "{first}{err}");
    assert!(
        first.contains("orders (975 rows") && first.contains("products (200 rows") && first.contains("daily_sales"),
        "{first}"
    );
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing stays behind");
    assert_eq!(run(dir.path(), &["demo", "--once", "--dir", "kept"]).1, first);
    assert_eq!(run(dir.path(), &["demo", "--once", "--dir", "kept"]).1, first);
}

#[test]
fn the_demo_flows_answers_takes_a_plugin_and_goes_on() {
    let dir = temporary();
    // The checkpoint of each partition of each projection.
    let checkpoints = |address: &str| -> Option<BTreeMap<String, i64>> {
        let value = json(address, "/api/v1/projections")?;
        let mut found = BTreeMap::new();
        for projection in value["projections"].as_array()? {
            for partition in projection["partitions"].as_array()? {
                let place = format!("{} {} {}", projection["name"], partition["topic"], partition["partition"]);
                found.insert(place, partition["next_offset"].as_i64()?);
            }
        }
        Some(found)
    };
    let start = || {
        let mut command = laterna(dir.path());
        command.args(["demo", "--listen", "127.0.0.1:0", "--rate", "200"]);
        let mut running = Running::start(command);
        std::thread::spawn({
            let err = running.0.stderr.take().unwrap();
            move || BufReader::new(err).lines().map_while(Result::ok).for_each(|line| eprintln!("{line}"))
        });
        let address = address(running.0.stdout.take().unwrap());
        (running, address)
    };
    let (mut running, address) = start();
    // Four partitions of orders for two projections, two of products for one.
    let first = wait(|| checkpoints(&address).filter(|found| found.len() == 10 && found.values().sum::<i64>() > 200));
    wait(|| get(&address, "/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200")));
    let metrics = get(&address, "/metrics").unwrap();
    assert!(metrics.contains("laterna_records_applied_total{projection=\"daily_sales\"}"), "{metrics}");
    std::fs::write(dir.path().join("laterna-demo/plugins/broken.wasm"), "no plugin").unwrap();
    wait(|| json(&address, "/api/v1/plugins").filter(|value| value["rejected"][0]["file"] == "broken.wasm"));
    let begun = Instant::now();
    assert_eq!(running.terminate(), 0);
    assert!(begun.elapsed() < Duration::from_secs(10));
    std::fs::remove_file(dir.path().join("laterna-demo/plugins/broken.wasm")).unwrap();
    let (mut running, address) = start();
    wait(|| {
        let second = checkpoints(&address)?;
        let went_back = second.iter().find(|(place, offset)| first.get(*place).is_some_and(|before| *offset < before));
        assert_eq!(went_back, None, "a second run goes on where the first one was");
        (second.len() == 10).then_some(())
    });
    assert_eq!(running.terminate(), 0);
}

#[test]
fn a_run_answers_while_the_database_is_away_and_ends_at_a_signal() {
    let dir = temporary();
    std::fs::create_dir_all(dir.path().join("plugins")).unwrap();
    // A port that was free a moment ago: nothing answers there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = laterna(dir.path());
    command.args(["run", "--set", "source=file", "--set", "http.listen=127.0.0.1:0", "--set"]);
    command.arg(format!("database.url=postgres://u:hunter2@{closed}/d"));
    let mut running = Running::start(command);
    let address = address(running.0.stderr.take().unwrap());
    let answer = wait(|| get(&address, "/readyz").filter(|answer| answer.contains("database")));
    assert!(answer.starts_with("HTTP/1.1 503") && !answer.contains("hunter2"), "{answer}");
    assert!(get(&address, "/livez").unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(running.terminate(), 0);
}

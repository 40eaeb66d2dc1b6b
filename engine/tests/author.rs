//! The author's loop as an author meets it, without a toolchain: a project's build is a copy of a plugin that is there already. That Rust's own
//! tools build what `new` makes is tested where there are some: `tests/all/author.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failure is to stop the test where it happens")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Long enough for a debug build on a busy machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

const SAMPLE: &str = r#"{"key":"o-1","value":{"type":"order.placed","orderId":"o-1","placed_at_ms":1767225600000,"total":"12.50"},"timestamp":1767225600000}
{"key":"o-1","value":{"type":"order.cancelled","orderId":"o-1","reason":"late"},"timestamp":1767225602000}
{"key":"o-2","value":null,"timestamp":1767225604000}
"#;

fn laterna(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_laterna"));
    command.current_dir(dir).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}

fn run(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let output = laterna(dir).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).join("");
    (output.status.code().unwrap_or(-1), text)
}

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("plugins").join(name)
}

/// A project whose one source is a plugin.
fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put(
        "plugin.toml",
        "language = \"rust\"\nbuild = [[\"sh\", \"build.sh\"]]\noutput = \"made/plugin.wasm\"\nwatch = [\"src\"]\n",
    );
    put("build.sh", "mkdir -p made\ncp \"$(cat src/name)\" made/plugin.wasm\n");
    put("src/name", bundled("order_summary.wasm").to_str().unwrap());
    let event = |id: &str, quantity: u32| {
        format!(
            r#"{{"key":"{id}","value":{{"type":"order.placed","order_id":"{id}","placed_at_ms":1,"items":[{{"sku":"a","quantity":{quantity},"unit_price":"1.50"}}]}}}}"#
        )
    };
    put("tests/orders.jsonl", &[event("o-1", 1), event("o-2", 2), event("o-1", 3)].join("\n"));
    dir
}

#[test]
fn a_new_project_is_whole_or_not_there_and_nothing_is_asked_without_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("s.jsonl"), SAMPLE).unwrap();
    for (arguments, code, expected) in [
        (&["new", "totals"][..], 2, "--lang, one of rust"),
        (&["new", "Totals", "--lang", "rust"], 2, "\"Totals\" is not an identifier"),
        (&["new", "order", "--lang", "rust"], 2, "reserved word of SQL"),
        (&["new", "impl", "--lang", "rust"], 2, "key word of a programming language"),
        (&["new", "totals", "--lang", "cobol"], 2, "\"cobol\" is no language"),
        (&["new", "totals", "--lang", "rust", "--from-sample", "none.jsonl"], 1, "none.jsonl cannot be read"),
        (
            &["new", "totals", "--lang", "rust", "--from-sample", "s.jsonl", "--from-topic", "t"],
            2,
            "cannot be used with",
        ),
    ] {
        let (found, said) = run(dir.path(), arguments);
        assert!(found == code && said.contains(expected), "{arguments:?}: {found} {said}");
        assert!(!dir.path().join("totals").exists(), "{arguments:?}");
    }
    let new = ["new", "totals", "--lang", "rs", "--from-sample", "s.jsonl", "--topic", "orders", "--no-build"];
    let (code, said) = run(dir.path(), &new);
    assert!(code == 0 && said.contains("a projection in rust that reads the topic orders"), "{said}");
    let source = std::fs::read_to_string(dir.path().join("totals/src/lib.rs")).unwrap();
    for line in [
        "    totals(order_id: String) {",
        "        total: Option<Decimal>,",
        "        placed_at: Option<Timestamp>,",
        "    #[serde(rename = \"order.cancelled\")]",
        "        None => changes.push(Gone { order_id }),",
    ] {
        assert!(source.lines().any(|found| found == line), "no {line:?} in\n{source}");
    }
    let events = std::fs::read_to_string(dir.path().join("totals/tests/events.jsonl")).unwrap();
    assert_eq!(events.lines().count(), 3);
    assert!(dir.path().join("totals/sdk/wit/projection.wit").is_file(), "the SDK stands on its own");
    let (code, said) = run(dir.path(), &new);
    assert!(code == 1 && said.contains("totals exists already"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
}

#[test]
fn a_build_is_what_the_engine_takes() {
    let dir = project();
    let (code, said) = run(dir.path(), &["build"]);
    assert!(
        code == 0 && said.starts_with("$ sh build.sh\norder_summary.wasm: projection order_summary revision 1"),
        "{said}"
    );
    let built = std::fs::read(dir.path().join("order_summary.wasm")).unwrap();
    assert!(built == std::fs::read(bundled("order_summary.wasm")).unwrap());
    assert_eq!(run(dir.path(), &["build", ".", "-o", "other.wasm"]).0, 0);
    std::fs::write(dir.path().join("src/name"), "src/name").unwrap();
    let (code, said) = run(dir.path(), &["build", "-o", "third.wasm"]);
    assert!(
        code == 1 && said.contains("made/plugin.wasm does not run (not_wasm)") && said.contains("the file is text"),
        "{said}"
    );
    assert!(!dir.path().join("third.wasm").exists() && dir.path().join("other.wasm").exists());
}

#[test]
fn tests_write_what_changed_and_tell_the_events_that_made_a_row() {
    let dir = project();
    let (code, said) = run(dir.path(), &["test"]);
    assert!(code == 1 && said.contains("`--update` writes it"), "{said}");
    let (code, said) = run(dir.path(), &["test", "--update"]);
    let rows = "tests/orders.expected/orders.jsonl";
    assert!(
        code == 0 && said.contains(&format!("written to {rows}, tests/orders.expected/order_items.jsonl")),
        "{said}"
    );
    let (code, said) = run(dir.path(), &["test", "--update"]);
    assert!(code == 0 && said.contains("as expected before"), "{said}");
    let (code, said) = run(dir.path(), &["test"]);
    assert!(code == 0 && said.contains("ok      tests/orders.jsonl: 3 events, 4 rows in 2 table(s)"), "{said}");
    let path = dir.path().join(rows);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"4.50\"", "\"4.00\"")).unwrap();
    let (code, said) = run(dir.path(), &["test"]);
    let expected = "  orders order_id=\"o-1\": total is \"4.50\", expected \"4.00\"\n    expected by tests/orders.expected/orders.jsonl:1\n    written last by tests/orders.jsonl:3\n    before that by tests/orders.jsonl:1\n";
    assert!(code == 1 && said.contains(expected), "{said}");
    let (code, said) = run(dir.path(), &["test", "--filter", "invoices"]);
    assert!(code == 1 && said.contains("no case has \"invoices\" in its path"), "{said}");
    assert_eq!(run(dir.path(), &["test", "--filter", "orders", "--update"]).0, 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_topic_is_shown_as_the_lines_that_everything_reads() {
    let dir = tempfile::tempdir().unwrap();
    let topic = dir.path().join("events/orders");
    std::fs::create_dir_all(&topic).unwrap();
    std::fs::write(topic.join("0.jsonl"), SAMPLE).unwrap();
    let bytes = "{\"key\":{\"base64\":\"/w==\"},\"value\":{\"base64\":\"AP8=\"},\"headers\":{\"h\":\"1\"},\"timestamp\":1767225601000}\n";
    std::fs::write(topic.join("1.jsonl"), format!("{bytes}{{\"key\":\"half")).unwrap();
    let tap = |more: &[&str]| run(dir.path(), &[&["--set", "source=file", "tap", "orders"], more].concat());
    let (code, all) = tap(&[]);
    assert_eq!((code, all.lines().count()), (0, 4), "{all}");
    let second = r#"{"topic":"orders","partition":1,"offset":0,"timestamp":1767225601000,"key":{"base64":"/w=="},"value":{"base64":"AP8="},"headers":[["h","1"]]}"#;
    assert_eq!(all.lines().nth(1), Some(second), "in the order of time, bytes as base64");
    assert!(all.starts_with(r#"{"topic":"orders","partition":0,"offset":0,"timestamp":1767225600000,"key":"o-1","value":{"type":"order.placed","#), "{all}");
    let (_, last) = tap(&["-n", "1"]);
    assert_eq!(last, all.lines().last().unwrap().to_owned() + "\n");
    let (_, first) = tap(&["-n", "1", "--from", "earliest", "--save", "first.jsonl"]);
    assert!(first.starts_with(all.lines().next().unwrap()), "{first}");
    assert_eq!(
        std::fs::read_to_string(dir.path().join("first.jsonl")).unwrap().trim_end(),
        all.lines().next().unwrap()
    );
    let (code, said) = run(
        dir.path(),
        &["--set", "source=file", "new", "totals", "--lang", "rust", "--from-topic", "orders", "--no-build"],
    );
    assert!(code == 0 && said.contains("1 of 4 events have no JSON object"), "{said}");
    // What was tapped goes back into the file source as it is.
    std::fs::write(topic.join("0.jsonl"), &all).unwrap();
    std::fs::remove_file(topic.join("1.jsonl")).unwrap();
    let again = tap(&[]).1;
    let without_place = |text: &str| {
        text.lines().map(|line| line.split_once("\"timestamp\"").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(without_place(&again), without_place(&all));
    let (code, said) = run(dir.path(), &["--set", "source=file", "tap", "none"]);
    assert!(code == 1 && said.contains("events/none does not exist") && said.contains("--set source=kafka"), "{said}");
}

#[test]
fn steps_show_rows_changes_and_rows() {
    let dir = project();
    let (code, said) = run(dir.path(), &["dev", "--once", "--step"]);
    assert_eq!(code, 0, "{said}");
    for expected in [
        "orders:0:2 key o-1\n  upsert orders(order_id o-1):",
        "  ~ orders(order_id o-1): item_count 1 → 3, last_offset 0 → 2, total 1.50 → 4.50\n",
        "  (tests/orders.jsonl:3)",
        "orders (2 rows)\n",
        "3 events replayed through order_summary revision 1",
    ] {
        assert!(said.contains(expected), "no {expected:?} in\n{said}");
    }
}

/// A running `dev`, and what it has said.
struct Dev {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Dev {
    fn start(dir: &Path) -> Self {
        let mut command = laterna(dir);
        command.args(["dev", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    *said.lock().unwrap() += &format!("{line}\n");
                }
            });
        }
        Self { child, said }
    }

    /// Waits until it says this, and takes what it has said up to then.
    fn says(&self, words: &str) -> String {
        let begun = Instant::now();
        loop {
            {
                let mut said = self.said.lock().unwrap();
                if let Some(at) = said.find(words) {
                    let end = said[at..].find('\n').map_or(said.len(), |end| at + end);
                    return said.drain(..end).collect();
                }
                assert!(begun.elapsed() < PATIENCE, "no {words:?} in\n{said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn digest(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /api/v1/plugins HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    body["plugins"][0]["projection"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_saved_file_becomes_new_rows_and_a_failure_leaves_the_old_ones() {
    let dir = project();
    let dev = Dev::start(dir.path());
    let first = dev.says("new rows after");
    let address = first.split_once("http://").unwrap().1.split_once("/ui/").unwrap().0.to_owned();
    assert!(first.contains("orders (2 rows)"), "{first}");
    assert_eq!(digest(&address), "order_summary");
    let (code, said) = run(dir.path(), &["dev", "--once"]);
    assert!(code == 1 && said.contains("another `laterna dev` runs in this project"), "{said}");
    // A build that fails.
    std::fs::write(dir.path().join("src/name"), "/no/such/plugin.wasm").unwrap();
    let said = dev.says("the rows before stay");
    assert!(said.contains("`sh build.sh` failed") && said.contains("/no/such/plugin.wasm"), "{said}");
    assert_eq!(digest(&address), "order_summary");
    // An event that the plugin cannot take.
    std::fs::write(dir.path().join("src/name"), bundled("order_summary.wasm").to_str().unwrap()).unwrap();
    dev.says("the rows are the same as before");
    let events = dir.path().join("tests/orders.jsonl");
    let text = std::fs::read_to_string(&events).unwrap();
    std::fs::write(
        &events,
        format!("{text}\n{}\n", r#"{"key":"o-9","value":{"type":"order.placed","order_id":"o-9"}}"#),
    )
    .unwrap();
    let said = dev.says("the rows before stay");
    assert!(
        said.contains("tests/orders.jsonl:4: event_rejected") && said.contains("missing field `placed_at_ms`"),
        "{said}"
    );
    // Other events.
    std::fs::write(&events, text.replace("\"quantity\":3", "\"quantity\":5")).unwrap();
    let said = dev.says("new rows after");
    assert!(said.contains("~ orders(order_id o-1): item_count 3 → 5, total 4.50 → 7.50"), "{said}");
    // Another plugin.
    std::fs::write(dir.path().join("src/name"), bundled("daily_sales.wasm").to_str().unwrap()).unwrap();
    let said = dev.says("new rows after");
    assert!(said.contains("daily_sales (1 rows)"), "{said}");
    assert_eq!(digest(&address), "daily_sales");
    let ended = Command::new("kill").arg("-TERM").arg(dev.child.id().to_string()).status().unwrap();
    assert!(ended.success());
}

#[test]
fn build_watches_and_goes_on_after_a_failure() {
    let dir = project();
    let log = dir.path().join("log");
    let out = std::fs::File::create(&log).unwrap();
    let mut command = laterna(dir.path());
    command.args(["build", "--watch"]).stdout(out.try_clone().unwrap()).stderr(out);
    let mut child = command.spawn().unwrap();
    let until = |words: &str| {
        let begun = Instant::now();
        while !std::fs::read_to_string(&log).unwrap().contains(words) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = std::fs::read_to_string(&log).unwrap();
        (said.contains(words), said)
    };
    let mut told = vec![until("order_summary.wasm: projection order_summary revision 1")];
    std::fs::write(dir.path().join("src/name"), "none.wasm").unwrap();
    told.push(until("`sh build.sh` failed"));
    std::fs::write(dir.path().join("src/name"), bundled("products.wasm").to_str().unwrap()).unwrap();
    told.push(until("products.wasm: projection products revision 1"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(told.iter().all(|(is_told, _)| *is_told), "{}", told.last().unwrap().1);
    assert!(dir.path().join("order_summary.wasm").is_file(), "what failed takes nothing away");
    assert!(dir.path().join("products.wasm").is_file());
}

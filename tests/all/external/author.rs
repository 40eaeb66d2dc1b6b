//! The author's commands on a real topic: `tap`, `new --from-topic`, `dev --topic`.

use std::path::Path;
use std::process::{Command, Stdio};

use laterna_tests::engine::{binary, workspace};
use laterna_tests::guardian::Folder;
use laterna_tests::kafka_log::create_topic;
use laterna_tests::load::{Draft, Sender};
use laterna_tests::services::{Kafka, Lease};

const TOPIC: &str = "orders";

/// Runs a command in the folder with this broker; gives its exit code and all that it says.
fn laterna(dir: &Path, bootstrap: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(binary());
    command.current_dir(dir).args(["--set", &format!("kafka.bootstrap_servers={bootstrap}")]).args(arguments);
    for name in ["LATERNA_CONFIG", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BROKERS"] {
        command.env_remove(name);
    }
    let output = command.stdin(Stdio::null()).output().expect("run laterna");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8")).join("");
    (output.status.code().unwrap_or(-1), text)
}

fn order(id: &str, quantity: u32) -> Draft {
    let value = format!(
        r#"{{"type":"order.placed","order_id":"{id}","customer_id":null,"placed_at_ms":1767225600000,"items":[{{"sku":"a","quantity":{quantity},"unit_price":"1.50"}}]}}"#
    );
    Draft::text(id, value)
}

#[test]
fn a_topic_is_tapped_makes_a_project_and_is_replayed() {
    let kafka = Lease::<Kafka>::take();
    let bootstrap = kafka.bootstrap();
    create_topic(&bootstrap, TOPIC, 2, &[]);
    let sender = Sender::new(&bootstrap, TOPIC);
    sender.send(&order("o-1", 1).at(0));
    sender.send(&order("o-2", 2).at(1));
    sender.send(&order("o-1", 3).at(0));
    assert_eq!(sender.flush().len(), 3);
    let folder = Folder::new("author-kafka");
    let dir = folder.path();

    let (code, said) = laterna(dir, &bootstrap, &["tap", TOPIC, "--save", "orders.jsonl"]);
    assert_eq!(code, 0, "{said}");
    let saved = std::fs::read_to_string(dir.join("orders.jsonl")).unwrap();
    assert_eq!(saved.lines().count(), 3, "{saved}");
    assert!(saved.contains(r#""partition":1,"offset":0"#) && saved.contains(r#""key":"o-2""#), "{saved}");
    assert!(said.contains(saved.trim_end()) && said.contains("3 events written to orders.jsonl"), "{said}");
    let (code, said) = laterna(dir, &bootstrap, &["tap", TOPIC, "-n", "1", "--from", "earliest"]);
    assert!(code == 0 && said.lines().count() == 1 && said.contains(r#""offset":0"#), "{said}");
    let (code, said) = laterna(dir, &bootstrap, &["tap", "no-such-topic"]);
    assert!(code == 1 && said.contains("no-such-topic"), "{code} {said}");

    let made = ["new", "totals", "--lang", "rust", "--from-topic", TOPIC, "--no-build"];
    let (code, said) = laterna(dir, &bootstrap, &made);
    assert!(code == 0 && said.contains("reads the topic orders"), "{said}");
    let source = std::fs::read_to_string(dir.join("totals/src/lib.rs")).unwrap();
    assert!(source.contains("order_id: String") && source.contains("placed_at: Timestamp"), "{source}");
    let events = std::fs::read_to_string(dir.join("totals/tests/events.jsonl")).unwrap();
    assert_eq!(events.lines().count(), 3, "{events}");

    // A project whose build is a plugin that is there already.
    let plugin = workspace().join("plugins/order_summary.wasm");
    let manifest = format!("language = \"rust\"\nbuild = [[\"cp\", {:?}, \"p.wasm\"]]\noutput = \"p.wasm\"\n", plugin);
    std::fs::create_dir(dir.join("summary")).unwrap();
    std::fs::write(dir.join("summary/plugin.toml"), manifest).unwrap();
    let replayed = ["dev", "summary", "--topic", TOPIC, "--from", "earliest", "--once", "--step"];
    let (code, said) = laterna(dir, &bootstrap, &replayed);
    assert!(code == 0 && said.contains("3 events replayed through order_summary revision 1"), "{said}");
    assert!(said.contains("orders (2 rows)") && said.contains("orders:1:0 key o-2"), "{said}");
    let (code, said) = laterna(dir, &bootstrap, &["dev", "summary", "--topic", TOPIC, "--from", "-1", "--once"]);
    assert!(code == 0 && said.contains("1 events replayed"), "{said}");
}

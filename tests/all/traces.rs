//! Traces: what of a run arrives at a collector, and that one which does not answer holds up nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use laterna_tests::collector::{Collector, Received};
use laterna_tests::engine::{Engine, From, Home};
use laterna_tests::file_log::{FileLog, FileSender};
use laterna_tests::guardian::Folder;
use laterna_tests::load::Draft;
use laterna_tests::oracle::{COUNTER, TOPIC, settle};
use laterna_tests::wait::{self, PATIENCE};
use serde_json::json;

const SECRET: &str = "a-key-that-no-log-shows";

/// A folder of events, and an engine's folder.
struct Stage {
    folder: Folder,
    sender: FileSender,
    home: Home,
}

impl Stage {
    fn new(guest: &str) -> Self {
        let folder = Folder::new("traces");
        let events = folder.path().join("events");
        let sender = FileSender::new(&events, TOPIC);
        let home = Home::new(From::Files(events), &Self::url(&folder), &[guest]);
        Self { folder, sender, home }
    }

    fn url(folder: &Folder) -> String {
        format!("sqlite://{}", folder.path().join("db").display())
    }

    /// Appends an event with headers.
    fn send(&mut self, value: &str, headers: &[(&str, &str)]) {
        let line = json!({ "key": "k", "value": value, "headers": headers, "timestamp": 1_767_225_600_000_i64 });
        self.sender.raw(0, format!("{line}\n").as_bytes());
    }

    async fn settle(&self) -> u64 {
        settle(&Self::url(&self.folder), COUNTER, FileLog::new(&self.folder.path().join("events"), TOPIC)).await
    }
}

fn traceparent(trace: u32) -> String {
    format!("00-{trace:032x}-{:016x}-01", trace + 100)
}

fn linked(spans: &[Received]) -> BTreeSet<(String, String, String)> {
    spans.iter().flat_map(|span| span.links.clone()).collect()
}

fn link(trace: u32, state: &str) -> (String, String, String) {
    (format!("{trace:032x}"), format!("{:016x}", trace + 100), state.to_owned())
}

/// Whether the thread runs that sends spans.
fn has_a_thread_for_spans(engine: &Engine) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", engine.pid())).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.into_iter().any(|name| name.starts_with("OpenTelemetry"))
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_arrive_as_spans_that_link_to_the_traces_of_their_events() {
    let collector = Collector::start();
    let mut stage = Stage::new("reject");
    stage.send("1", &[("traceparent", &traceparent(1))]);
    stage.send("2", &[("other", "x"), ("traceparent", &traceparent(2)), ("tracestate", "vendor=a")]);
    stage.send("3", &[("traceparent", &traceparent(1))]);
    stage.send("4", &[]);
    stage.send("5", &[("traceparent", "00-not-a-trace-01")]);
    stage.send("please reject", &[("traceparent", &traceparent(3))]);
    let (url, headers) = (collector.url(), format!("api-key={SECRET}"));
    let mut engine = stage.home.start_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", headers.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_SERVICE_NAME", "orders"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ]);
    engine.wait_halted("reject", "event_rejected");
    wait::until("the halt's span", PATIENCE, || {
        let spans = collector.spans();
        let halts = spans.iter().any(|span| span.attributes.contains_key("laterna.halted"));
        if halts { Ok(()) } else { Err(format!("{spans:?}")) }
    });
    let (halts, commits): (Vec<_>, Vec<_>) =
        collector.spans().into_iter().partition(|span| span.attributes.contains_key("laterna.halted"));
    // What the commits moved joins from the first event to the one that is rejected.
    let mut at = 0;
    for span in &commits {
        let moved = &span.attributes["laterna.partitions"];
        let next = (at + 1..=5).find(|next| *moved == format!("{TOPIC}/0 [{at}, {next})"));
        at = next.unwrap_or_else(|| panic!("{moved} does not go on at {at}: {commits:#?}"));
        assert_eq!((span.name.as_str(), span.kind, &span.error), ("process reject", 5, &None));
        assert!(span.parent.is_empty() && span.id.0.len() == 32 && span.time.0 < span.time.1, "{span:?}");
        assert_eq!(span.attributes["laterna.projection"], "reject");
        assert_eq!(span.attributes["laterna.generation"], "1");
        assert_eq!(span.attributes["laterna.plugin.digest"].len(), 64);
        assert_eq!(span.attributes["laterna.pace"], "live");
        assert_eq!(span.attributes["messaging.destination.name"], TOPIC);
        assert_eq!(span.attributes.get("messaging.system"), None, "these are files");
    }
    assert_eq!(at, 5);
    let sum = |name: &str| commits.iter().map(|span| span.attributes[name].parse::<u32>().unwrap()).sum::<u32>();
    assert_eq!((sum("messaging.batch.message_count"), sum("laterna.rows")), (5, 5));
    assert_eq!(linked(&commits), BTreeSet::from([link(1, ""), link(2, "vendor=a")]));
    assert_eq!(halts.len(), 1);
    assert_eq!(linked(&halts), BTreeSet::from([link(3, "")]));
    assert_eq!(halts[0].attributes["error.type"], "event_rejected");
    assert_eq!(halts[0].attributes["laterna.offset"], "5");
    assert!(halts[0].error.as_deref().is_some_and(|said| said.contains("asked to reject")), "{halts:?}");
    for span in commits.iter().chain(&halts) {
        assert_eq!(span.resource["service.name"], "orders");
        assert_eq!(span.resource["deployment.environment.name"], "test");
        assert!(span.resource.contains_key("service.version"), "{:?}", span.resource);
    }
    for posted in collector.posted() {
        let head = &posted.head;
        assert!(head.starts_with("post /v1/traces http/1.1\r\n") && head.contains("user-agent: laterna/"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
        assert!(head.contains(&format!("api-key: {SECRET}\r\n")), "{head}");
    }
    assert!(engine.terminate().0.success());
    assert!(!engine.output().contains(SECRET), "{}", engine.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_here_at_the_end_is_sent() {
    let collector = Collector::start();
    let mut stage = Stage::new("counter");
    stage.send("1", &[("traceparent", &traceparent(1))]);
    let url = format!("{}/its/own/path", collector.url());
    // They would be sent after a minute.
    let mut engine = stage
        .home
        .start_with(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "60000")]);
    assert_eq!(stage.settle().await, 1);
    assert!(has_a_thread_for_spans(&engine));
    assert!(engine.terminate().0.success());
    assert_eq!(linked(&collector.spans()), BTreeSet::from([link(1, "")]));
    assert!(collector.spans().iter().all(|span| span.resource["service.name"] == "laterna"));
    assert!(collector.posted().iter().all(|posted| posted.head.starts_with("post /its/own/path http/1.1\r\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_where_the_variables_do_not_ask_for_it() {
    let collector = Collector::start();
    let url = collector.url();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str());
    for (variables, said) in [
        (vec![("OTEL_SERVICE_NAME", "orders"), ("OTEL_BSP_SCHEDULE_DELAY", "10")], None),
        (vec![endpoint, ("OTEL_SDK_DISABLED", "true")], None),
        (vec![endpoint, ("OTEL_TRACES_EXPORTER", "none")], None),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], Some("OTEL_EXPORTER_OTLP_PROTOCOL: no protocol")),
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "no url")], Some("OTEL_EXPORTER_OTLP_ENDPOINT: it is no URL")),
    ] {
        let mut stage = Stage::new("counter");
        stage.send("1", &[("traceparent", &traceparent(1))]);
        let mut engine = stage.home.start_with(&variables);
        assert_eq!(stage.settle().await, 1, "{variables:?}");
        assert!(!has_a_thread_for_spans(&engine), "{variables:?}");
        assert!(engine.terminate().0.success());
        let output = engine.output();
        assert_eq!(said.is_some(), output.contains("no traces are sent"), "{output}");
        assert!(said.is_none_or(|said| output.contains(said)), "{output}");
    }
    assert!(collector.posted().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_holds_up_no_row_and_no_end() {
    let collector = Collector::hanging();
    let mut stage = Stage::new("counter");
    let some: Vec<Draft> = (0..2_000).map(|at| Draft::text(format!("k{}", at % 7), "1")).collect();
    stage.sender.send(&some);
    stage.home = stage.home.with("defaults.batch", "max_events = 10");
    let url = collector.url();
    // There are far more commits than there is room for spans, and each would wait for its own time out.
    let mut engine = stage.home.start_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "3000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
    ]);
    assert_eq!(stage.settle().await, 2_000);
    wait::until("it to be told", PATIENCE, || {
        let output = engine.output();
        if output.contains("spans are not taken") { Ok(()) } else { Err(output) }
    });
    let (status, took) = engine.terminate();
    assert!(status.success() && took < Duration::from_secs(10), "{status} after {took:?}");
    let output = engine.output();
    for once in ["spans are not taken", "made faster than they are taken", "not every span was taken"] {
        assert_eq!(output.matches(once).count(), 1, "{once}: {output}");
    }
}

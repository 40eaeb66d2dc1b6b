//! What is a trace context and what is none, and what a span says of a commit.

use std::sync::{Arc, Mutex};

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SpanData, SpanExporter};
use proptest::prelude::*;

use super::*;
use crate::error::HaltAt;
use crate::event::{Header, TopicPartition};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Keeps what is exported.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Kept {
    fn tracer(&self, sampler: Sampler, room: &Room) -> Tracer {
        let provider = SdkTracerProvider::builder().with_simple_exporter(self.clone()).with_sampler(sampler).build();
        Tracer::of(provider, room.clone(), Some("kafka"))
    }

    fn only(&self) -> SpanData {
        let spans = self.0.lock().unwrap();
        assert_eq!(spans.len(), 1);
        spans[0].clone()
    }
}

fn generation() -> Generation {
    Generation { projection: "order_summary".to_owned(), number: 3 }
}

fn event(headers: &[(&str, Option<&[u8]>)]) -> Event {
    let header =
        |(name, value): &(&str, Option<&[u8]>)| Header { name: (*name).to_owned(), value: value.map(<[u8]>::to_vec) };
    let headers = headers.iter().map(header).collect();
    Event { offset: 0, timestamp_ms: 0, key: None, value: None, headers }
}

/// An event of the trace of this number.
fn of_trace(number: usize) -> Event {
    event(&[("traceparent", Some(format!("00-{:032x}-{:016x}-01", number + 1, number + 1).as_bytes()))])
}

fn advance(topic: &str, partition: i32, expected: i64, next: i64) -> Advance {
    Advance { partition: TopicPartition::new(topic, partition), expected, next, owner_epoch: 1 }
}

fn answered<'a>(origin: &'a Origin, advances: &'a [Advance]) -> Answered<'a> {
    Answered { plugin_digest: "abc", origin, advances, events: 7, rows: 5, failure: None }
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|found| found.value.to_string())
}

#[test]
fn a_traceparent_is_what_the_standard_says_and_nothing_else() {
    let (trace_id, span_id, flags) = traceparent(PARENT.as_bytes()).unwrap();
    assert_eq!(trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!((span_id.to_string().as_str(), flags.is_sampled()), ("00f067aa0ba902b7", true));
    let with = |from: &str, to: &str| traceparent(PARENT.replace(from, to).as_bytes());
    assert!(!with("b7-01", "b7-00").unwrap().2.is_sampled());
    // A flag that is not known yet is none; a later version may go on.
    assert_eq!(with("b7-01", "b7-fe").unwrap().2, TraceFlags::NOT_SAMPLED);
    assert!(with("00-4b", "cc-4b").is_some() && traceparent(format!("cc{}-more", &PARENT[2..]).as_bytes()).is_some());
    let refused = [
        String::new(),
        PARENT[..54].to_owned(),
        format!("{PARENT}-"),
        format!(" {PARENT}"),
        format!("cc{}more", &PARENT[2..]),
        format!("ff{}", &PARENT[2..]),
        PARENT.to_uppercase(),
        PARENT.replace('-', "_"),
        PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
        PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
        PARENT.replace("4bf9", "4b-9"),
        PARENT.replace("4bf9", "+bf9"),
    ];
    for text in refused {
        assert_eq!(traceparent(text.as_bytes()), None, "{text}");
    }
}

/// The same rule, said by splitting.
fn is_valid(text: &str) -> bool {
    let is_hex = |part: &str, length| {
        part.len() == length && part.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    };
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    let [version, trace, parent, flags, ..] = parts[..] else { return false };
    is_hex(version, 2)
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && version != "ff"
        && (parts.len() == 4 || version != "00")
        && [trace, parent].iter().all(|id| id.chars().any(|c| c != '0'))
}

proptest! {
    #[test]
    fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let expected = std::str::from_utf8(&bytes).is_ok_and(is_valid);
        prop_assert_eq!(traceparent(&bytes).is_some(), expected);
        let event = event(&[("traceparent", Some(&bytes)), ("tracestate", Some(&bytes))]);
        prop_assert_eq!(context(&event).is_some(), expected);
    }

    #[test]
    fn what_is_nearly_one_is_judged(
        version in prop_oneof![Just("00"), Just("01"), Just("ff"), Just("0g")],
        trace in prop_oneof![4 => "[0-9a-f]{32}", 1 => Just("0".repeat(32)), 1 => "[0-9a-fA-F]{31,33}"],
        parent in prop_oneof![4 => "[0-9a-f]{16}", 1 => Just("0".repeat(16)), 1 => "[0-9a-fA-F]{15,17}"],
        flags in "[0-9a-f]{2}",
        more in prop_oneof![4 => Just(String::new()), 1 => "-[a-z]{0,4}", 1 => "[a-z-]{1,4}"],
    ) {
        let text = format!("{version}-{trace}-{parent}-{flags}{more}");
        let parsed = traceparent(text.as_bytes());
        prop_assert_eq!(parsed.is_some(), is_valid(&text), "{}", text);
        if let Some((trace_id, span_id, _)) = parsed {
            prop_assert_eq!((trace_id.to_string(), span_id.to_string()), (trace, parent));
        }
    }
}

#[test]
fn the_last_traceparent_holds_and_a_broken_state_is_left_out() {
    let other = PARENT.replace("4bf9", "1111");
    let trace = |headers: &[(&str, Option<&[u8]>)]| context(&event(headers));
    let last = trace(&[("traceparent", Some(other.as_bytes())), ("traceparent", Some(PARENT.as_bytes()))]).unwrap();
    assert!(last.trace_id().to_string().starts_with("4bf9") && last.is_remote());
    assert_eq!(trace(&[("traceparent", None)]), None);
    assert_eq!(trace(&[("Traceparent-x", Some(PARENT.as_bytes()))]), None);
    let parent = ("traceparent", Some(PARENT.as_bytes()));
    let state = |headers: &[(&str, Option<&[u8]>)]| trace(headers).unwrap().trace_state().header();
    assert_eq!(state(&[parent, ("tracestate", Some(b"a=1")), ("tracestate", Some(b"b=2"))]), "a=1,b=2");
    let long = format!("a={}", "x".repeat(600));
    for broken in [None, Some(&b"\xff"[..]), Some(b"no list"), Some(long.as_bytes())] {
        assert_eq!(state(&[parent, ("tracestate", broken)]), "", "{broken:?}");
    }
}

#[test]
fn a_commit_gives_one_span_that_says_what_it_moved_and_links_to_each_trace_once() {
    let (kept, room) = (Kept::default(), Room::new(9));
    let spans = kept.tracer(Sampler::AlwaysOn, &room).spans(&generation(), false);
    let mut origin = Origin::default();
    let begun = SystemTime::now() - Duration::from_secs(2);
    spans.come(&mut origin, Some(begun + Duration::from_secs(1)), &[of_trace(1), event(&[]), of_trace(2)]);
    spans.come(&mut origin, Some(begun), &[of_trace(2), of_trace(1)]);
    let advances = [advance("orders", 3, 10, 17)];
    spans.answered(&answered(&origin, &advances));
    let span = kept.only();
    assert_eq!(
        (&*span.name, span.span_kind.clone(), span.status.clone()),
        ("process order_summary", SpanKind::Consumer, Status::Unset)
    );
    assert_eq!(span.start_time, begun);
    assert!(span.end_time >= begun + Duration::from_secs(2));
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    let linked: Vec<String> = span.links.iter().map(|link| link.span_context.trace_id().to_string()).collect();
    assert_eq!(linked, [format!("{:032x}", 2), format!("{:032x}", 3)]);
    for (key, value) in [
        ("messaging.system", "kafka"),
        ("messaging.operation.type", "process"),
        ("messaging.batch.message_count", "7"),
        ("messaging.destination.name", "orders"),
        ("messaging.destination.partition.id", "3"),
        ("laterna.projection", "order_summary"),
        ("laterna.generation", "3"),
        ("laterna.plugin.digest", "abc"),
        ("laterna.pace", "live"),
        ("laterna.rows", "5"),
        ("laterna.partitions", "[\"orders/3 [10, 17)\"]"),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(attribute(&span, "error.type"), None);
    assert_eq!(attribute(&span, "laterna.links.left_off"), None);
}

#[test]
fn links_and_partitions_are_bounded_and_what_is_left_off_is_counted() {
    let (kept, room) = (Kept::default(), Room::new(9));
    let spans = kept.tracer(Sampler::AlwaysOn, &room).spans(&generation(), false);
    let mut origin = Origin::default();
    let events: Vec<Event> = (0..LINKS_MAX + 5).map(of_trace).collect();
    spans.come(&mut origin, None, &events);
    // Those that have a link already are not left off.
    spans.come(&mut origin, None, &events[..LINKS_MAX]);
    let advances: Vec<Advance> = (0..40).map(|partition| advance("orders", partition, 0, 1)).collect();
    spans.answered(&answered(&origin, &advances));
    let span = kept.only();
    assert_eq!(span.links.len(), LINKS_MAX);
    assert_eq!(attribute(&span, "laterna.links.left_off").as_deref(), Some("5"));
    assert_eq!(attribute(&span, "laterna.partitions.left_off").as_deref(), Some("8"));
    assert_eq!(attribute(&span, "messaging.destination.name").as_deref(), Some("orders"));
    assert_eq!(attribute(&span, "messaging.destination.partition.id"), None);
}

#[test]
fn a_fill_has_no_links() {
    let (kept, room) = (Kept::default(), Room::new(9));
    let spans = kept.tracer(Sampler::AlwaysOn, &room).spans(&generation(), true);
    let mut origin = Origin::default();
    spans.come(&mut origin, None, &[of_trace(1)]);
    spans.answered(&answered(&origin, &[advance("orders", 0, 0, 7), advance("payments", 0, 0, 2)]));
    let span = kept.only();
    assert!(span.links.is_empty());
    assert_eq!(attribute(&span, "laterna.pace").as_deref(), Some("bulk"));
    assert_eq!(attribute(&span, "messaging.destination.name"), None);
}

#[test]
fn a_failed_commit_and_a_halt_are_errors_under_their_names() {
    let (kept, room) = (Kept::default(), Room::new(9));
    let spans = kept.tracer(Sampler::AlwaysOn, &room).spans(&generation(), false);
    let mut origin = Origin::default();
    spans.come(&mut origin, None, &[of_trace(1)]);
    let advances = [advance("orders", 0, 0, 7)];
    spans.answered(&Answered {
        failure: Some(("fenced", "nothing was written".to_owned())),
        ..answered(&origin, &advances)
    });
    let at = HaltAt { topic: "orders".to_owned(), partition: 4, offset: 17, key: Some("a customer".to_owned()) };
    let halt =
        Halt { code: "event_rejected", reason: "no total".to_owned(), remedy: "mend it".to_owned(), at: Some(at) };
    spans.halted("abc", &halt, &origin);
    let spans = kept.0.lock().unwrap();
    assert_eq!(spans[0].status, Status::error("nothing was written"));
    assert_eq!(attribute(&spans[0], "error.type").as_deref(), Some("fenced"));
    assert_eq!(spans[1].status, Status::error("no total"));
    assert_eq!(attribute(&spans[1], "error.type").as_deref(), Some("event_rejected"));
    assert_eq!(attribute(&spans[1], "laterna.offset").as_deref(), Some("17"));
    assert_eq!(spans[1].links.len(), 1);
    assert!(!format!("{:?}", spans[1]).contains("customer"), "keys stay here");
}

#[test]
fn there_is_room_for_so_many_and_what_is_not_sampled_takes_none() {
    let (kept, room) = (Kept::default(), Room::new(2));
    let origin = Origin::default();
    let unsampled = kept.tracer(Sampler::AlwaysOff, &room).spans(&generation(), false);
    (0..5).for_each(|_| unsampled.answered(&answered(&origin, &[])));
    let spans = kept.tracer(Sampler::AlwaysOn, &room).spans(&generation(), false);
    (0..5).for_each(|_| spans.answered(&answered(&origin, &[])));
    assert_eq!(kept.0.lock().unwrap().len(), 2);
}

//! A recipe of `docs/plugins/formats.md`, compiled and run: what stands between the two lines is the page's text, word for word.

#![allow(missing_docs, reason = "the page says it all")]

// -- page
use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! { name: "payments", revision: 1, topics: ["payments"], tables: [payments], apply: apply }

table! {
    /// What was paid, by the event's identity: one that comes twice is one row.
    payments(source: String, id: String) { cents: i64, paid_at: Option<Timestamp> }
    changes { insert Paid { cents, paid_at }; }
}

#[derive(Deserialize)]
struct Payment {
    cents: i64,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let Some(event) = event.cloud_event::<Payment>()? else { return Ok(()) };
    if event.kind == "com.example.paid" {
        let (source, id, paid_at) = (event.source.clone(), event.id.clone(), event.timestamp()?);
        changes.push(Paid { source, id, cents: event.into_data()?.cents, paid_at });
    }
    Ok(())
}
// -- page

#[test]
fn an_event_of_another_kind_changes_nothing_and_one_without_data_is_at_fault() {
    let run = |text: &str| {
        let mut changes = Changes::default();
        apply(&Event::new("payments").with_value(text), &mut changes).map(|()| changes.len())
    };
    let event =
        |kind: &str, data: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"{kind}"{data}}}"#);
    assert_eq!(run(&event("com.example.paid", r#","data":{"cents":5}"#)), Ok(1));
    assert_eq!(run(&event("other", "")), Ok(0));
    assert!(run(&event("com.example.paid", "")).is_err());
}

#[test]
fn it_stands_on_the_page() {
    let recipe = include_str!("formats_cloud_events.rs").split("// -- page\n").nth(1).unwrap();
    assert!(include_str!("../../../../docs/plugins/formats.md").contains(&format!("```rust\n{recipe}```")));
}

//! A recipe of `docs/plugins/formats.md`, compiled and run: what stands between the two lines is the page's text, word for word.

#![allow(missing_docs, reason = "the page says it all")]

// -- page
use laterna_sdk::RowChange;
use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! { name: "customers", revision: 1, topics: ["shop.customers"], tables: [customers], apply: apply }

table! {
    /// The table as it is in the database that Debezium follows.
    customers(id: i64) { name: String, changed_ms: Option<i64> }
    changes {
        upsert Customer { name, changed_ms };
        delete Gone;
    }
}

#[derive(Deserialize)]
struct Row {
    id: i64,
    name: String,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let Some(RowChange { before, after, source, .. }) = event.change::<Row>()? else { return Ok(()) };
    match (before, after) {
        (_, Some(Row { id, name })) => changes.push(Customer { id, name, changed_ms: source.ts_ms }),
        (Some(Row { id, .. }), None) => changes.push(Gone { id }),
        (None, None) => {}
    }
    Ok(())
}
// -- page

#[test]
fn a_delete_and_its_tombstone_leave_no_row() {
    let run = |text: Option<&str>| {
        let event = Event::new("shop.customers");
        let event = text.map_or(event.clone(), |text| event.with_value(text));
        let mut changes = Changes::default();
        apply(&event, &mut changes).map(|()| changes.len())
    };
    assert_eq!(run(Some(r#"{"op":"c","before":null,"after":{"id":1,"name":"Ada"},"source":{"ts_ms":5}}"#)), Ok(1));
    assert_eq!(run(Some(r#"{"op":"d","before":{"id":1,"name":"Ada"},"after":null}"#)), Ok(1));
    assert_eq!(run(None), Ok(0));
    assert!(run(Some(r#"{"op":"u","after":{"id":"x"}}"#)).is_err());
}

#[test]
fn it_stands_on_the_page() {
    let recipe = include_str!("formats_debezium.rs").split("// -- page\n").nth(1).unwrap();
    assert!(include_str!("../../../../docs/plugins/formats.md").contains(&format!("```rust\n{recipe}```")));
}

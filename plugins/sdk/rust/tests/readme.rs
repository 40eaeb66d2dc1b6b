//! The README's example, compiled and run: what stands between the two lines is the README's text, word for word.

#![allow(missing_docs, reason = "the README says it all")]

// -- README
use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! {
    name: "customers",
    revision: 1,
    topics: ["orders"],
    tables: [customers],
    apply: apply,
}

table! {
    /// What a customer has spent so far.
    customers(customer_id: String) commutative {
        orders: i64,
        spent: Decimal,
        last_order_at: Timestamp,
    }
    changes {
        upsert Ordered { orders: add, spent: add, last_order_at: max };
    }
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum OrderEvent {
    #[serde(rename = "order.placed")]
    Placed { customer_id: String, placed_at_ms: i64, total: Decimal },
    #[serde(other)]
    Other,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let Some(OrderEvent::Placed { customer_id, placed_at_ms, total }) = event.json()? else { return Ok(()) };
    let last_order_at = Timestamp::from_millis(placed_at_ms)?;
    changes.push(Ordered { customer_id, orders: 1, spent: total, last_order_at });
    Ok(())
}
// -- README

#[test]
fn the_example_gives_what_the_readme_says() {
    let event = Event::new("orders")
        .with_value(r#"{"type":"order.placed","customer_id":"c-1","placed_at_ms":0,"total":"12.50"}"#);
    let mut changes = Changes::default();
    apply(&event, &mut changes).unwrap();
    let expected = Ordered {
        customer_id: "c-1".into(),
        orders: 1,
        spent: Decimal::cents(1250),
        last_order_at: Timestamp::from_micros(0),
    };
    assert_eq!(changes.into_vec(), [expected.into()]);
}

#[test]
fn the_readme_shows_exactly_this() {
    let example = include_str!("readme.rs").split("// -- README\n").nth(1).unwrap();
    assert!(include_str!("../README.md").contains(example));
}

#[test]
fn the_descriptor_is_what_the_tables_say() {
    use laterna_sdk::__private::{Guest, types};
    let descriptor = <LaternaProjection as Guest>::describe();
    assert_eq!((descriptor.name.as_str(), descriptor.revision), ("customers", 1));
    let table = &descriptor.tables[0];
    assert_eq!(table.primary_key, ["customer_id"]);
    assert_eq!(table.partitioning, types::Partitioning::Commutative);
    let columns: Vec<_> = table.columns.iter().map(|c| (c.name.as_str(), c.column_type, c.nullable)).collect();
    use types::ColumnType as T;
    assert_eq!(columns[0], ("customer_id", T::Text, false));
    assert_eq!(columns[3], ("last_order_at", T::Timestamp, false));
    let types::Action::Upsert(assignments) = &descriptor.shapes[0].action else { panic!("an upsert wanted") };
    let operations: Vec<_> = assignments.iter().map(|a| (a.column.as_str(), a.operation)).collect();
    use types::Operation as O;
    assert_eq!(operations, [("orders", O::Add), ("spent", O::Add), ("last_order_at", O::Max)]);
}

//! The cookbook's page on joins, compiled and run.

#![allow(missing_docs, reason = "the page says it all")]

#[cfg(test)]
mod cookbook;

// -- page
use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! { name: "profiles", revision: 1, topics: ["customers", "loyalty"], tables: [profiles], apply: apply }

table! {
    /// What two services know of a customer.
    profiles(customer_id: String) {
        name: Option<String>,
        points: Option<i64>,
    }
    changes {
        upsert Named { name };
        upsert Rewarded { points };
    }
}

#[derive(Deserialize)]
struct Customer {
    name: String,
}

#[derive(Deserialize)]
struct Account {
    points: i64,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let customer_id = event.key_text()?.to_owned();
    if event.topic() == "customers" {
        let name = event.json()?.map(|Customer { name }| name);
        changes.push(Named { customer_id, name });
    } else {
        let points = event.json()?.map(|Account { points }| points);
        changes.push(Rewarded { customer_id, points });
    }
    Ok(())
}
// -- page

#[cfg(test)]
fn changes_of(event: &Event) -> Vec<laterna_sdk::Change> {
    let mut changes = Changes::default();
    apply(event, &mut changes).unwrap();
    changes.into_vec()
}

#[test]
fn it_stands_on_the_page_and_does_what_it_says() {
    cookbook::stands_on_the_page(include_str!("cookbook_joins.rs"));

    let customer = Event::new("customers").with_key("c").with_value(r#"{"name":"Ada"}"#);
    assert_eq!(changes_of(&customer), [Named { customer_id: "c".into(), name: Some("Ada".into()) }.into()]);
    let gone = Event::new("loyalty").with_key("c");
    assert_eq!(changes_of(&gone), [Rewarded { customer_id: "c".into(), points: None }.into()]);
}

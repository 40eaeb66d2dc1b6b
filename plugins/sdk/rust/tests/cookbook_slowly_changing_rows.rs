//! The cookbook's page on slowly changing rows, compiled and run.

#![allow(missing_docs, reason = "the page says it all")]

#[cfg(test)]
mod cookbook;

// -- page
use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! { name: "addresses", revision: 1, topics: ["customers"], tables: [address_history], apply: apply }

table! {
    /// Where a customer lived, and since when. A row holds until the next one of the customer.
    address_history(customer_id: String, since: Timestamp) {
        city: Option<String>,
    }
    changes {
        upsert Moved { city };
    }
}

#[derive(Deserialize)]
struct Customer {
    city: String,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let customer_id = event.key_text()?.to_owned();
    let Some(since) = event.timestamp() else { return Err(reject!("the event has no timestamp")) };
    let city = event.json()?.map(|Customer { city }| city);
    changes.push(Moved { customer_id, since, city });
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
    cookbook::stands_on_the_page(include_str!("cookbook_slowly_changing_rows.rs"));

    let event = Event::new("customers").with_key("c").with_timestamp_ms(1).with_value(r#"{"city":"Jena"}"#);
    let since = Timestamp::from_micros(1000);
    assert_eq!(changes_of(&event), [Moved { customer_id: "c".into(), since, city: Some("Jena".into()) }.into()]);
}

//! The cookbook's page on last value wins, compiled and run.

#![allow(missing_docs, reason = "the page says it all")]

#[cfg(test)]
mod cookbook;

// -- page
use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! { name: "prices", revision: 1, topics: ["prices"], tables: [prices], apply: apply }

table! {
    /// The price that holds for each product.
    prices(sku: String) {
        price: Decimal,
        version: i64,
    }
    changes {
        upsert Priced { price, version: newer };
    }
}

#[derive(Deserialize)]
struct Price {
    sku: String,
    price: Decimal,
    version: i64,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    if let Some(Price { sku, price, version }) = event.json()? {
        changes.push(Priced { sku, price, version });
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
    cookbook::stands_on_the_page(include_str!("cookbook_last_value_wins.rs"));

    let event = Event::new("prices").with_value(r#"{"sku":"a","price":"3","version":7}"#);
    assert_eq!(changes_of(&event), [Priced { sku: "a".into(), price: Decimal::from(3), version: 7 }.into()]);
}

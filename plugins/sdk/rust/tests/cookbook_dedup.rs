//! The cookbook's page on dedup, compiled and run.

#![allow(missing_docs, reason = "the page says it all")]

#[cfg(test)]
mod cookbook;

// -- page
use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! { name: "transfers", revision: 1, topics: ["transfers"], tables: [transfers], apply: apply }

table! {
    /// Each transfer once, however often it was sent.
    transfers(transfer_id: Uuid) {
        account: String,
        amount: Decimal,
    }
    indexes { ordered(account) }
    changes {
        insert Transferred { account, amount };
    }
}

#[derive(Deserialize)]
struct Transfer {
    transfer_id: Uuid,
    account: String,
    amount: Decimal,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    if let Some(Transfer { transfer_id, account, amount }) = event.json()? {
        changes.push(Transferred { transfer_id, account, amount });
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
    cookbook::stands_on_the_page(include_str!("cookbook_dedup.rs"));

    let id = "0b8f1e1c-7f0c-4a1e-9d6c-2f7d9a0c4b11";
    let event = Event::new("transfers").with_value(format!(r#"{{"transfer_id":"{id}","account":"a","amount":"1"}}"#));
    assert_eq!(changes_of(&event).len(), 1);
    let event = Event::new("transfers").with_value(r#"{"transfer_id":"7","account":"a","amount":"1"}"#);
    assert!(matches!(apply(&event, &mut Changes::default()), Err(Fault::Reject(_))));
}

//! The cookbook's page on sums, compiled and run.

#![allow(missing_docs, reason = "the page says it all")]

#[cfg(test)]
mod cookbook;

// -- page
use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! { name: "balances", revision: 1, topics: ["payments"], tables: [balances], apply: apply }

table! {
    /// What each account holds.
    balances(account: String) commutative {
        balance: Decimal,
        movements: i64,
    }
    changes {
        upsert Moved { balance: add, movements: add };
    }
}

#[derive(Deserialize)]
struct Payment {
    from: String,
    to: String,
    amount: Decimal,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let Some(Payment { from, to, amount }) = event.json()? else { return Ok(()) };
    changes.push(Moved { account: from, balance: Decimal::ZERO.minus(amount)?, movements: 1 });
    changes.push(Moved { account: to, balance: amount, movements: 1 });
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
    cookbook::stands_on_the_page(include_str!("cookbook_sums.rs"));

    let event = Event::new("payments").with_value(r#"{"from":"a","to":"b","amount":"12.50"}"#);
    let moved = |account: &str, cents| Moved { account: account.into(), balance: Decimal::cents(cents), movements: 1 };
    assert_eq!(changes_of(&event), [moved("a", -1250).into(), moved("b", 1250).into()]);
}

//! The cookbook's page on time buckets, compiled and run.

#![allow(missing_docs, reason = "the page says it all")]

#[cfg(test)]
mod cookbook;

// -- page
use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! { name: "temperatures", revision: 1, topics: ["readings"], tables: [hourly], apply: apply }

table! {
    /// Readings of each sensor, by hour. The mean is `sum / readings`.
    hourly(sensor: String, hour: Timestamp) commutative {
        readings: i64,
        sum: Decimal,
        lowest: Option<Decimal>,
        highest: Option<Decimal>,
    }
    changes {
        upsert Read { readings: add, sum: add, lowest: min, highest: max };
    }
}

#[derive(Deserialize)]
struct Reading {
    sensor: String,
    taken_at_ms: i64,
    celsius: Decimal,
}

const HOUR_MS: i64 = 3_600_000;

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let Some(Reading { sensor, taken_at_ms, celsius }) = event.json()? else { return Ok(()) };
    let hour = Timestamp::from_millis(taken_at_ms.div_euclid(HOUR_MS) * HOUR_MS)?;
    let (lowest, highest) = (Some(celsius), Some(celsius));
    changes.push(Read { sensor, hour, readings: 1, sum: celsius, lowest, highest });
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
    cookbook::stands_on_the_page(include_str!("cookbook_time_buckets.rs"));

    let event = Event::new("readings").with_value(r#"{"sensor":"s","taken_at_ms":-1,"celsius":"21.5"}"#);
    let celsius: Decimal = "21.5".parse().unwrap();
    let read = Read {
        sensor: "s".into(),
        hour: Timestamp::from_millis(-HOUR_MS).unwrap(),
        readings: 1,
        sum: celsius,
        lowest: Some(celsius),
        highest: Some(celsius),
    };
    assert_eq!(changes_of(&event), [read.into()]);
}

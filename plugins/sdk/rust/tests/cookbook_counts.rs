//! The cookbook's page on counts, compiled and run.

#![allow(missing_docs, reason = "the page says it all")]

#[cfg(test)]
mod cookbook;

// -- page
use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! { name: "page_views", revision: 1, topics: ["clicks"], tables: [page_views], apply: apply }

table! {
    /// How often each page was looked at.
    page_views(page: String) commutative {
        views: i64,
        last_view_at: Option<Timestamp>,
    }
    changes {
        upsert Viewed { views: add, last_view_at: max };
    }
}

#[derive(Deserialize)]
struct Click {
    page: String,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    if let Some(Click { page }) = event.json()? {
        changes.push(Viewed { page, views: 1, last_view_at: event.timestamp() });
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
    cookbook::stands_on_the_page(include_str!("cookbook_counts.rs"));

    let event = Event::new("clicks").with_timestamp_ms(5).with_value(r#"{"page":"/"}"#);
    let viewed = Viewed { page: "/".into(), views: 1, last_view_at: Some(Timestamp::from_micros(5000)) };
    assert_eq!(changes_of(&event), [viewed.into()]);
    assert_eq!(changes_of(&Event::new("clicks")), []);
}

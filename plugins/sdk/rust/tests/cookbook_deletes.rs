//! The cookbook's page on deletes, compiled and run.

#![allow(missing_docs, reason = "the page says it all")]

#[cfg(test)]
mod cookbook;

// -- page
use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! { name: "members", revision: 1, topics: ["members"], tables: [members, badges], apply: apply }

table! {
    /// Members as they stand.
    members(member_id: String) {
        name: String,
    }
    changes {
        upsert Member { name };
        delete Left;
    }
}

table! {
    /// What each member has earned.
    badges(member_id: String, badge: String) {}
    changes {
        insert Earned {};
        delete_prefix AllBadges(member_id);
    }
}

#[derive(Deserialize)]
struct Profile {
    name: String,
    badges: Vec<String>,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let member_id = event.key_text()?.to_owned();
    changes.push(AllBadges { member_id: member_id.clone() });
    match event.json()? {
        Some(Profile { name, badges }) => {
            for badge in badges {
                changes.push(Earned { member_id: member_id.clone(), badge });
            }
            changes.push(Member { member_id, name });
        }
        None => changes.push(Left { member_id }),
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
    cookbook::stands_on_the_page(include_str!("cookbook_deletes.rs"));

    let gone = Event::new("members").with_key("m");
    let expected = [AllBadges { member_id: "m".into() }.into(), Left { member_id: "m".into() }.into()];
    assert_eq!(changes_of(&gone), expected);
    let there = gone.with_value(r#"{"name":"Ada","badges":["first"]}"#);
    assert_eq!(changes_of(&there).len(), 3);
}

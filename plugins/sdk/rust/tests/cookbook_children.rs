//! The cookbook's page on children, compiled and run.

#![allow(missing_docs, reason = "the page says it all")]

#[cfg(test)]
mod cookbook;

// -- page
use laterna_sdk::prelude::*;
use serde::Deserialize;

projection! { name: "playlists", revision: 1, topics: ["playlists"], tables: [tracks], apply: apply }

table! {
    /// The tracks of each playlist, in order.
    tracks(playlist: String, position: i64) {
        title: String,
    }
    changes {
        upsert Track { title };
        delete_prefix AllTracks(playlist);
    }
}

#[derive(Deserialize)]
struct Playlist {
    playlist: String,
    titles: Vec<String>,
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let Some(Playlist { playlist, titles }) = event.json()? else { return Ok(()) };
    changes.push(AllTracks { playlist: playlist.clone() });
    for (position, title) in (1..).zip(titles) {
        changes.push(Track { playlist: playlist.clone(), position, title });
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
    cookbook::stands_on_the_page(include_str!("cookbook_children.rs"));

    let event = Event::new("playlists").with_value(r#"{"playlist":"p","titles":["one","two"]}"#);
    let track = |position, title: &str| Track { playlist: "p".into(), position, title: title.into() };
    let all = AllTracks { playlist: "p".into() };
    assert_eq!(changes_of(&event), [all.into(), track(1, "one").into(), track(2, "two").into()]);
}

//! The last value of each key of the topic `{{topic}}`, and how many events there were of it.

use laterna_sdk::prelude::*;

projection! {
    name: "{{name}}",
    revision: 1,
    topics: ["{{topic}}"],
    tables: [{{name}}],
    apply: apply,
}

table! {
    /// One row a key; a tombstone deletes it.
    {{name}}(key: String) {
        value: Json,
        events: i64,
    }
    changes {
        upsert Seen { value, events: add };
        delete Gone;
    }
}

fn apply(event: &Event, changes: &mut Changes) -> Result<(), Fault> {
    let key = event.key_text()?.to_owned();
    match event.json()? {
        Some(value) => changes.push(Seen { key, value, events: 1 }),
        None => changes.push(Gone { key }),
    }
    Ok(())
}

//! What stands around an event's data: CloudEvents and Debezium's changes.
//!
//! Where the projection's `format` is `cloudevents` or `debezium`, the engine hands every event over as one JSON text, however it was
//! written, and has checked what every reader needs. In here is only its shape.

use serde::Deserialize;

use crate::{Fault, Timestamp, reject};

/// A CloudEvent, with data of the type `T`: [`Event::cloud_event`](crate::Event::cloud_event).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CloudEvent<T> {
    /// What it is: `com.example.order.placed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it comes from. With `id` it names the event.
    pub source: String,
    /// Its identity in its source.
    pub id: String,
    /// What it is about, in its source.
    pub subject: Option<String>,
    /// When it happened, as it is written (RFC 3339); see [`CloudEvent::timestamp`].
    pub time: Option<String>,
    /// What happened; none where the event has no data, or data that is neither JSON nor text.
    #[serde(default = "Option::default")]
    pub data: Option<T>,
    /// Data that is neither JSON nor text, as base64.
    pub data_base64: Option<String>,
}

impl<T> CloudEvent<T> {
    /// When it happened; none where it does not say.
    ///
    /// # Errors
    /// A reject where `time` is no time.
    pub fn timestamp(&self) -> Result<Option<Timestamp>, Fault> {
        let Some(time) = &self.time else { return Ok(None) };
        time.parse().map(Some).map_err(|_| reject!("the event's time {time:?} is none"))
    }

    /// The data, which must be there.
    ///
    /// # Errors
    /// A reject where the event has none.
    pub fn into_data(self) -> Result<T, Fault> {
        let kind = self.kind;
        self.data.ok_or_else(|| reject!("the event of type {kind:?} has no data"))
    }
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Op {
    /// It is new.
    #[serde(rename = "c")]
    Create,
    /// It was there when the connector looked at the whole table.
    #[serde(rename = "r")]
    Read,
    /// It is another.
    #[serde(rename = "u")]
    Update,
    /// It is gone. A tombstone of the same key follows by default.
    #[serde(rename = "d")]
    Delete,
    /// The table was emptied.
    #[serde(rename = "t")]
    Truncate,
    /// A message that is of no row.
    #[serde(rename = "m")]
    Message,
}

/// A change that Debezium saw in a database, with rows of the type `T`: [`Event::change`](crate::Event::change).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RowChange<T> {
    /// What happened.
    pub op: Op,
    /// The row as it was; none where it is new, or the database does not tell.
    #[serde(default = "Option::default")]
    pub before: Option<T>,
    /// The row as it is; none where it is gone.
    #[serde(default = "Option::default")]
    pub after: Option<T>,
    /// Where it was seen.
    #[serde(default)]
    pub source: ChangeSource,
}

/// Where a change was seen.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ChangeSource {
    /// When the database made it, in milliseconds since 1970.
    pub ts_ms: Option<i64>,
    /// Name of the database.
    pub db: Option<String>,
    /// Name of the schema.
    pub schema: Option<String>,
    /// Name of the table.
    pub table: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Row {
        id: i64,
    }

    #[test]
    fn a_cloudevent_is_read_with_its_data() {
        let text = r#"{"specversion":"1.0","id":"7","source":"/shop","type":"paid","time":"2026-01-31T12:00:00Z","x":1,"data":{"id":9007199254740993}}"#;
        let event = Event::new("t").with_value(text);
        let paid = event.cloud_event::<Row>().unwrap().unwrap();
        assert_eq!(
            (paid.kind.as_str(), paid.source.as_str(), paid.id.as_str(), &paid.subject),
            ("paid", "/shop", "7", &None)
        );
        assert_eq!(paid.timestamp(), Ok(Some(Timestamp::from_micros(1_769_860_800_000_000))));
        assert_eq!(paid.into_data().unwrap(), Row { id: 9_007_199_254_740_993 });
        let event =
            Event::new("t").with_value(r#"{"id":"7","source":"s","type":"t","time":"soon","data_base64":"AA=="}"#);
        let other = event.cloud_event::<Row>().unwrap().unwrap();
        assert!(other.timestamp().is_err() && other.data_base64.as_deref() == Some("AA=="));
        assert!(other.into_data().is_err());
        assert!(Event::new("t").cloud_event::<Row>().unwrap().is_none());
        assert!(Event::new("t").with_value(r#"{"id":"7"}"#).cloud_event::<Row>().is_err());
    }

    #[test]
    fn a_change_is_read_with_its_rows() {
        let change = |text: &str| Event::new("t").with_value(text).change::<Row>();
        let read =
            change(r#"{"op":"u","before":{"id":1},"after":{"id":2},"source":{"ts_ms":5,"table":"orders","lsn":7}}"#);
        let read = read.unwrap().unwrap();
        assert_eq!((read.op, read.before, read.after), (Op::Update, Some(Row { id: 1 }), Some(Row { id: 2 })));
        assert_eq!((read.source.ts_ms, read.source.table.as_deref()), (Some(5), Some("orders")));
        let read = change(r#"{"op":"d","before":{"id":1},"after":null}"#).unwrap().unwrap();
        assert_eq!(
            (read.op, read.before, read.after, read.source.ts_ms),
            (Op::Delete, Some(Row { id: 1 }), None, None)
        );
        assert!(Event::new("t").change::<Row>().unwrap().is_none());
        assert!(change(r#"{"op":"x"}"#).is_err() && change("{}").is_err());
    }
}

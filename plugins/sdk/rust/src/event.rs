//! The event that a projection is asked about.

use crate::bindings::laterna::projection::types::{self, Payload};
use crate::{CloudEvent, Fault, RowChange, Timestamp, reject};
use serde::Deserialize;
use std::borrow::Cow;

/// One record of a topic.
///
/// The engine makes them; tests make their own with [`Event::new`] and the `with_` methods.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    topic: Cow<'a, str>,
    partition: i32,
    record: Cow<'a, types::Event>,
}

impl<'a> Event<'a> {
    pub(crate) fn of(topic: &'a str, partition: i32, record: &'a types::Event) -> Self {
        Event { topic: Cow::Borrowed(topic), partition, record: Cow::Borrowed(record) }
    }

    /// Name of the topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Number of the partition, from 0.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Position in the partition, from 0 to 2^53 - 1. Neighbours may be further than 1 apart.
    pub fn offset(&self) -> i64 {
        self.record.offset
    }

    /// The record's timestamp; none where it has none.
    pub fn timestamp(&self) -> Option<Timestamp> {
        if self.record.timestamp_ms < 0 { None } else { Timestamp::from_millis(self.record.timestamp_ms).ok() }
    }

    /// The key's bytes; none for a null key.
    pub fn key(&self) -> Option<&[u8]> {
        self.record.key.as_ref().map(bytes)
    }

    /// The key as text.
    ///
    /// # Errors
    /// A reject where the key is null or not UTF-8.
    pub fn key_text(&self) -> Result<&str, Fault> {
        match &self.record.key {
            Some(key) => text(key).ok_or_else(|| reject!("the key is not UTF-8 text ({} bytes)", bytes(key).len())),
            None => Err(reject!("the event has no key")),
        }
    }

    /// Whether the event has no value: what its key names is gone.
    pub fn is_tombstone(&self) -> bool {
        self.record.value.is_none()
    }

    /// The value's bytes; none for a tombstone.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.record.value.as_ref().map(bytes)
    }

    /// The value as text; none for a tombstone.
    ///
    /// # Errors
    /// A reject where the value is not UTF-8.
    pub fn text(&self) -> Result<Option<&str>, Fault> {
        match &self.record.value {
            Some(value) => match text(value) {
                Some(text) => Ok(Some(text)),
                None => Err(reject!("the value is not UTF-8 text ({} bytes)", bytes(value).len())),
            },
            None => Ok(None),
        }
    }

    /// The value as JSON; none for a tombstone. `T` may borrow from the event (`&str`, `Cow<str>`).
    ///
    /// # Errors
    /// A reject where the value is not JSON or not a `T`, with serde's word on where and why.
    pub fn json<'e, T: Deserialize<'e>>(&'e self) -> Result<Option<T>, Fault> {
        // Always from text: a parser of bytes beside it would be a second one in each plugin.
        let Some(text) = self.text()? else { return Ok(None) };
        let parsed = serde_json::from_str(text);
        parsed.map(Some).map_err(|error| reject!("the value is not the JSON that is read here: {error}"))
    }

    /// The value as a CloudEvent with data of the type `T`; none for a tombstone. Wants `format = "cloudevents"` for the topic.
    ///
    /// # Errors
    /// As for [`Event::json`].
    pub fn cloud_event<'e, T: Deserialize<'e>>(&'e self) -> Result<Option<CloudEvent<T>>, Fault> {
        self.json()
    }

    /// The value as a change that Debezium saw, with rows of the type `T`; none for a tombstone, which follows a delete and says nothing
    /// new. Wants `format = "debezium"` for the topic.
    ///
    /// # Errors
    /// As for [`Event::json`].
    pub fn change<'e, T: Deserialize<'e>>(&'e self) -> Result<Option<RowChange<T>>, Fault> {
        self.json()
    }

    /// The bytes of the last header of this name; none where there is none or its value is null.
    /// Only headers that the [`Topic`](crate::Topic) asks for are here.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers(name).next_back().flatten()
    }

    /// The last header of this name as text; none also where it is not UTF-8.
    pub fn header_text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.header(name)?).ok()
    }

    /// All headers of this name in the record's order; `None` for a null value.
    pub fn headers(&self, name: &str) -> impl DoubleEndedIterator<Item = Option<&[u8]>> {
        self.record
            .headers
            .iter()
            .filter(move |header| header.name == name)
            .map(|header| header.value.as_ref().map(bytes))
    }
}

/// Events for tests.
impl Event<'static> {
    /// An event at offset 0 of partition 0, without key, value, headers and timestamp.
    pub fn new(topic: impl Into<String>) -> Self {
        let record = types::Event { offset: 0, timestamp_ms: -1, key: None, value: None, headers: Vec::new() };
        Event { topic: Cow::Owned(topic.into()), partition: 0, record: Cow::Owned(record) }
    }

    /// The same at another place.
    #[must_use]
    pub fn with_place(mut self, partition: i32, offset: i64) -> Self {
        self.partition = partition;
        self.record.to_mut().offset = offset;
        self
    }

    /// The same with a timestamp, in milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn with_timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.record.to_mut().timestamp_ms = timestamp_ms;
        self
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.record.to_mut().key = Some(payload(key.into()));
        self
    }

    /// The same with a value.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.record.to_mut().value = Some(payload(value.into()));
        self
    }

    /// The same with one header more.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.record.to_mut().headers.push(types::Header { name: name.into(), value: Some(payload(value.into())) });
        self
    }
}

fn payload(bytes: Vec<u8>) -> Payload {
    String::from_utf8(bytes).map_or_else(|error| Payload::Bytes(error.into_bytes()), Payload::Text)
}

fn bytes(payload: &Payload) -> &[u8] {
    match payload {
        Payload::Text(text) => text.as_bytes(),
        Payload::Bytes(bytes) => bytes,
    }
}

/// None where the bytes are not UTF-8; those of a topic read as bytes may well be.
fn text(payload: &Payload) -> Option<&str> {
    match payload {
        Payload::Text(text) => Some(text),
        Payload::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_has_no_value_in_any_form() {
        let event = Event::new("orders").with_key("o-1");
        assert!(event.is_tombstone());
        assert_eq!((event.bytes(), event.text(), event.json::<i64>()), (None, Ok(None), Ok(None)));
        assert_eq!(event.key_text(), Ok("o-1"));
    }

    #[test]
    fn what_is_not_text_is_rejected_and_not_replaced() {
        let event = Event::new("orders").with_key([0xff]).with_value([0x80, 0x81]);
        assert_eq!(event.key_text(), Err(reject!("the key is not UTF-8 text (1 bytes)")));
        assert_eq!(event.text(), Err(reject!("the value is not UTF-8 text (2 bytes)")));
        assert_eq!(event.bytes(), Some(&[0x80, 0x81][..]));
        assert_eq!(Event::new("orders").key_text(), Err(reject!("the event has no key")));
    }

    #[test]
    fn json_borrows_from_the_event_and_says_what_is_wrong() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Named<'a> {
            name: &'a str,
        }
        let event = Event::new("orders").with_value(r#"{"name":"Ada"}"#);
        assert_eq!(event.json(), Ok(Some(Named { name: "Ada" })));
        let event = Event::new("orders").with_value("{}");
        let fault = event.json::<Named>().unwrap_err();
        assert_eq!(
            fault,
            reject!("the value is not the JSON that is read here: missing field `name` at line 1 column 2")
        );
    }

    #[test]
    fn of_headers_with_one_name_the_last_one_counts() {
        let event = Event::new("orders").with_header("trace", "1").with_header("other", "2").with_header("trace", "3");
        assert_eq!(event.header_text("trace"), Some("3"));
        assert_eq!(event.headers("trace").count(), 2);
        assert_eq!(event.header("none"), None);
    }

    #[test]
    fn a_timestamp_of_minus_one_is_none() {
        assert_eq!(Event::new("orders").timestamp(), None);
        assert_eq!(Event::new("orders").with_timestamp_ms(0).timestamp(), Some(Timestamp::from_micros(0)));
    }
}

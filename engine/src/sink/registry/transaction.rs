//! What a sink brings so that orders can be carried out in it: a transaction that takes texts of ours and makes, repoints and drops tables.
//!
//! One text serves both databases. In it `@` stands for what comes before the names of the engine's own tables, `@now` for the database's
//! time, and `$1` for a parameter, whose type its [`Parameter`] says. Invariant: whatever fails ends the whole transaction.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value as Json;

use super::OrderError;
use crate::change::{Schema, Table, parse_timestamp};
use crate::checkpoint::Generation;
use crate::error::ErrorKind;
use crate::sink::SinkError;
use crate::sink::stored::TableChange;

/// One value of a statement.
#[derive(Clone, Debug)]
pub(in crate::sink) enum Parameter {
    Text(Option<String>),
    Integer(Option<i64>),
    Boolean(bool),
    Bytes(Arc<[u8]>),
    /// A document.
    Json(String),
    /// Microseconds since 1970 UTC, kept in the database's own form of an instant.
    Time(Option<i64>),
}

impl From<&str> for Parameter {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Parameter {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<i64> for Parameter {
    fn from(number: i64) -> Self {
        Self::Integer(Some(number))
    }
}

impl From<u32> for Parameter {
    fn from(number: u32) -> Self {
        Self::Integer(Some(number.into()))
    }
}

impl From<&Json> for Parameter {
    fn from(document: &Json) -> Self {
        Self::Json(document.to_string())
    }
}

/// One value of a row: truth is 0 or 1, an instant is microseconds or SQLite's text of it, a document is text.
#[derive(Clone, Debug)]
pub(in crate::sink) enum Field {
    Null,
    Text(String),
    Integer(i64),
    Bytes(Vec<u8>),
}

/// A row's values, taken one after the other.
pub(in crate::sink) struct Fields(std::vec::IntoIter<Field>);

impl Fields {
    pub(in crate::sink) fn new(fields: Vec<Field>) -> Self {
        Self(fields.into_iter())
    }

    fn unreadable(expected: &str, found: Option<Field>) -> SinkError {
        let message = format!(
            "one of the engine's own tables holds {found:?} where {expected} was written; somebody changed it: restore it"
        );
        SinkError { kind: ErrorKind::Fatal, code: "database_protocol", message }
    }

    pub(in crate::sink) fn maybe_text(&mut self) -> Result<Option<String>, SinkError> {
        match self.0.next() {
            Some(Field::Null) => Ok(None),
            Some(Field::Text(text)) => Ok(Some(text)),
            other => Err(Self::unreadable("a text", other)),
        }
    }

    pub(in crate::sink) fn text(&mut self) -> Result<String, SinkError> {
        self.maybe_text()?.ok_or_else(|| Self::unreadable("a text", None))
    }

    pub(super) fn maybe_integer(&mut self) -> Result<Option<i64>, SinkError> {
        match self.0.next() {
            Some(Field::Null) => Ok(None),
            Some(Field::Integer(number)) => Ok(Some(number)),
            other => Err(Self::unreadable("a number", other)),
        }
    }

    pub(super) fn integer(&mut self) -> Result<i64, SinkError> {
        self.maybe_integer()?.ok_or_else(|| Self::unreadable("a number", None))
    }

    pub(super) fn number(&mut self) -> Result<u32, SinkError> {
        let number = self.integer()?;
        u32::try_from(number).map_err(|_| Self::unreadable("a number of 32 bits", Some(Field::Integer(number))))
    }

    pub(super) fn truth(&mut self) -> Result<bool, SinkError> {
        Ok(self.integer()? != 0)
    }

    pub(super) fn maybe_time(&mut self) -> Result<Option<i64>, SinkError> {
        match self.0.next() {
            Some(Field::Null) => Ok(None),
            Some(Field::Integer(micros)) => Ok(Some(micros)),
            // SQLite writes milliseconds.
            Some(Field::Text(text)) => match parse_timestamp(&format!("{text}000")) {
                Ok(micros) => Ok(Some(micros)),
                Err(_) => Err(Self::unreadable("an instant", Some(Field::Text(text)))),
            },
            other => Err(Self::unreadable("an instant", other)),
        }
    }

    pub(super) fn time(&mut self) -> Result<i64, SinkError> {
        self.maybe_time()?.ok_or_else(|| Self::unreadable("an instant", None))
    }

    pub(in crate::sink) fn json(&mut self) -> Result<Json, SinkError> {
        let text = self.text()?;
        serde_json::from_str(&text).map_err(|_| Self::unreadable("a document", Some(Field::Text(text))))
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, SinkError> {
        match self.0.next() {
            Some(Field::Bytes(bytes)) => Ok(bytes),
            other => Err(Self::unreadable("bytes", other)),
        }
    }
}

/// The views that readers use, and what they are to show.
#[derive(Clone, Copy, Debug)]
pub(in crate::sink) struct Views<'a> {
    /// The generation to show.
    pub(in crate::sink) generation: &'a Generation,
    /// Its tables.
    pub(in crate::sink) tables: &'a [Table],
    /// The generation that they show now (it may be the same one), and its tables.
    pub(in crate::sink) former: Option<(u32, &'a [Table])>,
}

/// An open transaction. What it cannot do ends it.
pub(in crate::sink) trait Transaction: Send {
    /// Runs a statement, and tells how many rows it changed.
    fn run<'a>(&'a mut self, text: &'static str, parameters: Vec<Parameter>) -> BoxFuture<'a, Result<u64, SinkError>>;

    /// The rows of a query.
    fn rows<'a>(
        &'a mut self,
        text: &'static str,
        parameters: Vec<Parameter>,
    ) -> BoxFuture<'a, Result<Vec<Fields>, SinkError>>;

    /// Makes the tables of a new generation; `bare` ones may lack what [`crate::sink::Sink::finish_tables`] makes.
    /// Refused: `name_taken`.
    fn make_tables<'a>(
        &'a mut self,
        generation: &'a Generation,
        schema: &'a Schema,
        bare: bool,
    ) -> BoxFuture<'a, Result<(), OrderError>>;

    /// Adds tables and columns to a generation, which readers see if it is `live`; all of them additive changes towards `schema`. Refused: `name_taken`, `readers`.
    fn add_to_tables<'a>(
        &'a mut self,
        generation: &'a Generation,
        schema: &'a Schema,
        changes: &'a [TableChange],
        live: bool,
    ) -> BoxFuture<'a, Result<(), OrderError>>;

    /// Points the readers' views at a generation; those of tables that it has not go. Refused: `name_taken`, `readers`, `view_in_use`.
    fn point_views<'a>(&'a mut self, views: Views<'a>) -> BoxFuture<'a, Result<(), OrderError>>;

    /// Removes the readers' views of these tables, and what else the projection has of its own. Refused: `readers`, `view_in_use`.
    fn drop_views<'a>(&'a mut self, projection: &'a str, tables: &'a [Table]) -> BoxFuture<'a, Result<(), OrderError>>;

    /// Drops the tables of a generation; those that are gone are passed over. Refused: `view_in_use`.
    fn drop_tables<'a>(
        &'a mut self,
        generation: &'a Generation,
        tables: &'a [Table],
    ) -> BoxFuture<'a, Result<(), OrderError>>;

    /// Keeps the checkpoints of a generation where they stand until the transaction ends.
    fn hold_checkpoints<'a>(&'a mut self, generation: &'a Generation) -> BoxFuture<'a, Result<(), SinkError>>;

    /// How long checkpoints that are not held can move while the transaction waits.
    fn patience(&self) -> Duration;

    /// The first of these tables and of the views on them that the database has not.
    fn missing<'a>(
        &'a mut self,
        generation: &'a Generation,
        tables: &'a [Table],
    ) -> BoxFuture<'a, Result<Option<String>, SinkError>>;
}

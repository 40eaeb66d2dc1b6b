//! What SQLite's result codes mean for the engine.

use crate::error::ErrorKind;
use crate::event::TopicPartition;
use crate::sink::{OrderError, Refusal, SinkError};

/// Why work on the database ended.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something that was decided here.
    Sink(SinkError),
    /// These checkpoints do not stand where the commit expects them.
    Fenced(Vec<TopicPartition>),
    /// An order is not carried out.
    Refused(Refusal),
    /// What the database said.
    Database(sqlx::Error),
}

impl From<OrderError> for Failure {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Refused(refusal) => Failure::Refused(refusal),
            OrderError::Failed(error) => Failure::Sink(error),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Failure::Database(error)
    }
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Failure::Sink(error)
    }
}

/// A fatal failure.
pub(super) fn refused(code: &'static str, message: String) -> Failure {
    Failure::Sink(SinkError { kind: ErrorKind::Fatal, code, message })
}

impl Failure {
    /// SQLite's primary result code, where it said one.
    pub(super) fn result_code(&self) -> Option<u32> {
        match self {
            Failure::Database(sqlx::Error::Database(error)) => Some(error.code()?.parse::<u32>().ok()? & 0xff),
            _ => None,
        }
    }

    /// What an order tells of it; `tried` says what was attempted.
    pub(super) fn into_order_error(self, tried: &str) -> OrderError {
        match self {
            Failure::Refused(refusal) => OrderError::Refused(refusal),
            other => OrderError::Failed(other.into_sink_error(tried)),
        }
    }

    /// The failure for people and for the runner; `tried` says what was attempted, and on which file.
    pub(super) fn into_sink_error(self, tried: &str) -> SinkError {
        let result_code = self.result_code();
        let said = match self {
            Failure::Sink(error) => return error,
            Failure::Refused(Refusal { code, message, .. }) => {
                return SinkError { kind: ErrorKind::Fatal, code, message };
            }
            Failure::Fenced(partitions) => format!("{} checkpoint(s) stand elsewhere", partitions.len()),
            Failure::Database(sqlx::Error::Database(error)) => {
                format!("{} (SQLite code {})", error.message(), error.code().unwrap_or_default())
            }
            Failure::Database(error) => error.to_string(),
        };
        let (kind, code, next) = match result_code {
            Some(5 | 6) => (
                ErrorKind::Transient,
                "database_busy",
                "another program writes to it; end that, and this goes on by itself",
            ),
            Some(13) => (ErrorKind::Transient, "disk_full", "make room on the disk, and this goes on by itself"),
            Some(7 | 10) => {
                (ErrorKind::Transient, "database_unreachable", "look at the disk; this goes on by itself once it works")
            }
            Some(18..=20) => (ErrorKind::Poison, "value_rejected", "a row holds what the table does not take"),
            Some(3 | 8 | 14 | 23) => (
                ErrorKind::Fatal,
                "database_refused",
                "let this user read and write the file and its folder, or change database.url",
            ),
            Some(11 | 26) => (
                ErrorKind::Fatal,
                "database_corrupt",
                "restore the file from a copy, or name another one in database.url",
            ),
            Some(_) => (ErrorKind::Fatal, "database_refused", "somebody may have changed the tables; restore them"),
            None => (ErrorKind::Transient, "database_unreachable", "it is tried again on a new connection"),
        };
        SinkError { kind, code, message: format!("{tried}: {said}; {next}") }
    }
}

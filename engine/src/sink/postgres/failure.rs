//! What PostgreSQL and the way to it can answer, and what must happen next.
//!
//! Invariant: a message never shows the connection URL, and never the driver's own rendering of a database error, which
//! ends in a line number of PostgreSQL's C source.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::error::ErrorKind;
use crate::sink::{OrderError, Refusal, SinkError};

/// The stable name of [`Failure::stale`].
const STALE: &str = "database_stale_statement";

/// Why a piece of work on a connection failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The driver or the server says so.
    Sql(sqlx::Error),
    /// We say so.
    Sink(SinkError),
    /// An order is not carried out.
    Refused(Refusal),
}

impl From<OrderError> for Failure {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Refused(refusal) => Self::Refused(refusal),
            OrderError::Failed(error) => Self::Sink(error),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

impl Failure {
    /// Whether the connection is gone or out of step, so that what was sent last may or may not have happened.
    pub(super) fn lost(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        match database_error(error) {
            // A session that ends says so while it may be past the commit; 08007 and 40003 say that they don't know.
            Some(error) => {
                matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
                    || error.code().starts_with("08")
                    || error.code() == "40003"
            }
            None => !matches!(error, sqlx::Error::Encode(_) | sqlx::Error::RowNotFound),
        }
    }

    /// Whether statements that this connection has prepared do not fit any longer: another connection would succeed.
    pub(super) fn stale(&self) -> bool {
        matches!(self.code(), Some("0A000" | "26000" | "42P05"))
            || matches!(self, Self::Sink(error) if error.code == STALE)
    }

    /// The SQLSTATE, where the server gave one.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Sql(error) => database_error(error).map(PgDatabaseError::code),
            Self::Sink(_) | Self::Refused(_) => None,
        }
    }

    /// What an order tells of it; `tried` says what was attempted.
    pub(super) fn into_order_error(self, tried: &str) -> OrderError {
        match self {
            Self::Refused(refusal) => OrderError::Refused(refusal),
            other => OrderError::Failed(other.into_sink_error(tried)),
        }
    }

    /// What the server said beside its code: message and detail.
    pub(super) fn said(&self) -> String {
        let Self::Sql(error) = self else { return String::new() };
        let Some(error) = database_error(error) else { return String::new() };
        match error.detail() {
            Some(detail) => format!("{} ({})", error.message(), detail.replace('\n', "; ")),
            None => error.message().to_owned(),
        }
    }

    /// The error for people, and its kind; `tried` says what was attempted: `writing to shop.orders`.
    pub(super) fn into_sink_error(self, tried: &str) -> SinkError {
        let error = match self {
            Self::Sink(error) => return error,
            Self::Refused(Refusal { code, message, .. }) => {
                return SinkError { kind: ErrorKind::Fatal, code, message };
            }
            Self::Sql(error) => error,
        };
        match database_error(&error) {
            Some(database) => {
                let (kind, code, remedy) = classify(database.code());
                let mut message =
                    format!("{tried}: PostgreSQL says: {} (SQLSTATE {})", database.message(), database.code());
                if let Some(table) = database.table() {
                    let column = database.column().map(|column| format!(".{column}")).unwrap_or_default();
                    let schema = database.schema().map(|schema| format!("{schema}.")).unwrap_or_default();
                    message.push_str(&format!("; at {schema}{table}{column}"));
                }
                if let Some(detail) = database.detail() {
                    message.push_str(&format!("; {detail}"));
                }
                SinkError { kind, code, message: format!("{message}; {remedy}") }
            }
            None => {
                let (kind, code, remedy) = match &error {
                    sqlx::Error::Tls(_) => {
                        (ErrorKind::Fatal, "database_tls", "check sslmode and the certificates in the connection URL")
                    }
                    sqlx::Error::Configuration(_) => (ErrorKind::Fatal, "database_url", "correct the connection URL"),
                    sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Encode(_) => (
                        ErrorKind::Fatal,
                        "database_protocol",
                        "report this with the message; the table was changed by hand?",
                    ),
                    _ => (ErrorKind::Transient, "database_unreachable", "it is tried again"),
                };
                SinkError { kind, code, message: format!("{tried}: {error}; {remedy}") }
            }
        }
    }
}

/// The server's own error inside the driver's.
pub(super) fn database_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    match error {
        sqlx::Error::Database(error) => error.try_downcast_ref::<PgDatabaseError>(),
        _ => None,
    }
}

/// What must happen after an SQLSTATE, the stable name of the cause, and the next step for people.
pub(super) fn classify(sqlstate: &str) -> (ErrorKind, &'static str, &'static str) {
    use ErrorKind::{Fatal, Poison, Transient};
    match sqlstate {
        "40001" | "40P01" => (Transient, "database_conflict", "it is tried again"),
        "55P03" => (Transient, "database_locked", "somebody holds a lock; it is tried again"),
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" => {
            (Transient, "database_restarting", "it is tried again until the server is back")
        }
        "57014" => (Transient, "database_timeout", "it is tried again"),
        "25P03" | "25P04" => (Transient, "database_timeout", "the server ended the transaction; it is tried again"),
        "53100" => (Transient, "database_full", "free disk space on the database server; it goes on by itself then"),
        "25006" => (
            Transient,
            "database_read_only",
            "the database takes no writes now (a failover under way?); it goes on by itself when it does",
        ),
        "0A000" => (Transient, STALE, "it is tried again on another connection"),
        "26000" | "42P05" => (
            Transient,
            STALE,
            "it is tried again on another connection; if it stays so, a pooler stands between that pools by transaction: let it pool by session, \
             or connect to the server itself",
        ),
        "42501" => (
            Fatal,
            "permission_denied",
            "give the user the right: it needs CREATE on the database, and to own what laterna has created",
        ),
        "28000" | "28P01" => {
            (Fatal, "database_login", "check user and password in the connection URL, and pg_hba.conf")
        }
        "3D000" => (Fatal, "database_missing", "create the database, or correct the connection URL"),
        _ => match sqlstate.get(..2).unwrap_or_default() {
            "08" => (Transient, "database_unreachable", "it is tried again"),
            "53" => (Transient, "database_busy", "the server is short of connections or memory; it is tried again"),
            "58" | "XX" => (Transient, "database_failing", "look into the server's log; it is tried again"),
            "40" => (Transient, "database_conflict", "it is tried again"),
            "22" | "23" | "54" => {
                (Poison, "value_rejected", "an event of this batch asks for what the table cannot hold")
            }
            _ => (Fatal, "database_refused", "somebody changed the tables by hand, or this is a bug: report it"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_say_what_must_happen_next() {
        use ErrorKind::{Fatal, Poison, Transient};
        for (kind, codes) in [
            (
                Transient,
                &[
                    "40001", "40P01", "40003", "55P03", "57P01", "57P02", "57P03", "57014", "53300", "53200", "53100",
                    "25006", "25P03", "25P04", "57P04", "08000", "08003", "08006", "08007", "0A000", "26000", "42P05",
                    "58030", "XX000",
                ][..],
            ),
            (Poison, &["54000", "22003", "22012", "22P02", "22021", "23502", "23505", "23514"]),
            (
                Fatal,
                &["42P01", "42703", "42501", "42601", "42804", "28P01", "28000", "3D000", "3F000", "25001", "", "4"],
            ),
        ] {
            for code in codes {
                assert_eq!(classify(code).0, kind, "{code}");
            }
        }
    }
}

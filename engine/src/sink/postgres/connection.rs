//! Connections: how they are made, checked and bounded.
//!
//! Invariant: no future of a connection is ever dropped while the connection lives on. Work runs in a task of its own;
//! where its deadline passes, the task ends together with its connection, which closes the socket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::PostgresSettings;
use super::failure::Failure;
use crate::error::ErrorKind;
use crate::sink::SinkError;

/// How many idle connections are kept for work that is not a writer's.
const IDLE_MAX: usize = 2;
/// How many prepared statements a connection keeps.
const STATEMENTS_MAX: usize = 256;
/// How long a session may hold a transaction without saying anything: no work pauses in one, so whoever does has been stopped, and another
/// engine waits for his locks.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The oldest server that understands every statement, as `server_version_num`.
const SERVER_VERSION_MIN: i32 = 120_000;

/// The way to one database.
pub(super) struct Database {
    options: PgConnectOptions,
    settings: PostgresSettings,
    /// `PostgreSQL at localhost:5432 (database "shop", user "laterna")`.
    place: String,
    idle: Mutex<Vec<PgConnection>>,
    /// Whether it has let us in once.
    entered: AtomicBool,
}

impl Database {
    /// Reads the connection URL; connects to nothing.
    pub(super) fn new(settings: PostgresSettings) -> Result<Self, SinkError> {
        // The text of the error may not repeat the URL, which holds the password.
        let options: PgConnectOptions = settings.url.parse().map_err(|error: sqlx::Error| SinkError {
            kind: ErrorKind::Fatal,
            code: "database_url",
            message: format!(
                "the connection URL of the database: {error}; it looks like postgres://user:password@host:5432/database"
            ),
        })?;
        let options =
            options.application_name("laterna").statement_cache_capacity(STATEMENTS_MAX).disable_statement_logging();
        let host = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let user = options.get_username();
        let database = options.get_database().unwrap_or(user);
        let place = format!("PostgreSQL at {host} (database {database:?}, user {user:?})");
        Ok(Self { options, settings, place, idle: Mutex::new(Vec::new()), entered: AtomicBool::new(false) })
    }

    /// How long a commit may take.
    pub(super) fn commit_timeout(&self) -> Duration {
        self.settings.commit_timeout
    }

    /// Where it is, for people.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// A new connection to a server that takes writes, with the session's settings made.
    ///
    /// What refuses at the start is a mistake of the settings. Once it has let us in, the same answers come from a failover (a standby behind
    /// the address), from a password or certificate that is being changed, from a proxy that is cut: it goes on by itself when they end.
    pub(super) async fn connect(&self) -> Result<PgConnection, SinkError> {
        let connected = self.enter().await;
        match connected {
            Ok(_) => self.entered.store(true, Ordering::Relaxed),
            Err(mut error) if error.kind == ErrorKind::Fatal && self.entered.load(Ordering::Relaxed) => {
                error.kind = ErrorKind::Transient;
                error.message.push_str("; it let this engine in before, so it is tried again");
                return Err(error);
            }
            Err(_) => {}
        }
        connected
    }

    async fn enter(&self) -> Result<PgConnection, SinkError> {
        let options = self.options.clone();
        let settings = session_settings(&self.settings);
        let tried = format!("connecting to {}", self.place);
        let work = async move {
            let mut connection = PgConnection::connect_with(&options).await?;
            let row = sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).fetch_one(&mut connection).await?;
            Ok::<_, sqlx::Error>((connection, row.try_get::<bool, _>(0)?, row.try_get::<String, _>(1)?))
        };
        let limit = self.settings.connect_timeout;
        let (connection, standby, version) = match bounded(Some(limit), work).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(self.connect_error(error, &tried)),
            Err(Overdue) => {
                return Err(SinkError {
                    kind: ErrorKind::Transient,
                    code: "database_unreachable",
                    message: format!(
                        "{tried}: no answer within {limit:?}; check host, port and firewall; it is tried again"
                    ),
                });
            }
        };
        if standby {
            return Err(SinkError {
                kind: ErrorKind::Fatal,
                code: "database_standby",
                message: format!(
                    "{tried}: this is a standby that only reads; name the primary in the connection URL \
                     (checkpoints read from a standby may be old)"
                ),
            });
        }
        if version.parse::<i32>().is_ok_and(|version| version < SERVER_VERSION_MIN) {
            return Err(SinkError {
                kind: ErrorKind::Fatal,
                code: "database_too_old",
                message: format!(
                    "{tried}: its version is {version}, and PostgreSQL 12 (120000) is the oldest that works"
                ),
            });
        }
        Ok(connection)
    }

    fn connect_error(&self, error: sqlx::Error, tried: &str) -> SinkError {
        if let sqlx::Error::Io(error) = &error {
            return SinkError {
                kind: ErrorKind::Transient,
                code: "database_unreachable",
                message: format!("{tried}: {error}; start the server, or correct host and port in the connection URL"),
            };
        }
        Failure::Sql(error).into_sink_error(tried)
    }

    /// Runs `work` on a connection that is not a writer's, on an idle one if there is one. It must be harmless to run twice:
    /// where an idle connection turns out to be dead, it goes again on a new one.
    pub(super) async fn run<T, W>(
        self: &Arc<Self>,
        limit: Option<Duration>,
        tried: String,
        work: W,
    ) -> Result<T, SinkError>
    where
        T: Send + 'static,
        W: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + Sync + 'static,
    {
        let database = Arc::clone(self);
        let message = tried.clone();
        let task = async move {
            let idle = database.idle().pop();
            if let Some(mut connection) = idle {
                match work(&mut connection).await {
                    Ok(done) => {
                        database.give_back(connection);
                        return Ok(done);
                    }
                    Err(failure) if !failure.lost() && !failure.stale() => return Err(failure.into_sink_error(&tried)),
                    Err(_) => drop(connection),
                }
            }
            let mut connection = database.connect().await?;
            let done = work(&mut connection).await.map_err(|failure| failure.into_sink_error(&tried))?;
            database.give_back(connection);
            Ok(done)
        };
        match bounded(limit, task).await {
            Ok(result) => result,
            Err(Overdue) => Err(SinkError {
                kind: ErrorKind::Transient,
                code: "database_timeout",
                message: format!("{message}: no answer from {} in time; it is tried again", self.place),
            }),
        }
    }

    /// Runs `work` in a transaction, and commits it where `work` succeeds; once, whatever happens. `begin` begins it.
    pub(super) async fn transaction<T, W>(
        self: &Arc<Self>,
        limit: Duration,
        begin: &'static str,
        work: W,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + 'static,
    {
        let database = Arc::clone(self);
        let task = async move {
            let idle = database.idle().pop();
            let mut ready = None;
            if let Some(mut connection) = idle
                && sqlx::raw_sql(begin).execute(&mut connection).await.is_ok()
            {
                ready = Some(connection);
            }
            let mut connection = match ready {
                Some(connection) => connection,
                None => {
                    let mut connection = database.connect().await?;
                    sqlx::raw_sql(begin).execute(&mut connection).await?;
                    connection
                }
            };
            let result = match work(&mut connection).await {
                Ok(done) => {
                    sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
                    Ok(done)
                }
                Err(failure) => {
                    // Where there is no way back the connection is lost, and the server ends the transaction.
                    if failure.stale() || sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.is_err() {
                        return Err(failure);
                    }
                    Err(failure)
                }
            };
            database.give_back(connection);
            result
        };
        match bounded(Some(limit), task).await {
            Ok(result) => result,
            Err(Overdue) => Err(Failure::Sink(SinkError {
                kind: ErrorKind::Transient,
                code: "database_timeout",
                message: format!("no answer from {} in time; it is tried again", self.place),
            })),
        }
    }

    /// Runs `work` on a new connection.
    pub(super) async fn run_fresh<T, W>(
        self: &Arc<Self>,
        limit: Duration,
        tried: String,
        work: W,
    ) -> Result<T, SinkError>
    where
        T: Send + 'static,
        W: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + Sync + 'static,
    {
        self.idle().clear();
        self.run(Some(limit), tried, work).await
    }

    /// Runs `work`, which takes its time, on a connection of its own that nothing is left of.
    pub(super) async fn run_apart<T, W>(self: &Arc<Self>, tried: String, work: W) -> Result<T, SinkError>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + 'static,
    {
        let database = Arc::clone(self);
        let message = tried.clone();
        let task = async move {
            let mut connection = database.connect().await?;
            work(&mut connection).await.map_err(|failure| failure.into_sink_error(&tried))
        };
        bounded(None, task).await.unwrap_or_else(|Overdue| {
            let message = format!("{message}: the work was ended before its time; it is tried again");
            Err(SinkError { kind: ErrorKind::Transient, code: "database_timeout", message })
        })
    }

    /// Says goodbye on all idle connections.
    pub(super) async fn close(self: &Arc<Self>) {
        let idle = std::mem::take(&mut *self.idle());
        let task = async move {
            for connection in idle {
                if let Err(error) = connection.close().await {
                    tracing::debug!(%error, "closing a connection");
                }
            }
        };
        // Whoever does not answer is left: the sockets are closed all the same.
        if bounded(Some(self.settings.connect_timeout), task).await.is_err() {
            tracing::debug!("the database did not answer to the goodbye");
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<PgConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, connection: PgConnection) {
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }
}

/// The deadline passed; what ran is gone, and its connection with it.
pub(super) struct Overdue;

/// Runs work in a task of its own, at most for `limit`.
///
/// A task that panicked counts as overdue: either way nobody knows how far it came.
pub(super) async fn bounded<T: Send + 'static>(
    limit: Option<Duration>,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Overdue> {
    let mut task = AbortOnDrop(tokio::spawn(work.boxed()));
    let joined = match limit {
        Some(limit) => match tokio::time::timeout(limit, &mut task.0).await {
            Ok(joined) => joined,
            Err(_) => return Err(Overdue),
        },
        None => (&mut task.0).await,
    };
    joined.map_err(|_| Overdue)
}

/// Ends a task with whoever waits for it.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What every session is told, and asked: whether it is a standby, and its version.
///
/// No statement timeout: it could strike a COMMIT that waits for a synchronous standby, which is done all the same; nor PostgreSQL 17's
/// limit on transactions, where the server has one. The keepalives are the server's side of the matter: a backend whose client is gone lets
/// its locks go. A wait for a lock ends well before the commit's own deadline, whose end nobody can tell from a lost answer.
fn session_settings(settings: &PostgresSettings) -> String {
    format!(
        "SET synchronous_commit = {}; SET statement_timeout = 0; SET lock_timeout = {}; \
         SET idle_in_transaction_session_timeout = {}; SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; \
         SET tcp_keepalives_count = 3; SET tcp_user_timeout = 60000; SET search_path = pg_catalog; \
         SELECT pg_is_in_recovery(), current_setting('server_version_num'), \
         (SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout')",
        if settings.synchronous_commit { "on" } else { "off" },
        settings.lock_timeout.min(settings.commit_timeout / 3).as_millis().max(1),
        PAUSE_MAX.as_millis(),
    )
}

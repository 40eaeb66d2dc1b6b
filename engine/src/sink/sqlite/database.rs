//! One file, one process, one writing connection. Hides the lock beside the file, connections and transactions.
//!
//! Invariants: only one process has the file for writing, by a lock of the operating system on `<file>.lock`, which ends with the
//! process, however it ends. Every use of a connection runs in a task of its own, so that a caller who goes away
//! leaves no transaction open. A connection whose transaction could not be ended is thrown away.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Mutex;

use super::failure::{Failure, refused};
use super::text;
use crate::error::ErrorKind;
use crate::sink::SinkError;

/// How long a statement waits for another program that writes to the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A database file that this process has for itself.
pub(super) struct Database {
    path: PathBuf,
    options: SqliteConnectOptions,
    /// The writing connection; none before its first use, and after its loss.
    writing: Mutex<Option<SqliteConnection>>,
    /// Holds the lock until the last task that uses the database has ended.
    _lock: File,
}

/// How a transaction ended that did not commit.
pub(super) enum End {
    /// Nothing was written.
    Failed(Failure),
    /// Whether it was written is not known.
    Unknown(Failure),
}

impl Database {
    /// Takes the file, and makes it where there is none. Its folder must be there.
    pub(super) fn take(path: &Path) -> Result<Self, Failure> {
        let path = locate(path)?;
        let lock = lock(&path)?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Rows and checkpoint are in one transaction. A power loss may take the last transactions back, never a part of one,
            // and their events are applied again; the end of the process alone takes nothing back.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT)
            // 64 MiB of pages, and a write-ahead log of 16 MiB before it is written back.
            .pragma("cache_size", "-65536")
            .pragma("wal_autocheckpoint", "4096")
            .pragma("journal_size_limit", "67108864")
            .statement_cache_capacity(1_024)
            .disable_statement_logging();
        let options = text::ORDERS.iter().fold(options, |options, (_, name, order)| options.collation(*name, *order));
        Ok(Self { path, options, writing: Mutex::new(None), _lock: lock })
    }

    /// The file, for messages.
    pub(super) fn place(&self) -> String {
        self.path.display().to_string()
    }

    /// Runs `work` in a transaction that writes, alone in this process, and commits it where `work` succeeds.
    pub(super) async fn write<T, F>(self: &Arc<Self>, work: F) -> Result<T, End>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + 'static,
    {
        let database = Arc::clone(self);
        let task = tokio::spawn(
            async move {
                let mut writing = database.writing.lock().await;
                let mut connection = match writing.take() {
                    Some(connection) => connection,
                    None => database.options.connect().await.map_err(|error| End::Failed(error.into()))?,
                };
                // Never deferred: a transaction that turns into a writing one later fails at once where another writes.
                if let Err(error) = sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await {
                    return Err(End::Failed(error.into()));
                }
                let ended = match work(&mut connection).await {
                    Ok(done) => {
                        sqlx::raw_sql("COMMIT").execute(&mut connection).await.map(|_| done).map_err(uncommitted)
                    }
                    Err(failure) => Err(End::Failed(failure)),
                };
                if ended.is_ok() || sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.is_ok() {
                    *writing = Some(connection);
                }
                ended
            }
            .boxed(),
        );
        task.await.unwrap_or_else(|error| Err(End::Unknown(stopped(&error))))
    }

    /// A connection that only reads.
    pub(super) async fn reader(&self) -> Result<SqliteConnection, Failure> {
        let options = self.options.clone().create_if_missing(false).pragma("query_only", "1");
        Ok(options.connect().await?)
    }

    /// Runs `work` on a reading connection of its own.
    pub(super) async fn read<T, F>(self: &Arc<Self>, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + 'static,
    {
        let database = Arc::clone(self);
        let task = tokio::spawn(
            async move {
                let mut connection = database.reader().await?;
                let result = work(&mut connection).await;
                connection.close().await?;
                result
            }
            .boxed(),
        );
        task.await.unwrap_or_else(|error| Err(stopped(&error)))
    }

    /// Closes the writing connection, after what is under way; another one is made when it is needed.
    pub(super) async fn close(self: &Arc<Self>) {
        let database = Arc::clone(self);
        let task = tokio::spawn(
            async move {
                let mut writing = database.writing.lock().await;
                if let Some(connection) = writing.take()
                    && let Err(error) = connection.close().await
                {
                    tracing::warn!(database = %database.place(), %error, "the connection did not close cleanly");
                }
            }
            .boxed(),
        );
        // It ends early only where the runtime does, and the connection with it.
        task.await.ok();
    }
}

/// What a COMMIT that failed has left: nothing where SQLite says why it did not begin to write.
fn uncommitted(error: sqlx::Error) -> End {
    let failure = Failure::from(error);
    match failure.result_code() {
        Some(5 | 13 | 19) => End::Failed(failure),
        _ => End::Unknown(failure),
    }
}

fn stopped(error: &tokio::task::JoinError) -> Failure {
    let message = format!("the work on the database was ended before its time: {error}");
    Failure::Sink(SinkError { kind: ErrorKind::Transient, code: "database_unreachable", message })
}

/// The file under its one name: two names for it must be one lock.
fn locate(path: &Path) -> Result<PathBuf, Failure> {
    let name = path.file_name().filter(|name| *name != ":memory:").ok_or_else(|| {
        let path = path.display();
        refused(
            "database_refused",
            format!("sqlite: {path:?} names no file; checkpoints need one, as in sqlite://laterna.db"),
        )
    })?;
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let found = folder.canonicalize().map_err(|error| {
        let (folder, path) = (folder.display(), path.display());
        refused(
            "folder_missing",
            format!("sqlite: the folder {folder} of {path} cannot be used: {error}; make it, or change database.url"),
        )
    })?;
    Ok(found.join(name))
}

/// Takes the lock, and leaves the number of this process for others to read.
fn lock(path: &Path) -> Result<File, Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let unusable = |error: std::io::Error| {
        refused(
            "database_refused",
            format!("sqlite: the lock file {} cannot be used: {error}; let this user write there", name.display()),
        )
    };
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&name).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The message is only less precise without it.
            file.read_to_string(&mut pid).ok();
            let pid = pid.trim();
            let holder = if pid.is_empty() { "another process".to_owned() } else { format!("process {pid}") };
            return Err(refused(
                "database_in_use",
                format!(
                    "sqlite: {} is in use by {holder}, which holds {}; end it, or name another file in database.url",
                    path.display(),
                    name.display()
                ),
            ));
        }
    }
    let pid = format!("{}\n", std::process::id());
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(pid.as_bytes())).map_err(unusable)?;
    Ok(file)
}

//! What a reader of the database sees, as text cells: read by SQL of our own, the same from PostgreSQL and SQLite.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

/// One cell; none: NULL.
pub type Cell = Option<String>;

/// Rows in sorted order.
pub type Rows = Vec<Vec<Cell>>;

/// One question to a snapshot: a name, and its text with `{ledger.entry}` for the view of a projection's table.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// What it is about.
    pub name: &'static str,
    /// All columns must be text.
    pub sql: &'static str,
}

/// One consistent reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// `next_offset` by topic and partition of the live generation.
    pub checkpoints: BTreeMap<(String, i32), i64>,
    /// The answers by the queries' names.
    pub rows: BTreeMap<String, Rows>,
}

impl Snapshot {
    /// One number for all rows of all answers, checkpoints left out: SHA-256 in hexadecimal digits.
    pub fn digest(&self) -> String {
        let digest = Sha256::digest(format!("{:?}", self.rows).as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// How PostgreSQL knows our readers from the engine's connections.
pub const READER_NAME: &str = "laterna-tests";

/// A reader of one database.
#[derive(Debug)]
pub enum Reader {
    /// PostgreSQL.
    Postgres(Box<PgConnection>),
    /// SQLite, read-only.
    Sqlite(Box<SqliteConnection>),
}

/// The queries' text for a database: `{projection.table}` becomes the view's name there.
fn expand(sql: &str, postgres: bool) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut views = Vec::new();
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').expect("a closing brace");
        let (projection, table) = name.split_once('.').expect("projection.table");
        let view = if postgres { format!("\"{projection}\".\"{table}\"") } else { format!("\"{table}\"") };
        text.push_str(before);
        text.push_str(&view);
        views.push(view);
        rest = after;
    }
    text.push_str(rest);
    (text, views)
}

impl Reader {
    /// Connects: `postgres://..` or `sqlite://PATH`.
    ///
    /// # Errors
    /// What the database said.
    pub async fn connect(url: &str) -> Result<Self, sqlx::Error> {
        if url.starts_with("postgres") {
            let url = format!("{url}?application_name={READER_NAME}");
            Ok(Self::Postgres(Box::new(PgConnection::connect(&url).await?)))
        } else {
            Ok(Self::Sqlite(Box::new(SqliteConnection::connect(&format!("{url}?mode=ro")).await?)))
        }
    }

    /// Checkpoints and answers as of one instant.
    ///
    /// PostgreSQL resolves a view by the newest catalogue, so the views are locked first, as DESIGN.md tells readers to.
    ///
    /// # Errors
    /// What the database said: also where schema or tables are not there yet.
    pub async fn snapshot(&mut self, projection: &str, queries: &[Query]) -> Result<Snapshot, sqlx::Error> {
        match self {
            Self::Postgres(connection) => {
                sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(connection.as_mut()).await?;
                let result = postgres_snapshot(connection, projection, queries).await;
                sqlx::query("ROLLBACK").execute(connection.as_mut()).await?;
                result
            }
            Self::Sqlite(connection) => {
                sqlx::query("BEGIN").execute(connection.as_mut()).await?;
                let result = sqlite_snapshot(connection, projection, queries).await;
                sqlx::query("ROLLBACK").execute(connection.as_mut()).await?;
                result
            }
        }
    }
}

async fn postgres_snapshot(
    connection: &mut PgConnection,
    projection: &str,
    queries: &[Query],
) -> Result<Snapshot, sqlx::Error> {
    let mut views: Vec<String> = queries.iter().flat_map(|query| expand(query.sql, true).1).collect();
    views.sort();
    views.dedup();
    if !views.is_empty() {
        let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", views.join(", "));
        sqlx::query(AssertSqlSafe(lock)).execute(&mut *connection).await?;
    }
    let mut snapshot = Snapshot::default();
    let checkpoints = "SELECT c.topic, c.partition, c.next_offset FROM laterna.checkpoint c JOIN laterna.generation g \
         USING (projection, generation) WHERE c.projection = $1 AND g.state = 'live'";
    for row in sqlx::query(checkpoints).bind(projection).fetch_all(&mut *connection).await? {
        snapshot.checkpoints.insert((row.get(0), row.get(1)), row.get(2));
    }
    for query in queries {
        let found = sqlx::query(AssertSqlSafe(expand(query.sql, true).0)).fetch_all(&mut *connection).await?;
        let mut rows: Rows = found.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect();
        rows.sort();
        snapshot.rows.insert(query.name.to_owned(), rows);
    }
    Ok(snapshot)
}

async fn sqlite_snapshot(
    connection: &mut SqliteConnection,
    projection: &str,
    queries: &[Query],
) -> Result<Snapshot, sqlx::Error> {
    let mut snapshot = Snapshot::default();
    let checkpoints = "SELECT c.topic, c.partition, c.next_offset FROM laterna_checkpoint c JOIN laterna_generation g \
         USING (projection, generation) WHERE c.projection = ? AND g.state = 'live'";
    for row in sqlx::query(checkpoints).bind(projection).fetch_all(&mut *connection).await? {
        snapshot.checkpoints.insert((row.get(0), row.get(1)), row.get(2));
    }
    for query in queries {
        let found = sqlx::query(AssertSqlSafe(expand(query.sql, false).0)).fetch_all(&mut *connection).await?;
        let mut rows: Rows = found.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect();
        rows.sort();
        snapshot.rows.insert(query.name.to_owned(), rows);
    }
    Ok(snapshot)
}

//! The rows as anybody can read them: by the public views, on a read-only connection beside the engine's.

use std::path::Path;

use anyhow::Context;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

/// Rows that are shown of each view.
pub(super) const ROWS_MAX: usize = 5;

/// A public view, its size and its last rows by the first two columns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    pub(super) count: i64,
}

/// A read-only connection.
pub(super) async fn connect(database: &Path) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(database).read_only(true).create_if_missing(false);
    options.connect().await.with_context(|| format!("{} could not be read", database.display()))
}

/// All views, by name.
pub(super) async fn views(database: &Path) -> anyhow::Result<Vec<View>> {
    let mut connection = connect(database).await?;
    let mut views = Vec::new();
    for name in names(&mut connection).await? {
        views.push(view(&mut connection, &name).await?);
    }
    connection.close().await?;
    Ok(views)
}

/// The names of all views.
pub(super) async fn names(connection: &mut SqliteConnection) -> anyhow::Result<Vec<String>> {
    let query = "SELECT name FROM sqlite_schema WHERE type = 'view' AND name NOT LIKE 'laterna%' ORDER BY name";
    Ok(sqlx::query_scalar(query).fetch_all(connection).await?)
}

/// One view.
pub(super) async fn view(connection: &mut SqliteConnection, name: &str) -> anyhow::Result<View> {
    let quoted = quote(name);
    let count =
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {quoted}"))).fetch_one(&mut *connection).await?;
    let columns: Vec<String> =
        sqlx::query_scalar("SELECT name FROM pragma_table_info(?)").bind(name).fetch_all(&mut *connection).await?;
    let cells = columns.iter().map(|column| format!("CAST({} AS TEXT)", quote(column))).collect::<Vec<_>>().join(", ");
    let order = if columns.len() > 1 { "1 DESC, 2 DESC" } else { "1 DESC" };
    let query = format!("SELECT {cells} FROM {quoted} ORDER BY {order} LIMIT {ROWS_MAX}");
    let found = sqlx::query(AssertSqlSafe(query)).fetch_all(connection).await?;
    let text = |row: &sqlx::sqlite::SqliteRow, index| match row.try_get::<Option<String>, _>(index) {
        Ok(text) => text.unwrap_or_else(|| "∅".into()),
        Err(_) => "(bytes)".into(),
    };
    let rows = found.iter().map(|row| (0..columns.len()).map(|index| text(row, index)).collect()).collect();
    Ok(View { name: name.into(), columns, rows, count })
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

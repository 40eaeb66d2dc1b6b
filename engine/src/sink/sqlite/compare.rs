//! Comparing generations. Each side is one snapshot, held by a reading transaction on a connection that nothing else uses.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::database::Database;
use super::failure::Failure;
use super::text::{self, quote, statement};
use super::{catalog, sorts};
use crate::change::{Key, Schema, SchemaTable, Table, Value};
use crate::checkpoint::{Checkpoint, Generation};
use crate::sink::comparison::{self, Side};
use crate::sink::{Comparison, SinkError, TableDifference};

/// A look at a live generation.
pub(super) struct SqliteComparison {
    database: Arc<Database>,
    connection: SqliteConnection,
    live: Generation,
    checkpoints: Vec<Checkpoint>,
}

/// Begins a comparison.
pub(super) async fn begin(database: &Arc<Database>, live: &Generation) -> Result<SqliteComparison, Failure> {
    let mut connection = snapshot(database).await?;
    // The first statement takes the snapshot.
    let checkpoints = catalog::checkpoints(&mut connection, live).await?;
    Ok(SqliteComparison { database: Arc::clone(database), connection, live: live.clone(), checkpoints })
}

async fn snapshot(database: &Database) -> Result<SqliteConnection, Failure> {
    let mut connection = database.reader().await?;
    sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
    Ok(connection)
}

impl Comparison for SqliteComparison {
    fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    fn finish<'a>(
        mut self: Box<Self>,
        live: &'a Schema,
        (generation, rebuilt): (&'a Generation, &'a Schema),
        samples_max: usize,
    ) -> BoxFuture<'a, Result<Vec<TableDifference>, SinkError>> {
        Box::pin(async move {
            let tried = format!("sqlite: comparing {} with {generation} in {}", self.live, self.database.place());
            let failed = |failure: Failure| failure.into_sink_error(&tried);
            let mut other = snapshot(&self.database).await.map_err(failed)?;
            let mut differences = Vec::new();
            for pair in comparison::pairs(live, rebuilt) {
                let mut difference = pair.difference();
                match (pair.live, pair.rebuilt) {
                    (Some(old), Some(new)) if difference.comparable => {
                        let old = side(&mut self.connection, &self.live, old, &tried).await.map_err(failed)?;
                        let new = side(&mut other, generation, new, &tried).await.map_err(failed)?;
                        comparison::merge(&mut difference, old, new, samples_max).await?;
                    }
                    (old, new) => {
                        if let Some((table, _)) = old {
                            difference.live_rows =
                                count(&mut self.connection, &self.live, table).await.map_err(failed)?;
                        }
                        if let Some((table, _)) = new {
                            difference.rebuilt_rows = count(&mut other, generation, table).await.map_err(failed)?;
                        }
                    }
                }
                differences.push(difference);
            }
            Ok(differences)
        })
    }
}

/// The rows of a table in key order: as SQLite sorts them where that is the same, else sorted here.
async fn side<'a>(
    connection: &'a mut SqliteConnection,
    generation: &Generation,
    (table, resolved): (&'a Table, &'a SchemaTable),
    tried: &'a str,
) -> Result<Side<'a>, Failure> {
    let ordered = sorts(table, resolved);
    let select = statement(&text::select_all(&text::stored_name(generation, table), table, ordered));
    let mut found: BoxStream<'a, Result<Vec<Value>, Failure>> =
        select.fetch(connection).map(|row| Ok(text::decode(&row?, table)?)).boxed();
    if !ordered {
        let mut rows: Vec<Vec<Value>> = found.try_collect().await?;
        rows.sort_by_cached_key(|row| Key(resolved.key.iter().map(|column| row[*column].clone()).collect()));
        found = stream::iter(rows.into_iter().map(Ok)).boxed();
    }
    let rows = found.map_err(|failure| failure.into_sink_error(tried)).boxed();
    Ok(Side { table, resolved, rows })
}

async fn count(connection: &mut SqliteConnection, generation: &Generation, table: &Table) -> Result<u64, Failure> {
    let select = format!("SELECT count(*) FROM {}", quote(&text::stored_name(generation, table)));
    let rows: i64 = statement(&select).fetch_one(connection).await?.try_get(0)?;
    Ok(u64::try_from(rows).unwrap_or(0))
}

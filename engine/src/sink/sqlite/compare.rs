//! Comparing generations. Each side is one snapshot, held by a reading transaction on a connection that nothing else uses.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::catalog;
use super::database::Database;
use super::failure::Failure;
use super::text::{self, quote, statement};
use crate::change::{Schema, SchemaTable, Table, Value};
use crate::checkpoint::{Checkpoint, Generation};
use crate::sink::comparison::{self, Side};
use crate::sink::{BothSides, Comparison, SinkError, TableDifference};

/// A look at a live generation.
pub(super) struct SqliteComparison {
    database: Arc<Database>,
    connection: SqliteConnection,
    live: Generation,
    checkpoints: Vec<Checkpoint>,
}

/// A look at each side.
pub(super) struct SqliteSides {
    live: SqliteComparison,
    rebuilt: Generation,
    connection: SqliteConnection,
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

    fn beside<'a>(self: Box<Self>, rebuilt: &'a Generation) -> BoxFuture<'a, Result<Box<dyn BothSides>, SinkError>> {
        Box::pin(async move {
            let tried = format!("sqlite: looking at {rebuilt} in {}", self.database.place());
            let failed = |failure: Failure| failure.into_sink_error(&tried);
            let mut connection = snapshot(&self.database).await.map_err(failed)?;
            let checkpoints = catalog::checkpoints(&mut connection, rebuilt).await.map_err(failed)?;
            let both = SqliteSides { live: *self, rebuilt: rebuilt.clone(), connection, checkpoints };
            Ok(Box::new(both) as Box<dyn BothSides>)
        })
    }
}

impl BothSides for SqliteSides {
    fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    fn finish<'a>(
        mut self: Box<Self>,
        live: &'a Schema,
        rebuilt: &'a Schema,
        samples_max: usize,
    ) -> BoxFuture<'a, Result<Vec<TableDifference>, SinkError>> {
        Box::pin(async move {
            let Self { live: of_live, rebuilt: generation, connection: other, .. } = &mut *self;
            let place = of_live.database.place();
            let tried = format!("sqlite: comparing {} with {generation} in {place}", of_live.live);
            let failed = |failure: Failure| failure.into_sink_error(&tried);
            let mut differences = Vec::new();
            for pair in comparison::pairs(live, rebuilt) {
                let mut difference = pair.difference();
                match (pair.live, pair.rebuilt) {
                    (Some(old), Some(new)) if difference.comparable => {
                        let old = side(&mut of_live.connection, &of_live.live, old, &tried);
                        let new = side(other, generation, new, &tried);
                        comparison::merge(&mut difference, old, new, samples_max).await?;
                    }
                    (old, new) => {
                        if let Some((table, _)) = old {
                            difference.live_rows =
                                count(&mut of_live.connection, &of_live.live, table).await.map_err(failed)?;
                        }
                        if let Some((table, _)) = new {
                            difference.rebuilt_rows = count(other, generation, table).await.map_err(failed)?;
                        }
                    }
                }
                differences.push(difference);
            }
            Ok(differences)
        })
    }
}

/// The rows of a table in key order.
fn side<'a>(
    connection: &'a mut SqliteConnection,
    generation: &Generation,
    (table, resolved): (&'a Table, &'a SchemaTable),
    tried: &'a str,
) -> Side<'a> {
    let select = statement(&text::select_ordered(&text::stored_name(generation, table), table, None));
    let found: BoxStream<'a, Result<Vec<Value>, Failure>> =
        select.fetch(connection).map(|row| Ok(text::decode(&row?, table)?)).boxed();
    Side { table, resolved, rows: found.map_err(|failure| failure.into_sink_error(tried)).boxed() }
}

async fn count(connection: &mut SqliteConnection, generation: &Generation, table: &Table) -> Result<u64, Failure> {
    let select = format!("SELECT count(*) FROM {}", quote(&text::stored_name(generation, table)));
    let rows: i64 = statement(&select).fetch_one(connection).await?.try_get(0)?;
    Ok(u64::try_from(rows).unwrap_or(0))
}

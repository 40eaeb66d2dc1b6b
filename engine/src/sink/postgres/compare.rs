//! Comparing generations, and reading rows by their keys.
//!
//! Invariant: each side is one snapshot, held by a transaction on a connection that nothing else uses.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use hashbrown::HashMap;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row as _};

use super::commit::add;
use super::connection::Database;
use super::failure::Failure;
use super::wire::{self, Array};
use super::{checkpoints, namespace};
use crate::change::{ColumnType, Key, Row, Schema, SchemaTable, Table, Value};
use crate::checkpoint::{Checkpoint, Generation};
use crate::sink::comparison::{self, Side};
use crate::sink::{BothSides, Comparison, SinkError, TableDifference, sql};

/// A snapshot that is kept as long as it takes.
const BEGIN: &str = "SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A look at a live generation.
pub(super) struct PostgresComparison {
    database: Arc<Database>,
    connection: PgConnection,
    live: Generation,
    checkpoints: Vec<Checkpoint>,
}

/// A look at each side.
pub(super) struct PostgresSides {
    live: PostgresComparison,
    rebuilt: Generation,
    connection: PgConnection,
    checkpoints: Vec<Checkpoint>,
}

/// Begins a comparison.
pub(super) async fn begin(database: &Arc<Database>, live: &Generation) -> Result<PostgresComparison, SinkError> {
    let tried = format!("looking at {live}");
    let mut connection = snapshot(database, &tried).await?;
    // The first statement takes the snapshot.
    let checkpoints = checkpoints(&mut connection, live).await.map_err(|failure| failure.into_sink_error(&tried))?;
    Ok(PostgresComparison { database: Arc::clone(database), connection, live: live.clone(), checkpoints })
}

async fn snapshot(database: &Database, tried: &str) -> Result<PgConnection, SinkError> {
    let mut connection = database.connect().await?;
    let begun = sqlx::raw_sql(BEGIN).execute(&mut connection).await;
    begun.map_err(|error| Failure::from(error).into_sink_error(tried))?;
    Ok(connection)
}

impl Comparison for PostgresComparison {
    fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    fn beside<'a>(self: Box<Self>, rebuilt: &'a Generation) -> BoxFuture<'a, Result<Box<dyn BothSides>, SinkError>> {
        Box::pin(async move {
            let tried = format!("looking at {rebuilt}");
            let mut connection = snapshot(&self.database, &tried).await?;
            let read = checkpoints(&mut connection, rebuilt).await;
            let checkpoints = read.map_err(|failure| failure.into_sink_error(&tried))?;
            let both = PostgresSides { live: *self, rebuilt: rebuilt.clone(), connection, checkpoints };
            Ok(Box::new(both) as Box<dyn BothSides>)
        })
    }
}

impl BothSides for PostgresSides {
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
            let mut differences = Vec::new();
            for pair in comparison::pairs(live, rebuilt) {
                let mut difference = pair.difference();
                match (pair.live, pair.rebuilt) {
                    (Some(old), Some(new)) if difference.comparable => {
                        let old = side(&mut of_live.connection, &of_live.live, old);
                        let new = side(other, generation, new);
                        comparison::merge(&mut difference, old, new, samples_max).await?;
                    }
                    (old, new) => {
                        if let Some((table, _)) = old {
                            difference.live_rows = count(&mut of_live.connection, &of_live.live, table).await?;
                        }
                        if let Some((table, _)) = new {
                            difference.rebuilt_rows = count(other, generation, table).await?;
                        }
                    }
                }
                differences.push(difference);
            }
            Ok(differences)
        })
    }
}

fn types(table: &Table) -> Vec<ColumnType> {
    table.columns.iter().map(|column| column.column_type).collect()
}

fn decode(row: &PgRow, types: &[ColumnType]) -> Result<Vec<Value>, sqlx::Error> {
    let values = types.iter().enumerate();
    values.map(|(at, column_type)| wire::decode(row, at, *column_type).map_err(sqlx::Error::Decode)).collect()
}

fn side<'a>(
    connection: &'a mut PgConnection,
    generation: &Generation,
    (table, resolved): (&'a Table, &'a SchemaTable),
) -> Side<'a> {
    let text = sql::select_rows(&namespace(generation), table, false);
    let tried = format!("reading {}.{}", namespace(generation), table.name);
    let types = types(table);
    let rows: BoxStream<'a, _> = sqlx::query(AssertSqlSafe(text))
        .fetch(connection)
        .map(move |row| {
            let values = row.and_then(|row| decode(&row, &types));
            values.map_err(|error| Failure::from(error).into_sink_error(&tried))
        })
        .boxed();
    Side { table, resolved, rows }
}

async fn count(connection: &mut PgConnection, generation: &Generation, table: &Table) -> Result<u64, SinkError> {
    let name = sql::qualified(&namespace(generation), &table.name);
    let counted = async {
        let row = sqlx::query(AssertSqlSafe(format!("SELECT count(*) FROM {name}"))).fetch_one(connection).await?;
        row.try_get::<i64, _>(0)
    };
    let rows = counted.await.map_err(|error| Failure::from(error).into_sink_error(&format!("reading {name}")))?;
    Ok(u64::try_from(rows).unwrap_or(0))
}

/// The rows under these keys, in their order.
pub(super) async fn rows_at(
    connection: &mut PgConnection,
    generation: &Generation,
    (table, resolved): (&Table, &SchemaTable),
    keys: &[Key],
) -> Result<Vec<Option<Row>>, Failure> {
    let mut arrays: Vec<Array> =
        resolved.key.iter().map(|column| Array::of(table.columns[*column].column_type)).collect();
    for key in keys {
        arrays.iter_mut().zip(key.0.iter()).for_each(|(array, value)| array.push(value));
    }
    let mut arguments = PgArguments::default();
    for array in &arrays {
        add(&mut arguments, array)?;
    }
    let text = sql::select_keys(&namespace(generation), table);
    let mut rows = sqlx::query_with(AssertSqlSafe(text), arguments).fetch(connection);
    let types = types(table);
    let mut found = HashMap::with_capacity(keys.len());
    while let Some(row) = rows.try_next().await? {
        let (key, rest) = comparison::split(decode(&row, &types)?, resolved);
        found.insert(key, rest);
    }
    Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
}

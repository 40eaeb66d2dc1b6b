//! What tables that were made bare still lack: primary keys, indexes, the planner's figures.
//!
//! Each piece is made where it is not there, so that it can go again after any end; by one engine at a time, so that what another one has not
//! finished yet is not taken for what somebody left unfinished.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::catalog::{lock_key, refused};
use super::failure::Failure;
use super::namespace;
use crate::change::{Index, IndexKind, Schema, Table};
use crate::checkpoint::Generation;
use crate::sink::sql;

/// Long builds of indexes wait for nobody's deadline, and go faster with memory.
const SETTINGS: &str = "SET lock_timeout = '60s'; SET maintenance_work_mem = '128MB'";
/// How often who waits for another engine looks whether it is done.
const TURN: Duration = Duration::from_millis(100);

/// Whether a table has its primary key.
pub(super) async fn has_key(connection: &mut PgConnection, qualified: &str) -> Result<bool, Failure> {
    let row =
        sqlx::query("SELECT EXISTS (SELECT 1 FROM pg_index WHERE indrelid = to_regclass($1::text) AND indisprimary)")
            .bind(qualified)
            .fetch_one(connection)
            .await?;
    Ok(row.try_get(0)?)
}

/// Makes a table's primary key where it has none, in the open transaction.
pub(super) async fn make_key(connection: &mut PgConnection, namespace: &str, table: &Table) -> Result<(), Failure> {
    let name = sql::qualified(namespace, &table.name);
    if has_key(connection, &name).await? {
        return Ok(());
    }
    // Somebody else may be at it: then it is there when the lock is had.
    let lock = format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *connection).await?;
    if has_key(connection, &name).await? {
        return Ok(());
    }
    let add = sqlx::raw_sql(AssertSqlSafe(sql::add_key(namespace, table))).execute(&mut *connection).await;
    add.map(|_| ()).map_err(|error| {
        let failure = Failure::from(error);
        if failure.code() == Some("23505") {
            // No event's fault: two writers were not kept apart.
            return refused(
                "rows_doubled",
                format!("{name} holds a key twice: {}; cancel the rebuild, and report this", failure.said()),
            );
        }
        failure
    })
}

/// Makes what is lacking, as [`crate::sink::Sink::finish_tables`] says. The connection is for this work alone: the lock ends with it.
pub(super) async fn finish(
    connection: &mut PgConnection,
    generation: &Generation,
    schema: &Schema,
) -> Result<(), Failure> {
    sqlx::raw_sql(SETTINGS).execute(&mut *connection).await?;
    let namespace = namespace(generation);
    // Who waits in a statement has a snapshot, and an index that is made concurrently waits for those.
    let key = lock_key("finish", &namespace);
    let turn = async |connection: &mut PgConnection| {
        sqlx::query("SELECT pg_try_advisory_lock($1::int8)")
            .bind(key)
            .fetch_one(connection)
            .await?
            .try_get::<bool, _>(0)
    };
    while !turn(connection).await? {
        tokio::time::sleep(TURN).await;
    }
    let state = sqlx::query(
        "SELECT state <> 'building' FROM laterna.generation \
         WHERE projection = $1::text AND generation = $2::int4 AND stored",
    )
    .bind(generation.projection.as_str())
    .bind(generation.number as i32)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(state) = state else { return Ok(()) };
    let live: bool = state.try_get(0)?;
    for table in &schema.descriptor.tables {
        let name = sql::qualified(&namespace, &table.name);
        let mut made = !live;
        if !has_key(connection, &name).await? {
            sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
            make_key(connection, &namespace, table).await?;
            sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
        }
        for index in &table.indexes {
            made |= make_index(connection, &namespace, (table, index), live).await?;
        }
        if made {
            sqlx::raw_sql(AssertSqlSafe(format!("ANALYZE {name}"))).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Makes an index where there is none like it; true where it did. A table that is used goes on being read and written meanwhile.
async fn make_index(
    connection: &mut PgConnection,
    namespace: &str,
    (table, index): (&Table, &Index),
    live: bool,
) -> Result<bool, Failure> {
    let name = sql::index_name(&table.name, index);
    let there = sqlx::query(
        "SELECT i.indisvalid, c.relname::text = $2::text FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid \
         JOIN pg_am AS a ON a.oid = c.relam WHERE i.indrelid = to_regclass($1::text) AND (c.relname::text = $2::text \
         OR ($3::text IS NOT NULL AND a.amname = 'btree' AND NOT i.indisprimary AND i.indisvalid AND i.indpred IS NULL \
         AND i.indexprs IS NULL AND (SELECT string_agg(t.attname::text, ' ' ORDER BY k.at) \
         FROM UNNEST(i.indkey::int2[]) WITH ORDINALITY AS k(number, at) \
         JOIN pg_attribute AS t ON t.attrelid = i.indrelid AND t.attnum = k.number) = $3::text))",
    )
    .bind(sql::qualified(namespace, &table.name))
    .bind(&name)
    .bind((index.kind == IndexKind::Ordered).then(|| index.columns.join(" ")))
    .fetch_all(&mut *connection)
    .await?;
    let concurrently = if live { "CONCURRENTLY " } else { "" };
    for row in &there {
        if row.try_get(0)? {
            return Ok(false);
        }
        // One that was not finished.
        let drop = format!("DROP INDEX {concurrently}IF EXISTS {}", sql::qualified(namespace, &name));
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await?;
    }
    let create = sql::create_index(namespace, table, index, &format!("{concurrently}IF NOT EXISTS "));
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *connection).await?;
    Ok(true)
}

//! What tables that were made bare still lack: primary keys, indexes, the planner's figures.
//!
//! Each piece is made where it is not there, so that it can go again after any end. One engine at a time makes them: `IF NOT EXISTS` does not
//! keep two apart, and whoever comes second would take an index that is being made for one that was not finished.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::catalog::{lock_key, refused};
use super::failure::Failure;
use super::namespace;
use crate::change::{Index, IndexKind, Schema, Table};
use crate::checkpoint::Generation;
use crate::error::ErrorKind;
use crate::sink::{SinkError, sql};

/// Long builds of indexes wait for nobody's deadline, and go faster with memory.
const SETTINGS: &str = "SET lock_timeout = '60s'; SET maintenance_work_mem = '128MB'";

/// How long another engine that makes them is waited for, and how often it is looked whether it is done.
const OTHER_MAX: Duration = Duration::from_secs(60);
const OTHER_POLL: Duration = Duration::from_millis(250);

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

/// Makes what is lacking, as [`crate::sink::Sink::finish_tables`] says.
pub(super) async fn finish(
    connection: &mut PgConnection,
    generation: &Generation,
    schema: &Schema,
) -> Result<(), Failure> {
    sqlx::raw_sql(SETTINGS).execute(&mut *connection).await?;
    let namespace = namespace(generation);
    be_alone(connection, &namespace).await?;
    let live = sqlx::query(
        "SELECT 1 FROM laterna.generation WHERE projection = $1::text AND generation = $2::int4 AND state <> 'building'",
    )
    .bind(generation.projection.as_str())
    .bind(generation.number as i32)
    .fetch_optional(&mut *connection)
    .await?
    .is_some();
    for table in &schema.descriptor.tables {
        let name = sql::qualified(&namespace, &table.name);
        // A table that is in use has its figures from the server's own care, unless something is new.
        let mut changed = !live;
        if !has_key(connection, &name).await? {
            sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
            make_key(connection, &namespace, table).await?;
            sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
            changed = true;
        }
        for index in &table.indexes {
            changed |= make_index(connection, &namespace, (table, index), live).await?;
        }
        if changed {
            sqlx::raw_sql(AssertSqlSafe(format!("ANALYZE {name}"))).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Waits until no other engine is at this generation's keys and indexes; the session has them to itself until it ends.
///
/// It asks again and again, because a session that waits for a lock holds a snapshot, and a concurrent build of an index waits for those.
async fn be_alone(connection: &mut PgConnection, namespace: &str) -> Result<(), Failure> {
    let until = Instant::now() + OTHER_MAX;
    loop {
        let row = sqlx::query("SELECT pg_try_advisory_lock($1::int8)")
            .bind(lock_key("finish", namespace))
            .fetch_one(&mut *connection)
            .await?;
        if row.try_get(0)? {
            return Ok(());
        }
        if Instant::now() >= until {
            let message = format!("another engine is making the keys and indexes of {namespace}; it is looked again");
            return Err(Failure::Sink(SinkError { kind: ErrorKind::Transient, code: "database_locked", message }));
        }
        tokio::time::sleep(OTHER_POLL).await;
    }
}

/// Makes an index where there is none like it, and tells whether it did. A table that is in use goes on being read and written meanwhile.
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
    for row in &there {
        if row.try_get(0)? {
            return Ok(false);
        }
        // One that was not finished.
        let how = if live { "CONCURRENTLY " } else { "" };
        let drop = format!("DROP INDEX {how}IF EXISTS {}", sql::qualified(namespace, &name));
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await?;
    }
    let how = if live { "CONCURRENTLY IF NOT EXISTS " } else { "IF NOT EXISTS " };
    let create = sql::create_index(namespace, table, index, how);
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *connection).await?;
    Ok(true)
}

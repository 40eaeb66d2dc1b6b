//! The views that readers use, in the schema that is named as the projection.
//!
//! A view is replaced where all its columns stay, with the new ones at its end: grants, and what others have built on it, stay. Where a column
//! goes or changes its type, the view is dropped and made anew, with its grants; PostgreSQL refuses that where somebody builds on it.
//!
//! All views are locked before the first one is changed. Readers take them in any order, so that to hold one and to wait for another can be a
//! deadlock: only the first one is waited for, and if another one cannot be had soon, all are let go and that one comes first.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sqlx::Row as _;

use super::failure::Failure;
use super::transaction::{PostgresTransaction, READERS_WAIT, name_taken};
use super::{namespace, wire};
use crate::change::Table;
use crate::sink::registry::transaction::Views;
use crate::sink::{OrderError, sql};

/// What the projection's schema holds under a name.
struct Found {
    is_view: bool,
    /// Name and type of each column.
    columns: Vec<(String, u32)>,
    /// Statements that grant what is granted on the whole, and on a column by its name.
    grants: Vec<(Option<String>, String)>,
}

/// Makes the projection's schema ready, unless it is somebody else's.
async fn claim_schema(tx: &mut PostgresTransaction<'_>, projection: &str) -> Result<(), OrderError> {
    let row = sqlx::query("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1::text")
        .bind(projection)
        .fetch_optional(tx.connection())
        .await
        .map_err(|error| tx.error(error))?;
    match row {
        Some(row) => {
            let comment: Option<String> = row.try_get(0).map_err(|error| tx.error(error))?;
            if comment.is_some_and(|comment| comment.starts_with("Laterna: ")) {
                return Ok(());
            }
            Err(name_taken(projection, &format!("the schema {}", sql::quote(projection))))
        }
        None => {
            tx.execute(format!(
                "CREATE SCHEMA {}; COMMENT ON SCHEMA {0} IS {}",
                sql::quote(projection),
                sql::literal(&format!("Laterna: what projection {projection} keeps up to date."))
            ))
            .await
        }
    }
}

async fn found(tx: &mut PostgresTransaction<'_>, projection: &str) -> Result<BTreeMap<String, Found>, Failure> {
    let mut all = BTreeMap::<String, Found>::new();
    let columns = sqlx::query(
        "SELECT c.relname::text, c.relkind = 'v', a.attname::text, a.atttypid::int8 FROM pg_class AS c \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         WHERE n.nspname = $1::text AND c.relkind IN ('v', 'r', 'm', 'f', 'p') ORDER BY c.relname, a.attnum",
    );
    for row in columns.bind(projection).fetch_all(tx.connection()).await? {
        let found = all.entry(row.try_get(0)?).or_insert(Found {
            is_view: row.try_get(1)?,
            columns: Vec::new(),
            grants: Vec::new(),
        });
        if let Some(column) = row.try_get::<Option<String>, _>(2)? {
            found.columns.push((column, u32::try_from(row.try_get::<i64, _>(3)?).unwrap_or(0)));
        }
    }
    let grants = sqlx::query(
        "SELECT c.relname::text, g.attname, format('GRANT %s%s ON %I.%I TO %s%s', x.privilege_type, \
         CASE WHEN g.attname IS NULL THEN '' ELSE format(' (%I)', g.attname) END, n.nspname, c.relname, \
         CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END, \
         CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) \
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL (SELECT NULL::text AS attname, c.relacl AS acl UNION ALL \
         SELECT a.attname::text, a.attacl FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL) AS g \
         CROSS JOIN LATERAL aclexplode(g.acl) AS x \
         WHERE n.nspname = $1::text AND c.relkind = 'v' AND x.grantee <> c.relowner",
    );
    for row in grants.bind(projection).fetch_all(tx.connection()).await? {
        if let Some(found) = all.get_mut(row.try_get::<&str, _>(0)?) {
            found.grants.push((row.try_get(1)?, row.try_get(2)?));
        }
    }
    Ok(all)
}

/// For how long altogether the locks of all views are tried for.
const LOCKS_WAIT: Duration = Duration::from_millis(200);
/// How long a view is waited for while others are held, in the first try; twice as long in each further one.
const HELD_WAIT_MS: u128 = 4;
/// How long all readers are let through between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// Locks those of the names that are views, against all readers.
pub(super) async fn lock(tx: &mut PostgresTransaction<'_>, projection: &str, names: &[&str]) -> Result<(), OrderError> {
    let rows = sqlx::query(
        "SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1::text AND c.relkind = 'v' AND c.relname::text = ANY ($2::text[]) ORDER BY c.relname",
    )
    .bind(projection)
    .bind(wire::Array::text(names.iter().map(|name| Some(*name))))
    .fetch_all(tx.connection())
    .await
    .map_err(|error| tx.error(error))?;
    let views = rows.iter().map(|row| Ok(sql::qualified(projection, row.try_get(0)?)));
    let mut views: Vec<String> = views.collect::<Result<_, sqlx::Error>>().map_err(|error| tx.error(error))?;
    let Some(others) = views.len().checked_sub(1) else { return Ok(()) };
    let first_wait = READERS_WAIT.as_millis();
    let begun = Instant::now();
    for attempt in 0.. {
        let held_wait = (HELD_WAIT_MS << attempt.min(8)).min(first_wait / others.max(1) as u128).max(2);
        let mut statements = Vec::with_capacity(views.len() * 2);
        for (at, view) in views.iter().enumerate() {
            let wait = if at == 0 { first_wait } else { held_wait };
            statements.push(format!("SET LOCAL lock_timeout = '{wait}ms'"));
            // The least that takes the lock on a view alone; LOCK TABLE would lock the tables under it too.
            statements.push(format!("ALTER VIEW {view} RESET (check_option)"));
        }
        match tx.lock_all(&statements).await? {
            None => return Ok(()),
            Some(failed) => {
                let failed = (failed / 2).min(others);
                if failed == 0 || begun.elapsed() >= LOCKS_WAIT {
                    break;
                }
                let view = views.remove(failed);
                views.insert(0, view);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    Err(tx.readers())
}

/// Points the views at a generation, as [`crate::sink::registry::transaction::Transaction::point_views`] says.
pub(super) async fn point(tx: &mut PostgresTransaction<'_>, views: Views<'_>) -> Result<(), OrderError> {
    let projection = &views.generation.projection;
    claim_schema(tx, projection).await?;
    let found = found(tx, projection).await.map_err(|failure| tx.error(failure))?;
    let namespace = namespace(views.generation);
    let shown = |name: &str| views.former.is_some_and(|(_, tables)| tables.iter().any(|table| table.name == name));
    let in_place = views.former.is_some_and(|(number, _)| number == views.generation.number);
    let mut statements = Vec::new();
    let mut changed: Vec<&str> = Vec::new();
    for table in views.tables {
        let declared: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let all = || declared.iter().copied();
        let Some(found) = found.get(&table.name) else {
            statements.push(format!("CREATE {}", sql::create_view(projection, &namespace, &table.name, all())));
            continue;
        };
        // Where nothing was shown, a view is one that the engine left behind.
        if !found.is_view || (views.former.is_some() && !shown(&table.name)) {
            return Err(name_taken(projection, &format!("the name {}", sql::qualified(projection, &table.name))));
        }
        if keeps(found, table) {
            if in_place && found.columns.len() == declared.len() {
                continue;
            }
            changed.push(&table.name);
            let kept = found.columns.iter().map(|(name, _)| name.as_str());
            let added = all().filter(|name| !found.columns.iter().any(|(kept, _)| kept == name));
            let view = sql::create_view(projection, &namespace, &table.name, kept.chain(added));
            statements.push(format!("CREATE OR REPLACE {view}"));
        } else {
            changed.push(&table.name);
            let name = sql::qualified(projection, &table.name);
            let view = sql::create_view(projection, &namespace, &table.name, all());
            let grants = found
                .grants
                .iter()
                .filter(|(column, _)| column.as_ref().is_none_or(|column| declared.contains(&column.as_str())));
            let grants = grants.map(|(_, grant)| format!("; {grant}")).collect::<String>();
            statements.push(format!("DROP VIEW {name}; CREATE {view}{grants}"));
        }
    }
    let gone = views.former.map(|(_, tables)| tables).unwrap_or_default();
    let gone = gone.iter().filter(|table| !views.tables.iter().any(|other| other.name == table.name));
    for table in gone.filter(|table| found.get(&table.name).is_some_and(|found| found.is_view)) {
        changed.push(&table.name);
        statements.push(format!("DROP VIEW {}", sql::qualified(projection, &table.name)));
    }
    lock(tx, projection, &changed).await?;
    for statement in statements {
        tx.execute_in_passing(&statement).await?;
    }
    Ok(())
}

/// Whether a table has all columns of a view, with the same types.
fn keeps(found: &Found, table: &Table) -> bool {
    found.columns.iter().all(|(name, oid)| {
        table.columns.iter().any(|column| column.name == *name && wire::element_oid(column.column_type) == *oid)
    })
}

/// Drops the projection's views, and its schema where nobody else has anything in it.
pub(super) async fn drop_all(
    tx: &mut PostgresTransaction<'_>,
    projection: &str,
    tables: &[Table],
) -> Result<(), OrderError> {
    lock(tx, projection, &tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>()).await?;
    for table in tables {
        tx.execute_in_passing(&format!("DROP VIEW IF EXISTS {}", sql::qualified(projection, &table.name))).await?;
    }
    let ours = sqlx::query(
        "SELECT 1 FROM pg_namespace AS n WHERE n.nspname = $1::text \
         AND obj_description(n.oid, 'pg_namespace') LIKE 'Laterna: %' \
         AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid)",
    );
    let ours = ours.bind(projection).fetch_optional(tx.connection()).await.map_err(|error| tx.error(error))?;
    match ours {
        Some(_) => tx.execute(format!("DROP SCHEMA {}", sql::quote(projection))).await,
        None => Ok(()),
    }
}

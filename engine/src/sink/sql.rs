//! SQL text for PostgreSQL: names, columns, tables, and the statements that write folded changes.
//!
//! Invariants: every identifier is quoted; no value ever stands in a text, each is a parameter with its type cast beside
//! it, because the driver's statement cache knows a statement by its text only. A text is a function of the schema and the
//! [`Signature`] alone, so that the same few texts come again and the cache works. Key columns come first among a
//! statement's parameters, then the assigned columns, in the order of [`Signature::columns`].

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::change::{Column, ColumnType, Index, IndexKind, Operation, Partitioning, Schema, ShapeKind, Table};

/// An identifier in double quotes.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal in single quotes, for the few places that take no parameter (comments, settings).
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The PostgreSQL type that holds a column's values.
pub(super) fn type_name(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Boolean => "boolean",
        ColumnType::Integer => "bigint",
        ColumnType::Float => "double precision",
        ColumnType::Decimal => "numeric",
        ColumnType::Text => "text",
        ColumnType::Bytes => "bytea",
        ColumnType::Timestamp => "timestamptz",
        ColumnType::Date => "date",
        ColumnType::Uuid => "uuid",
        ColumnType::Json => "jsonb",
    }
}

/// A column as a table declares it.
///
/// Text is compared by its bytes everywhere (`COLLATE "C"`): `max`, `min` and `newer` then agree with every other sink,
/// whatever the locale of the database, and indexes serve prefix searches.
pub(super) fn column(column: &Column) -> String {
    let collation = if column.column_type == ColumnType::Text { " COLLATE \"C\"" } else { "" };
    let null = if column.nullable { "" } else { " NOT NULL" };
    format!("{} {}{collation}{null}", quote(&column.name), type_name(column.column_type))
}

/// A table's name with its schema's.
pub(super) fn qualified(namespace: &str, table: &str) -> String {
    format!("{}.{}", quote(namespace), quote(table))
}

/// `CREATE TABLE` for a table of a generation; a bare one has no key yet.
pub(super) fn create_table(namespace: &str, table: &Table, bare: bool) -> String {
    let columns = list(&table.columns, column);
    let key = match bare {
        true => String::new(),
        false => format!(", PRIMARY KEY ({})", list(&table.primary_key, |name| quote(name))),
    };
    format!("CREATE TABLE {} ({columns}{key})", qualified(namespace, &table.name))
}

/// The primary key of a table that was made bare.
pub(super) fn add_key(namespace: &str, table: &Table) -> String {
    let key = list(&table.primary_key, |name| quote(name));
    format!("ALTER TABLE {} ADD PRIMARY KEY ({key})", qualified(namespace, &table.name))
}

/// The name of an index, by what it is: no projection can have a table of this name, and the same one is made once.
pub(super) fn index_name(table: &str, index: &Index) -> String {
    let digest = Sha256::digest(format!("{table} {:?} {}", index.kind, index.columns.join(" ")));
    let table: String = table.chars().take(36).collect();
    digest.iter().take(4).fold(format!("laterna_index_{table}_"), |mut name, byte| {
        // Writing to a String cannot fail.
        write!(name, "{byte:02x}").ok();
        name
    })
}

/// `CREATE INDEX` for an index of a generation's table, with `how` before its name: `CONCURRENTLY`, say.
pub(super) fn create_index(namespace: &str, table: &Table, index: &Index, how: &str) -> String {
    let (name, on) = (quote(&index_name(&table.name, index)), qualified(namespace, &table.name));
    match index.kind {
        IndexKind::Ordered => {
            format!("CREATE INDEX {how}{name} ON {on} ({})", list(&index.columns, |column| quote(column)))
        }
        IndexKind::FullText => {
            let words = index.columns.iter().map(|column| format!("coalesce({}, '')", quote(column)));
            let words = words.collect::<Vec<_>>().join(" || ' ' || ");
            format!("CREATE INDEX {how}{name} ON {on} USING gin (to_tsvector('simple'::regconfig, {words}))")
        }
    }
}

/// The view under the stable name that readers use. Columns are named: `*` would freeze an order that nobody chose.
pub(super) fn create_view<'c>(
    public: &str,
    namespace: &str,
    table: &str,
    columns: impl Iterator<Item = &'c str>,
) -> String {
    let columns = columns.map(quote).collect::<Vec<_>>().join(", ");
    format!("VIEW {} AS SELECT {columns} FROM {}", qualified(public, table), qualified(namespace, table))
}

/// Takes whole rows in binary format, with the columns in the table's order.
pub(super) fn copy_rows(namespace: &str, table: &Table) -> String {
    let columns = list(&table.columns, |column| quote(&column.name));
    format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", qualified(namespace, &table.name))
}

/// Takes whole new rows, one array a column in the table's order.
pub(super) fn insert_rows(namespace: &str, table: &Table) -> String {
    let names = list(&table.columns, |column| quote(&column.name));
    let arrays = table.columns.iter().enumerate();
    let arrays = arrays.map(|(at, column)| format!("${}::{}[]", at + 1, type_name(column.column_type)));
    let arrays = arrays.collect::<Vec<_>>().join(", ");
    format!("INSERT INTO {} ({names}) SELECT * FROM UNNEST({arrays})", qualified(namespace, &table.name))
}

/// The rows under keys, one array a key column.
pub(super) fn select_keys(namespace: &str, table: &Table) -> String {
    let columns = list(&table.columns, |column| format!("t.{}", quote(&column.name)));
    let type_of = |name: &String| {
        let column = table.columns.iter().find(|column| column.name == *name);
        column.map_or("text", |column| type_name(column.column_type))
    };
    let key = || table.primary_key.iter().enumerate();
    let arrays = key().map(|(at, name)| format!("${}::{}[]", at + 1, type_of(name))).collect::<Vec<_>>().join(", ");
    let given = key().map(|(at, _)| format!("c{at}")).collect::<Vec<_>>().join(", ");
    let same = key().map(|(at, name)| format!("t.{} = u.c{at}", quote(name))).collect::<Vec<_>>().join(" AND ");
    format!(
        "SELECT {columns} FROM {} AS t JOIN UNNEST({arrays}) AS u({given}) ON {same}",
        qualified(namespace, &table.name)
    )
}

/// All rows of a table in key order.
pub(super) fn select_rows(namespace: &str, table: &Table, limited: bool) -> String {
    let columns = list(&table.columns, |column| quote(&column.name));
    let key = list(&table.primary_key, |name| quote(name));
    let (namespace, table) = (quote(namespace), quote(&table.name));
    let limit = if limited { " LIMIT $1::int8" } else { "" };
    format!("SELECT {columns} FROM {namespace}.{table} ORDER BY {key}{limit}")
}

/// What a statement does with one column outside the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum CellKind {
    Keep,
    Set,
    Add,
    Max,
    Min,
    SetIfNull,
    Newer,
}

/// What a statement does with rows; the order is the order of execution within a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Action {
    /// Delete by so many leading key columns.
    DeletePrefix(usize),
    /// Delete by key.
    Delete,
    /// Raise "out of range" where a running sum would leave 64 bits although its end would fit: for each of these
    /// columns, by position in `SchemaTable::rest`, the highest and the lowest running sum are parameters. Rows that the
    /// guard, if there is one, holds back are left out.
    Check {
        /// The columns.
        sums: Box<[usize]>,
        /// The column that guards the change.
        newer: Option<usize>,
    },
    /// Insert or combine; one kind for each of `SchemaTable::rest`.
    Upsert(Box<[CellKind]>),
    /// Combine where there is a row; one kind for each of `SchemaTable::rest`.
    Update(Box<[CellKind]>),
    /// Insert where there is no row.
    Insert,
}

/// What makes two row operations fit into one statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Signature {
    /// Index into `Schema::tables`.
    pub(super) table: usize,
    /// What happens to its rows.
    pub(super) action: Action,
}

impl Signature {
    /// The columns of the statement's parameters, as indexes into `Table::columns`: keys first.
    pub(super) fn columns(&self, schema: &Schema) -> Vec<usize> {
        let resolved = &schema.tables[self.table];
        let mut columns = resolved.key.clone();
        match &self.action {
            Action::DeletePrefix(length) => columns.truncate(*length),
            Action::Delete => {}
            Action::Check { sums, newer } => {
                columns.extend(sums.iter().flat_map(|rest| [resolved.rest[*rest]; 2]));
                columns.extend(newer.iter().map(|rest| resolved.rest[*rest]));
            }
            Action::Upsert(cells) | Action::Update(cells) => columns.extend(
                cells
                    .iter()
                    .zip(&resolved.rest)
                    .filter(|(kind, _)| **kind != CellKind::Keep)
                    .map(|(_, column)| *column),
            ),
            Action::Insert => columns.extend(&resolved.rest),
        }
        columns
    }

    /// The statement, with its first parameter numbered `first`, and `condition` added to what it works on.
    pub(super) fn text(&self, schema: &Schema, namespace: &str, first: usize, condition: Option<&str>) -> String {
        let resolved = &schema.tables[self.table];
        let table = &schema.descriptor.tables[resolved.index];
        let columns = self.columns(schema);
        let name = |column: usize| quote(&table.columns[column].name);
        let target = format!("{}.{} AS t", quote(namespace), quote(&table.name));
        let arrays = columns
            .iter()
            .enumerate()
            .map(|(at, column)| format!("${}::{}[]", first + at, type_name(table.columns[*column].column_type)));
        let given = (0..columns.len()).map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ");
        let source = format!("UNNEST({}) AS u({given})", arrays.collect::<Vec<_>>().join(", "));
        let keys = columns.len().min(resolved.key.len());
        let mut matching =
            (0..keys).map(|at| format!("t.{} = u.c{at}", name(columns[at]))).collect::<Vec<_>>().join(" AND ");
        if let Some(condition) = condition {
            write!(matching, " AND {condition}").ok();
        }
        let insert = |conflict: &str| {
            let names = list(&columns, |column| name(*column));
            let condition = condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
            let key = list(&resolved.key, |column| name(*column));
            format!(
                "INSERT INTO {target} ({names}) SELECT {given} FROM {source}{condition} ON CONFLICT ({key}) {conflict}"
            )
        };
        match &self.action {
            Action::DeletePrefix(_) | Action::Delete => format!("DELETE FROM {target} USING {source} WHERE {matching}"),
            Action::Check { sums, newer } => {
                let sums_text = (0..sums.len()).flat_map(|sum| {
                    let column = name(columns[keys + 2 * sum]);
                    [0, 1].map(|bound| format!("count(COALESCE(t.{column}, 0) + u.c{})", keys + 2 * sum + bound))
                });
                let sums_text = sums_text.collect::<Vec<_>>().join(", ");
                if newer.is_some() {
                    let at = columns.len() - 1;
                    write!(matching, " AND {}", guard(&name(columns[at]), &format!("u.c{at}"))).ok();
                }
                format!("SELECT {sums_text} FROM {source} JOIN {target} ON {matching}")
            }
            Action::Upsert(cells) => {
                let (set, guard) =
                    combine(cells, &columns[keys..], name, |at| format!("EXCLUDED.{}", name(columns[keys + at])));
                if set.is_empty() {
                    return insert("DO NOTHING");
                }
                let guard = guard.map(|guard| format!(" WHERE {guard}")).unwrap_or_default();
                insert(&format!("DO UPDATE SET {set}{guard}"))
            }
            Action::Update(cells) => {
                let (set, guard) = combine(cells, &columns[keys..], name, |at| format!("u.c{}", keys + at));
                let guard = guard.map(|guard| format!(" AND {guard}")).unwrap_or_default();
                format!("UPDATE {target} SET {set} FROM {source} WHERE {matching}{guard}")
            }
            Action::Insert => insert("DO NOTHING"),
        }
    }
}

/// The assignments of a stored row `t`, and the condition under which they happen.
fn combine(
    cells: &[CellKind],
    columns: &[usize],
    name: impl Fn(usize) -> String,
    new: impl Fn(usize) -> String,
) -> (String, Option<String>) {
    let mut assignments = Vec::new();
    let mut guarded = None;
    for (at, kind) in cells.iter().filter(|kind| **kind != CellKind::Keep).enumerate() {
        let (column, new) = (name(columns[at]), new(at));
        // GREATEST, LEAST and COALESCE pass nulls over, as `max`, `min` and `set-if-null` ask.
        let value = match kind {
            CellKind::Keep => continue,
            CellKind::Set => new,
            CellKind::Add => format!("COALESCE(t.{column}, 0) + {new}"),
            CellKind::Max => format!("GREATEST(t.{column}, {new})"),
            CellKind::Min => format!("LEAST(t.{column}, {new})"),
            CellKind::SetIfNull => format!("COALESCE(t.{column}, {new})"),
            CellKind::Newer => {
                guarded = Some(guard(&column, &new));
                new
            }
        };
        assignments.push(format!("{column} = {value}"));
    }
    (assignments.join(", "), guarded)
}

/// Whether the stored value is null or lesser.
fn guard(column: &str, new: &str) -> String {
    format!("(t.{column} IS NULL OR t.{column} < {new})")
}

/// Whether several statements of one commit may touch rows that other writers touch too, so that no order of rows inside
/// each of them keeps two commits from waiting for each other. Such a table is locked for a commit, by agreement.
pub(super) fn needs_table_lock(schema: &Schema, table: usize) -> bool {
    let resolved = &schema.tables[table];
    let declared = &schema.descriptor.tables[resolved.index];
    if declared.partitioning != Partitioning::Commutative {
        return false;
    }
    let shapes: Vec<_> = schema.shapes.iter().filter(|shape| shape.table == table).collect();
    // A null that loses leaves its column out, which makes another statement.
    let loses = |(rest, operation): &(usize, Operation)| {
        matches!(operation, Operation::Max | Operation::Min) && declared.columns[resolved.rest[*rest]].nullable
    };
    match shapes[..] {
        [] => false,
        [shape] => shape.kind != ShapeKind::Upsert || shape.assignments.iter().any(loses),
        _ => true,
    }
}

/// Names, one after the other.
fn list<T>(items: &[T], name: impl Fn(&T) -> String) -> String {
    items.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The parameters of the fence, which every statement that holds it starts with.
const FENCE_SOURCE: &str = "UNNEST($4::text[], $5::int4[], $6::int8[], $7::int8[], $8::int8[]) \
     AS w(topic, partition, expected, next_offset, owner_epoch)";

/// What holds for a checkpoint that may move.
const FENCE_MATCH: &str = "c.projection = $1::text AND c.generation = $2::int4 AND c.topic = w.topic \
     AND c.partition = w.partition AND c.next_offset = w.expected AND c.owner_epoch = w.owner_epoch \
     AND EXISTS (SELECT 1 FROM laterna.generation AS g \
     WHERE g.projection = $1::text AND g.generation = $2::int4 AND g.writable)";

/// How many parameters the fence has: $1 projection, $2 generation, $3 plugin digest, $4-$8 the advances.
pub(super) const FENCE_PARAMETERS: usize = 8;

/// Moves all checkpoints that stand where the commit expects them. Fewer rows than advances: fenced.
pub(super) fn fence() -> String {
    format!(
        "UPDATE laterna.checkpoint AS c SET next_offset = w.next_offset, plugin_digest = $3::text, updated_at = now() \
         FROM {FENCE_SOURCE} WHERE {FENCE_MATCH}"
    )
}

/// Which of the advances do not hold, after a commit was fenced. Takes the fence's parameters.
pub(super) fn fence_misses() -> String {
    format!(
        "SELECT w.topic, w.partition FROM {FENCE_SOURCE} WHERE $3::text IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM laterna.checkpoint AS c WHERE {FENCE_MATCH})"
    )
}

/// Fence, rows and checkpoints in one statement, which commits by itself: one round trip.
///
/// A miss must undo the hits, so it fails, by a division by zero (SQLSTATE 22012) that nothing else in it can raise. What
/// writes rows asks for the guard, so that checkpoints are locked before any row, as in the long form.
/// Parameters: the fence's, then the number of advances, then the table locks if `locked`, then each statement's.
pub(super) fn one_statement(schema: &Schema, namespace: &str, signatures: &[Signature], locked: bool) -> String {
    let mut next = FENCE_PARAMETERS + 2;
    let mut locks = String::new();
    if locked {
        locks = format!(", (SELECT count(pg_advisory_xact_lock(k)) FROM UNNEST(${next}::int8[]) AS l(k)) AS locks");
        next += 1;
    }
    let mut text = format!(
        "WITH fence AS ({} RETURNING 1), guard AS MATERIALIZED (SELECT 1 / CASE WHEN (SELECT count(*) FROM fence) = ${}::int8 \
         THEN 1 ELSE 0 END AS ok{locks})",
        fence(),
        FENCE_PARAMETERS + 1,
    );
    for (at, signature) in signatures.iter().enumerate() {
        let statement = signature.text(schema, namespace, next, Some("(SELECT ok FROM guard) = 1"));
        write!(text, ", s{at} AS ({statement})").ok();
        next += signature.columns(schema).len();
    }
    text.push_str(" SELECT ok FROM guard");
    text
}

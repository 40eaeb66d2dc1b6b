//! Names that projections, tables and columns cannot have.

/// Key words that PostgreSQL (reserved ones) or SQLite do not take as a name without quotes, sorted. Everything is quoted by
/// us, but readers write their queries by hand.
const WORDS: &[&str] = &[
    "add",
    "all",
    "alter",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "autoincrement",
    "between",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "commit",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "delete",
    "desc",
    "distinct",
    "do",
    "drop",
    "else",
    "end",
    "escape",
    "except",
    "exists",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "index",
    "initially",
    "inner",
    "insert",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "nothing",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "set",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "transaction",
    "true",
    "union",
    "unique",
    "update",
    "user",
    "using",
    "values",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

/// Columns that every table of PostgreSQL, or of SQLite, has already.
const SYSTEM_COLUMNS: &[&str] = &["cmax", "cmin", "ctid", "rowid", "tableoid", "xmax", "xmin"];

/// What a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOf {
    /// A projection: the schema of its tables.
    Projection,
    /// A table.
    Table,
    /// A column.
    Column,
}

/// How long a name may be: with what we append, it stays below PostgreSQL's 63 bytes.
pub(super) const NAME_LENGTH_MAX: usize = 48;

/// What is wrong with a name, if anything: for people, with the name.
pub fn fault(name: &str, of: NameOf) -> Option<String> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !first || !bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        return Some(format!(
            "{:?} is not an identifier: a lower-case letter, then lower-case letters, digits and underscores",
            super::value::shortened(name)
        ));
    }
    if name.len() > NAME_LENGTH_MAX {
        return Some(format!("{name:?} has {} characters, at most {NAME_LENGTH_MAX} are taken", name.len()));
    }
    if WORDS.binary_search(&name).is_ok() {
        return Some(format!("{name:?} is a reserved word of SQL, choose another name"));
    }
    if name.starts_with("laterna") {
        return Some(format!("{name:?} begins with \"laterna\", which is kept for the engine's own"));
    }
    match of {
        NameOf::Column if SYSTEM_COLUMNS.contains(&name) => Some(format!("{name:?} is a column that every table has")),
        NameOf::Column => None,
        NameOf::Projection if matches!(name, "public" | "information_schema") => {
            Some(format!("{name:?} is a schema of PostgreSQL"))
        }
        _ if name.starts_with("pg_") || name.starts_with("sqlite_") => {
            Some(format!("{name:?} begins as the database's own names do"))
        }
        NameOf::Projection if ends_in_number(name, "_g") => {
            Some(format!("{name:?} ends in \"_g\" and a number, as the schema of a generation does"))
        }
        NameOf::Table if ends_in_number(name, "__g") => {
            Some(format!("{name:?} ends in \"__g\" and a number, as the table of a generation does"))
        }
        _ => None,
    }
}

fn ends_in_number(name: &str, mark: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    stem.len() < name.len() && stem.ends_with(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted() {
        assert!(WORDS.is_sorted());
    }

    #[test]
    fn names_are_identifiers_that_nobody_else_has() {
        use NameOf::{Column, Projection, Table};
        let long = "a".repeat(NAME_LENGTH_MAX);
        for (name, of) in [
            ("a", Projection),
            ("order_items2", Table),
            ("key", Column),
            ("value", Column),
            ("x_g1", Table),
            ("x__g", Table),
            ("g1", Projection),
            (&long, Table),
            ("pg_x", Column),
            ("public", Table),
        ] {
            assert_eq!(fault(name, of), None, "{name}");
        }
        let longer = "a".repeat(NAME_LENGTH_MAX + 1);
        for (name, of) in [
            ("", Table),
            ("1a", Table),
            ("_a", Table),
            ("Orders", Table),
            ("a-b", Table),
            ("é", Table),
            ("a b", Column),
            ("a\"", Column),
            (&longer, Column),
            ("order", Table),
            ("user", Column),
            ("offset", Column),
            ("values", Table),
            ("index", Table),
            ("laterna", Projection),
            ("laterna_x", Table),
            ("pg_x", Projection),
            ("sqlite_x", Table),
            ("public", Projection),
            ("information_schema", Projection),
            ("x_g12", Projection),
            ("x__g1", Table),
            ("xmin", Column),
        ] {
            assert!(fault(name, of).is_some(), "{name}");
        }
    }
}

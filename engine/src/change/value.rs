//! Values of columns: what the databases can hold, checked before any SQL.
//!
//! Invariants of a [`Value`] that passed [`Value::check`]: floats are finite and never -0.0; text holds no U+0000;
//! timestamps and dates lie within PostgreSQL's range; JSON is valid, without U+0000, in canonical form (object
//! keys sorted and unique, numbers in normal form, no white space); decimals have at most 1,000 digits before and
//! 1,000 after the point. So equal values are equal in both databases, and `Eq`/`Hash` agree with SQL's `=`.

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// True or false.
    Boolean(bool),
    /// Whole number.
    Integer(i64),
    /// Finite floating-point number.
    Float(f64),
    /// Exact decimal number.
    Decimal(Decimal),
    /// Text without U+0000.
    Text(String),
    /// Any bytes.
    Bytes(Vec<u8>),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// Days since 1970-01-01.
    Date(i32),
    /// The 128 bits, most significant first.
    Uuid([u8; 16]),
    /// One JSON document in canonical form.
    Json(String),
}

/// An exact decimal number. Equal where the numbers are (1.0 = 1.00); keeps its scale for people, like `numeric`.
#[derive(Clone, Debug)]
pub struct Decimal;

/// The values of a primary key, or of its leading columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Key(pub Box<[Value]>);

/// What is wrong with a value, without table and column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

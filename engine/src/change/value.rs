//! Values of columns: what the databases can hold, checked before any SQL.
//!
//! Invariants of a [`Value`] that passed [`PluginValue::check`]: floats are finite and never -0.0; text holds no
//! U+0000; timestamps and dates lie within PostgreSQL's range; JSON is valid, without U+0000, in canonical form (object
//! keys sorted and unique, numbers in normal form, no white space); decimals have at most 1,000 digits before and
//! 1,000 after the point. So equal values are equal in both databases, and `Eq`/`Hash` agree with SQL's `=`.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use super::decimal::Decimal;
use super::{ColumnType, calendar, json};

/// How many bytes a text, a byte string or a JSON document may have, as the plugin gives it: 64 MiB, so that a
/// statement stays far below the databases' own bound of 1 GB.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// A value as a plugin returns it: the case is its word, and numbers and documents are still text.
#[derive(Clone, Debug, PartialEq)]
pub enum PluginValue {
    /// SQL NULL.
    Null,
    /// True or false.
    Boolean(bool),
    /// Whole number.
    Integer(i64),
    /// Floating-point number.
    Float(f64),
    /// Decimal number in plain or scientific notation.
    Decimal(String),
    /// Text.
    Text(String),
    /// Any bytes.
    Bytes(Vec<u8>),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// Days since 1970-01-01.
    Date(i32),
    /// 32 hexadecimal digits in groups of 8-4-4-4-12.
    Uuid(String),
    /// One JSON document.
    Json(String),
}

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// True or false.
    Boolean(bool),
    /// Whole number.
    Integer(i64),
    /// Finite floating-point number, never -0.0.
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

/// The values of a primary key, or of its leading columns. Cheap to clone; ordered by its values from left to right.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub Arc<[Value]>);

/// So that a map of keys can be asked with the leading part of one.
impl Borrow<[Value]> for Key {
    fn borrow(&self) -> &[Value] {
        &self.0
    }
}

/// What is wrong with a value, without table and column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

impl ColumnType {
    /// The type's name, as in the contract.
    pub fn name(self) -> &'static str {
        match self {
            ColumnType::Boolean => "boolean",
            ColumnType::Integer => "integer",
            ColumnType::Float => "float",
            ColumnType::Decimal => "decimal",
            ColumnType::Text => "text",
            ColumnType::Bytes => "bytes",
            ColumnType::Timestamp => "timestamp",
            ColumnType::Date => "date",
            ColumnType::Uuid => "uuid",
            ColumnType::Json => "json",
        }
    }
}

impl PluginValue {
    /// The value of a column of this type. `bytes_max` bounds texts, bytes and JSON (and decimals, by their digits).
    ///
    /// # Errors
    /// Another type, null where it is not allowed, or what a database cannot hold: see the invariants above.
    pub fn check(self, column_type: ColumnType, nullable: bool, bytes_max: usize) -> Result<Value, ValueError> {
        let value = match (self, column_type) {
            (PluginValue::Null, _) if nullable => return Ok(Value::Null),
            (PluginValue::Null, _) => return Err(ValueError("is null, but the column is not nullable".into())),
            (PluginValue::Boolean(value), ColumnType::Boolean) => Value::Boolean(value),
            (PluginValue::Integer(value), ColumnType::Integer) => Value::Integer(value),
            (PluginValue::Decimal(text), ColumnType::Integer) => Value::Integer(whole(&text)?),
            (PluginValue::Float(value), ColumnType::Float) => Value::float(value)?,
            (PluginValue::Decimal(text), ColumnType::Decimal) => Value::Decimal(Decimal::parse(&text)?),
            (PluginValue::Text(text), ColumnType::Text) => Value::text(text)?,
            (PluginValue::Bytes(bytes), ColumnType::Bytes) => Value::Bytes(bytes),
            (PluginValue::Timestamp(value), ColumnType::Timestamp) => Value::timestamp(value)?,
            (PluginValue::Decimal(text), ColumnType::Timestamp) => Value::timestamp(whole(&text)?)?,
            (PluginValue::Date(value), ColumnType::Date) => Value::date(value)?,
            (PluginValue::Uuid(text), ColumnType::Uuid) => Value::uuid(&text)?,
            (PluginValue::Json(text), ColumnType::Json) if text.len() > VALUE_BYTES_MAX => {
                return Err(too_long(text.len(), VALUE_BYTES_MAX));
            }
            (PluginValue::Json(text), ColumnType::Json) => Value::json(&text)?,
            (other, _) => {
                return Err(ValueError(format!("is {}, but the column is {}", other.case(), column_type.name())));
            }
        };
        let bytes = value.bytes();
        if bytes > bytes_max { Err(too_long(bytes, bytes_max)) } else { Ok(value) }
    }

    fn case(&self) -> &'static str {
        match self {
            PluginValue::Null => "null",
            PluginValue::Boolean(_) => "boolean",
            PluginValue::Integer(_) => "integer",
            PluginValue::Float(_) => "float",
            PluginValue::Decimal(_) => "decimal",
            PluginValue::Text(_) => "text",
            PluginValue::Bytes(_) => "bytes",
            PluginValue::Timestamp(_) => "timestamp",
            PluginValue::Date(_) => "date",
            PluginValue::Uuid(_) => "uuid",
            PluginValue::Json(_) => "json",
        }
    }
}

fn too_long(bytes: usize, bytes_max: usize) -> ValueError {
    ValueError(format!("has {bytes} bytes, at most {bytes_max} are taken here"))
}

fn whole(text: &str) -> Result<i64, ValueError> {
    let decimal = Decimal::parse(text)?;
    decimal.to_integer().ok_or_else(|| ValueError(format!("{:?} is not a whole number of 64 bits", shortened(text))))
}

/// A text for a message: at most 80 characters.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}..", &text[..at]),
        None => text.to_owned(),
    }
}

impl Value {
    /// Whether it is SQL NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// A finite number; -0.0 becomes 0.0.
    ///
    /// # Errors
    /// NaN and infinities.
    pub fn float(value: f64) -> Result<Self, ValueError> {
        if value.is_finite() {
            Ok(Value::Float(value + 0.0))
        } else {
            Err(ValueError(format!("{value} is not a finite number")))
        }
    }

    /// A text.
    ///
    /// # Errors
    /// It holds U+0000, which PostgreSQL cannot store.
    pub fn text(text: String) -> Result<Self, ValueError> {
        match text.as_bytes().contains(&0) {
            false => Ok(Value::Text(text)),
            true => Err(ValueError("holds U+0000, which no database can store in a text".into())),
        }
    }

    /// An instant in microseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// It is before PostgreSQL's first one, in 4714 BC.
    pub fn timestamp(micros: i64) -> Result<Self, ValueError> {
        if micros < calendar::TIMESTAMP_MIN {
            return Err(ValueError(format!(
                "the timestamp {micros} is before the first one, {}",
                calendar::TIMESTAMP_MIN
            )));
        }
        Ok(Value::Timestamp(micros))
    }

    /// A day, counted from 1970-01-01.
    ///
    /// # Errors
    /// It is before PostgreSQL's first one, in 4714 BC, or after its last one, in 5874897 AD.
    pub fn date(days: i32) -> Result<Self, ValueError> {
        if !(calendar::DATE_MIN..=calendar::DATE_MAX).contains(&days) {
            return Err(ValueError(format!(
                "the date {days} is not between {} and {}",
                calendar::DATE_MIN,
                calendar::DATE_MAX
            )));
        }
        Ok(Value::Date(days))
    }

    /// A UUID from 32 hexadecimal digits of any case in groups of 8-4-4-4-12.
    ///
    /// # Errors
    /// Anything else.
    pub fn uuid(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError(format!("{:?} is not a UUID", shortened(text)));
        if text.len() != 36 {
            return Err(wrong());
        }
        let mut bytes = [0u8; 16];
        let mut digits = 0;
        for (at, c) in text.bytes().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if c != b'-' {
                    return Err(wrong());
                }
                continue;
            }
            let digit = char::from(c).to_digit(16).ok_or_else(wrong)? as u8;
            bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
            digits += 1;
        }
        Ok(Value::Uuid(bytes))
    }

    /// A JSON document, which is brought into canonical form.
    ///
    /// # Errors
    /// It is none, nests too deep, holds U+0000 or half a surrogate pair, or a number beyond a decimal's bounds.
    pub fn json(text: &str) -> Result<Self, ValueError> {
        json::canonical(text).map(Value::Json)
    }

    /// How many bytes it takes in a key or an index, at most.
    pub fn bytes(&self) -> usize {
        match self {
            Value::Null | Value::Boolean(_) => 1,
            Value::Integer(_) | Value::Float(_) | Value::Timestamp(_) => 8,
            Value::Date(_) => 4,
            Value::Uuid(_) => 16,
            Value::Decimal(decimal) => decimal.digits_about() + 8,
            Value::Text(text) | Value::Json(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
        }
    }

    /// Which of two values of one type is the greater one: numbers by size, texts by their UTF-8 bytes (collation
    /// "C"), UUIDs by their bytes. Null is the least. Values of different types have a fixed, meaningless order.
    pub fn compare(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
            (Value::Integer(a), Value::Integer(b)) | (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) | (Value::Json(a), Value::Json(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Date(a), Value::Date(b)) => a.cmp(b),
            (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Boolean(_) => 1,
            Value::Integer(_) => 2,
            Value::Float(_) => 3,
            Value::Decimal(_) => 4,
            Value::Text(_) => 5,
            Value::Bytes(_) => 6,
            Value::Timestamp(_) => 7,
            Value::Date(_) => 8,
            Value::Uuid(_) => 9,
            Value::Json(_) => 10,
        }
    }

    /// The value for people and tests, the same from every sink: decimals, timestamps, dates and UUIDs as text, bytes as
    /// `{"base64": ..}`. Numbers within a JSON document are shown as 64-bit floats where they are not whole.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::Null => Json::Null,
            Value::Boolean(value) => Json::Bool(*value),
            Value::Integer(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Decimal(decimal) => decimal.to_string().into(),
            Value::Text(text) => text.as_str().into(),
            Value::Bytes(bytes) => serde_json::json!({ "base64": base64(bytes) }),
            Value::Timestamp(micros) => format!("{}Z", calendar::timestamp_text(*micros).replacen(' ', "T", 1)).into(),
            Value::Date(days) => calendar::date_text(*days).into(),
            Value::Uuid(bytes) => uuid_text(bytes).into(),
            Value::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()),
        }
    }
}

/// A UUID as 32 lower-case hexadecimal digits in groups of 8-4-4-4-12.
pub fn uuid_text(bytes: &[u8; 16]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// A float is never NaN and -0.0 never stored, so equality is an equivalence.
impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(self.rank());
        match self {
            Value::Null => {}
            Value::Boolean(value) => value.hash(state),
            Value::Integer(value) | Value::Timestamp(value) => value.hash(state),
            // 0.0 = -0.0, so they must hash alike.
            Value::Float(value) => (value + 0.0).to_bits().hash(state),
            Value::Decimal(decimal) => decimal.hash(state),
            Value::Text(text) | Value::Json(text) => text.hash(state),
            Value::Bytes(bytes) => bytes.hash(state),
            Value::Date(days) => days.hash(state),
            Value::Uuid(bytes) => bytes.hash(state),
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare(other)
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: PluginValue, column_type: ColumnType) -> Result<Value, ValueError> {
        value.check(column_type, false, VALUE_BYTES_MAX)
    }

    #[test]
    fn a_value_is_its_columns_type() {
        use ColumnType as T;
        use PluginValue as P;
        let uuid = "0190A5C3-1111-7abc-8def-001122334455";
        let bytes = [0x01, 0x90, 0xa5, 0xc3, 0x11, 0x11, 0x7a, 0xbc, 0x8d, 0xef, 0, 0x11, 0x22, 0x33, 0x44, 0x55];
        for (given, column_type, expected) in [
            (P::Boolean(true), T::Boolean, Value::Boolean(true)),
            (P::Integer(-1), T::Integer, Value::Integer(-1)),
            (P::Decimal("12e2".into()), T::Integer, Value::Integer(1200)),
            (P::Decimal("1.00".into()), T::Timestamp, Value::Timestamp(1)),
            (P::Float(-0.0), T::Float, Value::Float(0.0)),
            (P::Decimal("1.50".into()), T::Decimal, Value::Decimal(Decimal::parse("1.5").unwrap())),
            (P::Text("é".into()), T::Text, Value::Text("é".into())),
            (P::Bytes(vec![0]), T::Bytes, Value::Bytes(vec![0])),
            (P::Timestamp(i64::MAX), T::Timestamp, Value::Timestamp(i64::MAX)),
            (P::Date(-1), T::Date, Value::Date(-1)),
            (P::Uuid(uuid.into()), T::Uuid, Value::Uuid(bytes)),
            (P::Json(" [1.0]".into()), T::Json, Value::Json("[1]".into())),
        ] {
            assert_eq!(check(given, column_type), Ok(expected));
        }
        assert_eq!(uuid_text(&bytes), uuid.to_lowercase());
        assert_eq!(PluginValue::Null.check(T::Text, true, 1), Ok(Value::Null));
    }

    #[test]
    fn what_no_database_holds_is_refused() {
        use ColumnType as T;
        use PluginValue as P;
        for (given, column_type) in [
            (P::Null, T::Text),
            (P::Text("1".into()), T::Integer),
            (P::Integer(1), T::Float),
            (P::Integer(1), T::Decimal),
            (P::Integer(1), T::Timestamp),
            (P::Text("{}".into()), T::Json),
            (P::Decimal("1.5".into()), T::Integer),
            (P::Decimal("9223372036854775808".into()), T::Integer),
            (P::Decimal("nan".into()), T::Decimal),
            (P::Float(f64::NAN), T::Float),
            (P::Float(f64::NEG_INFINITY), T::Float),
            (P::Text("a\0b".into()), T::Text),
            (P::Timestamp(i64::MIN), T::Timestamp),
            (P::Date(i32::MIN), T::Date),
            (P::Date(i32::MAX), T::Date),
            (P::Uuid("0190a5c3-1111-7abc-8def-00112233445".into()), T::Uuid),
            (P::Uuid("0190a5c311117abc8def001122334455".into()), T::Uuid),
            (P::Uuid("0190a5c3-1111-7abc-8def-00112233445é".into()), T::Uuid),
            (P::Uuid("0190a5c3-1111-7abc-8def-0011223344g5".into()), T::Uuid),
            (P::Json("\"\\u0000\"".into()), T::Json),
            (P::Text("x".repeat(VALUE_BYTES_MAX + 1)), T::Text),
            (P::Json(" ".repeat(VALUE_BYTES_MAX) + "1"), T::Json),
        ] {
            assert!(check(given.clone(), column_type).is_err(), "{}", shortened(&format!("{given:?}")));
        }
        assert!(PluginValue::Text("abc".into()).check(T::Text, false, 2).is_err());
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}

//! The types of columns.

use crate::bindings::laterna::projection::types::{ColumnType, Value};
use crate::{Date, Decimal, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::fmt;
use std::str::FromStr;

/// A Rust type that a column can have. `Option<T>` is the column that takes null.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the type of a column",
    note = "columns are bool, i64, f64, Decimal, String, Vec<u8>, Timestamp, Date, Uuid, Json, or an Option of one of these"
)]
pub trait Column {
    /// Its type in the contract.
    #[doc(hidden)]
    const TYPE: ColumnType;
    /// Whether null is allowed.
    const NULLABLE: bool = false;
    /// The value as it crosses to the engine.
    #[doc(hidden)]
    fn value(self) -> Value;
}

/// A column that can be in a primary key: all but `Option`.
#[diagnostic::on_unimplemented(message = "`{Self}` cannot be in a primary key", note = "a key has no null")]
pub trait KeyColumn: Column {}

/// A column that `add` works on.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no sum",
    note = "`add` is for i64, f64, Decimal, and Option of these"
)]
pub trait Sum: Column {}

/// A column that `max`, `min` and `newer` work on.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no order here",
    note = "`max`, `min` and `newer` are for i64, f64, Decimal, String, Timestamp, Date, Uuid, and Option of these"
)]
pub trait Ordered: Column {}

macro_rules! columns {
    ($($type:ty => $case:ident ($($class:ident)*), |$value:ident| $cross:expr;)+) => { $(
        impl Column for $type {
            const TYPE: ColumnType = ColumnType::$case;
            fn value(self) -> Value {
                let $value = self;
                Value::$case($cross)
            }
        }
        impl KeyColumn for $type {}
        $(impl $class for $type {})*
    )+ };
}

columns! {
    bool => Boolean (), |value| value;
    i64 => Integer (Sum Ordered), |value| value;
    f64 => Float (Sum Ordered), |value| value;
    Decimal => Decimal (Sum Ordered), |value| value.into_text();
    String => Text (Ordered), |value| value;
    Vec<u8> => Bytes (), |value| value;
    Timestamp => Timestamp (Ordered), |value| value.as_micros();
    Date => Date (Ordered), |value| value.as_days();
    Uuid => Uuid (Ordered), |value| value.to_string();
    Json => Json (), |value| value.0;
}

impl<T: Column> Column for Option<T> {
    const TYPE: ColumnType = T::TYPE;
    const NULLABLE: bool = true;
    fn value(self) -> Value {
        self.map_or(Value::Null, T::value)
    }
}
impl<T: Sum> Sum for Option<T> {}
impl<T: Ordered> Ordered for Option<T> {}

/// A text or number that is not the value that it should be, with the reason. `?` makes a reject of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError(String);

impl ValueError {
    /// `what` is wrong with `text`, of which the first 40 characters are shown.
    pub(crate) fn new(text: &str, what: &str) -> Self {
        ValueError(format!("{:?}: {what}", text.chars().take(40).collect::<String>()))
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

/// Reads a text through `FromStr`, for serde.
pub(crate) fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err = ValueError>>(deserializer: D) -> Result<T, D::Error> {
    struct Text<T>(std::marker::PhantomData<T>);
    impl<T: FromStr<Err = ValueError>> de::Visitor<'_> for Text<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text(std::marker::PhantomData))
}

/// A UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// From its 16 bytes, most significant first.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Uuid(bytes)
    }

    /// Its 16 bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for Uuid {
    type Err = ValueError;
    /// Reads 32 hexadecimal digits, capital or not, in groups of 8-4-4-4-12.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::new(text, "a UUID wanted: 32 hexadecimal digits in groups of 8-4-4-4-12");
        let (mut bytes, mut digits) = ([0u8; 16], 0);
        for (at, byte) in text.bytes().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return Err(wrong());
                }
                continue;
            }
            let digit = (byte as char).to_digit(16).ok_or_else(wrong)? as u8;
            let slot = bytes.get_mut(digits / 2).ok_or_else(wrong)?;
            *slot = *slot << 4 | digit;
            digits += 1;
        }
        if digits == 32 { Ok(Uuid(bytes)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

/// One JSON document. Read from an event, its numbers are those of serde_json: whole ones of 64 bits, else floating point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(String);

impl Json {
    /// The document that serde makes of `value`.
    ///
    /// # Errors
    /// Where serde cannot: a map whose keys are not text, or a `Serialize` of one's own that fails.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Result<Self, ValueError> {
        serde_json::to_string(value).map(Json).map_err(|error| ValueError(format!("no JSON document: {error}")))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Json(value.to_string())
    }
}

/// Takes any JSON, so that `attributes: Option<Json>` reads a part of an event as it stands.
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Value::deserialize(deserializer).map(Json::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_in_its_one_form_and_shown_in_small_letters() {
        let text = "0196A9c1-1111-7abc-8def-0123456789ab";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid.to_string(), text.to_lowercase());
        assert_eq!(Uuid::from_bytes(*uuid.as_bytes()), uuid);
        for wrong in [
            "",
            "0196a9c1",
            "0196a9c111117abc8def0123456789ab",
            "0196a9c1-1111-7abc-8def-0123456789abc",
            "0196a9c1-1111-7abc-8def-0123456789ag",
            "{0196a9c1-1111-7abc-8def-0123456789ab}",
            "0196a9c1-1111-7abc-8def-0123456789a",
        ] {
            assert!(wrong.parse::<Uuid>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn null_is_a_value_of_an_optional_column_only() {
        assert_eq!(None::<i64>.value(), Value::Null);
        assert_eq!(Some(7i64).value(), Value::Integer(7));
        assert_eq!((<Option<Date>>::NULLABLE, Date::NULLABLE), (true, false));
        assert_eq!(<Option<Date>>::TYPE, ColumnType::Date);
    }

    #[test]
    fn a_json_column_takes_a_part_of_an_event() {
        let json: Json = serde_json::from_str(r#" {"a" : [1, null, "x"]} "#).unwrap();
        assert_eq!(json.as_str(), r#"{"a":[1,null,"x"]}"#);
        assert!(Json::of(&std::collections::HashMap::from([(vec![1u8], 1)])).is_err());
    }
}

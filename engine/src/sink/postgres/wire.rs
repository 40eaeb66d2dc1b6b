//! Values as PostgreSQL's binary format has them. Hides bytes, object ids and epochs.
//!
//! Parameters are whole columns: one [`Array`] each, encoded as it grows, so that a row costs no allocation.

use std::borrow::Borrow;

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgRow, PgTypeInfo};
use sqlx::{Postgres, Row as _, Type, ValueRef as _};

use crate::change::{ColumnType, Decimal, Value};

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;
/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;

/// The server's number for the type of a column's values.
pub(super) fn element_oid(column_type: ColumnType) -> u32 {
    match column_type {
        ColumnType::Boolean => 16,
        ColumnType::Integer => 20,
        ColumnType::Float => 701,
        ColumnType::Decimal => 1700,
        ColumnType::Text => 25,
        ColumnType::Bytes => 17,
        ColumnType::Timestamp => 1184,
        ColumnType::Date => 1082,
        ColumnType::Uuid => 2950,
        ColumnType::Json => 3802,
    }
}

/// An instant in microseconds since 1970, as a `timestamptz`.
pub(super) fn instant(micros: i64) -> [u8; 8] {
    micros.saturating_sub(EPOCH_MICROSECONDS).to_be_bytes()
}

/// The instant of a `timestamptz`, in microseconds since 1970.
pub(super) fn micros(wire: i64) -> i64 {
    wire.saturating_add(EPOCH_MICROSECONDS)
}

/// One parameter: the values of a column, one a row.
pub(super) struct Array {
    array_oid: u32,
    /// Header and elements; the length in the header is set when it is sent.
    bytes: Vec<u8>,
    len: i32,
}

impl Array {
    fn new(element_oid: u32, array_oid: u32) -> Self {
        let mut bytes = Vec::with_capacity(64);
        // One dimension, "has nulls" (the server takes it as a hint only), the element's type, length, lower bound 1.
        for word in [1, 1, element_oid, 0, 1] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        Self { array_oid, bytes, len: 0 }
    }

    /// An empty column.
    pub(super) fn of(column_type: ColumnType) -> Self {
        let array = match column_type {
            ColumnType::Boolean => 1000,
            ColumnType::Integer => 1016,
            ColumnType::Float => 1022,
            ColumnType::Decimal => 1231,
            ColumnType::Text => 1009,
            ColumnType::Bytes => 1001,
            ColumnType::Timestamp => 1185,
            ColumnType::Date => 1182,
            ColumnType::Uuid => 2951,
            ColumnType::Json => 3807,
        };
        Self::new(element_oid(column_type), array)
    }

    /// Whole numbers of 32 bits, which no column has, but the engine's own tables do.
    pub(super) fn int4(values: impl Iterator<Item = i32>) -> Self {
        let mut array = Self::new(23, 1007);
        for value in values {
            array.element(&value.to_be_bytes());
        }
        array
    }

    /// Whole numbers of 64 bits.
    pub(super) fn int8(values: impl Iterator<Item = i64>) -> Self {
        let mut array = Self::of(ColumnType::Integer);
        for value in values {
            array.push_integer(value);
        }
        array
    }

    /// Texts and nulls.
    pub(super) fn text<'v>(values: impl Iterator<Item = Option<&'v str>>) -> Self {
        let mut array = Self::of(ColumnType::Text);
        for value in values {
            match value {
                Some(text) => array.element(text.as_bytes()),
                None => array.push_null(),
            }
        }
        array
    }

    /// How many values it holds.
    pub(super) fn len(&self) -> i32 {
        self.len
    }

    /// How many bytes it takes on the wire.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    fn element(&mut self, bytes: &[u8]) {
        put(bytes, &mut self.bytes);
        self.len += 1;
    }

    fn push_null(&mut self) {
        put_null(&mut self.bytes);
        self.len += 1;
    }

    pub(super) fn push_integer(&mut self, value: i64) {
        self.element(&value.to_be_bytes());
    }

    pub(super) fn push_float(&mut self, value: f64) {
        self.element(&value.to_be_bytes());
    }

    pub(super) fn push_decimal(&mut self, value: &Decimal) {
        put_decimal(value, &mut self.bytes);
        self.len += 1;
    }

    /// Adds a value of the column's type.
    pub(super) fn push(&mut self, value: &Value) {
        put_value(value, &mut self.bytes);
        self.len += 1;
    }
}

/// Whole rows for `COPY .. (FORMAT binary)`.
pub(super) struct CopyRows {
    bytes: Vec<u8>,
}

impl CopyRows {
    pub(super) fn new() -> Self {
        // Signature, flags, length of the header's extension.
        Self { bytes: b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec() }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, values: impl ExactSizeIterator<Item = impl Borrow<Value>>) {
        // A table has far fewer columns than that.
        self.bytes.extend_from_slice(&(values.len() as i16).to_be_bytes());
        values.for_each(|value| put_value(value.borrow(), &mut self.bytes));
    }

    /// Everything to send.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        self.bytes
    }
}

/// Writes a value as elements of arrays and fields of rows have it: its length, then its bytes.
fn put(bytes: &[u8], out: &mut Vec<u8>) {
    // A value is far smaller than 2 GiB: the sandbox that made it has less memory, and columns are split before that.
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1_i32).to_be_bytes());
}

/// Writes what `write` writes, with its length before it.
fn put_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[0; 4]);
    let start = out.len();
    write(out);
    let length = (out.len() - start) as i32;
    out[start - 4..start].copy_from_slice(&length.to_be_bytes());
}

fn put_decimal(value: &Decimal, out: &mut Vec<u8>) {
    put_with(out, |out| numeric_to_wire(&value.to_string(), out));
}

fn put_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => put_null(out),
        Value::Boolean(value) => put(&[u8::from(*value)], out),
        Value::Integer(value) => put(&value.to_be_bytes(), out),
        Value::Float(value) => put(&value.to_be_bytes(), out),
        Value::Decimal(value) => put_decimal(value, out),
        Value::Text(value) => put(value.as_bytes(), out),
        Value::Bytes(value) => put(value, out),
        Value::Timestamp(value) => put(&instant(*value), out),
        Value::Date(value) => put(&(value.saturating_sub(EPOCH_DAYS)).to_be_bytes(), out),
        Value::Uuid(value) => put(value, out),
        Value::Json(value) => put_with(out, |out| {
            out.push(1); // the version of the format
            out.extend_from_slice(value.as_bytes());
        }),
    }
}

impl Type<Postgres> for Array {
    /// Never asked for: every array produces its own type.
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1009))
    }
}

impl Encode<'_, Postgres> for Array {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        if self.len == 0 {
            // No dimensions.
            buffer.extend_from_slice(&[0; 8]);
            buffer.extend_from_slice(&self.bytes[8..12]);
            return Ok(IsNull::No);
        }
        buffer.extend_from_slice(&self.bytes[..12]);
        buffer.extend_from_slice(&self.len.to_be_bytes());
        buffer.extend_from_slice(&self.bytes[16..]);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.array_oid)))
    }

    fn size_hint(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes a decimal number in plain notation as `numeric`: groups of four digits around the point.
fn numeric_to_wire(plain: &str, out: &mut Vec<u8>) {
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0').as_bytes();
    let fraction = fraction.as_bytes();
    let header = out.len();
    out.extend_from_slice(&[0; 8]);
    let digit = |byte: &u8| i16::from(byte.wrapping_sub(b'0'));
    let mut groups = 0_i16;
    let mut weight = whole.len().div_ceil(4) as i16 - 1;
    let mut significant = header + 8;
    let mut write = |out: &mut Vec<u8>, value: i16| {
        if groups == 0 && value == 0 {
            weight -= 1; // leading zeros are not written
            return;
        }
        out.extend_from_slice(&value.to_be_bytes());
        groups += 1;
        if value != 0 {
            significant = out.len();
        }
    };
    let (head, tail) = whole.split_at(whole.len() % 4);
    if !head.is_empty() {
        write(out, head.iter().fold(0, |sum, byte| sum * 10 + digit(byte)));
    }
    for group in tail.chunks(4) {
        write(out, group.iter().fold(0, |sum, byte| sum * 10 + digit(byte)));
    }
    for group in fraction.chunks(4) {
        let value = group.iter().fold(0, |sum, byte| sum * 10 + digit(byte));
        write(out, value * [1, 1000, 100, 10, 1][group.len()]);
    }
    out.truncate(significant); // trailing zeros neither
    let groups = ((out.len() - header - 8) / 2) as i16;
    let weight = if groups == 0 { 0 } else { weight };
    let sign: u16 = if negative && groups > 0 { 0x4000 } else { 0 };
    out[header..header + 2].copy_from_slice(&groups.to_be_bytes());
    out[header + 2..header + 4].copy_from_slice(&weight.to_be_bytes());
    out[header + 4..header + 6].copy_from_slice(&sign.to_be_bytes());
    out[header + 6..header + 8].copy_from_slice(&(fraction.len() as u16).to_be_bytes());
}

/// Reads `numeric` into plain notation.
fn numeric_from_wire(bytes: &[u8]) -> Option<String> {
    let word = |at: usize| bytes.get(at * 2..at * 2 + 2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let (groups, weight, sign, scale) = (word(0)?, word(1)? as i16, word(2)?, usize::from(word(3)?));
    if sign != 0 && sign != 0x4000 {
        return None; // NaN and infinities
    }
    let group = |place: i16| -> Option<u16> {
        let at = weight.checked_sub(place)?;
        if at < 0 || at as u16 >= groups { Some(0) } else { word(4 + at as usize) }
    };
    let mut text = String::new();
    for place in (0..=weight).rev() {
        text.push_str(&format!("{:04}", group(place)?));
    }
    let whole = text.trim_start_matches('0');
    let mut number = String::from(if sign == 0 { "" } else { "-" });
    number.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        let mut fraction = String::new();
        let mut place = -1;
        while fraction.len() < scale {
            fraction.push_str(&format!("{:04}", group(place)?));
            place -= 1;
        }
        number.push('.');
        number.push_str(&fraction[..scale]);
    }
    Some(number)
}

/// A column of a row that came back in binary format. None: it is not what a column of this type holds.
pub(super) fn decode(row: &PgRow, at: usize, column_type: ColumnType) -> Result<Value, BoxDynError> {
    let raw = row.try_get_raw(at)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let bytes = raw.as_bytes()?;
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned);
    Ok(match column_type {
        ColumnType::Boolean => Value::Boolean(bytes == [1]),
        ColumnType::Integer => Value::Integer(i64::from_be_bytes(bytes.try_into()?)),
        ColumnType::Float => Value::Float(f64::from_be_bytes(bytes.try_into()?)),
        ColumnType::Decimal => {
            let plain = numeric_from_wire(bytes).ok_or("a numeric value that is not a number")?;
            Value::Decimal(Decimal::parse_stored(&plain)?)
        }
        ColumnType::Text => Value::Text(text(bytes)?),
        ColumnType::Bytes => Value::Bytes(bytes.to_vec()),
        ColumnType::Timestamp => {
            Value::Timestamp(i64::from_be_bytes(bytes.try_into()?).saturating_add(EPOCH_MICROSECONDS))
        }
        ColumnType::Date => Value::Date(i32::from_be_bytes(bytes.try_into()?).saturating_add(EPOCH_DAYS)),
        ColumnType::Uuid => Value::Uuid(bytes.try_into()?),
        ColumnType::Json => Value::json(std::str::from_utf8(bytes.get(1..).unwrap_or_default())?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(plain: &str) -> String {
        let mut bytes = Vec::new();
        numeric_to_wire(plain, &mut bytes);
        numeric_from_wire(&bytes).unwrap()
    }

    #[test]
    fn numeric_keeps_digits_and_scale() {
        for plain in [
            "0",
            "0.00",
            "1",
            "-1",
            "10",
            "1000",
            "9999",
            "10000",
            "10001",
            "100000000",
            "0.1",
            "0.0001",
            "0.00001",
            "-0.000000012300",
            "12345.6789",
            "123456789012345678901234567890.000000000000000000001",
            "1.50",
            "20000.0002",
        ] {
            assert_eq!(round_trip(plain), plain);
        }
        assert_eq!(round_trip("-0.0"), "0.0");
        assert_eq!(round_trip("007.5"), "7.5");
    }

    #[test]
    fn numeric_bytes_are_the_servers() {
        // select numeric_send(-12345.678)
        let mut bytes = Vec::new();
        numeric_to_wire("-12345.678", &mut bytes);
        assert_eq!(bytes, [0, 3, 0, 1, 0x40, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c]);
    }

    proptest::proptest! {
        #[test]
        fn any_numeric_keeps_its_digits(whole in 0_u128..u128::MAX, fraction in "[0-9]{0,40}", negative: bool) {
            let mut plain = format!("{}{whole}", if negative && whole > 0 { "-" } else { "" });
            if !fraction.is_empty() {
                plain = format!("{plain}.{fraction}");
            }
            proptest::prop_assert_eq!(round_trip(&plain), plain);
        }
    }
}

//! The canonical digest of a table's rows: equal where the rows are, whatever the database and the order of reading.
//!
//! It is the sum, modulo 2^256, of the SHA-256 of each row, so rows stream through it in any order and nothing is kept. Each
//! row is encoded injectively: the number of its columns, then each value with its type's tag and, where its size varies, its
//! length. Values are normalised: a decimal by its number (1.50 = 1.5), JSON in canonical form, floats by their bits.
//! A table's rows have distinct keys, so equal rows cannot cancel out.

use sha2::{Digest as _, Sha256};

use crate::change::Value;

/// Digests rows, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct RowsDigest {
    /// The sum, least significant first.
    sum: [u64; 4],
    /// The encoding of the row in hand, kept for its memory.
    buffer: Vec<u8>,
}

impl RowsDigest {
    /// Adds one row: its values in the order of `Table::columns`.
    pub(super) fn row<'a>(&mut self, values: impl ExactSizeIterator<Item = &'a Value>) {
        self.buffer.clear();
        self.buffer.extend((values.len() as u64).to_be_bytes());
        for value in values {
            encode(value, &mut self.buffer);
        }
        let hash = Sha256::digest(&self.buffer);
        let mut carry = false;
        for (limb, bytes) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            let part = bytes.iter().rev().fold(0u64, |part, byte| part << 8 | u64::from(*byte));
            let (sum, first) = limb.overflowing_add(part);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, first || second);
        }
    }

    /// The digest as 64 hexadecimal digits; all 0 where there was no row.
    pub(super) fn finish(self) -> String {
        self.sum.iter().rev().map(|limb| format!("{limb:016x}")).collect()
    }
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    let mut tagged = |tag: u8, bytes: &[u8]| {
        out.push(tag);
        out.extend((bytes.len() as u64).to_be_bytes());
        out.extend(bytes);
    };
    match value {
        Value::Null => tagged(0, &[]),
        Value::Boolean(value) => tagged(1, &[u8::from(*value)]),
        Value::Integer(value) => tagged(2, &value.to_be_bytes()),
        // 0.0 and -0.0 are one number.
        Value::Float(value) => tagged(3, &(value + 0.0).to_bits().to_be_bytes()),
        Value::Decimal(decimal) => tagged(4, decimal.normalised().as_bytes()),
        Value::Text(text) => tagged(5, text.as_bytes()),
        Value::Bytes(bytes) => tagged(6, bytes),
        Value::Timestamp(micros) => tagged(7, &micros.to_be_bytes()),
        Value::Date(days) => tagged(8, &days.to_be_bytes()),
        Value::Uuid(bytes) => tagged(9, bytes),
        Value::Json(text) => tagged(10, text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Decimal;

    fn digest(rows: &[&[Value]]) -> String {
        let mut digest = RowsDigest::default();
        rows.iter().for_each(|row| digest.row(row.iter()));
        digest.finish()
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn rows_count_and_their_order_does_not() {
        let (a, b, c): (&[_], &[_], &[_]) =
            (&[text("a"), Value::Integer(1)], &[text("b"), Value::Null], &[text("c"), Value::Boolean(true)]);
        assert_eq!(digest(&[a, b, c]), digest(&[c, a, b]));
        let all = [digest(&[]), digest(&[a]), digest(&[b]), digest(&[a, b]), digest(&[a, c]), digest(&[a, a])];
        for (at, one) in all.iter().enumerate() {
            assert_eq!(one.len(), 64);
            assert!(!all[..at].contains(one));
        }
        assert_eq!(digest(&[]), "0".repeat(64));
    }

    #[test]
    fn different_rows_encode_differently() {
        let rows: &[&[Value]] = &[
            &[text("ab"), text("c")],
            &[text("a"), text("bc")],
            &[text(""), text("abc")],
            &[text("abc")],
            &[Value::Bytes(b"abc".into())],
            &[Value::Json("abc".into())],
            &[Value::Null],
            &[text("")],
            &[Value::Integer(1)],
            &[Value::Timestamp(1)],
            &[Value::Date(1)],
            &[Value::Boolean(true)],
            &[Value::Float(1.0)],
            &[Value::Decimal(Decimal::from(1))],
            &[Value::Uuid([1; 16])],
        ];
        for (at, row) in rows.iter().enumerate() {
            assert!(rows[..at].iter().all(|other| digest(&[other]) != digest(&[row])), "{row:?}");
        }
    }

    /// The sum carries over its parts, and the encoding never changes by accident: digests are compared between builds.
    #[test]
    fn the_digest_is_stable() {
        let mut digest = RowsDigest::default();
        for number in 0..1_000 {
            digest.row([Value::Integer(number), Value::Decimal(Decimal::parse("1.50").unwrap())].iter());
        }
        let mut other = RowsDigest::default();
        for number in (0..1_000).rev() {
            other.row([Value::Integer(number), Value::Decimal(Decimal::parse("15e-1").unwrap())].iter());
        }
        let sum = digest.finish();
        assert_eq!(sum, other.finish());
        assert_eq!(sum, "365b2dd98cb8d531ad9bc86b9f0dda2bff999400fd429f51c601a0e4e255aad4");
    }
}

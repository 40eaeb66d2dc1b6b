//! Exact decimal numbers. Hides that most fit 128 bits, and that the others do not.
//!
//! Invariants: a value is `units / 10^scale`; no floats anywhere; equal, hashed and ordered by the number, so 1.0 = 1.00;
//! shown with its scale, as `numeric` does. Arithmetic never fails: numbers that are parsed are bounded, and sums of
//! fewer than 2^63 of them stay far within what both databases hold.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use bigdecimal::num_bigint::BigInt;

use super::value::{ValueError, shortened};

/// How many digits a number may have before the point.
pub const DECIMAL_DIGITS_MAX: usize = 1_000;
/// How many digits a number may have after the point.
pub const DECIMAL_SCALE_MAX: usize = 1_000;
/// Bounds of PostgreSQL's `numeric`, for numbers that come back from a database.
const STORED_DIGITS_MAX: usize = 131_072;
const STORED_SCALE_MAX: usize = 16_383;
/// The most digits that surely fit an `i128`.
const SMALL_DIGITS_MAX: usize = 38;

/// An exact decimal number. Equal where the numbers are (1.0 = 1.00); keeps its scale for people, like `numeric`.
#[derive(Clone)]
pub struct Decimal(Form);

#[derive(Clone)]
enum Form {
    Small { units: i128, scale: u32 },
    Large(Box<(BigInt, u32)>),
}

impl Decimal {
    /// The number 0.
    pub const ZERO: Decimal = Decimal(Form::Small { units: 0, scale: 0 });

    /// A number in plain or scientific notation: `12.50`, `-1.2e3`, `.5`. The scale is the number of digits after
    /// the point, less the exponent.
    ///
    /// # Errors
    /// Anything else (white space, NaN, infinities), and more than [`DECIMAL_DIGITS_MAX`] digits before or
    /// [`DECIMAL_SCALE_MAX`] after the point.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        parse_within(text, DECIMAL_DIGITS_MAX, DECIMAL_SCALE_MAX)
    }

    /// A number that a database has given back: as [`Decimal::parse`], with the bounds of PostgreSQL's `numeric`.
    ///
    /// # Errors
    /// What is no number within them.
    pub fn parse_stored(text: &str) -> Result<Self, ValueError> {
        parse_within(text, STORED_DIGITS_MAX, STORED_SCALE_MAX)
    }

    /// The sum; its scale is the greater one of both.
    #[must_use]
    pub fn add(&self, other: &Decimal) -> Decimal {
        if let (Form::Small { units: a, scale: s }, Form::Small { units: b, scale: t }) = (&self.0, &other.0) {
            let scale = *s.max(t);
            let sum = scaled(*a, scale - s).zip(scaled(*b, scale - t)).and_then(|(a, b)| a.checked_add(b));
            if let Some(units) = sum {
                return Decimal(Form::Small { units, scale });
            }
        }
        let scale = self.scale().max(other.scale());
        large(self.units_at(scale) + other.units_at(scale), scale)
    }

    /// The whole number, where it is one of 64 bits.
    pub fn to_integer(&self) -> Option<i64> {
        match &self.0 {
            Form::Small { units, scale } => {
                let one = 10i128.checked_pow(*scale);
                let (whole, rest) = match one {
                    Some(one) => (units / one, units % one),
                    None => (0, *units),
                };
                if rest == 0 { i64::try_from(whole).ok() } else { None }
            }
            Form::Large(parts) => {
                let one = power_of_ten(parts.1);
                let whole = &parts.0 / &one;
                if &whole * &one == parts.0 { i64::try_from(whole).ok() } else { None }
            }
        }
    }

    /// The number in plain notation without needless zeros: one text for each number.
    pub fn normalised(&self) -> String {
        let mut text = self.to_string();
        if text.contains('.') {
            text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
        }
        if text == "-0" {
            text.remove(0);
        }
        text
    }

    /// The same number without zeros at its end: one form for each number, as keys need.
    #[must_use]
    pub fn trimmed(self) -> Decimal {
        match &self.0 {
            Form::Small { scale: 0, .. } => self,
            _ => Decimal::parse_stored(&self.normalised()).unwrap_or(self),
        }
    }

    /// How many digits stand after the point.
    pub fn scale(&self) -> u32 {
        match &self.0 {
            Form::Small { scale, .. } => *scale,
            Form::Large(parts) => parts.1,
        }
    }

    /// About how many digits it has: at least as many as there are.
    pub(super) fn digits_about(&self) -> usize {
        match &self.0 {
            Form::Small { .. } => SMALL_DIGITS_MAX + 1,
            // A digit takes more than 3 bits.
            Form::Large(parts) => usize::try_from(parts.0.bits() / 3).unwrap_or(usize::MAX),
        }
        .max(self.scale() as usize)
    }

    /// The units at a scale that is not below the number's own.
    fn units_at(&self, scale: u32) -> BigInt {
        let more = power_of_ten(scale - self.scale());
        match &self.0 {
            Form::Small { units, .. } => BigInt::from(*units) * more,
            Form::Large(parts) => &parts.0 * more,
        }
    }
}

fn scaled(units: i128, more: u32) -> Option<i128> {
    if more == 0 { Some(units) } else { units.checked_mul(10i128.checked_pow(more)?) }
}

fn power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10u8).pow(exponent)
}

fn large(units: BigInt, scale: u32) -> Decimal {
    match i128::try_from(&units) {
        Ok(units) => Decimal(Form::Small { units, scale }),
        Err(_) => Decimal(Form::Large(Box::new((units, scale)))),
    }
}

fn parse_within(text: &str, digits_max: usize, scale_max: usize) -> Result<Decimal, ValueError> {
    let wrong = || ValueError(format!("{:?} is not a decimal number", shortened(text)));
    let out_of_bounds = || {
        ValueError(format!(
            "the decimal number {:?} has more than {digits_max} digits before or {scale_max} after the point",
            shortened(text)
        ))
    };
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], parse_exponent(&rest[at + 1..]).ok_or_else(wrong)?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !is_digits(whole) || !is_digits(fraction) {
        return Err(wrong());
    }
    if text.len() > 2 * (digits_max + scale_max) || exponent.unsigned_abs() > (digits_max + scale_max) as u64 {
        return Err(out_of_bounds());
    }
    let whole = whole.trim_start_matches('0');
    let shift = fraction.len() as i64 - exponent;
    let scale = usize::try_from(shift.max(0)).map_err(|_| out_of_bounds())?;
    let zeros = usize::try_from((-shift).max(0)).map_err(|_| out_of_bounds())?;
    // Digits without leading zeros: 0.001 has none before the point whatever the notation.
    let leading = if whole.is_empty() { fraction.trim_start_matches('0') } else { fraction };
    let significant = whole.len() + leading.len();
    if scale > scale_max || (significant + zeros).saturating_sub(scale) > digits_max && significant > 0 {
        return Err(out_of_bounds());
    }
    let scale = scale as u32;
    if significant == 0 {
        return Ok(Decimal(Form::Small { units: 0, scale }));
    }
    if significant + zeros <= SMALL_DIGITS_MAX {
        let mut units: i128 = 0;
        for byte in whole.bytes().chain(leading.bytes()) {
            units = units * 10 + i128::from(byte - b'0');
        }
        units *= 10i128.pow(zeros as u32);
        return Ok(Decimal(Form::Small { units: if negative { -units } else { units }, scale }));
    }
    let digits = format!("{}{whole}{leading}{}", if negative { "-" } else { "" }, "0".repeat(zeros));
    Ok(large(digits.parse::<BigInt>().map_err(|_| wrong())?, scale))
}

/// The exponent, or one that is out of every bound where it has more digits than any within.
fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    let size = if digits.len() > 9 { 999_999_999 } else { digits.parse().unwrap_or(0) };
    Some(if text.starts_with('-') { -size } else { size })
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Decimal(Form::Small { units: value.into(), scale: 0 })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, scale) = match &self.0 {
            Form::Small { units, scale } => (units.to_string(), *scale as usize),
            Form::Large(parts) => (parts.0.to_string(), parts.1 as usize),
        };
        if scale == 0 {
            return f.write_str(&text);
        }
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text.as_str()),
        };
        if digits.len() > scale {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            write!(f, "{sign}{whole}.{fraction}")
        } else {
            write!(f, "{sign}0.{digits:0>scale$}")
        }
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Form::Small { units: a, scale: s }, Form::Small { units: b, scale: t }) = (&self.0, &other.0) {
            let scale = *s.max(t);
            if let Some((a, b)) = scaled(*a, scale - s).zip(scaled(*b, scale - t)) {
                return a.cmp(&b);
            }
        }
        let scale = self.scale().max(other.scale());
        self.units_at(scale).cmp(&other.units_at(scale))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Decimal {}

impl Hash for Decimal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.small_parts() {
            Some((units, scale)) => (units, scale).hash(state),
            None => self.normalised().hash(state),
        }
    }
}

impl Decimal {
    /// Units and scale without trailing zeros after the point, where the units then fit 64 bits: the same for equal numbers.
    fn small_parts(&self) -> Option<(i64, u32)> {
        let (mut units, mut scale) = match &self.0 {
            Form::Small { units, scale } => (*units, *scale),
            // Many zeros after the point can hide a small number.
            Form::Large(_) => match Decimal::parse_stored(&self.normalised()).ok()?.0 {
                Form::Small { units, scale } => (units, scale),
                Form::Large(_) => return None,
            },
        };
        while scale > 0 && units % 10 == 0 {
            (units, scale) = (units / 10, scale - 1);
        }
        Some((i64::try_from(units).ok()?, scale))
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn notation_and_scale_are_those_of_numeric() {
        for (text, shown, normalised) in [
            ("0", "0", "0"),
            ("-0", "0", "0"),
            ("-0.00", "0.00", "0"),
            ("12.50", "12.50", "12.5"),
            ("-1.2e3", "-1200", "-1200"),
            ("1.50e1", "15.0", "15"),
            ("1e-3", "0.001", "0.001"),
            (".5", "0.5", "0.5"),
            ("5.", "5", "5"),
            ("+7", "7", "7"),
            ("007.10", "7.10", "7.1"),
            ("0e9", "0", "0"),
            ("-0.001", "-0.001", "-0.001"),
            ("100", "100", "100"),
            (
                "99999999999999999999999999999999999999.9",
                "99999999999999999999999999999999999999.9",
                "99999999999999999999999999999999999999.9",
            ),
        ] {
            assert_eq!(decimal(text).to_string(), shown, "{text}");
            assert_eq!(decimal(text).normalised(), normalised, "{text}");
            assert_eq!(decimal(text).trimmed().to_string(), normalised, "{text}");
        }
        for text in [
            "", ".", "-", "1e", "e1", "1e+", "--1", "1_0", " 1", "1 ", "NaN", "Infinity", "0x1", "1.2.3", "1,5", "é",
            "1é", "1e1e1",
        ] {
            assert!(Decimal::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn bounds_are_those_of_digits() {
        let nines = "9".repeat(DECIMAL_DIGITS_MAX);
        assert_eq!(decimal(&nines).to_string(), nines);
        assert_eq!(decimal(&format!("{nines}.{nines}")).to_string(), format!("{nines}.{nines}"));
        assert_eq!(decimal(&format!("1e{}", DECIMAL_DIGITS_MAX - 1)).to_string().len(), DECIMAL_DIGITS_MAX);
        assert!(decimal(&format!("1e-{DECIMAL_SCALE_MAX}")) > Decimal::ZERO);
        for text in [
            format!("1{nines}"),
            format!("1e{DECIMAL_DIGITS_MAX}"),
            format!("1e-{}", DECIMAL_SCALE_MAX + 1),
            "1e999999999999".into(),
            "1e-99999999999999999999".into(),
        ] {
            assert!(Decimal::parse(&text).is_err(), "{}", shortened(&text));
        }
        assert_eq!(Decimal::parse_stored(&format!("1{nines}")).unwrap().to_string().len(), DECIMAL_DIGITS_MAX + 1);
    }

    #[test]
    fn equal_numbers_are_equal_and_hash_alike() {
        let state = RandomState::new();
        let zeros = "0".repeat(60);
        let long = "123456789012345678901234567890";
        for (a, b) in [
            ("1.0", "1.00".to_owned()),
            ("1", format!("1.{zeros}")),
            ("-2.5", format!("-2.5{zeros}")),
            ("0", format!("0.{zeros}")),
            (long, format!("{long}.{zeros}")),
            (long, format!("{long}.0")),
            ("1e40", format!("1{}", "0".repeat(40))),
        ] {
            assert_eq!(decimal(a), decimal(&b));
            assert_eq!(state.hash_one(decimal(a)), state.hash_one(decimal(&b)), "{a}");
            assert_eq!(decimal(a).normalised(), decimal(&b).normalised());
        }
        assert!(
            decimal("1e40") > decimal("9.99")
                && decimal("-1e40") < decimal("-9.99")
                && decimal("0.1") < decimal("0.11")
        );
    }

    #[test]
    fn sums_are_exact() {
        for (a, b, sum) in [
            ("0.1", "0.20", "0.30"),
            ("-1", "1.00", "0.00"),
            ("170141183460469231731687303715884105727", "1", "170141183460469231731687303715884105728"),
            ("1e-40", "1e38", "100000000000000000000000000000000000000.0000000000000000000000000000000000000001"),
        ] {
            assert_eq!(decimal(a).add(&decimal(b)).to_string(), sum);
            assert_eq!(decimal(b).add(&decimal(a)).to_string(), sum);
        }
        let large = decimal("1e40");
        assert_eq!(large.add(&decimal("-1e40")).to_string(), "0");
    }

    #[test]
    fn whole_numbers_are_told_exactly() {
        for (text, whole) in [
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808.000", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("1.5", None),
            ("1e-50", None),
            ("1e50", None),
            ("0.00", Some(0)),
        ] {
            assert_eq!(decimal(text).to_integer(), whole, "{text}");
        }
        assert_eq!(decimal(&format!("12.{}", "0".repeat(80))).to_integer(), Some(12));
    }
}

//! Exact decimal numbers.

use crate::ValueError;
use serde::{Deserialize, Deserializer, de};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// An exact decimal number: up to 38 digits, of which any number may stand after the point.
///
/// Arithmetic is exact or an error, which `?` turns into a reject; nothing is rounded and nothing wraps.
/// Reads text (`"12.50"`, `"-1.2e3"`) and whole numbers of JSON. A JSON number with a fraction is refused: on its way
/// through floating point it would not stay exact.
///
/// ```
/// # use laterna_sdk::prelude::*;
/// # fn main() -> Result<(), laterna_sdk::ValueError> {
/// let price: Decimal = "12.50".parse()?;
/// assert_eq!(price.times(3)?.plus("0.125".parse()?)?.to_string(), "37.625");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Decimal {
    units: i128,
    scale: u8,
}

/// The most digits after the point: 10^38 is the greatest power of ten in an `i128`.
const SCALE_MAX: u8 = 38;

impl Decimal {
    /// Zero, without decimal places.
    pub const ZERO: Decimal = Decimal { units: 0, scale: 0 };

    /// `units / 10^scale`: `Decimal::new(1250, 2)` is 12.50. None where `scale` is above 38.
    pub const fn new(units: i128, scale: u8) -> Option<Self> {
        if scale > SCALE_MAX { None } else { Some(Decimal { units, scale }) }
    }

    /// `cents / 100`, with two decimal places.
    pub const fn cents(cents: i64) -> Self {
        Decimal { units: cents as i128, scale: 2 }
    }

    /// Digits after the point.
    pub const fn scale(self) -> u8 {
        self.scale
    }

    /// The number in units of its last decimal place: 1250 for 12.50.
    pub const fn units(self) -> i128 {
        self.units
    }

    /// The sum, with the greater of both scales.
    ///
    /// # Errors
    /// Where it has more digits than fit.
    pub fn plus(self, other: Decimal) -> Result<Decimal, ValueError> {
        let scale = self.scale.max(other.scale);
        let sum = || self.units_at(scale)?.checked_add(other.units_at(scale)?);
        sum().map(|units| Decimal { units, scale }).ok_or_else(|| overflow(self, "plus", &other))
    }

    /// The difference, with the greater of both scales.
    ///
    /// # Errors
    /// Where it has more digits than fit.
    pub fn minus(self, other: Decimal) -> Result<Decimal, ValueError> {
        let scale = self.scale.max(other.scale);
        let difference = || self.units_at(scale)?.checked_sub(other.units_at(scale)?);
        difference().map(|units| Decimal { units, scale }).ok_or_else(|| overflow(self, "minus", &other))
    }

    /// The product with a whole number, with the same scale.
    ///
    /// # Errors
    /// Where it has more digits than fit.
    pub fn times(self, factor: i64) -> Result<Decimal, ValueError> {
        let small = i64::try_from(self.units).ok().and_then(|units| units.checked_mul(factor)).map(i128::from);
        match small.or_else(|| self.units.checked_mul(factor.into())) {
            Some(units) => Ok(Decimal { units, ..self }),
            None => Err(overflow(self, "times", &factor)),
        }
    }

    fn units_at(self, scale: u8) -> Option<i128> {
        if scale == self.scale || self.units == 0 {
            Some(self.units)
        } else {
            self.units.checked_mul(10i128.pow((scale - self.scale).into()))
        }
    }
}

fn overflow(left: Decimal, operation: &str, right: &dyn fmt::Display) -> ValueError {
    ValueError::new(&format!("{left} {operation} {right}"), "more than 38 digits")
}

impl From<i64> for Decimal {
    fn from(whole: i64) -> Self {
        Decimal { units: whole.into(), scale: 0 }
    }
}

impl FromStr for Decimal {
    type Err = ValueError;

    /// Reads plain and scientific notation, keeping the decimal places that are written.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::new(text, "a decimal number wanted, like 12.50");
        let large = || ValueError::new(text, "a decimal number of at most 38 digits wanted");
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| wrong())?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.as_bytes() {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        let (mut units, mut places, mut count) = (0i128, 0i32, 0);
        let mut point = false;
        for byte in digits {
            match byte {
                b'0'..=b'9' => {
                    let digit = i128::from(byte - b'0');
                    // Negative all the way, because there is one more of those. Up to 18 digits fit into 64 bits, which
                    // a 32-bit machine multiplies at once.
                    units = if count < 18 {
                        i128::from(units as i64 * 10 - digit as i64)
                    } else {
                        units.checked_mul(10).and_then(|units| units.checked_sub(digit)).ok_or_else(large)?
                    };
                    places += i32::from(point);
                    count += 1;
                }
                b'.' if !point => point = true,
                _ => return Err(wrong()),
            }
        }
        if count == 0 {
            return Err(wrong());
        }
        let scale = places.checked_sub(exponent).ok_or_else(large)?;
        if scale < 0 {
            let power = 10i128.checked_pow(scale.unsigned_abs());
            units = if units == 0 { 0 } else { power.and_then(|power| units.checked_mul(power)).ok_or_else(large)? };
        }
        let units = if negative { units } else { units.checked_neg().ok_or_else(large)? };
        u8::try_from(scale.max(0)).ok().and_then(|scale| Decimal::new(units, scale)).ok_or_else(large)
    }
}

impl Decimal {
    /// Its text, written from the end of `text`: 39 digits, a zero before the point, the point and the sign.
    fn write(self, text: &mut [u8; 42]) -> &str {
        let mut at = text.len();
        let mut put = |byte: u8| {
            at -= 1;
            text[at] = byte;
        };
        let (mut rest, mut places) = (self.units.unsigned_abs(), self.scale);
        loop {
            // Division of 128 bits is a slow call on a machine of 32 or 64.
            let digit = if let Ok(small) = u64::try_from(rest) {
                rest = (small / 10).into();
                (small % 10) as u8
            } else {
                let digit = (rest % 10) as u8;
                rest /= 10;
                digit
            };
            put(b'0' + digit);
            if places == 1 {
                put(b'.');
            } else if places == 0 && rest == 0 {
                break;
            }
            places = places.saturating_sub(1);
        }
        if self.units < 0 {
            put(b'-');
        }
        std::str::from_utf8(&text[at..]).unwrap_or_default()
    }

    pub(crate) fn into_text(self) -> String {
        self.write(&mut [0; 42]).to_owned()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write(&mut [0; 42]))
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        // Whole parts first: what is left is below 10^38, so it can be brought to the other's scale.
        let split = |number: &Decimal| {
            let one = 10i128.pow(number.scale.into());
            let fraction = number.units.rem_euclid(one) * 10i128.pow((SCALE_MAX - number.scale).into());
            (number.units.div_euclid(one), fraction)
        };
        split(self).cmp(&split(other))
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By number: 1.0 equals 1.00.
impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Decimal {}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl de::Visitor<'_> for Number {
            type Value = Decimal;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal number as text, or a whole number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, whole: i64) -> Result<Decimal, E> {
                Ok(whole.into())
            }
            fn visit_u64<E: de::Error>(self, whole: u64) -> Result<Decimal, E> {
                Ok(Decimal { units: whole.into(), scale: 0 })
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_read_is_shown_with_the_same_places() {
        for text in [
            "0",
            "7",
            "-7",
            "0.00",
            "-0.05",
            "12.50",
            "100",
            "0.1",
            "99999999999.99",
            "0.00000000000000000000000000000000000001",
            "170141183460469231731687303715884105727",
            "-170141183460469231731687303715884105728",
            "-1.70141183460469231731687303715884105728",
        ] {
            assert_eq!(decimal(text).to_string(), text);
        }
        for (text, shown) in [
            ("+1.5", "1.5"),
            ("007.10", "7.10"),
            (".5", "0.5"),
            ("5.", "5"),
            ("-1.2e3", "-1200"),
            ("1.25E-2", "0.0125"),
            ("0e99", "0"),
            ("-0.0", "0.0"),
            ("1e38", "100000000000000000000000000000000000000"),
        ] {
            assert_eq!(decimal(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_or_too_long_is_an_error() {
        for text in [
            "",
            "-",
            ".",
            "1,00",
            "1.2.3",
            "--1",
            "1e",
            "e5",
            "1e1.5",
            "NaN",
            "0x10",
            " 1",
            "1 ",
            "1e39",
            "1e-39",
            "1e2147483648",
            "1e-2147483648",
            "٣",
            "170141183460469231731687303715884105728",
            "0.000000000000000000000000000000000000001",
        ] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }

    #[test]
    fn arithmetic_is_exact_or_an_error() {
        assert_eq!(decimal("0.1").plus(decimal("0.25")).unwrap().to_string(), "0.35");
        assert_eq!(decimal("1").minus(decimal("0.001")).unwrap().to_string(), "0.999");
        assert_eq!(decimal("-90071992547.93").times(9999).unwrap().to_string(), "-900629853486752.07");
        let most = Decimal::new(i128::MAX, 0).unwrap();
        assert!(most.plus(1.into()).is_err());
        assert!(most.times(2).is_err());
        assert!(most.plus(decimal("0.1")).is_err(), "it fits at neither scale");
        assert!(Decimal::new(i128::MIN, 2).unwrap().minus(decimal("0.01")).is_err());
        assert_eq!(Decimal::new(1, 39), None);
    }

    #[test]
    fn equal_numbers_are_equal_whatever_their_places() {
        assert_eq!(decimal("1.0"), decimal("1.000"));
        assert_ne!(decimal("1.0"), decimal("1.001"));
        let mut numbers =
            ["2", "-1.5", "-1.51", "0.00", "1e38", "-1e38", "1.999999999999999999999999999999999999"].map(decimal);
        numbers.sort();
        assert_eq!(
            numbers.map(|n| n.to_string()).join(" "),
            "-100000000000000000000000000000000000000 -1.51 -1.5 0.00 1.999999999999999999999999999999999999 2 100000000000000000000000000000000000000"
        );
    }

    #[test]
    fn of_json_it_takes_text_and_whole_numbers() {
        assert_eq!(
            serde_json::from_str::<Vec<Decimal>>(r#"["12.50", 3, -4, 18446744073709551615]"#).unwrap(),
            [decimal("12.5"), 3.into(), (-4).into(), decimal("18446744073709551615")]
        );
        assert!(serde_json::from_str::<Decimal>("12.5").is_err());
    }
}

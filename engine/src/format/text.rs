//! JSON text, written piece by piece with a bound, and how days, times and identities stand in it.
//!
//! Pure. Invariant: the same value is the same text, on every machine and at every time.

use base64::Engine as _;

/// What one key or value may become: bytes can stand for more text than they have.
const TEXT_BYTES_MAX: usize = 64 << 20;

const DAY_SECONDS: i64 = 86_400;

/// Text that does not grow beyond its bound.
pub(super) struct Text(String);

impl Text {
    pub(super) fn new(capacity: usize) -> Self {
        Self(String::with_capacity(capacity.min(1 << 20)))
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    /// Appends JSON as it is.
    pub(super) fn push(&mut self, json: &str) -> Result<(), String> {
        if self.0.len() + json.len() > TEXT_BYTES_MAX {
            return Err(format!("its text is longer than {} MiB", TEXT_BYTES_MAX >> 20));
        }
        self.0.push_str(json);
        Ok(())
    }

    pub(super) fn string(&mut self, text: &str) -> Result<(), String> {
        let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
        if text.bytes().all(is_plain) {
            self.push("\"")?;
            self.push(text)?;
            return self.push("\"");
        }
        self.push(&serde_json::Value::from(text).to_string())
    }

    pub(super) fn base64(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.push("\"")?;
        self.push(&base64::engine::general_purpose::STANDARD.encode(bytes))?;
        self.push("\"")
    }

    pub(super) fn number(&mut self, number: i64) -> Result<(), String> {
        self.push(&number.to_string())
    }

    /// The shortest digits that mean this number; JSON has no word for those that are none, so they stand as text.
    pub(super) fn float32(&mut self, number: f32) -> Result<(), String> {
        if number.is_finite() {
            // Writing a finite number cannot fail.
            return self.push(&serde_json::to_string(&number).unwrap_or_default());
        }
        self.push(no_number(number.into()))
    }

    /// As [`Self::float32`].
    pub(super) fn float64(&mut self, number: f64) -> Result<(), String> {
        if number.is_finite() {
            return self.push(&serde_json::to_string(&number).unwrap_or_default());
        }
        self.push(no_number(number))
    }
}

fn no_number(number: f64) -> &'static str {
    if number.is_nan() {
        "\"NaN\""
    } else if number > 0.0 {
        "\"Infinity\""
    } else {
        "\"-Infinity\""
    }
}

/// Parts of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    fn per_second(self) -> i64 {
        match self {
            Self::Millis => 1_000,
            Self::Micros => 1_000_000,
            Self::Nanos => 1_000_000_000,
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Millis => 3,
            Self::Micros => 6,
            Self::Nanos => 9,
        }
    }
}

/// A day as `YYYY-MM-DD`, from days since 1970. Years outside 0 to 9999 have a sign and six digits at least (ISO 8601).
pub(super) fn date(days: i64) -> String {
    // Days since 0000-03-01 in eras of 400 years, years counted from March, so that the leap day is a year's last.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if (0..=9999).contains(&year) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{year:+07}-{month:02}-{day:02}")
    }
}

/// A time of day as `HH:MM:SS` and the parts of a second, all their digits.
pub(super) fn time(parts: i64, unit: Unit) -> Result<String, String> {
    let (seconds, rest) = (parts.div_euclid(unit.per_second()), parts.rem_euclid(unit.per_second()));
    if !(0..DAY_SECONDS).contains(&seconds) {
        return Err(format!("a time of day is {parts}: it lies outside the day"));
    }
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    Ok(format!("{hour:02}:{minute:02}:{second:02}.{rest:0width$}", width = unit.digits()))
}

/// A moment as RFC 3339 writes it, from parts of a second since 1970; without the `Z` where it is local to nobody knows where.
pub(super) fn timestamp(parts: i64, unit: Unit, is_utc: bool) -> String {
    let per_day = DAY_SECONDS * unit.per_second();
    let (days, of_day) = (parts.div_euclid(per_day), parts.rem_euclid(per_day));
    // What is left of a day lies inside it.
    let time = time(of_day, unit).unwrap_or_default();
    format!("{}T{time}{}", date(days), if is_utc { "Z" } else { "" })
}

/// The text form of an identity.
pub(super) fn uuid(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (19_782, "2024-02-29"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
            (-719_528, "0000-01-01"),
            (-719_529, "-000001-12-31"),
            (2_932_896, "9999-12-31"),
            (2_932_897, "+010000-01-01"),
            (i64::from(i32::MAX), "+5881580-07-11"),
            (i64::from(i32::MIN), "-5877641-06-23"),
        ] {
            assert_eq!(date(days), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = date(-750_000);
        for days in (-749_999..-690_000).chain(-30_000..60_000) {
            if days == -30_000 {
                before = date(-30_001);
            }
            let day = date(days);
            let parts = |text: &str| -> Vec<i64> {
                let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
                let mut parts: Vec<i64> = text.trim_start_matches('+').split('-').map(|p| p.parse().unwrap()).collect();
                parts[0] *= sign;
                parts
            };
            let (a, b) = (parts(&before), parts(&day));
            let is_next = (a[0] == b[0] && a[1] == b[1] && a[2] + 1 == b[2])
                || (b[2] == 1 && (28..=31).contains(&a[2]) && (a[0] * 12 + a[1] + 1 == b[0] * 12 + b[1]));
            assert!(is_next, "{before} {day}");
            before = day;
        }
    }

    #[test]
    fn moments_and_times_have_all_their_digits() {
        assert_eq!(timestamp(0, Unit::Millis, true), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(-1, Unit::Micros, true), "1969-12-31T23:59:59.999999Z");
        assert_eq!(timestamp(951_827_696_789, Unit::Millis, false), "2000-02-29T12:34:56.789");
        assert_eq!(timestamp(i64::MAX, Unit::Nanos, true), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(timestamp(i64::MIN, Unit::Nanos, true), "1677-09-21T00:12:43.145224192Z");
        assert_eq!(timestamp(i64::MAX, Unit::Millis, true), "+292278994-08-17T07:12:55.807Z");
        assert_eq!(time(86_399_999, Unit::Millis).unwrap(), "23:59:59.999");
        assert_eq!(time(1, Unit::Micros).unwrap(), "00:00:00.000001");
        assert!(time(86_400_000, Unit::Millis).is_err() && time(-1, Unit::Micros).is_err());
    }

    #[test]
    fn what_is_no_number_stands_as_text_and_text_is_bounded() {
        let mut text = Text::new(0);
        for number in [0.1_f32, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            text.float32(number).unwrap();
        }
        text.float64(1e300).unwrap();
        text.string("a\"\n\u{1}ä").unwrap();
        assert_eq!(text.finish(), "0.1\"NaN\"\"Infinity\"\"-Infinity\"1e+300\"a\\\"\\n\\u0001ä\"");
        let mut text = Text::new(0);
        text.push(&"x".repeat(TEXT_BYTES_MAX)).unwrap();
        assert!(text.push("x").unwrap_err().contains("64 MiB"));
        assert_eq!(uuid([0x12; 16]), "12121212-1212-1212-1212-121212121212");
    }
}

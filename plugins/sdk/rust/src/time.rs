//! Instants and days: the proleptic Gregorian calendar in UTC, as the databases have it.

use crate::ValueError;
use crate::value::parsed;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// An instant, with microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A calendar day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

impl Timestamp {
    /// From milliseconds since 1970-01-01T00:00:00Z; negative before it.
    ///
    /// # Errors
    /// Where it is more than 292,000 years away.
    pub fn from_millis(millis: i64) -> Result<Self, ValueError> {
        millis
            .checked_mul(1000)
            .map(Timestamp)
            .ok_or_else(|| ValueError::new(&millis.to_string(), "too far off for milliseconds since 1970"))
    }

    /// From seconds since 1970-01-01T00:00:00Z; negative before it.
    ///
    /// # Errors
    /// Where it is more than 292,000 years away.
    pub fn from_seconds(seconds: i64) -> Result<Self, ValueError> {
        seconds
            .checked_mul(1_000_000)
            .map(Timestamp)
            .ok_or_else(|| ValueError::new(&seconds.to_string(), "too far off for seconds since 1970"))
    }

    /// From microseconds since 1970-01-01T00:00:00Z; negative before it.
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The day that it falls on, in UTC.
    pub const fn date(self) -> Date {
        // 2^63 microseconds are 107 million days.
        Date(self.0.div_euclid(MICROS_PER_DAY) as i32)
    }
}

impl Date {
    /// From days since 1970-01-01; negative before it.
    pub const fn from_days(days: i32) -> Self {
        Date(days)
    }

    /// Days since 1970-01-01.
    pub const fn as_days(self) -> i32 {
        self.0
    }

    /// From year, month (1 to 12) and day (1 to 31). None where there is no such day.
    pub const fn from_ymd(year: i32, month: u32, day: u32) -> Option<Self> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        if day < 1 || day > length || year < -1_000_000 || year > 1_000_000 {
            return None;
        }
        // Years from March, so that the leap day is the last one; 400 of them are 146,097 days.
        let year = if month > 2 { year as i64 } else { year as i64 - 1 };
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((month as i64 + 9) % 12) + 2) / 5 + day as i64 - 1;
        let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Some(Date((days - 719_468) as i32))
    }

    /// Year, month (1 to 12) and day (1 to 31).
    pub const fn ymd(self) -> (i32, u32, u32) {
        let days = self.0 as i64 + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year_of_era + (month <= 2) as i64;
        (year as i32, month as u32, day as u32)
    }
}

impl FromStr for Date {
    type Err = ValueError;
    /// Reads `2026-01-31`.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        date(text.as_bytes()).ok_or_else(|| ValueError::new(text, "a day wanted, like 2026-01-31"))
    }
}

impl FromStr for Timestamp {
    type Err = ValueError;
    /// Reads RFC 3339: `2026-01-31T12:00:00.25+01:00`. Digits beyond microseconds are cut off, leap seconds refused.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        timestamp(text.as_bytes())
            .ok_or_else(|| ValueError::new(text, "an instant wanted, like 2026-01-31T12:00:00Z (RFC 3339)"))
    }
}

/// A number of exactly so many digits as `digits` has.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

fn date(text: &[u8]) -> Option<Date> {
    match text {
        [year @ .., b'-', m1, m2, b'-', d1, d2] if year.len() == 4 => {
            Date::from_ymd(number(year)? as i32, number(&[*m1, *m2])?, number(&[*d1, *d2])?)
        }
        _ => None,
    }
}

fn timestamp(text: &[u8]) -> Option<Timestamp> {
    let (day, [b'T' | b't' | b' ', clock @ ..]) = text.split_at_checked(10)? else { return None };
    let (&[h1, h2, b':', m1, m2, b':', s1, s2], mut rest) = clock.split_at_checked(8)? else { return None };
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = 0;
    if let [b'.', fraction @ ..] = rest {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, after) = fraction.split_at(length);
        let kept = &digits[..length.min(6)];
        micros = number(kept)? * 10u32.pow(6 - kept.len() as u32);
        rest = after;
        if length == 0 {
            return None;
        }
    }
    let offset_minutes = match *rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[h1, h2])?, number(&[m1, m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = i64::from(hours * 60 + minutes);
            if sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let minutes = i64::from(date(day)?.0) * 1440 + i64::from(hour * 60 + minute) - offset_minutes;
    Some(Timestamp((minutes * 60 + i64::from(second)) * 1_000_000 + i64::from(micros)))
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.ymd();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.rem_euclid(MICROS_PER_DAY);
        let seconds = micros / 1_000_000;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}.{:06}Z", self.date(), micros % 1_000_000)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_centuries_follows_the_one_before() {
        let first = Date::from_ymd(1599, 12, 31).unwrap().as_days();
        for days in first..first + 293_000 {
            let (year, month, day) = Date::from_days(days).ymd();
            assert_eq!(Date::from_ymd(year, month, day), Some(Date::from_days(days)));
            let next = Date::from_days(days + 1).ymd();
            assert!(next == (year, month, day + 1) || next == (year, month + 1, 1) || next == (year + 1, 1, 1));
        }
        assert_eq!(Date::from_days(0).to_string(), "1970-01-01");
        assert_eq!(Date::from_ymd(1, 1, 1).unwrap().as_days(), -719_162);
    }

    #[test]
    fn there_is_no_thirtieth_of_february() {
        for text in [
            "2026-02-30",
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "26-01-01",
            "2026-1-1",
            "2026-01-01 ",
            "x",
        ] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
        for text in ["2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"] {
            assert_eq!(text.parse::<Date>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_instant_is_read_in_any_zone_and_shown_in_utc() {
        for (text, shown) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
            ("2026-01-31t12:00:00.25+01:00", "2026-01-31T11:00:00.250000Z"),
            ("2026-01-31 00:00:00.1234567-23:59", "2026-01-31T23:59:00.123456Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("0001-01-01T00:00:00z", "0001-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), shown);
        }
        for text in [
            "2026-01-31",
            "2026-01-31T12:00Z",
            "2026-01-31T12:00:00",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:60Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00+1:00",
            "2026-01-31T12:00:00+24:00",
            "2026-01-31T12:00:00Zx",
            "",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn before_1970_the_day_is_the_one_that_has_begun() {
        assert_eq!(Timestamp::from_millis(-1).unwrap().date().to_string(), "1969-12-31");
        assert_eq!(Timestamp::from_millis(-86_400_000).unwrap().date().to_string(), "1969-12-31");
        assert_eq!(Timestamp::from_millis(-86_400_001).unwrap().date().to_string(), "1969-12-30");
        assert!(Timestamp::from_millis(i64::MAX).is_err());
        assert!(Timestamp::from_seconds(i64::MIN).is_err());
    }
}

//! Days and instants as text and back. Hides the proleptic Gregorian calendar.
//!
//! The text is ISO 8601 with a space between day and time: `2026-11-21 14:02:03.000004`, UTC, always six digits of a second,
//! so that texts sort as instants do. Years outside of 0000..9999 (0000 is 1 BC) take a sign and at least six digits,
//! `+012026-..`: they round-trip, but do not sort.

use super::ValueError;
use super::value::shortened;

/// The first instant that PostgreSQL holds, in microseconds; its last one is beyond 64 bits from 1970.
pub(super) const TIMESTAMP_MIN: i64 = -210_866_803_200_000_000;
/// The first day that PostgreSQL holds.
pub(super) const DATE_MIN: i32 = -2_440_588;
/// The last day that PostgreSQL holds.
pub(super) const DATE_MAX: i32 = 2_145_042_905;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Days since 1970-01-01 as text.
pub fn date_text(days: i32) -> String {
    day_text(days.into())
}

/// Microseconds since 1970-01-01T00:00:00Z as text.
pub fn timestamp_text(micros: i64) -> String {
    let (day, rest) = (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY));
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{} {hour:02}:{minute:02}:{second:02}.{fraction:06}", day_text(day))
}

fn day_text(days: i64) -> String {
    let (year, month, day) = civil(days);
    if (0..=9999).contains(&year) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{year:+07}-{month:02}-{day:02}")
    }
}

/// The day that [`date_text`] wrote.
///
/// # Errors
/// Any other text.
pub fn parse_date(text: &str) -> Result<i32, ValueError> {
    let wrong = || ValueError(format!("{:?} is not a date", shortened(text)));
    parse_day(text).and_then(|days| i32::try_from(days).ok()).filter(|days| date_text(*days) == text).ok_or_else(wrong)
}

/// The instant that [`timestamp_text`] wrote.
///
/// # Errors
/// Any other text.
pub fn parse_timestamp(text: &str) -> Result<i64, ValueError> {
    let parse = || {
        let (day, time) = text.split_once(' ')?;
        let part = |from: usize, to: usize| time.get(from..to)?.parse::<i64>().ok();
        let seconds = part(0, 2)? * 3600 + part(3, 5)? * 60 + part(6, 8)?;
        // In 128 bits, as a day at the end may be beyond what 64 bits hold in microseconds.
        let micros =
            i128::from(parse_day(day)?) * i128::from(MICROS_PER_DAY) + i128::from(seconds * 1_000_000 + part(9, 15)?);
        i64::try_from(micros).ok().filter(|micros| timestamp_text(*micros) == text)
    };
    parse().ok_or_else(|| ValueError(format!("{:?} is not a timestamp", shortened(text))))
}

fn parse_day(text: &str) -> Option<i64> {
    let mut parts = text.rsplitn(3, '-');
    let day = parts.next()?.parse().ok()?;
    let month = parts.next()?.parse().ok()?;
    let year = parts.next()?.parse::<i64>().ok()?;
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && year.unsigned_abs() < 10_000_000;
    fits.then(|| days_of(year, month, day))
}

/// Year, month and day of a day since 1970-01-01. Years are counted in eras of 400 that begin on 1 March, so
/// that the leap day is the last one of a year.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The reverse of [`civil`].
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_days() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (20_778, "2026-11-21"),
            (2_932_896, "9999-12-31"),
            (2_932_897, "+010000-01-01"),
            (-719_528, "0000-01-01"),
            (-719_529, "-000001-12-31"),
            (DATE_MIN, "-004713-11-24"),
            (DATE_MAX, "+5874897-12-31"),
        ] {
            assert_eq!(date_text(days), text);
            assert_eq!(parse_date(text), Ok(days));
        }
        assert_eq!(timestamp_text(-1), "1969-12-31 23:59:59.999999");
        assert_eq!(timestamp_text(TIMESTAMP_MIN), "-004713-11-24 00:00:00.000000");
        assert_eq!(timestamp_text(i64::MAX), "+294247-01-10 04:00:54.775807");
        for text in ["", "2026-02-30", "2026-13-01", "2026-1-01", "x-01-01", "2026-11-21 00:00:00.000000"] {
            assert!(parse_date(text).is_err(), "{text}");
        }
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T00:00:00.000000",
            "2026-11-21 24:00:00.000000",
            "+294247-01-11 04:00:54.775807",
        ] {
            assert!(parse_timestamp(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn texts_round_trip(micros in TIMESTAMP_MIN..=i64::MAX, days in DATE_MIN..=DATE_MAX) {
            prop_assert_eq!(parse_timestamp(&timestamp_text(micros)), Ok(micros));
            prop_assert_eq!(parse_date(&date_text(days)), Ok(days));
        }
    }
}

//! How figures, times and places look in words, and how they are read. Pure.

use std::str::FromStr;
use std::time::Duration;

/// Stands where a figure is not known or makes no sense.
pub(super) const NONE: &str = "–";
const BAR_WIDTH: usize = 24;
const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A sparkline shows the last so many minutes.
const SPARK_MINUTES: usize = 20;
const DAY: u64 = 86_400;

/// Digits in groups of three.
pub(super) fn number(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

/// A figure that may be unknown.
pub(super) fn maybe(value: Option<i64>) -> String {
    value.map_or(NONE.to_owned(), number)
}

/// `3 rows`, `1 row`.
pub(super) fn counted(count: u64, one: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {one}{s}", number(i64::try_from(count).unwrap_or(i64::MAX)))
}

/// Per second; small ones with a tenth.
pub(super) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 { format!("{per_second:.1}") } else { number(per_second.round() as i64) }
}

/// A span of seconds in its two largest units.
pub(super) fn seconds(value: Option<f64>) -> String {
    let Some(value) = value else { return NONE.to_owned() };
    if value <= 0.0 {
        return "0 s".into();
    }
    if value < 9.95 {
        return format!("{:.1} s", value.max(0.1));
    }
    let whole = value.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} m {:02} s", whole / 60, whole % 60),
        3600..172_800 => format!("{} h {:02} m", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / DAY, whole % DAY / 3600),
    }
}

/// Never 100 % before it is done.
pub(super) fn percent(ratio: f64) -> String {
    if ratio >= 1.0 { "100 %".into() } else { format!("{} %", ((ratio.max(0.0) * 100.0) as u32).min(99)) }
}

/// A bar of fixed width.
pub(super) fn bar(ratio: f64) -> String {
    let full = ((ratio.clamp(0.0, 1.0) * BAR_WIDTH as f64) as usize).min(BAR_WIDTH);
    "█".repeat(full) + &"░".repeat(BAR_WIDTH - full)
}

/// Seconds behind over the last minutes; what was unknown is a gap.
pub(super) fn spark(trend: &[Option<f64>]) -> String {
    let last = &trend[trend.len().saturating_sub(SPARK_MINUTES)..];
    // A second is nothing: a calm line stays at the bottom.
    let highest = last.iter().flatten().fold(1.0_f64, |highest, value| highest.max(*value));
    let one = |value: &Option<f64>| match value {
        Some(value) => SPARKS[((value / highest * 7.0).round() as usize).min(7)],
        None => ' ',
    };
    last.iter().map(one).collect()
}

/// UTC to the second, with a space: `2026-11-21 07:52:03Z`.
pub(super) fn time(at_us: i64) -> String {
    let text = laterna::change::timestamp_text(at_us);
    let whole = text.split('.').next().unwrap_or(&text).trim_end_matches('Z');
    format!("{}Z", whole.replace('T', " "))
}

/// The first digits of a build's hash.
pub(super) fn short(digest: &str) -> &str {
    digest.get(..6).unwrap_or(digest)
}

/// Revision and build.
pub(super) fn build(revision: u32, digest: &str) -> String {
    format!("r{revision} {}", short(digest))
}

/// `30s`, `500ms`, `5m`, `1h`, or a number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write it as 30s (ms, s, m or h)");
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let millis = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    // Beyond a year a sum with the clock could leave its range.
    millis.filter(|millis| *millis <= 366 * DAY * 1_000).map(Duration::from_millis).ok_or_else(wrong)
}

/// An event's place in a log: `TOPIC:PARTITION:OFFSET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.rsplitn(3, ':');
        let offset = parts.next().and_then(|part| part.parse().ok()).filter(|offset| *offset >= 0);
        let partition = parts.next().and_then(|part| part.parse().ok()).filter(|partition| *partition >= 0);
        let topic = parts.next().filter(|topic| !topic.is_empty()).map(str::to_owned);
        match (topic, partition, offset) {
            (Some(topic), Some(partition), Some(offset)) => Ok(Self { topic, partition, offset }),
            _ => Err("write a place as TOPIC:PARTITION:OFFSET, as in orders:3:91823".to_owned()),
        }
    }
}

/// From where log lines are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// After the line with this number.
    Line(u64),
    /// So long ago.
    Ago(Duration),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Line(id));
        }
        let ago = duration(text.strip_prefix('-').unwrap_or(text)).map(Self::Ago);
        ago.map_err(|_| format!("{text:?} is neither a line's number nor a time ago, as -10m (ms, s, m or h)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_in_words() {
        assert_eq!([0, 999, 1_000, -1_234_567].map(number), ["0", "999", "1,000", "-1,234,567"]);
        assert_eq!([0.0, 0.04, 9.94, 10.0, 1234.4].map(rate), ["0", "0.0", "9.9", "10", "1,234"]);
        let spans = [0.0, 0.01, 3.17, 59.4, 61.0, 3_600.0, 200_000.0];
        let words = ["0 s", "0.1 s", "3.2 s", "59 s", "1 m 01 s", "1 h 00 m", "2 d 7 h"];
        assert_eq!(spans.map(|span| seconds(Some(span))), words);
        assert_eq!(seconds(None), NONE);
        assert_eq!([0.0, 0.999, 1.0].map(percent), ["0 %", "99 %", "100 %"]);
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(2_000, "row"), "2,000 rows");
        assert_eq!(time(1_767_225_600_123_456), "2026-01-01 00:00:00Z");
    }

    #[test]
    fn bars_and_sparks_keep_their_width() {
        for ratio in [-1.0, 0.0, 0.5, 0.999, 1.0, 7.0] {
            assert_eq!(bar(ratio).chars().count(), BAR_WIDTH);
        }
        assert_eq!(bar(0.999).matches('░').count(), 1, "not full before the end");
        assert_eq!(spark(&[Some(0.0), None, Some(0.5), Some(7.0)]), "▁ ▂█");
        assert_eq!(spark(&vec![Some(0.1); 60]).chars().count(), SPARK_MINUTES);
        assert_eq!(spark(&[]), "");
    }

    #[test]
    fn places_and_times_are_read() {
        let place = |topic: &str, partition, offset| Ok(Place { topic: topic.into(), partition, offset });
        assert_eq!("orders:3:91823".parse(), place("orders", 3, 91_823));
        assert_eq!("a.b-c:0:0".parse(), place("a.b-c", 0, 0));
        for wrong in [
            "",
            "orders",
            "orders:3",
            ":3:1",
            "orders:-1:2",
            "orders:1:-2",
            "orders:x:1",
            "orders:1:9223372036854775808",
        ] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "s", "5 m", "-5m", "99999999999999999999s", "1d", "9999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!("120".parse(), Ok(Since::Line(120)));
        assert_eq!("-10m".parse(), Ok(Since::Ago(Duration::from_secs(600))));
        assert_eq!("10m".parse(), Ok(Since::Ago(Duration::from_secs(600))));
        assert!("yesterday".parse::<Since>().is_err());
    }
}

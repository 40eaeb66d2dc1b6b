//! Values as people write them: `64MiB`, `200ms`, `127.0.0.1:8484`, database addresses. Pure; errors never repeat a secret.

use std::time::Duration;

const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const TIME_UNITS_MS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Bytes from `64MiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let found = SIZE_UNITS.iter().find(|(name, _)| *name == unit);
    match (number.parse::<u64>(), found) {
        (Ok(number), Some((_, factor))) => number.checked_mul(*factor).ok_or_else(|| format!("{text:?} is too large")),
        (Ok(number), None) if unit.is_empty() => {
            Err(format!("{number} has no unit; write a size as \"64MiB\" (B, KiB, MiB or GiB)"))
        }
        _ => Err(format!("{text:?} is not a size; write it as \"64MiB\" (B, KiB, MiB or GiB)")),
    }
}

/// A duration from `200ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let found = TIME_UNITS_MS.iter().find(|(name, _)| *name == unit);
    match (number.parse::<u64>(), found) {
        (Ok(number), Some((_, factor))) => {
            number.checked_mul(*factor).map(Duration::from_millis).ok_or_else(|| format!("{text:?} is too long"))
        }
        (Ok(number), None) if unit.is_empty() => {
            Err(format!("{number} has no unit; write a duration as \"5s\" (ms, s, m or h)"))
        }
        _ => Err(format!("{text:?} is not a duration; write it as \"5s\" (ms, s, m or h)")),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// A size as a person would write it.
pub(super) fn show_size(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// A duration as a person would write it.
pub(super) fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let unit = TIME_UNITS_MS.iter().rev().find(|(_, factor)| ms >= *factor && ms.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", ms / factor),
        None => format!("{ms}ms"),
    }
}

/// Checks the scheme of a database address; the answer never repeats what stands behind the scheme.
pub(super) fn database_url(text: &str) -> Result<(), String> {
    let known = "write `postgres://USER@HOST/DATABASE` or `sqlite://PATH`";
    match text.split_once(':') {
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(()),
        Some(("sqlite", rest)) if !rest.trim_start_matches('/').is_empty() => Ok(()),
        Some(("sqlite", _)) => Err(format!("names no file; {known}")),
        Some((scheme, _))
            if scheme.len() <= 12 && !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_lowercase()) =>
        {
            Err(format!("the scheme `{scheme}` is not supported; {known}"))
        }
        _ => Err(format!("is not the address of a database; {known}")),
    }
}

/// A database address without its password and its parameters. Where it cannot be taken apart for sure, nothing of it is shown.
pub fn masked_url(url: &str) -> String {
    const HIDDEN: &str = "(secret)";
    let Some((scheme, rest)) = url.split_once("://") else {
        return HIDDEN.into();
    };
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:,[]%~ ".contains(c));
    // Everything before the last `@` may belong to the password, whatever it looks like.
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let (place, parameters) = match place.split_once('?') {
        Some((place, _)) => (place, "?***"),
        None => (place, ""),
    };
    let name = user.map(|user| user.split_once(':').map_or((user, ""), |(name, _)| (name, ":***")));
    match name {
        _ if !plain(scheme) || !plain(place) => HIDDEN.into(),
        // An `@` in the parameters or in the path: what looks like the place may be the end of a password.
        _ if user.is_some_and(|user| user.contains(['?', '/'])) => HIDDEN.into(),
        None => format!("{scheme}://{place}{parameters}"),
        Some((name, hidden))
            if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) =>
        {
            format!("{scheme}://{name}{hidden}@{place}{parameters}")
        }
        Some(_) => format!("{scheme}://***@{place}{parameters}"),
    }
}

/// The variable's name in a literal `${NAME}`, which many expect to be replaced.
pub(super) fn spliced_variable(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("${")?;
    let (name, _) = rest.split_once('}')?;
    (!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_need_a_unit() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1 KiB"), Ok(1024));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["64", "64MB", "MiB", "-1MiB", "1.5MiB", "99999999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for bad in ["5", "5sec", "", "s", "-1s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for bytes in [1, 1023, 1024, 64 << 20, 3 << 30, (1 << 20) + 1] {
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
        for ms in [1, 200, 1000, 1500, 60_000, 3_600_000] {
            let value = Duration::from_millis(ms);
            assert_eq!(duration(&show_duration(value)), Ok(value));
        }
    }

    #[test]
    fn passwords_never_show() {
        for url in [
            "postgres://laterna:hunter2@db/laterna",
            "postgres://laterna:hun@ter2@db/laterna",
            "postgres://laterna:a/hunter2@db/x",
            "postgres://db/x?user=a&password=hunter2",
            "postgres://db/x?user=a&password=p@hunter2",
            "postgres://:hunter2@db/x",
            "hunter2",
            "postgres://u:p?hunter2@db/x",
            "postgres://u:p#hunter2",
        ] {
            assert!(!masked_url(url).contains("hunter2"), "{}", masked_url(url));
        }
        assert_eq!(
            masked_url("postgres://laterna:x@db:5432/laterna?sslmode=require"),
            "postgres://laterna:***@db:5432/laterna?***"
        );
        assert_eq!(masked_url("sqlite://laterna.db"), "sqlite://laterna.db");
    }
}

//! What a process has used, read from /proc.

use std::fs;

/// How many clock ticks /proc counts in a second: fixed in Linux's interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of CPU, user and system together.
fn cpu_and_parent(pid: u32) -> Option<(f64, f64, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and parentheses: the fields begin after the last of these.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let own = ticks(11)? + ticks(12)?;
    let reaped = ticks(13)? + ticks(14)?;
    Some((own / TICKS_PER_SECOND, reaped / TICKS_PER_SECOND, fields.get(1)?.parse().ok()?))
}

/// Seconds of CPU that the process itself has used so far.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    cpu_and_parent(pid).map_or(0.0, |(own, _, _)| own)
}

/// Seconds of CPU of the process and its children, those that have ended included.
pub(crate) fn cpu_seconds_with_children(pid: u32) -> f64 {
    let (own, reaped, _) = cpu_and_parent(pid).unwrap_or_default();
    let children = fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = children.filter_map(|entry| cpu_and_parent(entry.file_name().to_str()?.parse().ok()?));
    own + reaped + children.filter(|&(_, _, parent)| parent == pid).map(|(own, _, _)| own).sum::<f64>()
}

fn status_mib(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// Resident memory now, MiB.
pub(crate) fn rss_mib(pid: u32) -> f64 {
    status_mib(pid, "VmRSS")
}

/// The highest resident memory so far, MiB.
pub(crate) fn rss_peak_mib(pid: u32) -> f64 {
    status_mib(pid, "VmHWM")
}

//! What a process took of the machine, from `/proc`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Ticks per second in `/proc/<pid>/stat`: the kernel's interface to programs has had this one
/// value on every architecture for twenty years.
const TICKS_PER_SECOND: u64 = 100;

/// CPU and memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// User and system time of all its threads since its start.
    pub(crate) cpu: Duration,
    /// Resident now, and at most so far.
    pub(crate) rss_bytes: u64,
    pub(crate) rss_bytes_max: u64,
}

/// What the process took so far.
pub(crate) fn of(pid: u32) -> Result<Usage> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).context(path)
    };
    let ticks = ticks(&read("stat")?).context("/proc/<pid>/stat reads differently")?;
    let status = read("status")?;
    let bytes = |field| bytes(&status, field).with_context(|| format!("no {field} in status"));
    Ok(Usage {
        cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
        rss_bytes: bytes("VmRSS:")?,
        rss_bytes_max: bytes("VmHWM:")?,
    })
}

/// utime and stime, fields 14 and 15; the name in field 2 may hold spaces.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// How many processes wanted to run in the last 1, 5 and 15 minutes.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Bytes of all files below a folder. What disappears meanwhile does not count.
pub(crate) fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub(crate) fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_sees_itself() {
        let before = of(std::process::id()).expect("this process runs");
        assert!(before.rss_bytes > 0 && before.rss_bytes <= before.rss_bytes_max);
    }

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_move_the_fields() {
        let stat = "30772 (ta) rn) S 1 30737 16795 0 -1 4194304 12000 0 1 0 70 30 0 0 20 0 7";
        assert_eq!(ticks(stat), Some(100));
    }
}

//! Memory of this process, as the system tells it: what is resident now, and what was at most.

use std::fs;

/// What this process has in memory, with pages of files that it maps; none where the system does not tell.
pub(crate) fn now() -> Option<u64> {
    status("VmRSS:")
}

/// The most that it had at once.
pub(crate) fn most() -> Option<u64> {
    status("VmHWM:")
}

fn status(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

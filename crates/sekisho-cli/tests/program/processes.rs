//! What the system says of processes.

use std::fs::{read, read_dir, read_to_string};

/// All of them for which `is` holds.
fn those(is: impl Fn(&str) -> bool) -> Vec<String> {
    let ids =
        read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    ids.filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()) && is(id)).collect()
}

/// What the system says of one; nothing if it is gone.
fn status(id: &str) -> String {
    read_to_string(format!("/proc/{id}/status")).unwrap_or_default()
}

/// Those whose parent is `parent`.
pub(crate) fn children_of(parent: &str) -> Vec<String> {
    those(|id| status(id).contains(&format!("PPid:\t{parent}\n")))
}

/// Those that have `mark` in what they were told.
pub(crate) fn told(mark: &str) -> Vec<String> {
    those(|id| {
        let words = read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(mark)
    })
}

/// Whether it has ended and nobody has asked after it.
pub(crate) fn is_dead(id: &str) -> bool {
    status(id).contains("State:\tZ")
}

/// Whether it stands still (SIGSTOP).
pub(crate) fn is_stopped(id: &str) -> bool {
    status(id).contains("State:\tT")
}

/// How many threads it has.
pub(crate) fn threads_of(id: &str) -> usize {
    read_dir(format!("/proc/{id}/task")).unwrap().count()
}

/// Its memory, in KiB.
pub(crate) fn resident_kib(id: &str) -> u64 {
    let status = status(id);
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

//! What Linux says of this process: its memory, its time of processors, its open files.

use std::fs;

use metrics::gauge;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, getrlimit};

/// Looks, and notes what was there to see.
pub(super) fn look() {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    if let Some(ticks) = processor_ticks(&read("stat")) {
        #[expect(clippy::cast_precision_loss, reason = "a time for people")]
        let seconds = ticks as f64 / clock_ticks_per_second() as f64;
        // It only grows, but by fractions: the registry knows that it is set.
        gauge!("process_cpu_seconds_total").set(seconds);
    }
    if let Some(bytes) = resident_bytes(&read("status")) {
        set("process_resident_memory_bytes", bytes);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        set("process_open_fds", open.count() as u64);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        set("process_max_fds", most);
    }
}

fn set(name: &'static str, value: u64) {
    #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
    gauge!(name).set(value as f64);
}

/// `utime` and `stime` of `/proc/self/stat` (proc(5)), which stand behind the name in brackets.
fn processor_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let ticks: u64 = fields.next()?.parse().ok()?;
    Some(ticks + fields.next()?.parse::<u64>().ok()?)
}

/// `VmRSS` of `/proc/self/status`, which is in KiB.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read_where_it_stands() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 3 0 99 1 2";
        assert_eq!(processor_ticks(stat), Some(300));
        assert_eq!(processor_ticks(""), None);
        let status = "Name:\tsekisho\nVmRSS:\t   12345 kB\nThreads:\t3\n";
        assert_eq!(resident_bytes(status), Some(12_345 * 1024));
        assert_eq!(resident_bytes("VmRSS: lots"), None);
    }
}

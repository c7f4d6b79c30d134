//! What the kernel counts (`proc(5)`): processor time and memory of a process, and how busy a core
//! was. Linux only.

use std::fs;
use std::time::Duration;

use crate::Result;

/// Time since the machine started; in steps of 10 ms, like [`busy_time`].
pub(crate) fn uptime() -> Result<Duration> {
    let text = fs::read_to_string("/proc/uptime")?;
    let seconds = text.split(' ').next().unwrap_or_default();
    Ok(Duration::try_from_secs_f64(seconds.parse()?)?)
}

/// Processor time that a process has used, with that of threads that are gone; in steps of 10 ms.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before it may have spaces; then utime and stime, in ticks.
    let (_, fields) = text.rsplit_once(") ").ok_or("no processor time in /proc")?;
    let mut ticks = 0;
    for field in fields.split(' ').skip(11).take(2) {
        ticks += field.parse::<u64>()?;
    }
    Ok(Duration::from_millis(10 * ticks))
}

/// The one process that a process has started.
pub(crate) fn only_child(pid: u32) -> Result<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.trim().parse().map_err(|_| format!("{pid} has not one child but {text:?}"))?)
}

/// Time for which a core was not idle, whoever used it; in steps of 10 ms.
pub(crate) fn busy_time(core: usize) -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(name.as_str()));
    let fields: Vec<&str> = line.ok_or("there is no such core")?.split(' ').collect();
    let mut ticks = 0;
    // user nice system (idle iowait) irq softirq steal
    for at in [0, 1, 2, 5, 6, 7] {
        ticks += fields.get(at).unwrap_or(&"0").parse::<u64>()?;
    }
    Ok(Duration::from_millis(10 * ticks))
}

/// Memory of a process that is in RAM, in KiB: now, and at its peak.
pub(crate) fn resident_kib(pid: u32) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.ok_or("no memory figures in /proc")?.parse()?)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// The same without what it shares, each page of which is counted to its sharers in equal parts.
pub(crate) fn proportional_kib(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no memory figures in /proc")?.parse()?)
}

/// How many entries a folder of a process has: `fd`, its open files; `task`, its threads.
pub(crate) fn entries(pid: u32, folder: &str) -> Result<u64> {
    Ok(u64::try_from(fs::read_dir(format!("/proc/{pid}/{folder}"))?.count())?)
}

/// Processes that it started, whichever thread of it did.
pub(crate) fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may have ended meanwhile.
        let text = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        children.extend(text.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(children)
}

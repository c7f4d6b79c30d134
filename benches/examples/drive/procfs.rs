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

/// Processor time that all threads of a process have used.
pub(crate) fn processor_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let used = text.split(' ').next().unwrap_or_default();
        nanoseconds += used.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
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

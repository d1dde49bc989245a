//! What the system says of this process. On a system without `/proc` some numbers are missing.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::families::OfProcess;

/// The kernel counts the start of a process in this part of a second, on every machine.
const TICKS_PER_SECOND: f64 = 100.0;
/// The place of the start among the fields that follow the program's name in `/proc/self/stat`: it is the 22nd of all.
const START_FIELD: usize = 19;

/// With more connections than this the descriptors are not counted one by one, which would take too long.
const COUNTED_MAX: u64 = 512;

/// The process, as it asks about itself.
#[derive(Debug)]
pub(super) struct Process {
    /// Seconds since 1970.
    start: Option<f64>,
    /// The descriptors that were no connections, when they were last counted.
    others: AtomicU64,
}

impl Process {
    pub(super) fn new() -> Self {
        Self { start: start(), others: AtomicU64::new(0) }
    }

    /// A number of the process, which has this many connections.
    pub(super) fn number(&self, of: OfProcess, connections: u64) -> Option<f64> {
        match of {
            OfProcess::CpuSeconds => Some(seconds(clock_gettime(ClockId::ProcessCPUTime))),
            OfProcess::ResidentBytes => memory("VmRSS:"),
            OfProcess::VirtualBytes => memory("VmSize:"),
            OfProcess::OpenDescriptors => self.descriptors(connections).map(|count| count as f64),
            OfProcess::DescriptorsMax => rlimit::Resource::NOFILE.get_soft().ok().map(|most| most as f64),
            OfProcess::StartSeconds => self.start,
        }
    }

    /// The open descriptors. Linux says their number since 6.2; before that they are counted while they are few.
    fn descriptors(&self, connections: u64) -> Option<u64> {
        let said = fs::metadata("/proc/self/fd").ok()?.len();
        if said > 0 {
            return Some(said);
        }
        if connections > COUNTED_MAX {
            return Some(connections + self.others.load(Ordering::Relaxed));
        }
        let count = fs::read_dir("/proc/self/fd").ok()?.count() as u64 - 1; // without the one that reads them
        self.others.store(count.saturating_sub(connections), Ordering::Relaxed);
        Some(count)
    }
}

/// When the process started: the kernel says how long after the machine.
fn start() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?; // the name before it may have spaces
    let ticks: f64 = fields.split_ascii_whitespace().nth(START_FIELD)?.parse().ok()?;
    let age = seconds(clock_gettime(ClockId::Boottime)) - ticks / TICKS_PER_SECOND;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    now.checked_sub(Duration::try_from_secs_f64(age).ok()?).map(|start| start.as_secs_f64())
}

/// A line of `/proc/self/status` in bytes; the kernel writes kB.
fn memory(line: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let rest = status.lines().find_map(|one| one.strip_prefix(line))?;
    let kilobytes: u64 = rest.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some((kilobytes * 1024) as f64)
}

fn seconds(time: Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_this_process_are_plausible() {
        let process = Process::new();
        let number = |of| process.number(of, 0).expect("Linux says it");
        let (resident, whole) = (number(OfProcess::ResidentBytes), number(OfProcess::VirtualBytes));
        assert!(resident > 1e6 && resident <= whole, "{resident} of {whole} bytes");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let start = number(OfProcess::StartSeconds);
        assert!(start <= now + 0.1 && start > now - 24.0 * 3600.0, "it started at {start}, and it is {now}");
        let (open, most) = (number(OfProcess::OpenDescriptors), number(OfProcess::DescriptorsMax));
        assert!(open >= 3.0 && open <= most, "{open} of {most} descriptors");
    }

    #[test]
    fn the_cpu_time_grows_with_work() {
        let process = Process::new();
        let used = || process.number(OfProcess::CpuSeconds, 0).expect("there is a clock");
        let before = used();
        while used() < before + 0.001 {
            std::hint::spin_loop();
        }
    }
}

//! What the system says of this process. On a system without `/proc` some numbers are missing.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::application::Process;

/// The kernel counts the start of a process in this part of a second, on every machine.
const TICKS_PER_SECOND: f64 = 100.0;
/// The place of the start among the fields that follow the program's name in `/proc/self/stat`: it is the 22nd of all.
const START_FIELD: usize = 19;

/// With more connections than this the descriptors are not counted one by one, which would take too long.
const COUNTED_MAX: u64 = 512;

/// Reads the numbers of this process.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Seconds since 1970.
    start: Option<f64>,
    /// The descriptors that were no connections, when they were last counted.
    others: AtomicU64,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { start: start(), others: AtomicU64::new(0) }
    }

    /// The numbers of the process, which has this many connections. It takes some 20 µs where Linux is 6.2 or newer.
    pub(crate) fn read(&self, connections: u64) -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let (soft, _) = rlimit::Resource::NOFILE.get().unwrap_or((u64::MAX, u64::MAX));
        Process {
            cpu_seconds: Some(seconds(clock_gettime(ClockId::ProcessCPUTime))),
            resident_bytes: memory(&status, "VmRSS:"),
            virtual_bytes: memory(&status, "VmSize:"),
            open_files: self.open_files(connections),
            open_files_max: (soft != u64::MAX).then_some(soft),
            start_seconds: self.start,
        }
    }

    /// The open descriptors. Linux says their number since 6.2; before that they are counted while they are few.
    fn open_files(&self, connections: u64) -> Option<u64> {
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
fn memory(status: &str, line: &str) -> Option<u64> {
    let rest = status.lines().find_map(|one| one.strip_prefix(line))?;
    let kilobytes: u64 = rest.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kilobytes.checked_mul(1024)
}

fn seconds(time: Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_numbers_of_this_process_are_plausible() {
        let process = Reader::new().read(0);
        let (resident, whole) = (process.resident_bytes.unwrap(), process.virtual_bytes.unwrap());
        assert!(resident > 1_000_000 && resident <= whole, "{resident} of {whole} bytes");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let start = process.start_seconds.unwrap();
        assert!(start <= now + 0.1 && start > now - 24.0 * 3600.0, "it started at {start}, and it is {now}");
        let open = process.open_files.unwrap();
        assert!(open >= 3 && process.open_files_max.is_none_or(|most| open <= most), "{process:?}");
    }

    #[test]
    fn the_cpu_time_grows_with_work() {
        let reader = Reader::new();
        let used = || reader.read(0).cpu_seconds.expect("there is a clock");
        let before = used();
        while used() < before + 0.001 {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn the_memory_is_a_line_of_the_status() {
        assert_eq!(memory("VmPeak:\t  100 kB\nVmRSS:\t   9000 kB\nThreads:\t3\n", "VmRSS:"), Some(9000 * 1024));
        assert_eq!(memory("VmPeak:\t  100 kB\n", "VmRSS:"), None);
        assert_eq!(memory("VmRSS:\t   x kB\n", "VmRSS:"), None);
    }
}

//! What the system says of this process.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use crate::application::Process;

/// Reads it anew. That takes some 20 µs, also with many open files: Linux tells their number as the size of the folder since
/// version 6.2; an older one does not.
pub(crate) fn read() -> Process {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let open_files = fs::metadata("/proc/self/fd").ok().map(|folder| folder.len()).filter(|&number| number > 0);
    let (soft, _) = rlimit::Resource::NOFILE.get().unwrap_or((u64::MAX, u64::MAX));
    Process {
        cpu_seconds: Some(used.tv_sec as f64 + used.tv_nsec as f64 / 1e9),
        resident_bytes: fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident),
        open_files,
        open_files_max: (soft != u64::MAX).then_some(soft),
    }
}

/// The `VmRSS` of /proc/self/status, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_uses_memory_and_time() {
        let process = read();
        let bytes = process.resident_bytes.expect("Linux says it");
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
        assert!(process.cpu_seconds.is_some_and(|seconds| seconds > 0.0), "{process:?}");
        assert!(process.open_files.is_none_or(|files| (3..1 << 30).contains(&files)), "{process:?}");
    }

    #[test]
    fn the_resident_memory_is_a_line_of_the_status() {
        assert_eq!(resident("VmPeak:\t  100 kB\nVmRSS:\t   9000 kB\nThreads:\t3\n"), Some(9000 * 1024));
        assert_eq!(resident("VmPeak:\t  100 kB\n"), None);
        assert_eq!(resident("VmRSS:\t   x kB\n"), None);
    }
}

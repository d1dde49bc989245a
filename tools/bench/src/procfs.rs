//! Linux's figures for a process: CPU time in nanoseconds, and resident memory.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// A server's use of the machine at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time of all its living threads.
    pub(crate) cpu_ns: u64,
    /// How long the threads were ready to run while another process had the CPU.
    pub(crate) delayed_ns: u64,
    /// Resident memory, without kernel memory (socket buffers).
    pub(crate) rss_bytes: u64,
}

/// The usage of these processes together once they rest. The scheduler accounts a thread's time when the thread stops running, so a
/// figure that still changes is read again, for at most 200 ms. `None` if a process is missing, or there is none.
pub(crate) fn usage_at_rest(pids: &[u32]) -> Option<Usage> {
    let deadline = Instant::now() + Duration::from_millis(200);
    let mut last = usage(pids)?;
    loop {
        thread::sleep(Duration::from_millis(5));
        let now = usage(pids)?;
        if (now.cpu_ns, now.delayed_ns) == (last.cpu_ns, last.delayed_ns) || Instant::now() > deadline {
            let rss_bytes = pids.iter().map(|pid| rss_bytes(*pid)).sum::<Option<u64>>()?;
            return Some(Usage { rss_bytes, ..now });
        }
        last = now;
    }
}

/// The times alone.
fn usage(pids: &[u32]) -> Option<Usage> {
    let times = pids.iter().map(|pid| scheduled_ns(*pid)).collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())?;
    let (cpu_ns, delayed_ns) = times.iter().fold((0, 0), |(cpu, delayed), time| (cpu + time.0, delayed + time.1));
    Some(Usage { cpu_ns, delayed_ns, rss_bytes: 0 })
}

/// CPU time and delay of all threads of `pid`: the first two fields of each thread's schedstat. They are exact to the
/// nanosecond, where `stat` counts ticks of 10 ms.
fn scheduled_ns(pid: u32) -> Option<(u64, u64)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let times = threads.flatten().filter_map(|thread| {
        let line = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let mut fields = line.split_whitespace().map_while(|field| field.parse::<u64>().ok());
        Some((fields.next()?, fields.next()?))
    });
    Some(times.fold((0, 0), |(cpu, delayed), time| (cpu + time.0, delayed + time.1)))
}

/// CPU time of the calling thread.
pub(crate) fn own_cpu_ns() -> u64 {
    let line = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    line.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// Resident memory from `smaps_rollup`, which walks the page tables. `status` sums counters that lag behind; it is used
/// where `smaps_rollup` may not be read.
pub(crate) fn rss_bytes(pid: u32) -> Option<u64> {
    kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Rss:")
        .or_else(|| kilobytes(&format!("/proc/{pid}/status"), "VmRSS:"))
}

/// Lets the most resident memory of a process count from now on, and returns how much is resident now.
pub(crate) fn restart_rss_peak(pid: u32) -> Option<u64> {
    // proc_pid_clear_refs(5): 5 resets VmHWM.
    fs::write(format!("/proc/{pid}/clear_refs"), "5").ok()?;
    rss_peak_bytes(pid)
}

/// The most memory that was resident since then.
pub(crate) fn rss_peak_bytes(pid: u32) -> Option<u64> {
    kilobytes(&format!("/proc/{pid}/status"), "VmHWM:")
}

/// Bytes that a process has written to disks so far, whole pages.
pub(crate) fn disk_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

/// The kernel memory of all TCP sockets of this machine, which is not charged to any process.
pub(crate) fn tcp_memory_bytes() -> Option<u64> {
    const PAGE_BYTES: u64 = 4096;
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let (_, pages) = line.rsplit_once("mem ")?;
    Some(pages.trim().parse::<u64>().ok()? * PAGE_BYTES)
}

fn kilobytes(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The CPU's name, for the head of a report.
pub(crate) fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    model.map_or_else(|| "unknown CPU".into(), |(_, name)| name.to_owned())
}

/// How many CPUs the machine has.
pub(crate) fn cpus_online() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count()
}

/// The kernel's release.
pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

//! What this machine allows this process: CPUs, file descriptors, memory. Each reader has a pure part that tests feed.

use std::{fs, io, path::Path, thread};

/// The CPUs that this process may run on, and how many of them at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cpus {
    /// The affinity set, ascending; empty if the system does not report it (then nothing can be pinned).
    pub(super) allowed: Vec<usize>,
    /// The number of CPUs that the process may use at once. The CPU quota of the cgroup can make it smaller than
    /// `allowed`; at least 1.
    pub(super) parallel: usize,
}

impl Cpus {
    /// Reads the CPUs of the calling thread: threads inherit their parent's set, so a pinned caller sees its one CPU.
    pub(super) fn read() -> Self {
        let allowed: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
        let parallel = thread::available_parallelism().map_or(1, usize::from);
        // The affinity set does not show a quota, and std does not know every quota: the smaller number is right.
        let parallel = if allowed.is_empty() { parallel } else { parallel.min(allowed.len()) };
        Self { allowed, parallel }
    }
}

/// Raises the soft limit of open files to the hard one, which every process may do, and returns the new `(soft, hard)`. A
/// daemon calls it once, before [`Config::resolve`](super::Config::resolve); a library must not change its host's limits
/// unasked.
///
/// # Errors
/// The system's error when the limit can be neither read nor set (a sandbox that forbids it).
pub fn raise_fd_limit() -> io::Result<(u64, u64)> {
    let (soft, hard) = rlimit::Resource::NOFILE.get()?;
    if soft < hard {
        rlimit::Resource::NOFILE.set(hard, hard)?;
    }
    rlimit::Resource::NOFILE.get()
}

/// The soft limit of open files; `u64::MAX` is none.
pub(super) fn fd_limit() -> io::Result<u64> {
    rlimit::Resource::NOFILE.get().map(|(soft, _)| soft)
}

/// The bytes of memory that the cgroup or the machine allows, whichever is less. `None` if neither reports any.
pub(super) fn memory_bytes() -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    smallest_memory(&read)
}

/// The smallest of the machine's memory and of every limit on the way from this process's cgroup up to the root: a
/// child's own limit may be `max` while its parent's binds.
fn smallest_memory(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let total = read(Path::new("/proc/meminfo")).as_deref().and_then(meminfo_total);
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = memory_groups(&groups).into_iter().flat_map(|(root, file, group)| {
        // In a container the path is often the host's and does not exist. Then the limit is at the mount's root, which is
        // the last ancestor.
        Path::new(group).ancestors().filter_map(move |ancestor| {
            let folder = Path::new(root).join(ancestor.strip_prefix("/").ok()?);
            read(&folder.join(file)).as_deref().and_then(cgroup_limit)
        })
    });
    limits.chain(total).min()
}

/// The `MemTotal` of /proc/meminfo, in bytes.
fn meminfo_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// From /proc/self/cgroup: where the memory controller is mounted, the file that holds its limit, and this process's
/// group there. Lines are `id:controllers:path` (cgroups(7)); v2 has id 0 and no controllers.
fn memory_groups(groups: &str) -> Vec<(&'static str, &'static str, &str)> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if id == "0" && controllers.is_empty() {
            found.push(("/sys/fs/cgroup", "memory.max", path));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            found.push(("/sys/fs/cgroup/memory", "memory.limit_in_bytes", path));
        }
    }
    found
}

/// Reads a limit file's number. `max` (v2) means no limit; v1 writes a number that is larger than the machine's memory.
fn cgroup_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;

    const GIB: u64 = 1 << 30;
    const MEMINFO: (&str, &str) = ("/proc/meminfo", "MemTotal:        2097152 kB\nMemFree:          125164 kB\n");

    fn memory(files: &[(&str, &str)]) -> Option<u64> {
        let files: HashMap<&Path, &str> = files.iter().map(|(path, text)| (Path::new(*path), *text)).collect();
        smallest_memory(&|path| files.get(path).map(|text| (*text).to_owned()))
    }

    #[test]
    fn without_a_cgroup_the_machines_memory_counts() {
        assert_eq!(memory(&[MEMINFO]), Some(2 * GIB));
        assert_eq!(memory(&[MEMINFO, ("/proc/self/cgroup", "0::/\n")]), Some(2 * GIB));
    }

    #[test]
    fn nothing_readable_is_unknown_and_not_zero() {
        assert_eq!(memory(&[]), None);
        assert_eq!(memory(&[("/proc/meminfo", "MemTotal: lots kB\n"), ("/proc/self/cgroup", "nonsense\n::\n")]), None);
    }

    #[test]
    fn a_parents_limit_binds_a_child_that_has_none() {
        let files = [
            MEMINFO,
            ("/proc/self/cgroup", "0::/system.slice/lhttpd.service\n"),
            ("/sys/fs/cgroup/system.slice/lhttpd.service/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "536870912\n"),
        ];
        assert_eq!(memory(&files), Some(GIB / 2));
    }

    #[test]
    fn in_a_container_the_mounts_root_is_read_although_the_path_is_the_hosts() {
        let v2 = [MEMINFO, ("/proc/self/cgroup", "0::/docker/abc\n"), ("/sys/fs/cgroup/memory.max", "1073741824")];
        assert_eq!(memory(&v2), Some(GIB));
        let v1 = [
            MEMINFO,
            ("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"),
        ];
        assert_eq!(memory(&v1), Some(GIB / 4));
    }

    #[test]
    fn version_ones_unlimited_is_more_than_the_machine_has() {
        let files = [
            MEMINFO,
            ("/proc/self/cgroup", "4:memory:/\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(memory(&files), Some(2 * GIB));
    }

    #[test]
    fn this_machine_tells_its_memory_and_its_cpus() {
        assert!(memory_bytes().is_some_and(|bytes| bytes > 16 << 20));
        let cpus = Cpus::read();
        assert!(cpus.parallel >= 1 && (cpus.allowed.is_empty() || cpus.parallel <= cpus.allowed.len()));
    }
}

//! A configuration applied to the machine, with its defaults resolved.

use super::{CORES_MAX, Config, ProxyHeader, WorstCase, machine};
use crate::error::StartError;

/// File descriptors that are never a client's: the standard streams, the log, a bridge's sockets, the connections and
/// listeners of pages, and the open files of a library's host.
const FDS_RESERVED: u64 = 64;

/// The same for the connections and listeners of `admin`.
const FDS_ADMIN: u64 = 32;

/// Connections open at once on all listeners of pages.
pub(crate) const PAGES_CONNECTIONS_MAX: usize = 32;

/// Places for connections over that limit: each gets 503.
pub(crate) const PAGES_RESERVED: usize = 8;

/// Connections open at once on all listeners of `admin`.
pub(crate) const ADMIN_CONNECTIONS_MAX: usize = 16;

/// Places for connections over that limit: each gets 503.
pub(crate) const ADMIN_RESERVED: usize = 4;

const _: () = assert!(PAGES_CONNECTIONS_MAX + PAGES_RESERVED <= FDS_RESERVED as usize * 2 / 3);
const _: () = assert!(ADMIN_CONNECTIONS_MAX + ADMIN_RESERVED <= FDS_ADMIN as usize * 2 / 3);

/// File descriptors of one upstream worker: the connection that it works on, and an idle one.
const FDS_PER_WORKER: u64 = 2;

/// Places of one core for connections over `max-connections`: the core reads one request on each, and serves it if it is
/// for `/healthz` or a `POST /publish`.
pub(crate) const RESERVED_PER_CORE: usize = 32;

/// Connections of trusted proxies on one core whose header of the PROXY protocol is not complete.
pub(crate) const GREETINGS_MAX: usize = 64;

/// File descriptors of one core: its poll, its waker, its alarm, a listener per address, and its reserved places.
const FDS_PER_CORE: u64 = 16 + RESERVED_PER_CORE as u64;

/// The total cost of one idle connection, in bytes, when memory bounds the number of connections. The larger part is the
/// kernel's: a TCP socket with its inode, its file and its epoll entry is about 4 KiB; ours is well below 1 KiB; the rest
/// is room for the connections that do something.
const BYTES_PER_CONNECTION: u64 = 8 << 10;

/// Of the memory allowed, the part that backlogs may take unless `memory-budget` says otherwise: one in this many.
const BUDGET_DIVISOR: u64 = 4;

/// The memory assumed when neither a cgroup nor the machine reports it: the small machine that this server is made for.
const MEMORY_ASSUMED: u64 = 1 << 30;

/// The result of a [`Config`] on this machine. [`Config::resolve`] makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One entry per core: the CPU that its thread is pinned to, or `None` if the system places it. Never empty, at most
    /// [`CORES_MAX`].
    pub cpus: Vec<Option<usize>>,
    /// Connections open at once, over all cores. Unless `max-connections` sets it, the smaller of what the soft limit of
    /// open files leaves after a reserve of 64, 32 more with `admin`, 48 per core and 2 per upstream worker, and one for every 8 KiB of the memory allowed.
    pub connections_max: usize,
    /// Bytes of backlog in the whole process: `memory-budget`, or a quarter of the memory allowed.
    pub memory_budget_bytes: u64,
    /// The memory allowed, in bytes: the smallest of the machine's and the limits of its cgroup and those above it; 1 GiB
    /// if none of them reports any.
    pub memory_bytes: u64,
    /// The worst case of memory.
    pub worst_case: WorstCase,
}

impl Config {
    /// Checks everything, reads this machine's limits, and gives what the server will use.
    ///
    /// Call it from a thread that is not pinned, because it reads the calling thread's CPUs, and after
    /// [`raise_fd_limit`](super::raise_fd_limit) if you use that. It changes nothing.
    ///
    /// # Errors
    /// [`StartError::Config`] with one sentence that names the option; [`StartError::System`] if the limit of open files
    /// cannot be read.
    pub fn resolve(&self) -> Result<Plan, StartError> {
        self.validate()?;
        let cpus = self.place(&machine::Cpus::read()).map_err(StartError::Config)?;
        let memory = machine::memory_bytes().unwrap_or(MEMORY_ASSUMED);
        let fds = machine::fd_limit()?;
        let connections_max = self.connections(fds, cpus.len(), memory).map_err(StartError::Config)?;
        let memory_budget_bytes = self.memory_budget_bytes.unwrap_or(memory / BUDGET_DIVISOR);
        let worst_case = WorstCase::default();
        let plan = Plan { cpus, connections_max, memory_budget_bytes, memory_bytes: memory, worst_case };
        Ok(Plan { worst_case: WorstCase::of(self, &plan), ..plan })
    }

    /// One entry per core, from `cpu-list` or `cores`.
    fn place(&self, machine: &machine::Cpus) -> Result<Vec<Option<usize>>, String> {
        if let Some(list) = &self.cpu_list {
            if let Some(cpu) = list.iter().find(|cpu| !machine.allowed.contains(cpu)) {
                let allowed = machine.allowed.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
                return Err(format!("cpu-list: this process may not use CPU {cpu}, only {allowed}"));
            }
            return Ok(list.iter().copied().map(Some).collect());
        }
        let most = machine.parallel.min(CORES_MAX);
        let cores = self.cores.unwrap_or(most);
        if cores > most {
            return Err(format!("cores: {cores} is more than this process may use, which is {most}"));
        }
        // Pin only if the server takes every CPU. If two servers with `cores = 1` pinned themselves to the first CPU (two
        // containers with a quota do not see each other), the other CPUs would idle.
        Ok(if cores == machine.allowed.len() {
            machine.allowed.iter().copied().map(Some).collect()
        } else {
            vec![None; cores]
        })
    }

    /// How many connections `fds` open files and `memory` bytes allow.
    fn connections(&self, fds: u64, cores: usize, memory: u64) -> Result<usize, String> {
        let workers = if self.upstream_allow.is_empty() { 0 } else { self.upstream_workers };
        let greetings = if self.proxy_header == ProxyHeader::ProxyProtocol { GREETINGS_MAX } else { 0 };
        let per_core = FDS_PER_CORE + greetings as u64;
        let admin = if self.admin.is_empty() { 0 } else { FDS_ADMIN };
        let reserve = FDS_RESERVED + admin + per_core * cores as u64 + FDS_PER_WORKER * workers as u64;
        let by_fds = fds.saturating_sub(reserve);
        if by_fds == 0 {
            return Err(format!(
                "the limit of open files is {fds}, and {reserve} of them are reserved: raise it (ulimit -n, or LimitNOFILE in systemd)"
            ));
        }
        let by_fds = usize::try_from(by_fds).unwrap_or(usize::MAX);
        match self.connections_max {
            Some(wanted) if wanted > by_fds => Err(format!(
                "max-connections: {wanted} are more than the limit of open files allows, {by_fds}: raise it (ulimit -n, or LimitNOFILE in systemd)"
            )),
            Some(wanted) => Ok(wanted),
            None => Ok(by_fds.min(usize::try_from(memory / BYTES_PER_CONNECTION).unwrap_or(usize::MAX)).max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(allowed: &[usize], parallel: usize) -> machine::Cpus {
        machine::Cpus { allowed: allowed.to_vec(), parallel }
    }

    #[test]
    fn by_default_every_cpu_gets_its_pinned_core() {
        assert_eq!(Config::default().place(&cpus(&[0, 2], 2)), Ok(vec![Some(0), Some(2)]));
    }

    #[test]
    fn a_quota_means_fewer_cores_and_no_pins() {
        assert_eq!(Config::default().place(&cpus(&[0, 1, 2, 3], 2)), Ok(vec![None, None]));
    }

    #[test]
    fn one_core_of_two_is_left_to_the_scheduler() {
        let config = Config { cores: Some(1), ..Config::default() };
        assert_eq!(config.place(&cpus(&[0, 1], 2)), Ok(vec![None]));
    }

    #[test]
    fn more_cores_than_there_are_is_an_error_that_says_how_many() {
        let config = Config { cores: Some(3), ..Config::default() };
        let error = config.place(&cpus(&[0, 1], 2)).unwrap_err();
        assert!(error.contains("cores: 3") && error.contains('2'), "{error}");
    }

    #[test]
    fn a_big_machine_runs_as_many_cores_as_a_peer_set_holds() {
        let all: Vec<usize> = (0..128).collect();
        assert_eq!(Config::default().place(&cpus(&all, 128)).unwrap().len(), CORES_MAX);
        let config = Config { cores: Some(CORES_MAX + 1), ..Config::default() };
        let error = config.place(&cpus(&all, 128)).unwrap_err();
        assert!(error.contains("cores: 64") && error.contains("63"), "{error}");
    }

    #[test]
    fn a_cpu_list_pins_in_its_order_and_refuses_other_cpus() {
        let config = Config { cpu_list: Some(vec![3, 1]), ..Config::default() };
        assert_eq!(config.place(&cpus(&[1, 3], 2)), Ok(vec![Some(3), Some(1)]));
        let error = config.place(&cpus(&[0, 1], 2)).unwrap_err();
        assert!(error.contains("CPU 3") && error.contains("0,1"), "{error}");
    }

    #[test]
    fn connections_are_bounded_by_open_files_and_by_memory() {
        let config = Config::default();
        assert_eq!(config.connections(1024, 2, 1 << 40), Ok(1024 - 64 - 96));
        let upstream =
            Config { upstream_allow: vec!["http://h/".to_owned()], upstream_workers: 100, ..Config::default() };
        assert_eq!(upstream.connections(1024, 2, 1 << 40), Ok(1024 - 64 - 96 - 200));
        let proxied = Config { proxy_header: ProxyHeader::ProxyProtocol, ..Config::default() };
        assert_eq!(proxied.connections(1024, 2, 1 << 40), Ok(1024 - 64 - 96 - 128));
        let admin = Config { admin: vec!["127.0.0.1:0".parse().unwrap()], ..Config::default() };
        assert_eq!(admin.connections(1024, 2, 1 << 40), Ok(1024 - 96 - 96));
        assert_eq!(config.connections(u64::MAX, 1, 1 << 30), Ok(131_072));
        let error = config.connections(80, 1, 1 << 30).unwrap_err();
        assert!(error.contains("80"), "{error}");
    }

    #[test]
    fn a_set_number_of_connections_must_fit_the_open_files() {
        let config = Config { connections_max: Some(912), ..Config::default() };
        assert_eq!(config.connections(1024, 1, 0), Ok(912));
        let error = config.connections(1023, 1, 0).unwrap_err();
        assert!(error.contains("max-connections: 912") && error.contains("911"), "{error}");
    }

    #[test]
    fn this_machine_gives_a_plan() {
        let plan = Config::default().resolve().unwrap();
        assert!(!plan.cpus.is_empty() && plan.connections_max > 0 && plan.memory_budget_bytes > 0);
        let budget = Config { memory_budget_bytes: Some(5 << 20), ..Config::default() };
        assert_eq!(budget.resolve().unwrap().memory_budget_bytes, 5 << 20);
    }
}

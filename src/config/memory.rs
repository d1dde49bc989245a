//! The worst case of a configuration's memory.
//!
//! The parts that the engine has constants for have bounds here too. The engine compares each constant with its bound at
//! compile time.

use std::fmt;

use bytesize::ByteSize;

use super::{Config, Listen, Plan};

/// One connection's memory in this process that does not count in `memory-budget`: its session, its outbox, its timers,
/// and the unused part of growing tables. Measured: a quarter of it, with a subscription.
const CONNECTION_BYTES: u64 = 1 << 10;
/// The kernel's memory for its socket: the socket, its inode, its file and its epoll entry. Measured: 3.9 KB.
const SOCKET_BYTES: u64 = 4 << 10;
/// The program, its libraries, the stacks of its threads, and the allocator's free memory.
const PROGRAM_BYTES: u64 = 8 << 20;

/// TLS handshakes of one core that have begun and are not finished. More wait.
pub(crate) const HALF_OPEN_MAX: usize = 1024;
/// The memory of one: rustls's connection, and what the peer may send by then.
const HANDSHAKE_BYTES: usize = 32 << 10;
/// A core's ciphertext of one write.
pub(crate) const SEALED_BYTES: usize = 64 << 10;
/// A core's read buffer.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// The bytes that a core collects before it flushes, except for the message that fills it.
pub(crate) const TURN_BYTES: usize = 256 << 10;
/// The part of this buffer that is kept from turn to turn.
pub(crate) const TURN_CAPACITY: usize = 1 << 20;
/// The ranges of one turn.
pub(crate) const RANGES_BYTES: usize = 4 << 20;
/// A core's timers.
pub(crate) const TIMERS_BYTES: usize = 64 << 10;
/// A core's inbox.
pub(crate) const INBOX_BYTES: usize = 9 << 20;
/// A batch in flight from one core to another, except for the turn that fills it.
pub(crate) const BATCH_BYTES: usize = 1 << 20;
/// Batches of one link: those in flight, and the one that is being collected.
pub(crate) const LINK_BATCHES: usize = 5;
/// Messages from NATS that wait for one core.
pub(crate) const DOWNLINK_BYTES: usize = 12 << 20;
/// The NATS client's buffers.
pub(crate) const NATS_CLIENT_BYTES: usize = 1 << 20;
/// Questions and answers of operators that wait for NATS.
pub(crate) const NODES_BYTES: usize = 2 << 20;
/// The tokens that a core has verified and keeps.
pub(crate) const TOKEN_CACHE_BYTES: usize = 4 << 20;
/// Publishes of one core that the history's file does not have yet.
pub(crate) const STORE_BYTES: usize = 8 << 20;
#[cfg_attr(not(feature = "admin"), allow(dead_code))]
/// The idempotency keys that the core of `admin` remembers.
pub(crate) const ADMIN_KEYS_BYTES: usize = 2 << 20;
/// The table of addresses, which all cores share.
pub(crate) const ADDRESSES_BYTES: usize = 2 << 20;
/// An upstream worker's memory besides the answer that it reads.
const WORKER_BYTES: u64 = 128 << 10;
/// The timers of a core's history.
const HISTORY_TIMERS: u64 = TIMERS_BYTES as u64;
/// The frames of a run of messages that a core is about to keep.
pub(crate) const HISTORY_RUN_BYTES: usize = 256 << 10;
/// A growing buffer has up to so many times the capacity that it needs.
const GROWTH: u64 = 2;

/// The most memory that a server takes with its [`Plan`], in bytes, part by part. `--check` prints its text.
///
/// It does not include the memory of processors and filters, nor the buffers of sockets whose peers do not read, or send
/// faster than the server reads. The kernel bounds the total of these buffers (`net.ipv4.tcp_mem`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorstCase {
    /// `memory-budget`: bytes that are kept for peers.
    pub kept: u64,
    /// `history-budget`; 0 if no rule for channels has a history.
    pub history: u64,
    /// The rest of `max-connections`, 1 KiB each.
    pub connections: u64,
    /// The kernel's memory for their sockets, 4 KiB each.
    pub sockets: u64,
    /// The cores: their buffers, inboxes, verified tokens, the links between them, TLS handshakes in progress, and the
    /// idempotency keys of `admin`.
    pub cores: u64,
    /// `nats-buffer`, the NATS client, what operators ask other nodes, and the messages that wait for cores; 0 without
    /// `nats`.
    pub nats: u64,
    /// The upstream queue and its workers; 0 without `upstream-allow`.
    pub upstream: u64,
    /// The table of addresses, 2 MiB; 0 without a limit for addresses.
    pub addresses: u64,
    /// The program itself.
    pub program: u64,
    /// The memory that the machine or the cgroup allows this process.
    pub allowed: u64,
    /// The bytes that the kernel keeps for one connection whose peer does not read: twice `send-buffer`, 4 MiB if that is
    /// 0. No other number includes them.
    pub socket_buffer: u64,
    /// The same for a connection that sends faster than the server reads: twice `receive-buffer`, 6 MiB if that is 0.
    pub receive_buffer: u64,
}

/// The most bytes of the history of all channels.
pub(crate) fn history_bytes(config: &Config, memory_budget_bytes: u64) -> u64 {
    config.history_budget_bytes.unwrap_or(memory_budget_bytes / 2)
}

impl WorstCase {
    /// The sum of all parts.
    pub fn total(&self) -> u64 {
        let of_work = [self.cores, self.nats, self.upstream, self.addresses, self.program];
        let parts = [self.kept, self.history, self.connections, self.sockets].into_iter().chain(of_work);
        parts.fold(0, u64::saturating_add)
    }

    /// The worst case of a checked configuration with its plan.
    pub(super) fn of(config: &Config, plan: &Plan) -> Self {
        let (cores, connections) = (plan.cpus.len() as u64, plan.connections_max as u64);
        let message = config.message_bytes_max as u64;
        let turn = GROWTH * (TURN_BYTES as u64 + message);
        let links = (cores - 1) * LINK_BATCHES as u64 * GROWTH * (BATCH_BYTES as u64 + TURN_BYTES as u64 + message);
        let speaks_tls = config.listen.iter().any(Listen::is_tls);
        let tls = if speaks_tls { HALF_OPEN_MAX * HANDSHAKE_BYTES + SEALED_BYTES } else { 0 };
        let tokens = if config.has_tokens() { TOKEN_CACHE_BYTES } else { 0 };
        let core = READ_BYTES + TIMERS_BYTES + TURN_CAPACITY + RANGES_BYTES + INBOX_BYTES + tls + tokens;
        let bridge = NATS_CLIENT_BYTES as u64 + NODES_BYTES as u64;
        let nats = config.nats_buffer_bytes as u64 + bridge + cores * DOWNLINK_BYTES as u64;
        let workers = config.upstream_workers as u64 * (WORKER_BYTES + config.upstream_response_bytes_max as u64);
        let upstream = (Config::UPSTREAM_QUEUE_BYTES_MAX as u64).max(message) + workers;
        let admin = if config.admin.is_empty() { 0 } else { ADMIN_KEYS_BYTES as u64 };
        let history = HISTORY_TIMERS + HISTORY_RUN_BYTES as u64;
        let keeps = config.channels.iter().any(|rule| rule.history.is_some());
        Self {
            kept: plan.memory_budget_bytes,
            history: if keeps { history_bytes(config, plan.memory_budget_bytes) + history * cores } else { 0 },
            connections: connections.saturating_mul(CONNECTION_BYTES),
            sockets: connections.saturating_mul(SOCKET_BYTES),
            cores: cores * (core as u64 + turn + links) + admin,
            nats: if config.nats.is_some() { nats } else { 0 },
            upstream: if config.upstream_allow.is_empty() { 0 } else { upstream },
            addresses: if config.limits_addresses() { ADDRESSES_BYTES as u64 } else { 0 },
            program: PROGRAM_BYTES,
            allowed: plan.memory_bytes,
            socket_buffer: if config.send_buffer_bytes == 0 { 4 << 20 } else { 2 * config.send_buffer_bytes as u64 },
            receive_buffer: if config.receive_buffer_bytes == 0 {
                6 << 20
            } else {
                2 * config.receive_buffer_bytes as u64
            },
        }
    }
}

/// The text of `--check`.
impl fmt::Display for WorstCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.kept, "kept for peers"),
            (self.history, "for the history of channels"),
            (self.connections, "for connections"),
            (self.sockets, "for their sockets"),
            (self.cores, "for cores and links"),
            (self.nats, "for NATS"),
            (self.upstream, "for upstream"),
            (self.addresses, "for addresses"),
            (self.program, "for the program"),
        ];
        write!(f, "at most {} of memory", ByteSize(self.total()))?;
        for (index, (bytes, what)) in parts.into_iter().filter(|&(bytes, _)| bytes > 0).enumerate() {
            write!(f, "{} {} {what}", if index == 0 { ":" } else { "," }, ByteSize(bytes))?;
        }
        let (out, into) = (ByteSize(self.socket_buffer), ByteSize(self.receive_buffer));
        write!(f, "; in addition, the kernel keeps up to {out} for a connection that does not read")?;
        write!(f, ", and {into} for one that sends faster than the server reads")?;
        if self.total() > self.allowed {
            let allowed = ByteSize(self.allowed);
            write!(f, "; {allowed} are allowed here: lower memory-budget or max-connections")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(cores: usize, connections_max: usize, memory_bytes: u64) -> Plan {
        Plan {
            cpus: vec![None; cores],
            connections_max,
            memory_budget_bytes: memory_bytes / 4,
            memory_bytes,
            worst_case: WorstCase::default(),
        }
    }

    #[test]
    fn by_default_one_gigabyte_suffices_for_the_default_number_of_connections() {
        let worst = WorstCase::of(&Config::default(), &plan(1, 131_072, 1 << 30));
        assert_eq!((worst.kept, worst.connections, worst.sockets), (256 << 20, 128 << 20, 512 << 20));
        assert!(worst.total() < 1 << 30, "{worst}");
        let said = worst.to_string();
        for part in ["256.0 MiB kept for peers", "128.0 MiB for connections", "up to 512.0 KiB"] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        assert!(include_str!("../../README.md").contains(&said), "README.md does not have: {said}");
        assert!(!said.contains("allowed") && !said.contains("NATS") && !said.contains("upstream"), "{said}");
    }

    #[test]
    fn a_plan_that_does_not_fit_says_so_and_counts_nats_and_upstream() {
        let config = Config {
            nats: Some("nats://h".into()),
            upstream_allow: vec!["http://h/".to_owned()],
            send_buffer_bytes: 0,
            receive_buffer_bytes: 0,
            ..Config::default()
        };
        let small = WorstCase::of(&config, &plan(1, 1_000_000, 1 << 30));
        let said = small.to_string();
        for part in
            ["23.0 MiB for NATS", "for upstream", "up to 4.0 MiB", "and 6.0 MiB", "1.0 GiB are allowed here: lower"]
        {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        let more_cores = WorstCase::of(&config, &plan(3, 1_000_000, 1 << 30));
        assert!(more_cores.cores > 3 * small.cores, "each core has a link to each other");
        assert_eq!(more_cores.nats, small.nats + (24 << 20));
    }

    #[test]
    fn handshakes_of_each_core_count_if_it_listens_with_tls() {
        let cores = |listen: &str| {
            let config = Config { listen: vec![listen.parse().unwrap()], ..Config::default() };
            WorstCase::of(&config, &plan(2, 1000, 1 << 30)).cores
        };
        let more = cores("tls://0.0.0.0:443") - cores("0.0.0.0:80");
        assert_eq!(more, 2 * ((32 << 20) + (64 << 10)));
    }

    #[test]
    fn the_history_counts_if_a_rule_keeps_one() {
        let of = |config: &Config| WorstCase::of(config, &plan(2, 1000, 1 << 30)).history;
        let rule = || "room.*".parse::<crate::config::ChannelRule>().unwrap();
        assert_eq!(of(&Config { channels: vec![rule()], ..Config::default() }), 0);
        let kept = Config { channels: vec![rule().history(5)], ..Config::default() };
        assert_eq!(of(&kept), (128 << 20) + (640 << 10));
        assert_eq!(of(&Config { history_budget_bytes: Some(1 << 20), ..kept }), (1 << 20) + (640 << 10));
    }

    #[test]
    fn verified_tokens_count_for_each_core() {
        let cores = |config: &Config| WorstCase::of(config, &plan(2, 1000, 1 << 30)).cores;
        let with_tokens = Config { token_key: Some("key".into()), ..Config::default() };
        assert_eq!(cores(&with_tokens), cores(&Config::default()) + (8 << 20));
    }

    #[test]
    fn the_keys_of_admin_count_once() {
        let cores = |config: &Config| WorstCase::of(config, &plan(2, 1000, 1 << 30)).cores;
        let with_admin = Config { admin: vec!["127.0.0.1:9091".parse().unwrap()], ..Config::default() };
        assert_eq!(cores(&with_admin), cores(&Config::default()) + (2 << 20));
    }

    #[test]
    fn no_number_of_connections_is_too_much_to_say() {
        let worst = WorstCase::of(&Config::default(), &plan(1, usize::MAX, 1 << 30));
        assert_eq!(worst.total(), u64::MAX);
        assert!(worst.to_string().contains("are allowed here"));
    }
}

//! `[server]`: where to listen, and the cores.

macro_rules! server_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    section "server" {
        /// where to listen, `ADDR:PORT`, `tls://ADDR:PORT` or `unix:/path`, each on every core ([`Listen`]). Port 0 takes a
        /// free port, one per address. In TOML one text or a list of texts. The default serves this machine alone.
        ///
        /// An address that is in use, or not this machine's, keeps the server from starting.
        listen: Vec<Listen> {
            name: "listen",
            key: "listen",
            unit: Address,
            value: "ADDR",
            default: Value("127.0.0.1:8081"),
            reload: Restart,
            help: "Listen on this address, IP:PORT, with TLS on tls://IP:PORT, or on this Unix socket, unix:/path; may be \
                given several times; port 0 takes a free one. The default serves this machine alone: 0.0.0.0:8081 serves \
                all",
        }

        /// how many cores (threads with an event loop each) to run, 1 to 63 ([`CORES_MAX`](crate::config::CORES_MAX)).
        /// This process may use as many as the smaller of its affinity set and its CPU quota.
        ///
        /// 0, or more than this process may use, keeps the server from starting. Each core costs about 16 file
        /// descriptors and a read buffer. The server pins cores only when they take every CPU of the affinity set: two
        /// servers with `cores = 1` on one machine must not end up on the same CPU.
        cores: Option<usize> {
            name: "cores",
            key: "cores",
            unit: Number,
            value: "N",
            default: Words("as many as this process may use"),
            reload: Restart,
            help: "Run this many cores, a thread with an event loop each",
        }

        /// runs one core pinned to each of these CPUs, instead of `cores`. In TOML a text such as `"0,2"` or `"0-3"`, or
        /// a list of numbers.
        ///
        /// A CPU twice, or one that this process may not use, keeps the server from starting.
        cpu_list: Option<Vec<usize>> {
            name: "cpu-list",
            key: "cpu-list",
            unit: Cpus,
            value: "CPUS",
            default: Unset,
            reload: Restart,
            help: "Run one core pinned to each of these CPUs, such as 0,2 or 0-3, instead of --cores",
        }

        /// the longest time in which a core goes on looking for more work before it sleeps, after something has happened,
        /// in microseconds; at most 10 ms ([`Config::HOLD_CEILING`]). With 0 it always sleeps at once.
        ///
        /// A machine that wakes a sleeping CPU slowly (a virtual one does) answers sooner while the CPU is still awake,
        /// and sending to it takes less work. A core stays awake only while messages follow each other so closely that
        /// the next one probably comes within this time, and wastes at most 2 % of a CPU on those that do not come.
        busy_poll: Duration {
            name: "busy-poll",
            key: "busy-poll",
            unit: Micros,
            value: "MICROS",
            default: Value("50"),
            reload: AtOnce,
            help: "Look for more work for up to this many microseconds before sleeping, while messages follow each other \
                closely: answers come sooner; 0: never",
        }

        /// the time that a core rests between turns while messages come one by one in close succession, so that several
        /// messages share a read and a write, in microseconds; at most 10 ms ([`Config::HOLD_CEILING`]). Zero: never.
        ///
        /// It delays a message by at most this and the system's timer slack, and takes several times less CPU time per
        /// message. A core does not rest before a lone message, and in a ping-pong only for a few trials.
        coalesce: Duration {
            name: "coalesce",
            key: "coalesce",
            unit: Micros,
            value: "MICROS",
            default: Value("50"),
            reload: AtOnce,
            help: "While messages come one by one in close succession, rest for this many microseconds between turns, so \
                that several share a read and a write; 0: never",
        }
    } } };
}

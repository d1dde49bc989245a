//! Every option and limit of a server: its unit, its default, what it costs in memory, and what happens at it.
//!
//! A [`Config`] is plain data. It comes from [`Config::default`], from texts with [`Config::set`], from TOML or another
//! format through serde (the keys are the daemon's flags without the dashes in front; the TOML parser is the program's
//! own), or from a struct literal:
//!
//! ```
//! use lhttp::config::Config;
//!
//! let config = Config { message_bytes_max: 16 * 1024, ..Config::default() };
//! assert!(config.validate().is_ok());
//! ```
//!
//! [`Config::resolve`] lays it over the machine it runs on and gives the [`Plan`]: which CPUs, how many connections,
//! how many bytes.

mod defaults;
mod listen;
mod machine;
pub(crate) mod memory;
mod nats;
mod plan;
mod secrets;
mod set;
mod units;
mod upstream;
mod validate;

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

#[cfg(feature = "nats")]
pub(crate) use self::nats::Login;
pub(crate) use self::plan::{PAGES_CONNECTIONS_MAX, PAGES_RESERVED, RESERVED_PER_CORE};
pub(crate) use self::upstream::is_method;
#[cfg(feature = "upstream")]
pub(crate) use self::upstream::{Allow, Denied, parse_url};
pub use self::{
    listen::Listen,
    machine::raise_fd_limit,
    memory::WorstCase,
    plan::Plan,
    units::{Secret, parse_bytes, parse_cpu_list, parse_duration, parse_micros},
};

/// The port that is listened on unless another is given.
pub const PORT: u16 = 8081;

/// The most cores one server can have: a set of peers is one machine word, and one bit stays free for a bridge.
pub const CORES_MAX: usize = 63;

/// What a server may use, and where its limits are. See the [module](self) for where it comes from.
///
/// In TOML, sizes are bytes or texts such as `"64KiB"`, times are seconds or texts such as `"1m 30s"`. A time that is not
/// zero is at least 1 ms, but for `busy-poll` and `coalesce`. An unknown key is an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// `listen`: where to listen, `ADDR:PORT` or `unix:/path`, each on every core; see [`Listen`]. Port 0 takes a free port,
    /// one per address. In TOML one text or a list of them. Default: `127.0.0.1:8081`, for this machine alone.
    ///
    /// An address that is busy or not this machine's keeps the server from starting.
    #[serde(deserialize_with = "units::listens")]
    pub listen: Vec<Listen>,

    /// `cores`: how many cores (threads with an event loop each) to run, 1 to [`CORES_MAX`]. Default: as many as this
    /// process may use, which is the smaller of its affinity set and its CPU quota.
    ///
    /// 0, or more than this process may use, keeps the server from starting. Each core costs about 16 file descriptors
    /// and a read buffer. Cores are pinned only when they take every CPU of the affinity set: two servers with
    /// `cores = 1` on one machine must not end up on the same CPU.
    pub cores: Option<usize>,

    /// `cpu-list`: run one core pinned to each of these CPUs, instead of `cores`. In TOML a text such as `"0,2"` or
    /// `"0-3"`, or a list of numbers. Default: not set.
    ///
    /// A CPU twice, or one that this process may not use, keeps the server from starting.
    #[serde(deserialize_with = "units::cpu_list")]
    pub cpu_list: Option<Vec<usize>>,

    /// `max-message`: bytes of a whole message, head and body (PROTOCOL.md §1), also of a body sent to `/publish`.
    /// Default: 64 KiB; at most [`Config::MESSAGE_BYTES_CEILING`].
    ///
    /// A connection has at most one unfinished message, so it holds at most this much of its peer's. Past it the
    /// connection is closed with 1009, before the payload is read; an HTTP request gets 413.
    #[serde(rename = "max-message", deserialize_with = "units::bytes")]
    pub message_bytes_max: usize,

    /// `max-head`: bytes of a message's head, from its start line to its empty line. Default: 8 KiB.
    ///
    /// Past it the message is refused with `head-too-big`. Costs nothing of its own: heads are parsed where they lie.
    #[serde(rename = "max-head", deserialize_with = "units::bytes")]
    pub head_bytes_max: usize,

    /// `max-headers`: header lines of one message. Default: 64; at most [`Config::HEADERS_CEILING`].
    ///
    /// Past it the message is refused with `head-too-big`.
    #[serde(rename = "max-headers")]
    pub headers_max: usize,

    /// `max-publish-channels`: channels that one message is published to, each counted once however often it is named.
    /// Default: 32; at most [`Config::PUBLISH_CHANNELS_CEILING`].
    ///
    /// Past it the message is refused with `too-many-channels`, and nothing of it happens; `POST /publish` gets 429, and a
    /// [`Publisher`](crate::Publisher) or processor an error. Costs nothing of its own, and bounds how often one message is
    /// delivered.
    #[serde(rename = "max-publish-channels")]
    pub publish_channels_max: usize,
    /// `max-http-head`: bytes of an HTTP request's head, a handshake's too. Default: 32 KiB; at most
    /// [`Config::HTTP_HEAD_BYTES_CEILING`]. It may have 128 header lines, whatever this is: browsers send all their cookies,
    /// and each proxy adds lines of its own.
    ///
    /// Past either it gets 431, and its connection is closed. A connection whose head is not whole holds up to twice this.
    #[serde(rename = "max-http-head", deserialize_with = "units::bytes")]
    pub http_head_bytes_max: usize,

    /// `max-connections`: connections open at once, over all cores. Default: what file descriptors and memory allow,
    /// see [`Plan::connections_max`].
    ///
    /// Past it a new connection gets `503` with `Retry-After` and is closed, but for one request: each core has 32 places
    /// more, on which it reads one head and serves `GET /healthz` and `POST /publish`. When these are taken too, the oldest of
    /// them gives way. More than the file descriptors allow keeps the server from starting.
    #[serde(rename = "max-connections")]
    pub connections_max: Option<usize>,

    /// `outbox-max`: bytes that wait in one connection's outbox because its peer does not read them. Default: 1 MiB.
    ///
    /// Each stretch that lies together counts 12 bytes more: other channels' messages in between make more of them.
    /// Past it the connection is closed with 1013. What several outboxes wait for is held once, so a stalled audience of
    /// one channel costs its backlog once; a connection whose peer keeps up costs nothing.
    ///
    /// How long it may wait is not limited: a peer that reads nothing answers no pings either, so that `idle-timeout` ends
    /// it, and one that goes on speaking keeps no more than this, until `memory-budget` needs it. A connection that is
    /// being closed has 10 s to take what waits, then it is reset; what is in the kernel by then (`send-buffer`) is given
    /// up when the peer has taken nothing of it for 10 s more.
    #[serde(rename = "outbox-max", deserialize_with = "units::bytes")]
    pub outbox_bytes_max: usize,

    /// `memory-budget`: bytes of messages that the whole process keeps for peers that do not read them, or that have not
    /// been read whole, and of subscriptions. Each core has an equal share. Default: a quarter of the memory that the cgroup
    /// or the machine allows.
    ///
    /// Subscriptions take half of it at most, and a name counts on every core. Past that a subscribing message is refused
    /// with `too-many-subscriptions`, and publishes go on; the last quarter of that half is for connections that hold no more
    /// than a thirty-second of `subscription-bytes`.
    ///
    /// What counts: what waits in outboxes; messages and HTTP requests that are not whole; and on a server with processors
    /// or filters the handshakes that it keeps for them.
    ///
    /// A core over its share closes connections with 1013 (those that have not upgraded, without a word) until nine tenths
    /// of it are kept. First go those for which *bytes × (1 s + age)* is the most. An outbox's bytes are those that
    /// wait for the connection and its part of the memory that cannot be freed while they do; their age is the time
    /// since it began to wait, and a peer that reads a part of what waits takes as large a part off the age. The age of
    /// input is that of its first byte. A handshake that is kept has no age. So one that has just got a burst stays when
    /// another has kept as much for long, and one that reads or sends a byte now and then does not stay young by it.
    #[serde(deserialize_with = "units::bytes_or_none", rename = "memory-budget")]
    pub memory_budget_bytes: Option<u64>,

    /// `max-subscriptions`: channels and patterns that one connection holds. Default: 1000.
    ///
    /// Past it the subscribing message is refused with `too-many-subscriptions`, and nothing of it happens.
    #[serde(rename = "max-subscriptions")]
    pub subscriptions_max: usize,

    /// `subscription-bytes`: bytes of memory that one connection's subscriptions are charged, at most
    /// [`Config::SUBSCRIPTION_BYTES_CEILING`]. Default: 256 KiB.
    ///
    /// A subscription is charged 24 bytes, and its name 96 bytes and its length on each core, whether others are subscribed
    /// to it or not: with two cores 256 bytes for a name of 20. Past it the subscribing message is refused with
    /// `too-many-subscriptions`, and nothing of it happens.
    #[serde(rename = "subscription-bytes", deserialize_with = "units::bytes")]
    pub subscription_bytes_max: usize,

    /// `idle-timeout`: a connection of which nothing was heard for this long, not even a pong, is closed with 1008.
    /// Default: 60 s. Zero: never.
    ///
    /// This and the times below count while the server runs: not while its process, its container or its machine is
    /// stopped. With pings a connection is closed only if it has had a ping for `idle-timeout` less `ping-interval`.
    #[serde(deserialize_with = "units::duration")]
    pub idle_timeout: Duration,

    /// `ping-interval`: a connection of which nothing was heard for this long gets a ping, so that a living peer's pong
    /// keeps it (and the path to it) open. Default: 25 s. Zero: no pings.
    ///
    /// It must be shorter than `idle-timeout` when both are on.
    #[serde(deserialize_with = "units::duration")]
    pub ping_interval: Duration,

    /// `handshake-timeout`: how long a new connection has until its first request is whole, and an HTTP request from its
    /// first byte until its body is, however steadily it comes. Default: 10 s; never zero.
    ///
    /// Past it the connection is closed, with 408 if a request has begun.
    #[serde(deserialize_with = "units::duration")]
    pub handshake_timeout: Duration,

    /// `message-timeout`: how long a WebSocket message has from its first byte until it is whole, in however many frames
    /// and whatever comes between them. Default: 30 s. Zero: never.
    ///
    /// Past it the connection is closed with 1008 `message-timeout`. While a connection waits for a congested link, which
    /// is our fault, the time stands still.
    #[serde(deserialize_with = "units::duration")]
    pub message_timeout: Duration,
    /// `http-keep-alive`: an HTTP connection that has had an answer is closed when it does not begin its next request within
    /// this time. Default: 75 s, which is more than proxies keep theirs for. Zero: never.
    ///
    /// A WebSocket has `idle-timeout` instead.
    #[serde(rename = "http-keep-alive", deserialize_with = "units::duration")]
    pub http_keep_alive: Duration,

    /// `drain`: how long a stopping server goes on flushing its outboxes, and sending the upstream requests that it has
    /// accepted. Default: 10 s. Zero: it stops at once.
    ///
    /// What is not flushed or sent by then is lost.
    #[serde(rename = "drain", deserialize_with = "units::duration")]
    pub drain_timeout: Duration,

    /// `busy-poll`: how long a core goes on looking for more after something has happened before it sleeps, in
    /// microseconds. Default: 0, it sleeps at once.
    ///
    /// A machine that wakes a sleeping CPU slowly (a virtual one does) answers sooner when it is still awake, and whoever
    /// sends to it has less to do. The price is up to this much CPU time after each burst of activity; on a single CPU it
    /// is taken from the machine's other programs.
    #[serde(deserialize_with = "units::micros")]
    pub busy_poll: Duration,

    /// `coalesce`: how long a core rests between turns while messages come one by one in close succession, so that several
    /// share a read and a write, in microseconds. Default: 50. Zero: never.
    ///
    /// It adds at most this and the system's timer slack to a message's way, and takes several times less CPU time for it.
    /// Before a lone message there is no rest, and in a ping-pong but for a few trials.
    #[serde(deserialize_with = "units::micros")]
    pub coalesce: Duration,

    /// `send-buffer`: bytes that the kernel keeps for one connection whose peer does not read, beside its outbox.
    /// Default: 256 KiB; the kernel takes up to twice that for its own accounting, and no more than its
    /// `net.core.wmem_max`. Zero: the kernel decides, and takes up to 4 MiB.
    ///
    /// It bounds how fast one connection can be sent to, at one buffer a round trip.
    #[serde(rename = "send-buffer", deserialize_with = "units::bytes")]
    pub send_buffer_bytes: usize,

    /// `receive-buffer`: bytes that the kernel keeps for one connection that sends more than is read. Default: 512 KiB; the
    /// kernel takes up to twice that for its own accounting, and no more than its `net.core.rmem_max`. Zero: the kernel
    /// decides, and takes up to 6 MiB or more (`net.ipv4.tcp_rmem`). Unix sockets have none: what their peers send waits
    /// in the peers' own buffers.
    ///
    /// It bounds how fast one connection can send, at one buffer a round trip.
    #[serde(rename = "receive-buffer", deserialize_with = "units::bytes")]
    pub receive_buffer_bytes: usize,

    /// `publish-key`: `POST /publish` then wants `Authorization: Bearer KEY`: 401 without it, 403 with another. Visible
    /// ASCII. Default: not set, everyone who reaches the port may publish, unless the server has filters (see
    /// [`Builder::publish_past_filters`](crate::Builder::publish_past_filters)).
    ///
    /// It guards `POST /publish` and nothing else: WebSocket clients publish and subscribe without it.
    pub publish_key: Option<Secret>,

    /// `nats`: the URLs of the NATS servers that connect this node to others (PROTOCOL.md §7), separated by commas:
    /// `[nats://|tls://][user:password@|token@]host[:port]`, the port is 4222 unless given. Default: not set, this node is
    /// alone.
    ///
    /// Each channel and pattern with a subscriber on this node costs 250 bytes more than without. NATS is asked for one per 2 KiB of `memory-budget`; past that for wider patterns, and what they bring that nobody
    /// wants is dropped here.
    ///
    /// Any one of them is connected to, or one that they tell of; the server starts and serves its own clients when none is
    /// there. With `tls://`, in all of them or in none, every connection is TLS. A URL that is none keeps the server from
    /// starting, as does a build without the cargo feature `nats`.
    pub nats: Option<Secret>,

    /// `nats-creds`: the credentials file (a user JWT and its NKey seed) to log in with. Default: not set.
    ///
    /// It is read again at each connection. One that cannot be used keeps the server from starting; later what was read last
    /// is used then.
    pub nats_creds: Option<PathBuf>,

    /// `nats-nkey`: a file that holds the NKey seed to log in with. Default: not set.
    pub nats_nkey: Option<PathBuf>,

    /// `nats-user`: the name to log in with, beside `nats-password-file`. Default: not set.
    pub nats_user: Option<String>,

    /// `nats-password-file`: a file whose first line is the password of `nats-user`. Default: not set.
    pub nats_password_file: Option<PathBuf>,

    /// `nats-tls-ca`: a PEM file with the certificates of the authorities that the NATS servers' are checked against; the
    /// connection must be TLS then. Default: not set, the system's authorities, for servers that want TLS.
    pub nats_tls_ca: Option<PathBuf>,

    /// `nats-tls-cert` and `nats-tls-key`: PEM files with this node's certificate and its key, for servers that demand one;
    /// with them the node speaks nothing but TLS. They are read again at each connection. Default: not set.
    pub nats_tls_cert: Option<PathBuf>,

    /// `nats-tls-key`: see `nats-tls-cert`.
    pub nats_tls_key: Option<PathBuf>,

    /// `nats-tls-first`: TLS begins before the server says anything, as its `handshake_first` wants it. Default: no.
    pub nats_tls_first: bool,

    /// `nats-prefix`: at NATS all channels of this node are below this prefix, of one or more tokens: with `app`, the channel
    /// `room` has the subject `app.room`. Default: not set, the subject is the channel.
    pub nats_prefix: Option<String>,

    /// `nats-buffer`: bytes of publishes that wait for NATS, over all cores, while it is away or slow. Default: 8 MiB; at
    /// least [`Config::NATS_BUFFER_BYTES_MIN`] and twice `max-message`.
    ///
    /// When it does not fit, the channel that takes the most loses its oldest messages, counted in [`Stats`](crate::Stats). A message counts as it is, with its
    /// channel's name, and at most 84 bytes more; a core leaves at most 16 KiB and a message of this unused. Beside it the
    /// NATS client has up to 1 MiB at hand, and for a moment up to 4 MiB may wait for the bridge's thread.
    #[serde(rename = "nats-buffer", deserialize_with = "units::bytes")]
    pub nats_buffer_bytes: usize,

    /// `upstream-allow`: the URLs that the `upstream` header may name (PROTOCOL.md §5): those below one of these,
    /// `http[s]://host[:port][/path]`, where scheme, host and port are compared as what they mean and the path by whole
    /// segments. Methods may stand before it: `GET,PUT http://host/path`; else it may be asked with GET, HEAD and POST. In
    /// TOML one text or a list of them. Default: none, every `upstream` is refused with 403, as is another method.
    ///
    /// A prefix that is none keeps the server from starting, as does any in a build without the cargo feature `upstream`,
    /// and `https` without `tls`.
    #[serde(deserialize_with = "units::texts")]
    pub upstream_allow: Vec<String>,

    /// `upstream-workers`: threads that send these requests, so many at once at most, 1 to
    /// [`Config::UPSTREAM_WORKERS_CEILING`]. Default: 16. Without `upstream-allow` there are none.
    ///
    /// Each costs a thread, two file descriptors, 32 KiB of buffers, and up to `upstream-response-max` while it is at work.
    /// A request waits while its server has its part: where the prefixes name several servers (scheme, host and port), one
    /// has at most half of the workers, and so many that each other server still finds one. So have at least as many workers
    /// as servers, and twice as many for the rule to hold for all of them.
    pub upstream_workers: usize,

    /// `upstream-queue`: requests that wait for a worker, over all cores, 1 to [`Config::UPSTREAM_QUEUE_CEILING`]. Default:
    /// 1024. They hold their messages, [`Config::UPSTREAM_QUEUE_BYTES_MAX`] of them at most. Who may have how many, so that
    /// others still get in, in places and in bytes alike:
    ///
    /// - One connection may have one waiting, and more while these are at most a quarter of what is left free: so 205 of an
    ///   empty queue of 1024.
    /// - All connections of one address (of one /64 network in IPv6) may have one waiting, and more while these are at most
    ///   half of what other addresses leave: so 512. Connections over a Unix socket have no address. Behind a proxy all
    ///   clients have the proxy's.
    /// - The last quarter of the queue, and of an address's half, is for connections that have nothing waiting.
    ///
    /// Past any of these the sender gets error 503 `upstream-busy`, and the rest of its message is carried out; counted as
    /// `upstream_busy` and `upstream_over_share` in [`Stats`](crate::Stats).
    #[serde(rename = "upstream-queue")]
    pub upstream_queue_max: usize,

    /// `upstream-timeout`: how long one request may take with its whole answer, redirects included, once a worker has begun
    /// it. Default: 10 s; never zero. A time in which this process was stopped, or its machine, counts for 0.5 s at most
    /// while an answer is waited for, and an answer that came by then is taken.
    ///
    /// Past it the sender gets error 504 `upstream-timeout`.
    #[serde(deserialize_with = "units::duration")]
    pub upstream_timeout: Duration,

    /// `upstream-response-max`: bytes of the body of an answer that is sent to the client. Default: 256 KiB. It must leave
    /// 1 KiB of `outbox-max` for the head.
    ///
    /// Past it the client gets error 502 `upstream-failed` instead.
    #[serde(rename = "upstream-response-max", deserialize_with = "units::bytes")]
    pub upstream_response_bytes_max: usize,
}

#[cfg(test)]
mod tests;

//! `[limits]`: what one message, one connection and all of them together may take.

macro_rules! limits_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    section "limits" {
        /// bytes of a whole message, head and body (PROTOCOL.md §1), also of a body sent to `/publish`; at most 1 GiB
        /// ([`Config::MESSAGE_BYTES_CEILING`]).
        ///
        /// A connection has at most one unfinished message, so it holds at most this much of its peer's. Past it the
        /// connection is closed with 1009, before the payload is read; an HTTP request gets 413.
        message_bytes_max: usize {
            name: "max-message",
            key: "max-message",
            unit: Size,
            value: "SIZE",
            default: Value("64KiB"),
            reload: Restart, // publishers of other threads hold a copy of it
            help: "Most bytes of one message, head and body; past it the connection is closed with 1009",
        }

        /// bytes of a message's head, from its start line to its empty line; at most `max-message`.
        ///
        /// Past it the message is refused with `head-too-big`. Costs nothing of its own: heads are parsed where they lie.
        head_bytes_max: usize {
            name: "max-head",
            key: "max-head",
            unit: Size,
            value: "SIZE",
            default: Value("8KiB"),
            reload: AtOnce,
            help: "Most bytes of a message's head; past it the message is refused",
        }

        /// header lines of one message; at most 1024 ([`Config::HEADERS_CEILING`]).
        ///
        /// Past it the message is refused with `head-too-big`. Costs nothing of its own.
        headers_max: usize {
            name: "max-headers",
            key: "max-headers",
            unit: Number,
            value: "N",
            default: Value("64"),
            reload: AtOnce,
            help: "Most headers of one message; past it the message is refused",
        }

        /// channels that one message is published to, each counted once however often it is named; at most 1024
        /// ([`Config::PUBLISH_CHANNELS_CEILING`]).
        ///
        /// Past it the message is refused with `too-many-channels`, and nothing of it happens; `POST /publish` gets 429, and a
        /// [`Publisher`](crate::Publisher) or processor an error. Costs nothing of its own, and bounds how often one message
        /// is delivered.
        publish_channels_max: usize {
            name: "max-publish-channels",
            key: "max-publish-channels",
            unit: Number,
            value: "N",
            default: Value("32"),
            reload: AtOnce,
            help: "Most channels in publish of one message; past it the message is refused",
        }

        /// connections open at once, over all cores. The default is the smaller of what the limit of open files leaves and one
        /// for every 8 KiB of the memory allowed, see [`Plan::connections_max`](crate::config::Plan::connections_max).
        ///
        /// Past it a new connection gets `503` with `Retry-After` and is closed, but for one request: each core has 32 places
        /// more, on which it reads one head and serves `GET /healthz` and `POST /publish`. When these are taken too, the
        /// oldest of them gives way. More than the file descriptors allow keeps the server from starting. An idle connection
        /// costs 0.25 KB here and 4 KB in the kernel.
        connections_max: Option<usize> {
            name: "max-connections",
            key: "max-connections",
            unit: Number,
            value: "N",
            default: Words("what open files and memory allow"),
            reload: AtOnce,
            help: "Most connections at once; past it new ones get 503, but for /healthz and POST /publish",
        }

        /// bytes that wait in one connection's outbox because its peer does not read them; at least a message of `max-message`
        /// and 10 bytes.
        ///
        /// Each stretch that lies together counts 12 bytes more: other channels' messages in between make more of them.
        /// Past it the connection is closed with 1013. What several outboxes wait for is held once, so a stalled audience of
        /// one channel costs its backlog once; a connection whose peer keeps up costs nothing.
        ///
        /// How long it may wait is not limited: a peer that reads nothing answers no pings either, so that `idle-timeout`
        /// ends it, and one that goes on speaking keeps no more than this, until `memory-budget` needs it. A connection that
        /// is being closed has 10 s to take what waits, then it is reset; what is in the kernel by then (`send-buffer`) is
        /// given up when the peer has taken nothing of it for 10 s more.
        outbox_bytes_max: usize {
            name: "outbox-max",
            key: "outbox-max",
            unit: Size,
            value: "SIZE",
            default: Value("1MiB"),
            reload: AtOnce,
            help: "Most bytes that wait for one connection's peer to read; past it the connection is closed with 1013",
        }

        /// bytes of messages that the whole process keeps for peers that do not read them, or that have not been read whole,
        /// and of subscriptions. Each core has an equal share. The memory allowed is that of the cgroup or the machine.
        ///
        /// Subscriptions take half of it at most, and a name counts on every core. Past that a subscribing message is refused
        /// with `too-many-subscriptions`, and publishes go on; the last quarter of that half is for connections that hold no
        /// more than a thirty-second of `subscription-bytes`.
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
        memory_budget_bytes: Option<u64> {
            name: "memory-budget",
            key: "memory-budget",
            unit: Size,
            value: "SIZE",
            default: Words("a quarter of the memory allowed"),
            reload: AtOnce,
            help: "Most bytes that wait in the whole process, and of subscriptions, which are half of it at most; past it the \
                worst connections are closed with 1013, and subscribes are refused",
        }

        /// channels and patterns that one connection holds.
        ///
        /// Past it the subscribing message is refused with `too-many-subscriptions`, and nothing of it happens. What they cost
        /// in memory is bounded by `subscription-bytes`.
        subscriptions_max: usize {
            name: "max-subscriptions",
            key: "max-subscriptions",
            unit: Number,
            value: "N",
            default: Value("1000"),
            reload: AtOnce,
            help: "Most channels and patterns that one connection subscribes to; past it a subscribe is refused",
        }

        /// bytes of memory that one connection's subscriptions are charged; at most 1 GiB
        /// ([`Config::SUBSCRIPTION_BYTES_CEILING`]).
        ///
        /// A subscription is charged 24 bytes, and its name 96 bytes and its length on each core, whether others are
        /// subscribed to it or not: with two cores 256 bytes for a name of 20. Past it the subscribing message is refused
        /// with `too-many-subscriptions`, and nothing of it happens.
        subscription_bytes_max: usize {
            name: "subscription-bytes",
            key: "subscription-bytes",
            unit: Size,
            value: "SIZE",
            default: Value("256KiB"),
            reload: AtOnce,
            help: "Most bytes that one connection's subscriptions take, each name counted on every core; past it a subscribe is \
                refused",
        }

        /// bytes that the kernel keeps for one connection whose peer does not read, beside its outbox. The kernel takes up to
        /// twice that for its own accounting, and no more than its `net.core.wmem_max`. Zero: the kernel decides, and takes
        /// up to 4 MiB.
        ///
        /// It bounds how fast one connection can be sent to, at one buffer a round trip.
        send_buffer_bytes: usize {
            name: "send-buffer",
            key: "send-buffer",
            unit: Size,
            value: "SIZE",
            default: Value("256KiB"),
            reload: Restart, // accepted sockets inherit it from the listener's
            help: "Bytes that the kernel keeps for one connection whose peer does not read; 0 lets it decide",
        }

        /// bytes that the kernel keeps for one connection that sends more than is read. The kernel takes up to twice that for
        /// its own accounting, and no more than its `net.core.rmem_max`. Zero: the kernel decides, and takes up to 6 MiB or
        /// more (`net.ipv4.tcp_rmem`). Unix sockets have none: what their peers send waits in the peers' own buffers.
        ///
        /// It bounds how fast one connection can send, at one buffer a round trip.
        receive_buffer_bytes: usize {
            name: "receive-buffer",
            key: "receive-buffer",
            unit: Size,
            value: "SIZE",
            default: Value("512KiB"),
            reload: Restart, // as send-buffer
            help: "Bytes that the kernel keeps for one connection that sends more than is read; 0 lets it decide",
        }
    } } };
}

//! `[limits]`: what one message, one connection and all connections together may take.

macro_rules! limits_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    section "limits" {
        /// bytes of a whole message, head and body (PROTOCOL.md §1), and of a body sent to `/publish`; at most 1 GiB
        /// ([`Config::MESSAGE_BYTES_CEILING`]).
        ///
        /// A connection has at most one unfinished message, so it holds at most this many bytes of its peer's input. Past
        /// the limit the connection is closed with 1009 before the payload is read; an HTTP request gets 413.
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
        /// Past it the message is refused with `head-too-big`. The limit itself costs nothing: the server parses heads in
        /// place.
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
        /// Past it the message is refused with `head-too-big`. The limit itself costs nothing.
        headers_max: usize {
            name: "max-headers",
            key: "max-headers",
            unit: Number,
            value: "N",
            default: Value("64"),
            reload: AtOnce,
            help: "Most headers of one message; past it the message is refused",
        }

        /// channels that one message is published to; a channel that is named several times counts once. At most 1024
        /// ([`Config::PUBLISH_CHANNELS_CEILING`]).
        ///
        /// A message past it is refused as a whole with `too-many-channels`; `POST /publish` gets 429, and a
        /// [`Publisher`](crate::Publisher) or processor gets an error. The limit itself costs nothing. It bounds how
        /// often one message is delivered.
        publish_channels_max: usize {
            name: "max-publish-channels",
            key: "max-publish-channels",
            unit: Number,
            value: "N",
            default: Value("32"),
            reload: AtOnce,
            help: "Most channels that one message goes to; past it the message is refused",
        }

        /// connections open at once, over all cores. The default is the smaller of two numbers: the connections that the
        /// limit of open files allows, and one for every 8 KiB of the memory allowed, see
        /// [`Plan::connections_max`](crate::config::Plan::connections_max).
        ///
        /// Past it a new connection gets `503` with `Retry-After` and is closed, with one exception: each core has 32
        /// more places. There it reads one head, and serves `GET /healthz` and `POST /publish`. When these places are
        /// taken too, the oldest of them is closed. A limit higher than the file descriptors allow keeps the server from
        /// starting. An idle connection costs 0.25 KB here and 4 KB in the kernel.
        connections_max: Option<usize> {
            name: "max-connections",
            key: "max-connections",
            unit: Number,
            value: "N",
            default: Words("as many as open files and memory allow"),
            reload: AtOnce,
            help: "Most connections at once; past it new ones get 503, except for /healthz and POST /publish",
        }

        /// bytes that wait in one connection's outbox because its peer does not read them; at least a message of
        /// `max-message` and 10 bytes.
        ///
        /// Each contiguous stretch counts 12 bytes more, and messages of other channels in between split the backlog into
        /// more stretches. Past the limit the connection is closed with 1013; for answers over HTTP it is at least 1 MiB.
        /// Bytes that wait in several outboxes are held once, so a stalled audience of one channel costs its backlog once.
        /// A connection whose peer keeps up costs nothing.
        ///
        /// The time that bytes wait is not limited. A peer that reads nothing answers no pings, so `idle-timeout` closes
        /// its connection. A peer that does not read but goes on sending holds no more than this limit, until
        /// `memory-budget` needs the memory. A connection that is being closed has 10 s to send its backlog, then it is
        /// reset; the bytes that are in the kernel by then (`send-buffer`) are dropped when the peer has taken none of
        /// them for another 10 s.
        outbox_bytes_max: usize {
            name: "outbox-max",
            key: "outbox-max",
            unit: Size,
            value: "SIZE",
            default: Value("1MiB"),
            reload: AtOnce,
            help: "Most bytes that wait for one connection's peer to read; past it the connection is closed with 1013",
        }

        /// bytes that the whole process keeps for unread messages, for incomplete input and for subscriptions. Each core
        /// has an equal share. The memory allowed is that of the cgroup or the machine.
        ///
        /// Subscriptions take at most half of it, and a name counts on every core. Past that half a subscribing message
        /// is refused with `too-many-subscriptions`, and publishes go on. The last quarter of that half is for
        /// connections that hold no more than a thirty-second of `subscription-bytes`.
        ///
        /// Three things count as messages and input: bytes that wait in outboxes; incomplete messages and HTTP requests;
        /// and, on a server with processors or filters, the handshakes that it keeps for them.
        ///
        /// A core over its share closes connections until it is down to nine tenths of its share. It closes a WebSocket
        /// with 1013, and any other connection without a word. First go the connections with the highest *bytes × (1 s +
        /// age)*. An outbox's bytes are the bytes that wait for the connection, and its part of the memory that these
        /// bytes keep from being freed. An outbox's age is the time since it began to wait; when the peer reads a part of
        /// the backlog, the age shrinks by the same part. The age of input is that of its first byte. A handshake that is
        /// kept has no age. So a connection with a new burst stays, while one that has kept as much for a long time goes,
        /// and reading or sending a byte now and then does not make a connection young.
        memory_budget_bytes: Option<u64> {
            name: "memory-budget",
            key: "memory-budget",
            unit: Size,
            value: "SIZE",
            default: Words("a quarter of the memory allowed"),
            reload: AtOnce,
            help: "Most bytes that the whole process keeps for unread messages, incomplete input and subscriptions, with at \
                most half for subscriptions; past it the worst connections are closed with 1013, and subscribes are refused",
        }

        /// channels and patterns that one connection holds.
        ///
        /// A subscribing message past it is refused as a whole with `too-many-subscriptions`. `subscription-bytes` bounds
        /// their memory.
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
        /// A subscription is charged 24 bytes. Its name is charged 96 bytes and its length on each core, even if others
        /// are subscribed to it: with two cores, a subscription to a name of 20 bytes is charged 256 bytes. A subscribing
        /// message past the limit is refused as a whole with `too-many-subscriptions`.
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

        /// bytes that the kernel keeps for one connection whose peer does not read, in addition to its outbox. The kernel
        /// takes up to twice that for its own accounting, and no more than its `net.core.wmem_max`. Zero: the kernel
        /// decides, and takes up to 4 MiB. Of all that at most 64 KiB are bytes that are not sent (`TCP_NOTSENT_LOWAT`):
        /// the rest waits in the outbox, where all connections share it.
        ///
        /// It bounds the speed at which the server sends to one connection: one buffer a round trip.
        send_buffer_bytes: usize {
            name: "send-buffer",
            key: "send-buffer",
            unit: Size,
            value: "SIZE",
            default: Value("256KiB"),
            reload: Restart, // accepted sockets inherit it from the listener's
            help: "Bytes that the kernel keeps for one connection whose peer does not read; 0: the kernel decides",
        }

        /// bytes that the kernel keeps for one connection that sends faster than the server reads. The kernel takes up to
        /// twice that for its own accounting, and no more than its `net.core.rmem_max`. Zero: the kernel decides, and
        /// takes up to 6 MiB or more (`net.ipv4.tcp_rmem`). Unix sockets have no such buffer: their peers' bytes wait in
        /// the peers' own buffers.
        ///
        /// It bounds the speed at which one connection sends: one buffer a round trip.
        receive_buffer_bytes: usize {
            name: "receive-buffer",
            key: "receive-buffer",
            unit: Size,
            value: "SIZE",
            default: Value("512KiB"),
            reload: Restart, // as send-buffer
            help: "Bytes that the kernel keeps for one connection that sends faster than the server reads; 0: the kernel \
                decides",
        }
    } } };
}

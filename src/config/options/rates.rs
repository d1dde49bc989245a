//! `[rates]`: how often. Each rate is a bucket that holds one second of it.

macro_rules! rates_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    section "rates" {
        /// messages a second that one connection sends, and posts to `/publish` without a publish key; zero: no limit. After
        /// a pause it may send as many at once. At most one billion ([`Config::RATE_CEILING`]).
        ///
        /// A message past it is refused with 429 `rate-limited`, and a post with 429; both say in `retry-after` after how
        /// many seconds the next one is accepted. Refused messages do not count, so that a client that waits goes on at its
        /// rate. A connection that sends at ten times the rate is closed with 1008 `rate-limited`; its control frames count
        /// there, too. While a rate is set, each connection takes 64 bytes more.
        message_rate: usize {
            name: "message-rate",
            key: "message",
            unit: Number,
            value: "N",
            default: Value("0"),
            reload: AtOnce,
            help: "Most messages a second of one connection; past it they are refused with 429, at ten times as many the \
                connection is closed with 1008; 0: no limit",
        }

        /// bytes of messages a second that one connection sends, heads and bodies; zero: no limit. After a pause it may send
        /// as many at once. At most one billion ([`Config::RATE_CEILING`]).
        ///
        /// It acts as `message-rate` does. A message that begins within the limit is accepted whole, so `max-message` may be
        /// larger than this; the connection then waits for longer.
        byte_rate: usize {
            name: "byte-rate",
            key: "byte",
            unit: Size,
            value: "SIZE",
            default: Value("0"),
            reload: AtOnce,
            help: "Most bytes of messages a second of one connection; it acts as --message-rate; 0: no limit",
        }

        /// names a second that one connection subscribes to; zero: no limit. At most one billion
        /// ([`Config::RATE_CEILING`]).
        ///
        /// It acts as `message-rate` does. A message that begins within the limit is accepted with all of its names.
        /// Subscriptions that processors make for a connection do not count.
        subscribe_rate: usize {
            name: "subscribe-rate",
            key: "subscribe",
            unit: Number,
            value: "N",
            default: Value("0"),
            reload: AtOnce,
            help: "Most channels and patterns a second that one connection subscribes to; it acts as --message-rate; 0: no \
                limit",
        }

        /// connections a second from one address, over all cores; in IPv6 from one /64, which is one customer's. Zero: no
        /// limit. At most one billion ([`Config::RATE_CEILING`]).
        ///
        /// A connection past it gets 429 before anything of it is read, and is closed. If a trusted proxy tells addresses
        /// by a header (`proxy-header`), each handshake and each post to `/publish` that it forwards counts as a connection
        /// of the client. Many people may share an address: leave room for an office that comes back at once. The table of
        /// addresses takes 2 MiB, and has room for 131,072. A new address takes the place of one without a connection. If all
        /// have one, the new address has no limit: `addresses_untracked` counts these.
        connect_rate: usize {
            name: "connect-rate",
            key: "connect",
            unit: Number,
            value: "N",
            default: Value("0"),
            reload: AtOnce,
            help: "Most connections a second from one address, or one /64 of IPv6; past it they get 429; 0: no limit",
        }

        /// connections open at once from one address, over all cores; in IPv6 from one /64. Zero: no limit.
        ///
        /// A connection past it gets 429 before anything of it is read, and is closed. Behind a trusted proxy that tells
        /// addresses by a header only WebSockets count. The table is that of `connect-rate`. Connections that are open when a
        /// reload sets the first of these two limits are not counted.
        address_connections: usize {
            name: "address-connections",
            key: "address-connections",
            unit: Number,
            value: "N",
            default: Value("0"),
            reload: AtOnce,
            help: "Most connections at once from one address, or one /64 of IPv6; past it they get 429; 0: no limit",
        }
    } } };
}

//! `[timeouts]`: how long a connection may be silent, and how long each of its steps may take.

macro_rules! timeouts_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    section "timeouts" {
        /// a connection of which nothing was heard for this long, not even a pong, is closed with 1008. Zero: never.
        ///
        /// This and the other times count while the server runs: not while its process, its container or its machine is
        /// stopped. With pings a connection is closed only if it has had a ping for `idle-timeout` less `ping-interval`.
        idle_timeout: Duration {
            name: "idle-timeout",
            key: "idle",
            unit: Time,
            value: "TIME",
            default: Value("60s"),
            reload: AtOnce,
            help: "Close a connection that is silent for this long; 0 never does",
        }

        /// a connection of which nothing was heard for this long gets a ping, so that a living peer's pong keeps it (and the
        /// path to it) open. Zero: no pings.
        ///
        /// It must be shorter than `idle-timeout` when both are on.
        ping_interval: Duration {
            name: "ping-interval",
            key: "ping-interval",
            unit: Time,
            value: "TIME",
            default: Value("25s"),
            reload: AtOnce,
            help: "Ping a connection that is silent for this long; 0 never does",
        }

        /// how long a new connection has until its first request is whole, and an HTTP request from its first byte until its
        /// body is, however steadily it comes. Never zero.
        ///
        /// Past it the connection is closed, with 408 if a request has begun.
        handshake_timeout: Duration {
            name: "handshake-timeout",
            key: "handshake",
            unit: Time,
            value: "TIME",
            default: Value("10s"),
            reload: AtOnce,
            help: "Close a new connection whose first request is not whole after this long",
        }

        /// how long a WebSocket message has from its first byte until it is whole, in however many frames and whatever comes
        /// between them. Zero: never.
        ///
        /// Past it the connection is closed with 1008 `message-timeout`. While a connection waits for a congested link, which
        /// is our fault, the time stands still.
        message_timeout: Duration {
            name: "message-timeout",
            key: "message",
            unit: Time,
            value: "TIME",
            default: Value("30s"),
            reload: AtOnce,
            help: "Close a connection whose message is not whole this long after its first byte; 0 never does",
        }

        /// how long a stopping server goes on flushing its outboxes, and sending the upstream requests that it has accepted.
        /// Zero: it stops at once.
        ///
        /// What is not flushed or sent by then is lost.
        drain_timeout: Duration {
            name: "drain",
            key: "drain",
            unit: Time,
            value: "TIME",
            default: Value("10s"),
            reload: AtOnce,
            help: "When stopping, go on sending what waits for at most this long",
        }
    } } };
}

//! `[timeouts]`: how long a connection may be silent, and how long each of its steps may take.

macro_rules! timeouts_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    section "timeouts" {
        /// closes a connection with 1008 when the peer has sent nothing for this long, not even a pong. Zero: never.
        ///
        /// This and the other times count while the server runs: they stand still while its process, its container or its
        /// machine is stopped. With pings on, a connection is closed only if a ping has been unanswered for
        /// `idle-timeout` minus `ping-interval`.
        idle_timeout: Duration {
            name: "idle-timeout",
            key: "idle",
            unit: Time,
            value: "TIME",
            default: Value("60s"),
            reload: AtOnce,
            help: "Close a connection that is silent for this long; 0: never",
        }

        /// sends a ping when the peer has sent nothing for this long. A living peer's pong keeps the connection, and the
        /// path to it, open. Zero: no pings.
        ///
        /// It must be shorter than `idle-timeout` when both are on.
        ping_interval: Duration {
            name: "ping-interval",
            key: "ping-interval",
            unit: Time,
            value: "TIME",
            default: Value("25s"),
            reload: AtOnce,
            help: "Ping a connection that is silent for this long; 0: never",
        }

        /// the time in which a new connection must complete its first request. An HTTP request has the same time from its
        /// first byte to the last of its body, however steadily it comes. Never zero.
        ///
        /// Past it the connection is closed, with 408 if a request has begun.
        handshake_timeout: Duration {
            name: "handshake-timeout",
            key: "handshake",
            unit: Time,
            value: "TIME",
            default: Value("10s"),
            reload: AtOnce,
            help: "Close a new connection whose first request is incomplete after this long",
        }

        /// the time from the first byte of a WebSocket message to its last, in however many frames, and with whatever
        /// comes between them. Zero: never.
        ///
        /// Past it the connection is closed with 1008 `message-timeout`. The time stands still while a connection waits
        /// for a congested link, because that is the server's fault.
        message_timeout: Duration {
            name: "message-timeout",
            key: "message",
            unit: Time,
            value: "TIME",
            default: Value("30s"),
            reload: AtOnce,
            help: "Close a connection whose message is incomplete this long after its first byte; 0: never",
        }

        /// the time for which a server that gets SIGTERM first serves and accepts as before, while `/healthz` answers 503.
        /// It should be longer than a load balancer takes to notice that. Zero: none. SIGINT has no delay.
        ///
        /// `drain` begins after it.
        drain_delay: Duration {
            name: "drain-delay",
            key: "drain-delay",
            unit: Time,
            value: "TIME",
            default: Value("0s"),
            reload: AtOnce,
            help: "When stopping, first serve on for this long while /healthz answers 503; 0: not at all",
        }

        /// the time in which a stopping server closes its clients' connections, flushes its outboxes, and sends the
        /// upstream requests that it has accepted. The closes are spread evenly over three quarters of it, or over 5 ms
        /// for each client of a core if that is less. Zero: it stops at once.
        ///
        /// Whatever is not flushed or sent by then is lost.
        drain_timeout: Duration {
            name: "drain",
            key: "drain",
            unit: Time,
            value: "TIME",
            default: Value("10s"),
            reload: AtOnce,
            help: "When stopping, take at most this long to close the connections and to send the backlog",
        }
    } } };
}

//! `[upstream]`: the proxy to HTTP servers (PROTOCOL.md §5).

macro_rules! upstream_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    // All of these need a restart: the requests in the queue were checked against them.
    section "upstream" {
        /// the prefixes of URLs that the `upstream` header may name (PROTOCOL.md §5), each
        /// `http[s]://host[:port][/path]`. Scheme, host and port are compared by their meaning, the path by whole
        /// segments. Methods may stand before the prefix: `GET,PUT http://host/path`; without them it allows GET, HEAD
        /// and POST. In TOML one text or a list of texts. Any other URL or method is refused with 403.
        ///
        /// An invalid prefix keeps the server from starting, and so does any prefix in a build without the cargo feature
        /// `upstream`, or an `https` prefix without `tls`.
        upstream_allow: Vec<String> {
            name: "upstream-allow",
            key: "allow",
            unit: Prefix,
            value: "[METHODS ]URL-PREFIX",
            default: Words("none, every upstream is refused with 403"),
            reload: Restart,
            help: "Let the upstream header name URLs below this one, by whole segments of the path: https://host:port/path, \
                or with the allowed methods 'GET,PUT https://host:port/path' (else GET, HEAD and POST); may be given \
                several times",
        }

        /// threads that send these requests, one request each at a time, 1 to 1024
        /// ([`Config::UPSTREAM_WORKERS_CEILING`]). Without `upstream-allow` there are none.
        ///
        /// Each costs a thread, two file descriptors, 32 KiB of buffers, and up to `upstream-response-max` while it is at
        /// work. If the prefixes name several servers (scheme, host and port), one server gets at most half of the
        /// workers, and always leaves one for each other server; a request waits while its server's part is in use. So
        /// have at least as many workers as servers, and twice as many for the rule to hold for all of them.
        upstream_workers: usize {
            name: "upstream-workers",
            key: "workers",
            unit: Number,
            value: "N",
            default: Value("16"),
            reload: Restart,
            help: "Send at most this many upstream requests at once, each on a thread; with several servers, one server \
                gets at most half of these",
        }

        /// requests that wait for a worker, over all cores, 1 to 1,048,576 ([`Config::UPSTREAM_QUEUE_CEILING`]). They
        /// hold their messages, at most 16 MiB of them ([`Config::UPSTREAM_QUEUE_BYTES_MAX`]). These rules share the
        /// queue, in places and in bytes alike, so that others still get in:
        ///
        /// - One connection may have one request waiting, and more while its requests take at most a quarter of the space
        ///   that is left free: 205 of an empty queue of 1024.
        /// - All connections of one address (of one /64 network in IPv6) together may have one request waiting, and more
        ///   while their requests take at most half of the space that other addresses leave: 512 of an empty queue.
        ///   Connections over a Unix socket have no address. Behind a proxy all clients have the proxy's address.
        /// - The last quarter of the queue, and of an address's half, is for connections that have nothing waiting.
        ///
        /// Past any of these the sender gets error 503 `upstream-busy`, and the rest of its message is carried out.
        /// [`Stats`](crate::Stats) counts this as `upstream_busy` and `upstream_over_share`.
        upstream_queue_max: usize {
            name: "upstream-queue",
            key: "queue",
            unit: Number,
            value: "N",
            default: Value("1024"),
            reload: Restart,
            help: "Most upstream requests that wait for a worker; one connection may take a quarter of the places that are \
                left free; past it the sender gets error 503",
        }

        /// the time from when a worker begins a request until its whole answer is there, redirects included. Never zero.
        /// While a worker waits for an answer, a time in which this process or its machine was stopped counts for at most
        /// 0.5 s; an answer that arrived by then is used.
        ///
        /// Past it the sender gets error 504 `upstream-timeout`.
        upstream_timeout: Duration {
            name: "upstream-timeout",
            key: "timeout",
            unit: Time,
            value: "TIME",
            default: Value("10s"),
            reload: Restart,
            help: "Most time for one upstream request, not counting time in which this process was stopped; past it the \
                sender gets error 504",
        }

        /// bytes of the body of an answer that the server sends to the client. It must leave 1 KiB of `outbox-max` for
        /// the head.
        ///
        /// Past it the client gets error 502 `upstream-failed` instead.
        upstream_response_bytes_max: usize {
            name: "upstream-response-max",
            key: "response-max",
            unit: Size,
            value: "SIZE",
            default: Value("256KiB"),
            reload: Restart,
            help: "Most bytes of an upstream's answer that the server sends to the client; past it the client gets error \
                502",
        }
    } } };
}

//! `[upstream]`: the proxy to HTTP servers (PROTOCOL.md §5).

macro_rules! upstream_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    // All of it needs a restart: what waits for the workers was checked against these.
    section "upstream" {
        /// the URLs that the `upstream` header may name (PROTOCOL.md §5): those below one of these,
        /// `http[s]://host[:port][/path]`, where scheme, host and port are compared as what they mean and the path by whole
        /// segments. Methods may stand before it: `GET,PUT http://host/path`; else it may be asked with GET, HEAD and POST.
        /// In TOML one text or a list of them. Another URL, and another method, is refused with 403.
        ///
        /// A prefix that is none keeps the server from starting, as does any in a build without the cargo feature `upstream`,
        /// and `https` without `tls`.
        upstream_allow: Vec<String> {
            name: "upstream-allow",
            key: "allow",
            unit: Prefix,
            value: "[METHODS ]URL-PREFIX",
            default: Words("none, every upstream is refused with 403"),
            reload: Restart,
            help: "Let the upstream header name URLs below this one, by whole segments of the path, such as \
                https://host:port/path or, with the methods that it may be asked with, 'GET,PUT https://host:port/path' (else \
                GET, HEAD and POST); may be given several times",
        }

        /// threads that send these requests, so many at once at most, 1 to 1024 ([`Config::UPSTREAM_WORKERS_CEILING`]).
        /// Without `upstream-allow` there are none.
        ///
        /// Each costs a thread, two file descriptors, 32 KiB of buffers, and up to `upstream-response-max` while it is at
        /// work. A request waits while its server has its part: where the prefixes name several servers (scheme, host and
        /// port), one has at most half of the workers, and so many that each other server still finds one. So have at least
        /// as many workers as servers, and twice as many for the rule to hold for all of them.
        upstream_workers: usize {
            name: "upstream-workers",
            key: "workers",
            unit: Number,
            value: "N",
            default: Value("16"),
            reload: Restart,
            help: "Send at most this many upstream requests at once, each on a thread; with several servers one of them has at \
                most half of these",
        }

        /// requests that wait for a worker, over all cores, 1 to 1,048,576 ([`Config::UPSTREAM_QUEUE_CEILING`]). They hold
        /// their messages, 16 MiB of them at most ([`Config::UPSTREAM_QUEUE_BYTES_MAX`]). How many each may have, so that
        /// others still get in, in places and in bytes alike:
        ///
        /// - One connection may have one waiting, and more while these are at most a quarter of what is left free: so 205 of
        ///   an empty queue of 1024.
        /// - All connections of one address (of one /64 network in IPv6) may have one waiting, and more while these are at
        ///   most half of what other addresses leave: so 512. Connections over a Unix socket have no address. Behind a proxy
        ///   all clients have the proxy's.
        /// - The last quarter of the queue, and of an address's half, is for connections that have nothing waiting.
        ///
        /// Past any of these the sender gets error 503 `upstream-busy`, and the rest of its message is carried out; counted as
        /// `upstream_busy` and `upstream_over_share` in [`Stats`](crate::Stats).
        upstream_queue_max: usize {
            name: "upstream-queue",
            key: "queue",
            unit: Number,
            value: "N",
            default: Value("1024"),
            reload: Restart,
            help: "Most upstream requests that wait for a worker, of one connection a quarter as many as are left free; past it \
                their senders get error 503",
        }

        /// how long one request may take with its whole answer, redirects included, once a worker has begun it. Never zero. A
        /// time in which this process was stopped, or its machine, counts for 0.5 s at most while an answer is waited for,
        /// and an answer that came by then is taken.
        ///
        /// Past it the sender gets error 504 `upstream-timeout`.
        upstream_timeout: Duration {
            name: "upstream-timeout",
            key: "timeout",
            unit: Time,
            value: "TIME",
            default: Value("10s"),
            reload: Restart,
            help: "Most time for one upstream request, without that in which this process was stopped; past it the sender gets \
                error 504",
        }

        /// bytes of the body of an answer that is sent to the client. It must leave 1 KiB of `outbox-max` for the head.
        ///
        /// Past it the client gets error 502 `upstream-failed` instead.
        upstream_response_bytes_max: usize {
            name: "upstream-response-max",
            key: "response-max",
            unit: Size,
            value: "SIZE",
            default: Value("256KiB"),
            reload: Restart,
            help: "Most bytes of an upstream's answer that are sent to the client; past it the client gets error 502",
        }
    } } };
}

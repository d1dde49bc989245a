//! `[http]`: requests on a connection that is not, or not yet, a WebSocket.

macro_rules! http_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    section "http" {
        /// bytes of an HTTP request's head, which includes a handshake's; at most 1 MiB
        /// ([`Config::HTTP_HEAD_BYTES_CEILING`]). A head may also have 128 header lines. This second limit is fixed:
        /// browsers send all their cookies, and each proxy adds lines of its own.
        ///
        /// A request past either limit gets 431, and its connection is closed. A connection whose head is incomplete
        /// holds up to twice this many bytes.
        http_head_bytes_max: usize {
            name: "max-http-head",
            key: "max-head",
            unit: Size,
            value: "SIZE",
            default: Value("32KiB"),
            reload: AtOnce,
            help: "Most bytes of an HTTP request's head, which includes a handshake's; a request past it, or past 128 \
                lines, gets 431",
        }

        /// closes an HTTP connection that has had an answer and does not begin its next request within this time. The
        /// default is longer than proxies keep their own connections. Zero: never.
        ///
        /// A WebSocket has `idle-timeout` instead.
        http_keep_alive: Duration {
            name: "http-keep-alive",
            key: "keep-alive",
            unit: Time,
            value: "TIME",
            default: Value("75s"),
            reload: AtOnce,
            help: "Close an HTTP connection that has had an answer and begins no other request for this long; 0: never",
        }

        /// the key that `POST /publish` then requires as `Authorization: Bearer KEY`: 401 without it, 403 with another
        /// key. Visible ASCII. If it is not set, everyone who reaches the port may publish, unless the server has filters
        /// (see [`Builder::publish_past_filters`](crate::Builder::publish_past_filters)).
        ///
        /// **It guards `POST /publish` and nothing else: WebSocket clients publish and subscribe without it.** Other
        /// users of the machine can see flags, so put it in the environment variable `LHTTP_PUBLISH_KEY` or in the file.
        publish_key: Option<Secret> {
            name: "publish-key",
            key: "publish-key",
            unit: Secret,
            value: "KEY",
            default: Words("everyone may publish"),
            reload: AtOnce,
            help: "Accept POST /publish only with `Authorization: Bearer KEY`. It guards nothing else: WebSocket clients \
                publish without it. Other users of this machine can see flags, so prefer the environment variable \
                LHTTP_PUBLISH_KEY or the file",
        }
    } } };
}

//! `[http]`: requests, before a connection is a WebSocket and instead of it.

macro_rules! http_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    section "http" {
        /// bytes of an HTTP request's head, a handshake's too; at most 1 MiB ([`Config::HTTP_HEAD_BYTES_CEILING`]). It may
        /// have 128 header lines, whatever this is: browsers send all their cookies, and each proxy adds lines of its own.
        ///
        /// Past either it gets 431, and its connection is closed. A connection whose head is not whole holds up to twice this.
        http_head_bytes_max: usize {
            name: "max-http-head",
            key: "max-head",
            unit: Size,
            value: "SIZE",
            default: Value("32KiB"),
            reload: AtOnce,
            help: "Most bytes of an HTTP request's head, a handshake's too; past it, or past 128 lines, it gets 431",
        }

        /// an HTTP connection that has had an answer is closed when it does not begin its next request within this time. The
        /// default is more than proxies keep theirs for. Zero: never.
        ///
        /// A WebSocket has `idle-timeout` instead.
        http_keep_alive: Duration {
            name: "http-keep-alive",
            key: "keep-alive",
            unit: Time,
            value: "TIME",
            default: Value("75s"),
            reload: AtOnce,
            help: "Close an HTTP connection that has had an answer and begins no other request for this long; 0 never does",
        }

        /// `POST /publish` then wants `Authorization: Bearer KEY`: 401 without it, 403 with another. Visible ASCII. Without it
        /// everyone who reaches the port may publish, unless the server has filters (see
        /// [`Builder::publish_past_filters`](crate::Builder::publish_past_filters)).
        ///
        /// **It guards `POST /publish` and nothing else: WebSocket clients publish and subscribe without it.** Others on the
        /// machine can see flags, so it is better given in the environment variable `LHTTP_PUBLISH_KEY` or the file.
        publish_key: Option<Secret> {
            name: "publish-key",
            key: "publish-key",
            unit: Secret,
            value: "KEY",
            default: Words("everyone may publish"),
            reload: AtOnce,
            help: "Let POST /publish in only with `Authorization: Bearer KEY`. It guards nothing else: WebSocket clients publish \
                without it. Others on this machine can see flags, so prefer the environment variable LHTTP_PUBLISH_KEY or the \
                file",
        }
    } } };
}

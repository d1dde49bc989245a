//! `[access]`: from which pages, under which names and through which proxies clients may come.

macro_rules! access_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    section "access" {
        /// the pages of other hosts whose WebSocket handshakes and posts to `/publish` are accepted, as a browser names
        /// them in `Origin`: `https://example.com`, with a port if it is not the scheme's. `*` is all; `null`, the origin of
        /// files and of frames in a sandbox, must be listed. In TOML one text or a list of texts.
        ///
        /// A request with an `Origin` that is neither listed nor of the host that the request names, on whatever port, gets
        /// 403. A request without one is accepted: programs send none. A page that is accepted may also read the
        /// answers of `/publish`, and its preflight `OPTIONS /publish` gets 204.
        allow_origin: Vec<AllowedOrigin> {
            name: "allow-origin",
            key: "allow-origin",
            unit: Texts,
            value: "ORIGIN",
            default: Words("pages of the same host only"),
            reload: AtOnce, // for handshakes and posts that begin from then on
            help: "Accept WebSockets and posts of this other page, such as https://example.com; null for files, * for all; \
                may be given several times; others get 403",
        }

        /// the hosts that a WebSocket handshake and a request for `/publish` may name in `Host`, names or addresses without
        /// a port; `*` is all. In TOML one text or a list of texts.
        ///
        /// Any other host gets 403. Without a list, an address of this machine alone (`127.0.0.1`, `[::1]`) accepts only
        /// `localhost`, the names below it, and loopback addresses: otherwise a page could give its own name this machine's
        /// address, and a browser would let it read everything here (DNS rebinding). All other listeners accept every host
        /// then. With a list, every listener accepts only what is listed, and a loopback address also those. A proxy that
        /// passes the client's `Host` on to a loopback address needs an entry.
        allow_host: Vec<AllowedHost> {
            name: "allow-host",
            key: "allow-host",
            unit: Texts,
            value: "HOST",
            default: Words("loopback names at a loopback address, all hosts elsewhere"),
            reload: AtOnce,
            help: "Accept WebSockets and posts for this host, a name or an address; may be given several times, * for all; \
                others get 403",
        }

        /// proxies that are trusted to tell a client's address, `10.0.0.1` or `10.0.0.0/8`; `unix` is everybody who connects
        /// over a unix socket. In TOML one text or a list of texts. `proxy-header` says how they tell it.
        ///
        /// The address is what limits for addresses count, what processors and upstream servers see, and what the log shows.
        /// Without this option it is the connection's peer. Trust only proxies that set the header themselves, and through
        /// which every client must come: anybody else there chooses their address.
        trust_proxy: Vec<TrustedProxy> {
            name: "trust-proxy",
            key: "trust-proxy",
            unit: Texts,
            value: "NETWORK",
            default: Words("none"),
            reload: AtOnce, // for connections accepted from then on
            help: "Believe the proxy at this address, or in this network, or at a unix socket (unix), which address a client \
                has; may be given several times",
        }

        /// how the proxies of `trust-proxy` tell a client's address: `x-forwarded-for` or `forwarded` (RFC 7239), a header of
        /// each request, or `proxy-protocol`, the PROXY protocol version 1 or 2.
        ///
        /// Of the addresses in a header the last one counts that is not a trusted proxy's. The other header is not read,
        /// because a proxy may pass it on as the client wrote it. With `proxy-protocol`, each connection of a trusted proxy
        /// must begin with that header, also one for TLS and one of a
        /// health check. It is closed without an answer if the header is wrong, has more
        /// than 2 KiB, or is not complete within `handshake-timeout`. A core reads 64 such headers at a time; one more
        /// connection closes the oldest of these.
        proxy_header: ProxyHeader {
            name: "proxy-header",
            key: "proxy-header",
            unit: Text,
            value: "HEADER",
            default: Value("x-forwarded-for"),
            reload: AtOnce,
            help: "How trusted proxies tell a client's address: x-forwarded-for, forwarded or proxy-protocol",
        }
    } } };
}

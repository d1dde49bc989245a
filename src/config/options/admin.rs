//! `[admin]`: the windows for operators and backends.

macro_rules! admin_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    section "admin" {
        /// where operators and backends ask the server: `GET /metrics`, a page with live figures at `/`, and the API below
        /// `/api/` (docs/ADMIN.md). Written as in `listen`; clients of the server are not served there. In TOML one text or
        /// a list of texts.
        ///
        /// An address that is not this machine's alone needs `admin-key`. At most 16 connections are open at once on all
        /// these addresses together; further ones get 503. The first core serves them.
        admin: Vec<Listen> {
            name: "admin",
            key: "listen",
            unit: Address,
            value: "ADDR",
            default: Unset,
            reload: Restart,
            help: "Serve metrics, a page with live figures and an API for backends on this address, such as \
                127.0.0.1:9091; written as in --listen; may be given several times",
        }

        /// the key for `admin`: programs send it as `Authorization: Bearer KEY`, browsers ask for a name and a password,
        /// which is the key. Without it, or with another one, every path but `/healthz` gets 401. Visible ASCII.
        ///
        /// Other users of the machine can see flags, so put it in the environment variable `LHTTP_ADMIN_KEY` or in the file.
        admin_key: Option<Secret> {
            name: "admin-key",
            key: "key",
            unit: Secret,
            value: "KEY",
            default: Words("none is needed on an address of this machine alone"),
            reload: AtOnce,
            help: "Serve --admin only to those who send this key, as `Authorization: Bearer KEY` or as a browser's password. \
                Other users of this machine can see flags, so prefer the environment variable LHTTP_ADMIN_KEY or the file",
        }
    } } };
}

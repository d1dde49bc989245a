//! `[token]`: who clients are (PROTOCOL.md §8).

macro_rules! token_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    section "token" {
        /// the file with the key that tokens must be signed with. It holds one of these:
        ///
        /// - a secret that the issuer has too, of at least 32 bytes, for HS256. A line break at its end does not count.
        /// - public keys in PEM, `BEGIN PUBLIC KEY`: RSA keys are for RS256, P-256 for ES256, P-384 for ES384, Ed25519 for
        ///   EdDSA.
        /// - JSON: a JWK, or a set of them, each for its `alg`; without one RSA keys are for RS256, and secrets for HS256.
        ///
        /// The key decides the algorithm, never the token. A file may have up to 64 keys, at most 1 MiB. A token without
        /// `kid` is checked with the first four keys of its algorithm.
        ///
        /// A file that cannot be used keeps the server from starting; a reload then keeps the old keys.
        token_key: Option<PathBuf> {
            name: "token-key",
            key: "key",
            unit: File,
            value: "FILE",
            default: Words("there are no tokens"),
            reload: FileReadAgain,
            help: "Check tokens (JSON Web Tokens) with the key in this file: a secret for HS256, public keys in PEM, or a \
                set of keys in JSON",
        }

        /// the URL of the issuer's public keys, a set in JSON (JWKS): `https://`, or `http://` for a loopback address. They
        /// add to those of `token-key`.
        ///
        /// A thread fetches them at the start, every 5 minutes, and when a token names a key (`kid`) that is not there, but
        /// not within 30 s of the last fetch. The start waits 3 s at most. If a fetch fails, the last keys stay in use, and
        /// the thread tries again after 1 s, then 2 s, up to 60 s. It follows no redirect. An answer has at most 256 KiB and
        /// 64 keys. Secrets in it are not used. In a build without the cargo feature `tls` the URL cannot be `https`.
        token_jwks: Option<String> {
            name: "token-jwks",
            key: "jwks",
            unit: Text,
            value: "URL",
            default: Unset,
            reload: Restart,
            help: "Check tokens with the keys that their issuer publishes at this https URL (a JWKS), which are fetched \
                again every 5 minutes, and when a token names a new one",
        }

        /// the `iss` that each token must have. If it is not set, any will do.
        token_issuer: Option<String> {
            name: "token-issuer",
            key: "issuer",
            unit: Text,
            value: "TEXT",
            default: Words("`iss` is not checked"),
            reload: Restart,
            help: "Refuse tokens whose `iss` is not this",
        }

        /// the name that each token must have in `aud`. If it is not set, any will do. Set it if the issuer makes tokens
        /// for other servers with the same key.
        token_audience: Option<String> {
            name: "token-audience",
            key: "audience",
            unit: Text,
            value: "TEXT",
            default: Words("`aud` is not checked"),
            reload: Restart,
            help: "Refuse tokens whose `aud` does not name this",
        }
    } } };
}

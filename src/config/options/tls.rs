//! `[tls]`: certificates of the addresses `tls://` in `listen`.

macro_rules! tls_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    // What a connection has agreed on in its handshake stays, so a reload never touches an open connection.
    section "tls" {
        /// PEM files with certificates, one file for each certificate: the server's own first, then those of its chain.
        /// Each needs a `tls-key`: the first key is that of the first certificate, and so on.
        ///
        /// With several files the client's SNI chooses: the certificate that names the host, also by a wildcard, and
        /// that has a kind of key which the client can check. So one host may have an ECDSA and an RSA certificate. The
        /// first file serves clients that name no host, or an unknown one. Prefer ECDSA keys: a handshake with RSA takes
        /// five times the CPU time.
        ///
        /// The server reads the files again on a reload, and once a minute: new contents serve the handshakes that begin
        /// after that, and open connections go on. Contents that cannot be used, and an expired certificate, leave the last
        /// ones in use; the log and `Stats::tls_reloads_failed` tell it. `Stats::tls_days_left` has the days until the
        /// first of the certificates expires, and the log warns each day in the last two weeks. At the start, files that
        /// cannot be used keep the server from starting; an expired certificate is an error in the log only.
        tls_cert: Vec<PathBuf> {
            name: "tls-cert",
            key: "cert",
            unit: Files,
            value: "FILE",
            default: Unset,
            reload: AtOnce,
            help: "The certificate of the addresses tls:// with its chain, from a PEM file that is read again when it \
                changes; may be given several times, each with its --tls-key: the client's SNI chooses",
        }

        /// a PEM file with the private key of each `tls-cert`, in the same order: PKCS #8, PKCS #1 or SEC 1, unencrypted.
        /// Read again as `tls-cert` is.
        tls_key: Vec<PathBuf> {
            name: "tls-key",
            key: "key",
            unit: SecretFiles,
            value: "FILE",
            default: Unset,
            reload: AtOnce,
            help: "The private key of the --tls-cert in the same place, from a PEM file",
        }

        /// requires of each TLS client a certificate of an authority in this PEM file. A handshake without one fails. The
        /// addresses without TLS ask for none.
        ///
        /// Read again as `tls-cert` is. If its contents change, every client that comes back shows its certificate again:
        /// no session from before is resumed.
        tls_client_ca: Option<PathBuf> {
            name: "tls-client-ca",
            key: "client-ca",
            unit: File,
            value: "FILE",
            default: Words("clients need no certificate"),
            reload: AtOnce,
            help: "Require of TLS clients a certificate of an authority in this PEM file",
        }

        /// who encrypts after the handshake: `own`, the server's own record layer, or `rustls`, that of the library that
        /// makes the handshakes ([`TlsRecords`]).
        ///
        /// `own` keeps 0.2 KB for each connection; `rustls` keeps 7.5 KB, and up to 36 KB after a large message.
        tls_records: TlsRecords {
            name: "tls-records",
            key: "records",
            unit: Text,
            value: "own|rustls",
            default: Value("own"),
            reload: Restart,
            help: "Encrypt with the server's own record layer, or with that of rustls, which keeps more memory for each \
                connection",
        }
    } } };
}

//! `[nats]`: the bridge to other nodes (PROTOCOL.md §7).

macro_rules! nats_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    // Another cluster, or another login, needs a restart: the bridge would have to change it under its subscribers.
    section "nats" {
        /// the URLs of the NATS servers that connect this node to others (PROTOCOL.md §7), separated by commas:
        /// `[nats://|tls://][user:password@|token@]host[:port]`, the port is 4222 unless given.
        ///
        /// Each channel and pattern with a subscriber on this node costs 250 bytes more than without. NATS is asked for one
        /// per 2 KiB of `memory-budget`; past that for wider patterns, and this node drops the messages that nobody here wants.
        ///
        /// Any one of them is connected to, or one that they tell of; the server starts and serves its own clients when none
        /// is there. With `tls://`, in all of them or in none, every connection is TLS. A URL that is none keeps the server
        /// from starting, as does a build without the cargo feature `nats`. Others on the machine can see flags, so a
        /// password is better kept in the file, or in that of `nats-password-file`.
        nats: Option<Secret> {
            name: "nats",
            key: "url",
            unit: Secret,
            value: "URL[,URL...]",
            default: Words("this node is alone"),
            reload: Restart,
            help: "Connect to other nodes through one of these NATS servers, nats://host:port or tls://host:port, with \
                user:password@ or token@ before the host; others on this machine can see flags, so a password is better kept \
                in a file",
        }

        /// the credentials file (a user JWT and its NKey seed) to log in with.
        ///
        /// It is read again at each connection. One that cannot be used keeps the server from starting; later what was read
        /// last is used then.
        nats_creds: Option<PathBuf> {
            name: "nats-creds",
            key: "creds",
            unit: SecretFile,
            value: "FILE",
            default: Unset,
            reload: FileReadAgain,
            help: "Log in to NATS with this credentials file",
        }

        /// a file that holds the NKey seed to log in with. It is read again as that of `nats-creds`.
        nats_nkey: Option<PathBuf> {
            name: "nats-nkey",
            key: "nkey",
            unit: SecretFile,
            value: "FILE",
            default: Unset,
            reload: FileReadAgain,
            help: "Log in to NATS with the NKey seed in this file",
        }

        /// the name to log in with, beside `nats-password-file`.
        nats_user: Option<String> {
            name: "nats-user",
            key: "user",
            unit: Text,
            value: "NAME",
            default: Unset,
            reload: Restart,
            help: "Log in to NATS with this name and --nats-password-file",
        }

        /// a file whose first line is the password of `nats-user`. It is read again as that of `nats-creds`.
        nats_password_file: Option<PathBuf> {
            name: "nats-password-file",
            key: "password-file",
            unit: SecretFile,
            value: "FILE",
            default: Unset,
            reload: FileReadAgain,
            help: "Log in to NATS with the password in this file's first line",
        }

        /// a PEM file with the certificates of the authorities that the NATS servers' are checked against; the connection must
        /// be TLS then. Without it these are the system's authorities, for servers that want TLS.
        nats_tls_ca: Option<PathBuf> {
            name: "nats-tls-ca",
            key: "tls-ca",
            unit: File,
            value: "FILE",
            default: Unset,
            reload: FileReadAgain,
            help: "Speak TLS to NATS, and trust the authorities in this PEM file only",
        }

        /// a PEM file with this node's certificate, for servers that demand one, beside `nats-tls-key`; with them the node
        /// speaks nothing but TLS. Both are read again at each connection.
        nats_tls_cert: Option<PathBuf> {
            name: "nats-tls-cert",
            key: "tls-cert",
            unit: File,
            value: "FILE",
            default: Unset,
            reload: FileReadAgain,
            help: "Show this certificate to NATS servers that demand one, from a PEM file; with --nats-tls-key",
        }

        /// a PEM file with the key of `nats-tls-cert`.
        nats_tls_key: Option<PathBuf> {
            name: "nats-tls-key",
            key: "tls-key",
            unit: SecretFile,
            value: "FILE",
            default: Unset,
            reload: FileReadAgain,
            help: "The key of --nats-tls-cert, from a PEM file",
        }

        /// TLS begins before the NATS server says anything, as its `handshake_first` wants it.
        nats_tls_first: bool {
            name: "nats-tls-first",
            key: "tls-first",
            unit: Switch,
            value: "",
            default: Unset,
            reload: Restart,
            help: "Begin TLS before the NATS server says anything",
        }

        /// at NATS all channels of this node are below this prefix, of one or more tokens: with `app`, the channel `room` has
        /// the subject `app.room`.
        nats_prefix: Option<String> {
            name: "nats-prefix",
            key: "prefix",
            unit: Text,
            value: "PREFIX",
            default: Words("the subject is the channel"),
            reload: Restart,
            help: "At NATS the channel `room` of this node is the subject PREFIX.room",
        }

        /// bytes of publishes that wait for NATS, over all cores, while it is away or slow; at least 512 KiB
        /// ([`Config::NATS_BUFFER_BYTES_MIN`]) and twice `max-message`.
        ///
        /// When a message does not fit, the channel that takes the most loses its oldest messages, counted in
        /// [`Stats`](crate::Stats). A message counts as it is, with its channel's name, and at most 84 bytes more; a core
        /// leaves at most 16 KiB and a message of this unused. Beside it the NATS client has up to 1 MiB at hand, and for a
        /// moment up to 4 MiB may wait for the bridge's thread.
        nats_buffer_bytes: usize {
            name: "nats-buffer",
            key: "buffer",
            unit: Size,
            value: "SIZE",
            default: Value("8MiB"),
            reload: Restart,
            help: "Most bytes of messages that wait for NATS while it is away or slow; past it the channel that takes the most \
                loses its oldest",
        }
    } } };
}

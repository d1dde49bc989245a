//! `[nats]`: the bridge to other nodes (PROTOCOL.md §7).

macro_rules! nats_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    // Another cluster or login needs a restart: otherwise the bridge would have to change it under its subscribers.
    section "nats" {
        /// the URLs of the NATS servers that connect this node to others (PROTOCOL.md §7), separated by commas:
        /// `[nats://|tls://][user:password@|token@]host[:port]`. The default port is 4222.
        ///
        /// Each channel and pattern with a subscriber on this node costs 250 bytes more than without NATS. The node
        /// subscribes at NATS to one channel or pattern per 2 KiB of `memory-budget`; past that it subscribes to wider
        /// patterns, and drops the messages that have no subscriber here.
        ///
        /// If rules for channels keep a history, the servers must have JetStream, where all nodes share it (docs/HISTORY.md).
        /// Channels with presence show the users of all nodes (PROTOCOL.md §11).
        ///
        /// The node connects to one of these servers, or to one that they tell it of. If none is there, the server starts
        /// and serves its own clients. `tls://`, which all URLs must have or none, makes every connection TLS. An invalid
        /// URL keeps the server from starting, as does a build without the cargo feature `nats`. Other users of the
        /// machine can see flags, so keep a password in the file, or in that of `nats-password-file`.
        nats: Option<Secret> {
            name: "nats",
            key: "url",
            unit: Secret,
            value: "URL[,URL...]",
            default: Words("this node is alone"),
            reload: Restart,
            help: "Connect to other nodes through one of these NATS servers, nats://host:port or tls://host:port, with \
                user:password@ or token@ before the host; other users of this machine can see flags, so keep a password in \
                a file",
        }

        /// the credentials file (a user JWT and its NKey seed) to log in with.
        ///
        /// The node reads the file again at each connection. A file that cannot be used keeps the server from starting;
        /// later the node goes on with the credentials that it read last.
        nats_creds: Option<PathBuf> {
            name: "nats-creds",
            key: "creds",
            unit: SecretFile,
            value: "FILE",
            default: Unset,
            reload: FileReadAgain,
            help: "Log in to NATS with this credentials file",
        }

        /// a file with the NKey seed to log in with. The node reads it again as that of `nats-creds`.
        nats_nkey: Option<PathBuf> {
            name: "nats-nkey",
            key: "nkey",
            unit: SecretFile,
            value: "FILE",
            default: Unset,
            reload: FileReadAgain,
            help: "Log in to NATS with the NKey seed in this file",
        }

        /// the name to log in with, together with `nats-password-file`.
        nats_user: Option<String> {
            name: "nats-user",
            key: "user",
            unit: Text,
            value: "NAME",
            default: Unset,
            reload: Restart,
            help: "Log in to NATS with this name and --nats-password-file",
        }

        /// a file whose first line is the password of `nats-user`. The node reads it again as that of `nats-creds`.
        nats_password_file: Option<PathBuf> {
            name: "nats-password-file",
            key: "password-file",
            unit: SecretFile,
            value: "FILE",
            default: Unset,
            reload: FileReadAgain,
            help: "Log in to NATS with the password in the first line of this file",
        }

        /// a PEM file with the certificates of the authorities that the NATS servers' certificates are checked against;
        /// the connection must then be TLS. If it is not set, the node trusts the system's authorities, and uses TLS with
        /// servers that want it.
        nats_tls_ca: Option<PathBuf> {
            name: "nats-tls-ca",
            key: "tls-ca",
            unit: File,
            value: "FILE",
            default: Unset,
            reload: FileReadAgain,
            help: "Require TLS to NATS, and trust only the authorities in this PEM file",
        }

        /// a PEM file with this node's certificate, for servers that demand one, together with `nats-tls-key`; the
        /// connection must then be TLS. The node reads both files again at each connection.
        nats_tls_cert: Option<PathBuf> {
            name: "nats-tls-cert",
            key: "tls-cert",
            unit: File,
            value: "FILE",
            default: Unset,
            reload: FileReadAgain,
            help: "Show this certificate from a PEM file to NATS servers that demand one; with --nats-tls-key",
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

        /// begins TLS before the NATS server sends anything, as servers with `handshake_first` require.
        nats_tls_first: bool {
            name: "nats-tls-first",
            key: "tls-first",
            unit: Switch,
            value: "",
            default: Unset,
            reload: Restart,
            help: "Begin TLS before the NATS server sends anything",
        }

        /// the prefix of one or more tokens for all of this node's channels at NATS: with `app`, the channel `room` has
        /// the subject `app.room`.
        nats_prefix: Option<String> {
            name: "nats-prefix",
            key: "prefix",
            unit: Text,
            value: "PREFIX",
            default: Words("the subject is the channel"),
            reload: Restart,
            help: "Give the channel `room` of this node the subject PREFIX.room at NATS",
        }

        /// bytes of publishes that wait for NATS, over all cores, while it is disconnected or slow; at least 512 KiB
        /// ([`Config::NATS_BUFFER_BYTES_MIN`]) and twice `max-message`.
        ///
        /// When a message does not fit, the channel that takes the most loses its oldest messages, counted in
        /// [`Stats`](crate::Stats). A message counts with its own bytes, its channel's name, and at most 84 bytes more; a
        /// core leaves at most 16 KiB and one message of this unused. In addition the NATS client holds up to 1 MiB, and
        /// for a moment up to 4 MiB may wait for the bridge's thread.
        nats_buffer_bytes: usize {
            name: "nats-buffer",
            key: "buffer",
            unit: Size,
            value: "SIZE",
            default: Value("8MiB"),
            reload: Restart,
            help: "Most bytes of messages that wait for NATS while it is disconnected or slow; past it the channel that \
                takes the most loses its oldest",
        }
    } } };
}

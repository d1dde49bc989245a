//! `[history]`: where the messages of channels are kept, and how much of them (PROTOCOL.md §10).

macro_rules! history_options {
    ([$next:ident $($then:ident)*] $($before:tt)*) => { $next! { [$($then)*] $($before)*
    section "history" {
        /// bytes of the history of all channels, over all cores: rules for channels say which messages are kept. The
        /// default is half of `memory-budget`, which does not include it.
        ///
        /// Past it the channels that hold most lose their oldest messages first. A message costs its length, 16 to 24
        /// bytes, and up to 60 and the channel's name; a channel 192 bytes and its name.
        history_budget_bytes: Option<u64> {
            name: "history-budget",
            key: "budget",
            unit: Size,
            value: "SIZE",
            default: Words("half of `memory-budget`"),
            reload: AtOnce,
            help: "Most bytes of the history of all channels; past it the oldest messages of the largest channels go",
        }

        /// the file that keeps the history of channels, an SQLite database (docs/HISTORY.md). It is made if it is missing.
        ///
        /// A message to a channel with a history is acknowledged, and given to subscribers, after it is on the disk. The
        /// messages of a moment share one write. After a restart, also after a crash, clients go on where they were. While
        /// the file cannot be written, or takes longer than 8 MiB of messages for each core wait, publishes to these
        /// channels are refused with 503 `history-unavailable`; everything else goes on. One server uses a file at a time.
        history_file: Option<PathBuf> {
            name: "history-file",
            key: "file",
            unit: File,
            value: "FILE",
            default: Words("the history is in memory only"),
            reload: Restart,
            help: "Keep the history of channels in this file, an SQLite database: messages are acknowledged when they are \
                on the disk",
        }
    }
    section "presence" {
        /// how long a user stays present in a channel after the last connection has left it, so that a reconnect shows
        /// nothing; 0 ends the presence at once.
        presence_grace: Duration {
            name: "presence-grace",
            key: "grace",
            unit: Time,
            value: "TIME",
            default: Value("5s"),
            reload: AtOnce,
            help: "How long a user stays present in a channel after the last connection has left it",
        }
    }
    } };
}

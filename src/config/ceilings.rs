//! The largest and smallest values of options.

use std::time::Duration;

use super::Config;

impl Config {
    /// The most that `max-message` can be, in bytes: 1 GiB.
    pub const MESSAGE_BYTES_CEILING: usize = 1 << 30;

    /// The most that `subscription-bytes` can be: 1 GiB.
    pub const SUBSCRIPTION_BYTES_CEILING: usize = 1 << 30;

    /// The most that `max-headers` can be.
    pub const HEADERS_CEILING: usize = 1024;

    /// The most that `max-publish-channels` can be.
    pub const PUBLISH_CHANNELS_CEILING: usize = 1024;

    /// The most that `max-http-head` can be, in bytes: 1 MiB.
    pub const HTTP_HEAD_BYTES_CEILING: usize = 1 << 20;

    /// The most that a rate can be: one billion a second.
    pub const RATE_CEILING: usize = 1_000_000_000;

    /// The most that `busy-poll` and `coalesce` can be: 10 ms.
    pub const HOLD_CEILING: Duration = Duration::from_millis(10);

    /// The least that `nats-buffer` can be: 512 KiB, which holds the messages that a core sends at once.
    pub const NATS_BUFFER_BYTES_MIN: usize = 512 << 10;

    /// The most that `upstream-workers` can be.
    pub const UPSTREAM_WORKERS_CEILING: usize = 1024;

    /// The most that `upstream-queue` can be.
    pub const UPSTREAM_QUEUE_CEILING: usize = 1 << 20;

    /// Bytes of messages that wait for a worker of the upstream proxy, over all cores: 16 MiB. One message may wait alone,
    /// however large it is.
    pub const UPSTREAM_QUEUE_BYTES_MAX: usize = 16 << 20;

    /// The most that any of the other times can be: a year. It keeps every deadline within the range of a clock.
    pub const TIMEOUT_CEILING: Duration = Duration::from_secs(365 * 24 * 60 * 60);
}

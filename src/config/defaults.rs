//! What the options are unless they are set, and the most and the least that they can be.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::{Config, PORT};

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

    /// The most that `busy-poll` and `coalesce` can be: 10 ms.
    pub const HOLD_CEILING: Duration = Duration::from_millis(10);

    /// The least that `nats-buffer` can be: 512 KiB, which holds what a core sends at once.
    pub const NATS_BUFFER_BYTES_MIN: usize = 512 << 10;

    /// The most that `upstream-workers` can be.
    pub const UPSTREAM_WORKERS_CEILING: usize = 1024;

    /// The most that `upstream-queue` can be.
    pub const UPSTREAM_QUEUE_CEILING: usize = 1 << 20;

    /// Bytes of messages that wait for a worker of the upstream proxy, over all cores: 16 MiB. One message may wait alone,
    /// however large it is.
    pub const UPSTREAM_QUEUE_BYTES_MAX: usize = 16 << 20;

    /// The most that any of the other times can be: a year. It keeps every deadline within what a clock can count to.
    pub const TIMEOUT_CEILING: Duration = Duration::from_secs(365 * 24 * 60 * 60);
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).into()],
            cores: None,
            cpu_list: None,
            message_bytes_max: 64 << 10,
            head_bytes_max: 8 << 10,
            headers_max: 64,
            publish_channels_max: 32,
            http_head_bytes_max: 32 << 10,
            connections_max: None,
            outbox_bytes_max: 1 << 20,
            memory_budget_bytes: None,
            subscriptions_max: 1000,
            subscription_bytes_max: 256 << 10,
            idle_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(25),
            handshake_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(30),
            http_keep_alive: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(10),
            busy_poll: Duration::ZERO,
            coalesce: Duration::from_micros(50),
            send_buffer_bytes: 256 << 10,
            receive_buffer_bytes: 512 << 10,
            publish_key: None,
            nats: None,
            nats_creds: None,
            nats_nkey: None,
            nats_user: None,
            nats_password_file: None,
            nats_tls_ca: None,
            nats_tls_cert: None,
            nats_tls_key: None,
            nats_tls_first: false,
            nats_prefix: None,
            nats_buffer_bytes: 8 << 20,
            upstream_allow: Vec::new(),
            upstream_workers: 16,
            upstream_queue_max: 1024,
            upstream_timeout: Duration::from_secs(10),
            upstream_response_bytes_max: 256 << 10,
        }
    }
}

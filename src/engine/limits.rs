//! The limits that a core keeps.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    config::{Access, Config, Secret, memory},
    engine::{
        addresses::{AddressLimits, Addresses},
        rates::Rates,
        rules::Rules,
    },
    protocol::message::HeadLimits,
};

/// The limits that a core keeps.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) message_bytes_max: usize,
    pub(crate) head: HeadLimits,
    pub(crate) http_head_bytes_max: usize,
    /// Channels that one message is published to.
    pub(crate) publish_channels_max: usize,
    pub(crate) outbox_bytes_max: usize,
    /// This core's share of the process's memory budget.
    pub(crate) kept_bytes_max: usize,
    pub(crate) subscriptions_max: usize,
    /// The maximum charge of one connection for its subscriptions, in bytes.
    pub(crate) subscription_bytes_max: usize,
    /// The maximum memory on this core for the subscriptions of all connections and the interest of peers, in bytes.
    pub(crate) table_bytes_max: usize,
    /// This core's share of the memory for the history of channels, in bytes.
    pub(crate) history_bytes_max: usize,
    /// How long a user stays present after the last connection has left.
    pub(crate) presence_grace: Duration,
    /// In milliseconds, as the four below; zero means never.
    pub(crate) idle_timeout: u64,
    pub(crate) ping_interval: u64,
    pub(crate) handshake_timeout: u64,
    pub(crate) message_timeout: u64,
    pub(crate) http_keep_alive: u64,
    pub(crate) publish_key: Option<Secret>,
    /// There are listeners of `admin`.
    pub(crate) has_admin: bool,
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]
    /// The key of `admin`.
    pub(crate) admin_key: Option<Secret>,
    /// The pages, hosts and proxies that requests may come from.
    pub(crate) access: Arc<Access>,
    /// How often a connection may do what.
    pub(crate) rates: Rates,
    pub(crate) of_address: AddressLimits,
    /// The addresses of all cores. The same table serves as long as the server runs.
    pub(crate) addresses: Arc<Addresses>,
    /// Who may do what.
    pub(crate) rules: Arc<Rules>,
    /// Handshakes and publishes without a token or key are refused.
    pub(crate) requires_token: bool,
    /// The cookie that may hold a token.
    pub(crate) token_cookie: Option<Box<str>>,
    /// The largest message that may be published. The bridge sets it: other nodes may have a lower limit than this one.
    pub(crate) publish_bytes_max: Arc<AtomicUsize>,
}

impl Limits {
    /// The limits of one of `cores` cores.
    pub(crate) fn new(config: &Config, memory_budget_bytes: u64, cores: usize) -> Self {
        let millis = |duration: Duration| duration.as_millis() as u64;
        let share = |bytes: u64, cores: usize| usize::try_from(bytes).unwrap_or(usize::MAX) / cores;
        let kept_bytes_max = share(memory_budget_bytes, cores);
        Self {
            message_bytes_max: config.message_bytes_max,
            head: HeadLimits { head_bytes_max: config.head_bytes_max, headers_max: config.headers_max },
            publish_channels_max: config.publish_channels_max,
            http_head_bytes_max: config.http_head_bytes_max,
            outbox_bytes_max: config.outbox_bytes_max,
            kept_bytes_max,
            subscriptions_max: config.subscriptions_max,
            subscription_bytes_max: config.subscription_bytes_max,
            table_bytes_max: kept_bytes_max / 2,
            history_bytes_max: share(memory::history_bytes(config, memory_budget_bytes), cores),
            presence_grace: config.presence_grace,
            idle_timeout: millis(config.idle_timeout),
            ping_interval: millis(config.ping_interval),
            handshake_timeout: millis(config.handshake_timeout),
            message_timeout: millis(config.message_timeout),
            http_keep_alive: millis(config.http_keep_alive),
            publish_key: config.publish_key.clone(),
            has_admin: !config.admin.is_empty(),
            admin_key: config.admin_key.clone(),
            access: Arc::new(Access::new(config)),
            rates: Rates::new(config),
            of_address: AddressLimits::new(config),
            addresses: Arc::default(),
            rules: Arc::new(Rules::new(config)),
            requires_token: config.require_token,
            token_cookie: config.token_cookie.as_deref().map(Box::from),
            publish_bytes_max: Arc::new(AtomicUsize::new(usize::MAX)),
        }
    }

    /// The shortest time that a peer has to meet a deadline.
    pub(crate) fn grace(&self) -> Duration {
        let times =
            [self.idle_timeout.saturating_sub(self.ping_interval), self.handshake_timeout, self.message_timeout];
        Duration::from_millis(times.into_iter().filter(|&millis| millis > 0).min().unwrap_or_default())
    }
}

impl Limits {
    /// The most bytes that a published message may have, see [`Limits::publish_bytes_max`].
    pub(crate) fn publish_bytes(&self) -> usize {
        self.publish_bytes_max.load(Ordering::Relaxed)
    }

    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]
    /// The most bytes of a list in an answer to an operator, except for its first entry. Past `outbox-max` an asker who reads
    /// slowly would be closed as a slow consumer.
    pub(crate) fn answer_bytes(&self) -> usize {
        (1024 * 1024).min(self.outbox_bytes_max / 2)
    }

    /// Whether these limits and `other` differ in their times.
    pub(crate) fn has_other_times(&self, other: &Self) -> bool {
        let times = |limits: &Self| {
            let Self { idle_timeout, ping_interval, handshake_timeout, message_timeout, http_keep_alive, .. } = limits;
            [*idle_timeout, *ping_interval, *handshake_timeout, *message_timeout, *http_keep_alive]
        };
        times(self) != times(other)
    }
}

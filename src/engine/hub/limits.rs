//! The limits that a core keeps, and how others take their place.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    config::{Config, Secret},
    engine::{hub::Hub, subscriptions::Slot, timers::Timers},
    protocol::message::HeadLimits,
};

/// The limits that a core keeps.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) message_bytes_max: usize,
    pub(crate) head: HeadLimits,
    pub(crate) outbox_bytes_max: usize,
    /// This core's share of the process's budget.
    pub(crate) kept_bytes_max: usize,
    pub(crate) subscriptions_max: usize,
    /// What one connection is charged for its subscriptions at most.
    pub(crate) subscription_bytes_max: usize,
    /// What the subscriptions of all connections, and what peers are interested in, take on this core at most.
    pub(crate) table_bytes_max: usize,
    /// In milliseconds, as the two below; zero is never.
    pub(crate) idle_timeout: u64,
    pub(crate) ping_interval: u64,
    pub(crate) handshake_timeout: u64,
    pub(crate) publish_key: Option<Secret>,
    /// The largest message that may be published; other nodes may take less than this one. The bridge sets it.
    pub(crate) publish_bytes_max: Arc<AtomicUsize>,
}

impl Limits {
    /// The limits of one of `cores` cores.
    pub(crate) fn new(config: &Config, memory_budget_bytes: u64, cores: usize) -> Self {
        let millis = |duration: Duration| duration.as_millis() as u64;
        let kept_bytes_max = usize::try_from(memory_budget_bytes).unwrap_or(usize::MAX) / cores;
        Self {
            message_bytes_max: config.message_bytes_max,
            head: HeadLimits { head_bytes_max: config.head_bytes_max, headers_max: config.headers_max },
            outbox_bytes_max: config.outbox_bytes_max,
            kept_bytes_max,
            subscriptions_max: config.subscriptions_max,
            subscription_bytes_max: config.subscription_bytes_max,
            table_bytes_max: kept_bytes_max / 2,
            idle_timeout: millis(config.idle_timeout),
            ping_interval: millis(config.ping_interval),
            handshake_timeout: millis(config.handshake_timeout),
            publish_key: config.publish_key.clone(),
            publish_bytes_max: Arc::new(AtomicUsize::new(usize::MAX)),
        }
    }
}

impl Hub {
    /// The most bytes that a message which is published may have.
    pub(crate) fn publish_bytes_max(&self) -> usize {
        self.limits.publish_bytes_max.load(Ordering::Relaxed)
    }

    /// Keeps to other limits from now on. Who is over one of them meets it with what it does next; deadlines are set anew
    /// for everybody.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        let times = |limits: &Limits| (limits.idle_timeout, limits.ping_interval, limits.handshake_timeout);
        self.repeat.forget(); // its head was held against the old ones
        let has_new_times = times(&self.limits) != times(&limits);
        // The bridge goes on telling by the one that it was given.
        self.limits = Limits { publish_bytes_max: Arc::clone(&self.limits.publish_bytes_max), ..limits };
        if has_new_times {
            // A second entry for each connection would stay beside the first for as long as it is open: all are forgotten,
            // and everybody is looked at once.
            self.timers = Timers::new(Duration::from_millis(self.now));
            let slots: Vec<Slot> = self.sessions.iter().map(|(slot, _)| slot as Slot).collect();
            slots.into_iter().for_each(|slot| self.schedule(slot, self.now));
        }
    }
}

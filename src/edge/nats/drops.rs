//! What the log says of messages that are dropped while the connection is up: each cause on its own, and not for each
//! message, for clients are not to write the log.

use std::time::Duration;

use tokio::time::Instant;

use super::{Shared, lock};

/// The least time between lines of the log about the same thing.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// In the log, for the channel of a message that was dropped where nobody sees which.
const SOME_CHANNEL: &str = "some channel";

/// Counts what has one cause, and what of it the log was told.
#[derive(Debug, Default)]
pub(super) struct Tally {
    count: u64,
    told: u64,
    /// One of those that the log was not told of.
    one: Option<Box<str>>,
}

impl Tally {
    pub(super) fn add(&mut self, one: &str) {
        self.count += 1;
        self.one.get_or_insert_with(|| one.into());
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How many the log was not told of, and one of them. It is told now.
    fn take(&mut self) -> Option<(u64, Box<str>)> {
        let news = self.count - std::mem::replace(&mut self.told, self.count);
        (news > 0).then(|| (news, self.one.take().unwrap_or_else(|| SOME_CHANNEL.into())))
    }
}

/// What the log was told.
#[derive(Debug, Default)]
pub(super) struct Drops {
    /// Messages for other nodes that were dropped.
    sent: u64,
    /// Messages that the client has dropped.
    overflowed: u64,
    at: Option<Instant>,
}

impl Shared {
    /// Messages for other nodes that were dropped since this was asked last, and a channel of one of them.
    pub(super) fn take_publish_drops(&self) -> Option<(u64, String)> {
        let dropped = self.uplink.dropped();
        let news = dropped - std::mem::replace(&mut lock(&self.drops).sent, dropped);
        (news > 0).then(|| (news, self.uplink.take_dropped_of().unwrap_or_else(|| SOME_CHANNEL.to_owned())))
    }

    /// Tells of messages that were dropped, if the last line about that is old enough.
    pub(super) fn log_drops(&self) {
        let is_due = lock(&self.drops).at.is_none_or(|at| at.elapsed() >= LOGGED_EVERY);
        if is_due && self.log_drops_now() {
            lock(&self.drops).at = Some(Instant::now());
        }
    }

    /// Tells of all messages that were dropped and that the log was not told of. Says whether there were any.
    pub(super) fn log_drops_now(&self) -> bool {
        let has_refusals = self.log_refusals();
        let (behind, too_big) = {
            let mut inbound = lock(&self.inbound);
            (inbound.behind.take(), inbound.too_big.take())
        };
        let overflowed = {
            let (mut drops, overflowed) = (lock(&self.drops), self.link.overflowed());
            overflowed - std::mem::replace(&mut drops.overflowed, overflowed)
        };
        let sent = self.take_publish_drops();
        if let Some((count, channel)) = &behind {
            log::warn!(
                "NATS: {count} messages from other nodes were dropped, for a core was behind; one of them on {channel}"
            );
        }
        if let Some((count, channel)) = &too_big {
            log::warn!(
                "NATS: {count} messages from other nodes were dropped, for they are larger than outbox-max; one of them on {channel}"
            );
        }
        if overflowed > 0 {
            log::warn!("NATS: {overflowed} messages from other nodes or more were dropped, for the bridge was behind");
        }
        if let Some((count, channel)) = &sent {
            log::warn!(
                "NATS: {count} messages for other nodes were dropped, for NATS is slower than they come; one of them on {channel}"
            );
        }
        has_refusals || behind.is_some() || too_big.is_some() || overflowed > 0 || sent.is_some()
    }

    /// Tells of what the server has refused. Says whether there was anything.
    fn log_refusals(&self) -> bool {
        let (subscriptions, publishes, others) = {
            let mut refusals = lock(&self.link.refusals);
            (refusals.subscriptions.take(), refusals.publishes.take(), refusals.others.take())
        };
        if let Some((count, name)) = &subscriptions {
            log::warn!(
                "NATS: {count} subscriptions are refused, for this node's user has no permission; one of them to {name}, for which nothing comes from other nodes"
            );
        }
        if let Some((count, channel)) = &publishes {
            log::warn!(
                "NATS: {count} messages for other nodes or more were refused, for this node's user has no permission; one of them on {channel}"
            );
        }
        if let Some((count, text)) = &others {
            log::warn!("NATS: the server says: {text} (and {} more)", count - 1);
        }
        subscriptions.is_some() || publishes.is_some() || others.is_some()
    }
}

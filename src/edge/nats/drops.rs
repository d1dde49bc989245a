//! What the log says of messages that are dropped while the connection is up, and of what the server refuses: each cause
//! on its own, and not each time, for clients are not to write the log.

use std::time::Duration;

use tokio::time::Instant;

use super::{Shared, lock};

/// The least time between two lines of the log about one cause.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// In the log, for the channel of a message that was dropped where nobody sees which.
const SOME_CHANNEL: &str = "some channel";

/// Counts what has one cause, and what of it the log was told.
#[derive(Debug, Default)]
pub(super) struct Tally {
    count: u64,
    told: u64,
    told_at: Option<Instant>,
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

    /// What is counted elsewhere.
    fn set(&mut self, count: u64) {
        self.count = count;
    }

    /// How many the log was not told of, and one of them; it is told now. None if it was told of others not long ago.
    fn take(&mut self, when: When) -> Option<(u64, Box<str>)> {
        let is_due = when == When::Now || self.told_at.is_none_or(|at| at.elapsed() >= LOGGED_EVERY);
        if self.count == self.told || !is_due {
            return None;
        }
        self.told_at = Some(Instant::now());
        let news = self.count - std::mem::replace(&mut self.told, self.count);
        Some((news, self.one.take().unwrap_or_else(|| SOME_CHANNEL.into())))
    }
}

/// Whether lines are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// All are written.
    Now,
    /// Those that are due.
    Due,
}

/// What is counted elsewhere.
#[derive(Debug, Default)]
pub(super) struct Drops {
    /// Messages for other nodes that were dropped.
    sent: Tally,
    /// Messages that the client has dropped.
    overflowed: Tally,
}

impl Shared {
    /// Messages for other nodes that were dropped and that the log was not told of, and a channel of one of them.
    pub(super) fn take_publish_drops(&self, when: When) -> Option<(u64, Box<str>)> {
        let mut drops = lock(&self.drops);
        drops.sent.set(self.uplink.dropped());
        let (count, some) = drops.sent.take(when)?;
        Some((count, self.uplink.take_dropped_of().map_or(some, Into::into)))
    }

    /// Tells of messages that were dropped, and of what was refused.
    pub(super) fn log_drops(&self, when: When) {
        let dropped = |news: Option<(u64, Box<str>)>, whose: &str, why: &str| {
            if let Some((count, channel)) = news {
                log::warn!(
                    "NATS: {count} messages {whose} other nodes were dropped, for {why}; one of them on {channel}"
                );
            }
        };
        let (behind, too_big) = {
            let mut inbound = lock(&self.inbound);
            (inbound.behind.take(when), inbound.too_big.take(when))
        };
        dropped(behind, "from", "a core was behind");
        dropped(too_big, "from", "they are larger than outbox-max");
        dropped(self.take_publish_drops(when), "for", "NATS is slower than they come");
        let overflowed = {
            let mut drops = lock(&self.drops);
            drops.overflowed.set(self.link.overflowed());
            drops.overflowed.take(when)
        };
        if let Some((count, _)) = overflowed {
            log::warn!("NATS: {count} messages from other nodes or more were dropped, for the bridge was behind");
        }
        self.log_refusals(when);
    }

    fn log_refusals(&self, when: When) {
        let beyond = lock(&self.table).beyond.take(when);
        let (subscriptions, publishes, others) = {
            let mut refusals = lock(&self.link.refusals);
            (refusals.subscriptions.take(when), refusals.publishes.take(when), refusals.others.take(when))
        };
        if let Some((count, name)) = beyond {
            log::warn!(
                "NATS: {count} channels and patterns are too many for memory-budget; one of them is {name}, for which nothing comes from other nodes"
            );
        }
        if let Some((count, name)) = subscriptions {
            log::warn!(
                "NATS: {count} subscriptions are refused, for this node's user has no permission; one of them to {name}, for which nothing comes from other nodes"
            );
        }
        if let Some((count, channel)) = publishes {
            log::warn!(
                "NATS: {count} messages for other nodes or more were refused, for this node's user has no permission; one of them on {channel}"
            );
        }
        if let Some((count, text)) = others {
            log::warn!("NATS: the server says: {text} (and {} more)", count - 1);
        }
    }
}

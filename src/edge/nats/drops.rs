//! What the log says of messages that are dropped while the connection is up, and of what the server refuses: each cause
//! on its own, and not each time, for clients are not to write the log.

use std::time::Duration;

use tokio::time::Instant;

use super::{Shared, lock};

/// The least time between two lines of the log about one cause.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// How much of a subject is kept for the log, in bytes: a channel is no longer.
const SHOWN_BYTES_MAX: usize = 255;

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

    /// The same of a subject, which may be anything. What is kept for the log is short.
    pub(super) fn add_bytes(&mut self, one: &[u8]) {
        self.count += 1;
        self.one.get_or_insert_with(|| shown(one));
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

/// A subject as the log shows it.
fn shown(subject: &[u8]) -> Box<str> {
    let start = &subject[..subject.len().min(SHOWN_BYTES_MAX)];
    match std::str::from_utf8(start) {
        Ok(text) if !text.contains(char::is_control) => text.into(),
        _ => start.escape_ascii().to_string().into(),
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
        let (behind, too_big, odd) = {
            let mut inbound = lock(&self.inbound);
            (inbound.behind.take(when), inbound.too_big.take(when), inbound.odd.take(when))
        };
        dropped(behind, "from", "a core was behind");
        dropped(too_big, "from", "they are larger than outbox-max");
        dropped(odd, "from", "their subjects are no channels");
        dropped(self.take_publish_drops(when), "for", "NATS is slower than they come");
        self.log_refusals(when);
    }

    fn log_refusals(&self, when: When) {
        let beyond = lock(&self.table).beyond.take(when);
        let mut refusals = lock(&self.refusals);
        let (subscriptions, limited) = (refusals.subscriptions.take(when), refusals.limited.take(when));
        let (publishes, others) = (refusals.publishes.take(when), refusals.others.take(when));
        if let Some((count, name)) = limited {
            log::warn!(
                "NATS: {count} subscriptions are refused ({}); one of them to {name}, for which nothing comes from other nodes",
                refusals.limit.escape_debug()
            );
        }
        drop(refusals);
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
            log::warn!("NATS: the server says: {} (and {} more)", text.escape_debug(), count - 1);
        }
    }
}

//! The log's lines about messages that were dropped while the connection is up, and about refusals: one line for each
//! cause, not for each event.

use super::{lasting::Lasting, tally::When};

impl Lasting {
    /// The number of messages for other nodes that were dropped since the last line in the log, with a channel of one of
    /// them.
    pub(super) fn take_publish_drops(&mut self, when: When) -> Option<(u64, Box<str>)> {
        self.publish_drops.set(self.uplink.dropped());
        let (count, some) = self.publish_drops.take(when)?;
        Some((count, self.uplink.take_dropped_of().map_or(some, Into::into)))
    }

    /// Logs dropped messages and refusals.
    pub(super) fn log_drops(&mut self, when: When) {
        let dropped = |news: Option<(u64, Box<str>)>, whose: &str, why: &str| {
            if let Some((count, channel)) = news {
                log::warn!(
                    "NATS: {count} messages {whose} other nodes were dropped, for {why}; one of them on {channel}"
                );
            }
        };
        dropped(self.to_cores.behind.take(when), "from", "a core was behind");
        dropped(self.to_cores.too_big.take(when), "from", "they are larger than outbox-max");
        dropped(self.to_cores.odd.take(when), "from", "their subjects are no channels");
        dropped(self.take_publish_drops(when), "for", "NATS is slower than they come");
        self.log_refusals(when);
    }

    fn log_refusals(&mut self, when: When) {
        let refusals = &mut self.refusals;
        if let Some((count, name)) = refusals.limited.take(when) {
            log::warn!(
                "NATS: {count} subscriptions are refused ({}); one of them to {name}, for which nothing comes from other nodes",
                refusals.limit.escape_debug()
            );
        }
        if let Some((count, name)) = self.table.beyond.take(when) {
            log::warn!(
                "NATS: memory-budget has no room for {count} channels and patterns; one of them is {name}, for which nothing comes from other nodes"
            );
        }
        if let Some((count, name)) = refusals.subscriptions.take(when) {
            log::warn!(
                "NATS: {count} subscriptions are refused, for this node's user has no permission; one of them to {name}, for which nothing comes from other nodes"
            );
        }
        if let Some((count, channel)) = refusals.publishes.take(when) {
            log::warn!(
                "NATS: {count} messages for other nodes or more were refused, for this node's user has no permission; one of them on {channel}"
            );
        }
        if let Some((count, text)) = refusals.others.take(when) {
            log::warn!("NATS: the server says: {} (and {} more)", text.escape_debug(), count - 1);
        }
    }
}

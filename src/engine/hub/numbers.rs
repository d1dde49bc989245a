//! Acknowledgements with the numbers of messages, and the upkeep of the history (PROTOCOL.md §10).

use std::sync::{Arc, atomic::AtomicBool};

use crate::{
    engine::{
        hub::{Hub, acks::too_many_acks},
        router::{Awaited, Home, Receipt, Step},
        slot::Slot,
    },
    error::Refusal,
    protocol::{
        channel::Kind,
        message::{Epoch, MessageId},
    },
};

impl Hub {
    /// Whether some channels have a history.
    pub(crate) fn has_history(&self) -> bool {
        self.limits.rules.has_history()
    }

    /// Begins an acknowledgement that says the numbers of `published` messages and the positions of these names.
    /// [`Hub::carried_out`] ends it.
    pub(crate) fn begin_receipt<'n>(
        &mut self,
        slot: Slot,
        token: &[u8],
        expires_in: Option<u64>,
        published: usize,
        names: impl Iterator<Item = &'n [u8]>,
    ) -> Receipt {
        let (mut list, mut subscribed) = (Vec::new(), 0);
        for name in names {
            list.extend_from_slice(name);
            list.push(b' ');
            subscribed += 1;
        }
        let key = self.sessions.key(slot);
        self.router.receipts.begin(key, token, expires_in, (published, subscribed), list.into())
    }

    /// Notes that a message with a receipt is carried out, and what its subscriptions wait for.
    pub(crate) fn carried_out(&mut self, receipt: Receipt, awaited: Awaited) {
        if self.router.unfinished.is_cut() {
            self.router.unfinished.put(Step::Carried { receipt, awaited });
        } else {
            self.router.receipts.carried_out(receipt, awaited);
        }
    }

    /// Whether a connection may wait for one more acknowledgement with numbers.
    ///
    /// # Errors
    /// `too-many-acks`.
    pub(crate) fn check_receipts(&self, slot: Slot) -> Result<(), Refusal> {
        if self.router.receipts.has_room(slot) { Ok(()) } else { Err(too_many_acks()) }
    }

    /// Sends the acknowledgements of which everything is known.
    pub(super) fn send_receipts(&mut self) {
        while let Some(waiting) = self.router.receipts.take_complete() {
            let is_open = self.sessions.is_current(waiting.key) && self.sessions.is_open(waiting.key.slot);
            if !is_open || waiting.token.is_empty() {
                continue;
            }
            if waiting.parts.iter().any(|part| part.has_failed) {
                self.refuse(waiting.key.slot, &history_unavailable(), Some(&waiting.token));
                continue;
            }
            let mut lines = std::mem::take(&mut self.scratch);
            lines.clear();
            lines.extend_from_slice(&waiting.token);
            if let Some(seconds) = waiting.expires_in {
                lines.extend_from_slice(b"\r\nexpires-in:");
                lines.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
            }
            let (published, subscribed) = waiting.parts.split_at(waiting.published);
            put_ids(&mut lines, b"message-id", published.iter().map(|part| part.id));
            put_ids(&mut lines, b"position", subscribed.iter().map(|part| part.id));
            if subscribed.iter().any(|part| part.is_lost) {
                lines.extend_from_slice(b"\r\nlost:");
                let names = waiting.names.split(|&byte| byte == b' ').zip(subscribed);
                let mut space: &[u8] = b"";
                for (name, _) in names.filter(|(_, part)| part.is_lost) {
                    lines.extend_from_slice(space);
                    lines.extend_from_slice(name);
                    space = b" ";
                }
            }
            self.acknowledge(waiting.key.slot, &lines, waiting.awaited);
            self.scratch = lines;
            self.router.receipts.reuse(waiting);
        }
        for key in self.router.take_failed() {
            if self.sessions.is_current(key) {
                self.refuse(key.slot, &history_unavailable(), None);
            }
        }
    }

    /// Whether messages of this channel are kept. Checks that they can be kept now.
    ///
    /// # Errors
    /// `history-unavailable`.
    pub(crate) fn may_keep(&self, name: &[u8]) -> Result<bool, Refusal> {
        if self.router.home(name, Kind::Exact) == Home::None {
            return Ok(false);
        }
        if self.router.is_store_available() { Ok(true) } else { Err(history_unavailable()) }
    }

    /// Carries out the next publish that the store has kept, or could not keep.
    pub(crate) fn go_on_storing(&mut self) {
        self.router.go_on_storing();
        self.message_done(None);
        self.send_receipts();
    }

    /// Continues the history of an earlier run, see [`crate::engine::history::History::continue_from`].
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    pub(crate) fn continue_history(&mut self, epoch: Epoch, floor: u64) {
        self.router.history.continue_from(epoch, floor);
    }

    /// Keeps the history in a store, too, from now on, which may be behind by this many bytes.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code))]
    pub(crate) fn keep_in_store(&mut self, is_available: Arc<AtomicBool>, bytes_max: usize) {
        self.router.keep_in_store(is_available, bytes_max);
    }

    /// Lets a cluster's stream number and keep the messages of channels with a history, and shares who is present. Publishes
    /// to the stream may wait, this many bytes of them.
    #[cfg_attr(not(feature = "nats"), allow(dead_code))]
    pub(crate) fn join_cluster(&mut self, is_available: Arc<AtomicBool>, bytes_max: usize) {
        self.router.history.join_cluster();
        self.router.presence.join_cluster(self.limits.rules.has_presence());
        self.router.keep_in_store(is_available, bytes_max);
    }

    /// Brings the history back to its budget, step by step.
    pub(super) fn settle_history(&mut self) {
        if self.has_unsettled_history() {
            let (router, rules) = (&mut self.router, &self.limits.rules);
            let of_review = router.history.review(router.outboxes.arena(), |name| rules.retention(name));
            let units = of_review + router.history.settle(router.outboxes.arena());
            router.work.add(units);
            router.forget_channels();
            router.load_stale();
        }
    }

    /// Whether the history takes more than its budget, or much memory that it does not use, or new rules count for it.
    pub(super) fn has_unsettled_history(&self) -> bool {
        self.router.history.is_in_review()
            || self.router.history.has_stale()
            || self.router.history.is_over(self.router.outboxes.arena_ref())
    }

    /// Drops what is too old. Returns whether there was any.
    pub(super) fn expire_history(&mut self) -> bool {
        let router = &mut self.router;
        let subscriptions = &router.subscriptions;
        let is_used = |name: &[u8]| subscriptions.find(name).is_some();
        let had_any = router.history.expire(self.ran, router.outboxes.arena(), is_used);
        router.forget_channels();
        had_any
    }

    pub(super) fn refresh_history_stats(&mut self) {
        let (history, stats) = (&self.router.history, &mut self.stats);
        stats.history_channels = history.len() as u64;
        stats.history_messages = history.messages() as u64;
        stats.history_bytes = history.bytes(self.router.outboxes.arena_ref()) as u64;
        stats.history_over_budget = history.counts.over_budget;
        stats.caught_up = self.missed.caught_up;
        stats.catch_ups_lost = self.missed.lost;
        stats.history_refused = self.router.store_refused();
    }
}

/// What the publisher of a message is told that cannot be kept.
fn history_unavailable() -> Refusal {
    Refusal::new(503, "history-unavailable", "the message cannot be kept now, try again later")
}

/// Appends a header with an id for each part, or `-`; nothing if there is no id.
fn put_ids(lines: &mut Vec<u8>, name: &[u8], ids: impl Iterator<Item = Option<MessageId>> + Clone) {
    if ids.clone().all(|id| id.is_none()) {
        return;
    }
    lines.extend_from_slice(b"\r\n");
    lines.extend_from_slice(name);
    let mut separator = b':';
    for id in ids {
        lines.push(std::mem::replace(&mut separator, b' '));
        match id {
            Some(id) => id.write(lines),
            None => lines.push(b'-'),
        }
    }
}

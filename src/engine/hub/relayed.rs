//! Batches from peers and from the bridge.

use crate::{
    engine::{
        hub::Hub,
        relay::{self, HistoryItem, Item},
        router::{Known, Receipt},
    },
    protocol::channel::Kind,
};

impl Hub {
    /// Takes a batch of a peer. Returns how many of its bytes were used. If some are left, the turn is full: the caller
    /// flushes and passes the rest again.
    pub(crate) fn relayed(&mut self, peer: u32, batch: &[u8]) -> usize {
        let mut is_answered = false;
        let mut rest = batch;
        while !self.router.must_stop()
            && !self.router.unfinished.is_first()
            && let Some(item) = relay::next(&mut rest)
        {
            match item {
                Item::Publish { channels, frame } => {
                    self.router.deliver_relayed(channels, frame);
                    self.message_done(None);
                }
                Item::Interest { name, kind, interested } => self.router.hear_interest(peer, name, kind, interested),
                Item::Answered(count) => {
                    self.router.relays.answered(peer, count);
                    is_answered = true;
                }
                Item::Delivery { name, kind, frame } => {
                    self.router.deliver_to(name, kind, frame);
                    self.message_done(None);
                }
                Item::Wide { name, is_all, frame } => {
                    self.router.deliver_wide(name, is_all, frame);
                    self.message_done(None);
                }
                Item::Accepted { name, kind } => self.router.subscriptions.accept(name, kind),
                Item::Refused { name, kind } => self.refused_by_bridge(name, kind),
                Item::Absent => {
                    self.router.relays.absent(peer);
                    self.router.subscriptions.forget_refusals();
                    is_answered = true;
                }
                Item::Presence(item) => self.relayed_presence(peer, item),
                Item::History(item) => self.relayed_history(peer, item),
                Item::Cluster(item) => self.relayed_cluster(item),
                Item::Members(item) => self.relayed_members(&item),
                Item::CaughtUp => self.router.relays.has_caught_up(peer),
                Item::Stopping => self.router.relays.has_stopped(peer),
            }
        }
        if is_answered {
            self.acknowledge_live();
        }
        self.send_receipts();
        batch.len() - rest.len()
    }

    fn relayed_history(&mut self, peer: u32, item: HistoryItem<'_>) {
        match item {
            HistoryItem::Store(store) => {
                self.router.store(peer, store);
                self.router.relays.has_stored(peer, store.message.len());
                self.message_done(None);
            }
            HistoryItem::Stored { receipt, id } => {
                if let Some(receipt) = Receipt::of(receipt) {
                    self.router.receipts.note(receipt, Known { id, ..Known::default() });
                }
            }
            HistoryItem::NotStored { receipt, publisher } => {
                self.router.note_failure(Receipt::of(receipt), publisher);
            }
            HistoryItem::Numbered { name, frame, except } => {
                let except = Some(except).filter(|&key| self.sessions.is_current(key));
                self.router.deliver_numbered(name, frame, except);
                self.message_done(None);
            }
            HistoryItem::Missed { request, wish, name, bytes_max } => {
                self.answer_missed(peer, request, wish, name, bytes_max);
            }
            HistoryItem::MissedPart(part) => self.take_missed(part),
            HistoryItem::Credit(bytes) => self.router.relays.credited(peer, bytes),
        }
    }

    /// Notes that the bridge gets no messages for this name. Later acknowledgements and the waiting ones say so. Cost:
    /// one lookup, however many wait.
    fn refused_by_bridge(&mut self, name: &[u8], kind: Kind) {
        let Some(audience) = self.router.subscriptions.find_name(name, kind) else { return };
        self.router.subscriptions.set_refused(audience);
        self.acks.refuse(self.router.subscriptions.live_at(audience));
    }
}

//! Batches from peers and the bridge: each link gets a bounded share of a turn.

use crate::engine::turn::{Links, Sockets, Taken, Turn};

/// A batch that was used in part: its bytes, and how many of them were used.
pub(super) type Rest = Option<(Vec<u8>, usize)>;

impl<S: Sockets, L: Links> Turn<S, L> {
    /// Takes from each link. Each turn begins with another link, round robin.
    pub(super) fn take_batches(&mut self) -> bool {
        let (count, mut had_batches) = (self.links.count(), false);
        self.rests.resize(count, None);
        for step in 0..count {
            had_batches |= self.take_from_link((self.first_link + step) % count);
        }
        self.first_link = (self.first_link + 1) % count.max(1);
        had_batches | self.take_from_bridge() | self.take_from_store()
    }

    /// Whether batches, or rests of batches, wait.
    pub(super) fn has_batches_in(&self) -> bool {
        self.rests.iter().any(Option::is_some) || self.bridge_rest.is_some() || self.links.has_batches_in()
    }

    fn take_from_link(&mut self, link: usize) -> bool {
        let peer = self.links.peer(link);
        let mut had_batches = false;
        self.limit_link();
        while !self.hub.router.work.is_at_limit() && !self.hub.router.unfinished.is_first() {
            let (batch, used) = match self.rests[link].take() {
                Some(rest) => rest,
                None => match self.links.take(link) {
                    Taken::Batch(batch) => (batch, 0),
                    Taken::Nothing => break,
                    Taken::Ended => {
                        self.hub.router.relays.has_ended(peer);
                        break;
                    }
                },
            };
            had_batches = true;
            self.rests[link] = self.take_batch(peer, batch, used);
        }
        self.hub.router.work.limit(u64::MAX);
        had_batches
    }

    /// Takes only the batches that have come when this begins: the bridge may send as fast as this core takes.
    fn take_from_bridge(&mut self) -> bool {
        let Some(peer) = self.links.bridge() else { return false };
        let waiting = self.links.waiting_of_bridge() + usize::from(self.bridge_rest.is_some());
        self.limit_link();
        for _ in 0..waiting {
            if self.hub.router.work.is_at_limit() || self.hub.router.unfinished.is_first() {
                break;
            }
            let next = self.bridge_rest.take().or_else(|| Some((self.links.take_of_bridge()?, 0)));
            let Some((batch, used)) = next else { break };
            self.bridge_rest = self.take_batch(peer, batch, used);
        }
        self.hub.router.work.limit(u64::MAX);
        waiting > 0
    }

    /// Takes what the store has kept.
    fn take_from_store(&mut self) -> bool {
        let mut had_batches = false;
        self.limit_link();
        while !self.hub.router.work.is_at_limit() && !self.hub.router.unfinished.is_first() {
            if !self.hub.router.has_stored_batch() {
                let Some(batch) = self.links.take_of_store() else { break };
                self.hub.router.stored_batch(batch);
            }
            had_batches = true;
            self.hub.go_on_storing();
            self.flush_if_full();
        }
        self.hub.router.work.limit(u64::MAX);
        had_batches
    }

    /// Hands publishes to the store. What it does not take now is kept and grows.
    pub(super) fn hand_to_store(&mut self) {
        if let Some(batch) = self.hub.router.take_store_batch()
            && let Err(batch) = self.links.send_to_store(batch)
        {
            self.hub.router.give_back_store_batch(batch);
        }
    }

    /// Hands interest and publishes to the bridge. Interest that the bridge does not take now is kept and grows.
    pub(super) fn hand_to_bridge(&mut self) {
        let Some(bridge) = self.links.bridge() else { return };
        let mut interest = self.hub.router.relays.take_interest();
        if self.links.is_bridge_full()
            && let Some(interest) = interest.take()
        {
            self.hub.router.relays.give_back_interest(interest);
        }
        let hub = &mut self.hub;
        self.links.send_to_bridge(interest, std::iter::from_fn(|| hub.router.relays.take(bridge)));
    }

    /// Limits the work for one link, unless this core reads no connection at present: then nothing has to wait for the
    /// link.
    fn limit_link(&mut self) {
        let is_quiet = self.lanes.is_quiet(self.now);
        self.hub.router.work.limit(if is_quiet { u64::MAX } else { self.sizes.share_units });
    }

    /// Takes a batch from byte `used` on. Returns the rest if the link's share is used up.
    fn take_batch(&mut self, peer: u32, batch: Vec<u8>, mut used: usize) -> Rest {
        while used < batch.len() {
            used += self.hub.relayed(peer, &batch[used..]);
            self.flush_if_full();
            if used < batch.len() && (self.hub.router.work.is_at_limit() || self.hub.router.unfinished.is_first()) {
                return Some((batch, used));
            }
        }
        None
    }
}

//! What a core takes in from its peers and the bridge: a bounded share of a turn for each link.

use crossbeam_channel::TryRecvError;

use crate::engine::{core::Core, hub::SHARE_UNITS};

/// The rest of a batch whose begin is done: its bytes, and how many of them were used.
pub(crate) type Rest = Option<(Vec<u8>, usize)>;

impl Core {
    /// Takes from each link, the one first that was second in the last turn.
    pub(super) fn take_batches(&mut self) -> bool {
        let (count, mut had_batches) = (self.links.len(), false);
        for step in 0..count {
            had_batches |= self.take_from_link((self.first_link + step) % count);
        }
        self.first_link = (self.first_link + 1) % count.max(1);
        had_batches | self.take_from_bridge()
    }

    /// Whether batches wait, or parts of them.
    pub(super) fn has_batches_in(&self) -> bool {
        self.links.iter().any(|link| link.rest.is_some() || !link.batches_in.is_empty())
            || self.bridge_rest.is_some()
            || self.bridge.as_ref().is_some_and(|bridge| bridge.waiting() > 0)
    }

    fn take_from_link(&mut self, index: usize) -> bool {
        let peer = self.links[index].peer;
        let mut had_batches = false;
        self.limit_link();
        while !self.hub.is_at_limit() && !self.hub.must_finish_first() {
            let link = &mut self.links[index];
            let (batch, used) = match link.rest.take().map_or_else(|| link.batches_in.try_recv().map(|b| (b, 0)), Ok) {
                Ok(batch) => batch,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.hub.peer_has_ended(peer);
                    break;
                }
            };
            had_batches = true;
            self.links[index].rest = self.take_batch(peer, batch, used);
        }
        self.hub.limit_work(u64::MAX);
        had_batches
    }

    /// The bridge may go on sending as fast as this core can take it, so what it had sent when this began is enough.
    fn take_from_bridge(&mut self) -> bool {
        let Some(bridge) = &self.bridge else { return false };
        let (peer, waiting) = (bridge.peer, bridge.waiting() + usize::from(self.bridge_rest.is_some()));
        self.limit_link();
        for _ in 0..waiting {
            if self.hub.is_at_limit() || self.hub.must_finish_first() {
                break;
            }
            let next = self.bridge_rest.take().or_else(|| Some((self.bridge.as_ref()?.take()?, 0)));
            let Some((batch, used)) = next else { break };
            self.bridge_rest = self.take_batch(peer, batch, used);
        }
        self.hub.limit_work(u64::MAX);
        waiting > 0
    }

    /// While nobody is read here there is nobody to wait for a link.
    fn limit_link(&mut self) {
        let is_quiet = self.lanes.is_quiet(self.now);
        self.hub.limit_work(if is_quiet { u64::MAX } else { SHARE_UNITS });
    }

    /// Takes a batch from byte `used` on, and gives the rest of it when that was enough.
    fn take_batch(&mut self, peer: u32, batch: Vec<u8>, mut used: usize) -> Rest {
        while used < batch.len() {
            used += self.hub.relayed(peer, &batch[used..]);
            self.flush_if_full();
            if used < batch.len() && (self.hub.is_at_limit() || self.hub.must_finish_first()) {
                return Some((batch, used));
            }
        }
        None
    }
}

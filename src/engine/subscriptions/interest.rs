//! The peers' interest here, and our names that were announced to them. A name is kept until it is withdrawn.

use super::{AudienceId, PEERS_MAX, Subscriptions};
use crate::protocol::channel::Kind;

/// The peers' interest.
impl Subscriptions {
    /// Notes whether a peer has subscribers for a name.
    ///
    /// # Panics
    /// If `peer` is not below [`PEERS_MAX`].
    pub(crate) fn set_interest(&mut self, peer: u32, name: &[u8], kind: Kind, interested: bool) {
        assert!(peer < PEERS_MAX, "peer {peer} of at most {PEERS_MAX}");
        if interested {
            let id = self.find_or_add(name, kind);
            self.audiences[id as usize].peers |= 1 << peer;
        } else if let Some(id) = self.lookup(name, kind) {
            self.audiences[id as usize].peers &= !(1 << peer);
            self.free_if_unused(id);
        }
    }

    /// The names that have a local subscriber. Cost: visits all audiences.
    #[cfg(test)]
    pub(crate) fn local(&self) -> impl Iterator<Item = (&[u8], Kind)> {
        let subscribed = self.audiences.iter().filter(|(_, audience)| !audience.subscribers.is_empty());
        subscribed.map(|(_, audience)| (&*audience.name, audience.kind))
    }
}

/// Our interest.
impl Subscriptions {
    /// Notes that a name is announced to the peers. Returns false if it was announced before. The audience stays until
    /// [`withdraw`](Self::withdraw), with or without subscribers.
    pub(crate) fn announce(&mut self, id: AudienceId) -> bool {
        !std::mem::replace(&mut self.audiences[id.0 as usize].is_announced, true)
    }

    /// Whether this name is announced to the peers.
    pub(crate) fn is_announced(&self, name: &[u8], kind: Kind) -> bool {
        self.lookup(name, kind).is_some_and(|id| self.audiences[id as usize].is_announced)
    }

    /// The name of an audience.
    pub(crate) fn name(&self, id: AudienceId) -> (&[u8], Kind) {
        let audience = &self.audiences[id.0 as usize];
        (&audience.name, audience.kind)
    }

    /// Appends the announced names that have lost their last subscriber since the last call. Each begins to linger, and
    /// is not appended again until [`end_lingering`](Self::end_lingering).
    pub(crate) fn take_left(&mut self, left: &mut Vec<AudienceId>) {
        left.extend(self.left.drain(..).map(AudienceId));
    }

    /// Ends a name's lingering. Returns the name if it still has no subscriber: then [`withdraw`](Self::withdraw) it.
    pub(crate) fn end_lingering(&mut self, id: AudienceId) -> Option<(&[u8], Kind)> {
        let audience = &mut self.audiences[id.0 as usize];
        audience.lingers = false;
        audience.subscribers.is_empty().then_some((&*audience.name, audience.kind))
    }

    /// Notes that a name is withdrawn from the peers. Its audience is removed unless a peer is interested.
    pub(crate) fn withdraw(&mut self, id: AudienceId) {
        self.audiences[id.0 as usize].is_announced = false;
        self.free_if_unused(id.0);
    }
}

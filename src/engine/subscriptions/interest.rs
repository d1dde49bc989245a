//! The peers' interest here, and the names of ours that they were told of: those are kept until they are told otherwise.

use super::{AudienceId, PEERS_MAX, Subscriptions};
use crate::protocol::channel::Kind;

/// Theirs.
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

    /// The names that have a local subscriber. Cost: all audiences.
    #[cfg(test)]
    pub(crate) fn local(&self) -> impl Iterator<Item = (&[u8], Kind)> {
        let subscribed = self.audiences.iter().filter(|(_, audience)| !audience.subscribers.is_empty());
        subscribed.map(|(_, audience)| (&*audience.name, audience.kind))
    }
}

/// Ours.
impl Subscriptions {
    /// Notes that the peers are told of a name. False if they were before. The audience stays until
    /// [`withdraw`](Self::withdraw), with or without subscribers.
    pub(crate) fn announce(&mut self, id: AudienceId) -> bool {
        !std::mem::replace(&mut self.audiences[id.0 as usize].is_announced, true)
    }

    /// Whether the peers were told of this name.
    pub(crate) fn is_announced(&self, name: &[u8], kind: Kind) -> bool {
        self.lookup(name, kind).is_some_and(|id| self.audiences[id as usize].is_announced)
    }

    /// The name of an audience.
    pub(crate) fn name(&self, id: AudienceId) -> (&[u8], Kind) {
        let audience = &self.audiences[id.0 as usize];
        (&audience.name, audience.kind)
    }

    /// Appends the announced names that have lost their last subscriber since this was asked last. Each begins to linger,
    /// and comes once until [`end_lingering`](Self::end_lingering).
    pub(crate) fn take_left(&mut self, left: &mut Vec<AudienceId>) {
        left.extend(self.left.drain(..).map(AudienceId));
    }

    /// Ends a name's lingering, and gives the name if it still has no subscriber: then [`withdraw`](Self::withdraw) it.
    pub(crate) fn end_lingering(&mut self, id: AudienceId) -> Option<(&[u8], Kind)> {
        let audience = &mut self.audiences[id.0 as usize];
        audience.lingers = false;
        audience.subscribers.is_empty().then_some((&*audience.name, audience.kind))
    }

    /// Notes that the peers are told that a name has no subscriber. It is gone unless a peer is interested.
    pub(crate) fn withdraw(&mut self, id: AudienceId) {
        self.audiences[id.0 as usize].is_announced = false;
        self.free_if_unused(id.0);
    }
}

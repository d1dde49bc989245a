//! Who asked for a subscription: the client, who is bound by the rules for channels, or the server's own code, which is not.

use super::{Held, Subscriptions};
use crate::{engine::slot::Slot, protocol::channel::Kind};

/// The bit of [`Held`] that marks a subscription of the server's code. An audience has fewer subscribers than this.
const OF_SERVER: u32 = 1 << 31;

impl Held {
    pub(super) fn index(self) -> usize {
        (self.place & !OF_SERVER) as usize
    }

    pub(super) fn set_index(&mut self, index: usize) {
        self.place = self.place & OF_SERVER | index as u32;
    }

    fn is_of_server(self) -> bool {
        self.place & OF_SERVER != 0
    }
}

impl Subscriptions {
    /// Notes that the server's code has asked for a subscription: no rule ends it.
    pub(crate) fn mark_as_servers(&mut self, slot: Slot, name: &[u8], kind: Kind) {
        if let Some(id) = self.lookup(name, kind)
            && let Some(position) = self.position(slot, id)
        {
            self.held[slot as usize][position].place |= OF_SERVER;
        }
    }

    /// The names that a connection is subscribed to because its client asked for it.
    pub(crate) fn of_client(&self, slot: Slot) -> impl Iterator<Item = (&[u8], Kind)> {
        self.held(slot).filter(|held| !held.is_of_server()).map(|held| self.held_name(held))
    }

    /// The names that a connection is subscribed to.
    pub(crate) fn of(&self, slot: Slot) -> impl Iterator<Item = (&[u8], Kind)> {
        self.held(slot).map(|held| self.held_name(held))
    }

    fn held(&self, slot: Slot) -> impl Iterator<Item = &Held> {
        self.held.get(slot as usize).into_iter().flatten()
    }

    fn held_name(&self, held: &Held) -> (&[u8], Kind) {
        let audience = &self.audiences[held.audience as usize];
        (&audience.name, audience.kind)
    }
}

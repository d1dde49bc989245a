//! The limit on connections, as a node keeps it.

use std::sync::{Arc, atomic::AtomicUsize};

use super::Node;
use crate::{
    engine::{slot::Slot, turn::Places},
    simulation::sockets::Socket,
};

impl Node {
    /// Limits the connections of all nodes that count in `open`, and reserves places for those over the limit.
    pub(crate) fn set_places(&mut self, open: Arc<AtomicUsize>, connections_max: usize, reserved: usize) {
        self.turn.places = Places::new(open, connections_max);
        self.turn.places.reserve(reserved);
    }

    /// The sockets that were accepted since this was asked last, in order.
    pub(crate) fn take_accepted(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.turn.sockets.accepted)
    }

    /// Whether a socket was accepted.
    pub(crate) fn is_accepted(&self, socket: usize) -> bool {
        self.turn.sockets.is_accepted(socket)
    }

    /// The slot of a socket's connection, if it was accepted and is not closed.
    pub(crate) fn slot_of(&self, socket: usize) -> Option<Slot> {
        let key = self.turn.sockets.is_accepted(socket).then(|| self.turn.sockets.key(socket))?;
        self.turn.hub.sessions.is_current(key).then_some(key.slot)
    }

    /// Whether an open socket's connection is over the limit.
    pub(crate) fn is_reserved(&self, socket: usize) -> bool {
        self.turn.places.holds(self.turn.sockets.key(socket).slot)
    }

    /// How many connections are open within the limit.
    pub(crate) fn ordinary(&self) -> usize {
        self.turn.sockets.slots().filter(|&slot| !self.turn.places.holds(slot)).count()
    }

    pub(crate) fn socket_of(&self, id: usize) -> &Socket {
        &self.turn.sockets.all[id]
    }
}

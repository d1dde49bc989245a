//! The reserved places of a core: connections over the limit of their role, each read for one request.

use std::{collections::VecDeque, io::Write, net::Shutdown};

use crate::engine::{
    arrival::Role,
    hub::Hub,
    reactor::Reactor,
    slot::{ConnectionKey, Slot},
};

/// One turn gives one place in this many.
const SHARE_PER_TURN: usize = 4;

/// The answer to a connection that gives way without another.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nX-Content-Type-Options: nosniff\r\nRetry-After: 5\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// The connections on reserved places.
#[derive(Debug)]
pub(super) struct Reserve {
    /// The oldest first.
    taken: VecDeque<ConnectionKey>,
    places: usize,
}

impl Reserve {
    pub(super) fn new(places: usize) -> Self {
        Self { taken: VecDeque::new(), places }
    }

    /// How many connections over the limit are accepted in one turn. All of them are read in that turn, and none gives way
    /// to another.
    pub(super) fn accepts_per_turn(&self) -> usize {
        self.places / SHARE_PER_TURN
    }

    pub(super) fn add(&mut self, key: ConnectionKey) {
        debug_assert!(self.taken.len() < self.places);
        self.taken.push_back(key);
    }

    /// The connection is over.
    pub(super) fn remove(&mut self, slot: Slot) {
        self.taken.retain(|key| key.slot != slot);
    }
}

impl Reactor {
    /// Frees a reserved place of this role if all are taken: the oldest connection that has its answer gives way, or else
    /// the oldest. Each was read at least in the turn in which it came. So a connection that has sent its request by then is
    /// answered, whatever the others do. The socket is closed when the turn ends.
    pub(super) fn make_room(&mut self, hub: &mut Hub, role: Role) {
        let Reserve { taken, places } = &mut self.quotas.of(role).reserve;
        if taken.len() < *places {
            return;
        }
        let answered = taken.iter().position(|key| !hub.is_unanswered(key.slot));
        let Some(key) = taken.remove(answered.unwrap_or(0)) else { return };
        if answered.is_none()
            && let Some(stream) = &mut self.connections.get(key.slot).stream
        {
            hub.count_turned_away();
            let _ = stream.write(BUSY).and_then(|_| stream.shutdown(Shutdown::Write)); // it may be gone
        }
        hub.give_way(key.slot);
    }
}

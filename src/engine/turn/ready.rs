//! Which connections may have something to read.

use crate::engine::slot::{ConnectionKey, Slot};

/// The connections that a turn reads first, each once.
#[derive(Debug, Default)]
pub(super) struct Ready {
    list: Vec<ConnectionKey>,
    by_slot: Vec<Known>,
    /// A second list, empty between turns, so that its memory is reused.
    spare: Vec<ConnectionKey>,
}

/// The state of the connection in a slot.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// It is on the list, or waits in a lane to be read.
    is_ready: bool,
    is_read_closed: bool,
}

impl Ready {
    /// Notes that a new connection has this slot.
    pub(super) fn open(&mut self, slot: Slot) {
        let slot = slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, Known::default());
        }
        self.by_slot[slot] = Known::default();
    }

    /// Puts a connection on the list, unless it already waits to be read.
    pub(super) fn add(&mut self, key: ConnectionKey) {
        if !self.set(key.slot, true) {
            self.list.push(key);
        }
    }

    /// Puts connections before all others, except those that already wait to be read.
    pub(super) fn add_first(&mut self, keys: &mut Vec<ConnectionKey>) {
        keys.retain(|key| !self.set(key.slot, true));
        self.list.splice(0..0, keys.drain(..));
    }

    /// Sets whether a connection waits to be read, and returns the former value.
    pub(super) fn set(&mut self, slot: Slot, is_ready: bool) -> bool {
        std::mem::replace(&mut self.by_slot[slot as usize].is_ready, is_ready)
    }

    /// Whether a connection waits to be read.
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.by_slot[slot as usize].is_ready
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes the list. Connections that are added from now on are read in the next turn.
    pub(super) fn take(&mut self) -> Vec<ConnectionKey> {
        std::mem::replace(&mut self.list, std::mem::take(&mut self.spare))
    }

    /// Takes the list back after use.
    pub(super) fn give_back(&mut self, mut list: Vec<ConnectionKey>) {
        list.clear();
        self.spare = list;
    }

    /// Notes that the peer has shut its side. After that a short read does not mean that the socket is empty.
    pub(super) fn set_read_closed(&mut self, slot: Slot) {
        self.by_slot[slot as usize].is_read_closed = true;
    }

    pub(super) fn is_read_closed(&self, slot: Slot) -> bool {
        self.by_slot[slot as usize].is_read_closed
    }
}

//! Which connections may have something to read.

use crate::engine::slot::{ConnectionKey, Slot};

/// The connections that a turn reads first, each once.
#[derive(Debug, Default)]
pub(super) struct Ready {
    list: Vec<ConnectionKey>,
    by_slot: Vec<Known>,
    /// The list's other half, empty between turns: its memory is used again.
    spare: Vec<ConnectionKey>,
}

/// What is known of the connection in a slot.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// It is on the list, or waits elsewhere to be read.
    is_ready: bool,
    is_read_closed: bool,
}

impl Ready {
    /// A connection begins in this slot.
    pub(super) fn open(&mut self, slot: Slot) {
        let slot = slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, Known::default());
        }
        self.by_slot[slot] = Known::default();
    }

    /// Puts a connection on the list, unless it waits to be read already.
    pub(super) fn add(&mut self, key: ConnectionKey) {
        if !self.set(key.slot, true) {
            self.list.push(key);
        }
    }

    /// Puts connections before all others, but those that wait to be read already.
    pub(super) fn add_first(&mut self, keys: &mut Vec<ConnectionKey>) {
        keys.retain(|key| !self.set(key.slot, true));
        self.list.splice(0..0, keys.drain(..));
    }

    /// Notes whether a connection waits to be read, and gives what was noted.
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

    /// Takes the list. What is added from now on is read in the next turn.
    pub(super) fn take(&mut self) -> Vec<ConnectionKey> {
        std::mem::replace(&mut self.list, std::mem::take(&mut self.spare))
    }

    /// The list that was taken is done with.
    pub(super) fn give_back(&mut self, mut list: Vec<ConnectionKey>) {
        list.clear();
        self.spare = list;
    }

    /// The peer has shut its side: a short read is not the end of what can be read then.
    pub(super) fn set_read_closed(&mut self, slot: Slot) {
        self.by_slot[slot as usize].is_read_closed = true;
    }

    pub(super) fn is_read_closed(&self, slot: Slot) -> bool {
        self.by_slot[slot as usize].is_read_closed
    }
}

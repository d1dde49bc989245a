//! A socket that takes what the test allows, and compares it with what it must receive.

use std::io::{self, IoSlice};

use super::{ENDLESS, RECORD};
use crate::engine::{
    outbox::{Sink, Written},
    slot::Slot,
};

/// The model of one connection.
#[derive(Default)]
pub(super) struct Model {
    /// All bytes that the peer must receive.
    pub(super) expected: Vec<u8>,
    /// Where `expected` may be cut: after HTTP and after each frame. `None` until the upgrade.
    pub(super) boundaries: Option<Vec<usize>>,
    pub(super) received: Vec<u8>,
    pub(super) room: usize,
    pub(super) cap: usize,
    pub(super) is_broken: bool,
    /// The socket encrypts: the peer has nothing of a record before it has all of it.
    pub(super) is_sealed: bool,
    /// The bytes of the record that the socket has sent a part of.
    pub(super) begun: Vec<u8>,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { cap: ENDLESS, ..Self::default() }
    }

    /// The connection in a slot: every second one encrypts.
    pub(super) fn of(slot: Slot) -> Self {
        Self { is_sealed: slot % 2 == 1, ..Self::new() }
    }

    /// Puts bytes into records, of which the socket takes this many bytes. Returns how many are in whole records.
    pub(super) fn seal(&mut self, bytes: &[u8], taken: usize) -> usize {
        assert!(bytes.starts_with(&self.begun), "a record that was begun was not offered again");
        let (mut whole, mut next) = (0, if self.begun.is_empty() { RECORD.min(bytes.len()) } else { self.begun.len() });
        while next > 0 && whole + next <= taken {
            whole += next;
            next = RECORD.min(bytes.len() - whole);
            self.begun.clear();
        }
        if taken > whole {
            self.begun = bytes[whole..whole + next].to_vec();
        }
        whole
    }

    pub(super) fn pending(&self) -> usize {
        self.expected.len() - self.received.len()
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        let rest = &self.expected[self.received.len()..];
        assert!(rest.starts_with(bytes), "the peer received wrong bytes, or not in order");
        self.received.extend_from_slice(bytes);
    }
}

impl Sink for Vec<Model> {
    fn write(&mut self, slot: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written> {
        let model = &mut self[slot as usize];
        assert!(!slices.is_empty() && slices.iter().all(|slice| !slice.is_empty()), "an empty write");
        if model.is_broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let bytes = slices.iter().map(|slice| &slice[..]).collect::<Vec<_>>().concat();
        let taken = bytes.len().min(model.room).min(model.cap);
        let sent = if model.is_sealed { model.seal(&bytes, taken) } else { taken };
        model.receive(&bytes[..sent]);
        model.room = if model.room == ENDLESS { ENDLESS } else { model.room - taken };
        // A socket with room for exactly these bytes is full after them.
        let is_blocked = taken < bytes.len() || model.room == 0;
        Ok(Written { bytes: sent, is_blocked, begun: model.begun.len() })
    }
}

//! Connections that are not read for now: their next message needs a congested link, or their last one is not finished.

use std::collections::VecDeque;

use crate::engine::{
    session::Phase,
    sessions::Sessions,
    slot::{ConnectionKey, Slot},
};

/// The paused connections.
#[derive(Debug, Default)]
pub(super) struct Paused {
    /// Each connection with a bit for each link that it waits for; the longest waiting one is first.
    list: VecDeque<(ConnectionKey, u64)>,
    /// The bits of all of them.
    links: u64,
    /// One of them no longer waits for a link.
    has_free: bool,
}

impl Paused {
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn contains(&self, key: ConnectionKey) -> bool {
        self.list.iter().any(|(paused, _)| *paused == key)
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Sessions {
    /// Whether a connection is read now. The input of a paused one stays in its socket, where it costs none of our
    /// memory, until [`Sessions::take_resumed`] returns the connection.
    pub(crate) fn may_read(&self, slot: Slot) -> bool {
        !self[slot].is_paused()
    }

    /// Whether kept input of a connection comes before more is read.
    pub(crate) fn has_kept(&self, slot: Slot) -> bool {
        self[slot].has_more()
    }

    /// Pauses a connection while one of these links is congested.
    pub(crate) fn pause(&mut self, slot: Slot, links: u64) {
        let (key, now) = (self.key(slot), self.now);
        let session = &mut self[slot];
        session.set_paused(true);
        if session.is_open() {
            session.heard = now; // its input waits: from now on it is the core that does not read
        }
        self.paused.list.push_back((key, links));
        self.paused.links |= links;
    }

    /// Pauses a connection until [`Sessions::unpause`]. Returns its key, unless it is already paused.
    pub(crate) fn pause_for_rest(&mut self, slot: Slot) -> Option<ConnectionKey> {
        if self[slot].is_paused() {
            return None;
        }
        self[slot].set_paused(true);
        Some(self.key(slot))
    }

    /// Lets a paused connection be read again from the next turn on.
    pub(crate) fn unpause(&mut self, key: ConnectionKey) {
        if self.is_current(key) {
            self.paused.list.push_back((key, 0));
            self.paused.has_free = true;
        }
    }

    /// Whether a paused connection may go on while these links are congested.
    pub(crate) fn may_resume(&self, congested: u64) -> bool {
        self.paused.has_free || self.paused.links & congested != self.paused.links
    }

    /// Appends the connections that may be read again, the longest waiting one first. Read these first: otherwise other
    /// publishers may fill the links again before they get a turn.
    pub(crate) fn take_resumed(&mut self, congested: u64, resumed: &mut Vec<ConnectionKey>) {
        if !self.may_resume(congested) {
            return;
        }
        let now = self.now;
        let mut paused = std::mem::take(&mut self.paused);
        paused.list.retain_mut(|(key, links)| {
            let key = *key;
            *links &= congested; // the others would end each sleep of the core
            if *links != 0 {
                self.paused.links |= *links;
                return true;
            }
            if self.is_current(key) {
                let session = &mut self[key.slot];
                session.set_paused(false);
                if matches!(session.phase(), Phase::Http | Phase::Open) {
                    session.excuse(now);
                }
                resumed.push(key);
            }
            false
        });
        self.paused.list = paused.list;
    }
}

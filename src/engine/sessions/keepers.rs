//! The connections that keep memory, and how much of it is unfinished input.

use crate::engine::{sessions::Sessions, slot::Slot};

/// Connections that may keep memory, a bit for each slot. A connection that no longer keeps any is removed at the next
/// visit.
#[derive(Debug, Default)]
pub(crate) struct Keepers {
    words: Vec<u64>,
}

impl Keepers {
    fn insert(&mut self, slot: Slot) {
        let word = slot as usize / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (slot % 64);
    }

    /// Calls `keeps` for each, and removes those for which it returns false.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(Slot) -> bool) {
        for (index, word) in self.words.iter_mut().enumerate() {
            let mut bits = *word;
            while bits != 0 {
                let bit = bits.trailing_zeros();
                if !keeps(index as Slot * 64 + bit) {
                    *word &= !(1 << bit);
                }
                bits &= bits - 1;
            }
        }
    }

    #[cfg(any(test, feature = "fuzz"))]
    fn contains(&self, slot: Slot) -> bool {
        self.words.get(slot as usize / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }
}

impl Sessions {
    /// Notes that a connection may keep memory from now on.
    pub(crate) fn keeps(&mut self, slot: Slot) {
        self.keepers.insert(slot);
    }

    /// Takes the list of connections that may keep memory, until [`Sessions::put_keepers`].
    pub(crate) fn take_keepers(&mut self) -> Keepers {
        std::mem::take(&mut self.keepers)
    }

    /// Puts the list back. No connection may have begun to keep memory since it was taken.
    pub(crate) fn put_keepers(&mut self, keepers: Keepers) {
        self.keepers = keepers;
    }

    /// Bytes of unfinished input that sessions keep.
    pub(crate) fn incoming_bytes(&self) -> usize {
        self.incoming_bytes
    }

    /// Updates the sum of kept bytes after a change of this session. A connection that begins to keep input has
    /// `message_timeout` milliseconds for the rest of it; zero means no limit.
    pub(crate) fn recount(&mut self, slot: Slot, message_timeout: u64) {
        let session = &mut self.slab[slot as usize];
        let bytes = session.incoming_bytes();
        let before = std::mem::replace(&mut session.counted, bytes as u32) as usize;
        self.incoming_bytes = self.incoming_bytes + bytes - before;
        if before == 0 && bytes > 0 {
            self.begins_to_keep(slot, message_timeout);
        }
    }

    /// Notes that a connection begins to keep unfinished input.
    #[cold]
    fn begins_to_keep(&mut self, slot: Slot, message_timeout: u64) {
        self.keepers.insert(slot);
        if self.is_open(slot) && message_timeout > 0 {
            self.schedule(slot, self.now + message_timeout);
        }
    }
}

/// For tests: the invariants between two turns.
#[cfg(any(test, feature = "fuzz"))]
impl Sessions {
    /// Asserts that the sum of kept bytes is right, and that all connections that keep memory are known. `has_backlog`
    /// tells whether an outbox keeps some.
    pub(crate) fn assert_kept_is_counted(&self, has_backlog: impl Fn(Slot) -> bool) {
        let kept: usize = self.iter().map(|(_, session)| session.incoming_bytes()).sum();
        assert_eq!(self.incoming_bytes, kept, "the sum of kept bytes is wrong");
        for (slot, session) in self.iter() {
            let keeps = session.incoming_bytes() > 0 || has_backlog(slot);
            assert!(!keeps || self.keepers.contains(slot), "slot {slot} keeps memory and is not in the list");
        }
    }
}

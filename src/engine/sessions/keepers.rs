//! Which connections keep memory, and how much of it is unfinished input.

use crate::engine::{sessions::Sessions, slot::Slot};

/// Connections that may keep something, a bit for each slot. A connection that keeps nothing any more is found out at the
/// next look.
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

    /// Calls `keeps` for each, and forgets those of which it says no.
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
    /// A connection may keep something from now on.
    pub(crate) fn keeps(&mut self, slot: Slot) {
        self.keepers.insert(slot);
    }

    /// Takes the list of those that may keep something, for [`Sessions::put_keepers`].
    pub(crate) fn take_keepers(&mut self) -> Keepers {
        std::mem::take(&mut self.keepers)
    }

    /// Puts the list back. Nobody may have begun to keep something since.
    pub(crate) fn put_keepers(&mut self, keepers: Keepers) {
        self.keepers = keepers;
    }

    /// What sessions keep of unfinished input, in bytes.
    pub(crate) fn incoming_bytes(&self) -> usize {
        self.incoming_bytes
    }

    /// Brings the sum of what sessions keep up to date with this one. A connection that begins to keep input has
    /// `message_timeout` milliseconds for the rest of it; zero is without end.
    pub(crate) fn recount(&mut self, slot: Slot, message_timeout: u64) {
        let session = &mut self.slab[slot as usize];
        let bytes = session.incoming_bytes();
        let before = std::mem::replace(&mut session.counted, bytes as u32) as usize;
        self.incoming_bytes = self.incoming_bytes + bytes - before;
        if before == 0 && bytes > 0 {
            self.begins_to_keep(slot, message_timeout);
        }
    }

    /// Unfinished input is kept of a connection of which none was.
    #[cold]
    fn begins_to_keep(&mut self, slot: Slot, message_timeout: u64) {
        self.keepers.insert(slot);
        if self.is_open(slot) && message_timeout > 0 {
            self.schedule(slot, self.now + message_timeout);
        }
    }
}

/// For tests: what must hold between turns.
#[cfg(any(test, feature = "fuzz"))]
impl Sessions {
    /// Asserts that what sessions keep is counted, and that those are known that keep something; `has_backlog` says so of
    /// an outbox.
    pub(crate) fn assert_kept_is_counted(&self, has_backlog: impl Fn(Slot) -> bool) {
        let kept: usize = self.iter().map(|(_, session)| session.incoming_bytes()).sum();
        assert_eq!(self.incoming_bytes, kept, "what sessions keep is counted wrongly");
        for (slot, session) in self.iter() {
            let keeps = session.incoming_bytes() > 0 || has_backlog(slot);
            assert!(!keeps || self.keepers.contains(slot), "nobody knows that slot {slot} keeps something");
        }
    }
}

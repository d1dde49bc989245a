//! What the peers of a stopping core have not said yet.

/// The peers that are to say something twice. A publish to a channel with a history goes to its home and from there to the
/// others. So the first word means that a peer hands over no more, and the second that it has heard the first word of all:
/// as a home it has passed on what it was handed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsaid {
    /// A bit for each peer that has not said the first word, and the second.
    bits: [u64; 2],
}

impl Unsaid {
    pub(super) fn new(peers: u64) -> Self {
        Self { bits: [peers; 2] }
    }

    pub(super) fn has_said(&mut self, peer: u32) {
        let word = usize::from(self.bits[0] & 1 << peer == 0);
        self.bits[word] &= !(1 << peer);
    }

    /// The peer says nothing more.
    pub(super) fn has_ended(&mut self, peer: u32) {
        self.bits.iter_mut().for_each(|bits| *bits &= !(1 << peer));
    }

    /// Whether all have said the first word, or both.
    pub(super) fn is_over(&self, word: Word) -> bool {
        self.bits[word as usize] == 0
    }
}

/// What a core waits for, see [`Unsaid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    First,
    Second,
}

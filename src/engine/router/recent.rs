//! The channels that were published to lately, with whom they reach: a match of patterns is made once for several
//! channels whose publishes come in turns, not once for each publish.

use crate::{
    engine::router::resolve::{Resolved, What},
    protocol::channel::{Kind, matches},
};

/// How many channels are kept. A change of a subscription looks at each of them.
const CHANNELS: usize = 32;

/// Channels by their hash, but for the one that was published to last, which is the hub's. Each costs 88 bytes and its
/// name. What concerns one is forgotten when a subscription to it, or to a pattern that matches it, begins or ends for a
/// whole core; a room that others enter and leave stays.
#[derive(Debug)]
pub(super) struct Recent {
    /// Empty until there are patterns.
    channels: Vec<Resolved>,
    /// A bit for each of them that holds.
    valid: u32,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { channels: Vec::new(), valid: 0 }
    }

    /// Puts a channel away, unless it does not hold any more, and leaves any other memory in its place.
    pub(super) fn put(&mut self, resolved: &mut Resolved) {
        if resolved.is_channel() {
            self.channels.resize_with(CHANNELS, Resolved::default);
            let at = place(resolved.hash);
            std::mem::swap(&mut self.channels[at], resolved);
            self.valid |= 1 << at;
        }
        resolved.what = What::Nothing;
    }

    /// Takes a channel of this hash and name. False if it is not here.
    pub(super) fn take(&mut self, hash: u32, name: &[u8], resolved: &mut Resolved) -> bool {
        let at = place(hash);
        let is_here = self.valid & 1 << at != 0 && self.channels[at].name == name;
        if is_here {
            std::mem::swap(&mut self.channels[at], resolved);
            self.valid &= !(1 << at);
        }
        is_here
    }

    /// A subscription to this name has begun or ended: what it concerns does not hold any more.
    pub(super) fn forget(&mut self, name: &[u8], kind: Kind) {
        let mut valid = self.valid;
        while valid != 0 {
            let at = valid.trailing_zeros();
            valid &= valid - 1;
            if concerns(name, kind, &self.channels[at as usize].name) {
                self.valid &= !(1 << at);
            }
        }
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Resolved> {
        self.channels.iter().enumerate().filter(|(at, _)| self.valid & 1 << at != 0).map(|(_, resolved)| resolved)
    }
}

/// Whether a subscription to a name reaches a channel.
pub(super) fn concerns(name: &[u8], kind: Kind, channel: &[u8]) -> bool {
    match kind {
        Kind::Exact => name == channel,
        Kind::Pattern => matches(name, channel),
    }
}

fn place(hash: u32) -> usize {
    hash as usize % CHANNELS
}

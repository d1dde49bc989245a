//! A cache of recently resolved channels: if publishes alternate between several channels, patterns are matched once
//! for each channel, not once for each publish.

use crate::{
    engine::router::resolve::{Resolved, What},
    protocol::channel::{Kind, matches},
};

/// The number of cached channels. Each change of a subscription visits all of them.
const CHANNELS: usize = 32;

/// Channels by their hash, except the one of the last publish, which the router itself keeps. Each costs 112 bytes and
/// its name. A channel is forgotten when it, or a pattern that matches it, gets its first subscriber on a core or loses
/// its last one. It stays while further subscribers come and go.
#[derive(Debug)]
pub(super) struct Recent {
    /// Empty until there are patterns.
    channels: Vec<Resolved>,
    /// A bit for each valid entry.
    valid: u32,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { channels: Vec::new(), valid: 0 }
    }

    /// Stores a channel, unless it is outdated. `resolved` gets the memory of the entry that it replaces.
    pub(super) fn put(&mut self, resolved: &mut Resolved) {
        if resolved.is_channel() {
            self.channels.resize_with(CHANNELS, Resolved::default);
            let at = place(resolved.hash);
            std::mem::swap(&mut self.channels[at], resolved);
            self.valid |= 1 << at;
        }
        resolved.what = What::Nothing;
    }

    /// Takes the channel with this hash and name. Returns false if it is not cached.
    pub(super) fn take(&mut self, hash: u32, name: &[u8], resolved: &mut Resolved) -> bool {
        let at = place(hash);
        let is_here = self.valid & 1 << at != 0 && self.channels[at].name == name;
        if is_here {
            std::mem::swap(&mut self.channels[at], resolved);
            self.valid &= !(1 << at);
        }
        is_here
    }

    /// Forgets the channels that a subscription to this name concerns.
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

    /// Forgets all channels.
    pub(super) fn forget_all(&mut self) {
        *self = Self::new();
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

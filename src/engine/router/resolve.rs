//! Resolving: which subscribers and peers a channel reaches.

use smallvec::SmallVec;

use crate::{
    engine::{
        history::ChannelId,
        relay::Relays,
        router::{
            Home, Router,
            recent::concerns,
            work::{RULE_UNITS, lookup_units},
        },
        slot::ConnectionKey,
        subscriptions::AudienceId,
    },
    protocol::channel::Kind,
};

/// The channel of the last publish, and what it reaches. The next publish to the same channel reuses it, unless a
/// subscription has changed since.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) what: What,
    pub(super) hash: u32,
    pub(super) name: Vec<u8>,
    pub(super) audiences: SmallVec<[AudienceId; 8]>,
    /// A bit for each interested peer.
    pub(super) peers: u64,
    /// Subscribers of all audiences.
    pub(super) subscribers: usize,
    /// Where its messages are kept, and their history after the first publish. Nowhere as long as no channel has a history.
    pub(super) home: Home,
    pub(super) channel: Option<ChannelId>,
}

/// The subject of a [`Resolved`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum What {
    /// Nothing: a subscription has changed, or nothing was published yet. The run may still refer to its audiences.
    #[default]
    Nothing,
    /// A whole channel. Each resolution has another number, so the number shows whether this one is still current.
    Channel { number: u64 },
    /// Exactly one subscribed name, to which the bridge delivers.
    Name(Kind),
}

impl Resolved {
    pub(super) fn is_channel(&self) -> bool {
        matches!(self.what, What::Channel { .. })
    }

    pub(super) fn reaches_anyone(&self) -> bool {
        self.has_subscribers() || self.peers != 0
    }

    pub(super) fn has_subscribers(&self) -> bool {
        self.subscribers > 0
    }

    /// Becomes outdated if a subscription to this name concerns it.
    pub(super) fn forget(&mut self, name: &[u8], kind: Kind) {
        let holds = self.is_channel() && !concerns(name, kind, &self.name);
        if !holds {
            self.what = What::Nothing;
        }
    }

    /// Whether its messages are kept.
    #[inline]
    pub(super) fn has_history(&self) -> bool {
        self.home != Home::None
    }

    /// Hands a frame for this one channel to the interested peers. One of them does not give it to one of its connections.
    pub(super) fn relay_but(&self, frame: &[u8], except: Option<(u32, ConnectionKey)>, relays: &mut Relays) {
        let mut peers = self.peers & !relays.always_interested();
        while peers != 0 {
            let peer = peers.trailing_zeros();
            peers &= peers - 1;
            match except.filter(|(of, _)| *of == peer) {
                Some((_, except)) => relays.publish_but(peer, &self.name, frame, except),
                None => relays.publish(peer, std::iter::once(&self.name[..]), frame),
            }
        }
    }

    /// Hands a frame for this one channel to the interested peers.
    #[inline]
    pub(super) fn relay(&self, frame: &[u8], relays: &mut Relays) {
        let mut peers = self.peers;
        while peers != 0 {
            relays.publish(peers.trailing_zeros(), std::iter::once(&self.name[..]), frame);
            peers &= peers - 1;
        }
    }
}

impl Router {
    /// Whether a name is known as a channel. This is cheaper than checking the name, and most names in publishes are
    /// known.
    pub(crate) fn is_known(&self, name: &[u8]) -> bool {
        (self.resolved.is_channel() && self.resolved.name == name) || self.subscriptions.find(name).is_some()
    }

    /// The number of the last publish's channel, if all of its subscribers are one audience, and neither they nor the
    /// interested peers have changed since.
    pub(super) fn single_audience(&self) -> Option<u64> {
        match self.resolved.what {
            What::Channel { number } if self.resolved.audiences.len() <= 1 => Some(number),
            _ => None,
        }
    }

    /// Looks a checked channel up, unless the last publish was to the same one.
    pub(super) fn resolve(&mut self, name: &[u8]) {
        if self.resolved.is_channel() && self.resolved.name == name {
            return;
        }
        self.apply_run();
        let hash = self.subscriptions.hash(name);
        if self.subscriptions.has_patterns() {
            return self.resolve_among_patterns(hash, name);
        }
        let resolved = &mut self.resolved;
        (resolved.peers, resolved.subscribers) = (self.relays.always_interested(), 0);
        resolved.audiences.clear();
        if let Some(audience) = self.subscriptions.find_hashed(hash, name) {
            resolved.audiences.push(audience);
            resolved.peers |= self.subscriptions.peers(audience);
            resolved.subscribers = self.subscriptions.subscribers(audience).len();
        }
        self.work.add(lookup_units(name, 0, 1));
        self.has_resolved(hash, name);
    }

    #[inline(never)]
    fn resolve_among_patterns(&mut self, hash: u32, name: &[u8]) {
        self.put_away();
        if self.recent.take(hash, name, &mut self.resolved) {
            return self.count_subscribers();
        }
        let resolved = &mut self.resolved;
        self.subscriptions.find_all(hash, name, &mut resolved.audiences);
        (resolved.peers, resolved.subscribers) = (self.relays.always_interested(), 0);
        for &audience in &resolved.audiences {
            resolved.peers |= self.subscriptions.peers(audience);
            resolved.subscribers += self.subscriptions.subscribers(audience).len();
        }
        self.work.add(lookup_units(name, self.subscriptions.shapes(), resolved.audiences.len()));
        self.has_resolved(hash, name);
    }

    /// Completes the resolution of a channel after its audiences, subscribers and peers were found.
    #[inline]
    fn has_resolved(&mut self, hash: u32, name: &[u8]) {
        self.resolutions += 1;
        let resolved = &mut self.resolved;
        resolved.name.clear();
        resolved.name.extend_from_slice(name);
        resolved.hash = hash;
        resolved.what = What::Channel { number: self.resolutions };
        if self.keeps_some {
            self.resolve_home();
        }
    }

    #[inline(never)]
    fn resolve_home(&mut self) {
        (self.resolved.home, self.resolved.channel) = (self.home_of_channel(&self.resolved.name), None);
        self.work.add(RULE_UNITS);
    }

    /// Forgets all resolutions, because the rules have changed.
    pub(super) fn forget_all_resolved(&mut self) {
        self.apply_run();
        self.resolved = Resolved::default();
        self.recent.forget_all();
    }

    /// Makes room for another channel. If there are patterns, the old one is kept in [`Recent`](super::recent::Recent):
    /// resolving it again would cost more.
    pub(super) fn put_away(&mut self) {
        if self.subscriptions.has_patterns() {
            self.recent.put(&mut self.resolved);
        }
        self.resolved.what = What::Nothing;
    }

    /// Forgets the resolutions that a name concerns, because the name has its first subscriber or its last one has
    /// left, on this core or a peer. The audiences of these channels may have changed.
    pub(super) fn forget_resolved(&mut self, name: &[u8], kind: Kind) {
        self.resolved.forget(name, kind);
        self.recent.forget(name, kind);
    }

    /// Counts the subscribers of the resolved channel anew, after a name has got more or fewer of them but not lost
    /// all. The audiences are the same, but their size decides what publishers are charged.
    pub(super) fn count_subscribers(&mut self) {
        if self.resolved.what != What::Nothing {
            let sizes = self.resolved.audiences.iter().map(|&id| self.subscriptions.subscribers(id).len());
            self.resolved.subscribers = sizes.sum();
        }
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl Router {
    /// The number of channels and patterns that matched the last publish.
    #[cfg(test)]
    pub(crate) fn resolved_audiences(&self) -> usize {
        self.resolved.audiences.len()
    }

    /// The number of resolutions of channels so far.
    #[cfg(test)]
    pub(crate) fn resolutions(&self) -> u64 {
        self.resolutions
    }

    /// Checks that a kept resolution equals a new one.
    pub(super) fn check_resolved(&self, resolved: &Resolved) {
        if !resolved.is_channel() {
            return;
        }
        let mut found = SmallVec::new();
        self.subscriptions.find_all(self.subscriptions.hash(&resolved.name), &resolved.name, &mut found);
        let mut kept = resolved.audiences.clone();
        kept.sort_unstable();
        found.sort_unstable();
        assert_eq!(kept, found, "the resolution of {:?} is outdated", String::from_utf8_lossy(&resolved.name));
        let peers = found.iter().fold(self.relays.always_interested(), |bits, &id| bits | self.subscriptions.peers(id));
        assert_eq!(resolved.peers, peers);
        // Those of a kept channel are counted anew when it is taken again.
        if std::ptr::eq(resolved, &self.resolved) {
            let subscribers: usize = found.iter().map(|&id| self.subscriptions.subscribers(id).len()).sum();
            assert_eq!(resolved.has_subscribers(), subscribers > 0);
        }
    }
}

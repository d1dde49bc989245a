//! Channels and patterns with their subscribers: lookup by name, matching, creation and removal.

use smallvec::SmallVec;

use super::{AudienceId, Subscriber, Subscriptions, cost::name_bytes, refusals::Refusals};
use crate::protocol::channel::Kind;

/// The capacity for audiences that is kept when there are none (4 KiB).
const AUDIENCES_KEPT: usize = 64;

/// Invariant: it has a subscriber or a peer, or it is announced; otherwise it is freed. It is in `channels` or
/// `patterns`, depending on its kind.
pub(super) struct Audience {
    pub(super) name: Box<[u8]>,
    pub(super) kind: Kind,
    /// Inline for up to two: on a server with very many channels most are this small, and have no allocation here. The
    /// pending ones are the last.
    pub(super) subscribers: SmallVec<[Subscriber; 2]>,
    /// Some subscribers do not get messages yet, see `pending`.
    pub(super) has_pending: bool,
    /// A bit for each interested peer.
    pub(super) peers: u64,
    pub(super) live_at: u64,
    /// Whether the publishes of other nodes do not come, although the subscription is live on this node.
    pub(super) refused: Refusals,
    /// The peers know that it has subscribers, or recently had some.
    pub(super) is_announced: bool,
    /// It has lost its last subscriber since it was announced, and was put into `left`.
    pub(super) lingers: bool,
}

impl Subscriptions {
    /// The audience of an exact channel. Cost: one probe, whatever the number of channels.
    ///
    /// If the name is found, it is valid to publish to. If not, it may be invalid, or patterns may still match it.
    pub(crate) fn find(&self, channel: &[u8]) -> Option<AudienceId> {
        self.find_hashed(self.hash(channel), channel)
    }

    /// The same for a channel that has this [`hash`](Self::hash).
    pub(crate) fn find_hashed(&self, hash: u32, channel: &[u8]) -> Option<AudienceId> {
        self.lookup_hashed(hash, channel).map(AudienceId)
    }

    /// The hash of a channel.
    pub(crate) fn hash(&self, channel: &[u8]) -> u32 {
        self.channels.hash(0, channel)
    }

    /// Whether patterns may match a channel.
    pub(crate) fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// The number of pattern shapes by which a channel may be looked up.
    pub(crate) fn shapes(&self) -> usize {
        self.patterns.shapes()
    }

    /// The audience of exactly this name. A pattern is looked up, not matched.
    pub(crate) fn find_name(&self, name: &[u8], kind: Kind) -> Option<AudienceId> {
        self.lookup(name, kind).map(AudienceId)
    }

    /// Replaces `out` by the audience of a channel, which has this [`hash`](Self::hash), and those of all patterns that
    /// match it, each once. Cost: as [`find`](Self::find) while there are no patterns, then [`Patterns::matching`]; no
    /// allocation for up to eight.
    ///
    /// The name must be valid to publish to.
    pub(crate) fn find_all(&self, hash: u32, channel: &[u8], out: &mut SmallVec<[AudienceId; 8]>) {
        out.clear();
        out.extend(self.find_hashed(hash, channel));
        if !self.patterns.is_empty() {
            let name = |id| &*self.audiences[id as usize].name;
            self.patterns.matching(channel, name, &mut |id| out.push(AudienceId(id)));
        }
    }

    /// The local subscribers of an audience, in no particular order, without the pending ones.
    ///
    /// # Panics
    /// If the audience is gone; so do the others that take an [`AudienceId`].
    pub(crate) fn subscribers(&self, id: AudienceId) -> &[Subscriber] {
        let audience = &self.audiences[id.0 as usize];
        if audience.has_pending { self.joined_subscribers(id.0) } else { &audience.subscribers }
    }

    /// What is at this place of the table: nothing, or a channel or pattern with the number of its subscribers on this core.
    /// [`None`] behind the last place.
    pub(crate) fn place(&self, index: usize) -> Option<Option<(&[u8], Kind, usize)>> {
        (index < self.audiences.capacity()).then(|| {
            let audience = self.audiences.get(index)?;
            Some((&*audience.name, audience.kind, audience.subscribers.len()))
        })
    }

    /// The interested peers of an audience: bit n is peer n.
    pub(crate) fn peers(&self, id: AudienceId) -> u64 {
        self.audiences[id.0 as usize].peers
    }

    /// The last value of [`set_live_at`](Self::set_live_at); 0 for a new audience.
    pub(crate) fn live_at(&self, id: AudienceId) -> u64 {
        self.audiences[id.0 as usize].live_at
    }

    /// Sets the number of the interest that peers must answer before the subscription is live. This table only stores
    /// it. The number outlives the local subscribers if peers are interested: set it at each `first`.
    pub(crate) fn set_live_at(&mut self, id: AudienceId, sequence: u64) {
        let audience = &mut self.audiences[id.0 as usize];
        (audience.live_at, audience.refused) = (sequence, Refusals::NONE);
    }
}

impl Subscriptions {
    pub(super) fn lookup(&self, name: &[u8], kind: Kind) -> Option<u32> {
        match kind {
            Kind::Exact => self.lookup_hashed(self.channels.hash(0, name), name),
            Kind::Pattern => self.find_pattern(name),
        }
    }

    fn find_pattern(&self, pattern: &[u8]) -> Option<u32> {
        self.patterns.find(pattern, |id| *self.audiences[id as usize].name == *pattern)
    }

    fn lookup_hashed(&self, hash: u32, channel: &[u8]) -> Option<u32> {
        self.channels.find(hash, |id| *self.audiences[id as usize].name == *channel)
    }

    /// The audience of this name, which may be a new one: the caller must give it a subscriber or a peer.
    pub(super) fn find_or_add(&mut self, name: &[u8], kind: Kind) -> u32 {
        match kind {
            Kind::Exact => {
                let hash = self.channels.hash(0, name);
                self.lookup_hashed(hash, name).unwrap_or_else(|| {
                    let id = self.add(name, kind);
                    self.channels.insert(hash, id);
                    id
                })
            }
            Kind::Pattern => self.find_pattern(name).unwrap_or_else(|| {
                let id = self.add(name, kind);
                self.patterns.insert(name, id);
                id
            }),
        }
    }

    fn add(&mut self, name: &[u8], kind: Kind) -> u32 {
        self.name_bytes += name_bytes(name);
        self.audiences.insert(Audience::new(name, kind)) as u32
    }

    /// Removes an audience that has no more use.
    pub(super) fn free_if_unused(&mut self, id: u32) {
        if !self.audiences[id as usize].is_unused() {
            return;
        }
        let Audience { name, kind, .. } = self.audiences.remove(id as usize);
        self.name_bytes -= name_bytes(&name);
        match kind {
            Kind::Exact => self.channels.remove(self.channels.hash(0, &name), id),
            Kind::Pattern => self.patterns.remove(&name, id),
        };
        self.freed += 1;
        // Shrinking may visit all audiences, so this waits until as many were freed since the last time.
        let (len, capacity) = (self.audiences.len(), self.audiences.capacity());
        if capacity > AUDIENCES_KEPT && len <= capacity / 4 && self.freed >= len {
            self.audiences.shrink_to_fit();
            self.freed = 0;
        }
    }
}

impl Audience {
    fn new(name: &[u8], kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            subscribers: SmallVec::new(),
            has_pending: false,
            peers: 0,
            live_at: 0,
            refused: Refusals::NONE,
            is_announced: false,
            lingers: false,
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.subscribers.is_empty() && self.peers == 0 && !self.is_announced
    }
}

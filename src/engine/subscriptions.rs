//! Who is subscribed to what: one core's table, and its replica of the peers' interest.
//!
//! ```text
//! held: by connection                audiences: by id
//! 0: [ (audience 7, index 0) ] ───►  7: "chat"  subscribers [ (slot 0, held 0), (slot 2, held 1) ]  peers 0b10
//! 1: [ ]                        ┌─►              ▲
//! 2: [ (9, 0), (7, 1) ] ────────┘    9: "a.>"   subscribers [ (slot 2, held 0) ]                    peers 0
//! ```
//! Each side of a subscription knows where the other is, and both lists fill a gap with their last entry. So ending one
//! costs the same in a channel of one and of a million, and closing a connection costs what it holds.

mod refusals;

use slab::Slab;
use smallvec::SmallVec;

use crate::{
    engine::{index::Index, patterns::Patterns},
    protocol::channel::Kind,
};

#[cfg(test)]
mod tests;

/// A connection, as its core numbers them: dense, and used again after [`Subscriptions::close`].
pub(crate) type Slot = u32;

/// Peer cores (and the bridge) that interest can be kept for: one bit each.
pub(crate) const PEERS_MAX: u32 = u64::BITS;

/// Room for this many audiences is kept when there are none (4 KiB).
const AUDIENCES_KEPT: usize = 64;

/// A channel or pattern that has a local subscriber or an interested peer.
///
/// Valid until the next call that ends a subscription or an interest; then it may stand for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AudienceId(u32);

/// One core's subscriptions. Cost: 24 bytes a connection with up to two, 8 more for each subscription in a channel of
/// more than two, and about 90 bytes and the name for a channel or pattern.
///
/// Names must have passed `channel::check_subscribe`, and `kind` must be what it said.
pub(crate) struct Subscriptions {
    /// By slot; grown to the highest slot that ever subscribed.
    held: Vec<HeldList>,
    audiences: Slab<Audience>,
    /// The audiences of [`Kind::Exact`], by name.
    channels: Index,
    /// The audiences of [`Kind::Pattern`].
    patterns: Patterns,
    /// Subscriptions of all connections.
    len: usize,
}

/// Inline for up to two, which is what most connections hold: an idle one owns no allocation here.
type HeldList = SmallVec<[Held; 2]>;

/// The connection's side of a subscription. Invariant: `audiences[audience].subscribers[index]` is the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    audience: u32,
    index: u32,
}

/// The audience's side of a subscription. Invariant: `held[slot][held]` is the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    slot: Slot,
    held: u32,
}

impl Subscriber {
    /// The connection that is subscribed.
    pub(crate) fn slot(self) -> Slot {
        self.slot
    }
}

/// Invariant: it has a subscriber or a peer, else it is freed; `channels` or `patterns`, by its kind, knows it.
struct Audience {
    name: Box<[u8]>,
    kind: Kind,
    /// Inline for up to two: most channels of a server with very many are that small, and have no allocation here.
    subscribers: SmallVec<[Subscriber; 2]>,
    /// A bit for each interested peer.
    peers: u64,
    live_at: u64,
    /// Other nodes' publishes do not come, though the subscription is live on this one.
    is_refused: bool,
}

/// What [`Subscriptions::subscribe`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscribed {
    /// What the connection is subscribed to.
    pub(crate) audience: AudienceId,
    /// False: it was already, and nothing changed (PROTOCOL.md §2: "twice is once").
    pub(crate) new: bool,
    /// The core's count for this name went from 0 to 1: its peers need to know.
    pub(crate) first: bool,
}

/// What [`Subscriptions::unsubscribe`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsubscribed {
    /// The core's count for this name went from 1 to 0: its peers need to know.
    pub(crate) last: bool,
}

/// Subscribing and publishing.
impl Subscriptions {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self { held: Vec::new(), audiences: Slab::new(), channels: Index::new(), patterns: Patterns::new(), len: 0 }
    }

    /// Subscribes a connection. Cost: one lookup, and a scan of the connection's or the audience's list, whichever is
    /// the shorter.
    pub(crate) fn subscribe(&mut self, slot: Slot, name: &[u8], kind: Kind) -> Subscribed {
        if self.held.len() <= slot as usize {
            self.held.resize_with(slot as usize + 1, HeldList::new);
        }
        let id = self.find_or_add(name, kind);
        let audience = AudienceId(id);
        if self.position(slot, id).is_some() {
            return Subscribed { audience, new: false, first: false };
        }
        let held = &mut self.held[slot as usize];
        let subscribers = &mut self.audiences[id as usize].subscribers;
        let first = subscribers.is_empty();
        let sides =
            (Held { audience: id, index: subscribers.len() as u32 }, Subscriber { slot, held: held.len() as u32 });
        held.push(sides.0);
        subscribers.push(sides.1);
        self.len += 1;
        Subscribed { audience, new: true, first }
    }

    /// Ends a subscription; `None` if there was none. Cost: as [`subscribe`](Self::subscribe).
    pub(crate) fn unsubscribe(&mut self, slot: Slot, name: &[u8], kind: Kind) -> Option<Unsubscribed> {
        let id = self.lookup(name, kind)?;
        let position = self.position(slot, id)?;
        let list = &mut self.held[slot as usize];
        let held = list.swap_remove(position);
        if let Some(moved) = list.get(position) {
            let other = &mut self.audiences[moved.audience as usize].subscribers[moved.index as usize];
            other.held = position as u32;
        }
        slim(list);
        let last = self.leave(held);
        self.free_if_unused(id);
        Some(Unsubscribed { last })
    }

    /// Ends all that a connection holds, and calls `last` for each name for which the core's count went from 1 to 0.
    /// The slot may then be used for another connection. Cost: by what it holds.
    pub(crate) fn close(&mut self, slot: Slot, last: &mut dyn FnMut(&[u8], Kind)) {
        let Some(list) = self.held.get_mut(slot as usize) else { return };
        // The last one first: an audience that this connection alone has filled is then emptied without moves.
        for held in std::mem::take(list).into_iter().rev() {
            if self.leave(held) {
                let audience = &self.audiences[held.audience as usize];
                last(&audience.name, audience.kind);
            }
            self.free_if_unused(held.audience);
        }
    }

    /// The audience of an exact channel. Cost: one probe, whatever the number of channels.
    ///
    /// A hit means that the name is valid to publish to; on a miss it may be anything, and patterns may still match it.
    pub(crate) fn find(&self, channel: &[u8]) -> Option<AudienceId> {
        self.find_hashed(self.channels.hash(0, channel), channel).map(AudienceId)
    }

    /// The audience of this very name; a pattern is not matched but looked up.
    pub(crate) fn find_name(&self, name: &[u8], kind: Kind) -> Option<AudienceId> {
        self.lookup(name, kind).map(AudienceId)
    }

    /// Replaces `out` by the audience of a channel and those of all patterns that match it, each once. Cost: as
    /// [`find`](Self::find) while there are no patterns, then [`Patterns::matching`]; no allocation for up to eight.
    ///
    /// The name must be valid to publish to.
    pub(crate) fn find_all(&self, channel: &[u8], out: &mut SmallVec<[AudienceId; 8]>) {
        out.clear();
        out.extend(self.find(channel));
        if !self.patterns.is_empty() {
            self.patterns.matching(channel, &mut |id| out.push(AudienceId(id)));
        }
    }

    /// The local subscribers of an audience, in no particular order.
    ///
    /// # Panics
    /// If the audience is gone; so do the others that take an [`AudienceId`].
    pub(crate) fn subscribers(&self, id: AudienceId) -> &[Subscriber] {
        &self.audiences[id.0 as usize].subscribers
    }

    /// The interested peers of an audience: bit n is peer n.
    pub(crate) fn peers(&self, id: AudienceId) -> u64 {
        self.audiences[id.0 as usize].peers
    }

    /// What [`set_live_at`](Self::set_live_at) said last; 0 for a new audience.
    pub(crate) fn live_at(&self, id: AudienceId) -> u64 {
        self.audiences[id.0 as usize].live_at
    }

    /// Notes the interest's sequence number that must be answered before the subscription is live. This table only
    /// keeps it. It outlives the local subscribers if peers are interested: set it at each `first`.
    pub(crate) fn set_live_at(&mut self, id: AudienceId, sequence: u64) {
        let audience = &mut self.audiences[id.0 as usize];
        (audience.live_at, audience.is_refused) = (sequence, false);
    }
}

/// Interest.
impl Subscriptions {
    /// Notes whether a peer has subscribers for a name.
    ///
    /// # Panics
    /// If `peer` is not below [`PEERS_MAX`].
    pub(crate) fn set_interest(&mut self, peer: u32, name: &[u8], kind: Kind, interested: bool) {
        assert!(peer < PEERS_MAX, "peer {peer} of at most {PEERS_MAX}");
        if interested {
            let id = self.find_or_add(name, kind);
            self.audiences[id as usize].peers |= 1 << peer;
        } else if let Some(id) = self.lookup(name, kind) {
            self.audiences[id as usize].peers &= !(1 << peer);
            self.free_if_unused(id);
        }
    }

    /// The names that have a local subscriber. Cost: all audiences.
    #[cfg(test)]
    pub(crate) fn local(&self) -> impl Iterator<Item = (&[u8], Kind)> {
        let subscribed = self.audiences.iter().filter(|(_, audience)| !audience.subscribers.is_empty());
        subscribed.map(|(_, audience)| (&*audience.name, audience.kind))
    }
}

/// Counts.
impl Subscriptions {
    /// Whether a connection is subscribed to this very name; a pattern that matches it does not count.
    pub(crate) fn is_subscribed(&self, slot: Slot, name: &[u8], kind: Kind) -> bool {
        self.lookup(name, kind).is_some_and(|id| self.position(slot, id).is_some())
    }

    /// The subscriptions that a connection holds.
    pub(crate) fn count(&self, slot: Slot) -> usize {
        self.held.get(slot as usize).map_or(0, SmallVec::len)
    }

    /// The subscriptions of all connections of this core.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The channels and patterns with a local subscriber or an interested peer.
    pub(crate) fn audiences(&self) -> usize {
        self.audiences.len()
    }

    /// Checks what must always hold. Cost: everything, several times.
    ///
    /// # Panics
    /// If it does not hold.
    #[cfg(test)]
    pub(crate) fn invariants(&self) {
        for (slot, list) in self.held.iter().enumerate() {
            for (position, held) in list.iter().enumerate() {
                let other = self.audiences[held.audience as usize].subscribers[held.index as usize];
                assert_eq!(other, Subscriber { slot: slot as u32, held: position as u32 }, "the sides disagree");
                let same = |later: &Held| later.audience == held.audience;
                assert!(!list[position + 1..].iter().any(same), "slot {slot} is subscribed twice to one audience");
            }
        }
        let mut exact = 0;
        for (id, audience) in &self.audiences {
            assert!(!audience.is_unused(), "an audience that nothing needs is still there");
            assert_eq!(self.lookup(&audience.name, audience.kind), Some(id as u32), "an audience cannot be found");
            exact += usize::from(audience.kind == Kind::Exact);
        }
        assert_eq!(self.channels.len(), exact, "a freed channel is still in the table");
        assert_eq!(self.patterns.len(), self.audiences.len() - exact, "a freed pattern is still in the trie");
        self.patterns.invariants();
        // Every held entry has its subscriber, so equal sums mean that every subscriber has its held entry.
        let held: usize = self.held.iter().map(SmallVec::len).sum();
        assert_eq!(self.len, held, "subscriptions are counted wrongly");
        let subscribers: usize = self.audiences.iter().map(|(_, audience)| audience.subscribers.len()).sum();
        assert_eq!(self.len, subscribers, "an audience has a subscriber that does not hold it");
    }
}

impl Subscriptions {
    fn lookup(&self, name: &[u8], kind: Kind) -> Option<u32> {
        match kind {
            Kind::Exact => self.find_hashed(self.channels.hash(0, name), name),
            Kind::Pattern => self.patterns.get(name),
        }
    }

    fn find_hashed(&self, hash: u32, channel: &[u8]) -> Option<u32> {
        self.channels.find(hash, |id| *self.audiences[id as usize].name == *channel)
    }

    /// The audience of this name, which may be a new one: the caller must give it a subscriber or a peer.
    fn find_or_add(&mut self, name: &[u8], kind: Kind) -> u32 {
        match kind {
            Kind::Exact => {
                let hash = self.channels.hash(0, name);
                self.find_hashed(hash, name).unwrap_or_else(|| {
                    let id = self.audiences.insert(Audience::new(name, kind)) as u32;
                    self.channels.insert(hash, id);
                    id
                })
            }
            Kind::Pattern => self.patterns.get(name).unwrap_or_else(|| {
                let id = self.audiences.insert(Audience::new(name, kind)) as u32;
                self.patterns.insert(name, id);
                id
            }),
        }
    }

    /// Where in the connection's list this audience is.
    fn position(&self, slot: Slot, id: u32) -> Option<usize> {
        let list = self.held.get(slot as usize)?;
        let subscribers = &self.audiences[id as usize].subscribers;
        if list.len() <= subscribers.len() {
            list.iter().position(|held| held.audience == id)
        } else {
            subscribers.iter().find(|subscriber| subscriber.slot == slot).map(|subscriber| subscriber.held as usize)
        }
    }

    /// Ends the audience's side of a subscription whose other side is gone already. True if it was the last.
    fn leave(&mut self, Held { audience, index }: Held) -> bool {
        let subscribers = &mut self.audiences[audience as usize].subscribers;
        subscribers.swap_remove(index as usize);
        if let Some(moved) = subscribers.get(index as usize) {
            // This is another connection: one has only one place in an audience.
            self.held[moved.slot as usize][moved.held as usize].index = index;
        }
        slim(subscribers);
        self.len -= 1;
        subscribers.is_empty()
    }

    fn free_if_unused(&mut self, id: u32) {
        if !self.audiences[id as usize].is_unused() {
            return;
        }
        let Audience { name, kind, .. } = self.audiences.remove(id as usize);
        let shrunk = match kind {
            Kind::Exact => self.channels.remove(self.channels.hash(0, &name), id),
            Kind::Pattern => {
                self.patterns.remove(&name);
                false
            }
        };
        // Shrinking walks over the audiences, so only when as many have been freed since the last time.
        let is_emptied = self.audiences.is_empty() && self.audiences.capacity() > AUDIENCES_KEPT;
        if shrunk || is_emptied {
            self.audiences.shrink_to_fit();
        }
    }
}

impl Audience {
    fn new(name: &[u8], kind: Kind) -> Self {
        Self { name: name.into(), kind, subscribers: SmallVec::new(), peers: 0, live_at: 0, is_refused: false }
    }

    fn is_unused(&self) -> bool {
        self.subscribers.is_empty() && self.peers == 0
    }
}

/// Gives back the memory of a list that has become much emptier, in time that its removals have paid for: the next
/// change of size is a quarter of the list away.
fn slim<A: smallvec::Array>(list: &mut SmallVec<A>) {
    if list.spilled() && list.len() <= list.capacity() / 4 {
        list.grow(2 * list.len());
    }
}

//! One core's table of subscriptions, and its replica of the peers' interest.
//!
//! ```text
//! held: by connection                audiences: by id
//! 0: [ (audience 7, index 0) ] ───►  7: "chat"  subscribers [ (slot 0, held 0), (slot 2, held 1) ]  peers 0b10
//! 1: [ ]                        ┌─►              ▲
//! 2: [ (9, 0), (7, 1) ] ────────┘    9: "a.>"   subscribers [ (slot 2, held 0) ]                    peers 0
//! ```
//! Each side of a subscription knows the place of the other one, and both lists fill a gap with their last entry. So
//! ending a subscription costs the same in a channel of one subscriber and of a million, and the cost of closing a
//! connection grows with its own subscriptions only.

mod audiences;
mod cost;
mod interest;
mod owners;
mod pending;
mod refusals;

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use slab::Slab;
use smallvec::SmallVec;

use crate::{
    engine::{
        index::Index,
        patterns::{Patterns, Shape},
        slot::Slot,
    },
    protocol::channel::Kind,
};

#[cfg(test)]
pub(crate) use crate::engine::index::with_fixed_hash;

pub(crate) use self::cost::{DEEP_SHAPES_PER_CONNECTION_MAX, Demand};
use self::{audiences::Audience, refusals::Refusals};

#[cfg(test)]
mod tests;

/// The most peer cores (and the bridge) whose interest fits into the table: one bit each.
pub(crate) const PEERS_MAX: u32 = u64::BITS;

/// The capacity for lists of connections that is kept when there are no subscriptions (24 KiB).
const SLOTS_KEPT: usize = 1024;

/// A channel or pattern that has a local subscriber or an interested peer.
///
/// Valid until the next call that ends a subscription or an interest. After that it may stand for another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AudienceId(u32);

/// One core's subscriptions. Cost: 24 bytes for a connection with up to two, 8 more for each subscription in a channel
/// of more than two, and about 90 bytes and the name for a channel or pattern. The module `cost` counts it.
///
/// Names must have passed `channel::check_subscribe`, and `kind` must be its result.
pub(crate) struct Subscriptions {
    /// By slot. The list grows to the highest slot that ever subscribed.
    held: Vec<HeldList>,
    audiences: Slab<Audience>,
    /// The audiences of [`Kind::Exact`], by name.
    channels: Index,
    /// The audiences of [`Kind::Pattern`].
    patterns: Patterns,
    /// Announced names that have lost their last subscriber, for `take_left`.
    left: Vec<u32>,
    /// The number of subscriptions of all connections.
    len: usize,
    /// The number of cores: each of them stores every name.
    cores: usize,
    /// The memory of the names on this core, in bytes.
    name_bytes: usize,
    /// The number of audiences freed since the slab was last shrunk.
    freed: usize,
    /// The charge of each connection with more than `HELD_INLINE` subscriptions, in bytes. For the others it is summed
    /// up when needed.
    charged: HashMap<Slot, u32, RandomState>,
    /// How many patterns of each deep shape a connection holds. Most connections hold none.
    deep_held: BTreeMap<(Slot, Shape), u32>,
    refusals: Refusals,
    /// The number of pending subscribers of each audience that has some.
    pending: HashMap<u32, u32, RandomState>,
}

/// Inline for up to two, which most connections do not exceed: an idle one has no allocation here.
type HeldList = SmallVec<[Held; HELD_INLINE]>;
const HELD_INLINE: usize = 2;

/// The connection's side of a subscription. Invariant: `audiences[audience].subscribers[index]` is the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    audience: u32,
    /// The index, and a bit that says who asked for the subscription: see `owners`.
    place: u32,
}

/// The audience's side of a subscription. Invariant: `held[slot][held]` is the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    slot: Slot,
    held: u32,
}

impl Subscriber {
    /// The subscribed connection.
    pub(crate) fn slot(self) -> Slot {
        self.slot
    }
}

/// The result of [`Subscriptions::subscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscribed {
    /// The audience that the connection is in.
    pub(crate) audience: AudienceId,
    /// False if the connection was already subscribed, so that nothing changed (PROTOCOL.md §2: "twice is once").
    pub(crate) new: bool,
    /// The core's count for this name went from 0 to 1: its peers need to know.
    pub(crate) first: bool,
}

/// The result of [`Subscriptions::unsubscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsubscribed {
    /// The core's count for this name went from 1 to 0: its peers need to know.
    pub(crate) last: bool,
}

/// Subscribing and publishing.
impl Subscriptions {
    /// An empty table of one of `cores` cores.
    pub(crate) fn new(cores: u32) -> Self {
        Self {
            held: Vec::new(),
            audiences: Slab::new(),
            channels: Index::new(),
            patterns: Patterns::new(),
            left: Vec::new(),
            len: 0,
            cores: cores as usize,
            name_bytes: 0,
            freed: 0,
            charged: HashMap::default(),
            deep_held: BTreeMap::new(),
            refusals: Refusals::FIRST,
            pending: HashMap::default(),
        }
    }

    /// Subscribes a connection. Cost: one lookup, and a scan of the shorter one of the connection's and the audience's
    /// list.
    pub(crate) fn subscribe(&mut self, slot: Slot, name: &[u8], kind: Kind) -> Subscribed {
        let subscribed = self.add_last(slot, name, kind);
        if subscribed.new && self.audiences[subscribed.audience.0 as usize].has_pending {
            self.put_before_pending(subscribed.audience.0);
        }
        subscribed
    }

    /// Adds a subscription as the last one of its audience.
    fn add_last(&mut self, slot: Slot, name: &[u8], kind: Kind) -> Subscribed {
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
            (Held { audience: id, place: subscribers.len() as u32 }, Subscriber { slot, held: held.len() as u32 });
        held.push(sides.0);
        subscribers.push(sides.1);
        self.len += 1;
        self.add_charge(slot, name, kind);
        Subscribed { audience, new: true, first }
    }

    /// Ends a subscription; `None` if there was none. Cost: as [`subscribe`](Self::subscribe).
    pub(crate) fn unsubscribe(&mut self, slot: Slot, name: &[u8], kind: Kind) -> Option<Unsubscribed> {
        let id = self.lookup(name, kind)?;
        let position = self.position(slot, id)?;
        let list = &mut self.held[slot as usize];
        let held = list.swap_remove(position);
        if let Some(moved) = list.get(position) {
            let other = &mut self.audiences[moved.audience as usize].subscribers[moved.index()];
            other.held = position as u32;
        }
        slim(list);
        self.remove_charge(slot, name, kind);
        let last = self.leave(held);
        self.free_if_unused(id);
        Some(Unsubscribed { last })
    }

    /// Ends all subscriptions of a connection, and calls `last` for each name for which the core's count went from 1 to
    /// 0. After that another connection may use the slot. The cost grows with the number of its subscriptions.
    pub(crate) fn close(&mut self, slot: Slot, last: &mut dyn FnMut(&[u8], Kind)) {
        let Some(list) = self.held.get_mut(slot as usize) else { return };
        let list = std::mem::take(list);
        self.clear_charge(slot);
        // From the last to the first: so an audience that only this connection has filled becomes empty without moves.
        for held in list.into_iter().rev() {
            if self.leave(held) {
                let audience = &self.audiences[held.audience as usize];
                last(&audience.name, audience.kind);
            }
            self.free_if_unused(held.audience);
        }
        if self.len == 0 && self.held.len() > SLOTS_KEPT {
            self.held = Vec::new();
        }
    }
}

/// Counts.
impl Subscriptions {
    /// Whether a connection is subscribed to exactly this name. A pattern that matches it does not count.
    pub(crate) fn is_subscribed(&self, slot: Slot, name: &[u8], kind: Kind) -> bool {
        self.lookup(name, kind).is_some_and(|id| self.position(slot, id).is_some())
    }

    /// The number of a connection's subscriptions.
    pub(crate) fn count(&self, slot: Slot) -> usize {
        self.held.get(slot as usize).map_or(0, SmallVec::len)
    }

    /// The number of subscriptions of all connections of this core.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The number of channels and patterns with a local subscriber or an interested peer.
    pub(crate) fn audiences(&self) -> usize {
        self.audiences.len()
    }

    /// Checks the invariants. Cost: visits the whole table several times.
    ///
    /// # Panics
    /// If one of them does not hold.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn invariants(&self) {
        for (slot, list) in self.held.iter().enumerate() {
            for (position, held) in list.iter().enumerate() {
                let other = self.audiences[held.audience as usize].subscribers[held.index()];
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
        assert_eq!(self.patterns.len(), self.audiences.len() - exact, "a freed pattern is still among them");
        self.patterns.invariants();
        // Every held entry has its subscriber, so equal sums mean that every subscriber has its held entry.
        let held: usize = self.held.iter().map(SmallVec::len).sum();
        assert_eq!(self.len, held, "subscriptions are counted wrongly");
        let subscribers: usize = self.audiences.iter().map(|(_, audience)| audience.subscribers.len()).sum();
        assert_eq!(self.len, subscribers, "an audience has a subscriber that does not hold it");
        self.pending_invariants();
        self.cost_invariants();
    }
}

impl Subscriptions {
    /// The position of this audience in the connection's list.
    fn position(&self, slot: Slot, id: u32) -> Option<usize> {
        let list = self.held.get(slot as usize)?;
        let subscribers = &self.audiences[id as usize].subscribers;
        if list.len() <= subscribers.len() {
            list.iter().position(|held| held.audience == id)
        } else {
            subscribers.iter().find(|subscriber| subscriber.slot == slot).map(|subscriber| subscriber.held as usize)
        }
    }

    /// Ends the audience's side of a subscription, after the connection's side was removed. Returns true if it was the
    /// last subscriber.
    fn leave(&mut self, held: Held) -> bool {
        let audience = held.audience;
        let has_pending = self.audiences[audience as usize].has_pending;
        let index = if has_pending { self.put_last(held) } else { held.index() };
        let entry = &mut self.audiences[audience as usize];
        let subscribers = &mut entry.subscribers;
        subscribers.swap_remove(index);
        if let Some(moved) = subscribers.get(index) {
            // This is another connection: each connection has only one place in an audience.
            self.held[moved.slot as usize][moved.held as usize].set_index(index);
        }
        slim(subscribers);
        self.len -= 1;
        let is_last = subscribers.is_empty();
        if is_last && entry.is_announced && !std::mem::replace(&mut entry.lingers, true) {
            self.left.push(audience);
        }
        is_last
    }
}

/// Frees the spare memory of a list that has become much emptier. The removals before have paid for this: the next
/// change of capacity is a quarter of the list away.
fn slim<A: smallvec::Array>(list: &mut SmallVec<A>) {
    if list.spilled() && list.len() <= list.capacity() / 4 {
        list.grow(2 * list.len());
    }
}

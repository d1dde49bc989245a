//! What subscriptions cost, and whom: the sum on this core, and each connection's charge.

use smallvec::SmallVec;

use super::{HELD_INLINE, HeldList, Subscriptions};
use crate::{
    engine::{patterns::Shape, slot::Slot},
    protocol::channel::Kind,
};

/// Bytes of a subscription beside its name: an entry of 8 bytes in the connection's list and in the audience's, which grow
/// by doubling.
pub(crate) const SUBSCRIPTION_BYTES: usize = 24;

/// Bytes of a name on each core beside itself: an audience, an entry of an index that is half full, and what the allocator
/// adds to a name.
pub(crate) const NAME_BYTES: usize = 96;

/// Room for the charges of this many connections is kept.
const CHARGED_KEPT: usize = 64;

/// Shapes of deep patterns that one connection may use.
pub(crate) const DEEP_SHAPES_PER_CONNECTION_MAX: usize = 8;

/// What a message would add to what its connection holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    /// Subscriptions that it does not hold yet.
    pub(crate) subscriptions: usize,
    /// Bytes that it is charged for them.
    pub(crate) charge: usize,
    /// Bytes that they take on this core.
    pub(crate) bytes: usize,
    /// Deep shapes that none of its patterns has yet; one more than it may have stands for all that are too many.
    pub(crate) deep: SmallVec<[Shape; 4]>,
}

impl Subscriptions {
    /// Adds to a demand what one more subscription of a connection takes; nothing if it holds it already.
    pub(crate) fn add_demand(&self, slot: Slot, name: &[u8], kind: Kind, demand: &mut Demand) {
        let id = self.lookup(name, kind);
        if id.is_some_and(|id| self.position(slot, id).is_some()) {
            return;
        }
        demand.subscriptions += 1;
        demand.charge += self.charge(name);
        demand.bytes += SUBSCRIPTION_BYTES + if id.is_none() { name_bytes(name) } else { 0 };
        if let Some(shape) = deep_shape(name, kind)
            && !self.deep_held.contains_key(&(slot, shape))
            && !demand.deep.contains(&shape)
            && demand.deep.len() <= DEEP_SHAPES_PER_CONNECTION_MAX
        {
            demand.deep.push(shape);
        }
    }

    /// Bytes that a connection is charged for its subscriptions.
    pub(crate) fn charged(&self, slot: Slot) -> usize {
        match self.held.get(slot as usize) {
            Some(list) if list.len() > HELD_INLINE => self.charged[&slot] as usize,
            Some(list) => self.sum_charges(list),
            None => 0,
        }
    }

    fn sum_charges(&self, list: &HeldList) -> usize {
        list.iter().map(|held| self.charge(&self.audiences[held.audience as usize].name)).sum()
    }

    /// Bytes that the table takes on this core: all subscriptions, and the names that it knows.
    pub(crate) fn bytes(&self) -> usize {
        self.len * SUBSCRIPTION_BYTES + self.name_bytes
    }

    /// How many deep shapes a connection's patterns have.
    pub(crate) fn deep_held(&self, slot: Slot) -> usize {
        self.deep_held.range((slot, Shape::MIN)..=(slot, Shape::MAX)).count()
    }

    /// How many deep shapes the patterns of all cores have, and how many of these would be new to them.
    pub(crate) fn deep_shapes(&self, wanted: &[Shape]) -> (usize, usize) {
        let new = wanted.iter().filter(|&&shape| !self.patterns.has_shape(shape)).count();
        (self.patterns.deep_shapes(), new)
    }

    /// A connection is charged for a subscription that it did not have; its list has it.
    pub(super) fn add_charge(&mut self, slot: Slot, name: &[u8], kind: Kind) {
        let list = &self.held[slot as usize];
        if list.len() == HELD_INLINE + 1 {
            self.charged.insert(slot, self.sum_charges(list) as u32);
        } else if list.len() > HELD_INLINE {
            *self.charged.entry(slot).or_default() += self.charge(name) as u32;
        }
        if let Some(shape) = deep_shape(name, kind) {
            *self.deep_held.entry((slot, shape)).or_insert(0) += 1;
        }
    }

    /// A subscription has ended; the connection's list has it no more.
    pub(super) fn remove_charge(&mut self, slot: Slot, name: &[u8], kind: Kind) {
        if self.held[slot as usize].len() > HELD_INLINE {
            *self.charged.entry(slot).or_default() -= self.charge(name) as u32;
        } else {
            self.forget_charged(slot);
        }
        if let Some(shape) = deep_shape(name, kind)
            && let Some(patterns) = self.deep_held.get_mut(&(slot, shape))
        {
            *patterns -= 1;
            if *patterns == 0 {
                self.deep_held.remove(&(slot, shape));
            }
        }
    }

    /// All of a connection's subscriptions have ended.
    pub(super) fn clear_charge(&mut self, slot: Slot) {
        self.forget_charged(slot);
        while let Some((&key, _)) = self.deep_held.range((slot, Shape::MIN)..=(slot, Shape::MAX)).next() {
            self.deep_held.remove(&key);
        }
    }

    fn forget_charged(&mut self, slot: Slot) {
        if self.charged.remove(&slot).is_some() && self.charged.capacity() > CHARGED_KEPT.max(8 * self.charged.len()) {
            self.charged.shrink_to(2 * self.charged.len());
        }
    }

    /// What a connection is charged for a subscription: the name is on every core, whether others have it too or not.
    fn charge(&self, name: &[u8]) -> usize {
        SUBSCRIPTION_BYTES + self.cores * name_bytes(name)
    }
}

/// Bytes that a channel or pattern takes on each core.
pub(super) fn name_bytes(name: &[u8]) -> usize {
    NAME_BYTES + name.len()
}

/// The shape of a name that is a pattern and has a deep one.
fn deep_shape(name: &[u8], kind: Kind) -> Option<Shape> {
    (kind == Kind::Pattern).then(|| Shape::of(name)).filter(|shape| shape.is_deep())
}

#[cfg(any(test, feature = "fuzz"))]
impl Subscriptions {
    /// Checks that what is counted is what is there.
    pub(super) fn cost_invariants(&self) {
        let names: usize = self.audiences.iter().map(|(_, audience)| name_bytes(&audience.name)).sum();
        assert_eq!(self.name_bytes, names, "the bytes of names are counted wrongly");
        let mut deep_held = std::collections::BTreeMap::new();
        for (slot, list) in self.held.iter().enumerate() {
            let audiences = || list.iter().map(|held| &self.audiences[held.audience as usize]);
            let charge: usize = audiences().map(|audience| self.charge(&audience.name)).sum();
            assert_eq!(self.charged(slot as Slot), charge, "slot {slot} is charged wrongly");
            assert_eq!(self.charged.contains_key(&(slot as Slot)), list.len() > HELD_INLINE, "slot {slot}");
            for shape in audiences().filter_map(|audience| deep_shape(&audience.name, audience.kind)) {
                *deep_held.entry((slot as Slot, shape)).or_insert(0) += 1;
            }
        }
        assert_eq!(self.deep_held, deep_held, "deep patterns are counted wrongly");
    }
}

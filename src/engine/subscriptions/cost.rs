//! The cost of subscriptions: the sum on this core, and each connection's charge.

use smallvec::SmallVec;

use super::{HELD_INLINE, HeldList, Subscriptions};
use crate::{
    engine::{patterns::Shape, slot::Slot},
    protocol::channel::Kind,
};

/// Bytes of a subscription beside its name: an entry of 8 bytes in the connection's list and in the audience's, which grow
/// by doubling.
pub(crate) const SUBSCRIPTION_BYTES: usize = 24;

/// Bytes of a name on each core beside its length: an audience, an entry of an index that is half full, and the
/// allocator's overhead.
pub(crate) const NAME_BYTES: usize = 96;

/// The capacity for charges of connections that is kept.
const CHARGED_KEPT: usize = 64;

/// The most shapes of deep patterns that one connection may use.
pub(crate) const DEEP_SHAPES_PER_CONNECTION_MAX: usize = 8;

/// The subscriptions that a message would add to its connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    /// Subscriptions that the connection does not have yet.
    pub(crate) subscriptions: usize,
    /// The connection's charge for them, in bytes.
    pub(crate) charge: usize,
    /// Their memory on this core, in bytes.
    pub(crate) bytes: usize,
    /// Deep shapes that none of its patterns has yet. The list ends at one more than the limit, which is enough to
    /// refuse.
    pub(crate) deep: SmallVec<[Shape; 4]>,
}

impl Subscriptions {
    /// Adds the cost of one more subscription of a connection to a demand; nothing if the connection already has it.
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

    /// A connection's charge for its subscriptions, in bytes.
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

    /// The table's memory on this core, in bytes: all subscriptions, and all known names.
    pub(crate) fn bytes(&self) -> usize {
        self.len * SUBSCRIPTION_BYTES + self.name_bytes
    }

    /// The number of deep shapes of a connection's patterns.
    pub(crate) fn deep_held(&self, slot: Slot) -> usize {
        self.deep_held.range((slot, Shape::MIN)..=(slot, Shape::MAX)).count()
    }

    /// The number of deep shapes of all cores' patterns, and how many of the `wanted` ones would be new.
    pub(crate) fn deep_shapes(&self, wanted: &[Shape]) -> (usize, usize) {
        let new = wanted.iter().filter(|&&shape| !self.patterns.has_shape(shape)).count();
        (self.patterns.deep_shapes(), new)
    }

    /// Charges a connection for a new subscription that is already in its list.
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

    /// Ends the charge for a subscription that is no longer in the connection's list.
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

    /// Ends the charge for all subscriptions of a connection.
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

    /// A connection's charge for a subscription. It pays for the name on every core, even if other connections have the
    /// same name.
    fn charge(&self, name: &[u8]) -> usize {
        SUBSCRIPTION_BYTES + self.cores * name_bytes(name)
    }
}

/// The memory of a channel or pattern on each core, in bytes.
pub(super) fn name_bytes(name: &[u8]) -> usize {
    NAME_BYTES + name.len()
}

/// The shape of a pattern, if it is deep.
fn deep_shape(name: &[u8], kind: Kind) -> Option<Shape> {
    (kind == Kind::Pattern).then(|| Shape::of(name)).filter(|shape| shape.is_deep())
}

#[cfg(any(test, feature = "fuzz"))]
impl Subscriptions {
    /// Checks the sums against the table.
    pub(super) fn cost_invariants(&self) {
        let names: usize = self.audiences.iter().map(|(_, audience)| name_bytes(&audience.name)).sum();
        assert_eq!(self.name_bytes, names, "the sum of the names' bytes is wrong");
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

//! How many connections there may be of each role.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::reserve::Reserve;
use crate::{
    config::{PAGES_CONNECTIONS_MAX, PAGES_RESERVED, RESERVED_PER_CORE},
    engine::{arrival::Role, slot::Slot},
};

/// The connections of one role.
pub(super) struct Quota {
    /// Those open on all cores, without those on reserved places.
    open: Arc<AtomicUsize>,
    max: usize,
    /// Those over `max`.
    pub(super) reserve: Reserve,
    /// How many more of them this core accepts in this turn.
    over_left: usize,
}

impl Quota {
    fn new(open: Arc<AtomicUsize>, max: usize, places: usize) -> Self {
        Self { open, max, reserve: Reserve::new(places), over_left: 0 }
    }

    /// Whether this turn may accept one more.
    pub(super) fn may_accept(&self) -> bool {
        self.over_left > 0 || self.open.load(Ordering::Relaxed) < self.max
    }

    /// Counts a connection that was accepted, and says whether it is over the limit.
    pub(super) fn count(&mut self) -> bool {
        let is_over = self.open.fetch_add(1, Ordering::Relaxed) >= self.max;
        if is_over {
            self.open.fetch_sub(1, Ordering::Relaxed); // it takes nobody's place
            self.over_left = self.over_left.saturating_sub(1);
        }
        is_over
    }

    /// A connection has ended.
    pub(super) fn release(&mut self, slot: Slot, is_reserved: bool) {
        if is_reserved {
            self.reserve.remove(slot);
        } else {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Those of all roles. A crowd of one role takes no place of another.
pub(super) struct Quotas {
    public: Quota,
    /// One core has all listeners of pages, so no other counts them.
    pages: Quota,
}

impl Quotas {
    /// `max-connections`, of which `open` are there on all cores, and the fixed numbers of the other roles.
    pub(super) fn new(open: Arc<AtomicUsize>, connections_max: usize) -> Self {
        Self {
            public: Quota::new(open, connections_max, RESERVED_PER_CORE),
            pages: Quota::new(Arc::default(), PAGES_CONNECTIONS_MAX, PAGES_RESERVED),
        }
    }

    pub(super) fn set_connections_max(&mut self, connections_max: usize) {
        self.public.max = connections_max;
    }

    pub(super) fn of(&mut self, role: Role) -> &mut Quota {
        match role {
            Role::Public => &mut self.public,
            Role::Pages => &mut self.pages,
        }
    }

    /// A turn begins to accept.
    pub(super) fn begin_turn(&mut self) {
        for quota in [&mut self.public, &mut self.pages] {
            quota.over_left = quota.reserve.accepts_per_turn();
        }
    }
}

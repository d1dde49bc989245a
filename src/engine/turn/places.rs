//! The number of connections that a core accepts: those within the limit of their listener's role, and a few over it on
//! reserved places, which are read for one request.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    config::{ADMIN_CONNECTIONS_MAX, ADMIN_RESERVED, PAGES_CONNECTIONS_MAX, PAGES_RESERVED, RESERVED_PER_CORE},
    engine::{arrival::Role, slot::Slot},
};

/// One turn gives away one part in this many of the reserved places.
const SHARE_PER_TURN: usize = 4;

/// The places of a core, by role. Many connections of one role take no place of another.
#[derive(Debug)]
pub(crate) struct Places {
    public: RolePlaces,
    /// A single core has all listeners of pages and of `admin`, so only that core counts their connections.
    pages: RolePlaces,
    admin: RolePlaces,
    /// The connections of these two, which are few.
    others: Vec<(Slot, Role)>,
}

/// The places of one role.
#[derive(Debug)]
struct RolePlaces {
    /// Open connections on all cores, without those over the limit.
    open: Arc<AtomicUsize>,
    connections_max: usize,
    /// The connections over the limit that are still open, the oldest first.
    reserved: VecDeque<Reserved>,
    reserved_max: usize,
    /// How many more connections over the limit this turn accepts. They are read in this turn, and none of them gives
    /// way to another one.
    reserved_left: usize,
}

#[derive(Debug)]
struct Reserved {
    slot: Slot,
    /// It ends with this turn; its place counts as free.
    gives_way: bool,
}

/// A connection over the limit that gives way to another one.
pub(super) struct GivesWay {
    pub(super) slot: Slot,
    /// It has not been answered yet.
    pub(super) is_unanswered: bool,
}

impl Places {
    /// The places of a core: `max-connections` for clients, which all cores count in `open`, and the fixed numbers of
    /// the other roles.
    pub(crate) fn new(open: Arc<AtomicUsize>, connections_max: usize) -> Self {
        Self {
            public: RolePlaces::new(open, connections_max, RESERVED_PER_CORE),
            pages: RolePlaces::new(Arc::default(), PAGES_CONNECTIONS_MAX, PAGES_RESERVED),
            admin: RolePlaces::new(Arc::default(), ADMIN_CONNECTIONS_MAX, ADMIN_RESERVED),
            others: Vec::new(),
        }
    }

    /// Changes the number of reserved places.
    #[cfg(test)]
    pub(crate) fn reserve(&mut self, places: usize) {
        self.public.reserved_max = places;
    }

    /// Whether the connection in a slot is over the limit.
    #[cfg(test)]
    pub(crate) fn holds(&self, slot: Slot) -> bool {
        self.public.reserved.iter().any(|reserved| reserved.slot == slot)
    }

    /// Changes the limit. Connections that are already open stay, even over the new limit.
    pub(super) fn set_connections_max(&mut self, connections_max: usize) {
        self.public.connections_max = connections_max;
    }

    /// Begins the accepts of a turn.
    pub(super) fn begin_turn(&mut self) {
        for role in [&mut self.public, &mut self.pages, &mut self.admin] {
            role.reserved_left = role.reserved_max / SHARE_PER_TURN;
        }
    }

    /// Whether this turn accepts one more connection of this role.
    pub(super) fn may_accept(&self, role: Role) -> bool {
        let role = self.of(role);
        role.reserved_left > 0 || role.open.load(Ordering::Relaxed) < role.connections_max
    }

    /// Counts a connection if it is within the limit of its role. Returns whether it is.
    pub(super) fn take(&mut self, role: Role) -> bool {
        let role = self.of_mut(role);
        let is_within = role.open.fetch_add(1, Ordering::Relaxed) < role.connections_max;
        if !is_within {
            role.open.fetch_sub(1, Ordering::Relaxed); // a connection over the limit does not count
            role.reserved_left = role.reserved_left.saturating_sub(1);
        }
        is_within
    }

    /// Notes the slot of a connection. If the connection is over the limit, it gets a reserved place: call
    /// [`Places::make_room`] before.
    pub(super) fn seat(&mut self, slot: Slot, role: Role, is_reserved: bool) {
        if role != Role::Public {
            self.others.push((slot, role));
        }
        if is_reserved {
            self.of_mut(role).reserve_for(slot);
        }
    }

    /// Frees a reserved place of a role if there is none: the oldest answered connection gives way, or the oldest one
    /// if all are unanswered. Each was read at least in the turn in which it was accepted. So a connection that had
    /// sent its request by then is answered, whatever the others do.
    pub(super) fn make_room(&mut self, role: Role, is_unanswered: impl Fn(Slot) -> bool) -> Option<GivesWay> {
        self.of_mut(role).make_room(is_unanswered)
    }

    /// Frees the place of the closed connection in a slot.
    pub(super) fn free(&mut self, slot: Slot) {
        let index = self.others.iter().position(|(other, _)| *other == slot);
        let role = index.map_or(Role::Public, |index| self.others.swap_remove(index).1);
        self.of_mut(role).free(slot);
    }

    fn of(&self, role: Role) -> &RolePlaces {
        match role {
            Role::Public => &self.public,
            Role::Pages => &self.pages,
            Role::Admin => &self.admin,
        }
    }

    fn of_mut(&mut self, role: Role) -> &mut RolePlaces {
        match role {
            Role::Public => &mut self.public,
            Role::Pages => &mut self.pages,
            Role::Admin => &mut self.admin,
        }
    }
}

impl RolePlaces {
    fn new(open: Arc<AtomicUsize>, connections_max: usize, reserved_max: usize) -> Self {
        Self { open, connections_max, reserved: VecDeque::new(), reserved_max, reserved_left: 0 }
    }

    fn reserve_for(&mut self, slot: Slot) {
        debug_assert!(self.has_room(), "a reserved place is free");
        self.reserved.push_back(Reserved { slot, gives_way: false });
    }

    fn make_room(&mut self, is_unanswered: impl Fn(Slot) -> bool) -> Option<GivesWay> {
        if self.has_room() {
            return None;
        }
        let find = |is_wanted: &dyn Fn(Slot) -> bool| {
            self.reserved.iter().position(|reserved| !reserved.gives_way && is_wanted(reserved.slot))
        };
        let answered = find(&|slot| !is_unanswered(slot));
        let chosen = answered.or_else(|| find(&|_| true))?;
        let reserved = &mut self.reserved[chosen];
        reserved.gives_way = true;
        Some(GivesWay { slot: reserved.slot, is_unanswered: answered.is_none() })
    }

    fn has_room(&self) -> bool {
        self.reserved.iter().filter(|reserved| !reserved.gives_way).count() < self.reserved_max
    }

    fn free(&mut self, slot: Slot) {
        match self.reserved.iter().position(|reserved| reserved.slot == slot) {
            Some(index) => _ = self.reserved.remove(index),
            None => _ = self.open.fetch_sub(1, Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: Role = Role::Public;

    /// Whether the limit is reached, so that only reserved places are left.
    fn are_taken(places: &Places) -> bool {
        assert_eq!(places.public.reserved_left, 0, "the reserved places of this turn are used up");
        !places.may_accept(PUBLIC)
    }

    #[test]
    fn the_oldest_answered_connection_gives_way_before_the_oldest_unanswered_one() {
        let mut places = Places::new(Arc::default(), 0);
        places.reserve(3);
        assert!(are_taken(&places) && !places.take(PUBLIC));
        (0..3).for_each(|slot| {
            assert!(places.make_room(PUBLIC, |_| true).is_none());
            places.seat(slot, PUBLIC, true);
        });
        let gives_way = |places: &mut Places, answered: &[Slot]| {
            let is_unanswered = |slot| !answered.contains(&slot);
            let gives_way = places.make_room(PUBLIC, is_unanswered).expect("a connection gives way");
            (gives_way.slot, gives_way.is_unanswered)
        };
        assert_eq!(gives_way(&mut places, &[1, 2]), (1, false));
        places.seat(3, PUBLIC, true);
        assert_eq!(gives_way(&mut places, &[1]), (0, true), "one that already gives way frees no second place");
        places.seat(4, PUBLIC, true);
        [0, 1, 2].into_iter().for_each(|slot| places.free(slot));
        assert!(places.make_room(PUBLIC, |_| true).is_none(), "a place is free");
        places.seat(0, PUBLIC, true);
        assert_eq!(gives_way(&mut places, &[]), (3, true));
    }

    #[test]
    fn the_limit_counts_connections_of_all_cores_but_none_over_it() {
        let open = Arc::default();
        let (mut one, mut other) = (Places::new(Arc::clone(&open), 2), Places::new(Arc::clone(&open), 2));
        assert!(one.take(PUBLIC) && other.take(PUBLIC) && !one.take(PUBLIC));
        one.seat(7, PUBLIC, true);
        one.free(7);
        assert!(are_taken(&one) && are_taken(&other));
        other.free(0);
        assert!(!are_taken(&one) && one.take(PUBLIC) && are_taken(&other));
        other.set_connections_max(1);
        one.free(0);
        assert!(are_taken(&other) && !are_taken(&one));
    }

    #[test]
    fn a_crowd_of_browsers_takes_no_place_of_a_client() {
        let mut places = Places::new(Arc::default(), 1);
        places.begin_turn();
        for slot in 0..PAGES_CONNECTIONS_MAX as Slot {
            assert!(places.may_accept(Role::Pages) && places.take(Role::Pages));
            places.seat(slot, Role::Pages, false);
        }
        let mut reserved = 0;
        while places.may_accept(Role::Pages) {
            assert!(!places.take(Role::Pages) && places.make_room(Role::Pages, |_| true).is_none());
            places.seat((PAGES_CONNECTIONS_MAX + reserved) as Slot, Role::Pages, true);
            reserved += 1;
        }
        assert_eq!(reserved, PAGES_RESERVED / SHARE_PER_TURN);
        assert!(places.take(PUBLIC) && !places.take(PUBLIC));
        (0..(PAGES_CONNECTIONS_MAX + reserved) as Slot).for_each(|slot| places.free(slot));
        assert!(!places.take(PUBLIC) && places.take(Role::Pages));
    }
}

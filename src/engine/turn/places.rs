//! How many connections a core takes in: those within `max-connections`, and a few over it on reserved places, each read for
//! one request.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{config::RESERVED_PER_CORE, engine::slot::Slot};

/// The reserved places of a server of pages, which serves nobody over its limit.
const FEW: usize = 8;
/// The part of the reserved places that is given in one turn: one in this many.
const SHARE_PER_TURN: usize = 4;

/// The places of a core.
#[derive(Debug)]
pub(crate) struct Places {
    /// Connections open on all cores, without those over the limit.
    open: Arc<AtomicUsize>,
    connections_max: usize,
    /// The connections over the limit that are not closed yet, the oldest first.
    reserved: VecDeque<Reserved>,
    reserved_max: usize,
}

#[derive(Debug)]
struct Reserved {
    slot: Slot,
    /// It ends with this turn, and its place is free.
    gives_way: bool,
}

/// A connection over the limit that gives way to another one.
pub(super) struct GivesWay {
    pub(super) slot: Slot,
    /// It has no answer yet.
    pub(super) is_unanswered: bool,
}

impl Places {
    /// Those of one core; all cores count in `open`.
    pub(crate) fn new(open: Arc<AtomicUsize>, connections_max: usize) -> Self {
        Self { open, connections_max, reserved: VecDeque::new(), reserved_max: RESERVED_PER_CORE }
    }

    /// Leaves a server of pages, whose connections over the limit are all told 503, a few places to say so.
    pub(crate) fn reserve_a_few(&mut self) {
        self.reserved_max = FEW;
    }

    /// Reserves so many places.
    #[cfg(test)]
    pub(crate) fn reserve(&mut self, places: usize) {
        self.reserved_max = places;
    }

    /// Whether the connection in a slot is over the limit.
    #[cfg(test)]
    pub(crate) fn holds(&self, slot: Slot) -> bool {
        self.reserved.iter().any(|reserved| reserved.slot == slot)
    }

    /// Connections that are open already stay, however many.
    pub(super) fn set_connections_max(&mut self, connections_max: usize) {
        self.connections_max = connections_max;
    }

    /// Whether the next connection is over the limit.
    pub(super) fn are_taken(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.connections_max
    }

    /// How many connections over the limit are accepted in one turn. They are read in that turn, and none of them has to
    /// give way to the others.
    pub(super) fn reserved_per_turn(&self) -> usize {
        self.reserved_max / SHARE_PER_TURN
    }

    /// Counts a connection if it is within the limit, and says whether it is.
    pub(super) fn take(&self) -> bool {
        let is_within = self.open.fetch_add(1, Ordering::Relaxed) < self.connections_max;
        if !is_within {
            self.open.fetch_sub(1, Ordering::Relaxed); // it takes nobody's place
        }
        is_within
    }

    /// Gives a reserved place to a connection that is over the limit.
    pub(super) fn take_reserved(&mut self, slot: Slot) {
        debug_assert!(self.reserved_left() > 0, "a connection has to give way before");
        self.reserved.push_back(Reserved { slot, gives_way: false });
    }

    /// Frees a reserved place if there is none: the oldest connection gives way, rather one that has its answer. Each was read
    /// at least in the turn in which it came, so one that has sent its request by then is answered, whatever the others do.
    pub(super) fn make_room(&mut self, is_unanswered: impl Fn(Slot) -> bool) -> Option<GivesWay> {
        if self.reserved_left() > 0 {
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

    fn reserved_left(&self) -> usize {
        let taken = self.reserved.iter().filter(|reserved| !reserved.gives_way).count();
        self.reserved_max.saturating_sub(taken)
    }

    /// The connection in a slot is closed.
    pub(super) fn free(&mut self, slot: Slot) {
        match self.reserved.iter().position(|reserved| reserved.slot == slot) {
            Some(index) => _ = self.reserved.remove(index),
            None => _ = self.open.fetch_sub(1, Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_connection_gives_way_but_rather_one_that_has_its_answer() {
        let mut places = Places::new(Arc::default(), 0);
        places.reserve(3);
        assert!(places.are_taken() && !places.take());
        (0..3).for_each(|slot| {
            assert!(places.make_room(|_| true).is_none());
            places.take_reserved(slot);
        });
        let gives_way = |places: &mut Places, answered: &[Slot]| {
            let gives_way = places.make_room(|slot| !answered.contains(&slot)).expect("there is no place");
            (gives_way.slot, gives_way.is_unanswered)
        };
        assert_eq!(gives_way(&mut places, &[1, 2]), (1, false));
        places.take_reserved(3);
        assert_eq!(gives_way(&mut places, &[1]), (0, true), "one that goes already frees no place again");
        places.take_reserved(4);
        [0, 1, 2].into_iter().for_each(|slot| places.free(slot));
        assert!(places.make_room(|_| true).is_none(), "a place is free");
        places.take_reserved(0);
        assert_eq!(gives_way(&mut places, &[]), (3, true));
    }

    #[test]
    fn connections_of_all_cores_count_but_none_over_the_limit() {
        let open = Arc::default();
        let (mut one, mut other) = (Places::new(Arc::clone(&open), 2), Places::new(Arc::clone(&open), 2));
        assert!(one.take() && other.take() && !one.take());
        one.take_reserved(7);
        one.free(7);
        assert!(one.are_taken() && other.are_taken());
        other.free(0);
        assert!(!one.are_taken() && one.take() && other.are_taken());
        other.set_connections_max(1);
        one.free(0);
        assert!(other.are_taken() && !one.are_taken());
    }
}

//! Lanes: what one connection asks of one server is done one after the other.

use std::collections::{HashMap, VecDeque};

use crate::extension::{Fetch, Lane};

/// The lanes in which a request is under way, with what waits behind it.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    busy: HashMap<Lane, VecDeque<Box<Fetch>>>,
}

impl Lanes {
    /// A request is next in its lane: it is given back if it may begin, else it waits there.
    pub(super) fn enter(&mut self, fetch: Box<Fetch>) -> Option<Box<Fetch>> {
        let lane = fetch.lane();
        if let Some(waiting) = self.busy.get_mut(&lane) {
            waiting.push_back(fetch);
            return None;
        }
        self.busy.insert(lane, VecDeque::new());
        Some(fetch)
    }

    /// The request of a lane is done with; the next one may begin.
    pub(super) fn done(&mut self, lane: &Lane) -> Option<Box<Fetch>> {
        let next = self.busy.get_mut(lane).and_then(VecDeque::pop_front);
        if next.is_none() {
            self.busy.remove(lane);
        }
        next
    }
}

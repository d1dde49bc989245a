//! When each connection is looked at next.

use std::{collections::VecDeque, time::Duration};

use crate::engine::{sessions::Sessions, slot::Slot, timers::Timers};

/// The timers of a core, and the connections whose time has come.
pub(super) struct Schedule {
    timers: Timers,
    /// Connections whose deadlines have come and that were not looked at yet, each with its generation.
    due: VecDeque<(Slot, u32)>,
}

impl Schedule {
    pub(super) fn new(now: u64) -> Self {
        Self { timers: Timers::new(Duration::from_millis(now)), due: VecDeque::new() }
    }
}

impl Sessions {
    /// A connection is looked at when this time has come, or before. Of its entries in the timers the earliest counts: a
    /// later time adds none, and a later entry that is there already comes out without a look.
    pub(crate) fn schedule(&mut self, slot: Slot, at: u64) {
        let Self { slab, schedule, .. } = self;
        let session = &mut slab[slot as usize];
        let at = Duration::from_millis(at);
        if session.next_look.is_none_or(|look| schedule.timers.is_before(at, look)) {
            session.next_look = Some(schedule.timers.schedule(slot, session.generation, at));
        }
    }

    /// Whether deadlines wait for the next turn, see [`crate::engine::clock::Clock::reads_first`].
    pub(crate) fn reads_first(&self) -> bool {
        self.clock.reads_first()
    }

    /// Finds the connections whose deadlines have come, unless some are left from before. Says whether there are any.
    pub(crate) fn find_due(&mut self) -> bool {
        if self.schedule.due.is_empty() {
            self.schedule.timers.expire(Duration::from_millis(self.now), &mut self.schedule.due);
        }
        self.has_due()
    }

    /// Takes the next entry of those that are due. Its slot is none if it is of another connection, or if the connection's
    /// entry that counts is still to come.
    pub(crate) fn next_due(&mut self) -> Option<Option<Slot>> {
        let (slot, generation) = self.schedule.due.pop_front()?;
        let Some(session) = self.slab.get_mut(slot as usize) else { return Some(None) };
        let is_to_come = session.next_look.is_some_and(|look| !self.schedule.timers.has_passed(look));
        if session.generation != generation || is_to_come {
            return Some(None);
        }
        session.next_look = None;
        Some(Some(slot))
    }

    /// Whether connections wait to be looked at.
    pub(crate) fn has_due(&self) -> bool {
        !self.schedule.due.is_empty()
    }

    /// When the next timer comes, as the time for which the core has run.
    pub(crate) fn next_timer(&self) -> Option<Duration> {
        self.schedule.timers.next()
    }

    /// When the core is to wake that has something to do when it has run for so long.
    pub(crate) fn wake_at(&self, ran: Duration) -> Duration {
        self.clock.wake_at(ran)
    }

    /// The times have changed: each connection is looked at once. Peers have at least `grace` from now on.
    pub(crate) fn look_at_all(&mut self, grace: Duration) {
        self.clock.set_grace(grace);
        // A second entry for each connection would stay beside the first for as long as it is open: all are forgotten.
        self.schedule = Schedule::new(self.now);
        for slot in self.slots() {
            let session = &mut self[slot];
            session.next_look = None;
            session.heard &= !1; // a ping of before had other times to be answered in
            self.schedule(slot, self.now);
        }
    }
}

#[cfg(test)]
impl Sessions {
    /// How many entries the timers have.
    pub(crate) fn timers_len(&self) -> usize {
        self.schedule.timers.len()
    }
}

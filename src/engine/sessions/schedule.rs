//! The time of each connection's next check.

use std::{collections::VecDeque, time::Duration};

use crate::engine::{sessions::Sessions, slot::Slot, timers::Timers};

/// The timers of a core, and the connections whose time has come.
pub(super) struct Schedule {
    timers: Timers,
    /// Connections whose deadlines have come and that were not checked yet, each with its generation.
    due: VecDeque<(Slot, u32)>,
}

impl Schedule {
    pub(super) fn new(now: u64) -> Self {
        Self { timers: Timers::new(Duration::from_millis(now)), due: VecDeque::new() }
    }
}

impl Sessions {
    /// Schedules a check of a connection at this time, or before. Only the earliest of its entries in the timers
    /// counts: a later time adds no entry, and an older entry for a later time is ignored when it comes out.
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

    /// Finds the connections whose deadlines have come, unless some are left from before. Returns whether there are
    /// any.
    pub(crate) fn find_due(&mut self) -> bool {
        if self.schedule.due.is_empty() {
            self.schedule.timers.expire(Duration::from_millis(self.now), &mut self.schedule.due);
        }
        self.has_due()
    }

    /// Takes the next due entry. Its slot is `None` if the slot has another connection now, or if the connection's
    /// valid entry comes later.
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

    /// Whether connections wait to be checked.
    pub(crate) fn has_due(&self) -> bool {
        !self.schedule.due.is_empty()
    }

    /// The time of the next timer, as the time for which the core has run.
    pub(crate) fn next_timer(&self) -> Option<Duration> {
        self.schedule.timers.next()
    }

    /// When the core must wake to be in time for work that is due after it has run for `ran`.
    pub(crate) fn wake_at(&self, ran: Duration) -> Duration {
        self.clock.wake_at(ran)
    }

    /// Schedules a check of each connection, because the times have changed. Peers have at least `grace` from now on.
    pub(crate) fn look_at_all(&mut self, grace: Duration) {
        self.clock.set_grace(grace);
        // All old entries are dropped. Otherwise a second entry of each connection would stay beside the first one
        // while it is open.
        self.schedule = Schedule::new(self.now);
        for slot in self.slots() {
            let session = &mut self[slot];
            session.next_look = None;
            session.heard &= !1; // an earlier ping was sent with the old times
            self.schedule(slot, self.now);
        }
    }
}

#[cfg(test)]
impl Sessions {
    /// The number of entries in the timers.
    pub(crate) fn timers_len(&self) -> usize {
        self.schedule.timers.len()
    }
}

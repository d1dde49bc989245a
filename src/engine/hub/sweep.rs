//! A visit of all connections after something has changed for all of them: the rules for channels, or the time of day.
//!
//! The visit takes several turns. New rules count for everything that clients ask for at once, so a connection that was
//! visited needs no second visit. A reload returns after the visit, see [`Hub::is_sweeping`]: after that, nothing is
//! delivered to a connection that is not allowed to get it. Where a message comes from makes no difference: clients,
//! peers and the bridge all reach a connection by its subscriptions only.

use crate::engine::{hub::Hub, slot::Slot};

/// Work for a visit, beside the check of each subscription.
const VISIT_UNITS: u64 = 16;

/// The state of a visit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sweep {
    /// The next slot.
    next: Slot,
    /// The subscriptions are checked against the rules.
    has_new_rules: bool,
}

impl Hub {
    /// Begins to check all subscriptions against the rules.
    pub(super) fn check_all_again(&mut self) {
        self.sweep = Some(Sweep { next: 0, has_new_rules: true });
    }

    /// Begins to check all tokens, because the core stood still: the timers count only the time for which it has run.
    pub(super) fn look_at_tokens(&mut self) {
        if self.grants.len() > 0 {
            let has_new_rules = self.sweep.is_some_and(|sweep| sweep.has_new_rules);
            self.sweep = Some(Sweep { next: 0, has_new_rules });
        }
    }

    /// Whether connections wait for the visit. Until it is over, subscriptions may exist that new rules do not allow.
    pub(crate) fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// Visits connections until the turn is full or about this many units of work are done.
    pub(super) fn go_on_sweeping(&mut self, units: u64) {
        let Some(mut sweep) = self.sweep else { return };
        let until = self.router.work.done() + units;
        let end = self.sessions.slots_end();
        while sweep.next < end && self.router.work.done() < until && !self.router.is_full() {
            self.visit(sweep.next, sweep.has_new_rules);
            sweep.next += 1;
        }
        self.sweep = (sweep.next < end).then_some(sweep);
    }

    fn visit(&mut self, slot: Slot, has_new_rules: bool) {
        self.router.work.add(VISIT_UNITS);
        if self.sessions.get(slot).is_none_or(|session| !session.is_open()) {
            return;
        }
        if has_new_rules {
            self.end_forbidden(slot);
            self.router.note_all_entered(slot);
        }
        if self.sessions[slot].grant().number().is_some() {
            self.sessions.schedule(slot, self.sessions.now());
        }
    }
}

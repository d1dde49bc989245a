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
    /// Homes of channels are told who is in them.
    tells_presence: bool,
    /// They are told once more afterwards: another core has asked since.
    tells_again: bool,
}

impl Hub {
    /// Begins to check all subscriptions against the rules.
    pub(super) fn check_all_again(&mut self) {
        let sweep = Sweep { has_new_rules: true, tells_presence: true, ..Sweep::default() };
        self.sweep = Some(sweep);
    }

    /// Begins to check all tokens, because the core stood still: the timers count only the time for which it has run.
    pub(super) fn look_at_tokens(&mut self) {
        if self.grants.len() > 0 {
            self.sweep = Some(Sweep { next: 0, ..self.sweep.unwrap_or_default() });
        }
    }

    /// Begins to tell the homes of channels who is in them.
    pub(super) fn tell_who_is_present_again(&mut self) {
        match &mut self.sweep {
            Some(sweep) => sweep.tells_again |= sweep.next > 0 || !sweep.tells_presence,
            None => self.sweep = Some(Sweep { tells_presence: true, ..Sweep::default() }),
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
            self.visit(sweep.next, sweep);
            sweep.next += 1;
        }
        let again = Sweep { tells_presence: true, ..Sweep::default() };
        self.sweep = if sweep.next < end { Some(sweep) } else { sweep.tells_again.then_some(again) };
    }

    fn visit(&mut self, slot: Slot, sweep: Sweep) {
        self.router.work.add(VISIT_UNITS);
        if self.sessions.get(slot).is_none_or(|session| !session.is_open()) {
            return;
        }
        if sweep.has_new_rules {
            self.end_forbidden(slot);
        }
        if sweep.tells_presence {
            self.router.note_all_entered(slot);
        }
        if self.sessions[slot].grant().number().is_some() {
            self.sessions.schedule(slot, self.sessions.now());
        }
    }
}

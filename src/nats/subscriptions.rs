//! Asking NATS for the subscriptions of the table, and the answers: confirmed, refused, asked again.

use std::sync::Arc;

use super::{
    groups::Wideness,
    table::{News, State, Table},
};

/// Refused names that are asked for again at a time.
const RETRIED_AT_ONCE: usize = 64;

impl Table {
    /// NATS has confirmed a subscription.
    pub(super) fn confirm(&mut self, sid: u64) {
        if self.groups.is_wide(sid) {
            self.cover(sid);
            return;
        }
        match self.entries.get(&sid).map(|entry| entry.state) {
            Some(State::Asked) => _ = self.set_state(sid, State::Live),
            Some(State::Returning) => _ = self.set_state(sid, State::Returned),
            _ => {} // a wider one has replaced it in the meantime
        }
    }

    /// NATS has refused a subscription. Gives its name.
    pub(super) fn refuse_asked(&mut self, sid: u64) -> Option<Arc<str>> {
        if let Some(pattern) = self.groups.refuse(sid) {
            self.uncover(&pattern);
            return Some(pattern);
        }
        if !self.entries.get(&sid)?.state.is_known() {
            return None;
        }
        self.refuse(sid);
        Some(Arc::clone(&self.entries.get(&sid)?.name))
    }

    /// Asks again for a few refused names. False if there are none.
    pub(super) fn retry(&mut self) -> bool {
        let mut asked = 0;
        for _ in 0..self.retried.len() {
            if asked == RETRIED_AT_ONCE || self.narrow >= self.names_max {
                break;
            }
            let Some(sid) = self.retried.pop_front() else { break };
            if self.entries.get(&sid).is_some_and(|entry| entry.state == State::Refused) {
                self.set_state(sid, State::Wanted);
                self.asked.push_back(sid);
                asked += 1;
            }
        }
        asked > 0
    }

    /// The cores have forgotten all refusals.
    pub(super) fn forget_told(&mut self) {
        self.untold.clear();
        self.accepted.clear();
        self.entries.values_mut().for_each(|entry| entry.is_told = false);
    }

    /// Makes the bridge tell the cores of all refused names.
    pub(super) fn tell_refused(&mut self) {
        if self.refused == 0 {
            return;
        }
        for entry in self.entries.values_mut().filter(|entry| entry.state == State::Refused && !entry.is_told) {
            entry.is_told = true;
            self.untold.push((entry.cores, Arc::clone(&entry.name), entry.kind));
        }
    }

    /// Takes the refusals to tell the cores before their interest is answered.
    pub(super) fn take_untold(&mut self) -> Vec<News> {
        std::mem::take(&mut self.untold)
    }

    /// Takes the names that NATS has accepted although their cores were told of a refusal.
    pub(super) fn take_accepted(&mut self) -> Vec<News> {
        std::mem::take(&mut self.accepted)
    }

    /// The next name to ask NATS for, with the number of its subscription.
    pub(super) fn ask(&mut self) -> Option<(u64, Arc<str>)> {
        while let Some(sid) = self.asked.pop_front() {
            if let Some(pattern) = self.groups.pattern(sid) {
                return Some((sid, Arc::clone(pattern)));
            }
            match self.entries.get(&sid).map(|entry| entry.state) {
                Some(State::Wanted) => _ = self.set_state(sid, State::Asked),
                Some(State::Returning) => {}
                _ => continue, // it is no longer wanted, or a wider one covers it
            }
            return Some((sid, Arc::clone(&self.entries.get(&sid)?.name)));
        }
        None
    }

    /// A new connection has no subscriptions. Asks for all of them, including those that another server has refused.
    pub(super) fn connected(&mut self) {
        self.is_stuck = false;
        self.ended.clear();
        self.asked.clear();
        self.retried.clear();
        self.asked.extend(self.groups.connected());
        let mut changed = Vec::new();
        for (&sid, entry) in &self.entries {
            match entry.state {
                State::Local | State::Covered => {}
                State::Returning | State::Returned => changed.push((sid, State::Covered)),
                State::Refused if self.groups.wideness(&entry.name) == Wideness::Covering => {
                    changed.push((sid, State::Covered));
                }
                _ => changed.push((sid, State::Wanted)),
            }
        }
        for (sid, state) in changed {
            self.set_state(sid, state);
            if state == State::Wanted {
                self.asked.push_back(sid);
            }
        }
        while self.narrow > self.names_max && self.widen() {}
        self.shed();
    }
}

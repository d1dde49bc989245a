//! What becomes of the names of the table: what the server confirms and refuses, and who is told.

use std::sync::Arc;

use super::{
    table::{Entry, News, State, Table},
    wide::Wideness,
};

/// How many names that NATS has refused are asked for again at a time.
const RETRIED_AT_ONCE: usize = 64;

impl Table {
    /// NATS has confirmed a subscription.
    pub(super) fn confirm(&mut self, sid: u64) {
        if self.groups.is_wide(sid) {
            self.cover(sid);
            return;
        }
        if self.entries.get(&sid).is_some_and(|entry| entry.state == State::Asked) {
            self.set_state(sid, State::Live);
        }
    }

    /// NATS has refused a subscription. Gives its name.
    pub(super) fn refuse_asked(&mut self, sid: u64) -> Option<Arc<str>> {
        if let Some(pattern) = self.groups.refuse(sid) {
            self.uncover();
            return Some(pattern);
        }
        if !self.entries.get(&sid)?.state.is_known() {
            return None;
        }
        self.refuse(sid);
        Some(Arc::clone(&self.entries.get(&sid)?.name))
    }

    /// There is no room for one more subscription, and NATS takes no wider one.
    pub(super) fn refuse_beyond(&mut self, sid: u64) {
        if let Some(entry) = self.entries.get(&sid) {
            self.beyond.add(&entry.name);
        }
        self.refuse(sid);
    }

    /// Nothing comes for a name, for now.
    pub(super) fn refuse(&mut self, sid: u64) {
        self.set_state(sid, State::Refused);
        self.tell(sid);
        self.retried.push_back(sid);
    }

    /// Asks for a few of those that were refused again. Says whether there are any.
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

    /// The cores have forgotten what is refused.
    pub(super) fn forget_told(&mut self) {
        self.untold.clear();
        self.accepted.clear();
        self.entries.values_mut().for_each(|entry| entry.is_told = false);
    }

    /// The cores are to be told of all that is refused.
    pub(super) fn tell_refused(&mut self) {
        if self.refused == 0 {
            return;
        }
        for entry in self.entries.values_mut().filter(|entry| entry.state == State::Refused && !entry.is_told) {
            entry.is_told = true;
            self.untold.push((entry.cores, Arc::clone(&entry.name), entry.kind));
        }
    }

    /// What cores are to be told before their interest is answered.
    pub(super) fn take_untold(&mut self) -> Vec<News> {
        std::mem::take(&mut self.untold)
    }

    /// What cores are to be told that believe otherwise.
    pub(super) fn take_accepted(&mut self) -> Vec<News> {
        std::mem::take(&mut self.accepted)
    }

    /// The cores are told that nothing comes for a name.
    pub(super) fn tell(&mut self, sid: u64) {
        if let Some(entry) = self.entries.get_mut(&sid)
            && !std::mem::replace(&mut entry.is_told, true)
        {
            self.untold.push((entry.cores, Arc::clone(&entry.name), entry.kind));
        }
    }

    /// The next name that NATS is to be asked for, with the number of its subscription.
    pub(super) fn ask(&mut self) -> Option<(u64, Arc<str>)> {
        while let Some(sid) = self.asked.pop_front() {
            if let Some(pattern) = self.groups.pattern(sid) {
                return Some((sid, Arc::clone(pattern)));
            }
            match self.entries.get(&sid).map(|entry| entry.state) {
                Some(State::Wanted) => _ = self.set_state(sid, State::Asked),
                Some(State::Returning) => {}
                _ => continue, // it was given up, or a wider one brings it
            }
            return Some((sid, Arc::clone(&self.entries.get(&sid)?.name)));
        }
        None
    }

    /// A new connection knows no subscription: all are asked for, also those that another server has refused.
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
                State::Returning => changed.push((sid, State::Covered)),
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

    /// By core, how many of its interests have come.
    pub(super) fn heard(&self) -> &[u64] {
        &self.heard
    }

    /// Subscriptions that NATS has, or is asked for.
    pub(super) fn subscriptions(&self) -> u64 {
        (self.narrow + self.groups.wides()) as u64
    }

    /// The entry of this very name.
    pub(super) fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.get(self.names.get(name)?)
    }
}

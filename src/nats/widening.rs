//! When to replace many subscriptions by a wide one, and when to go back.
//!
//! A wide subscription brings everything that the names of a group match, and more; the cores look up the receivers. It
//! replaces the narrow subscriptions when NATS has confirmed it: from then on their messages are not delivered. NATS gives
//! a message to all subscriptions of a connection at once, so both change over at the same message.

use std::sync::Arc;

use super::{
    groups::{EVERYTHING, Wide, Wideness, pattern_of},
    table::{Entry, State, Table},
};

/// A group becomes wide only if that saves this part of all subscriptions; otherwise one subscription for everything
/// replaces all.
const WORTH_PART: usize = 64;

/// Whether a wide subscription is for this name.
fn is_in(name: &str, pattern: &str) -> bool {
    pattern == EVERYTHING || pattern_of(name).as_deref() == Some(pattern)
}

impl Table {
    /// Asks for the wide subscription that saves most. False if there is none.
    pub(super) fn widen(&mut self) -> bool {
        let groups = self.groups.groups.iter().filter(|(_, group)| group.wide == Wide::None);
        let best =
            groups.max_by_key(|(_, group)| group.narrow).map(|(pattern, group)| (Arc::clone(pattern), group.narrow));
        let worth = (self.names_max / WORTH_PART).max(2);
        let pattern = match best {
            Some((pattern, narrow)) if narrow >= worth => pattern,
            _ if self.groups.everything == Wide::None => EVERYTHING.into(),
            _ => return false,
        };
        let sid = self.next_sid();
        if let Some(wide) = self.groups.wide_mut(&pattern) {
            *wide = Wide::Asked(sid);
        }
        log::info!(
            "NATS: there are more names than memory-budget allows subscriptions for; {pattern} takes the place of many"
        );
        self.groups.wides.insert(sid, pattern);
        // Names that have subscriptions keep them until NATS confirms this one.
        self.asked.push_front(sid);
        true
    }

    /// NATS has confirmed a wide subscription, which now replaces the narrow ones.
    pub(super) fn cover(&mut self, sid: u64) {
        let Some(pattern) = self.groups.wides.get(&sid).cloned() else { return };
        match self.groups.wide_mut(&pattern) {
            Some(wide) if *wide == Wide::Asked(sid) => *wide = Wide::Live(sid),
            _ => return,
        }
        let is_all = &*pattern == EVERYTHING;
        let covered: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state.is_narrow() || entry.state == State::Refused || entry.is_told)
            .filter(|(_, entry)| is_in(&entry.name, &pattern))
            .map(|(&sid, _)| sid)
            .collect();
        for sid in covered {
            if self.set_state(sid, State::Covered).is_known() {
                self.ended.push(sid);
            }
        }
        if is_all {
            for group in self.groups.groups.values_mut() {
                group.wide = Wide::None;
            }
            let others: Vec<u64> = self.groups.wides.keys().copied().filter(|&other| other != sid).collect();
            others.iter().for_each(|other| _ = self.groups.wides.remove(other));
            self.ended.extend(others);
        }
    }

    /// NATS has refused a wide subscription: names that waited for it wait for another wide one that NATS was asked for, or
    /// get subscriptions of their own.
    pub(super) fn uncover(&mut self, pattern: &str) {
        let orphans: Vec<(u64, Wideness)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state == State::Covered && is_in(&entry.name, pattern))
            .filter(|(_, entry)| !self.groups.is_brought(&entry.name))
            .map(|(&sid, entry)| (sid, self.groups.wideness(&entry.name)))
            .collect();
        for (sid, wideness) in orphans {
            self.tell(sid); // until NATS confirms the other one
            if wideness == Wideness::None {
                self.set_state(sid, State::Wanted);
                self.asked.push_back(sid);
            }
        }
        while self.narrow > self.names_max && !self.groups.is_asking() && self.widen() {}
        self.shed();
    }

    /// Refuses names that are still too many, unless a wide subscription was asked for that may cover them.
    pub(super) fn shed(&mut self) {
        while self.narrow > self.names_max
            && !self.groups.is_asking()
            && let Some(sid) = self.asked.pop_back()
        {
            if self.entries.get(&sid).is_some_and(|entry| entry.state == State::Wanted) {
                self.refuse_beyond(sid);
            }
        }
    }

    /// When few names are left, gives each a subscription of its own again. Gives the wide ones, which end when NATS has
    /// confirmed the narrow ones.
    pub(super) fn narrow_again(&mut self) -> Vec<u64> {
        if self.groups.wides.is_empty() || self.entries.len() > self.names_max / 2 || self.groups.is_asking() {
            return Vec::new();
        }
        let mut leaving = Vec::new();
        for wide in self.groups.groups.values_mut().map(|group| &mut group.wide).chain([&mut self.groups.everything]) {
            if let Wide::Live(sid) = *wide {
                *wide = Wide::Leaving(sid);
                leaving.push(sid);
            }
        }
        if !leaving.is_empty() {
            let covered = self.entries.iter().filter(|(_, entry)| entry.state == State::Covered);
            for sid in covered.map(|(&sid, _)| sid).collect::<Vec<_>>() {
                self.set_state(sid, State::Returning);
                self.asked.push_back(sid);
            }
        }
        leaving
    }

    /// NATS has confirmed the narrow subscriptions that replace these wide ones. Names that a core has wanted since then
    /// wait for the answer to their own.
    pub(super) fn dissolve(&mut self, wides: &[u64]) {
        for sid in wides {
            let Some(pattern) = self.groups.wides.get(sid).cloned() else { continue };
            match self.groups.wide_mut(&pattern) {
                Some(wide) if *wide == Wide::Leaving(*sid) => *wide = Wide::None,
                _ => continue,
            }
            self.groups.wides.remove(sid);
            self.ended.push(*sid);
        }
        let changed = |(&sid, entry): (&u64, &Entry)| match entry.state {
            State::Returned => Some((sid, State::Live)),
            State::Returning => Some((sid, State::Asked)),
            _ => None,
        };
        for (sid, state) in self.entries.iter().filter_map(changed).collect::<Vec<_>>() {
            self.set_state(sid, state);
        }
        self.groups.groups.retain(|_, group| group.names > 0 || group.wide != Wide::None);
    }
}

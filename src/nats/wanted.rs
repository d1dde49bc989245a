//! Interest from the cores: names that a core begins to want, and names that it no longer wants.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    engine::relay::{self, Item},
    protocol::channel::{self, Kind},
};

use super::{
    groups::Wideness,
    table::{Entry, State, Table},
};

/// How long a subscription outlives its last subscriber, so that a crowd that reconnects does not end it and ask for it again.
const LINGER: Duration = Duration::from_secs(2);
/// The most subscriptions that linger; past it the oldest ends early.
const LINGERING_MAX: usize = 4096;

impl Table {
    /// Takes in one core's interest.
    pub(super) fn hear(&mut self, core: u32, mut batch: &[u8], now: Instant) {
        while let Some(item) = relay::next(&mut batch) {
            let Item::Interest { name, kind, interested } = item else { continue };
            let Ok(name) = std::str::from_utf8(name) else { continue }; // heads are UTF-8
            if interested {
                self.heard[core as usize] += 1;
                self.want(core, name, kind);
            } else {
                self.leave(core, name, now);
            }
        }
    }

    fn want(&mut self, core: u32, name: &str, kind: Kind) {
        if let Some(&sid) = self.names.get(name)
            && let Some(entry) = self.entries.get_mut(&sid)
        {
            entry.lingers_until = None;
            entry.cores |= 1 << core;
            match entry.is_told {
                true => self.untold.push((1 << core, Arc::clone(&entry.name), kind)), // the other cores know it
                false if entry.state == State::Refused => self.tell(sid),
                false => {}
            }
            self.groups.join(name, kind, 1 << core);
            return;
        }
        let sid = self.next_sid();
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name), sid);
        let (cores, state) = (1 << core, State::Local);
        let entry = Entry { name: Arc::clone(&name), kind, cores, state, lingers_until: None, is_told: false };
        self.entries.insert(sid, entry);
        if channel::is_system(name.as_bytes()) {
            return;
        }
        self.groups.enter(&name, kind, cores);
        let mut wideness = self.groups.wideness(&name);
        if wideness == Wideness::None && self.narrow >= self.names_max && !self.is_stuck {
            self.is_stuck = !self.widen();
            wideness = self.groups.wideness(&name);
        }
        let is_full = self.narrow >= self.names_max && !self.groups.is_asking();
        match wideness {
            Wideness::Covering => _ = self.set_state(sid, State::Covered),
            Wideness::None if is_full => self.refuse_beyond(sid),
            Wideness::None | Wideness::Leaving => {
                let state = if wideness == Wideness::None { State::Wanted } else { State::Returning };
                self.set_state(sid, state);
                self.asked.push_back(sid);
            }
        }
    }

    fn leave(&mut self, core: u32, name: &str, now: Instant) {
        let Some(&sid) = self.names.get(name) else { return };
        let Some(entry) = self.entries.get_mut(&sid) else { return };
        entry.cores &= !(1 << core);
        if entry.cores != 0 || entry.lingers_until.is_some() {
            return;
        }
        entry.lingers_until = Some(now + LINGER);
        self.lingering.push_back((now + LINGER, sid));
        if self.lingering.len() > LINGERING_MAX
            && let Some((until, sid)) = self.lingering.pop_front()
        {
            self.end(sid, until);
        }
    }

    /// Ends subscriptions that have lingered long enough. Gives when the next one ends.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        while let Some(&(until, sid)) = self.lingering.front() {
            if until > now {
                return Some(until);
            }
            self.lingering.pop_front();
            self.end(sid, until);
        }
        None
    }

    /// Ends a lingering subscription, unless a core wanted it again in the meantime.
    fn end(&mut self, sid: u64, until: Instant) {
        if self.entries.get(&sid).is_none_or(|entry| entry.lingers_until != Some(until)) {
            return;
        }
        let state = self.set_state(sid, State::Local);
        self.is_stuck &= self.narrow + self.names_max / 16 >= self.names_max;
        if state.is_known() {
            self.ended.push(sid);
        }
        if let Some(entry) = self.entries.remove(&sid) {
            self.names.remove(&entry.name);
            self.ended.extend(self.groups.exit(&entry.name, entry.kind));
        }
    }
}

//! What the cores want of other nodes, and for each name of it a subscription at NATS: one of its own, or a wider one.
//!
//! A subscription has the same number on every connection, and no number is used twice. It is asked for with a `PING`
//! behind it, so what the server says before the answer is about this subscription and no other.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tokio::time::Instant;

use crate::{
    engine::relay::{self, Item},
    protocol::channel::{self, Kind},
};

use super::{
    drops::Tally,
    wide::{Groups, Wideness},
};

/// How long a subscription outlives its last subscriber, so that a crowd that reconnects does not end and make it again.
const LINGER: Duration = Duration::from_secs(2);
/// Subscriptions that linger at once; past it the oldest ends early.
const LINGERING_MAX: usize = 4096;

/// All names that a core wants, and those that linger.
pub(super) struct Table {
    pub(super) names: HashMap<Arc<str>, u64, RandomState>,
    pub(super) entries: HashMap<u64, Entry, RandomState>,
    pub(super) groups: Groups,
    /// The number of the last subscription.
    last: u64,
    /// What NATS is to be asked for, in the order in which it was wanted.
    pub(super) asked: VecDeque<u64>,
    /// Subscriptions that are to end.
    pub(super) ended: Vec<u64>,
    lingering: VecDeque<(Instant, u64)>,
    /// Names that were refused, the one that was so first in front; some may be gone since.
    pub(super) retried: VecDeque<u64>,
    /// By core, how many of its interests have come.
    pub(super) heard: Vec<u64>,
    /// Interest in what was refused, whose cores are still to be told so.
    pub(super) untold: Vec<News>,
    /// Names for which something comes now, whose cores believe otherwise.
    pub(super) accepted: Vec<News>,
    /// How many names have a subscription of their own, or are to have one.
    pub(super) narrow: usize,
    /// How many names are refused.
    pub(super) refused: usize,
    /// How many subscriptions there may be, but for what is on its way.
    pub(super) names_max: usize,
    /// No wider subscription helps any more.
    pub(super) is_stuck: bool,
    /// Names that are too many, for the log.
    pub(super) beyond: Tally,
}

/// What some cores are to be told of a name.
pub(super) type News = (u64, Arc<str>, Kind);

/// A name that is wanted.
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) kind: Kind,
    /// A bit for each core that wants it.
    pub(super) cores: u64,
    pub(super) state: State,
    lingers_until: Option<Instant>,
    /// The cores believe that nothing comes for it.
    pub(super) is_told: bool,
}

/// How far a name's subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// NATS is still to be asked.
    Wanted,
    /// NATS was asked, and has not answered.
    Asked,
    /// NATS has confirmed it.
    Live,
    /// A wider subscription brings it.
    Covered,
    /// A wider subscription brings it until NATS has confirmed one of its own, which it was asked for.
    Returning,
    /// NATS does not take it, nor a wider one.
    Refused,
    /// It is not for other nodes.
    Local,
}

impl State {
    /// Whether it has a subscription of its own, or is to have one.
    pub(super) fn is_narrow(self) -> bool {
        matches!(self, Self::Wanted | Self::Asked | Self::Live | Self::Returning)
    }

    /// Whether the server may know its number.
    pub(super) fn is_known(self) -> bool {
        matches!(self, Self::Asked | Self::Live | Self::Returning)
    }
}

/// What a core interest brings.
impl Table {
    pub(super) fn new(cores: usize, names_max: usize) -> Self {
        Self {
            names: HashMap::default(),
            entries: HashMap::default(),
            groups: Groups::default(),
            last: 0,
            asked: VecDeque::new(),
            ended: Vec::new(),
            lingering: VecDeque::new(),
            retried: VecDeque::new(),
            heard: vec![0; cores],
            untold: Vec::new(),
            accepted: Vec::new(),
            narrow: 0,
            refused: 0,
            names_max,
            is_stuck: false,
            beyond: Tally::default(),
        }
    }

    /// Takes one core's interest in.
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
        if let Some(sid) = self.names.get(name)
            && let Some(entry) = self.entries.get_mut(sid)
        {
            entry.lingers_until = None;
            entry.cores |= 1 << core;
            if entry.state == State::Refused {
                entry.is_told = true;
                self.untold.push((1 << core, Arc::clone(&entry.name), kind));
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

    /// Ends what has lingered long enough, and gives when the next one has.
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

    /// Ends a subscription, unless it was wanted again since it began to linger.
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

    /// Changes a state, and gives the one before. All changes come here, for the counts' sake.
    pub(super) fn set_state(&mut self, sid: u64, state: State) -> State {
        let Some(entry) = self.entries.get_mut(&sid) else { return state };
        let before = std::mem::replace(&mut entry.state, state);
        self.narrow = self.narrow + usize::from(state.is_narrow()) - usize::from(before.is_narrow());
        self.refused = self.refused + usize::from(state == State::Refused) - usize::from(before == State::Refused);
        self.groups.count(&entry.name, state.is_narrow(), before.is_narrow());
        if entry.is_told && matches!(state, State::Live | State::Covered) {
            entry.is_told = false;
            self.accepted.push((entry.cores, Arc::clone(&entry.name), entry.kind));
        }
        before
    }

    pub(super) fn next_sid(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

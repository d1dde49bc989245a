//! The table of interest: the names that the cores want of other nodes, and for each name the state of its subscription at
//! NATS. A name has a subscription of its own, or a wider one covers it.
//!
//! A subscription has the same number on every connection, and no number is used twice. A `PING` follows each request for
//! a subscription, so everything that the server says before the `PONG` is about this subscription.

use std::{collections::VecDeque, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tokio::time::Instant;

use crate::protocol::channel::Kind;

use super::{groups::Groups, tally::Tally};

/// All names that a core wants, and those that linger.
pub(super) struct Table {
    pub(super) names: HashMap<Arc<str>, u64, RandomState>,
    pub(super) entries: HashMap<u64, Entry, RandomState>,
    pub(super) groups: Groups,
    /// The number of the last subscription.
    last: u64,
    /// Subscriptions to ask NATS for, in the order in which the cores wanted them.
    pub(super) asked: VecDeque<u64>,
    /// Subscriptions to end.
    pub(super) ended: Vec<u64>,
    /// When each lingering subscription ends, in order.
    pub(super) lingering: VecDeque<(Instant, u64)>,
    /// Refused names, the oldest refusal in front. Some may be gone by now.
    pub(super) retried: VecDeque<u64>,
    /// By core, the number of its interests that were taken in.
    pub(super) heard: Vec<u64>,
    /// Refused names whose cores do not know it yet.
    pub(super) untold: Vec<News>,
    /// Names that NATS has accepted although their cores were told of a refusal.
    pub(super) accepted: Vec<News>,
    /// Names that have a subscription of their own, or wait for one.
    pub(super) narrow: usize,
    /// Refused names.
    pub(super) refused: usize,
    /// The most subscriptions that there may be, apart from wide ones that are being asked for.
    pub(super) names_max: usize,
    /// No wider subscription would help.
    pub(super) is_stuck: bool,
    /// Names over the limit, for the log.
    pub(super) beyond: Tally,
}

/// A name that some cores must hear of: a bit for each core, and the name.
pub(super) type News = (u64, Arc<str>, Kind);

/// A name that is wanted.
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) kind: Kind,
    /// A bit for each core that wants it.
    pub(super) cores: u64,
    pub(super) state: State,
    pub(super) lingers_until: Option<Instant>,
    /// The cores know that nothing comes for this name.
    pub(super) is_told: bool,
}

/// The state of a name's subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// NATS must be asked for it.
    Wanted,
    /// NATS was asked, and has not answered.
    Asked,
    /// NATS has confirmed it.
    Live,
    /// A wider subscription brings it.
    Covered,
    /// A wider subscription brings it, which is about to end. NATS is being asked for its own, and has not answered.
    Returning,
    /// NATS has confirmed its own subscription. The wider one brings it until that ends.
    Returned,
    /// NATS takes neither this subscription nor a wider one.
    Refused,
    /// The name is not for other nodes.
    Local,
}

impl State {
    /// True if the name has a subscription of its own, or waits for one.
    pub(super) fn is_narrow(self) -> bool {
        matches!(self, Self::Wanted | Self::Asked | Self::Live | Self::Returning | Self::Returned)
    }

    /// True if the server may know the subscription's number.
    pub(super) fn is_known(self) -> bool {
        matches!(self, Self::Asked | Self::Live | Self::Returning | Self::Returned)
    }
}

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

    /// Changes a name's state and gives the previous one. Every change goes through here, which keeps the counts.
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

    /// Refuses a name: there is no room for its subscription, and NATS takes no wider one.
    pub(super) fn refuse_beyond(&mut self, sid: u64) {
        if let Some(entry) = self.entries.get(&sid) {
            self.beyond.add(&entry.name);
        }
        self.refuse(sid);
    }

    /// Refuses a name for now.
    pub(super) fn refuse(&mut self, sid: u64) {
        self.set_state(sid, State::Refused);
        self.tell(sid);
        self.retried.push_back(sid);
    }

    /// Makes the bridge tell the cores that nothing comes for a name.
    pub(super) fn tell(&mut self, sid: u64) {
        if let Some(entry) = self.entries.get_mut(&sid)
            && !std::mem::replace(&mut entry.is_told, true)
        {
            self.untold.push((entry.cores, Arc::clone(&entry.name), entry.kind));
        }
    }

    /// By core, the number of its interests that were taken in.
    pub(super) fn heard(&self) -> &[u64] {
        &self.heard
    }

    /// Subscriptions that NATS has, or is being asked for.
    pub(super) fn subscriptions(&self) -> u64 {
        (self.narrow + self.groups.wides()) as u64
    }

    /// Whether NATS brings the messages of this name, or is being asked to.
    pub(super) fn is_heard(&self, name: &str) -> bool {
        self.find(name).is_some_and(|entry| !matches!(entry.state, State::Wanted | State::Local))
    }

    /// The entry of exactly this name.
    pub(super) fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.get(self.names.get(name)?)
    }
}

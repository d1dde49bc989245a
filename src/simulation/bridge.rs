//! The bridge to other nodes: a NATS server behind it, and one more node behind that.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{far::Far, node::Node, oracle::Publication};
use crate::{
    engine::relay::{self, Item},
    protocol::channel::{self, Kind},
};

/// A name that cores want.
struct Name {
    kind: Kind,
    /// A bit for each core.
    cores: u64,
    state: State,
    /// The server answers this question before the fate of the name is known.
    question: u64,
}

/// How far its subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The server was asked, and may not have heard of it.
    Asked,
    /// The server has heard of it, and the bridge has not heard so.
    Heard,
    Live,
    Refused,
}

/// What brings messages in place of a subscription for each name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Narrow,
    /// One subscription for all names that begin with the same token.
    Groups,
    Everything,
}

/// The bridge.
pub(crate) struct Bridge {
    rng: StdRng,
    is_there: bool,
    /// The cores were told that it is there.
    is_online: bool,
    width: Width,
    names: BTreeMap<String, Name>,
    /// By core, how many of its interests have come.
    heard: Vec<u64>,
    /// What the server has not answered: the number of the question, when it is answered, and what had come by then.
    asked: VecDeque<(u64, Duration, Vec<u64>)>,
    questions: u64,
    /// By core, the items for its next batch.
    batches: Vec<Vec<u8>>,
    /// When it was away: from when on, and until when if that is known.
    outages: Vec<Span>,
    refusals: Vec<Refusal>,
    pub(crate) far: Far,
    /// Messages of the other node that went to a core.
    pub(crate) delivered: u64,
}

/// What is around the bridge.
pub(crate) struct Around<'w> {
    pub(crate) nodes: &'w mut [Node],
    pub(crate) publications: &'w [Publication],
    pub(crate) now: Duration,
    pub(crate) clock: u64,
}

/// A time, by the world's clock.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: u64,
    to: Option<u64>,
}

/// A name that the server did not take.
struct Refusal {
    name: String,
    /// It lasts until the cores know that it is over.
    span: Span,
    /// The server does not take it yet.
    holds: bool,
}

impl Span {
    fn new(from: u64) -> Self {
        Self { from, to: None }
    }

    fn meets(self, from: u64, to: u64) -> bool {
        self.from <= to && self.to.is_none_or(|end| end >= from)
    }
}

impl Bridge {
    /// A bridge that is away, linked to these nodes.
    pub(crate) fn new(seed: u64, nodes: &mut [Node]) -> Self {
        nodes.iter_mut().for_each(Node::add_bridge);
        Self {
            rng: StdRng::seed_from_u64(seed),
            is_there: false,
            is_online: false,
            width: Width::Narrow,
            names: BTreeMap::new(),
            heard: vec![0; nodes.len()],
            asked: VecDeque::new(),
            questions: 0,
            batches: vec![Vec::new(); nodes.len()],
            outages: vec![Span::new(0)],
            refusals: Vec::new(),
            far: Far::default(),
            delivered: 0,
        }
    }

    /// Something happens at the bridge or behind it.
    pub(crate) fn step(&mut self, around: &mut Around<'_>) {
        let core = self.rng.random_range(0..around.nodes.len());
        match self.rng.random_range(0..100) {
            0 if self.is_there => self.go(around.clock),
            0..6 if !self.is_there => self.come(around.now),
            6..9 => {
                self.width = *[Width::Narrow, Width::Groups, Width::Everything].choose(&mut self.rng).expect("some")
            }
            9..12 => around.nodes[core].set_bridge_full(self.rng.random()),
            12..15 if !self.is_there => _ = around.nodes[core].take_publishes(), // there are too many
            15..18 => self.accept(),
            18..25 => self.server_hears(),
            25..50 => _ = self.take_interest(around, core),
            50..65 => _ = self.take_publishes(around, core),
            65..80 => _ = self.answer(around),
            _ => _ = self.hand_over(around, core),
        }
    }

    /// All that can happen now happens; says whether anything has.
    pub(crate) fn settle(&mut self, around: &mut Around<'_>) -> bool {
        let mut has_moved = false;
        for core in 0..around.nodes.len() {
            around.nodes[core].set_bridge_full(false);
            has_moved |= self.take_interest(around, core) | self.take_publishes(around, core);
        }
        has_moved |= self.answer(around);
        (0..around.nodes.len()).fold(has_moved, |has_moved, core| has_moved | self.hand_over(around, core))
    }

    /// Whether the server still has to answer.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The cores know all that the bridge does.
    pub(crate) fn at_rest(&mut self, clock: u64) {
        if self.is_online {
            self.outages.iter_mut().for_each(|outage| _ = outage.to.get_or_insert(clock));
        }
        for refusal in self.refusals.iter_mut().filter(|refusal| !refusal.holds) {
            refusal.span.to.get_or_insert(clock);
        }
    }

    /// Whether messages of the other node come for a name from now on.
    pub(crate) fn brings(&self, name: &str) -> bool {
        self.is_online && self.names.get(name).is_some_and(|name| name.state == State::Live)
    }

    /// Whether the cores counted on it all the time.
    pub(crate) fn was_there(&self, from: u64, to: u64) -> bool {
        !self.outages.iter().any(|outage| outage.meets(from, to))
    }

    /// Whether a name was refused at some time.
    pub(crate) fn was_refused(&self, name: &str, from: u64, to: u64) -> bool {
        self.refusals.iter().any(|refusal| refusal.name == name && refusal.span.meets(from, to))
    }

    /// Whether a name is refused, and was so at this time.
    pub(crate) fn is_refused_since(&self, name: &str, from: u64) -> bool {
        self.refusals.iter().any(|refusal| refusal.holds && refusal.name == name && refusal.span.from < from)
    }

    fn end_refusals(&mut self, are_over: impl Fn(&str) -> bool) {
        self.refusals.iter_mut().for_each(|refusal| refusal.holds &= !are_over(&refusal.name));
    }

    /// Whether it may be said that only this node knows of a subscription. Others that are asked for in between may be what
    /// is refused.
    pub(crate) fn may_be_offline(&self, from: u64, to: u64) -> bool {
        !self.was_there(from, to) || self.refusals.iter().any(|refusal| refusal.span.meets(from, to))
    }

    fn go(&mut self, clock: u64) {
        (self.is_there, self.is_online) = (false, false);
        self.asked.clear();
        self.outages.push(Span::new(clock));
        self.names.values_mut().for_each(|name| name.state = State::Asked);
        self.batches.iter_mut().for_each(relay::put_absent);
        self.end_refusals(|_| true);
    }

    /// The server is there.
    pub(crate) fn come(&mut self, now: Duration) {
        self.is_there = true;
        self.ask(now);
        self.names.values_mut().for_each(|name| name.question = self.questions);
    }

    /// Asks the server whether it has all that was wanted so far.
    fn ask(&mut self, now: Duration) {
        self.questions += 1;
        let last = self.asked.back().map_or(now, |&(_, at, _)| at.max(now));
        let longest = *[1, 3_000, 30_000].choose(&mut self.rng).expect("some");
        let at = last + Duration::from_micros(self.rng.random_range(0..longest));
        self.asked.push_back((self.questions, at, self.heard.clone()));
    }

    fn take_interest(&mut self, around: &mut Around<'_>, core: usize) -> bool {
        let Some(batch) = around.nodes[core].take_interest() else { return false };
        let mut rest = &batch[..];
        while let Some(item) = relay::next(&mut rest) {
            let Item::Interest { name, kind, interested } = item else { panic!("no interest: {item:?}") };
            let name = std::str::from_utf8(name).expect("names are UTF-8");
            if interested {
                self.want(core, name, kind);
            } else {
                let entry = self.names.get_mut(name).expect("what was wanted is given up");
                assert!(entry.cores & 1 << core != 0 && entry.kind == kind, "{name} is given up twice");
                entry.cores &= !(1 << core);
                if entry.cores == 0 {
                    self.names.remove(name);
                    self.end_refusals(|refused| refused == name);
                }
            }
        }
        if self.is_there {
            self.ask(around.now);
        }
        true
    }

    fn want(&mut self, core: usize, name: &str, kind: Kind) {
        self.heard[core] += 1;
        let question = self.questions + 1;
        let new = Name { kind, cores: 0, state: State::Asked, question };
        let entry = self.names.entry(name.to_owned()).or_insert(new);
        assert!(entry.cores & 1 << core == 0 && entry.kind == kind, "{name} is wanted twice");
        entry.cores |= 1 << core;
        if entry.state == State::Refused {
            relay::put_refused(&mut self.batches[core], name.as_bytes(), kind);
        }
    }

    /// The server hears of some of what it was asked for.
    fn server_hears(&mut self) {
        if self.is_there {
            let asked = self.names.values_mut().filter(|name| name.state == State::Asked);
            asked.filter(|_| self.rng.random()).for_each(|name| name.state = State::Heard);
        }
    }

    /// The server answers what it was asked, if it is time. Cores hear of names before they hear that it is so.
    fn answer(&mut self, around: &Around<'_>) -> bool {
        if self.asked.front().is_none_or(|&(_, at, _)| at > around.now) {
            return false;
        }
        let Some((question, _, heard)) = self.asked.pop_front() else { return false };
        for (name, entry) in &mut self.names {
            if entry.question > question || matches!(entry.state, State::Live | State::Refused) {
                continue;
            }
            if self.rng.random_bool(0.1) {
                entry.state = State::Refused;
                self.refusals.push(Refusal { name: name.clone(), span: Span::new(around.clock), holds: true });
                each(entry.cores, |core| relay::put_refused(&mut self.batches[core], name.as_bytes(), entry.kind));
            } else {
                entry.state = State::Live;
            }
        }
        for (batch, count) in self.batches.iter_mut().zip(heard) {
            relay::put_answered(batch, count);
        }
        self.is_online = true;
        true
    }

    /// The server takes what it has refused.
    fn accept(&mut self) {
        if !self.is_there {
            return;
        }
        for (name, entry) in self.names.iter_mut().filter(|(_, entry)| entry.state == State::Refused) {
            entry.state = State::Live;
            each(entry.cores, |core| relay::put_accepted(&mut self.batches[core], name.as_bytes(), entry.kind));
        }
        self.end_refusals(|_| true);
    }

    /// The other node gets what cores publish. While the server is away that waits, or is lost.
    fn take_publishes(&mut self, around: &mut Around<'_>, core: usize) -> bool {
        let batch = if self.is_there { around.nodes[core].take_publishes() } else { None };
        if let Some(batch) = &batch {
            self.far.take(batch, around.publications);
        }
        batch.is_some()
    }

    fn hand_over(&mut self, around: &mut Around<'_>, core: usize) -> bool {
        let batch = std::mem::take(&mut self.batches[core]);
        let has_any = !batch.is_empty();
        if has_any {
            around.nodes[core].put_of_bridge(batch);
        }
        has_any
    }

    /// A message is published on the other node.
    pub(crate) fn publish(&mut self, channels: &[String], is_text: bool, payload: &[u8]) {
        if !self.is_there {
            return;
        }
        for (name, core) in channels.iter().flat_map(|name| (0..self.heard.len()).map(move |core| (name, core))) {
            let wanted = self
                .names
                .iter()
                .filter(|(_, entry)| entry.cores & 1 << core != 0 && matches!(entry.state, State::Heard | State::Live));
            let is_wide = |wanted: &str, kind| match self.width {
                Width::Narrow => false,
                Width::Groups => {
                    !channel::begins_with_wildcard(wanted.as_bytes()) && (kind == Kind::Pattern || wanted == name)
                }
                Width::Everything => true,
            };
            let batch = &mut self.batches[core];
            let mut is_in_wide = false;
            for (wanted, entry) in wanted {
                let is_matched = channel::matches(wanted.as_bytes(), name.as_bytes());
                self.delivered += u64::from(is_matched);
                if is_wide(wanted, entry.kind) {
                    is_in_wide |= is_matched || entry.kind == Kind::Pattern;
                } else if is_matched {
                    relay::put_delivery(batch, wanted.as_bytes(), entry.kind, is_text, payload);
                }
            }
            if is_in_wide {
                relay::put_wide(batch, name.as_bytes(), self.width == Width::Everything, is_text, payload);
            }
        }
    }
}

/// Calls `of` with the number of each core of a set.
fn each(cores: u64, mut of: impl FnMut(usize)) {
    (0..64).filter(|core| cores & 1 << core != 0).for_each(|core| of(core as usize));
}

//! Wider subscriptions: `user.>` for ten thousand `user.N`, when each name with one of its own would take more memory than
//! there is.
//!
//! A wide one brings what all names of a *group* match that begin with the same token, and more; the cores look up who it
//! is for. It takes the place of the narrow ones when NATS has confirmed it: from then on what comes by them is not
//! delivered. NATS hands a message to all subscriptions of a connection at once, so the place where the confirmation comes
//! is the same for both.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::protocol::channel::Kind;

use super::table::{State, Table};

/// A group is asked for as one only if that saves this part of all subscriptions; else everything is asked for.
const WORTH_PART: usize = 64;
/// Brings all there is.
const EVERYTHING: &str = ">";
/// Brings all channels of one token.
const SINGLE: &str = "*";

/// All groups: by the pattern that covers them.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<Arc<str>, Group, RandomState>,
    /// The wide subscriptions, by number: their patterns.
    wides: HashMap<u64, Arc<str>, RandomState>,
    everything: Wide,
    /// Of all names.
    patterns: usize,
    pattern_cores: u64,
}

#[derive(Debug, Default)]
struct Group {
    names: usize,
    /// Names that have a subscription of their own.
    narrow: usize,
    patterns: usize,
    /// A bit for each core that has wanted one of the patterns.
    pattern_cores: u64,
    wide: Wide,
}

/// How far the wide subscription of a group is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wide {
    #[default]
    None,
    Asked(u64),
    Live(u64),
    /// The names return to subscriptions of their own.
    Leaving(u64),
    Refused,
}

/// What a new name of a group finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wideness {
    None,
    Covering,
    Leaving,
}

/// The pattern that covers all names that begin as this one; none if that is everything.
fn pattern_of(name: &str) -> Option<String> {
    match name.split_once('.') {
        _ if name.starts_with("*.") || name == SINGLE || name == EVERYTHING => None,
        None => Some(SINGLE.to_owned()),
        Some((first, _)) => Some(format!("{first}.>")),
    }
}

impl Wide {
    fn wideness(self) -> Wideness {
        match self {
            Self::Asked(_) | Self::Live(_) => Wideness::Covering,
            Self::Leaving(_) => Wideness::Leaving,
            Self::None | Self::Refused => Wideness::None,
        }
    }
}

impl Groups {
    fn of(&mut self, name: &str) -> Option<&mut Group> {
        self.groups.get_mut(pattern_of(name)?.as_str())
    }

    /// A name is new.
    pub(super) fn enter(&mut self, name: &str, kind: Kind, cores: u64) {
        let is_pattern = usize::from(kind == Kind::Pattern);
        if let Some(pattern) = pattern_of(name) {
            let group = self.groups.entry(pattern.into()).or_default();
            group.names += 1;
            group.patterns += is_pattern;
        }
        self.patterns += is_pattern;
        self.join(name, kind, cores);
    }

    /// One more core wants a name.
    pub(super) fn join(&mut self, name: &str, kind: Kind, cores: u64) {
        if kind == Kind::Pattern {
            self.pattern_cores |= cores;
            if let Some(group) = self.of(name) {
                group.pattern_cores |= cores;
            }
        }
    }

    /// A name is gone. Gives its group's wide subscription if that brings nobody anything any more.
    pub(super) fn exit(&mut self, name: &str, kind: Kind) -> Option<u64> {
        let is_pattern = usize::from(kind == Kind::Pattern);
        self.patterns -= is_pattern;
        if self.patterns == 0 {
            self.pattern_cores = 0;
        }
        let pattern = pattern_of(name)?;
        let group = self.groups.get_mut(pattern.as_str())?;
        group.names -= 1;
        group.patterns -= is_pattern;
        if group.patterns == 0 {
            group.pattern_cores = 0;
        }
        if group.names > 0 || group.wide == Wide::Refused {
            return None;
        }
        match self.groups.remove(pattern.as_str())?.wide {
            Wide::Asked(sid) | Wide::Live(sid) | Wide::Leaving(sid) => self.wides.remove(&sid).map(|_| sid),
            Wide::None | Wide::Refused => None,
        }
    }

    /// A name has got a subscription of its own, or has it no more.
    pub(super) fn count(&mut self, name: &str, is_narrow: bool, was_narrow: bool) {
        if is_narrow != was_narrow
            && let Some(group) = self.of(name)
        {
            group.narrow = group.narrow + usize::from(is_narrow) - usize::from(was_narrow);
        }
    }

    /// Whether a wide subscription brings a name, or will.
    pub(super) fn wideness(&self, name: &str) -> Wideness {
        let group = pattern_of(name).and_then(|pattern| self.groups.get(pattern.as_str()));
        match (self.everything.wideness(), group.map_or(Wideness::None, |group| group.wide.wideness())) {
            (Wideness::None, of_group) => of_group,
            (of_all, _) => of_all,
        }
    }

    /// Whether a wide subscription is on its way.
    pub(super) fn is_asking(&self) -> bool {
        let mut of_groups = self.wides.values().filter_map(|pattern| Some(self.groups.get(pattern)?.wide));
        matches!(self.everything, Wide::Asked(_)) || of_groups.any(|wide| matches!(wide, Wide::Asked(_)))
    }

    /// How many wide subscriptions there are.
    pub(super) fn wides(&self) -> usize {
        self.wides.len()
    }

    pub(super) fn is_wide(&self, sid: u64) -> bool {
        self.wides.contains_key(&sid)
    }

    /// The pattern of a wide subscription.
    pub(super) fn pattern(&self, sid: u64) -> Option<&Arc<str>> {
        self.wides.get(&sid)
    }

    fn wide_mut(&mut self, pattern: &str) -> Option<&mut Wide> {
        if pattern == EVERYTHING {
            return Some(&mut self.everything);
        }
        Some(&mut self.groups.get_mut(pattern)?.wide)
    }

    /// NATS has refused a wide subscription. Gives its pattern, which is not asked for again on this connection.
    pub(super) fn refuse(&mut self, sid: u64) -> Option<Arc<str>> {
        let pattern = self.wides.remove(&sid)?;
        if let Some(wide) = self.wide_mut(&pattern) {
            *wide = Wide::Refused;
        }
        Some(pattern)
    }

    /// A new connection: gives the wide subscriptions that are to be asked for.
    pub(super) fn connected(&mut self) -> Vec<u64> {
        self.groups.retain(|_, group| group.names > 0);
        for wide in self.groups.values_mut().map(|group| &mut group.wide).chain([&mut self.everything]) {
            *wide = match *wide {
                Wide::Live(sid) | Wide::Leaving(sid) | Wide::Asked(sid) => Wide::Asked(sid),
                Wide::None | Wide::Refused => Wide::None,
            };
        }
        self.wides.keys().copied().collect()
    }

    /// What a message is for that has come by a wide subscription: a bit for each core that has a pattern of its group, and
    /// whether it is for all patterns. None if it is delivered by the narrow ones.
    pub(super) fn by_wide(&self, sid: u64) -> Option<(u64, bool)> {
        let pattern = self.wides.get(&sid)?;
        if &**pattern == EVERYTHING {
            return matches!(self.everything, Wide::Live(_) | Wide::Leaving(_)).then_some((self.pattern_cores, true));
        }
        let group = self.groups.get(pattern)?;
        matches!(group.wide, Wide::Live(_) | Wide::Leaving(_)).then_some((group.pattern_cores, false))
    }
}

/// Wider and narrower.
impl Table {
    /// Asks for the wide subscription that saves most. Says whether there is one.
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
        // What is already there goes on by its own subscriptions until this one is confirmed.
        self.asked.push_front(sid);
        true
    }

    /// A wide subscription is confirmed: it takes the place of the others.
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
            .filter(|(_, entry)| entry.state.is_narrow() || entry.state == State::Refused)
            .filter(|(_, entry)| is_all || pattern_of(&entry.name).as_deref() == Some(&*pattern))
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

    /// A wide subscription was refused: names that waited for it, and those that came since, go another way.
    pub(super) fn uncover(&mut self) {
        let orphans: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state == State::Covered && self.groups.wideness(&entry.name) == Wideness::None)
            .map(|(&sid, _)| sid)
            .collect();
        for sid in orphans {
            self.set_state(sid, State::Wanted);
            self.tell(sid); // until NATS has confirmed another one
            self.asked.push_back(sid);
        }
        while self.narrow > self.names_max && !self.groups.is_asking() && self.widen() {}
        self.shed();
    }

    /// What is still too much is refused, if no wide subscription is on its way that may take its place.
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

    /// Few names are left: each gets a subscription of its own again. Gives the wide ones that end when NATS has confirmed
    /// those.
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

    /// NATS has confirmed what was asked for in place of these wide subscriptions.
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
        let returning = self.entries.iter().filter(|(_, entry)| entry.state == State::Returning);
        for sid in returning.map(|(&sid, _)| sid).collect::<Vec<_>>() {
            self.set_state(sid, State::Live);
        }
        self.groups.groups.retain(|_, group| group.names > 0 || group.wide != Wide::None);
    }
}

//! Names in groups by their first token, so that one wide subscription can bring a whole group: `user.>` for ten thousand
//! `user.N`, when a subscription for each name would take more memory than there is.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::protocol::channel::Kind;

/// The pattern of everything.
pub(super) const EVERYTHING: &str = ">";
/// The pattern of all channels with one token.
const SINGLE: &str = "*";

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// By the pattern that covers the group.
    pub(super) groups: HashMap<Arc<str>, Group, RandomState>,
    /// The patterns of the wide subscriptions, by their numbers.
    pub(super) wides: HashMap<u64, Arc<str>, RandomState>,
    pub(super) everything: Wide,
    /// The number of names that are patterns.
    patterns: usize,
    /// A bit for each core that has wanted a pattern.
    pattern_cores: u64,
}

/// The names that begin with the same token.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) names: usize,
    /// Names that have a subscription of their own.
    pub(super) narrow: usize,
    patterns: usize,
    /// A bit for each core that has wanted one of the patterns.
    pattern_cores: u64,
    pub(super) wide: Wide,
}

/// The state of a group's wide subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wide {
    #[default]
    None,
    Asked(u64),
    Live(u64),
    /// The names return to subscriptions of their own.
    Leaving(u64),
    Refused,
}

/// Tells a new name whether a wide subscription brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wideness {
    None,
    Covering,
    Leaving,
}

/// The pattern of a name's group. None if only [`EVERYTHING`] covers the name.
pub(super) fn pattern_of(name: &str) -> Option<String> {
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

    /// Adds a name.
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

    /// Notes that one more core wants this name.
    pub(super) fn join(&mut self, name: &str, kind: Kind, cores: u64) {
        if kind == Kind::Pattern {
            self.pattern_cores |= cores;
            if let Some(group) = self.of(name) {
                group.pattern_cores |= cores;
            }
        }
    }

    /// Removes a name. Gives its group's wide subscription if the group is now empty.
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

    /// A name has gained or lost a subscription of its own.
    pub(super) fn count(&mut self, name: &str, is_narrow: bool, was_narrow: bool) {
        if is_narrow != was_narrow
            && let Some(group) = self.of(name)
        {
            group.narrow = group.narrow + usize::from(is_narrow) - usize::from(was_narrow);
        }
    }

    /// True if a wide subscription brings this name.
    pub(super) fn wideness(&self, name: &str) -> Wideness {
        let group = pattern_of(name).and_then(|pattern| self.groups.get(pattern.as_str()));
        match (self.everything.wideness(), group.map_or(Wideness::None, |group| group.wide.wideness())) {
            (Wideness::None, of_group) => of_group,
            (of_all, _) => of_all,
        }
    }

    /// True if a wide subscription that NATS has confirmed brings this name.
    pub(super) fn is_brought(&self, name: &str) -> bool {
        let group = pattern_of(name).and_then(|pattern| self.groups.get(pattern.as_str()));
        let is_live = |wide| matches!(wide, Wide::Live(_) | Wide::Leaving(_));
        is_live(self.everything) || group.is_some_and(|group| is_live(group.wide))
    }

    /// True if NATS was asked for a wide subscription and has not answered.
    pub(super) fn is_asking(&self) -> bool {
        let mut of_groups = self.wides.values().filter_map(|pattern| Some(self.groups.get(pattern)?.wide));
        matches!(self.everything, Wide::Asked(_)) || of_groups.any(|wide| matches!(wide, Wide::Asked(_)))
    }

    /// The number of wide subscriptions.
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

    pub(super) fn wide_mut(&mut self, pattern: &str) -> Option<&mut Wide> {
        if pattern == EVERYTHING {
            return Some(&mut self.everything);
        }
        Some(&mut self.groups.get_mut(pattern)?.wide)
    }

    /// NATS has refused a wide subscription. Gives its pattern; this connection does not ask for it again.
    pub(super) fn refuse(&mut self, sid: u64) -> Option<Arc<str>> {
        let pattern = self.wides.remove(&sid)?;
        if let Some(wide) = self.wide_mut(&pattern) {
            *wide = Wide::Refused;
        }
        Some(pattern)
    }

    /// A new connection begins. Gives the wide subscriptions to ask for.
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

    /// The patterns that a message of a wide subscription may be for: a bit for each core that has one in the group, and
    /// whether that means all patterns. None while the names' own subscriptions deliver.
    pub(super) fn by_wide(&self, sid: u64) -> Option<(u64, bool)> {
        let pattern = self.wides.get(&sid)?;
        if &**pattern == EVERYTHING {
            return matches!(self.everything, Wide::Live(_) | Wide::Leaving(_)).then_some((self.pattern_cores, true));
        }
        let group = self.groups.get(pattern)?;
        matches!(group.wide, Wide::Live(_) | Wide::Leaving(_)).then_some((group.pattern_cores, false))
    }
}

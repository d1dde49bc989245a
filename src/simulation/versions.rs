//! Rules that change: which of them may be in effect at a time, as far as an observer can know.
//!
//! Rules change on each node at another moment. So during a while several versions may be in effect: those that were given
//! to the nodes by its end, and were not replaced on all nodes before it began.

use std::sync::Arc;

use crate::engine::rules::Rules;

/// The rules of all nodes, version by version.
#[derive(Default)]
pub(crate) struct Versions {
    all: Vec<Version>,
}

struct Version {
    rules: Arc<Rules>,
    /// When it was given to the nodes.
    given: u64,
    /// When all nodes had applied it.
    applied: Option<u64>,
}

impl Versions {
    /// The nodes get these rules.
    pub(super) fn change(&mut self, rules: &Arc<Rules>, clock: u64) {
        self.all.push(Version { rules: Arc::clone(rules), given: clock, applied: None });
    }

    /// All nodes have applied the last rules.
    pub(super) fn at_rest(&mut self, clock: u64) {
        if let Some(version) = self.all.last_mut() {
            version.applied.get_or_insert(clock);
        }
    }

    /// Those that may be in effect between two times.
    pub(super) fn in_effect(&self, from: u64, to: u64) -> impl Iterator<Item = &Rules> {
        let versions = in_effect(self.all.iter(), from, to, |version| (version.given, version.applied));
        versions.into_iter().map(|version| &*version.rules)
    }

    /// The last ones, if all nodes have applied them.
    pub(super) fn settled(&self) -> Option<&Rules> {
        self.all.last().filter(|version| version.applied.is_some()).map(|version| &*version.rules)
    }

    /// The last ones.
    pub(super) fn last(&self) -> Option<&Rules> {
        self.all.last().map(|version| &*version.rules)
    }
}

/// Those of several things, of which each replaces the one before it, that may be in effect between two times.
pub(super) fn in_effect<'a, T>(
    all: impl Iterator<Item = &'a T>,
    from: u64,
    to: u64,
    times: impl Fn(&T) -> (u64, Option<u64>),
) -> Vec<&'a T> {
    let mut found = Vec::new();
    for one in all.take_while(|one| times(one).0 <= to) {
        if times(one).1.is_some_and(|done| done < from) {
            found.clear(); // it had replaced all before it when the time began
        }
        found.push(one);
    }
    found
}

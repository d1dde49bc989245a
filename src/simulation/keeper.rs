//! Rules that give channels a history: what is kept of a channel at a time, as far as an observer can know.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use super::{client::SimulatedClient, guard::make_rules, versions::Versions, world::World};
use crate::{
    config::ChannelRule,
    engine::{history::Retention, limits::Limits, rules::Rules},
};

/// How long messages are kept, in seconds. The longest is longer than most clients stay away.
const AGES: [u64; 4] = [1, 2, 10, AGE_MAX];
pub(super) const AGE_MAX: u64 = 100;
/// Budgets of a core, in bytes: channels lose messages, or are forgotten at once.
const BUDGETS: [usize; 4] = [300, 2_000, 10_000, 100_000];

/// What the rules say of the history, version by version.
pub(crate) struct Keeper {
    versions: Versions,
    /// The rules do not change.
    is_fixed: bool,
    /// Messages may be dropped, and channels forgotten, because of the budget.
    is_tight: bool,
}

impl Keeper {
    /// In some worlds channels have a history.
    pub(super) fn new(rng: &mut StdRng, limits: &mut Limits) -> Option<Self> {
        if rng.random_bool(0.5) {
            return None;
        }
        let is_tight = rng.random_bool(0.3);
        if is_tight {
            limits.history_bytes_max = *BUDGETS.choose(rng).expect("some");
        }
        Some(Self { versions: Versions::default(), is_fixed: rng.random_bool(0.6), is_tight })
    }

    /// Gives some of these rules a history.
    pub(super) fn add_to(rng: &mut StdRng, rules: &mut [ChannelRule]) {
        for rule in rules {
            if rng.random_bool(0.7) {
                let age = Duration::from_secs(*AGES.choose(rng).expect("some"));
                *rule = rule.clone().history(rng.random_range(1..=20)).history_age(age);
            }
        }
    }

    /// The nodes get these rules.
    pub(super) fn change(&mut self, rules: &Arc<Rules>, clock: u64) {
        self.versions.change(rules, clock);
    }

    /// All nodes have applied the last rules.
    pub(super) fn at_rest(&mut self, clock: u64) {
        self.versions.at_rest(clock);
    }

    /// Whether each message is kept for as long as the first rules say.
    pub(super) fn is_steady(&self) -> bool {
        self.is_fixed && !self.is_tight
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// What may be kept of a name between two times; `None` stands for no history.
    pub(super) fn retentions(&self, name: &str, from: u64, to: u64) -> Vec<Option<Retention>> {
        let of = |rules: &Rules| if is_pattern(name) { None } else { rules.retention(name.as_bytes()) };
        self.versions.in_effect(from, to).map(of).collect()
    }

    /// What is kept of a channel now that all nodes have applied the last rules.
    pub(super) fn retention(&self, name: &str) -> Option<Retention> {
        self.versions.last().and_then(|rules| rules.retention(name.as_bytes()))
    }

    /// Whether a name may have a history between two times, and whether it must.
    pub(super) fn keeps(&self, name: &str, from: u64, to: u64) -> (bool, bool) {
        let all = self.retentions(name, from, to);
        (all.iter().any(Option::is_some), all.iter().all(Option::is_some))
    }
}

/// Whether a name stands for many channels.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '>'])
}

impl World {
    /// All nodes get new rules, each at its own time.
    pub(super) fn change_rules(&mut self) {
        let has_rules = self.guard.is_some() || self.keeper.is_some() || self.attendance.is_some();
        if self.keeper.as_ref().is_some_and(Keeper::is_fixed) || !has_rules {
            return;
        }
        let Self { rng, limits, clock, guard, keeper, attendance, .. } = self;
        make_rules(rng, limits, *clock, guard.as_mut(), keeper.as_mut(), attendance.as_mut());
        self.clients.iter_mut().for_each(SimulatedClient::follow_nobody);
        for node in &mut self.nodes {
            node.post_limits(self.limits.clone(), self.crowd.connections_max);
        }
    }
}

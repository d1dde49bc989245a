//! The test that runs many seeds.

use std::ops::Range;

use super::world::{Outcome, World};
use crate::{
    engine::stats::Stats,
    seeds::{Seed, seeds},
};

/// Seeds of one run: about ten seconds in a debug build.
const SEEDS: Range<u64> = 0..160;

#[test]
fn nothing_is_lost_or_doubled_or_out_of_order_and_nothing_is_left() {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let seeds = seeds(SEEDS);
    let runs = seeds.clone().count();
    for seed in seeds {
        let _seed = Seed(seed);
        outcomes.push(World::new(seed).run());
    }
    if runs >= 100 {
        let sum = |of: fn(&Stats) -> u64| outcomes.iter().flat_map(|outcome| &outcome.stats).map(of).sum::<u64>();
        let counts = [sum(|s| s.delivered), sum(|s| s.paused), sum(|s| s.slow_consumers), sum(|s| s.over_budget)];
        let cut = [sum(|s| s.cut), sum(|s| s.put_behind)];
        assert!(cut.iter().all(|&count| count > 0), "the dice never came to this: {cut:?}");
        assert!(counts.iter().all(|&count| count > 0), "the dice never came to this: {counts:?}");
        assert!(sum(|s| s.timed_out) > 0 && sum(|s| s.refused) > 0 && sum(|s| s.requests) > 0);
        assert!(sum(|s| s.turned_away) > 0 && sum(|s| s.served_when_full) > 0);
        assert!(sum(|s| s.faults) > 0 && sum(|s| s.stalls) > 0);
        assert!(sum(|s| s.forbidden) > 0 && sum(|s| s.subscriptions_ended) > 0);
        let of_history = [sum(|s| s.caught_up), sum(|s| s.catch_ups_lost), sum(|s| s.history_over_budget)];
        assert!(of_history.iter().all(|&count| count > 0), "the dice never came to this: {of_history:?}");
        let all = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>();
        let of_presence = [all(|outcome| outcome.followed), all(|outcome| outcome.changes)];
        assert!(outcomes.iter().any(|outcome| outcome.unnamed > 0));
        assert!(of_presence.iter().all(|&count| count > 0), "the dice never came to this: {of_presence:?}");
        assert!(outcomes.iter().any(|outcome| outcome.from_abroad > 0));
        assert!(outcomes.iter().any(|outcome| outcome.abroad > 0));
        assert!(outcomes.iter().any(|outcome| outcome.offline > 0));
        assert!(outcomes.iter().any(|outcome| outcome.gave_way > 0));
    }
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    let seed = 17;
    assert_eq!(World::new(seed).run(), World::new(seed).run());
}

//! Whole conversations: servers in virtual time, with hostile clients and one well-behaved pair.

mod bounds;
mod cluster;

use std::time::Duration;

use crate::{
    config::{ChannelRule, Config, Presence},
    engine::limits::Limits,
};

use self::cluster::Cluster;
use super::dice::Dice;

/// Decisions of one conversation.
const STEPS_MAX: usize = 300;

/// Whatever clients send, however it is cut, and whether or not they read: no server panics, all invariants hold, the
/// cost of input is bounded by its length, the well-behaved clients lose nothing, and nothing is left when all clients
/// are gone.
pub fn conversation(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let stops = dice.is_one_in(4);
    let mut cluster = Cluster::new(&mut dice);
    for _ in 0..STEPS_MAX {
        if dice.is_empty() {
            break;
        }
        cluster.step(&mut dice);
    }
    cluster.finish(stops);
}

/// Channels with a history, and those of which it is known who is there. One of them is that of the well-behaved clients.
const KEPT: [&str; 3] = ["*", "a.>", "well-behaved.*"];
const COUNTED: [&str; 3] = ["a", "b", "a.>"];
/// The messages that a channel keeps, and for how long.
const KEPT_MAX: u32 = 3;
const KEPT_AGE: Duration = Duration::from_secs(2);

/// What the rules of a server ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruled {
    /// Nothing: messages take the way without history and presence.
    Plain,
    Kept,
    Counted,
    Both,
}

impl Ruled {
    const ALL: [Self; 4] = [Self::Plain, Self::Both, Self::Kept, Self::Counted];

    fn keeps(self) -> bool {
        matches!(self, Self::Kept | Self::Both)
    }

    fn counts(self) -> bool {
        matches!(self, Self::Counted | Self::Both)
    }

    /// The first rule that matches a channel counts, so those for single channels stand first.
    fn rules(self) -> Vec<ChannelRule> {
        let counted = COUNTED.iter().filter(|_| self.counts()).map(|pattern| rule(pattern).presence(Presence::Events));
        if !self.keeps() {
            return counted.collect();
        }
        let keep = |rule: ChannelRule| rule.history(KEPT_MAX).history_age(KEPT_AGE);
        counted.chain(KEPT.iter().map(|pattern| rule(pattern))).map(keep).collect()
    }
}

fn rule(pattern: &str) -> ChannelRule {
    pattern.parse().expect("it is a pattern")
}

/// The limits of a server, so small that each is reached now and then.
pub(super) fn limits(ruled: Ruled) -> Limits {
    let config = Config { channels: ruled.rules(), ..Config::default() };
    let mut limits = Limits::new(&config, 1 << 24, 1);
    limits.message_bytes_max = 4096;
    limits.head.head_bytes_max = 2048;
    limits.presence_grace = Duration::from_millis(500);
    limits
}

//! Whole conversations: servers in virtual time, with clients that mean no good and one pair of innocent ones.

mod bounds;
mod town;

use crate::{config::Config, engine::limits::Limits};

use self::town::Town;
use super::dice::Dice;

/// Decisions of one conversation.
const STEPS_MAX: usize = 300;

/// Whatever clients say, however it is cut, and whether or not they read: no server panics, all that must hold does, what
/// input costs is bounded by its length, the innocent lose nothing, and nothing is left when everybody is gone.
pub fn conversation(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let stops = dice.is_one_in(4);
    let mut town = Town::new(&mut dice);
    for _ in 0..STEPS_MAX {
        if dice.is_empty() {
            break;
        }
        town.step(&mut dice);
    }
    town.finish(stops);
}

/// The limits of a server that is so small that each is met now and then.
pub(super) fn limits() -> Limits {
    let mut limits = Limits::new(&Config::default(), 1 << 24, 1);
    limits.message_bytes_max = 4096;
    limits.head.head_bytes_max = 2048;
    limits
}

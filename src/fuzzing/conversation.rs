//! Whole conversations: servers in virtual time, with hostile clients and one well-behaved pair.

mod bounds;
mod cluster;

use crate::{config::Config, engine::limits::Limits};

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

/// The limits of a server, so small that each is reached now and then.
pub(super) fn limits() -> Limits {
    let mut limits = Limits::new(&Config::default(), 1 << 24, 1);
    limits.message_bytes_max = 4096;
    limits.head.head_bytes_max = 2048;
    limits
}

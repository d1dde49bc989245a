//! Acknowledgements that wait until their subscriptions are live (PROTOCOL.md §2, §6).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    engine::{
        hub::Hub,
        router::{Awaited, Step},
        slot::{ConnectionKey, Slot},
    },
    error::{Reason, Refusal},
};

/// The most acknowledgements of one connection that wait for peers at once. A message that asks for one more is refused
/// with 429.
pub(crate) const WAITING_PER_CONNECTION_MAX: u32 = 1024;
/// If this many wait on one core, a connection may have only [`WAITING_SHARE`], so that a greedy one does not take the
/// places of others.
const WAITING_MAX: usize = 16 * 1024;
const WAITING_SHARE: u32 = 16;
/// The most acknowledgements that wait on one core: 8 MiB.
const WAITING_LIMIT: usize = 64 * 1024;
/// The approximate memory of one acknowledgement, in bytes.
const ACK_BYTES: usize = 128;
/// The most acknowledgements that one turn sends. The next turn sends the others.
const ACKS_PER_TURN: usize = 4096;
/// The most refused interests that are remembered for waiting acknowledgements.
const REFUSED_MAX: usize = 16 * 1024;
/// So many acknowledgements of closed connections may stay before they are removed.
const DEAD_KEPT: usize = 1024;

/// Acknowledgements of subscriptions that are not live yet.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Sorted by the interest that must be answered, then by the order of the requests.
    waiting: BTreeMap<(u64, u64), Ack>,
    /// The number of acknowledgements that ever waited.
    asked: u64,
    /// By slot, how many of `waiting` belong to its connection. The list grows to the highest slot that ever waited.
    by_slot: Vec<u32>,
    /// How many of `waiting` belong to closed connections.
    dead: usize,
    /// Interests that the bridge has reported as refused, while a waiting acknowledgement may include them.
    refused: BTreeSet<u64>,
}

#[derive(Debug)]
struct Ack {
    key: ConnectionKey,
    awaited: Awaited,
    token: Box<[u8]>,
}

impl Acks {
    /// Their memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        (self.waiting.len() - self.dead) * ACK_BYTES
    }

    /// Whether a connection may have one more.
    fn has_room(&self, slot: Slot) -> bool {
        let (own, all) = (self.by_slot.get(slot as usize).copied().unwrap_or(0), self.waiting.len() - self.dead);
        let share = if all < WAITING_MAX { WAITING_PER_CONNECTION_MAX } else { WAITING_SHARE };
        own < share && all < WAITING_LIMIT
    }

    fn push(&mut self, ack: Ack) {
        let slot = ack.key.slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, 0);
        }
        self.by_slot[slot] += 1;
        self.waiting.insert((ack.awaited.live_at, self.asked), ack);
        self.asked += 1;
    }

    /// Notes that the connection in a slot has ended, so that its acknowledgements are dead.
    pub(super) fn forget(&mut self, slot: Slot) {
        let Some(own) = self.by_slot.get_mut(slot as usize) else { return };
        self.dead += std::mem::take(own) as usize;
    }

    /// Removes the acknowledgements of closed connections when these are more than half of all. Each of them pays for
    /// one visit.
    fn sweep(&mut self, is_alive: impl Fn(&Ack) -> bool) {
        if self.dead > DEAD_KEPT && self.dead > self.waiting.len() / 2 {
            self.waiting.retain(|_, ack| is_alive(ack));
            self.dead = 0;
        }
    }

    /// The next acknowledgement whose interest all peers have answered.
    fn pop_live(&mut self, live: u64) -> Option<Ack> {
        let first = self.waiting.first_entry().filter(|entry| entry.key().0 <= live)?;
        Some(first.remove())
    }

    /// Whether all peers have answered the interest of one of them.
    pub(super) fn has_live(&self, live: impl FnOnce() -> u64) -> bool {
        self.waiting.first_key_value().is_some_and(|((live_at, _), _)| *live_at <= live())
    }

    /// Notes that the bridge refuses the interest with this number.
    pub(super) fn refuse(&mut self, live_at: u64) {
        if !self.waiting.is_empty() {
            self.refused.insert(live_at);
            if self.refused.len() > REFUSED_MAX {
                self.refused.pop_first();
            }
        }
    }

    /// Whether one of the subscriptions does not get the publishes of other nodes.
    pub(super) fn is_refused(&self, awaited: Awaited) -> bool {
        let waits_from = awaited.waits_from.filter(|_| !self.refused.is_empty());
        awaited.is_refused || waits_from.is_some_and(|from| self.refused.range(from..=awaited.live_at).next().is_some())
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.len() == self.dead
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn invariants(&self) {
        let own: usize = self.by_slot.iter().map(|&own| own as usize).sum();
        assert_eq!(own + self.dead, self.waiting.len(), "waiting acknowledgements are counted wrongly");
    }
}

/// What a client is told that has asked for one acknowledgement too many.
pub(super) fn too_many_acks() -> Refusal {
    const SENTENCE: &str = "too many acknowledgements of this connection wait for other cores or nodes";
    Refusal::because(Reason::TooManyAcks, SENTENCE)
}

impl Hub {
    /// Acknowledges a message when all peers have answered its interest, or at once if it has none.
    pub(crate) fn acknowledge(&mut self, slot: Slot, token: &[u8], awaited: Awaited) {
        if self.router.unfinished.is_cut() {
            self.router.unfinished.put(Step::Acknowledge {
                key: self.sessions.key(slot),
                token: token.into(),
                awaited,
            });
        } else if awaited.live_at <= self.router.relays.live() {
            self.send_ack(slot, token, awaited);
        } else if self.sessions.is_open(slot) {
            self.acks.push(Ack { key: self.sessions.key(slot), awaited, token: token.into() });
        }
    }

    /// Whether a connection may wait for one more acknowledgement.
    ///
    /// # Errors
    /// `too-many-acks`.
    pub(crate) fn check_acks(&self, slot: Slot) -> Result<(), Refusal> {
        if self.acks.has_room(slot) {
            return Ok(());
        }
        Err(too_many_acks())
    }

    /// Acknowledges live subscriptions, the oldest interest first, and at most a turn's share of them.
    pub(super) fn acknowledge_live(&mut self) {
        let live = self.router.relays.live();
        for _ in 0..ACKS_PER_TURN {
            let Some(ack) = self.acks.pop_live(live) else { break };
            let Ack { key, awaited, token } = ack;
            if !self.sessions.is_current(key) || !self.sessions.is_open(key.slot) {
                self.acks.dead -= 1;
                continue;
            }
            self.acks.by_slot[key.slot as usize] -= 1;
            self.send_ack(key.slot, &token, awaited);
        }
        if self.acks.waiting.is_empty() {
            self.acks.refused.clear();
        }
    }

    /// Whether [`Hub::acknowledge_live`] has something to do.
    pub(super) fn has_live_acks(&self) -> bool {
        self.acks.has_live(|| self.router.relays.live())
    }

    /// Forgets the acknowledgements of a connection that was open.
    pub(super) fn forget_acks(&mut self, slot: Slot) {
        let mut acks = std::mem::take(&mut self.acks);
        acks.forget(slot);
        acks.sweep(|ack| {
            ack.key.slot != slot && self.sessions.is_current(ack.key) && self.sessions.is_open(ack.key.slot)
        });
        self.acks = acks;
    }
}

//! Who is connected, until when, and whether a connection is read now.
//!
//! The sessions know slots and the time. They do not know channels or outboxes: [`crate::engine::router`] does.

mod keepers;
mod paused;
mod schedule;

use std::{
    ops::{Index, IndexMut},
    time::Duration,
};

use slab::Slab;

use crate::engine::{
    arrival::Arrival,
    clock::Clock,
    session::{Ended, Fragments, Phase, Session},
    slot::{ConnectionKey, Slot},
};

pub(crate) use self::keepers::Keepers;
use self::{paused::Paused, schedule::Schedule};

/// A connection that has made more work than this within a window is read behind those that have not, in units of
/// [`crate::engine::router::work`].
const HEAVY_UNITS: u64 = 128 * 1024;
/// The windows in which that is counted, as a power of two of milliseconds: 64 ms.
const WINDOW_SHIFT: u32 = 6;
/// A session's share counts in steps of so many units.
const STEP_UNITS: u64 = 512;

/// The sessions of one core, by slot.
pub(crate) struct Sessions {
    slab: Slab<Session>,
    next_generation: u32,
    clock: Clock,
    /// Milliseconds for which the core has run: an even number, see [`Session::heard`].
    now: u64,
    schedule: Schedule,
    paused: Paused,
    keepers: Keepers,
    /// What sessions keep of unfinished input, in bytes.
    incoming_bytes: usize,
    /// [`HEAVY_UNITS`], but for tests.
    heavy_units: u64,
    /// Connections that are over, for [`Sessions::reap`].
    over: Vec<Slot>,
    /// Connections whose sending side is to be shut, for [`Sessions::take_shut`].
    shut: Vec<Slot>,
}

impl Sessions {
    /// No session, at time zero. Peers have at least `grace` for what is asked of them.
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            slab: Slab::new(),
            next_generation: 0,
            clock: Clock::new(grace),
            now: 0,
            schedule: Schedule::new(0),
            paused: Paused::default(),
            keepers: Keepers::default(),
            incoming_bytes: 0,
            heavy_units: HEAVY_UNITS,
            over: Vec::new(),
            shut: Vec::new(),
        }
    }

    /// A turn begins at this time since the core's start. Its poll was to return at `due` at the latest: if it is much
    /// later now, the core stood still, and the sessions see an earlier time. Says whether it stood still.
    pub(crate) fn begin_turn(&mut self, now: Duration, due: Duration) -> bool {
        self.now = self.clock.turn(now, due).as_millis() as u64 & !1;
        self.clock.is_late()
    }

    /// Milliseconds for which the core has run.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// A connection was accepted.
    pub(crate) fn insert(&mut self, arrival: Arrival) -> ConnectionKey {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let slot = self.slab.insert(Session::new(generation, arrival, self.now)) as Slot;
        ConnectionKey { slot, generation }
    }

    /// Whether a connection still has its slot.
    pub(crate) fn is_current(&self, key: ConnectionKey) -> bool {
        self.slab.get(key.slot as usize).is_some_and(|session| session.generation == key.generation)
    }

    /// The key of the connection in a slot.
    pub(crate) fn key(&self, slot: Slot) -> ConnectionKey {
        ConnectionKey { slot, generation: self[slot].generation }
    }

    /// Whether messages of this connection still have effects.
    pub(crate) fn is_open(&self, slot: Slot) -> bool {
        self[slot].phase == Phase::Open
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// The session in a slot, if there is one.
    pub(crate) fn get(&self, slot: Slot) -> Option<&Session> {
        self.slab.get(slot as usize)
    }

    /// All of them, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Session)> {
        self.slab.iter().map(|(slot, session)| (slot as Slot, session))
    }

    /// The slots that are taken.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        self.iter().map(|(slot, _)| slot).collect()
    }

    /// Room for a connection's unfinished WebSocket input, of which the first byte comes now if there is none.
    pub(crate) fn fragments_mut(&mut self, slot: Slot) -> &mut Fragments {
        self.slab[slot as usize].fragments_mut(self.now)
    }

    /// Charges a connection with so many units of work.
    pub(crate) fn charge(&mut self, slot: Slot, units: u64) {
        let window = self.window();
        if let Some(session) = self.slab.get_mut(slot as usize) {
            session.share.add(window, units.div_ceil(STEP_UNITS));
        }
    }

    /// Whether a connection has made so much work of late that others are read before it.
    pub(crate) fn is_heavy(&self, slot: Slot) -> bool {
        self[slot].share.steps(self.window()) * STEP_UNITS > self.heavy_units
    }

    /// The most work that a connection may have made and not be heavy, in units.
    pub(crate) fn light_units(&self) -> u64 {
        self.heavy_units
    }

    /// Whether the first request of a connection is not whole yet. The others are read before such ones, for anybody may
    /// connect again and again.
    pub(crate) fn is_new(&self, slot: Slot) -> bool {
        self[slot].is_new()
    }

    fn window(&self) -> u64 {
        self.now >> WINDOW_SHIFT
    }

    /// Nothing is left to be sent to a connection: one that only waited for that goes on to its end.
    pub(crate) fn has_sent_all(&mut self, slot: Slot) {
        let phase = &mut self.slab[slot as usize].phase;
        match phase {
            Phase::Lingering => self.shut.push(slot),
            Phase::Ended => {
                *phase = Phase::Over;
                self.over.push(slot);
            }
            Phase::Http | Phase::Open | Phase::Closing | Phase::Over => {}
        }
    }

    /// Appends the connections whose sending side is to be shut now.
    pub(crate) fn take_shut(&mut self, shut: &mut Vec<Slot>) {
        shut.append(&mut self.shut);
    }

    /// Removes the sessions that are over.
    pub(crate) fn reap(&mut self) -> impl Iterator<Item = Ended> {
        let Self { over, slab, .. } = self;
        over.drain(..).map(|slot| Ended { slot, is_cut: slab.remove(slot as usize).is_cut() })
    }
}

impl Index<Slot> for Sessions {
    type Output = Session;

    fn index(&self, slot: Slot) -> &Session {
        &self.slab[slot as usize]
    }
}

impl IndexMut<Slot> for Sessions {
    fn index_mut(&mut self, slot: Slot) -> &mut Session {
        &mut self.slab[slot as usize]
    }
}

/// For tests: what must hold between turns.
#[cfg(any(test, feature = "fuzz"))]
impl Sessions {
    /// Whether a connection waits for a link, or is read again in the next turn.
    pub(crate) fn waits(&self, key: ConnectionKey) -> bool {
        self.paused.contains(key)
    }

    /// Whether connections are paused.
    #[cfg(test)]
    pub(crate) fn has_paused(&self) -> bool {
        !self.paused.is_empty()
    }

    pub(crate) fn assert_empty(&self) {
        assert!(self.slab.is_empty(), "{} sessions are left", self.slab.len());
        assert!(self.paused.is_empty() && !self.has_due());
    }

    /// Makes connections heavy earlier.
    pub(crate) fn set_heavy_units(&mut self, units: u64) {
        self.heavy_units = units;
    }
}

//! The connections of a core: their state, their deadlines, and whether they are read now.
//!
//! Sessions know slots and the time. They know nothing of channels or outboxes: [`crate::engine::router`] does.

mod keepers;
mod paused;
mod schedule;

use std::{
    ops::{Index, IndexMut},
    time::Duration,
};

use slab::Slab;

use crate::engine::{
    arrival::{Arrival, Transport},
    clock::Clock,
    session::{Ended, Fragments, Phase, Session},
    slot::{ConnectionKey, Slot},
};

pub(crate) use self::keepers::Keepers;
use self::{paused::Paused, schedule::Schedule};

/// A connection that has caused more work than this within a window is read behind the others, in units of
/// [`crate::engine::router::work`].
const HEAVY_UNITS: u64 = 128 * 1024;
/// The length of these windows, as a power of two of milliseconds: 64 ms.
const WINDOW_SHIFT: u32 = 6;
/// A session's share is counted in steps of this many units.
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
    /// Bytes of unfinished input that sessions keep.
    incoming_bytes: usize,
    /// [`HEAVY_UNITS`], but for tests.
    heavy_units: u64,
    /// Connections that have ended, for [`Sessions::reap`].
    over: Vec<Slot>,
    /// Connections whose sending side the core must shut, for [`Sessions::take_shut`].
    shut: Vec<Slot>,
    /// Connections that end and have a backlog, for [`Sessions::take_last`].
    last: Vec<Slot>,
}

impl Sessions {
    /// No sessions, at time zero. Peers have at least `grace` to meet any deadline.
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
            last: Vec::new(),
        }
    }

    /// Begins a turn at this time since the core's start. Its poll was due at `due` at the latest. If it is much later
    /// now, the core stood still, and the sessions see an earlier time. Returns whether it stood still.
    pub(crate) fn begin_turn(&mut self, now: Duration, due: Duration) -> bool {
        self.now = self.clock.turn(now, due).as_millis() as u64 & !1;
        self.clock.is_late()
    }

    /// Milliseconds for which the core has run.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Adds an accepted connection.
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
        self[slot].is_open()
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

    /// How many connections are open.
    pub(crate) fn count_open(&self) -> usize {
        self.iter().filter(|(_, session)| session.is_open()).count()
    }

    /// The next open connection from this slot on. The next search begins behind it.
    pub(crate) fn next_open(&self, from: &mut usize) -> Option<Slot> {
        while *from < self.slab.capacity() {
            let slot = *from;
            *from += 1;
            if self.slab.get(slot).is_some_and(|session| session.is_open()) {
                return Some(slot as Slot);
            }
        }
        None
    }

    /// A slot behind all that are taken.
    pub(crate) fn slots_end(&self) -> Slot {
        self.slab.capacity() as Slot
    }

    /// The slots that are taken.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        self.iter().map(|(slot, _)| slot).collect()
    }

    /// A connection's unfinished WebSocket input. If there is none, it begins now.
    pub(crate) fn fragments_mut(&mut self, slot: Slot) -> &mut Fragments {
        self.slab[slot as usize].fragments_mut(self.now)
    }

    /// Charges a connection with this many units of work.
    pub(crate) fn charge(&mut self, slot: Slot, units: u64) {
        let window = self.window();
        if let Some(session) = self.slab.get_mut(slot as usize) {
            session.share.add(window, units.div_ceil(STEP_UNITS));
        }
    }

    /// Whether a connection has caused so much work recently that others are read before it.
    pub(crate) fn is_heavy(&self, slot: Slot) -> bool {
        self[slot].share.steps(self.window()) * STEP_UNITS > self.heavy_units
    }

    /// The most work that a connection may cause without being heavy, in units.
    pub(crate) fn light_units(&self) -> u64 {
        self.heavy_units
    }

    /// Whether the first request of a connection is not complete yet. Other connections are read first, because anybody
    /// may connect again and again.
    pub(crate) fn is_new(&self, slot: Slot) -> bool {
        self[slot].is_new()
    }

    fn window(&self) -> u64 {
        self.now >> WINDOW_SHIFT
    }

    /// Notes that a connection's outbox is empty. A connection that only waited for this goes on to its end.
    pub(crate) fn has_sent_all(&mut self, slot: Slot) {
        let session = &mut self.slab[slot as usize];
        match session.phase() {
            Phase::Lingering => self.shut.push(slot),
            Phase::Ended => {
                session.set_phase(Phase::Over);
                self.over.push(slot);
            }
            Phase::Http | Phase::Open | Phase::Closing | Phase::Over => {}
        }
    }

    /// Appends the connections whose sending side the core must shut now.
    pub(crate) fn take_shut(&mut self, shut: &mut Vec<Slot>) {
        shut.append(&mut self.shut);
    }

    /// Notes that the backlog of a connection is the last that it gets.
    pub(crate) fn gives_last(&mut self, slot: Slot) {
        self.last.push(slot);
    }

    /// The connections whose sockets take all that is left for them, from now on.
    pub(crate) fn take_last(&mut self) -> impl Iterator<Item = Slot> {
        self.last.drain(..)
    }

    /// Removes the sessions that have ended. Gives what carried their bytes, too.
    pub(crate) fn reap(&mut self) -> impl Iterator<Item = (Ended, Transport)> {
        let Self { over, slab, .. } = self;
        over.drain(..).map(|slot| {
            let session = slab.remove(slot as usize);
            (Ended { slot, is_cut: session.is_cut() }, session.transport())
        })
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

/// For tests: the invariants between two turns.
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

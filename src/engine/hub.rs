//! A whole core without its sockets: bytes and the time go in, ranges to write come out.
//!
//! The core's loop calls, each turn and in this order: [`Hub::begin_turn`]; any number of inputs ([`Hub::open`],
//! [`Hub::receive`], [`Hub::writable`], [`Hub::lost`], [`Hub::relayed`], and those of its inbox); [`Hub::go_on`] with what
//! earlier turns have left; [`Hub::look_at_due`], when what has come was read; [`Hub::take_batch`] for each peer, so that
//! peers work while this core writes; [`Hub::flush`]; and [`Hub::reap`] before a slot may be used again. When
//! [`Hub::is_full`] says so, batches and flush come in between the inputs, too. So several hubs and the links between them
//! run in one test, in virtual time, from a seed.
//!
//! Nobody pays for what others ask for, and no turn is without an end. Three things keep a connection from being read:
//! - its next message needs a link to a peer that is congested (`hub/pausing.rs`);
//! - its last message is not finished, because it is worth several turns (`hub/unfinished.rs`);
//! - it has used its share of the turn (`hub/work.rs`), which the core's loop looks after.

pub(crate) mod acks;
mod admission;
mod budget;
mod closing;
mod deadlines;
mod http;
mod limits;
mod linger;
mod pausing;
mod pieces;
mod publish;
mod recent;
mod repeat;
mod reserve;
mod subscribing;
mod unfinished;
mod websocket;
mod work;

use std::{collections::VecDeque, time::Duration};

use slab::Slab;

use crate::{
    config::memory,
    engine::{
        application::Application,
        arrival::Arrival,
        clock::Clock,
        counters::Stats,
        outbox::{Flushed, Outboxes},
        relay::Relays,
        session::{Phase, Session},
        slot::{ConnectionKey, Slot},
        subscriptions::Subscriptions,
        timers::Timers,
    },
};

use self::{
    acks::Acks,
    admission::InFlight,
    budget::Kept,
    linger::Lingering,
    pausing::Paused,
    publish::{Resolved, Run},
    recent::Recent,
    repeat::Repeat,
    unfinished::Unfinished,
    work::Work,
};
pub(crate) use self::{closing::CLOSE_TIMEOUT, limits::Limits, work::SHARE_UNITS};

/// A turn that has collected this many bytes is flushed before more is read, so that it stays in the cache.
pub(crate) const TURN_BYTES_MAX: usize = 256 * 1024;

const _: () = assert!(TURN_BYTES_MAX <= memory::TURN_BYTES);

/// The state of one core.
pub(crate) struct Hub {
    pub(crate) limits: Limits,
    clock: Clock,
    /// Milliseconds for which the core has run: an even number, see [`Session::heard`].
    now: u64,
    sessions: Slab<Session>,
    next_generation: u32,
    subscriptions: Subscriptions,
    in_flight: InFlight,
    outboxes: Outboxes,
    relays: Relays,
    timers: Timers,
    /// Connections whose deadlines have come and that were not looked at yet.
    due: VecDeque<(Slot, u32)>,
    resolved: Resolved,
    recent: Recent,
    /// Counts the channels that were resolved.
    resolutions: u64,
    run: Run,
    repeat: Repeat,
    acks: Acks,
    lingering: Lingering,
    paused: Paused,
    unfinished: Unfinished,
    work: Work,
    /// Connections that are over, for [`Hub::reap`].
    ended: Vec<Slot>,
    /// Connections whose sending side is to be shut, for [`Hub::take_shut`].
    shut: Vec<Slot>,
    flushed: Flushed,
    /// Bytes of frames since the last flush that peers alone get, so that the turn's buffer does not hold them.
    passed_on: usize,
    /// Payloads are put together here before their frame's header is known.
    scratch: Vec<u8>,
    kept: Kept,
    is_draining: bool,
    /// What [`Hub::take_messages`] has counted already.
    messages_seen: u64,
    pub(crate) stats: Stats,
}

impl Hub {
    /// Core `own` of `cores`, at time zero.
    pub(crate) fn new(own: u32, cores: u32, limits: Limits) -> Self {
        Self {
            clock: Clock::new(limits.grace()),
            limits,
            now: 0,
            sessions: Slab::new(),
            next_generation: 0,
            subscriptions: Subscriptions::new(cores),
            in_flight: InFlight::default(),
            outboxes: Outboxes::default(),
            relays: Relays::new(own, cores),
            timers: Timers::new(Duration::ZERO),
            due: VecDeque::new(),
            resolved: Resolved::default(),
            recent: Recent::new(),
            resolutions: 0,
            run: Run::default(),
            repeat: Repeat::default(),
            acks: Acks::default(),
            lingering: Lingering::default(),
            paused: Paused::default(),
            unfinished: Unfinished::default(),
            work: Work::new(),
            ended: Vec::new(),
            shut: Vec::new(),
            flushed: Flushed::default(),
            passed_on: 0,
            scratch: Vec::new(),
            kept: Kept::default(),
            is_draining: false,
            messages_seen: 0,
            stats: Stats::default(),
        }
    }

    /// Adds the bridge to other nodes as one more peer, and gives its number.
    pub(crate) fn add_bridge(&mut self) -> u32 {
        self.relays.add_bridge()
    }

    /// A turn begins at this time since the core's start. Its poll was to return at `due` at the latest: if it is much
    /// later now, the core stood still, and what follows sees an earlier time.
    pub(crate) fn begin_turn(&mut self, now: Duration, due: Duration) {
        self.now = self.clock.turn(now, due).as_millis() as u64 & !1;
        self.stats.stalls += u64::from(self.clock.is_late());
        self.outboxes.set_now(self.now);
    }

    /// A turn begins, and nothing stood still.
    #[cfg(test)]
    pub(crate) fn set_now(&mut self, now: Duration) {
        self.begin_turn(now, now);
    }

    /// A connection was accepted.
    pub(crate) fn open(&mut self, arrival: impl Into<Arrival>) -> ConnectionKey {
        let arrival = arrival.into();
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let slot = self.sessions.insert(Session::new(generation, arrival, self.now)) as Slot;
        self.outboxes.open(slot);
        self.recount(slot);
        self.schedule(slot, self.now + self.request_timeout(arrival.is_reserved));
        self.stats.accepted += 1;
        ConnectionKey { slot, generation }
    }

    /// Takes what a connection sent, and gives how many of the bytes were used: fewer than all only when the turn is full
    /// and wants to be flushed before the rest is given again, or at the limit of [`Hub::limit_work`].
    pub(crate) fn receive(&mut self, app: &mut dyn Application, slot: Slot, bytes: &mut [u8]) -> usize {
        let mut used = 0;
        loop {
            let rest = &mut bytes[used..];
            used += match self.sessions[slot as usize].phase {
                Phase::Http => self.receive_http(app, slot, rest),
                Phase::Open | Phase::Closing => self.receive_frames(app, slot, rest),
                Phase::Lingering | Phase::Ended | Phase::Over => rest.len(),
            };
            if used == bytes.len() || self.must_stop() || !self.may_read(slot) {
                break;
            }
        }
        self.work.add(used as u64 / 4);
        if used < bytes.len() && !self.may_read(slot) {
            self.keep(slot, &bytes[used..]); // its last message is not finished
            return bytes.len();
        }
        self.recount(slot);
        used
    }

    /// The socket takes bytes again.
    pub(crate) fn writable(&mut self, slot: Slot) {
        self.outboxes.writable(slot);
    }

    /// Whether the turn should be flushed, and what there is for peers be taken, before more is read.
    pub(crate) fn is_full(&self) -> bool {
        self.outboxes.turn_len() + self.passed_on >= TURN_BYTES_MAX || self.outboxes.has_long_chain()
    }

    /// Does what earlier turns have left, until the turn is full or about so many units of work are done.
    pub(crate) fn go_on(&mut self, units: u64) {
        if self.has_live_acks() {
            self.acknowledge_live();
        }
        self.finish_messages(units);
    }

    /// What is to be handed to a peer at the end of the turn.
    pub(crate) fn take_batch(&mut self, peer: u32) -> Option<Vec<u8>> {
        self.relays.take(peer)
    }

    /// What the bridge is to be told of this core's interest at the end of the turn.
    pub(crate) fn take_interest(&mut self) -> Option<Vec<u8>> {
        self.relays.take_interest()
    }

    /// The bridge does not take interest now.
    pub(crate) fn give_back_interest(&mut self, interest: Vec<u8>) {
        self.relays.give_back_interest(interest);
    }

    /// The link to a peer is full.
    pub(crate) fn give_back_batch(&mut self, peer: u32, batch: Vec<u8>) {
        self.relays.give_back(peer, batch);
    }

    /// How many messages and requests came since this was asked last.
    pub(crate) fn take_messages(&mut self) -> u64 {
        let count = self.stats.received + self.stats.requests;
        count - std::mem::replace(&mut self.messages_seen, count)
    }

    /// Whether the next turn is to come at once, whatever the sockets say: something waits for a flush (closing
    /// connections may make others speak), paused connections may go on, or this turn has left something.
    pub(crate) fn wants_turn(&self) -> bool {
        let has_left = self.has_unfinished() || !self.due.is_empty() || self.has_live_acks();
        self.outboxes.is_dirty() || self.run.end != 0 || has_left || self.may_resume()
    }

    /// Whether something waits for a link.
    pub(crate) fn has_batches(&self) -> bool {
        self.relays.has_batches()
    }

    /// The connection that has this slot, if it is still the one that is meant.
    pub(crate) fn is_current(&self, key: ConnectionKey) -> bool {
        self.sessions.get(key.slot as usize).is_some_and(|session| session.generation == key.generation)
    }

    /// The key of the connection in a slot.
    pub(crate) fn key(&self, slot: Slot) -> ConnectionKey {
        ConnectionKey { slot, generation: self.sessions[slot as usize].generation }
    }

    /// Whether messages of this connection still have effects.
    pub(crate) fn is_open(&self, slot: Slot) -> bool {
        self.sessions[slot as usize].phase == Phase::Open
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.sessions.len()
    }

    /// When the next turn comes at the latest, for the deadlines and so that the core notices when it stands still.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let ran = self.timers.next().into_iter().chain(self.next_withdrawal()).min();
        ran.map(|ran| self.clock.wake_at(ran))
    }

    /// The numbers that are read off the state rather than counted.
    pub(crate) fn refresh_stats(&mut self) -> &Stats {
        self.stats.connections = self.sessions.len() as u64;
        self.stats.subscriptions = self.subscriptions.len() as u64;
        self.stats.channels = self.subscriptions.audiences() as u64;
        self.stats.kept_bytes = self.kept_bytes() as u64;
        self.stats.subscription_bytes = self.subscriptions.bytes() as u64;
        &self.stats
    }

    fn session(&mut self, key: ConnectionKey) -> Option<&mut Session> {
        self.sessions.get_mut(key.slot as usize).filter(|session| session.generation == key.generation)
    }
}

/// For tests: what must hold between turns.
#[cfg(any(test, feature = "fuzz"))]
impl Hub {
    pub(crate) fn invariants(&self) {
        self.subscriptions.invariants();
        self.recent.iter().chain([&self.resolved]).for_each(|resolved| self.check_resolved(resolved));
        self.outboxes.invariants();
        self.acks.invariants();
        assert!(!self.is_cut(), "nobody goes on with a message");
        self.assert_kept_is_counted();
        for (slot, session) in &self.sessions {
            let backlog = self.outboxes.backlog_cost(slot as Slot);
            assert!(
                session.phase != Phase::Open || backlog <= self.limits.outbox_bytes_max,
                "an outbox over its limit"
            );
            let key = self.key(slot as Slot);
            let waits = self.paused.contains(key) || self.unfinished.is_sender(key);
            assert!(!session.is_paused || waits, "nobody resumes slot {slot}");
            let held = self.subscriptions.count(slot as Slot);
            assert!(session.phase == Phase::Open || held == 0, "slot {slot} has ended with {held} subscriptions");
        }
    }

    /// Asserts that nothing is left of all the connections that there were.
    pub(crate) fn assert_empty(&self) {
        self.invariants();
        assert!(self.sessions.is_empty(), "{} sessions are left", self.sessions.len());
        assert_eq!((self.subscriptions.len(), self.subscriptions.audiences()), (0, 0));
        assert_eq!((self.kept_bytes(), self.outboxes.segments()), (0, 0));
        assert!(self.paused.is_empty() && self.acks.is_empty() && !self.relays.has_batches());
        assert!(self.lingering.is_empty() && self.unfinished.is_empty() && self.due.is_empty());
    }

    /// Makes links full earlier.
    pub(crate) fn set_batch_bytes_max(&mut self, bytes: usize) {
        self.relays.batch_bytes_max = bytes;
    }

    /// Makes pieces of messages, shares and turns small.
    pub(crate) fn set_small_turns(&mut self, piece_units: u64, heavy_units: u64, chain_links: usize) {
        self.work.piece_units = piece_units;
        self.work.heavy_units = heavy_units;
        self.outboxes.chain_links_max = chain_links;
    }

    /// Whether connections are paused.
    #[cfg(test)]
    pub(crate) fn has_paused(&self) -> bool {
        !self.paused.is_empty()
    }
}

#[cfg(test)]
mod tests;

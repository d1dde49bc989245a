//! A whole core without its sockets: bytes and the time go in, ranges to write come out.
//!
//! The core's loop calls, each turn and in this order: [`Hub::set_now`]; any number of inputs ([`Hub::open`],
//! [`Hub::receive`], [`Hub::writable`], [`Hub::lost`], [`Hub::relayed`], [`Hub::expire`], and those of its inbox);
//! [`Hub::take_batch`] for each peer, so that peers work while this core writes; [`Hub::flush`]; and [`Hub::reap`] before a
//! slot may be used again. When [`Hub::is_full`] says so, batches and flush come in between the inputs, too. So several
//! hubs and the links between them run in one test, in virtual time, from a seed.

pub(crate) mod acks;
mod admission;
mod closing;
mod http;
mod limits;
mod pages;
mod publish;
mod recent;
mod repeat;
mod websocket;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use slab::Slab;

use crate::{
    engine::{
        counters::Stats,
        outbox::{Flushed, Outboxes},
        relay::Relays,
        session::{ConnectionKey, Phase, Session},
        subscriptions::{Slot, Subscriptions},
        timers::Timers,
    },
    error::Refusal,
    protocol::http::{Pages, RequestHead},
};

use self::{
    acks::Acks,
    admission::InFlight,
    publish::{Resolved, Run},
    recent::Recent,
    repeat::Repeat,
};
pub(crate) use self::{closing::CLOSE_TIMEOUT, limits::Limits};

/// A turn that has collected this many bytes is flushed before more is read, so that it stays in the cache.
pub(crate) const TURN_BYTES_MAX: usize = 256 * 1024;

/// What gives messages their meaning. It is above the engine, which knows it by this trait alone.
pub(crate) trait Application: Send {
    /// A handshake was accepted, and the answer to it is queued.
    fn on_open(&mut self, hub: &mut Hub, slot: Slot, head: &RequestHead<'_, '_>, peer: SocketAddr);

    /// A whole message has come; text is UTF-8.
    fn on_message(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]);

    /// The body of a `POST /publish` has come; gives the number of channels that it went to.
    ///
    /// # Errors
    /// What is wrong with it; nothing was published then.
    fn on_publish(&mut self, hub: &mut Hub, body: &[u8]) -> Result<usize, Refusal>;

    /// A connection that was open ends, for whatever reason. Called once.
    fn on_close(&mut self, hub: &mut Hub, slot: Slot);
}

/// The state of one core.
pub(crate) struct Hub {
    pub(crate) limits: Limits,
    /// What it serves in place of LHTTP, on a server of pages.
    pub(crate) pages: Option<Arc<Pages>>,
    /// Milliseconds since the core's start.
    now: u64,
    sessions: Slab<Session>,
    next_generation: u32,
    subscriptions: Subscriptions,
    in_flight: InFlight,
    outboxes: Outboxes,
    relays: Relays,
    timers: Timers,
    resolved: Resolved,
    recent: Recent,
    /// Counts the channels that were resolved.
    resolutions: u64,
    run: Run,
    repeat: Repeat,
    acks: Acks,
    /// Connections whose input waits for a congested link.
    paused: Vec<ConnectionKey>,
    /// Connections that are over, for [`Hub::reap`].
    ended: Vec<Slot>,
    /// Connections whose sending side is to be shut, for [`Hub::take_shut`].
    shut: Vec<Slot>,
    flushed: Flushed,
    /// Bytes of frames since the last flush that peers alone get, so that the turn's buffer does not hold them.
    passed_on: usize,
    /// Payloads are put together here before their frame's header is known.
    scratch: Vec<u8>,
    /// What sessions keep of unfinished input, in bytes.
    incoming_bytes: usize,
    is_draining: bool,
    /// What [`Hub::take_messages`] has counted already.
    messages_seen: u64,
    pub(crate) stats: Stats,
}

impl Hub {
    /// Core `own` of `cores`, at time zero.
    pub(crate) fn new(own: u32, cores: u32, limits: Limits) -> Self {
        Self {
            limits,
            pages: None,
            now: 0,
            sessions: Slab::new(),
            next_generation: 0,
            subscriptions: Subscriptions::new(cores),
            in_flight: InFlight::default(),
            outboxes: Outboxes::default(),
            relays: Relays::new(own, cores),
            timers: Timers::new(Duration::ZERO),
            resolved: Resolved::default(),
            recent: Recent::new(),
            resolutions: 0,
            run: Run::default(),
            repeat: Repeat::default(),
            acks: Acks::default(),
            paused: Vec::new(),
            ended: Vec::new(),
            shut: Vec::new(),
            flushed: Flushed::default(),
            passed_on: 0,
            scratch: Vec::new(),
            incoming_bytes: 0,
            is_draining: false,
            messages_seen: 0,
            stats: Stats::default(),
        }
    }

    /// Adds the bridge to other nodes as one more peer, and gives its number.
    pub(crate) fn add_bridge(&mut self) -> u32 {
        self.relays.add_bridge()
    }

    /// The time since the core's start, as all that follows sees it.
    pub(crate) fn set_now(&mut self, now: Duration) {
        self.now = now.as_millis() as u64;
    }

    /// A connection was accepted.
    pub(crate) fn open(&mut self, peer: SocketAddr) -> ConnectionKey {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let slot = self.sessions.insert(Session::new(generation, peer, self.now)) as Slot;
        self.outboxes.open(slot);
        self.schedule(slot, self.now + self.limits.handshake_timeout);
        self.stats.accepted += 1;
        ConnectionKey { slot, generation }
    }

    /// Takes what a connection sent, and gives how many of the bytes were used: fewer than all only when the turn is
    /// full and wants to be flushed before the rest is given again.
    pub(crate) fn receive(&mut self, app: &mut dyn Application, slot: Slot, bytes: &mut [u8]) -> usize {
        let mut used = 0;
        loop {
            let rest = &mut bytes[used..];
            used += match self.sessions[slot as usize].phase {
                Phase::Http => self.receive_http(app, slot, rest),
                Phase::Open | Phase::Closing => self.receive_frames(app, slot, rest),
                Phase::Lingering | Phase::Ended | Phase::Over => rest.len(),
            };
            if used == bytes.len() || self.is_full() {
                break;
            }
        }
        self.recount(slot);
        used
    }

    /// Lets paused connections go on if the links allow it: what was kept of them is taken, and `resumed` gets those that
    /// may be read again, the one that has waited longest first. They are to be read before all others, or the links could
    /// be full again, for the others, whenever it is their turn.
    pub(crate) fn resume(&mut self, app: &mut dyn Application, resumed: &mut Vec<Slot>) {
        if self.paused.is_empty() || self.must_wait() {
            return;
        }
        for key in std::mem::take(&mut self.paused) {
            if self.must_wait() || self.is_full() {
                self.paused.push(key);
                continue;
            }
            let now = self.now;
            let Some(session) = self.session(key) else { continue };
            session.is_paused = false;
            if matches!(session.phase, Phase::Http | Phase::Open) {
                session.heard = now; // it was us who did not listen
            }
            let mut bytes = session.take_partial();
            session.tidy();
            let used = self.receive(app, key.slot, &mut bytes);
            if used < bytes.len() {
                self.keep_for_later(key.slot, &bytes[used..]);
            }
            if !self.sessions[key.slot as usize].is_paused {
                resumed.push(key.slot);
            }
        }
    }

    /// The socket takes bytes again.
    pub(crate) fn writable(&mut self, slot: Slot) {
        self.outboxes.writable(slot);
    }

    /// Whether the turn should be flushed, and what there is for peers be taken, before more is read.
    pub(crate) fn is_full(&self) -> bool {
        self.outboxes.turn_len() + self.passed_on >= TURN_BYTES_MAX || self.outboxes.has_long_chain()
    }

    /// What is to be handed to a peer at the end of the turn.
    pub(crate) fn take_batch(&mut self, peer: u32) -> Option<Vec<u8>> {
        self.relays.take(peer)
    }

    /// What the bridge is to be told of this core's interest at the end of the turn.
    pub(crate) fn take_interest(&mut self) -> Option<Vec<u8>> {
        self.relays.take_interest()
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
    /// connections may make others speak), or paused connections may go on.
    pub(crate) fn wants_turn(&self) -> bool {
        self.outboxes.is_dirty() || self.run.end != 0 || (!self.paused.is_empty() && !self.must_wait())
    }

    /// Whether something waits for a link.
    pub(crate) fn has_batches(&self) -> bool {
        self.relays.has_batches()
    }

    /// Whether publishers must wait: for a link that is full, or for too many acknowledgements on their way.
    pub(crate) fn must_wait(&self) -> bool {
        self.relays.is_congested() || self.acks.is_full()
    }

    /// Whether the connection is to be read now. While publishers must wait it is not, and is paused: what it sends stays
    /// in its socket, where it costs no memory of ours, until [`Hub::resume`] gives the connection again.
    pub(crate) fn may_read(&mut self, slot: Slot) -> bool {
        let session = &self.sessions[slot as usize];
        let may_publish = match session.phase {
            Phase::Open => true,
            // Requests come one at a time, and whether the server is well is to be told meanwhile.
            Phase::Http => self.is_draining,
            Phase::Closing | Phase::Lingering | Phase::Ended | Phase::Over => false,
        };
        if may_publish && !session.is_paused && self.must_wait() {
            self.pause(slot);
        }
        !self.sessions[slot as usize].is_paused
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

    /// The first time at which [`Hub::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
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

    /// Bytes that peers have not read, or not sent whole, and those of subscriptions, which are half of the budget at most.
    fn kept_bytes(&self) -> usize {
        let subscriptions = self.subscriptions.bytes().min(self.limits.kept_bytes_max / 2);
        self.outboxes.backlog_bytes() + self.incoming_bytes + subscriptions
    }

    /// The connection waits until links have room: nothing of it is read until then.
    fn pause(&mut self, slot: Slot) {
        self.stats.paused += 1;
        self.wait_for_links(slot);
    }

    /// The same in the midst of its input: the unused bytes are kept.
    fn pause_with(&mut self, slot: Slot, unused: &[u8]) {
        self.stats.paused += 1;
        self.keep_for_later(slot, unused);
    }

    fn keep_for_later(&mut self, slot: Slot, unused: &[u8]) {
        self.sessions[slot as usize].put_partial(unused);
        self.recount(slot);
        self.wait_for_links(slot);
    }

    fn wait_for_links(&mut self, slot: Slot) {
        self.sessions[slot as usize].is_paused = true;
        self.paused.push(self.key(slot));
    }

    /// Brings the sum of what sessions keep up to date with this one.
    fn recount(&mut self, slot: Slot) {
        let session = &mut self.sessions[slot as usize];
        let bytes = session.incoming_bytes();
        self.incoming_bytes = self.incoming_bytes + bytes - session.counted as usize;
        session.counted = bytes as u32;
    }

    fn schedule(&mut self, slot: Slot, at: u64) {
        let generation = self.sessions[slot as usize].generation;
        self.timers.schedule(slot, generation, Duration::from_millis(at));
    }
}

/// For tests: what must hold between turns.
#[cfg(test)]
impl Hub {
    pub(crate) fn invariants(&self) {
        self.subscriptions.invariants();
        self.recent.iter().chain([&self.resolved]).for_each(|resolved| self.check_resolved(resolved));
        self.outboxes.invariants();
        let kept: usize = self.sessions.iter().map(|(_, session)| session.incoming_bytes()).sum();
        assert_eq!(self.incoming_bytes, kept, "what sessions keep is counted wrongly");
        for (slot, session) in &self.sessions {
            let backlog = self.outboxes.backlog_cost(slot as Slot);
            assert!(
                session.phase != Phase::Open || backlog <= self.limits.outbox_bytes_max,
                "an outbox over its limit"
            );
            assert!(!session.is_paused || self.paused.contains(&self.key(slot as Slot)), "nobody resumes slot {slot}");
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
    }

    /// Makes links full earlier.
    pub(crate) fn set_batch_bytes_max(&mut self, bytes: usize) {
        self.relays.batch_bytes_max = bytes;
    }

    /// Whether connections are paused.
    pub(crate) fn has_paused(&self) -> bool {
        !self.paused.is_empty()
    }
}

#[cfg(test)]
mod tests;

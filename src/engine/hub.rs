//! A whole core without its sockets: bytes and the time go in, ranges to write come out.
//!
//! It has two halves. [`Router`] decides where a message goes: channels, subscribers, peers, outboxes. [`Sessions`]
//! knows the connections and their deadlines. Code that needs both halves is here.
//!
//! The core's loop calls, each turn and in this order: [`Hub::begin_turn`]; any number of inputs ([`Hub::open`],
//! [`Hub::receive`], [`Hub::lost`], [`Hub::relayed`], and those of its inbox); [`Hub::go_on`] for the work that earlier
//! turns left; [`Hub::look_at_due`] after all input was read; the batches for peers, so that the peers work while this
//! core writes; [`Hub::flush`]; and [`Hub::reap`] before a slot is used again. When [`Router::is_full`] is true, the
//! loop also hands over batches and flushes between two inputs. A test can run several hubs and the links between them
//! in virtual time, from a seed.
//!
//! No connection pays for the work of another one, and every turn ends. A connection is not read in three cases:
//! - its next message needs a link to a peer that is congested (`hub/pausing.rs`);
//! - its last message is not finished, because it takes several turns (`router/unfinished.rs`);
//! - it has used its share of the turn (`router/work.rs`); the core's loop enforces this.

mod acks;
mod budget;
mod closing;
mod deadlines;
mod draining;
mod ends;
mod flush;
mod forwarded;
mod http;
mod identities;
pub(crate) mod kept;
mod later;
mod members;
mod missed;
mod numbers;
mod pausing;
mod permissions;
mod presence;
mod rates;
mod relayed;
mod reserve;
mod sending;
mod slow_consumers;
mod subscribing;
mod surveys;
mod sweep;
mod unfinished;
mod websocket;

use std::{sync::Arc, time::Duration};

use crate::engine::{
    application::Application,
    arrival::Arrival,
    grants::Grants,
    limits::Limits,
    outbox::Flushed,
    router::Router,
    session::Phase,
    sessions::Sessions,
    slot::{ConnectionKey, Slot},
    stats::{Measures, Stats},
    wall_clock::WallClock,
};

use self::{acks::Acks, budget::Kept, draining::Leaving, ends::Clients, missed::Missed, rates::Meter, sweep::Sweep};
pub(crate) use self::{closing::CLOSE_TIMEOUT, identities::run_out};

/// The state of one core.
pub(crate) struct Hub {
    /// The connections and their deadlines.
    pub(crate) sessions: Sessions,
    /// Decides where a message goes.
    pub(crate) router: Router,
    acks: Acks,
    missed: Missed,
    pub(crate) limits: Limits,
    pub(crate) stats: Stats,
    pub(crate) measures: Measures,
    /// The deliveries whose time was measured.
    deliveries_measured: u64,
    /// When the connections were accepted whose handshakes were answered since the last flush.
    handshakes: Vec<Duration>,
    grants: Grants,
    sweep: Option<Sweep>,
    pub(crate) wall_clock: WallClock,
    /// The time since the core's start, at the turn's begin.
    ran: Duration,
    kept: Kept,
    meter: Meter,
    clients: Clients,
    leaving: Leaving,
    /// The reason that clients get when the core closes their connections.
    farewell: Box<str>,
    /// The messages and requests that [`Hub::take_messages`] has reported already.
    messages_seen: u64,
    /// Buffers that are reused: for the result of a flush, and for a payload whose length is not known in advance.
    flushed: Flushed,
    scratch: Vec<u8>,
}

impl Hub {
    /// Core `own` of `cores`, at time zero.
    #[cfg(any(test, feature = "bench", feature = "fuzz"))]
    pub(crate) fn new(own: u32, cores: u32, limits: Limits) -> Self {
        Self::with_seed(own, cores, limits, 0)
    }

    /// The same. `seed` is a random number, the same for all cores of a server: it says which core keeps the history of a
    /// channel, and tells the history of this server from that of others.
    pub(crate) fn with_seed(own: u32, cores: u32, limits: Limits, seed: u64) -> Self {
        let mut router = Router::new(own, cores, seed, Arc::clone(&limits.rules));
        router.history.set_budget(limits.history_bytes_max);
        router.presence.set_grace(limits.presence_grace);
        if limits.has_admin {
            router.watch_channels();
        }
        Self {
            sessions: Sessions::new(limits.grace()),
            router,
            acks: Acks::default(),
            missed: Missed::default(),
            meter: Meter::new(limits.rates),
            clients: Clients::default(),
            limits,
            stats: Stats::default(),
            measures: Measures::default(),
            deliveries_measured: 0,
            handshakes: Vec::new(),
            grants: Grants::default(),
            sweep: None,
            wall_clock: WallClock::default(),
            ran: Duration::ZERO,
            kept: Kept::default(),
            leaving: Leaving::No,
            farewell: Box::default(),
            messages_seen: 0,
            flushed: Flushed::default(),
            scratch: Vec::new(),
        }
    }

    /// Begins a turn at this time since the core's start. Its poll was due at `due` at the latest. If it is much later
    /// now, the core stood still, and the turn sees an earlier time.
    pub(crate) fn begin_turn(&mut self, now: Duration, due: Duration) {
        self.ran = now;
        if self.sessions.begin_turn(now, due) {
            self.stats.stalls += 1;
            self.look_at_tokens();
        }
        self.router.outboxes.set_now(self.sessions.now());
        self.router.begin_turn(now);
        self.router.history.set_now(now);
        self.router.presence.set_now(now);
    }

    /// Opens the session of an accepted connection.
    pub(crate) fn open(&mut self, arrival: impl Into<Arrival>) -> ConnectionKey {
        let arrival = arrival.into();
        let key = self.sessions.insert(arrival);
        self.router.outboxes.open(key.slot);
        self.meter.open(key.slot, &arrival);
        self.recount(key.slot);
        self.sessions.schedule(key.slot, self.sessions.now() + self.request_timeout(arrival.is_reserved));
        self.stats.accepted += 1;
        *self.stats.over(arrival.transport) += 1;
        key
    }

    /// Takes the bytes that a connection sent, and returns how many of them were used. Some are left only if the turn
    /// is full, or at the limit of [`crate::engine::router::Work::limit`]. If the turn is full, the caller flushes and
    /// passes the rest again.
    pub(crate) fn receive(&mut self, app: &mut dyn Application, slot: Slot, bytes: &mut [u8]) -> usize {
        let mut used = 0;
        loop {
            let rest = &mut bytes[used..];
            used += match self.sessions[slot].phase() {
                Phase::Http => self.receive_http(app, slot, rest),
                Phase::Open | Phase::Closing => self.receive_frames(app, slot, rest),
                Phase::Lingering | Phase::Ended | Phase::Over => rest.len(),
            };
            if used == bytes.len() || self.router.must_stop() || !self.sessions.may_read(slot) {
                break;
            }
        }
        self.router.work.add(used as u64 / 4);
        if used < bytes.len() && !self.sessions.may_read(slot) {
            self.keep(slot, &bytes[used..]); // the connection's last message is not finished
            return bytes.len();
        }
        self.recount(slot);
        used
    }

    /// Does the work that earlier turns left, until the turn is full or about this many units of work are done.
    pub(crate) fn go_on(&mut self, units: u64) {
        if self.has_live_acks() {
            self.acknowledge_live();
        }
        self.finish_messages(units);
        self.go_on_sweeping(units);
        self.settle_history();
        self.sweep_members();
    }

    /// The time since the core's start, at the turn's begin.
    #[cfg_attr(not(feature = "admin"), allow(dead_code))]
    pub(crate) fn ran(&self) -> Duration {
        self.ran
    }

    /// The number of messages and requests since the last call.
    pub(crate) fn take_messages(&mut self) -> u64 {
        let count = self.stats.received + self.stats.requests;
        count - std::mem::replace(&mut self.messages_seen, count)
    }

    /// Whether the next turn must begin at once, even if no socket is ready: something waits for a flush (closing a
    /// connection may cause messages to others), paused connections may go on, or this turn has left work.
    pub(crate) fn wants_turn(&self) -> bool {
        let has_left = !self.router.unfinished.is_empty()
            || self.sessions.has_due()
            || self.has_live_acks()
            || self.is_sweeping()
            || self.missed.has_ready()
            || self.router.has_stored_batch()
            || self.router.has_moves()
            || self.router.presence.is_sweeping()
            || self.router.receipts.has_complete()
            || self.has_unsettled_history();
        self.router.is_dirty() || has_left || self.sessions.may_resume(self.router.relays.congested())
    }

    /// The latest time for the next turn: for the deadlines, and so that the core notices when it stood still.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let ran = self.sessions.next_timer().into_iter().chain(self.router.next_withdrawal()).min();
        let wake = ran.map(|ran| self.sessions.wake_at(ran));
        // The age of messages, and the time of grace, go on while the core stands still.
        let others = [self.router.history.next_deadline(), self.router.presence.next_deadline()];
        others.into_iter().flatten().chain(wake).min()
    }

    /// Changes the limits. A connection that is over a new limit is refused at its next action. The deadlines of all
    /// connections are set anew.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.router.forget_head(); // it was checked against the old limits
        let has_new_rules = self.limits.rules != limits.rules;
        let has_new_times = self.limits.has_other_times(&limits);
        self.meter.set(limits.rates);
        self.limits = Limits {
            // The bridge keeps writing to the counter that it was given, and connections are counted in their table.
            publish_bytes_max: Arc::clone(&self.limits.publish_bytes_max),
            addresses: Arc::clone(&self.limits.addresses),
            ..limits
        };
        if has_new_times {
            self.sessions.look_at_all(self.limits.grace());
        }
        self.router.history.set_budget(self.limits.history_bytes_max);
        self.set_presence(self.limits.presence_grace, has_new_rules);
        if has_new_rules {
            self.router.set_rules(&self.limits.rules);
            self.router.history.begin_review();
            self.check_all_again();
        }
    }

    /// Updates the numbers that are read from the state instead of counted.
    pub(crate) fn refresh_stats(&mut self) -> &Stats {
        (self.stats.published, self.stats.delivered) = self.router.counts();
        self.stats.connections = self.sessions.len() as u64;
        self.stats.subscriptions = self.router.subscriptions.len() as u64;
        self.stats.channels = self.router.subscriptions.audiences() as u64;
        self.stats.kept_bytes = self.kept_bytes() as u64;
        self.stats.kept_bytes_max = self.limits.kept_bytes_max as u64;
        self.stats.backlogs = self.router.outboxes.backlogs() as u64;
        self.stats.backlog_bytes = self.router.outboxes.backlog_bytes() as u64;
        self.stats.subscription_bytes = self.router.subscriptions.bytes() as u64;
        self.stats.identities = self.grants.len() as u64;
        self.refresh_history_stats();
        &self.stats
    }
}

/// For tests: the invariants between two turns.
#[cfg(any(test, feature = "fuzz"))]
impl Hub {
    pub(crate) fn invariants(&self) {
        self.router.invariants();
        self.acks.invariants();
        self.grants.invariants(self.sessions.iter().map(|(_, session)| session.grant()));
        let ended = self.sessions.iter().filter(|(_, session)| session.phase() > Phase::Open).count();
        self.stats.invariants(self.sessions.len(), self.sessions.count_open(), ended);
        self.sessions.assert_kept_is_counted(|slot| self.router.outboxes.backlog_since(slot).is_some());
        for (slot, session) in self.sessions.iter() {
            let backlog = self.router.outboxes.backlog_cost(slot);
            assert!(!session.is_open() || backlog <= self.limits.outbox_bytes_max, "an outbox over its limit");
            let key = self.sessions.key(slot);
            let waits = self.sessions.waits(key) || self.router.unfinished.is_sender(key) || session.is_unanswered();
            assert!(!session.is_paused() || waits, "no event resumes slot {slot}");
            let held = self.router.subscriptions.count(slot);
            assert!(session.is_open() || held == 0, "slot {slot} has ended with {held} subscriptions");
        }
    }

    /// Asserts that the closed connections have left nothing behind.
    pub(crate) fn assert_empty(&self) {
        self.invariants();
        self.sessions.assert_empty();
        self.router.assert_empty();
        assert!(self.kept_bytes() == 0 && self.acks.is_empty() && self.grants.len() == 0);
        assert!(self.missed.is_empty());
    }

    /// Makes pieces of messages, shares and turns small.
    pub(crate) fn set_small_turns(&mut self, piece_units: u64, heavy_units: u64, chain_ranges: usize) {
        self.router.work.set_piece_units(piece_units);
        self.sessions.set_heavy_units(heavy_units);
        self.router.outboxes.chain_ranges_max = chain_ranges;
    }
}

#[cfg(test)]
impl Hub {
    /// Begins a turn of a core that did not stand still.
    pub(crate) fn set_now(&mut self, now: Duration) {
        self.begin_turn(now, now);
    }
}

#[cfg(test)]
mod tests;

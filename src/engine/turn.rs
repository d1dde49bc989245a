//! The turn of a core: the order in which it takes input and sends the results. No step blocks.
//!
//! A turn takes batches from peers and the bridge, letters from other threads, new connections, and the input of
//! connections; then it checks deadlines, and flushes. It does not know where bytes come from. On a core
//! ([`crate::engine::core`]), [`Sockets`] is the kernel and [`Links`] are the other threads; the simulation runs the
//! same code on buffers.

mod accepting;
mod handshakes;
mod letters;
mod places;
mod reading;
mod ready;
mod relaying;
mod sockets;
mod stopping;
mod surveys;

use std::time::Duration;

use crossbeam_channel::Sender;

use crate::engine::{
    application::Application,
    hub::Hub,
    inbox::{CoreOptions, Inbox},
    lanes::Lanes,
    router::SHARE_UNITS,
    slot::ConnectionKey,
    storing::Batch,
};

#[cfg(test)]
pub(crate) use self::accepting::ACCEPTS_PER_TURN;
use self::{handshakes::Handshakes, letters::Held, ready::Ready, relaying::Rest, surveys::Surveys};
pub(crate) use self::{
    places::Places,
    sockets::{Accepted, Event, Got, Shaken, Sockets},
    stopping::Stop,
};

/// Letters taken in one turn.
const LETTERS_PER_TURN: usize = 4096;
/// The longest sleep of a core that cannot hand over its batches, or that is stopping and waits for its peers.
const RELAY_RETRY: Duration = Duration::from_millis(1);

/// The links of a core to its peers, and to the bridge if there is one.
pub(crate) trait Links {
    /// The number of linked peers.
    fn count(&self) -> usize;

    /// The number of the peer on a link.
    fn peer(&self, link: usize) -> u32;

    /// The next batch of a link.
    fn take(&mut self, link: usize) -> Taken;

    /// Hands a batch over.
    ///
    /// # Errors
    /// The batch, if the link is full.
    fn send(&mut self, link: usize, batch: Vec<u8>) -> Result<(), Vec<u8>>;

    /// Whether a link or the bridge has a batch for this core.
    fn has_batches_in(&self) -> bool;

    /// The number of the bridge among the peers.
    fn bridge(&self) -> Option<u32>;

    /// The number of batches from the bridge that wait.
    fn waiting_of_bridge(&self) -> usize;

    /// The next batch from the bridge.
    fn take_of_bridge(&mut self) -> Option<Vec<u8>>;

    /// Whether the bridge has so much interest to process that it takes no more now.
    fn is_bridge_full(&self) -> bool;

    /// Hands interest and batches of publishes to the bridge.
    fn send_to_bridge(&mut self, interest: Option<Vec<u8>>, publishes: impl Iterator<Item = Vec<u8>>);

    /// The next batch that the store has kept, or could not keep.
    fn take_of_store(&mut self) -> Option<Batch> {
        None
    }

    /// Hands publishes to the store, which keeps them.
    ///
    /// # Errors
    /// The batch, if the store has enough.
    fn send_to_store(&mut self, batch: Batch) -> Result<(), Batch> {
        Err(batch)
    }
}

/// The result of [`Links::take`].
pub(crate) enum Taken {
    Batch(Vec<u8>),
    Nothing,
    /// The peer has ended.
    Ended,
}

/// The sizes of the steps. A simulation makes them smaller, so that everything comes in pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Work for one link, or for letters.
    pub(crate) share_units: u64,
    /// Work on messages that earlier turns did not finish.
    pub(crate) finish_units: u64,
    /// A read while a link is congested, in bytes: a connection that has to wait then keeps little.
    pub(crate) congested_read_bytes: usize,
    /// Publishes of letters that wait for a congested link; at this number the inbox waits, too.
    pub(crate) held_max: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { share_units: SHARE_UNITS, finish_units: 1024 * 1024, congested_read_bytes: 4 * 1024, held_max: 1024 }
    }
}

/// The state of a core between its turns.
pub(crate) struct Turn<S, L> {
    pub(crate) hub: Hub,
    pub(crate) app: Box<dyn Application>,
    pub(crate) sockets: S,
    pub(crate) links: L,
    pub(crate) inbox: Inbox,
    pub(crate) places: Places,
    sizes: Sizes,
    /// The connections that are read first.
    ready: Ready,
    /// The order in which connections are read.
    lanes: Lanes,
    /// The connections with a TLS handshake before them.
    handshakes: Handshakes,
    /// Letters that wait for a congested link.
    held: Held,
    /// Questions of operators that this core is answering.
    surveys: Surveys,
    /// Options that letters have brought for the core itself, each with the sender for the confirmation.
    options: Vec<(CoreOptions, Sender<()>)>,
    /// The unused rest of the last batch of each link, and of the bridge's.
    rests: Vec<Rest>,
    bridge_rest: Rest,
    /// The link that comes first in the next turn.
    first_link: usize,
    /// Buffer for the connections that need not wait any more, empty between turns.
    resumed: Vec<ConnectionKey>,
    /// The time of the running turn, since the core's start.
    now: Duration,
    /// The begin of the running turn, or its last flush: what has come since then is in the next flush.
    unflushed_since: Duration,
    /// When the core began to read the current connection, by the sockets' clock. The time of flushes is left out: a
    /// flush serves all publishers.
    began: Duration,
}

impl<S: Sockets, L: Links> Turn<S, L> {
    pub(crate) fn new(
        hub: Hub,
        app: Box<dyn Application>,
        mut sockets: S,
        links: L,
        inbox: Inbox,
        places: Places,
    ) -> Self {
        sockets.set_limits(&hub.limits);
        Self {
            hub,
            app,
            sockets,
            links,
            inbox,
            places,
            sizes: Sizes::default(),
            ready: Ready::default(),
            lanes: Lanes::default(),
            handshakes: Handshakes::default(),
            held: Held::default(),
            surveys: Surveys::default(),
            options: Vec::new(),
            rests: Vec::new(),
            bridge_rest: None,
            first_link: 0,
            resumed: Vec::new(),
            now: Duration::ZERO,
            unflushed_since: Duration::ZERO,
            began: Duration::ZERO,
        }
    }

    /// Takes the new input and the work that earlier turns left. Returns whether there was any, apart from the poll's
    /// events. `due` is the latest time at which the poll should have returned.
    pub(crate) fn take(&mut self, now: Duration, due: Duration, buffer: &mut [u8]) -> bool {
        self.now = now;
        self.unflushed_since = now;
        self.hub.begin_turn(now, due);
        let had_left = self.is_busy();
        self.hear_events();
        let had_batches = self.take_batches();
        let had_letters = self.take_letters(LETTERS_PER_TURN) > 0;
        self.go_on_surveying();
        self.accept_connections();
        self.read_connections(buffer);
        self.shake_hands(buffer);
        if self.app.next_deadline().is_some_and(|at| at <= now) {
            self.app.expire(&mut self.hub, now);
        }
        // A connection that waits for its handshake has no input that could excuse it.
        let (ready, sockets) = (&self.ready, &self.sockets);
        let has_unread = |slot| ready.has(slot) && !sockets.is_shaking(slot);
        let had_deadlines = sockets.has_seen_all() && self.hub.look_at_due(&mut *self.app, has_unread);
        had_left || had_batches || had_letters || had_deadlines
    }

    /// Sorts the events: writable connections go to the hub, readable ones to the ready list.
    fn hear_events(&mut self) {
        for Event { key, is_writable, is_readable, is_read_closed } in self.sockets.events() {
            if !self.hub.sessions.is_current(key) {
                continue; // closed in an earlier turn; its slot may have another connection
            }
            if is_writable {
                self.hub.router.outboxes.writable(key.slot);
            }
            if is_read_closed {
                self.ready.set_read_closed(key.slot);
            }
            if is_readable {
                self.ready.add(key);
            }
        }
    }

    /// Sends the results of the turn.
    pub(crate) fn send(&mut self) {
        self.hub.sessions.take_last().for_each(|slot| self.sockets.take_all(slot));
        self.flush();
        let mut shut = Vec::new();
        self.hub.sessions.take_shut(&mut shut);
        shut.into_iter().for_each(|slot| self.sockets.shut(slot));
        let mut ended = Vec::new();
        self.hub.reap(&mut ended);
        ended.iter().for_each(|ended| self.places.free(ended.slot));
        self.sockets.close(ended);
    }

    /// Whether the next turn has work, even if the poll has no event. Until this returns false, peers wake this core
    /// without a system call.
    pub(crate) fn has_left(&mut self, is_stopping: bool) -> bool {
        if self.is_busy() {
            return true;
        }
        self.inbox.wake().clear();
        let is_to_stop = !is_stopping && self.inbox.stop_asked().is_some();
        self.has_letters() || self.has_batches_in() || is_to_stop
    }

    /// Whether earlier turns have left work that can go on at once.
    pub(crate) fn is_busy(&self) -> bool {
        self.hub.wants_turn() || self.has_waiting() || !self.ready.is_empty() || !self.surveys.is_empty()
    }

    /// The latest time for the next turn, because links were full, because handshakes are held, or
    /// because nobody wakes a stopping core.
    pub(crate) fn retry(&self, now: Duration, stop: Option<&Stop>) -> Option<Duration> {
        let waits_for_links = self.hub.router.relays.has_batches() || stop.is_some_and(Stop::waits_for_peers);
        let retry = waits_for_links.then_some(now + RELAY_RETRY);
        retry.into_iter().chain(stop.map(|stop| stop.wake(now))).chain(self.handshakes.deadline()).min()
    }

    /// Whether connections wait to be read in the next turn.
    pub(crate) fn has_waiting(&self) -> bool {
        self.lanes.has_waiting() || self.has_handshakes()
    }

    /// The options that letters have brought since the last call, each with the sender for the confirmation. None while
    /// the connections are checked against new rules: a reload is confirmed after that.
    pub(crate) fn take_options(&mut self) -> Vec<(CoreOptions, Sender<()>)> {
        if self.hub.is_sweeping() { Vec::new() } else { std::mem::take(&mut self.options) }
    }

    /// Counts a turn in which something happened, after its last flush.
    pub(crate) fn count_turn(&mut self) {
        self.hub.stats.turns += 1;
        let took = self.unflushed_since.saturating_sub(self.now);
        self.hub.measures.turns.add(took.as_nanos() as u64, 1);
    }

    fn flush_if_full(&mut self) {
        if self.hub.router.is_full() {
            self.flush();
        }
    }

    /// Sends the collected bytes: batches first, so that peers work while this core writes. A full turn flushes before
    /// its end, so neither its batches nor its outboxes grow with the number of its publishers.
    fn flush(&mut self) {
        self.hub.stats.relay_waiting_bytes = 0;
        for link in 0..self.links.count() {
            let peer = self.links.peer(link);
            let Some(batch) = self.hub.router.relays.take(peer) else { continue };
            let bytes = batch.len() as u64;
            if let Err(batch) = self.links.send(link, batch) {
                self.hub.router.relays.give_back(peer, batch);
                self.hub.stats.relay_waiting_bytes += bytes;
            } else {
                self.hub.stats.relay_batches += 1;
                self.hub.stats.relay_bytes += bytes;
            }
        }
        self.hand_to_bridge();
        self.hand_to_store();
        let began = self.sockets.clock();
        self.hub.flush(&mut *self.app, &mut self.sockets);
        let ended = self.sockets.clock();
        let took = ended.saturating_sub(began);
        self.began += took;
        self.lanes.has_flushed(&mut self.hub, took);
        self.hub.has_flushed(self.unflushed_since, ended);
        self.unflushed_since = ended;
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl<S: Sockets, L: Links> Turn<S, L> {
    /// Makes pieces of messages, shares of connections, and steps small.
    pub(crate) fn set_small(&mut self, sizes: Sizes, units: Option<u64>) {
        self.sizes = sizes;
        if let Some(units) = units {
            self.hub.set_small_turns(units, 2 * units, 3);
            self.lanes = Lanes::new(4 * units, units);
        }
    }

    /// Whether all publishes of other threads are done.
    #[cfg(test)]
    pub(crate) fn has_no_letters(&self) -> bool {
        self.inbox.is_empty() && self.held.is_empty() && self.hub.router.unfinished.is_empty()
    }

    /// Whether the last batch of a link was used completely.
    pub(crate) fn is_done_with(&self, link: usize) -> bool {
        self.rests.get(link).is_none_or(Option::is_none)
    }
}

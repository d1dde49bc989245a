//! The turn of a core: the order in which it takes in all that has come and sends what came of it. No step blocks.
//!
//! A turn takes batches of peers and of the bridge, letters of other threads, new connections, and what connections have
//! sent; then it looks at deadlines, and flushes. It does not know where bytes come from: [`Sockets`] and [`Links`] are the
//! kernel's and the other threads' on a core ([`crate::engine::core`]), and buffers in a simulation, which runs this code.

mod accepting;
mod letters;
mod places;
mod reading;
mod ready;
mod relaying;
mod stopping;

use std::{io, net::SocketAddr, time::Duration};

use crossbeam_channel::Sender;

use crate::engine::{
    application::Application,
    arrival::Role,
    hub::Hub,
    inbox::{CoreOptions, Inbox},
    lanes::Lanes,
    outbox::Sink,
    router::SHARE_UNITS,
    session::Ended,
    slot::{ConnectionKey, Slot},
};

#[cfg(test)]
pub(crate) use self::accepting::ACCEPTS_PER_TURN;
use self::{letters::Held, ready::Ready, relaying::Rest};
pub(crate) use self::{places::Places, stopping::Stop};

/// Letters taken in one turn.
const LETTERS_PER_TURN: usize = 4096;
/// How long a core sleeps at most if it cannot hand over its batches, or is stopping and waits for its peers.
const RELAY_RETRY: Duration = Duration::from_millis(1);

/// The sockets of a core, by the slots of their connections, and the events of its last poll.
pub(crate) trait Sockets: Sink {
    /// A socket that has no slot yet.
    type Stream;

    /// What the last poll has told of connections. Some of them may be gone.
    fn events(&mut self) -> impl Iterator<Item = Event>;

    /// Whether the polls have told of all that had come, so that what a connection has not said by now it has not sent.
    fn has_seen_all(&self) -> bool;

    /// The next new connection.
    ///
    /// # Errors
    /// `WouldBlock` when there is none now. Anything else means that the system cannot take one in; it is tried again after
    /// a while.
    fn accept(&mut self, now: Duration, takes: impl Fn(Role) -> bool) -> io::Result<Accepted<Self::Stream>>;

    /// Puts a socket into its connection's slot, and has it polled.
    ///
    /// # Errors
    /// It cannot be polled. It is in its slot all the same.
    fn add(&mut self, key: ConnectionKey, stream: Self::Stream) -> io::Result<()>;

    /// Reads once into `buffer`.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing to read now, or what the system says of a connection that is broken.
    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> io::Result<usize>;

    /// Tells the peer that nothing more will come.
    fn shut(&mut self, slot: Slot);

    /// Closes the sockets of connections that are over.
    fn close(&mut self, ended: Vec<Ended>);

    /// Closes all that are left.
    fn close_all(&mut self);

    /// The time since some fixed moment, to tell how long something took.
    fn clock(&self) -> Duration;
}

/// What a poll tells of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) key: ConnectionKey,
    /// It takes bytes again.
    pub(crate) is_writable: bool,
    /// It may have something to read, or its end.
    pub(crate) is_readable: bool,
    /// The peer has shut its side, or the connection is broken.
    pub(crate) is_read_closed: bool,
}

/// A connection that has come.
#[derive(Debug)]
pub(crate) struct Accepted<T> {
    pub(crate) stream: T,
    /// The peer's address, if it has one.
    pub(crate) peer: Option<SocketAddr>,
    /// The role of the listener that it came to.
    pub(crate) role: Role,
}

/// The links of a core to its peers, and to the bridge if there is one.
pub(crate) trait Links {
    /// How many peers it is linked to.
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

    /// How many batches of the bridge wait.
    fn waiting_of_bridge(&self) -> usize;

    /// The next of them.
    fn take_of_bridge(&mut self) -> Option<Vec<u8>>;

    /// Whether the bridge has so much interest to take in that it takes no more now.
    fn is_bridge_full(&self) -> bool;

    /// Hands over what is for the bridge: interest, and batches of publishes.
    fn send_to_bridge(&mut self, interest: Option<Vec<u8>>, publishes: impl Iterator<Item = Vec<u8>>);
}

/// What a link has for this core.
pub(crate) enum Taken {
    Batch(Vec<u8>),
    Nothing,
    /// The peer has ended.
    Ended,
}

/// How much one step takes on. A simulation makes it less, so that everything comes in pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Work for one link, or for letters.
    pub(crate) share_units: u64,
    /// Work on messages that earlier turns have left.
    pub(crate) finish_units: u64,
    /// A read while a link is congested, in bytes: what a connection keeps when it has to wait is little.
    pub(crate) congested_read_bytes: usize,
    /// Publishes of letters that wait for a congested link: then the inbox waits, too.
    pub(crate) held_max: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { share_units: SHARE_UNITS, finish_units: 1024 * 1024, congested_read_bytes: 4 * 1024, held_max: 1024 }
    }
}

/// All that a core has between its turns.
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
    /// Letters that wait for a congested link.
    held: Held,
    /// What letters have said of the core itself, and who hears that it was done.
    options: Vec<(CoreOptions, Sender<()>)>,
    /// The rest of the batch that was taken last, of each link and of the bridge.
    rests: Vec<Rest>,
    bridge_rest: Rest,
    /// The link that is taken from first in the next turn.
    first_link: usize,
    /// Room for connections that need not wait any more, empty between turns.
    resumed: Vec<ConnectionKey>,
    /// The time of the running turn, since the core's start.
    now: Duration,
    /// Since when the connection is read that is read, by the sockets' clock, but for the time of flushes: they serve all
    /// who have published.
    began: Duration,
}

impl<S: Sockets, L: Links> Turn<S, L> {
    pub(crate) fn new(hub: Hub, app: Box<dyn Application>, sockets: S, links: L, inbox: Inbox, places: Places) -> Self {
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
            held: Held::default(),
            options: Vec::new(),
            rests: Vec::new(),
            bridge_rest: None,
            first_link: 0,
            resumed: Vec::new(),
            now: Duration::ZERO,
            began: Duration::ZERO,
        }
    }

    /// Takes in all that has come, or was left by earlier turns. Says whether anything was, the poll's events aside. `due`
    /// is when the poll was to return at the latest.
    pub(crate) fn take(&mut self, now: Duration, due: Duration, buffer: &mut [u8]) -> bool {
        self.now = now;
        self.hub.begin_turn(now, due);
        let had_left = self.is_busy();
        self.hear_events();
        let had_batches = self.take_batches();
        let had_letters = self.take_letters(LETTERS_PER_TURN) > 0;
        self.accept_connections();
        self.read_connections(buffer);
        let ready = &self.ready;
        let had_deadlines = self.sockets.has_seen_all() && self.hub.look_at_due(&mut *self.app, |slot| ready.has(slot));
        had_left || had_batches || had_letters || had_deadlines
    }

    /// Sorts the events: the hub hears who is writable, the ready list gets who is readable.
    fn hear_events(&mut self) {
        for Event { key, is_writable, is_readable, is_read_closed } in self.sockets.events() {
            if !self.hub.sessions.is_current(key) {
                continue; // closed in an earlier turn, and perhaps its slot has another connection
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

    /// Sends what came of the turn.
    pub(crate) fn send(&mut self) {
        self.flush();
        let mut shut = Vec::new();
        self.hub.sessions.take_shut(&mut shut);
        shut.into_iter().for_each(|slot| self.sockets.shut(slot));
        let mut ended = Vec::new();
        self.hub.reap(&mut ended);
        ended.iter().for_each(|ended| self.places.free(ended.slot));
        self.sockets.close(ended);
    }

    /// Whether the next turn has something to do, whatever the poll says. Peers need not make a system call to wake this
    /// core until this says that it may sleep.
    pub(crate) fn has_left(&mut self, is_stopping: bool) -> bool {
        if self.is_busy() {
            return true;
        }
        self.inbox.wake().clear();
        let is_to_stop = !is_stopping && self.inbox.stop_asked().is_some();
        self.has_letters() || self.has_batches_in() || is_to_stop
    }

    /// Whether an earlier turn has left something to do that waits for nothing.
    pub(crate) fn is_busy(&self) -> bool {
        self.hub.wants_turn() || self.lanes.has_waiting() || !self.ready.is_empty()
    }

    /// When the next turn is to begin at the latest, because links were full, or nobody wakes a core that stops.
    pub(crate) fn retry(&self, now: Duration, stop: Option<&Stop>) -> Option<Duration> {
        let waits_for_links = self.hub.router.relays.has_batches() || stop.is_some_and(Stop::waits_for_peers);
        let retry = waits_for_links.then_some(now + RELAY_RETRY);
        retry.into_iter().chain(stop.map(|stop| stop.deadline)).min()
    }

    /// Whether connections wait to be read in the next turn.
    pub(crate) fn has_waiting(&self) -> bool {
        self.lanes.has_waiting()
    }

    /// What letters have said of the core itself since this was called last, and who hears that it was done.
    pub(crate) fn take_options(&mut self) -> Vec<(CoreOptions, Sender<()>)> {
        std::mem::take(&mut self.options)
    }

    fn flush_if_full(&mut self) {
        if self.hub.router.is_full() {
            self.flush();
        }
    }

    /// Sends what has been collected: batches first, so that peers work while this core writes. A turn that is full does
    /// so before its end, so neither its batches nor its outboxes grow with the number of those who publish in it.
    fn flush(&mut self) {
        for link in 0..self.links.count() {
            let peer = self.links.peer(link);
            let Some(batch) = self.hub.router.relays.take(peer) else { continue };
            if let Err(batch) = self.links.send(link, batch) {
                self.hub.router.relays.give_back(peer, batch);
            }
        }
        self.hand_to_bridge();
        let began = self.sockets.clock();
        self.hub.flush(&mut *self.app, &mut self.sockets);
        let took = self.sockets.clock().saturating_sub(began);
        self.began += took;
        self.lanes.has_flushed(&mut self.hub, took);
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl<S: Sockets, L: Links> Turn<S, L> {
    /// Makes messages come in pieces, connections use up their shares, and steps small.
    pub(crate) fn set_small(&mut self, sizes: Sizes, units: Option<u64>) {
        self.sizes = sizes;
        if let Some(units) = units {
            self.hub.set_small_turns(units, 2 * units, 3);
            self.lanes = Lanes::new(4 * units, units);
        }
    }

    /// Whether all that other threads wanted to be published was.
    #[cfg(test)]
    pub(crate) fn has_no_letters(&self) -> bool {
        self.inbox.is_empty() && self.held.is_empty() && self.hub.router.unfinished.is_empty()
    }

    /// Whether nothing is left of what a link has brought.
    pub(crate) fn is_done_with(&self, link: usize) -> bool {
        self.rests.get(link).is_none_or(Option::is_none)
    }
}

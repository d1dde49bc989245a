//! The turn of a core: the order in which it takes in all that has come and sends what came of it. No step blocks.
//!
//! A turn takes batches of peers and of the bridge, letters of other threads, new connections, and what connections have
//! sent; then it looks at deadlines, and flushes. It does not know where bytes come from: [`Sockets`] and [`Links`] are the
//! kernel's and the other threads' on a core ([`crate::engine::core`]), and buffers in a simulation, which runs this code.

mod letters;
mod reading;
mod relaying;
mod stopping;

use std::{io, time::Duration};

use crossbeam_channel::Sender;

use crate::engine::{
    application::Application,
    hub::Hub,
    inbox::{Inbox, Options},
    lanes::Lanes,
    outbox::Sink,
    router::SHARE_UNITS,
    session::Ended,
    slot::{ConnectionKey, Slot},
};

pub(crate) use self::stopping::Stop;
use self::{letters::Held, relaying::Rest};

/// Letters taken in one turn.
const LETTERS_PER_TURN: usize = 4096;
/// How long a core sleeps at most if it cannot hand over its batches, or is stopping and waits for its peers.
const RELAY_RETRY: Duration = Duration::from_millis(1);

/// The connections of a core, by slot, and the events of its last poll.
pub(crate) trait Sockets: Sink {
    /// Sorts the events: the hub hears who is writable, the ready list gets who is readable.
    fn sort_events(&mut self, hub: &mut Hub);

    /// Whether all that had come by the last poll is on the ready list.
    fn has_seen_all(&self) -> bool;

    /// Accepts new connections, within the turn's share.
    fn accept(&mut self, hub: &mut Hub, now: Duration);

    /// The connections that may have something to read, each once.
    fn ready(&mut self) -> &mut Vec<ConnectionKey>;

    /// Whether a connection is on the ready list, or waits to be read elsewhere.
    fn is_ready(&self, slot: Slot) -> bool;

    /// Notes that it is, or is not; gives what was noted.
    fn set_ready(&mut self, slot: Slot, is_ready: bool) -> bool;

    /// Whether the peer has shut its side: a short read is not the end of what can be read then.
    fn is_read_closed(&self, slot: Slot) -> bool;

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

    /// Hands over what is for the bridge.
    fn hand_to_bridge(&mut self, hub: &mut Hub);
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
    sizes: Sizes,
    /// The order in which connections are read.
    lanes: Lanes,
    /// Letters that wait for a congested link.
    held: Held,
    /// What letters have said of the core itself, and who hears that it was done.
    options: Vec<(Options, Sender<()>)>,
    /// The rest of the batch that was taken last, of each link and of the bridge.
    rests: Vec<Rest>,
    bridge_rest: Rest,
    /// The link that is taken from first in the next turn.
    first_link: usize,
    /// The ready list's other half, empty between turns: its memory is used again.
    spare: Vec<ConnectionKey>,
    /// Room for connections that need not wait any more, empty between turns.
    resumed: Vec<ConnectionKey>,
    /// The time of the running turn, since the core's start.
    now: Duration,
    /// Since when the connection is read that is read, by the sockets' clock, but for the time of flushes: they serve all
    /// who have published.
    began: Duration,
}

impl<S: Sockets, L: Links> Turn<S, L> {
    pub(crate) fn new(hub: Hub, app: Box<dyn Application>, sockets: S, links: L, inbox: Inbox) -> Self {
        Self {
            hub,
            app,
            sockets,
            links,
            inbox,
            sizes: Sizes::default(),
            lanes: Lanes::default(),
            held: Held::default(),
            options: Vec::new(),
            rests: Vec::new(),
            bridge_rest: None,
            first_link: 0,
            spare: Vec::new(),
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
        let had_left = self.lanes.has_waiting() || self.hub.wants_turn();
        self.sockets.sort_events(&mut self.hub);
        let had_batches = self.take_batches();
        let had_letters = self.take_letters(LETTERS_PER_TURN) > 0;
        self.sockets.accept(&mut self.hub, now);
        self.read_connections(buffer);
        let sockets = &self.sockets;
        let had_deadlines =
            sockets.has_seen_all() && self.hub.look_at_due(&mut *self.app, |slot| sockets.is_ready(slot));
        had_left || had_batches || had_letters || had_deadlines
    }

    /// Sends what came of the turn.
    pub(crate) fn send(&mut self) {
        self.flush();
        let mut shut = Vec::new();
        self.hub.sessions.take_shut(&mut shut);
        shut.into_iter().for_each(|slot| self.sockets.shut(slot));
        let mut ended = Vec::new();
        self.hub.reap(&mut ended);
        self.sockets.close(ended);
    }

    /// Whether the next turn has something to do, whatever the poll says. Peers need not make a system call to wake this
    /// core until this says that it may sleep.
    pub(crate) fn has_left(&mut self, is_stopping: bool) -> bool {
        if self.hub.wants_turn() || self.lanes.has_waiting() {
            return true;
        }
        self.inbox.wake().clear();
        let is_to_stop = !is_stopping && self.inbox.stop_asked().is_some();
        self.has_letters() || self.has_batches_in() || is_to_stop
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
    pub(crate) fn take_options(&mut self) -> Vec<(Options, Sender<()>)> {
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
        self.links.hand_to_bridge(&mut self.hub);
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

//! A core without threads and sockets: it runs the turns of `engine/turn.rs`, and has buffers instead of a kernel.

#[cfg(test)]
mod bridged;
#[cfg(test)]
mod letters;
mod links;
#[cfg(test)]
mod places;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rand::rngs::StdRng;

use self::links::Batches;
use super::sockets::{Buffers, Socket};
use crate::{
    application::Dispatch,
    engine::{
        ending::Ending,
        hub::Hub,
        inbox::{Letter, Mailbox, inbox_of},
        limits::Limits,
        turn::{Places, Sizes, Stop, Turn},
        wake::Wake,
    },
    extension::Extensions,
};

/// Smaller than a core's sizes, so that reads are cut, messages are left for the next turn, and the inbox waits.
const SIZES: Sizes = Sizes { share_units: u64::MAX, finish_units: 1000, congested_read_bytes: 64, held_max: 2 };

/// More than are posted while a node does not get the CPU.
const LETTERS_MAX: usize = 1024;

/// One core.
pub(crate) struct Node {
    turn: Turn<Buffers, Batches>,
    mailbox: Mailbox,
    pub(crate) is_woken: bool,
    last_turn: Duration,
    /// When the next poll ends by itself, as on a core.
    due: Duration,
    /// The node has been asked to stop.
    pub(crate) is_to_stop: bool,
    stop: Option<Stop>,
}

impl Node {
    pub(crate) fn new(own: u32, nodes: u32, limits: Limits, short_writes: Option<StdRng>) -> Self {
        let (mailbox, inbox) = inbox_of(LETTERS_MAX, Arc::new(Wake::silent()));
        let app = Dispatch::new(own, Arc::new(Extensions::default()), mailbox.clone(), None);
        let sockets = Buffers::new(short_writes);
        let (hub, links) = (Hub::new(own, nodes, limits), Batches::new(own, nodes));
        let places = Places::new(Arc::default(), usize::MAX);
        let mut turn = Turn::new(hub, Box::new(app), sockets, links, inbox, places);
        turn.set_small(SIZES, None);
        Self {
            turn,
            mailbox,
            is_woken: false,
            last_turn: Duration::ZERO,
            due: Duration::ZERO,
            is_to_stop: false,
            stop: None,
        }
    }

    /// Makes messages come in pieces, and connections use up their shares.
    pub(crate) fn set_small_turns(&mut self, units: u64) {
        self.turn.set_small(Sizes { share_units: units, ..SIZES }, Some(units));
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.turn.hub
    }

    pub(crate) fn hub_mut(&mut self) -> &mut Hub {
        &mut self.turn.hub
    }

    /// A client connects. Returns the number of its socket.
    pub(crate) fn connect(&mut self) -> usize {
        self.turn.sockets.connect()
    }

    pub(crate) fn socket(&mut self, id: usize) -> &mut Socket {
        &mut self.turn.sockets.all[id]
    }

    /// Another thread publishes to these channels.
    pub(crate) fn post_publish(&mut self, channels: Box<[u8]>, payload: Vec<u8>) {
        self.mailbox.post(Letter::Publish { channels, payload }).expect("the inbox has room");
    }

    /// Batches from peers arrive.
    pub(crate) fn put_batches(&mut self, peer: usize, batches: VecDeque<Vec<u8>>) {
        self.turn.links.incoming[peer] = batches;
    }

    /// Takes the batches that this node has sent to a peer off the link.
    pub(crate) fn take_sent(&mut self, peer: usize) -> VecDeque<Vec<u8>> {
        std::mem::take(&mut self.turn.links.outgoing[peer])
    }

    /// Whether the node has processed everything from a peer.
    pub(crate) fn takes_from(&self, peer: usize) -> bool {
        self.turn.is_done_with(peer) && self.turn.links.incoming[peer].is_empty()
    }

    /// Whether anything is in flight to a peer.
    pub(crate) fn has_sent(&self, peer: usize) -> bool {
        !self.turn.links.outgoing[peer].is_empty()
    }

    /// When the next poll would end by itself; at once if an event waits.
    pub(crate) fn next_turn(&mut self, now: Duration) -> Option<Duration> {
        let has_events = self.is_woken || self.turn.sockets.has_events();
        if has_events || self.turn.has_left(self.stop.is_some()) || (self.is_to_stop && self.stop.is_none()) {
            return Some(now);
        }
        self.next_deadline()
    }

    fn next_deadline(&self) -> Option<Duration> {
        // A node that drains lets its clients take all the time they need.
        let stop = self.stop.as_ref().filter(|stop| !stop.is_draining());
        let retry = self.turn.retry(self.last_turn, stop);
        self.turn.hub.next_deadline().into_iter().chain(retry).min()
    }

    /// One turn, except for its end.
    pub(crate) fn turn(&mut self, now: Duration, buffer: &mut [u8]) {
        self.is_woken = false;
        self.last_turn = now;
        self.turn.take(now, self.due, buffer);
    }

    /// The end of a turn.
    pub(crate) fn end_turn(&mut self) {
        self.turn.send();
        self.turn.take_options(); // these are for a core's thread, which a node does not have
        self.turn.hub.invariants();
        self.due = if self.turn.is_busy() { self.last_turn } else { self.next_deadline().unwrap_or(Duration::MAX) };
    }

    /// Continues to stop, after a turn.
    pub(crate) fn go_on_stopping(&mut self) {
        if !self.is_to_stop || self.is_draining() {
            return;
        }
        let ending = Ending::within(Duration::MAX).restarts();
        let stop = self.stop.get_or_insert_with(|| Stop::new(ending, self.last_turn));
        self.turn.go_on_stopping(stop, self.last_turn);
        self.turn.hub.invariants();
    }

    /// Whether the node has carried out all publications of other threads.
    #[cfg(test)]
    pub(crate) fn has_no_letters(&self) -> bool {
        self.turn.has_no_letters()
    }

    /// Whether the node has told all its clients to go.
    pub(crate) fn is_draining(&self) -> bool {
        self.stop.as_ref().is_some_and(Stop::is_draining)
    }
}

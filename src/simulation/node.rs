//! A core without threads and sockets: its turns are those of `engine/core.rs`, step by step.

mod reading;

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rand::rngs::StdRng;

use super::sockets::{Socket, Sockets};
use crate::{
    engine::{
        hub::{Hub, Limits},
        inbox::Mailbox,
        lanes::Lanes,
        session::{ConnectionKey, Ended},
        subscriptions::Slot,
    },
    extension::{Dispatch, Extensions},
    protocol::channel,
};

/// Batches on their way from one node to another: one, so that links are full often.
const BATCHES_PER_LINK: usize = 1;
/// As in `engine/core.rs`.
const RELAY_RETRY: Duration = Duration::from_millis(1);
/// Less than in `engine/core/letters.rs`.
const HELD_MAX: usize = 2;

/// One core.
pub(crate) struct Node {
    pub(crate) hub: Hub,
    app: Dispatch,
    sockets: Sockets,
    keys: Vec<ConnectionKey>,
    /// Connections that the node has not accepted yet.
    accepts: Vec<usize>,
    ready: Vec<ConnectionKey>,
    /// What peers have sent and this node has not taken, by peer.
    pub(crate) batches_in: Vec<VecDeque<Vec<u8>>>,
    /// What is left of the batch that was taken last, by peer.
    rests: Vec<Option<(Vec<u8>, usize)>>,
    /// What this node has sent, by peer.
    batches_out: Vec<VecDeque<Vec<u8>>>,
    pub(crate) is_woken: bool,
    last_turn: Duration,
    /// When its poll is to end by itself, as the core's own.
    due: Duration,
    /// Somebody has asked it to stop.
    pub(crate) is_to_stop: bool,
    has_told_peers: bool,
    is_draining: bool,
    /// What other threads want to be published.
    pub(crate) letters: VecDeque<(Vec<u8>, Vec<u8>)>,
    /// Those that wait for a congested link.
    held: VecDeque<(Vec<u8>, Vec<u8>)>,
    lanes: Lanes,
    share_units: u64,
}

impl Node {
    pub(crate) fn new(own: u32, nodes: u32, limits: Limits, mailbox: Mailbox, short_writes: Option<StdRng>) -> Self {
        Self {
            hub: Hub::new(own, nodes, limits),
            app: Dispatch::new(own, Arc::new(Extensions::default()), mailbox, None),
            sockets: Sockets { short_writes, ..Sockets::default() },
            keys: Vec::new(),
            accepts: Vec::new(),
            ready: Vec::new(),
            batches_in: vec![VecDeque::new(); nodes as usize],
            batches_out: vec![VecDeque::new(); nodes as usize],
            is_woken: false,
            last_turn: Duration::ZERO,
            due: Duration::ZERO,
            is_to_stop: false,
            has_told_peers: false,
            is_draining: false,
            letters: VecDeque::new(),
            held: VecDeque::new(),
            rests: vec![None; nodes as usize],
            lanes: Lanes::default(),
            share_units: u64::MAX,
        }
    }

    /// Makes messages come in pieces, and connections use up their shares.
    pub(crate) fn set_small_turns(&mut self, units: u64) {
        self.hub.set_small_turns(units, 2 * units, 3);
        self.lanes = Lanes::new(4 * units, units);
        self.share_units = units;
    }

    /// A client connects; gives the number of its socket.
    pub(crate) fn connect(&mut self) -> usize {
        self.sockets.all.push(Socket { room: usize::MAX, ..Socket::default() });
        self.keys.push(ConnectionKey { slot: Slot::MAX, generation: 0 });
        self.accepts.push(self.sockets.all.len() - 1);
        self.sockets.all.len() - 1
    }

    pub(crate) fn socket(&mut self, id: usize) -> &mut Socket {
        &mut self.sockets.all[id]
    }

    /// Takes what this node has sent to a peer off the link.
    pub(crate) fn take_sent(&mut self, peer: usize) -> VecDeque<Vec<u8>> {
        std::mem::take(&mut self.batches_out[peer])
    }

    /// Whether it is done with what a peer has sent so far.
    pub(crate) fn takes_from(&self, peer: usize) -> bool {
        self.rests[peer].is_none() && self.batches_in[peer].is_empty()
    }

    /// Whether something is on its way to a peer.
    pub(crate) fn has_sent(&self, peer: usize) -> bool {
        !self.batches_out[peer].is_empty()
    }

    /// When the next poll would end by itself; at once if an event waits.
    pub(crate) fn next_turn(&self, now: Duration) -> Option<Duration> {
        let has_event = self.sockets.all.iter().any(|socket| !socket.is_closed && (socket.readable || socket.writable));
        let has_letters = (!self.held.is_empty() && !self.hub.is_congested())
            || (!self.letters.is_empty() && self.held.len() < HELD_MAX);
        let has_ready = !self.ready.is_empty() || self.lanes.has_waiting();
        let has_rest = (0..self.rests.len()).any(|peer| !self.takes_from(peer));
        let is_busy = has_event || self.is_woken || has_ready || has_rest || !self.accepts.is_empty();
        let is_to_begin_to_stop = self.is_to_stop && !self.has_told_peers && self.has_no_letters();
        if is_busy || has_letters || is_to_begin_to_stop || self.hub.wants_turn() {
            return Some(now);
        }
        self.next_deadline()
    }

    fn next_deadline(&self) -> Option<Duration> {
        let retry = self.hub.has_batches().then_some(self.last_turn + RELAY_RETRY);
        self.hub.next_deadline().into_iter().chain(retry).min()
    }

    /// One turn, but for its end.
    pub(crate) fn turn(&mut self, now: Duration, buffer: &mut [u8]) {
        self.hub.begin_turn(now, self.due);
        self.is_woken = false;
        self.last_turn = now;
        self.sort_events();
        for peer in 0..self.batches_in.len() {
            self.take_batches(peer);
        }
        self.take_letters();
        self.accept();
        self.read_connections(buffer);
        let (ready, lanes) = (&self.ready, &self.lanes);
        let unread: Vec<Slot> = self
            .keys
            .iter()
            .filter(|&&key| ready.contains(&key) || lanes.is_waiting(key))
            .map(|key| key.slot)
            .collect();
        self.hub.look_at_due(&mut self.app, |slot| unread.contains(&slot));
    }

    /// As in `engine/core/relaying.rs`.
    fn take_batches(&mut self, peer: usize) {
        self.hub.limit_work(self.share_units);
        while !self.hub.is_at_limit()
            && !self.hub.must_finish_first()
            && let Some((batch, mut used)) =
                self.rests[peer].take().or_else(|| Some((self.batches_in[peer].pop_front()?, 0)))
        {
            while used < batch.len() {
                used += self.hub.relayed(peer as u32, &batch[used..]);
                self.flush_if_full();
                if used < batch.len() && (self.hub.is_at_limit() || self.hub.must_finish_first()) {
                    self.rests[peer] = Some((batch, used));
                    break;
                }
            }
        }
        self.hub.limit_work(u64::MAX);
    }

    /// The end of a turn.
    pub(crate) fn end_turn(&mut self) {
        self.flush();
        let mut slots = Vec::new();
        self.hub.take_shut(&mut slots);
        for slot in slots.drain(..) {
            if let Some(id) = self.sockets.by_slot[slot as usize] {
                self.sockets.all[id].is_shut = true;
            }
        }
        let mut ended = Vec::new();
        self.hub.reap(&mut ended);
        for Ended { slot, .. } in ended {
            let id = self.sockets.by_slot[slot as usize].take().expect("a slot is closed once");
            self.sockets.all[id].is_closed = true;
        }
        self.hub.invariants();
        let is_busy = self.hub.wants_turn() || !self.ready.is_empty();
        self.due = if is_busy { self.last_turn } else { self.next_deadline().unwrap_or(Duration::MAX) };
    }

    /// As in `engine/core/stopping.rs`, behind a turn.
    pub(crate) fn go_on_stopping(&mut self) {
        if !self.is_to_stop || self.is_draining {
            return;
        }
        self.take_letters();
        if self.has_no_letters() && !self.has_told_peers {
            self.hub.stop_publishing();
            self.has_told_peers = true;
        }
        if self.has_told_peers && self.hub.have_peers_stopped() {
            self.hub.drain(&mut self.app);
            self.is_draining = true;
        }
        self.end_turn();
    }

    /// Whether all that other threads wanted to be published was.
    pub(crate) fn has_no_letters(&self) -> bool {
        self.letters.is_empty() && self.held.is_empty() && !self.hub.has_unfinished()
    }

    /// Whether it has told all its clients to go.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining
    }

    fn sort_events(&mut self) {
        for id in 0..self.sockets.all.len() {
            let (socket, key) = (&mut self.sockets.all[id], self.keys[id]);
            if socket.is_closed || !self.hub.is_current(key) {
                continue;
            }
            if std::mem::take(&mut socket.writable) {
                self.hub.writable(key.slot);
            }
            if std::mem::take(&mut socket.readable) {
                self.make_ready(key);
            }
        }
    }

    fn make_ready(&mut self, key: ConnectionKey) {
        if !self.is_ready(key) {
            self.ready.push(key);
        }
    }

    fn accept(&mut self) {
        for id in std::mem::take(&mut self.accepts) {
            let key = self.hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
            self.keys[id] = key;
            let by_slot = &mut self.sockets.by_slot;
            by_slot.resize(by_slot.len().max(key.slot as usize + 1), None);
            assert_eq!(by_slot[key.slot as usize].replace(id), None, "two connections in one slot");
        }
    }

    fn take_letters(&mut self) {
        while !self.hub.must_finish_first()
            && let Some((channels, _)) = self.held.front()
            && self.hub.links_of_publish(channel::split(channels)) == 0
            && let Some((channels, payload)) = self.held.pop_front()
        {
            self.publish(&channels, &payload);
        }
        while self.held.len() < HELD_MAX && !self.hub.must_finish_first() {
            let Some((channels, payload)) = self.letters.pop_front() else { break };
            if self.held.is_empty() && self.hub.links_of_publish(channel::split(&channels)) == 0 {
                self.publish(&channels, &payload);
            } else {
                self.held.push_back((channels, payload));
            }
        }
    }

    fn publish(&mut self, channels: &[u8], payload: &[u8]) {
        let is_text = std::str::from_utf8(payload).is_ok();
        self.hub.publish(channel::split(channels), is_text, payload, None);
        self.hub.message_done(None);
        self.flush_if_full();
    }

    fn flush_if_full(&mut self) {
        if self.hub.is_full() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        for (peer, link) in self.batches_out.iter_mut().enumerate() {
            let Some(batch) = self.hub.take_batch(peer as u32) else { continue };
            if link.len() < BATCHES_PER_LINK {
                link.push_back(batch);
            } else {
                self.hub.give_back_batch(peer as u32, batch);
            }
        }
        self.hub.flush(&mut self.app, &mut self.sockets);
    }
}

//! A core without threads and sockets: its turns are those of `engine/core.rs`, step by step.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rand::{RngExt, rngs::StdRng};

use crate::{
    engine::{
        hub::{Hub, Limits},
        inbox::Mailbox,
        outbox::Sink,
        session::{ConnectionKey, Ended},
        subscriptions::Slot,
    },
    extension::{Dispatch, Extensions},
};

/// Batches on their way from one node to another: one, so that links are full often.
const BATCHES_PER_LINK: usize = 1;
/// As in `engine/core.rs`.
const READS_PER_TURN: usize = 4;
/// As in `engine/core.rs`.
const RELAY_RETRY: Duration = Duration::from_millis(1);

/// One connection's two directions, as the kernel has them.
#[derive(Default)]
pub(crate) struct Socket {
    /// From the client, not read yet.
    pub(crate) inbound: Vec<u8>,
    /// The client will send no more.
    pub(crate) is_finished: bool,
    pub(crate) is_reset: bool,
    /// Taken from the server; the client fetches it.
    pub(crate) outbound: Vec<u8>,
    /// Bytes that the server may write until the client reads.
    pub(crate) room: usize,
    /// The last write took less than all.
    pub(crate) is_refused: bool,
    /// The server has shut its side, or closed the socket.
    pub(crate) is_shut: bool,
    pub(crate) is_closed: bool,
    /// The edges that the server has not heard of.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// The sockets of a node, by slot; a socket outlives its slot for the client to read the rest.
#[derive(Default)]
struct Sockets {
    by_slot: Vec<Option<usize>>,
    all: Vec<Socket>,
    short_writes: Option<StdRng>,
}

impl Sink for Sockets {
    fn write(&mut self, slot: Slot, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(id) = self.by_slot[slot as usize] else { return Err(io::ErrorKind::NotConnected.into()) };
        let socket = &mut self.all[id];
        assert!(!socket.is_shut && !socket.is_closed, "a write to a socket that is shut");
        if socket.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut sent = len.min(socket.room);
        if let Some(rng) = &mut self.short_writes
            && rng.random_bool(0.1)
        {
            sent = sent.min(rng.random_range(0..2000));
        }
        let mut left = sent;
        for slice in slices {
            let taken = left.min(slice.len());
            socket.outbound.extend_from_slice(&slice[..taken]);
            left -= taken;
        }
        socket.room -= sent;
        socket.is_refused |= sent < len;
        if sent == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }
}

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
        }
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

    /// Whether something is on its way to a peer.
    pub(crate) fn has_sent(&self, peer: usize) -> bool {
        !self.batches_out[peer].is_empty()
    }

    /// When the next poll would end by itself; at once if an event waits.
    pub(crate) fn next_turn(&self, now: Duration) -> Option<Duration> {
        let has_event = self.sockets.all.iter().any(|socket| !socket.is_closed && (socket.readable || socket.writable));
        let has_letters = !self.letters.is_empty() && !self.hub.must_wait();
        let is_busy = has_event || self.is_woken || !self.ready.is_empty() || !self.accepts.is_empty();
        let is_to_begin_to_stop = self.is_to_stop && !self.has_told_peers && !self.hub.must_wait();
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
            while let Some(batch) = self.batches_in[peer].pop_front() {
                let mut used = 0;
                while used < batch.len() {
                    used += self.hub.relayed(peer as u32, &batch[used..]);
                    self.flush_if_full();
                }
            }
        }
        self.take_letters();
        self.accept();
        let mut resumed = Vec::new();
        self.hub.resume(&mut self.app, &mut resumed);
        for slot in resumed {
            self.read(self.hub.key(slot), buffer);
        }
        for key in std::mem::take(&mut self.ready) {
            if self.hub.is_current(key) {
                self.read(key, buffer);
            }
        }
        let ready: Vec<Slot> = self.ready.iter().map(|key| key.slot).collect();
        self.hub.look_at_due(&mut self.app, |slot| ready.contains(&slot));
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
        if self.letters.is_empty() && !self.has_told_peers {
            self.hub.stop_publishing();
            self.has_told_peers = true;
        }
        if self.has_told_peers && self.hub.have_peers_stopped() {
            self.hub.drain(&mut self.app);
            self.is_draining = true;
        }
        self.end_turn();
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
        if !self.ready.contains(&key) {
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
        while !self.hub.must_wait() {
            let Some((channels, payload)) = self.letters.pop_front() else { break };
            let is_text = std::str::from_utf8(&payload).is_ok();
            self.hub.publish(channels.split(|&byte| byte == b' '), is_text, &payload, None);
            self.flush_if_full();
        }
    }

    fn read(&mut self, key: ConnectionKey, buffer: &mut [u8]) {
        for _ in 0..READS_PER_TURN {
            if !self.hub.may_read(key.slot) {
                return;
            }
            let id = self.sockets.by_slot[key.slot as usize].expect("a current connection has a socket");
            let socket = &mut self.sockets.all[id];
            if socket.is_reset {
                return self.hub.lost(&mut self.app, key.slot);
            }
            if socket.inbound.is_empty() {
                if socket.is_finished {
                    self.hub.end_of_input(&mut self.app, key.slot);
                }
                return;
            }
            let len = socket.inbound.len().min(buffer.len());
            buffer[..len].copy_from_slice(&socket.inbound[..len]);
            socket.inbound.drain(..len);
            let is_finished = socket.is_finished;
            let mut used = 0;
            while used < len {
                used += self.hub.receive(&mut self.app, key.slot, &mut buffer[used..len]);
                self.flush_if_full();
            }
            if len < buffer.len() && !is_finished {
                return;
            }
        }
        self.make_ready(key);
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

//! A node's sockets, as the kernel would hold them.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use rand::{RngExt, rngs::StdRng};

use crate::engine::{
    arrival::{Role, Transport},
    outbox::{Sink, Written},
    session::Ended,
    slot::{ConnectionKey, Slot},
    turn::{Accepted, Event, Got, Sockets},
};

/// The connection of a socket that is not accepted yet: none that there ever is.
const NOBODY: ConnectionKey = ConnectionKey { slot: Slot::MAX, generation: 0 };

/// One connection's two directions, as the kernel has them.
#[derive(Default)]
pub(crate) struct Socket {
    /// Bytes from the client that the server has not read yet.
    pub(crate) inbound: Vec<u8>,
    /// The client will send no more.
    pub(crate) is_finished: bool,
    pub(crate) is_reset: bool,
    /// Bytes that the server has written and the client has not fetched.
    pub(crate) outbound: Vec<u8>,
    /// Bytes that the server may still write before the client reads.
    pub(crate) room: usize,
    /// The last write was short.
    pub(crate) is_refused: bool,
    /// The server has shut its side, or closed the socket.
    pub(crate) is_shut: bool,
    pub(crate) is_closed: bool,
    /// The server has given up bytes for it: the client sees a reset.
    pub(crate) is_cut: bool,
    /// The edges that the server has not heard of.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// The sockets of a node, by slot. A socket outlives its slot so that the client can read the rest.
#[derive(Default)]
pub(super) struct Buffers {
    by_slot: Vec<Option<usize>>,
    pub(super) all: Vec<Socket>,
    /// The connections of the sockets, once they are accepted.
    keys: Vec<ConnectionKey>,
    /// Those that the node has not accepted yet.
    accepts: VecDeque<usize>,
    /// Those that it has, in order, since somebody asked.
    #[cfg(test)]
    pub(super) accepted: Vec<usize>,
    /// Decides which writes are short.
    short_writes: Option<StdRng>,
}

impl Buffers {
    pub(super) fn new(short_writes: Option<StdRng>) -> Self {
        Self { short_writes, ..Self::default() }
    }

    /// A client connects. Returns the number of its socket.
    pub(super) fn connect(&mut self) -> usize {
        self.all.push(Socket { room: usize::MAX, ..Socket::default() });
        self.keys.push(NOBODY);
        self.accepts.push_back(self.all.len() - 1);
        self.all.len() - 1
    }

    /// Whether a poll would tell of something.
    pub(super) fn has_events(&self) -> bool {
        let has_event = |socket: &Socket| !socket.is_closed && (socket.readable || socket.writable);
        !self.accepts.is_empty() || self.all.iter().any(has_event)
    }

    /// The connection of a socket.
    #[cfg(test)]
    pub(super) fn key(&self, id: usize) -> ConnectionKey {
        self.keys[id]
    }

    /// Whether a socket was accepted.
    #[cfg(test)]
    pub(super) fn is_accepted(&self, id: usize) -> bool {
        self.keys[id] != NOBODY
    }

    /// The slots that have a socket.
    #[cfg(test)]
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..).zip(&self.by_slot).filter(|(_, id)| id.is_some()).map(|(slot, _)| slot)
    }

    fn of(&self, slot: Slot) -> usize {
        self.by_slot[slot as usize].expect("a current connection has a socket")
    }
}

impl Sockets for Buffers {
    /// The socket's number.
    type Stream = usize;

    fn events(&mut self) -> impl Iterator<Item = Event> {
        let is_open = |(socket, key): &(&mut Socket, _)| !socket.is_closed && key != &&NOBODY;
        self.all.iter_mut().zip(&self.keys).filter(is_open).map(|(socket, &key)| {
            let is_readable = std::mem::take(&mut socket.readable);
            Event {
                key,
                is_writable: std::mem::take(&mut socket.writable),
                is_readable,
                is_read_closed: is_readable && (socket.is_finished || socket.is_reset),
            }
        })
    }

    fn has_seen_all(&self) -> bool {
        true
    }

    fn accept(&mut self, _: Duration, takes: impl Fn(Role) -> bool) -> io::Result<Accepted<usize>> {
        if !takes(Role::Public) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let stream = self.accepts.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        Ok(Accepted {
            stream,
            peer: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))),
            role: Role::Public,
            transport: Transport::Tcp,
            is_loopback: false,
            is_told: false,
        })
    }

    fn add(&mut self, key: ConnectionKey, id: usize, _: bool) -> io::Result<()> {
        self.keys[id] = key;
        #[cfg(test)]
        self.accepted.push(id);
        self.by_slot.resize(self.by_slot.len().max(key.slot as usize + 1), None);
        assert_eq!(self.by_slot[key.slot as usize].replace(id), None, "two connections in one slot");
        Ok(())
    }

    fn turn_away(&mut self, id: usize, answer: &[u8]) {
        let socket = &mut self.all[id];
        socket.outbound.extend_from_slice(answer);
        (socket.is_shut, socket.is_closed) = (true, true);
    }

    fn read(&mut self, slot: Slot, buffer: &mut [u8], room: usize) -> io::Result<Got> {
        let id = self.of(slot);
        let socket = &mut self.all[id];
        if socket.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if socket.inbound.is_empty() && !socket.is_finished {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = socket.inbound.len().min(room);
        buffer[..len].copy_from_slice(&socket.inbound[..len]);
        socket.inbound.drain(..len);
        Ok(Got::of(len, room))
    }

    fn shut(&mut self, slot: Slot) {
        if let Some(id) = self.by_slot[slot as usize] {
            self.all[id].is_shut = true;
        }
    }

    fn close(&mut self, ended: Vec<Ended>) {
        for Ended { slot, is_cut } in ended {
            let id = self.by_slot[slot as usize].take().expect("a slot is closed once");
            self.all[id].is_closed = true;
            self.all[id].is_cut = is_cut;
        }
    }

    fn close_all(&mut self) {
        self.by_slot.drain(..).flatten().for_each(|id| self.all[id].is_closed = true);
    }

    fn leave_listeners(&mut self) {}

    /// Nothing takes any time.
    fn clock(&self) -> Duration {
        Duration::ZERO
    }
}

impl Sink for Buffers {
    fn write(&mut self, slot: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written> {
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
        Ok(Written { bytes: sent, is_blocked: sent < len, ..Written::default() })
    }
}

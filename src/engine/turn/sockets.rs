//! What a turn asks of a core's sockets.

use std::{io, net::SocketAddr, time::Duration};

use crate::engine::{
    arrival::{Role, Transport},
    limits::Limits,
    outbox::Sink,
    session::Ended,
    slot::{ConnectionKey, Slot},
};

/// The sockets of a core, by the slots of their connections, and the events of its last poll.
pub(crate) trait Sockets: Sink {
    /// A socket that has no slot yet.
    type Stream;

    /// The events of connections in the last poll. Some of these connections may be gone.
    fn events(&mut self) -> impl Iterator<Item = Event>;

    /// Whether the polls have reported all input that had arrived. If so, a connection without an event has sent
    /// nothing.
    fn has_seen_all(&self) -> bool;

    /// The next new connection.
    ///
    /// # Errors
    /// `WouldBlock` if there is none now. Any other error means that the system cannot accept one; `accept` retries
    /// after a while.
    fn accept(&mut self, now: Duration, takes: impl Fn(Role) -> bool) -> io::Result<Accepted<Self::Stream>>;

    /// Puts a socket into its connection's slot, and registers it with the poll. With TLS, a handshake is before it.
    ///
    /// # Errors
    /// The socket cannot be polled. It is in its slot nevertheless.
    fn add(&mut self, key: ConnectionKey, stream: Self::Stream, is_tls: bool) -> io::Result<()>;

    /// Closes a socket that has no slot, after this answer.
    fn turn_away(&mut self, stream: Self::Stream, answer: &[u8]);

    /// Takes new limits, before the first accept and when they change.
    fn set_limits(&mut self, _: &Limits) {}

    /// The connections since the last call that were closed because of their PROXY header.
    fn take_refused(&mut self) -> u64 {
        0
    }

    /// Reads once, about `room` bytes, into `buffer`.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing to read now, or the system's error of a broken connection.
    fn read(&mut self, slot: Slot, buffer: &mut [u8], room: usize) -> io::Result<Got>;

    /// Whether the connection has a TLS handshake before it, so that it cannot be read yet.
    fn is_shaking(&self, _slot: Slot) -> bool {
        false
    }

    /// Whether the connection's handshake has not begun.
    fn is_waiting(&self, _slot: Slot) -> bool {
        false
    }

    /// The number of handshakes that have begun and are not finished.
    fn half_open(&self) -> usize {
        0
    }

    /// Takes a connection's handshake one step further.
    ///
    /// # Errors
    /// The handshake has failed; the connection is lost.
    fn shake(&mut self, _slot: Slot, _buffer: &mut [u8]) -> io::Result<Shaken> {
        Ok(Shaken::Done)
    }

    /// The other end of a connection's socket, if it has an address.
    fn peer(&self, _slot: Slot) -> Option<SocketAddr> {
        None
    }

    /// Lets the socket take as much as it can, from now on: what it has taken is sent even if this process ends.
    fn take_all(&mut self, _slot: Slot) {}

    /// Tells the peer that nothing more will come.
    fn shut(&mut self, slot: Slot);

    /// Closes the sockets of connections that have ended.
    fn close(&mut self, ended: Vec<Ended>);

    /// Closes all remaining sockets.
    fn close_all(&mut self);

    /// Accepts nothing more from listeners that another process will take over.
    fn leave_listeners(&mut self);

    /// The time since some fixed moment, to measure durations.
    fn clock(&self) -> Duration;
}

/// An event of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) key: ConnectionKey,
    /// The socket takes bytes again.
    pub(crate) is_writable: bool,
    /// The socket may have bytes to read, or its end.
    pub(crate) is_readable: bool,
    /// The peer has shut its side, or the connection is broken.
    pub(crate) is_read_closed: bool,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    /// The number of bytes; there may be none although the input has not ended.
    pub(crate) bytes: usize,
    /// The socket may have more bytes. Otherwise it is empty, unless the peer has shut its side.
    pub(crate) may_have_more: bool,
    /// Nothing more will come.
    pub(crate) is_end: bool,
}

impl Got {
    /// The result of a read with this much room. With edge triggering a short read means that the socket is empty.
    #[inline]
    pub(crate) fn of(bytes: usize, room: usize) -> Self {
        Self { bytes, may_have_more: bytes == room, is_end: bytes == 0 }
    }
}

/// How far a handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "no connection has a handshake"))]
pub(crate) enum Shaken {
    /// It waits for the peer.
    Waits,
    /// The peer may have sent more already.
    HasMore,
    /// The connection can be read.
    Done,
}

/// A newly accepted connection.
#[derive(Debug)]
pub(crate) struct Accepted<T> {
    pub(crate) stream: T,
    /// The peer's address, if it has one.
    pub(crate) peer: Option<SocketAddr>,
    /// The role of the listener that accepted it.
    pub(crate) role: Role,
    /// What carries its bytes. With TLS it begins with a handshake.
    pub(crate) transport: Transport,
    /// The listener's address is this machine's alone.
    pub(crate) is_loopback: bool,
    /// A trusted proxy has told the peer's address by the PROXY protocol, so the peer is a client.
    pub(crate) is_told: bool,
}

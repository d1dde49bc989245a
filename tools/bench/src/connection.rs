//! One connection to a server: it connects, shakes hands, and counts deliveries.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    dialect::{Dialect, Progress, Role, counter::Counter, websocket},
    tls::Tls,
    wire::Wire,
};

/// The number of connections that share a source address: by default Linux has 28,232 ports for each address.
pub(crate) const PORTS_PER_ADDRESS: usize = 28_000;
/// The first of these ports.
const FIRST_PORT: u16 = 32_768;
/// `connect` on a non-blocking socket is in progress (Linux's number; the standard library has no stable name for it).
pub(crate) const EINPROGRESS: i32 = 115;
/// The most bytes that are kept of a server's messages to a pure publisher. They are shown if deliveries are missing.
const WORDS_BYTES_MAX: usize = 300;

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Connecting, or waiting for the answer to the handshake.
    Opening,
    /// Waiting for the subscription to be live.
    Joining,
    /// Usable.
    Ready,
    /// The server ended the connection, or it broke.
    Closed,
}

/// One non-blocking connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) wire: Wire,
    pub(crate) phase: Phase,
    pub(crate) counter: Counter,
    /// The server's answer to the subscription.
    pub(crate) answer: Vec<u8>,
    /// The messages that it gets count as deliveries.
    pub(crate) counts: bool,
    /// It is usable before the server answers the subscription, since older messages come first.
    resumes: bool,
    /// It has been usable.
    pub(crate) was_ready: bool,
    /// The generator does not read from it (a stalled reader).
    pub(crate) paused: bool,
    /// The socket may take bytes: a writable event sets this, a refused write clears it.
    pub(crate) writable: bool,
    /// The server's messages to a connection that only publishes.
    pub(crate) words: Vec<u8>,
    dialect: Dialect,
    received: Vec<u8>,
    /// Opening bytes and replies that the socket has not taken yet.
    unsent: Vec<u8>,
    joining: Vec<u8>,
}

/// How a connection gets in.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// The TLS connection that is still to be set up; without it, the connection is plain.
    pub(crate) tls: Option<Box<Tls>>,
    /// More lines of the upgrade request, each with its CRLF.
    pub(crate) headers: String,
}

impl Connection {
    /// Starts to connect. `number` decides the source address on loopback.
    pub(crate) fn start(
        address: SocketAddr,
        number: usize,
        dialect: Dialect,
        role: &Role,
        body_bytes: usize,
        entry: Entry,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let (IpAddr::V4(host), share @ 1..) = (address.ip(), number / PORTS_PER_ADDRESS)
            && host.is_loopback()
        {
            let source = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + share as u32);
            // To find a free port among thousands takes the kernel a millisecond. So each number has its own.
            let port = FIRST_PORT + (number % PORTS_PER_ADDRESS) as u16;
            let bind = |port| socket.bind(&SocketAddr::from((source, port)).into());
            bind(port).or_else(|_| bind(0))?;
        }
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
            _ => {}
        }
        Ok(Self {
            wire: Wire::new(TcpStream::from_std(socket.into()), entry.tls),
            phase: Phase::Opening,
            counter: dialect.counter(role, body_bytes),
            answer: Vec::new(),
            counts: role.subscribes || role.confirms || role.only.is_some(),
            resumes: role.resumes.is_some(),
            was_ready: false,
            paused: false,
            writable: false,
            words: Vec::new(),
            dialect,
            received: Vec::new(),
            unsent: dialect.opening(role, &address.to_string(), &entry.headers),
            joining: dialect.joining(role),
        })
    }

    /// Writes the rest of the opening or of replies.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let mut taken = 0;
        if !self.wire.flush()? {
            self.writable = false;
        }
        while self.writable && taken < self.unsent.len() {
            match self.wire.write(&self.unsent[taken..]) {
                Ok(more) => taken += more,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    self.writable = false;
                }
                Err(error) => return Err(error),
            }
        }
        self.unsent.drain(..taken);
        if self.unsent.is_empty() {
            // Most connections never write again, so they free the buffer.
            self.unsent = Vec::new();
        }
        Ok(())
    }

    /// Processes received bytes. Returns how many deliveries ended in them.
    ///
    /// # Errors
    /// A sentence about the server's violation.
    pub(crate) fn received(&mut self, bytes: &[u8], on_stamp: Option<&mut dyn FnMut(u64)>) -> Result<u64, String> {
        if self.phase == Phase::Ready {
            return self.count(bytes, on_stamp);
        }
        self.received.extend_from_slice(bytes);
        if self.phase == Phase::Opening {
            let Progress::Done(taken) = self.dialect.opened(&self.received)? else { return Ok(0) };
            self.received.drain(..taken);
            self.unsent = std::mem::take(&mut self.joining);
            if self.unsent.is_empty() || self.resumes {
                self.ready()?;
            } else {
                self.phase = Phase::Joining;
            }
            if !self.unsent.is_empty() {
                self.writable = true;
                self.flush().map_err(|error| error.to_string())?;
            }
        }
        if self.phase == Phase::Joining {
            let Progress::Done(taken) = self.dialect.joined(&self.received)? else { return Ok(0) };
            self.answer = self.received.drain(..taken).collect();
            self.ready()?;
        }
        let rest = std::mem::take(&mut self.received);
        self.count(&rest, on_stamp)
    }

    fn ready(&mut self) -> Result<(), String> {
        self.phase = Phase::Ready;
        self.was_ready = true;
        self.wire.settle().map_err(|error| error.to_string())
    }

    fn count(&mut self, bytes: &[u8], on_stamp: Option<&mut dyn FnMut(u64)>) -> Result<u64, String> {
        if !self.counts {
            let room = WORDS_BYTES_MAX.saturating_sub(self.words.len());
            self.words.extend_from_slice(&bytes[..room.min(bytes.len())]);
        }
        let before = self.counter.messages;
        self.counter.feed(bytes, on_stamp)?;
        if self.counter.close_code.is_some() {
            // The server waits for this answer before it closes (RFC 6455 §5.5.1). It does not matter here whether the
            // answer arrives.
            self.counter.replies = websocket::masked(websocket::CLOSE, &[], [0x11, 0x22, 0x33, 0x44]).bytes;
            self.phase = Phase::Closed;
        }
        if !self.counter.replies.is_empty() {
            self.unsent.append(&mut self.counter.replies);
            self.writable = true;
            match self.flush() {
                Err(error) if self.phase != Phase::Closed => return Err(error.to_string()),
                _ => {}
            }
        }
        Ok(if self.counts { self.counter.messages - before } else { 0 })
    }
}

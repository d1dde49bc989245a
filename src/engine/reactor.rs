//! A core's sockets and its poll: it accepts connections, and reports which of them have something to read.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::engine::{
    alarm::Alarm,
    arrival::Role,
    connection::{self, Connections, TlsLayers},
    greetings::Greetings,
    limits::Limits,
    listener::Listener,
    outbox::{Sink, SocketCounts, Written},
    session::Ended,
    slot::{ConnectionKey, Slot},
    turn::{Accepted, Event, Got, Shaken, Sockets},
};

/// The token of the core's waker.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// The token of its alarm.
const ALARM: Token = Token(usize::MAX - 1);
/// Listeners have the tokens from here downwards. A connection's token is its slot and its generation. Slots stay far
/// below `u32::MAX`, so no connection has one of these tokens.
const LISTENERS: usize = usize::MAX - 2;

/// The most events of one poll. The next poll brings the others.
const EVENTS_MAX: usize = 1024;
/// The most connections of one accept that wait for their PROXY header.
const GREETINGS_PER_ACCEPT: usize = 32;
/// The wait before the next accept when no file descriptor is left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A core's poll, its listeners, and the sockets of its connections.
pub(crate) struct Reactor {
    poll: Poll,
    alarm: Alarm,
    events: Events,
    listeners: Vec<Listener>,
    connections: Connections,
    /// Connections that have no slot until their PROXY header is there.
    greetings: Greetings,
    /// The listeners that may have more connections to accept, each once, in round robin order.
    waiting: VecDeque<usize>,
    /// When to try again after running out of file descriptors.
    accept_retry: Option<Duration>,
    /// When the alarm will end the next poll, if it was set.
    wake: Option<Duration>,
    /// The latest time at which the last poll should have returned.
    due: Duration,
    /// Polls until every socket is reported that was ready when the first of these polls was full.
    polls_left: usize,
    /// A signal interrupted the last poll, so it reported nothing.
    was_interrupted: bool,
    /// When its clock began.
    start: Instant,
}

impl Reactor {
    /// A reactor that polls these listeners.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn new(poll: Poll, mut listeners: Vec<Listener>, layers: TlsLayers) -> io::Result<Self> {
        for (index, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener, Token(LISTENERS - index), Interest::READABLE)?;
        }
        Ok(Self {
            alarm: Alarm::new(poll.registry(), ALARM)?,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            waiting: (0..listeners.len()).collect(),
            listeners,
            connections: Connections::new(layers),
            greetings: Greetings::new(),
            accept_retry: None,
            wake: None,
            due: Duration::ZERO,
            polls_left: 0,
            was_interrupted: false,
            start: Instant::now(),
        })
    }

    /// Begins the clock of [`Sockets::clock`] anew: the core's own clock begins at the same moment.
    pub(crate) fn start_clock(&mut self) -> Instant {
        self.start = Instant::now();
        self.start
    }

    /// Lets a later [`Reactor::poll`] return at `deadline`, or before. For a distant deadline this costs less than a
    /// timeout of each poll.
    pub(crate) fn wake_at(&mut self, now: Duration, deadline: Duration) -> io::Result<()> {
        self.wake = Some(deadline);
        self.alarm.wake_at(now, deadline)
    }

    /// The latest time at which the last poll should have returned, by the core's clock.
    pub(crate) fn due(&self) -> Duration {
        self.due
    }

    /// Waits for events, at most until `deadline`, and not at all if there is something to accept. Returns whether
    /// there were any. `connections` is the number of open connections on this core.
    pub(crate) fn poll(&mut self, now: Duration, deadline: Option<Duration>, connections: usize) -> io::Result<bool> {
        let is_busy = !self.waiting.is_empty() && self.accept_retry.is_none() || self.greetings.has_heard();
        let deadline = deadline.into_iter().chain(self.accept_retry).chain(self.greetings.deadline()).min();
        let wake = self.wake.take();
        self.was_interrupted = false;
        self.due = if is_busy { now } else { deadline.into_iter().chain(wake).min().unwrap_or(Duration::MAX) };
        let timeout = if is_busy { Some(Duration::ZERO) } else { deadline.map(|at| at.saturating_sub(now)) };
        let polled = self.poll.poll(&mut self.events, timeout);
        let has_happened = match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                self.was_interrupted = true; // for example SIGSTOP and SIGCONT
                false
            }
            result => result.map(|()| is_busy || !self.events.is_empty())?,
        };
        self.polls_left = polls_left(self.polls_left, self.events.iter().count(), connections);
        Ok(has_happened)
    }

    /// Accepts from the longest waiting listener among those whose role `takes` allows. After a connection the listener
    /// goes behind the others, so that a flood on one of them does not starve the others.
    fn accept_next(&mut self, now: Duration, takes: impl Fn(Role) -> bool) -> io::Result<Accepted<TcpStream>> {
        for _ in 0..self.waiting.len() {
            let Some(&index) = self.waiting.front() else { break };
            let Listener { role, transport, is_loopback, .. } = self.listeners[index];
            if !takes(role) {
                self.waiting.rotate_left(1);
                continue;
            }
            match self.accept_from(index) {
                Ok((stream, peer)) => {
                    self.waiting.rotate_left(1);
                    return Ok(Accepted { stream, peer, role, transport, is_loopback, is_told: false });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => _ = self.waiting.pop_front(),
                Err(error) => {
                    // The poll does not report this edge again. So the listener stays in the list, and a timer retries.
                    self.accept_retry = Some(now + ACCEPT_RETRY);
                    return Err(error);
                }
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Accepts from one listener.
    ///
    /// # Errors
    /// `WouldBlock` if it has no connection, or the system's error if no file descriptor is left.
    fn accept_from(&self, index: usize) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        loop {
            match self.listeners[index].accept() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock && !is_out_of_fds(&error) => {
                    log::debug!("a connection ended before it was accepted: {error}");
                }
                result => return result,
            }
        }
    }
}

impl Sink for Reactor {
    fn write(&mut self, slot: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written> {
        self.connections.write(slot, slices)
    }

    fn kept_bytes(&self) -> usize {
        self.connections.kept_bytes()
    }

    fn kept_by(&self, slot: Slot) -> usize {
        self.connections.kept_by(slot)
    }

    fn counts(&self) -> SocketCounts {
        self.connections.counts()
    }
}

impl Sockets for Reactor {
    type Stream = TcpStream;

    fn events(&mut self) -> impl Iterator<Item = Event> {
        let first_listener = LISTENERS - self.listeners.len();
        let (waiting, greetings, connections) = (&mut self.waiting, &mut self.greetings, &self.connections);
        self.events.iter().filter_map(move |event| match event.token() {
            WAKER | ALARM => None,
            Token(token) if token > first_listener => {
                let index = LISTENERS - token;
                if !waiting.contains(&index) {
                    waiting.push_back(index);
                }
                None
            }
            token if Greetings::has(token) => {
                greetings.hear(token, event.is_read_closed() || event.is_error());
                None
            }
            token => {
                let told = told(event, key(token));
                // A handshake goes on when the socket takes its bytes.
                let is_readable = told.is_readable || (told.is_writable && connections.wants_to_write(told.key.slot));
                Some(Event { is_readable, ..told })
            }
        })
    }

    fn has_seen_all(&self) -> bool {
        self.polls_left == 0 && !self.was_interrupted
    }

    fn accept(&mut self, now: Duration, takes: impl Fn(Role) -> bool) -> io::Result<Accepted<TcpStream>> {
        if let Some(accepted) = self.greetings.next(self.poll.registry(), now, &takes) {
            return Ok(accepted);
        }
        if self.accept_retry.is_some_and(|at| now < at) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.accept_retry = None;
        for _ in 0..GREETINGS_PER_ACCEPT {
            let accepted = self.accept_next(now, &takes)?;
            if let Some(accepted) = self.greetings.greet(self.poll.registry(), now, accepted) {
                return Ok(accepted);
            }
        }
        Err(io::ErrorKind::WouldBlock.into()) // the listeners are still on their list
    }

    fn turn_away(&mut self, stream: TcpStream, answer: &[u8]) {
        connection::turn_away(stream, answer);
    }

    fn set_limits(&mut self, limits: &Limits) {
        self.greetings.set_limits(limits);
    }

    fn take_refused(&mut self) -> u64 {
        self.greetings.take_refused()
    }

    fn add(&mut self, key: ConnectionKey, mut stream: TcpStream, is_tls: bool) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut stream, token(key), interest);
        self.connections.insert(key.slot, stream, is_tls);
        registered
    }

    fn read(&mut self, slot: Slot, buffer: &mut [u8], room: usize) -> io::Result<Got> {
        self.connections.read(slot, buffer, room)
    }

    fn is_shaking(&self, slot: Slot) -> bool {
        self.connections.is_shaking(slot)
    }

    fn is_waiting(&self, slot: Slot) -> bool {
        self.connections.is_waiting(slot)
    }

    fn half_open(&self) -> usize {
        self.connections.half_open()
    }

    fn shake(&mut self, slot: Slot, buffer: &mut [u8]) -> io::Result<Shaken> {
        self.connections.shake(slot, buffer)
    }

    fn peer(&self, slot: Slot) -> Option<SocketAddr> {
        self.connections.peer(slot)
    }

    fn take_all(&mut self, slot: Slot) {
        self.connections.take_all(slot);
    }

    fn shut(&mut self, slot: Slot) {
        self.connections.shut(slot);
    }

    fn close(&mut self, ended: Vec<Ended>) {
        for ended in ended {
            self.connections.close(ended);
            self.accept_retry = None; // a file descriptor is free again
        }
    }

    fn close_all(&mut self) {
        self.connections.close_all();
    }

    fn leave_listeners(&mut self) {
        for listener in self.listeners.iter_mut().filter(|listener| listener.is_inherited) {
            // If this fails, the core wakes for connections that it leaves to others.
            let _ = self.poll.registry().deregister(listener);
        }
        self.waiting.retain(|&index| !self.listeners[index].is_inherited);
    }

    fn clock(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The number of polls until every socket that is ready now is reported, after a poll with this many events.
fn polls_left(before: usize, events: usize, connections: usize) -> usize {
    match before {
        _ if events < EVENTS_MAX => 0,
        0 => connections / EVENTS_MAX, // the system reports each socket once before it reports any again
        left => left - 1,
    }
}

/// The meaning of an event for a connection.
fn told(event: &mio::event::Event, key: ConnectionKey) -> Event {
    let is_read_closed = event.is_read_closed() || event.is_error();
    Event { key, is_writable: event.is_writable(), is_readable: event.is_readable() || is_read_closed, is_read_closed }
}

fn token(key: ConnectionKey) -> Token {
    Token((key.generation as usize) << 32 | key.slot as usize)
}

fn key(token: Token) -> ConnectionKey {
    ConnectionKey { slot: token.0 as u32, generation: (token.0 >> 32) as u32 }
}

fn is_out_of_fds(error: &io::Error) -> bool {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM: the same on every Linux.
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}

#[cfg(test)]
mod tests;

//! A core's sockets and its poll: it accepts connections, and says which have something to read.

mod quota;
mod reserve;
mod sockets;

use std::{
    io,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, event::Event};

use crate::engine::{
    alarm::Alarm, arrival::Arrival, connection::Connections, hub::Hub, listener::Listener, log_limit::LogLimit,
    session::Ended, slot::ConnectionKey,
};

use self::quota::Quotas;

/// The token of the core's waker.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// The token of its alarm.
const ALARM: Token = Token(usize::MAX - 1);
/// Listeners have the tokens from here downwards. A connection's token is its slot and its generation; slots stay far below.
const LISTENERS: usize = usize::MAX - 2;

/// Events of one poll. The next poll brings more.
const EVENTS_MAX: usize = 1024;
/// Connections accepted in one turn.
const ACCEPTS_PER_TURN: usize = 32;
/// The time after which a turn accepts no more.
const ACCEPT_TIME: Duration = Duration::from_millis(1);
/// How long accepting waits when no file descriptor is left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A core's poll, its listeners, and the sockets of its connections.
pub(crate) struct Reactor {
    poll: Poll,
    alarm: Alarm,
    events: Events,
    listeners: Vec<Listener>,
    connections: Connections,
    /// Connections that may have something to read.
    ready: Vec<ConnectionKey>,
    /// The listener from which the next turn accepts first.
    next_listener: usize,
    /// A listener may have more to accept.
    accepts: bool,
    /// When to try again after running out of file descriptors.
    accept_retry: Option<Duration>,
    /// How many connections there may be.
    quotas: Quotas,
    /// When the alarm will end the next poll, if it was set for that.
    wake: Option<Duration>,
    /// When the last poll was to return at the latest.
    due: Duration,
    /// Polls until every socket has been reported that was ready when the first of them was full.
    polls_left: usize,
    /// A signal has interrupted the last poll, so it has reported nothing.
    was_interrupted: bool,
    /// When it was made.
    start: Instant,
}

impl Reactor {
    /// A reactor that listens. Of `connections_max` public connections, `open` are there on all cores.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn new(
        poll: Poll,
        mut listeners: Vec<Listener>,
        open: Arc<AtomicUsize>,
        connections_max: usize,
    ) -> io::Result<Self> {
        for (index, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener, Token(LISTENERS - index), Interest::READABLE)?;
        }
        Ok(Self {
            alarm: Alarm::new(poll.registry(), ALARM)?,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            listeners,
            connections: Connections::default(),
            ready: Vec::new(),
            next_listener: 0,
            accepts: true,
            accept_retry: None,
            quotas: Quotas::new(open, connections_max),
            wake: None,
            due: Duration::ZERO,
            polls_left: 0,
            was_interrupted: false,
            start: Instant::now(),
        })
    }

    /// Connections that are open already stay, however many.
    pub(crate) fn set_connections_max(&mut self, connections_max: usize) {
        self.quotas.set_connections_max(connections_max);
    }

    /// Lets a later [`Reactor::poll`] return at `deadline`, or before. A deadline that is far off costs less here than
    /// given to each poll.
    pub(crate) fn wake_at(&mut self, now: Duration, deadline: Duration) -> io::Result<()> {
        self.wake = Some(deadline);
        self.alarm.wake_at(now, deadline)
    }

    /// When the last poll was to return at the latest, as the core's clock said when it began.
    pub(crate) fn due(&self) -> Duration {
        self.due
    }

    /// Whether the polls have reported everything that had arrived. If so, a connection that is not ready has sent nothing.
    fn has_seen_all(&self) -> bool {
        self.polls_left == 0 && !self.was_interrupted
    }

    /// Waits for events, at most until `deadline`, and not at all if work is left. Says whether there is anything to do.
    pub(crate) fn poll(&mut self, now: Duration, deadline: Option<Duration>) -> io::Result<bool> {
        let is_busy = !self.ready.is_empty() || (self.accepts && self.accept_retry.is_none());
        let deadline = deadline.into_iter().chain(self.accept_retry).min();
        let wake = self.wake.take();
        self.was_interrupted = false;
        self.due = if is_busy { now } else { deadline.into_iter().chain(wake).min().unwrap_or(Duration::MAX) };
        let timeout = if is_busy { Some(Duration::ZERO) } else { deadline.map(|at| at.saturating_sub(now)) };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                self.was_interrupted = true; // as by a stop and a continuation
                Ok(false)
            }
            result => result.map(|()| is_busy || !self.events.is_empty()),
        }
    }

    /// Sorts the events of the last poll: the hub hears of writable connections, the ready list gets readable ones.
    fn sort_events(&mut self, hub: &mut Hub) {
        let mut count = 0;
        for event in &self.events {
            count += 1;
            match event.token() {
                WAKER | ALARM => {}
                token if token.0 > LISTENERS - self.listeners.len() => self.accepts = true,
                token => sort_event(event, key(token), hub, &mut self.connections, &mut self.ready),
            }
        }
        self.polls_left = polls_left(self.polls_left, count, hub.sessions.len());
    }

    /// Puts a connection on the ready list, once.
    fn make_ready(&mut self, key: ConnectionKey) {
        let connection = self.connections.get(key.slot);
        if !std::mem::replace(&mut connection.is_ready, true) {
            self.ready.push(key);
        }
    }

    /// Accepts new connections, within the turn's share.
    fn accept(&mut self, hub: &mut Hub, now: Duration) {
        if self.accept_retry.is_some_and(|at| now < at) || !self.accepts {
            return;
        }
        self.accept_retry = None;
        self.quotas.begin_turn();
        let (mut left, mut has_left) = (ACCEPTS_PER_TURN, false);
        let began = Instant::now();
        for _ in 0..self.listeners.len() {
            if left == 0 {
                break;
            }
            let index = self.next_listener;
            // A flood on one listener must not starve the others: the next turn begins behind the one that took all.
            self.next_listener = (index + 1) % self.listeners.len();
            let role = self.listeners[index].role;
            while left > 0 {
                if !self.quotas.of(role).may_accept() {
                    has_left = true;
                    break;
                }
                match self.listeners[index].accept() {
                    Ok((stream, peer)) => {
                        left = if began.elapsed() < ACCEPT_TIME { left - 1 } else { 0 };
                        self.admit(hub, stream, Arrival { peer, role, is_reserved: false });
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_out_of_fds(&error) => {
                        // No event will tell of this connection again: it is tried again by time, and `accepts` stays set.
                        hub.stats.out_of_fds += 1;
                        self.accept_retry = Some(now + ACCEPT_RETRY);
                        return;
                    }
                    Err(error) => log::debug!("a connection was gone before it was accepted: {error}"),
                }
            }
        }
        self.accepts = left == 0 || has_left;
    }

    /// Takes in a connection, on a reserved place if it is over the limit.
    fn admit(&mut self, hub: &mut Hub, mut stream: mio::net::TcpStream, arrival: Arrival) {
        let role = arrival.role;
        let is_over = self.quotas.of(role).count();
        if is_over {
            self.make_room(hub, role);
        }
        let key = if is_over { hub.open_reserved(arrival) } else { hub.open(arrival) };
        let registered =
            self.poll.registry().register(&mut stream, token(key), Interest::READABLE | Interest::WRITABLE);
        self.connections.insert(key.slot, stream, role, is_over);
        if is_over {
            self.quotas.of(role).reserve.add(key);
            self.make_ready(key); // in this turn, for in the next it may have to give way
        }
        if let Err(error) = registered {
            static LIMIT: LogLimit = LogLimit::new();
            LIMIT.say(|more| log::error!("cannot poll a connection: {error}{more}"));
            hub.abandon(key.slot);
        }
    }

    /// Closes the sockets of the connections that are over.
    fn close(&mut self, ended: Vec<Ended>) {
        for ended in ended {
            let slot = ended.slot;
            let connection = self.connections.remove(ended);
            self.quotas.of(connection.role).release(slot, connection.is_reserved);
            self.accept_retry = None; // a file descriptor is free again
        }
    }
}

/// How many polls are left until every socket that is ready now was reported, after one that brought this many events.
fn polls_left(before: usize, events: usize, connections: usize) -> usize {
    match before {
        _ if events < EVENTS_MAX => 0,
        0 => connections / EVENTS_MAX, // the system tells of each once before it tells of any again
        left => left - 1,
    }
}

fn sort_event(
    event: &Event,
    key: ConnectionKey,
    hub: &mut Hub,
    connections: &mut Connections,
    ready: &mut Vec<ConnectionKey>,
) {
    if !hub.sessions.is_current(key) {
        return; // closed in an earlier turn, and perhaps its slot has another connection
    }
    if event.is_writable() {
        hub.router.outboxes.writable(key.slot);
    }
    if event.is_readable() || event.is_read_closed() || event.is_error() {
        let connection = connections.get(key.slot);
        connection.is_read_closed |= event.is_read_closed() || event.is_error();
        if !std::mem::replace(&mut connection.is_ready, true) {
            ready.push(key);
        }
    }
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
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::{
        config::{Config, Listen},
        engine::{
            arrival::Role,
            limits::Limits,
            listener::{Buffers, listen},
        },
    };

    #[test]
    fn what_one_poll_cannot_tell_is_waited_for_and_a_flood_ends_no_waiting() {
        assert_eq!(polls_left(0, EVENTS_MAX - 1, 100_000), 0, "all was told");
        assert_eq!(polls_left(0, EVENTS_MAX, 1000), 0, "there are no more connections than that");
        let polls = |connections| {
            let mut left = polls_left(0, EVENTS_MAX, connections);
            let mut polls = 1;
            while left > 0 {
                left = polls_left(left, EVENTS_MAX, connections);
                polls += 1;
            }
            polls
        };
        assert_eq!([1024, 2047, 2048, 10_000].map(polls), [2, 2, 3, 10]);
        assert_eq!(polls_left(7, 3, 10_000), 0);
    }

    /// Accepts until there are so many, turn after turn: one ends with fewer than it may take if they take long.
    fn accept_until(reactor: &mut Reactor, hub: &mut Hub, accepted: usize) {
        while (hub.stats.accepted as usize) < accepted {
            let before = hub.stats.accepted as usize;
            reactor.accept(hub, Duration::ZERO);
            assert!((before + 1..=before + ACCEPTS_PER_TURN).contains(&(hub.stats.accepted as usize)));
        }
    }

    #[test]
    fn a_flood_on_one_listener_does_not_starve_the_others() {
        let any: [Listen; 1] = ["127.0.0.1:0".parse().expect("an address")];
        let places: Vec<_> =
            (0..3).map(|_| listen(&any, 0, Role::Public, 1, Buffers::default()).expect("a free port")).collect();
        let ports: Vec<_> = places.iter().map(|place| place.at.tcp().expect("an address").port()).collect();
        let listeners: Vec<_> = places.into_iter().flat_map(|place| place.listeners).collect();
        let mut hub = Hub::new(0, 1, Limits::new(&Config::default(), 1 << 30, 1));
        let poll = Poll::new().expect("a poll");
        let mut reactor = Reactor::new(poll, listeners, Arc::default(), usize::MAX).expect("a reactor");
        let connect = |port: u16| TcpStream::connect(("127.0.0.1", port)).expect("the backlog takes it");
        // A connection is in the backlog when its connect has returned.
        let _clients: Vec<_> =
            [&[ports[0]; 3 * ACCEPTS_PER_TURN][..], &ports[1..]].concat().into_iter().map(connect).collect();
        accept_until(&mut reactor, &mut hub, ACCEPTS_PER_TURN + 2);
        let port_of = |slot| {
            let stream = reactor.connections.get(slot).stream.as_ref().expect("it was accepted");
            stream.local_addr().expect("it is connected").port()
        };
        let mut accepted: Vec<_> = (0..hub.stats.accepted as u32).map(port_of).collect();
        accepted.sort_unstable();
        accepted.dedup();
        assert_eq!(accepted.len(), 3, "of {ports:?} only {accepted:?} were served");
        accept_until(&mut reactor, &mut hub, 3 * ACCEPTS_PER_TURN + 2);
        reactor.accept(&mut hub, Duration::ZERO);
        assert_eq!(hub.stats.accepted as usize, 3 * ACCEPTS_PER_TURN + 2);
        assert!(!reactor.accepts);
    }
}

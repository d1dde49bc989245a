//! A core's sockets and its poll: accepting, and which connections have something to read.

use std::{
    io::{self, Write},
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, event::Event, net::TcpListener};

use crate::engine::{
    alarm::Alarm,
    connection::Connections,
    hub::Hub,
    log_limit::LogLimit,
    session::{ConnectionKey, Ended},
};

/// The token of the core's waker.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// The token of its alarm.
const ALARM: Token = Token(usize::MAX - 1);
/// Listeners have the tokens below it. A connection's token is its slot and its generation, and slots stay far below.
const LISTENERS: usize = usize::MAX - 2;

/// Events taken from one poll; more come with the next.
const EVENTS_MAX: usize = 1024;
/// Connections accepted in one turn; more in the next.
const ACCEPTS_PER_TURN: usize = 128;
/// Connections over the limit that one core says goodbye to properly at once; more are closed without ceremony.
const TURNED_AWAY_MAX: usize = 8;
/// How long accepting waits when there is no file descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a connection over the limit is told when there are too many of those.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What one turn's poll said, beside the connections that it put on the ready list.
pub(crate) struct Reactor {
    poll: Poll,
    alarm: Alarm,
    events: Events,
    listeners: Vec<TcpListener>,
    pub(crate) connections: Connections,
    /// Connections that may have something to read.
    pub(crate) ready: Vec<ConnectionKey>,
    /// The listener that is first to be asked.
    next_listener: usize,
    /// A listener may have more to accept.
    accepts: bool,
    /// When to try again after running out of file descriptors.
    accept_retry: Option<Duration>,
    turned_away: usize,
    /// Connections open on all cores, without those that are turned away.
    open: Arc<AtomicUsize>,
    connections_max: usize,
}

impl Reactor {
    /// A reactor that listens.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn new(
        poll: Poll,
        mut listeners: Vec<TcpListener>,
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
            turned_away: 0,
            open,
            connections_max,
        })
    }

    /// Connections that are open already stay, however many.
    pub(crate) fn set_connections_max(&mut self, connections_max: usize) {
        self.connections_max = connections_max;
    }

    /// Lets a later [`Reactor::poll`] return at `deadline`, or before. A deadline that is far off costs less here than
    /// given to each poll.
    pub(crate) fn wake_at(&mut self, now: Duration, deadline: Duration) -> io::Result<()> {
        self.alarm.wake_at(now, deadline)
    }

    /// Waits for something to happen, at most until `deadline`, and not at all if something is left to do. Says whether
    /// anything has.
    pub(crate) fn poll(&mut self, now: Duration, deadline: Option<Duration>) -> io::Result<bool> {
        let is_busy = !self.ready.is_empty() || (self.accepts && self.accept_retry.is_none());
        let deadline = deadline.into_iter().chain(self.accept_retry).min();
        let timeout = if is_busy { Some(Duration::ZERO) } else { deadline.map(|at| at.saturating_sub(now)) };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(false)
            }
            result => result.map(|()| is_busy || !self.events.is_empty()),
        }
    }

    /// Sorts the events of the last poll: the hub hears who is writable, the ready list gets who is readable.
    pub(crate) fn sort_events(&mut self, hub: &mut Hub) {
        for event in &self.events {
            match event.token() {
                WAKER | ALARM => {}
                token if token.0 > LISTENERS - self.listeners.len() => self.accepts = true,
                token => sort_event(event, key(token), hub, &mut self.connections, &mut self.ready),
            }
        }
    }

    /// Puts a connection on the ready list, once.
    pub(crate) fn make_ready(&mut self, key: ConnectionKey) {
        let connection = self.connections.get(key.slot);
        if !std::mem::replace(&mut connection.is_ready, true) {
            self.ready.push(key);
        }
    }

    /// Accepts what has come, within the turn's share.
    pub(crate) fn accept(&mut self, hub: &mut Hub, now: Duration) {
        if self.accept_retry.is_some_and(|at| now < at) || !self.accepts {
            return;
        }
        self.accept_retry = None;
        let mut left = ACCEPTS_PER_TURN;
        for _ in 0..self.listeners.len() {
            if left == 0 {
                break;
            }
            let index = self.next_listener;
            // Whoever floods one must not starve the others: the next turn begins behind the one that took it all.
            self.next_listener = (index + 1) % self.listeners.len();
            while left > 0 {
                match self.listeners[index].accept() {
                    Ok((stream, peer)) => {
                        left -= 1;
                        self.admit(hub, stream, peer);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_out_of_fds(&error) => {
                        // The edge is spent, so this is tried again by time, and `accepts` stays set.
                        hub.stats.out_of_fds += 1;
                        self.accept_retry = Some(now + ACCEPT_RETRY);
                        return;
                    }
                    Err(error) => log::debug!("a connection was gone before it was accepted: {error}"),
                }
            }
        }
        self.accepts = left == 0;
    }

    fn admit(&mut self, hub: &mut Hub, mut stream: mio::net::TcpStream, peer: std::net::SocketAddr) {
        let is_over = self.open.fetch_add(1, Ordering::Relaxed) >= self.connections_max;
        if is_over {
            self.open.fetch_sub(1, Ordering::Relaxed); // it takes nobody's place while it says goodbye
        }
        if is_over && self.turned_away >= TURNED_AWAY_MAX {
            hub.stats.turned_away += 1;
            let _ = stream.write(BUSY);
            let _ = stream.shutdown(Shutdown::Write);
            return;
        }
        let key = hub.open(peer);
        let registered =
            self.poll.registry().register(&mut stream, token(key), Interest::READABLE | Interest::WRITABLE);
        self.connections.insert(key.slot, stream, is_over);
        if is_over {
            self.turned_away += 1;
            hub.turn_away(key.slot);
        }
        if let Err(error) = registered {
            static LIMIT: LogLimit = LogLimit::new();
            LIMIT.say(|more| log::error!("cannot poll a connection: {error}{more}"));
            hub.abandon(key.slot);
        }
    }

    /// Closes the sockets of the connections that are over.
    pub(crate) fn close(&mut self, ended: Vec<Ended>) {
        for ended in ended {
            let connection = self.connections.remove(ended);
            if connection.is_turned_away {
                self.turned_away -= 1;
            } else {
                self.open.fetch_sub(1, Ordering::Relaxed);
            }
            self.accept_retry = None; // a file descriptor is free again
        }
    }
}

fn sort_event(
    event: &Event,
    key: ConnectionKey,
    hub: &mut Hub,
    connections: &mut Connections,
    ready: &mut Vec<ConnectionKey>,
) {
    if !hub.is_current(key) {
        return; // closed in an earlier turn, and perhaps its slot has another connection
    }
    if event.is_writable() {
        hub.writable(key.slot);
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
        config::Config,
        engine::{hub::Limits, listener::listen},
    };

    #[test]
    fn a_flood_on_one_listener_does_not_starve_the_others() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let mut listeners: Vec<_> = (0..3).map(|_| listen(any, 1, 0).expect("a free port").remove(0)).collect();
        let ports: Vec<_> =
            listeners.iter_mut().map(|listener| listener.local_addr().expect("it listens").port()).collect();
        let mut hub = Hub::new(0, 1, Limits::new(&Config::default(), 1 << 30, 1));
        let poll = Poll::new().expect("a poll");
        let mut reactor = Reactor::new(poll, listeners, Arc::default(), usize::MAX).expect("a reactor");
        let connect = |port: u16| TcpStream::connect(("127.0.0.1", port)).expect("the backlog takes it");
        // A connection is in the backlog when its connect has returned.
        let _clients: Vec<_> =
            [&[ports[0]; 3 * ACCEPTS_PER_TURN][..], &ports[1..]].concat().into_iter().map(connect).collect();
        reactor.accept(&mut hub, Duration::ZERO);
        reactor.accept(&mut hub, Duration::ZERO);
        assert_eq!(hub.stats.accepted as usize, 2 * ACCEPTS_PER_TURN);
        let port_of = |slot| {
            let stream = reactor.connections.get(slot).stream.as_ref().expect("it was accepted");
            stream.local_addr().expect("it is connected").port()
        };
        let mut accepted: Vec<_> = (0..2 * ACCEPTS_PER_TURN as u32).map(port_of).collect();
        accepted.sort_unstable();
        accepted.dedup();
        assert_eq!(accepted.len(), 3, "of {ports:?} only {accepted:?} were served");
        reactor.accept(&mut hub, Duration::ZERO);
        assert!(reactor.accepts, "whether there is more is not known");
        reactor.accept(&mut hub, Duration::ZERO);
        assert_eq!(hub.stats.accepted as usize, 3 * ACCEPTS_PER_TURN + 2);
        assert!(!reactor.accepts);
    }
}

//! Connections of trusted proxies that begin with a header of the PROXY protocol: they get a slot only when the whole
//! header is there.
//!
//! The header is looked at in the socket, then exactly its bytes are taken out. So the connection begins behind it, with
//! plain HTTP or with TLS, as if it came from the client.

use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use mio::{Interest, Registry, Token, net::TcpStream};

use crate::{
    config::{Access, GREETINGS_MAX},
    engine::{arrival::Role, limits::Limits, log_limit::LogLimit, turn::Accepted},
    protocol::proxy::{self, HEADER_BYTES_MAX, NoHeader, ProxyHeader},
};

/// A bit of a token that no connection has: slots stay far below it. Listeners have it too, but with a generation of only
/// ones, which no greeting has.
const GREETING: usize = 1 << 31;
const GENERATION_SHIFT: u32 = 32;

/// The connections of one core whose header is not complete.
pub(crate) struct Greetings {
    access: Arc<Access>,
    /// The time in which a header must be complete.
    timeout: Duration,
    /// The oldest first: all have the same time.
    waiting: VecDeque<Greeting>,
    /// Those that have got bytes, or their end, since they were looked at.
    heard: VecDeque<Heard>,
    next_generation: u32,
    /// Connections that were closed because of their header, since [`Greetings::take_refused`].
    refused: u64,
}

struct Greeting {
    token: Token,
    since: Duration,
    accepted: Accepted<TcpStream>,
}

/// An event of a connection.
struct Heard {
    token: Token,
    /// Nothing more will come.
    is_end: bool,
}

/// What is known of a header.
enum Seen {
    Whole(ProxyHeader),
    Part,
    /// The connection is broken, or what it sends is no header.
    Broken,
}

impl Greetings {
    pub(crate) fn new() -> Self {
        Self {
            access: Arc::default(),
            timeout: Duration::ZERO,
            waiting: VecDeque::new(),
            heard: VecDeque::new(),
            next_generation: 0,
            refused: 0,
        }
    }

    /// Says from now on which connections begin with a header.
    pub(crate) fn set_limits(&mut self, limits: &Limits) {
        self.access = Arc::clone(&limits.access);
        self.timeout = Duration::from_millis(limits.handshake_timeout);
    }

    /// Whether a token is one of a greeting.
    pub(crate) fn has(token: Token) -> bool {
        token.0 & GREETING != 0
    }

    /// Notes that a connection has got bytes, or that nothing more will come.
    pub(crate) fn hear(&mut self, token: Token, is_end: bool) {
        match self.heard.iter_mut().find(|heard| heard.token == token) {
            Some(heard) => heard.is_end |= is_end,
            None if self.waiting.iter().any(|greeting| greeting.token == token) => {
                self.heard.push_back(Heard { token, is_end });
            }
            None => {}
        }
    }

    /// Whether a connection can be looked at.
    pub(crate) fn has_heard(&self) -> bool {
        !self.heard.is_empty()
    }

    /// When the next header is late.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.waiting.front().map(|oldest| oldest.since + self.timeout)
    }

    /// The connections that were closed since the last call.
    pub(crate) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Passes on an accepted connection: at once if it needs no header, or its header is there. Otherwise the connection
    /// waits here.
    pub(crate) fn greet(
        &mut self,
        registry: &Registry,
        now: Duration,
        mut accepted: Accepted<TcpStream>,
    ) -> Option<Accepted<TcpStream>> {
        let peer = accepted.peer.map(|peer| peer.ip());
        let needs_none =
            accepted.role != Role::Public || !self.access.has_proxy_protocol() || !self.access.trusts(peer);
        if needs_none {
            return Some(accepted);
        }
        match see(&accepted.stream) {
            Seen::Whole(header) => return self.pass(accepted, header),
            Seen::Broken => {
                self.refuse(&accepted, "no header of the PROXY protocol");
                return None;
            }
            Seen::Part => {}
        }
        let token = Token((self.next_generation as usize) << GENERATION_SHIFT | GREETING);
        self.next_generation = (self.next_generation + 1) % u32::MAX;
        if let Err(error) = registry.register(&mut accepted.stream, token, Interest::READABLE) {
            log::debug!("cannot poll a connection: {error}");
            self.refused += 1;
            return None;
        }
        if self.waiting.len() == GREETINGS_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.refuse(&oldest.accepted, "too many headers are incomplete");
        }
        self.waiting.push_back(Greeting { token, since: now, accepted });
        None
    }

    /// The next connection whose header has become complete, of a role that is taken now. Closes the late ones.
    pub(crate) fn next(
        &mut self,
        registry: &Registry,
        now: Duration,
        takes: impl Fn(Role) -> bool,
    ) -> Option<Accepted<TcpStream>> {
        while self.deadline().is_some_and(|late| late <= now)
            && let Some(late) = self.waiting.pop_front()
        {
            self.refuse(&late.accepted, "its header took too long");
        }
        if !takes(Role::Public) {
            return None;
        }
        while let Some(Heard { token, is_end }) = self.heard.pop_front() {
            let Some(index) = self.waiting.iter().position(|greeting| greeting.token == token) else { continue };
            let seen = see(&self.waiting[index].accepted.stream);
            if matches!(seen, Seen::Part) && !is_end {
                continue;
            }
            let Some(Greeting { mut accepted, .. }) = self.waiting.remove(index) else { continue };
            match seen {
                // Only the next poll may tell of the connection again, by its own token.
                Seen::Whole(header) if registry.deregister(&mut accepted.stream).is_ok() => {
                    if let Some(accepted) = self.pass(accepted, header) {
                        return Some(accepted);
                    }
                }
                _ => self.refuse(&accepted, "no header of the PROXY protocol"),
            }
        }
        None
    }

    /// Takes the header out of the socket.
    fn pass(&mut self, mut accepted: Accepted<TcpStream>, header: ProxyHeader) -> Option<Accepted<TcpStream>> {
        let mut buffer = [0; HEADER_BYTES_MAX];
        // The bytes were just seen, so one read brings all of them.
        match accepted.stream.read(&mut buffer[..header.bytes]) {
            Ok(bytes) if bytes == header.bytes => {
                accepted.is_told = header.client.is_some();
                accepted.peer = header.client.or(accepted.peer);
                Some(accepted)
            }
            _ => {
                self.refuse(&accepted, "its header cannot be read");
                None
            }
        }
    }

    /// Counts a connection that is dropped.
    fn refuse(&mut self, accepted: &Accepted<TcpStream>, why: &str) {
        static LIMIT: LogLimit = LogLimit::new();
        self.refused += 1;
        if log::log_enabled!(log::Level::Debug) {
            let peer = accepted.peer.map_or_else(|| "unix:".to_owned(), |peer| peer.ip().to_string());
            LIMIT.say(|more| log::debug!("a connection of the proxy {peer} is closed: {why}{more}"));
        }
    }
}

/// Looks at the beginning of what a socket has, and leaves it there.
fn see(stream: &TcpStream) -> Seen {
    let mut buffer = [0; HEADER_BYTES_MAX];
    let bytes = loop {
        match stream.peek(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Seen::Part,
            Err(_) | Ok(0) => return Seen::Broken,
            Ok(bytes) => break bytes,
        }
    };
    match proxy::parse(&buffer[..bytes]) {
        Ok(Some(header)) => Seen::Whole(header),
        Ok(None) => Seen::Part,
        Err(NoHeader) => Seen::Broken,
    }
}

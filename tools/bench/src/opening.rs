//! How the generator opens its connections: some at a time, or very many at once beside other traffic.

use std::time::{Duration, Instant};

use mio::{Interest, Token};

use crate::{
    connection::{Connection, Entry},
    dialect::Role,
    failure::Failure,
    load::Load,
};

/// The most connections that usually open at the same time. No listen backlog refuses that many.
const OPENING_MAX: usize = 128;
/// How long a refused connection waits before it tries again.
const RETRY: Duration = Duration::from_millis(200);

/// How a rush of connections opens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rush {
    /// The most connections that open at the same time.
    pub(crate) at_once: usize,
    /// The most that start in a turn.
    pub(crate) starts: usize,
    /// How long a turn waits for events.
    pub(crate) patience: Duration,
}

impl Load {
    /// Opens a connection for each role, and returns when every subscription is live. Returns the index of the first
    /// one; the others follow. `on_progress` receives the number of usable connections.
    pub(crate) fn open(
        &mut self,
        roles: &[Role],
        body_bytes: usize,
        mut on_progress: impl FnMut(usize),
    ) -> Result<usize, Failure> {
        let usual = Rush { at_once: OPENING_MAX, starts: OPENING_MAX, patience: Duration::from_millis(100) };
        self.rush(roles, body_bytes, usual, |open| {
            on_progress(open);
            Ok(())
        })
    }

    /// The same as `rush` says. `beside` is called after each turn. Where refusals are allowed, a refused connection
    /// tries again.
    pub(crate) fn rush(
        &mut self,
        roles: &[Role],
        body_bytes: usize,
        rush: Rush,
        mut beside: impl FnMut(usize) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let (first, before) = (self.connections.len(), self.opened);
        let (mut open, mut last_change) = (0, Instant::now());
        let mut retries: Vec<(Instant, usize)> = Vec::new();
        while open < roles.len() {
            let room = rush.at_once.saturating_sub(self.connections.len() - first - open).min(rush.starts);
            for index in (self.connections.len()..first + roles.len()).take(room) {
                let connection = self.start_connection(index, &roles[index - first], body_bytes)?;
                self.connections.push(connection);
            }
            self.turn(Some(rush.patience), None)?;
            if let Some(refused) = &mut self.refused {
                let at = Instant::now() + RETRY;
                retries.extend(refused.drain(..).map(|index| (at, index)));
            }
            let due = retries.partition_point(|(at, _)| *at <= Instant::now());
            for (_, index) in retries.drain(..due) {
                self.connections[index] = self.start_connection(index, &roles[index - first], body_bytes)?;
            }
            if self.opened - before > open {
                (open, last_change) = (self.opened - before, Instant::now());
            } else if last_change.elapsed() > self.silence {
                let (wanted, silence) = (roles.len(), self.silence);
                let why = format!("{open} of {wanted} connections opened, then none for {silence:?}");
                return Err(Failure::Server(why));
            }
            beside(open)?;
        }
        Ok(first)
    }

    fn start_connection(&mut self, index: usize, role: &Role, body_bytes: usize) -> Result<Connection, Failure> {
        let cannot_connect = || Failure::io(format!("cannot connect to {}", self.address));
        let tls = match (self.prepared.pop(), &self.tls) {
            (Some(prepared), _) => Some(prepared),
            (None, Some(tls)) => Some(tls.session().map_err(cannot_connect())?),
            (None, None) => None,
        };
        let tls = tls.map(Box::new);
        let headers = self.tokens.as_ref().map_or_else(String::new, |tokens| tokens.header(index));
        let (number, entry) = (self.source + index, Entry { tls, headers });
        let mut connection =
            Connection::start(self.address, number, self.dialect, role, body_bytes, entry).map_err(cannot_connect())?;
        self.poll
            .registry()
            .register(connection.wire.stream(), Token(index), Interest::READABLE | Interest::WRITABLE)
            .map_err(Failure::io("epoll"))?;
        Ok(connection)
    }
}

//! The line in the log about the end of each connection, at `debug`: the address of its client, who ended it and why.

use std::{
    collections::HashMap,
    fmt::{self, Display},
    net::SocketAddr,
};

use foldhash::fast::RandomState;

use crate::engine::{
    arrival::Arrival,
    hub::Hub,
    session::{Incoming, Phase},
    slot::Slot,
};

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End<'a> {
    /// The server closes the WebSocket with this code and reason.
    Closed(u16, &'a str),
    /// The client closes it, with a reason and perhaps a code.
    ByClient(Option<u16>, &'a str),
    /// The HTTP connection ends after an answer with this status.
    Answered(u16),
    /// It ends without a close frame or an answer, for this reason.
    Dropped(fmt::Arguments<'a>),
}

impl Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(code, reason) => write!(f, "closed with {code}: {reason}"),
            Self::ByClient(Some(code), reason) => write!(f, "the client has closed it with {code}: {reason}"),
            Self::ByClient(None, _) => f.write_str("the client has closed it without a code"),
            Self::Answered(status) => write!(f, "closed after the answer {status}"),
            Self::Dropped(why) => write!(f, "ended: {why}"),
        }
    }
}

/// The clients of open connections, by slot: all of those that have opened since the log is at `debug`, and with listeners of
/// `admin` those that trusted proxies have told. The others have their sockets' peers.
#[derive(Debug, Default)]
pub(super) struct Clients(HashMap<Slot, Option<SocketAddr>, RandomState>);

impl Clients {
    /// Notes the client of a connection that upgrades now.
    pub(super) fn note(&mut self, slot: Slot, arrival: &Arrival, has_admin: bool) {
        if is_logged() || (has_admin && arrival.is_told()) {
            self.0.insert(slot, arrival.client());
        }
    }

    /// Forgets the client of a connection that has ended.
    pub(super) fn forget(&mut self, slot: Slot) {
        if !self.0.is_empty() {
            self.0.remove(&slot);
        }
    }

    /// The client of a connection, if it was noted.
    pub(super) fn get(&self, slot: Slot) -> Option<SocketAddr> {
        self.0.get(&slot).copied().flatten()
    }
}

/// A client in the log; `None` came before the log was at `debug`.
struct Shown(Option<Option<SocketAddr>>);

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("an earlier connection"),
            Some(None) => f.write_str("unix:"),
            // A proxy may tell an address without a port.
            Some(Some(client)) if client.port() == 0 => client.ip().to_canonical().fmt(f),
            Some(Some(client)) => SocketAddr::new(client.ip().to_canonical(), client.port()).fmt(f),
        }
    }
}

impl Hub {
    /// Logs the end of a connection that has been in use until now.
    pub(super) fn log_end(&self, slot: Slot, end: End<'_>) {
        if is_logged() {
            let session = &self.sessions[slot];
            let client = match session.incoming.as_deref() {
                Some(Incoming::Http(request)) if session.phase() == Phase::Http => Some(request.arrival.client()),
                _ => self.clients.0.get(&slot).copied(),
            };
            log::debug!("{}: {end}", Shown(client));
        }
    }
}

fn is_logged() -> bool {
    log::log_enabled!(log::Level::Debug)
}

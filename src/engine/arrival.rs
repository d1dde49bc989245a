//! The origin of a connection.

use std::{
    fmt::{self, Display},
    net::SocketAddr,
};

/// The purpose of a listener and of all connections that it accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// For the server's clients.
    #[default]
    Public,
    /// Only for browsers that load the server's pages.
    Pages,
    /// For operators and backends.
    Admin,
}

/// What carries the bytes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// TLS over TCP.
    Tls,
    /// A unix socket.
    Unix,
}

/// Where a connection comes from, and which kind of place it has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// The peer's address, or the one that a trusted proxy told by the PROXY protocol; `None` on a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// The client of the current request, if the peer is a trusted proxy that names one in a header.
    pub(crate) forwarded: Option<SocketAddr>,
    /// The peer was told by a trusted proxy, so it is not the peer of the socket.
    pub(crate) is_told: bool,
    /// The peer is a trusted proxy, whose headers name the client.
    pub(crate) is_proxy: bool,
    /// The listener's address is this machine's alone.
    pub(crate) is_loopback: bool,
    /// What carries its bytes.
    pub(crate) transport: Transport,
    /// The role of the listener that accepted it.
    pub(crate) role: Role,
    /// The connection is over the limit of its role, and has a reserved place for one request.
    pub(crate) is_reserved: bool,
    /// The core accepted it after it had begun to close its clients' connections.
    pub(crate) is_late: bool,
}

impl Arrival {
    /// The client's address, as far as it is known.
    pub(crate) fn client(&self) -> Option<SocketAddr> {
        self.forwarded.or(self.peer)
    }

    /// Whether a trusted proxy has told the client.
    pub(crate) fn is_told(&self) -> bool {
        self.forwarded.is_some() || self.is_told
    }

    /// [`Arrival::client`] for a log.
    pub(crate) fn shown(&self) -> impl Display {
        Shown(self.client())
    }
}

struct Shown(Option<SocketAddr>);

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(client) => client.ip().to_canonical().fmt(f),
            None => f.write_str("unix:"),
        }
    }
}

impl From<Option<SocketAddr>> for Arrival {
    /// A client of the server, within the limit.
    fn from(peer: Option<SocketAddr>) -> Self {
        Self { peer, ..Self::default() }
    }
}

impl From<SocketAddr> for Arrival {
    /// The same as from `Some` of the address.
    fn from(peer: SocketAddr) -> Self {
        Some(peer).into()
    }
}

//! How a connection has come in.

use std::net::SocketAddr;

/// What a listener is for. All that it accepts is for the same.
///
/// A role for administrators comes with the first thing that is served to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// For the server's clients.
    #[default]
    Public,
    /// For browsers that load the server's pages, and for nothing else.
    Pages,
}

/// Where a connection comes from, and which place it has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// The peer's address; `None` on a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// The role of the listener that has accepted it.
    pub(crate) role: Role,
    /// It is over the limit of its role, and has a reserved place for one request.
    pub(crate) is_reserved: bool,
}

impl From<Option<SocketAddr>> for Arrival {
    /// A client of the server, on a place of its own.
    fn from(peer: Option<SocketAddr>) -> Self {
        Self { peer, ..Self::default() }
    }
}

impl From<SocketAddr> for Arrival {
    /// As from `Some` of the address.
    fn from(peer: SocketAddr) -> Self {
        Some(peer).into()
    }
}

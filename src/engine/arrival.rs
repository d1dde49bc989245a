//! The origin of a connection.

use std::net::SocketAddr;

/// The purpose of a listener and of all connections that it accepts.
///
/// A role for administrators can be added with the first service for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// For the server's clients.
    #[default]
    Public,
    /// Only for browsers that load the server's pages.
    Pages,
}

/// Where a connection comes from, and which kind of place it has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// The peer's address; `None` on a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// The role of the listener that accepted it.
    pub(crate) role: Role,
    /// The connection begins with a TLS handshake.
    #[allow(dead_code, reason = "no core speaks TLS yet")]
    pub(crate) is_tls: bool,
    /// The connection is over the limit of its role, and has a reserved place for one request.
    pub(crate) is_reserved: bool,
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

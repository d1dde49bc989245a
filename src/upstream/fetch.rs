//! A request to an upstream server, on its way from a core to a worker.

use std::net::IpAddr;

use ureq::http::{Method, Uri};
use url::Url;

use crate::{engine::slot::ConnectionKey, extension::ConnectionId};

use super::queue::Place;

/// The method and URL of an `upstream` header, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) uri: Uri,
    /// The server's number, see [`Allow::server`](crate::config::Allow::server).
    pub(super) server: usize,
}

/// A request for a message.
#[derive(Debug)]
pub(super) struct Fetch {
    /// The core of the sender's connection.
    pub(super) core: u32,
    pub(super) key: ConnectionKey,
    /// The sender's address; unspecified on a unix socket.
    pub(super) peer: IpAddr,
    pub(super) target: Target,
    pub(super) command: Box<[u8]>,
    pub(super) content_type: Option<Box<[u8]>>,
    pub(super) ack: Option<Box<[u8]>>,
    pub(super) wants_reply: bool,
    /// The whole message; empty if the method takes no body.
    pub(super) body: Box<[u8]>,
    /// The place in the queue; none once the request has begun.
    pub(super) place: Option<Place>,
}

/// The requests of one connection to one server. They are sent one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    core: u32,
    key: ConnectionKey,
    /// The server's number.
    pub(super) server: usize,
}

impl Fetch {
    pub(super) fn flow(&self) -> Flow {
        Flow { core: self.core, key: self.key, server: self.target.server }
    }

    /// The sender's connection, as processors and filters know it.
    pub(super) fn connection(&self) -> ConnectionId {
        ConnectionId::new(self.core, self.key)
    }
}

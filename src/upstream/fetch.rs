//! A request to an upstream server, on its way from a core to a worker.

use std::net::IpAddr;

use ureq::http::{Method, Uri};
use url::Url;

use crate::{engine::slot::ConnectionKey, extension::ConnectionId};

use super::queue::Place;

/// What an `upstream` header asks for, in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) uri: Uri,
    /// The number of its server, see [`Allow::server`].
    pub(super) server: usize,
}

/// A request to be made for a message.
#[derive(Debug)]
pub(super) struct Fetch {
    /// The core of the connection that has sent the message.
    pub(super) core: u32,
    pub(super) key: ConnectionKey,
    /// Who has sent it; unspecified if the peer has no address.
    pub(super) peer: IpAddr,
    pub(super) target: Target,
    pub(super) command: Box<[u8]>,
    pub(super) content_type: Option<Box<[u8]>>,
    pub(super) ack: Option<Box<[u8]>>,
    pub(super) wants_reply: bool,
    /// The whole message; empty if the method has no body.
    pub(super) body: Box<[u8]>,
    /// Its place in the queue, until it begins.
    pub(super) place: Option<Place>,
}

/// What is done one after the other: the requests of one connection to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    core: u32,
    key: ConnectionKey,
    /// Scheme, host and port, by number.
    pub(super) server: usize,
}

impl Fetch {
    pub(super) fn flow(&self) -> Flow {
        Flow { core: self.core, key: self.key, server: self.target.server }
    }

    /// The connection that asks, by the name that processors and filters know it by.
    pub(super) fn connection(&self) -> ConnectionId {
        ConnectionId::new(self.core, self.key)
    }
}

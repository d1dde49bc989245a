//! The server's record of a connection, for processors and filters. A server without any of them keeps no records.

use std::{any::Any, fmt, net::SocketAddr, str::FromStr, sync::Arc};

use crate::{
    engine::slot::{ConnectionKey, Slot},
    extension::Processor,
    protocol::http::RequestHead,
};

/// The id of one connection of one server. A running server does not use it again, within four billion connections of a
/// core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    core: u32,
    generation: u32,
    slot: Slot,
}

impl ConnectionId {
    pub(crate) fn new(core: u32, key: ConnectionKey) -> Self {
        Self { core, generation: key.generation, slot: key.slot }
    }

    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]
    /// The number of its core.
    pub(crate) fn core(self) -> u32 {
        self.core
    }

    pub(crate) fn key(self) -> ConnectionKey {
        ConnectionKey { slot: self.slot, generation: self.generation }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.core, self.slot, self.generation)
    }
}

impl FromStr for ConnectionId {
    type Err = ();

    /// # Errors
    /// It is no id as [`ConnectionId`] shows itself.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-').map(|part| part.parse().ok());
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(core)), Some(Some(slot)), Some(Some(generation)), None) => Ok(Self { core, generation, slot }),
            _ => Err(()),
        }
    }
}

/// The record of one connection. Its memory counts in `memory-budget`: a client decides how large its handshake is, up to the
/// limit of a request's head, and the record lives as long as the connection.
pub(crate) struct Profile {
    pub(super) id: ConnectionId,
    pub(super) peer: Option<SocketAddr>,
    pub(super) target: Box<str>,
    /// The handshake's headers, each as `name:value` and a line feed. No header contains a line feed.
    pub(super) headers: Box<[u8]>,
    pub(super) user: Option<Box<dyn Any + Send>>,
    /// The processors that were opened for this connection.
    pub(crate) opened: Vec<Arc<dyn Processor>>,
}

impl Profile {
    pub(crate) fn new(id: ConnectionId, peer: Option<SocketAddr>, head: &RequestHead<'_, '_>) -> Self {
        let mut headers = Vec::new();
        for header in head.headers {
            headers.extend_from_slice(header.name.as_bytes());
            headers.push(b':');
            headers.extend_from_slice(header.value);
            headers.push(b'\n');
        }
        let headers = headers.into_boxed_slice();
        Self { id, peer, target: head.target.into(), headers, user: None, opened: Vec::new() }
    }

    /// Its memory in bytes, without the user's value.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.target.len() + self.headers.len()
    }

    /// The first header of the handshake with this name, in any case, if it is UTF-8.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()?.split_once(':'))
    }
}

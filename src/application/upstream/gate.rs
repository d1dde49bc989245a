//! A core's way to the upstream workers: it lets pass what a prefix allows.

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use ureq::http::{Method, Uri};
use url::Url;

use crate::{
    config::{Allow, Denied, parse_url},
    engine::slot::{ConnectionKey, Slot},
    error::Refusal,
    extension::ConnectionId,
    protocol::message::{Control, Parsed},
};

use super::{
    Full, bad_upstream, forbidden,
    queue::{Place, Queue, Shares},
};

/// One core's. It blocks nobody: a queue that is full is a refusal.
#[derive(Debug)]
pub(crate) struct Gate {
    core: u32,
    allow: Arc<Allow>,
    queue: Queue,
    shares: RefCell<Shares>,
    /// Whose connection has a slot, or had it last: 17 bytes each.
    peers: Vec<IpAddr>,
}

/// What an `upstream` header asks for, in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) uri: Uri,
    /// The number of its server, see [`Allow::server`].
    pub(crate) server: usize,
}

/// A request to be made for a message.
#[derive(Debug)]
pub(crate) struct Fetch {
    /// The core of the connection that has sent the message.
    pub(crate) core: u32,
    pub(crate) key: ConnectionKey,
    /// Who has sent it; unspecified if the peer has no address.
    pub(crate) peer: IpAddr,
    pub(crate) target: Target,
    pub(crate) command: Box<[u8]>,
    pub(crate) content_type: Option<Box<[u8]>>,
    pub(crate) ack: Option<Box<[u8]>>,
    pub(crate) wants_reply: bool,
    /// The whole message; empty if the method has no body.
    pub(crate) body: Box<[u8]>,
    /// Its place in the queue, until it begins.
    pub(crate) place: Option<Place>,
}

/// What is done one after the other: the requests of one connection to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    core: u32,
    key: ConnectionKey,
    /// Scheme, host and port, by number.
    pub(crate) server: usize,
}

impl Gate {
    pub(crate) fn new(core: u32, allow: Arc<Allow>, queue: Queue) -> Self {
        Self { core, allow, queue, shares: RefCell::default(), peers: Vec::new() }
    }

    /// Notes whose connection has this slot now.
    pub(crate) fn opened(&mut self, slot: Slot, peer: IpAddr) {
        let slot = slot as usize;
        if self.peers.len() <= slot {
            self.peers.resize(slot + 1, Ipv4Addr::UNSPECIFIED.into());
        }
        self.peers[slot] = peer.to_canonical();
    }

    /// What a method and a URL ask for.
    ///
    /// # Errors
    /// `bad-upstream`, `forbidden`.
    pub(super) fn target(&self, method: &str, url: &str) -> Result<Target, Refusal> {
        let bad = || bad_upstream("the URL of an upstream header is none, or it names a user");
        let url = parse_url(url).ok_or_else(bad)?;
        let uri = Uri::try_from(url.as_str()).map_err(|_| bad())?;
        let server = self.allow.server(method, &url).map_err(|denied| {
            forbidden(match denied {
                Denied::Url => "this upstream URL is under no prefix that is allowed with --upstream-allow",
                Denied::Method => "this upstream URL may not be asked with this method: --upstream-allow names others",
            })
        })?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| bad())?;
        Ok(Target { method, url, uri, server })
    }

    /// Queues a request.
    ///
    /// # Errors
    /// What is full.
    pub(super) fn submit(&self, key: ConnectionKey, message: Parsed<'_>, target: Target) -> Result<(), Full> {
        let has_body = !matches!(target.method, Method::GET | Method::HEAD);
        let body = if has_body { message.payload } else { &[] };
        let content_type = content_type(message);
        // The largest parts of what it keeps; the rest is bounded by the number of messages.
        let bytes = body.len() + 2 * target.url.as_str().len() + content_type.map_or(0, <[u8]>::len);
        let peer = self.peers.get(key.slot as usize).copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        self.queue.push(&mut self.shares.borrow_mut(), (key, peer), bytes, |place| Fetch {
            core: self.core,
            key,
            peer,
            target,
            command: message.command().into(),
            content_type: content_type.map(Into::into),
            ack: message.values(Control::Ack).next().map(Into::into),
            wants_reply: message.values(Control::UpstreamReply).any(|value| value == b"true"),
            body: body.into(),
            place: Some(place),
        })
    }
}

fn content_type(message: Parsed<'_>) -> Option<&[u8]> {
    let is_one = |(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(b"content-type");
    message.headers().find(is_one).map(|(_, value)| value)
}

impl Fetch {
    pub(crate) fn lane(&self) -> Lane {
        Lane { core: self.core, key: self.key, server: self.target.server }
    }

    /// The connection that asks, by the name that processors and filters know it by.
    pub(crate) fn connection(&self) -> ConnectionId {
        ConnectionId::new(self.core, self.key)
    }
}

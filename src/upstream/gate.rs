//! A core's way to the upstream workers: it checks requests against the allowed prefixes and queues them.

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use ureq::http::{Method, Uri};

use crate::{
    application::Upstream,
    config::{Allow, Denied, parse_url},
    engine::{
        hub::Hub,
        slot::{ConnectionKey, Slot},
    },
    error::{Reason, Refusal},
    protocol::message::{Control, Parsed},
};

use super::{
    fetch::{Fetch, Target},
    queue::{Full, Queue, Shares},
};

/// Stands for the peer of a unix socket, which has no address.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// One core's gate. It never blocks: it refuses a request if the queue is full.
#[derive(Debug)]
pub(super) struct Gate {
    core: u32,
    allow: Arc<Allow>,
    queue: Queue,
    shares: RefCell<Shares>,
    /// By slot, the address of its current or last connection: 17 bytes each.
    peers: Vec<IpAddr>,
}

impl Gate {
    pub(super) fn new(core: u32, allow: Arc<Allow>, queue: Queue) -> Self {
        Self { core, allow, queue, shares: RefCell::default(), peers: Vec::new() }
    }

    /// Parses a method and a URL, and checks that a prefix allows them.
    ///
    /// # Errors
    /// `bad-upstream`, `forbidden`.
    fn target(&self, method: &str, url: &str) -> Result<Target, Refusal> {
        let bad = || Refusal::because(Reason::BadUpstream, "the URL of an upstream header is none, or it names a user");
        let url = parse_url(url).ok_or_else(bad)?;
        let uri = Uri::try_from(url.as_str()).map_err(|_| bad())?;
        let server = self.allow.server(method, &url).map_err(forbidden)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| bad())?;
        Ok(Target { method, url, uri, server })
    }

    /// Puts a request into the queue.
    ///
    /// # Errors
    /// [`Full`].
    fn push(&self, key: ConnectionKey, message: Parsed<'_>, target: Target) -> Result<(), Full> {
        let has_body = !matches!(target.method, Method::GET | Method::HEAD);
        let body = if has_body { message.payload } else { &[] };
        let content_type = content_type(message);
        // The large parts of a request. The queue's limit of messages bounds the others.
        let bytes = body.len() + 2 * target.url.as_str().len() + content_type.map_or(0, <[u8]>::len);
        let peer = self.peers.get(key.slot as usize).copied().unwrap_or(NO_ADDRESS);
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

impl Upstream for Gate {
    fn opened(&mut self, slot: Slot, peer: Option<SocketAddr>) {
        let slot = slot as usize;
        if self.peers.len() <= slot {
            self.peers.resize(slot + 1, NO_ADDRESS);
        }
        self.peers[slot] = peer.map_or(NO_ADDRESS, |peer| peer.ip().to_canonical());
    }

    fn check(&self, method: &str, url: &str) -> Result<(), Refusal> {
        self.target(method, url).map(drop)
    }

    fn submit(&self, hub: &mut Hub, slot: Slot, message: Parsed<'_>, method: &str, url: &str) -> Result<(), Refusal> {
        let target = self.target(method, url)?;
        let pushed = self.push(hub.sessions.key(slot), message, target);
        match pushed {
            Ok(()) => hub.stats.upstream_requests += 1,
            Err(Full::Queue) => hub.stats.upstream_busy += 1,
            Err(Full::Share) => hub.stats.upstream_over_share += 1,
        }
        pushed.map_err(Full::refusal)
    }
}

fn content_type(message: Parsed<'_>) -> Option<&[u8]> {
    let is_one = |(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(b"content-type");
    message.headers().find(is_one).map(|(_, value)| value)
}

fn forbidden(denied: Denied) -> Refusal {
    let sentence = match denied {
        Denied::Url => "this upstream URL is under no prefix that is allowed with --upstream-allow",
        Denied::Method => "this upstream URL may not be asked with this method: --upstream-allow names others",
    };
    Refusal::because(Reason::Forbidden, sentence)
}

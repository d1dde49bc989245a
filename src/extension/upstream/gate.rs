//! A core's way to the upstream workers: it lets pass what a prefix allows.

use std::sync::Arc;

use ureq::http::{Method, Uri};
use url::{Position, Url};

use crate::{
    config::{Prefix, parse_url},
    engine::session::ConnectionKey,
    error::{Reason, Refusal},
    extension::{control::Parsed, upstream::queue::Queue},
    protocol::message::Control,
};

use super::{bad_upstream, forbidden};

/// One core's. It blocks nobody: a queue that is full is a refusal.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) core: u32,
    pub(crate) prefixes: Arc<[Prefix]>,
    pub(crate) queue: Queue,
}

/// What an `upstream` header asks for, in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) uri: Uri,
}

/// A request to be made for a message.
#[derive(Debug)]
pub(crate) struct Fetch {
    /// The core of the connection that has sent the message.
    pub(crate) core: u32,
    pub(crate) key: ConnectionKey,
    pub(crate) target: Target,
    pub(crate) command: Box<[u8]>,
    pub(crate) content_type: Option<Box<[u8]>>,
    pub(crate) ack: Option<Box<[u8]>>,
    pub(crate) wants_reply: bool,
    /// The whole message; empty if the method has no body.
    pub(crate) body: Box<[u8]>,
    /// What it takes of the queue, in bytes.
    pub(crate) cost: usize,
}

/// What is done one after the other: the requests of one connection to one server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    core: u32,
    slot: u32,
    generation: u32,
    /// Scheme, host and port.
    origin: Box<str>,
}

impl Gate {
    /// What a method and a URL ask for.
    ///
    /// # Errors
    /// `bad-upstream`, `forbidden`.
    pub(super) fn target(&self, method: &str, url: &str) -> Result<Target, Refusal> {
        let bad = || bad_upstream("the URL of an upstream header is none, or it names a user");
        let url = parse_url(url).ok_or_else(bad)?;
        let uri = Uri::try_from(url.as_str()).map_err(|_| bad())?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| bad())?;
        if !self.prefixes.iter().any(|prefix| prefix.allows(&url)) {
            return Err(forbidden("this upstream URL is under no prefix that is allowed with --upstream-allow"));
        }
        Ok(Target { method, url, uri })
    }

    /// Queues a request.
    ///
    /// # Errors
    /// `upstream-busy`, and what [`Gate::target`] says.
    pub(super) fn submit(
        &self,
        key: ConnectionKey,
        message: Parsed<'_>,
        method: &str,
        url: &str,
    ) -> Result<(), Refusal> {
        let Parsed { head, payload, .. } = message;
        let target = self.target(method, url)?;
        let has_body = !matches!(target.method, Method::GET | Method::HEAD);
        let body = if has_body { payload } else { &[] };
        // The largest parts of what it keeps; the rest is bounded by the number of messages.
        let cost = body.len() + 2 * target.url.as_str().len();
        let is_queued = self.queue.push(cost, || Fetch {
            core: self.core,
            key,
            target,
            command: head.command(payload).into(),
            content_type: content_type(message).map(Into::into),
            ack: head.values(payload, Control::Ack).next().map(Into::into),
            wants_reply: head.values(payload, Control::UpstreamReply).any(|value| value == b"true"),
            body: body.into(),
            cost,
        });
        if is_queued {
            return Ok(());
        }
        Err(Refusal::because(
            Reason::UpstreamBusy,
            "the queue of upstream requests is full, the message was not sent there",
        ))
    }
}

fn content_type(message: Parsed<'_>) -> Option<&[u8]> {
    let is_one = |(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(b"content-type");
    message.head.headers(message.payload).find(is_one).map(|(_, value)| value)
}

impl Fetch {
    pub(crate) fn lane(&self) -> Lane {
        let ConnectionKey { slot, generation } = self.key;
        let origin = self.target.url[..Position::BeforePath].into();
        Lane { core: self.core, slot, generation, origin }
    }
}

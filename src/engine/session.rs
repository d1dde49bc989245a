//! The protocol state of one connection: 32 bytes while it is idle, whatever it has done before.

use std::net::SocketAddr;

use tungstenite::protocol::frame::coding::Data;

use crate::{
    engine::subscriptions::Slot,
    protocol::{
        http::{ChunkedBody, HeadProgress, Persistence},
        utf8::Utf8,
    },
};

/// Where a connection is in its life. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It speaks HTTP, and may upgrade.
    Http,
    /// It speaks WebSocket.
    Open,
    /// Our close frame is in the outbox or sent; we wait for the peer's, and ignore its messages.
    Closing,
    /// Nothing of what it sends is read any more; when the outbox is empty our side is shut, and we wait for its end so
    /// that the last bytes are not lost to a reset.
    Lingering,
    /// Both sides have said goodbye: it is over when the outbox is empty.
    Ended,
    /// It is over: its slot waits to be reaped, and nothing may be sent to it any more.
    Over,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// Tells this connection from those that had its slot before.
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    /// Its input waits until a link to a peer has room.
    pub(crate) is_paused: bool,
    /// What it was still to be sent was given up.
    pub(crate) is_cut: bool,
    /// It is over `max-connections`: it is read for one request.
    pub(crate) is_reserved: bool,
    /// The bytes of `incoming` that the hub has counted, see `Hub::recount`.
    pub(crate) counted: u32,
    /// When something was heard of it; in HTTP, when the running request began; when it closes, since when. In
    /// milliseconds since the core's start.
    pub(crate) heard: u64,
    /// What has not been received whole yet. `None` while there is nothing: an idle connection owns no buffer.
    pub(crate) incoming: Option<Box<Incoming>>,
}

/// A connection that outlives the call that names it: its slot, and the generation that must still be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionKey {
    pub(crate) slot: Slot,
    pub(crate) generation: u32,
}

/// A connection that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) slot: Slot,
    /// Something that it was to be sent was given up, so what it got is no whole: it is reset.
    pub(crate) is_cut: bool,
}

/// What was received of something unfinished.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// Before the upgrade.
    Http(Request),
    /// After it.
    WebSocket(Fragments),
}

/// An HTTP request that is not whole.
#[derive(Debug)]
pub(crate) struct Request {
    /// The peer's address if it has one, for the handshake to pass on.
    pub(crate) peer: Option<SocketAddr>,
    /// Bytes of a head.
    pub(crate) partial: Vec<u8>,
    /// How far `partial` was looked at.
    pub(crate) progress: HeadProgress,
    /// The body that is being received.
    pub(crate) body: Option<Body>,
    /// Whether one was answered before: the wait for the next is idleness, not a late handshake.
    pub(crate) is_reused: bool,
}

/// A `/publish` body that is being received, or any other that is read over.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) framing: Framing,
    pub(crate) bytes: Vec<u8>,
    pub(crate) persistence: Persistence,
}

/// How a body ends.
#[derive(Debug)]
pub(crate) enum Framing {
    /// After this many more bytes.
    Length(usize),
    /// Where the chunks say.
    Chunked(ChunkedBody),
}

/// Unfinished WebSocket input.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    /// Bytes of a frame that is not whole, or of several when the connection is paused.
    pub(crate) partial: Vec<u8>,
    /// The payloads of a fragmented message so far.
    pub(crate) message: Vec<u8>,
    /// What the fragmented message is; `None` while there is none.
    pub(crate) kind: Option<Data>,
    /// Whether its text is UTF-8 so far.
    pub(crate) utf8: Utf8,
}

impl Session {
    /// A connection that was just accepted.
    pub(crate) fn new(generation: u32, peer: Option<SocketAddr>, now: u64) -> Self {
        let request =
            Request { peer, partial: Vec::new(), progress: HeadProgress::default(), body: None, is_reused: false };
        let incoming = Some(Box::new(Incoming::Http(request)));
        Self {
            generation,
            phase: Phase::Http,
            is_paused: false,
            is_cut: false,
            is_reserved: false,
            counted: 0,
            heard: now,
            incoming,
        }
    }

    /// The WebSocket input that is unfinished, if there is any.
    pub(crate) fn fragments(&mut self) -> Option<&mut Fragments> {
        match self.incoming.as_deref_mut() {
            Some(Incoming::WebSocket(fragments)) => Some(fragments),
            _ => None,
        }
    }

    /// Room for unfinished WebSocket input.
    pub(crate) fn fragments_mut(&mut self) -> &mut Fragments {
        if self.fragments().is_none() {
            self.incoming = Some(Box::new(Incoming::WebSocket(Fragments::default())));
        }
        self.fragments().expect("it was just made")
    }

    /// Whether it is open and nothing is unfinished.
    pub(crate) fn is_plain(&self) -> bool {
        self.phase == Phase::Open && self.incoming.is_none()
    }

    /// Takes the bytes that were kept of unfinished input.
    pub(crate) fn take_partial(&mut self) -> Vec<u8> {
        match self.incoming.as_deref_mut() {
            Some(Incoming::WebSocket(fragments)) => std::mem::take(&mut fragments.partial),
            Some(Incoming::Http(request)) => std::mem::take(&mut request.partial),
            None => Vec::new(),
        }
    }

    /// Keeps bytes of input; there must be none kept already.
    pub(crate) fn put_partial(&mut self, bytes: &[u8]) {
        let partial = match self.incoming.as_deref_mut() {
            Some(Incoming::Http(request)) => &mut request.partial,
            _ => &mut self.fragments_mut().partial,
        };
        debug_assert!(partial.is_empty());
        partial.extend_from_slice(bytes);
    }

    /// Gives the room for unfinished input back when there is none.
    pub(crate) fn tidy(&mut self) {
        if self.fragments().is_some_and(|fragments| fragments.partial.is_empty() && fragments.kind.is_none()) {
            self.incoming = None;
        }
    }

    /// The memory that unfinished input takes, in bytes.
    pub(crate) fn incoming_bytes(&self) -> usize {
        match self.incoming.as_deref() {
            None => 0,
            Some(Incoming::WebSocket(fragments)) => fragments.partial.capacity() + fragments.message.capacity(),
            Some(Incoming::Http(request)) => {
                request.partial.capacity() + request.body.as_ref().map_or(0, |body| body.bytes.capacity())
            }
        }
    }
}

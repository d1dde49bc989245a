//! The protocol state of one connection: 32 bytes while it is idle, whatever it has done before.

use tungstenite::protocol::frame::coding::Data;

use crate::{
    engine::{arrival::Arrival, slot::Slot, timers::Look},
    protocol::{
        encoding::Encoding,
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
    flags: Flags,
    /// What it may do.
    pub(crate) grant: Grant,
    /// How it is sent messages once it has upgraded.
    pub(crate) encoding: Encoding,
    /// The bytes of `incoming` that the hub has counted, see `Sessions::recount`.
    pub(crate) counted: u32,
    /// What it has used of the core lately.
    pub(crate) share: Share,
    /// The entry in the core's timers that counts, see `Sessions::schedule`.
    pub(crate) next_look: Option<Look>,
    /// When something was heard of it; in HTTP, when the running request began; when it closes, since when. In
    /// milliseconds for which the core has run, and even: it is odd when the peer was pinged since, see
    /// [`Session::ask`].
    pub(crate) heard: u64,
    /// What has not been received whole yet. `None` while there is nothing: an idle connection owns no buffer.
    pub(crate) incoming: Option<Box<Incoming>>,
}

/// What a connection has used of its core in a window of time, as `router/work.rs` counts it: the window's number in the upper
/// bits, and steps in the lower ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share(u16);

impl Share {
    /// Windows are told apart from this many others, and those of long ago are not.
    const WINDOWS: u64 = 64;
    const STEPS_MAX: u64 = u16::MAX as u64 / Self::WINDOWS;

    /// What was used in this window.
    pub(crate) fn steps(self, window: u64) -> u64 {
        let (of, steps) = (u64::from(self.0) / (Self::STEPS_MAX + 1), u64::from(self.0) % (Self::STEPS_MAX + 1));
        if of == window % Self::WINDOWS { steps } else { 0 }
    }

    /// Uses so many steps more in this window, which then may be more than are told apart.
    pub(crate) fn add(&mut self, window: u64, steps: u64) {
        let steps = self.steps(window).saturating_add(steps).min(Self::STEPS_MAX);
        self.0 = (window % Self::WINDOWS * (Self::STEPS_MAX + 1) + steps) as u16;
    }
}

/// A small number that stands for what a connection may do. Everybody has the same today. What depends on it is kept for
/// the grant, and never serves a connection that has another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant(u16);

#[cfg(test)]
impl Grant {
    /// A grant that nobody has.
    pub(crate) const OTHER: Self = Self(1);
}

/// Three facts in one byte, see the methods of [`Session`].
#[derive(Clone, Copy, Debug, Default)]
struct Flags(u8);

impl Flags {
    const PAUSED: u8 = 1;
    const MORE: u8 = 2;
    const CUT: u8 = 4;

    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    fn set(&mut self, flag: u8, value: bool) {
        self.0 = if value { self.0 | flag } else { self.0 & !flag };
    }
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
    /// How the connection has come in. It is forgotten when the connection upgrades.
    pub(crate) arrival: Arrival,
    /// Bytes of a head.
    pub(crate) partial: Vec<u8>,
    /// How far `partial` was looked at.
    pub(crate) progress: HeadProgress,
    /// The body that is being received.
    pub(crate) body: Option<Body>,
    /// Whether one was answered before: the wait for the next is idleness, not a late handshake.
    pub(crate) is_reused: bool,
}

/// A body that is being received.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) endpoint: Endpoint,
    pub(crate) bytes_max: usize,
    pub(crate) framing: Framing,
    pub(crate) bytes: Vec<u8>,
    pub(crate) persistence: Persistence,
}

/// What a body is for: a number that means something to the application alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(pub(crate) u8);

/// How a body ends.
#[derive(Debug)]
pub(crate) enum Framing {
    /// After this many more bytes.
    Length(usize),
    /// Where the chunks say.
    Chunked(ChunkedBody),
}

/// Unfinished WebSocket input.
#[derive(Debug)]
pub(crate) struct Fragments {
    /// When its first byte came, in milliseconds for which the core has run: nothing that follows moves it.
    pub(crate) since: u64,
    /// Bytes of a frame that is not whole, or of several when they are kept for later.
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
    pub(crate) fn new(generation: u32, arrival: Arrival, now: u64) -> Self {
        let (partial, progress) = (Vec::new(), HeadProgress::default());
        let request = Request { arrival, partial, progress, body: None, is_reused: false };
        let incoming = Some(Box::new(Incoming::Http(request)));
        Self {
            generation,
            phase: Phase::Http,
            flags: Flags::default(),
            grant: Grant::default(),
            encoding: Encoding::default(),
            counted: 0,
            share: Share::default(),
            next_look: None,
            heard: now,
            incoming,
        }
    }

    /// Whether it is not read: its next message waits until a link has room, or the last one is not finished.
    pub(crate) fn is_paused(&self) -> bool {
        self.flags.has(Flags::PAUSED)
    }

    pub(crate) fn set_paused(&mut self, is_paused: bool) {
        self.flags.set(Flags::PAUSED, is_paused);
    }

    /// Whether the kept input may hold whole frames or requests, which come before more is read.
    pub(crate) fn has_more(&self) -> bool {
        self.flags.has(Flags::MORE)
    }

    pub(crate) fn set_more(&mut self, has_more: bool) {
        self.flags.set(Flags::MORE, has_more);
    }

    /// Whether bytes that were queued for it were given up.
    pub(crate) fn is_cut(&self) -> bool {
        self.flags.has(Flags::CUT)
    }

    pub(crate) fn set_cut(&mut self, is_cut: bool) {
        self.flags.set(Flags::CUT, is_cut);
    }

    /// Whether it is over the limit of connections, so that one request of it is read.
    pub(crate) fn is_reserved(&self) -> bool {
        matches!(self.incoming.as_deref(), Some(Incoming::Http(request)) if request.arrival.is_reserved)
    }

    /// Whether its first request is not whole yet.
    pub(crate) fn is_new(&self) -> bool {
        self.phase == Phase::Http
            && !matches!(
                self.incoming.as_deref(),
                Some(Incoming::Http(request)) if request.is_reused || request.arrival.is_reserved
            )
    }

    /// For how long nothing was heard of it, in milliseconds.
    pub(crate) fn silent(&self, now: u64) -> u64 {
        now.saturating_sub(self.heard & !1)
    }

    /// The peer gets a ping now. When it is the first since something was heard of it, its silence counts as no more than
    /// `ping_interval`: what came before that nobody has asked about. Costs no field, and nothing when it answers.
    pub(crate) fn ask(&mut self, now: u64, ping_interval: u64) {
        if !self.is_asked() {
            self.heard = now.saturating_sub(ping_interval) | 1;
        }
    }

    /// Whether the peer was pinged since something was heard of it.
    pub(crate) fn is_asked(&self) -> bool {
        self.heard & 1 == 1
    }

    /// We did not listen until now: neither silence nor an unfinished message counts for that time.
    pub(crate) fn excuse(&mut self, now: u64) {
        let silent = self.silent(now);
        if let Some(fragments) = self.fragments() {
            fragments.since = (fragments.since + silent).min(now);
        }
        self.heard = now;
    }

    /// The WebSocket input that is unfinished, if there is any.
    pub(crate) fn fragments(&mut self) -> Option<&mut Fragments> {
        match self.incoming.as_deref_mut() {
            Some(Incoming::WebSocket(fragments)) => Some(fragments),
            _ => None,
        }
    }

    /// Room for unfinished WebSocket input, of which the first byte comes now if there is none.
    pub(crate) fn fragments_mut(&mut self, now: u64) -> &mut Fragments {
        if self.fragments().is_none() {
            let (partial, message) = (Vec::new(), Vec::new());
            let fragments = Fragments { since: now, partial, message, kind: None, utf8: Utf8::default() };
            self.incoming = Some(Box::new(Incoming::WebSocket(fragments)));
        }
        self.fragments().expect("it was just made")
    }

    /// Whether it is open, not paused, and nothing is unfinished.
    pub(crate) fn is_plain(&self) -> bool {
        self.phase == Phase::Open && self.incoming.is_none() && !self.is_paused()
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
    pub(crate) fn put_partial(&mut self, bytes: &[u8], now: u64) {
        let partial = match self.incoming.as_deref_mut() {
            Some(Incoming::Http(request)) => &mut request.partial,
            _ => &mut self.fragments_mut(now).partial,
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
        let Some(incoming) = self.incoming.as_deref() else { return 0 };
        let buffers = match incoming {
            Incoming::WebSocket(fragments) => fragments.partial.capacity() + fragments.message.capacity(),
            Incoming::Http(request) => {
                request.partial.capacity() + request.body.as_ref().map_or(0, |body| body.bytes.capacity())
            }
        };
        size_of::<Incoming>() + buffers
    }

    /// Since when input is unfinished, if any is.
    pub(crate) fn incoming_since(&self) -> Option<u64> {
        self.incoming.as_deref().map(|incoming| match incoming {
            Incoming::WebSocket(fragments) => fragments.since,
            Incoming::Http(_) => self.heard,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_its_window_and_stays_at_its_most() {
        let mut share = Share::default();
        share.add(63, 700);
        share.add(63, 100);
        assert_eq!((share.steps(63), share.steps(62), share.steps(64)), (800, 0, 0));
        share.add(63, u64::MAX);
        assert_eq!(share.steps(63), Share::STEPS_MAX);
        share.add(64, 1);
        assert_eq!((share.steps(64), share.steps(63)), (1, 0));
    }
}

//! The protocol state of one connection: 32 bytes while it is idle, even after much activity.

mod standing;

use std::{sync::Arc, time::Duration};

use tungstenite::protocol::frame::coding::Data;

use crate::{
    engine::{
        arrival::{Arrival, Transport},
        slot::Slot,
        timers::Look,
    },
    protocol::{
        encoding::Encoding,
        http::{ChunkedBody, HeadProgress, Persistence},
        utf8::Utf8,
    },
};

use self::standing::Standing;
pub(crate) use self::standing::{Grant, Phase};

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// Distinguishes this connection from earlier ones in its slot.
    pub(crate) generation: u32,
    /// The phase, four facts and the permissions of the connection.
    standing: Standing,
    /// The encoding of its output after the upgrade.
    pub(crate) encoding: Encoding,
    /// The bytes of `incoming` that are in the sum of kept bytes, see `Sessions::recount`.
    pub(crate) counted: u32,
    /// The work that it has caused recently.
    pub(crate) share: Share,
    /// Its valid entry in the core's timers, see `Sessions::schedule`.
    pub(crate) next_look: Option<Look>,
    /// When the peer was last heard; in HTTP, when the current request began; while it closes, when that began. In
    /// milliseconds for which the core has run. The number is even, or odd if the peer was pinged since, see
    /// [`Session::ask`].
    pub(crate) heard: u64,
    /// Unfinished input. `None` if there is none: an idle connection owns no buffer.
    pub(crate) incoming: Option<Box<Incoming>>,
}

/// The work that a connection has caused in a window of time, as counted by `router/work.rs`: the window's number in
/// the upper bits, and steps in the lower ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share(u16);

impl Share {
    /// Windows are numbered modulo this, so very old ones cannot be distinguished.
    const WINDOWS: u64 = 64;
    const STEPS_MAX: u64 = u16::MAX as u64 / Self::WINDOWS;

    /// The steps of this window.
    pub(crate) fn steps(self, window: u64) -> u64 {
        let (of, steps) = (u64::from(self.0) / (Self::STEPS_MAX + 1), u64::from(self.0) % (Self::STEPS_MAX + 1));
        if of == window % Self::WINDOWS { steps } else { 0 }
    }

    /// Adds steps to this window, up to [`Self::STEPS_MAX`].
    pub(crate) fn add(&mut self, window: u64, steps: u64) {
        let steps = self.steps(window).saturating_add(steps).min(Self::STEPS_MAX);
        self.0 = (window % Self::WINDOWS * (Self::STEPS_MAX + 1) + steps) as u16;
    }
}

/// A connection that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) slot: Slot,
    /// A part of its output was dropped, so the connection ends with a reset.
    pub(crate) is_cut: bool,
}

/// The received part of unfinished input.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// Before the upgrade.
    Http(Request),
    /// After it.
    WebSocket(Fragments),
}

/// An incomplete HTTP request.
#[derive(Debug)]
pub(crate) struct Request {
    /// The origin of the connection. It is dropped when the connection upgrades.
    pub(crate) arrival: Arrival,
    /// When the connection was accepted, by the sockets' clock.
    pub(crate) accepted: Duration,
    /// Bytes of a head.
    pub(crate) partial: Vec<u8>,
    /// How far `partial` was scanned.
    pub(crate) progress: HeadProgress,
    /// The body that is being received.
    pub(crate) body: Option<Body>,
    /// The request is complete, and its answer comes later.
    pub(crate) unanswered: Option<Box<Unanswered>>,
    /// Whether an earlier request was answered: then the connection may be idle, and its handshake is not late.
    pub(crate) is_reused: bool,
}

/// A complete request whose answer comes later.
#[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "nobody asks"))]
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) persistence: Persistence,
    pub(crate) is_head: bool,
    /// The page of another origin that may read the answer.
    pub(crate) reader: Option<Arc<str>>,
}

/// A body that is being received.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) expected: Expected,
    pub(crate) bytes_max: usize,
    pub(crate) framing: Framing,
    pub(crate) bytes: Vec<u8>,
}

/// What happens with a body when it is complete.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) endpoint: Endpoint,
    /// The page of another origin that may read the answer, see
    /// [`Application::reader`](crate::engine::application::Application::reader).
    pub(crate) reader: Option<Arc<str>>,
    /// The rates of the connection hold for it.
    pub(crate) is_limited: bool,
    pub(crate) persistence: Persistence,
}

/// The purpose of a body: a number that only the application understands.
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
    /// When its first byte came, in milliseconds for which the core has run. Later bytes do not move it.
    pub(crate) since: u64,
    /// Bytes of an incomplete frame, or of several frames that are kept for later.
    pub(crate) partial: Vec<u8>,
    /// The payloads of a fragmented message so far.
    pub(crate) message: Vec<u8>,
    /// The type of the fragmented message; `None` if there is none.
    pub(crate) kind: Option<Data>,
    /// Whether its text is UTF-8 so far.
    pub(crate) utf8: Utf8,
}

impl Session {
    /// The session of a newly accepted connection.
    pub(crate) fn new(generation: u32, arrival: Arrival, now: u64) -> Self {
        let (partial, progress) = (Vec::new(), HeadProgress::default());
        let accepted = Duration::ZERO;
        let request = Request { arrival, accepted, partial, progress, body: None, unanswered: None, is_reused: false };
        let incoming = Some(Box::new(Incoming::Http(request)));
        Self {
            generation,
            standing: Standing::new(arrival.transport),
            encoding: Encoding::default(),
            counted: 0,
            share: Share::default(),
            next_look: None,
            heard: now,
            incoming,
        }
    }

    /// Whether a request has begun, or the first one is to come: not on a late connection.
    pub(crate) fn is_awaiting_answer(&self) -> bool {
        let Some(Incoming::Http(request)) = self.incoming.as_deref() else { return false };
        let has_begun = !request.is_reused || !request.partial.is_empty() || request.body.is_some();
        self.phase() == Phase::Http && has_begun && !request.arrival.is_late
    }

    /// Whether its request waits for the application's answer.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.incoming.as_deref(), Some(Incoming::Http(request)) if request.unanswered.is_some())
    }

    /// The phase of its life.
    pub(crate) fn phase(&self) -> Phase {
        self.standing.phase()
    }

    pub(crate) fn set_phase(&mut self, phase: Phase) {
        self.standing.set_phase(phase);
    }

    /// Whether it is in [`Phase::Open`].
    pub(crate) fn is_open(&self) -> bool {
        self.standing.is_open()
    }

    /// The permissions of the connection.
    pub(crate) fn grant(&self) -> Grant {
        self.standing.grant()
    }

    pub(crate) fn set_grant(&mut self, grant: Grant) {
        self.standing.set_grant(grant);
    }

    /// What carries its bytes.
    pub(crate) fn transport(&self) -> Transport {
        self.standing.transport()
    }

    /// Whether the client was told that its token has run out.
    pub(crate) fn is_told(&self) -> bool {
        self.standing.has(Standing::TOLD)
    }

    pub(crate) fn set_told(&mut self, is_told: bool) {
        self.standing.set(Standing::TOLD, is_told);
    }

    /// Whether the connection is not read now: its next message waits for a link, or its last one is not finished.
    pub(crate) fn is_paused(&self) -> bool {
        self.standing.has(Standing::PAUSED)
    }

    pub(crate) fn set_paused(&mut self, is_paused: bool) {
        self.standing.set(Standing::PAUSED, is_paused);
    }

    /// Whether the kept input may contain complete frames or requests, which come before new input.
    pub(crate) fn has_more(&self) -> bool {
        self.standing.has(Standing::MORE)
    }

    pub(crate) fn set_more(&mut self, has_more: bool) {
        self.standing.set(Standing::MORE, has_more);
    }

    /// Whether queued bytes were dropped.
    pub(crate) fn is_cut(&self) -> bool {
        self.standing.has(Standing::CUT)
    }

    pub(crate) fn set_cut(&mut self, is_cut: bool) {
        self.standing.set(Standing::CUT, is_cut);
    }

    /// Whether it is over the limit of connections, so that only one request is read.
    pub(crate) fn is_reserved(&self) -> bool {
        matches!(self.incoming.as_deref(), Some(Incoming::Http(request)) if request.arrival.is_reserved)
    }

    /// Whether its first request is not complete yet.
    pub(crate) fn is_new(&self) -> bool {
        self.phase() == Phase::Http
            && !matches!(
                self.incoming.as_deref(),
                Some(Incoming::Http(request)) if request.is_reused || request.arrival.is_reserved
            )
    }

    /// How long the peer has been silent, in milliseconds.
    pub(crate) fn silent(&self, now: u64) -> u64 {
        now.saturating_sub(self.heard & !1)
    }

    /// Notes that the peer gets a ping now. If this is the first one since the peer was heard, its silence counts as
    /// `ping_interval` at most: it was not pinged during an earlier silence. This needs no field of its own, and no
    /// work when the peer answers.
    pub(crate) fn ask(&mut self, now: u64, ping_interval: u64) {
        if !self.is_asked() {
            self.heard = now.saturating_sub(ping_interval) | 1;
        }
    }

    /// Whether the peer was pinged since it was last heard.
    pub(crate) fn is_asked(&self) -> bool {
        self.heard & 1 == 1
    }

    /// Notes that the core did not read the connection until now: this time counts neither as silence nor for an
    /// unfinished message.
    pub(crate) fn excuse(&mut self, now: u64) {
        let silent = self.silent(now);
        if let Some(fragments) = self.fragments() {
            fragments.since = (fragments.since + silent).min(now);
        }
        self.heard = now;
    }

    /// The unfinished WebSocket input, if there is any.
    pub(crate) fn fragments(&mut self) -> Option<&mut Fragments> {
        match self.incoming.as_deref_mut() {
            Some(Incoming::WebSocket(fragments)) => Some(fragments),
            _ => None,
        }
    }

    /// The unfinished WebSocket input. If there is none, it begins now.
    pub(crate) fn fragments_mut(&mut self, now: u64) -> &mut Fragments {
        if self.fragments().is_none() {
            let (partial, message) = (Vec::new(), Vec::new());
            let fragments = Fragments { since: now, partial, message, kind: None, utf8: Utf8::default() };
            self.incoming = Some(Box::new(Incoming::WebSocket(fragments)));
        }
        self.fragments().expect("it was just made")
    }

    /// Whether it is open, not paused, and without unfinished input.
    pub(crate) fn is_plain(&self) -> bool {
        self.standing.is_open_and_read() && self.incoming.is_none()
    }

    /// Takes the kept bytes of unfinished input.
    pub(crate) fn take_partial(&mut self) -> Vec<u8> {
        match self.incoming.as_deref_mut() {
            Some(Incoming::WebSocket(fragments)) => std::mem::take(&mut fragments.partial),
            Some(Incoming::Http(request)) => std::mem::take(&mut request.partial),
            None => Vec::new(),
        }
    }

    /// Keeps bytes of input. None may be kept already.
    pub(crate) fn put_partial(&mut self, bytes: &[u8], now: u64) {
        let partial = match self.incoming.as_deref_mut() {
            Some(Incoming::Http(request)) => &mut request.partial,
            _ => &mut self.fragments_mut(now).partial,
        };
        debug_assert!(partial.is_empty());
        partial.extend_from_slice(bytes);
    }

    /// Frees the buffers for unfinished input if there is none.
    pub(crate) fn tidy(&mut self) {
        if self.fragments().is_some_and(|fragments| fragments.partial.is_empty() && fragments.kind.is_none()) {
            self.incoming = None;
        }
    }

    /// The memory of unfinished input, in bytes.
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

    /// When the unfinished input began, if there is any.
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
    fn a_share_counts_for_its_window_only_and_stops_at_its_maximum() {
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

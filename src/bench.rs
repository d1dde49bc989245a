//! The crate's internals for `benches/` only. They are not part of the public API, and compiled only with the feature
//! `bench`, which is off by default.
//!
//! Each type here is a fixture: it is built once, and has the steps that are measured. A step does the engine's work
//! with the engine's functions, and returns the values that its benchmark asserts.

mod feed;
pub mod tls;
mod tokens;

use self::feed::Feed;
pub use self::tokens::Tokens;

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

use crate::{
    application::Dispatch,
    config::{ChannelRule, Config},
    engine::{
        core::CoreLinks,
        hub::Hub,
        inbox,
        lanes::ALONE_AFTER,
        limits::Limits,
        slot::{ConnectionKey, Slot},
        subscriptions::{AudienceId, Subscriptions},
        turn::{Places, Turn},
        wake::waker,
    },
    error::Refusal,
    extension::Extensions,
    protocol::{
        channel, frame, mask,
        message::{Control, Head},
    },
};

/// A handshake request.
const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// The mask that does not change a payload. Removing it takes the same time as any other mask, and the same bytes can
/// be used again.
pub const MASK_NONE: [u8; 4] = [0; 4];

fn limits() -> Limits {
    Limits::new(&Config::default(), 1 << 30, 1)
}

/// Parses heads into one table, as a core does, with the default limits.
#[derive(Debug)]
pub struct HeadParser {
    head: Head,
    limits: Limits,
}

/// The parts of a message that [`HeadParser`] has parsed.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed<'p> {
    /// Its command.
    pub command: &'p [u8],
    /// The number of header lines.
    pub headers: usize,
    /// The number of channels in `publish`.
    pub channels: usize,
    /// Its body.
    pub body: &'p [u8],
}

impl HeadParser {
    /// A parser with an empty table.
    #[expect(clippy::new_without_default, reason = "fixtures are built by new")]
    pub fn new() -> Self {
        Self { head: Head::default(), limits: limits() }
    }

    /// Parses a text message.
    ///
    /// # Errors
    /// The refusal that the client would get.
    pub fn parse<'p>(&mut self, payload: &'p [u8]) -> Result<Parsed<'p>, Refusal> {
        self.head.parse(payload, true, self.limits.head)?;
        Ok(Parsed {
            command: self.head.command(payload),
            headers: self.head.headers(payload).count(),
            channels: self.head.names(payload, Control::Publish).count(),
            body: self.head.body(payload),
        })
    }
}

/// The number of messages in a buffer, and the bytes of their payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Whole messages.
    pub messages: usize,
    /// Payload bytes of all of them.
    pub payload_bytes: usize,
    /// All of them are ASCII.
    pub is_ascii: bool,
}

/// Appends a client's text frame.
pub fn push_client_frame(out: &mut Vec<u8>, mask: [u8; 4], payload: &[u8]) {
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), mask: Some(mask), ..FrameHeader::default() };
    header.format(payload.len() as u64, out).expect("a Vec takes it");
    let start = out.len();
    out.extend_from_slice(payload);
    mask::unmask(&mut out[start..], mask); // masking and unmasking are the same
}

/// Appends a server's text frame.
pub fn push_server_frame(out: &mut Vec<u8>, payload: &[u8]) {
    frame::encode(out, OpCode::Data(Data::Text), payload);
}

/// Finds and unmasks the messages of one frame each at the start of `bytes`, in the same way as the engine's loop.
pub fn take_whole(bytes: &mut [u8]) -> Decoded {
    let (mut decoded, mut used) = (Decoded { is_ascii: true, ..Decoded::default() }, 0);
    while let Some(whole) = frame::whole(&bytes[used..]) {
        let payload = &mut bytes[used + whole.start..used + whole.end];
        decoded.is_ascii &= mask::unmask(payload, whole.mask);
        decoded.messages += 1;
        decoded.payload_bytes += payload.len();
        used += whole.end;
    }
    decoded
}

/// The same as [`take_whole`], with the general decoder for all frames.
///
/// # Panics
/// If a frame is invalid.
pub fn take_any(bytes: &mut [u8]) -> Decoded {
    let (mut decoded, mut used) = (Decoded { is_ascii: true, ..Decoded::default() }, 0);
    while let Some(header) = frame::decode(&bytes[used..], usize::MAX).expect("a valid frame") {
        let start = used + header.len;
        let Some(payload) = bytes.get_mut(start..start + header.payload_len) else { break };
        decoded.is_ascii &= mask::unmask(payload, header.mask);
        decoded.messages += 1;
        decoded.payload_bytes += header.payload_len;
        used = start + header.payload_len;
    }
    decoded
}

/// A core's table of subscriptions.
pub struct Table {
    subscriptions: Subscriptions,
    found: SmallVec<[AudienceId; 8]>,
}

impl Table {
    /// An empty table.
    #[expect(clippy::new_without_default, reason = "fixtures are built by new")]
    pub fn new() -> Self {
        Self { subscriptions: Subscriptions::new(1), found: SmallVec::new() }
    }

    /// Subscribes a connection to a channel or pattern.
    ///
    /// # Panics
    /// If the name is neither.
    pub fn subscribe(&mut self, connection: u32, name: &[u8]) {
        let kind = channel::check_subscribe(name).expect("a channel or pattern");
        self.subscriptions.subscribe(connection, name, kind);
    }

    /// The number of channels and patterns.
    pub fn len(&self) -> usize {
        self.subscriptions.audiences()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks a channel up, and returns the number of its subscribers, without those of patterns.
    pub fn lookup(&self, channel: &[u8]) -> Option<usize> {
        self.subscriptions.find(channel).map(|audience| self.subscriptions.subscribers(audience).len())
    }

    /// How many channels and patterns match a channel.
    pub fn matching(&mut self, channel: &[u8]) -> usize {
        self.subscriptions.find_all(self.subscriptions.hash(channel), channel, &mut self.found);
        self.found.len()
    }
}

/// One core without a kernel: a publisher, and connections that are subscribed to its channels.
pub struct FanOut {
    turn: Turn<Feed, CoreLinks>,
    publisher: ConnectionKey,
    now: Duration,
    buffer: Vec<u8>,
    /// Keeps the mailbox's waker alive.
    _poll: mio::Poll,
}

/// The result of one burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Messages, once for each subscriber.
    pub messages: u64,
    /// Bytes that were written to sockets, frame headers included.
    pub bytes: u64,
    /// Writes to sockets.
    pub writes: u64,
}

impl FanOut {
    /// A core with this many subscribers of `room`, and a burst of this many copies of `message`, which publishes to
    /// `room`.
    ///
    /// # Panics
    /// If the system has no descriptor left for a poll.
    pub fn new(subscribers: usize, messages: usize, message: &[u8]) -> Self {
        Self::mixed(&[("room", subscribers)], &vec![message; messages])
    }

    /// A core with this many subscribers of each channel, and a burst of these messages. If a channel's name begins with
    /// `kept.`, those below it have a history of 100 messages.
    ///
    /// # Panics
    /// If the system has no descriptor left for a poll.
    pub fn mixed(channels: &[(&str, usize)], messages: &[&[u8]]) -> Self {
        Self::mixed_on(channels, messages, false)
    }

    /// The same on a core with `admin`, which finds out which channels are the busiest.
    ///
    /// # Panics
    /// If the system has no descriptor left for a poll.
    pub fn watched(channels: &[(&str, usize)], messages: &[&[u8]]) -> Self {
        Self::mixed_on(channels, messages, true)
    }

    fn mixed_on(channels: &[(&str, usize)], messages: &[&[u8]], has_admin: bool) -> Self {
        let mut burst = Vec::new();
        messages.iter().for_each(|message| push_client_frame(&mut burst, MASK_NONE, message));
        let mut fan_out = Self::subscribed(channels, has_admin);
        fan_out.publisher = fan_out.connect(HANDSHAKE.as_bytes());
        fan_out.begin(burst)
    }

    /// The same, but each message is the body of a `POST /publish`.
    ///
    /// # Panics
    /// If the system has no descriptor left for a poll.
    pub fn posted(channels: &[(&str, usize)], messages: &[&[u8]]) -> Self {
        let mut burst = Vec::new();
        for message in messages {
            let head = format!("POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", message.len());
            burst.extend_from_slice(head.as_bytes());
            burst.extend_from_slice(message);
        }
        let mut fan_out = Self::subscribed(channels, false);
        fan_out.publisher = fan_out.connect(b"");
        fan_out.begin(burst)
    }

    /// A core with this many subscribers of each channel. Those below `kept.` have a history of 100 messages.
    fn subscribed(channels: &[(&str, usize)], has_admin: bool) -> Self {
        let poll = mio::Poll::new().expect("a poll");
        let wake = waker(poll.registry(), mio::Token(0)).expect("a waker");
        let (mailbox, inbox) = inbox::inbox(wake);
        let app = Box::new(Dispatch::new(0, Arc::new(Extensions::default()), mailbox, None));
        let links = CoreLinks { number: 0, peers: Vec::new(), bridge: None, store: None };
        let places = Places::new(Arc::default(), usize::MAX);
        let keeps = channels.iter().any(|(name, _)| name.starts_with("kept."));
        let rule = keeps.then(|| "kept.*".parse::<ChannelRule>().expect("a pattern").history(100));
        let config = Config { channels: rule.into_iter().collect(), ..Config::default() };
        let limits = Limits { has_admin, ..Limits::new(&config, 1 << 30, 1) };
        let turn = Turn::new(Hub::new(0, 1, limits), app, Feed::default(), links, inbox, places);
        let publisher = ConnectionKey { slot: 0, generation: 0 };
        let buffer = vec![0; 64 * 1024];
        let mut fan_out = Self { turn, publisher, now: Duration::ZERO, buffer, _poll: poll };
        for (channel, subscribers) in channels {
            let mut subscribe = Vec::new();
            let message = format!("LHTTP/1.0 chat\r\nsubscribe:{channel}\r\n\r\n");
            push_client_frame(&mut subscribe, MASK_NONE, message.as_bytes());
            for _ in 0..*subscribers {
                let key = fan_out.connect(HANDSHAKE.as_bytes());
                fan_out.turn.sockets.put(key, subscribe.clone());
                fan_out.run();
            }
        }
        fan_out
    }

    /// Sends the burst for the first time.
    fn begin(mut self, burst: Vec<u8>) -> Self {
        self.turn.sockets.put(self.publisher, burst);
        self.run();
        self.now += ALONE_AFTER; // so that the publisher counts as alone
        self
    }

    /// Takes the burst from the publisher and writes the deliveries: in one turn, unless the turn is full before.
    pub fn turn(&mut self) -> Delivered {
        let before = self.turn.hub.router.counts().1;
        let sockets = &mut self.turn.sockets;
        (sockets.bytes, sockets.writes) = (0, 0);
        let burst = std::mem::take(&mut sockets.input[self.publisher.slot as usize].0);
        sockets.put(self.publisher, burst);
        self.run();
        let Feed { bytes, writes, .. } = self.turn.sockets;
        Delivered { messages: self.turn.hub.router.counts().1 - before, bytes, writes }
    }

    fn connect(&mut self, greeting: &[u8]) -> ConnectionKey {
        self.turn.sockets.accepts = 1;
        self.turn.sockets.greeting = greeting.to_vec();
        self.run();
        let slot = self.turn.sockets.input.len() as Slot - 1;
        self.turn.hub.sessions.key(slot)
    }

    /// Runs turns until no work is left.
    fn run(&mut self) {
        loop {
            self.turn.take(self.now, self.now, &mut self.buffer);
            self.turn.send();
            if self.turn.sockets.readable.is_empty() && !self.turn.has_left(false) {
                break;
            }
        }
    }
}

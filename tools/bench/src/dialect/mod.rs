//! The dialect of each server: how to open a connection, subscribe and publish, and how to count deliveries.

use std::{fmt, sync::Arc};

use clap::ValueEnum;
use serde::Serialize;

pub(crate) mod check;
pub(crate) mod counter;
pub(crate) mod nats;
#[cfg(test)]
mod tests;
pub(crate) mod websocket;

use self::{
    check::Check,
    counter::{Counter, STAMP_BYTES},
    websocket::MaskedFrame,
};

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dialect {
    /// lhttpd: LHTTP over WebSocket.
    Lhttp,
    /// nats-server's WebSocket listener: the NATS protocol in frames, each PUB in its own frame.
    Nats,
    /// The same server with JetStream, which keeps the messages of `kept.*`.
    #[value(name = "jetstream")]
    JetStream,
    /// nginx with the module Nchan, over WebSocket. It keeps the messages of every channel.
    Nchan,
    /// Bun's built-in WebSocket publish (uWebSockets), with a 20-line script.
    Bun,
    /// This tool's own relay of raw bytes: the cost of the kernel alone.
    Floor,
}

/// The purpose of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) channel: String,
    pub(crate) subscribes: bool,
    pub(crate) publishes: bool,
    /// The server answers each of its publishes, and the answers count as deliveries do.
    pub(crate) confirms: bool,
    /// The bodies that it receives are numbered, from this number on.
    pub(crate) numbered_from: Option<u64>,
    /// Only the messages that begin with these bytes count.
    pub(crate) only: Option<&'static [u8]>,
    /// It gets first what was published while it was away. Then it is usable before it is subscribed.
    pub(crate) resumes: Option<Resume>,
}

/// Where a client that comes back goes on.
#[derive(Clone, Debug)]
pub(crate) struct Resume {
    /// lhttpd: the id of the last message before; JetStream: the number of the first one after it. Nchan gives all that
    /// it keeps.
    pub(crate) since: Arc<str>,
    /// The client's number.
    pub(crate) client: usize,
}

impl Role {
    /// Receives the messages of `channel`.
    pub(crate) fn subscriber(channel: &str) -> Self {
        Self { subscribes: true, ..Self::new(channel) }
    }

    /// Publishes to `channel`.
    pub(crate) fn publisher(channel: &str) -> Self {
        Self { publishes: true, ..Self::new(channel) }
    }

    /// Publishes to `channel` and receives its messages.
    pub(crate) fn both(channel: &str) -> Self {
        Self { subscribes: true, publishes: true, ..Self::new(channel) }
    }

    /// Publishes to `channel`, and counts the server's answers.
    pub(crate) fn confirmed(channel: &str) -> Self {
        Self { confirms: true, ..Self::publisher(channel) }
    }

    /// Receives the numbered messages of `channel`, `first` and those behind it, and nothing else.
    pub(crate) fn numbered(channel: &str, first: u64) -> Self {
        Self { numbered_from: Some(first), ..Self::subscriber(channel) }
    }

    /// Only connects. What it is told later about the members of channels counts.
    pub(crate) fn told() -> Self {
        Self { only: Some(b"LHTTP/1.0 presence-change\r\n"), ..Self::new("") }
    }

    fn new(channel: &str) -> Self {
        Self {
            channel: channel.into(),
            subscribes: false,
            publishes: false,
            confirms: false,
            numbered_from: None,
            only: None,
            resumes: None,
        }
    }
}

/// The state of one step in the opening of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are needed.
    More,
    /// Done; this many of the received bytes belonged to the step.
    Done(usize),
}

/// A message ready to be written to a server.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) bytes: Vec<u8>,
    payload_at: usize,
    body_at: usize,
    mask: [u8; 4],
}

impl Publish {
    /// Writes `value` over the body's first 16 bytes, in hex.
    pub(crate) fn stamp(&mut self, value: u64) {
        for (index, shift) in (0..STAMP_BYTES).map(|index| (index, 60 - 4 * index)) {
            let digit = b"0123456789abcdef"[(value >> shift) as usize & 15];
            let at = self.body_at + index;
            self.bytes[at] = digit ^ self.mask[(at - self.payload_at) % 4];
        }
    }
}

impl Dialect {
    /// The server's name in tables.
    pub(crate) fn server(self) -> &'static str {
        match self {
            Self::Lhttp => "lhttpd",
            Self::Nats => "nats-server",
            Self::JetStream => "JetStream",
            Self::Nchan => "Nchan",
            Self::Bun => "Bun",
            Self::Floor => "floor",
        }
    }

    /// The first bytes on a connection. `headers` are more lines of the upgrade request, each with its CRLF.
    pub(crate) fn opening(self, role: &Role, host: &str, headers: &str) -> Vec<u8> {
        match self {
            Self::Floor => {
                let letter = match (role.subscribes, role.publishes) {
                    (true, true) => 'B',
                    (true, false) => 'S',
                    _ => 'P',
                };
                format!("{letter} {}\n", role.channel).into_bytes()
            }
            Self::Nchan => {
                let what = match (role.subscribes, role.publishes, &role.resumes) {
                    (true, true, _) => "both",
                    (true, false, None) => "subscribe",
                    (true, false, Some(_)) => "resume",
                    _ => "publish",
                };
                websocket::upgrade(host, &format!("/{what}/{}", role.channel), headers)
            }
            _ => websocket::upgrade(host, "/", headers),
        }
    }

    /// Whether `received` answers [`opening`](Self::opening).
    ///
    /// A sentence with the server's refusal.
    pub(crate) fn opened(self, received: &[u8]) -> Result<Progress, String> {
        match self {
            Self::Floor if received.is_empty() => Ok(Progress::More),
            Self::Floor => Ok(Progress::Done(1)),
            _ => websocket::upgraded(received),
        }
    }

    /// The bytes to send after the opening; empty if there are none.
    pub(crate) fn joining(self, role: &Role) -> Vec<u8> {
        let text = match self {
            Self::Nats | Self::JetStream => return nats::joining(role),
            Self::Lhttp if role.subscribes => {
                let since = role.resumes.as_ref().map_or(String::new(), |place| format!("since:{}\r\n", place.since));
                format!("LHTTP/1.0 chat\r\nsubscribe:{}\r\n{since}ack:1\r\n\r\n", role.channel)
            }
            Self::Bun if role.subscribes => format!("S{}\n", role.channel),
            _ => return Vec::new(),
        };
        websocket::masked(websocket::TEXT, text.as_bytes(), [0x37, 0xfa, 0x21, 0x3d]).bytes
    }

    /// Whether `received` answers [`joining`](Self::joining), so that the subscription is live.
    ///
    /// A sentence with the server's refusal.
    pub(crate) fn joined(self, received: &[u8]) -> Result<Progress, String> {
        let wanted: &[u8] = match self {
            Self::Nats | Self::JetStream => return nats::joined(received),
            Self::Lhttp => b"LHTTP/1.0 ack\r\n",
            Self::Bun => b"A",
            Self::Floor | Self::Nchan => return Ok(Progress::Done(0)),
        };
        let (mut walker, mut input) = (websocket::Walker::default(), received);
        let mut payload = Vec::new();
        while let Some(piece) = walker.next(&mut input)? {
            if piece.opcode >= websocket::CLOSE {
                continue;
            }
            payload.extend_from_slice(piece.bytes);
            if piece.ends && piece.fin {
                return if payload.starts_with(wanted) {
                    Ok(Progress::Done(received.len() - input.len()))
                } else {
                    Err(format!("it answered the subscription with {:?}", String::from_utf8_lossy(&payload)))
                };
            }
        }
        Ok(Progress::More)
    }

    /// The bytes that publish `body` to `channel`, in one frame.
    pub(crate) fn publish(self, channel: &str, body: &[u8], mask: [u8; 4]) -> Publish {
        self.publish_with(channel, body, mask, false)
    }

    /// The same, and the server answers where it can; Nchan always does.
    pub(crate) fn publish_confirmed(self, channel: &str, body: &[u8], mask: [u8; 4]) -> Publish {
        self.publish_with(channel, body, mask, true)
    }

    fn publish_with(self, channel: &str, body: &[u8], mask: [u8; 4], confirmed: bool) -> Publish {
        let (frame, body_in_payload) = match self {
            Self::Nats => nats::publish(channel, body, mask, false),
            Self::JetStream => nats::publish(channel, body, mask, confirmed),
            Self::Lhttp | Self::Bun | Self::Nchan => {
                let mut payload = self.payload_head(channel);
                if confirmed && self == Self::Lhttp {
                    payload.truncate(payload.len() - 2);
                    payload.extend_from_slice(b"ack:1\r\n\r\n");
                }
                let body_at = payload.len();
                payload.extend_from_slice(body);
                (websocket::masked(websocket::TEXT, &payload, mask), body_at)
            }
            Self::Floor => {
                // The relay forwards the bytes that it reads, so it gets what lhttpd would deliver.
                let head = Self::Lhttp.payload_head(channel);
                let mut bytes = websocket::header(websocket::TEXT, head.len() + body.len());
                let payload_at = bytes.len();
                bytes.extend_from_slice(&head);
                bytes.extend_from_slice(body);
                (MaskedFrame { bytes, payload_at, mask: [0; 4] }, head.len())
            }
        };
        let MaskedFrame { bytes, payload_at, mask } = frame;
        Publish { bytes, payload_at, body_at: payload_at + body_in_payload, mask }
    }

    /// Counts the deliveries to a connection, or the answers to its publishes; each delivery has a body of `body_bytes`.
    pub(crate) fn counter(self, role: &Role, body_bytes: usize) -> Counter {
        let counter = self.plain_counter(&role.channel, body_bytes);
        if let Some(start) = role.only {
            return counter.checked(Check::only(start));
        }
        match (role.numbered_from, self) {
            (Some(first), _) => counter.checked(Check::numbers(first, self == Self::Lhttp, body_bytes)),
            (None, Self::Lhttp) if role.confirms => counter.checked(Check::answers(b"LHTTP/1.0 ack\r\n")),
            (None, Self::JetStream) if role.confirms => counter.checked(Check::answers(b"{\"stream\":")),
            (None, Self::Nchan) if role.confirms => counter.checked(Check::answers(b"queued messages:")),
            _ => counter,
        }
    }

    fn plain_counter(self, channel: &str, body_bytes: usize) -> Counter {
        let head_bytes = self.payload_head(channel).len();
        match self {
            Self::Lhttp | Self::Bun | Self::Nchan => Counter::frames(head_bytes),
            Self::Nats | Self::JetStream => Counter::nats(),
            Self::Floor => {
                let publish = self.publish(channel, &vec![b'x'; body_bytes], [0; 4]);
                Counter::raw(publish.bytes.len(), publish.body_at)
            }
        }
    }

    /// The bytes before the body in the payload of a delivered frame.
    fn payload_head(self, channel: &str) -> Vec<u8> {
        match self {
            Self::Lhttp => format!("LHTTP/1.0 chat\r\npublish:{channel}\r\n\r\n").into_bytes(),
            Self::Bun => format!("P{channel}\n").into_bytes(),
            Self::Nats | Self::JetStream | Self::Nchan | Self::Floor => Vec::new(),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.server())
    }
}

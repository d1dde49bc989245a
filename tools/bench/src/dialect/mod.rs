//! The dialect of each server: how to open a connection, subscribe and publish, and how to count deliveries.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

pub(crate) mod counter;
mod nats;
#[cfg(test)]
mod tests;
pub(crate) mod websocket;

use self::{
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
}

impl Role {
    /// Receives the messages of `channel`.
    pub(crate) fn subscriber(channel: &str) -> Self {
        Self { channel: channel.into(), subscribes: true, publishes: false }
    }

    /// Publishes to `channel`.
    pub(crate) fn publisher(channel: &str) -> Self {
        Self { channel: channel.into(), subscribes: false, publishes: true }
    }

    /// Publishes to `channel` and receives its messages.
    pub(crate) fn both(channel: &str) -> Self {
        Self { channel: channel.into(), subscribes: true, publishes: true }
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
            Self::Nats => return nats::joining(role),
            Self::Lhttp if role.subscribes => format!("LHTTP/1.0 chat\r\nsubscribe:{}\r\nack:1\r\n\r\n", role.channel),
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
            Self::Nats => return nats::joined(received),
            Self::Lhttp => b"LHTTP/1.0 ack\r\n",
            Self::Bun => b"A",
            Self::Floor => return Ok(Progress::Done(0)),
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
        let (frame, body_in_payload) = match self {
            Self::Nats => nats::publish(channel, body, mask),
            Self::Lhttp | Self::Bun => {
                let mut payload = self.payload_head(channel);
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

    /// Counts a subscriber's deliveries from `channel`, each with a body of `body_bytes`.
    pub(crate) fn counter(self, channel: &str, body_bytes: usize) -> Counter {
        let head_bytes = self.payload_head(channel).len();
        match self {
            Self::Lhttp | Self::Bun => Counter::frames(head_bytes),
            Self::Nats => Counter::nats(),
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
            Self::Nats | Self::Floor => Vec::new(),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.server())
    }
}

//! What a client hears: messages, refusals, and what becomes of its connection.

use std::time::Duration;

use crate::{error::Refusal, protocol::message::Message};

/// What [`Client::poll`](super::Client::poll) gives, in the order in which it came.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message: published to a subscribed channel, or a processor's answer.
    Message(Message),
    /// Something that is not LHTTP: a text, or bytes.
    Raw(Payload),
    /// The server refused a message that no call waits for: one that was sent without an acknowledgement, or whose call
    /// has timed out. Nothing of that message has happened.
    Refused(Refusal),
    /// A subscription was not renewed after a reconnect: the server refused it, for this reason. It is forgotten.
    SubscriptionLost {
        /// The channel or pattern.
        channel: String,
        /// What the server said.
        refusal: Refusal,
    },
    /// The connection changed its state.
    State(State),
}

/// A connection's state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Connected. When this is polled after a reconnect, the subscriptions have been renewed.
    Open,
    /// Not connected; the next attempt is made by the first call after `retry_in`.
    Waiting {
        /// How long until the next attempt, from when this event was made.
        retry_in: Duration,
        /// Why the last connection ended, or the last attempt failed: one sentence.
        why: String,
    },
    /// Not connected, and no attempt will be made.
    Closed {
        /// Why the connection ended: one sentence.
        why: String,
    },
}

/// One WebSocket message as it is on the wire: text, or bytes that are not UTF-8 or were not sent as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

impl Payload {
    /// The bytes, of either kind.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Payload {
    /// Text if it is UTF-8, else binary: as the server delivers what comes by `POST /publish`.
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Binary(error.into_bytes()),
        }
    }
}

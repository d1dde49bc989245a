//! The events of a client: messages, refusals, and the states of its connection.

use std::time::Duration;

use super::presence::Member;
use crate::{error::Refusal, protocol::message::Message};

/// The events that [`Client::poll`](super::Client::poll) returns, in order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message that was published to a subscribed channel, or a processor's answer.
    Message(Message),
    /// A WebSocket message that is not LHTTP: text or bytes.
    Raw(Payload),
    /// The server refused a message that no call waits for: one that was sent without an acknowledgement, or whose call
    /// has timed out. The server carried out no part of that message. Or the token has run out: 401 `token-expired`.
    Refused(Refusal),
    /// The token that [`Builder::token`](super::Builder::token) or [`Client::set_token`](super::Client::set_token) gave
    /// runs out soon: after 10 to 25 % of the time that it had left. Give the client a new one with `set_token`.
    TokenEnding,
    /// The running connection has no new token: the function of
    /// [`Builder::token_source`](super::Builder::token_source) has failed (`no-token`), or the server does not accept
    /// the token or does not answer. The client asks again later.
    TokenNotRenewed(Refusal),
    /// The server refused, for this reason, to renew a subscription after a reconnect, or it has ended the subscription,
    /// because a new token or a changed rule does not allow it. The client forgets the subscription.
    SubscriptionLost {
        /// The channel or pattern.
        channel: String,
        /// The server's reason.
        refusal: Refusal,
    },
    /// Messages of a channel with a history are lost to this client: after a reconnect, or after
    /// [`Client::subscribe_from`](super::Client::subscribe_from), the server did not keep all that the client asked for, or
    /// did not know the id. The subscription goes on.
    MessagesLost {
        /// The channel.
        channel: String,
    },
    /// Users have come to a subscribed channel or have left it, if its rule says `presence = "events"` (PROTOCOL.md §11):
    /// at most three events a second and channel. Somebody who comes and goes in between is not mentioned. The client
    /// itself is a user, too. [`Client::presence`](super::Client::presence) says who was there before. Of hundreds who come
    /// or go at once the server names some, and counts the others in `more`.
    PresenceChange {
        /// The channel.
        channel: String,
        /// Who has come; and who shows something else than before.
        joined: Vec<Member>,
        /// The names of those who have left.
        left: Vec<String>,
        /// How many users are there after all of this.
        users: u64,
        /// How many changes the server does not name, here or later: a list of the users is not complete any more. Usually 0.
        more: u64,
    },
    /// The connection changed its state.
    State(State),
}

/// A connection's state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Connected. After a reconnect this event comes once the subscriptions have been renewed.
    Open,
    /// Not connected. The first call after `retry_in` makes the next attempt.
    Waiting {
        /// The time until the next attempt, counted from when this event was made.
        retry_in: Duration,
        /// Why the last connection ended, or the last attempt failed: one sentence.
        why: String,
        /// If the server refused the handshake: 401 because of the token, 403 because of what this client may do. And
        /// 401 `no-token` if the function of [`Builder::token_source`](super::Builder::token_source) has failed.
        refusal: Option<Refusal>,
    },
    /// Not connected, and no attempt will be made.
    Closed {
        /// Why the connection ended: one sentence.
        why: String,
    },
}

/// One WebSocket message as it is on the wire: text, or bytes that were not sent as text or are not UTF-8.
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
    /// Text if the bytes are UTF-8, otherwise binary. The server delivers the body of a `POST /publish` in the same
    /// way.
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Binary(error.into_bytes()),
        }
    }
}

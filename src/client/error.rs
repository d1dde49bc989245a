//! The errors of a client, and what each says about the message.

use crate::error::Refusal;

/// Why a call of a [`Client`](super::Client) failed. Each variant says what happened to the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL, a header, the token or the CA file cannot be used. Nothing was tried.
    #[error("{0}")]
    Config(String),
    /// The client could not connect. Nothing was sent.
    #[error("not connected: {0}")]
    NotConnected(String),
    /// The connection ended before the answer. It is not known whether the server carried the message out.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The server refused the message and carried out no part of it, or it refused the handshake: with 401 because of the
    /// token, with 403 because of what this client may do.
    #[error("{0}")]
    Refused(Refusal),
    /// A channel, a header or the message itself is not valid. Nothing was sent.
    #[error("{0}")]
    Invalid(Refusal),
    /// No answer came within the timeout. It is not known whether the server carried the message out.
    #[error("no answer within the timeout")]
    TimedOut,
    /// The server's answer is not what PROTOCOL.md says. The server has carried the message out.
    #[error("{0}")]
    BadAnswer(String),
    /// Too many bytes wait to be sent ([`Builder::outbox_bytes_max`](super::Builder::outbox_bytes_max)). This message
    /// was not accepted; the queued ones are kept.
    #[error("too much waits to be sent: the outbox is full")]
    OutboxFull,
    /// Too much waits to be polled ([`Builder::inbox_messages_max`](super::Builder::inbox_messages_max)). No event was
    /// lost. If the call had already sent its message, it is not known whether the server carried the message out.
    #[error("too much waits to be polled: the inbox is full")]
    InboxFull,
    /// The client was told not to reconnect, and its connection has ended.
    #[error("closed: {0}")]
    Closed(String),
}

impl ClientError {
    /// The code of an LHTTP error (PROTOCOL.md §6), such as 403, if the server refused the message or this client did
    /// so on its behalf. Otherwise none.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) | Self::Invalid(refusal) => Some(refusal.code()),
            _ => None,
        }
    }

    /// A fixed word for programs: the refusal's word, such as `bad-channel`, or `config`, `not-connected`, `lost`,
    /// `timed-out`, `bad-answer`, `outbox-full`, `inbox-full`, `closed`.
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused(refusal) | Self::Invalid(refusal) => refusal.reason(),
            Self::Config(_) => "config",
            Self::NotConnected(_) => "not-connected",
            Self::Lost(_) => "lost",
            Self::TimedOut => "timed-out",
            Self::BadAnswer(_) => "bad-answer",
            Self::OutboxFull => "outbox-full",
            Self::InboxFull => "inbox-full",
            Self::Closed(_) => "closed",
        }
    }

    /// One sentence for people.
    pub fn sentence(&self) -> String {
        match self {
            Self::Refused(refusal) | Self::Invalid(refusal) => refusal.sentence().to_owned(),
            other => other.to_string(),
        }
    }
}

impl From<Refusal> for ClientError {
    /// For a message that this program could not build.
    fn from(refusal: Refusal) -> Self {
        Self::Invalid(refusal)
    }
}

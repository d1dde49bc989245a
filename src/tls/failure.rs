//! Why a TLS connection ends, and the alert that tells the peer.

use std::fmt;

/// The end of a TLS connection by a fault: of the peer, of the network, or of this server.
#[derive(Debug)]
pub(crate) struct Failure {
    cause: Cause,
    /// What rustls says of a handshake that failed, for the log.
    detail: Option<Box<str>>,
    /// A record with the alert, ready to send; empty if there is nothing to say or no way to say it.
    alert: Vec<u8>,
}

impl Failure {
    pub(super) fn new(cause: Cause, alert: Vec<u8>) -> Self {
        Self { cause, detail: None, alert }
    }

    /// A handshake that failed. Its alert is in the handshake's own output.
    pub(super) fn of_handshake(detail: impl fmt::Display) -> Self {
        Self { cause: Cause::Handshake, detail: Some(detail.to_string().into()), alert: Vec::new() }
    }

    /// What happened, for a counter.
    pub(crate) fn cause(&self) -> Cause {
        self.cause
    }

    /// Bytes for the socket, before it is closed. They may be empty.
    pub(crate) fn alert(&self) -> &[u8] {
        &self.alert
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause.word())?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The handshake failed, or was too long.
    Handshake,
    /// A record was changed on its way, or was sealed with another key.
    BadTag,
    /// A record is longer than the protocol allows.
    TooLong,
    /// A record has a type, version or content that must not come now.
    Unexpected,
    /// The peer asks for a renegotiation of TLS 1.2, which this server does not do.
    Renegotiation,
    /// Too many records without data in a row.
    Fruitless,
    /// More key updates than the peer's data is worth.
    KeyUpdates,
    /// The peer sent a fatal alert.
    PeerAlert,
    /// TLS 1.2 cannot change its key, and this one has sealed as many records as it may.
    KeyWornOut,
    /// The plaintext of a record that the socket took in part was changed. No byte of its second form is sent.
    ChangedPlaintext,
    /// Functions were called in the wrong order. The connection ends before a nonce could be used twice.
    Misuse,
}

impl Cause {
    /// One word for a counter or a log.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::BadTag => "bad-tag",
            Self::TooLong => "record-too-long",
            Self::Unexpected => "unexpected-record",
            Self::Renegotiation => "renegotiation",
            Self::Fruitless => "empty-records",
            Self::KeyUpdates => "key-updates",
            Self::PeerAlert => "peer-alert",
            Self::KeyWornOut => "key-worn-out",
            Self::ChangedPlaintext => "changed-plaintext",
            Self::Misuse => "misuse",
        }
    }
}

/// An alert that this server sends (RFC 8446 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Alert {
    CloseNotify = 0,
    UnexpectedMessage = 10,
    BadRecordMac = 20,
    RecordOverflow = 22,
    IllegalParameter = 47,
    DecodeError = 50,
    InternalError = 80,
    NoRenegotiation = 100,
}

impl Alert {
    /// Level and description.
    pub(super) fn bytes(self) -> [u8; 2] {
        let is_warning = matches!(self, Self::CloseNotify | Self::NoRenegotiation);
        [if is_warning { 1 } else { 2 }, self as u8]
    }
}

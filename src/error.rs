//! Errors, sorted by who is at fault, and the one place that maps them to the wire.
//!
//! | who | type | what the peer sees |
//! |---|---|---|
//! | peer, one message | [`Refusal`] | an LHTTP error message; the connection stays (PROTOCOL.md §6) |
//! | peer, the WebSocket itself | [`Fault`] | a close frame with an RFC 6455 §7.4 code |
//! | peer, an HTTP request | [`HttpFault`] | an HTTP status |
//! | caller of this library | [`StartError`], [`ReloadError`], [`PublishError`] | nothing: the caller gets it as a value |

use std::{borrow::Cow, fmt};

use crate::listen::Listen;

/// The fixed words of PROTOCOL.md §6, each with its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// 400: the message does not start with `LHTTP/1.0`, and there is no raw handler.
    NotLhttp,
    /// 400: the first line is not `LHTTP/1.0 command`, or does not end.
    BadStartLine,
    /// 400: a header line is malformed, or the head has no empty line behind it.
    BadHeader,
    /// 400: a channel or pattern is not valid.
    BadChannel,
    /// 400: the offsets or a part of a multipart body are wrong.
    BadMultipart,
    /// 400: an `upstream` value is not `METHOD URL`.
    BadUpstream,
    /// 401: a token is needed.
    Unauthorized,
    /// 401: the client's token has run out.
    TokenExpired,
    /// 403: the given token does not allow it.
    Forbidden,
    /// 413: over the message limit, in a way that leaves the connection usable.
    MessageTooBig,
    /// 431: the head is over its byte or header limit.
    HeadTooBig,
    /// 429: the connection holds as many subscriptions as it may.
    TooManySubscriptions,
    /// 429: the message names more channels to publish to than the limit allows.
    TooManyChannels,
    /// 429: too many acknowledgements of the connection wait for other cores or nodes.
    TooManyAcks,
    /// 429: too many messages in too short a time.
    RateLimited,
    /// 502: the upstream server could not be reached, or broke off.
    UpstreamFailed,
    /// 503: the upstream queue is full.
    UpstreamBusy,
    /// 504: the upstream server took too long.
    UpstreamTimeout,
}

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Self; 18] = [
        Self::NotLhttp,
        Self::BadStartLine,
        Self::BadHeader,
        Self::BadChannel,
        Self::BadMultipart,
        Self::BadUpstream,
        Self::Unauthorized,
        Self::TokenExpired,
        Self::Forbidden,
        Self::MessageTooBig,
        Self::HeadTooBig,
        Self::TooManySubscriptions,
        Self::TooManyChannels,
        Self::TooManyAcks,
        Self::RateLimited,
        Self::UpstreamFailed,
        Self::UpstreamBusy,
        Self::UpstreamTimeout,
    ];

    /// The error message's `code`.
    pub const fn code(self) -> u16 {
        match self {
            Self::NotLhttp
            | Self::BadStartLine
            | Self::BadHeader
            | Self::BadChannel
            | Self::BadMultipart
            | Self::BadUpstream => 400,
            Self::Unauthorized | Self::TokenExpired => 401,
            Self::Forbidden => 403,
            Self::MessageTooBig => 413,
            Self::TooManySubscriptions | Self::TooManyChannels | Self::TooManyAcks | Self::RateLimited => 429,
            Self::HeadTooBig => 431,
            Self::UpstreamFailed => 502,
            Self::UpstreamBusy => 503,
            Self::UpstreamTimeout => 504,
        }
    }

    /// The error message's `reason`: a fixed word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotLhttp => "not-lhttp",
            Self::BadStartLine => "bad-start-line",
            Self::BadHeader => "bad-header",
            Self::BadChannel => "bad-channel",
            Self::BadMultipart => "bad-multipart",
            Self::BadUpstream => "bad-upstream",
            Self::Unauthorized => "unauthorized",
            Self::TokenExpired => "token-expired",
            Self::Forbidden => "forbidden",
            Self::MessageTooBig => "message-too-big",
            Self::HeadTooBig => "head-too-big",
            Self::TooManySubscriptions => "too-many-subscriptions",
            Self::TooManyChannels => "too-many-channels",
            Self::TooManyAcks => "too-many-acks",
            Self::RateLimited => "rate-limited",
            Self::UpstreamFailed => "upstream-failed",
            Self::UpstreamBusy => "upstream-busy",
            Self::UpstreamTimeout => "upstream-timeout",
        }
    }
}

/// One message is refused: the peer gets an LHTTP error message, nothing of the message happens, and the connection
/// stays open (PROTOCOL.md §6).
///
/// Filters make their own with [`Refusal::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: u16,
    reason: Cow<'static, str>,
    sentence: Cow<'static, str>,
    retry_after: Option<u32>,
}

impl Refusal {
    /// A refusal in a filter's own words: `code` follows HTTP's classes, `reason` is one word for programs, `sentence`
    /// is for people.
    ///
    /// Control characters would break the message's lines; in `reason` they are replaced by `-`.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>, sentence: impl Into<Cow<'static, str>>) -> Self {
        let mut reason = reason.into();
        if reason.contains(|c: char| c.is_control()) {
            reason = Cow::Owned(reason.replace(|c: char| c.is_control(), "-"));
        }
        Self { code, reason, sentence: sentence.into(), retry_after: None }
    }

    /// A refusal with one of the protocol's own words.
    pub fn because(reason: Reason, sentence: impl Into<Cow<'static, str>>) -> Self {
        let (code, reason) = (reason.code(), Cow::Borrowed(reason.word()));
        Self { code, reason, sentence: sentence.into(), retry_after: None }
    }

    /// The same refusal with the time after which the sender may try again, in seconds: the error's header `retry-after`.
    ///
    /// ```
    /// use lhttp::Refusal;
    ///
    /// let refusal = Refusal::new(429, "rate-limited", "one vote a minute").with_retry_after(60);
    /// assert_eq!(refusal.retry_after(), Some(60));
    /// ```
    pub fn with_retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The time after which the sender may try again, in seconds.
    pub fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }

    /// The code, after HTTP's classes.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The fixed word for programs.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The sentence for people.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.sentence)
    }
}

impl std::error::Error for Refusal {}

/// A WebSocket connection must end, with this close code and reason (RFC 6455 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The close code: 1002, 1007, 1009, 1001, 1008, 1011 or 1013.
    pub code: u16,
    /// The close reason, at most 123 bytes.
    pub reason: &'static str,
}

impl Fault {
    /// 1001: the server is stopping.
    pub const GOING_AWAY: Self = Self { code: 1001, reason: "server is stopping" };
    /// 1007: a text message that is not UTF-8 (RFC 6455 §8.1).
    pub const NOT_UTF8: Self = Self { code: 1007, reason: "text is not UTF-8" };
    /// 1008: the peer was silent for the idle timeout.
    pub const IDLE: Self = Self { code: 1008, reason: "idle" };
    /// 1008: the client's token has run out, and no new one has come.
    pub const TOKEN_EXPIRED: Self = Self { code: 1008, reason: "token-expired" };
    /// 1008: a message was incomplete after its time.
    pub const MESSAGE_TIMEOUT: Self = Self { code: 1008, reason: "message-timeout" };
    /// 1008: the peer sends at ten times a rate that it may have.
    pub const RATE_LIMITED: Self = Self { code: 1008, reason: "rate-limited" };
    /// 1009: a frame or a message over the message limit. The client gets the limit in bytes as the reason.
    pub const TOO_BIG: Self = Self { code: 1009, reason: "message is too big" };
    /// 1011: a processor or filter panicked.
    pub const PANICKED: Self = Self { code: 1011, reason: "internal error" };
    /// 1013: the peer reads more slowly than its channels publish, and its outbox is full.
    pub const SLOW_CONSUMER: Self = Self { code: 1013, reason: "slow consumer" };

    /// The code and the reason.
    pub(crate) const fn parts(self) -> (u16, &'static str) {
        (self.code, self.reason)
    }

    /// 1002 with its reason (RFC 6455 §7.4.1).
    pub const fn protocol(reason: &'static str) -> Self {
        Self { code: 1002, reason }
    }
}

/// An HTTP request cannot be served: the status and one sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpFault {
    /// The HTTP status code.
    pub status: u16,
    /// The response's body.
    pub sentence: &'static str,
}

impl HttpFault {
    /// A fault with this status and sentence.
    pub const fn new(status: u16, sentence: &'static str) -> Self {
        Self { status, sentence }
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The server cannot listen on an address: it is busy, not this machine's, or not allowed.
    #[error("cannot listen on {at}: {source}")]
    Listen {
        /// The address.
        at: Listen,
        /// The system's error.
        source: std::io::Error,
    },
    /// A setting is invalid, or two contradict each other.
    #[error("{0}")]
    Config(String),
    /// The system refused a thread, a poll or a waker.
    #[error("cannot start a core: {0}")]
    System(#[from] std::io::Error),
}

/// Why a running server did not take new options.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// A server could not start, or go on, with them. Nothing has changed.
    #[error("{0}")]
    Invalid(#[from] StartError),
    /// A core has not taken them in time, though it still may; others may have. Reload again later.
    #[error("a core is too busy to take new options, reload again later")]
    Busy,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
}

/// Why a publish from outside the cores was not taken. Nothing of it happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A channel, the command or a header is not valid; the refusal says which.
    #[error("{0}")]
    Invalid(Refusal),
    /// The core's inbox is full: it is behind. Try again later.
    #[error("the server's inbox is full")]
    Full,
    /// The server has stopped.
    #[error("the server has stopped")]
    Stopped,
}

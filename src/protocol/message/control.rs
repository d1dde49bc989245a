//! The control headers, by name (PROTOCOL.md §2).

/// The headers that the server acts on (PROTOCOL.md §2, and `upstream-reply` of §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Control {
    Subscribe,
    Publish,
    Unsubscribe,
    Upstream,
    Multipart,
    Ack,
    NoEcho,
    UpstreamReply,
    /// PROTOCOL.md §8.
    Token,
    /// PROTOCOL.md §10, only in a message that subscribes.
    Since,
    Last,
    /// PROTOCOL.md §11; the second only in a message that subscribes.
    Presence,
    PresenceInfo,
}

impl Control {
    /// The control header of this name, in any case.
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        let (word, control): (&[u8], _) = match (name.len(), name.first()? | 0x20) {
            (7, b'p') => (b"publish", Self::Publish),
            (9, b's') => (b"subscribe", Self::Subscribe),
            (11, b'u') => (b"unsubscribe", Self::Unsubscribe),
            (8, b'u') => (b"upstream", Self::Upstream),
            (9, b'm') => (b"multipart", Self::Multipart),
            (3, b'a') => (b"ack", Self::Ack),
            (5, b't') => (b"token", Self::Token),
            (5, b's') => (b"since", Self::Since),
            (4, b'l') => (b"last", Self::Last),
            (8, b'p') => (b"presence", Self::Presence),
            (13, b'p') => (b"presence-info", Self::PresenceInfo),
            (7, b'n') => (b"no-echo", Self::NoEcho),
            (14, b'u') => (b"upstream-reply", Self::UpstreamReply),
            _ => return None,
        };
        (name == word || name.eq_ignore_ascii_case(word)).then_some(control)
    }

    /// The headers that mean something only beside `subscribe`. Without it they are headers like any other.
    pub(super) const OF_SUBSCRIBE: u16 = Self::Since.bit() | Self::Last.bit() | Self::PresenceInfo.bit();

    /// The headers that may occur only once in a message. `presence` may only where somebody counts who is there.
    pub(super) const SINGLE: u16 =
        !(Self::Subscribe.bit() | Self::Publish.bit() | Self::Unsubscribe.bit() | Self::Presence.bit());

    /// The header's bit in a set of control headers.
    pub(super) const fn bit(self) -> u16 {
        1 << self as u8
    }
}

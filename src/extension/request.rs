//! The message of a context: borrowed as it came, owned after its first change.

use crate::protocol::message::{Message, Parsed};

/// The message that the context is about.
pub(crate) enum Request<'m> {
    /// No message: a connection opens or closes.
    None,
    /// A message that is not LHTTP.
    Raw(&'m [u8]),
    /// A message as it came.
    Borrowed(Parsed<'m>),
    /// A message that a processor or filter has changed.
    Changed(Message),
}

impl Request<'_> {
    pub(super) fn command(&self) -> &str {
        match self {
            Self::None | Self::Raw(_) => "",
            Self::Borrowed(parsed) => text(parsed.command()),
            Self::Changed(message) => message.command(),
        }
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let (borrowed, changed) = match self {
            Self::None | Self::Raw(_) => (None, None),
            Self::Borrowed(parsed) => (Some(parsed.headers()), None),
            Self::Changed(message) => (None, Some(message.headers())),
        };
        let borrowed = borrowed.into_iter().flatten().map(|(name, value)| (text(name), text(value)));
        borrowed.chain(changed.into_iter().flatten())
    }

    pub(super) fn body(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Raw(payload) => payload,
            Self::Borrowed(parsed) => parsed.body(),
            Self::Changed(message) => message.body_bytes(),
        }
    }

    /// The message, to change it; none if there is no LHTTP message.
    pub(super) fn to_mut(&mut self) -> Option<&mut Message> {
        if let Self::Borrowed(_) = self {
            let mut message = Message::new(self.command()).ok()?;
            for (name, value) in self.headers() {
                message.add_header(name, value).ok()?;
            }
            message.set_body(self.body());
            *self = Self::Changed(message);
        }
        match self {
            Self::Changed(message) => Some(message),
            _ => None,
        }
    }

    /// The message, if the called code has changed it.
    pub(crate) fn into_changed(self) -> Option<Message> {
        if let Self::Changed(message) = self { Some(message) } else { None }
    }

    /// Appends the message with another body, as the answer of [`Context::send`](super::Context::send).
    pub(super) fn encode_with_body(&self, body: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::None | Self::Raw(_) => out.extend_from_slice(body),
            Self::Borrowed(parsed) => {
                out.extend_from_slice(&parsed.payload[..parsed.head.body_start()]);
                out.extend_from_slice(body);
            }
            Self::Changed(message) => {
                message.encode_head_to(out);
                out.extend_from_slice(body);
            }
        }
    }
}

/// Text of a head, which the parser has found to be UTF-8.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

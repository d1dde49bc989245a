//! How a message is written for its receiver. WebSocket frames are the only way today; the engine asks the encoding and not
//! the frames, so that others can stand beside them.

use tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::protocol::frame;

/// The way in which a connection is sent messages. It takes no memory as long as there is only one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Unfragmented, unmasked WebSocket frames (RFC 6455 §5).
    #[default]
    Frame,
}

impl Encoding {
    /// Appends a message.
    #[inline]
    pub(crate) fn message(self, out: &mut Vec<u8>, is_text: bool, payload: &[u8]) {
        match self {
            Self::Frame => frame::encode(out, frame::data(is_text), payload),
        }
    }

    /// Appends a message whose payload comes in parts.
    pub(crate) fn message_of_parts(self, out: &mut Vec<u8>, is_text: bool, parts: &[&[u8]]) {
        match self {
            Self::Frame => {
                let len = parts.iter().map(|part| part.len()).sum();
                frame::encode_header(out, frame::data(is_text), len);
                parts.iter().for_each(|part| out.extend_from_slice(part));
            }
        }
    }

    /// Appends a ping: the peer answers it, or the connection is not alive.
    pub(crate) fn ping(self, out: &mut Vec<u8>) {
        match self {
            Self::Frame => frame::encode(out, OpCode::Control(Control::Ping), &[]),
        }
    }

    /// Appends the answer to a ping.
    pub(crate) fn pong(self, out: &mut Vec<u8>, payload: &[u8]) {
        match self {
            Self::Frame => frame::encode(out, OpCode::Control(Control::Pong), payload),
        }
    }

    /// Appends the last thing that a connection is sent, with a code if there is one (RFC 6455 §7.4) and a reason.
    pub(crate) fn close(self, out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
        match (self, code) {
            (Self::Frame, Some(code)) => frame::encode_close(out, code, reason),
            (Self::Frame, None) => frame::encode(out, OpCode::Control(Control::Close), &[]),
        }
    }

    /// The length of the message, ping, pong or close at the start of `bytes`, which hold its whole header.
    #[inline]
    pub(crate) fn unit_len(self, bytes: &[u8]) -> usize {
        match self {
            Self::Frame => frame::server_frame_len(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_each_other_and_their_lengths_find_them_again() {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        let mut append = |unit: fn(Encoding, &mut Vec<u8>)| {
            unit(Encoding::default(), &mut bytes);
            ends.push(bytes.len());
        };
        append(|encoding, out| encoding.message(out, true, &[b'x'; 70_000]));
        append(|encoding, out| encoding.message_of_parts(out, false, &[b"one", b"", &[b'x'; 200]]));
        append(|encoding, out| encoding.ping(out));
        append(|encoding, out| encoding.pong(out, b"again"));
        append(|encoding, out| encoding.close(out, Some(1001), "going away"));
        append(|encoding, out| encoding.close(out, None, ""));
        let mut at = 0;
        for end in ends {
            at += Encoding::default().unit_len(&bytes[at..]);
            assert_eq!(at, end);
        }
    }

    #[test]
    fn a_message_of_parts_is_the_message_of_all_of_them() {
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        Encoding::Frame.message(&mut whole, true, b"LHTTP/1.0 ack\r\n\r\n");
        Encoding::Frame.message_of_parts(&mut parts, true, &[b"LHTTP/1.0 ack", b"\r\n", b"\r\n"]);
        assert_eq!(parts, whole);
    }
}

//! The client's side of the wire: writes masked frames, reads server frames.

#[cfg(test)]
use rand::{Rng, RngExt};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use crate::protocol::mask::unmask;

/// An upgrade request.
pub(crate) const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: simulated\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Appends a client's frame.
pub(crate) fn push_frame(out: &mut Vec<u8>, is_final: bool, opcode: OpCode, mask: [u8; 4], payload: &[u8]) {
    let header = FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() };
    header.format(payload.len() as u64, out).expect("a Vec takes it");
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask); // masking is the same operation
}

/// Appends a control frame.
#[cfg(test)]
pub(crate) fn push_control(out: &mut Vec<u8>, rng: &mut impl Rng, control: Control, payload: &[u8]) {
    push_frame(out, true, OpCode::Control(control), rng.random(), payload);
}

/// Appends a message, sometimes in fragments with pings between them. Returns the pings' payloads.
#[cfg(test)]
pub(crate) fn push_message(out: &mut Vec<u8>, rng: &mut impl Rng, is_text: bool, payload: &[u8]) -> Vec<Vec<u8>> {
    let mut pings = Vec::new();
    let mut kind = if is_text { Data::Text } else { Data::Binary };
    let mut rest = payload;
    while rng.random_bool(0.2) {
        let (fragment, after) = rest.split_at(rng.random_range(0..=rest.len()));
        push_frame(out, false, OpCode::Data(kind), rng.random(), fragment);
        if rng.random_bool(0.3) {
            let ping: [u8; 3] = rng.random();
            push_control(out, rng, Control::Ping, &ping);
            pings.push(ping.to_vec());
        }
        kind = Data::Continue;
        rest = after;
    }
    push_frame(out, true, OpCode::Data(kind), rng.random(), rest);
    pings
}

/// One item that a server has sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// An HTTP response.
    Response {
        status: u16,
        body: Vec<u8>,
        /// It says that no other one comes.
        is_last: bool,
    },
    Message {
        is_text: bool,
        payload: Vec<u8>,
    },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// With the close code, if there is one.
    Close(Option<u16>),
}

/// Parses the bytes that the server sends on one connection.
#[derive(Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    at: usize,
    is_upgraded: bool,
    is_closed: bool,
}

impl Reader {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        assert!(!self.is_closed || bytes.is_empty(), "something follows the close frame");
        self.bytes.drain(..std::mem::take(&mut self.at));
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether the stream may end here.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next complete item.
    pub(crate) fn next(&mut self) -> Option<Incoming> {
        let rest = &self.bytes[self.at..];
        let (incoming, len) = if self.is_upgraded { frame(rest)? } else { response(rest)? };
        assert!(!self.is_closed, "something follows the close frame");
        self.at += len;
        self.is_upgraded |= matches!(incoming, Incoming::Response { status: 101, .. });
        self.is_closed |= matches!(incoming, Incoming::Close(_));
        Some(incoming)
    }
}

fn response(bytes: &[u8]) -> Option<(Incoming, usize)> {
    let mut slots = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut slots);
    let httparse::Status::Complete(head) = response.parse(bytes).expect("a sound response") else { return None };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.map_or(0, |header| std::str::from_utf8(header.value).unwrap().parse().unwrap());
    let body = bytes.get(head..head + length)?.to_vec();
    let is_close = |header: &&httparse::Header<'_>| {
        header.name.eq_ignore_ascii_case("connection") && header.value.eq_ignore_ascii_case(b"close")
    };
    let (status, is_last) = (response.code.expect("complete"), response.headers.iter().any(|header| is_close(&header)));
    Some((Incoming::Response { status, body, is_last }, head + length))
}

fn frame(bytes: &[u8]) -> Option<(Incoming, usize)> {
    let mut cursor = std::io::Cursor::new(bytes);
    let (header, len) = FrameHeader::parse(&mut cursor).expect("a sound frame")?;
    assert!(header.is_final && header.mask.is_none() && !header.rsv1 && !header.rsv2 && !header.rsv3, "{header:?}");
    let start = cursor.position() as usize;
    let payload = bytes.get(start..start + len as usize)?.to_vec();
    let incoming = match header.opcode {
        OpCode::Data(Data::Text) => {
            assert!(std::str::from_utf8(&payload).is_ok(), "text that is not UTF-8");
            Incoming::Message { is_text: true, payload }
        }
        OpCode::Data(Data::Binary) => Incoming::Message { is_text: false, payload },
        OpCode::Control(Control::Ping) => Incoming::Ping(payload),
        OpCode::Control(Control::Pong) => Incoming::Pong(payload),
        OpCode::Control(Control::Close) => {
            let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            Incoming::Close(code)
        }
        opcode => panic!("a server does not send {opcode}"),
    };
    Some((incoming, start + len as usize))
}

//! Counts deliveries inside the receive buffer: it copies nothing and allocates nothing per message.

use super::{
    check::Check,
    nats::Operations,
    websocket::{self, Piece, Walker},
};

/// The number of hex digits of a time stamp in a body.
pub(crate) const STAMP_BYTES: usize = 16;

/// One connection's count. Feed it every received byte, in order, however the bytes are cut.
#[derive(Debug)]
pub(crate) struct Counter {
    /// Complete messages so far.
    pub(crate) messages: u64,
    /// The code of the server's close frame (1005 if it had none, RFC 6455 §7.1.5).
    pub(crate) close_code: Option<u16>,
    /// Masked frames that answer the server's control frames. The owner of the socket sends and clears them.
    pub(crate) replies: Vec<u8>,
    kind: Kind,
    walker: Walker,
    control: Vec<u8>,
    stamp: StampReader,
    /// What each message must say; without it, messages are only counted.
    check: Option<Box<Check>>,
}

#[derive(Debug)]
enum Kind {
    /// One message per WebSocket message.
    Frames,
    /// NATS operations inside WebSocket frames, however they are cut.
    Nats(Operations),
    /// No framing: each message has a fixed number of bytes.
    Raw { message_bytes: u64, bytes: u64 },
}

impl Counter {
    /// Counts WebSocket messages. The stamp, if wanted, starts `stamp_at` bytes into the payload.
    pub(crate) fn frames(stamp_at: usize) -> Self {
        Self::new(Kind::Frames, stamp_at)
    }

    /// Counts NATS `MSG` operations in WebSocket frames.
    pub(crate) fn nats() -> Self {
        Self::new(Kind::Nats(Operations::default()), 0)
    }

    /// Counts messages of `message_bytes` each in an unframed stream.
    pub(crate) fn raw(message_bytes: usize, stamp_at: usize) -> Self {
        Self::new(Kind::Raw { message_bytes: message_bytes as u64, bytes: 0 }, stamp_at)
    }

    fn new(kind: Kind, stamp_at: usize) -> Self {
        Self {
            messages: 0,
            close_code: None,
            replies: Vec::new(),
            kind,
            walker: Walker::default(),
            control: Vec::new(),
            stamp: StampReader { at: stamp_at, position: 0, value: 0 },
            check: None,
        }
    }

    /// Checks each message, too. The stream must have frames.
    pub(crate) fn checked(self, check: Check) -> Self {
        Self { check: Some(Box::new(check)), ..self }
    }

    /// The number that is due next, where messages are numbered.
    pub(crate) fn next_number(&self) -> Option<u64> {
        self.check.as_ref().and_then(|check| check.next_number())
    }

    /// Counts the messages in `bytes`. With `on_stamp` it also reads each message's time stamp and passes it on, which
    /// costs some 20 ns a message.
    ///
    /// # Errors
    /// A violation of the protocol by the server.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut on_stamp: Option<&mut dyn FnMut(u64)>) -> Result<(), String> {
        if let Kind::Raw { message_bytes, bytes: total } = &mut self.kind {
            if let Some(on_stamp) = on_stamp {
                self.stamp.feed_periodic(bytes, *message_bytes as usize, on_stamp);
            }
            *total += bytes.len() as u64;
            self.messages = *total / *message_bytes;
            return Ok(());
        }
        let mut input = bytes;
        loop {
            if on_stamp.is_none()
                && self.check.is_none()
                && matches!(self.kind, Kind::Frames)
                && self.walker.is_between_frames()
            {
                self.messages += skip_short_frames(&mut input);
            }
            let Some(piece) = self.walker.next(&mut input)? else { return Ok(()) };
            if piece.opcode >= websocket::CLOSE {
                self.control(&piece);
                continue;
            }
            match &mut self.kind {
                Kind::Nats(operations) => {
                    let check = self.check.as_deref_mut();
                    self.messages += operations.feed(piece.bytes, &mut self.stamp, &mut on_stamp, check)?;
                }
                _ => {
                    let ends = piece.ends && piece.fin;
                    if let Some(on_stamp) = &mut on_stamp {
                        if piece.starts {
                            self.stamp.start();
                        }
                        self.stamp.feed(piece.bytes, *on_stamp);
                    }
                    self.messages += match &mut self.check {
                        None => u64::from(ends),
                        Some(check) => {
                            let starts = piece.starts && piece.opcode != websocket::CONTINUATION;
                            u64::from(check.feed(piece.bytes, starts, ends)?)
                        }
                    };
                }
            }
        }
    }

    fn control(&mut self, piece: &Piece<'_>) {
        self.control.extend_from_slice(piece.bytes);
        if !piece.ends {
            return;
        }
        let payload = std::mem::take(&mut self.control);
        match piece.opcode {
            websocket::CLOSE => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                self.close_code.get_or_insert(code);
            }
            websocket::PING => {
                let pong = websocket::masked(websocket::PONG, &payload, [0x5a, 0xc3, 0x21, 0x99]);
                self.replies.extend_from_slice(&pong.bytes);
            }
            _ => {}
        }
    }
}

/// Skips complete unfragmented data frames of less than 126 bytes, and returns how many. It compares each header with
/// the previous one instead of decoding it, so that no load waits for an earlier one: about 1 ns a frame.
fn skip_short_frames(input: &mut &[u8]) -> u64 {
    let bytes = *input;
    let mut position = 0;
    let mut count = 0;
    while let Some(&[first, second]) = bytes.get(position..position + 2) {
        let stride = 2 + usize::from(second);
        let is_data = first == 0x80 | websocket::TEXT || first == 0x80 | websocket::BINARY;
        if !is_data || second >= 126 || position + stride > bytes.len() {
            break;
        }
        position += stride;
        count += 1;
        while position + stride <= bytes.len() && bytes[position] == first && bytes[position + 1] == second {
            position += stride;
            count += 1;
        }
    }
    *input = &bytes[position..];
    count
}

/// Reads a fixed-width hex number from each message, even if a read cuts the number.
#[derive(Debug)]
pub(crate) struct StampReader {
    /// The offset of the digits in a message.
    at: usize,
    /// The number of bytes of the current message so far.
    position: usize,
    value: u64,
}

impl StampReader {
    /// A message starts.
    pub(crate) fn start(&mut self) {
        self.position = 0;
        self.value = 0;
    }

    /// The next part of the current message.
    pub(crate) fn feed(&mut self, piece: &[u8], on_stamp: &mut dyn FnMut(u64)) {
        let end = self.at + STAMP_BYTES;
        let from = self.at.max(self.position);
        let to = end.min(self.position + piece.len());
        if from < to {
            for digit in &piece[from - self.position..to - self.position] {
                self.value = self.value << 4 | u64::from((*digit as char).to_digit(16).unwrap_or(0));
            }
            if to == end {
                on_stamp(self.value);
            }
        }
        self.position += piece.len();
    }

    /// The next part of a stream in which a message starts every `message_bytes`.
    fn feed_periodic(&mut self, mut bytes: &[u8], message_bytes: usize, on_stamp: &mut dyn FnMut(u64)) {
        while !bytes.is_empty() {
            if self.position == message_bytes {
                self.start();
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(message_bytes - self.position));
            self.feed(piece, on_stamp);
            bytes = rest;
        }
    }
}

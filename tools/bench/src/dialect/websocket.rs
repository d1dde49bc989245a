//! The client's half of WebSocket (RFC 6455), as far as a load generator needs it: the upgrade, masked frames out, and
//! a walk over unmasked frames in.

use super::Progress;

/// The nonce of RFC 6455 §1.3. All connections use it, so that the answer can be checked without SHA-1.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// A server's head that is still incomplete after this many bytes is refused.
const HEAD_BYTES_MAX: usize = 16 * 1024;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The upgrade request for `path`. `headers` are more lines, each with its CRLF.
pub(crate) fn upgrade(host: &str, path: &str, headers: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
    .into_bytes()
}

/// Whether `received` holds the complete answer to [`upgrade`]. Also checks that the answer accepts it.
pub(crate) fn upgraded(received: &[u8]) -> Result<Progress, String> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        if received.len() > HEAD_BYTES_MAX {
            return Err("its answer to the upgrade has no end".into());
        }
        return Ok(Progress::More);
    };
    let head = String::from_utf8_lossy(&received[..end]);
    if !head.starts_with("HTTP/1.1 101") {
        return Err(format!("it refused the upgrade: {}", head.lines().next().unwrap_or_default()));
    }
    if !head.contains(ACCEPT) {
        return Err("its Sec-WebSocket-Accept is wrong".into());
    }
    Ok(Progress::Done(end + 4))
}

/// A masked frame for a server, with the offset of its payload.
#[derive(Clone, Debug)]
pub(crate) struct MaskedFrame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) payload_at: usize,
    pub(crate) mask: [u8; 4],
}

/// One complete message in one masked frame (RFC 6455 §5.2).
pub(crate) fn masked(opcode: u8, payload: &[u8], mask: [u8; 4]) -> MaskedFrame {
    let mut bytes = header(opcode, payload.len());
    bytes[1] |= 0x80;
    bytes.extend_from_slice(&mask);
    let payload_at = bytes.len();
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    MaskedFrame { bytes, payload_at, mask }
}

/// The header of an unmasked, unfragmented frame, in its shortest form.
pub(crate) fn header(opcode: u8, payload_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload_bytes {
        0..126 => bytes.push(payload_bytes as u8),
        126..65_536 => {
            bytes.push(126);
            bytes.extend_from_slice(&(payload_bytes as u16).to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
    bytes
}

/// A part of one frame's payload, borrowed from the received bytes.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) opcode: u8,
    /// The frame ends a message.
    pub(crate) fin: bool,
    /// The frame starts with this piece.
    pub(crate) starts: bool,
    /// The frame ends with this piece.
    pub(crate) ends: bool,
}

/// Walks the frames of a byte stream, however it is cut. Copies only headers that are cut.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    header: [u8; 10],
    /// The number of bytes of `header` so far. Zero between frames.
    header_have: usize,
    /// Inside a frame whose header is complete.
    inside: bool,
    /// No piece of the current frame has been returned yet.
    fresh: bool,
    /// Payload bytes of the current frame that are still to come.
    remaining: u64,
}

impl Walker {
    /// No frame is unfinished.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.header_have == 0
    }

    /// The next piece of `input`, which moves past it; `None` when `input` is used up. A frame without payload gives
    /// one empty piece.
    ///
    /// # Errors
    /// The server masked a frame, or set a reserved bit (RFC 6455 §5.1, §5.2).
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, String> {
        if !self.inside && !self.take_header(input)? {
            return Ok(None);
        }
        if self.remaining > 0 && input.is_empty() {
            return Ok(None);
        }
        let take = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len());
        let (bytes, rest) = input.split_at(take);
        *input = rest;
        self.remaining -= take as u64;
        let starts = std::mem::take(&mut self.fresh);
        let ends = self.remaining == 0;
        if ends {
            self.inside = false;
            self.header_have = 0;
        }
        Ok(Some(Piece { bytes, opcode: self.header[0] & 0x0f, fin: self.header[0] & 0x80 != 0, starts, ends }))
    }

    /// Collects the header; `false` when more bytes are needed.
    fn take_header(&mut self, input: &mut &[u8]) -> Result<bool, String> {
        loop {
            let need = match (self.header_have, self.header[1]) {
                (0 | 1, _) => 2,
                (_, 126) => 4,
                (_, 127) => 10,
                _ => 2,
            };
            if self.header_have == need {
                break;
            }
            let Some((&byte, rest)) = input.split_first() else { return Ok(false) };
            *input = rest;
            self.header[self.header_have] = byte;
            self.header_have += 1;
            if self.header_have == 2 && (byte & 0x80 != 0 || self.header[0] & 0x70 != 0) {
                return Err(format!("it sent a frame that starts with {:02x} {byte:02x}", self.header[0]));
            }
        }
        self.remaining = match self.header[1] {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => self.header[2..10].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
            short => u64::from(short),
        };
        self.inside = true;
        self.fresh = true;
        Ok(true)
    }
}

//! WebSocket frames as bytes (RFC 6455 §5.2), valid and invalid ones.

/// The first bit of the last frame of a message.
pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A frame that the server sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.payload);
        write!(f, "Frame(fin {}, opcode {:#x}, {:?})", self.fin, self.opcode, text)
    }
}

/// A masked frame with the shortest length. `first_byte` is FIN, RSV bits and opcode.
pub(crate) fn masked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let form = match payload.len() {
        0..=125 => 7,
        126..=0xFFFF => 16,
        _ => 64,
    };
    masked_with_length(first_byte, form, payload.len() as u64, payload)
}

/// A masked frame whose length is written in 7, 16 or 64 bits and may be false.
pub(crate) fn masked_with_length(first_byte: u8, bits: u8, length: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first_byte, MASKED, bits, length);
    frame.extend(MASK);
    // Four bytes at a time, because tests that publish megabytes are built without optimization.
    let (words, rest) = payload.as_chunks::<4>();
    for word in words {
        frame.extend((u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(MASK)).to_ne_bytes());
    }
    frame.extend(rest.iter().zip(MASK).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A short frame without a mask, which a client must not send.
pub(crate) fn unmasked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first_byte, 0, 7, payload.len() as u64);
    frame.extend(payload);
    frame
}

/// A close frame's payload.
pub(crate) fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// The first frame in `bytes` and its length, once the frame is complete. A server's frames are unmasked and as short
/// as possible.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let (&second, rest) = rest.split_first()?;
    assert_eq!(first & 0x70, 0, "the server sets RSV bits: {first:#x}");
    assert_eq!(second & MASKED, 0, "the server masks a frame");
    let (length, header) = match second {
        126 => (u64::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(rest.get(..8)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let shortest = [2, 4, 10][usize::from(length > 125) + usize::from(length > 0xFFFF)];
    assert_eq!(header, shortest, "the server writes the length {length} too long");
    let end = header + usize::try_from(length).expect("a length this machine can hold");
    let payload = bytes.get(header..end)?.to_vec();
    Some((Frame { fin: first & FIN != 0, opcode: first & 0x0F, payload }, end))
}

fn header(first_byte: u8, masked: u8, bits: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first_byte];
    match bits {
        7 => header.push(masked | u8::try_from(length).expect("7 bits")),
        16 => {
            header.push(masked | 126);
            header.extend(u16::try_from(length).expect("16 bits").to_be_bytes());
        }
        _ => {
            header.push(masked | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header
}

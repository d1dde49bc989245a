//! WebSocket frames (RFC 6455 §5): decodes a client's frames and encodes a server's.
//!
//! We read and write headers by hand. tungstenite's `FrameHeader::parse` takes 10 ns where this code takes 2. It also
//! accepts long forms of short lengths, lengths with bit 63 set, unmasked frames and fragmented control frames. Opcodes
//! and close codes are tungstenite's, and the tests use both sides of its `FrameHeader` as the oracle.

use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use crate::{error::Fault, protocol::mask};

/// The longest payload of a control frame, in bytes (RFC 6455 §5.5).
pub(crate) const CONTROL_BYTES_MAX: usize = 125;
/// The bytes of the shortest header of a frame with a mask (RFC 6455 §5.2).
pub(crate) const CLIENT_HEADER_BYTES_MIN: usize = 6;

/// The checked header of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) is_final: bool,
    pub(crate) opcode: OpCode,
    pub(crate) mask: [u8; 4],
    /// The header's length in bytes, mask included.
    pub(crate) len: usize,
    /// The length of the payload behind the header, in bytes.
    pub(crate) payload_len: usize,
}

/// Reads the header at the start of `bytes`; `None` means that more bytes are needed.
///
/// Each rule is checked as soon as the byte that may break it has come. So a frame that announces more than
/// `payload_bytes_max` is refused before any of its payload is read or buffered.
///
/// # Errors
/// 1002 for a violation of RFC 6455 §5.2 or §5.5, 1009 for a length over `payload_bytes_max`.
#[inline]
pub(crate) fn decode(bytes: &[u8], payload_bytes_max: usize) -> Result<Option<Header>, Fault> {
    let [first, second, rest @ ..] = bytes else {
        return bytes.first().map_or(Ok(None), |&first| opcode(first).map(|_| None));
    };
    let opcode = opcode(*first)?;
    let is_final = first & 0x80 != 0;
    if second & 0x80 == 0 {
        return Err(Fault::protocol("frame is not masked"));
    }
    let short = usize::from(second & 0x7f);
    if matches!(opcode, OpCode::Control(_)) {
        if !is_final {
            return Err(Fault::protocol("control frame is fragmented"));
        }
        if short > CONTROL_BYTES_MAX {
            return Err(Fault::protocol("control frame is too long"));
        }
    }
    let (payload_len, rest) = match short {
        126 => {
            let Some((length, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let Some((length, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
            (u64::from_be_bytes(*length), rest)
        }
        _ => (short as u64, rest),
    };
    if (short == 126 && payload_len < 126) || (short == 127 && payload_len <= 0xffff) {
        return Err(Fault::protocol("frame length is not in its shortest form"));
    }
    if payload_len >> 63 != 0 {
        return Err(Fault::protocol("frame length has its highest bit set"));
    }
    if payload_len > payload_bytes_max as u64 {
        return Err(Fault::TOO_BIG);
    }
    let Some(mask) = rest.first_chunk::<4>() else { return Ok(None) };
    let len = bytes.len() - rest.len() + 4;
    Ok(Some(Header { is_final, opcode, mask: *mask, len, payload_len: payload_len as usize }))
}

/// A complete data message in a single frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) is_text: bool,
    pub(crate) mask: [u8; 4],
    /// Where the payload starts.
    pub(crate) start: usize,
    /// Where the payload ends and the next frame starts.
    pub(crate) end: usize,
}

/// Finds the message at the start of `bytes` if it is complete, in a single frame and shorter than 64 KiB. Such a
/// message breaks no rule that [`decode`] checks, except perhaps the length limit. `None` says nothing about `bytes`:
/// call [`decode`].
#[inline]
pub(crate) fn whole(bytes: &[u8]) -> Option<Whole> {
    let &[first, second, high, low, ..] = bytes else { return None };
    let (len, mask_at) = match second {
        0x80..0xfe => (usize::from(second & 0x7f), 2),
        0xfe => (usize::from(u16::from_be_bytes([high, low])), 4),
        _ => return None,
    };
    let is_short_form = mask_at == 2 || len >= 126;
    let (start, end) = (mask_at + 4, mask_at + 4 + len);
    if !matches!(first, 0x81 | 0x82) || !is_short_form || end > bytes.len() {
        return None;
    }
    let mask = *bytes[mask_at..start].first_chunk()?;
    Some(Whole { is_text: first == 0x81, mask, start, end })
}

#[inline]
fn opcode(first: u8) -> Result<OpCode, Fault> {
    if first & 0x70 != 0 {
        return Err(Fault::protocol("reserved bit is set"));
    }
    match OpCode::from(first & 0x0f) {
        OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
            Err(Fault::protocol("opcode is reserved"))
        }
        opcode => Ok(opcode),
    }
}

/// Writes the message that [`whole`] found in `bytes` to the start of `out`, which has room for `whole.end` bytes. It
/// becomes a server's frame: the same header without the mask, and the payload unmasked. Returns the frame's length,
/// and whether the payload is ASCII.
#[inline]
pub(crate) fn rewrite(bytes: &[u8], whole: Whole, out: &mut [u8]) -> (usize, bool) {
    let header = whole.start - 4;
    let len = header + whole.end - whole.start;
    out[..4].copy_from_slice(&bytes[..4]); // behind a short header the payload overwrites two of them
    out[1] &= 0x7f;
    (len, mask::unmask_into(&mut out[header..len], &bytes[whole.start..whole.end], whole.mask))
}

/// Whether a complete data frame has text.
pub(crate) fn is_text(frame: &[u8]) -> bool {
    frame.first() == Some(&(0x80 | u8::from(data(true))))
}

/// The payload of a complete frame that this module encoded.
pub(crate) fn payload(frame: &[u8]) -> &[u8] {
    let header = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.get(header..).unwrap_or_default()
}

/// The opcode of a whole data message.
#[inline]
pub(crate) fn data(is_text: bool) -> OpCode {
    OpCode::Data(if is_text { Data::Text } else { Data::Binary })
}

/// Appends the header of an unfragmented, unmasked frame.
#[inline]
pub(crate) fn encode_header(out: &mut Vec<u8>, opcode: OpCode, payload_len: usize) {
    let first = 0x80 | u8::from(opcode);
    match payload_len {
        0..126 => out.extend_from_slice(&[first, payload_len as u8]),
        126..=0xffff => {
            let [high, low] = (payload_len as u16).to_be_bytes();
            out.extend_from_slice(&[first, 126, high, low]);
        }
        _ => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
}

/// Appends an unfragmented, unmasked frame.
#[inline]
pub(crate) fn encode(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    out.reserve(10 + payload.len());
    encode_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame. A reason that is too long is cut at the end of a character.
pub(crate) fn encode_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    encode_header(out, OpCode::Control(Control::Close), 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Whether a close frame may carry this code (RFC 6455 §7.4).
pub(crate) fn is_close_code(code: u16) -> bool {
    CloseCode::from(code).is_allowed()
}

/// Reads a close frame's payload and returns its code, or `None` if it has none.
///
/// # Errors
/// 1002 for half a code or a code that must not be sent, 1007 for a reason that is not UTF-8 (RFC 6455 §5.5.1).
pub(crate) fn decode_close(payload: &[u8]) -> Result<Option<u16>, Fault> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !is_close_code(code) {
                return Err(Fault::protocol("close code is not allowed"));
            }
            if simdutf8::basic::from_utf8(reason).is_err() {
                return Err(Fault::NOT_UTF8);
            }
            Ok(Some(code))
        }
        [_] => Err(Fault::protocol("close code is cut off")),
    }
}

/// The length of the server's frame at the start of `bytes`, which must hold the frame's whole header.
pub(crate) fn server_frame_len(bytes: &[u8]) -> usize {
    match bytes[1] {
        126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => 10 + u64::from_be_bytes(bytes[2..10].try_into().expect("eight bytes")) as usize,
        short => 2 + usize::from(short),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use tungstenite::protocol::frame::FrameHeader;

    use super::*;

    const MAX: usize = 1 << 20;

    #[test]
    fn the_payload_of_an_encoded_frame_is_found_behind_each_form_of_its_header() {
        for len in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            let (mut frame, bytes) = (Vec::new(), vec![7; len]);
            encode(&mut frame, OpCode::Data(Data::Binary), &bytes);
            assert_eq!(payload(&frame), bytes);
        }
    }

    #[test]
    fn a_terabyte_is_refused_by_its_header_alone() {
        let mut bytes = vec![0x82, 0xff];
        bytes.extend_from_slice(&(1u64 << 40).to_be_bytes());
        assert_eq!(decode(&bytes, MAX), Err(Fault::TOO_BIG));
        assert_eq!(decode(&bytes[..9], MAX), Ok(None));
    }

    #[test]
    fn a_frame_that_the_rfc_forbids_is_a_protocol_fault() {
        for bytes in [
            &[0xc1, 0x80][..],                                 // RSV1
            &[0xa1],                                           // RSV2, one byte is enough
            &[0x83],                                           // reserved data opcode
            &[0x8b],                                           // reserved control opcode
            &[0x81, 0x00],                                     // not masked
            &[0x09, 0x80],                                     // a fragmented ping
            &[0x89, 0xfe],                                     // a long ping
            &[0x81, 0xfe, 0, 125],                             // not the shortest form
            &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],       // not the shortest form
            &[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0xff, 0xff, 0], // bit 63
        ] {
            assert_eq!(decode(bytes, MAX).map_err(|fault| fault.code), Err(1002), "{bytes:x?}");
        }
    }

    #[test]
    fn close_payloads_are_checked() {
        assert_eq!(decode_close(&[]), Ok(None));
        assert_eq!(decode_close(&[3, 232, b'x']), Ok(Some(1000)));
        assert_eq!(decode_close(&[3]).unwrap_err().code, 1002);
        assert_eq!(decode_close(&[3, 236]).unwrap_err().code, 1002, "1004 is reserved");
        assert_eq!(decode_close(&[3, 237]).unwrap_err().code, 1002, "1005 must not be sent");
        assert_eq!(decode_close(&[3, 232, 0xff]).unwrap_err().code, 1007);
    }

    #[test]
    fn a_long_close_reason_is_cut_at_a_character() {
        let mut out = Vec::new();
        encode_close(&mut out, 1011, &"é".repeat(100));
        assert_eq!(out.len(), server_frame_len(&out));
        assert_eq!(out.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }

    fn client_frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader {
            is_final: first & 0x80 != 0,
            opcode: OpCode::from(first & 0x0f),
            mask: Some(mask),
            ..FrameHeader::default()
        };
        let mut bytes = Vec::new();
        header.format(payload.len() as u64, &mut bytes).unwrap();
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        for (byte, key) in bytes[start..].iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        bytes
    }

    proptest! {
        #[test]
        fn headers_are_read_as_tungstenite_reads_them(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut cursor = Cursor::new(&bytes[..]);
            let oracle = FrameHeader::parse(&mut cursor);
            if let Ok(Some(ours)) = decode(&bytes, usize::MAX >> 1) {
                let (theirs, payload_len) = oracle.unwrap().expect("complete for us, so complete for the oracle");
                prop_assert_eq!(theirs.is_final, ours.is_final);
                prop_assert_eq!(theirs.opcode, ours.opcode);
                prop_assert_eq!(theirs.mask, Some(ours.mask));
                prop_assert_eq!(payload_len as usize, ours.payload_len);
                prop_assert_eq!(cursor.position() as usize, ours.len);
            }
        }

        #[test]
        fn a_whole_message_is_what_decoding_says(bytes in proptest::collection::vec(prop_oneof![
            2 => prop_oneof![Just(0x81u8), Just(0x82), Just(0x80), Just(0x85), Just(0xfe), Just(0)], 1 => any::<u8>(),
        ], 0..200)) {
            if let Some(whole) = whole(&bytes) {
                let header = decode(&bytes, MAX).unwrap().unwrap();
                let kind = if whole.is_text { Data::Text } else { Data::Binary };
                prop_assert_eq!((header.is_final, header.opcode), (true, OpCode::Data(kind)));
                let range = (header.len, header.len + header.payload_len);
                prop_assert_eq!((whole.mask, (whole.start, whole.end)), (header.mask, range));
            }
        }

        #[test]
        fn every_prefix_of_a_header_asks_for_more(
            first in prop_oneof![Just(0x81u8), Just(0x02), Just(0x80), Just(0x89), Just(0x88)],
            mask: [u8; 4],
            len in prop_oneof![0usize..126, 126usize..70_000],
        ) {
            let len = if first & 0x08 != 0 { len.min(CONTROL_BYTES_MAX) } else { len };
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut bytes = client_frame(first, mask, &payload);
            let header = decode(&bytes, MAX).unwrap().unwrap();
            for cut in 0..header.len {
                prop_assert_eq!(decode(&bytes[..cut], MAX), Ok(None));
            }
            prop_assert_eq!(header.len + header.payload_len, bytes.len());
            let mut expected = Vec::new();
            encode(&mut expected, header.opcode, &payload);
            if let Some(whole) = whole(&bytes) {
                let mut out = vec![0xff; bytes.len()];
                prop_assert_eq!(rewrite(&bytes, whole, &mut out), (expected.len(), payload.is_ascii()));
                prop_assert_eq!(&out[..expected.len()], &expected[..]);
            }
            prop_assert_eq!(mask::unmask(&mut bytes[header.len..], header.mask), payload.is_ascii());
            prop_assert_eq!(&bytes[header.len..], &payload[..]);
        }

        #[test]
        fn our_frames_equal_tungstenites_and_server_frame_len_gives_their_length(
            len in prop_oneof![0usize..300, 65_000usize..66_000],
        ) {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            let opcode = OpCode::Data(Data::Binary);
            encode(&mut ours, opcode, &vec![7; len]);
            FrameHeader { is_final: true, opcode, ..FrameHeader::default() }.format(len as u64, &mut theirs).unwrap();
            prop_assert_eq!(&ours[..ours.len() - len], &theirs[..]);
            prop_assert_eq!(server_frame_len(&ours), ours.len());
        }
    }
}

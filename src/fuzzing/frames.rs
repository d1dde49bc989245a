//! WebSocket frames: one by one, and as a connection receives them.

use std::time::Duration;

use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{
    conversation::{Ruled, limits},
    dice::{Dice, pieces},
    hostile,
};
use crate::{
    protocol::{
        frame::{self, CONTROL_BYTES_MAX, Header},
        mask,
    },
    simulation::{frames::HANDSHAKE, node::Node},
};

const WORDS: [&[u8]; 22] = [
    &[0x81],
    &[0x82],
    &[0x80],
    &[0x01],
    &[0x00],
    &[0x89],
    &[0x8a],
    &[0x88, 0x82, 0, 0, 0, 0, 3, 232],
    &[0x81, 0x80, 1, 2, 3, 4],
    &[0x81, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o'],
    &[0xfe],
    &[0xff],
    &[0xfd],
    &[0xfe, 0, 126],
    &[0xfe, 0, 125],
    &[0xff, 0, 0, 0, 0, 0, 1, 0, 0],
    &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
    &[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
    &[0x55; 130],
    &[0xc3, 0xa9],
    &[0x84],
    &[0xc1],
];

/// Once a header is complete, further bytes do not change its verdict, and no accepted header announces more than its
/// limit. The fast path and the slow path read a complete message in the same way.
pub fn frames(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let payload_bytes_max = dice.choose(&[1000, 0, 125, 1 << 20]);
    let text = dice.text(&WORDS);
    let mut rest = &text[..];
    while !rest.is_empty() {
        let whole = frame::decode(rest, payload_bytes_max);
        for cut in 0..rest.len().min(16) {
            match (&frame::decode(&rest[..cut], payload_bytes_max), &whole) {
                (Ok(None), _) => {}
                (cut, whole) => assert_eq!(cut, whole, "more bytes change the verdict"),
            }
        }
        let Ok(found) = whole else { break };
        let Some(header) = found else {
            assert!(rest.len() < 14, "a header is not found in {} bytes", rest.len());
            break;
        };
        check_header(&header, payload_bytes_max);
        let Some(payload) = rest.get(header.len..header.len + header.payload_len) else { break };
        check_payload(rest, &header, payload);
        rest = &rest[header.len + header.payload_len..];
    }
    if let Some(whole) = frame::whole(rest) {
        assert!(whole.end <= rest.len());
    }
}

fn check_header(header: &Header, payload_bytes_max: usize) {
    assert!(header.payload_len <= payload_bytes_max && (6..=14).contains(&header.len));
    if matches!(header.opcode, OpCode::Control(_)) {
        assert!(header.is_final && header.payload_len <= CONTROL_BYTES_MAX);
    }
}

fn check_payload(rest: &[u8], header: &Header, masked: &[u8]) {
    let mut plain = masked.to_vec();
    let is_ascii = mask::unmask(&mut plain, header.mask);
    assert_eq!(is_ascii, plain.is_ascii());
    let naive = masked.iter().zip(header.mask.iter().cycle()).map(|(byte, key)| byte ^ key);
    assert!(naive.eq(plain.iter().copied()));
    let mut expected = Vec::new();
    frame::encode(&mut expected, header.opcode, &plain);
    assert_eq!(frame::server_frame_len(&expected), expected.len());
    assert_eq!(frame::payload(&expected), plain);
    let is_message = header.is_final && matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
    let whole = frame::whole(rest);
    assert_eq!(
        whole.is_some(),
        is_message && header.payload_len <= 0xffff,
        "the fast path is not taken although it could be"
    );
    if let Some(whole) = whole {
        let mut out = vec![0; whole.end];
        assert_eq!(frame::rewrite(rest, whole, &mut out), (expected.len(), is_ascii));
        assert_eq!(&out[..expected.len()], &expected[..]);
    }
    if let Ok(Some(code)) = frame::decode_close(&plain) {
        assert!(frame::is_close_code(code) && plain.len() >= 2);
    }
}

/// The answer to a connection does not depend on how its bytes are cut.
pub fn cuts(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let lengths = dice.take(4);
    let mut input = Vec::new();
    while !dice.is_empty() {
        hostile::push(&mut dice, &mut input);
    }
    let whole = answered(std::iter::once(&input[..]));
    assert_eq!(answered(pieces(&input, lengths)), whole);
    if input.len() < 500 {
        assert_eq!(answered(pieces(&input, &[])), whole);
    }
}

/// The bytes that a connection was sent, whether it is closed, and its counters.
fn answered<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> (Vec<u8>, bool, [u64; 5]) {
    let mut node = Node::new(0, 1, limits(Ruled::Plain), None);
    let id = node.connect();
    let mut buffer = vec![0; 1 << 20];
    for piece in std::iter::once(HANDSHAKE.as_bytes()).chain(pieces) {
        let socket = node.socket(id);
        if socket.is_closed {
            break;
        }
        socket.inbound.extend_from_slice(piece);
        socket.readable = true;
        for _ in 0..1000 {
            if node.next_turn(Duration::ZERO).is_none_or(|at| at > Duration::ZERO) {
                break;
            }
            node.turn(Duration::ZERO, &mut buffer);
            node.end_turn();
        }
        assert!(node.next_turn(Duration::ZERO).is_none_or(|at| at > Duration::ZERO), "the nodes never come to rest");
    }
    let stats = *node.hub_mut().refresh_stats();
    let counts = [stats.received, stats.refused, stats.faults, stats.published, stats.subscriptions];
    let socket = node.socket(id);
    (std::mem::take(&mut socket.outbound), socket.is_closed || socket.is_shut, counts)
}

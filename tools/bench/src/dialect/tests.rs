//! The counts and the stamps do not depend on how the bytes are cut.

use proptest::prelude::*;

use super::{
    Dialect, Progress, Role,
    counter::Counter,
    websocket::{self, BINARY, TEXT},
};

/// A server's frame around `payload`.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = websocket::header(opcode, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

/// The result of a counter after `bytes` came in the pieces that `cuts` makes.
fn count(mut counter: Counter, bytes: &[u8], cuts: &[usize], stamped: bool) -> (u64, Vec<u64>, Option<u16>, usize) {
    let mut stamps = Vec::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    cuts.sort_unstable();
    for pair in cuts.windows(2) {
        let mut on_stamp = |stamp| stamps.push(stamp);
        counter.feed(&bytes[pair[0]..pair[1]], stamped.then_some(&mut on_stamp as _)).expect("valid bytes");
    }
    (counter.messages, stamps, counter.close_code, counter.replies.len())
}

fn stamped_body(stamp: u64, body_bytes: usize) -> Vec<u8> {
    let mut body = format!("{stamp:016x}").into_bytes();
    body.resize(body_bytes, b'x');
    body
}

/// The bytes that a server of this dialect would deliver for these stamps, with other frames between them.
fn delivered(dialect: Dialect, stamps: &[u64], body_bytes: usize, packed: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut operations = Vec::new();
    for (index, stamp) in stamps.iter().enumerate() {
        let body = stamped_body(*stamp, body_bytes);
        match dialect {
            Dialect::Nats => {
                operations.extend_from_slice(format!("MSG room 1 {body_bytes}\r\n").as_bytes());
                operations.extend_from_slice(&body);
                operations.extend_from_slice(b"\r\n");
                if index % 3 == 0 {
                    operations.extend_from_slice(b"PING\r\n");
                }
            }
            Dialect::Floor => bytes.extend_from_slice(&dialect.publish("room", &body, [0; 4]).bytes),
            _ => {
                let payload = [dialect.payload_head("room"), body].concat();
                bytes.extend(frame(TEXT, &payload));
                if index % 3 == 0 {
                    bytes.extend(frame(websocket::PING, b"are you there"));
                }
            }
        }
    }
    for chunk in operations.chunks(packed.max(body_bytes / 20)) {
        bytes.extend(frame(BINARY, chunk));
    }
    bytes
}

proptest! {
    #[test]
    fn every_cut_gives_the_same_count_and_the_same_stamps(
        dialect in prop_oneof![Just(Dialect::Lhttp), Just(Dialect::Nats), Just(Dialect::Bun), Just(Dialect::Floor)],
        stamps in prop::collection::vec(any::<u64>(), 0..40),
        body_bytes in prop_oneof![16_usize..100, 100_usize..200, 65_400_usize..65_700],
        packed in prop_oneof![1_usize..40, 60_usize..70_000],
        cuts in prop::collection::vec(any::<usize>(), 0..60),
    ) {
        let bytes = delivered(dialect, &stamps, body_bytes, packed);
        let pings = if matches!(dialect, Dialect::Lhttp | Dialect::Bun) { stamps.len().div_ceil(3) } else { 0 };
        let pong_bytes = pings * (6 + b"are you there".len());
        let counted = count(dialect.counter(&Role::subscriber("room"), body_bytes), &bytes, &cuts, true);
        prop_assert_eq!(&counted, &(stamps.len() as u64, stamps.clone(), None, pong_bytes));
        let unstamped = count(dialect.counter(&Role::subscriber("room"), body_bytes), &bytes, &cuts, false);
        prop_assert_eq!(unstamped, (stamps.len() as u64, Vec::new(), None, pong_bytes));
    }

    #[test]
    fn a_stamp_survives_masking_and_delivery(stamp: u64, mask: [u8; 4], body_bytes in 16_usize..300) {
        for dialect in [Dialect::Lhttp, Dialect::Nats, Dialect::Bun, Dialect::Floor] {
            let mut publish = dialect.publish("room", &vec![b'x'; body_bytes], mask);
            publish.stamp(stamp);
            let expected = dialect.publish("room", &stamped_body(stamp, body_bytes), mask);
            prop_assert_eq!(publish.bytes, expected.bytes);
        }
    }
}

#[test]
fn every_single_cut_of_a_short_stream_counts_the_same() {
    for dialect in [Dialect::Lhttp, Dialect::Nats, Dialect::Bun, Dialect::Floor] {
        let bytes = delivered(dialect, &[1, 2, 3, 4], 16, 50);
        for cut in 0..=bytes.len() {
            let (messages, stamps, ..) = count(dialect.counter(&Role::subscriber("room"), 16), &bytes, &[cut], true);
            assert_eq!((messages, stamps), (4, vec![1, 2, 3, 4]), "{dialect} cut at {cut}");
        }
    }
}

#[test]
fn fragments_count_as_one_message_and_a_close_frame_as_none() {
    let mut bytes = vec![TEXT, 2, b'a', b'b', 0, 0, 0x80, 1, b'c'];
    bytes.extend(frame(websocket::CLOSE, &[0x03, 0xf5, b'!']));
    for cut in 0..=bytes.len() {
        assert_eq!(count(Counter::frames(0), &bytes, &[cut], false), (1, vec![], Some(1013), 0), "cut at {cut}");
    }
}

#[test]
fn a_masked_frame_and_an_error_operation_are_refused() {
    assert!(Counter::frames(0).feed(&[0x81, 0x81, 1, 2, 3, 4, 5], None).is_err());
    assert!(Counter::nats().feed(&frame(BINARY, b"-ERR 'no'\r\n"), None).is_err());
    assert!(Counter::nats().feed(&frame(BINARY, b"MSG room 1 x\r\n"), None).is_err());
}

#[test]
fn a_subscription_is_live_only_with_the_right_answer() {
    let ack = frame(TEXT, b"LHTTP/1.0 ack\r\nack:1\r\n\r\n");
    for cut in 0..ack.len() {
        assert_eq!(Dialect::Lhttp.joined(&ack[..cut]), Ok(Progress::More));
    }
    assert_eq!(Dialect::Lhttp.joined(&ack), Ok(Progress::Done(ack.len())));
    assert!(Dialect::Lhttp.joined(&frame(TEXT, b"LHTTP/1.0 error\r\ncode:400\r\n\r\n")).is_err());
    assert_eq!(Dialect::Nats.joined(&frame(BINARY, b"INFO {}\r\nPONG\r\n")).map(|_| ()), Ok(()));
    assert!(Dialect::Nats.joined(&frame(BINARY, b"-ERR 'Authorization Violation'\r\n")).is_err());
    assert!(Dialect::Lhttp.joining(&Role::publisher("room")).is_empty());
}

#[test]
fn an_upgrade_that_is_refused_or_wrong_is_an_error() {
    assert_eq!(websocket::upgraded(b"HTTP/1.1 101 Switching"), Ok(Progress::More));
    assert!(websocket::upgraded(b"HTTP/1.1 404 Not Found\r\n\r\n").is_err());
    assert!(websocket::upgraded(b"HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: AAAA\r\n\r\n").is_err());
}

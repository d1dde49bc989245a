use proptest::prelude::*;

use super::*;

fn encode(message: &[u8], id: MessageId, channel: &[u8]) -> Vec<u8> {
    let (mut frame, mut room) = (Vec::new(), Vec::new());
    Unnumbered::of(message, &mut room).encode(&mut frame, true, id, channel);
    frame
}

fn id(bits: u64, offset: u64) -> MessageId {
    MessageId { epoch: Epoch::new(bits), offset }
}

#[test]
fn the_servers_lines_stand_behind_the_start_line_and_the_clients_own_are_gone() {
    let message =
        b"LHTTP/1.0 chat\r\nMessage-ID: mine\r\npublish:room\r\nCHANNEL:other\r\nchannels:2\r\n\r\nchannel:x\r\n";
    let frame = encode(message, id(0, 42), b"room");
    let expected = "LHTTP/1.0 chat\r\nmessage-id:000000000000-42\r\nchannel:room\r\npublish:room\r\nchannels:2\r\n\r\nchannel:x\r\n";
    assert_eq!(std::str::from_utf8(frame::payload(&frame)), Ok(expected));
}

#[test]
fn only_ids_that_the_server_has_given_are_ids() {
    let own = id(u64::MAX, u64::MAX);
    let mut text = Vec::new();
    own.write(&mut text);
    assert_eq!((text.len(), MessageId::parse(&text)), (EPOCH_LETTERS + 1 + 20, Some(own)));
    for other in ["", "-", "000000000000", "000000000000-", "000000000000-01", "000000000000-1x", "00000000000-1"] {
        assert_eq!(MessageId::parse(other.as_bytes()), None, "{other}");
    }
    for other in ["00000000000w-1", "00000000000A-1", "000000000000-18446744073709551616", "000000000000--1"] {
        assert_eq!(MessageId::parse(other.as_bytes()), None, "{other}");
    }
    assert_eq!(MessageId::parse(b"000000000000-0"), Some(id(0, 0)));
}

/// The two lines take at most 60 bytes and the name.
#[test]
fn the_lines_are_short() {
    let message = b"LHTTP/1.0 c\r\n\r\n";
    let frame = encode(message, id(u64::MAX, u64::MAX), b"name");
    assert!(frame::payload(&frame).len() - message.len() - "name".len() <= 60);
}

proptest! {
    #[test]
    fn the_frames_of_a_series_are_those_of_its_messages(
        first in prop_oneof![0..120u64, 99_990..100_010u64, Just(u64::MAX - 400)],
        bodies in prop::collection::vec((any::<bool>(), prop_oneof![4 => 0..80usize, 1 => Just(64), 1 => 60_000..66_000usize]), 1..200),
        gaps in prop::collection::vec(0..10u64, 1..4),
    ) {
        let head = b"LHTTP/1.0 chat\r\nChannel:other\r\npublish:room\r\n\r\n";
        let mut room = Vec::new();
        let mut series = Series::new(Unnumbered::of(head, &mut room), Epoch::new(7), b"room");
        let (mut number, mut gaps) = (first, gaps.iter().cycle());
        for run in bodies.chunks(70) {
            series.go_on_with(number);
            for &(is_text, len) in run {
                let (body, mut expected, mut room) = (vec![b'x'; len], Vec::new(), Vec::new());
                let message = [&head[..], &body].concat();
                Unnumbered::of(&message, &mut room).encode(&mut expected, is_text, id(7, number), b"room");
                let frame = [series.begin(is_text, len), &body].concat();
                prop_assert_eq!(frame, expected);
                series.advance();
                number += 1;
            }
            number += gaps.next().expect("it goes round");
        }
    }

    #[test]
    fn a_frame_tells_its_id_and_channel(
        bits in any::<u64>(),
        offset in any::<u64>(),
        channel in "[a-z.]{1,20}",
        lines in prop::collection::vec(("(message-id|channel|Channel|publish|a)", "[ -~]{0,10}"), 0..5),
        body in "[ -~\r\n]{0,200}",
    ) {
        let own = |name: &str| ["message-id", "channel"].contains(&&*name.to_lowercase());
        let text = |keeps_own: bool, added: &str| {
            let lines = lines.iter().filter(|(name, _)| keeps_own || !own(name));
            let lines: String = lines.map(|(name, value)| format!("{name}:{value}\r\n")).collect();
            format!("LHTTP/1.0 c\r\n{added}{lines}\r\n{body}")
        };
        let id = id(bits, offset);
        let frame = encode(text(true, "").as_bytes(), id, channel.as_bytes());
        prop_assert_eq!(of_frame(&frame), Some((id, channel.as_bytes())));
        let mut of_id = Vec::new();
        id.write(&mut of_id);
        let added = format!("message-id:{}\r\nchannel:{channel}\r\n", String::from_utf8(of_id).unwrap());
        prop_assert_eq!(std::str::from_utf8(frame::payload(&frame)).unwrap(), text(false, &added));
    }
}

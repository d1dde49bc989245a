//! Heads of messages, and multipart bodies.

use std::collections::HashSet;

use super::dice::Dice;
use crate::protocol::{
    message::{ACK_BYTES_MAX, Control, Head, HeadLimits, Message, VERSION, find_ack},
    multipart,
};

const WORDS: [&[u8]; 36] = [
    b"\r\n",
    b" ",
    b"a",
    b"b",
    b"publish:",
    b"subscribe:",
    b"unsubscribe:",
    b"ack:",
    b"multipart:",
    b"no-echo:",
    b"upstream:",
    b"upstream-reply:",
    b"Publish:",
    b"ACK: ",
    b"x:",
    b":",
    b"\r",
    b"\n",
    b"\t",
    b"\x00",
    b"\x7f",
    b"\xff",
    b"\xc3\xa9",
    b"a b a c b ",
    b"a.*",
    b">",
    b"true",
    b"\r\n\r\n",
    b" a\r\nx:1\r\n",
    b"LHTTP/1.0 ",
    b"abcdefghabcdefghabcdefghabcdefgh",
    b"publish:a\r\n",
    b"ack:1\r\n",
    b"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 ",
    b"0",
    b"14",
];

/// A head equals a program's own [`Message`] of the same bytes. It stays the same when more bytes follow, and when it
/// is written and read again. It keeps its limits, which change nothing else. Each name counts once.
pub fn messages(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let limits = HeadLimits { head_bytes_max: 1 + dice.below(400), headers_max: dice.below(8) };
    let mut payload = if dice.is_one_in(8) { Vec::new() } else { [VERSION, b" c\r\n"].concat() };
    payload.extend(dice.text(&WORDS));
    let Ok(message) = Message::parse(&payload) else {
        if payload.starts_with(VERSION) {
            assert!(
                Head::default().parse(&payload, false, limits).is_err(),
                "Message::parse finds a fault that the server does not"
            );
            let _ = find_ack(&payload, limits);
        }
        return;
    };
    let whole = HeadLimits { head_bytes_max: payload.len(), headers_max: usize::MAX };
    let mut head = Head::default();
    head.parse(&payload, false, whole).expect("the program's message is sound");
    check_head(&head, &payload, &message);
    let has_room = head.body_start() <= limits.head_bytes_max && head.headers(&payload).count() <= limits.headers_max;
    assert_eq!(Head::default().parse(&payload, false, limits).is_ok(), has_room, "{limits:?}");
    assert!(Head::default().parse(&payload[..head.body_start()], false, whole).is_ok(), "the body is part of the head");
    assert!(Head::default().parse(&payload[..head.body_start() - 1], false, whole).is_err());
    let again = message.encode();
    assert_eq!(again.len(), message.encoded_len());
    assert_eq!(Message::parse(&again).expect("what was encoded"), message);
    if std::str::from_utf8(&payload).is_ok() {
        let mut as_text = Head::default();
        as_text.parse(&payload, true, whole).expect("the head is the same as text");
        assert!(as_text.headers(&payload).eq(head.headers(&payload)));
    }
}

fn check_head(head: &Head, payload: &[u8], message: &Message) {
    assert_eq!(head.command(payload), message.command().as_bytes());
    assert_eq!(head.body(payload), message.body_bytes());
    let headers = message.headers().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    assert!(head.headers(payload).eq(headers));
    let published: Vec<&[u8]> = head.names(payload, Control::Publish).collect();
    assert!(published.iter().copied().eq(message.channels().map(str::as_bytes)));
    for control in [Control::Publish, Control::Subscribe, Control::Unsubscribe] {
        let names: Vec<&[u8]> = head.names(payload, control).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "a name counts twice");
        assert!(names.iter().map(|name| name.len() + 1).sum::<usize>() <= head.body_start());
        assert_eq!(head.has(control), head.value(payload, control).is_some());
        assert!(head.has(control) || names.is_empty());
    }
    let whole = HeadLimits { head_bytes_max: payload.len(), headers_max: usize::MAX };
    assert_eq!(find_ack(payload, whole), head.value(payload, Control::Ack));
    assert!(head.value(payload, Control::Ack).is_none_or(|token| (1..=ACK_BYTES_MAX).contains(&token.len())));
    let mut single =
        [Control::Ack, Control::Multipart, Control::NoEcho, Control::Token, Control::Upstream, Control::UpstreamReply];
    let is_repeated = single.iter_mut().any(|control| head.values(payload, *control).count() > 1);
    assert_eq!(head.check_repeated().is_err(), is_repeated);
}

/// A multipart body is valid if all its parts are. The parts do not overlap, and lie inside the body.
pub fn multipart(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let mut value = Vec::new();
    let mut offset = 0;
    for _ in 0..dice.below(6) {
        offset += dice.below(30);
        let word = match dice.below(12) {
            0 => dice.choose(&["", "+1", "x", "99999999999999999999999", "-", "\u{e9}", "\t", "0x1"]).to_owned(),
            1 => dice.below(200).to_string(),
            _ => offset.to_string(),
        };
        value.extend_from_slice(word.as_bytes());
        value.extend_from_slice(dice.choose(&[&b" "[..], b" ", b" ", b"\t ", b"", b","]));
    }
    let body = dice.text(&WORDS);
    let parts: Vec<_> = multipart::parts(&value, &body).collect();
    let offsets = value.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty()).count();
    assert!((1..=offsets.max(1)).contains(&parts.len()), "{} parts of {offsets} offsets", parts.len());
    assert!(parts[..parts.len() - 1].iter().all(Result::is_ok), "parts follow a fault");
    assert_eq!(multipart::check(&value, &body).is_ok(), parts.iter().all(Result::is_ok));
    let mut end = body.as_ptr().addr();
    for part in parts.iter().flatten() {
        let range = part.body().as_ptr_range();
        assert!(range.start.addr() >= end + 2 && range.end.addr() <= body.as_ptr_range().end.addr());
        let heads: usize = part.headers().map(|(name, value)| name.len() + value.len() + 3).sum();
        assert!(heads + 2 <= range.start.addr() - end, "headers are longer than their part");
        for (name, value) in part.headers() {
            let first = part.headers().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            assert_eq!(part.header(name), first);
            assert_eq!(value.trim_matches([' ', '\t']), value);
        }
        end = range.end.addr();
    }
    if parts.iter().all(Result::is_ok) {
        assert_eq!(end, body.as_ptr_range().end.addr(), "the last part does not end with the body");
    }
}

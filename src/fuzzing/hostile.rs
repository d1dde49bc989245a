//! Input that a hostile client may send after its upgrade: frames of a grammar, and bytes that match no grammar.

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::dice::Dice;
use crate::simulation::frames::push_frame;

const MASKS: [[u8; 4]; 3] = [[0; 4], [1, 2, 3, 4], [0xff, 0x80, 0x7f, 0x0d]];
/// Names that may be published to, names that may be subscribed to, and names that may be neither.
const NAMES: [&str; 24] = [
    "a",
    "b",
    "c",
    "a.b",
    "a.c",
    "b.a.c",
    "d",
    "e",
    "\u{e9}",
    "a.a.a.a.a.a.a.a",
    "a",
    "b",
    ">",
    "a.*",
    "*",
    "*.b",
    "b.>",
    "*.*",
    "a.*.c",
    "*.a.*.a.*.a.*",
    "$x",
    "_x",
    "a..b",
    "*.*.*.*.*",
];
/// Header lines that name channels, and others.
const LINES: [&str; 18] = [
    "publish:",
    "publish:",
    "subscribe:",
    "subscribe:",
    "unsubscribe:",
    "ack:",
    "last:2\r\nx:",
    "since:000000000000-1\r\nx:",
    "presence-info:",
    "presence:a\r\nx:",
    "presence:",
    "since:",
    "x:",
    "no-echo:true ",
    "multipart:0 ",
    "upstream:GET http://x/",
    "Publish: ",
    "bad",
];

/// The first lines are sound with names that may be published to.
const SOUND_LINES: usize = 10;

/// Appends one item.
pub(super) fn push(dice: &mut Dice<'_>, out: &mut Vec<u8>) {
    let mask = dice.choose(&MASKS);
    let text = OpCode::Data(Data::Text);
    // Input that breaks a rule ends the connection, so it is rare.
    let kinds = if dice.is_one_in(6) { 20 } else { 14 };
    match dice.below(kinds) {
        0..10 => push_frame(out, true, text, mask, &message(dice)),
        10 => push_frame(out, true, OpCode::Data(Data::Binary), mask, &message(dice)),
        11 => {
            let message = message(dice);
            let (first, rest) = message.split_at(dice.below(message.len() + 1));
            push_frame(out, false, text, mask, first);
            if dice.is_one_in(3) {
                push_frame(out, true, OpCode::Control(Control::Ping), mask, b"between");
            }
            push_frame(out, true, OpCode::Data(Data::Continue), mask, rest);
        }
        12 => {
            let count = dice.below(126);
            push_frame(out, true, OpCode::Control(Control::Ping), mask, &vec![b'p'; count]);
        }
        13 => {
            // The same message again and again, for which the hub has a fast path.
            let message = message(dice);
            for _ in 0..dice.below(24) {
                push_frame(out, true, text, mask, &message);
            }
        }
        14 => push_frame(out, true, OpCode::Control(Control::Pong), mask, dice.take(3)),
        15 => push_frame(
            out,
            true,
            OpCode::Control(Control::Close),
            mask,
            dice.choose(&[&[3, 232][..], &[], &[3], &[3, 236]]),
        ),
        16 => {
            let count = dice.below(8);
            out.extend_from_slice(dice.take(count));
        }
        17 => push_frame(out, dice.is_one_in(2), OpCode::Data(Data::Continue), mask, b"x"),
        18 => push_frame(out, false, text, mask, dice.take(3)),
        _ => out.extend_from_slice(dice.choose(&[
            &[0x81, 0xfe, 0x0f, 0xff, 0, 0, 0, 0][..], // a length that is not sent
            &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            &[0x81, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0],
            &[0x81, 0x80, 0, 0, 0, 0],
        ])),
    }
}

/// A message, valid or not.
fn message(dice: &mut Dice<'_>) -> Vec<u8> {
    let mut message =
        dice.choose(&["LHTTP/1.0 c\r\n", "LHTTP/1.0 c\r\n", "LHTTP/1.0 other\r\n", "LHTTP/2.0\r\n", ""]).to_owned();
    // One invalid line or name refuses the whole message, so most messages have none.
    let is_sound = !dice.is_one_in(4);
    let (lines, names) = if is_sound { (&LINES[..SOUND_LINES], &NAMES[..12]) } else { (&LINES[..], &NAMES[..]) };
    if is_sound {
        message = "LHTTP/1.0 c\r\n".to_owned();
    }
    for _ in 0..dice.below(5) {
        let line = dice.choose(lines);
        let names = if is_sound && line.contains("subscribe") { &NAMES[..20] } else { names };
        message += line;
        match dice.below(16) {
            0 => {
                for number in 0..dice.below(80) {
                    message += &format!("{} ", char::from(b'a' + number as u8 % 26));
                }
            }
            1 => {
                let first = dice.byte();
                for number in 0..dice.below(80) {
                    message += &format!("n{first}.{number} ");
                }
            }
            2 => message += &"n".repeat(dice.below(300)),
            _ => {
                for _ in 0..=dice.below(4) {
                    message += dice.choose(names);
                    message.push(' ');
                }
            }
        }
        message += "\r\n";
    }
    message += if is_sound { "\r\n" } else { dice.choose(&["\r\n", ""]) };
    let mut message = message.into_bytes();
    let (byte, count) =
        (if is_sound { b'x' } else { dice.choose(b"x\r\xff") }, dice.choose(&[0, 1, 60, 120, 800, 3000]));
    message.resize(message.len() + count, byte);
    message
}

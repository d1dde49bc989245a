//! What a client may send after its upgrade that means no good: frames of a grammar, and bytes that are in none.

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::dice::Dice;
use crate::simulation::frames::push_frame;

const MASKS: [[u8; 4]; 3] = [[0; 4], [1, 2, 3, 4], [0xff, 0x80, 0x7f, 0x0d]];
const NAMES: [&str; 24] = [
    "a",
    "b",
    "c",
    "a.b",
    "a.c",
    "b.a.c",
    ">",
    "a.*",
    "*",
    "*.b",
    "b.>",
    "*.*",
    "a.*.c",
    "*.a.>",
    "a.a.a.a.a.a.a.a",
    "$x",
    "_x",
    "a..b",
    "*.*.*.*.*",
    "a.>.b",
    "d",
    "e",
    "*.a.*.a.*.a.*",
    "\u{e9}",
];
const LINES: [&str; 12] = [
    "publish:",
    "publish:",
    "subscribe:",
    "subscribe:",
    "unsubscribe:",
    "ack:",
    "Publish: ",
    "no-echo:true ",
    "multipart:0 ",
    "upstream:GET http://x/",
    "x:",
    "bad",
];

/// Appends one thing.
pub(super) fn push(dice: &mut Dice<'_>, out: &mut Vec<u8>) {
    let mask = dice.choose(&MASKS);
    let text = OpCode::Data(Data::Text);
    match dice.below(20) {
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
        12 => push_frame(out, dice.is_one_in(2), OpCode::Data(Data::Continue), mask, b"x"),
        13 => push_frame(out, false, text, mask, dice.take(3)),
        14 => {
            let count = dice.below(126);
            push_frame(out, true, OpCode::Control(Control::Ping), mask, &vec![b'p'; count]);
        }
        15 => push_frame(out, true, OpCode::Control(Control::Pong), mask, dice.take(3)),
        16 => push_frame(
            out,
            true,
            OpCode::Control(Control::Close),
            mask,
            dice.choose(&[&[3, 232][..], &[], &[3], &[3, 236]]),
        ),
        17 => {
            let count = dice.below(8);
            out.extend_from_slice(dice.take(count));
        }
        18 => out.extend_from_slice(dice.choose(&[
            &[0x81, 0xfe, 0x0f, 0xff, 0, 0, 0, 0][..], // a length that is not sent
            &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            &[0x81, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0],
            &[0x81, 0x80, 0, 0, 0, 0],
        ])),
        _ => {
            // The same again and again, which the hub has a way of its own for.
            let message = message(dice);
            for _ in 0..dice.below(24) {
                push_frame(out, true, text, mask, &message);
            }
        }
    }
}

/// A message, sound or not.
fn message(dice: &mut Dice<'_>) -> Vec<u8> {
    let mut message =
        dice.choose(&["LHTTP/1.0 c\r\n", "LHTTP/1.0 c\r\n", "LHTTP/1.0 other\r\n", "LHTTP/2.0\r\n", ""]).to_owned();
    for _ in 0..dice.below(5) {
        message += dice.choose(&LINES);
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
                    message += dice.choose(&NAMES);
                    message.push(' ');
                }
            }
        }
        message += "\r\n";
    }
    message += dice.choose(&["\r\n", "\r\n", "\r\n", ""]);
    let mut message = message.into_bytes();
    let (byte, count) = (dice.choose(b"x\r\xff"), dice.choose(&[0, 1, 60, 120, 800, 3000]));
    message.resize(message.len() + count, byte);
    message
}

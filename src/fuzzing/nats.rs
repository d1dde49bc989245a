//! The bytes of a NATS server.

use super::dice::{Dice, pieces};
use crate::nats::server_lines::{ServerLine, ServerLines};

const WORDS: [&[u8]; 30] = [
    b"\r\n",
    b"MSG a 1 2\r\nhi\r\n",
    b"MSG ",
    b"HMSG ",
    b"HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    b"PING\r\n",
    b"PONG\r\n",
    b"+OK\r\n",
    b"-ERR 'x'\r\n",
    b"INFO {\"a\":1}\r\n",
    b"a ",
    b"1 ",
    b"0",
    b"9",
    b"999999999999999999",
    b"9999999999999999999",
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"\xc2\xa0",
    b"\xff",
    b"NATS/1.0 503\r\nk: a\rb\r\n\r\n",
    b"re.ply ",
    b"16",
    b"20\r\n",
    b"MSG a 1 40\r\n",
    b"-ERR ",
    b"'",
    b"MSG a 1 300000\r\n",
];

/// As in `nats/server_lines.rs`: a line, a payload, headers and the buffer.
const OVERHEAD_BYTES: usize = 320 * 1024;

/// The result does not depend on how the server's bytes are cut, up to the place where they are no longer NATS.
/// Whatever the server announces, the reader takes no more memory than the largest message may need.
pub fn nats(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let payload_bytes_max = dice.choose(&[16, 0, 1000]);
    let lengths = dice.take(4);
    let said = dice.text(&WORDS);
    let whole = heard(std::iter::once(&said[..]), payload_bytes_max);
    for lengths in [lengths, &[]] {
        assert_eq!(heard(pieces(&said, lengths), payload_bytes_max), whole);
    }
}

/// All parsed items, and whether the bytes are NATS to the end.
fn heard<'b>(pieces: impl Iterator<Item = &'b [u8]>, payload_bytes_max: usize) -> (Vec<String>, bool) {
    let (mut lines, mut heard) = (ServerLines::default(), Vec::new());
    for mut piece in pieces {
        while !piece.is_empty() {
            let space = lines.space();
            let len = piece.len().min(space.len());
            assert!(len > 0, "there is no room");
            space[..len].copy_from_slice(&piece[..len]);
            lines.filled(len);
            piece = &piece[len..];
            loop {
                match lines.next(payload_bytes_max) {
                    Ok(Some(said)) => {
                        let is_within =
                            !matches!(&said, ServerLine::Message { payload, .. } if payload.len() > payload_bytes_max);
                        assert!(is_within, "a payload over its limit");
                        heard.push(format!("{said:?}"));
                    }
                    Ok(None) => break,
                    Err(_) => return (heard, false),
                }
            }
            assert!(lines.bytes() <= OVERHEAD_BYTES + payload_bytes_max, "{} bytes", lines.bytes());
        }
    }
    (heard, true)
}

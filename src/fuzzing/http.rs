//! Heads of HTTP requests, and chunked bodies.

use super::dice::{Dice, expand, pieces};
use crate::protocol::{
    handshake,
    http::{Body, ChunkedBody, HeadProgress, HeaderSlots, bearer_token, parse_head},
};

const WORDS: [&[u8]; 36] = [
    b"\r\n",
    b"GET / HTTP/1.1\r\n",
    b"Host: x\r\n",
    b"POST /publish HTTP/1.1\r\nHost: x\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, Upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Expect: 100-continue\r\n",
    b"Authorization: Bearer abc\r\n",
    b"OPTIONS * HTTP/1.0\r\n",
    b"GET http://h/p?q HTTP/1.1\r\n",
    b" ",
    b":",
    b"\r",
    b"\n",
    b"\t",
    b"x: y\r\n",
    b"x: y\n",
    b" folded\r\n",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"Host:",
    b"Content-Length:",
    b"18446744073709551616",
    b"Sec-WebSocket-Protocol: a, b\r\n",
    b"\x00",
    b"\xff",
    b"a",
    b"/",
    b"x-long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
    b"#",
    b"0",
];

/// Appends the text that these bytes stand for.
pub(super) fn push(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(expand(bytes, &WORDS));
}

/// The verdict on a head: its length, or the status of its refusal; none while it is not complete.
type Verdict = Option<Result<usize, u16>>;

/// Once a head's empty line has come, its verdict does not depend on how the head is cut, and the parser reads each
/// byte only a few times. Bytes behind the head change nothing.
pub fn http(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let head_bytes_max = dice.choose(&[1024, 64, 8192]);
    let lengths = dice.take(4);
    let text = dice.text(&WORDS);
    let (whole, _) = in_pieces(std::iter::once(&text[..]), head_bytes_max);
    for lengths in [lengths, &[]] {
        let (cut, parsed_bytes) = in_pieces(pieces(&text, lengths), head_bytes_max);
        assert!(parsed_bytes <= 3 * text.len().min(head_bytes_max + 256) + 256, "{parsed_bytes} of {}", text.len());
        match (whole, cut) {
            (Some(whole), Some(cut)) => assert_eq!(whole, cut),
            (Some(Err(_)), None) => assert!(!has_empty_line(&text), "a fault of a complete head is not found"),
            (whole, cut) => assert_eq!(whole, cut),
        }
    }
    let mut slots = HeaderSlots::new();
    let Ok(Some((head, len))) = parse_head(&text, head_bytes_max, &mut slots) else { return };
    assert!(len <= head_bytes_max && len <= text.len() && text[..len].ends_with(b"\r\n\r\n"));
    let mut others = HeaderSlots::new();
    let (alone, alone_len) = parse_head(&text[..len], head_bytes_max, &mut others).unwrap().expect("it is whole");
    assert_eq!((&alone, alone_len), (&head, len), "bytes behind a head change it");
    assert!(head.target.contains(head.path) || head.path == "/");
    assert!(!head.expect_continue || !matches!(head.body, Body::None | Body::Length(0)));
    assert!(bearer_token(&head).is_none_or(|token| !token.is_empty()));
    if let Ok(accepted) = handshake::check(&head) {
        assert!(handshake::is_upgrade(&head), "a request that is no upgrade is accepted");
        let mut answer = Vec::new();
        handshake::write_accepted(&mut answer, &accepted);
        assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n") && answer.len() < 512 + len);
    }
}

fn in_pieces<'b>(pieces: impl Iterator<Item = &'b [u8]>, head_bytes_max: usize) -> (Verdict, usize) {
    let (mut progress, mut head, mut parsed_bytes) = (HeadProgress::default(), Vec::new(), 0);
    for piece in pieces {
        head.extend_from_slice(piece);
        if !progress.is_due(&head, head_bytes_max) {
            continue;
        }
        parsed_bytes += head.len().min(head_bytes_max);
        match parse_head(&head, head_bytes_max, &mut HeaderSlots::new()) {
            Ok(Some((_, len))) => return (Some(Ok(len)), parsed_bytes),
            Ok(None) => {}
            Err(fault) => return (Some(Err(fault.status)), parsed_bytes),
        }
    }
    (None, parsed_bytes)
}

/// Whether an empty line has come behind the first line that is not empty.
fn has_empty_line(text: &[u8]) -> bool {
    let begin = text.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(text.len());
    let lines: Vec<&[u8]> = text[begin..].split(|&byte| byte == b'\n').collect();
    // Behind the last line feed there is no line.
    lines.iter().take(lines.len() - 1).skip(1).any(|line| line.is_empty() || *line == b"\r")
}

const CHUNKS: [&[u8]; 24] = [
    b"\r\n",
    b"0\r\n",
    b"1\r\nx\r\n",
    b"3;a=b\r\nabc\r\n",
    b"0\r\n\r\n",
    b"name: value\r\n",
    b";",
    b" ",
    b"\t",
    b"a",
    b"F",
    b"\r",
    b"\n",
    b":",
    b"5",
    b"ffffffffffffffff\r\n",
    b"10000000000000000",
    b"-1\r\n",
    b"\x00",
    b"\xff",
    b";aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"0x1\r\n",
    b"GET / HTTP/1.1\r\n",
    b"10\r\n0123456789abcdef\r\n",
];

/// The decoded body does not depend on how the input is cut. It is within its limit, and shorter than its encoding.
pub fn chunked(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let body_bytes_max = dice.choose(&[100, 3, 0, 1 << 20]);
    let lengths = dice.take(4);
    let input = dice.text(&CHUNKS);
    let mut body = Vec::new();
    let whole = ChunkedBody::default().decode(&input, &mut body, body_bytes_max);
    for lengths in [lengths, &[]] {
        let (mut decoder, mut cut_body, mut used) = (ChunkedBody::default(), Vec::new(), 0);
        let mut cut = Ok((0, false));
        for piece in pieces(&input, lengths) {
            match decoder.decode(piece, &mut cut_body, body_bytes_max) {
                Ok((piece_used, is_done)) => {
                    used += piece_used;
                    assert!(is_done || piece_used == piece.len(), "bytes of an unfinished body are left");
                    cut = Ok((used, is_done));
                    if is_done {
                        break;
                    }
                }
                Err(fault) => {
                    cut = Err(fault);
                    break;
                }
            }
            assert!(cut_body.len() <= body_bytes_max && cut_body.len() <= used);
        }
        assert_eq!(whole.as_ref().map_err(|fault| fault.status), cut.as_ref().map_err(|fault| fault.status));
        if cut.is_ok() {
            assert_eq!(body, cut_body);
        }
    }
    if let Ok((used, is_done)) = whole {
        assert!(used <= input.len() && body.len() <= body_bytes_max && body.len() <= used);
        if is_done {
            let (mut again, mut decoder) = (Vec::new(), ChunkedBody::default());
            assert_eq!(decoder.decode(&input[..used], &mut again, body_bytes_max).ok(), Some((used, true)));
            assert_eq!(decoder.decode(&input[used..], &mut again, body_bytes_max).ok(), Some((0, true)));
            assert_eq!(again, body);
        }
    }
}

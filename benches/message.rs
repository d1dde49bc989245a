//! Parses a message's head, and encodes a message (PROTOCOL.md §1).

use divan::{Bencher, black_box, counter::ItemsCount};
use lhttp::{
    Message,
    bench::{HeadParser, Parsed},
};

const PUBLISH: &[u8] = b"LHTTP/1.0 chat\r\npublish:room\r\n\r\n";
const BODY: [u8; 64] = [b'x'; 64];

/// A head with this many headers that the server only forwards, besides `publish`.
fn message(extra: usize) -> Message {
    let mut message = Message::new("chat").and_then(|message| message.header("publish", "room")).expect("sound");
    (0..extra).for_each(|n| message.add_header(format!("x-header-{n}"), format!("value {n}")).expect("sound"));
    message.body(BODY)
}

/// Steps in one sample. The number is fixed because divan would choose it by the first step, which finds cold caches.
const STEPS: u32 = 1000;

fn main() {
    assert_eq!(message(0).encode(), [PUBLISH, &BODY].concat());
    divan::main();
}

#[divan::bench(args = [0, 2, 16], sample_size = STEPS)]
fn parse(bencher: Bencher<'_, '_>, extra_headers: usize) {
    let payload = message(extra_headers).encode();
    let mut parser = HeadParser::new();
    let expected = Parsed { command: b"chat", headers: 1 + extra_headers, channels: 1, body: &BODY };
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        let parsed = parser.parse(black_box(&payload));
        assert_eq!(parsed.as_ref(), Ok(&expected));
    });
}

#[divan::bench(args = [0, 2, 16], sample_size = STEPS)]
fn encode(bencher: Bencher<'_, '_>, extra_headers: usize) {
    let message = message(extra_headers);
    let headers: usize = message.headers().map(|(name, value)| name.len() + value.len() + 3).sum();
    let expected = "LHTTP/1.0 chat\r\n\r\n".len() + headers + BODY.len();
    bencher.counter(ItemsCount::new(1usize)).bench(|| {
        let bytes = black_box(&message).encode();
        assert_eq!(bytes.len(), expected);
        bytes
    });
}

//! Decodes and unmasks clients' frames, one and many in a buffer, and encodes a server's frames (RFC 6455 §5).

use divan::{
    Bencher, black_box,
    counter::{BytesCount, ItemsCount},
};
use lhttp::bench::{Decoded, MASK_NONE, push_client_frame, push_server_frame, take_any, take_whole};

/// Frames in the buffer, and the bytes of each payload.
const BUFFERS: [(usize, usize); 4] = [(1, 64), (1000, 64), (1000, 16), (16, 4096)];

/// Steps in one sample. The number is fixed because divan would choose it by the first step, which finds cold caches.
const STEPS: u32 = 100;

fn main() {
    decoding_removes_the_mask();
    divan::main();
}

/// The benchmarks use a mask that changes nothing; this function shows once that decoding removes a real mask.
fn decoding_removes_the_mask() {
    for take in [take_whole, take_any] {
        let mut bytes = Vec::new();
        push_client_frame(&mut bytes, [1, 2, 3, 4], b"hello");
        assert_ne!(&bytes[6..], b"hello");
        assert_eq!(take(&mut bytes), Decoded { messages: 1, payload_bytes: 5, is_ascii: true });
        assert_eq!(&bytes[6..], b"hello");
    }
}

#[divan::bench(args = BUFFERS, sample_size = STEPS)]
fn decode_whole(bencher: Bencher<'_, '_>, buffer: (usize, usize)) {
    decode(bencher, buffer, take_whole);
}

#[divan::bench(args = BUFFERS, sample_size = STEPS)]
fn decode_any(bencher: Bencher<'_, '_>, buffer: (usize, usize)) {
    decode(bencher, buffer, take_any);
}

fn decode(bencher: Bencher<'_, '_>, (frames, payload_len): (usize, usize), take: fn(&mut [u8]) -> Decoded) {
    let payload = vec![b'x'; payload_len];
    let mut bytes = Vec::new();
    (0..frames).for_each(|_| push_client_frame(&mut bytes, MASK_NONE, &payload));
    let expected = Decoded { messages: frames, payload_bytes: frames * payload_len, is_ascii: true };
    bencher.counter(ItemsCount::new(frames)).bench_local(|| assert_eq!(take(black_box(&mut bytes)), expected));
}

#[divan::bench(args = [16, 64, 4096, 65_536], sample_size = STEPS)]
fn encode(bencher: Bencher<'_, '_>, payload_len: usize) {
    let payload = vec![b'x'; payload_len];
    let header_len = match payload_len {
        0..126 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(payload_len)).bench_local(|| {
        out.clear();
        push_server_frame(&mut out, black_box(&payload));
        assert_eq!(black_box(&out).len(), header_len + payload_len);
    });
}

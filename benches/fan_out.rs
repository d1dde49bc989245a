//! A publisher's bytes go in, its subscribers' bytes come out: one turn of a hub, without sockets.

use divan::{Bencher, counter::ItemsCount};
use lhttp::bench::{Delivered, FanOut};

const HEAD: &[u8] = b"LHTTP/1.0 chat\r\npublish:room\r\n\r\n";
const BODY: [u8; 64] = [b'x'; 64];
/// A server's frame of fewer than 126 bytes.
const FRAME_BYTES: u64 = (2 + HEAD.len() + BODY.len()) as u64;

/// Steps in one sample. The number is fixed because divan would choose it by the first step, which finds cold caches.
const STEPS: u32 = 100;

fn main() {
    divan::main();
}

/// The argument is the number of messages in a turn.
#[divan::bench(args = [1, 100, 1000], sample_size = STEPS)]
fn to_1(bencher: Bencher<'_, '_>, messages: usize) {
    fan_out(bencher, 1, messages);
}

/// As above; the result counts deliveries.
#[divan::bench(args = [1, 100, 1000], sample_size = STEPS)]
fn to_1000(bencher: Bencher<'_, '_>, messages: usize) {
    fan_out(bencher, 1000, messages);
}

fn fan_out(bencher: Bencher<'_, '_>, subscribers: usize, messages: usize) {
    let mut hub = FanOut::new(subscribers, messages, &[HEAD, &BODY].concat());
    let count = (subscribers * messages) as u64;
    // A turn that is not full writes once to each subscriber.
    let expected = Delivered { messages: count, bytes: count * FRAME_BYTES, writes: subscribers as u64 };
    bencher.counter(ItemsCount::new(count)).bench_local(|| assert_eq!(hub.turn(), expected));
}

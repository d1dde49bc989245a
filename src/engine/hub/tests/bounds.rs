//! The amount that one turn may collect before a flush.

use super::*;

/// Counts the bytes that each connection gets.
#[derive(Default)]
struct Counts(Vec<usize>);

impl Sink for Counts {
    fn write(&mut self, slot: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written> {
        self.0.resize(self.0.len().max(slot as usize + 1), 0);
        let len = slices.iter().map(|slice| slice.len()).sum();
        self.0[slot as usize] += len;
        Ok(Written { bytes: len, is_blocked: false, ..Written::default() })
    }
}

#[test]
fn deliveries_without_a_common_range_take_bounded_memory_and_free_it() {
    const SUBSCRIBERS: usize = 1000;
    const MESSAGES: usize = 5000;
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let publisher = open(&mut hub, &mut peers);
    for _ in 0..SUBSCRIBERS {
        let slot = open(&mut hub, &mut peers);
        // Subscribe by both names, so that no message's range continues the last one's.
        hub.subscribe(slot, b"echo", Kind::Exact);
        hub.subscribe(slot, b">", Kind::Pattern);
    }
    let (mut counts, mut most, mut flushes) = (Counts::default(), 0, 0);
    let mut bytes = text(b"x").repeat(MESSAGES);
    let mut used = 0;
    while used < bytes.len() {
        used += hub.receive(&mut Plain, publisher, &mut bytes[used..]);
        most = most.max(hub.router.outboxes.turn_ranges_bytes());
        if hub.router.is_full() {
            hub.flush(&mut Plain, &mut counts);
            flushes += 1;
        }
    }
    hub.flush(&mut Plain, &mut counts);
    let expected = 2 * MESSAGES * frame::server_frame_len(&[0x81, 1, b'x']);
    assert!(counts.0[publisher as usize + 1..].iter().all(|&bytes| bytes == expected), "{:?}", &counts.0[..3]);
    assert!(most < 8 << 20, "{most} bytes for the ranges of one turn");
    assert!(flushes < 2 * MESSAGES * SUBSCRIBERS / 200_000, "{flushes} flushes: one for each message is too many");
    assert!(
        hub.router.outboxes.turn_ranges_bytes() < 3 << 20,
        "{} bytes stay",
        hub.router.outboxes.turn_ranges_bytes()
    );
}

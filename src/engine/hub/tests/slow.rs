//! Subscribers that do not read.

use super::*;

#[test]
fn a_stalled_audience_is_closed_and_costs_its_backlog_once_while_a_reader_gets_everything() {
    const AUDIENCE: usize = 300;
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let (publisher, reader) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    hub.subscribe(reader, b"echo", Kind::Exact);
    for _ in 0..AUDIENCE {
        let slot = open(&mut hub, &mut peers);
        hub.subscribe(slot, b"echo", Kind::Exact);
        peers.stalled.push(slot);
    }
    peers.received.iter_mut().for_each(Vec::clear);
    let (mut expected, mut most) = (Vec::new(), 0);
    for number in 0..200u8 {
        let payload = vec![b'a' + number % 26; 20_000];
        frame::encode(&mut expected, frame::data(true), &payload);
        receive(&mut hub, publisher, &text(&payload));
        end_turn(&mut hub, &mut peers);
        hub.invariants();
        most = most.max(hub.kept_bytes());
    }
    assert!(most < 3 << 19, "{most} bytes for a limit of 1 MiB");
    assert_eq!(hub.stats.slow_consumers, AUDIENCE as u64);
    assert!(peers.received[reader as usize] == expected, "the reader has lost something");
    assert!(hub.kept_bytes() < 100 * AUDIENCE, "only close frames are left, not {} bytes", hub.kept_bytes());
    for slot in std::mem::take(&mut peers.stalled) {
        hub.router.outboxes.writable(slot);
        end_turn(&mut hub, &mut peers);
        let received = &peers.received[slot as usize];
        assert_eq!(received[..4], [0x88, 15, 0x03, 0xf5], "it gets 1013 and nothing else");
        assert_eq!(received.len(), frame::server_frame_len(received));
    }
    assert_eq!((hub.kept_bytes(), hub.router.outboxes.segments()), (hub.router.subscriptions.bytes(), 0));
}

#[test]
fn a_stalled_audience_that_gets_every_other_message_stays_within_the_budget_including_its_ranges() {
    const AUDIENCE: usize = 100;
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    hub.limits.kept_bytes_max = 400_000;
    let reader = open(&mut hub, &mut peers);
    hub.subscribe(reader, b"other", Kind::Exact);
    for _ in 0..AUDIENCE {
        let slot = open(&mut hub, &mut peers);
        hub.subscribe(slot, b"echo", Kind::Exact);
        peers.stalled.push(slot);
    }
    for round in 0..40 {
        for _ in 0..50 {
            hub.publish([&b"echo"[..]].into_iter(), true, b"some forty bytes, which is less than some", None);
            hub.publish([&b"other"[..]].into_iter(), true, b"-", None);
        }
        end_turn(&mut hub, &mut peers);
        hub.invariants();
        assert!(hub.kept_bytes() <= 400_000, "{} bytes in round {round}", hub.kept_bytes());
    }
    assert!(hub.stats.over_budget > 0, "each of 2,000 messages is a range of its own in a hundred backlogs: 2.4 MB");
    assert!(hub.sessions.is_open(reader));
}

#[test]
fn a_core_over_its_budget_closes_the_connections_that_cost_the_most() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    hub.limits.kept_bytes_max = 100_000;
    let slots: Vec<Slot> = (0..4).map(|_| open(&mut hub, &mut peers)).collect();
    peers.stalled.clone_from(&slots);
    for (&slot, len) in slots.iter().zip([30_000, 20_000, 50_000, 10_000]) {
        hub.send(slot, true, &vec![b'x'; len]);
        end_turn(&mut hub, &mut peers);
    }
    assert_eq!(slots.iter().map(|&slot| hub.sessions.is_open(slot)).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!((hub.stats.over_budget, hub.stats.slow_consumers), (1, 0));
    hub.invariants();
}

#[test]
fn over_the_budget_a_few_bytes_that_pin_much_are_copied_out_and_no_connection_is_closed() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    hub.limits.kept_bytes_max = 1 << 20;
    let (stalled, busy) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    for slot in [stalled, busy] {
        hub.subscribe(slot, b"echo", Kind::Exact);
    }
    hub.subscribe(busy, b"other", Kind::Exact);
    for _ in 0..40 {
        // One connection reads nothing of this burst; the other reads all of it, but later.
        peers.stalled = vec![stalled, busy];
        hub.publish([&b"echo"[..]].into_iter(), true, b"for both", None);
        hub.publish([&b"other"[..]].into_iter(), true, &[b'x'; 200_000], None);
        end_turn(&mut hub, &mut peers);
        peers.stalled = vec![stalled];
        hub.router.outboxes.writable(busy);
        end_turn(&mut hub, &mut peers);
        assert!(hub.kept_bytes() <= 1 << 20, "{} bytes", hub.kept_bytes());
    }
    assert!(hub.sessions.is_open(busy), "it has read 8 MB");
    assert!(hub.sessions.is_open(stalled), "it waits for a few bytes of each burst");
    assert_eq!((hub.stats.over_budget, hub.stats.slow_consumers), (0, 0));
    peers.received[stalled as usize].clear();
    peers.stalled.clear();
    hub.router.outboxes.writable(stalled);
    end_turn(&mut hub, &mut peers);
    assert_eq!(peers.received[stalled as usize], b"\x81\x08for both".repeat(40), "in order, and whole");
    assert_eq!((hub.kept_for_peers(), hub.router.outboxes.segments()), (0, 0));
    hub.invariants();
}

/// A socket that is full after this many bytes, and empty again at the next write.
struct Draining(usize);

impl Sink for Draining {
    fn write(&mut self, _: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written> {
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        Ok(Written { bytes: len.min(self.0), is_blocked: self.0 < len, ..Written::default() })
    }
}

#[test]
fn a_reader_that_keeps_up_is_not_slow_however_much_one_turn_brings() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let (publisher, reader) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    hub.subscribe(reader, b"echo", Kind::Exact);
    let mut socket = Draining(300_000);
    for _ in 0..200 {
        let mut bytes = text(&[b'x'; 50_000]);
        hub.receive(&mut Plain, publisher, &mut bytes);
        if hub.router.is_full() {
            hub.flush(&mut Plain, &mut socket);
        }
    }
    assert!(hub.sessions.is_open(reader), "10 MB in one turn, and the socket took all of them");
    assert!(hub.kept_bytes() < 300_000);
}

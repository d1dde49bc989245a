//! Which connections are closed when a core keeps more than its share.

use super::*;

/// Begins a turn at this time.
fn go_to(hub: &mut Hub, millis: u64) {
    hub.set_now(Duration::from_millis(millis));
}

/// A connection that has sent a message of this many bytes except the last byte.
fn unfinished(hub: &mut Hub, peers: &mut Peers, len: usize) -> Slot {
    let slot = open(hub, peers);
    let frame = text(&vec![b'x'; len]);
    receive(hub, slot, &frame[..frame.len() - 1]);
    slot
}

/// A connection that reads none of these bytes.
fn stalled(hub: &mut Hub, peers: &mut Peers, len: usize) -> Slot {
    let slot = open(hub, peers);
    peers.stalled.push(slot);
    hub.send(slot, true, &vec![b'x'; len]);
    end_turn(hub, peers);
    slot
}

#[test]
fn over_the_budget_connections_are_closed_until_nine_tenths_are_kept() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    hub.limits.kept_bytes_max = 1_000_000;
    let mut slots = Vec::new();
    while hub.stats.over_budget == 0 {
        slots.push(stalled(&mut hub, &mut peers, 9_000));
        assert!(hub.kept_bytes() <= 1_000_000, "{}", hub.kept_bytes());
    }
    assert!(hub.kept_bytes() <= 900_000 && hub.kept_bytes() > 850_000, "{}", hub.kept_bytes());
    assert_eq!(slots.iter().filter(|&&slot| !hub.sessions.is_open(slot)).count() as u64, hub.stats.over_budget);
    hub.invariants();
}

#[test]
fn of_two_connections_that_keep_as_much_the_older_one_is_closed_and_a_burst_stays() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    hub.limits.kept_bytes_max = 220_000;
    let (old_input, old_backlog) = (unfinished(&mut hub, &mut peers, 40_000), stalled(&mut hub, &mut peers, 40_000));
    go_to(&mut hub, 9_000);
    let young_input = unfinished(&mut hub, &mut peers, 40_000);
    let burst = stalled(&mut hub, &mut peers, 150_000);
    let is_open = [old_input, old_backlog, young_input, burst].map(|slot| hub.sessions.is_open(slot));
    assert_eq!(is_open, [false, false, true, true]);
}

#[test]
fn one_byte_now_and_then_does_not_keep_a_backlog_young_and_reading_much_of_it_does() {
    /// Takes this many bytes of each write.
    struct Sip(usize);
    impl Sink for Sip {
        fn write(&mut self, _: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written> {
            let len: usize = slices.iter().map(|slice| slice.len()).sum();
            Ok(Written { bytes: len.min(self.0), is_blocked: self.0 < len, ..Written::default() })
        }
    }
    for (sip, is_old) in [(1, true), (30_000, false)] {
        let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
        let (sipper, other) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
        hub.send(sipper, true, &[b'x'; 40_000]);
        hub.flush(&mut Plain, &mut Sip(0));
        for second in 1..10 {
            go_to(&mut hub, second * 1_000);
            hub.router.outboxes.writable(sipper);
            hub.flush(&mut Plain, &mut Sip(sip));
            hub.send(sipper, true, &vec![b'x'; sip]);
            hub.flush(&mut Plain, &mut Sip(0));
        }
        hub.limits.kept_bytes_max = 150_000;
        hub.send(other, true, &[b'x'; 120_000]);
        hub.flush(&mut Plain, &mut Sip(0));
        assert_eq!(
            (hub.sessions.is_open(sipper), hub.sessions.is_open(other)),
            (!is_old, is_old),
            "{sip} bytes a second"
        );
        hub.invariants();
    }
}

#[test]
fn hundreds_of_nearly_complete_messages_do_not_evict_connections_that_keep_little() {
    const MAX: usize = 3 << 20;
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    hub.limits.kept_bytes_max = MAX;
    let mut innocent = Vec::new();
    let mut attackers = Vec::new();
    for round in 0..400 {
        go_to(&mut hub, round * 50);
        attackers.push(unfinished(&mut hub, &mut peers, 60_000));
        if round % 10 == 0 {
            innocent.push(stalled(&mut hub, &mut peers, 2_000));
            innocent.push(unfinished(&mut hub, &mut peers, 500));
        }
        end_turn(&mut hub, &mut peers);
        assert!(hub.kept_bytes() <= MAX, "{} bytes in round {round}", hub.kept_bytes());
        // Innocent connections do not keep anything for long.
        if innocent.len() > 20 {
            let slot = innocent.remove(0);
            assert!(hub.sessions.is_open(slot), "an innocent connection was closed in round {round}");
            hub.lost(&mut Plain, slot);
        }
    }
    assert!(innocent.iter().all(|&slot| hub.sessions.is_open(slot)));
    assert!(hub.stats.over_budget > 300, "{}", hub.stats.over_budget);
    hub.invariants();
}

/// Keeps this much for each connection, and counts how often it is asked.
#[derive(Default)]
struct Keeps {
    bytes: Vec<usize>,
    asked: std::cell::Cell<usize>,
}

impl Application for Keeps {
    only_websockets!();

    fn on_open(&mut self, _: &mut Hub, _: Slot, _: &RequestHead<'_, '_>, _: Option<SocketAddr>) {}

    fn on_message(&mut self, _: &mut Hub, _: Slot, _: bool, _: &[u8]) {}

    fn on_close(&mut self, hub: &mut Hub, slot: Slot) {
        hub.application_frees(std::mem::take(&mut self.bytes[slot as usize]));
    }

    fn kept_bytes(&self, slot: Slot) -> usize {
        self.asked.set(self.asked.get() + 1);
        self.bytes[slot as usize]
    }
}

#[test]
fn the_applications_memory_counts_and_the_connection_with_the_most_of_it_is_closed() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    hub.limits.kept_bytes_max = 100_000;
    let mut app = Keeps::default();
    for bytes in [1_000, 30_000, 2_000, 40_000, 31_000] {
        let slot = open(&mut hub, &mut peers);
        app.bytes.push(bytes);
        hub.application_keeps(slot, bytes);
    }
    hub.flush(&mut app, &mut peers);
    assert_eq!([0, 1, 2, 3, 4].map(|slot| hub.sessions.is_open(slot)), [true, true, true, false, true]);
    assert_eq!(hub.kept_bytes(), 64_000);
    assert_eq!(app.asked.get(), 5);
}

#[test]
fn a_core_that_can_free_nothing_does_not_search_with_every_flush() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    hub.limits.kept_bytes_max = 100_000;
    let mut app = Keeps::default();
    let slot = open(&mut hub, &mut peers);
    app.bytes.push(0); // the application counts 200,000 bytes, but reports none for this slot
    hub.application_keeps(slot, 200_000);
    for _ in 0..100 {
        hub.flush(&mut app, &mut peers);
    }
    assert_eq!((app.asked.get(), hub.sessions.is_open(slot)), (1, true));
}

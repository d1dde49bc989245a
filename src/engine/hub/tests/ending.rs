//! Connections end once, whatever else happens in the turn, and leave nothing behind.

use super::*;

#[test]
fn a_subscriber_that_ends_in_the_turn_of_a_publish_ends_once() {
    for leave in [Hub::end_of_input, Hub::lost] {
        let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
        let (publisher, subscriber) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
        hub.subscribe(subscriber, b"echo", Kind::Exact);
        receive(&mut hub, publisher, &text(b"hello"));
        leave(&mut hub, &mut Plain, subscriber);
        let mut ended = end_turn(&mut hub, &mut peers);
        ended.extend(end_turn(&mut hub, &mut peers));
        assert_eq!(ended, [subscriber]);
    }
}

#[test]
fn a_connection_that_breaks_with_unsent_bytes_after_its_end_is_forgotten() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    peers.stalled.push(slot);
    hub.send(slot, true, b"hello");
    hub.end_of_input(&mut Plain, slot);
    assert!(end_turn(&mut hub, &mut peers).is_empty(), "it still waits for the peer to read");
    peers.broken.push(slot);
    hub.router.outboxes.writable(slot);
    assert_eq!(end_turn(&mut hub, &mut peers), [slot]);
    assert_eq!(hub.drained(), (true, true));
}

#[test]
fn a_connection_that_does_not_read_after_its_end_is_dropped_in_time() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    peers.stalled.push(slot);
    hub.send(slot, true, b"hello");
    hub.end_of_input(&mut Plain, slot);
    assert!(end_turn(&mut hub, &mut peers).is_empty());
    hub.set_now(Duration::from_secs(11));
    hub.expire(&mut Plain);
    assert_eq!(reap(&mut hub, &mut peers), [Ended { slot, is_cut: true }]);
    hub.invariants();
}

#[test]
fn a_connection_that_got_everything_is_not_cut() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let (one, other) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    hub.send(one, true, b"hello");
    hub.end_of_input(&mut Plain, one);
    hub.lost(&mut Plain, other);
    let ended = reap(&mut hub, &mut peers);
    assert!(ended.len() == 2 && !ended.iter().any(|ended| ended.is_cut), "{ended:?}");
}

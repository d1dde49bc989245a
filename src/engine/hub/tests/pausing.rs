//! Publishers wait for a full link, and go on when it has room.

use super::*;
use crate::engine::relay::{BATCH_BYTES_MAX, Relays};

#[test]
fn a_batch_that_is_larger_than_a_turn_is_taken_in_pieces() {
    let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
    let subscriber = open(&mut hub, &mut peers);
    hub.subscribe(subscriber, b"echo", Kind::Exact);
    peers.received[subscriber as usize].clear();
    let (mut peer, mut expected) = (Relays::new(1, 2), Vec::new());
    for number in 0..30u8 {
        let start = expected.len();
        frame::encode(&mut expected, acks::data(true), &vec![b'a' + number; 50_000]);
        peer.publish(0, [&b"echo"[..]].into_iter(), &expected[start..]);
    }
    let batch = peer.take(0).expect("thirty publishes");
    let (mut used, mut pieces) = (0, 0);
    while used < batch.len() {
        used += hub.relayed(1, &batch[used..]);
        assert!(hub.outboxes.turn_len() <= TURN_BYTES_MAX + 50_004);
        end_turn(&mut hub, &mut peers);
        pieces += 1;
    }
    assert_eq!(pieces, 5);
    assert!(peers.received[subscriber as usize] == expected);
}

/// A hub whose link to its peer, which is interested in `echo`, is full; and a publisher that waits for it.
fn congested(peers: &mut Peers) -> (Hub, Slot) {
    let mut hub = Hub::new(0, 2, limits());
    let mut peer = Relays::new(1, 2);
    peer.announce(b"echo", Kind::Exact);
    hub.relayed(1, &peer.take(0).expect("the interest"));
    let publisher = open(&mut hub, peers);
    for _ in 0..=BATCH_BYTES_MAX / 60_000 {
        receive(&mut hub, publisher, &text(&[b'x'; 60_000]));
    }
    let batch = hub.take_batch(1).expect("what was published");
    hub.give_back_batch(1, batch);
    receive(&mut hub, publisher, &[text(b"first"), text(b"second")].concat());
    end_turn(&mut hub, peers);
    assert!(!hub.may_read(publisher), "a publisher waits for a full link");
    (hub, publisher)
}

#[test]
fn a_paused_publisher_goes_on_when_its_link_has_room_though_nothing_else_happens() {
    let mut peers = Peers::default();
    let (mut hub, publisher) = congested(&mut peers);
    assert!(!hub.wants_turn());
    assert!(hub.take_batch(1).is_some(), "now the link takes it");
    assert!(hub.wants_turn(), "else the core would sleep");
    assert_eq!(resume(&mut hub), [publisher]);
    let batch = hub.take_batch(1).expect("both messages");
    assert!(batch.windows(5).any(|bytes| bytes == b"first") && batch.ends_with(b"second"));
    end_turn(&mut hub, &mut peers);
    assert!(hub.sessions[publisher as usize].incoming.is_none(), "an idle connection owns no buffer");
    hub.invariants();
}

#[test]
fn a_publisher_that_is_kept_waiting_is_not_idle() {
    let mut peers = Peers::default();
    let (mut hub, publisher) = congested(&mut peers);
    for seconds in 1..200 {
        hub.set_now(Duration::from_secs(seconds));
        hub.expire(&mut Plain);
        end_turn(&mut hub, &mut peers);
    }
    assert!(hub.is_open(publisher), "what it has sent meanwhile was not read, so it cannot be said to be silent");
}

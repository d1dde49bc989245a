//! The order in which a subscriber gets messages.

use super::*;

#[test]
fn a_subscriber_by_two_names_gets_both_copies_of_a_message_before_the_next_message() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let (publisher, subscriber) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    hub.subscribe(subscriber, b"echo", Kind::Exact);
    hub.subscribe(subscriber, b">", Kind::Pattern);
    peers.received[subscriber as usize].clear();
    receive(&mut hub, publisher, &[text(b"1"), text(b"2"), text(b"3")].concat());
    end_turn(&mut hub, &mut peers);
    let received: Vec<u8> = peers.received[subscriber as usize].chunks(3).map(|frame| frame[2]).collect();
    assert_eq!(received, b"112233");
}

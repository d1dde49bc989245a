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
        frame::encode(&mut expected, frame::data(true), &vec![b'a' + number; 50_000]);
        peer.publish(0, [&b"echo"[..]].into_iter(), &expected[start..]);
    }
    let batch = peer.take(0).expect("thirty publishes");
    let (mut used, mut pieces) = (0, 0);
    while used < batch.len() {
        used += hub.relayed(1, &batch[used..]);
        assert!(hub.router.outboxes.turn_len() <= TURN_BYTES_MAX + 50_004);
        end_turn(&mut hub, &mut peers);
        pieces += 1;
    }
    assert_eq!(pieces, 5);
    assert!(peers.received[subscriber as usize] == expected);
}

/// A hub with a congested link to a peer that is interested in `echo`, and a publisher that waits for this link.
fn congested(peers: &mut Peers) -> (Hub, Slot) {
    let mut hub = Hub::new(0, 2, limits());
    let mut peer = Relays::new(1, 2);
    peer.announce(b"echo", Kind::Exact);
    hub.relayed(1, &peer.take(0).expect("the interest"));
    let publisher = open(&mut hub, peers);
    for _ in 0..=BATCH_BYTES_MAX / 60_000 {
        receive(&mut hub, publisher, &text(&[b'x'; 60_000]));
    }
    let batch = hub.router.relays.take(1).expect("what was published");
    hub.router.relays.give_back(1, batch);
    receive(&mut hub, publisher, &[text(b"first"), text(b"second")].concat());
    end_turn(&mut hub, peers);
    assert!(!hub.sessions.may_read(publisher), "a publisher waits for a full link");
    (hub, publisher)
}

#[test]
fn a_paused_publisher_goes_on_when_its_link_has_room_though_nothing_else_happens() {
    let mut peers = Peers::default();
    let (mut hub, publisher) = congested(&mut peers);
    assert!(!hub.wants_turn());
    assert!(hub.router.relays.take(1).is_some(), "now the link takes it");
    assert!(hub.wants_turn(), "otherwise the core would sleep");
    assert_eq!(resume(&mut hub), [publisher]);
    let batch = hub.router.relays.take(1).expect("both messages");
    assert!(batch.windows(5).any(|bytes| bytes == b"first") && batch.ends_with(b"second"));
    end_turn(&mut hub, &mut peers);
    assert!(hub.sessions[publisher].incoming.is_none(), "an idle connection owns no buffer");
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
    assert!(hub.sessions.is_open(publisher), "its later input was not read, so it does not count as silent");
}

/// Publishes each message to the channel that is its first word, and reports the links that this needs.
struct ByName;

fn channel_of(payload: &[u8]) -> &[u8] {
    payload.split(|&byte| byte == b' ').next().unwrap_or_default()
}

impl Application for ByName {
    only_websockets!();

    fn on_open(&mut self, _: &mut Hub, _: Slot, _: &RequestHead<'_, '_>, _: Option<SocketAddr>) {}

    fn on_message(&mut self, hub: &mut Hub, _: Slot, is_text: bool, payload: &[u8]) {
        hub.publish([channel_of(payload)].into_iter(), is_text, payload, None);
    }

    fn on_close(&mut self, _: &mut Hub, _: Slot) {}

    fn links_needed(&mut self, hub: &mut Hub, payload: &[u8]) -> u64 {
        hub.router.links_of_channel(channel_of(payload))
    }
}

fn say(hub: &mut Hub, slot: Slot, frames: &[u8]) {
    let mut bytes = frames.to_vec();
    assert_eq!(hub.receive(&mut ByName, slot, &mut bytes), bytes.len());
}

#[test]
fn only_connections_whose_message_needs_the_full_link_wait() {
    let mut peers = Peers::default();
    let (mut hub, _) = congested(&mut peers);
    let [remote, local, both] = [0; 3].map(|_| open(&mut hub, &mut peers));
    hub.subscribe(local, b"here", Kind::Exact);
    peers.received[local as usize].clear();
    say(&mut hub, remote, &text(b"echo 1"));
    say(&mut hub, local, &[text(b"here 2"), text(b"here 3")].concat());
    say(&mut hub, both, &[text(b"here 4"), text(b"echo 5"), text(b"here 6")].concat());
    end_turn(&mut hub, &mut peers);
    assert_eq!([remote, local, both].map(|slot| hub.sessions.may_read(slot)), [false, true, false]);
    let got = String::from_utf8_lossy(&peers.received[local as usize]).into_owned();
    assert!(got.ends_with("here 4") && got.contains("here 3"), "messages before the waiting one are done: {got}");
    hub.invariants();
    assert!(hub.router.relays.take(1).is_some(), "now the link takes it");
    assert_eq!(resume(&mut hub)[1..], [remote, both], "in the order in which they came");
}

#[test]
fn a_fragmented_message_waits_like_a_single_frame_and_stays_unchanged() {
    let mut peers = Peers::default();
    let (mut hub, _) = congested(&mut peers);
    let [remote, local] = [0; 2].map(|_| open(&mut hub, &mut peers));
    hub.subscribe(local, b"here", Kind::Exact);
    let fragments = |first: &[u8], last: &[u8]| {
        let (mut one, mut other) = (text(first), text(last));
        (one[0], other[0]) = (0x01, 0x80);
        for frame in [&mut one, &mut other] {
            frame[2..6].copy_from_slice(&[1, 2, 3, 4]);
            (6..frame.len()).for_each(|at| frame[at] ^= [1, 2, 3, 4][(at - 6) % 4]);
        }
        [one, other].concat()
    };
    peers.received[local as usize].clear();
    say(&mut hub, local, &fragments("here é".as_bytes(), b"nd"));
    say(&mut hub, remote, &fragments("echo é".as_bytes(), b"nd"));
    end_turn(&mut hub, &mut peers);
    assert_eq!((hub.sessions.may_read(local), hub.sessions.may_read(remote)), (true, false));
    assert!(peers.received[local as usize].ends_with("here énd".as_bytes()));
    assert!(hub.router.relays.take(1).is_some(), "now the link takes it");
    let mut resumed = Vec::new();
    hub.take_resumed(&mut resumed);
    hub.take_kept(&mut ByName, remote);
    assert!(hub.router.relays.take(1).expect("what has waited").ends_with("echo énd".as_bytes()));
}

#[test]
fn a_subscription_that_the_peers_know_waits_for_no_link() {
    let mut peers = Peers::default();
    let (mut hub, publisher) = congested(&mut peers);
    assert_ne!(hub.router.links_of_subscription(b"new", Kind::Exact), 0);
    hub.subscribe(publisher, b"new", Kind::Exact);
    assert_eq!(hub.router.links_of_subscription(b"new", Kind::Exact), 0);
    hub.unsubscribe(publisher, b"new", Kind::Exact);
    assert_eq!(hub.router.links_of_subscription(b"new", Kind::Exact), 0, "it lingers");
}

#[test]
fn a_core_sleeps_when_one_of_two_congested_links_has_room_again() {
    let (mut hub, mut peers) = (Hub::new(0, 3, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    hub.sessions.pause(slot, 0b110);
    let mut resumed = Vec::new();
    assert!(hub.sessions.may_resume(0b100));
    hub.sessions.take_resumed(0b100, &mut resumed);
    assert!(resumed.is_empty() && !hub.sessions.may_resume(0b100));
    hub.sessions.take_resumed(0, &mut resumed);
    assert_eq!(resumed.len(), 1);
}

//! A message with very many deliveries takes several turns, and the messages of others go on.

use super::*;

/// Publishes a message `a b c:body` to its channels, then unsubscribes from the first one and acknowledges.
struct Lists;

impl Application for Lists {
    only_websockets!();

    fn on_open(&mut self, _: &mut Hub, _: Slot, _: &RequestHead<'_, '_>, _: Option<SocketAddr>) {}

    fn on_message(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]) {
        let names = payload.split(|&byte| byte == b':').next().unwrap_or_default();
        let names = || names.split(|&byte| byte == b' ');
        hub.publish(names(), is_text, payload, None);
        if names().count() > 1 {
            hub.unsubscribe(slot, names().next().unwrap_or_default(), Kind::Exact);
        }
        hub.acknowledge(slot, b"done", Awaited::default());
    }

    fn on_close(&mut self, _: &mut Hub, _: Slot) {}
}

fn say(hub: &mut Hub, slot: Slot, frames: &[u8]) {
    let mut bytes = frames.to_vec();
    assert_eq!(hub.receive(&mut Lists, slot, &mut bytes), bytes.len());
}

/// The payloads that a connection got after its handshake; they must be short.
fn payloads(bytes: &[u8]) -> Vec<String> {
    let mut rest = &bytes[bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(0, |at| at + 4)..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let len = frame::server_frame_len(rest);
        found.push(String::from_utf8_lossy(&rest[2..len]).into_owned());
        rest = &rest[len..];
    }
    found
}

#[test]
fn others_go_on_between_the_pieces_of_a_long_message_and_its_sender_waits_for_its_end() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    hub.set_small_turns(1, u64::MAX, usize::MAX);
    let [long, other, reader] = [0; 3].map(|_| open(&mut hub, &mut peers));
    for name in [&b"a"[..], b"b", b"c", b"d"] {
        hub.subscribe(reader, name, Kind::Exact);
    }
    hub.subscribe(long, b"a", Kind::Exact);
    hub.subscribe(long, b"c", Kind::Exact);
    say(&mut hub, long, &[text(b"b a c:1"), text(b"d:2")].concat());
    assert!(!hub.router.unfinished.is_empty() && !hub.sessions.may_read(long) && hub.wants_turn());
    say(&mut hub, other, &text(b"d:3"));
    assert!(hub.sessions.may_read(other));
    let mut turns = 0;
    while !hub.router.unfinished.is_empty() {
        hub.go_on(1);
        end_turn(&mut hub, &mut peers);
        hub.invariants();
        turns += 1;
    }
    assert!(turns > 1, "{turns}");
    let mut resumed = Vec::new();
    hub.take_resumed(&mut resumed);
    assert_eq!(resumed, [hub.sessions.key(long)]);
    hub.take_kept(&mut Lists, long);
    end_turn(&mut hub, &mut peers);
    assert_eq!(payloads(&peers.received[reader as usize]), ["b a c:1", "d:3", "b a c:1", "b a c:1", "d:2"]);
    let own = payloads(&peers.received[long as usize]);
    assert_eq!(
        own.iter().map(|text| &text[..4]).collect::<Vec<_>>(),
        ["b a ", "b a ", "LHTT", "LHTT"],
        "the ack is last"
    );
    assert!(!hub.router.subscriptions.is_subscribed(long, b"b", Kind::Exact));
    assert_eq!((hub.stats.cut, hub.kept_for_peers()), (1, 0));
}

#[test]
fn deliveries_of_one_channel_are_cut_between_its_audiences() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    hub.set_small_turns(u64::MAX, u64::MAX, 2);
    let (long, reader) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    let patterns = ["*.x", "a.*", ">", "*.*", "a.>"];
    patterns.iter().for_each(|name| {
        hub.subscribe(reader, name.as_bytes(), Kind::Pattern);
    });
    say(&mut hub, long, &text(b"a.x:1"));
    assert!(hub.router.is_full() && !hub.router.unfinished.is_empty());
    hub.unsubscribe(reader, b">", Kind::Pattern);
    end_turn(&mut hub, &mut peers);
    let first = payloads(&peers.received[reader as usize]).len();
    assert!(first < patterns.len());
    while !hub.router.unfinished.is_empty() {
        hub.go_on(u64::MAX / 2);
        end_turn(&mut hub, &mut peers);
    }
    let got = payloads(&peers.received[reader as usize]).len();
    assert!(
        (patterns.len() - 1..=patterns.len()).contains(&got),
        "{got} copies: one pattern was unsubscribed in between"
    );
}

#[test]
fn a_relayed_message_that_is_cut_stays_before_those_that_came_after_it() {
    use crate::engine::relay::Relays;
    let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
    hub.set_small_turns(1, u64::MAX, usize::MAX);
    let reader = open(&mut hub, &mut peers);
    for name in [&b"a"[..], b"b", b"c"] {
        hub.subscribe(reader, name, Kind::Exact);
    }
    let mut peer = Relays::new(1, 2);
    let frame = |text: &[u8]| [&[0x81, text.len() as u8], text].concat();
    peer.publish(0, [&b"a"[..], b"b", b"c"].into_iter(), &frame(b"1"));
    peer.publish(0, [&b"a"[..]].into_iter(), &frame(b"2"));
    let batch = peer.take(0).expect("two publishes");
    let used = hub.relayed(1, &batch);
    assert!(used < batch.len() && hub.router.unfinished.is_first());
    assert_eq!(hub.relayed(1, &batch[used..]), 0, "not before the first is finished");
    while !hub.router.unfinished.is_empty() {
        hub.go_on(1);
        end_turn(&mut hub, &mut peers);
    }
    assert_eq!(hub.relayed(1, &batch[used..]), batch.len() - used);
    end_turn(&mut hub, &mut peers);
    assert_eq!(payloads(&peers.received[reader as usize]), ["1", "1", "1", "2"]);
}

#[test]
fn the_rest_of_a_message_counts_as_memory_until_it_is_done() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    hub.set_small_turns(1, u64::MAX, usize::MAX);
    let (long, reader) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    for name in [&b"a"[..], b"b", b"c"] {
        hub.subscribe(reader, name, Kind::Exact);
    }
    let message = [&b"a b c:"[..], &[b'x'; 10_000]].concat();
    say(&mut hub, long, &text(&message));
    assert!((10_000..12_000).contains(&hub.router.unfinished.bytes()), "{}", hub.router.unfinished.bytes());
    hub.lost(&mut Lists, long);
    while !hub.router.unfinished.is_empty() {
        hub.go_on(1);
        end_turn(&mut hub, &mut peers);
    }
    assert_eq!(
        (hub.router.unfinished.bytes(), hub.router.counts().1),
        (0, 3),
        "the message goes on without its sender"
    );
    end_turn(&mut hub, &mut peers);
    hub.invariants();
}

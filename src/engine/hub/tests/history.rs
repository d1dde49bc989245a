//! Channels with a history: what clients get that subscribe in all sorts of moments.

use super::*;
use crate::{
    config::ChannelRule,
    engine::{
        relay::{Since, Wish},
        router::Home,
    },
    protocol::{encoding::Encoding, message::MessageId},
};

/// Two cores and the links between them. Everything has a history.
struct Pair {
    hubs: [Hub; 2],
    peers: [Peers; 2],
}

pub(super) fn keeping(outbox_bytes_max: usize, messages: u32) -> Limits {
    let rule: ChannelRule = ">".parse().unwrap();
    let config = Config { channels: vec![rule.history(messages)], outbox_bytes_max, ..Config::default() };
    Limits::new(&config, 1 << 30, 1)
}

/// Asks for everything that is kept.
pub(super) fn all() -> Wish {
    Wish { since: Since::None, last: 1000 }
}

impl Pair {
    fn new(outbox_bytes_max: usize) -> Self {
        Self::keeping(outbox_bytes_max, 100)
    }

    fn keeping(outbox_bytes_max: usize, messages: u32) -> Self {
        let hubs = [0, 1].map(|own| Hub::new(own, 2, keeping(outbox_bytes_max, messages)));
        Self { hubs, peers: Default::default() }
    }

    /// Some channels whose home is the first core.
    fn names(&self, count: usize) -> Vec<String> {
        let is_home = |name: &String| matches!(self.hubs[0].router.home(name.as_bytes(), Kind::Exact), Home::Here(_));
        (0..).map(|number| format!("c{number}")).filter(is_home).take(count).collect()
    }

    fn open(&mut self, core: usize) -> Slot {
        let slot = open(&mut self.hubs[core], &mut self.peers[core]);
        self.peers[core].received[slot as usize].clear();
        slot
    }

    fn publish(&mut self, core: usize, name: &str, body: &str) {
        let message = format!("LHTTP/1.0 c\r\n\r\n{body}");
        self.hubs[core].publish([name.as_bytes()].into_iter(), true, message.as_bytes(), None);
    }

    /// Subscribes a connection of the second core, and asks for an acknowledgement.
    fn subscribe(&mut self, slot: Slot, name: &str, wish: Wish) {
        let hub = &mut self.hubs[1];
        let receipt = hub.begin_receipt(slot, b"told", None, 0, [name.as_bytes()].into_iter());
        let awaited = hub.subscribe_from(slot, name.as_bytes(), Kind::Exact, wish, Some(receipt));
        hub.carried_out(receipt, awaited);
        hub.message_done(Some(slot));
    }

    /// Hands over what one core has for the other one.
    fn hand_over(&mut self, from: usize) {
        let to = 1 - from;
        while let Some(batch) = self.hubs[from].router.relays.take(to as u32) {
            let mut used = 0;
            while used < batch.len() {
                used += self.hubs[to].relayed(from as u32, &batch[used..]);
                self.hubs[to].flush(&mut Plain, &mut self.peers[to]);
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            for core in 0..2 {
                self.hubs[core].go_on(u64::MAX >> 1);
                self.hubs[core].flush(&mut Plain, &mut self.peers[core]);
                self.hand_over(core);
                self.hubs[core].invariants();
            }
        }
    }

    /// What a client of the second core has received, see [`bodies`].
    fn received(&self, slot: Slot) -> String {
        bodies(&self.peers[1].received[slot as usize])
    }
}

/// The first letter of the body of each message, `!` for an acknowledgement.
pub(super) fn bodies(mut bytes: &[u8]) -> String {
    let mut found = String::new();
    while !bytes.is_empty() {
        let (one, rest) = bytes.split_at(Encoding::Frame.unit_len(bytes));
        let text = String::from_utf8_lossy(frame::payload(one));
        let body = text.split_once("\r\n\r\n").and_then(|(_, body)| body.chars().next());
        found.push(if text.contains("\r\nack:") { '!' } else { body.expect("a body") });
        bytes = rest;
    }
    found
}

/// The `position` of each acknowledgement, and its `lost`.
fn positions(mut bytes: &[u8]) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (one, rest) = bytes.split_at(Encoding::Frame.unit_len(bytes));
        let text = String::from_utf8_lossy(frame::payload(one));
        if text.contains("\r\nack:") {
            let position = text.split_once("\r\nposition:").and_then(|(_, rest)| rest.split_once("\r\n"));
            found.push((position.map_or(String::new(), |(id, _)| id.to_owned()), text.contains("\r\nlost:")));
        }
        bytes = rest;
    }
    found
}

#[test]
fn a_client_that_subscribes_once_more_misses_nothing() {
    let mut pair = Pair::new(1 << 20);
    let name = pair.names(1).remove(0);
    let slot = pair.open(1);
    pair.subscribe(slot, &name, Wish::default());
    pair.settle();
    pair.publish(0, &name, "a");
    pair.subscribe(slot, &name, Wish::default()); // before that message comes
    pair.publish(0, &name, "b");
    pair.settle();
    pair.publish(0, &name, "c");
    pair.settle();
    assert_eq!(pair.received(slot), "!ab!c");
}

#[test]
fn a_client_that_subscribes_once_more_gets_the_rest_of_what_it_has_missed() {
    let mut pair = Pair::new(1 << 20);
    let name = pair.names(1).remove(0);
    ["a", "b", "c"].iter().for_each(|body| pair.publish(0, &name, &body.repeat(150_000)));
    pair.settle();
    let slot = pair.open(1);
    pair.peers[1].stalled.push(slot);
    pair.subscribe(slot, &name, all());
    pair.settle();
    pair.subscribe(slot, &name, Wish::default());
    pair.publish(0, &name, "d");
    pair.peers[1].stalled.clear();
    pair.hubs[1].router.outboxes.writable(slot);
    pair.settle();
    assert_eq!(pair.received(slot), "abcd!!");
}

/// Channels of this core and of the other one; a client that leaves before the home has answered, and one in the middle.
#[test]
fn a_client_that_leaves_while_it_catches_up_is_told_how_far_it_has_come() {
    for (home, is_early) in [(0, true), (0, false), (1, false)] {
        let mut pair = Pair::new(1 << 20);
        let is_there =
            |name: &String| matches!(pair.hubs[home].router.home(name.as_bytes(), Kind::Exact), Home::Here(_));
        let name = (0..).map(|number| format!("c{number}")).find(is_there).unwrap();
        ["a", "b", "c"].iter().for_each(|body| pair.publish(home, &name, &body.repeat(200_000)));
        pair.settle();
        let slot = pair.open(1);
        pair.peers[1].stalled.push(slot);
        pair.subscribe(slot, &name, all());
        if !is_early {
            pair.settle();
        }
        let hub = &mut pair.hubs[1];
        hub.unsubscribe(slot, name.as_bytes(), Kind::Exact);
        hub.acknowledge(slot, b"left", Awaited::default());
        hub.message_done(Some(slot));
        pair.publish(home, &name, "d");
        pair.peers[1].stalled.clear();
        pair.hubs[1].router.outboxes.writable(slot);
        pair.settle();
        // The home must be asked before anybody knows where an early leaver stands.
        assert_eq!(pair.received(slot), if is_early { "!!" } else { "a!!" }, "home {home}");
        let told = positions(&pair.peers[1].received[slot as usize]);
        let (position, is_lost) = &told[usize::from(is_early)];
        assert!(!is_lost && told[usize::from(!is_early)].0.is_empty(), "{told:?}");
        let position = MessageId::parse(position.as_bytes()).expect("a position");
        pair.peers[1].received[slot as usize].clear();
        pair.subscribe(slot, &name, Wish { since: Since::Message(position), last: 0 });
        pair.settle();
        assert_eq!(pair.received(slot), if is_early { "abcd!" } else { "bcd!" }, "home {home}");
    }
}

/// What a client gets that asks for the last `last` messages while others publish, and whether some are lost.
fn last_while_others_publish(history: u32, last: u16, home: usize) -> (String, bool) {
    let mut pair = Pair::keeping(1 << 20, history);
    let is_there = |name: &String| matches!(pair.hubs[home].router.home(name.as_bytes(), Kind::Exact), Home::Here(_));
    let name = (0..).map(|number| format!("c{number}")).find(is_there).unwrap();
    ["a", "b", "c"].iter().for_each(|body| pair.publish(home, &name, &body.repeat(200_000)));
    pair.settle();
    let slot = pair.open(1);
    pair.peers[1].stalled.push(slot);
    pair.subscribe(slot, &name, Wish { since: Since::None, last });
    if home == 0 {
        pair.hand_over(1);
    }
    pair.publish(home, &name, "d");
    pair.settle();
    pair.publish(home, &name, "e");
    pair.peers[1].stalled.clear();
    pair.hubs[1].router.outboxes.writable(slot);
    pair.settle();
    pair.publish(home, &name, "f");
    pair.settle();
    let bytes = &pair.peers[1].received[slot as usize];
    let got = bodies(bytes);
    assert!(got.find('!') >= Some(usize::from(last)), "the acknowledgement comes before the last ones: {got}");
    (got.replace('!', ""), positions(bytes)[0].1)
}

#[test]
fn the_last_messages_are_those_at_the_subscription_and_all_newer_ones_follow() {
    for home in [0, 1] {
        assert_eq!(last_while_others_publish(100, 2, home), ("bcdef".to_owned(), false), "home {home}");
        assert_eq!(last_while_others_publish(100, 1, home), ("cdef".to_owned(), false), "home {home}");
    }
}

#[test]
fn a_client_that_has_got_none_of_the_last_messages_yet_begins_with_newer_ones() {
    for home in [0, 1] {
        assert_eq!(last_while_others_publish(1, 1, home), ("def".to_owned(), false), "home {home}");
        assert_eq!(last_while_others_publish(2, 2, home), ("cdef".to_owned(), false), "home {home}");
    }
}

#[test]
fn pieces_of_many_channels_from_another_core_make_nobody_a_slow_consumer() {
    let mut pair = Pair::new(2 << 20);
    let names = pair.names(8);
    names.iter().for_each(|name| pair.publish(0, name, &"a".repeat(900_000)));
    pair.settle();
    let slot = pair.open(1);
    pair.peers[1].stalled.push(slot);
    names.iter().for_each(|name| pair.subscribe(slot, name, all()));
    pair.settle();
    assert!(pair.hubs[1].sessions.is_open(slot), "it was closed as a slow consumer");
    pair.peers[1].stalled.clear();
    pair.hubs[1].router.outboxes.writable(slot);
    pair.settle();
    let received = pair.received(slot);
    assert_eq!((received.matches('a').count(), received.matches('!').count()), (8, 8), "{received}");
}

#[test]
fn pieces_of_this_core_leave_room_for_the_next_message() {
    let mut pair = Pair::new(1_000_000);
    let is_home = |name: &String| matches!(pair.hubs[1].router.home(name.as_bytes(), Kind::Exact), Home::Here(_));
    let names: Vec<String> = (0..).map(|number| format!("c{number}")).filter(is_home).take(4).collect();
    let bytes = [200_000, 900_000, 10_000, 900_000];
    names.iter().zip(bytes).for_each(|(name, bytes)| pair.publish(1, name, &"a".repeat(bytes)));
    let slot = pair.open(1);
    pair.peers[1].stalled.push(slot);
    names.iter().for_each(|name| pair.subscribe(slot, name, all()));
    pair.settle(); // with the invariants
    assert!(pair.hubs[1].sessions.is_open(slot), "it was closed as a slow consumer");
    pair.peers[1].stalled.clear();
    pair.hubs[1].router.outboxes.writable(slot);
    pair.settle();
    assert_eq!(pair.received(slot).matches('a').count(), 4);
}

#[test]
fn a_subscription_that_the_server_ends_gets_nothing_more_of_what_was_missed() {
    let mut pair = Pair::new(1 << 20);
    let is_home = |name: &String| matches!(pair.hubs[1].router.home(name.as_bytes(), Kind::Exact), Home::Here(_));
    let name = (0..).map(|number| format!("c{number}")).find(is_home).unwrap();
    ["a", "b", "c"].iter().for_each(|body| pair.publish(1, &name, &body.repeat(200_000)));
    let slot = pair.open(1);
    pair.peers[1].stalled.push(slot);
    pair.subscribe(slot, &name, all());
    pair.settle();

    let rule = |history| name.parse::<ChannelRule>().unwrap().history(100).subscribe(history);
    for who in [crate::config::Who::Nobody, crate::config::Who::Anyone] {
        let config = Config { channels: vec![rule(who)], ..Config::default() };
        pair.hubs[1].set_limits(Limits::new(&config, 1 << 30, 1));
        pair.settle();
    }
    pair.subscribe(slot, &name, all());
    pair.peers[1].stalled.clear();
    pair.hubs[1].router.outboxes.writable(slot);
    pair.settle();
    let received = pair.received(slot);
    let again = received.rfind('a').unwrap();
    assert_eq!(&received[again..], "abc!", "{received}");
}

#[test]
fn a_live_message_behind_a_piece_is_no_part_of_the_history() {
    let rule: ChannelRule = "a".parse().unwrap();
    let config = Config { channels: vec![rule.history(100)], ..Config::default() };
    let mut hub = Hub::new(0, 1, Limits::new(&config, 1 << 30, 1));
    let mut peers = Peers::default();
    let publish = |hub: &mut Hub, name: &str, bytes: usize| {
        let message = format!("LHTTP/1.0 c\r\n\r\n{}", "x".repeat(bytes));
        hub.publish([name.as_bytes()].into_iter(), true, message.as_bytes(), None);
    };
    publish(&mut hub, "a", 1);
    let [slow, other] = [0; 2].map(|_| open(&mut hub, &mut peers));
    peers.stalled.push(slow);
    hub.subscribe_from(slow, b"a", Kind::Exact, all(), None);
    end_turn(&mut hub, &mut peers);
    hub.subscribe(slow, b"b", Kind::Exact);
    hub.subscribe(other, b"c", Kind::Exact);
    publish(&mut hub, "c", 100_000); // so that the rest for the slow one is copied
    publish(&mut hub, "b", 10_000);
    end_turn(&mut hub, &mut peers);
    hub.invariants();
}

#[test]
fn a_message_does_not_overtake_the_copies_of_the_one_before_it() {
    let (mut hub, mut peers) = (Hub::new(0, 1, keeping(1 << 20, 100)), Peers::default());
    hub.set_small_turns(u64::MAX, u64::MAX, 1);
    let slot = open(&mut hub, &mut peers);
    hub.subscribe(slot, b"a", Kind::Exact);
    [&b">"[..], b"*"].iter().for_each(|pattern| _ = hub.subscribe(slot, pattern, Kind::Pattern));
    peers.received[slot as usize].clear();
    for body in ["1", "2", "3"] {
        hub.publish([&b"a"[..]].into_iter(), true, format!("LHTTP/1.0 c\r\n\r\n{body}").as_bytes(), None);
        hub.message_done(None);
        hub.flush(&mut Plain, &mut peers);
    }
    for _ in 0..10 {
        hub.go_on(1000);
        hub.flush(&mut Plain, &mut peers);
    }
    assert_eq!(bodies(&peers.received[slot as usize]), "111222333");
}

#[test]
fn a_core_sleeps_while_it_waits_for_the_pieces_of_another_one() {
    let mut pair = Pair::new(1 << 20);
    let names = pair.names(20);
    names.iter().for_each(|name| pair.publish(0, name, "a"));
    pair.settle();
    let slot = pair.open(1);
    names.iter().for_each(|name| pair.subscribe(slot, name, all()));
    pair.hand_over(1);
    pair.hand_over(0); // the home says where they begin, and gets no further questions
    while pair.hubs[1].router.relays.take(0).is_some() {}
    for _ in &names {
        pair.hubs[1].go_on(u64::MAX >> 1);
        pair.hubs[1].flush(&mut Plain, &mut pair.peers[1]);
    }
    assert!(!pair.hubs[1].wants_turn());
}

//! The receivers of a publish, while subscriptions come and go between publishes to several channels.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    engine::relay::{self, Item},
    protocol::channel::{self, matches},
};

const CONNECTIONS: Slot = 4;
/// The other one of two cores.
const PEER: u32 = 1;

#[derive(Clone, Debug)]
enum Step {
    Subscribe(Slot, String),
    Unsubscribe(Slot, String),
    /// One connection ends and another takes its place.
    Reconnect(Slot),
    Interest(String, bool),
    Publish(String),
    /// A message from another node for the subscribers of exactly this name.
    Deliver(String),
}

fn name(tokens: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(tokens), 1..4)
        .prop_map(|tokens| tokens.join("."))
        .prop_filter("a valid name", |name| channel::check_subscribe(name.as_bytes()).is_ok())
}

fn step() -> impl Strategy<Value = Step> {
    let pattern = || name(&["a", "b", "*", ">"]);
    let slot = || 0..CONNECTIONS;
    prop_oneof![
        3 => (slot(), pattern()).prop_map(|(slot, name)| Step::Subscribe(slot, name)),
        2 => (slot(), pattern()).prop_map(|(slot, name)| Step::Unsubscribe(slot, name)),
        1 => slot().prop_map(Step::Reconnect),
        2 => (pattern(), any::<bool>()).prop_map(|(name, on)| Step::Interest(name, on)),
        8 => name(&["a", "b"]).prop_map(Step::Publish),
        1 => pattern().prop_map(Step::Deliver),
    ]
}

/// The number of publishes that each connection got: each has one letter.
fn received(hub: &mut Hub, peers: &mut Peers) -> Vec<usize> {
    hub.flush(&mut Plain, peers);
    peers.received.resize_with(CONNECTIONS as usize, Vec::new);
    peers.received.iter_mut().map(|bytes| bytes.drain(..).filter(|&byte| byte == b'x').count()).collect()
}

/// Whether the core has relayed a publish to its peer.
fn is_relayed(hub: &mut Hub) -> bool {
    let batch = hub.router.relays.take(PEER).unwrap_or_default();
    let mut rest = &batch[..];
    std::iter::from_fn(|| relay::next(&mut rest)).any(|item| matches!(item, Item::Publish { .. }))
}

fn interest(hub: &mut Hub, name: &str, interested: bool) {
    let mut there = relay::Relays::new(PEER, 2);
    let kind = channel::kind(name.as_bytes());
    if interested {
        there.announce(name.as_bytes(), kind);
    } else {
        there.withdraw(name.as_bytes(), kind);
    }
    let batch = there.take(0).expect("a batch");
    assert_eq!(hub.relayed(PEER, &batch), batch.len());
}

fn deliver(hub: &mut Hub, name: &str) {
    let mut batch = Vec::new();
    relay::put_delivery(&mut batch, name.as_bytes(), channel::kind(name.as_bytes()), true, b"x");
    assert_eq!(hub.relayed(PEER, &batch), batch.len());
}

proptest! {
    #[test]
    fn a_publish_reaches_the_connections_whose_subscriptions_match_it_now(steps in prop::collection::vec(step(), 1..80)) {
        let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
        for slot in 0..CONNECTIONS {
            prop_assert_eq!(open(&mut hub, &mut peers), slot);
        }
        received(&mut hub, &mut peers);
        let (mut held, mut interests) = (BTreeSet::new(), BTreeSet::new());
        for step in steps {
            match step {
                Step::Subscribe(slot, name) => {
                    hub.subscribe(slot, name.as_bytes(), channel::kind(name.as_bytes()));
                    held.insert((slot, name));
                }
                Step::Unsubscribe(slot, name) => {
                    hub.unsubscribe(slot, name.as_bytes(), channel::kind(name.as_bytes()));
                    held.remove(&(slot, name));
                }
                Step::Reconnect(slot) => {
                    hub.lost(&mut Plain, slot);
                    prop_assert_eq!(end_turn(&mut hub, &mut peers), [slot]);
                    prop_assert_eq!(open(&mut hub, &mut peers), slot);
                    received(&mut hub, &mut peers);
                    held.retain(|(other, _)| *other != slot);
                }
                Step::Interest(name, interested) => {
                    interest(&mut hub, &name, interested);
                    if interested { interests.insert(name) } else { interests.remove(&name) };
                }
                Step::Publish(channel) => {
                    hub.publish([channel.as_bytes()].into_iter(), true, b"x", None);
                    let is_match = |name: &str| matches(name.as_bytes(), channel.as_bytes());
                    let expected: Vec<usize> = (0..CONNECTIONS)
                        .map(|slot| held.iter().filter(|(other, name)| *other == slot && is_match(name)).count())
                        .collect();
                    prop_assert_eq!(received(&mut hub, &mut peers), expected, "{}", &channel);
                    prop_assert_eq!(is_relayed(&mut hub), interests.iter().any(|name| is_match(name)), "{}", channel);
                }
                Step::Deliver(name) => {
                    deliver(&mut hub, &name);
                    let expected: Vec<usize> =
                        (0..CONNECTIONS).map(|slot| usize::from(held.contains(&(slot, name.clone())))).collect();
                    prop_assert_eq!(received(&mut hub, &mut peers), expected, "{}", name);
                }
            }
            hub.invariants();
        }
    }
}

/// Publishes to eight channels in turns, a hundred times. Returns how often channels were matched with patterns.
fn matches_of_alternating_channels() -> u64 {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let (room, other) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    let channels: Vec<_> = (0..8).map(|number| format!("room.{number}")).collect();
    for channel in &channels {
        hub.subscribe(room, channel.as_bytes(), Kind::Exact);
    }
    hub.subscribe(room, b"room.*", Kind::Pattern);
    for round in 0..100 {
        // Another pattern, another channel, and connections that join and leave a room that has other subscribers, too.
        let names = [format!("other.{round}.*"), format!("other.{round}"), "room.1".to_owned(), "room.*".to_owned()];
        for name in &names {
            hub.subscribe(other, name.as_bytes(), channel::kind(name.as_bytes()));
        }
        channels.iter().for_each(|channel| hub.publish([channel.as_bytes()].into_iter(), true, b"x", None));
        for name in &names {
            hub.unsubscribe(other, name.as_bytes(), channel::kind(name.as_bytes()));
        }
        hub.flush(&mut Plain, &mut peers);
    }
    assert_eq!(hub.router.counts().0, 800);
    hub.router.resolutions()
}

#[test]
fn alternating_channels_are_each_matched_once_while_others_subscribe() {
    // Each hub has another hash. With some hashes, several channels share entries of the cache.
    let matches = (0..10).map(|_| matches_of_alternating_channels()).min();
    assert!(matches.is_some_and(|matches| matches <= 100 * 8 / 2), "{matches:?} matches");
    println!("{matches:?} matches for 800 publishes");
}

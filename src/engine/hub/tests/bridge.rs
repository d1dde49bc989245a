//! The hub and the bridge to other nodes: when a subscription is live, and who gets the messages from the bridge.

use super::*;
use crate::engine::{
    relay::{self, Item},
    router::{Awaited, LINGER_MILLIS},
};

const BRIDGE: u32 = 1;

/// The only core of a node.
fn hub() -> (Hub, Peers) {
    let mut hub = Hub::new(0, 1, limits());
    assert_eq!(hub.router.relays.add_bridge(), BRIDGE);
    (hub, Peers::default())
}

fn answered(hub: &mut Hub, count: u64) {
    let mut batch = Vec::new();
    relay::put_answered(&mut batch, count);
    assert_eq!(hub.relayed(BRIDGE, &batch), batch.len());
}

fn absent(hub: &mut Hub) {
    let mut batch = Vec::new();
    relay::put_absent(&mut batch);
    assert_eq!(hub.relayed(BRIDGE, &batch), batch.len());
}

/// Waits until names without subscribers are withdrawn.
fn pass_linger(hub: &mut Hub) {
    hub.set_now(Duration::from_millis(hub.sessions.now() + LINGER_MILLIS));
    hub.expire(&mut Plain);
}

/// The output of a connection in this turn, without the frames' headers, which are all short here.
fn received(hub: &mut Hub, peers: &mut Peers, slot: Slot) -> String {
    peers.received.resize_with(peers.received.len().max(slot as usize + 1), Vec::new);
    let before = peers.received[slot as usize].len();
    hub.flush(&mut Plain, peers);
    String::from_utf8_lossy(&peers.received[slot as usize][before..]).into_owned()
}

fn subscribe(hub: &mut Hub, slot: Slot, name: &str, kind: Kind, token: &str) {
    let awaited = hub.subscribe(slot, name.as_bytes(), kind);
    hub.acknowledge(slot, token.as_bytes(), awaited);
}

#[test]
fn a_subscription_is_acknowledged_when_the_bridge_has_answered() {
    let (mut hub, mut peers) = hub();
    let slot = open(&mut hub, &mut peers);
    answered(&mut hub, 0);
    subscribe(&mut hub, slot, "a", Kind::Exact, "one");
    hub.acknowledge(slot, b"no-subscription", Awaited::default());
    let got = received(&mut hub, &mut peers, slot);
    assert!(got.contains("ack:no-subscription\r\n\r\n") && !got.contains("ack:one"), "{got:?}");
    let interest = hub.router.relays.take_interest().expect("interest for the bridge");
    let item = relay::next(&mut &interest[..]);
    assert_eq!(item, Some(Item::Interest { name: b"a", kind: Kind::Exact, interested: true }));
    answered(&mut hub, 1);
    assert!(received(&mut hub, &mut peers, slot).ends_with("ack:one\r\n\r\n"));
    hub.unsubscribe(slot, b"a", Kind::Exact);
    assert!(hub.router.relays.take_interest().is_none(), "it lingers");
    pass_linger(&mut hub);
    let withdrawn = hub.router.relays.take_interest().expect("withdrawn interest");
    assert!(matches!(relay::next(&mut &withdrawn[..]), Some(Item::Interest { interested: false, .. })));
}

#[test]
fn an_acknowledgement_without_other_nodes_says_so() {
    let (mut hub, mut peers) = hub();
    let slot = open(&mut hub, &mut peers);
    subscribe(&mut hub, slot, "a", Kind::Exact, "before");
    assert!(received(&mut hub, &mut peers, slot).ends_with("ack:before\r\ncluster:offline\r\n\r\n"));
    answered(&mut hub, 1);
    subscribe(&mut hub, slot, "a", Kind::Exact, "twice");
    assert!(received(&mut hub, &mut peers, slot).ends_with("ack:twice\r\n\r\n"));

    subscribe(&mut hub, slot, "b", Kind::Exact, "waiting");
    assert_eq!(received(&mut hub, &mut peers, slot), "");
    absent(&mut hub);
    assert!(received(&mut hub, &mut peers, slot).ends_with("ack:waiting\r\ncluster:offline\r\n\r\n"));
    subscribe(&mut hub, slot, "a", Kind::Exact, "away");
    assert!(received(&mut hub, &mut peers, slot).ends_with("ack:away\r\ncluster:offline\r\n\r\n"));
    hub.acknowledge(slot, b"publish", Awaited::default());
    assert!(
        received(&mut hub, &mut peers, slot).ends_with("ack:publish\r\n\r\n"),
        "a publish does not depend on other nodes"
    );
}

fn refused(hub: &mut Hub, name: &str) {
    let mut batch = Vec::new();
    relay::put_refused(&mut batch, name.as_bytes(), Kind::Exact);
    assert_eq!(hub.relayed(BRIDGE, &batch), batch.len());
}

#[test]
fn an_acknowledgement_says_that_the_bridge_was_refused_a_subscription() {
    let (mut hub, mut peers) = hub();
    let slot = open(&mut hub, &mut peers);
    answered(&mut hub, 0);
    for name in ["a", "b", "c"] {
        subscribe(&mut hub, slot, name, Kind::Exact, name);
    }
    refused(&mut hub, "b");
    answered(&mut hub, 3);
    let got = received(&mut hub, &mut peers, slot);
    assert!(got.contains("ack:a\r\n\r\n") && got.contains("ack:b\r\ncluster:offline\r\n\r\n"), "{got:?}");
    assert!(got.ends_with("ack:c\r\n\r\n"), "{got:?}");

    let mut awaited = hub.subscribe(slot, b"b", Kind::Exact);
    awaited = awaited.and(hub.subscribe(slot, b"a", Kind::Exact));
    hub.acknowledge(slot, b"both", awaited);
    assert!(received(&mut hub, &mut peers, slot).ends_with("ack:both\r\ncluster:offline\r\n\r\n"));
    subscribe(&mut hub, slot, "c", Kind::Exact, "other");
    assert!(received(&mut hub, &mut peers, slot).ends_with("ack:other\r\n\r\n"));

    hub.unsubscribe(slot, b"b", Kind::Exact);
    pass_linger(&mut hub);
    subscribe(&mut hub, slot, "b", Kind::Exact, "anew");
    answered(&mut hub, 4);
    assert!(
        received(&mut hub, &mut peers, slot).ends_with("ack:anew\r\n\r\n"),
        "the bridge reports the refusal again if necessary"
    );
    refused(&mut hub, "b");
    absent(&mut hub);
    answered(&mut hub, 4);
    subscribe(&mut hub, slot, "b", Kind::Exact, "back");
    assert!(received(&mut hub, &mut peers, slot).ends_with("ack:back\r\n\r\n"), "here, too");
    refused(&mut hub, "not.known");
}

#[test]
fn beside_the_bridge_other_cores_must_answer_too() {
    let mut hub = Hub::new(0, 2, limits());
    let bridge = hub.router.relays.add_bridge();
    let mut peers = Peers::default();
    let slot = open(&mut hub, &mut peers);
    subscribe(&mut hub, slot, "a", Kind::Exact, "one");
    assert_eq!(received(&mut hub, &mut peers, slot), "", "the other core has not answered");
    let mut batch = Vec::new();
    relay::put_answered(&mut batch, 1);
    hub.relayed(1, &batch);
    assert!(received(&mut hub, &mut peers, slot).ends_with("cluster:offline\r\n\r\n"));
    assert_eq!(bridge, 2);
    assert!(
        hub.router.relays.take(1).is_some() && hub.router.relays.take(bridge).is_none(),
        "interest takes another path"
    );
}

#[test]
fn a_delivery_for_a_name_goes_to_its_subscribers_once() {
    let (mut hub, mut peers) = hub();
    let both = open(&mut hub, &mut peers);
    let one = open(&mut hub, &mut peers);
    for slot in [both, one] {
        hub.subscribe(slot, b"c.room", Kind::Exact);
    }
    hub.subscribe(both, b"c.*", Kind::Pattern);
    let mut batch = Vec::new();
    relay::put_delivery(&mut batch, b"c.room", Kind::Exact, true, b"[for room]");
    relay::put_delivery(&mut batch, b"c.*", Kind::Pattern, true, b"[for star]");
    relay::put_delivery(&mut batch, b"c.*", Kind::Pattern, true, b"[star again]");
    relay::put_delivery(&mut batch, b"c.gone", Kind::Exact, true, b"[for nobody]");
    assert_eq!(hub.relayed(BRIDGE, &batch), batch.len());
    let frame = |text: &str| format!("\u{fffd}{}{text}", text.len() as u8 as char);
    let expected = [frame("[for room]"), frame("[for star]"), frame("[star again]")].concat();
    hub.flush(&mut Plain, &mut peers);
    let after = |slot: Slot| {
        let text = String::from_utf8_lossy(&peers.received[slot as usize]).into_owned();
        text.split_once("\r\n\r\n").expect("the handshake's answer").1.to_owned()
    };
    assert_eq!(after(both), expected);
    assert_eq!(after(one), frame("[for room]"));
    assert!(hub.router.relays.take(BRIDGE).is_none(), "it does not go back");
}

#[test]
fn a_publish_between_two_deliveries_reaches_all_of_its_subscribers() {
    let (mut hub, mut peers) = hub();
    let slot = open(&mut hub, &mut peers);
    hub.subscribe(slot, b"a.b", Kind::Exact);
    hub.subscribe(slot, b"a.*", Kind::Pattern);
    let mut delivery = Vec::new();
    relay::put_delivery(&mut delivery, b"a.b", Kind::Exact, false, b"1");
    let publish = |hub: &mut Hub| hub.publish([&b"a.b"[..]].into_iter(), true, b"2", None);
    hub.relayed(BRIDGE, &delivery);
    publish(&mut hub);
    hub.relayed(BRIDGE, &delivery);
    publish(&mut hub);
    hub.flush(&mut Plain, &mut peers);
    let frames =
        peers.received[slot as usize].windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an answer") + 4;
    let (one, two) = ([0x82, 1, b'1'], [0x81, 1, b'2']);
    assert_eq!(peers.received[slot as usize][frames..], [one, two, two, one, two, two].concat());
    assert_eq!(relay::messages(&hub.router.relays.take(BRIDGE).expect("publishes")), 2);
}

#[test]
fn a_message_of_a_wider_subscription_reaches_the_subscriptions_that_it_covers() {
    let (mut hub, mut peers) = hub();
    let names = [("a.b", Kind::Exact), ("a.*", Kind::Pattern), ("*.b", Kind::Pattern), (">", Kind::Pattern)];
    let slots = names.map(|(name, kind)| {
        let slot = open(&mut hub, &mut peers);
        hub.subscribe(slot, name.as_bytes(), kind);
        slot
    });
    let mut wide = |is_all: bool| {
        let mut batch = Vec::new();
        relay::put_wide(&mut batch, b"a.b", is_all, true, b"<wide>");
        relay::put_wide(&mut batch, b"c.d", false, true, b"for nobody");
        assert_eq!(hub.relayed(BRIDGE, &batch), batch.len());
        received(&mut hub, &mut peers, slots[3]);
        slots.map(|slot| String::from_utf8_lossy(&peers.received[slot as usize]).matches("<wide>").count())
    };
    assert_eq!(wide(false), [1, 1, 0, 0], "the others have subscriptions of their own");
    assert_eq!(wide(true), [2, 2, 1, 1]);
}

#[test]
fn a_subscription_that_is_accepted_again_is_acknowledged_as_live() {
    let (mut hub, mut peers) = hub();
    let slot = open(&mut hub, &mut peers);
    answered(&mut hub, 0);
    subscribe(&mut hub, slot, "a", Kind::Exact, "one");
    refused(&mut hub, "a");
    answered(&mut hub, 1);
    assert!(received(&mut hub, &mut peers, slot).ends_with("ack:one\r\ncluster:offline\r\n\r\n"));
    let mut batch = Vec::new();
    relay::put_accepted(&mut batch, b"a", Kind::Exact);
    relay::put_accepted(&mut batch, b"gone", Kind::Exact);
    assert_eq!(hub.relayed(BRIDGE, &batch), batch.len());
    subscribe(&mut hub, slot, "a", Kind::Exact, "two");
    assert!(received(&mut hub, &mut peers, slot).ends_with("ack:two\r\n\r\n"));
}

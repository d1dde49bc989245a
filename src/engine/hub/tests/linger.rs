//! A name that has lost its last subscriber lingers before it is withdrawn from the peers.

use super::*;
use crate::engine::{
    relay::{self, Item},
    router::LINGER_MILLIS,
};

/// The interest in a batch: how many names were announced and withdrawn.
fn interest(batch: Option<Vec<u8>>) -> (usize, usize) {
    let (batch, mut came, mut went) = (batch.unwrap_or_default(), 0, 0);
    let mut rest = &batch[..];
    while let Some(item) = relay::next(&mut rest) {
        if let Item::Interest { interested, .. } = item {
            came += usize::from(interested);
            went += usize::from(!interested);
        }
    }
    (came, went)
}

fn pass(hub: &mut Hub, millis: u64) {
    hub.set_now(Duration::from_millis(hub.sessions.now() + millis));
    hub.expire(&mut Plain);
}

fn answer(hub: &mut Hub, count: u64) {
    let mut batch = Vec::new();
    relay::put_answered(&mut batch, count);
    hub.relayed(1, &batch);
}

#[test]
fn subscribing_and_unsubscribing_in_a_loop_announces_the_name_once() {
    let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    for _ in 0..1000 {
        hub.subscribe(slot, b"a", Kind::Exact);
        hub.unsubscribe(slot, b"a", Kind::Exact);
    }
    assert_eq!(interest(hub.router.relays.take(1)), (1, 0));
    pass(&mut hub, LINGER_MILLIS - 2);
    assert_eq!(interest(hub.router.relays.take(1)), (0, 0));
    assert!(hub.next_deadline().is_some());
    pass(&mut hub, 2);
    assert_eq!(interest(hub.router.relays.take(1)), (0, 1));
    hub.invariants();
}

#[test]
fn a_connection_that_ends_and_comes_again_costs_the_peers_nothing() {
    let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
    for round in 0..20 {
        let slot = open(&mut hub, &mut peers);
        for number in 0..100 {
            hub.subscribe(slot, format!("{number}.*").as_bytes(), Kind::Pattern);
        }
        hub.lost(&mut Plain, slot);
        end_turn(&mut hub, &mut peers);
        assert_eq!(interest(hub.router.relays.take(1)), (if round == 0 { 100 } else { 0 }, 0));
    }
    pass(&mut hub, LINGER_MILLIS);
    assert_eq!(interest(hub.router.relays.take(1)), (0, 100));
    assert!(!hub.router.has_lingering());
}

#[test]
fn a_name_that_lingers_is_live_at_once_if_the_peers_have_answered() {
    let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    hub.subscribe(slot, b"a", Kind::Exact);
    answer(&mut hub, 1);
    hub.unsubscribe(slot, b"a", Kind::Exact);
    let awaited = hub.subscribe(slot, b"a", Kind::Exact);
    hub.acknowledge(slot, b"again", awaited);
    hub.flush(&mut Plain, &mut peers);
    assert!(peers.received[slot as usize].ends_with(b"ack:again\r\n\r\n"));
    assert!(hub.acks.is_empty());
}

#[test]
fn a_name_that_has_a_subscriber_again_is_not_withdrawn() {
    let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    hub.subscribe(slot, b"a", Kind::Exact);
    hub.unsubscribe(slot, b"a", Kind::Exact);
    hub.subscribe(slot, b"a", Kind::Exact);
    pass(&mut hub, 2 * LINGER_MILLIS);
    assert_eq!(interest(hub.router.relays.take(1)), (1, 0));
    hub.unsubscribe(slot, b"a", Kind::Exact);
    pass(&mut hub, LINGER_MILLIS);
    assert_eq!(interest(hub.router.relays.take(1)), (0, 1));
}

#[test]
fn the_lingering_names_are_bounded_and_a_turn_withdraws_a_part_of_them() {
    let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    let count = 20_000;
    for number in 0..count {
        let name = format!("name.{number}");
        hub.subscribe(slot, name.as_bytes(), Kind::Exact);
        hub.unsubscribe(slot, name.as_bytes(), Kind::Exact);
    }
    let (came, went) = interest(hub.router.relays.take(1));
    assert_eq!(came, count);
    let lingering = hub.router.subscriptions.audiences();
    assert_eq!(went, count - lingering, "the oldest are withdrawn early");
    assert!((10_000..13_000).contains(&lingering), "{lingering} of about 42 bytes in 512 KiB");
    let mut left = lingering;
    pass(&mut hub, LINGER_MILLIS);
    while left > 0 {
        let (_, went) = interest(hub.router.relays.take(1));
        assert!((1..=256).contains(&went), "{went} in one turn");
        left -= went;
        hub.expire(&mut Plain);
    }
    assert_eq!(hub.router.subscriptions.audiences(), 0);
}

#[test]
fn a_core_without_peers_forgets_a_name_at_once() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    hub.subscribe(slot, b"a", Kind::Exact);
    hub.unsubscribe(slot, b"a", Kind::Exact);
    assert_eq!(hub.router.subscriptions.audiences(), 0);
}

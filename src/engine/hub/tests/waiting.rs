//! Acknowledgements that wait for peers: their number, the share of each connection, and their cost.

use super::*;
use crate::engine::{hub::acks::WAITING_PER_CONNECTION_MAX, relay, router::Awaited};

fn subscribe(hub: &mut Hub, slot: Slot, name: &str) -> Awaited {
    hub.subscribe(slot, name.as_bytes(), Kind::Exact)
}

fn wait(hub: &mut Hub, slot: Slot, count: u32) {
    for number in 0..count {
        let awaited = subscribe(hub, slot, &format!("{slot}.{number}"));
        hub.acknowledge(slot, b"token", awaited);
    }
}

#[test]
fn a_connection_has_a_limit_and_the_others_go_on() {
    let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
    let [greedy, other] = [0; 2].map(|_| open(&mut hub, &mut peers));
    wait(&mut hub, greedy, WAITING_PER_CONNECTION_MAX - 1);
    assert!(hub.check_acks(greedy).is_ok());
    wait(&mut hub, greedy, 1);
    let refusal = hub.check_acks(greedy).expect_err("one too many");
    assert_eq!((refusal.code(), refusal.reason()), (429, "too-many-acks"));
    assert!(hub.check_acks(other).is_ok() && hub.sessions.may_read(greedy) && hub.sessions.may_read(other));
    hub.invariants();
}

#[test]
fn when_many_wait_greedy_connections_get_no_more_and_the_others_do() {
    let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
    let greedy: Vec<Slot> = (0..16).map(|_| open(&mut hub, &mut peers)).collect();
    for &slot in &greedy {
        wait(&mut hub, slot, WAITING_PER_CONNECTION_MAX);
    }
    let [modest, half] = [0; 2].map(|_| open(&mut hub, &mut peers));
    wait(&mut hub, modest, 15);
    assert!(hub.check_acks(modest).is_ok());
    wait(&mut hub, half, 16);
    assert!(hub.check_acks(half).is_err());
    let kept = hub.kept_for_peers();
    assert!(kept > 16 * 1024 * 64, "they count as memory: {kept}");
    greedy.iter().for_each(|&slot| hub.lost(&mut Plain, slot));
    assert!(hub.check_acks(half).is_ok(), "the places of closed connections are free");
    assert!(hub.kept_for_peers() < 16 * 1024, "{} bytes are kept for closed connections", hub.kept_for_peers());
    hub.invariants();
}

#[test]
fn a_turn_acknowledges_a_part_of_the_live_subscriptions_and_the_next_turns_the_rest() {
    let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
    let slots: Vec<Slot> = (0..8).map(|_| open(&mut hub, &mut peers)).collect();
    for &slot in &slots {
        wait(&mut hub, slot, 1000);
        peers.received[slot as usize].clear();
    }
    let mut batch = Vec::new();
    relay::put_answered(&mut batch, 8000);
    hub.relayed(1, &batch);
    let sent =
        |peers: &Peers| peers.received.iter().map(|bytes| bytes.windows(9).filter(|w| w == b"ack:token").count()).sum();
    end_turn(&mut hub, &mut peers);
    let first: usize = sent(&peers);
    assert!((1..8000).contains(&first), "{first} in one turn");
    while hub.wants_turn() {
        hub.go_on(0);
        end_turn(&mut hub, &mut peers);
    }
    assert_eq!(sent(&peers), 8000);
    assert!(hub.acks.is_empty());
}

//! Limits that change while connections are open.

use super::*;

fn with_idle_timeout(millis: u64) -> Limits {
    Limits { idle_timeout: millis, ping_interval: 0, ..limits() }
}

#[test]
fn new_times_leave_one_deadline_for_each_connection_however_often_they_change() {
    let mut peers = Peers::default();
    let mut hub = Hub::new(0, 1, with_idle_timeout(0));
    let slots: Vec<Slot> = (0..10).map(|_| open(&mut hub, &mut peers)).collect();
    for round in 1..100 {
        hub.set_limits(with_idle_timeout(100_000 + round));
        assert_eq!(hub.sessions.timers_len(), slots.len());
        hub.set_now(Duration::from_millis(round * 50));
        hub.expire(&mut Plain);
        assert_eq!(hub.sessions.timers_len(), slots.len(), "each checked connection is checked again");
    }
    let before = hub.next_deadline();
    hub.set_limits(Limits { publish_key: Some("hunter2".into()), ..hub.limits.clone() });
    assert_eq!((hub.sessions.timers_len(), hub.next_deadline()), (slots.len(), before), "the times are the same");
    hub.set_now(Duration::from_millis(200_000));
    hub.expire(&mut Plain);
    assert!(slots.iter().all(|&slot| !hub.sessions.is_open(slot)), "the last timeout counts");
}

#[test]
fn a_connection_over_a_lowered_outbox_limit_is_closed_at_its_next_message() {
    let mut peers = Peers::default();
    let mut hub = Hub::new(0, 1, limits());
    let slot = open(&mut hub, &mut peers);
    peers.stalled.push(slot);
    hub.send(slot, true, &[b'x'; 5_000]);
    hub.flush(&mut Plain, &mut peers);
    hub.set_limits(Limits { outbox_bytes_max: 1_000, ..limits() });
    assert!(hub.sessions.is_open(slot));
    hub.send(slot, true, b"one more");
    hub.flush(&mut Plain, &mut peers);
    assert!(!hub.sessions.is_open(slot));
    assert_eq!(hub.stats.slow_consumers, 1);
    hub.invariants();
}

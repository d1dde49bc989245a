//! The work that one connection or one turn may do at a time.

use super::*;
use crate::engine::lanes::{Lanes, Next};

#[test]
fn input_stops_at_the_limit_of_work_and_goes_on_where_it_stopped() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let (publisher, reader) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    hub.subscribe(reader, b"echo", Kind::Exact);
    let mut bytes = text(b"x").repeat(1000);
    hub.router.work.limit(10_000);
    let used = hub.receive(&mut Plain, publisher, &mut bytes);
    assert!(hub.router.work.is_at_limit() && (1..bytes.len()).contains(&used), "{used} of {}", bytes.len());
    hub.keep(publisher, &bytes[used..]);
    hub.router.work.limit(u64::MAX);
    assert!(hub.sessions.has_kept(publisher));
    hub.take_kept(&mut Plain, publisher);
    assert!(!hub.sessions.has_kept(publisher) && !hub.router.work.is_at_limit());
    assert_eq!(hub.router.counts().0, 1000);
    end_turn(&mut hub, &mut peers);
    assert_eq!(hub.kept_for_peers(), 0);
}

#[test]
fn work_grows_with_subscribers_and_bytes_and_not_with_stored_subscriptions() {
    let cost = |readers: usize, bytes: usize, others: usize| {
        let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
        let publisher = open(&mut hub, &mut peers);
        for _ in 0..readers {
            let slot = open(&mut hub, &mut peers);
            hub.subscribe(slot, b"echo", Kind::Exact);
        }
        let slot = open(&mut hub, &mut peers);
        for number in 0..others {
            hub.subscribe(slot, format!("other.{number}").as_bytes(), Kind::Exact);
        }
        receive(&mut hub, publisher, &text(b"first"));
        let before = hub.router.work.done();
        receive(&mut hub, publisher, &text(&vec![b'x'; bytes]));
        hub.router.work.done() - before
    };
    let one = cost(1, 100, 0);
    assert!(cost(1000, 100, 0) > one + 15_000 && cost(100, 10_000, 0) > one + 100_000);
    assert_eq!(cost(1, 100, 500), one);
}

/// Charges a connection as if it had been read.
fn read(lanes: &mut Lanes, hub: &mut Hub, slot: Slot, units: u64, now: Duration) -> Next {
    let key = hub.sessions.key(slot);
    lanes.has_heard(key, now);
    let begun = lanes.reads(hub, key).saturating_sub(units);
    lanes.has_read(hub, key, (begun, units), true)
}

#[test]
fn a_connection_that_has_caused_much_work_goes_behind_the_others_for_a_while() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let (heavy, light) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    let (mut lanes, mut now) = (Lanes::default(), Duration::from_millis(6400));
    hub.set_now(now);
    (0..1000).for_each(|_| hub.router.work.add(1000));
    lanes.begin(&hub, now, 2);
    assert_eq!(read(&mut lanes, &mut hub, light, 1000, now), Next::Ready);
    assert_eq!(read(&mut lanes, &mut hub, heavy, 500_000, now), Next::Behind);
    assert_eq!((lanes.next_behind(), hub.stats.put_behind), (Some(hub.sessions.key(heavy)), 1));
    assert!(lanes.puts_behind(&hub, hub.sessions.key(heavy)) && !lanes.puts_behind(&hub, hub.sessions.key(light)));
    now += Duration::from_millis(64);
    hub.set_now(now);
    lanes.begin(&hub, now, 2);
    assert!(!lanes.puts_behind(&hub, hub.sessions.key(heavy)), "that was long ago");
}

#[test]
fn a_connection_that_is_alone_has_no_limit() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let (one, other) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    let (mut lanes, mut now) = (Lanes::default(), Duration::from_secs(10));
    (0..1000).for_each(|_| hub.router.work.add(10_000));
    read(&mut lanes, &mut hub, other, 1000, now);
    read(&mut lanes, &mut hub, one, 1000, now);
    lanes.begin(&hub, now, 1);
    assert_eq!(read(&mut lanes, &mut hub, one, 5_000_000, now), Next::Behind, "another one was there a moment ago");
    assert_eq!(lanes.next_behind(), Some(hub.sessions.key(one)));
    now += Duration::from_millis(50);
    hub.set_now(now);
    lanes.begin(&hub, now, 1);
    assert_eq!(read(&mut lanes, &mut hub, one, 5_000_000, now), Next::Ready);
    hub.router.work.add(1 << 30);
    assert!(!lanes.is_over(&hub));
    let key = hub.sessions.key(one);
    lanes.reads(&mut hub, key);
    hub.router.work.add(1 << 30);
    assert!(!hub.router.work.is_at_limit());
}

#[test]
fn a_new_connection_goes_behind_those_that_have_sent_a_request() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let mut lanes = Lanes::default();
    lanes.begin(&hub, Duration::ZERO, 2);
    let new = hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    assert!(lanes.puts_behind(&hub, new) && lanes.next_behind() == Some(new));
    receive(&mut hub, new.slot, &KEY.as_bytes()[..10]);
    assert!(lanes.puts_behind(&hub, new), "its first request is not complete");
    receive(&mut hub, new.slot, &KEY.as_bytes()[10..]);
    hub.flush(&mut Plain, &mut peers);
    assert!(!lanes.puts_behind(&hub, new));
    let over_the_limit = hub.open_reserved(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))));
    assert!(!lanes.puts_behind(&hub, over_the_limit), "it may have to give way in the next turn");
}

#[test]
fn connections_that_were_left_over_get_half_of_the_next_turn() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let one = open(&mut hub, &mut peers);
    let mut lanes = Lanes::new(1000, 1000);
    let halves = |lanes: &mut Lanes, hub: &mut Hub| {
        lanes.begin(hub, Duration::ZERO, 2);
        [0, 500, 500].map(|units| {
            hub.router.work.add(units);
            (lanes.is_over_for_ready(hub), lanes.is_over(hub))
        })
    };
    assert_eq!(halves(&mut lanes, &mut hub), [(false, false), (false, false), (true, true)]);
    lanes.leave_over([hub.sessions.key(one)].into_iter());
    assert_eq!(halves(&mut lanes, &mut hub), [(false, false), (true, false), (true, true)]);
}

#[test]
fn a_turn_is_over_when_many_audiences_wait_for_writes_and_not_when_one_large_one_does() {
    let many = |audiences: usize, subscribers: usize| {
        let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
        let publisher = open(&mut hub, &mut peers);
        for audience in 0..audiences {
            for _ in 0..subscribers {
                let reader = open(&mut hub, &mut peers);
                hub.subscribe(reader, format!("echo{audience}").as_bytes(), Kind::Exact);
            }
        }
        let mut lanes = Lanes::default();
        lanes.begin(&hub, Duration::ZERO, 2);
        for audience in 0..audiences {
            hub.publish(std::iter::once(format!("echo{audience}").as_bytes()), true, b"x", Some(publisher));
        }
        hub.publish(std::iter::once(&b"nobody"[..]), true, b"x", None); // so that the run before is in the outboxes
        lanes.is_over(&hub)
    };
    assert!(!many(1, 1000) && !many(2, 500) && many(50, 20));
}

#[test]
fn turns_are_shorter_while_writes_are_slow_and_a_lone_connection_is_read_for_longer_while_they_are_fast() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let (one, other) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    let mut lanes = Lanes::default();
    // The units of a turn with many ready connections, or of one with a single ready connection shortly after another
    // one was heard.
    let units = |lanes: &mut Lanes, hub: &mut Hub, ready: usize| {
        lanes.has_heard(hub.sessions.key(other), Duration::ZERO);
        lanes.begin(hub, Duration::ZERO, ready);
        let key = hub.sessions.key(one);
        let begun = lanes.reads(hub, key);
        while !(if ready > 1 { lanes.is_over(hub) } else { hub.router.work.is_at_limit() }) {
            hub.router.work.add(1024);
        }
        hub.router.work.limit(u64::MAX);
        hub.router.work.done() - begun
    };
    let (turn, lone) = (units(&mut lanes, &mut hub, 2), units(&mut lanes, &mut hub, 1));
    lanes.has_flushed(&mut hub, Duration::from_secs(1));
    assert!(units(&mut lanes, &mut hub, 2) * 4 < turn && units(&mut lanes, &mut hub, 1) * 4 < lone);
    for _ in 0..100 {
        hub.router.work.add(1 << 20);
        lanes.has_flushed(&mut hub, Duration::from_nanos(1));
    }
    assert_eq!(units(&mut lanes, &mut hub, 2), turn);
    assert!(units(&mut lanes, &mut hub, 1) > 2 * turn);
}

#[test]
fn the_writes_of_connections_that_end_before_a_flush_no_longer_count() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let readers = [0; 3].map(|_| open(&mut hub, &mut peers));
    for (number, &reader) in readers.iter().enumerate() {
        hub.subscribe(reader, format!("echo{number}").as_bytes(), Kind::Exact);
    }
    let publish =
        |hub: &mut Hub| (0..3).for_each(|n| hub.publish([format!("echo{n}").as_bytes()].into_iter(), true, b"x", None));
    publish(&mut hub);
    publish(&mut hub); // now everything except the last run is in the outboxes
    let mut lanes = Lanes::default();
    let before = hub.router.work_with_writes();
    lanes.has_flushed(&mut hub, Duration::ZERO);
    readers.into_iter().for_each(|reader| hub.lost(&mut Plain, reader));
    end_turn(&mut hub, &mut peers);
    assert!(hub.router.work_with_writes() < before);
    lanes.has_flushed(&mut hub, Duration::ZERO);
}

#[test]
fn an_interruption_of_the_thread_does_not_put_a_connection_behind() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    hub.router.work.add(1000);
    hub.router.work.has_worked_until(100_000_000);
    let charge = |hub: &mut Hub| hub.sessions.charge(slot, hub.router.work.charge_since(0, 1000));
    charge(&mut hub);
    assert!(!hub.sessions.is_heavy(slot));
    (0..100).for_each(|_| charge(&mut hub)); // as if each message took long, for example in a slow callback
    assert!(hub.sessions.is_heavy(slot));
}

#[test]
fn deadlines_that_come_all_at_once_are_handled_in_several_turns() {
    const COUNT: usize = 3000;
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    for _ in 0..COUNT {
        hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    }
    hub.set_now(Duration::from_secs(3600));
    let mut turns = 0;
    while hub.stats.timed_out < COUNT as u64 {
        let before = hub.stats.timed_out;
        assert!(hub.expire(&mut Plain));
        end_turn(&mut hub, &mut peers);
        assert!((1..=1024).contains(&(hub.stats.timed_out - before)));
        turns += 1;
        assert_eq!(
            hub.wants_turn(),
            hub.stats.timed_out < COUNT as u64,
            "the core does not sleep while others are due"
        );
    }
    assert_eq!(turns, 3);
}

#[test]
fn a_long_answer_over_http_is_charged_to_the_connection_that_asks_for_it() {
    let mut hub = Hub::new(0, 1, limits());
    let slot = hub.open(None).slot;
    let cost = |hub: &mut Hub, path: &str| {
        let before = hub.router.work.done();
        receive(hub, slot, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        hub.router.work.done() - before
    };
    let (short, long) = (cost(&mut hub, "/short"), cost(&mut hub, "/long"));
    assert!((short + 9_000..short + 11_000).contains(&long), "{short} and {long} units");
}

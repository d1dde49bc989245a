//! Deadlines: which input extends them and which does not, and a clock that stands still with its core.

use super::*;
use crate::{
    config::{ChannelRule, Presence},
    engine::{
        relay::{BATCH_BYTES_MAX, Relays},
        stats::Why,
    },
    error::Fault,
};

const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];

/// A turn in time, after which no connection has unread input.
fn go_on(hub: &mut Hub, peers: &mut Peers, millis: u64) {
    hub.set_now(Duration::from_millis(millis));
    hub.expire(&mut Plain);
    end_turn(hub, peers);
    hub.invariants();
}

/// All turns until this time, as the timers require.
fn run_until(hub: &mut Hub, peers: &mut Peers, millis: u64) {
    while let Some(next) = hub.next_deadline().filter(|next| *next < Duration::from_millis(millis)) {
        hub.begin_turn(next, next);
        hub.expire(&mut Plain);
        end_turn(hub, peers);
    }
    go_on(hub, peers, millis);
}

/// The core stands still until this time, and then has a turn.
fn stand_still_until(hub: &mut Hub, peers: &mut Peers, millis: u64) {
    let due = hub.next_deadline().expect("there is a connection");
    let before = hub.stats.stalls;
    hub.begin_turn(Duration::from_millis(millis), due);
    assert!(!hub.expire(&mut Plain), "a late turn checks no deadline");
    end_turn(hub, peers);
    assert_eq!(hub.stats.stalls, before + 1);
}

/// The last close frame that a peer got.
fn close_frame(peers: &Peers, slot: Slot) -> Option<(u16, String)> {
    let received = &peers.received[slot as usize];
    let at = received.windows(2).rposition(|bytes| bytes[0] == 0x88 && bytes[1] >= 2)?;
    let payload = &received[at + 2..];
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    Some((code, String::from_utf8_lossy(&payload[2..]).into_owned()))
}

fn pings(peers: &Peers, slot: Slot) -> usize {
    peers.received[slot as usize].windows(2).filter(|bytes| *bytes == [0x89, 0]).count()
}

#[test]
fn a_message_must_be_complete_in_time_however_steadily_it_drips() {
    let whole = text(&[b'x'; 1000]);
    let fragments: Vec<Vec<u8>> = (0..100)
        .map(|number| {
            let mut frame = text(b"xx");
            frame[0] = if number == 0 { 0x01 } else { 0x00 };
            [&frame[..], &PING].concat()
        })
        .collect();
    let bytes: Vec<Vec<u8>> = whole.iter().map(|&byte| vec![byte]).collect();
    for drip in [bytes, fragments] {
        let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
        let slot = open(&mut hub, &mut peers);
        run_until(&mut hub, &mut peers, 7_000);
        for (second, piece) in (0..30).zip(&drip) {
            run_until(&mut hub, &mut peers, 7_000 + second * 1_000);
            receive(&mut hub, slot, piece);
        }
        run_until(&mut hub, &mut peers, 36_900);
        assert!(hub.sessions.is_open(slot), "it has 30 s");
        run_until(&mut hub, &mut peers, 37_100);
        assert_eq!(close_frame(&peers, slot), Some((1008, Fault::MESSAGE_TIMEOUT.reason.to_owned())));
        assert_eq!((hub.stats.message_timeouts, hub.kept_bytes()), (1, 0));
    }
}

#[test]
fn each_message_has_its_own_time_and_many_of_them_share_an_entry_in_the_timers() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    let frame = text(&[b'x'; 100]);
    receive(&mut hub, slot, &frame[..50]);
    for turn in 1..2_000 {
        // Each read ends one message and begins the next.
        run_until(&mut hub, &mut peers, turn * 100);
        receive(&mut hub, slot, &[&frame[50..], &frame[..50]].concat());
        assert!(hub.sessions.timers_len() <= 4, "{} entries in turn {turn}", hub.sessions.timers_len());
    }
    assert!(hub.sessions.is_open(slot), "no message took more than a tenth of a second");
    run_until(&mut hub, &mut peers, 230_100);
    assert_eq!(close_frame(&peers, slot), Some((1008, "message-timeout".to_owned())), "the last one stays unfinished");
}

#[test]
fn a_message_timeout_of_zero_means_never_and_a_new_one_applies_to_unfinished_messages() {
    let (mut hub, mut peers) = (Hub::new(0, 1, Limits { message_timeout: 0, ..limits() }), Peers::default());
    let slot = open(&mut hub, &mut peers);
    receive(&mut hub, slot, &text(b"hello")[..5]);
    for second in 0..200 {
        run_until(&mut hub, &mut peers, second * 1_000);
        hub.sessions[slot].heard = hub.sessions.now(); // it is not silent
    }
    assert!(hub.sessions.is_open(slot));
    hub.set_limits(Limits { message_timeout: 300_000, ..limits() });
    run_until(&mut hub, &mut peers, 200_000);
    assert!(hub.sessions.is_open(slot));
    hub.set_limits(Limits { message_timeout: 5_000, ..limits() });
    run_until(&mut hub, &mut peers, 201_000);
    assert_eq!(close_frame(&peers, slot), Some((1008, "message-timeout".to_owned())));
}

#[test]
fn the_wait_of_a_connection_for_a_link_does_not_make_its_message_late() {
    let (mut hub, mut peers) = (Hub::new(0, 2, limits()), Peers::default());
    let mut peer = Relays::new(1, 2);
    peer.announce(b"echo", Kind::Exact);
    hub.relayed(1, &peer.take(0).expect("the interest"));
    let slot = open(&mut hub, &mut peers);
    let fragment = |first_byte: u8, len: usize| {
        let mut frame = text(&vec![b'x'; len]);
        frame[0] = first_byte;
        frame
    };
    receive(&mut hub, slot, &fragment(0x01, 10));
    run_until(&mut hub, &mut peers, 20_000);
    hub.router.set_batch_bytes_max(0);
    hub.publish([&b"echo"[..]].into_iter(), true, &[b'x'; 100], None);
    let batch = hub.router.relays.take(1).expect("what was published");
    hub.router.relays.give_back(1, batch);
    receive(&mut hub, slot, &[&fragment(0x80, 10), &text(&[b'x'; 100])[..50]].concat());
    assert!(!hub.sessions.may_read(slot), "it waits for the link");
    run_until(&mut hub, &mut peers, 120_000);
    assert!(hub.sessions.is_open(slot));
    assert!(hub.router.relays.take(1).is_some(), "now the link takes it");
    hub.router.set_batch_bytes_max(BATCH_BYTES_MAX);
    let mut resumed = Vec::new();
    hub.take_resumed(&mut resumed);
    assert_eq!(resumed, [hub.sessions.key(slot)]);
    hub.take_kept(&mut Plain, slot);
    assert_eq!(hub.stats.received, 1, "it was complete after 20 s");
    run_until(&mut hub, &mut peers, 149_000);
    assert!(hub.sessions.is_open(slot), "the core read nothing of the next one before");
    run_until(&mut hub, &mut peers, 151_000);
    assert_eq!(close_frame(&peers, slot), Some((1008, "message-timeout".to_owned())));
}

#[test]
fn standing_still_makes_no_peer_silent_and_a_dead_peer_is_closed_nevertheless() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let (living, dead) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    run_until(&mut hub, &mut peers, 20_000);
    stand_still_until(&mut hub, &mut peers, 4_000_000);
    run_until(&mut hub, &mut peers, 4_006_000);
    for slot in [living, dead] {
        assert!(
            hub.sessions.is_open(slot) && pings(&peers, slot) == 1,
            "it is pinged after 25 s of silence, without the hour"
        );
    }
    // The core stands still again before it has read the answers.
    stand_still_until(&mut hub, &mut peers, 8_000_000);
    receive(&mut hub, living, &PONG);
    run_until(&mut hub, &mut peers, 8_050_000);
    receive(&mut hub, living, &PONG);
    assert_eq!((hub.sessions.is_open(living), close_frame(&peers, dead)), (true, Some((1008, "idle".to_owned()))));
    assert_eq!((hub.stats.timed_out, hub.stats.stalls), (1, 2));
}

#[test]
fn without_pings_silence_counts_while_the_core_runs_and_without_an_idle_timeout_never() {
    let (mut hub, mut peers) = (Hub::new(0, 1, Limits { ping_interval: 0, ..limits() }), Peers::default());
    let slot = open(&mut hub, &mut peers);
    run_until(&mut hub, &mut peers, 30_000);
    stand_still_until(&mut hub, &mut peers, 130_000);
    run_until(&mut hub, &mut peers, 158_000);
    assert!(hub.sessions.is_open(slot) && pings(&peers, slot) == 0);
    run_until(&mut hub, &mut peers, 165_100);
    assert!(!hub.sessions.is_open(slot));

    let (mut hub, mut peers) = (Hub::new(0, 1, Limits { idle_timeout: 0, ..limits() }), Peers::default());
    let slot = open(&mut hub, &mut peers);
    run_until(&mut hub, &mut peers, 1_000_000);
    assert!(hub.sessions.is_open(slot) && pings(&peers, slot) == 39, "{} pings", pings(&peers, slot));

    let (mut hub, mut peers) =
        (Hub::new(0, 1, Limits { ping_interval: 0, idle_timeout: 0, ..limits() }), Peers::default());
    let slot = open(&mut hub, &mut peers);
    run_until(&mut hub, &mut peers, 1_000_000);
    assert!(hub.sessions.is_open(slot) && pings(&peers, slot) == 0);
    assert_eq!(hub.next_deadline(), None, "there is no deadline");
    receive(&mut hub, slot, &text(b"hello")[..5]);
    run_until(&mut hub, &mut peers, 1_030_100);
    assert_eq!(close_frame(&peers, slot), Some((1008, "message-timeout".to_owned())));
}

#[test]
fn a_peer_that_was_not_pinged_yet_is_pinged_before_it_is_closed() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let (living, dead) = (open(&mut hub, &mut peers), open(&mut hub, &mut peers));
    run_until(&mut hub, &mut peers, 26_000); // both were pinged, but with other times
    hub.set_limits(Limits { idle_timeout: 4_000, ping_interval: 1_000, ..limits() });
    run_until(&mut hub, &mut peers, 28_900);
    assert!(hub.sessions.is_open(living) && hub.sessions.is_open(dead), "both have been silent for more than 4 s");
    receive(&mut hub, living, &PONG);
    run_until(&mut hub, &mut peers, 29_200);
    assert!(hub.sessions.is_open(living) && !hub.sessions.is_open(dead));
}

#[test]
fn a_connection_with_unread_input_is_not_late_unless_it_was_read_in_this_turn() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    run_until(&mut hub, &mut peers, 59_000);
    for millis in [60_100, 60_200] {
        hub.set_now(Duration::from_millis(millis));
        hub.look_at_due(&mut Plain, |_| true);
        assert!(hub.sessions.is_open(slot), "its pong may be there");
    }
    // A connection that always has more input is checked by its read part: here fragments without end.
    let mut fragment = text(b"x");
    fragment[0] = 0x01;
    receive(&mut hub, slot, &fragment);
    for millis in (60_300..100_000).step_by(100) {
        hub.set_now(Duration::from_millis(millis));
        if hub.sessions.is_open(slot) {
            receive(&mut hub, slot, &[0x00, 0x80, 0, 0, 0, 0]);
        }
        hub.look_at_due(&mut Plain, |_| true);
        end_turn(&mut hub, &mut peers);
    }
    assert_eq!(close_frame(&peers, slot), Some((1008, "message-timeout".to_owned())));
}

#[test]
fn a_handshake_that_waits_unread_while_the_core_stands_still_is_served() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).slot;
    stand_still_until(&mut hub, &mut peers, 60_000);
    go_on(&mut hub, &mut peers, 60_001);
    receive(&mut hub, slot, KEY.as_bytes());
    assert!(hub.sessions.is_open(slot));
}

#[test]
fn a_request_that_drips_is_as_late_as_one_that_stops() {
    let requests = [
        "POST /publish HTTP/1.1\r\nHost: x\r\n".to_owned(),
        "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".to_owned(),
        "POST /publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
    ];
    let drips = ["X: y\r\n", "x", "1\r\nx\r\n"];
    for (request, drip) in requests.iter().zip(drips) {
        let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
        let slot = hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).slot;
        receive(&mut hub, slot, request.as_bytes());
        for second in 1..10 {
            run_until(&mut hub, &mut peers, second * 1_000);
            receive(&mut hub, slot, drip.as_bytes());
        }
        assert!(peers.received.is_empty(), "it has 10 s");
        run_until(&mut hub, &mut peers, 10_100);
        assert!(peers.received[slot as usize].starts_with(b"HTTP/1.1 408"), "{request}");
    }
}

#[test]
fn a_closing_connection_has_its_time_while_the_core_runs_and_input_does_not_extend_it() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = open(&mut hub, &mut peers);
    hub.close(&mut Plain, slot, (1000, ""), Why::Server);
    for second in 1..6 {
        run_until(&mut hub, &mut peers, second * 1_000);
        receive(&mut hub, slot, &text(b"still here"));
    }
    stand_still_until(&mut hub, &mut peers, 100_000);
    for second in 0..4 {
        run_until(&mut hub, &mut peers, 100_000 + second * 1_000);
        assert_eq!(hub.sessions.len(), 1);
        receive(&mut hub, slot, &PING);
    }
    run_until(&mut hub, &mut peers, 105_000);
    assert_eq!(hub.sessions.len(), 0, "5 s before, 5 s after");
}

#[test]
fn thousands_whose_deadlines_come_together_are_checked_in_several_turns() {
    const CONNECTIONS: usize = 3_000;
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slots: Vec<Slot> = (0..CONNECTIONS).map(|_| open(&mut hub, &mut peers)).collect();
    hub.set_now(Duration::from_millis(25_100));
    let mut turns = 0;
    while turns == 0 || hub.wants_turn() {
        let before: usize = slots.iter().map(|&slot| pings(&peers, slot)).sum();
        hub.expire(&mut Plain);
        end_turn(&mut hub, &mut peers);
        let pinged = slots.iter().map(|&slot| pings(&peers, slot)).sum::<usize>() - before;
        assert!((1..=1_024).contains(&pinged), "{pinged} in one turn");
        turns += 1;
    }
    assert_eq!(turns, 3);
    assert!(slots.iter().all(|&slot| pings(&peers, slot) == 1));
}

#[test]
fn an_idle_session_is_32_bytes() {
    assert_eq!(size_of::<Session>(), 32);
}

#[test]
fn a_core_that_has_stood_still_wakes_in_time_for_what_counts_real_time() {
    let rules = ["a".parse::<ChannelRule>().unwrap().presence(Presence::Events)];
    let config = Config { channels: rules.into(), ..Config::default() };
    let (mut hub, mut peers) = (Hub::new(0, 1, Limits::new(&config, 1 << 30, 1)), Peers::default());
    let slot = open(&mut hub, &mut peers);
    let now = Duration::from_secs(4_000);
    hub.begin_turn(now, Duration::from_secs(1));
    hub.subscribe(slot, b"a", Kind::Exact);
    hub.flush(&mut Plain, &mut peers);
    let next = hub.next_deadline().expect("somebody has come");
    assert!(next <= now + Duration::from_millis(100), "the subscribers are told at {next:?}");
}

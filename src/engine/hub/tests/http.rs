//! HTTP and its deadlines.

use super::*;

/// Goes on to this time, and looks at the deadlines that have come.
fn go_on(hub: &mut Hub, millis: u64) {
    hub.set_now(Duration::from_millis(millis));
    hub.expire(&mut Plain);
}

#[test]
fn a_first_request_has_to_be_whole_in_time_whenever_it_began() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).slot;
    go_on(&mut hub, 9_000);
    receive(&mut hub, slot, b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello");
    go_on(&mut hub, 9_900);
    end_turn(&mut hub, &mut peers);
    assert!(peers.received.is_empty(), "it is not late yet");
    go_on(&mut hub, 10_100);
    end_turn(&mut hub, &mut peers);
    assert!(peers.received[slot as usize].starts_with(b"HTTP/1.1 408"));
}

#[test]
fn a_later_request_has_its_time_from_its_first_byte() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).slot;
    receive(&mut hub, slot, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    go_on(&mut hub, 15_000);
    receive(&mut hub, slot, b"GET /healthz");
    go_on(&mut hub, 24_900);
    end_turn(&mut hub, &mut peers);
    peers.received[slot as usize].clear();
    receive(&mut hub, slot, b" HTTP/1.1\r\nHost: x\r\n\r\n");
    end_turn(&mut hub, &mut peers);
    assert!(peers.received[slot as usize].starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_handshake_with_a_server_that_is_stopping_counts_as_turned_away() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).slot;
    hub.drain(&mut Plain);
    receive(&mut hub, slot, KEY.as_bytes());
    end_turn(&mut hub, &mut peers);
    assert!(peers.received[slot as usize].starts_with(b"HTTP/1.1 503"));
    assert_eq!(hub.stats.turned_away, 1);
}

#[test]
fn a_connection_on_a_reserved_place_gets_one_answer_and_is_counted() {
    const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    for (request, status, counts) in [
        (HEALTH, "200", (1, 0)),
        (KEY.as_bytes(), "503", (1, 1)),
        (b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", "200", (2, 1)),
        (b"GET /publish HTTP/1.1\r\nHost: x\r\n\r\n", "503", (2, 2)),
    ] {
        peers.received.clear();
        let slot = hub.open_reserved(None).slot;
        receive(&mut hub, slot, &[request, HEALTH].concat());
        end_turn(&mut hub, &mut peers);
        let answers = String::from_utf8(peers.received[slot as usize].clone()).expect("text");
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")) && answers.matches("HTTP/1.1").count() == 1);
        assert_eq!((hub.stats.served_when_full, hub.stats.turned_away), counts);
        assert!(!hub.is_unanswered(slot));
        hub.give_way(slot);
        assert_eq!(end_turn(&mut hub, &mut peers), [slot]);
    }
    hub.assert_empty();
}

#[test]
fn a_connection_on_a_reserved_place_may_give_way_whatever_it_does() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let half = b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello";
    for sent in [&b""[..], b"GET /", half] {
        let slot = hub.open_reserved(None).slot;
        receive(&mut hub, slot, sent);
        assert!(hub.is_unanswered(slot));
        hub.give_way(slot);
        assert_eq!(end_turn(&mut hub, &mut peers), [slot]);
        hub.assert_empty();
    }
}

#[test]
fn between_requests_the_keep_alive_time_counts_and_not_that_of_websockets() {
    let limits = Limits { http_keep_alive: 40_000, idle_timeout: 1_000, ping_interval: 0, ..limits() };
    let (mut hub, mut peers) = (Hub::new(0, 1, limits), Peers::default());
    let slot = hub.open(None).slot;
    receive(&mut hub, slot, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    for millis in (0..39_900).step_by(100) {
        go_on(&mut hub, millis);
        assert!(end_turn(&mut hub, &mut peers).is_empty(), "at {millis} ms");
    }
    for millis in (40_000..50_100).step_by(100) {
        go_on(&mut hub, millis);
        if !end_turn(&mut hub, &mut peers).is_empty() {
            assert_eq!(hub.stats.timed_out, 0, "it is a routine end");
            return hub.assert_empty();
        }
    }
    panic!("it is still there");
}

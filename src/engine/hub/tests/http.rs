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

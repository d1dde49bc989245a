//! HTTP and its deadlines.

use super::*;
use crate::engine::arrival;

/// Begins a turn at this time, and checks the deadlines.
fn go_on(hub: &mut Hub, millis: u64) {
    hub.set_now(Duration::from_millis(millis));
    hub.expire(&mut Plain);
}

#[test]
fn a_first_request_must_be_complete_in_time_whenever_it_began() {
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
fn a_stopping_server_serves_whom_it_has_accepted_and_turns_late_connections_away() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let arrival = Arrival::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    let early: Vec<Slot> = (0..3).map(|_| hub.open(arrival).slot).collect();
    hub.begin_closing("restart:1000".to_owned());
    let late = hub.open(Arrival { is_late: true, ..arrival }).slot;
    [early[0], early[1], late].into_iter().for_each(|slot| receive(&mut hub, slot, KEY.as_bytes()));
    let mut from = early[1] as usize;
    assert!(hub.close_next(&mut Plain, &mut from) && !hub.close_next(&mut Plain, &mut from));
    hub.stop_publishing();
    receive(&mut hub, early[2], &[KEY.as_bytes(), &text(b"publish")].concat());
    end_turn(&mut hub, &mut peers);
    assert!(peers.received[late as usize].starts_with(b"HTTP/1.1 503"));
    let close = [&[0x88, 14][..], &1001u16.to_be_bytes(), b"restart:1000"].concat();
    let ends = early.iter().map(|&slot| {
        let received = &peers.received[slot as usize];
        received.starts_with(b"HTTP/1.1 101") && received.ends_with(&close)
    });
    assert_eq!(ends.collect::<Vec<_>>(), [false, true, true]);
    assert!(hub.sessions.is_open(early[0]), "it is served until its turn comes");
    assert_eq!((hub.stats.turned_away, hub.stats.going_away, hub.stats.received), (1, 2, 0));
}

#[test]
fn while_a_server_closes_its_connections_each_answer_is_the_last_of_its_connection() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).slot;
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    receive(&mut hub, slot, request);
    hub.begin_closing(String::new());
    receive(&mut hub, slot, &[&request[..], request].concat());
    end_turn(&mut hub, &mut peers);
    let answers = String::from_utf8(peers.received[slot as usize].clone()).expect("text");
    assert_eq!(
        (answers.matches("HTTP/1.1").count(), answers.matches("Connection: close").count()),
        (2, 1),
        "{answers}"
    );
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

/// Refuses every handshake, and counts the calls of `on_open` and `on_close`.
#[derive(Default)]
struct Bouncer {
    opened: usize,
    closed: usize,
}

impl Application for Bouncer {
    fn on_request(&mut self, _: &mut Hub, _: Slot, head: &RequestHead<'_, '_>, arrival: &Arrival) -> Route<'_> {
        assert_eq!((head.method, arrival.role), ("GET", Role::Public));
        Route::Answer(Answer::text(403, "not you").headers(&[("X-Reason", "shoes")]))
    }

    fn is_served_when_full(&self, _: &RequestHead<'_, '_>) -> bool {
        false
    }

    fn on_body(&mut self, _: &mut Hub, _: Slot, _: Endpoint, _: &[u8]) -> Reply<'_> {
        unreachable!("no body is asked for")
    }

    fn on_open(&mut self, _: &mut Hub, _: Slot, _: &RequestHead<'_, '_>, _: Option<SocketAddr>) {
        self.opened += 1;
    }

    fn on_message(&mut self, _: &mut Hub, _: Slot, _: bool, _: &[u8]) {
        unreachable!("nobody gets in")
    }

    fn on_close(&mut self, _: &mut Hub, _: Slot) {
        self.closed += 1;
    }
}

#[test]
fn an_application_that_refuses_a_handshake_is_told_of_no_connection() {
    let (mut hub, mut peers, mut app) = (Hub::new(0, 1, limits()), Peers::default(), Bouncer::default());
    let slot = hub.open(None).slot;
    // The connection still speaks HTTP, so the next handshake is read, too.
    let mut handshakes = KEY.repeat(2).into_bytes();
    assert_eq!(hub.receive(&mut app, slot, &mut handshakes), 2 * KEY.len());
    hub.end_of_input(&mut app, slot);
    hub.flush(&mut app, &mut peers);
    let mut ended = Vec::new();
    hub.reap(&mut ended);
    assert_eq!(ended.len(), 1, "it is over");
    let answers = String::from_utf8(peers.received[slot as usize].clone()).expect("text");
    assert_eq!(answers.matches("HTTP/1.1 403 Forbidden\r\n").count(), 2, "{answers}");
    assert!(answers.contains("X-Reason: shoes\r\n") && answers.ends_with("not you"), "{answers}");
    assert_eq!((app.opened, app.closed), (0, 0));
    hub.assert_empty();
}

/// The answer to a request of a new connection. If `closes`, the connection ends after it.
fn answer(request: &str, closes: bool) -> String {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = hub.open(None).slot;
    receive(&mut hub, slot, request.as_bytes());
    end_turn(&mut hub, &mut peers);
    assert_eq!(hub.sessions[slot].phase() == Phase::Lingering, closes, "{request:?}");
    String::from_utf8(peers.received[slot as usize].clone()).expect("text")
}

#[test]
fn a_body_is_taken_up_to_the_limit_of_its_route_and_an_unexpected_one_ends_the_connection() {
    let post = |rest: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{rest}");
    let body = "b".repeat(1000);
    for (request, status, closes) in [
        (post("\r\n"), 200, false),
        (post(&format!("Content-Length: 1000\r\n\r\n{body}")), 200, false),
        (post("Content-Length: 1001\r\n\r\n"), 413, true),
        (post(&format!("Transfer-Encoding: chunked\r\n\r\n3e8\r\n{body}\r\n0\r\n\r\n")), 200, false),
        (post("Transfer-Encoding: chunked\r\n\r\n3e9\r\n"), 413, true),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n".to_owned(), 200, true),
    ] {
        let answer = answer(&request, closes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
        assert_eq!(answer.contains("Connection: close\r\n"), closes, "{request:?}: {answer}");
    }
    assert!(answer(&post("Content-Length: 1001\r\n\r\n"), true).ends_with("\r\n\r\ntoo big"));
}

#[test]
fn a_head_request_gets_the_length_and_no_body() {
    let answer = answer("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", false);
    assert!(answer.contains("Content-Length: 2\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn a_listener_of_pages_has_no_places_for_requests_over_its_limit() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let slot = hub.open_reserved(arrival::Arrival { role: Role::Pages, ..arrival::Arrival::default() }).slot;
    end_turn(&mut hub, &mut peers);
    assert!(peers.received[slot as usize].starts_with(b"HTTP/1.1 503"), "it need not send a request for that");
    assert_eq!((hub.stats.turned_away, hub.stats.served_when_full), (1, 0));
}

/// Answers requests for `/later` when it is told to.
struct Later;

impl Application for Later {
    fn on_request(&mut self, _: &mut Hub, _: Slot, head: &RequestHead<'_, '_>, _: &Arrival) -> Route<'_> {
        if head.path == "/later" { Route::Later } else { route(head) }
    }

    fn is_served_when_full(&self, _: &RequestHead<'_, '_>) -> bool {
        false
    }

    fn on_body(&mut self, _: &mut Hub, _: Slot, _: Endpoint, _: &[u8]) -> Reply<'_> {
        Reply::Later
    }

    fn on_open(&mut self, _: &mut Hub, _: Slot, _: &RequestHead<'_, '_>, _: Option<SocketAddr>) {}

    fn on_message(&mut self, _: &mut Hub, _: Slot, _: bool, _: &[u8]) {}

    fn on_close(&mut self, _: &mut Hub, _: Slot) {}
}

#[test]
fn requests_behind_one_that_is_answered_later_wait_for_their_turn() {
    let later = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
    for (first, kept_open) in [(later, true), (post, true), (&later.replace("1.1", "1.0"), false)] {
        let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
        let key = hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        let mut bytes = format!("{first}GET /now HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
        assert_eq!(hub.receive(&mut Later, key.slot, &mut bytes), bytes.len());
        end_turn(&mut hub, &mut peers);
        hub.invariants();
        assert!(peers.received.is_empty() && resume(&mut hub).is_empty(), "it waits");
        hub.answer(&mut Later, key, Answer::text(200, "late"));
        hub.answer(&mut Later, key, Answer::text(200, "twice"));
        assert_eq!(resume(&mut hub), [key.slot]);
        end_turn(&mut hub, &mut peers);
        let received = String::from_utf8_lossy(&peers.received[key.slot as usize]).into_owned();
        assert!(received.contains("late") && !received.contains("twice"), "{received}");
        assert_eq!(received.ends_with("ok"), kept_open, "{received}");
        hub.invariants();
    }
}

#[test]
fn an_answer_for_a_connection_that_is_gone_goes_to_nobody() {
    let (mut hub, mut peers) = (Hub::new(0, 1, limits()), Peers::default());
    let key = hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    hub.receive(&mut Later, key.slot, &mut b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n".to_vec());
    hub.lost(&mut Later, key.slot);
    hub.answer(&mut Later, key, Answer::text(200, "late"));
    assert_eq!(end_turn(&mut hub, &mut peers), [key.slot]);
    let next = hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    assert_eq!(next.slot, key.slot);
    hub.answer(&mut Later, key, Answer::text(200, "late"));
    end_turn(&mut hub, &mut peers);
    assert!(peers.received.is_empty());
}

//! Listeners that are flooded, and polls that are full.

use std::{
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use super::*;
use crate::{
    config::{Config, Listen},
    engine::{
        application::{Answer, Application, Reply, Route},
        arrival::Arrival,
        core::CoreLinks,
        hub::Hub,
        inbox::inbox_of,
        limits::Limits,
        listener::{Buffers, listen},
        session::Endpoint,
        turn::{ACCEPTS_PER_TURN, Places, Turn},
        wake::Wake,
    },
    protocol::http::RequestHead,
};

#[test]
fn a_full_poll_is_followed_by_enough_others_to_report_every_socket_even_in_a_flood() {
    assert_eq!(polls_left(0, EVENTS_MAX - 1, 100_000), 0, "every socket was reported");
    assert_eq!(polls_left(0, EVENTS_MAX, 1000), 0, "there are no more connections than that");
    let polls = |connections| {
        let mut left = polls_left(0, EVENTS_MAX, connections);
        let mut polls = 1;
        while left > 0 {
            left = polls_left(left, EVENTS_MAX, connections);
            polls += 1;
        }
        polls
    };
    assert_eq!([1024, 2047, 2048, 10_000].map(polls), [2, 2, 3, 10]);
    assert_eq!(polls_left(7, 3, 10_000), 0);
}

/// An application that does nothing.
struct Mute;

impl Application for Mute {
    fn on_open(&mut self, _: &mut Hub, _: Slot, _: &RequestHead<'_, '_>, _: Option<SocketAddr>) {}

    fn on_message(&mut self, _: &mut Hub, _: Slot, _: bool, _: &[u8]) {}

    fn on_body(&mut self, _: &mut Hub, _: Slot, _: Endpoint, _: &[u8]) -> Reply<'_> {
        Reply::Now(Answer::text(200, ""))
    }

    fn on_request(&mut self, _: &mut Hub, _: Slot, _: &RequestHead<'_, '_>, _: &Arrival) -> Route<'_> {
        Route::Upgrade
    }

    fn is_served_when_full(&self, _: &RequestHead<'_, '_>) -> bool {
        false
    }

    fn on_close(&mut self, _: &mut Hub, _: Slot) {}
}

/// A core that listens.
fn turn(listeners: Vec<Listener>) -> Turn<Reactor, CoreLinks> {
    let hub = Hub::new(0, 1, Limits::new(&Config::default(), 1 << 30, 1));
    let reactor = Reactor::new(Poll::new().expect("a poll"), listeners, TlsLayers::default()).expect("a reactor");
    let links = CoreLinks { number: 0, peers: Vec::new(), bridge: None, store: None };
    let (_, inbox) = inbox_of(1, Arc::new(Wake::silent()));
    Turn::new(hub, Box::new(Mute), reactor, links, inbox, Places::new(Arc::default(), usize::MAX))
}

/// Has turns until this many connections are accepted. A turn accepts fewer than its maximum if they take long.
fn accept_until(turn: &mut Turn<Reactor, CoreLinks>, accepted: usize) {
    while (turn.hub.stats.accepted as usize) < accepted {
        let before = turn.hub.stats.accepted as usize;
        turn.take(Duration::ZERO, Duration::ZERO, &mut [0]);
        assert!((before + 1..=before + ACCEPTS_PER_TURN).contains(&(turn.hub.stats.accepted as usize)));
    }
}

#[test]
fn a_flood_on_one_listener_does_not_starve_the_others() {
    let any: [Listen; 1] = ["127.0.0.1:0".parse().expect("an address")];
    let places: Vec<_> =
        (0..3).map(|_| listen(&any, 0, Role::Public, 1, Buffers::default()).expect("a free port")).collect();
    let ports: Vec<_> = places.iter().map(|place| place.at.tcp().expect("an address").port()).collect();
    let mut turn = turn(places.into_iter().flat_map(|place| place.listeners).collect());
    let connect = |port: u16| TcpStream::connect(("127.0.0.1", port)).expect("the backlog takes it");
    // A connection is in the backlog when its connect has returned.
    let _clients: Vec<_> =
        [&[ports[0]; 3 * ACCEPTS_PER_TURN][..], &ports[1..]].concat().into_iter().map(connect).collect();
    accept_until(&mut turn, ACCEPTS_PER_TURN + 2);
    let port_of = |slot| turn.sockets.connections.local_port(slot).expect("it was accepted");
    let mut accepted: Vec<_> = (0..turn.hub.stats.accepted as u32).map(port_of).collect();
    accepted.sort_unstable();
    accepted.dedup();
    assert_eq!(accepted.len(), 3, "of {ports:?} only {accepted:?} were served");
    accept_until(&mut turn, 3 * ACCEPTS_PER_TURN + 2);
    turn.take(Duration::ZERO, Duration::ZERO, &mut [0]);
    assert_eq!(turn.hub.stats.accepted as usize, 3 * ACCEPTS_PER_TURN + 2);
    assert!(turn.sockets.waiting.is_empty());
}

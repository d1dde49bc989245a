//! Tests of a hub without a core: the inputs of a turn, in any order.

/// The HTTP methods of an application that only serves WebSockets.
macro_rules! only_websockets {
    () => {
        fn on_request(&mut self, _: &mut Hub, _: Slot, _: &RequestHead<'_, '_>, _: &Arrival) -> Route<'_> {
            Route::Upgrade
        }

        fn is_served_when_full(&self, _: &RequestHead<'_, '_>) -> bool {
            false
        }

        fn on_body(&mut self, _: &mut Hub, _: Slot, _: Endpoint, _: &[u8]) -> Reply<'_> {
            unreachable!("no route expects a body")
        }
    };
}

mod admission;
mod bounds;
mod bridge;
mod budget;
mod clocks;
mod cluster;
mod ending;
mod history;
mod http;
mod identities;
mod linger;
mod options;
mod order;
mod pausing;
mod rates;
mod recent;
mod repeat;
mod slow;
mod splits;
mod unfinished;
mod waiting;
mod work;

use std::{
    io::{self, IoSlice},
    net::{Ipv4Addr, SocketAddr},
};

use super::*;
use crate::{
    config::Config,
    engine::{
        application::{Answer, BodyRoute, Reply, Route},
        arrival::{Arrival, Role},
        outbox::{Sink, Written},
        router::{Awaited, TURN_BYTES_MAX},
        session::{Ended, Endpoint, Session},
    },
    error::Refusal,
    protocol::{channel::Kind, frame, http::RequestHead},
};

const KEY: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// The endpoint of the bodies that [`route`] expects.
const BODY: Endpoint = Endpoint(7);

/// Accepts upgrades, expects the bodies of POST requests, and answers everything else with 200.
fn route(head: &RequestHead<'_, '_>) -> Route<'static> {
    match head.method {
        _ if head.names_websocket => Route::Upgrade,
        "GET" if head.path == "/long" => Route::Answer(Answer { body: &[b'x'; 80_000], ..Answer::text(200, "") }),
        "POST" => Route::Body(BodyRoute { endpoint: BODY, bytes_max: 1000, too_big: "too big", is_limited: true }),
        _ => Route::Answer(Answer::text(200, "ok")),
    }
}

/// Publishes every message to the channel `echo`, and otherwise does nothing.
struct Plain;

impl Application for Plain {
    fn on_request(&mut self, _: &mut Hub, _: Slot, head: &RequestHead<'_, '_>, _: &Arrival) -> Route<'_> {
        route(head)
    }

    fn is_served_when_full(&self, head: &RequestHead<'_, '_>) -> bool {
        !head.names_websocket && (head.path == "/healthz" || head.method == "POST")
    }

    fn on_body(&mut self, hub: &mut Hub, _: Slot, endpoint: Endpoint, body: &[u8]) -> Reply<'_> {
        assert_eq!(endpoint, BODY, "the application gets the body's endpoint");
        hub.publish([&b"echo"[..]].into_iter(), true, body, None);
        Reply::Now(Answer::text(200, "published"))
    }

    fn on_open(&mut self, _: &mut Hub, _: Slot, _: &RequestHead<'_, '_>, _: Option<SocketAddr>) {}

    fn on_message(&mut self, hub: &mut Hub, _: Slot, is_text: bool, payload: &[u8]) {
        hub.publish([&b"echo"[..]].into_iter(), is_text, payload, None);
    }

    fn on_close(&mut self, _: &mut Hub, _: Slot) {}
}

/// The peers of a hub: the bytes that they got, and whether they take any.
#[derive(Default)]
struct Peers {
    received: Vec<Vec<u8>>,
    stalled: Vec<Slot>,
    broken: Vec<Slot>,
}

impl Sink for Peers {
    fn write(&mut self, slot: Slot, slices: &[IoSlice<'_>]) -> io::Result<Written> {
        if self.broken.contains(&slot) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.stalled.contains(&slot) {
            return Ok(Written { bytes: 0, is_blocked: true, ..Written::default() });
        }
        self.received.resize_with(self.received.len().max(slot as usize + 1), Vec::new);
        let received = &mut self.received[slot as usize];
        let before = received.len();
        slices.iter().for_each(|slice| received.extend_from_slice(slice));
        Ok(Written { bytes: received.len() - before, is_blocked: false, ..Written::default() })
    }
}

fn limits() -> Limits {
    Limits::new(&Config::default(), 1 << 30, 1)
}

/// Opens a connection that has upgraded and has got the answer.
fn open(hub: &mut Hub, peers: &mut Peers) -> Slot {
    let slot = hub.open(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).slot;
    receive(hub, slot, KEY.as_bytes());
    hub.flush(&mut Plain, peers);
    assert!(hub.sessions.is_open(slot));
    slot
}

fn receive(hub: &mut Hub, slot: Slot, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let mut used = 0;
    while used < bytes.len() {
        used += hub.receive(&mut Plain, slot, &mut bytes[used..]);
        if hub.router.is_full() {
            hub.flush(&mut Plain, &mut Peers::default());
        }
    }
}

/// Resumes the connections that need not wait any more, and returns them. Takes their kept input.
fn resume(hub: &mut Hub) -> Vec<Slot> {
    let mut resumed = Vec::new();
    hub.take_resumed(&mut resumed);
    for key in &resumed {
        while hub.sessions.may_read(key.slot) && hub.sessions.has_kept(key.slot) && !hub.router.must_stop() {
            hub.take_kept(&mut Plain, key.slot);
        }
    }
    resumed.into_iter().map(|key| key.slot).collect()
}

/// A client's text frame with a mask of zeros.
fn text(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame::encode(&mut frame, frame::data(true), payload);
    let mask_at = frame.len() - payload.len();
    frame[1] |= 0x80;
    frame.splice(mask_at..mask_at, [0; 4]);
    frame
}

/// Ends a turn. Returns the slots that are closed then.
fn end_turn(hub: &mut Hub, peers: &mut Peers) -> Vec<Slot> {
    reap(hub, peers).into_iter().map(|ended| ended.slot).collect()
}

/// Ends a turn. Returns the connections that have ended.
fn reap(hub: &mut Hub, peers: &mut Peers) -> Vec<Ended> {
    hub.flush(&mut Plain, peers);
    let mut ended = Vec::new();
    hub.reap(&mut ended);
    ended
}

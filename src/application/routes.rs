//! What the path of a request means: `POST /publish`, `/healthz`, pages on their own listeners, and a WebSocket at any path
//! (PROTOCOL.md §3).

use std::fmt::Write;

use crate::{
    application::{Doorkeeper, origin, pages},
    engine::{
        application::{Answer, BodyRoute, Route},
        arrival::{Arrival, Role},
        hub::Hub,
        session::Endpoint,
        slot::Slot,
    },
    error::Refusal,
    extension::Extensions,
    protocol::{
        handshake,
        http::{Body, RequestHead},
    },
};

/// What `POST /publish` has a body for.
pub(crate) const PUBLISH: Endpoint = Endpoint(0);

/// What a page of another host may send, beside what every page may. A browser asks again after ten minutes.
const PREFLIGHT: &[(&str, &str)] = &[
    ("Access-Control-Allow-Methods", "POST"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Type"),
    ("Access-Control-Max-Age", "600"),
];

const JSON: &str = "application/json";
const SPEAKS: &str = "this port speaks LHTTP over WebSocket, and HTTP at POST /publish\n";
const NOT_FOUND: &str = "there is only /publish and /healthz here, and WebSocket anywhere\n";
const DRAINING: &str = "draining";
const NEEDS_LENGTH: &str = "POST /publish needs a Content-Length or chunks\n";
const TOO_BIG: &str = "the message is over the limit\n";

/// How a request goes on that came from here.
pub(crate) fn on_request<'a>(
    extensions: &'a Extensions,
    doorkeeper: &mut Doorkeeper,
    hub: &mut Hub,
    slot: Slot,
    head: &RequestHead<'_, '_>,
    arrival: &Arrival,
) -> Route<'a> {
    match arrival.role {
        Role::Public => match origin::refusal(hub, head, arrival) {
            Some(refusal) => Route::Answer(refusal),
            None => public(extensions, doorkeeper, hub, slot, (head, arrival)),
        },
        Role::Pages => Route::Answer(pages::answer(&extensions.pages, head)),
        Role::Admin => Route::Answer(Answer::text(404, "this build has no windows for operators\n").close()),
    }
}

/// Whether a full server serves this request: it still says that it is well, takes publishes, and lets
/// browsers ask whether they may send one.
pub(crate) fn is_served_when_full(head: &RequestHead<'_, '_>) -> bool {
    matches!((head.path, head.method), ("/healthz", _) | ("/publish", "POST" | "OPTIONS"))
        && !handshake::is_upgrade(head)
}

fn public(
    extensions: &Extensions,
    doorkeeper: &mut Doorkeeper,
    hub: &mut Hub,
    slot: Slot,
    (head, arrival): (&RequestHead<'_, '_>, &Arrival),
) -> Route<'static> {
    if handshake::is_upgrade(head) {
        return doorkeeper.admit(hub, slot, head, arrival).map_or_else(Route::Answer, |()| Route::Upgrade);
    }
    Route::Answer(match (head.path, head.method) {
        ("/publish", "POST") => return publish(extensions, doorkeeper, hub, slot, (head, arrival)),
        ("/publish", "OPTIONS") if head.header_values("origin").next().is_some() => {
            Answer { content_type: "", ..Answer::text(204, "").headers(PREFLIGHT) }
        }
        ("/publish", _) => Answer::text(405, "publish with POST\n").headers(&[("Allow", "POST")]).close(),
        ("/healthz", "GET" | "HEAD") if hub.is_leaving() => {
            Answer::text(503, DRAINING).headers(&[("Retry-After", "1")]).close()
        }
        ("/healthz", "GET" | "HEAD") => Answer::text(200, "ok"),
        ("/healthz", _) => Answer::text(405, "ask with GET\n").headers(&[("Allow", "GET, HEAD")]).close(),
        ("/", "GET" | "HEAD") => Answer::text(426, SPEAKS).headers(handshake::UPGRADE_REQUIRED),
        _ => Answer::text(404, NOT_FOUND),
    })
}

fn publish(
    extensions: &Extensions,
    doorkeeper: &mut Doorkeeper,
    hub: &mut Hub,
    slot: Slot,
    (head, arrival): (&RequestHead<'_, '_>, &Arrival),
) -> Route<'static> {
    let has_filters = extensions.refuses_unkeyed_publish();
    if let Err(refused) = doorkeeper.admit_publisher(hub, slot, head, arrival, has_filters) {
        return Route::Answer(refused.close());
    }
    if hub.is_silent() {
        return Route::Answer(Answer::text(503, DRAINING).close());
    }
    if head.body == Body::None {
        return Route::Answer(Answer::text(411, NEEDS_LENGTH).close());
    }
    Route::Body(BodyRoute {
        endpoint: PUBLISH,
        bytes_max: hub.limits.message_bytes_max,
        too_big: TOO_BIG,
        is_limited: !hub.has_key(slot), // a program that has the key may send as often as it likes
    })
}

/// The answer to a publish that went to so many channels, or is refused. `said` is room for its body.
pub(crate) fn published<'a>(hub: &mut Hub, result: Result<usize, Refusal>, said: &'a mut String) -> Answer<'a> {
    said.clear();
    // Writing to a String cannot fail.
    match result {
        Ok(1) => Answer { content_type: JSON, ..Answer::text(200, "{\"channels\":1}") },
        Ok(channels) => {
            let _ = write!(said, "{{\"channels\":{channels}}}");
            Answer { content_type: JSON, ..Answer::text(200, said) }
        }
        Err(refusal) => {
            hub.count_refusal(&refusal);
            let _ = writeln!(said, "{}: {}", refusal.reason(), refusal.sentence());
            Answer::text(refusal.code(), said)
        }
    }
}

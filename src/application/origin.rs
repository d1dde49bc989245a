//! Which pages and host names a request may come with (PROTOCOL.md §9): a browser lets every page open a WebSocket to any
//! server, and send posts to it.

use std::sync::Arc;

use crate::{
    config::AllowedOrigin,
    engine::{application::Answer, arrival::Arrival, hub::Hub, log_limit::LogLimit},
    protocol::{
        authority::{Authority, Host, Origin},
        handshake,
        http::RequestHead,
    },
};

const OTHER_HOST: &str = "this server does not answer to the request's Host: --allow-host may allow it\n";
const OTHER_ORIGIN: &str = "this server does not accept requests of this page: --allow-origin may allow it\n";

/// Whether the request can read or write messages. Pages may ask for everything else without harm.
fn is_guarded(head: &RequestHead<'_, '_>) -> bool {
    head.path == "/publish" || handshake::is_upgrade(head)
}

/// The refusal of a request that comes under another name of this server, or from a page of another host.
pub(super) fn refusal(hub: &mut Hub, head: &RequestHead<'_, '_>, arrival: &Arrival) -> Option<Answer<'static>> {
    if !is_guarded(head) {
        return None;
    }
    let host = head.header_values("host").next(); // the parser refuses a second one
    let own = host.and_then(Authority::parse).map(|authority| authority.host);
    let has_origin = head.header_values("origin").next().is_some();
    let is_program = host.is_none() || (!has_origin && own.is_some_and(Host::is_single_label));
    if !accepts_host(hub, arrival, is_program, own) {
        hub.stats.hosts_refused += 1;
        log_refusal("Host", host.unwrap_or_default(), arrival);
        return Some(Answer::text(403, OTHER_HOST).close());
    }
    let mut origins = head.header_values("origin");
    let value = origins.next()?;
    let is_alone = origins.next().is_none();
    let origin = Origin::parse(value).filter(|_| is_alone);
    if origin.is_some_and(|origin| own.is_some_and(|own| origin.is_of(own))) {
        return None;
    }
    if is_alone && hub.limits.access.origin(origin).is_some() {
        return None;
    }
    hub.stats.origins_refused += 1;
    log_refusal("Origin", value, arrival);
    Some(Answer::text(403, OTHER_ORIGIN).close())
}

/// Whether a request may name this host. Without a list of hosts, a program may name any: an HTTP/1.0 request without a
/// `Host` comes from no browser, nor does one without an `Origin` for a name that no stranger can own.
fn accepts_host(hub: &Hub, arrival: &Arrival, is_program: bool, host: Option<Host<'_>>) -> bool {
    let access = &hub.limits.access;
    if !access.has_hosts() && (is_program || !arrival.is_loopback) {
        return true;
    }
    (arrival.is_loopback && host.is_some_and(|host| host.is_loopback())) || access.allows_host(host)
}

/// The page that may read the answer, as `Access-Control-Allow-Origin` names it. It is also asked for requests that are
/// refused for another reason, so that the page learns that reason.
pub(super) fn reader(hub: &Hub, head: &RequestHead<'_, '_>) -> Option<Arc<str>> {
    if head.path != "/publish" {
        return None;
    }
    let mut origins = head.header_values("origin");
    let (Some(value), None) = (origins.next(), origins.next()) else { return None };
    let origin = Origin::parse(value);
    let listed = hub.limits.access.origin(origin).map(AllowedOrigin::shared);
    listed.or_else(|| {
        let own = head.header_values("host").next().and_then(Authority::parse)?;
        let text = std::str::from_utf8(value).ok()?;
        origin?.is_of(own.host).then(|| text.into())
    })
}

fn log_refusal(name: &str, value: &[u8], arrival: &Arrival) {
    static LIMIT: LogLimit = LogLimit::new();
    if log::log_enabled!(log::Level::Debug) {
        let (client, value) = (arrival.shown(), value.escape_ascii());
        LIMIT.say(|more| log::debug!("a request of {client} with {name} {value} is refused{more}"));
    }
}

#[cfg(test)]
mod tests;

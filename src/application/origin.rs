//! Which pages and host names a request may come with (PROTOCOL.md §9): a browser lets every page open a WebSocket to any
//! server, and send posts to it.

use std::sync::Arc;

use crate::{
    config::{Access, AllowedOrigin},
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
    let mut origins = head.header_values("origin");
    let origin = origins.next();
    let checks_host = arrival.is_loopback || hub.limits.access.has_hosts();
    if origin.is_none() && !checks_host {
        return None;
    }
    let host = head.header_values("host").next(); // the parser refuses a second one
    let own = host.and_then(Authority::parse).map(|authority| authority.host);
    if let Some(value) = host.filter(|_| checks_host) // an HTTP/1.0 request without one comes from no browser
        && !accepts_host(&hub.limits.access, arrival, own, origin.is_some())
    {
        hub.stats.hosts_refused += 1;
        log_refusal("Host", value, arrival);
        return Some(Answer::text(403, OTHER_HOST).close());
    }
    let value = origin?;
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

/// Whether a request may name this host. Without a list of hosts, a program may also name one that no stranger can own; a
/// browser sends an `Origin`.
fn accepts_host(access: &Access, arrival: &Arrival, host: Option<Host<'_>>, has_origin: bool) -> bool {
    let is_own = arrival.is_loopback && host.is_some_and(Host::is_loopback);
    let is_of_program = !has_origin && !access.has_hosts() && host.is_some_and(Host::is_single_label);
    is_own || is_of_program || access.allows_host(host)
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

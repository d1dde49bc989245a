//! Who may use the windows for operators.
//!
//! Programs send the key as a bearer token. Browsers ask their user once, and then send it by themselves with every request
//! to this address, also with one that a page of another site makes. So a request that changes something counts only if
//! a program sends it, or a page of this server.

use data_encoding::BASE64;

use crate::{
    config::Secret,
    engine::{application::Answer, arrival::Arrival, hub::Hub, log_limit::LogLimit},
    protocol::{
        authority::Authority,
        http::{RequestHead, bearer_token},
    },
};

/// A browser then asks its user for the key.
const CHALLENGE: &[(&str, &str)] =
    &[("WWW-Authenticate", "Basic realm=\"lhttpd: any name, and the key as the password\", charset=\"UTF-8\"")];
const NEEDS_KEY: &str = "{\"error\":\"unauthorized\",\"message\":\"send the key as Authorization: Bearer KEY\"}";
const OTHER_HOST: &str = "{\"error\":\"forbidden\",\"message\":\"this address does not answer to the request's Host\"}";
const OTHER_PAGE: &str = "{\"error\":\"forbidden\",\"message\":\"pages of other sites may not use this address\"}";
const NEEDS_BEARER: &str = "{\"error\":\"forbidden\",\
    \"message\":\"to change something, a program sends Authorization: Bearer KEY, and a page of this server application/json\"}";

/// How a request has shown the key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// None is needed.
    Nothing,
    Bearer,
    /// A browser may have sent it by itself.
    Basic,
}

/// # Errors
/// The answer to a request that may not be carried out.
pub(super) fn check(hub: &mut Hub, head: &RequestHead<'_, '_>, arrival: &Arrival) -> Result<(), Answer<'static>> {
    let host = head.header_values("host").next();
    let own = host.and_then(Authority::parse).map(|authority| authority.host);
    if arrival.is_loopback
        && host.is_some()
        && !own.is_some_and(|own| own.is_loopback() || hub.limits.access.allows_host(Some(own)))
    {
        return Err(refused(arrival, 403, OTHER_HOST)); // a page may have given its own name this address
    }
    let shown = match &hub.limits.admin_key {
        None => Shown::Nothing,
        Some(key) => match shown(key, head) {
            Some(shown) => shown,
            None => {
                hub.stats.unauthorized += 1;
                return Err(refused(arrival, 401, NEEDS_KEY).headers(CHALLENGE));
            }
        },
    };
    let mut origins = head.header_values("origin");
    let (origin, is_alone) = (origins.next(), origins.next().is_none());
    let is_own = is_alone && origin.zip(host).is_some_and(|(origin, host)| is_of(origin, host));
    if origin.is_some() && !is_own {
        return Err(refused(arrival, 403, OTHER_PAGE));
    }
    let changes = !matches!(head.method, "GET" | "HEAD");
    let is_of_program = shown == Shown::Bearer || (shown == Shown::Nothing && origin.is_none());
    if changes && !is_of_program && !(is_own && has_json(head)) {
        return Err(refused(arrival, 403, NEEDS_BEARER));
    }
    Ok(())
}

/// Whether a request has the key, or needs none.
pub(super) fn has_key(hub: &Hub, head: &RequestHead<'_, '_>) -> bool {
    hub.limits.admin_key.as_ref().is_none_or(|key| shown(key, head).is_some())
}

/// Whether an origin is this host, with the same port: another port may be another program's.
fn is_of(origin: &[u8], host: &[u8]) -> bool {
    let rest = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
}

/// How a request shows this key; `None` if it does not. The comparison takes the same time for all keys of a length.
fn shown(key: &Secret, head: &RequestHead<'_, '_>) -> Option<Shown> {
    if let Some(bearer) = bearer_token(head) {
        return key.matches(bearer).then_some(Shown::Bearer);
    }
    let mut values = head.header_values("authorization");
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, rest) = value.split_at_checked(b"Basic ".len())?;
    let is_basic = scheme.eq_ignore_ascii_case(b"Basic ");
    let login = BASE64.decode(rest.trim_ascii()).ok().filter(|_| is_basic)?;
    let colon = login.iter().position(|&byte| byte == b':')?;
    key.matches(&login[colon + 1..]).then_some(Shown::Basic)
}

/// Whether the body is announced as JSON, which a page of another site may not do without asking first.
fn has_json(head: &RequestHead<'_, '_>) -> bool {
    head.header_values("content-type").next().is_some_and(|value| {
        let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
        value[..end].trim_ascii().eq_ignore_ascii_case(b"application/json")
    })
}

fn refused(arrival: &Arrival, status: u16, body: &'static str) -> Answer<'static> {
    static LIMIT: LogLimit = LogLimit::new();
    if log::log_enabled!(log::Level::Debug) {
        let client = arrival.shown();
        LIMIT.say(|more| log::debug!("admin: refused {client} with {status}{more}"));
    }
    Answer { content_type: super::said::JSON, ..Answer::text(status, body) }.close()
}

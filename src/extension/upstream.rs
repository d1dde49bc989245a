//! The `upstream` header (PROTOCOL.md §5): whether its request may be made, and the queue of those that are to be.

#[cfg(feature = "upstream")]
mod gate;
#[cfg(not(feature = "upstream"))]
#[path = "upstream/no_gate.rs"]
mod gate;
#[cfg(feature = "upstream")]
mod queue;

use crate::{
    engine::{hub::Hub, subscriptions::Slot},
    error::{Reason, Refusal},
    extension::control::Parsed,
    protocol::message::Control,
};

pub(crate) use self::gate::Gate;
#[cfg(feature = "upstream")]
pub(crate) use self::{
    gate::{Fetch, Lane, Target},
    queue::{Queue, Room},
};

/// Checks all `upstream` headers of a message.
///
/// # Errors
/// `bad-upstream`, `forbidden`.
pub(super) fn check(message: Parsed<'_>, gate: Option<&Gate>) -> Result<(), Refusal> {
    message.head.values(message.payload, Control::Upstream).try_for_each(|value| {
        let (method, url) = split(value)?;
        match gate {
            Some(gate) => gate.target(method, url).map(drop),
            None => Err(forbidden("this server fetches no upstream URL: no prefix is allowed with --upstream-allow")),
        }
    })
}

/// Queues the requests of a message that [`check`] found sound. What does not fit is told to the sender. Says whether all
/// of them did.
pub(super) fn carry_out(hub: &mut Hub, slot: Slot, message: Parsed<'_>, gate: Option<&Gate>) -> bool {
    let Some(gate) = gate else { return true };
    let mut are_queued = true;
    for value in message.head.values(message.payload, Control::Upstream) {
        let Ok((method, url)) = split(value) else { continue };
        match gate.submit(hub.key(slot), message, method, url) {
            Ok(()) => hub.stats.upstream_requests += 1,
            Err(refusal) => {
                hub.stats.upstream_busy += 1;
                hub.refuse(slot, &refusal, message.head.values(message.payload, Control::Ack).next());
                are_queued = false;
            }
        }
    }
    are_queued
}

/// `METHOD URL`, with one space. The rest is the URL's business.
fn split(value: &[u8]) -> Result<(&str, &str), Refusal> {
    let bad = || bad_upstream("an upstream header is \"METHOD URL\", the URL with http:// or https://");
    let value = std::str::from_utf8(value).map_err(|_| bad())?;
    let (method, url) = value.split_once(' ').ok_or_else(bad)?;
    let scheme_is_known = ["http://", "https://"].iter().any(|scheme| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)) && url.len() > scheme.len()
    });
    let method_is_token = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    if !method_is_token || !scheme_is_known || url.contains([' ', '\t']) {
        return Err(bad());
    }
    // Neither is a request for what a URL names: the one asks a proxy for a tunnel, the other for an echo.
    if ["CONNECT", "TRACE"].iter().any(|other| method.eq_ignore_ascii_case(other)) {
        return Err(bad_upstream("CONNECT and TRACE are no upstream methods"));
    }
    Ok((method, url))
}

fn bad_upstream(sentence: &'static str) -> Refusal {
    Refusal::because(Reason::BadUpstream, sentence)
}

fn forbidden(sentence: &'static str) -> Refusal {
    Refusal::because(Reason::Forbidden, sentence)
}

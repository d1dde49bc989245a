//! The `upstream` header (PROTOCOL.md §5): whether its request may be made, and the queue of those that are to be.

#[cfg(feature = "upstream")]
mod gate;
#[cfg(not(feature = "upstream"))]
#[path = "upstream/no_gate.rs"]
mod gate;
#[cfg(feature = "upstream")]
mod queue;

use crate::{
    config::is_method,
    engine::{hub::Hub, slot::Slot},
    error::{Reason, Refusal},
    protocol::message::{Control, Parsed},
};

pub(crate) use self::gate::Gate;
#[cfg(feature = "upstream")]
pub(crate) use self::{
    gate::{Fetch, Lane, Target},
    queue::{Queue, Room},
};

/// Why a request is not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "upstream"), allow(dead_code))] // nothing is queued then
pub(crate) enum Full {
    /// The queue is full.
    Queue,
    /// Its connection, or all connections of its address, have their share of the queue.
    Share,
}

impl Full {
    fn refusal(self) -> Refusal {
        let sentence = match self {
            Self::Queue => "the queue of upstream requests is full, the message was not sent there",
            Self::Share => {
                "this connection or its address has its share of the queue of upstream requests, the message was not sent there"
            }
        };
        Refusal::because(Reason::UpstreamBusy, sentence)
    }
}

/// Checks all `upstream` headers of a message.
///
/// # Errors
/// `bad-upstream`, `forbidden`.
pub(super) fn check(message: Parsed<'_>, gate: Option<&Gate>) -> Result<(), Refusal> {
    message.values(Control::Upstream).try_for_each(|value| {
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
    for value in message.values(Control::Upstream) {
        let Ok(target) = split(value).and_then(|(method, url)| gate.target(method, url)) else { continue };
        let Err(full) = gate.submit(hub.key(slot), message, target) else {
            hub.stats.upstream_requests += 1;
            continue;
        };
        match full {
            Full::Queue => hub.stats.upstream_busy += 1,
            Full::Share => hub.stats.upstream_over_share += 1,
        }
        hub.refuse(slot, &full.refusal(), message.values(Control::Ack).next());
        are_queued = false;
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
    if !scheme_is_known || url.contains([' ', '\t']) {
        return Err(bad());
    }
    if !is_method(method) {
        return Err(bad_upstream("an upstream method is letters and \"-\", and not CONNECT or TRACE"));
    }
    Ok((method, url))
}

fn bad_upstream(sentence: &'static str) -> Refusal {
    Refusal::because(Reason::BadUpstream, sentence)
}

fn forbidden(sentence: &'static str) -> Refusal {
    Refusal::because(Reason::Forbidden, sentence)
}

//! The `upstream` header (PROTOCOL.md §5): its check, and its way to the upstream workers.

use std::net::SocketAddr;

use crate::{
    config::is_method,
    engine::{hub::Hub, slot::Slot},
    error::{Reason, Refusal},
    protocol::message::{Control, Parsed},
};

/// One core's way to upstream servers. No call blocks.
pub(crate) trait Upstream: Send {
    /// A connection with this peer has the slot from now on.
    fn opened(&mut self, slot: Slot, peer: Option<SocketAddr>);

    /// Checks that this request may be made.
    ///
    /// # Errors
    /// `bad-upstream`, `forbidden`.
    fn check(&self, method: &str, url: &str) -> Result<(), Refusal>;

    /// Queues a checked request for a connection's message, and counts it in the hub's numbers.
    ///
    /// # Errors
    /// `upstream-busy`.
    fn submit(&self, hub: &mut Hub, slot: Slot, message: Parsed<'_>, method: &str, url: &str) -> Result<(), Refusal>;
}

/// Checks all `upstream` headers of a message.
///
/// # Errors
/// `bad-upstream`, `forbidden`.
pub(super) fn check(message: Parsed<'_>, upstream: Option<&dyn Upstream>) -> Result<(), Refusal> {
    message.values(Control::Upstream).try_for_each(|value| {
        let (method, url) = split(value)?;
        let Some(upstream) = upstream else {
            let sentence = "this server fetches no upstream URL: no prefix is allowed with --upstream-allow";
            return Err(Refusal::because(Reason::Forbidden, sentence));
        };
        upstream.check(method, url)
    })
}

/// Queues the requests of a message that [`check`] has found valid; true if all of them were queued. For each other one the
/// sender gets an error.
pub(super) fn carry_out(hub: &mut Hub, slot: Slot, message: Parsed<'_>, upstream: Option<&dyn Upstream>) -> bool {
    let Some(upstream) = upstream else { return true };
    let mut are_queued = true;
    for (method, url) in message.values(Control::Upstream).filter_map(|value| split(value).ok()) {
        if let Err(refusal) = upstream.submit(hub, slot, message, method, url) {
            hub.refuse(slot, &refusal, message.values(Control::Ack).next());
            are_queued = false;
        }
    }
    are_queued
}

/// Splits `METHOD URL` at its one space. The URL itself is not parsed here.
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

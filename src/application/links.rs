//! The links to peers that a message needs: only messages that need a congested link wait for it.

use crate::{
    engine::hub::Hub,
    extension::Extensions,
    protocol::{
        channel,
        message::{Control, Head, is_lhttp},
    },
};

/// The user's code may need any link: nobody knows before it has run.
const ALL: u64 = u64::MAX;
/// The most names that are looked up. A message with more counts as one that needs all links.
const NAMES_MAX: usize = 1024;

/// The needed links, a bit for each. A message that will be refused needs none.
pub(super) fn needed(extensions: &Extensions, head: &mut Head, hub: &mut Hub, payload: &[u8]) -> u64 {
    if !is_lhttp(payload) {
        return if extensions.raw.is_some() { ALL } else { 0 };
    }
    if !extensions.filters.is_empty() {
        return ALL;
    }
    if head.parse(payload, false, hub.limits.head).is_err() {
        return 0;
    }
    if extensions.processors.contains_key(head.command(payload)) {
        return ALL;
    }
    names_need(head, hub, payload).unwrap_or(0)
}

/// The links that the control headers need; none if one of their names is invalid.
fn names_need(head: &Head, hub: &mut Hub, payload: &[u8]) -> Option<u64> {
    let mut links = 0;
    for (count, name) in head.names(payload, Control::Publish).enumerate() {
        if count == NAMES_MAX {
            return Some(ALL);
        }
        if !hub.router.is_known(name) {
            channel::check_publish(name).ok()?;
        }
        links |= hub.router.links_of_channel(name);
    }
    for (count, name) in head.names(payload, Control::Subscribe).enumerate() {
        if count == NAMES_MAX {
            return Some(ALL);
        }
        let kind = channel::check_subscribe(name).ok()?;
        links |= hub.router.links_of_subscription(name, kind);
    }
    Some(links)
}

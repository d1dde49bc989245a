//! Which links to peers a message needs, so that only those that need a congested one wait for it.

use crate::{
    engine::hub::Hub,
    extension::Extensions,
    protocol::{
        channel,
        message::{Control, Head, is_lhttp},
    },
};

/// What the user's code may do is not known before it has run: it may need any link.
const ALL: u64 = u64::MAX;
/// Names that are looked up; a message that has more may need any link.
const NAMES_MAX: usize = 1024;

/// A bit for each link that the message needs. One that will be refused needs none.
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

/// The same for what its control headers ask for; `None` if one of their names is not valid.
fn names_need(head: &Head, hub: &mut Hub, payload: &[u8]) -> Option<u64> {
    let mut links = 0;
    for (count, name) in head.names(payload, Control::Publish).enumerate() {
        if count == NAMES_MAX {
            return Some(ALL);
        }
        if !hub.is_known(name) {
            channel::check_publish(name).ok()?;
        }
        links |= hub.links_of_channel(name);
    }
    for (count, name) in head.names(payload, Control::Subscribe).enumerate() {
        if count == NAMES_MAX {
            return Some(ALL);
        }
        let kind = channel::check_subscribe(name).ok()?;
        links |= hub.links_of_subscription(name, kind);
    }
    Some(links)
}

//! The control headers `presence` and `presence-info` (PROTOCOL.md §11).

use crate::{
    engine::{hub::Hub, slot::Slot},
    error::{Reason, Refusal},
    protocol::{
        channel::{self, Kind},
        message::{Control, Head, Parsed},
    },
    token::Claims,
};

/// The longest value of `presence-info`, in bytes.
const INFO_BYTES_MAX: usize = 256;

/// Checks what a client wants to show.
///
/// # Errors
/// `bad-header`.
pub(super) fn check_info(message: Parsed<'_>) -> Result<(), Refusal> {
    match message.value(Control::PresenceInfo) {
        Some(info) if info.len() > INFO_BYTES_MAX => {
            let sentence = format!("presence-info has more than {INFO_BYTES_MAX} bytes");
            Err(Refusal::because(Reason::BadHeader, sentence))
        }
        _ => Ok(()),
    }
}

/// What a client wants to show, as JSON.
pub(super) fn info(message: Parsed<'_>) -> Option<Box<str>> {
    let info = message.value(Control::PresenceInfo)?;
    let json = serde_json::to_string(&String::from_utf8_lossy(info)).expect("a text is JSON");
    Some(json.into())
}

/// Whether a message asks who is in a channel. On a server without presence the header is one like any other.
#[inline]
pub(super) fn is_asked(hub: &Hub, head: &Head) -> bool {
    head.has(Control::Presence) && hub.limits.rules.has_presence()
}

/// Checks a question for who is in a channel.
///
/// # Errors
/// `bad-channel`, `bad-header`, `forbidden`, `no-presence`.
pub(super) fn check(hub: &mut Hub, slot: Slot, message: Parsed<'_>, renewed: Option<&Claims>) -> Result<(), Refusal> {
    let mut names = message.values(Control::Presence);
    let Some(name) = names.next() else { return Ok(()) };
    if names.next().is_some() {
        return Err(Refusal::because(Reason::BadHeader, "a message has at most one presence header"));
    }
    channel::check_client(name)?;
    channel::check_publish(name)?;
    hub.may_subscribe(slot, renewed, name, Kind::Exact)?;
    if hub.limits.rules.presence(name).is_none() {
        return Err(Refusal::new(404, "no-presence", "nobody counts who is in this channel"));
    }
    Ok(())
}

/// Answers a checked question. Returns whether the answer is the acknowledgement of the message, because it asks for nothing
/// else that has one.
pub(super) fn carry_out(hub: &mut Hub, slot: Slot, message: Parsed<'_>) -> bool {
    let Some(name) = message.value(Control::Presence) else { return false };
    let asks_only = !message.head.has(Control::Subscribe) && !message.head.has(Control::Publish);
    hub.ask_presence(slot, name, message.value(Control::Ack).unwrap_or_default());
    asks_only
}

//! Control headers of channels with a history: `since` and `last` (PROTOCOL.md §10).

use crate::{
    engine::{
        hub::Hub,
        relay::{Since, Wish},
        router::{Awaited, Receipt},
        slot::Slot,
    },
    error::{Reason, Refusal},
    protocol::{
        channel,
        message::{Control, Head, MessageId, Parsed},
    },
};

/// The most messages that `last` asks for.
const LAST_MAX: u16 = 1000;
/// The longest value of `since` for one name. Ours are shorter; another server's may be longer.
const SINCE_BYTES_MAX: usize = 64;
/// The value of `since` for a name without a position.
const NO_POSITION: &[u8] = b"-";

/// Checks the `since` and `last` of a message that subscribes.
///
/// # Errors
/// `bad-header`.
pub(super) fn check(message: Parsed<'_>) -> Result<(), Refusal> {
    last(message)?;
    let Some(since) = message.value(Control::Since) else { return Ok(()) };
    let (values, names) = (ids(since).count(), message.names(Control::Subscribe).count());
    if values != names {
        return Err(bad_header(format!("since has {values} values for {names} names")));
    }
    if ids(since).any(|id| id.len() > SINCE_BYTES_MAX) {
        return Err(bad_header(format!("a value of since has more than {SINCE_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// The number of messages that a checked message asks for.
fn last(message: Parsed<'_>) -> Result<u16, Refusal> {
    let Some(value) = message.value(Control::Last) else { return Ok(0) };
    let number = std::str::from_utf8(value).ok().filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    match number.and_then(|value| value.parse().ok()) {
        Some(number @ 1..=LAST_MAX) => Ok(number),
        _ => Err(bad_header(format!("last is not a number from 1 to {LAST_MAX}"))),
    }
}

fn bad_header(sentence: String) -> Refusal {
    Refusal::because(Reason::BadHeader, sentence)
}

fn ids(since: &[u8]) -> impl Iterator<Item = &[u8]> {
    since.split(|byte| matches!(byte, b' ' | b'\t')).filter(|id| !id.is_empty())
}

/// Whether a message may concern the history of a channel. One that says `since` does, even if no channel has a history:
/// what its client has missed is lost.
pub(super) fn concerns(hub: &Hub, head: &Head) -> bool {
    hub.has_history() || head.has(Control::Since)
}

/// Begins the acknowledgement of a message that may concern channels with a history.
pub(super) fn begin_receipt(
    hub: &mut Hub,
    slot: Slot,
    message: Parsed<'_>,
    expires_in: Option<u64>,
) -> Option<Receipt> {
    let head = message.head;
    let asks_only = !head.has(Control::Subscribe) && !head.has(Control::Publish);
    if asks_only || !concerns(hub, head) {
        return None;
    }
    let token = message.value(Control::Ack)?;
    Some(hub.begin_receipt(slot, token, expires_in, published(hub, message), message.names(Control::Subscribe)))
}

/// The number of channels that the acknowledgement of a message says something of.
fn published(hub: &Hub, message: Parsed<'_>) -> usize {
    if hub.has_history() { message.names(Control::Publish).count() } else { 0 }
}

/// Subscribes to the names of a checked message.
#[inline(never)]
pub(super) fn subscribe(hub: &mut Hub, slot: Slot, message: Parsed<'_>, receipt: Option<Receipt>) -> Awaited {
    let mut awaited = Awaited::default();
    let last = last(message).unwrap_or_default();
    let mut since = message.value(Control::Since).map(ids);
    let mut receipt = receipt.map(|receipt| receipt.skip(published(hub, message)));
    for name in message.names(Control::Subscribe) {
        let since = match since.as_mut().and_then(Iterator::next) {
            None | Some(NO_POSITION) => Since::None,
            Some(id) => MessageId::parse(id).map_or(Since::Unknown, Since::Message),
        };
        awaited = awaited.and(hub.subscribe_from(slot, name, channel::kind(name), Wish { since, last }, receipt));
        receipt = receipt.map(Receipt::next);
    }
    awaited
}

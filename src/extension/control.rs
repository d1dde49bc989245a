//! The control headers (PROTOCOL.md §2): a message is checked whole, then carried out.

use smallvec::SmallVec;

use crate::{
    engine::{
        hub::{Hub, acks::Awaited},
        subscriptions::{Demand, Slot},
    },
    error::{Reason, Refusal},
    extension::upstream::{self, Gate},
    protocol::{
        channel,
        message::{Control, Head},
        multipart,
    },
};

/// A message and the head that was parsed from it.
#[derive(Clone, Copy)]
pub(super) struct Parsed<'m> {
    pub(super) head: &'m Head,
    pub(super) payload: &'m [u8],
    pub(super) is_text: bool,
}

impl<'m> Parsed<'m> {
    /// The names in all headers of one kind, in order.
    fn names(self, control: Control) -> impl Iterator<Item = &'m [u8]> {
        self.head.names(self.payload, control)
    }
}

/// Checks all that a message asks for, before any of it is carried out. Subscriptions that take `pending` are made before
/// its own.
///
/// # Errors
/// What is wrong; the message must have no effect then.
pub(super) fn check(
    hub: &Hub,
    slot: Slot,
    message: Parsed<'_>,
    pending: &Demand,
    gate: Option<&Gate>,
) -> Result<(), Refusal> {
    let Parsed { head, payload, .. } = message;
    if !head.has_controls() {
        return Ok(());
    }
    if head.has(Control::Multipart) {
        head.values(payload, Control::Multipart).try_for_each(|value| multipart::check(value, head.body(payload)))?;
    }
    if head.has(Control::Subscribe) {
        check_subscribe(hub, slot, message, pending)?;
    }
    check_publish(hub, message)?;
    if head.has(Control::Unsubscribe) {
        message.names(Control::Unsubscribe).try_for_each(|name| channel::check_subscribe(name).map(drop))?;
    }
    if head.has(Control::Upstream) {
        upstream::check(message, gate)?;
    }
    Ok(())
}

/// Checks the channels that a message is published to, and gives their number.
///
/// # Errors
/// `bad-channel`, `message-too-big`.
fn check_publish(hub: &Hub, message: Parsed<'_>) -> Result<usize, Refusal> {
    if !message.head.has(Control::Publish) {
        return Ok(0);
    }
    check_publish_size(message.payload.len(), hub.publish_bytes_max())?;
    let mut count = 0;
    for name in message.names(Control::Publish) {
        count += 1;
        if !hub.is_known(name) {
            channel::check_publish(name)?;
        }
    }
    Ok(count)
}

/// Checks that every node takes a message of this size: NATS has a limit of its own (PROTOCOL.md §7).
///
/// # Errors
/// `message-too-big`.
pub(super) fn check_publish_size(len: usize, publish_bytes_max: usize) -> Result<(), Refusal> {
    if len <= publish_bytes_max {
        return Ok(());
    }
    let sentence = format!("the message has {len} bytes, and NATS carries at most {publish_bytes_max}");
    Err(Refusal::because(Reason::MessageTooBig, sentence))
}

/// Publishes a message that came over HTTP, where only its `publish` headers count (PROTOCOL.md §3). Gives the number of
/// channels.
///
/// # Errors
/// `bad-channel`, `bad-header`, `message-too-big`.
pub(super) fn publish(hub: &mut Hub, message: Parsed<'_>) -> Result<usize, Refusal> {
    let channels = check_publish(hub, message)?;
    if channels == 0 {
        return Err(Refusal::because(Reason::BadHeader, "the message has no publish header"));
    }
    hub.publish(message.names(Control::Publish), message.is_text, message.payload, None);
    Ok(channels)
}

fn check_subscribe(hub: &Hub, slot: Slot, message: Parsed<'_>, pending: &Demand) -> Result<(), Refusal> {
    let mut demand = pending.clone();
    for name in message.names(Control::Subscribe) {
        let kind = channel::check_subscribe(name)?;
        hub.add_demand(slot, name, kind, &mut demand);
    }
    if hub.check_subscriptions(slot, &demand).is_ok() {
        return Ok(());
    }
    // Twice is once, also against the limits.
    let mut names: SmallVec<[&[u8]; 8]> = message.names(Control::Subscribe).collect();
    names.sort_unstable();
    names.dedup();
    let mut demand = pending.clone();
    names.iter().for_each(|name| hub.add_demand(slot, name, channel::kind(name), &mut demand));
    hub.check_subscriptions(slot, &demand)
}

/// Carries out what [`check`] found sound, in the order of PROTOCOL.md §2.
pub(super) fn carry_out(hub: &mut Hub, slot: Slot, message: Parsed<'_>, gate: Option<&Gate>) {
    let Parsed { head, payload, is_text } = message;
    if !head.has_controls() {
        return;
    }
    let mut awaited = Awaited::default();
    if head.has(Control::Subscribe) {
        for name in message.names(Control::Subscribe) {
            awaited = awaited.and(hub.subscribe(slot, name, channel::kind(name)));
        }
    }
    if head.has(Control::Publish) {
        let except = is_no_echo(head, payload).then_some(slot);
        hub.publish(message.names(Control::Publish), is_text, payload, except);
    }
    if head.has(Control::Unsubscribe) {
        for name in message.names(Control::Unsubscribe) {
            hub.unsubscribe(slot, name, channel::kind(name));
        }
    }
    if head.has(Control::Upstream) && !upstream::carry_out(hub, slot, message, gate) {
        return; // what failed is not acknowledged
    }
    for token in head.values(payload, Control::Ack) {
        hub.acknowledge(slot, token, awaited);
    }
}

/// Whether the sender is not to receive what it publishes.
pub(super) fn is_no_echo(head: &Head, payload: &[u8]) -> bool {
    head.values(payload, Control::NoEcho).any(|value| value == b"true")
}

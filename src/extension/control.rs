//! The control headers (PROTOCOL.md §2): a message is checked whole, then carried out.

use smallvec::SmallVec;

use crate::{
    engine::{hub::Hub, router::Awaited, slot::Slot, subscriptions::Demand},
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
    head.check_repeated()?;
    check_publish(hub, message)?;
    if head.has(Control::Subscribe) {
        check_subscribe(hub, slot, message, pending)?;
        if head.has(Control::Ack) {
            hub.check_acks(slot)?; // no other message waits for its acknowledgement
        }
    }
    if head.has(Control::Unsubscribe) {
        message.names(Control::Unsubscribe).try_for_each(|name| channel::check_subscribe(name).map(drop))?;
    }
    if head.has(Control::Upstream) {
        upstream::check(message, gate)?;
    }
    // Last, for it reads the whole body.
    if head.has(Control::Multipart)
        && let Some(value) = head.value(payload, Control::Multipart)
    {
        multipart::check(value, head.body(payload))?;
    }
    Ok(())
}

/// Checks the channels that a message is published to, and gives their number.
///
/// # Errors
/// `bad-channel`, `forbidden`, `message-too-big`, `too-many-channels`.
fn check_publish(hub: &Hub, message: Parsed<'_>) -> Result<usize, Refusal> {
    if !message.head.has(Control::Publish) {
        return Ok(0);
    }
    check_publish_size(message.payload.len(), hub.limits.publish_bytes())?;
    let (mut count, channels_max) = (0, hub.limits.publish_channels_max);
    for name in message.names(Control::Publish) {
        if count == channels_max {
            return Err(too_many_channels(channels_max));
        }
        count += 1;
        channel::check_client(name)?; // what is known may be the system's
        if !hub.router.is_known(name) {
            channel::check_publish(name)?;
        }
    }
    Ok(count)
}

/// Checks the channels that a program publishes to, and gives each once, in order. Those of the system's are allowed.
///
/// # Errors
/// `bad-channel`, `too-many-channels`.
pub(super) fn check_channels<'c>(channels: &[&'c str], channels_max: usize) -> Result<SmallVec<[&'c str; 4]>, Refusal> {
    let mut checked = SmallVec::new();
    for &name in channels {
        if checked.contains(&name) {
            continue;
        }
        if checked.len() == channels_max {
            return Err(too_many_channels(channels_max));
        }
        channel::check_publish(name.as_bytes())?;
        checked.push(name);
    }
    if checked.is_empty() {
        return Err(Refusal::because(Reason::BadChannel, "there is no channel to publish to"));
    }
    Ok(checked)
}

#[cold]
fn too_many_channels(channels_max: usize) -> Refusal {
    let sentence = format!("a message may be published to {channels_max} channels");
    Refusal::because(Reason::TooManyChannels, sentence)
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
/// `bad-channel`, `bad-header`, `forbidden`, `message-too-big`, `too-many-channels`.
pub(super) fn publish(hub: &mut Hub, message: Parsed<'_>) -> Result<usize, Refusal> {
    let channels = check_publish(hub, message)?;
    if channels == 0 {
        return Err(Refusal::because(Reason::BadHeader, "the message has no publish header"));
    }
    hub.publish(message.names(Control::Publish), message.is_text, message.payload, None);
    Ok(channels)
}

/// Checks the names that a message subscribes to; what `pending` takes is taken before them.
///
/// # Errors
/// `bad-channel`, `forbidden`, `too-many-subscriptions`.
pub(super) fn check_subscribe(hub: &Hub, slot: Slot, message: Parsed<'_>, pending: &Demand) -> Result<(), Refusal> {
    let mut demand = pending.clone();
    for name in message.names(Control::Subscribe) {
        channel::check_client(name)?;
        let kind = channel::check_subscribe(name)?;
        let before = demand.subscriptions;
        hub.router.add_demand(slot, name, kind, &mut demand);
        if demand.subscriptions > before {
            hub.check_subscriptions(slot, &demand)?; // at once: further names of a refused message cost nothing
        }
    }
    Ok(())
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
        // Who is subscribed to a channel of the system's is the system's business.
        for name in message.names(Control::Unsubscribe).filter(|name| !channel::is_system(name)) {
            hub.unsubscribe(slot, name, channel::kind(name));
        }
    }
    if head.has(Control::Upstream) && !upstream::carry_out(hub, slot, message, gate) {
        return; // what failed is not acknowledged
    }
    if let Some(token) = head.value(payload, Control::Ack) {
        hub.acknowledge(slot, token, awaited);
    }
}

/// Further messages with the head of one that did nothing but publish do the same: the hub carries them out by itself.
pub(super) fn keep_head(hub: &mut Hub, slot: Slot, message: Parsed<'_>) {
    let Parsed { head, payload, .. } = message;
    if head.only_publishes() {
        let no_echo = is_no_echo(head, payload);
        hub.keep_head(slot, &payload[..head.body_start()], head.spans(Control::Publish), no_echo);
    }
}

/// Whether the sender does not receive what it publishes.
fn is_no_echo(head: &Head, payload: &[u8]) -> bool {
    head.value(payload, Control::NoEcho) == Some(b"true")
}

/// Checks a message that a processor or filter has changed: they may have made it larger than a client's may be.
///
/// # Errors
/// `message-too-big`.
pub(super) fn check_size(hub: &Hub, payload: &[u8]) -> Result<(), Refusal> {
    if payload.len() <= hub.limits.message_bytes_max {
        return Ok(());
    }
    Err(Refusal::because(Reason::MessageTooBig, "a processor or filter made the message too big"))
}

/// What the sender of anything else than LHTTP is told.
pub(super) fn not_lhttp() -> Refusal {
    Refusal::because(Reason::NotLhttp, "the message does not start with LHTTP/1.0")
}

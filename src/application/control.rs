//! The control headers (PROTOCOL.md §2): a message is checked whole, then carried out.

use crate::{
    application::{
        history, presence,
        upstream::{self, Upstream},
    },
    engine::{
        hub::Hub,
        router::{Awaited, Receipt},
        slot::Slot,
        subscriptions::Demand,
    },
    error::{Reason, Refusal},
    extension::publish::{check_publish_size, too_many_channels},
    protocol::{
        channel,
        message::{Control, Head, Parsed},
        multipart,
    },
    token::Claims,
};

/// Admits a message that subscribes, by the number of its names.
///
/// # Errors
/// `rate-limited`.
pub(super) fn admit(hub: &mut Hub, slot: Slot, message: Parsed<'_>) -> Result<(), Refusal> {
    if !hub.has_rates() || !message.head.has(Control::Subscribe) {
        return Ok(());
    }
    hub.admit_subscribes(slot, message.names(Control::Subscribe).count())
}

/// What a message needs besides its control headers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// Channels that it is published to.
    channels: usize,
    /// It must carry the name of its user.
    pub(super) stamp: bool,
    /// A channel of it has a history: the client's own `message-id` and `channel` go.
    pub(super) number: bool,
}

/// Checks everything that a message asks for, before any of it is carried out. `pending` is the demand of subscriptions that
/// will be made before those of the message; `renewed` are the claims of the message's own token.
///
/// # Errors
/// The first fault. The message must have no effect then.
pub(super) fn check(
    hub: &mut Hub,
    slot: Slot,
    message: Parsed<'_>,
    pending: &Demand,
    upstream: Option<&dyn Upstream>,
    renewed: Option<&Claims>,
) -> Result<Needs, Refusal> {
    let head = message.head;
    if !head.has_controls() {
        return Ok(Needs::default());
    }
    head.check_repeated()?;
    let needs = check_publish(hub, slot, message, renewed)?;
    if head.only_publishes() {
        return Ok(needs);
    }
    if head.has(Control::Subscribe) {
        check_subscribe(hub, slot, message, pending, renewed)?;
        history::check(message)?;
        presence::check_info(message)?;
        if head.has(Control::Ack) {
            hub.check_acks(slot)?; // besides those of a channel with a history, no other message waits for it
        }
    }
    if head.has(Control::Ack) && history::concerns(hub, head) {
        hub.check_receipts(slot)?;
    }
    if presence::is_asked(hub, head) {
        presence::check(hub, slot, message, renewed)?;
    }
    if head.has(Control::Unsubscribe) {
        message.names(Control::Unsubscribe).try_for_each(|name| channel::check_subscribe(name).map(drop))?;
    }
    if head.has(Control::Upstream) {
        upstream::check(message, upstream)?;
    }
    // Last, because it reads the whole body.
    if head.has(Control::Multipart)
        && let Some(value) = message.value(Control::Multipart)
    {
        multipart::check(value, message.body())?;
    }
    Ok(needs)
}

/// Checks the channels of a message's `publish` headers.
///
/// # Errors
/// `bad-channel`, `forbidden`, `message-too-big`, `too-many-channels`.
fn check_publish(hub: &mut Hub, slot: Slot, message: Parsed<'_>, renewed: Option<&Claims>) -> Result<Needs, Refusal> {
    let mut needs = Needs::default();
    if !message.head.has(Control::Publish) {
        return Ok(needs);
    }
    check_publish_size(message.payload.len(), hub.limits.publish_bytes())?;
    let channels_max = hub.limits.publish_channels_max;
    // The rules say which channels have a history. Nearly all messages go on in the same way with or without.
    let asks_if_kept = hub.has_history() && (!hub.router.is_store_available() || message.has_own_lines());
    for name in message.names(Control::Publish) {
        if needs.channels == channels_max {
            return Err(too_many_channels(channels_max));
        }
        needs.channels += 1;
        channel::check_client(name)?; // a known channel may be the system's
        if !hub.router.is_known(name) {
            channel::check_publish(name)?;
        }
        needs.stamp |= hub.may_publish(slot, renewed, name)?;
        if asks_if_kept {
            needs.number |= hub.may_keep(name)?;
        }
    }
    Ok(needs)
}

/// Checks a message of `POST /publish` by a connection with the right to it. Of its control headers only `publish` counts
/// (PROTOCOL.md §3).
///
/// # Errors
/// `bad-channel`, `bad-header`, `forbidden`, `message-too-big`, `too-many-channels`.
pub(super) fn check_post(hub: &mut Hub, slot: Slot, message: Parsed<'_>) -> Result<Needs, Refusal> {
    let needs = check_publish(hub, slot, message, None)?;
    if needs.channels == 0 {
        return Err(Refusal::because(Reason::BadHeader, "the message has no publish header"));
    }
    Ok(needs)
}

/// Publishes a checked message of `POST /publish`, and gives the number of its channels.
pub(super) fn post(hub: &mut Hub, message: Parsed<'_>) -> usize {
    hub.publish(message.names(Control::Publish), message.is_text, message.payload, None);
    message.names(Control::Publish).count()
}

/// Checks the names of a message's `subscribe` headers. `pending` is the demand of subscriptions that will be made first.
///
/// # Errors
/// `bad-channel`, `forbidden`, `too-many-subscriptions`.
pub(super) fn check_subscribe(
    hub: &mut Hub,
    slot: Slot,
    message: Parsed<'_>,
    pending: &Demand,
    renewed: Option<&Claims>,
) -> Result<(), Refusal> {
    let mut demand = pending.clone();
    for name in message.names(Control::Subscribe) {
        channel::check_client(name)?;
        let kind = channel::check_subscribe(name)?;
        hub.may_subscribe(slot, renewed, name, kind)?;
        let before = demand.subscriptions;
        hub.router.add_demand(slot, name, kind, &mut demand);
        if demand.subscriptions > before {
            hub.check_subscriptions(slot, &demand)?; // now, so that the other names of a refused message cost nothing
        }
    }
    Ok(())
}

/// Carries out a message that [`check`] has found valid, in the order of PROTOCOL.md §2. `expires_in` are the seconds for which
/// the message's own token is valid.
pub(super) fn carry_out(
    hub: &mut Hub,
    slot: Slot,
    message: Parsed<'_>,
    upstream: Option<&dyn Upstream>,
    expires_in: Option<u64>,
) {
    let Parsed { head, payload, is_text } = message;
    if !head.has_controls() {
        return;
    }
    let receipt = if head.has(Control::Ack) { history::begin_receipt(hub, slot, message, expires_in) } else { None };
    let awaited =
        if head.has(Control::Subscribe) { subscribe(hub, slot, message, receipt) } else { Awaited::default() };
    if head.has(Control::Publish) {
        let asked = (is_no_echo(head, payload), receipt.filter(|_| hub.has_history()));
        hub.publish_of(slot, message.names(Control::Publish), is_text, payload, asked);
        if head.only_publishes() {
            return;
        }
    }
    if head.has(Control::Unsubscribe) {
        // Only the system ends subscriptions to its channels.
        for name in message.names(Control::Unsubscribe).filter(|name| !channel::is_system(name)) {
            hub.unsubscribe(slot, name, channel::kind(name));
        }
    }
    if head.has(Control::Upstream) && !upstream::carry_out(hub, slot, message, upstream) {
        // A message whose request was not queued is not acknowledged.
        receipt.into_iter().for_each(|receipt| hub.router.receipts.silence(receipt));
        receipt.into_iter().for_each(|receipt| hub.carried_out(receipt, awaited));
        return;
    }
    if presence::is_asked(hub, head) && presence::carry_out(hub, slot, message) {
        return; // the answer has the ack token
    }
    if let Some(receipt) = receipt {
        return hub.carried_out(receipt, awaited);
    }
    if let Some(token) = message.value(Control::Ack) {
        match expires_in {
            None => hub.acknowledge(slot, token, awaited),
            Some(seconds) => {
                let lines = [token, format!("\r\nexpires-in:{seconds}").as_bytes()].concat();
                hub.acknowledge(slot, &lines, awaited);
            }
        }
    }
}

/// Subscribes to the names of a checked message.
fn subscribe(hub: &mut Hub, slot: Slot, message: Parsed<'_>, receipt: Option<Receipt>) -> Awaited {
    let shows = message.head.has(Control::PresenceInfo);
    if shows {
        hub.router.set_presence_info(presence::info(message));
    }
    let awaited = if history::concerns(hub, message.head) {
        history::subscribe(hub, slot, message, receipt)
    } else {
        let names = message.names(Control::Subscribe);
        names.fold(Awaited::default(), |awaited, name| awaited.and(hub.subscribe(slot, name, channel::kind(name))))
    };
    if shows {
        hub.router.set_presence_info(None);
    }
    awaited
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

/// What the sender of a message is told to which a processor or filter has added a token: the server's code does not decide
/// who a client is.
pub(super) fn token_of_server() -> Refusal {
    Refusal::because(Reason::BadHeader, "a processor or filter has added a token header")
}

/// What a client is told that would be one user too many.
pub(super) fn too_many_users() -> Refusal {
    Refusal::new(503, "too-many-users", "this server has as many users as it takes")
}

/// What the sender of anything else than LHTTP is told.
pub(super) fn not_lhttp() -> Refusal {
    Refusal::because(Reason::NotLhttp, "the message does not start with LHTTP/1.0")
}

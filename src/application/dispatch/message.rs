//! The way of one message: it is parsed, goes to filters and processors, is checked whole, and then carried out.

use std::sync::Arc;

use crate::{
    application::{
        control::{self, Needs},
        dispatch::{Dispatch, Failure},
    },
    engine::{
        grants::Identity,
        hub::{Hub, run_out},
        slot::Slot,
        subscriptions::Demand,
    },
    error::Refusal,
    extension::{Request, publish::check_publish_size},
    protocol::message::{Control, Head, Parsed, is_lhttp, numbered::without_own_lines},
    token::Claims,
};

/// The claims of a message's own token.
type Renewed<'a> = Option<&'a Arc<Claims>>;

impl Dispatch {
    /// Checks a whole LHTTP message, then carries it out.
    pub(super) fn message(
        &mut self,
        hub: &mut Hub,
        slot: Slot,
        head: &mut Head,
        is_text: bool,
        payload: &[u8],
    ) -> Result<(), Failure> {
        parse(hub, head, is_text, payload)?;
        if head.has(Control::Token) {
            return self.message_with_token(hub, slot, head, is_text, payload);
        }
        if hub.has_run_out(slot) {
            return Err(run_out().into());
        }
        self.parsed_message(hub, slot, head, is_text, payload, None)
    }

    /// Takes a message that brings a new token. From here on the message is without it: nothing that the server passes on, or
    /// shows to the user's code, has a token.
    #[inline(never)]
    fn message_with_token(
        &mut self,
        hub: &mut Hub,
        slot: Slot,
        head: &mut Head,
        is_text: bool,
        payload: &[u8],
    ) -> Result<(), Failure> {
        head.check_repeated()?;
        let message = Parsed { head, payload, is_text };
        let renewed = match message.value(Control::Token) {
            Some(token) => self.doorkeeper.renew(hub, slot, token)?,
            None => None,
        };
        let payload = message.without("token");
        head.parse(&payload, is_text, hub.limits.head)?;
        self.parsed_message(hub, slot, head, is_text, &payload, renewed.as_ref())
    }

    fn parsed_message(
        &mut self,
        hub: &mut Hub,
        slot: Slot,
        head: &mut Head,
        is_text: bool,
        payload: &[u8],
        renewed: Renewed<'_>,
    ) -> Result<(), Failure> {
        control::admit(hub, slot, Parsed { head, payload, is_text })?;
        if self.extensions.filters.is_empty() && self.processor(head.command(payload)).is_none() {
            let (parsed, claims) = (Parsed { head, payload, is_text }, renewed.map(|claims| &**claims));
            let needs = control::check(hub, slot, parsed, &Demand::default(), self.upstream.as_deref(), claims)?;
            let stamped = stamp(hub, slot, head, is_text, payload, needs, renewed)?;
            let payload = stamped.as_deref().unwrap_or(payload);
            let expires_in = identify(hub, slot, renewed)?;
            let parsed = Parsed { head, payload, is_text };
            control::carry_out(hub, slot, parsed, self.upstream.as_deref(), expires_in);
            if stamped.is_none() {
                control::keep_head(hub, slot, parsed);
            }
            return Ok(());
        }
        self.effects.clear();
        let filtered = self.filter(hub, slot, Parsed { head, payload, is_text })?;
        let payload = filtered.as_deref().unwrap_or(payload);
        if filtered.is_some() {
            parse_changed(hub, head, payload)?;
        }
        let mut needs = self.check(hub, slot, Parsed { head, payload, is_text }, renewed)?;
        let processed = self.process(hub, slot, Parsed { head, payload, is_text })?;
        let payload = processed.as_deref().unwrap_or(payload);
        if processed.is_some() {
            parse_changed(hub, head, payload)?;
        }
        let parsed = Parsed { head, payload, is_text };
        match (&processed, self.effects.demand().subscriptions) {
            (Some(_), _) => needs = self.check(hub, slot, parsed, renewed)?,
            (None, 0) => {}
            // Everything else was checked already. A second check might read the whole body again.
            (None, _) => {
                let claims = renewed.map(|claims| &**claims);
                control::check_subscribe(hub, slot, parsed, self.effects.demand(), claims)?;
            }
        }
        let is_changed = filtered.is_some() || processed.is_some();
        let is_text = is_text && (!is_changed || simdutf8::basic::from_utf8(payload).is_ok());
        let stamped = stamp(hub, slot, head, is_text, payload, needs, renewed)?;
        let payload = stamped.as_deref().unwrap_or(payload);
        let expires_in = identify(hub, slot, renewed)?;
        let parsed = Parsed { head, payload, is_text };
        self.commit(hub, slot);
        control::carry_out(hub, slot, parsed, self.upstream.as_deref(), expires_in);
        // If the processor has closed the connection, the filters have had their `on_close`.
        if hub.sessions.is_open(slot) { self.filter_after(hub, slot, parsed) } else { Ok(()) }
    }

    /// Checks everything that the message asks for, besides the demand of the user's code.
    fn check(&self, hub: &mut Hub, slot: Slot, parsed: Parsed<'_>, renewed: Renewed<'_>) -> Result<Needs, Refusal> {
        let claims = renewed.map(|claims| &**claims);
        control::check(hub, slot, parsed, self.effects.demand(), self.upstream.as_deref(), claims)
    }

    /// The body of a `POST /publish`; gives the number of channels that it went to.
    pub(super) fn publish(&mut self, hub: &mut Hub, slot: Slot, body: &[u8]) -> Result<usize, Refusal> {
        if !is_lhttp(body) {
            return Err(control::not_lhttp());
        }
        let is_text = simdutf8::basic::from_utf8(body).is_ok();
        let mut head = std::mem::take(&mut self.head);
        let result = post(hub, slot, &mut head, is_text, body);
        self.head = head;
        result
    }

    /// Handles a message that is not LHTTP.
    pub(super) fn raw(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]) -> Result<(), Failure> {
        let Some(handler) = self.extensions.raw.clone() else { return Err(control::not_lhttp().into()) };
        if hub.has_run_out(slot) {
            return Err(run_out().into());
        }
        self.effects.clear();
        self.call(hub, slot, Request::Raw(payload), is_text, |context| handler(context))?;
        self.commit(hub, slot);
        Ok(())
    }
}

/// Parses a head, and charges the connection for it: parsing is most of the work of most messages.
fn parse(hub: &mut Hub, head: &mut Head, is_text: bool, payload: &[u8]) -> Result<(), Refusal> {
    let parsed = head.parse(payload, is_text, hub.limits.head);
    let head_bytes = if parsed.is_ok() { head.body_start() } else { payload.len().min(hub.limits.head.head_bytes_max) };
    let has_parts = parsed.is_ok() && head.has(Control::Multipart);
    hub.router.work.has_parsed(head_bytes, if has_parts { payload.len() - head_bytes } else { 0 });
    parsed
}

/// Checks a message that a processor or filter has changed, and parses it.
fn parse_changed(hub: &Hub, head: &mut Head, payload: &[u8]) -> Result<(), Refusal> {
    control::check_size(hub, payload)?;
    head.parse(payload, false, hub.limits.head)?;
    if head.has(Control::Token) { Err(control::token_of_server()) } else { Ok(()) }
}

/// Puts the name of the user into a checked message, if a channel that it goes to needs this, and parses the new message.
///
/// # Errors
/// `head-too-big`, `message-too-big`.
#[inline]
fn stamp(
    hub: &Hub,
    slot: Slot,
    head: &mut Head,
    is_text: bool,
    payload: &[u8],
    needs: Needs,
    renewed: Renewed<'_>,
) -> Result<Option<Vec<u8>>, Refusal> {
    if needs.number {
        numbered(hub, slot, head, is_text, payload, needs, renewed)
    } else if needs.stamp {
        stamped(hub, slot, head, is_text, payload, renewed).map(Some)
    } else {
        Ok(None)
    }
}

/// The same for a message of which a channel has a history: no copy of it has lines that only the server writes.
#[inline(never)]
fn numbered(
    hub: &Hub,
    slot: Slot,
    head: &mut Head,
    is_text: bool,
    payload: &[u8],
    needs: Needs,
    renewed: Renewed<'_>,
) -> Result<Option<Vec<u8>>, Refusal> {
    let clean = without_own_lines(payload);
    if let Some(clean) = &clean {
        head.parse(clean, is_text, hub.limits.head)?;
    }
    if needs.stamp {
        let payload = clean.as_deref().unwrap_or(payload);
        return stamped(hub, slot, head, is_text, payload, renewed).map(Some);
    }
    Ok(clean)
}

#[inline(never)]
fn stamped(
    hub: &Hub,
    slot: Slot,
    head: &mut Head,
    is_text: bool,
    payload: &[u8],
    renewed: Renewed<'_>,
) -> Result<Vec<u8>, Refusal> {
    let claims = renewed.or_else(|| hub.claims(slot));
    let stamped = Parsed { head, payload, is_text }.stamped(claims.map(|claims| &*claims.user));
    control::check_size(hub, &stamped)?;
    check_publish_size(stamped.len(), hub.limits.publish_bytes())?;
    head.parse(&stamped, is_text, hub.limits.head)?;
    Ok(stamped)
}

/// Gives the connection the identity of the message's own token, and the seconds for which that is valid.
#[inline]
fn identify(hub: &mut Hub, slot: Slot, renewed: Renewed<'_>) -> Result<Option<u64>, Refusal> {
    let Some(claims) = renewed else { return Ok(None) };
    if !hub.identify(slot, Identity::User(Arc::clone(claims))) {
        return Err(control::too_many_users());
    }
    Ok(Some(claims.expires.saturating_sub(hub.unix_millis() / 1000)))
}

/// Publishes the message of a `POST /publish`, and gives the number of its channels.
fn post(hub: &mut Hub, slot: Slot, head: &mut Head, is_text: bool, body: &[u8]) -> Result<usize, Refusal> {
    parse(hub, head, is_text, body)?;
    let message = Parsed { head, payload: body, is_text };
    let without_token = head.has(Control::Token).then(|| message.without("token"));
    let body = without_token.as_deref().unwrap_or(body);
    if without_token.is_some() {
        head.parse(body, is_text, hub.limits.head)?;
    }
    let needs = control::check_post(hub, slot, Parsed { head, payload: body, is_text })?;
    let stamped = stamp(hub, slot, head, is_text, body, needs, None)?;
    let body = stamped.as_deref().unwrap_or(body);
    Ok(control::post(hub, Parsed { head, payload: body, is_text }))
}

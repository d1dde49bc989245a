//! The way of one message: it is parsed, goes to filters and processors, is checked whole, and then carried out.

use crate::{
    application::{
        control,
        dispatch::{Dispatch, Failure},
    },
    engine::{hub::Hub, slot::Slot, subscriptions::Demand},
    error::Refusal,
    extension::Request,
    protocol::message::{Control, Head, Parsed, is_lhttp},
};

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
        if self.extensions.filters.is_empty() && self.processor(head.command(payload)).is_none() {
            let parsed = Parsed { head, payload, is_text };
            control::check(hub, slot, parsed, &Demand::default(), self.upstream.as_deref())?;
            control::carry_out(hub, slot, parsed, self.upstream.as_deref());
            control::keep_head(hub, slot, parsed);
            return Ok(());
        }
        self.effects.clear();
        let filtered = self.filter(hub, slot, Parsed { head, payload, is_text })?;
        let payload = filtered.as_deref().unwrap_or(payload);
        if filtered.is_some() {
            control::check_size(hub, payload)?;
            head.parse(payload, false, hub.limits.head)?;
        }
        self.check(hub, slot, Parsed { head, payload, is_text })?;
        let processed = self.process(hub, slot, Parsed { head, payload, is_text })?;
        let payload = processed.as_deref().unwrap_or(payload);
        if processed.is_some() {
            control::check_size(hub, payload)?;
            head.parse(payload, false, hub.limits.head)?;
        }
        let parsed = Parsed { head, payload, is_text };
        match (&processed, self.effects.demand().subscriptions) {
            (Some(_), _) => self.check(hub, slot, parsed)?,
            (None, 0) => {}
            // Everything else was checked already. A second check might read the whole body again.
            (None, _) => control::check_subscribe(hub, slot, parsed, self.effects.demand())?,
        }
        let is_changed = filtered.is_some() || processed.is_some();
        let is_text = is_text && (!is_changed || simdutf8::basic::from_utf8(payload).is_ok());
        let parsed = Parsed { head, payload, is_text };
        self.commit(hub, slot);
        control::carry_out(hub, slot, parsed, self.upstream.as_deref());
        // If the processor has closed the connection, the filters have had their `on_close`.
        if hub.sessions.is_open(slot) { self.filter_after(hub, slot, parsed) } else { Ok(()) }
    }

    /// Checks everything that the message asks for, besides the demand of the user's code.
    fn check(&self, hub: &Hub, slot: Slot, parsed: Parsed<'_>) -> Result<(), Refusal> {
        control::check(hub, slot, parsed, self.effects.demand(), self.upstream.as_deref())
    }

    /// The body of a `POST /publish`; gives the number of channels that it went to.
    pub(super) fn publish(&mut self, hub: &mut Hub, body: &[u8]) -> Result<usize, Refusal> {
        if !is_lhttp(body) {
            return Err(control::not_lhttp());
        }
        let is_text = simdutf8::basic::from_utf8(body).is_ok();
        parse(hub, &mut self.head, is_text, body)?;
        let parsed = Parsed { head: &self.head, payload: body, is_text };
        control::publish(hub, parsed)
    }

    /// Handles a message that is not LHTTP.
    pub(super) fn raw(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]) -> Result<(), Failure> {
        let Some(handler) = self.extensions.raw.clone() else { return Err(control::not_lhttp().into()) };
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

//! From a core's messages to filters, processors and control headers.

use std::{
    cell::RefCell,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    application::{control, links, plain::Plain, upstream::Upstream},
    engine::{
        hub::{Application, Hub},
        inbox::Mailbox,
        log_limit::LogLimit,
        slot::Slot,
        subscriptions::Demand,
    },
    error::{Fault, Reason, Refusal},
    extension::{ConnectionId, Context, Effects, Extensions, Processor, Profile, Request},
    protocol::{
        http::RequestHead,
        message::{Control, Head, Message, Parsed, find_ack, is_lhttp},
    },
};

/// The close code of a connection that a filter does not want (RFC 6455 §7.4.1).
const POLICY: u16 = 1008;

/// Why a message is not carried out.
enum Stop {
    /// The client hears why.
    Refused(Refusal),
    /// Code of ours or the user's panicked: the connection pays for it.
    Panicked,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The application of one core.
pub(crate) struct Dispatch {
    core: u32,
    extensions: Arc<Extensions>,
    mailbox: Mailbox,
    /// The way to upstream servers, if any is allowed.
    upstream: Option<Box<dyn Upstream>>,
    /// By slot; empty for a server that has no extensions.
    profiles: Vec<Option<Box<Profile>>>,
    head: Head,
    plain: Plain,
    effects: Effects,
}

impl Dispatch {
    /// The application of core number `core`, which `mailbox` reaches.
    pub(crate) fn new(
        core: u32,
        extensions: Arc<Extensions>,
        mailbox: Mailbox,
        upstream: Option<Box<dyn Upstream>>,
    ) -> Self {
        Self {
            core,
            extensions,
            mailbox,
            upstream,
            profiles: Vec::new(),
            head: Head::default(),
            plain: Plain::default(),
            effects: Effects::default(),
        }
    }

    /// A whole LHTTP message: checked, then carried out.
    fn message(
        &mut self,
        hub: &mut Hub,
        slot: Slot,
        head: &mut Head,
        is_text: bool,
        payload: &[u8],
    ) -> Result<(), Stop> {
        parse(hub, head, is_text, payload)?;
        if self.extensions.filters.is_empty() && self.processor(head.command(payload)).is_none() {
            let parsed = Parsed { head, payload, is_text };
            control::check(hub, slot, parsed, &Demand::default(), self.upstream.as_deref())?;
            control::carry_out(hub, slot, parsed, self.upstream.as_deref());
            self.plain.keep(hub.limits.head, head, payload);
            return Ok(());
        }
        self.effects.clear();
        let filtered = self.filter(hub, slot, Parsed { head, payload, is_text })?;
        let payload = filtered.as_deref().unwrap_or(payload);
        if filtered.is_some() {
            check_size(hub, payload)?;
            head.parse(payload, false, hub.limits.head)?;
        }
        self.check(hub, slot, Parsed { head, payload, is_text })?;
        let processed = self.process(hub, slot, Parsed { head, payload, is_text })?;
        let payload = processed.as_deref().unwrap_or(payload);
        if processed.is_some() {
            check_size(hub, payload)?;
            head.parse(payload, false, hub.limits.head)?;
        }
        let parsed = Parsed { head, payload, is_text };
        match (&processed, self.effects.demand().subscriptions) {
            (Some(_), _) => self.check(hub, slot, parsed)?,
            (None, 0) => {}
            // All else has been found sound already, and may have taken reading a whole body.
            (None, _) => control::check_subscribe(hub, slot, parsed, self.effects.demand())?,
        }
        let is_changed = filtered.is_some() || processed.is_some();
        let is_text = is_text && (!is_changed || simdutf8::basic::from_utf8(payload).is_ok());
        let parsed = Parsed { head, payload, is_text };
        self.commit(hub, slot);
        control::carry_out(hub, slot, parsed, self.upstream.as_deref());
        // The filters have heard already that a connection is closed which the processor has closed.
        if hub.is_open(slot) { self.filter_after(hub, slot, parsed) } else { Ok(()) }
    }

    /// Checks what the message asks for beside what the user's code has.
    fn check(&self, hub: &Hub, slot: Slot, parsed: Parsed<'_>) -> Result<(), Refusal> {
        control::check(hub, slot, parsed, self.effects.demand(), self.upstream.as_deref())
    }

    fn processor(&self, command: &[u8]) -> Option<&Arc<dyn Processor>> {
        if self.extensions.processors.is_empty() { None } else { self.extensions.processors.get(command) }
    }

    /// Runs the before-filters and gives the message that they made of it, if they changed it.
    fn filter(&mut self, hub: &Hub, slot: Slot, parsed: Parsed<'_>) -> Result<Option<Vec<u8>>, Stop> {
        let extensions = Arc::clone(&self.extensions);
        let mut changed = None;
        for filter in &extensions.filters {
            let request = changed.map_or(Request::Borrowed(parsed), Request::Changed);
            let result;
            (changed, result) =
                self.call(hub, slot, request, parsed.is_text, |context| filter.before_request(context))?;
            result?;
        }
        Ok(changed.map(|message| message.encode()))
    }

    /// Runs the command's processor, if it has one, and gives the message that it made of it, if it changed it.
    fn process(&mut self, hub: &Hub, slot: Slot, parsed: Parsed<'_>) -> Result<Option<Vec<u8>>, Stop> {
        let Some(processor) = self.processor(parsed.command()).cloned() else {
            return Ok(None);
        };
        let mut changed = None;
        let opened = &mut self.profile(slot).opened;
        if !opened.iter().any(|other| Arc::ptr_eq(other, &processor)) {
            opened.push(Arc::clone(&processor));
            let (request, start) = (Request::Borrowed(parsed), self.effects.len());
            (changed, ()) = self.call(hub, slot, request, parsed.is_text, |context| processor.on_open(context))?;
            self.effects.opened_from(start);
        }
        let request = changed.map_or(Request::Borrowed(parsed), Request::Changed);
        let (changed, ()) = self.call(hub, slot, request, parsed.is_text, |context| processor.on_message(context))?;
        Ok(changed.map(|message| message.encode()))
    }

    fn filter_after(&mut self, hub: &mut Hub, slot: Slot, parsed: Parsed<'_>) -> Result<(), Stop> {
        let extensions = Arc::clone(&self.extensions);
        for filter in &extensions.filters {
            let request = Request::Borrowed(parsed);
            match self.call(hub, slot, request, parsed.is_text, |context| filter.after_request(context)) {
                Ok(_) | Err(Stop::Refused(_)) => {} // it is too late to refuse
                Err(stop) => return Err(stop),
            }
        }
        self.commit(hub, slot);
        Ok(())
    }

    /// Calls the user's code. Gives the message if it was changed, and what the call returned.
    fn call<R>(
        &mut self,
        hub: &Hub,
        slot: Slot,
        request: Request<'_>,
        is_text: bool,
        call: impl FnOnce(&mut Context<'_>) -> R,
    ) -> Result<(Option<Message>, R), Stop> {
        let Some(Some(profile)) = self.profiles.get_mut(slot as usize) else { return Err(Stop::Panicked) };
        let mut context = Context {
            request,
            is_text,
            profile,
            effects: RefCell::new(&mut self.effects),
            mailbox: &self.mailbox,
            hub,
            slot,
            refusal: None,
        };
        // What the user's code leaves half done when it panics is its own; ours is the effects, which are dropped.
        match catch_unwind(AssertUnwindSafe(|| call(&mut context))) {
            Ok(result) => match context.refusal.take() {
                None => Ok((context.request.into_changed(), result)),
                Some(refusal) => Err(Stop::Refused(refusal)),
            },
            Err(_) => Err(Stop::Panicked),
        }
    }

    /// Carries out what the user's code has asked for.
    fn commit(&mut self, hub: &mut Hub, slot: Slot) {
        let mut effects = std::mem::take(&mut self.effects);
        effects.commit(self, hub, slot);
        self.effects = effects;
    }

    /// Carries out what one `on_close` has asked for.
    fn commit_closed(&mut self, hub: &mut Hub, slot: Slot, called: Result<(Option<Message>, ()), Stop>) {
        if let Err(Stop::Panicked) = called {
            hub.stats.panics += 1; // the connection is closed already, which is all that a panic costs it
            self.effects.clear();
        }
        self.commit(hub, slot);
    }

    /// Acts on a message that is not carried out.
    fn stopped(&mut self, hub: &mut Hub, slot: Slot, stop: Stop, ack: Option<&[u8]>) {
        match stop {
            Stop::Refused(refusal) => {
                // A processor is opened once, so what that asked for would else be lost for ever.
                self.effects.keep_opening();
                self.commit(hub, slot);
                hub.refuse(slot, &refusal, ack);
            }
            Stop::Panicked => {
                self.effects.clear();
                static LIMIT: LogLimit = LogLimit::new();
                let id = self.id(hub, slot);
                LIMIT.say(|more| log::error!("a processor or filter panicked; connection {id} is closed{more}"));
                hub.stats.panics += 1;
                hub.close(self, slot, Fault::PANICKED.code, Fault::PANICKED.reason);
            }
        }
    }

    fn id(&self, hub: &Hub, slot: Slot) -> ConnectionId {
        ConnectionId::new(self.core, hub.key(slot))
    }

    /// The profile of an open connection; [`Dispatch::on_open`] made it.
    fn profile(&mut self, slot: Slot) -> &mut Profile {
        self.profiles[slot as usize].as_mut().expect("an open connection of a server with extensions has a profile")
    }
}

/// Parses a head, and charges what that costs: it is the larger part of what most messages do.
fn parse(hub: &mut Hub, head: &mut Head, is_text: bool, payload: &[u8]) -> Result<(), Refusal> {
    let parsed = head.parse(payload, is_text, hub.limits.head);
    let head_bytes = if parsed.is_ok() { head.body_start() } else { payload.len().min(hub.limits.head.head_bytes_max) };
    let has_parts = parsed.is_ok() && head.has(Control::Multipart);
    hub.has_parsed(head_bytes, if has_parts { payload.len() - head_bytes } else { 0 });
    parsed
}

impl Application for Dispatch {
    fn on_open(&mut self, hub: &mut Hub, slot: Slot, head: &RequestHead<'_, '_>, peer: Option<SocketAddr>) {
        if let Some(upstream) = &mut self.upstream {
            upstream.opened(slot, peer);
        }
        if self.extensions.is_empty() {
            return;
        }
        if self.profiles.len() <= slot as usize {
            self.profiles.resize_with(slot as usize + 1, || None);
        }
        let profile = Profile::new(self.id(hub, slot), peer, head);
        hub.application_keeps(slot, profile.bytes());
        self.profiles[slot as usize] = Some(Box::new(profile));
        let extensions = Arc::clone(&self.extensions);
        self.effects.clear();
        for filter in &extensions.filters {
            let stop = match self.call(hub, slot, Request::None, true, |context| filter.on_open(context)) {
                Ok((_, Ok(()))) => continue,
                Ok((_, Err(refusal))) => Stop::Refused(refusal),
                Err(stop) => stop,
            };
            let reason = if let Stop::Refused(refusal) = &stop { refusal.reason().to_owned() } else { String::new() };
            self.stopped(hub, slot, stop, None);
            hub.close(self, slot, POLICY, &reason);
            return;
        }
        self.commit(hub, slot);
    }

    fn on_message(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]) {
        if self.plain.matches(hub, payload) {
            self.plain.carry_out(hub, slot, is_text, payload);
            return;
        }
        let (result, is_raw) = if is_lhttp(payload) {
            let mut head = std::mem::take(&mut self.head);
            let result = self.message(hub, slot, &mut head, is_text, payload);
            self.head = head;
            (result, false)
        } else {
            (self.raw(hub, slot, is_text, payload), true)
        };
        if let Err(stop) = result {
            let ack = if is_raw { None } else { find_ack(payload, hub.limits.head) };
            self.stopped(hub, slot, stop, ack);
        }
    }

    fn on_publish(&mut self, hub: &mut Hub, body: &[u8]) -> Result<usize, Refusal> {
        if !is_lhttp(body) {
            return Err(not_lhttp());
        }
        let is_text = simdutf8::basic::from_utf8(body).is_ok();
        parse(hub, &mut self.head, is_text, body)?;
        let parsed = Parsed { head: &self.head, payload: body, is_text };
        control::publish(hub, parsed)
    }

    fn on_close(&mut self, hub: &mut Hub, slot: Slot) {
        let Some(opened) =
            self.profiles.get_mut(slot as usize).and_then(Option::as_mut).map(|profile| &mut profile.opened)
        else {
            return;
        };
        let (opened, extensions) = (std::mem::take(opened), Arc::clone(&self.extensions));
        self.effects.clear();
        for processor in &opened {
            let called = self.call(hub, slot, Request::None, true, |context| processor.on_close(context));
            self.commit_closed(hub, slot, called);
        }
        for filter in &extensions.filters {
            let called = self.call(hub, slot, Request::None, true, |context| filter.on_close(context));
            self.commit_closed(hub, slot, called);
        }
        // The value that the user keeps there may have a destructor of the user's.
        let profile = self.profiles[slot as usize].take();
        hub.application_frees(profile.as_ref().map_or(0, |profile| profile.bytes()));
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(profile)));
        hub.stats.panics += u64::from(dropped.is_err());
    }

    fn links_needed(&mut self, hub: &mut Hub, payload: &[u8]) -> u64 {
        links::needed(&self.extensions, &mut self.head, hub, payload)
    }

    fn kept_bytes(&self, slot: Slot) -> usize {
        self.profiles.get(slot as usize).and_then(Option::as_ref).map_or(0, |profile| profile.bytes())
    }
}

impl Dispatch {
    /// A message that is not LHTTP.
    fn raw(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]) -> Result<(), Stop> {
        let Some(handler) = self.extensions.raw.clone() else { return Err(not_lhttp().into()) };
        self.effects.clear();
        self.call(hub, slot, Request::Raw(payload), is_text, |context| handler(context))?;
        self.commit(hub, slot);
        Ok(())
    }
}

/// A processor or filter may have made the message larger than a client's may be.
fn check_size(hub: &Hub, payload: &[u8]) -> Result<(), Refusal> {
    if payload.len() <= hub.limits.message_bytes_max {
        return Ok(());
    }
    Err(Refusal::because(Reason::MessageTooBig, "a processor or filter made the message too big"))
}

fn not_lhttp() -> Refusal {
    Refusal::because(Reason::NotLhttp, "the message does not start with LHTTP/1.0")
}

//! Takes a core's messages to filters, to processors and to their control headers.

use std::{
    cell::RefCell,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    application::{control, links, origin, routes, upstream::Upstream},
    engine::{
        application::{Answer, Application, Route},
        arrival::Arrival,
        hub::Hub,
        inbox::Mailbox,
        log_limit::LogLimit,
        session::Endpoint,
        slot::Slot,
        subscriptions::Demand,
    },
    error::{Fault, Refusal},
    extension::{ConnectionId, Context, Effects, Extensions, Processor, Profile, Request},
    protocol::{
        http::RequestHead,
        message::{Control, Head, Message, Parsed, find_ack, is_lhttp},
    },
};

/// The close code of a connection that a filter has refused (RFC 6455 §7.4.1).
const POLICY: u16 = 1008;

/// Why a message is not carried out.
enum Failure {
    /// The client gets this error.
    Refused(Refusal),
    /// Our code or the user's has panicked. The connection is closed.
    Panicked,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The meaning of one core's messages.
pub(crate) struct Dispatch {
    core: u32,
    extensions: Arc<Extensions>,
    mailbox: Mailbox,
    /// The way to upstream servers, if a prefix is allowed.
    upstream: Option<Box<dyn Upstream>>,
    /// By slot; empty if the server has no extensions.
    profiles: Vec<Option<Box<Profile>>>,
    head: Head,
    effects: Effects,
    /// Room for the body of an answer to a publish.
    said: String,
}

impl Dispatch {
    /// For core number `core`; `mailbox` is the way to it.
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
            effects: Effects::default(),
            said: String::new(),
        }
    }

    /// Checks a whole LHTTP message, then carries it out.
    fn message(
        &mut self,
        hub: &mut Hub,
        slot: Slot,
        head: &mut Head,
        is_text: bool,
        payload: &[u8],
    ) -> Result<(), Failure> {
        parse(hub, head, is_text, payload)?;
        control::admit(hub, slot, Parsed { head, payload, is_text })?;
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

    fn processor(&self, command: &[u8]) -> Option<&Arc<dyn Processor>> {
        if self.extensions.processors.is_empty() { None } else { self.extensions.processors.get(command) }
    }

    /// Runs the filters' `before_request`. Gives the message if a filter has changed it.
    fn filter(&mut self, hub: &Hub, slot: Slot, parsed: Parsed<'_>) -> Result<Option<Vec<u8>>, Failure> {
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

    /// Runs the command's processor, if there is one. Gives the message if the processor has changed it.
    fn process(&mut self, hub: &Hub, slot: Slot, parsed: Parsed<'_>) -> Result<Option<Vec<u8>>, Failure> {
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

    fn filter_after(&mut self, hub: &mut Hub, slot: Slot, parsed: Parsed<'_>) -> Result<(), Failure> {
        let extensions = Arc::clone(&self.extensions);
        for filter in &extensions.filters {
            let request = Request::Borrowed(parsed);
            match self.call(hub, slot, request, parsed.is_text, |context| filter.after_request(context)) {
                Ok(_) | Err(Failure::Refused(_)) => {} // too late to refuse
                Err(failure) => return Err(failure),
            }
        }
        self.commit(hub, slot);
        Ok(())
    }

    /// Calls the user's code. Gives the message if the call has changed it, and the call's result.
    fn call<R>(
        &mut self,
        hub: &Hub,
        slot: Slot,
        request: Request<'_>,
        is_text: bool,
        call: impl FnOnce(&mut Context<'_>) -> R,
    ) -> Result<(Option<Message>, R), Failure> {
        let Some(Some(profile)) = self.profiles.get_mut(slot as usize) else { return Err(Failure::Panicked) };
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
        // After a panic our only half-done state is the effects, which are dropped. The user's state is the user's matter.
        match catch_unwind(AssertUnwindSafe(|| call(&mut context))) {
            Ok(result) => match context.refusal.take() {
                None => Ok((context.request.into_changed(), result)),
                Some(refusal) => Err(Failure::Refused(refusal)),
            },
            Err(_) => Err(Failure::Panicked),
        }
    }

    /// Carries out the effects of the user's code.
    fn commit(&mut self, hub: &mut Hub, slot: Slot) {
        let mut effects = std::mem::take(&mut self.effects);
        effects.commit(self, hub, slot);
        self.effects = effects;
    }

    /// Carries out the effects of one `on_close`.
    fn commit_closed(&mut self, hub: &mut Hub, slot: Slot, called: Result<(Option<Message>, ()), Failure>) {
        if let Err(Failure::Panicked) = called {
            hub.stats.panics += 1; // the connection is closed already
            self.effects.clear();
        }
        self.commit(hub, slot);
    }

    /// Ends a message that is not carried out: its sender gets the error, or is closed.
    fn fail(&mut self, hub: &mut Hub, slot: Slot, failure: Failure, ack: Option<&[u8]>) {
        match failure {
            Failure::Refused(refusal) => {
                // Keep the effects of a processor's `on_open`: it is not called again.
                self.effects.keep_opening();
                self.commit(hub, slot);
                hub.refuse(slot, &refusal, ack);
            }
            Failure::Panicked => {
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
        ConnectionId::new(self.core, hub.sessions.key(slot))
    }

    /// The profile of an open connection, which [`Dispatch::on_open`] has made.
    fn profile(&mut self, slot: Slot) -> &mut Profile {
        self.profiles[slot as usize].as_mut().expect("an open connection of a server with extensions has a profile")
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

impl Application for Dispatch {
    fn on_request(&mut self, hub: &mut Hub, head: &RequestHead<'_, '_>, arrival: &Arrival) -> Route<'_> {
        routes::on_request(&self.extensions, hub, head, arrival)
    }

    fn reader(&self, hub: &Hub, head: &RequestHead<'_, '_>) -> Option<Arc<str>> {
        origin::reader(hub, head)
    }

    fn is_served_when_full(&self, head: &RequestHead<'_, '_>) -> bool {
        routes::is_served_when_full(head)
    }

    fn on_body(&mut self, hub: &mut Hub, endpoint: Endpoint, body: &[u8]) -> Answer<'_> {
        match endpoint {
            routes::PUBLISH => {
                let result = self.publish(hub, body);
                routes::published(hub, result, &mut self.said)
            }
            Endpoint(other) => unreachable!("no route asks for a body of endpoint {other}"),
        }
    }

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
            let failure = match self.call(hub, slot, Request::None, true, |context| filter.on_open(context)) {
                Ok((_, Ok(()))) => continue,
                Ok((_, Err(refusal))) => Failure::Refused(refusal),
                Err(failure) => failure,
            };
            let reason =
                if let Failure::Refused(refusal) = &failure { refusal.reason().to_owned() } else { String::new() };
            self.fail(hub, slot, failure, None);
            hub.close(self, slot, POLICY, &reason);
            return;
        }
        self.commit(hub, slot);
    }

    fn on_message(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]) {
        let (result, is_raw) = if is_lhttp(payload) {
            let mut head = std::mem::take(&mut self.head);
            let result = self.message(hub, slot, &mut head, is_text, payload);
            self.head = head;
            (result, false)
        } else {
            (self.raw(hub, slot, is_text, payload), true)
        };
        if let Err(failure) = result {
            let ack = if is_raw { None } else { find_ack(payload, hub.limits.head) };
            self.fail(hub, slot, failure, ack);
        }
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
        // The user's value may have a destructor, and that may panic.
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
    /// The body of a `POST /publish`; gives the number of channels that it went to.
    fn publish(&mut self, hub: &mut Hub, body: &[u8]) -> Result<usize, Refusal> {
        if !is_lhttp(body) {
            return Err(control::not_lhttp());
        }
        let is_text = simdutf8::basic::from_utf8(body).is_ok();
        parse(hub, &mut self.head, is_text, body)?;
        let parsed = Parsed { head: &self.head, payload: body, is_text };
        control::publish(hub, parsed)
    }

    /// Handles a message that is not LHTTP.
    fn raw(&mut self, hub: &mut Hub, slot: Slot, is_text: bool, payload: &[u8]) -> Result<(), Failure> {
        let Some(handler) = self.extensions.raw.clone() else { return Err(control::not_lhttp().into()) };
        self.effects.clear();
        self.call(hub, slot, Request::Raw(payload), is_text, |context| handler(context))?;
        self.commit(hub, slot);
        Ok(())
    }
}

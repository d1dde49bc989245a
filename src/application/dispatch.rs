//! Takes a core's messages to filters, to processors and to their control headers.

mod calls;
mod message;

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

#[cfg(feature = "admin")]
use std::time::Duration;

#[cfg(feature = "admin")]
use crate::{
    application::admin::{Admin, Gathered},
    engine::{arrival::Role, survey::Answered},
};
use crate::{
    application::{Doorkeeper, links, origin, routes, upstream::Upstream},
    engine::{
        application::{Application, Reply, Route},
        arrival::Arrival,
        hub::Hub,
        inbox::Mailbox,
        log_limit::LogLimit,
        session::Endpoint,
        slot::Slot,
        stats::Why,
    },
    error::{Fault, Refusal},
    extension::{ConnectionId, Effects, Extensions, Profile, Request},
    protocol::{
        http::RequestHead,
        message::{Head, find_ack, is_lhttp},
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
    doorkeeper: Doorkeeper,
    #[cfg(feature = "admin")]
    admin: Option<Box<Admin>>,
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
            doorkeeper: Doorkeeper::default(),
            #[cfg(feature = "admin")]
            admin: None,
            profiles: Vec::new(),
            head: Head::default(),
            effects: Effects::default(),
            said: String::new(),
        }
    }

    /// The same with a doorkeeper who checks tokens.
    pub(crate) fn with_doorkeeper(self, doorkeeper: Doorkeeper) -> Self {
        Self { doorkeeper, ..self }
    }

    /// The same with what listeners of `admin` serve.
    #[cfg(feature = "admin")]
    pub(crate) fn with_admin(self, admin: Option<Admin>) -> Self {
        Self { admin: admin.map(Box::new), ..self }
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
                hub.close(self, slot, Fault::PANICKED.parts(), Why::Panicked);
            }
        }
    }

    /// Answers a request whose question every core has answered, or is too late for.
    #[cfg(feature = "admin")]
    fn answer_admin(&mut self, hub: &mut Hub, done: Option<Gathered>) {
        let local = done.and_then(|done| self.admin.as_ref()?.settle(done));
        if let Some((key, said)) = local {
            hub.answer(self, key, said.answer());
        }
    }

    fn id(&self, hub: &Hub, slot: Slot) -> ConnectionId {
        ConnectionId::new(self.core, hub.sessions.key(slot))
    }
}

impl Application for Dispatch {
    fn on_request(&mut self, hub: &mut Hub, slot: Slot, head: &RequestHead<'_, '_>, arrival: &Arrival) -> Route<'_> {
        #[cfg(feature = "admin")]
        if arrival.role == Role::Admin
            && let Some(admin) = &mut self.admin
        {
            return admin.on_request(hub, slot, head, arrival);
        }
        routes::on_request(&self.extensions, &mut self.doorkeeper, hub, slot, head, arrival)
    }

    fn reader(&self, hub: &Hub, head: &RequestHead<'_, '_>) -> Option<Arc<str>> {
        origin::reader(hub, head)
    }

    fn is_served_when_full(&self, head: &RequestHead<'_, '_>) -> bool {
        routes::is_served_when_full(head)
    }

    #[cfg(feature = "admin")]
    fn is_operators(&self, hub: &Hub, head: &RequestHead<'_, '_>) -> bool {
        super::admin::is_operators(hub, head)
    }

    fn on_body(&mut self, hub: &mut Hub, slot: Slot, endpoint: Endpoint, body: &[u8]) -> Reply<'_> {
        match endpoint {
            routes::PUBLISH => {
                let result = self.publish(hub, slot, body);
                Reply::Now(routes::published(hub, result, &mut self.said))
            }
            #[cfg(feature = "admin")]
            endpoint => match &mut self.admin {
                Some(admin) => admin.on_body(hub, slot, endpoint, body),
                None => unreachable!("only the routes of admin ask for a body of {endpoint:?}"),
            },
            #[cfg(not(feature = "admin"))]
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
            hub.close(self, slot, (POLICY, &reason), Why::Unauthorized);
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

    #[cfg(feature = "admin")]
    fn on_told(&mut self, hub: &mut Hub, id: u32, core: u32, answer: Answered) {
        let done = self.admin.as_mut().and_then(|admin| admin.on_told(id, core, answer));
        self.answer_admin(hub, done);
    }

    #[cfg(feature = "admin")]
    fn on_node(&mut self, hub: &mut Hub, message: &[u8]) {
        let done = self.admin.as_mut().and_then(|admin| admin.on_node(hub, message));
        self.answer_admin(hub, done);
    }

    #[cfg(feature = "admin")]
    fn next_deadline(&self) -> Option<Duration> {
        self.admin.as_ref()?.next_deadline()
    }

    #[cfg(feature = "admin")]
    fn expire(&mut self, hub: &mut Hub, now: Duration) {
        while let Some(done) = self.admin.as_mut().and_then(|admin| admin.take_late(now)) {
            self.answer_admin(hub, Some(done));
        }
        if let Some(admin) = &mut self.admin {
            admin.say_hello(now);
        }
    }

    fn kept_bytes(&self, slot: Slot) -> usize {
        self.profiles.get(slot as usize).and_then(Option::as_ref).map_or(0, |profile| profile.bytes())
    }
}

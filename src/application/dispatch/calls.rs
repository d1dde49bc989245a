//! Calls of the user's code: processors, filters, the handler of messages that are not LHTTP. What they ask for takes effect
//! after the call.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    application::dispatch::{Dispatch, Failure},
    engine::{hub::Hub, slot::Slot},
    extension::{Context, Processor, Profile, Request},
    protocol::message::{Message, Parsed},
};

impl Dispatch {
    pub(super) fn processor(&self, command: &[u8]) -> Option<&Arc<dyn Processor>> {
        if self.extensions.processors.is_empty() { None } else { self.extensions.processors.get(command) }
    }

    /// Runs the filters' `before_request`. Gives the message if a filter has changed it.
    pub(super) fn filter(&mut self, hub: &Hub, slot: Slot, parsed: Parsed<'_>) -> Result<Option<Vec<u8>>, Failure> {
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
    pub(super) fn process(&mut self, hub: &Hub, slot: Slot, parsed: Parsed<'_>) -> Result<Option<Vec<u8>>, Failure> {
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

    pub(super) fn filter_after(&mut self, hub: &mut Hub, slot: Slot, parsed: Parsed<'_>) -> Result<(), Failure> {
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
    pub(super) fn call<R>(
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
    pub(super) fn commit(&mut self, hub: &mut Hub, slot: Slot) {
        let mut effects = std::mem::take(&mut self.effects);
        effects.commit(self, hub, slot);
        self.effects = effects;
    }

    /// Carries out the effects of one `on_close`.
    pub(super) fn commit_closed(&mut self, hub: &mut Hub, slot: Slot, called: Result<(Option<Message>, ()), Failure>) {
        if let Err(Failure::Panicked) = called {
            hub.stats.panics += 1; // the connection is closed already
            self.effects.clear();
        }
        self.commit(hub, slot);
    }

    /// The profile of an open connection, which [`Dispatch::on_open`] has made.
    fn profile(&mut self, slot: Slot) -> &mut Profile {
        self.profiles[slot as usize].as_mut().expect("an open connection of a server with extensions has a profile")
    }
}

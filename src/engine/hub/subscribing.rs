//! Publishing and subscribing, after all checks.

use crate::{
    engine::{
        hub::Hub,
        router::{Awaited, OwnPublish, Receipt, Step},
        slot::Slot,
        subscriptions::Demand,
    },
    error::Refusal,
    protocol::{channel::Kind, message::Span},
};

impl Hub {
    /// Publishes a payload to checked channels, here and on the peers. The connection `except` does not get it.
    pub(crate) fn publish<'n>(
        &mut self,
        names: impl Iterator<Item = &'n [u8]>,
        is_text: bool,
        payload: &[u8],
        except: Option<Slot>,
    ) {
        let except = except.map(|slot| self.sessions.key(slot));
        self.router.publish(names, is_text, payload, except, OwnPublish::default());
    }

    /// The same for a client's message. `receipt` is for the number of the first channel's message, if some channels have a
    /// history.
    pub(crate) fn publish_of<'n>(
        &mut self,
        slot: Slot,
        names: impl Iterator<Item = &'n [u8]>,
        is_text: bool,
        payload: &[u8],
        (is_no_echo, receipt): (bool, Option<Receipt>),
    ) {
        let key = self.sessions.key(slot);
        let own = OwnPublish { publisher: Some(key), receipt };
        self.router.publish(names, is_text, payload, is_no_echo.then_some(key), own);
    }

    /// Remembers the head of a valid message that only publishes to these channels, see
    /// [`crate::engine::router::Router::keep_head`].
    pub(crate) fn keep_head(&mut self, slot: Slot, head: &[u8], names: impl Iterator<Item = Span>, no_echo: bool) {
        self.router.keep_head(self.sessions[slot].grant(), head, names, no_echo);
    }

    /// Subscribes a connection to a checked name. Returns the condition that [`Hub::acknowledge`] waits for.
    pub(crate) fn subscribe(&mut self, slot: Slot, name: &[u8], kind: Kind) -> Awaited {
        if self.sessions.is_open(slot) { self.router.subscribe(slot, name, kind) } else { Awaited::default() }
    }

    /// Subscribes a connection because the server's own code wants that, which no rule binds.
    pub(crate) fn subscribe_for_server(&mut self, slot: Slot, name: &[u8], kind: Kind) {
        if self.sessions.is_open(slot) {
            self.router.subscribe(slot, name, kind);
            self.router.subscriptions.mark_as_servers(slot, name, kind);
        }
    }

    /// Ends a subscription, if there is one.
    pub(crate) fn unsubscribe(&mut self, slot: Slot, name: &[u8], kind: Kind) {
        if self.router.unfinished.is_cut() {
            let key = self.sessions.key(slot);
            self.router.unfinished.put(Step::Unsubscribe { key, name: name.into(), kind });
        } else {
            self.router.unsubscribe(slot, name, kind, self.sessions.now());
            self.end_catch_up(slot, name);
        }
    }

    /// Whether a connection may make these subscriptions.
    ///
    /// # Errors
    /// `too-many-subscriptions`.
    pub(crate) fn check_subscriptions(&self, slot: Slot, demand: &Demand) -> Result<(), Refusal> {
        self.router.check_subscriptions(slot, demand, &self.limits)
    }
}

//! Subscriptions that begin and end, and how the peers learn of them.

use crate::{
    engine::{
        router::{
            Router,
            work::{SUBSCRIPTION_UNITS, subscription_units},
        },
        slot::Slot,
        subscriptions::{AudienceId, Demand, Subscribed, Subscriptions},
    },
    protocol::channel::Kind,
};

/// The condition of an acknowledgement: when the subscriptions of its message are live.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Awaited {
    /// The interest that every peer must have answered; 0 means none.
    pub(crate) live_at: u64,
    /// The first interest of the message that is not answered yet. Interests between the two may belong to other
    /// messages, at most a round trip old.
    pub(crate) waits_from: Option<u64>,
    /// One of the subscriptions does not get the publishes of other nodes.
    pub(crate) is_refused: bool,
}

impl Awaited {
    /// The condition for both this and another subscription.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            live_at: self.live_at.max(other.live_at),
            waits_from: self.waits_from.into_iter().chain(other.waits_from).min(),
            is_refused: self.is_refused || other.is_refused,
        }
    }
}

impl Router {
    /// Subscribes a connection to a checked name. Returns the condition of its acknowledgement.
    pub(crate) fn subscribe(&mut self, slot: Slot, name: &[u8], kind: Kind) -> Awaited {
        self.subscribe_as(slot, name, kind, |subscriptions| subscriptions.subscribe(slot, name, kind))
    }

    /// The same, but the connection does not get messages before [`Router::join`]. If it gets some already, this ends.
    pub(crate) fn subscribe_pending(&mut self, slot: Slot, name: &[u8], kind: Kind) -> Awaited {
        let awaited = self.subscribe_as(slot, name, kind, |table| table.subscribe_pending(slot, name, kind));
        // A channel without joined subscribers has the same audiences, but nobody to deliver to.
        self.forget_resolved(name, kind);
        awaited
    }

    /// Lets a pending subscription have messages from now on.
    pub(crate) fn join(&mut self, slot: Slot, name: &[u8], kind: Kind) {
        self.apply_run();
        if self.subscriptions.join(slot, name, kind) {
            self.forget_resolved(name, kind);
        }
    }

    fn subscribe_as(
        &mut self,
        slot: Slot,
        name: &[u8],
        kind: Kind,
        subscribe: impl FnOnce(&mut Subscriptions) -> Subscribed,
    ) -> Awaited {
        self.work.add(subscription_units(name));
        self.apply_run();
        let before = self.table_size();
        let subscribed = subscribe(&mut self.subscriptions);
        self.note_entered(slot, name, kind, subscribed.new);
        if subscribed.first {
            self.forget_resolved(name, kind);
            if self.subscriptions.announce(subscribed.audience) {
                let live_at = self.relays.announce(name, kind);
                self.subscriptions.set_live_at(subscribed.audience, live_at);
                self.passed_on += self.relays.interest_len(name);
                self.announced(live_at, before);
            }
        } else {
            self.count_subscribers();
        }
        self.awaited(subscribed.audience)
    }

    fn awaited(&self, audience: AudienceId) -> Awaited {
        let live_at = self.subscriptions.live_at(audience);
        let waits_from = (live_at > self.relays.live()).then_some(live_at);
        Awaited { live_at, waits_from, is_refused: self.subscriptions.is_refused(audience) }
    }

    /// Ends a subscription, if there is one. `now` is the time for which the core has run, in milliseconds.
    pub(crate) fn unsubscribe(&mut self, slot: Slot, name: &[u8], kind: Kind, now: u64) {
        self.work.add(subscription_units(name));
        self.apply_run();
        let unsubscribed = self.subscriptions.unsubscribe(slot, name, kind);
        if unsubscribed.is_some() {
            self.note_left(slot, name, kind);
        }
        match unsubscribed {
            Some(unsubscribed) if unsubscribed.last => {
                self.forget_resolved(name, kind);
                self.linger(now);
            }
            _ => self.count_subscribers(),
        }
    }

    /// Ends all subscriptions of a connection.
    pub(crate) fn unsubscribe_all(&mut self, slot: Slot, now: u64) {
        let count = self.subscriptions.count(slot);
        if count > 0 {
            self.work.add(SUBSCRIPTION_UNITS * count as u64);
            self.apply_run();
            self.note_all_left(slot);
            let Self { subscriptions, resolved, recent, .. } = self;
            subscriptions.close(slot, &mut |name, kind| {
                resolved.forget(name, kind);
                recent.forget(name, kind);
            });
            self.count_subscribers();
            self.linger(now);
        }
    }

    /// Notes that a peer has become interested in a name, or is no longer.
    pub(crate) fn hear_interest(&mut self, peer: u32, name: &[u8], kind: Kind, is_interested: bool) {
        self.work.add(subscription_units(name));
        self.apply_run();
        self.forget_resolved(name, kind);
        if is_interested && kind == Kind::Exact {
            self.note_first_subscriber(name);
        }
        self.subscriptions.set_interest(peer, name, kind, is_interested);
        if is_interested {
            self.relays.heard_interest(peer);
        }
    }

    /// Adds the cost of one more subscription of a connection to a demand.
    pub(crate) fn add_demand(&self, slot: Slot, name: &[u8], kind: Kind, demand: &mut Demand) {
        self.subscriptions.add_demand(slot, name, kind, demand);
    }
}

//! Subscriptions that begin and end, and what the peers are told of them.

use crate::{
    engine::{
        router::{
            Router,
            work::{SUBSCRIPTION_UNITS, subscription_units},
        },
        slot::Slot,
        subscriptions::{AudienceId, Demand},
    },
    protocol::channel::Kind,
};

/// What an acknowledgement waits for, and says: when the subscriptions of a message are live.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Awaited {
    /// The interest that every peer must have answered; 0 is none.
    pub(crate) live_at: u64,
    /// Of those that are not answered yet, the first one. What lies between may be others', at most a round trip old.
    pub(crate) waits_from: Option<u64>,
    /// Other nodes' publishes do not come to one of them.
    pub(crate) is_refused: bool,
}

impl Awaited {
    /// This and another subscription.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            live_at: self.live_at.max(other.live_at),
            waits_from: self.waits_from.into_iter().chain(other.waits_from).min(),
            is_refused: self.is_refused || other.is_refused,
        }
    }
}

impl Router {
    /// Subscribes a connection to a checked name, and gives what its acknowledgement waits for.
    pub(crate) fn subscribe(&mut self, slot: Slot, name: &[u8], kind: Kind) -> Awaited {
        self.work.add(subscription_units(name));
        self.apply_run();
        let before = self.table_size();
        let subscribed = self.subscriptions.subscribe(slot, name, kind);
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
        match self.subscriptions.unsubscribe(slot, name, kind) {
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
            let Self { subscriptions, resolved, recent, .. } = self;
            subscriptions.close(slot, &mut |name, kind| {
                resolved.forget(name, kind);
                recent.forget(name, kind);
            });
            self.count_subscribers();
            self.linger(now);
        }
    }

    /// A peer has begun or ceased to be interested in a name.
    pub(crate) fn hear_interest(&mut self, peer: u32, name: &[u8], kind: Kind, is_interested: bool) {
        self.work.add(subscription_units(name));
        self.apply_run();
        self.forget_resolved(name, kind);
        self.subscriptions.set_interest(peer, name, kind, is_interested);
        if is_interested {
            self.relays.heard_interest(peer);
        }
    }

    /// What one more subscription of a connection takes is added to a demand.
    pub(crate) fn add_demand(&self, slot: Slot, name: &[u8], kind: Kind, demand: &mut Demand) {
        self.subscriptions.add_demand(slot, name, kind, demand);
    }
}

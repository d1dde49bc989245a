//! Subscriptions that begin and end, and what the peers are told of them.

use crate::{
    engine::{
        hub::{
            Hub,
            acks::Awaited,
            unfinished::Step,
            work::{SUBSCRIPTION_UNITS, subscription_units},
        },
        slot::Slot,
    },
    protocol::channel::Kind,
};

impl Hub {
    /// Subscribes a connection to a checked name, and gives what [`Hub::acknowledge`] waits for.
    pub(crate) fn subscribe(&mut self, slot: Slot, name: &[u8], kind: Kind) -> Awaited {
        if !self.is_open(slot) {
            return Awaited::default();
        }
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

    /// Ends a subscription, if there is one.
    pub(crate) fn unsubscribe(&mut self, slot: Slot, name: &[u8], kind: Kind) {
        if self.is_cut() {
            let key = self.key(slot);
            return self.put_step(Step::Unsubscribe { key, name: name.into(), kind });
        }
        self.work.add(subscription_units(name));
        self.apply_run();
        match self.subscriptions.unsubscribe(slot, name, kind) {
            Some(unsubscribed) if unsubscribed.last => {
                self.forget_resolved(name, kind);
                self.linger();
            }
            _ => self.count_subscribers(),
        }
    }

    /// Ends all subscriptions of a connection.
    pub(super) fn unsubscribe_all(&mut self, slot: Slot) {
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
            self.linger();
        }
    }
}

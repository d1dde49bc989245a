//! Pending subscribers: they hold a subscription, but get what was published before it first, so new messages do not go to
//! them yet. They stand behind the others in their audience, so that a delivery does not look at them.

use super::{Held, Subscribed, Subscriber, Subscriptions};
use crate::{engine::slot::Slot, protocol::channel::Kind};

impl Subscriptions {
    /// Subscribes a connection that does not get messages before [`join`](Self::join). One that is subscribed already
    /// becomes pending.
    pub(crate) fn subscribe_pending(&mut self, slot: Slot, name: &[u8], kind: Kind) -> Subscribed {
        let subscribed = self.add_last(slot, name, kind);
        let id = subscribed.audience.0;
        if subscribed.new {
            self.change_pending(id, |pending| pending + 1);
        } else if let Some(position) = self.position(slot, id) {
            let index = self.held[slot as usize][position].index();
            let joined = self.joined(id);
            if index < joined {
                self.swap_subscribers(id, index, joined - 1);
                self.change_pending(id, |pending| pending + 1);
            }
        }
        subscribed
    }

    /// Whether a connection has a subscription to this name that is pending.
    pub(crate) fn is_pending(&self, slot: Slot, name: &[u8], kind: Kind) -> bool {
        self.find_pending(slot, name, kind).is_some()
    }

    /// Lets a pending subscriber have messages from now on. Returns false if it is not pending any more.
    pub(crate) fn join(&mut self, slot: Slot, name: &[u8], kind: Kind) -> bool {
        let Some((id, index)) = self.find_pending(slot, name, kind) else { return false };
        self.swap_subscribers(id, self.joined(id), index);
        self.change_pending(id, |pending| pending - 1);
        true
    }

    fn find_pending(&self, slot: Slot, name: &[u8], kind: Kind) -> Option<(u32, usize)> {
        let id = self.lookup(name, kind)?;
        if !self.audiences[id as usize].has_pending {
            return None;
        }
        let position = self.position(slot, id)?;
        let index = self.held[slot as usize][position].index();
        (index >= self.joined(id)).then_some((id, index))
    }

    /// The subscribers of an audience without the pending ones.
    #[inline(never)]
    pub(super) fn joined_subscribers(&self, id: u32) -> &[Subscriber] {
        &self.audiences[id as usize].subscribers[..self.joined(id)]
    }

    /// The number of subscribers of an audience that get messages.
    pub(super) fn joined(&self, id: u32) -> usize {
        let pending = self.pending.get(&id).map_or(0, |&pending| pending as usize);
        self.audiences[id as usize].subscribers.len() - pending
    }

    /// Moves the newest subscriber of an audience before the pending ones.
    pub(super) fn put_before_pending(&mut self, id: u32) {
        let last = self.audiences[id as usize].subscribers.len() - 1;
        self.swap_subscribers(id, self.joined(id) - 1, last);
    }

    /// Moves a subscriber to the end of its audience, because it leaves. Returns its index there.
    pub(super) fn put_last(&mut self, held: Held) -> usize {
        let (id, mut index) = (held.audience, held.index());
        let (joined, last) = (self.joined(id), self.audiences[id as usize].subscribers.len() - 1);
        if index < joined {
            self.swap_subscribers(id, index, joined - 1);
            index = joined - 1;
        } else {
            self.change_pending(id, |pending| pending - 1);
        }
        self.swap_subscribers(id, index, last);
        last
    }

    fn change_pending(&mut self, id: u32, change: impl Fn(u32) -> u32) {
        let pending = change(self.pending.remove(&id).unwrap_or(0));
        self.audiences[id as usize].has_pending = pending > 0;
        if pending > 0 {
            self.pending.insert(id, pending);
        }
    }

    fn swap_subscribers(&mut self, id: u32, one: usize, other: usize) {
        let subscribers = &mut self.audiences[id as usize].subscribers;
        subscribers.swap(one, other);
        for index in [one, other] {
            let subscriber = subscribers[index];
            // A subscriber that leaves has no other side any more; what stands in its place is of another audience.
            if let Some(held) = self.held[subscriber.slot as usize].get_mut(subscriber.held as usize)
                && held.audience == id
            {
                held.set_index(index);
            }
        }
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn pending_invariants(&self) {
        for (&id, &pending) in &self.pending {
            let audience = &self.audiences[id as usize];
            assert!(audience.has_pending && pending > 0 && pending as usize <= audience.subscribers.len());
        }
        let marked = self.audiences.iter().filter(|(_, audience)| audience.has_pending).count();
        assert_eq!(marked, self.pending.len(), "an audience is marked wrongly");
    }
}

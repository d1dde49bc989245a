//! The answers of a core to an operator's questions, see [`crate::engine::survey`].

use std::net::SocketAddr;

use crate::{
    engine::{
        hub::Hub,
        slot::Slot,
        survey::{Seen, Whose},
    },
    protocol::channel::Kind,
};

/// The most names of a connection's subscriptions that are told.
const NAMES_MAX: usize = 1000;

impl Hub {
    /// Whether the connection in a slot is open, and one of those. `peer` is its socket's other end.
    pub(crate) fn is_of(&self, whose: &Whose, slot: Slot, peer: impl FnOnce() -> Option<SocketAddr>) -> bool {
        let Some(session) = self.sessions.get(slot) else { return false };
        if !session.is_open() {
            return false;
        }
        let is_it = |(core, key): (u32, _)| core == self.router.own() && key == self.sessions.key(slot);
        let has_user = |user: &str| self.claims(slot).is_some_and(|claims| *claims.user == *user);
        whose.connection.is_none_or(is_it)
            && whose.user.as_deref().is_none_or(has_user)
            && whose
                .channel
                .as_ref()
                .is_none_or(|(name, kind)| self.router.subscriptions.is_subscribed(slot, name, *kind))
            && whose.address.is_none_or(|address| {
                self.shown_client(slot, peer()).is_some_and(|client| client.ip().to_canonical() == address)
            })
    }

    /// The connection in a slot.
    pub(crate) fn seen(&self, slot: Slot, peer: Option<SocketAddr>, with_names: bool) -> Seen {
        let subscriptions = &self.router.subscriptions;
        let names = if with_names { NAMES_MAX } else { 0 };
        Seen {
            key: self.sessions.key(slot),
            user: self.claims(slot).map(|claims| (*claims.user).into()),
            address: self.shown_client(slot, peer).map(|client| client.to_string().into()),
            subscriptions: subscriptions.count(slot),
            channels: subscriptions.of(slot).take(names).map(|(name, _)| name.into()).collect(),
            backlog_bytes: self.router.outboxes.backlog_cost(slot),
            backlog_millis: self.backlog_millis(slot).unwrap_or(0),
        }
    }

    /// For how long a connection has had a backlog.
    pub(crate) fn backlog_millis(&self, slot: Slot) -> Option<u64> {
        self.router.outboxes.backlog_since(slot).map(|since| self.sessions.now().saturating_sub(since))
    }

    /// The client of a connection: the one that a trusted proxy has told, or the peer of its socket.
    fn shown_client(&self, slot: Slot, peer: Option<SocketAddr>) -> Option<SocketAddr> {
        self.clients.get(slot).or(peer)
    }

    /// Subscribes an open connection to a checked name, or ends that, as an operator wishes: no rule binds it.
    pub(crate) fn subscribe_for_operator(&mut self, slot: Slot, name: &[u8], kind: Kind, is_end: bool) {
        if is_end {
            self.unsubscribe(slot, name, kind);
        } else {
            self.subscribe_for_server(slot, name, kind);
        }
    }
}

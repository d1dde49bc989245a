//! Connections that wait: for a link that their next message needs, or for the rest of the one before.
//!
//! A link to a peer is *congested* when it has not taken a batch that has grown too large. Only a message that has
//! something to say over such a link waits: a publish to a channel in which the peer is interested, a subscription that
//! the peer has to hear of. It is kept as it came, before any of it is carried out, and its connection is not read until
//! the link has room. The messages of others go on.

use std::collections::VecDeque;

use crate::{
    engine::{
        application::Application,
        hub::Hub,
        session::Phase,
        slot::{ConnectionKey, Slot},
    },
    protocol::channel::Kind,
};

/// Connections that are not read for now.
#[derive(Debug, Default)]
pub(super) struct Paused {
    /// Each with a bit for each link that it waits for; the one that has waited longest is first.
    list: VecDeque<(ConnectionKey, u64)>,
    /// The bits of all of them.
    links: u64,
    /// One of them waits for no link any more.
    has_free: bool,
}

impl Paused {
    /// A connection is to be read again, with the next turn.
    pub(super) fn push_free(&mut self, key: ConnectionKey) {
        self.list.push_back((key, 0));
        self.has_free = true;
    }

    fn push(&mut self, key: ConnectionKey, links: u64) {
        self.list.push_back((key, links));
        self.links |= links;
    }

    /// Whether one of them may go on, now that these links are congested.
    fn may_go_on(&self, congested: u64) -> bool {
        self.has_free || self.links & congested != self.links
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn contains(&self, key: ConnectionKey) -> bool {
        self.list.iter().any(|(paused, _)| *paused == key)
    }

    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Hub {
    /// Whether a link to a peer is congested, or this core has said that it publishes nothing more.
    pub(crate) fn is_congested(&self) -> bool {
        self.relays.congested() != 0
    }

    /// The congested links that a message needs, a bit for each. Without any the message is not looked at.
    pub(super) fn links_needed(&mut self, app: &mut dyn Application, payload: &[u8]) -> u64 {
        match self.relays.congested() {
            0 => 0,
            congested => app.links_needed(self, payload) & congested,
        }
    }

    /// The links that a publish to these checked channels needs and that are congested.
    pub(crate) fn links_of_publish<'n>(&mut self, names: impl Iterator<Item = &'n [u8]>) -> u64 {
        match self.relays.congested() {
            0 => 0,
            congested => names.fold(0, |links, name| links | self.links_of_channel(name)) & congested,
        }
    }

    /// The links that a publish to this checked channel needs.
    pub(crate) fn links_of_channel(&mut self, name: &[u8]) -> u64 {
        self.resolve(name);
        self.relays.links_of_publish(self.resolved.peers)
    }

    /// The links that a subscription to this checked name needs: none if the peers know of it.
    pub(crate) fn links_of_subscription(&self, name: &[u8], kind: Kind) -> u64 {
        if self.subscriptions.is_announced(name, kind) { 0 } else { self.relays.links_of_interest() }
    }

    /// Whether the connection is to be read now. One that waits is not: what it sends stays in its socket, where it costs
    /// no memory of ours, until [`Hub::take_resumed`] gives the connection again.
    pub(crate) fn may_read(&self, slot: Slot) -> bool {
        !self.sessions[slot as usize].is_paused
    }

    /// Whether input of the connection is kept that is to be taken before more is read.
    pub(crate) fn has_kept(&self, slot: Slot) -> bool {
        self.sessions[slot as usize].has_more
    }

    /// Takes the input that was kept of a connection, as [`Hub::receive`] does; what is left of it is kept again.
    pub(crate) fn take_kept(&mut self, app: &mut dyn Application, slot: Slot) {
        let session = &mut self.sessions[slot as usize];
        session.has_more = false;
        let mut bytes = session.take_partial();
        session.tidy();
        let used = self.receive(app, slot, &mut bytes);
        if used < bytes.len() {
            self.keep(slot, &bytes[used..]);
        }
    }

    /// Keeps input that may hold whole frames, until [`Hub::take_kept`].
    pub(crate) fn keep(&mut self, slot: Slot, unused: &[u8]) {
        let session = &mut self.sessions[slot as usize];
        session.has_more = true;
        session.put_partial(unused, self.now);
        self.recount(slot);
    }

    /// Appends the connections that need not wait any more, the one that has waited longest first. They are to be read
    /// before all others: otherwise other publishers may fill the links again before these get a turn.
    pub(crate) fn take_resumed(&mut self, resumed: &mut Vec<ConnectionKey>) {
        if !self.may_resume() {
            return;
        }
        let (congested, now) = (self.relays.congested(), self.now);
        let mut paused = std::mem::take(&mut self.paused);
        paused.list.retain(|&(key, links)| {
            if links & congested != 0 {
                self.paused.links |= links;
                return true;
            }
            if let Some(session) = self.session(key) {
                session.is_paused = false;
                if matches!(session.phase, Phase::Http | Phase::Open) {
                    session.excuse(now);
                }
                resumed.push(key);
            }
            false
        });
        self.paused.list = paused.list;
    }

    pub(super) fn may_resume(&self) -> bool {
        self.paused.may_go_on(self.relays.congested())
    }

    /// The connection waits for these links, with this input, of which nothing was carried out.
    pub(super) fn pause_with(&mut self, slot: Slot, unused: &[u8], links: u64) {
        self.stats.paused += 1;
        self.keep(slot, unused);
        let session = &mut self.sessions[slot as usize];
        session.is_paused = true;
        if session.phase == Phase::Open {
            session.heard = self.now; // what it has sent waits; from here on it is us who do not listen
        }
        self.paused.push(self.key(slot), links);
    }
}

//! Input that waits: for a link that the connection's next message needs, or for the turn's end.
//!
//! A link to a peer is *congested* when it has not taken a batch that has grown too large. Only a message that has
//! something to say over such a link waits: a publish to a channel in which the peer is interested, a subscription that
//! the peer has to hear of. It is kept as it came, before any of it is carried out, and its connection is not read until
//! the link has room. The messages of others go on.

use crate::engine::{
    application::Application,
    hub::Hub,
    slot::{ConnectionKey, Slot},
};

impl Hub {
    /// The congested links that a message needs, a bit for each. Without any the message is not looked at.
    pub(super) fn links_needed(&mut self, app: &mut dyn Application, payload: &[u8]) -> u64 {
        match self.router.relays.congested() {
            0 => 0,
            congested => app.links_needed(self, payload) & congested,
        }
    }

    /// Takes the input that was kept of a connection, as [`Hub::receive`] does; what is left of it is kept again.
    pub(crate) fn take_kept(&mut self, app: &mut dyn Application, slot: Slot) {
        let session = &mut self.sessions[slot];
        session.set_more(false);
        let mut bytes = session.take_partial();
        session.tidy();
        let used = self.receive(app, slot, &mut bytes);
        if used < bytes.len() {
            self.keep(slot, &bytes[used..]);
        }
    }

    /// Keeps input that may hold whole frames, until [`Hub::take_kept`].
    pub(crate) fn keep(&mut self, slot: Slot, unused: &[u8]) {
        let now = self.sessions.now();
        let session = &mut self.sessions[slot];
        session.set_more(true);
        session.put_partial(unused, now);
        self.recount(slot);
    }

    /// Appends the connections that need not wait any more, see [`crate::engine::sessions::Sessions::take_resumed`].
    pub(crate) fn take_resumed(&mut self, resumed: &mut Vec<ConnectionKey>) {
        self.sessions.take_resumed(self.router.relays.congested(), resumed);
    }

    /// The connection waits for these links, with this input, of which nothing was carried out.
    pub(super) fn pause_with(&mut self, slot: Slot, unused: &[u8], links: u64) {
        self.stats.paused += 1;
        self.keep(slot, unused);
        self.sessions.pause(slot, links);
    }

    /// Brings the sum of what sessions keep up to date with this one.
    pub(super) fn recount(&mut self, slot: Slot) {
        self.sessions.recount(slot, self.limits.message_timeout);
    }
}

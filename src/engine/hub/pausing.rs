//! Input that waits: for a link that the connection's next message needs, or for the turn's end.
//!
//! A link to a peer is *congested* when it has not taken a batch that has grown too large. Only a message that needs
//! such a link waits: a publish to a channel in which the peer is interested, or a subscription that the peer must
//! learn of. The hub keeps the message unchanged, before any of it is carried out, and does not read its connection
//! until the link has room. The messages of other connections go on.

use crate::engine::{
    application::Application,
    hub::Hub,
    slot::{ConnectionKey, Slot},
};

impl Hub {
    /// The congested links that a message needs, a bit for each. If no link is congested, the message is not parsed.
    pub(super) fn links_needed(&mut self, app: &mut dyn Application, payload: &[u8]) -> u64 {
        match self.router.relays.congested() {
            0 => 0,
            congested => app.links_needed(self, payload) & congested,
        }
    }

    /// Takes the kept input of a connection, as [`Hub::receive`] does, and keeps what is left of it again.
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

    /// Appends the connections that may be read again, see [`crate::engine::sessions::Sessions::take_resumed`].
    pub(crate) fn take_resumed(&mut self, resumed: &mut Vec<ConnectionKey>) {
        self.sessions.take_resumed(self.router.relays.congested(), resumed);
    }

    /// Pauses the connection while one of these links is congested, and keeps this input, of which nothing was carried
    /// out.
    pub(super) fn pause_with(&mut self, slot: Slot, unused: &[u8], links: u64) {
        self.stats.paused += 1;
        self.keep(slot, unused);
        self.sessions.pause(slot, links);
    }

    /// Updates the sum of the sessions' kept bytes after a change of this session.
    pub(super) fn recount(&mut self, slot: Slot) {
        self.sessions.recount(slot, self.limits.message_timeout);
    }
}

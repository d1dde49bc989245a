//! How a core stops serving: first it publishes nothing more, then its clients are told to go.

use crate::{
    engine::{application::Application, hub::Hub},
    error::Fault,
};

impl Hub {
    /// Begins to stop: new clients are turned away, and from here on nothing is published on this core, which its peers are
    /// told behind all that was.
    pub(crate) fn stop_publishing(&mut self) {
        self.is_draining = true;
        self.router.relays.tell_stopping();
    }

    /// Whether it stops: new clients are turned away.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Stops serving: every client is told to go (1001), and new ones are turned away.
    pub(crate) fn drain(&mut self, app: &mut dyn Application) {
        self.is_draining = true;
        self.router.relays.let_go();
        for slot in self.sessions.slots() {
            self.close(app, slot, Fault::GOING_AWAY.code, Fault::GOING_AWAY.reason);
        }
    }

    /// Whether all that was queued has been sent, and whether nobody is left at all.
    pub(crate) fn drained(&self) -> (bool, bool) {
        let is_sent = self.sessions.iter().all(|(slot, _)| self.router.outboxes.is_empty(slot));
        (is_sent, self.sessions.len() == 0)
    }
}

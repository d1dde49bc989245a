//! How a core stops serving: first it publishes nothing more, then it closes its clients' connections.

use crate::{
    engine::{application::Application, hub::Hub},
    error::Fault,
};

impl Hub {
    /// Begins to stop: the core turns new clients away and publishes nothing any more. It announces this to its peers
    /// after all of its publishes.
    pub(crate) fn stop_publishing(&mut self) {
        self.is_draining = true;
        self.router.relays.tell_stopping();
    }

    /// Whether the core is stopping, so that it turns new clients away.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Stops serving: closes every client's connection with 1001, and turns new clients away.
    pub(crate) fn drain(&mut self, app: &mut dyn Application) {
        self.is_draining = true;
        self.router.relays.let_go();
        for slot in self.sessions.slots() {
            self.close(app, slot, Fault::GOING_AWAY.code, Fault::GOING_AWAY.reason);
        }
    }

    /// Whether all outboxes are empty, and whether no connection is left.
    pub(crate) fn drained(&self) -> (bool, bool) {
        let is_sent = self.sessions.iter().all(|(slot, _)| self.router.outboxes.is_empty(slot));
        (is_sent, self.sessions.len() == 0)
    }
}

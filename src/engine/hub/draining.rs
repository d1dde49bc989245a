//! How a core stops serving: it says so, then it closes its clients' connections, and at the end it publishes nothing more.

use crate::{
    engine::{application::Application, hub::Hub, slot::Slot, stats::Why},
    error::Fault,
};

/// How far a core is on its way to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leaving {
    /// It serves.
    #[default]
    No,
    /// It serves, and `/healthz` answers 503.
    Told,
    /// It closes its clients' connections one by one. The open ones are served; connections that are accepted from now on
    /// are no clients any more.
    Closing,
    /// It publishes nothing more.
    Silent,
}

impl Hub {
    /// Whether the core is stopping, so that `/healthz` answers 503.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving > Leaving::No
    }

    /// Whether the core closes its connections. A connection that it accepts now is late.
    pub(crate) fn is_closing(&self) -> bool {
        self.leaving >= Leaving::Closing
    }

    /// Whether the core publishes nothing more.
    pub(crate) fn is_silent(&self) -> bool {
        self.leaving >= Leaving::Silent
    }

    /// Begins to stop: the core serves on.
    pub(crate) fn tell_leaving(&mut self) {
        self.leaving = self.leaving.max(Leaving::Told);
    }

    /// Begins to close connections, with this reason.
    pub(crate) fn begin_closing(&mut self, reason: String) {
        self.leaving = self.leaving.max(Leaving::Closing);
        self.farewell = reason.into();
    }

    /// The core publishes nothing any more. It announces this to its peers after all of its publishes.
    pub(crate) fn stop_publishing(&mut self) {
        self.leaving = Leaving::Silent;
        self.router.relays.tell_stopping();
    }

    /// Closes one more client's connection, the next one from this slot on. Returns false if there is none.
    pub(crate) fn close_next(&mut self, app: &mut dyn Application, from: &mut usize) -> bool {
        let Some(slot) = self.sessions.next_open(from) else { return false };
        self.send_away(app, slot);
        true
    }

    /// Closes every client's connection that is open now.
    pub(crate) fn drain(&mut self, app: &mut dyn Application) {
        self.router.relays.let_go();
        let mut from = 0;
        while self.close_next(app, &mut from) {}
    }

    /// Tells a client that the server ends.
    pub(super) fn send_away(&mut self, app: &mut dyn Application, slot: Slot) {
        let reason = std::mem::take(&mut self.farewell);
        self.close(app, slot, (Fault::GOING_AWAY.code, &reason), Why::Shutdown);
        self.farewell = reason;
    }

    /// Whether a connection that is not late waits for the answer to its first request, or to one that has begun.
    pub(crate) fn has_requests(&self) -> bool {
        self.sessions.iter().any(|(_, session)| session.is_awaiting_answer())
    }

    /// Whether all outboxes are empty, and whether no connection is left.
    pub(crate) fn drained(&self) -> (bool, bool) {
        let is_sent = self.sessions.iter().all(|(slot, _)| self.router.outboxes.is_empty(slot));
        (is_sent, self.sessions.len() == 0)
    }
}

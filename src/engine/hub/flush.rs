//! The end of a turn: one write for each connection with bytes to send, and the consequences of these writes.

use crate::{
    engine::{
        application::Application,
        hub::Hub,
        outbox::Sink,
        session::{Ended, Phase},
        slot::Slot,
    },
    error::Fault,
};

impl Hub {
    /// Sends the bytes that the turn has collected, and handles the results of the writes.
    pub(crate) fn flush(&mut self, app: &mut dyn Application, sink: &mut impl Sink) {
        self.router.begin_flush();
        let mut flushed = std::mem::take(&mut self.flushed);
        self.router.outboxes.flush(sink, &mut flushed);
        for slot in flushed.broken.drain(..) {
            self.lost(app, slot);
        }
        for slot in flushed.emptied.drain(..) {
            self.sessions.has_sent_all(slot);
        }
        for slot in flushed.backlogged.drain(..) {
            self.sessions.keeps(slot);
            if self.router.outboxes.backlog_cost(slot) > self.limits.outbox_bytes_max {
                self.drop_backlog(app, slot);
            }
        }
        self.flushed = flushed;
        self.enforce_budget(app);
    }

    /// Closes a slow consumer: it loses its backlog, and gets the reason when it reads again. Returns whether the
    /// connection was still in use.
    pub(super) fn drop_backlog(&mut self, app: &mut dyn Application, slot: Slot) -> bool {
        match self.sessions[slot].phase {
            Phase::Open => {
                self.stats.slow_consumers += 1;
                self.router.outboxes.truncate(slot);
                self.close(app, slot, Fault::SLOW_CONSUMER.code, Fault::SLOW_CONSUMER.reason);
                true
            }
            Phase::Http => {
                self.stats.slow_consumers += 1;
                self.lost(app, slot);
                true
            }
            Phase::Closing | Phase::Lingering | Phase::Ended | Phase::Over => false,
        }
    }

    /// Removes and returns the connections that have ended. The caller must close their sockets before the next
    /// [`Hub::open`].
    pub(crate) fn reap(&mut self, ended: &mut Vec<Ended>) {
        let Self { sessions, router, .. } = self;
        ended.extend(sessions.reap().inspect(|ended| router.outboxes.close(ended.slot)));
    }
}

//! The end of a turn: one write for each connection with bytes to send, and the consequences of these writes.

use std::time::Duration;

use crate::engine::{application::Application, hub::Hub, outbox::Sink, session::Ended};

impl Hub {
    /// Sends the bytes that the turn has collected, and handles the results of the writes.
    pub(crate) fn flush(&mut self, app: &mut dyn Application, sink: &mut impl Sink) {
        self.tell_moves();
        self.router.begin_flush();
        let mut flushed = std::mem::take(&mut self.flushed);
        self.router.outboxes.flush(sink, &mut flushed);
        for slot in flushed.broken.drain(..) {
            self.lost(app, slot);
        }
        if self.missed.has_any() {
            flushed.emptied.iter().for_each(|&slot| self.has_taken_piece(slot));
        }
        for slot in flushed.emptied.drain(..) {
            self.sessions.has_sent_all(slot);
        }
        for slot in flushed.backlogged.drain(..) {
            self.sessions.keeps(slot);
            self.close_if_slow(app, slot);
        }
        self.flushed = flushed;
        self.enforce_budget(app, sink);
        if self.missed.has_ready() {
            self.go_on_catching_up();
        }
    }

    /// Measures a flush that ended at this time, by the sockets' clock, and took what came from `since` on.
    pub(crate) fn has_flushed(&mut self, since: Duration, ended: Duration) {
        let nanos = |since| ended.saturating_sub(since).as_nanos() as u64;
        let delivered = self.router.counts().1;
        let news = delivered - std::mem::replace(&mut self.deliveries_measured, delivered);
        if news > 0 {
            self.measures.deliveries.add(nanos(since), news);
        }
        for accepted in self.handshakes.drain(..) {
            self.measures.handshakes.add(nanos(accepted), 1);
        }
    }

    /// Removes and returns the connections that have ended. The caller must close their sockets before the next
    /// [`Hub::open`].
    pub(crate) fn reap(&mut self, ended: &mut Vec<Ended>) {
        let Self { sessions, router, meter, limits, clients, stats, .. } = self;
        ended.extend(sessions.reap().map(|(ended, transport)| {
            router.outboxes.close(ended.slot);
            clients.forget(ended.slot);
            limits.addresses.release(meter.take_ticket(ended.slot));
            *stats.over(transport) -= 1;
            ended
        }));
    }
}

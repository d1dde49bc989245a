//! How connections end, in time and in order (RFC 6455 §7), and what limits do about those that do not.

use std::time::Duration;

use tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::{
    engine::{
        application::Application,
        hub::Hub,
        outbox::Sink,
        session::{Ended, Phase},
        slot::Slot,
    },
    error::Fault,
    protocol::frame,
};

/// How long a connection that is being closed has to read what it was sent and to say goodbye. What the kernel still has
/// for it then has as long again, and longer only while the peer takes some.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const CLOSE_MILLIS: u64 = CLOSE_TIMEOUT.as_millis() as u64;

impl Hub {
    /// The connection broke a rule: it is told, and nothing that it sends is read any more.
    pub(super) fn fail(&mut self, app: &mut dyn Application, slot: Slot, fault: Fault) {
        if self.is_open(slot) {
            self.push_frame(slot, |turn| frame::encode_close(turn, fault.code, fault.reason));
        }
        self.leave(app, slot, Phase::Lingering);
    }

    /// Closes a connection with a code and a reason: what is queued is sent before.
    pub(crate) fn close(&mut self, app: &mut dyn Application, slot: Slot, code: u16, reason: &str) {
        if self.is_open(slot) {
            self.push_frame(slot, |turn| frame::encode_close(turn, code, reason));
            self.leave(app, slot, Phase::Closing);
        }
    }

    /// The peer's close frame has come: it gets ours if it has not, and that was all.
    pub(super) fn closed_by_peer(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let code = frame::decode_close(payload)?;
        if self.is_open(slot) {
            self.push_frame(slot, |turn| match code {
                Some(code) => frame::encode_close(turn, code, ""),
                None => frame::encode(turn, OpCode::Control(Control::Close), &[]),
            });
        }
        self.leave(app, slot, Phase::Ended);
        Ok(())
    }

    /// The peer has shut its side, which ends everything once it was sent what it still waits for.
    pub(crate) fn end_of_input(&mut self, app: &mut dyn Application, slot: Slot) {
        self.leave(app, slot, Phase::Ended);
    }

    /// The socket is broken, or the connection has had its time: it ends at once.
    pub(crate) fn lost(&mut self, app: &mut dyn Application, slot: Slot) {
        self.apply_run();
        self.sessions[slot as usize].is_cut |= !self.outboxes.is_empty(slot);
        self.outboxes.close(slot);
        self.leave(app, slot, Phase::Ended);
    }

    /// A connection that never opened ends at once: its socket cannot be used, or its reserved place is.
    pub(crate) fn abandon(&mut self, slot: Slot) {
        self.outboxes.close(slot);
        self.move_on(slot, Phase::Ended);
    }

    /// Moves a connection towards its end. The first time it loses its subscriptions, and the application hears of it.
    pub(super) fn leave(&mut self, app: &mut dyn Application, slot: Slot, phase: Phase) {
        self.apply_run(); // what was published before still goes to it, and whether its outbox is empty depends on that
        let was_open = self.is_open(slot);
        if was_open {
            self.unsubscribe_all(slot); // first, so that nothing more goes into its outbox
            self.forget_acks(slot);
        }
        self.move_on(slot, phase);
        if was_open {
            app.on_close(self, slot);
            self.message_done(None);
        }
    }

    /// The part of [`Hub::leave`] that is all there is to do for a connection that never opened.
    pub(super) fn move_on(&mut self, slot: Slot, phase: Phase) {
        let now = self.now;
        let session = &mut self.sessions[slot as usize];
        let before = session.phase;
        session.phase = phase.max(before);
        if session.phase != Phase::Closing {
            session.incoming = None;
        }
        if before <= Phase::Open {
            session.heard = now;
            self.schedule(slot, now + CLOSE_MILLIS);
        }
        self.recount(slot);
        if self.outboxes.is_empty(slot) {
            self.emptied(slot);
        }
    }

    /// Nothing is left to be sent: a connection that only waited for that goes on.
    fn emptied(&mut self, slot: Slot) {
        let phase = &mut self.sessions[slot as usize].phase;
        match phase {
            Phase::Lingering => self.shut.push(slot),
            Phase::Ended => {
                *phase = Phase::Over;
                self.ended.push(slot);
            }
            Phase::Http | Phase::Open | Phase::Closing | Phase::Over => {}
        }
    }

    /// Sends what the turn has collected and acts on what came of it.
    pub(crate) fn flush(&mut self, app: &mut dyn Application, sink: &mut impl Sink) {
        self.apply_run();
        self.work.write(self.outboxes.dirty_len());
        if self.is_full() {
            // A turn of many publishers goes on after this: who reads as fast as they publish must not wait for the next
            // poll, or its backlog would pass the limit meanwhile. It costs a system call for each that does not read.
            self.outboxes.retry();
        }
        self.passed_on = 0;
        let mut flushed = std::mem::take(&mut self.flushed);
        self.outboxes.flush(sink, &mut flushed);
        for slot in flushed.broken.drain(..) {
            self.lost(app, slot);
        }
        for slot in flushed.emptied.drain(..) {
            self.emptied(slot);
        }
        for slot in flushed.backlogged.drain(..) {
            self.keeps_backlog(slot);
            if self.outboxes.backlog_cost(slot) > self.limits.outbox_bytes_max {
                self.drop_backlog(app, slot);
            }
        }
        self.flushed = flushed;
        self.enforce_budget(app);
    }

    /// A connection does not read what it is sent: it loses its backlog, and is told why when it reads again.
    pub(super) fn drop_backlog(&mut self, app: &mut dyn Application, slot: Slot) -> bool {
        match self.sessions[slot as usize].phase {
            Phase::Open => {
                self.stats.slow_consumers += 1;
                self.outboxes.truncate(slot);
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

    /// Begins to stop: new clients are turned away, and from here on nothing is published on this core, which its peers are
    /// told behind all that was.
    pub(crate) fn stop_publishing(&mut self) {
        self.is_draining = true;
        self.relays.tell_stopping();
    }

    /// Whether it stops: new clients are turned away.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// A peer core has ended.
    pub(crate) fn peer_has_ended(&mut self, peer: u32) {
        self.relays.has_stopped(peer);
    }

    /// Whether all that the peer cores had published has come.
    pub(crate) fn have_peers_stopped(&self) -> bool {
        self.relays.have_all_stopped()
    }

    /// Stops serving: every client is told to go (1001), and new ones are turned away.
    pub(crate) fn drain(&mut self, app: &mut dyn Application) {
        self.is_draining = true;
        self.relays.let_go();
        let slots: Vec<Slot> = self.sessions.iter().map(|(slot, _)| slot as Slot).collect();
        for slot in slots {
            self.close(app, slot, Fault::GOING_AWAY.code, Fault::GOING_AWAY.reason);
        }
    }

    /// Whether all that was queued has been sent, and whether nobody is left at all.
    pub(crate) fn drained(&self) -> (bool, bool) {
        let is_sent = self.sessions.iter().all(|(slot, _)| self.outboxes.is_empty(slot as Slot));
        (is_sent, self.sessions.is_empty())
    }

    /// Connections whose sending side is to be shut now.
    pub(crate) fn take_shut(&mut self, shut: &mut Vec<Slot>) {
        shut.append(&mut self.shut);
    }

    /// Forgets the connections that are over and gives them: their sockets are to be closed before the next
    /// [`Hub::open`].
    pub(crate) fn reap(&mut self, ended: &mut Vec<Ended>) {
        for slot in self.ended.drain(..) {
            self.outboxes.close(slot);
            let session = self.sessions.remove(slot as usize);
            ended.push(Ended { slot, is_cut: session.is_cut });
        }
    }
}

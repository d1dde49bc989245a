//! The end of connections: closing handshakes, faults and lost sockets (RFC 6455 §7).

use std::{fmt, time::Duration};

use crate::{
    engine::{
        application::Application,
        hub::{Hub, ends::End},
        session::Phase,
        slot::Slot,
        stats::Why,
    },
    error::Fault,
    protocol::frame,
};

/// The time of a closing connection to read the bytes that it was sent and to answer the close frame. After that the
/// kernel has the same time again to deliver its bytes, and longer only while the peer takes some.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const CLOSE_MILLIS: u64 = CLOSE_TIMEOUT.as_millis() as u64;

impl Hub {
    /// Closes a connection that broke a rule. It gets the fault's code, and nothing that it sends is read any more. The
    /// reason of a message that is too big is the limit in bytes.
    pub(super) fn fail(&mut self, app: &mut dyn Application, slot: Slot, fault: Fault) {
        if self.sessions.is_open(slot) && fault.code == Fault::TOO_BIG.code {
            let limit = self.limits.message_bytes_max.to_string();
            self.push_close(slot, Some(fault.code), &limit);
        } else if self.sessions.is_open(slot) {
            self.push_close(slot, Some(fault.code), fault.reason);
        }
        self.leave(app, slot, Phase::Lingering, (fault.into(), End::Closed(fault.code, fault.reason)));
    }

    /// Closes a connection with a code and a reason, after all that is queued for it. `why` is for the statistics.
    pub(crate) fn close(&mut self, app: &mut dyn Application, slot: Slot, (code, reason): (u16, &str), why: Why) {
        if self.sessions.is_open(slot) {
            self.push_close(slot, Some(code), reason);
            self.leave(app, slot, Phase::Closing, (why, End::Closed(code, reason)));
        }
    }

    /// Handles the peer's close frame: the peer gets ours, if it did not get one before, and the connection ends.
    pub(super) fn closed_by_peer(
        &mut self,
        app: &mut dyn Application,
        slot: Slot,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let code = frame::decode_close(payload)?;
        if self.sessions.is_open(slot) {
            self.push_close(slot, code, "");
        }
        let reason = payload.get(2..).and_then(|reason| std::str::from_utf8(reason).ok()).unwrap_or_default();
        self.leave(app, slot, Phase::Ended, (Why::Client, End::ByClient(code, reason)));
        Ok(())
    }

    /// Handles the end of the peer's input: the connection ends when its outbox is empty.
    pub(crate) fn end_of_input(&mut self, app: &mut dyn Application, slot: Slot) {
        let end = End::Dropped(format_args!("the client sends nothing more"));
        self.leave(app, slot, Phase::Ended, (Why::Client, end));
    }

    /// Ends a connection at once, because its socket is broken.
    pub(crate) fn lost(&mut self, app: &mut dyn Application, slot: Slot) {
        self.drop_for(app, slot, Why::Lost, format_args!("the connection is broken"));
    }

    /// Ends a connection at once: `why` is for the statistics, `said` for the log.
    pub(crate) fn drop_for(&mut self, app: &mut dyn Application, slot: Slot, why: Why, said: fmt::Arguments<'_>) {
        self.router.apply_run();
        self.cut_off(slot);
        self.router.outboxes.close(slot);
        self.leave(app, slot, Phase::Ended, (why, End::Dropped(said)));
    }

    /// Notes whether a connection that ends at once loses queued bytes.
    pub(super) fn cut_off(&mut self, slot: Slot) {
        if !self.router.outboxes.is_empty(slot) {
            self.sessions[slot].set_cut(true);
        }
    }

    fn push_close(&mut self, slot: Slot, code: Option<u16>, reason: &str) {
        let encoding = self.sessions[slot].encoding;
        self.router.push(slot, |turn| encoding.close(turn, code, reason));
    }

    /// Ends a connection at once that never opened: its socket cannot be used, or another connection needs its reserved
    /// place.
    pub(crate) fn abandon(&mut self, slot: Slot, why: Why, said: fmt::Arguments<'_>) {
        self.router.outboxes.close(slot);
        self.move_on(slot, Phase::Ended, (why, End::Dropped(said)));
    }

    /// Moves a connection towards its end. The first time, it loses its subscriptions, and the application is told.
    pub(super) fn leave(&mut self, app: &mut dyn Application, slot: Slot, phase: Phase, end: (Why, End<'_>)) {
        self.router.apply_run(); // earlier publishes still go to it, and they decide whether its outbox is empty
        let was_open = self.sessions.is_open(slot);
        if was_open {
            self.router.unsubscribe_all(slot, self.sessions.now()); // first, so that nothing more enters its outbox
            self.forget_acks(slot);
            self.end_catch_ups(slot);
            self.tell_moves();
        }
        self.move_on(slot, phase, end);
        if was_open {
            app.on_close(self, slot);
            self.forget_identity(slot);
            self.message_done(None);
        }
    }

    /// The part of [`Hub::leave`] that a connection needs even if it never opened. The first time, it counts and logs why.
    pub(super) fn move_on(&mut self, slot: Slot, phase: Phase, (why, end): (Why, End<'_>)) {
        if self.sessions[slot].phase() <= Phase::Open {
            self.log_end(slot, end);
        }
        let now = self.sessions.now();
        let session = &mut self.sessions[slot];
        let before = session.phase();
        session.set_phase(phase.max(before));
        if session.phase() != Phase::Closing {
            session.incoming = None;
        }
        if before <= Phase::Open {
            session.heard = now;
            self.stats.count_end(why);
            self.stats.websockets -= u64::from(before == Phase::Open);
            self.sessions.schedule(slot, now + CLOSE_MILLIS);
            let is_orderly = matches!(why, Why::Client | Why::Shutdown);
            if is_orderly && self.router.outboxes.backlog_since(slot).is_some() {
                self.sessions.gives_last(slot);
            }
        }
        if before == Phase::Http {
            self.forget_identity(slot); // the application hears nothing of its end
        }
        self.recount(slot);
        if self.router.outboxes.is_empty(slot) {
            self.sessions.has_sent_all(slot);
        }
    }
}
